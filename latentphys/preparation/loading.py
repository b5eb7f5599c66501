"""Training batches, each a pure function of (seed, number), so that a run can be resumed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from latentphys.preparation.augmentation import Augmentation
from latentphys.preparation.batch import Batch, collate
from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.preparation.windows import WindowIndex, drop_empty, steps_in


@dataclass(frozen=True)
class WindowLoader:
    """An endless stream of batches of windows at random places.

    Records are drawn in proportion to their length; a place is any state step at which the
    window, stretched by the augmentation, still lies within the record.

    Attributes:
        records: prepared training records.
        modalities: in the order the batches shall have.
        steps: state steps a window.
        state_rate_hz: the model's clock.
        batch_size: windows a batch.
        seed: of everything random.
        augmentation: variation of the windows; None leaves them alone.
        start: number of the first batch, for resuming.
    """

    records: Sequence[PreparedRecord]
    modalities: tuple[str, ...]
    steps: int
    state_rate_hz: float
    batch_size: int = 16
    seed: int = 0
    augmentation: Augmentation | None = None
    start: int = 0

    def __iter__(self) -> Iterator[Batch]:
        number = self.start
        while True:
            yield self.batch(number)
            number += 1

    def batch(self, number: int) -> Batch:
        """Batch `number` of the stream."""
        rng = np.random.default_rng([self.seed, number])
        length = np.array([steps_in(r.duration_s, self.state_rate_hz) for r in self.records])
        chosen = rng.choice(len(self.records), self.batch_size, p=length / length.sum())
        reach = self.steps * (np.exp(self.augmentation.tempo) if self.augmentation else 1.0)
        room = np.maximum(length[chosen] - int(np.ceil(reach)), 0)
        start = rng.integers(0, room + 1)
        if self.augmentation is None:
            index = WindowIndex(chosen, start, self.steps, self.state_rate_hz)
            return collate(self.records, index, range(len(index)), self.modalities)
        windows = [
            self.augmentation(self.records[k], int(s), self.steps, self.state_rate_hz, rng)
            for k, s in zip(chosen, start, strict=True)
        ]
        order = np.arange(self.batch_size)
        index = WindowIndex(order, np.zeros_like(order), self.steps, self.state_rate_hz)
        return collate(windows, index, order, self.modalities)


def in_order(
    records: Sequence[PreparedRecord],
    index: WindowIndex,
    modalities: Sequence[str],
    batch_size: int,
) -> Iterator[Batch]:
    """Every window once, in the index's order; windows without a sample are left out."""
    index = drop_empty(index, records, modalities)
    for begin in range(0, len(index), batch_size):
        rows = range(begin, min(begin + batch_size, len(index)))
        yield collate(records, index, rows, modalities)
