"""Training batches, each a pure function of (seed, number), so that a run can be resumed."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentphys.preparation.augmentation import Augmentation
from latentphys.preparation.batch import Batch, collate
from latentphys.preparation.inputs import names_of_inputs
from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.preparation.windows import (
    WindowIndex,
    any_finite,
    drop_empty,
    first_sample,
    observed,
    record_steps,
    tile,
)
from latentphys.recordings.errors import FitError, listed

# Records shorter than a window come with others at most this much longer or shorter, ...
_ALIKE = 0.1
# ... those nearest in length, so many for each of a batch, ...
_NEAREST = 2
# ... and no window is cut under this share of the full one.
_SHORTEST = 1 / 8


@dataclass(frozen=True)
class WindowLoader:
    """An endless stream of batches of windows at random places.

    Records are drawn in proportion to their length; a place is any state step at which the
    window, stretched by the augmentation, still lies within the record. A window without a sample
    is moved to where its record has one; a record without any (`silent`) is never drawn.

    Attributes:
        records: prepared training records.
        modalities: in the order the batches shall have.
        steps: state steps a window.
        state_rate_hz: the model's clock.
        batch_size: windows a batch.
        seed: of everything random.
        augmentation: variation of the windows; None leaves them alone.
        start: number of the first batch, for resuming.
        bucketed: whether records shorter than a window come in batches of their own, none twice
            where there are enough of about one length, with windows as short as the shortest;
            otherwise they are masked after their end.
        inputs: names of the inputs, in the order the batches shall have; all that the records
            have when left out.
        rank, world: this loader gives every `world`-th batch, from `start + rank`.
    """

    records: Sequence[PreparedRecord]
    modalities: tuple[str, ...]
    steps: int
    state_rate_hz: float
    batch_size: int = 16
    seed: int = 0
    augmentation: Augmentation | None = None
    start: int = 0
    bucketed: bool = False
    rank: int = 0
    world: int = 1
    inputs: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise FitError(
                f"a rank is from 0 to world - 1, got rank {self.rank} of world {self.world}. "
                "Give each process its own, as the launcher numbers them."
            )

    def __iter__(self) -> Iterator[Batch]:
        number = self.start + self.rank
        while True:
            yield self.batch(number)
            number += self.world

    def shard(self, rank: int, world: int) -> WindowLoader:
        """The part of the stream that one of several processes takes.

        The shards' batches together are the whole stream's, each once, so that the data a run
        sees does not depend on how many processes share it.

        Args:
            rank: this process, from 0.
            world: how many there are.

        Raises:
            FitError: a rank outside the world.
        """
        return replace(self, rank=rank, world=world)

    def batch(self, number: int) -> Batch:
        """Batch `number` of the whole stream, whatever the rank."""
        rng = np.random.default_rng([self.seed, number])
        picked, steps = self._picked(rng)
        length = self._lengths[picked]
        reach = steps * (np.exp(self.augmentation.tempo) if self.augmentation else 1.0)
        room = np.maximum(length - int(np.ceil(reach)), 0)
        first_step = rng.integers(0, room + 1)
        # What every window holds, however fast its clock runs.
        sure = max(1, int(steps * (np.exp(-self.augmentation.tempo) if self.augmentation else 1)))
        chosen = [self.records[int(k)] for k in picked]
        start = [
            self._observed_start(record, int(first), int(spare), sure, rng)
            for record, first, spare in zip(chosen, first_step, room, strict=True)
        ]
        if self.augmentation is not None:
            chosen = [
                self.augmentation(record, first, steps, self.state_rate_hz, rng)
                for record, first in zip(chosen, start, strict=True)
            ]
            start = [0] * self.batch_size
        order = np.arange(self.batch_size)
        index = WindowIndex(order, np.asarray(start, np.int64), steps, self.state_rate_hz)
        return collate(chosen, index, order, self.modalities, self._input_names)

    def _picked(self, rng: np.random.Generator) -> tuple[NDArray[np.int64], int]:
        """Numbers of the records of a batch, and the steps of its windows."""
        pool = self._audible
        length = self._lengths[pool]
        least = max(1, int(self.steps * _SHORTEST))
        fits = np.clip(length, least, self.steps)
        again = True
        if self.bucketed and fits.min() < self.steps:
            first = fits[rng.choice(len(pool), p=length / length.sum())]
            near = np.flatnonzero(fits == first)
            if first < self.steps:
                away = np.abs(np.log(fits / first))
                near = rng.permutation(np.flatnonzero((fits < self.steps) & (away <= _ALIKE)))
                near = near[np.argsort(away[near], kind="stable")[: _NEAREST * self.batch_size]]
                again = len(near) < self.batch_size
            pool, length, fits = pool[near], length[near], fits[near]
        row = rng.choice(len(pool), self.batch_size, again, length / length.sum())
        return pool[row], int(fits[row].min()) if self.bucketed else self.steps

    def _observed_start(
        self, record: PreparedRecord, start: int, room: int, steps: int, rng: np.random.Generator
    ) -> int:
        """The start itself where a sample follows within `steps`; else one near some sample."""
        own = [record.signals[name] for name in self.modalities if name in record.signals]
        span = np.array([start, start + steps])
        for signal in own:
            first, last = first_sample(signal, span, self.state_rate_hz)
            if np.isfinite(signal.values[:, max(first, 0) : max(last, 0)]).any():
                return start
        own = [signal for signal in own if any_finite(signal.values)]
        signal = own[rng.integers(len(own))]
        sample = int(rng.choice(np.flatnonzero(np.isfinite(signal.values).any(0))))
        time = sample / signal.rate_hz if signal.time_s is None else float(signal.time_s[sample])
        step = int((time + 1e-9) * self.state_rate_hz)
        last_start = max(0, min(room, step))
        return int(rng.integers(min(max(0, step - steps + 1), last_start), last_start + 1))

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What the batches depend on beside their number, as plain values for JSON.

        The records count by name and length, not by their samples.
        """
        names = [record.record for record in self.records]
        told = repr(list(zip(names, self._lengths.tolist(), strict=True))).encode()
        return {
            "records": hashlib.blake2b(told, digest_size=16).hexdigest(),
            "modalities": list(self.modalities),
            "steps": self.steps,
            "state_rate_hz": self.state_rate_hz,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "augmentation": None if self.augmentation is None else asdict(self.augmentation),
            "bucketed": self.bucketed,
            "inputs": list(self._input_names),
        }

    @cached_property
    def silent(self) -> tuple[str, ...]:
        """Names of the records without a sample of any of the modalities."""
        return tuple(r.record for r in self.records if not observed(r, self.modalities))

    @cached_property
    def _input_names(self) -> tuple[str, ...]:
        return names_of_inputs(self.records) if self.inputs is None else self.inputs

    @cached_property
    def _lengths(self) -> NDArray[np.int64]:
        """(record,) state steps."""
        return np.array([record_steps(r, self.state_rate_hz) for r in self.records])

    @cached_property
    def _audible(self) -> NDArray[np.int64]:
        """Numbers of the records that have a sample.

        Raises:
            FitError: none has.
        """
        silent = set(self.silent)
        found = np.array([k for k, r in enumerate(self.records) if r.record not in silent])
        if not len(found):
            raise FitError(
                f"training needs a sample of {listed(self.modalities)}, of which the "
                f"{len(self.records)} records have none. Look at them with lp.plot_record."
            )
        return found


def in_order(
    records: Sequence[PreparedRecord],
    index: WindowIndex,
    modalities: Sequence[str],
    batch_size: int,
    inputs: Sequence[str] | None = None,
) -> Iterator[Batch]:
    """Every window once, in the index's order; windows without a sample are left out."""
    index = drop_empty(index, records, modalities)
    for begin in range(0, len(index), batch_size):
        rows = range(begin, min(begin + batch_size, len(index)))
        yield collate(records, index, rows, modalities, inputs)


def unpadded(
    records: Sequence[PreparedRecord],
    window_steps: int,
    hop_s: float,
    state_rate_hz: float,
    modalities: Sequence[str],
    batch_size: int,
    inputs: Sequence[str] | None = None,
) -> Iterator[Batch]:
    """Windows every `hop_s`; a record shorter than a window comes as long as it is, with its like.

    Args:
        records: prepared records.
        window_steps: state steps a window.
        hop_s: from one start to the next, seconds.
        state_rate_hz: the model's clock.
        modalities, batch_size, inputs: as `in_order` has them.
    """
    alike: dict[int, list[PreparedRecord]] = defaultdict(list)
    for record in records:
        alike[min(window_steps, record_steps(record, state_rate_hz))].append(record)
    for steps, own in alike.items():
        index = tile(own, steps / state_rate_hz, hop_s, state_rate_hz)
        yield from in_order(own, index, modalities, batch_size, inputs)
