"""Annotations as targets: a label a step or epoch, events counted, phases, rates, waves.

Edge rules, the same everywhere: time is cut into [start, stop), so that an event on a boundary
belongs to what follows; step i of a clock is [i / rate, (i + 1) / rate); a label holds from its
onset until its onset plus its duration, or until the next label; where two overlap, the one that
began later holds; "" or NaN says that nobody said.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from latentphys.recordings.errors import LabelError, RateError, closest, listed
from latentphys.recordings.record import Record, check_rate

Events = str | xr.DataArray
# (value, note) of an annotation -> class; "" for none
Reading = Callable[[str, str], str]

STAGES = ("W", "N1", "N2", "N3", "REM")
_STAGE = {
    **dict.fromkeys(["w", "wake", "0"], "W"),
    **dict.fromkeys(["1", "n1", "s1"], "N1"),
    **dict.fromkeys(["2", "n2", "s2"], "N2"),
    **dict.fromkeys(["3", "4", "n3", "n4", "s3", "s4"], "N3"),
    **dict.fromkeys(["r", "rem", "5"], "REM"),
}
_TIGHT = 1e-9


def sleep_stage(value: str, note: str = "") -> str:
    """The stage an annotation names, as W, N1, N2, N3 or REM; "" for anything else.

    Knows the letters of slpdb (in the note, before apnoea codes: "2 HA"), "Sleep stage 2" of
    Sleep-EDF, the names of AASM and the numbers 0 to 5 of Rechtschaffen and Kales (3 and 4 are
    N3, 5 is REM). Movement time and "?" are no stage.

    Example:
        >>> sleep_stage('"', "2 HA"), sleep_stage("Sleep stage R"), sleep_stage("N3")
        ('N2', 'REM', 'N3')
        >>> sleep_stage('"', "MT")
        ''
    """
    text = note or value
    words = re.sub(r"^\s*(sleep\s+)?stage[\s_]*", "", text, flags=re.IGNORECASE).split()
    return _STAGE.get(words[0].lower(), "") if words else ""


def per_step(
    record: Record,
    events: Events,
    rate_hz: float,
    *,
    label: Reading | None = None,
    lasting_s: float | None = None,
) -> xr.DataArray:
    """The label that holds at the middle of each step of a clock.

    A step that two labels share has, by this, the one that covers more of it.

    Args:
        record: gives the length, and the annotations by name.
        events: their name, or events (event) with coordinate time, and duration where known.
        rate_hz: steps a second; the model's state rate, say.
        label: (value, note) -> class; the value as it is when left out. `sleep_stage` is one.
        lasting_s: seconds a label holds where its duration is not known; until the next label
            (the last to the record's end) when left out.

    Returns:
        (time,) text, "" where no label holds, with coordinate time (s, the step's start).

    Raises:
        LabelError: no such annotations.
        RateError: a rate that is not positive.

    Example:
        >>> x = {"eeg": (np.zeros(120), 1.0)}
        >>> night = Record.from_arrays(x, subject="a")
        >>> stage = xr.DataArray(["W", "2"], dims="event", coords={"time": ("event", [0.0, 60.0])})
        >>> per_step(night, stage, 1 / 30, label=sleep_stage).values.tolist()
        ['W', 'W', 'N2', 'N2']
    """
    onset, end, names = _held(record, events, label, lasting_s)
    count = _steps(record, rate_hz)
    middle = (np.arange(count) + 0.5) / rate_hz
    values = np.full(count, "", dtype=np.array([*names, ""]).dtype)
    for start, stop, name in zip(onset, end, names, strict=True):
        first, last = np.searchsorted(middle, [start - _TIGHT, stop - _TIGHT])
        values[first:last] = name
    return _on_clock(values, rate_hz)


def per_epoch(
    record: Record,
    events: Events,
    epoch_s: float = 30.0,
    *,
    label: Reading | None = None,
    lasting_s: float | None = None,
    start_s: float = 0.0,
) -> xr.DataArray:
    """The label that covers more than half of each epoch.

    Epoch k is [start_s + k epoch_s, start_s + (k + 1) epoch_s); one that the record's end cuts is
    left out. Stretches of one label in an epoch add up; exactly half is not enough.

    Args:
        record: gives the length, and the annotations by name.
        events: see `per_step`.
        epoch_s: length of an epoch, seconds; sleep is scored in 30.
        label: see `per_step`.
        lasting_s: see `per_step`.
        start_s: where the first epoch begins, for scoring that began late.

    Returns:
        (epoch,) text, "" where no label covers more than half, with coordinate time (s, the
        epoch's start).

    Raises:
        LabelError: no such annotations, or a record shorter than an epoch.
        RateError: an epoch of no length.
    """
    if not (epoch_s > 0 and math.isfinite(epoch_s)):
        raise RateError(f"epoch_s is a positive number of seconds, got {epoch_s!r}.")
    count = math.floor((record.duration_s - start_s) / epoch_s + 1e-6)
    if count < 1:
        raise LabelError(
            f"record {record.record!r} lasts {record.duration_s:g} s; from {start_s:g} s on that "
            f"is no whole epoch of {epoch_s:g} s. Take shorter epochs."
        )
    onset, end, names = _held(record, events, label, lasting_s)
    edges = np.unique(np.concatenate([onset, end]))
    pieces = np.full(max(len(edges) - 1, 0), "", dtype=np.array([*names, ""]).dtype)
    for start, stop, name in zip(onset, end, names, strict=True):
        pieces[np.searchsorted(edges, start) : np.searchsorted(edges, stop)] = name
    starts = start_s + epoch_s * np.arange(count)
    classes = sorted(set(names) - {""})
    cover = np.zeros((len(classes) + 1, count))
    for start, stop, name in zip(edges[:-1], edges[1:], pieces.tolist(), strict=True):
        if name:
            inside = np.minimum(stop, starts + epoch_s) - np.maximum(start, starts)
            cover[classes.index(name)] += np.maximum(inside, 0.0)
    chosen = np.array([*classes, ""])[cover.argmax(axis=0)]
    values = np.where(cover.max(axis=0) > epoch_s / 2 + _TIGHT, chosen, "")
    return xr.DataArray(
        values, dims="epoch", coords={"time": ("epoch", starts)}, attrs={"epoch_s": epoch_s}
    )


def counts(
    record: Record, events: Events, rate_hz: float, *, chosen: Reading | None = None
) -> xr.DataArray:
    """How many events begin in each step of a clock; those outside the record are not counted.

    Args:
        record: gives the length, and the annotations by name.
        events: see `per_step`.
        rate_hz: steps a second.
        chosen: (value, note) -> class; an event of class "" is not counted. All are when left out.

    Returns:
        (time,) int64 with coordinate time (s, the step's start).

    Raises:
        LabelError: no such annotations.
        RateError: a rate that is not positive.

    Example:
        >>> x = {"resp": (np.zeros(10), 1.0)}
        >>> beats = xr.DataArray([1, 1, 1], dims="event", coords={"time": ("event", [0.5, 1.0, 9])})
        >>> counts(Record.from_arrays(x, subject="a"), beats, 0.5).values.tolist()
        [2, 0, 0, 0, 1]
    """
    times = _times(record, events, chosen)
    count = _steps(record, rate_hz)
    step = np.floor(times * rate_hz + _TIGHT).astype(np.int64)
    step = step[(step >= 0) & (step < count)]
    return _on_clock(np.bincount(step, minlength=count).astype(np.int64), rate_hz)


def phase(
    record: Record,
    events: Events,
    rate_hz: float,
    *,
    chosen: Reading | None = None,
    longest_s: float = math.inf,
) -> xr.DataArray:
    """Phase at the middle of each step: 0 at an event, growing evenly to 2 pi at the next.

        phase(t) = 2 pi (t - t_k) / (t_{k+1} - t_k),    t_k <= t < t_{k+1}

    Args:
        record: gives the length, and the annotations by name.
        events: see `per_step`.
        rate_hz: steps a second.
        chosen: see `counts`.
        longest_s: between events further apart the phase is not known: one was missed, or the
            sensor was off.

    Returns:
        (time,) radians in [0, 2 pi); NaN before the first event and from the last one on.

    Raises:
        LabelError: no such annotations.
        RateError: a rate that is not positive.

    Example:
        >>> x = {"resp": (np.zeros(8), 1.0)}
        >>> breaths = xr.DataArray([1, 1], dims="event", coords={"time": ("event", [1.0, 5.0])})
        >>> (phase(Record.from_arrays(x, subject="a"), breaths, 1.0) / np.pi).values.tolist()
        [nan, 0.25, 0.75, 1.25, 1.75, nan, nan, nan]
    """
    times = np.unique(_times(record, events, chosen))
    count = _steps(record, rate_hz)
    middle = (np.arange(count) + 0.5) / rate_hz
    values = np.full(count, np.nan)
    if len(times) > 1:
        k = np.searchsorted(times, middle + _TIGHT, side="right") - 1
        inside = (k >= 0) & (k < len(times) - 1)
        k = np.clip(k, 0, len(times) - 2)
        length = times[k + 1] - times[k]
        turn = np.clip((middle - times[k]) / length, 0.0, np.nextafter(1.0, 0.0))
        values = np.where(inside & (length <= longest_s), 2 * np.pi * turn, np.nan)
    return _on_clock(values, rate_hz, {"units": "rad"})


def event_rate(
    record: Record,
    events: Events,
    window_s: float = 32.0,
    *,
    hop_s: float | None = None,
    chosen: Reading | None = None,
) -> xr.DataArray:
    """Events a minute in each window: 60 over the mean interval between those inside.

        rate = 60 (n - 1) / (t_n - t_1)

    Window k is [k hop_s, k hop_s + window_s); one that the record's end cuts is left out.

    Args:
        record: gives the length, and the annotations by name.
        events: see `per_step`; one annotator's.
        window_s: length of a window, seconds.
        hop_s: from one start to the next; `window_s` when left out.
        chosen: see `counts`.

    Returns:
        (window,) 1/min, NaN with fewer than two events, with coordinate time (s, the start).

    Raises:
        LabelError: no such annotations, or a record shorter than a window.
        RateError: a window or hop of no length.
    """
    hop = window_s if hop_s is None else hop_s
    for name, value in (("window_s", window_s), ("hop_s", hop)):
        if not (value > 0 and math.isfinite(value)):
            raise RateError(f"{name} is a positive number of seconds, got {value!r}.")
    count = math.floor((record.duration_s - window_s) / hop + 1e-6) + 1
    if count < 1:
        raise LabelError(
            f"record {record.record!r} lasts {record.duration_s:g} s, less than a window of "
            f"{window_s:g} s. Take shorter windows."
        )
    times = np.sort(_times(record, events, chosen))
    starts = hop * np.arange(count)
    first = np.searchsorted(times, starts - _TIGHT)
    last = np.searchsorted(times, starts + window_s - _TIGHT) - 1
    values = np.full(count, np.nan)
    for k in np.flatnonzero(last > first):
        span = times[last[k]] - times[first[k]]
        values[k] = 60.0 * (last[k] - first[k]) / span if span > 0 else np.nan
    return xr.DataArray(
        values,
        dims="window",
        coords={"time": ("window", starts)},
        attrs={"units": "1/min", "window_s": window_s},
    )


def waves(record: Record, events: Events) -> xr.DataArray:
    """Marks "(", peak, ")" as waves with a duration: P, QRS and T of a lead (LUDB, QTDB).

    A peak counts with the "(" right before and the ")" right after it; one without either, as at
    the ends of a recording, has no extent and is left out.

    Args:
        record: the annotations by name.
        events: their name (a lead's), or events (event) of symbols.

    Returns:
        (event,) text: "P", "QRS", "T" (other symbols as they are), with coordinates time (s, the
        onset), duration (s) and peak (s). `per_step` takes it.

    Raises:
        LabelError: no such annotations.

    Example:
        >>> x = {"ecg": (np.zeros(10), 1.0)}
        >>> marks = xr.DataArray(list("(p)(N)"), dims="event",
        ...     coords={"time": ("event", [0.1, 0.15, 0.2, 0.3, 0.35, 0.4])})
        >>> found = waves(Record.from_arrays(x, subject="a"), marks)
        >>> found.values.tolist(), found.duration.values.round(2).tolist()
        (['P', 'QRS'], [0.1, 0.1])
    """
    marked = _events(record, events)
    order = np.argsort(marked["time"].values, kind="stable")
    symbols = [str(value) for value in marked.values[order]]
    times = marked["time"].values[order]
    at = [
        k
        for k in range(1, len(symbols) - 1)
        if symbols[k - 1] == "(" and symbols[k + 1] == ")" and symbols[k] not in "()"
    ]
    names = {"p": "P", "t": "T", "N": "QRS"}
    before, after = [k - 1 for k in at], [k + 1 for k in at]
    return xr.DataArray(
        np.array([names.get(symbols[k], symbols[k]) for k in at], dtype=str),
        dims="event",
        coords={
            "time": ("event", times[before]),
            "duration": ("event", times[after] - times[before]),
            "peak": ("event", times[at]),
        },
    )


def codes(labels: xr.DataArray, classes: Sequence[str]) -> xr.DataArray:
    """Labels as numbers: the position among the classes, -1 for any other.

    Example:
        >>> codes(xr.DataArray(["N2", "", "W"], dims="epoch"), STAGES).values.tolist()
        [2, -1, 0]
    """
    number = {name: k for k, name in enumerate(classes)}
    values = [number.get(str(label), -1) for label in labels.values.tolist()]
    coded = labels.copy(data=np.array(values, dtype=np.int64))
    return coded.assign_attrs(classes=list(classes))


def _events(record: Record, events: Events) -> xr.DataArray:
    if isinstance(events, str):
        if events not in record.annotations:
            raise LabelError(
                f"record {record.record!r} has no annotations {events!r}; it has "
                f"{listed(record.annotations)}.{closest(events, record.annotations)}"
            )
        events = record.annotations[events]
    if events.ndim != 1 or "time" not in events.coords:
        raise LabelError(
            f"annotations are one-dimensional with a coordinate time (s); got dims {events.dims} "
            f"and coordinates {listed(map(str, events.coords))}."
        )
    return events


def _texts(events: xr.DataArray) -> tuple[list[str], list[str]]:
    notes = events["note"].values if "note" in events.coords else [""] * events.size
    return [_text(value) for value in events.values], [str(note) for note in notes]


def _text(value: Any) -> str:
    """A number without a trailing ".0": a stage 2 stored as a float is "2"."""
    whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return str(int(value)) if whole else str(value)


def _times(record: Record, events: Events, chosen: Reading | None) -> NDArray[np.float64]:
    found = _events(record, events)
    times = np.asarray(found["time"].values, dtype=np.float64)
    if chosen is None:
        return times
    values, notes = _texts(found)
    kept = [bool(chosen(value, note)) for value, note in zip(values, notes, strict=True)]
    return times[np.array(kept, dtype=bool)]


def _held(
    record: Record, events: Events, label: Reading | None, lasting_s: float | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    """(onset, end, class) of every label, by onset."""
    found = _events(record, events)
    values, notes = _texts(found)
    read = label or (lambda value, note: value)
    names = [read(value, note) for value, note in zip(values, notes, strict=True)]
    onset = np.asarray(found["time"].values, dtype=np.float64)
    order = np.argsort(onset, kind="stable")
    onset, names = onset[order], [names[k] for k in order]
    later = np.searchsorted(onset, onset, side="right")
    follows = np.append(onset, record.duration_s)[later]
    open_end = follows if lasting_s is None else onset + lasting_s
    if "duration" in found.coords:
        lasting = np.asarray(found["duration"].values, dtype=np.float64)[order]
        open_end = np.where(np.isfinite(lasting), onset + lasting, open_end)
    return onset, open_end, names


def _steps(record: Record, rate_hz: float) -> int:
    """Steps that begin within the record, as the model counts them."""
    return max(1, math.ceil(round(record.duration_s * check_rate(rate_hz, "steps"), 6)))


def _on_clock(
    values: NDArray[Any], rate_hz: float, attrs: dict[str, str] | None = None
) -> xr.DataArray:
    return xr.DataArray(
        values,
        dims="time",
        coords={"time": np.arange(len(values)) / rate_hz},
        attrs={"rate_hz": rate_hz, **(attrs or {})},
    )
