"""What a model says of timing: sensors read off its state, delays and rates measured there."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from latentphys.inference.imputation import decode
from latentphys.inference.paths import Paths
from latentphys.trust.audits.case import TINY, Case
from latentphys.trust.predicting import EncodedRecord

Array = NDArray[np.float64]
GRID_HZ = 125.0  # delays are read to a fraction of 8 ms by a spline through the peak
MOST_DELAY_S = 0.3
SLOWEST_HZ, FASTEST_HZ = 0.6, 3.3  # 36 to 200 beats a minute
BEATS_S = 10.0


def read_off(case: Case, encoded: EncodedRecord, paths: Paths, modality: str) -> Array:
    """First channel of a sensor as the state tells it, on a grid of `GRID_HZ`.

    Args:
        case: for draws and their noise.
        encoded: the recording, for its sample times.
        paths: its posterior. To have what the state alone tells, give another recording's
            nuisance with it.
        modality: a sensor of the recording.
    """
    signal = encoded.record.signals[modality]
    total = np.zeros(signal.values.shape[1])
    parts = decode(paths, modality, signal, case.draws, case.generator())
    for sample, loc, _ in parts:
        total[sample] = loc.mean(0)[0].numpy()
    times = np.arange(len(total)) / signal.rate_hz if signal.time_s is None else signal.time_s
    return np.interp(np.arange(times[0], times[-1], 1.0 / GRID_HZ), times, total)


def with_nuisance_of(paths: Paths, other: Paths) -> Paths:
    """The same state, the sensors' nuisance of another posterior."""
    return replace(paths, nuisance=other.nuisance)


def delay_s(late: Array, early: Array) -> float:
    """By how much one signal is later than another of the same shape: peak of their correlation.

    Example:
        >>> t = np.arange(0, 20, 1 / GRID_HZ)
        >>> round(delay_s(np.sin(6 * (t - 0.04)), np.sin(6 * t)), 3)
        0.04
    """
    from scipy.interpolate import CubicSpline
    from scipy.signal import correlate

    count = min(len(late), len(early))
    a, b = late[:count] - late[:count].mean(), early[:count] - early[:count].mean()
    if count < 16 or a.std() < 1e-9 or b.std() < 1e-9:
        return 0.0  # nothing moves, so nothing is late
    reach = min(round(MOST_DELAY_S * GRID_HZ), (count - 1) // 3)
    # The middle of one against every place in the other, so that no lag has fewer samples.
    middle = a[reach : len(a) - reach]
    energy = np.convolve(b**2, np.ones(len(middle)), mode="valid")
    whole = (correlate(b, middle, mode="valid", method="fft") / np.sqrt(energy + TINY))[::-1]
    k = int(np.clip(whole.argmax(), 2, len(whole) - 3))
    near = np.arange(k - 2, k + 3)
    fine = np.linspace(k - 1, k + 1, 401)
    return float((fine[CubicSpline(near, whole[near])(fine).argmax()] - reach) / GRID_HZ)


def beats_a_minute(x: Array, rate_hz: float = GRID_HZ) -> float:
    """Median over 10 s windows of the rate at which a beating signal repeats itself.

    Example:
        >>> t = np.arange(0, 30, 1 / GRID_HZ)
        >>> round(beats_a_minute(np.sin(2 * np.pi * 1.2 * t)), 1)
        72.0
    """
    rates = rates_of(x, rate_hz, BEATS_S)
    return float(np.median(rates[np.isfinite(rates)])) if np.isfinite(rates).any() else math.nan


def rates_of(x: Array, rate_hz: float, window_s: float) -> Array:
    """(window,) beats a minute: the first high peak of each window's autocorrelation."""
    size = round(min(window_s, len(x) / rate_hz) * rate_hz)
    return np.array([_rate(x[k : k + size], rate_hz) for k in range(0, len(x) - size + 1, size)])


def _rate(x: Array, rate_hz: float) -> float:
    from scipy.signal import correlate, find_peaks

    if not np.isfinite(x).all():
        return float("nan")
    x = x - x.mean()
    whole = correlate(x, x, method="fft")[len(x) - 1 :]
    # By the energy of what overlaps, so that a later repeat is not lower for being later.
    energy = np.concatenate([[0.0], np.cumsum(x**2)])
    whole = whole / np.sqrt(energy[len(x) : 0 : -1] * (energy[-1] - energy[:-1]) + TINY)
    first, last = int(rate_hz / FASTEST_HZ), int(rate_hz / SLOWEST_HZ) + 1
    span = whole[: last + 2]
    peaks = [p for p in find_peaks(span)[0] if p >= first]
    high = max((span[p] for p in peaks), default=0.0)
    if not high > 0:  # nothing repeats, or it is not known
        return float("nan")
    # A period's double is as high: the first that is nearly the highest counts.
    k = next(p for p in peaks if span[p] >= 0.8 * high)
    left, top, right = span[k - 1 : k + 2]
    bend = left - 2.0 * top + right
    return float(60.0 * rate_hz / (k + (0.5 * (left - right) / bend if bend < 0 else 0.0)))
