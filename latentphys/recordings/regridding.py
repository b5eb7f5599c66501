"""A signal read off at another rate, run by run, so that NaN neither spreads nor vanishes."""

import numpy as np

# A Butterworth of order 4, forwards and backwards: 8 in all, no shift in time.
_ORDER = 4


def on_grid(
    values: np.ndarray, times: np.ndarray, own_hz: float, rate_hz: float, count: int
) -> np.ndarray:
    """Samples at 0, 1/rate_hz, ..., NaN where the signal was not observed.

    Warning: a run shorter than three cycles of the new rate is interpolated without a low-pass.

    Args:
        values: (time,), NaN where not observed.
        times: seconds (time,), regular.
        own_hz: rate of `values`.
        rate_hz: rate of the answer.
        count: its length.

    Example:
        >>> on_grid(np.array([0.0, 1.0, np.nan, 3.0]), np.arange(4.0), 1.0, 1.0, 4)
        array([ 0.,  1., nan,  3.])
    """
    grid = np.arange(count) / rate_hz
    out = np.full(count, np.nan)
    seen = ~np.isnan(values)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], seen, [False]])))
    for start, stop in edges.reshape(-1, 2).tolist():
        run, at = values[start:stop].astype(np.float64), times[start:stop]
        # A sample stands for half a step on either side, so runs meet without a hole.
        reach = 0.5 / max(own_hz, rate_hz) * (1 - 1e-6)
        inside = np.flatnonzero((grid >= at[0] - reach) & (grid <= at[-1] + reach))
        if inside.size == 0:
            continue
        if own_hz == rate_hz:
            out[inside] = run[np.rint((grid[inside] - at[0]) * own_hz).astype(int)]
        else:
            smooth = _below(run, own_hz, rate_hz) if rate_hz < own_hz else run
            out[inside] = _read_off(smooth, at, np.clip(grid[inside], at[0], at[-1]))
    return out


def _below(run: np.ndarray, own_hz: float, rate_hz: float) -> np.ndarray:
    """The run without what the new rate cannot hold."""
    from scipy.signal import butter, sosfiltfilt

    if run.size < 3 * own_hz / rate_hz + 6 * _ORDER:
        return run
    sections = butter(_ORDER, 0.4 * rate_hz, fs=own_hz, output="sos")
    return sosfiltfilt(sections, run)


def _read_off(run: np.ndarray, at: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    from scipy.interpolate import make_interp_spline

    if run.size < 4:
        return np.interp(wanted, at, run)
    return make_interp_spline(at, run, k=3)(wanted)
