"""Responsive: whether the state tells rates and times of people the probe never saw.

    skill = 1 - sum (y - probe(z))^2 / sum (y - mean y)^2        on held-out people

The probe is ridge regression in folds of whole people; the same probe reads the untrained network
and the raw samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latentphys.recordings.record import Record
from latentphys.trust.audits.case import FEATURE_S, UNTRAINED, Case
from latentphys.trust.audits.finding import Finding, Verdict, not_tested
from latentphys.trust.audits.readout import rates_of
from latentphys.trust.breathing import breathing_rate

Array = NDArray[np.float64]
TRUTHS = ("heart_rate", "breathing_rate", "transit_time")
LEAST_PEOPLE = 6  # fewer leave a fold nothing to learn people from
LEAST_SKILL = 0.1  # below it a probe tells nothing; where no control tells more, none could
FOLDS = 5
HYPOTHESIS = "The state tells {name} of new people where raw samples or no training do."


def responsive(case: Case) -> list[Finding]:
    """One finding a label: of the simulator's truth, measured from signals, or the user's."""
    labels = _labels(case)
    if not labels or len(case.subjects) < LEAST_PEOPLE:
        why = (
            f"Needs {LEAST_PEOPLE} people or more ({len(case.subjects)} here) and a label; pass "
            "labels={name: function of a record that gives a DataArray over time}."
        )
        return [not_tested("responsive", HYPOTHESIS.format(name="rates"), why)]
    untrained = case.untrained
    rows = {
        "state": case.state_rows,
        UNTRAINED: [untrained.features(record) for record in case.records],
        "raw features": case.raw_rows,
    }
    return [_finding(case, name, labels[name], rows) for name in labels]


def _finding(case: Case, name: str, truth: list[Array], rows: dict[str, list[Array]]) -> Finding:
    errors = {}
    for which, own in rows.items():
        if len({row.shape[1] for row in own}) == 1:
            errors[which], spread = _errors(case, own, truth)
    skills = {which: case.bootstrap.skill(e, spread) for which, e in errors.items()}
    value, low, high = (float(x) for x in skills["state"])
    controls = {which: float(own[0]) for which, own in skills.items() if which != "state"}
    rival = max(controls, key=lambda which: controls[which])
    title = name.replace("_", " ")
    words = f"A probe explains {value:.0%} of {title} in new people; " + ", ".join(
        f"{which} {own:.0%}" for which, own in controls.items()
    )
    lost = float(case.bootstrap.gain(errors["state"], errors[rival])[1]) > 0
    verdict: Verdict = "fine"
    if max(value, controls[rival]) < LEAST_SKILL:
        verdict, words = "not tested", words + ". Too few people for any probe: audit more"
    elif value < LEAST_SKILL and lost:
        verdict, words = "worry", words + f". Training lost what {rival} tells"
    elif lost:
        words += f". {rival.capitalize()} tell more: probe those where it matters"
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
        {"controls": controls},
    )


def _errors(case: Case, rows: list[Array], truth: list[Array]) -> tuple[Array, Array]:
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


def _labels(case: Case) -> dict[str, list[Array]]:
    """name -> a series a record, one number a row of features; names without one left out."""
    found: dict[str, list[Array]] = {}
    for record in case.records:
        for name, series in _of(case, record).items():
            found.setdefault(name, []).append(series)
    whole = len(case.records)
    return {
        name: own
        for name, own in found.items()
        if len(own) == whole and np.isfinite(np.concatenate(own)).sum() > LEAST_PEOPLE
    }


def _of(case: Case, record: Record) -> dict[str, Array]:
    if record.truth is not None:
        time = record.truth["time"].values
        found = {
            name: _per_row(record.truth[name].values, time, record.duration_s)
            for name in TRUTHS
            if name in record.truth
        }
    else:
        found = _measured(case, record)
    for name, label in case.labels.items():
        series = label(record)
        found[name] = _per_row(
            series.values.astype(np.float64), series["time"].values, record.duration_s
        )
    return found


def _measured(case: Case, record: Record) -> dict[str, Array]:
    """Rates of the recorded signals themselves, where they are regular."""
    prepared, found = case.fitted.prepare(record), {}
    beating = next((s for s in ("ppg", "abp", "ecg") if s in prepared.signals), None)
    nan = np.full(max(1, int(record.duration_s // FEATURE_S)), np.nan)
    if beating is not None:
        signal = prepared.signals[beating]
        x = np.nan_to_num(signal.values[0].astype(np.float64))
        found["heart_rate"] = rates_of(x, signal.rate_hz, FEATURE_S)
    else:
        found["heart_rate"] = nan
    found["breathing_rate"] = nan
    if "resp" in prepared.signals:
        signal = prepared.signals["resp"]
        size = round(FEATURE_S * signal.rate_hz)
        rows = signal.values[0, : len(nan) * size].astype(np.float64)
        found["breathing_rate"] = (
            breathing_rate(rows.reshape(-1, size), signal.rate_hz) if len(rows) >= size else nan
        )
    return found


def _per_row(values: Array, time: Array, duration_s: float) -> Array:
    """Means over each row's time; NaN where nothing was labelled."""
    found = []
    for k in range(max(1, int(duration_s // FEATURE_S))):
        own = values[(time >= k * FEATURE_S) & (time < (k + 1) * FEATURE_S)]
        own = own[np.isfinite(own)]
        found.append(own.mean() if len(own) else np.nan)
    return np.array(found)
