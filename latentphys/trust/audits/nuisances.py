"""Nuisances: what a sensor does, and not the body, leaves the state where it is.

    moved(dose) = |Delta z| / between-subject |Delta z|

with z the features of a recording (`Case.features`), each in standard deviations over people.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from latentphys.recordings.record import Record
from latentphys.trust.audits.case import Case
from latentphys.trust.audits.edits import (
    ABSOLUTE,
    all_shifted,
    amplified,
    electrodes_moved,
    filtered,
    noisy,
    resampled,
)
from latentphys.trust.audits.finding import Finding, judged, not_tested
from latentphys.trust.resampling import mean_of

Array = NDArray[np.float64]
Edit = Callable[[Record], Record]
MOST_MOVED = 0.5  # a nuisance moves the state less than half of the way to another person
GAINS = (0.5, 2.0)
NOISE = 0.1  # of each signal's spread: an ordinary ward's
CLOCK_S = 0.037  # no multiple of any common sample or state step
PLACED = 0.25  # of the neighbouring lead: an electrode a few centimetres off
# Low passes of a monitor against one of a recorder, Hz.
NARROW_HZ = {"ecg": 25.0, "ppg": 6.0, "abp": 10.0, "resp": 1.5}
RATES = (0.8, 2.0)


def edits(case: Case) -> dict[str, tuple[str, dict[str, Edit]]]:
    """Name -> what is done, and the edits to try, each named by its sensor first."""
    return {
        "gain": ("Sensors amplified by 0.5 or 2", _gains(case)),
        "noise": ("Noise of a tenth of a sensor's spread", _noises(case)),
        "clock": ("A clock 37 ms off", {"all": lambda r: all_shifted(r, CLOCK_S)}),
        "lead placement": ("ECG electrodes a quarter of the way to the next lead", _leads(case)),
        "filter": ("A monitor's narrow filter", _filters(case)),
        "sampling rate": ("Other sampling rates", _rates(case)),
    }


def nuisances(case: Case) -> list[Finding]:
    """One finding each."""
    return [_nuisance(case, name, tried, what) for name, (what, tried) in edits(case).items()]


def _leads(case: Case) -> dict[str, Edit]:
    placed = any("ecg" in r.signals and r.signals["ecg"].sizes["channel"] > 1 for r in case.records)
    return {"ecg leads": lambda r: electrodes_moved(r, PLACED)} if placed else {}


def _filters(case: Case) -> dict[str, Edit]:
    return {
        f"{name} {corner:g} Hz": lambda r, name=name, corner=corner: filtered(r, {name: corner})  # type: ignore[misc]
        for name, corner in NARROW_HZ.items()
        if name in case.names
    }


def _rates(case: Case) -> dict[str, Edit]:
    return {
        f"{name} rate x{factor:g}": lambda r, n=name, f=factor: resampled(r, n, f)  # type: ignore[misc]
        for name in NARROW_HZ
        if name in case.names
        for factor in RATES
    }


def _gains(case: Case) -> dict[str, Edit]:
    return {
        f"{name} x{gain:g}": lambda r, name=name, gain=gain: amplified(r, {name: gain})  # type: ignore[misc]
        for name in case.names
        if name not in ABSOLUTE
        for gain in GAINS
    }


def _noises(case: Case) -> dict[str, Edit]:
    return {
        name: lambda r, name=name: noisy(r, name, NOISE, np.random.default_rng(case.seed))  # type: ignore[misc]
        for name in case.names
        if name not in ABSOLUTE
    }


def _nuisance(case: Case, name: str, edits: Mapping[str, Edit], what: str) -> Finding:
    """The worst of some edits that should not matter."""
    moved = _moved(case, case.state_rows, case.features, edits)
    if not moved:
        why = "Needs a waveform; lead placement needs two leads or more of a person."
        return not_tested(f"dose: {name}", f"{what}: the state stays where it is.", why)
    worst = max(moved, key=lambda edit: float(mean_of(moved[edit])))
    value, low, high = (float(x) for x in case.bootstrap.bounds(moved[worst]))
    raw = _moved(case, case.raw_rows, case.raw_features, {worst: edits[worst]})
    verdict = judged(low, high, most=MOST_MOVED)
    words = f"{what} ({worst}) moves the state {value:.2f} of the way to another person. "
    words += {
        "fine": "It is ignored.",
        "worry": f"The state encodes {name}: normalise it, or vary it in training.",
        "unsure": "Too few people to say whether that is much: audit more.",
    }[verdict]
    each = {edit: float(mean_of(own)) for edit, own in moved.items()}
    return Finding(
        f"dose: {name}",
        f"{what}: the state stays where it is.",
        "distance moved per distance between people",
        value,
        low,
        high,
        "raw features",
        float(mean_of(raw[worst])) if raw else math.nan,
        verdict,
        words,
        {"limits": [None, MOST_MOVED], "bars": each},
    )


def _moved(
    case: Case,
    before_edit: list[Array],
    features: Callable[[Record], Array],
    edits: Mapping[str, Edit],
) -> dict[str, Array]:
    """edit -> |Delta z| / mean distance between people, (subject,).

    Args:
        case: whose records are edited.
        before_edit: `features` of each of them as they are.
        features: (row, feature) of a record.
        edits: by name.
    """
    rows = [own.mean(0) for own in before_edit]
    most = max(len(row) for row in rows)  # raw features of those who wore the most sensors
    kept = [len(row) == most for row in rows]
    records = [record for record, keep in zip(case.records, kept, strict=True) if keep]
    still = [row for row, keep in zip(rows, kept, strict=True) if keep]
    spread = np.std(still, axis=0) + 1e-9
    still = [row / spread for row in still]
    people = [record.subject for record in records]
    between = [
        np.linalg.norm(a - b)
        for a, one in zip(still, people, strict=True)
        for b, other in zip(still, people, strict=True)
        if one < other
    ]
    found = {}
    for edit, change in edits.items():
        found_in: dict[str, list[float]] = {}
        for record, before in zip(records, still, strict=True):
            if edit.split()[0] not in (*record.modalities, "all"):
                continue
            if edit == "ecg leads" and record.signals["ecg"].sizes["channel"] < 2:
                continue  # one lead has no neighbour
            after = features(change(record)).mean(0) / spread
            ratio = float(np.linalg.norm(after - before) / np.mean(between))
            found_in.setdefault(record.subject, []).append(ratio)
        if found_in:
            found[edit] = case.by_subject(found_in)
    return found
