"""How fast somebody breathes, from a respiration signal or from marked breaths.

    rate = 60 (n - 1) / (t_n - t_1)     breaths a minute, from n events at t_1 .. t_n

Of the estimators tried on the impedance respiration of BIDMC against its annotated breaths
(32 s windows where the two annotators agree within 2 breaths a minute; median and mean absolute
error, breaths a minute): counting crossings with hysteresis 0.10 and 0.27, autocorrelation 0.15
and 0.52, count-orig 0.15 and 0.54, spectral peak 0.28 and 0.63. Counting wins and is the
simplest. A test holds it to its figure.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentphys.recordings.errors import RateError

BAND_HZ = (0.08, 0.7)  # 5 to 42 breaths a minute
HYSTERESIS = 0.25  # of the filtered signal's SD: below this a wiggle is no breath
ANALYSIS_RATE_HZ = 12.5  # enough for 0.7 Hz, and ten times cheaper than 125 Hz
LEAST_OBSERVED = 0.5  # a window with less of its samples has no answer


def annotated_rate(times: ArrayLike, start_s: float, stop_s: float) -> float:
    """Breaths a minute from the marked breaths inside [start_s, stop_s].

    rate = 60 (n - 1) / (t_n - t_1), that is 60 over the mean interval.

    Args:
        times: (event,), seconds, in any order; one annotator's marks.

    Returns:
        1/min; NaN with fewer than two breaths.
    """
    events = np.sort(np.asarray(times, dtype=np.float64))
    events = events[(events >= start_s) & (events <= stop_s)]
    if len(events) < 2 or events[-1] <= events[0]:
        return float("nan")
    return float(60.0 * (len(events) - 1) / (events[-1] - events[0]))


def breathing_rate(signal: ArrayLike, rate_hz: float) -> NDArray[np.float64]:
    """Breaths a minute in each window, by counting crossings with hysteresis.

    The signal is averaged down to about 12.5 Hz, band-passed (0.08 to 0.7 Hz, forwards and
    backwards) and divided by its SD. A breath in begins where it last was below -0.25 and now is
    above 0.25; a breath out is the mirror image. Each kind gives 60 (n - 1) / (t_n - t_1), and
    the answer is their mean, which halves the error of a turning point at the window's edge.

    Warning:
        Meant for windows of 20 s to a few minutes; slower than 5 or faster than 42 breaths a
        minute is outside the band.

    Args:
        signal: (..., time), any unit, scale and sign; NaN = not observed. Gaps are bridged by
            straight lines.
        rate_hz: samples a second, at least 2.

    Returns:
        (...), 1/min; NaN where less than half was observed, no two breaths were found, or there
        are too few samples to filter.

    Raises:
        RateError: too slow to show a breath.

    References:
        Schaefer and Kratky (2008), Estimation of breathing rate from respiratory sinus
        arrhythmia: comparison of various methods. Annals of Biomedical Engineering 36
        (the counting methods compared above).

    Example:
        >>> t = np.arange(0, 32, 1 / 25)
        >>> print(breathing_rate(np.sin(2 * np.pi * 0.25 * t), 25.0).round(1))
        15.0
    """
    signal = np.asarray(signal, dtype=np.float64)
    if signal.size == 0 or signal.shape[-1] < 2.0 * rate_hz / ANALYSIS_RATE_HZ:
        return np.full(signal.shape[:-1], np.nan)
    filtered, rate_hz = _filtered(signal, rate_hz)
    up = _rate_of_rises(filtered, rate_hz)
    down = _rate_of_rises(-filtered, rate_hz)
    both = np.stack([up, down])
    found = np.isfinite(both)
    total = np.where(found, both, 0.0).sum(axis=0)
    return np.where(found.any(axis=0), total / np.maximum(found.sum(axis=0), 1), np.nan)


def _filtered(signal: NDArray[np.float64], rate_hz: float) -> tuple[NDArray[np.float64], float]:
    """The breathing band at unit SD and a low rate; NaN rows where too little was observed."""
    from scipy.signal import butter, detrend, sosfiltfilt

    if rate_hz < 2.0:
        raise RateError(
            f"breathing needs at least 2 samples a second; got rate_hz = {rate_hz:g}. "
            "Give the respiration waveform, not a trend of its rate."
        )
    factor = max(1, round(rate_hz / ANALYSIS_RATE_HZ))
    signal, observed = _averaged(signal, factor)
    rate_hz = rate_hz / factor
    bridged = _bridge(signal)
    sections = butter(2, BAND_HZ, "bandpass", fs=rate_hz, output="sos")
    padding = min(int(8 * rate_hz), bridged.shape[-1] - 1)
    band = sosfiltfilt(sections, detrend(bridged, axis=-1), axis=-1, padlen=padding)
    spread = band.std(axis=-1, keepdims=True)
    # A constant comes out of the filter as rounding; against its size that is no signal.
    floor = 1e-9 * np.abs(bridged).max(axis=-1, keepdims=True)
    enough = (observed >= LEAST_OBSERVED)[..., None] & (spread > floor)
    return np.where(enough, band / np.where(enough, spread, 1.0), np.nan), rate_hz


def _averaged(
    signal: NDArray[np.float64], factor: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of `factor` samples at a time over what was observed, and the observed share."""
    kept = signal.shape[-1] // factor * factor
    blocks = signal[..., :kept].reshape(*signal.shape[:-1], -1, factor)
    seen = np.isfinite(blocks)
    count = seen.sum(axis=-1)
    total = np.where(seen, blocks, 0.0).sum(axis=-1)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean, seen.mean(axis=(-2, -1))


def _bridge(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Straight lines across gaps, the nearest value at the ends, zeros where all is missing."""
    bridged = signal.reshape(-1, signal.shape[-1]).copy()
    grid = np.arange(signal.shape[-1])
    for index in np.flatnonzero(np.isnan(bridged).any(axis=-1)):
        seen = np.isfinite(bridged[index])
        values = bridged[index, seen]
        bridged[index] = np.interp(grid, grid[seen], values) if seen.any() else 0.0
    return bridged.reshape(signal.shape)


def _rate_of_rises(signal: NDArray[np.float64], rate_hz: float) -> NDArray[np.float64]:
    """60 (n - 1) / (t_n - t_1) over the rises through +-HYSTERESIS, for every row at once."""
    side = np.where(signal > HYSTERESIS, 1, np.where(signal < -HYSTERESIS, -1, 0))
    # Between the two levels the side is the last one visited: carry its index forward.
    latest = np.maximum.accumulate(np.where(side != 0, np.arange(side.shape[-1]), 0), axis=-1)
    side = np.take_along_axis(side, latest, axis=-1)
    rises = (side[..., 1:] == 1) & (side[..., :-1] == -1)
    count = rises.sum(axis=-1)
    first = rises.argmax(axis=-1)
    last = rises.shape[-1] - 1 - rises[..., ::-1].argmax(axis=-1)
    rate = 60.0 * (count - 1) * rate_hz / np.maximum(last - first, 1)
    return np.where(count >= 2, rate, np.nan)
