"""What the model sees. NaN becomes (value, mask) here, once, and torch starts here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentphys.preparation.inputs import inputs_at, names_of_inputs
from latentphys.preparation.preprocessing import PreparedRecord, PreparedSignal
from latentphys.preparation.windows import WindowIndex, first_sample, samples_per_step
from latentphys.recordings.errors import InputError, listed


@dataclass(frozen=True)
class Tokens:
    """Static texts of windows.

    Attributes:
        name: of the text.
        ids: (batch, token), 0 where `mask` is False.
        mask: the same shape, True = there; no token of a row is an absent text.
    """

    name: str
    ids: Tensor
    mask: Tensor


@dataclass
class Batch:
    """Windows of equal length.

    Attributes:
        values: modality -> (batch, step, channel, patch), 0 where not observed. A patch of images
            is the pixels of each frame in the step, row by row, frame after frame.
        mask: modality -> the same shape, True = observed.
        offset: modality -> (batch, step, patch), where in its state step a sample lies, [0, 1).
        channels: modality -> a tuple of channel names a window, "" for a place left empty.
        inputs: u, (batch, step, input), 0 where it does not drive; or None.
        input_names: of its columns; empty for a batch made by hand, whose columns are in the
            model's order.
        tokens: the text of each window's record; None when none has one.
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
    input_names: tuple[str, ...] = ()
    tokens: Tokens | None = None

    def __len__(self) -> int:
        return len(self.record)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that at least one window has."""
        return tuple(self.values)

    def driven_by(self, names: Sequence[str]) -> Tensor | None:
        """The columns of u of these names, (batch, step, input); one that is not there is 0.

        Args:
            names: in the order asked for.

        Returns:
            None without names or without inputs.

        Raises:
            InputError: columns without names, and not as many as are asked for.
        """
        if not names or self.inputs is None:
            return None
        if not self.input_names:
            if self.inputs.shape[-1] != len(names):
                raise InputError(
                    f"this model was fitted with {len(names)} inputs ({listed(names)}); the batch "
                    f"has {self.inputs.shape[-1]} without names. Name them with input_names=."
                )
            return self.inputs
        if self.input_names == tuple(names):
            return self.inputs
        zeros = torch.zeros_like(self.inputs[..., 0])
        own = dict(zip(self.input_names, self.inputs.unbind(-1), strict=True))
        return torch.stack([own.get(name, zeros) for name in names], dim=-1)

    def drop(self, *modalities: str) -> Batch:
        """The same windows without some modalities."""
        kept = [name for name in self.values if name not in modalities]
        return replace(
            self,
            values={name: self.values[name] for name in kept},
            mask={name: self.mask[name] for name in kept},
            offset={name: self.offset[name] for name in kept},
            channels={name: self.channels[name] for name in kept},
            tokens=None if self.tokens and self.tokens.name in modalities else self.tokens,
        )

    def hide(self, samples: Mapping[str, Tensor]) -> Batch:
        """The same windows with some samples not observed.

        Args:
            samples: modality -> bool, True = hidden; broadcast to its values.
        """
        mask = {name: self.mask[name] & ~hidden for name, hidden in samples.items()}
        values = {name: torch.where(kept, self.values[name], 0.0) for name, kept in mask.items()}
        return replace(self, values={**self.values, **values}, mask={**self.mask, **mask})


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
    width = int(count.max(initial=signal.pixels))
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
    inputs: Sequence[str] | None = None,
) -> Batch:
    """Gather windows into a Batch; a modality that none of them has is left out.

    Args:
        records: the records the index points into.
        index: windows.
        rows: which windows.
        modalities: in the order the batch shall have, a text's name among them.
        inputs: names of the inputs, in order; all that the windows' records have when left out.
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
    drives = names_of_inputs(chosen) if inputs is None else tuple(inputs)
    return Batch(
        values=values,
        mask=mask,
        offset=offset,
        channels=channels,
        inputs=_inputs(chosen, starts, steps, clock, drives),
        input_names=drives,
        subject=[record.subject for record in chosen],
        record=[record.record for record in chosen],
        start_step=torch.tensor(starts, dtype=torch.int64),
        state_rate_hz=clock,
        steps=steps,
        tokens=_tokens(chosen, modalities),
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
    pixels = max(signal.pixels for signal in signals if signal is not None)
    width = max((place.sample.shape[1] for place in found if place is not None), default=pixels)
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


def _tokens(records: Sequence[PreparedRecord], names: Sequence[str]) -> Tokens | None:
    """The texts of the windows' records, as long as the longest; None when none has one."""
    for name in names:
        own = [np.asarray(record.tokens.get(name, ()), np.int64) for record in records]
        if longest := max((len(ids) for ids in own), default=0):
            there = np.arange(longest) < np.array([len(ids) for ids in own])[:, None]
            ids = np.zeros(there.shape, np.int64)
            ids[there] = np.concatenate(own)
            return Tokens(name, torch.from_numpy(ids), torch.from_numpy(there))
    return None


def _inputs(
    records: Sequence[PreparedRecord],
    starts: Sequence[int],
    steps: int,
    clock: float,
    names: tuple[str, ...],
) -> Tensor | None:
    """u at the middle of each step, (batch, step, input); a record without u is not driven (0)."""
    if not names:
        return None
    middle = (np.asarray(starts)[:, None] + np.arange(steps) + 0.5) / clock
    rows = [inputs_at(record, names, at) for record, at in zip(records, middle, strict=True)]
    return torch.from_numpy(np.nan_to_num(np.stack(rows)).transpose(0, 2, 1).copy())
