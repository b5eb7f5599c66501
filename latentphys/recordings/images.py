"""Image sequences (cine) as the DataArrays a `Record` holds."""

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from latentphys.recordings.errors import ModalityError, RateError

_DIMS = {3: ("time", "y", "x"), 4: ("slice", "time", "y", "x")}


def image_array(frames: ArrayLike, rate_hz: float, *, name: str, units: str = "") -> xr.DataArray:
    """Frames and their rate as an image sequence, time in seconds from the first frame.

    Args:
        frames: (time, y, x) or (slice, time, y, x), NaN where not observed.
        rate_hz: frames a second.
        name: the modality, for messages.
        units: of the grey values; empty when they have none.

    Raises:
        ModalityError: frames of another shape or kind.
        RateError: a rate that is not a positive number.

    Example:
        >>> image_array(np.zeros((5, 4, 4)), 25.0, name="cine").dims
        ('time', 'y', 'x')
    """
    values = np.asarray(frames)
    if values.dtype.kind not in "fiub" or values.ndim not in _DIMS or 0 in values.shape:
        raise ModalityError(
            f"images {name!r} are numbers of shape (time, y, x) or (slice, time, y, x), got "
            f"{values.dtype} of shape {values.shape}."
        )
    if not (np.isfinite(rate_hz) and rate_hz > 0):
        raise RateError(f"the rate of images {name!r} is a positive number, got {rate_hz!r} Hz.")
    values = values if values.dtype in (np.float32, np.float64) else values.astype(np.float32)
    dims = _DIMS[values.ndim]
    times = np.arange(values.shape[dims.index("time")]) / float(rate_hz)
    attrs = {"units": units, "rate_hz": float(rate_hz)}
    return xr.DataArray(values, dims=dims, coords={"time": times}, attrs=attrs)


def check_images(what: str, images: xr.DataArray) -> None:
    """Refuses what is no image sequence.

    Raises:
        ModalityError: other dims, no floats, or no time.
        RateError: times that do not increase, or no rate.
    """
    if not isinstance(images, xr.DataArray) or images.dims not in _DIMS.values():
        got = images.dims if isinstance(images, xr.DataArray) else type(images).__name__
        raise ModalityError(
            f"{what} are a DataArray with dims {_DIMS[3]} or {_DIMS[4]}, got {got}. "
            "latentphys.recordings.images.image_array builds one from a plain array."
        )
    if images.dtype.kind != "f" or 0 in images.shape or "time" not in images.coords:
        raise ModalityError(
            f"{what} hold floats (NaN = not observed), at least one frame and a coordinate time; "
            f"got {images.dtype} of shape {images.shape} with {sorted(map(str, images.coords))}."
        )
    times = images["time"].values
    rate = float(images.attrs.get("rate_hz", np.nan))
    increasing = times.dtype.kind == "f" and np.isfinite(times).all() and (np.diff(times) > 0).all()
    if not increasing or not (np.isfinite(rate) and rate > 0):
        raise RateError(
            f"{what} have times (s) that strictly increase and an attribute rate_hz; these have "
            f"rate_hz {rate}. Build them with latentphys.recordings.images.image_array."
        )
