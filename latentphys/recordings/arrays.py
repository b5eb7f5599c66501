"""Arrays as other libraries hold them: dims by name, masks, times of day."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from latentphys.recordings.errors import RateError

LEAST_EVEN = 10  # times: a few values an hour apart are no rate
_LATEST_S = 1e8  # three years; no recording waits so long for its first sample


def by_channel(
    samples: ArrayLike, labels: Sequence[str] | None = None
) -> tuple[ArrayLike, Sequence[str] | None]:
    """(samples (channel, time), channel names): dims that have names are put in their order.

    A DataFrame has a row a sample, a DataArray its dimension `time`; their own names are taken
    where none are given. What has neither is given back.

    Args:
        samples: anything like an array.
        labels: channel names, if they are given.

    Example:
        >>> x = xr.DataArray(np.zeros((5, 2)), {"channel": ["I", "II"]}, ("time", "channel"))
        >>> samples, names = by_channel(x)
        >>> samples.shape, names
        ((2, 5), ['I', 'II'])
    """
    import pandas as pd

    if isinstance(samples, pd.DataFrame):
        own = None if isinstance(samples.columns, pd.RangeIndex) else samples.columns
        samples = samples.to_numpy().T
    elif isinstance(samples, xr.DataArray) and samples.ndim == 2 and "time" in samples.dims:
        samples = samples.transpose(..., "time")
        axis = samples.dims[0]
        own = samples.coords[axis] if axis in samples.coords else None
        samples = samples.to_numpy()
    else:
        return samples, labels
    if labels is None and own is not None:
        labels = [str(name) for name in np.asarray(own)]
    return samples, labels


def unmasked(samples: ArrayLike) -> NDArray[Any]:
    """The samples as a plain array, NaN where a masked array is masked.

    Example:
        >>> unmasked(np.ma.masked_greater([1, 2, 3], 2))
        array([ 1.,  2., nan], dtype=float32)
    """
    if isinstance(samples, np.ma.MaskedArray) and samples.dtype.kind in "fiub":
        kind = samples.dtype if samples.dtype.kind == "f" else np.float32
        return np.asarray(np.ma.filled(samples.astype(kind), np.nan))
    return np.asarray(samples)


def seconds_of(times: ArrayLike, name: str) -> NDArray[np.float64]:
    """Sample times as seconds from the record's start.

    Args:
        times: (time,).
        name: the modality, for messages.

    Raises:
        RateError: dates, or numbers that count from elsewhere.
    """
    found = np.asarray(times)
    if found.dtype.kind not in "fiu":
        raise RateError(
            f"sample times are numbers, seconds from the record's start; those of {name!r} are "
            f"{found.dtype}. Write (times - start) / np.timedelta64(1, 's'), start being the first "
            "time of all the record's signals."
        )
    seconds = found.astype(np.float64)
    if seconds.size and seconds.flat[0] > _LATEST_S:
        raise RateError(
            f"sample times count from the record's start, not from a date: the first is "
            f"{_LATEST_S:g} s at most, that of {name!r} is {seconds.flat[0]:.10g} s. Write "
            "times - times[0]; in a record of several signals, the earliest time of them all."
        )
    return seconds


def even_rate(times: NDArray[np.float64]) -> float:
    """Samples a second, NaN where the times are not even to a hundredth of a step.

    Args:
        times: seconds (time,), the first of them 0.

    Example:
        >>> even_rate(np.arange(5) / 125), even_rate(np.array([0.0, 1.0, 3.0]))
        (125.0, nan)
    """
    step = times[-1] / max(1, times.size - 1) if times.size else 0.0
    if not (np.isfinite(step) and step > 0):
        return np.nan
    grid = np.arange(times.size) * step
    if not np.abs(times - grid).max() <= 0.01 * step:
        return np.nan
    rate_hz = 1.0 / step
    # Printed times are rounded: 0.004 s steps are 250 Hz.
    return (
        float(round(rate_hz)) if abs(rate_hz - round(rate_hz)) < 1e-6 * rate_hz else float(rate_hz)
    )


def rate_or_times(rate: float | ArrayLike, name: str) -> float | ArrayLike:
    """The rate that sample times from 0 on have, where they have one; else what is given.

    Args:
        rate: samples a second, or sample times (s).
        name: the modality, for messages.

    Raises:
        RateError: as `seconds_of`.
    """
    if np.ndim(rate) != 1 or np.size(rate) < LEAST_EVEN:
        return rate
    times = seconds_of(rate, name)
    found = even_rate(times)
    return times if np.isnan(found) else found
