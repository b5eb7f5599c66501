"""Annotations beside a WFDB record: beats, breaths, stages, events."""

import re
from pathlib import Path

import numpy as np
import xarray as xr

from latentphys.recordings.errors import ReadError
from latentphys.recordings.events import Line, from_lines

# Extensions under which PhysioNet keeps them.
KINDS = ("atr", "breath", "qrs", "ecg", "st", "apn", "ari", "wqrs", "arousal")
EVENTS = "events"  # ours: every set in one file
LASTING = " || "  # in its notes, before how long an event lasts
# LUDB: waves marked lead by lead, "(" onset, symbol peak, ")" offset.
LEADS = ("i", "ii", "iii", "avr", "avl", "avf", "v1", "v2", "v3", "v4", "v5", "v6")
_DEFINITION = re.compile(
    rb"## (time resolution: \d+\.?\d*.*|annotation type definitions|end of definitions)", re.DOTALL
)
_NOTE = 63 << 2  # the byte after a note's length is at least this


def read_annotations(stem: Path, rate_hz: float) -> dict[str, xr.DataArray]:
    """Annotations beside a record: name -> symbols (event) with coordinates time (s) and note.

    Args:
        stem: the record's path without extension.
        rate_hz: the record's rate, for files that do not give their own.

    Raises:
        ReadError: a file that is none.
    """
    found: dict[str, xr.DataArray] = {}
    for kind in (*KINDS, *LEADS, EVENTS):
        path = stem.with_name(f"{stem.name}.{kind}")
        if not path.is_file():
            continue
        times, symbols, notes = _events(stem, kind, rate_hz)
        if kind == EVENTS:
            found |= from_lines(map(_line, times, notes), ours=True)
            continue
        for name, chosen in _annotators(kind, notes).items():
            found[name] = xr.DataArray(
                symbols[chosen].astype(str),
                dims="event",
                coords={
                    "time": ("event", times[chosen]),
                    "note": ("event", notes[chosen].astype(str)),
                },
                attrs={"source": path.name},
            )
    return found


def _events(stem: Path, kind: str, rate_hz: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times in seconds, symbols and notes of one annotation file."""
    import wfdb

    _check_definitions(stem.with_name(f"{stem.name}.{kind}"))
    try:
        events = wfdb.rdann(str(stem), kind)
    except (ValueError, IndexError, KeyError, TypeError, OSError) as error:
        raise ReadError(
            f"annotations '{stem.name}.{kind}' cannot be read ({error}). Remove or replace the "
            "file."
        ) from error
    if len(events.aux_note) != len(events.sample):
        raise ReadError(
            f"an event has one note; annotations '{stem.name}.{kind}' have {len(events.sample)} "
            f"events and {len(events.aux_note)} notes. The file is damaged: remove or replace it."
        )
    times = np.asarray(events.sample, dtype=np.float64) / (events.fs or rate_hz)
    notes = np.array([str(note).strip("\x00 ") for note in events.aux_note], dtype=object)
    return times, np.array(events.symbol, dtype=object), notes


def _check_definitions(path: Path) -> None:
    """Refuse a damaged definition (a note that starts with "##"): wfdb would never return."""
    raw = path.read_bytes()
    starts = [at.start() for at in re.finditer(rb"## ", raw)]
    notes = [raw[at : at + raw[at - 2]] for at in starts if at > 1 and raw[at - 1] >= _NOTE]
    rates = sum(note.startswith(b"## time") for note in notes)
    if rates > 1 or not all(_DEFINITION.fullmatch(note.rstrip(b"\x00")) for note in notes):
        raise ReadError(
            f"definitions in annotations {path.name!r} are a time resolution, once, or the types "
            "between their two marks; this file has others. It is damaged: replace or remove it."
        )


def _line(time_s: float, note: str) -> Line:
    """An event of our own file; what others wrote under that name lasts as long as not said."""
    text, bar, lasting = note.rpartition(LASTING)
    try:
        return Line(float(time_s), float(lasting), text) if bar else Line(time_s, np.nan, note)
    except ValueError:
        return Line(float(time_s), np.nan, note)


def _annotators(kind: str, notes: np.ndarray) -> dict[str, np.ndarray]:
    """Name -> which events: one set, or one for each annotator if the notes are "ann1", "ann2"."""
    marks = [re.fullmatch(r"ann(\d+)", note) for note in notes]
    if not marks or not all(marks):
        return {kind: np.ones(len(notes), dtype=bool)}
    numbers = np.array([int(mark.group(1)) for mark in marks if mark])
    return {f"{kind}_{number}": numbers == number for number in sorted(set(numbers.tolist()))}
