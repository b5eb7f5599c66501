"""Reading HDF5 of a simple layout: one dataset a modality, at the root of the file.

    /ecg    (channel, time) or (time,), attributes rate_hz (needed), units, channels (names)
    /spo2   ...
    root attributes subject, record, study (the file's name, where there are none)

Links to other files are refused.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from latentphys.recordings.errors import ReadError, listed, read_error
from latentphys.recordings.hdf5_files import attribute, check_room, lies_inside, opened_hdf5
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.listing import files_of, folder_of, names_of, subject_in
from latentphys.recordings.modalities import normal_units
from latentphys.recordings.record import Record, check_rate
from latentphys.recordings.traces import Trace, check_given, headers_of_groups, signal_of, units_of

SUFFIXES = (".h5", ".hdf5")
_REMEDY = (
    "Give each dataset at the root an attribute rate_hz, or load the file with h5py and use "
    "Record.from_arrays."
)


@dataclass(frozen=True)
class Hdf5Signal:
    """A dataset as its head tells: its name in the file, its channels, and samples a channel."""

    dataset: str
    traces: tuple[Trace, ...]
    samples: int


def is_hdf5(path: Path) -> bool:
    """Whether the path is an HDF5 file, or a folder with some in or below it."""
    return bool(files_of(path, SUFFIXES))


def list_hdf5(path: Path, modalities: Mapping[str, str]) -> list[LazyRecord]:
    """What the heads of the datasets tell; no sample is read.

    Args:
        path: file or folder.
        modalities: dataset -> modality; others are called as their datasets.

    Raises:
        ReadError: a damaged file, or one of another layout.
        ModalityError: `modalities` names a dataset that no file has.
        RateError: a rate that is not a positive number.
    """
    folder = folder_of(path)
    names = names_of(files_of(path, SUFFIXES), folder, SUFFIXES)
    made: list[LazyRecord] = []
    seen: set[str] = set()
    for file, name in names.items():
        about, signals = _scan(file)
        seen.update(signal.dataset for signal in signals)
        named = {modalities.get(s.dataset, s.dataset): s for s in signals}
        record = about.get("record") or name
        subject = about.get("subject") or subject_in(name) or record
        study = about.get("study") or folder.name
        made.append(
            LazyRecord(
                record=record,
                subject=subject,
                modalities=tuple(named),
                duration_s=max(s.samples / s.traces[0].rate_hz for s in signals),
                load=partial(_load, file, named, record, subject, study),
                study=study,
                units=tuple((m, units_of(m, s.traces)) for m, s in named.items()),
                headers=tuple(
                    header
                    for m, s in named.items()
                    for header in headers_of_groups({m: s.traces}, s.samples / s.traces[0].rate_hz)
                ),
            )
        )
    check_given(modalities, seen)
    return made


def _scan(file: Path) -> tuple[dict[str, str], tuple[Hdf5Signal, ...]]:
    with _as_read_error(file), opened_hdf5(file) as held:
        _check_inside(file, held)
        about = {
            key: _text(attribute(held, key))
            for key in ("subject", "record", "study")
            if key in held.attrs
        }
        signals = tuple(_signal(file, name, held[name]) for name in held)
        if not signals:
            raise ReadError(f"{file.name} holds no dataset at its root. {_REMEDY}")
        return about, signals


def _check_inside(file: Path, held: Any) -> None:
    """Every dataset lies in this very file."""
    import h5py

    for name in held:
        if not lies_inside(held, name):
            raise ReadError(
                f"datasets of {file.name} lie in the file itself; {name!r} is a link to another "
                "place. Copy it in."
            )
        if not isinstance(held[name], h5py.Dataset):
            raise ReadError(f"{file.name} holds {name!r}, which is no dataset. {_REMEDY}")


def _signal(file: Path, name: str, held: Any) -> Hdf5Signal:
    if held.ndim not in (1, 2) or held.dtype.kind not in "fiu" or 0 in held.shape:
        raise ReadError(
            f"datasets of {file.name} are numbers (channel, time) or (time,); {name!r} is "
            f"{held.dtype} of shape {held.shape}. {_REMEDY}"
        )
    check_room(held, file.name)
    if "rate_hz" not in held.attrs:
        raise ReadError(f"dataset {name!r} of {file.name} has no attribute rate_hz. {_REMEDY}")
    rate_hz = check_rate(float(attribute(held, "rate_hz")), name)
    count = held.shape[0] if held.ndim == 2 else 1
    plain = [name] if count == 1 else [f"{name}_{i + 1}" for i in range(count)]
    told = attribute(held, "channels") if "channels" in held.attrs else plain
    labels = [_text(label) for label in np.atleast_1d(told)]
    if len(labels) != count:
        raise ReadError(
            f"dataset {name!r} of {file.name} has {count} channels (shape {held.shape}) and names "
            f"for {len(labels)}: {listed(labels)}. Samples are (channel, time)."
        )
    units = normal_units(_text(attribute(held, "units") if "units" in held.attrs else ""))
    traces = tuple(Trace(label, rate_hz, units, modality=name) for label in labels)
    return Hdf5Signal(name, traces, held.shape[-1])


def _text(value: Any) -> str:
    # h5py gives bytes that are no UTF-8 as halves of letters, which could not be shown or written.
    raw = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", errors="replace")


def _load(
    file: Path, named: dict[str, Hdf5Signal], record: str, subject: str, study: str
) -> Record:
    signals = {}
    with _as_read_error(file), opened_hdf5(file) as held:
        _check_inside(file, held)
        for modality, each in named.items():
            values = np.atleast_2d(held[each.dataset][()])
            rows = values if values.dtype.kind == "f" else values.astype(np.float32)
            samples = {trace.name: row for trace, row in zip(each.traces, rows, strict=True)}
            signals[modality] = signal_of(modality, each.traces, samples)
    return Record(signals, subject, record, study)


def _as_read_error(file: Path) -> AbstractContextManager[None]:
    errors = (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError)
    return read_error(file, "HDF5", errors)
