"""When the heart beat: what an annotator marked, or R peaks found in the ECG by wfdb's GQRS."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from latentphys.preparation.preprocessing import runs
from latentphys.recordings.errors import LabelError, listed
from latentphys.recordings.record import Record, rate_of
from latentphys.recordings.wfdb_beats import BEAT_FILES, BEATS, LONGEST_S

Array = NDArray[np.float64]

ECG = "ecg"
MARKED = ("beat", "beats", *BEAT_FILES)  # names of annotations that are beats
LEAST_HZ = 60.0  # below it a QRS complex is a sample or two
LEAST_RUN_S = 3.0  # what an amplitude is learned from
REACH_S = 0.08  # from where a complex is found to its peak, either way


def beat_times(record: Record) -> Array:
    """Times of the heart's beats.

    Marked beats (annotations named beat, beats, atr, ecg, qrs or wqrs) are taken as they are.
    Without them, R peaks are found in the ECG channel with most samples, on each observed run.

    Args:
        record: as it was read, at its own rates.

    Returns:
        (beat,) ascending seconds from the record's start.

    Raises:
        LabelError: neither marked beats nor an ECG in which two or more were found.

    References:
        Moody (gqrs) in Xie, McCullum, Johnson, Pollard, Gow and Moody (2023), Waveform Database
        Software Package (WFDB) for Python.

    Example:
        >>> marks = xr.DataArray([1, 1], dims="event", coords={"time": ("event", [1.8, 1.0])})
        >>> record = Record.from_arrays({"ppg": (np.zeros(300), 100.0)}, subject="a")
        >>> record.annotations["beat"] = marks
        >>> beat_times(record).tolist()
        [1.0, 1.8]
    """
    for name in MARKED:
        if name in record.annotations:
            return np.unique(_marked(record.annotations[name]))
    found = _found(record)
    if len(found) < 2:
        raise LabelError(
            f"beats are marked in a record's annotations ({', '.join(MARKED)}) or found in an "
            f"{ECG!r} of {LEAST_HZ:g} Hz or more; record {record.record!r} has annotations "
            f"{listed(record.annotations)}, signals {listed(record.modalities)}, and {len(found)} "
            "beats were found. Leave it out, or take unit='window'."
        )
    return found


def beat_intervals(record: Record) -> tuple[Array, Array]:
    """Start and stop of each stretch from one beat to the next, (interval,) seconds each.

    Beats further apart than 3 s have missed ones between them, and are not joined.

    Raises:
        LabelError: as `beat_times`, or no two beats within 3 s.
    """
    times = beat_times(record)
    joined = np.diff(times) <= LONGEST_S
    if not joined.any():
        raise LabelError(
            f"a beat lasts until the next one, at most {LONGEST_S:g} s; record {record.record!r} "
            f"has {len(times)} beats and no two within that. Leave it out, or take unit='window'."
        )
    return times[:-1][joined], times[1:][joined]


def _marked(events: xr.DataArray) -> Array:
    times = np.asarray(events["time"].values, dtype=np.float64)
    if events.dtype.kind in "US":  # other marks, as of rhythm and of noise, stand among them
        times = times[np.isin(events.values.astype(str), list(BEATS))]
    return times


def _found(record: Record) -> Array:
    """R peaks of the ECG; none where it cannot be looked at."""
    signal = record.signals.get(ECG)
    rate = float("nan") if signal is None else rate_of(signal)
    if signal is None or not rate >= LEAST_HZ:
        return np.empty(0)
    seen = np.isfinite(signal.values)
    row = int(seen.sum(axis=1).argmax())
    x = np.asarray(signal.values[row], dtype=np.float64)
    peaks = [
        start + _peaks(x[start:stop], rate)
        for start, stop in runs(seen[row])
        if stop - start >= LEAST_RUN_S * rate
    ]
    if not peaks:
        return np.empty(0)
    return float(signal["time"].values[0]) + np.unique(np.concatenate(peaks)) / rate


def _peaks(x: Array, rate_hz: float) -> NDArray[np.int64]:
    """Sample numbers of R peaks in one observed run."""
    from wfdb.processing import gqrs_detect

    x = x - np.median(x)
    size = float(np.quantile(np.abs(x), 0.995))
    if not size > 0:
        return np.empty(0, np.int64)
    # GQRS expects about 1 mV at 200 units a mV; a lead's own size stands in, whatever its units.
    found = np.asarray(gqrs_detect(x / size, rate_hz, adc_gain=200, adc_zero=0), dtype=np.int64)
    around = np.arange(-round(REACH_S * rate_hz), round(REACH_S * rate_hz) + 1)
    near = np.clip(found[:, None] + around, 0, len(x) - 1)
    away = np.abs(x[near] - np.median(x[near], axis=1, keepdims=True))
    return np.unique(near[np.arange(len(found)), away.argmax(axis=1)]) if len(found) else found
