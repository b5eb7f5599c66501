"""Recordings changed by a known amount, samples alone: what an audit doses a model with.

Every edit gives a new record on the same sample times; holes stay holes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from latentphys.preparation.preprocessing import DEFAULT_PLANS
from latentphys.recordings.record import Record

Array = NDArray[np.float64]
# Figures of absolute size, which no amplifier changes.
ABSOLUTE = tuple(name for name, plan in DEFAULT_PLANS.items() if plan.location is not None)


def edited(record: Record, modality: str, change: Callable[[Array, Array], Array]) -> Record:
    """The record with `change(samples (time,), times (time,))` for every channel of a modality."""
    signal = record.signals[modality]
    times = signal["time"].values.astype(np.float64)
    rows = [change(row.astype(np.float64), times) for row in signal.values]
    changed = signal.copy(data=np.stack(rows).astype(signal.dtype))
    return replace(record, signals={**record.signals, modality: changed})


def shifted(record: Record, modality: str, delay_s: float) -> Record:
    """x(t - delay): one sensor later than the others, by straight lines between samples.

    Example:
        >>> one = Record.from_arrays({"ppg": (np.arange(5.0), 1.0)}, subject="s01")
        >>> shifted(one, "ppg", 0.5).signals["ppg"].values.tolist()
        [[nan, 0.5, 1.5, 2.5, 3.5]]
    """
    return edited(record, modality, lambda x, t: _at(x, t, t - delay_s))


def all_shifted(record: Record, delay_s: float) -> Record:
    """Every sensor later by the same time: a recorder whose clock is off."""
    for name in record.modalities:
        record = shifted(record, name, delay_s)
    return record


def at_tempo(record: Record, factor: float) -> Record:
    """x(factor * t) of every sensor: all of the body faster by a factor, holes at the end."""
    for name in record.modalities:
        record = edited(record, name, lambda x, t: _at(x, t, t * factor))
    return record


def amplified(record: Record, gains: Mapping[str, float]) -> Record:
    """Modalities times a gain each."""
    for name, gain in gains.items():
        record = edited(record, name, lambda x, t, gain=gain: x * gain)  # type: ignore[misc]
    return record


def noisy(record: Record, modality: str, share: float, rng: np.random.Generator) -> Record:
    """White noise added, of `share` of each channel's standard deviation."""

    def louder(x: Array, _: Array) -> Array:
        seen = x[np.isfinite(x)]
        return x + share * (seen.std() if len(seen) else 0.0) * rng.standard_normal(len(x))

    return edited(record, modality, louder)


def _at(x: Array, times: Array, wanted: Array) -> Array:
    """Straight lines between samples; NaN beyond the ends and next to holes."""
    return np.interp(wanted, times, x, left=np.nan, right=np.nan)
