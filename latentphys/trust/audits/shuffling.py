"""Shuffled input: what the state tells of a label when every sensor's samples are out of order.

Beats, breaths and delays are gone; sizes, distributions, holes and lengths are as they were. A
probe that goes on telling a label reads it from those, or from the person, and not from the body's
rhythm.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from latentphys.trust.audits.case import Case
from latentphys.trust.audits.edits import shuffled
from latentphys.trust.audits.finding import Finding, judged, not_tested
from latentphys.trust.audits.responsive import LEAST_PEOPLE, LEAST_SKILL, known, probe_errors
from latentphys.trust.audits.truths import truths

Array = NDArray[np.float64]
MOST_KEPT = 0.5  # of the skill: above it order matters for less than half of it
HYPOTHESIS = "Of samples out of order the state tells nothing of rates and times."


def shuffling(case: Case) -> list[Finding]:
    """The label that is best told of shuffled samples, beside what is told of true ones."""
    labels = {name: own for name, own in truths(case).items() if known(case, own) >= LEAST_PEOPLE}
    if not labels:
        why = f"Needs {LEAST_PEOPLE} people or more and a label."
        return [not_tested("shuffled", HYPOTHESIS, why)]
    rng = np.random.default_rng(case.seed)
    rows = [case.features(shuffled(record, rng)) for record in case.records]
    found = {}
    for name, truth in labels.items():
        mixed = case.bootstrap.skill(*probe_errors(case, rows, truth))
        whole = case.bootstrap.skill(*probe_errors(case, case.state_rows, truth))
        found[name] = tuple(float(x) for x in mixed), float(whole[0])
    told = {name: own for name, own in found.items() if own[1] >= LEAST_SKILL}
    if not told:
        return [not_tested("shuffled", HYPOTHESIS, "No probe tells a label of true samples.")]
    worst = max(told, key=lambda name: told[name][0][0] / told[name][1])
    (value, low, high), whole_skill = told[worst]
    most = max(LEAST_SKILL, MOST_KEPT * whole_skill)
    verdict = judged(low, high, most=most)
    title = worst.replace("_", " ")
    words = (
        f"Of shuffled samples a probe explains {value:.0%} of {title}, of true ones "
        f"{whole_skill:.0%}. "
    )
    words += {
        "fine": "It needs their order.",
        "worry": f"{title} is read from sizes, holes or the person: distrust probes of it.",
        "unsure": "Too few people to say whether order matters.",
    }[verdict]
    return [
        Finding(
            "shuffled",
            HYPOTHESIS,
            f"share of the variance of {title} explained from shuffled samples",
            value,
            low,
            high,
            "samples in order",
            whole_skill,
            verdict,
            words,
            {
                "limits": [None, most],
                "bars": {name: own[0][0] for name, own in found.items() if math.isfinite(own[1])},
            },
        )
    ]
