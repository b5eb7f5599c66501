"""Units of recordings as the windows a model reads: where each lies, and which steps are its own.

A unit no longer than a window is the middle of one window, whose other steps are context. A longer
one (a record, say) is several windows side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.preparation.spans import Spans
from latentphys.preparation.windows import WindowIndex, record_steps

Index = NDArray[np.int64]


@dataclass(frozen=True)
class Pieces:
    """The windows that units are read in.

    Attributes:
        windows: one a piece.
        first, stop: (piece,), which of the window's steps are the unit's.
        unit: (piece,), whose piece it is, from 0.
        units: how many units.
    """

    windows: WindowIndex
    first: Index
    stop: Index
    unit: Index
    units: int

    def __len__(self) -> int:
        return len(self.windows)

    def inside(self, rows: Sequence[int] | Index) -> NDArray[np.bool_]:
        """The unit's own steps of some pieces, (row, step)."""
        step = np.arange(self.windows.steps)
        rows = np.asarray(rows)
        return (step >= self.first[rows, None]) & (step < self.stop[rows, None])

    def where(self, kept: NDArray[np.bool_]) -> Pieces:
        """Some of the pieces, of the same units."""
        windows = replace(
            self.windows,
            record_index=self.windows.record_index[kept],
            start_step=self.windows.start_step[kept],
        )
        return replace(
            self,
            windows=windows,
            first=self.first[kept],
            stop=self.stop[kept],
            unit=self.unit[kept],
        )

    def thinned(self, most: int) -> Pieces:
        """At most so many pieces a unit, evenly spread."""
        kept = np.zeros(len(self), dtype=bool)
        for unit in np.unique(self.unit):
            own = np.flatnonzero(self.unit == unit)
            kept[own[np.linspace(0, len(own) - 1, min(most, len(own))).round().astype(int)]] = True
        return self.where(kept)


def pieces_of(
    records: Sequence[PreparedRecord],
    spans: Sequence[Spans],
    units: Sequence[Index],
    window_s: float,
    state_rate_hz: float,
) -> Pieces:
    """The pieces of every unit.

    Args:
        records: prepared.
        spans: the units of each record.
        units: the number of each of these units, from 0; those with one number are one unit.
        window_s: length of a window, seconds.
        state_rate_hz: the model's clock.

    Example:
        >>> from latentphys.preparation.preprocessing import Preprocessing
        >>> from latentphys.recordings.record import Record
        >>> record = Record.from_arrays({"resp": (np.zeros(1000), 10.0)}, subject="a")
        >>> prepared = Preprocessing().prepare(record)
        >>> whole = Spans(np.zeros(1), np.array([100.0]))
        >>> found = pieces_of([prepared], [whole], [np.zeros(1, np.int64)], 40.0, 10.0)
        >>> found.windows.start_step.tolist(), found.units
        ([0, 400, 600], 1)
    """
    steps = max(1, round(window_s * state_rate_hz))
    rows: list[tuple[int, int, int, int, int]] = []
    for k, (record, own, numbers) in enumerate(zip(records, spans, units, strict=True)):
        total = record_steps(record, state_rate_hz)
        for part, unit in zip(own.steps(total, state_rate_hz), numbers.tolist(), strict=True):
            a, b = part.start, part.stop
            if b - a > steps:
                starts = [*range(a, b - steps, steps), b - steps]
                rows += [(k, start, 0, steps, unit) for start in starts]
                continue
            start = min(max((a + b - steps) // 2, 0), max(total - steps, 0))
            rows.append((k, start, a - start, b - start, unit))
    record_index, start_step, first, stop, unit = np.array(rows, np.int64).reshape(-1, 5).T
    windows = WindowIndex(record_index, start_step, steps, state_rate_hz)
    count = 1 + max((int(own.max()) for own in units if len(own)), default=-1)
    return Pieces(windows, first, stop, unit, count)
