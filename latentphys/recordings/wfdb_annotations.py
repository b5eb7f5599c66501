"""Annotations beside a WFDB record: beats, breaths, stages, events."""

import re
from pathlib import Path

import numpy as np
import xarray as xr

from latentphys.recordings.errors import ReadError

# Extensions under which PhysioNet keeps them.
KINDS = ("atr", "breath", "qrs", "ecg", "st", "apn", "ari", "wqrs", "arousal")


def read_annotations(stem: Path, rate_hz: float) -> dict[str, xr.DataArray]:
    """Annotations beside a record: name -> symbols (event) with coordinates time (s) and note.

    Args:
        stem: the record's path without extension.
        rate_hz: the record's rate, for files that do not give their own.

    Raises:
        ReadError: a file that is none.
    """
    import wfdb

    found: dict[str, xr.DataArray] = {}
    for kind in KINDS:
        path = stem.with_name(f"{stem.name}.{kind}")
        if not path.is_file():
            continue
        try:
            events = wfdb.rdann(str(stem), kind)
        except (ValueError, IndexError, KeyError, TypeError, OSError) as error:
            raise ReadError(
                f"annotations {path.name!r} cannot be read ({error}). Remove or replace the file."
            ) from error
        times = np.asarray(events.sample, dtype=np.float64) / (events.fs or rate_hz)
        notes = np.array([str(note).strip("\x00 ") for note in events.aux_note], dtype=object)
        symbols = np.array(events.symbol, dtype=object)
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


def _annotators(kind: str, notes: np.ndarray) -> dict[str, np.ndarray]:
    """Name -> which events: one set, or one for each annotator if the notes are "ann1", "ann2"."""
    marks = [re.fullmatch(r"ann(\d+)", note) for note in notes]
    if not marks or not all(marks):
        return {kind: np.ones(len(notes), dtype=bool)}
    numbers = np.array([int(mark.group(1)) for mark in marks if mark])
    return {f"{kind}_{number}": numbers == number for number in sorted(set(numbers.tolist()))}
