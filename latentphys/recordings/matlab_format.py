"""Reading MATLAB `.mat` files, version 5 (scipy) and 7.3 (h5py).

Two layouts are known. A struct of variables: each signal a numeric variable, its rate in a scalar
`<name>_rate_hz` or, for all of them, `rate_hz` (also fs, Fs, sfreq, sampling_rate); the longer
side of a matrix is time. And cell arrays of piano rolls, each (step, 88): every roll is a record
of modality `notes`, at one step a second, with the name of its array as `split`.
"""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from latentphys.recordings.errors import ReadError, listed, read_error
from latentphys.recordings.hdf5_files import attribute, check_room, lies_inside, opened_hdf5
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.listing import files_of, folder_of, names_of, subject_in
from latentphys.recordings.modalities import modality_of, own_name
from latentphys.recordings.record import Record, check_rate
from latentphys.recordings.traces import (
    Groups,
    Trace,
    check_given,
    grouped,
    headers_of_groups,
    signal_of,
    units_of,
    warn_unknown,
)

SUFFIXES = (".mat",)
NOTES = tuple(str(key) for key in range(21, 109))  # MIDI numbers of a piano's keys
_RATES = ("rate_hz", "fs", "Fs", "FS", "sfreq", "sampling_rate", "srate")
_REMEDY = (
    "Known are signals beside a scalar rate (ecg and ecg_rate_hz, or one rate_hz for all) and "
    "cell arrays of piano rolls; load others with scipy.io.loadmat and use Record.from_arrays."
)


def is_matlab(path: Path) -> bool:
    """Whether the path is a `.mat` file, or a folder with some in or below it."""
    return bool(files_of(path, SUFFIXES))


def list_matlab(path: Path, modalities: Mapping[str, str]) -> list[LazyRecord]:
    """What the variables of the files tell.

    Args:
        path: file or folder.
        modalities: variable -> modality, before the table of known names.

    Raises:
        ReadError: a damaged file, or one of another layout.
        ModalityError: `modalities` names a variable that no file has.
        RateError: a rate that is not a positive number.
    """
    folder = folder_of(path)
    names = names_of(files_of(path, SUFFIXES), folder, SUFFIXES)
    unknown: dict[str, str] = {}
    made: list[LazyRecord] = []
    seen: list[str] = []
    for file, name in names.items():
        shapes = _shapes(file)
        cells = [variable for variable, (_, kind) in shapes.items() if kind == "cell"]
        if cells:
            made += _list_rolls(file, folder.name)
            continue
        traces = _traces(file, shapes, modalities, unknown)
        seen += shapes
        groups = grouped(traces, {}, {}, name)
        subject = subject_in(name) or name
        made.append(
            LazyRecord(
                record=name,
                subject=subject,
                modalities=tuple(groups),
                duration_s=max(max(shapes[_variable(t)][0]) / t.rate_hz for t in traces),
                load=partial(_load, file, groups, name, subject, folder.name),
                study=folder.name,
                units=tuple((m, units_of(m, members)) for m, members in groups.items()),
                headers=headers_of_groups(groups),
            )
        )
    check_given(modalities, seen)
    warn_unknown(unknown)
    return made


# variable -> its shape, and its kind: "number", "cell", or another that is not read
Shapes = dict[str, tuple[tuple[int, ...], str]]


def _is_73(file: Path) -> bool:
    with file.open("rb") as stream:
        return b"MATLAB 7.3" in stream.read(128)


def _shapes(file: Path) -> Shapes:
    """What the file lists of its variables, no value read."""
    import h5py
    import scipy.io

    with _as_read_error(file):
        if not _is_73(file):
            listing = scipy.io.whosmat(file)
            return {name: (shape, _kind(kind)) for name, shape, kind in listing}
        with opened_hdf5(file) as held:
            return {
                name: (each.shape, "number" if each.dtype.kind in "fiu" else "other")
                for name in held
                if lies_inside(held, name)
                and isinstance(each := held[name], h5py.Dataset)
                and not (
                    "MATLAB_class" in each.attrs and attribute(each, "MATLAB_class") == b"char"
                )
            }


def _kind(matlab: str) -> str:
    if matlab == "cell":
        return "cell"
    numbers = matlab in ("double", "single") or matlab.startswith(("int", "uint"))
    return "number" if numbers else "other"


def _values(file: Path, names: list[str]) -> dict[str, np.ndarray]:
    """Numeric variables; a matrix of version 7.3 lies transposed, which its longer side tells."""
    import scipy.io

    with _as_read_error(file):
        if not _is_73(file):
            held = scipy.io.loadmat(file, variable_names=names)
            return {name: np.asarray(held[name]) for name in names}
        with opened_hdf5(file) as held:
            for name in names:
                check_room(held[name], file.name)
            return {name: np.asarray(held[name][()]) for name in names}


def _traces(
    file: Path, shapes: Shapes, given: Mapping[str, str], unknown: dict[str, str]
) -> list[Trace]:
    numbers = {name: shape for name, (shape, kind) in shapes.items() if kind == "number"}
    scalars = [name for name, shape in numbers.items() if math.prod(shape) == 1]
    single = {name: float(value.ravel()[0]) for name, value in _values(file, scalars).items()}
    common = next((single[name] for name in _RATES if name in single), math.nan)
    made = []
    for name, shape in numbers.items():
        if name in scalars or 0 in shape:
            continue
        rate = single.get(f"{name}_rate_hz", single.get(f"{name}_fs", common))
        if len(shape) != 2 or math.isnan(rate):
            what = f"of shape {shape}" if len(shape) != 2 else "without a rate"
            raise ReadError(f"{file.name} has a variable {name!r} {what}. {_REMEDY}")
        modality = given.get(name) or modality_of(name)
        if not modality:
            modality = unknown[name] = own_name(name)
        rate_hz, count = check_rate(rate, name), min(shape)
        labels = [name] if count == 1 else [f"{name}_{i + 1}" for i in range(count)]
        made += [Trace(f"{name}/{i}", rate_hz, "", modality, t) for i, t in enumerate(labels)]
    if not made:
        raise ReadError(f"{file.name} has no signal among {listed(shapes)}. {_REMEDY}")
    return made


def _variable(trace: Trace) -> str:
    return trace.name.rpartition("/")[0]


def _load(file: Path, groups: Groups, name: str, subject: str, study: str) -> Record:
    traces = [trace for members in groups.values() for trace in members]
    held = _values(file, list(dict.fromkeys(_variable(trace) for trace in traces)))
    samples = {}
    for trace in traces:
        block = held[_variable(trace)]
        rows = block if block.shape[1] >= block.shape[0] else block.T
        samples[trace.name] = rows[int(trace.name.rpartition("/")[2])].astype(np.float32)
    signals = {m: signal_of(m, members, samples) for m, members in groups.items()}
    return Record(signals, subject, name, study)


@lru_cache(maxsize=1)
def _rolls(file: Path, changed: int) -> dict[str, tuple[str, np.ndarray]]:
    """Record -> (its array, the roll (step, 88)); the file is read once in a process."""
    import scipy.io

    del changed  # part of the key alone
    found = {}
    with _as_read_error(file):
        held = scipy.io.loadmat(file)
        arrays = {
            name: value
            for name, value in held.items()
            if isinstance(value, np.ndarray) and value.dtype.kind == "O"
        }
        for name, cells in arrays.items():
            for i, roll in enumerate(cells.ravel()):
                fits = isinstance(roll, np.ndarray) and roll.ndim == 2 and roll.dtype.kind in "buif"
                if not (fits and roll.shape[0] > 0 and roll.shape[1] == len(NOTES)):
                    raise ReadError(
                        f"{file.name} has a cell array {name!r} whose cell {i + 1} is no piano "
                        f"roll (step, {len(NOTES)}). {_REMEDY}"
                    )
                found[f"{name}_{i + 1:03d}"] = (name, roll)
    return found


def _list_rolls(file: Path, study: str) -> list[LazyRecord]:
    changed = file.stat().st_mtime_ns
    return [
        LazyRecord(
            record=name,
            subject=name,
            modalities=("notes",),
            duration_s=float(len(roll)),
            load=partial(_load_roll, file, changed, name, study),
            study=study,
            units=(("notes", ""),),
        )
        for name, (_, roll) in _rolls(file, changed).items()
    ]


def _load_roll(file: Path, changed: int, name: str, study: str) -> Record:
    split, roll = _rolls(file, changed)[name]
    made = Record.from_arrays(
        {"notes": (roll.T, 1.0)}, subject=name, study=study, channels={"notes": NOTES}
    )
    return replace(made, attrs={"split": split})


def _as_read_error(file: Path) -> AbstractContextManager[None]:
    # scipy's own, zlib's and struct's errors, and MemoryError
    return read_error(file, "MATLAB", (Exception,))
