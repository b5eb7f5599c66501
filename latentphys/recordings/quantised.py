"""Samples as 16-bit integers with a scale a channel, exact where a converter made them."""

import numpy as np
from numpy.typing import NDArray

from latentphys.recordings.errors import WriteError

MISSING = np.iinfo(np.int16).min
_LEVELS = 65534  # -32767 ... 32767


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
    """The converter's step if the values lie on one grid of at most 65534 of them."""
    if most == least:
        return 1.0
    coarse = (most - least) / _LEVELS
    levels = np.unique(seen)
    gaps = np.diff(levels)
    # Gaps far under the range's share are float32's rounding of one level, not two levels.
    gaps = gaps[gaps > 1e-3 * coarse]
    if gaps.min() < coarse:
        return coarse
    count = round((most - least) / gaps.min())
    step = (most - least) / count
    off = (seen - least) / step
    return step if np.abs(off - np.rint(off)).max() < 0.02 else coarse
