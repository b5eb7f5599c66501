"""What the model sees. NaN becomes (value, mask) here, once, and torch starts here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentphys.preparation.preprocessing import PreparedRecord, PreparedSignal
from latentphys.preparation.windows import WindowIndex, first_sample, samples_per_step


@dataclass
class Batch:
    """Windows of equal length.

    Attributes:
        values: modality -> (batch, step, channel, patch), 0 where not observed.
        mask: modality -> the same shape, True = observed.
        offset: modality -> (batch, step, patch), where in its state step a sample lies, [0, 1).
        channels: modality -> a tuple of channel names a window, "" for a place left empty.
        inputs: u, (batch, step, input), or None.
        subject, record: whose window it is.
        start_step: (batch,), state step of the record the window starts on.
        state_rate_hz: steps a second.
    """

    values: dict[str, Tensor]
    mask: dict[str, Tensor]
    offset: dict[str, Tensor]
    channels: dict[str, list[tuple[str, ...]]]
    inputs: Tensor | None
    subject: list[str]
    record: list[str]
    start_step: Tensor
    state_rate_hz: float
    steps: int

    def __len__(self) -> int:
        return len(self.record)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that at least one window has."""
        return tuple(self.values)

    def drop(self, *modalities: str) -> Batch:
        """The same windows without some modalities."""
        kept = [name for name in self.values if name not in modalities]
        return replace(
            self,
            values={name: self.values[name] for name in kept},
            mask={name: self.mask[name] for name in kept},
            offset={name: self.offset[name] for name in kept},
            channels={name: self.channels[name] for name in kept},
        )


@dataclass(frozen=True)
class Places:
    """Where a window's samples lie: (step, patch) sample numbers, which exist, and offsets."""

    sample: NDArray[np.int64]
    exists: NDArray[np.bool_]
    offset: NDArray[np.float32]


def places(signal: PreparedSignal, start: int, steps: int, state_rate_hz: float) -> Places:
    """The samples of each state step of one window: sample i belongs to floor(t_i * state rate)."""
    step = np.arange(start, start + steps + 1, dtype=np.int64)
    first = first_sample(signal, step, state_rate_hz)
    count = np.diff(first)
    width = max(1, int(count.max(initial=1)))
    if signal.time_s is None:
        width = max(width, math.ceil(samples_per_step(signal, state_rate_hz)))
    slot = np.arange(width)
    sample = first[:-1, None] + slot
    length = signal.values.shape[1]
    exists = (slot < count[:, None]) & (sample >= 0) & (sample < length)
    if signal.time_s is None:
        ratio = samples_per_step(signal, state_rate_hz)
        remainder = sample * ratio.denominator - step[:-1, None] * ratio.numerator
        offset = remainder / ratio.numerator
    else:
        time = signal.time_s[np.clip(sample, 0, max(length - 1, 0))]
        offset = time * state_rate_hz - step[:-1, None]
    return Places(sample, exists, np.clip(offset, 0.0, 1.0).astype(np.float32))


def collate(
    records: Sequence[PreparedRecord],
    index: WindowIndex,
    rows: Sequence[int] | NDArray[np.int64],
    modalities: Sequence[str],
) -> Batch:
    """Gather windows into a Batch; a modality that none of them has is left out.

    Args:
        records: the records the index points into.
        index: windows.
        rows: which windows.
        modalities: in the order the batch shall have.
    """
    chosen = [records[int(index.record_index[row])] for row in rows]
    starts = [int(index.start_step[row]) for row in rows]
    clock, steps = index.state_rate_hz, index.steps
    values, mask, offset, channels = {}, {}, {}, {}
    for name in modalities:
        signals = [record.signals.get(name) for record in chosen]
        if any(signal is not None for signal in signals):
            values[name], mask[name], offset[name], channels[name] = _gather(
                signals, starts, steps, clock
            )
    return Batch(
        values=values,
        mask=mask,
        offset=offset,
        channels=channels,
        inputs=_inputs(chosen, starts, steps, clock),
        subject=[record.subject for record in chosen],
        record=[record.record for record in chosen],
        start_step=torch.tensor(starts, dtype=torch.int64),
        state_rate_hz=clock,
        steps=steps,
    )


def _gather(
    signals: Sequence[PreparedSignal | None], starts: Sequence[int], steps: int, clock: float
) -> tuple[Tensor, Tensor, Tensor, list[tuple[str, ...]]]:
    """Values, mask, offset and channel names of one modality."""
    # A gap longer than the window leaves an irregular signal without a sample in it.
    found = [
        None if signal is None or not signal.values.size else places(signal, start, steps, clock)
        for signal, start in zip(signals, starts, strict=True)
    ]
    width = max((place.sample.shape[1] for place in found if place is not None), default=1)
    count = max(len(signal.channels) for signal in signals if signal is not None)
    values = np.full((len(signals), steps, count, width), np.nan, dtype=np.float32)
    offset = np.tile(np.arange(width, dtype=np.float32) / width, (len(signals), steps, 1))
    names = []
    for row, (signal, place) in enumerate(zip(signals, found, strict=True)):
        if signal is None or place is None:
            names.append(("",) * count)
            continue
        own, patch = len(signal.channels), place.sample.shape[1]
        safe = np.clip(place.sample, 0, max(signal.values.shape[1] - 1, 0))
        taken = np.where(place.exists, signal.values[:, safe], np.nan)
        values[row, :, :own, :patch] = taken.transpose(1, 0, 2)
        offset[row, :, :patch] = place.offset
        names.append(signal.channels + ("",) * (count - own))
    observed = np.isfinite(values)
    values[~observed] = 0.0
    return torch.from_numpy(values), torch.from_numpy(observed), torch.from_numpy(offset), names


def _inputs(
    records: Sequence[PreparedRecord], starts: Sequence[int], steps: int, clock: float
) -> Tensor | None:
    """u at the middle of each step, (batch, step, input); a record without u is not driven (0)."""
    sizes = [len(record.inputs) for record in records if record.inputs is not None]
    if not sizes:
        return None
    inputs = np.zeros((len(records), steps, max(sizes)), dtype=np.float32)
    for row, (record, start) in enumerate(zip(records, starts, strict=True)):
        if record.inputs is None:
            continue
        middle = (start + np.arange(steps) + 0.5) / clock
        at = np.floor(middle * record.inputs_rate_hz).astype(np.int64)
        at = np.clip(at, 0, record.inputs.shape[1] - 1)
        inputs[row, :, : len(record.inputs)] = np.nan_to_num(record.inputs[:, at]).T
    return torch.from_numpy(inputs)
