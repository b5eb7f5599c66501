"""Windows as an index into prepared records: where each starts, no copy of a sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from latentphys.preparation.preprocessing import PreparedRecord, PreparedSignal

Index = NDArray[np.int64]


@dataclass(frozen=True)
class WindowIndex:
    """Windows of `steps` state steps.

    Attributes:
        record_index: (window,), which record.
        start_step: (window,), the state step it starts on.
        steps: state steps a window.
        state_rate_hz: steps a second.
    """

    record_index: Index
    start_step: Index
    steps: int
    state_rate_hz: float

    def __len__(self) -> int:
        return len(self.record_index)

    def shard(self, rank: int, world: int) -> WindowIndex:
        """Every `world`-th window from `rank` on; the shards together are all, each once."""
        return replace(
            self,
            record_index=self.record_index[rank::world],
            start_step=self.start_step[rank::world],
        )


def steps_in(duration_s: float, state_rate_hz: float) -> int:
    """State steps that begin within a duration, at least one."""
    return max(1, math.ceil(round(duration_s * state_rate_hz, 6)))


def record_steps(record: PreparedRecord, state_rate_hz: float) -> int:
    """State steps of a record, that of its last sample included.

    A regular sample lasts until the next; an irregular one may lie at the record's very end.
    """
    stamps = [
        s.time_s[-1] for s in record.signals.values() if s.time_s is not None and len(s.time_s)
    ]
    last = max(stamps, default=0.0)
    return max(
        steps_in(record.duration_s, state_rate_hz),
        math.floor((float(last) + 1e-9) * state_rate_hz) + 1,
    )


def tile(
    records: Sequence[PreparedRecord], window_s: float, hop_s: float, state_rate_hz: float
) -> WindowIndex:
    """Windows every `hop_s` that together cover each record, its tail included.

    The last window of a record ends with it where the record is long enough, so that only a
    record shorter than a window is overrun.

    Args:
        records: prepared records.
        window_s: length of a window, seconds.
        hop_s: from one start to the next, seconds.
        state_rate_hz: the model's clock.
    """
    steps = max(1, round(window_s * state_rate_hz))
    hop = max(1, round(hop_s * state_rate_hz))
    which, starts = [], []
    for k, record in enumerate(records):
        last = max(0, record_steps(record, state_rate_hz) - steps)
        own = [*range(0, last, hop), last]
        which += [k] * len(own)
        starts += own
    return WindowIndex(
        np.asarray(which, np.int64), np.asarray(starts, np.int64), steps, state_rate_hz
    )


def observed(record: PreparedRecord, modalities: Sequence[str]) -> bool:
    """Whether a record has a sample of any of these modalities."""
    return any(
        any_finite(record.signals[name].values) for name in modalities if name in record.signals
    )


def any_finite(values: NDArray[np.float32], chunk: int = 1 << 16) -> bool:
    """Whether a signal (channel, time) has a sample; looks no further than the first it finds."""
    return any(
        bool(np.isfinite(values[:, first : first + chunk]).any())
        for first in range(0, values.shape[1], chunk)
    )


def presence(
    index: WindowIndex, records: Sequence[PreparedRecord], modalities: Sequence[str]
) -> NDArray[np.bool_]:
    """Whether a window has a sample of a modality, (window, modality)."""
    seen = np.zeros((len(index), len(modalities)), dtype=bool)
    for k in np.unique(index.record_index):
        rows, record = np.flatnonzero(index.record_index == k), records[int(k)]
        first, stop = index.start_step[rows], index.start_step[rows] + index.steps
        for column, name in enumerate(modalities):
            if name not in record.signals:
                continue
            signal = record.signals[name]
            count = np.concatenate([[0], np.cumsum(np.isfinite(signal.values).any(0))])
            length = len(count) - 1
            left = np.clip(first_sample(signal, first, index.state_rate_hz), 0, length)
            right = np.clip(first_sample(signal, stop, index.state_rate_hz), 0, length)
            seen[rows, column] = count[right] > count[left]
    return seen


def drop_empty(
    index: WindowIndex, records: Sequence[PreparedRecord], modalities: Sequence[str]
) -> WindowIndex:
    """The windows in which at least one sample of these modalities was observed."""
    keep = presence(index, records, modalities).any(axis=1)
    return replace(index, record_index=index.record_index[keep], start_step=index.start_step[keep])


def first_sample(signal: PreparedSignal, step: Index, state_rate_hz: float) -> Index:
    """Index of the first sample at or after the start of each state step.

    Regular sampling uses whole numbers, so that nothing drifts over a night.
    """
    if signal.time_s is not None:
        boundary = np.asarray(step, np.float64) / state_rate_hz
        return np.searchsorted(signal.time_s, boundary - 1e-9).astype(np.int64)
    ratio = samples_per_step(signal, state_rate_hz)
    numerator = np.asarray(step, np.int64) * ratio.numerator
    return -(-numerator // ratio.denominator)


def samples_per_step(signal: PreparedSignal, state_rate_hz: float) -> Fraction:
    """rate / state rate as a fraction."""
    rate = Fraction(signal.rate_hz).limit_denominator(1_000_000)
    return rate / Fraction(state_rate_hz).limit_denominator(1_000_000)
