"""Annotations as lines of (onset, duration, text), which is how EDF+ and MNE hold them.

A set called `annotations` is written as its texts. Any other set has its name before the text:
`[breath] inspiration`, and `[stage#] 2` where the values are numbers. The note of an event stands
after a bar: `[qrs] N | note`.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr

from latentphys.recordings.errors import WriteError, listed

PLAIN = "annotations"
_NAMED = re.compile(r"\[([^\]#]+)(#?)\] ?(.*)", re.DOTALL)
_BAR = " | "
_KEPT = ("time", "duration", "note")


class Line(NamedTuple):
    """One event: seconds from the start, seconds it lasts (NaN: not said), and its text."""

    onset_s: float
    duration_s: float
    text: str


def to_lines(annotations: Mapping[str, xr.DataArray], where: str) -> list[Line]:
    """All events of a record, in the order of their onsets.

    Raises:
        WriteError: an event that would not come back: a coordinate besides time, duration and
            note, or a text that a reader would take apart.
    """
    lines = []
    for name, events in annotations.items():
        extra = [str(c) for c in events.coords if c not in _KEPT]
        if extra or re.search(r"[\]\[#\x00-\x1f]", name):
            raise WriteError(
                f"annotations keep a name without []# and the coordinates {listed(_KEPT)}; "
                f"{name!r} of {where} has {listed(extra)}. Drop or rename them, or write .nc."
            )
        number = events.dtype.kind in "iufb"
        mark = "" if name == PLAIN and not number else f"[{name}{'#' if number else ''}] "
        count = events.sizes["event"]
        lasting = events["duration"].values if "duration" in events.coords else [math.nan] * count
        notes = events["note"].values if "note" in events.coords else None
        for i in range(count):
            value = events.values[i]
            text = json.dumps(value.item()) if number else str(value)
            note = "" if notes is None else _BAR + str(notes[i])
            whole = mark + text + note
            taken_apart = _BAR in text or (not mark and _NAMED.fullmatch(text))
            if taken_apart or re.search(r"[\x00-\x1f]", whole):
                raise WriteError(
                    f"texts of annotations hold no {_BAR!r}, no name in [] and no control "
                    f"characters; {name!r} of {where} has {whole!r}. Change it, or write .nc."
                )
            lines.append(Line(float(events["time"].values[i]), float(lasting[i]), whole))
    return sorted(lines)


def from_lines(lines: Iterable[Line], *, ours: bool) -> dict[str, xr.DataArray]:
    """name -> events (event), with coordinates time and duration (s), and note where there is one.

    Args:
        lines: events in any order.
        ours: whether `to_lines` made them; texts of others are not taken apart.
    """
    sets: dict[str, list[tuple[Line, str]]] = {}
    for line in lines:
        match = _NAMED.fullmatch(line.text) if ours else None
        name = match.group(1) + match.group(2) if match else PLAIN
        sets.setdefault(name, []).append((line, match.group(3) if match else line.text))
    return {
        name.removesuffix("#"): _events(members, ours, number=name.endswith("#") and ours)
        for name, members in sets.items()
    }


def _events(members: list[tuple[Line, str]], ours: bool, number: bool) -> xr.DataArray:
    parts = [text.partition(_BAR) if ours else (text, "", "") for _, text in members]
    texts = [part[0] for part in parts]
    values = np.array([json.loads(text) for text in texts] if number else texts)
    coords = {"time": ("event", np.array([line.onset_s for line, _ in members], dtype=float))}
    lasting = np.array([line.duration_s for line, _ in members], dtype=float)
    if not np.isnan(lasting).all():
        coords["duration"] = ("event", lasting)
    if any(part[1] for part in parts):
        coords["note"] = ("event", np.array([part[2] for part in parts]))
    return xr.DataArray(values, dims="event", coords=coords)
