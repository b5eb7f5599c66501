"""Leakage: whether anyone or anything in the cohort was there in training."""

from __future__ import annotations

import math

from latentphys.recordings.errors import SplitError, listed
from latentphys.recordings.leaks import check_disjoint
from latentphys.trust.audits.case import Case
from latentphys.trust.audits.finding import Finding, Verdict

HYPOTHESIS = "No person, recording or stretch of samples here was used to fit or choose the model."


def leakage(case: Case) -> list[Finding]:
    """Names against the model's own list; samples against the training cohort, if given.

    One shared person is a leak: the threshold is 0, and there is nothing to estimate.
    """
    repaired = case.fitted.calibration
    known = {*case.fitted.trained_on, *(repaired.subjects if repaired is not None else ())}
    shared = [name for name in case.cohort.subjects if name in known]
    share = len(shared) / len(case.cohort.subjects)
    copied = "" if shared or case.training is None else _copied(case)
    if shared:
        words = (
            f"{len(shared)} of {len(case.cohort.subjects)} people were in training or calibration: "
            f"{listed(shared)}. Every figure on them is too good: audit the other side of "
            "cohort.split(...)."
        )
    elif copied:
        words = f"Training recordings are here under other names: {copied}"
    elif case.training is None:
        words = (
            "No name is shared with training. Samples were not compared: pass training=, the "
            "cohort it was fitted on, to find copies under other names."
        )
    else:
        words = "No name and no stretch of samples is shared with training."
    verdict: Verdict = "worry" if shared or copied else "fine"
    return [
        Finding(
            "leakage",
            HYPOTHESIS,
            "share of people here who were in training",
            share,
            math.nan,
            math.nan,
            "a clean split",
            0.0,
            verdict,
            words,
            {"subjects": shared, "samples": copied, "samples_compared": case.training is not None},
        )
    ]


def _copied(case: Case) -> str:
    """What the two cohorts share, in words; empty if nothing."""
    assert case.training is not None
    try:
        check_disjoint(case.training, case.cohort)
    except SplitError as error:
        return str(error)
    return ""
