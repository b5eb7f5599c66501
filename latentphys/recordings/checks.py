"""Do the clocks of a record's sensors agree? Offset, drift and overlap of its modalities."""

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from latentphys.recordings.errors import ModalityError, RateError, listed
from latentphys.recordings.record import Record

if TYPE_CHECKING:
    import pandas as pd

# Modalities in which every heart beat shows as one steep slope, and whether only rising counts.
PULSATILE = {"ecg": False, "ppg": True, "abp": True}
GRID_HZ = 50.0
SMOOTH_S = 0.06  # about the width of a QRS complex
WINDOW_S = 30.0
STEEPEST_MS_PER_MIN = 200.0
# Of a window's lag from the line all windows agree on: further off it is another beat's.
NEAR_S = 0.15
LEAST_CORRELATION = 0.1

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Alignment:
    """How the clock of one modality runs against another's.

        lag(t) = offset_s + drift_ms_per_min * t / 60000,    t in seconds on the first one's clock

    Attributes:
        one, other: the modalities; a positive lag means that `other` comes later.
        offset_s: lag at the record's start; it holds the time a pulse needs to travel.
        drift_ms_per_min: how much the lag grows; 1 ms a minute is 17 parts in a million.
        overlap_s: seconds in which both are observed.
        correlation: mean correlation of the beats along the line, from 0 to 1; under 0.1 or so
            offset and drift mean nothing and are NaN.
        lags: (window,) seconds, the lag of each window by itself, with coordinate `time` (s, its
            middle); NaN where nothing agrees with the line.
    """

    one: str
    other: str
    offset_s: float
    drift_ms_per_min: float
    overlap_s: float
    correlation: float
    lags: xr.DataArray


def alignment(record: Record, one: str, other: str, *, longest_s: float = 5.0) -> Alignment:
    """Clock offset and drift between two modalities that both show the heart beat.

        beats(t)  = squared slope of the ECG, squared rising slope of a pulse, over 60 ms, at 50 Hz
        C_w(lag)  = correlation of beats_one(t) and beats_other(t + lag) over window w of 30 s
        (offset, drift) = argmax sum_w C_w(offset + drift t_w)

    One window alone would fit a beat too late almost as well; beats are never evenly spaced, so
    over several windows only the true line adds up, as the heart rate's variability tells
    recordings apart. Each window's own peak near the line (parabola through three points) then
    gives its lag, and a Theil-Sen line through them offset and drift.

    On simulated records of 4 minutes with clocks set wrong on purpose, offsets from -3 to 3 s come
    back within 10 ms and drifts of up to 100 ms a minute within 2 ms a minute of what the record
    had before, which is the wander of its transit time (up to 6 ms a minute there). A test holds
    it to that.

    Warning:
        The offset of a pulse after an ECG contains its travel (0.1 to 0.4 s) and the monitor's own
        delays; only differences from other records of the same devices show a clock. A fixed heart
        rate (a pacemaker) leaves the offset uncertain by whole beats.

    Args:
        record: with both modalities; the first channel that was observed is used of each.
        one, other: two of `PULSATILE`.
        longest_s: the largest lag looked for, either way.

    Raises:
        ModalityError: a modality that is not there, or shows no beats.
        RateError: too slow to time a slope (under 25 Hz).

    References:
        Knapp and Carter (1976), The generalized correlation method for estimation of time delay.
        Wolling, Van Laerhoven, Siirtola and Röning (2021), PulSync: the heart rate variability as
        a unique fingerprint for the alignment of sensor data across multiple wearable devices.
        Sen (1968), Estimates of the regression coefficient based on Kendall's tau.

    Example:
        >>> from latentphys.recordings.simulation import simulate
        >>> record = simulate(1, minutes=1, seed=1, absent=0.0)[0]
        >>> found = alignment(record, "ecg", "ppg")
        >>> bool(0.05 < found.offset_s < 0.6), 50 < found.overlap_s <= 60
        (True, True)
    """
    first, second = (_beats(record, name) for name in (one, other))
    length = min(len(first), len(second))
    middles, curves, reach = _correlations(first[:length], second[:length], longest_s)
    seconds = overlap_s(record, one, other)
    nothing = Alignment(one, other, math.nan, math.nan, seconds, 0.0, _lags(middles, None))
    if not len(curves):
        return nothing
    offset, drift, strength = _line(middles, curves, reach)
    if not strength >= LEAST_CORRELATION:
        return nothing
    own = _peaks(middles, curves, reach, offset + drift * middles)
    good = np.isfinite(own)
    if good.sum() >= 3:
        from scipy.stats import theilslopes

        drift, offset, _, _ = theilslopes(own[good], middles[good])
    elif good.any():
        offset, drift = float(np.median(own[good])), 0.0
    return Alignment(
        one, other, float(offset), float(drift) * 6e4, seconds, strength, _lags(middles, own)
    )


def alignments(record: Record, *, longest_s: float = 5.0) -> "pd.DataFrame":
    """Overlap of every pair of a record's modalities; offset and drift where both show beats.

    Returns:
        DataFrame with one, other, overlap_s, offset_s, drift_ms_per_min, correlation; NaN where a
        pair shows no beats to go by.

    Example:
        >>> from latentphys.recordings.simulation import simulate
        >>> alignments(simulate(1, minutes=1, seed=1, absent=0.0)[0]).shape
        (6, 6)
    """
    import pandas as pd

    rows = []
    for one, other in combinations(record.modalities, 2):
        if _usable(record, one) and _usable(record, other):
            found = alignment(record, one, other, longest_s=longest_s)
            figures = (found.offset_s, found.drift_ms_per_min, found.correlation)
        else:
            figures = (math.nan, math.nan, math.nan)
        rows.append((one, other, overlap_s(record, one, other), *figures))
    columns = ["one", "other", "overlap_s", "offset_s", "drift_ms_per_min", "correlation"]
    return pd.DataFrame(rows, columns=columns)


def overlap_s(record: Record, one: str, other: str) -> float:
    """Seconds in which both modalities are observed, by tenths of a second.

    A tenth counts for a modality when one of its samples that was observed lasts into it; a sample
    lasts until the next is due.
    """
    here, there = (_observed(record.signals[name]) for name in (one, other))
    length = min(len(here), len(there))
    return float((here[:length] & there[:length]).sum() / 10)


def _observed(signal: xr.DataArray) -> NDArray[np.bool_]:
    """(tenth of a second,) whether any channel was observed then."""
    times = signal["time"].values
    seen = np.isfinite(signal.values).any(axis=0)
    step = 1.0 / (_rate(signal) or 1.0)
    begin = np.floor(times[seen] * 10 + 1e-6).astype(int)
    stop = np.maximum(begin + 1, np.ceil((times[seen] + step) * 10 - 1e-6).astype(int))
    count = np.zeros(int(stop.max(initial=0)) + 1)
    np.add.at(count, np.maximum(begin, 0), 1)
    np.add.at(count, np.maximum(stop, 0), -1)
    return count.cumsum()[:-1] > 0


def _usable(record: Record, name: str) -> bool:
    signal = record.signals[name]
    return name in PULSATILE and signal.sizes["time"] > 1 and _rate(signal) >= GRID_HZ / 2


def _rate(signal: xr.DataArray) -> float:
    """Samples a second, the median one where times are irregular; 0 of a single sample."""
    if "rate_hz" in signal.attrs:
        return float(signal.attrs["rate_hz"])
    times = signal["time"].values
    return 1.0 / float(np.median(np.diff(times))) if len(times) > 1 else 0.0


def _beats(record: Record, name: str) -> Array:
    """(time,) how steep the signal is, at 50 Hz from the record's start; 0 where not observed."""
    if name not in record.signals or name not in PULSATILE:
        raise ModalityError(
            f"alignment goes by heart beats, which {listed(PULSATILE)} show; record "
            f"{record.record!r} has {listed(record.modalities)}, asked for {name!r}. "
            "alignments(record) gives the overlap of the others."
        )
    signal = record.signals[name]
    rate = _rate(signal)
    if rate < GRID_HZ / 2:
        raise RateError(
            f"timing a beat takes at least {GRID_HZ / 2:g} samples a second; {name!r} of record "
            f"{record.record!r} has {rate:g}. Give the waveform, not a trend."
        )
    seen = np.isfinite(signal.values).any(axis=1)
    times = signal["time"].values
    values = signal.values[int(seen.argmax())].astype(np.float64)
    slope = np.diff(values) / np.maximum(np.diff(times), 0.1 / rate)
    slope = np.nan_to_num(slope)  # a gap has no slope
    slope = np.maximum(slope, 0.0) if PULSATILE[name] else slope
    width = max(1, round(SMOOTH_S * rate))
    power = np.convolve(slope**2, np.ones(width) / width, mode="same")
    # One ectopic or one artefact must not outweigh a thousand beats.
    power = np.minimum(power, np.quantile(power, 0.99))
    grid = np.arange(0.0, times[-1], 1.0 / GRID_HZ)
    return np.interp(grid, (times[1:] + times[:-1]) / 2, power, left=0.0, right=0.0)


def _correlations(one: Array, other: Array, longest_s: float) -> tuple[Array, Array, int]:
    """(middle of each window, correlation (window, lag), lags either way) at 50 Hz."""
    from scipy.signal import correlate

    reach = round(longest_s * GRID_HZ)
    size = min(round(WINDOW_S * GRID_HZ), len(one))
    middles, curves = [], []
    padded = np.pad(other, reach)
    for start in range(0, len(one) - size + 1, max(1, size // 2)):
        here, there = one[start : start + size], padded[start : start + size + 2 * reach]
        here = here - here.mean()
        total, squares = (_moving_sum(v, size) for v in (there, there**2))
        spread = np.sqrt(np.maximum(squares - total**2 / size, 0.0) * (here @ here))
        if not (here @ here) > 0 or not spread.max() > 0:
            continue
        product = correlate(there, here, mode="valid")  # here has mean 0: there needs none
        curves.append(product / np.maximum(spread, 1e-6 * spread.max()))
        middles.append((start + size / 2) / GRID_HZ)
    return np.array(middles), np.array(curves), reach


def _moving_sum(values: Array, size: int) -> Array:
    total = np.concatenate([[0.0], np.cumsum(values)])
    return total[size:] - total[:-size]


def _line(middles: Array, curves: Array, reach: int) -> tuple[float, float, float]:
    """(offset s, drift s/s, mean correlation) of the line on which the windows agree best."""
    span = max(middles[-1] - middles[0], 1.0)
    steepest = STEEPEST_MS_PER_MIN / 6e4
    # Steps such that neighbouring lines are a grid point apart at the record's ends.
    count = min(400, math.ceil(steepest * span * GRID_HZ)) if len(middles) > 2 else 0
    best = (0.0, 0.0, -np.inf)
    centre = middles.mean()
    lags = np.arange(-reach, reach + 1)
    rows = np.arange(len(middles))[:, None]
    for drift in np.linspace(-steepest, steepest, 2 * count + 1) if count else [0.0]:
        shift = np.rint(drift * (middles - centre) * GRID_HZ).astype(int)[:, None]
        at = reach + lags + shift
        inside = (at >= 0) & (at < curves.shape[1])
        height = np.where(inside, curves[rows, np.clip(at, 0, curves.shape[1] - 1)], 0.0).mean(0)
        top = int(height.argmax())
        if height[top] > best[2]:
            best = (float(lags[top] / GRID_HZ - drift * centre), float(drift), float(height[top]))
    return best


def _peaks(middles: Array, curves: Array, reach: int, expected: Array) -> Array:
    """Each window's own lag: its highest point near the expected one; NaN if that is an edge."""
    found = np.full(len(middles), np.nan)
    near = round(NEAR_S * GRID_HZ)
    for row, curve in enumerate(curves):
        at = reach + round(expected[row] * GRID_HZ)
        low, high = max(at - near, 0), min(at + near + 1, len(curve))
        if high - low < 3:
            continue
        top = low + int(curve[low:high].argmax())
        if top in (low, high - 1) or curve[top] < LEAST_CORRELATION:
            continue
        left, middle, right = curve[top - 1 : top + 2]
        bend = left - 2 * middle + right
        shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
        found[row] = (top - reach + shift) / GRID_HZ
    return found


def _lags(middles: Array, values: Array | None) -> xr.DataArray:
    values = np.full(len(middles), np.nan) if values is None else values
    return xr.DataArray(
        values,
        dims="window",
        coords={"time": ("window", np.asarray(middles, dtype=np.float64))},
        attrs={"units": "s"},
    )
