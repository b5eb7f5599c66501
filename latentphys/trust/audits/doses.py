"""Dose and response: what should move the state does, by as much; what should not does not.

    moved(dose) = |Delta z| / between-subject |Delta z|

with z the features of a recording (`Case.features`), each in standard deviations over people.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from latentphys.recordings.record import Record
from latentphys.trust.audits.case import CONTROLS, UNTRAINED, Case
from latentphys.trust.audits.edits import ABSOLUTE, all_shifted, amplified, at_tempo, noisy
from latentphys.trust.audits.finding import Finding, not_tested
from latentphys.trust.audits.readout import beats_a_minute, read_off
from latentphys.trust.resampling import mean_of

Array = NDArray[np.float64]
Edit = Callable[[Record], Record]
MOST_MOVED = 0.5  # a nuisance moves the state less than half of the way to another person
GAINS = (0.5, 2.0)
NOISE = 0.1  # of each signal's spread: an ordinary ward's
CLOCK_S = 0.037  # no multiple of any common sample or state step
TEMPOS = (0.85, 0.93, 1.07, 1.15)
BEATING = ("ppg", "abp", "ecg")
LEAST_SLOPE, MOST_SLOPE = 0.8, 1.2  # 10 beats a minute more are told as 8 to 12


def dose(case: Case) -> list[Finding]:
    """Gain, noise and clock leave the state where it is; a faster heart is told as faster."""
    if len(case.subjects) < 3:
        why = "What is far is judged by how people differ: needs three people or more."
        return [not_tested("dose", "Nuisances leave the state where it is.", why)]
    return [
        _nuisance(case, "gain", _gains(case), "Sensors amplified by 0.5 or 2"),
        _nuisance(case, "noise", _noises(case), "Noise of a tenth of a sensor's spread"),
        _nuisance(case, "clock", {"all": lambda r: all_shifted(r, CLOCK_S)}, "A clock 37 ms off"),
        _tempo(case),
    ]


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
        why = "No sensor of the model is a waveform."
        return not_tested(f"dose: {name}", f"{what} leaves the state where it is.", why)
    worst = max(moved, key=lambda edit: float(mean_of(moved[edit])))
    value, low, high = case.bootstrap.bounds(moved[worst])
    raw = _moved(case, case.raw_rows, case.raw_features, {worst: edits[worst]})
    fine = float(value) < MOST_MOVED
    words = f"{what} ({worst}) moves the state {float(value):.2f} of the way to another person. "
    words += (
        "It is ignored."
        if fine
        else f"The state encodes {name}: normalise it, or vary it in training."
    )
    return Finding(
        f"dose: {name}",
        f"{what} leaves the state where it is.",
        "distance moved per distance between people",
        float(value),
        float(low),
        float(high),
        "raw features",
        float(mean_of(raw[worst])) if raw else math.nan,
        "fine" if fine else "worry",
        words,
        {"each": {edit: float(mean_of(own)) for edit, own in moved.items()}},
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
    records = [record for record, row in zip(case.records, rows, strict=True) if len(row) == most]
    still = [row for row in rows if len(row) == most]
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
            after = features(change(record)).mean(0) / spread
            ratio = float(np.linalg.norm(after - before) / np.mean(between))
            found_in.setdefault(record.subject, []).append(ratio)
        if found_in:
            found[edit] = case.by_subject(found_in)
    return found


def _tempo(case: Case) -> Finding:
    hypothesis = "A heart that beats faster is told as beating as much faster."
    sensor = next((name for name in BEATING if name in case.names), None)
    records = [r for r in case.records if sensor in r.modalities]
    if sensor is None or len({r.subject for r in records}) < 2:
        return not_tested("dose: heart rate", hypothesis, "Needs an ECG or a pulse of two people.")
    told, planted = _rates(case, records, sensor)
    slope, low, high = case.bootstrap.bounds(_slope(told, planted))
    control = float(mean_of(_slope(*_rates(case.untrained, records[:CONTROLS], sensor))))
    fine = LEAST_SLOPE <= float(slope) <= MOST_SLOPE
    words = f"10 beats a minute more are told as {10 * float(slope):.1f}, read off the {sensor}. "
    words += "" if fine else "The state does not follow the heart: fit for longer."
    return Finding(
        "dose: heart rate",
        hypothesis,
        "beats a minute told per beat a minute planted",
        float(slope),
        float(low),
        float(high),
        UNTRAINED,
        control,
        "fine" if fine else "worry",
        words.strip(),
        {
            "curves": {
                "x": [100 * (tempo - 1) for tempo in TEMPOS],
                "series": {
                    "told": mean_of(told).tolist(),
                    "planted": mean_of(planted).tolist(),
                },
                "x_name": "tempo changed, %",
                "y_name": "beats a minute",
            }
        },
    )


def _rates(case: Case, records: list[Record], sensor: str) -> tuple[Array, Array]:
    """Rise of the rate told and of the rate planted, (tempo, subject), beats a minute."""
    told: dict[str, list[Array]] = {}
    planted: dict[str, list[Array]] = {}
    for record in records:
        after = np.array([_rate(case, at_tempo(record, tempo), sensor) for tempo in TEMPOS])
        before = _rate(case, record, sensor)
        told.setdefault(record.subject, []).append(after - before)
        rise = _true_rate(case, record, sensor) * (np.array(TEMPOS) - 1.0)
        planted.setdefault(record.subject, []).append(rise)
    return case.by_subject(told), case.by_subject(planted)


def _rate(case: Case, record: Record, sensor: str) -> float:
    encoded = case.encoded(record)
    whole = read_off(case, encoded, encoded.paths(encoded.names), sensor)
    # The end of a record played faster holds nothing.
    return beats_a_minute(whole[: int(len(whole) / max(TEMPOS))])


def _true_rate(case: Case, record: Record, sensor: str) -> float:
    """The rate of the recorded signal itself."""
    signal = case.fitted.prepare(record).signals[sensor]
    values = np.nan_to_num(signal.values[0].astype(np.float64))
    return beats_a_minute(values, signal.rate_hz)


def _slope(told: Array, planted: Array) -> Array:
    """Least squares through the origin, (subject,); NaN where no rate could be read."""
    with np.errstate(invalid="ignore"):
        slope = (told * planted).sum(0) / (planted**2).sum(0)
    return np.where(np.isfinite(slope), slope, 0.0 if told.size else math.nan)
