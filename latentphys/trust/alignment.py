"""Other sensors brought to the sample times of one: what a baseline regresses on.

The model itself needs none of this; it takes every sensor at its own rate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from latentphys.preparation.preprocessing import PreparedRecord, PreparedSignal
from latentphys.recordings.errors import FitError


def sample_times(signal: PreparedSignal) -> NDArray[np.float64]:
    """(time,): seconds from the record's start."""
    if signal.time_s is not None:
        return np.asarray(signal.time_s, dtype=np.float64)
    return np.arange(signal.values.shape[-1]) / signal.rate_hz


def target_times(record: PreparedRecord, target: str, rate_hz: float) -> NDArray[np.float64]:
    """The target's own times, or a grid of `rate_hz` over the record where it is absent."""
    if target in record.signals:
        return sample_times(record.signals[target])
    return np.arange(round(record.duration_s * rate_hz)) / rate_hz


def with_target(records: Sequence[PreparedRecord], target: str) -> list[PreparedRecord]:
    """The records that carry the target.

    Raises:
        FitError: none does.
    """
    kept = [
        r for r in records if target in r.signals and np.isfinite(r.signals[target].values).any()
    ]
    if not kept:
        raise FitError(
            f"a baseline for {target!r} needs training records that carry it; got {len(records)} "
            "records, none with a sample of it. Choose another target or training set."
        )
    return kept


def reference_channels(
    records: Sequence[PreparedRecord], modalities: Sequence[str]
) -> dict[str, str]:
    """The commonest channel name of each modality: the one a baseline reads."""
    names = {}
    for modality in modalities:
        count = Counter(
            c for r in records if modality in r.signals for c in r.signals[modality].channels
        )
        names[modality] = count.most_common(1)[0][0] if count else ""
    return names


def aligned(
    record: PreparedRecord, reference: Mapping[str, str], times: NDArray[np.float64]
) -> NDArray[np.float32]:
    """One channel of each modality at the given times.

    A faster sensor is averaged around each time, a slower one interpolated between neighbours.

    Args:
        record: standardised signals.
        reference: modality -> the channel wanted; a record without it gives its first channel.
        times: (time,), ascending seconds.

    Returns:
        (modality, time), NaN where the sensor is absent or was not observed nearby.
    """
    rows = np.full((len(reference), len(times)), np.nan, dtype=np.float32)
    for row, (modality, channel) in zip(rows, reference.items(), strict=True):
        signal = record.signals.get(modality)
        if signal is None or not len(times):
            continue
        which = signal.channels.index(channel) if channel in signal.channels else 0
        row[:] = _resampled(signal.values[which], sample_times(signal), times)
    return rows


def _resampled(
    values: NDArray[np.float32], own_times: NDArray[np.float64], times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Bin means where bins hold several samples, else straight lines across short gaps."""
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    own_step = float(np.median(np.diff(own_times))) if len(own_times) > 1 else step
    if len(values) == len(times) and np.abs(own_times - times).max() < 1e-3 * step:
        return values.astype(np.float64)
    seen = np.isfinite(values)
    if not seen.any():
        return np.full(len(times), np.nan)
    own_times, seen_values = own_times[seen], values[seen].astype(np.float64)
    if own_step < 0.67 * step:
        edges = np.concatenate([[-np.inf], (times[1:] + times[:-1]) / 2, [np.inf]])
        bins = np.searchsorted(edges, own_times, side="right") - 1
        count = np.bincount(bins, minlength=len(times))
        total = np.bincount(bins, weights=seen_values, minlength=len(times))
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)
    after = np.clip(np.searchsorted(own_times, times), 0, len(own_times) - 1)
    before = np.maximum(after - 1, 0)
    far = np.minimum(np.abs(own_times[after] - times), np.abs(times - own_times[before]))
    return np.where(far <= own_step, np.interp(times, own_times, seen_values), np.nan)
