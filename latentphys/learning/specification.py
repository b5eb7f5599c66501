"""The model that fits some recordings: sizes, rates and channel names read off them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from latentphys.model.emissions import Likelihood
from latentphys.model.statespace import SensorSpec
from latentphys.model.texts import TextSpec
from latentphys.preparation.frames import PixelGrid
from latentphys.preparation.preprocessing import PreparedRecord, PreparedSignal, Scale, SignalPlan
from latentphys.preparation.tokens import STOP, UNK, TextReader
from latentphys.recordings.errors import FitError

MOST_PER_STEP = 16
HEAVY_TAILED = ("ecg",)  # QRS complexes: rare, large, sharp


def sensors_of(
    records: Sequence[PreparedRecord],
    state_rate_hz: float,
    plans: Mapping[str, SignalPlan] | None = None,
) -> dict[str, SensorSpec]:
    """What the model must know of each modality that was observed at all.

    Args:
        records: prepared training records.
        state_rate_hz: the model's clock.
        plans: what they were prepared by.

    Raises:
        FitError: nothing was observed, or images of one name that are not all of one size.
    """
    # One pass, a record at a time: records may be mapped from files that exceed the memory.
    seen: dict[str, list[PreparedSignal]] = {}
    for record in records:
        for name, signal in record.signals.items():
            if np.isfinite(signal.values).any():
                seen.setdefault(name, []).append(_without_samples(signal))
    sensors = {}
    for name, signals in sorted(seen.items()):
        rate = float(np.median([s.rate_hz for s in signals]))
        count = Counter(channel for s in signals for channel in s.channels)
        units = Counter(s.units for s in signals)
        channels = tuple(channel for channel, _ in count.most_common())
        location, scale = _typical(signals, channels)
        sensors[name] = SensorSpec(
            size=int(np.clip(round(rate / state_rate_hz), 1, MOST_PER_STEP)),
            channels=channels,
            likelihood=_likelihood(name, signals),
            rate_hz=rate,
            units=units.most_common(1)[0][0],
            location=location,
            scale=scale,
            reach=_reach(signals, (plans or {}).get(name, SignalPlan()), state_rate_hz / rate),
            source=signals[0].source,
            grid=_grid(name, signals),
        )
    if not sensors:
        raise FitError(
            "a fit needs at least one observed sample; every modality of the training records is "
            "NaN throughout. Look at them with lp.plot_record."
        )
    return sensors


def _typical(
    signals: Sequence[PreparedSignal], channels: Sequence[str]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Median location and scale of each channel; of one never observed, the median of all."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in channels}
    for signal in signals:
        scaling = zip(signal.scale.location, signal.scale.scale, strict=True)
        for name, own in zip(signal.channels, scaling, strict=True):
            if np.isfinite(own).all():
                found[name].append(own)
    together = [own for every in found.values() for own in every]
    each = np.array([np.median(every or together, axis=0) for every in found.values()])
    return tuple(each[:, 0].tolist()), tuple(each[:, 1].tolist())


def _reach(signals: Sequence[PreparedSignal], plan: SignalPlan, steps: float) -> int:
    """State steps that a sample's preparation has looked to either side; `steps` a sample."""
    embedded = max(signal.window_s * signal.rate_hz for signal in signals) / 2.0
    return math.ceil(max(plan.reach, embedded) * steps)


def text_spec(reader: TextReader) -> TextSpec:
    """What the model must know of the text that a reader reads."""
    words = reader.known
    unknown, stop = words.id_of(UNK), words.id_of(STOP)
    stops = () if stop == unknown else (stop,)
    return TextSpec(reader.name, len(words), unknown, stops, words.digest)


def _likelihood(name: str, signals: Sequence[PreparedSignal]) -> Likelihood:
    """The family of one modality's samples."""
    if all(signal.binary for signal in signals):
        return "bernoulli"
    return "student_t" if name in HEAVY_TAILED else "normal"


def _grid(name: str, signals: Sequence[PreparedSignal]) -> PixelGrid | None:
    """The pixels of one modality's images, their spacing the median; None of signals."""
    grids = [signal.grid for signal in signals if signal.grid is not None]
    if not grids:
        return None
    shapes = {grid.shape for grid in grids}
    if len(grids) < len(signals) or len(shapes) > 1:
        raise FitError(
            f"a modality is a signal or images of one size in all records; {name!r} is images of "
            f"{sorted(shapes)} in {len(grids)} of {len(signals)} records. Prepare them by one "
            "plan, whose frame says the size, or rename one of them."
        )
    commonest = Counter(grid.units for grid in grids).most_common(1)[0][0]
    spacing = np.median([grid.spacing for grid in grids if grid.units == commonest], axis=0)
    return PixelGrid(grids[0].shape, (float(spacing[0]), float(spacing[1])), commonest)


def _without_samples(signal: PreparedSignal) -> PreparedSignal:
    """The signal's labels and scaling, NaN of channels without samples."""
    seen = np.isfinite(signal.values).any(axis=1)
    scale = Scale(*(np.where(seen, x, np.nan) for x in (signal.scale.location, signal.scale.scale)))
    nothing = np.zeros((len(signal.channels), 0), np.float32)
    return replace(signal, values=nothing, time_s=None, scale=scale)
