"""Onsets and ends of P, QRS and T in the median beat of an ECG.

QRS: where the slope falls below a share of its greatest. P and T: the furthest point from a line
across their window, with ends by the trapezium of greatest area,

    A(t) = (x_m - x_t) (2 t_r - t - t_m) / 2

t_m the steepest point of the wave's outer flank and t_r a point well beyond its end.

Warning:
    One set of landmarks a recording: a rhythm that changes shape from beat to beat, a P wave that
    is not tied to the QRS, or a U wave, is beyond it. Against the marks of LUDB (lead II, 150
    people) half of the intervals are within 24 ms (PR), 22 (QRS) and 16 (QT), a tenth off by 74
    to 102, and fibrillation is given P waves (`benchmarks/delineation.py`). It says roughly where
    waves are, so that one can be moved whole; it does not measure a person.

References:
    Zhang, Manriquez, Medigue, Papelier and Sorine (2006), An algorithm for robust and efficient
        location of T-wave ends in electrocardiograms. IEEE Transactions on Biomedical
        Engineering 53.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
BEFORE_S, AFTER_S = 0.36, 0.62  # of the R peak, at most; at a short RR less
LEAST_BEATS = 5  # a median of fewer is no better than one
QUIET = 0.08  # of the greatest slope: below it the QRS is over
QRS_REACH_S = 0.12
LEAST_WAVE = 0.015  # of the QRS's height: below it there is no wave
LEAST_HZ = 100.0


@dataclass(frozen=True)
class Landmarks:
    """Seconds from the R peak; NaN where there is no such wave."""

    p_onset: float
    p_offset: float
    qrs_onset: float
    qrs_offset: float
    t_onset: float
    t_offset: float

    @property
    def pr_interval(self) -> float:
        """From P onset to QRS onset, seconds."""
        return self.qrs_onset - self.p_onset

    @property
    def qrs_duration(self) -> float:
        """Seconds."""
        return self.qrs_offset - self.qrs_onset

    @property
    def qt_interval(self) -> float:
        """From QRS onset to T end, seconds."""
        return self.t_offset - self.qrs_onset


def median_beat(x: Array, rate_hz: float, beats: Array) -> tuple[Array, Array]:
    """Times about the R peak and the median over beats there.

    Args:
        x: (time,) from second 0, NaN where not observed.
        rate_hz: samples a second.
        beats: R peaks, seconds.

    Returns:
        (sample,) seconds and the median beat; empty with fewer than `LEAST_BEATS` whole beats.
    """
    period = float(np.median(np.diff(beats))) if len(beats) > 1 else math.nan
    if not period > 0.3:
        return np.empty(0), np.empty(0)
    before, after = min(BEFORE_S, 0.42 * period), min(AFTER_S, 0.62 * period)
    at = np.arange(-round(before * rate_hz), round(after * rate_hz) + 1)
    rows = np.round(beats * rate_hz).astype(np.int64)[:, None] + at
    whole = (rows >= 0).all(1) & (rows < len(x)).all(1)
    values = x[rows[whole]]
    values = values[np.isfinite(values).all(1)]
    if len(values) < LEAST_BEATS:
        return np.empty(0), np.empty(0)
    return at / rate_hz, np.median(values, axis=0)


def delineate(x: Array, rate_hz: float, beats: Array) -> Landmarks | None:
    """Landmarks of a lead's median beat.

    Args:
        x: (time,) from second 0, NaN where not observed.
        rate_hz: samples a second, 100 or more.
        beats: R peaks, seconds.

    Returns:
        None where too few whole beats, or no QRS, stand out.
    """
    time, beat = median_beat(x, rate_hz, beats)
    if not len(time) or rate_hz < LEAST_HZ:
        return None
    qrs = _qrs(time, beat)
    if qrs is None:
        return None
    start, stop = qrs
    height = float(np.ptp(beat[start : stop + 1]))
    p = _wave(time, beat, time[0], time[start] - 0.012, height)
    t = _wave(time, beat, time[stop] + 0.04, time[-1], height)
    return Landmarks(*p, float(time[start]), float(time[stop]), *t)


def _qrs(time: Array, beat: Array) -> tuple[int, int] | None:
    """First and last sample of the QRS complex."""
    step = time[1] - time[0]
    width = max(1, round(0.012 / step))
    slope = np.convolve(np.abs(np.gradient(beat, step)), np.ones(width) / width, mode="same")
    near = np.abs(time) <= 0.06
    most = float(slope[near].max())
    if not most > 0:
        return None
    inside = np.flatnonzero((np.abs(time) <= QRS_REACH_S) & (slope >= QUIET * most))
    return int(inside[0]), int(inside[-1])


def _wave(
    time: Array, beat: Array, start_s: float, stop_s: float, height: float
) -> tuple[float, float]:
    """Onset and end of the one wave between two times; NaN where there is none."""
    inside = np.flatnonzero((time >= start_s) & (time <= stop_s))
    if len(inside) < 8:
        return math.nan, math.nan
    at, x = time[inside], beat[inside]
    line = x[0] + (x[-1] - x[0]) * (at - at[0]) / (at[-1] - at[0])
    rise = x - line
    peak = int(np.abs(rise).argmax())
    if np.abs(rise[peak]) < LEAST_WAVE * height or not 2 < peak < len(at) - 3:
        return math.nan, math.nan
    x = x if rise[peak] > 0 else -x
    end = _end(at[peak:], x[peak:])
    onset = -_end(-at[peak::-1], x[peak::-1])
    return float(onset), float(end)


def _end(at: Array, x: Array) -> float:
    """Where a wave that falls from its first sample ends: the trapezium of greatest area."""
    steepest = int(np.gradient(x, at).argmin())
    later = np.arange(steepest, len(x))
    area = 0.5 * (x[steepest] - x[later]) * (2.0 * at[-1] - at[later] - at[steepest])
    return float(at[later[area.argmax()]])
