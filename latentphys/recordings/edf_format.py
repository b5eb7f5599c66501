"""Reading EDF, EDF+ and BDF: every channel at its own rate, annotations, gaps as NaN.

A file that `latentphys.recordings.edf_writing` made also tells each channel's modality, the
samples that were not observed, and where a signal ends.
"""

import re
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from latentphys.recordings.edf_files import EdfFile, read_lines, read_samples, scan
from latentphys.recordings.errors import ReadError, listed
from latentphys.recordings.events import Line, from_lines
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.listing import files_of, folder_of, names_of, subject_in
from latentphys.recordings.record import Record
from latentphys.recordings.traces import (
    Groups,
    Trace,
    check_given,
    grouped,
    headers_of_groups,
    signal_of,
    unique,
    units_of,
    warn_unknown,
)

SUFFIXES = (".edf", ".bdf")
OURS = "latentphys"
NOT_OBSERVED = "not observed: "
END = "end of signal: "
# Other words for "the patient is not named".
_NOBODY = ("", "X", "x", "0", "anonymous", "Anonymous")
_SLEEP = re.compile(r"S[CT]4\d{3}[A-Z]")


def is_edf(path: Path) -> bool:
    """Whether the path is an EDF or BDF file, or a folder with some in or below it."""
    return bool(files_of(path, SUFFIXES))


def list_edf(path: Path, modalities: Mapping[str, str]) -> list[LazyRecord]:
    """What the headers of EDF and BDF files tell; no sample is read.

    A file of annotations alone (`SC4001EC-Hypnogram.edf`) belongs to the recording of its night.

    Args:
        path: file or folder.
        modalities: channel name -> modality, before the table of known names.

    Raises:
        ReadError: a file that is damaged or cut short, or a recording without a channel.
        ModalityError: `modalities` names a channel that no record has.
        RateError: one modality at two rates in one record.
    """
    files = files_of(path, SUFFIXES)
    if path.is_file() and _SLEEP.match(path.name):
        files += sorted(path.parent.glob(f"{path.name[:7]}*-Hypnogram.edf"))
    found = [scan(file) for file in dict.fromkeys(files)]
    recordings = [file for file in found if file.channels or file.broken]
    notes = [file for file in found if not (file.channels or file.broken)]
    if not recordings:
        raise ReadError(
            f"{str(path)!r} holds annotations without a recording: "
            f"{listed(f.path.name for f in notes)}. Put the recording beside them."
        )
    folder = folder_of(path)
    names = names_of([file.path for file in recordings], folder, SUFFIXES)
    traces = {file.path: _traces(file) for file in recordings}
    check_given(modalities, (trace.name for each in traces.values() for trace in each))
    unknown: dict[str, str] = {}
    made = []
    for file in recordings:
        name = names[file.path]
        if file.broken:
            warnings.warn(
                f"channels of {file.path.name} have no usable scale and are left out: "
                f"{listed(file.broken)}. The others keep their names.",
                stacklevel=3,
            )
        if not file.channels:
            raise ReadError(f"no channel of {file.path.name} has a usable scale; write it again.")
        groups = grouped(traces[file.path], modalities, unknown, name)
        beside = tuple(note for note in notes if _same_night(file.path, note.path))
        subject = _subject(file, folder, name)
        made.append(
            LazyRecord(
                record=name,
                subject=subject,
                modalities=tuple(groups),
                duration_s=file.duration_s,
                load=partial(_load, file, beside, groups, name, subject, folder.name),
                study=folder.name,
                units=tuple((m, units_of(m, members)) for m, members in groups.items()),
                headers=headers_of_groups(groups, file.duration_s),
            )
        )
    warn_unknown(unknown)
    return made


def _traces(file: EdfFile) -> list[Trace]:
    names = unique([channel.label for channel in file.channels])
    made = []
    for name, channel in zip(names, file.channels, strict=True):
        modality, _, label = channel.transducer.removeprefix(OURS + " ").partition("/")
        ours = _is_ours(file) and channel.transducer.startswith(OURS + " ")
        made.append(
            Trace(
                # Two modalities may have a channel of one name.
                name=f"{modality}/{label}" if ours else name,
                rate_hz=channel.rate_hz,
                units=channel.units,
                modality=modality if ours else "",
                label=label if ours else "",
            )
        )
    return made


def _load(
    file: EdfFile,
    beside: tuple[EdfFile, ...],
    groups: Groups,
    name: str,
    subject: str,
    study: str,
) -> Record:
    read = read_samples(file)
    samples = {
        trace.name: read[channel.position]
        for trace, channel in zip(_traces(file), file.channels, strict=True)
    }
    rates = {trace.name: trace.rate_hz for members in groups.values() for trace in members}
    lines = [line for each in (file, *beside) for line in read_lines(each)]
    if _is_ours(file):
        lines = _marked(lines, samples, rates)
    try:
        annotations = from_lines(lines, ours=_is_ours(file))
    except ValueError as error:
        raise ReadError(
            f"annotations of {file.path.name} cannot be read ({error}). Write the file again."
        ) from error
    code_apart = file.patient_code not in (*_NOBODY, subject)
    return Record(
        {m: signal_of(m, members, samples) for m, members in groups.items()},
        subject,
        name,
        study,
        annotations=annotations,
        attrs={"patient_code": file.patient_code} if code_apart else {},
    )


def _marked(
    lines: list[Line], samples: dict[str, np.ndarray], rates: Mapping[str, float]
) -> list[Line]:
    """The lines that are left once those on gaps and ends are carried out on the samples."""
    left = []
    for line in lines:
        mark = next((m for m in (NOT_OBSERVED, END) if line.text.startswith(m)), None)
        name = line.text.removeprefix(mark) if mark else ""
        if mark is None or name not in rates:
            left.append(line)
            continue
        start = max(round(line.onset_s * rates[name]), 0)
        if mark == END:
            samples[name] = samples[name][: max(start, 1)]
        elif line.duration_s >= 0:
            samples[name][start : start + round(line.duration_s * rates[name])] = np.nan
    return left


def _is_ours(file: EdfFile) -> bool:
    return file.equipment == OURS


def _subject(file: EdfFile, folder: Path, name: str) -> str:
    """What our own header says, else the file's name, else the patient's code, else the record."""
    code = "" if file.patient_code in _NOBODY else file.patient_code
    if _is_ours(file) and file.patient_code:
        return file.patient_code
    below = file.path.relative_to(folder).with_suffix("").as_posix()
    return subject_in(below) or code or name


def _same_night(recording: Path, notes: Path) -> bool:
    if recording.parent != notes.parent:
        return False
    nights = [_SLEEP.match(path.name) for path in (recording, notes)]
    if all(nights):
        return recording.name[:7] == notes.name[:7]
    return notes.stem.startswith(recording.stem)
