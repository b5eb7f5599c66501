"""One averaged beat of a real-time image sequence, its frames sorted by the heart's phase."""

from __future__ import annotations

import numpy as np
import xarray as xr

from latentphys.preparation.beats import beat_intervals
from latentphys.recordings.arguments import number_between, whole_number
from latentphys.recordings.errors import LabelError, ModalityError, closest, listed
from latentphys.recordings.images import image_array
from latentphys.recordings.record import Record


def gate_images(
    record: Record, modality: str = "cine", frames: int = 20, tolerance: float = 0.2
) -> xr.DataArray:
    """A mean beat, from R peak to R peak, as an ECG-gated scan gives it.

        frame b = mean of x_t over floor(frames (t - R_k) / (R_{k+1} - R_k)) = b,   k a usual beat

    A beat whose length is further from the median one than `tolerance` of it is left out, as a
    scanner rejects an arrhythmia. Systole shortens less than the beat does, so that a mean over
    beats of very different lengths blurs; a narrower tolerance blurs less and averages less.

    Args:
        record: with the images, and with marked beats or an ECG they are found in.
        modality: which images.
        frames: of the mean beat; the first begins at the R peak.
        tolerance: of a beat's length, a share of the median.

    Returns:
        An image sequence of `frames` frames over one median beat: ([slice,] time, y, x), NaN
        where no frame fell; coordinates phase (0 at the R peak, 1 at the next) and count (how
        many frames each is the mean of); the images' attributes, and `beats`, how many were used.

    Raises:
        ModalityError: no such images.
        LabelError: neither marked beats nor an ECG to find them in, or no frame in a usual beat.
        ArgumentError: no frames, or no tolerance.

    References:
        Lanzer et al. (1984), Cardiac imaging using gated magnetic resonance. Radiology 150.
    """
    if modality not in record.images:
        raise ModalityError(
            f"record {record.record!r} has no images {modality!r}; it has {listed(record.images)}."
            f"{closest(modality, record.images)} Simulate some with cine_rate_hz=12.5."
        )
    frames = whole_number("frames", frames, 1, "20 is usual.")
    tolerance = number_between("tolerance", tolerance, 0.0, 1.0, "0.2 is usual.")
    images, (start, stop) = record.images[modality], beat_intervals(record)
    typical = float(np.median(stop - start))
    usual = np.abs(stop - start - typical) <= tolerance * typical
    time = images["time"].values
    at = np.searchsorted(start, time, side="right") - 1
    inside = (at >= 0) & (time < stop[at]) & usual[at]
    if not inside.any():
        raise LabelError(
            f"no frame of {modality!r} of record {record.record!r} lies in a beat within "
            f"{tolerance:g} of the median {typical:.2f} s. Pass a larger tolerance, or look at its "
            "beats with latentphys.preparation.beats.beat_times."
        )
    at = at[inside]
    phase = (time[inside] - start[at]) / (stop[at] - start[at])
    place = np.minimum((phase * frames).astype(int), frames - 1)
    mean, count = _means(images.values[..., inside, :, :], place, frames)
    beat = image_array(mean, frames / typical, name=modality, units=str(images.attrs["units"]))
    kept = {**images.attrs, **beat.attrs, "beats": len(np.unique(at))}
    middle = (np.arange(frames) + 0.5) / frames
    return beat.assign_coords(phase=("time", middle), count=("time", count)).assign_attrs(kept)


def _means(x: np.ndarray, place: np.ndarray, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean of the frames of each place, NaN where there are none, and how many there are."""
    seen = np.isfinite(x)
    order = (*x.shape[:-3], frames, *x.shape[-2:])
    total, weight = np.zeros(order), np.zeros(order)
    for b in range(frames):
        here = place == b
        total[..., b, :, :] = np.where(seen, x, 0.0)[..., here, :, :].sum(-3)
        weight[..., b, :, :] = seen[..., here, :, :].sum(-3)
    mean = np.divide(total, weight, out=np.full(order, np.nan), where=weight > 0)
    there = seen.any(axis=(-2, -1)).reshape(-1, len(place)).any(0)
    return mean.astype(np.float32), np.bincount(place[there], minlength=frames)
