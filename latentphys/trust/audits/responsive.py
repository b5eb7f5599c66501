"""Responsive: whether the state tells rates and times of people the probe never saw.

    skill = 1 - sum (y - probe(z))^2 / sum (y - mean y)^2        on held-out people

The probe is ridge regression in folds of whole people; the same probe reads the untrained network
and the raw samples.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from latentphys.recordings.errors import LabelError, SplitError
from latentphys.recordings.labels import sleep_stage
from latentphys.recordings.record import Record
from latentphys.trust.audits.case import UNTRAINED, Case
from latentphys.trust.audits.finding import Finding, Verdict, not_tested
from latentphys.trust.audits.truths import truths
from latentphys.trust.probing import ProbeRequest, probe_cohort
from latentphys.trust.result import MODEL

Array = NDArray[np.float64]
LEAST_PEOPLE = 6  # fewer leave a fold nothing to learn people from
LEAST_SKILL = 0.1  # below it a probe tells nothing; where no control tells more, none could
FOLDS = 5
HYPOTHESIS = "The state tells {name} of new people where raw samples or no training do."


def responsive(case: Case) -> list[Finding]:
    """One finding a label: the simulator's truth, marked waves, rates in signals, the user's."""
    labels = {name: own for name, own in truths(case).items() if known(case, own) >= LEAST_PEOPLE}
    staged = any(map(_staged, case.cohort))
    if len(case.subjects) < LEAST_PEOPLE or not (labels or staged):
        why = (
            f"Needs {LEAST_PEOPLE} people or more ({len(case.subjects)} here) and a label; pass "
            "labels={name: function of a record that gives a DataArray over time}."
        )
        return [not_tested("responsive", HYPOTHESIS.format(name="rates"), why)]
    untrained = case.untrained
    rows = {
        "state": case.state_rows,
        UNTRAINED: [untrained.features(record) for record in case.records] if labels else [],
        "raw features": case.raw_rows,
    }
    found = [_finding(case, name, labels[name], rows) for name in labels]
    return [*found, _stages(case)] if staged else found


def known(case: Case, truth: list[Array]) -> int:
    """How many people have a number."""
    pairs = zip(case.records, truth, strict=True)
    return len({record.subject for record, own in pairs if np.isfinite(own).any()})


def _finding(case: Case, name: str, truth: list[Array], rows: dict[str, list[Array]]) -> Finding:
    errors = {}
    for which, own in rows.items():
        if len({row.shape[1] for row in own}) == 1:
            errors[which], spread = probe_errors(case, own, truth)
    skills = {which: case.bootstrap.skill(e, spread) for which, e in errors.items()}
    value, low, high = (float(x) for x in skills["state"])
    controls = {which: float(own[0]) for which, own in skills.items() if which != "state"}
    rival = max(controls, key=lambda which: controls[which])
    title = name.replace("_", " ")
    words = f"A probe explains {value:.0%} of {title} in new people; " + ", ".join(
        f"{which} {own:.0%}" for which, own in controls.items()
    )
    lost = float(case.bootstrap.gain(errors["state"], errors[rival])[1]) > 0
    verdict: Verdict = "fine" if low > 0 else "unsure"
    if max(value, controls[rival]) < LEAST_SKILL:
        verdict, words = "not tested", words + ". Too few people for any probe: audit more"
    elif value < LEAST_SKILL and lost:
        verdict, words = "worry", words + f". Training lost what {rival} tells"
    elif lost:
        words += f". {rival.capitalize()} tell more: probe those where it matters"
    elif verdict == "unsure":
        words += ". Too few people to be sure of it"
    words += "."
    return Finding(
        f"responsive: {title}",
        HYPOTHESIS.format(name=title),
        "share of variance explained in people the probe never saw",
        value,
        low,
        high,
        rival,
        controls[rival],
        verdict,
        words,
        {"controls": controls, "limits": [0.0, None], "bars": {"state": value, **controls}},
    )


def _staged(record: Record) -> bool:
    """Whether annotations of the record name sleep stages, two of them at least."""
    texts = (own for own in record.annotations.values() if own.dtype.kind in "UO")
    for own in texts:
        notes = own["note"].values if "note" in own.coords else [""] * own.size
        pairs = zip(own.values.tolist(), notes, strict=True)
        if len({sleep_stage(str(value), str(note)) for value, note in pairs} - {""}) > 1:
            return True
    return False


def _stages(case: Case) -> Finding:
    """Sleep stages by the probe of `FittedModel.probe`, epoch by epoch."""
    name, hypothesis = "responsive: sleep stage", HYPOTHESIS.format(name="the sleep stage")
    request = ProbeRequest("stage", "epoch", given=case.names, folds=FOLDS, seed=case.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # who was in training is told by `leakage`
        try:
            data = probe_cohort(case.fitted, case.cohort, request).dataset
        except (LabelError, SplitError) as error:
            return not_tested(name, hypothesis, str(error))
    data = data.sel(score="balanced_accuracy")
    own, controls = data.sel(features=MODEL), data.drop_sel(features=MODEL)
    rival = str(controls.features.values[int(controls.estimate.values.argmax())])
    against = data.sel(features=rival)
    nothing = float(data.estimate.sel(features="majority"))
    lost = float(against.gain_upper) < 0
    low = float(own.lower)
    verdict: Verdict = "worry" if lost and rival != "raw" else "fine" if low > nothing else "unsure"
    words = f"A probe tells sleep stages of new people by {float(own.estimate):.2f}; "
    pairs = zip(data.features.values, data.estimate.values, strict=True)
    bars = {str(features): float(score) for features, score in pairs}
    words += ", ".join(f"{f} {e:.2f}" for f, e in bars.items() if f != MODEL) + "."
    if lost:
        words += f" {rival.capitalize()} features tell more: probe those where it matters."
    return Finding(
        name,
        hypothesis,
        "balanced accuracy on people the probe never saw",
        float(own.estimate),
        low,
        float(own.upper),
        rival,
        float(against.estimate),
        verdict,
        words,
        {"limits": [nothing, None], "bars": bars},
    )


def probe_errors(case: Case, rows: list[Array], truth: list[Array]) -> tuple[Array, Array]:
    """Mean squared error of the probe, and of the mean, (subject,) each."""
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    counts = [min(len(own), len(y)) for own, y in zip(rows, truth, strict=True)]
    x = np.concatenate([own[:n] for own, n in zip(rows, counts, strict=True)])
    y = np.concatenate([own[:n] for own, n in zip(truth, counts, strict=True)])
    people = np.repeat([record.subject for record in case.records], counts)
    seen = np.isfinite(y) & np.isfinite(x).all(1)
    error, spread = np.full(len(y), np.nan), np.full(len(y), np.nan)
    folds = GroupKFold(min(FOLDS, len(np.unique(people[seen]))))
    at = np.flatnonzero(seen)
    for train, test in folds.split(x[at], groups=people[at]):
        known, new = at[train], at[test]
        probe = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 5, 13)))
        error[new] = (probe.fit(x[known], y[known]).predict(x[new]) - y[new]) ** 2
        spread[new] = (y[known].mean() - y[new]) ** 2
    return tuple(  # type: ignore[return-value]
        np.array(
            [
                own[(people == s) & seen].mean() if seen[people == s].any() else np.nan
                for s in case.subjects
            ]
        )
        for own in (error, spread)
    )
