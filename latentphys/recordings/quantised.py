"""Samples as 16-bit integers with a scale a channel, exact where a converter made them."""

import numpy as np
from numpy.typing import NDArray

from latentphys.recordings.errors import WriteError

MISSING = np.iinfo(np.int16).min
_LEVELS = 65534  # -32767 ... 32767
_PROBES = 12


def quantised(
    values: NDArray[np.floating], what: str
) -> tuple[NDArray[np.int16], NDArray[np.float64], NDArray[np.float64]]:
    """value = offset + scale * stored; NaN is -32768.

    Values that lie on the grid of an analogue-digital converter keep that grid, so nothing is
    lost but float32's own rounding; others are rounded to 1/65534 of their range.

    Args:
        values: (channel, time), NaN = not observed.
        what: for messages.

    Returns:
        stored (channel, time), scale (channel,), offset (channel,).

    Raises:
        WriteError: infinite values.
    """
    if np.isinf(values).any():
        raise WriteError(
            f"int16 holds finite values only; {what} has infinite ones. Mark them as NaN, or "
            "write float32."
        )
    stored = np.full(values.shape, MISSING, dtype=np.int16)
    scale, offset = np.ones(len(values)), np.zeros(len(values))
    for row, x in enumerate(values.astype(np.float64)):
        seen = ~np.isnan(x)
        if not seen.any():
            continue
        least, most = float(x[seen].min()), float(x[seen].max())
        scale[row] = _step(x[seen], least, most)
        steps = round((most - least) / scale[row])
        # Centred, so that the stored integers use both signs.
        offset[row] = least + scale[row] * (steps // 2)
        stored[row, seen] = np.rint((x[seen] - offset[row]) / scale[row]).astype(np.int16)
    return stored, scale, offset


def dequantised(
    stored: NDArray[np.int16], scale: NDArray[np.float64], offset: NDArray[np.float64]
) -> NDArray[np.float32]:
    """(channel, time) float32, NaN where the stored integer says so."""
    values = (offset[:, None] + scale[:, None] * stored).astype(np.float32)
    values[stored == MISSING] = np.nan
    return values


def _step(seen: NDArray[np.float64], least: float, most: float) -> float:
    """The converter's step if the values lie on one grid of at most 65534 steps."""
    if most == least:
        return 1.0
    levels = (np.unique(seen) - least) / (most - least)
    # A value may be off the grid by float32's rounding, and by little against the finest grid.
    rounding = float(np.finfo(np.float32).eps) * max(abs(least), abs(most)) / (most - least)
    off = rounding + 0.02 / _LEVELS
    counts = np.arange(1, _LEVELS + 1)
    counts = counts[counts * off < 0.2]
    # A few levels rule out nearly all numbers of steps; the rest are tried on every level.
    few = levels[np.linspace(0, len(levels) - 1, _PROBES).astype(np.int64)]
    counts = counts[_off_grid(few, counts[:, None]).max(1) <= off * counts]
    for count in counts:
        if _off_grid(levels, count).max() <= off * count:
            return (most - least) / int(count)
    return (most - least) / _LEVELS


def _off_grid(levels: NDArray[np.float64], count: NDArray[np.int64]) -> NDArray[np.float64]:
    """Distance of levels in [0, 1] from the nearest of `count` equal steps, in steps."""
    steps = levels * count
    return np.abs(steps - np.rint(steps))
