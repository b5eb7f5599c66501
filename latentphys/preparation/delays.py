"""How far pulse waves follow the heart's electrical beat: what a change of tempo leaves alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from latentphys.preparation.preprocessing import PreparedRecord, PreparedSignal

REFERENCE = "ecg"
PULSES = ("ppg", "abp")
GRID_HZ = 50.0
LONGEST_S = 1.0
RECORDS = 64  # enough to tell; a large cohort is not read through for it
SMOOTH_S = 0.06  # about the width of a QRS complex

Array = NDArray[np.float64]


def pulse_delays(records: Sequence[PreparedRecord]) -> dict[str, float]:
    """Delay of each pulse wave's upstroke behind the QRS complex, common to a set of records.

        delay = argmax_tau mean_r corr_r(qrs_t, upstroke_{t + tau}),   0 <= tau < 1 s

    qrs is the squared slope of the ECG, upstroke the squared rising slope of the pulse. One
    record alone would fit a beat too late as well; heart rates differ, so over several only the
    true delay adds up. It contains the monitor's own delay between its channels.

    Args:
        records: prepared training records; of many, `RECORDS` evenly spread ones are used.

    Returns:
        Modality -> seconds, of the pulse waves that some record has beside an ECG.
    """
    records = [records[k] for k in range(0, len(records), -(-len(records) // RECORDS) or 1)]
    delays = {}
    for name in PULSES:
        curves = [_correlation(r.signals[REFERENCE], r.signals[name]) for r in _both(records, name)]
        curves = [curve for curve in curves if np.isfinite(curve).all()]
        if curves:
            delays[name] = float(np.argmax(np.mean(curves, axis=0)) / GRID_HZ)
    return delays


def _both(records: Sequence[PreparedRecord], name: str) -> list[PreparedRecord]:
    """Records with the reference and the pulse, both regular and fast enough to time a slope."""

    def usable(record: PreparedRecord, modality: str) -> bool:
        signal = record.signals.get(modality)
        return signal is not None and signal.time_s is None and signal.rate_hz >= GRID_HZ / 2

    return [r for r in records if usable(r, REFERENCE) and usable(r, name)]


def _correlation(reference: PreparedSignal, pulse: PreparedSignal) -> Array:
    """Correlation at each lag of the grid, (lag,); NaN where one of them is silent."""
    beat, rise = _steepness(reference, rising=False), _steepness(pulse, rising=True)
    length, lags = min(len(beat), len(rise)), round(LONGEST_S * GRID_HZ)
    if length <= lags:
        return np.full(lags, np.nan)
    beat, rise = beat[:length] - beat[:length].mean(), rise[:length] - rise[:length].mean()
    norm = float(np.sqrt((beat**2).sum() * (rise**2).sum()))
    if not norm > 0:
        return np.full(lags, np.nan)
    return np.array([beat[: length - k] @ rise[k:] for k in range(lags)]) / norm


def _steepness(signal: PreparedSignal, rising: bool) -> Array:
    """Squared slope of the first channel that has samples, smoothed, on the grid.

    Of one sample there is no slope: an empty array.
    """
    if signal.values.shape[1] < 2:
        return np.empty(0)
    seen = np.isfinite(signal.values)
    values = signal.values[int(seen.any(axis=1).argmax())].astype(np.float64)
    slope = np.nan_to_num(np.diff(values))  # a gap has no slope
    slope = np.maximum(slope, 0.0) if rising else slope
    width = max(1, round(SMOOTH_S * signal.rate_hz))
    smooth = np.convolve(slope**2, np.ones(width) / width, mode="same")
    # One ectopic or one artefact must not outweigh a thousand beats.
    smooth = np.minimum(smooth, np.quantile(smooth, 0.99))
    at = np.arange(0.0, len(values) / signal.rate_hz, 1.0 / GRID_HZ)
    return np.interp(at, (np.arange(len(smooth)) + 0.5) / signal.rate_hz, smooth)
