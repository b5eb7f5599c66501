"""Units of a recording as spans of time: patches, beats, epochs, windows, the whole."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from latentphys.preparation.beats import beat_intervals
from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.preparation.windows import record_steps
from latentphys.recordings.errors import ArgumentError
from latentphys.recordings.labels import sleep_stage
from latentphys.recordings.record import Record

Array = NDArray[np.float64]
Unit = Literal["patch", "beat", "epoch", "window", "record", "subject"]
UNITS: tuple[str, ...] = get_args(Unit)
EPOCH_S = 30.0  # sleep is scored in these
_TIGHT = 1e-6


@dataclass(frozen=True)
class Spans:
    """[start, stop) of each unit of one recording, (unit,) seconds each."""

    start_s: Array
    stop_s: Array

    def __len__(self) -> int:
        return len(self.start_s)

    def steps(self, total: int, state_rate_hz: float) -> list[slice]:
        """The state steps of each unit: those whose middle lies in it.

        A unit shorter than a step, or between two middles, has the step its own middle lies in.

        Args:
            total: state steps of the record.
            state_rate_hz: the model's clock.
        """
        middle = 0.5 * (self.start_s + self.stop_s)
        first = np.ceil(self.start_s * state_rate_hz - 0.5 - _TIGHT).astype(np.int64)
        stop = np.ceil(self.stop_s * state_rate_hz - 0.5 - _TIGHT).astype(np.int64)
        around = np.floor(middle * state_rate_hz).astype(np.int64)
        first = np.where(stop > first, first, around).clip(0, total - 1)
        stop = np.maximum(np.minimum(stop, total), first + 1)
        return [slice(a, b) for a, b in zip(first.tolist(), stop.tolist(), strict=True)]


def check_unit(unit: str) -> None:
    """Refuse a unit that there is not.

    Raises:
        ArgumentError: names those there are.
    """
    if unit not in UNITS:
        raise ArgumentError(f"unit is one of {', '.join(UNITS)}; got {unit!r}. Choose one of them.")


def spans_of(
    record: Record, prepared: PreparedRecord, unit: Unit, window_s: float, state_rate_hz: float
) -> Spans:
    """The units of one recording.

        patch    each state step
        beat     from one R peak to the next (`beat_intervals`)
        epoch    30 s, on the grid of the record's sleep stages if it has some
        window   window_s after window_s
        record   the whole; `subject` too, whose recordings are averaged afterwards

    What is left at the end, shorter than an epoch or window, is no unit; a record shorter than
    one is one unit, as long as it is.

    Args:
        record: as it was read; gives beats and stages.
        prepared: the same as the model takes it.
        unit: which.
        window_s: length of a window, seconds.
        state_rate_hz: the model's clock.

    Returns:
        At least one span.

    Raises:
        LabelError: beats of a record that has neither marked beats nor an ECG.
        ArgumentError: another unit.

    Example:
        >>> from latentphys.preparation.preprocessing import Preprocessing
        >>> record = Record.from_arrays({"resp": (np.zeros(1000), 10.0)}, subject="a")
        >>> found = spans_of(record, Preprocessing().prepare(record), "epoch", 16.0, 12.5)
        >>> found.start_s.tolist(), found.stop_s.tolist()
        ([0.0, 30.0, 60.0], [30.0, 60.0, 90.0])
    """
    check_unit(unit)
    if unit == "patch":
        step = np.arange(record_steps(prepared, state_rate_hz) + 1) / state_rate_hz
        return Spans(step[:-1], step[1:])
    if unit == "beat":
        return Spans(*beat_intervals(record))
    if unit == "epoch":
        return _tiled(prepared.duration_s, EPOCH_S, _epochs_begin(record))
    if unit == "window":
        return _tiled(prepared.duration_s, window_s, 0.0)
    return Spans(np.zeros(1), np.array([prepared.duration_s]))


def _tiled(duration_s: float, length_s: float, begin_s: float) -> Spans:
    count = math.floor((duration_s - begin_s) / length_s + _TIGHT)
    if count < 1:
        return Spans(np.zeros(1), np.array([duration_s]))
    start = begin_s + length_s * np.arange(count, dtype=np.float64)
    return Spans(start, np.asarray(start + length_s, np.float64))


def _epochs_begin(record: Record) -> float:
    """Where the grid of the record's scored epochs begins, in [0, 30) s; 0 without scoring."""
    for events in record.annotations.values():
        texts = [str(value) for value in events.values.tolist()]
        notes = events["note"].values.tolist() if "note" in events.coords else [""] * len(texts)
        staged = [bool(sleep_stage(*both)) for both in zip(texts, map(str, notes), strict=True)]
        onset = np.asarray(events["time"].values, np.float64)[np.array(staged, dtype=bool)]
        if len(onset) < 2:
            continue
        away = np.abs((onset - onset[0] + EPOCH_S / 2) % EPOCH_S - EPOCH_S / 2)
        # Beats and rhythms share letters with stages; stages alone begin every 30 s.
        if away.max() < 1e-3:
            return float(np.round(onset.min() % EPOCH_S, 3) % EPOCH_S)
    return 0.0
