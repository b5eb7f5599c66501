"""Image sequences as signals: the pixels of a frame are samples at the frame's time.

    frame (y, x) at t   ->   height * width samples at t, row by row

So a frame belongs to the state step its time falls in, at its offset there; a pixel that is NaN
and a frame that is absent are samples not observed; and slices of a stack are channels. Nothing
after this file needs to know of images but their encoder and their emission.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

LEAST_SEEN = 0.5  # of a pixel's area; below it the pixel is not observed


@dataclass(frozen=True)
class PixelGrid:
    """Where the pixels of a frame lie.

    Attributes:
        shape: (height, width) in pixels.
        spacing: (y, x) from one pixel's centre to the next.
        units: of the spacing; "px" where the images do not tell it.
    """

    shape: tuple[int, int]
    spacing: tuple[float, float] = (1.0, 1.0)
    units: str = "px"

    @property
    def pixels(self) -> int:
        """Of one frame."""
        return self.shape[0] * self.shape[1]

    def coords(self) -> dict[str, tuple[str, NDArray[Any], dict[str, str]]]:
        """Centres of the pixels, from the image's edge, as coordinates y and x."""
        return {
            name: (name, (np.arange(count) + 0.5) * step, {"units": self.units})
            for name, count, step in zip("yx", self.shape, self.spacing, strict=True)
        }


def grid_of(images: xr.DataArray, shape: tuple[int, int]) -> PixelGrid:
    """The grid of a shape over the area that some images show."""
    height, width = images.sizes["y"], images.sizes["x"]
    told = images.attrs.get("spacing_xyz")
    own = (1.0, 1.0) if told is None else (float(told[1]), float(told[0]))
    spacing = (own[0] * height / shape[0], own[1] * width / shape[1])
    units = "px" if told is None else str(images.attrs.get("spacing_units", ""))
    return PixelGrid(shape, spacing, units)


def resampled(frames: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Frames (..., y, x) on another grid: each new pixel is the mean of what it covers.

        new = sum_i area_i seen_i x_i / sum_i area_i seen_i

    A pixel of which less than half was observed is NaN. Frames of that shape come back as they
    are, bit for bit.
    """
    if frames.shape[-2:] == shape:
        return frames
    down, across = (_overlap(n, m) for n, m in zip(frames.shape[-2:], shape, strict=True))
    seen = np.isfinite(frames)
    covered = down @ seen.astype(np.float32) @ across.T
    total = down @ np.where(seen, frames, 0.0) @ across.T
    enough = covered >= LEAST_SEEN
    mean = np.divide(total, covered, out=np.full_like(total, np.nan), where=enough)
    return mean.astype(np.float32)


def _overlap(old: int, new: int) -> NDArray[np.float32]:
    """(new, old): the share of each new pixel's width that an old one covers; rows sum to 1."""
    edges = np.arange(new + 1) * (old / new)
    low, high = edges[:-1, None], edges[1:, None]
    place = np.arange(old)
    shared = np.minimum(high, place + 1) - np.maximum(low, place)
    return (np.clip(shared, 0.0, None) * (new / old)).astype(np.float32)


def as_samples(
    images: xr.DataArray, shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float64], tuple[str, ...]]:
    """Pixels in the order of their frames' times.

    Args:
        images: (time, y, x) or (slice, time, y, x), NaN = not observed.
        shape: (height, width) to bring the frames to.

    Returns:
        Values (slice, frame * pixel), their times (frame * pixel,), and names of the slices.
    """
    values = np.asarray(images.values, dtype=np.float32)
    values = values if values.ndim == 4 else values[None]
    frames = resampled(values, shape)
    time = np.repeat(np.asarray(images["time"].values, np.float64), shape[0] * shape[1])
    if "slice" in images.coords:
        names = tuple(str(name) for name in images["slice"].values)
    else:
        names = tuple(f"slice {k + 1}" for k in range(len(values)))
    return frames.reshape(len(values), -1), time, names


def as_frames(values: NDArray[np.float32], grid: PixelGrid) -> NDArray[np.float32]:
    """Samples (..., frame * pixel) as frames (..., frame, y, x)."""
    return values.reshape(*values.shape[:-1], -1, *grid.shape)
