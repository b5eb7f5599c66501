"""Reading BIDS physiology: `*_physio.tsv.gz` without a header, described by JSON beside or above.

Values nearer to the file win (the inheritance principle). Recordings of one run that differ only
in `recording-...` are one record, each at its own rate, placed by its StartTime.
"""

import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from latentphys.recordings.errors import ModalityError, ReadError, listed
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.listing import files_of, folder_of, names_of, subject_in
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

SUFFIXES = ("_physio.tsv.gz",)
# What BIDS means by its own column names.
_COLUMNS = {"cardiac": "ppg", "respiratory": "resp", "trigger": "trigger"}
_ENTITY = re.compile(r"(?:^|_)([a-zA-Z]+)-([a-zA-Z0-9]+)")
_BROKEN = (OSError, EOFError, ValueError)
# A study's folders: dataset / subject / session / kind.
_DEPTH = 4


@dataclass(frozen=True)
class PhysioFile:
    """One table and what its JSON tells; `start_s` counts from the first volume of the scan."""

    path: Path
    traces: tuple[Trace, ...]
    rate_hz: float
    start_s: float
    rows: int


def is_bids(path: Path) -> bool:
    """Whether the path is a `*_physio.tsv.gz`, or a folder with some in or below it."""
    return bool(files_of(path, SUFFIXES))


def list_bids(path: Path, modalities: Mapping[str, str]) -> list[LazyRecord]:
    """What the JSON of each recording tells; tables are only counted.

    Args:
        path: file, or folder of a dataset, subject or run.
        modalities: column -> modality, before the table of known names.

    Raises:
        ReadError: a table that is damaged, or without JSON that tells its rate and columns.
        ModalityError: `modalities` names a column that no record has.
        RateError: a rate that is not a positive number.
    """
    folder = folder_of(path)
    files = files_of(path, SUFFIXES)
    runs: dict[str, list[Path]] = {}
    for file in files:
        runs.setdefault(_run(file), []).append(file)
    names = names_of([same[0] for same in runs.values()], folder, SUFFIXES)
    parts = {run: [_scan(file, folder) for file in same] for run, same in runs.items()}
    everything = [trace for each in parts.values() for part in each for trace in part.traces]
    check_given(modalities, (trace.name for trace in everything))
    unknown: dict[str, str] = {}
    made = []
    for run, found in parts.items():
        name = re.sub(r"_recording-[a-zA-Z0-9]+", "", names[runs[run][0]])
        traces = [trace for part in found for trace in part.traces]
        twice = [trace.name for trace in traces if [t.name for t in traces].count(trace.name) > 1]
        if twice:
            raise ModalityError(
                f"recordings of one run have different columns; {name!r} has {listed(twice)} "
                "twice. Read its files one by one."
            )
        groups = grouped(traces, modalities, unknown, name)
        subject = subject_in(str(found[0].path.absolute().as_posix())) or name
        start = min(part.start_s for part in found)
        ends = [part.start_s - start + part.rows / part.rate_hz for part in found]
        made.append(
            LazyRecord(
                record=name,
                subject=subject,
                modalities=tuple(groups),
                duration_s=max(ends),
                load=partial(_load, tuple(found), groups, name, subject, folder.name),
                study=folder.name,
                units=tuple((m, units_of(m, members)) for m, members in groups.items()),
                headers=headers_of_groups(groups),
            )
        )
    warn_unknown(unknown)
    return made


def _run(file: Path) -> str:
    return str(file.with_name(re.sub(r"_recording-[a-zA-Z0-9]+", "", file.name)))


def _scan(file: Path, root: Path) -> PhysioFile:
    about = _described(file, root)
    missing = [key for key in ("SamplingFrequency", "Columns") if key not in about]
    if missing:
        raise ReadError(
            f"the JSON of {file.name} tells {listed(missing)}; none beside it or in the folders "
            "above does. Add it to a *_physio.json."
        )
    names, start = about["Columns"], about.get("StartTime", 0)
    try:
        rate_hz, start_s = float(about["SamplingFrequency"]), float(start)
    except (TypeError, ValueError) as error:
        raise ReadError(f"the JSON of {file.name} has no number for a rate ({error}).") from error
    good = isinstance(names, list) and names and all(isinstance(n, str) and n for n in names)
    if not good or len(set(names)) != len(names) or not np.isfinite(start_s):
        raise ReadError(
            f"Columns of {file.name} are different names and StartTime is seconds; the JSON has "
            f"{names!r} and {start!r}. Correct it."
        )
    rate_hz = check_rate(rate_hz, file.name)
    traces = tuple(
        Trace(name, rate_hz, _units(about.get(name)), _COLUMNS.get(name, "")) for name in names
    )
    return PhysioFile(file, traces, rate_hz, start_s, _rows(file))


def _units(about: Any) -> str:
    units = about.get("Units", "") if isinstance(about, dict) else ""
    return units if isinstance(units, str) else ""


def _described(file: Path, root: Path) -> dict[str, Any]:
    """The keys of all JSON that is about the file, those nearest to it over the others."""
    folders = [file.parent, *file.parent.parents]
    tops = [i for i, each in enumerate(folders) if (each / "dataset_description.json").is_file()]
    asked = folders.index(root) if root in folders else 0
    # Not above the dataset, nor, where none says it is one, above the folder asked for.
    folders = folders[: 1 + (tops[0] if tops and tops[0] <= _DEPTH else asked)]
    entities = set(_ENTITY.findall(file.name))
    about: dict[str, Any] = {}
    for folder in reversed(folders):
        fitting = [
            j for j in folder.glob("*physio.json") if set(_ENTITY.findall(j.name)) <= entities
        ]
        for path in sorted(fitting, key=lambda j: (len(_ENTITY.findall(j.name)), j.name)):
            about |= _json(path)
    return about


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise ReadError(f"{path.name} is no JSON ({error}). Correct it.") from error
    if not isinstance(found, dict):
        raise ReadError(f"{path.name} is a JSON object, got {type(found).__name__}. Correct it.")
    return found


def _rows(file: Path) -> int:
    try:
        with gzip.open(file) as stream:
            rows = sum(1 for line in stream if line.strip())
    except _BROKEN as error:
        raise _damaged(file, error) from error
    if rows == 0:
        raise ReadError(f"{file.name} holds no samples; remove it.")
    return rows


def _samples(part: PhysioFile) -> dict[str, np.ndarray]:
    import pandas as pd

    try:
        table = pd.read_csv(
            part.path, sep="\t", header=None, dtype=np.float64, na_values=["n/a"], index_col=False
        )
    except _BROKEN as error:
        raise _damaged(part.path, error) from error
    if table.shape[1] != len(part.traces):
        raise ReadError(
            f"{part.path.name} has {table.shape[1]} columns where its JSON names "
            f"{len(part.traces)}: {listed(trace.name for trace in part.traces)}. Correct it."
        )
    values = table.to_numpy().astype(np.float32)
    return {trace.name: values[:, i] for i, trace in enumerate(part.traces)}


def _load(
    parts: tuple[PhysioFile, ...], groups: Groups, name: str, subject: str, study: str
) -> Record:
    samples = {column: row for part in parts for column, row in _samples(part).items()}
    start = min(part.start_s for part in parts)
    late = {t.name: part.start_s - start for part in parts for t in part.traces}
    signals = {}
    for modality, members in groups.items():
        signal = signal_of(modality, members, samples)
        signals[modality] = signal.assign_coords(time=signal["time"] + late[members[0].name])
    attrs: dict[str, Any] = {"start_time_s": start}
    for entity, value in _ENTITY.findall(parts[0].path.name):
        if entity not in ("sub", "recording"):
            attrs[entity] = value
    return Record(signals, subject, name, study, attrs=attrs)


def _damaged(file: Path, error: Exception) -> ReadError:
    return ReadError(
        f"{file.name} is no table of numbers, packed by gzip ({error}). Download it again."
    )
