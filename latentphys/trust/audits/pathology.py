"""Pathology: what is nuisance for one label is signal for another.

    AUC of "has the finding" from the state, beside an untrained network and raw samples
    towards(dose) = <z(dose) - z, w> / <z_with - z_without, w>

with w the difference of class means over the variance within, feature by feature. A nuisance that
goes far along w looks like the finding: a state made invariant to it could not tell the finding.

References:
    Hanley and McNeil (1982), The meaning and use of the area under a receiver operating
        characteristic (ROC) curve. Radiology 143.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from latentphys.recordings.record import Record
from latentphys.recordings.reports import REPORT, report_of
from latentphys.trust.audits.case import UNTRAINED, Case
from latentphys.trust.audits.edits import at_tempo
from latentphys.trust.audits.finding import Finding, Verdict, not_tested
from latentphys.trust.audits.nuisances import Edit, edits
from latentphys.trust.linear_probes import out_of_fold

Array = NDArray[np.float64]
# What a cardiologist's words mean; of one finding, whichever pattern is in it.
FINDINGS: Mapping[str, re.Pattern[str]] = {
    "arrhythmia": re.compile(r"fibrillation|flutter|extrasystole|irregular|arrhythmia"),
    "conduction block": re.compile(r"block"),
    "axis deviation": re.compile(r"axis deviation"),
    "hypertrophy": re.compile(r"hypertrophy"),
}
LEAST_ALIKE = 5  # people with a finding, and without
MOST_DOSED = 24  # people whose records are dosed
FOLDS = 5
RESAMPLES = 500
FAR = 0.5  # of the way to the finding: nearer to it than to where it was
HYPOTHESIS = "The state tells {name} of new people where raw samples or no training do."


def pathology(case: Case) -> list[Finding]:
    """One finding for each that enough people have and have not."""
    people = list({record.subject: record for record in case.records}.values())
    # Of the records as they came: what is dosed keeps its signals alone.
    written = {record.record: _report(record) for record in case.cohort}
    reports = [written[record.record] for record in people]
    told = [bool(report) for report in reports]
    people = [record for record, own in zip(people, told, strict=True) if own]
    has = {
        name: np.array([bool(pattern.search(report)) for report in reports if report], dtype=bool)
        for name, pattern in FINDINGS.items()
    }
    has = {n: own for n, own in has.items() if min(own.sum(), (~own).sum()) >= LEAST_ALIKE}
    if not has:
        why = (
            f"Needs a finding that {LEAST_ALIKE} people have and {LEAST_ALIKE} have not, in "
            f"reports (records with a text {REPORT!r}, or LUDB's headers)."
        )
        return [not_tested("pathology", HYPOTHESIS.format(name="a finding"), why)]
    rows = {
        "state": _rows(case, people),
        UNTRAINED: _rows(case.untrained, people),
    }
    raw = [case.raw_features(record).mean(0) for record in people]
    if len({len(row) for row in raw}) == 1:
        rows["raw features"] = np.array(raw)
    doses = _doses(case, people[:MOST_DOSED], rows["state"])
    return [_finding(case, name, own, rows, doses) for name, own in has.items()]


def _finding(
    case: Case,
    name: str,
    has: NDArray[np.bool_],
    rows: Mapping[str, Array],
    doses: Mapping[str, Array],
) -> Finding:
    scores = {which: _scores(x, has, case.seed) for which, x in rows.items()}
    drawn = np.random.default_rng(case.seed).integers(len(has), size=(RESAMPLES, len(has)))
    drawn = drawn[[0 < has[k].sum() < len(k) for k in drawn]]
    areas = {
        which: np.array([area(own[k], has[k]) for k in drawn]) for which, own in scores.items()
    }
    value = area(scores["state"], has)
    low, high = np.percentile(areas["state"], [2.5, 97.5]).tolist()
    controls = {which: area(own, has) for which, own in scores.items() if which != "state"}
    rival = max(controls, key=lambda which: controls[which])
    lost = float(np.percentile(areas[rival] - areas["state"], 2.5)) > 0
    verdict: Verdict = "worry" if lost else "fine" if low > 0.5 else "unsure"
    towards = _towards(rows["state"], has, doses)
    furthest = max(towards, key=lambda dose: abs(towards[dose]), default="")
    words = f"{name} is told of new people with an area of {value:.2f}; " + ", ".join(
        f"{which} {own:.2f}" for which, own in controls.items()
    )
    words += {
        "worry": f". Training lost what {rival} tells. ",
        "fine": ". ",
        "unsure": f". {int(has.sum())} of {len(has)} people have it: too few to be sure. ",
    }[verdict]
    if furthest and low > 0.5:  # without a way to it nothing goes far along it
        words += f"{furthest} goes {towards[furthest]:+.0%} of the way to it"
        looks = abs(towards[furthest]) >= FAR
        words += ": it is signal here, do not make the state invariant to it." if looks else "."
    return Finding(
        f"pathology: {name}",
        HYPOTHESIS.format(name=name),
        "area under the ROC curve in people the probe never saw",
        value,
        low,
        high,
        rival,
        controls[rival],
        verdict,
        words,
        {
            "limits": [0.5, None],
            "people_with": int(has.sum()),
            "people": len(has),
            "controls": controls,
            "towards": towards,
            "bars": towards,
            "bars_name": "share of the way to the finding, by dose",
        },
    )


def _scores(rows: Array, has: NDArray[np.bool_], seed: int) -> Array:
    """Log odds of each person by a probe of the others, beyond how common it is among those.

    Without the latter a probe that knows nothing ranks backwards: the more have it in a fold, the
    fewer in the others.
    """
    people = np.arange(len(has))
    told, fold = out_of_fold(rows, has.astype(np.int64), people, "class", FOLDS, seed)
    common = np.array([has[fold != own].mean() for own in fold])
    beyond = np.log(told[:, 1] / told[:, 0]) - np.log(common / (1.0 - common))
    return np.round(beyond, 2)  # less is where the optimiser stopped, and would rank all the same


def area(score: Array, has: NDArray[np.bool_]) -> float:
    """Chance that one who has it scores above one who has not.

    Example:
        >>> area(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
        0.75
    """
    from scipy.stats import rankdata

    with_it = int(has.sum())
    ranks = float(rankdata(score)[has].sum())
    return (ranks - with_it * (with_it + 1) / 2) / (with_it * (len(has) - with_it))


def _rows(case: Case, people: list[Record]) -> Array:
    return np.stack([case.features(record).mean(0) for record in people])


def _doses(case: Case, people: list[Record], rows: Array) -> dict[str, Array]:
    """dose -> mean displacement of the state, (feature,); the first edit of each nuisance."""
    chosen: dict[str, Edit] = {"slower by 15 %": lambda r: at_tempo(r, 0.85)}
    for name, (_, tried) in edits(case).items():
        for edit, change in list(tried.items())[:1]:
            chosen[f"{name} ({edit})"] = change
    found = {}
    for dose, change in chosen.items():
        moved = [
            case.features(change(record)).mean(0) - row
            for record, row in zip(people, rows, strict=False)
        ]
        found[dose] = np.mean(moved, axis=0)
    return found


def _towards(rows: Array, has: NDArray[np.bool_], doses: Mapping[str, Array]) -> dict[str, float]:
    """How far each dose goes from the people without the finding to those with it."""
    way = rows[has].mean(0) - rows[~has].mean(0)
    within = 0.5 * (rows[has].var(0) + rows[~has].var(0)) + 1e-9
    direction = way / within
    length = float(way @ direction)
    return {dose: float(moved @ direction) / max(length, 1e-9) for dose, moved in doses.items()}


def _report(record: Record) -> str:
    return (record.texts.get(REPORT) or report_of(record)).lower()
