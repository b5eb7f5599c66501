"""Reading PhysioNet/CinC Challenge 2012: intensive-care stays of irregular vitals and labs.

One text file a stay, in `set-a.tar.gz` (read where it is, nothing is unpacked to disk) or in a
folder. Each variable is a modality with its own times; descriptors and outcomes are attributes.
"""

import csv
import io
import math
import tarfile
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from latentphys.recordings.errors import ReadError
from latentphys.recordings.headers import SignalHeader
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.listing import folder_of, natural
from latentphys.recordings.long import modality_names
from latentphys.recordings.record import Record
from latentphys.recordings.traces import check_given

_DESCRIPTORS = ("RecordID", "Age", "Gender", "Height", "ICUType", "Weight")
_HEAD = "Time,Parameter,Value"
# A stay is a few kB; anything like this is another file.
_LARGEST = 4 * 2**20
_UNITS = {
    **dict.fromkeys(["DiasABP", "SysABP", "MAP", "NIDiasABP", "NISysABP", "NIMAP"], "mmHg"),
    **dict.fromkeys(["PaCO2", "PaO2"], "mmHg"),
    **dict.fromkeys(["BUN", "Bilirubin", "Cholesterol", "Creatinine", "Glucose"], "mg/dL"),
    **dict.fromkeys(["HCO3", "Lactate", "Mg"], "mmol/L"),
    **dict.fromkeys(["K", "Na"], "mEq/L"),
    **dict.fromkeys(["ALP", "ALT", "AST"], "IU/L"),
    **dict.fromkeys(["HR", "RespRate"], "1/min"),
    **dict.fromkeys(["HCT", "SaO2"], "%"),
    **dict.fromkeys(["TroponinI", "TroponinT"], "ug/L"),
    **dict.fromkeys(["Platelets", "WBC"], "cells/nL"),
    "Albumin": "g/dL",
    "Temp": "degC",
    "Urine": "mL",
    "Weight": "kg",
}


def is_physionet2012(path: Path) -> bool:
    """Whether the path is a set of stays: the archive, a folder with it, or one of the texts."""
    return bool(_archives(path)) or bool(_texts(path))


def list_physionet2012(path: Path, modalities: Mapping[str, str]) -> list[LazyRecord]:
    """What the stays tell: their variables and the time of the last one.

    Args:
        path: archive, folder of it, folder of texts, or one text.
        modalities: variable -> modality, before the table of known names.

    Raises:
        ReadError: a damaged archive, or a text that is no table of times, parameters and values.
        ModalityError: `modalities` names a variable that no stay has.
    """
    outcomes = _outcomes(path)
    made: list[LazyRecord] = []
    seen: set[str] = set()
    for source in _archives(path) or [path]:
        for name, text in _stays(source).items():
            rows = _rows(name, text)
            kinds = _variables(rows)
            seen.update(kinds)
            names = _named(kinds, modalities)
            made.append(
                LazyRecord(
                    record=name,
                    subject=name,
                    modalities=tuple(sorted(names.values())),
                    duration_s=max((row[0] for row in rows), default=0.0),
                    load=partial(_load, source, name, dict(modalities), outcomes.get(name, {})),
                    study="physionet2012",
                    units=tuple(sorted((m, _UNITS.get(kind, "")) for kind, m in names.items())),
                    headers=tuple(
                        SignalHeader(m, math.nan, (m,), _UNITS.get(kind, ""))
                        for m, kind in sorted({m: kind for kind, m in names.items()}.items())
                    ),
                )
            )
    check_given(modalities, seen)
    return made


def _archives(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.glob("set-[abc].tar.gz"))
    return [path] if path.is_file() and path.name.endswith(".tar.gz") else []


def _texts(path: Path) -> list[Path]:
    files = sorted(path.glob("*.txt"), key=natural) if path.is_dir() else [path]
    return [f for f in files if f.suffix == ".txt" and f.stem.isdigit() and _begins(f)]


def _begins(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return stream.read(len(_HEAD)) == _HEAD.encode()


@lru_cache(maxsize=1)
def _unpacked(source: Path, changed: int) -> dict[str, str]:
    """Every text of an archive, read once in a process: a packed file cannot be sought in."""
    del changed  # part of the key alone
    found = {}
    try:
        with tarfile.open(source, "r:gz") as archive:
            for member in archive:
                name = Path(member.name)
                if not member.isfile() or name.suffix != ".txt" or not name.stem.isdigit():
                    continue
                if member.size > _LARGEST:
                    raise ReadError(
                        f"{member.name} in {source.name} has {member.size} bytes; a stay has a few "
                        "thousand. It is another archive."
                    )
                stream = archive.extractfile(member)
                text = stream.read().decode("utf-8", errors="replace") if stream else ""
                found[name.stem] = text
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(f"{source.name} is damaged ({error}). Download it again.") from error
    if not found:
        raise ReadError(f"{source.name} holds no stays (texts named by a number). Give another.")
    return dict(sorted(found.items()))


def _stays(source: Path) -> Mapping[str, str]:
    if source.name.endswith(".tar.gz"):
        return _unpacked(source, source.stat().st_mtime_ns)
    return {file.stem: _text(file) for file in _texts(source)}


def _text(file: Path) -> str:
    if file.stat().st_size > _LARGEST:
        raise ReadError(f"{file.name} has {file.stat().st_size} bytes; a stay has a few thousand.")
    return file.read_text(encoding="utf-8", errors="replace")


def _rows(name: str, text: str) -> list[tuple[float, str, float]]:
    """(seconds, variable, value) of each row."""
    lines = text.splitlines()
    if not lines or lines[0].strip() != _HEAD:
        raise ReadError(f"stay {name} begins with {_HEAD!r}; it does not. Download it again.")
    made = []
    for line in lines[1:]:
        parts = line.split(",")
        try:
            (at, kind, value) = parts
            hours, minutes = at.split(":")
            row = (60.0 * (60 * int(hours) + int(minutes)), kind, float(value))
        except ValueError as error:
            raise ReadError(
                f"rows of stay {name} are 'HH:MM,parameter,value'; got {line[:60]!r}. Download it "
                "again."
            ) from error
        # A few rows of the set have no parameter.
        if kind and np.isfinite(row[2]) and row[0] >= 0:
            made.append(row)
    return made


def _described(rows: list[tuple[float, str, float]]) -> set[int]:
    """Positions of the descriptors: the first row of each at admission."""
    found: dict[str, int] = {}
    for i, (at, kind, _) in enumerate(rows):
        if at == 0 and kind in _DESCRIPTORS:
            found.setdefault(kind, i)
    return set(found.values())


def _variables(rows: list[tuple[float, str, float]]) -> dict[str, None]:
    left = _described(rows)
    kinds = dict.fromkeys(kind for i, (_, kind, _) in enumerate(rows) if i not in left)
    # Three stays of set-a have no measurement: their heart rate was not observed.
    return kinds or {"HR": None}


def _named(kinds: dict[str, None], given: Mapping[str, str]) -> dict[str, str]:
    return {kind: given.get(kind, modality) for kind, modality in modality_names(kinds).items()}


def _load(source: Path, name: str, given: dict[str, str], outcomes: Mapping[str, float]) -> Record:
    stays = _stays(source)
    if name not in stays:
        raise ReadError(f"stay {name} is no longer in {source.name}. Read the cohort again.")
    rows = _rows(name, stays[name])
    described = _described(rows)
    names = _named(_variables(rows), given)
    values: dict[str, dict[float, float]] = {modality: {} for modality in names.values()}
    for i, (at, kind, value) in enumerate(rows):
        if i not in described:
            values[names[kind]][at] = value  # of several at one minute the last counts
    signals: dict[str, Any] = {}
    for modality in sorted(values):
        pairs = sorted(values[modality].items()) or [(0.0, np.nan)]
        signals[modality] = (np.array([p[1] for p in pairs]), np.array([p[0] for p in pairs]))
    units = {modality: _UNITS.get(kind, "") for kind, modality in names.items()}
    record = Record.from_arrays(signals, subject=name, study="physionet2012", units=units)
    attrs = {
        rows[i][1].lower(): rows[i][2]
        for i in sorted(described)
        if rows[i][1] != "RecordID" and rows[i][2] >= 0  # -1: not known
    }
    return Record(record.signals, name, name, "physionet2012", attrs={**attrs, **outcomes})


def _outcomes(path: Path) -> dict[str, dict[str, float]]:
    """Stay -> its outcomes, from Outcomes-a.txt beside the archive or folder, or in it."""
    folder = folder_of(path)
    return {
        name: about
        for place in (folder.parent, folder)
        for file in sorted(place.glob("Outcomes-[abc].txt"))
        for name, about in _outcome_rows(file)
    }


def _outcome_rows(file: Path) -> Iterator[tuple[str, dict[str, float]]]:
    reader = csv.DictReader(io.StringIO(_text(file)))
    for row in reader:
        try:
            name = str(row.pop("RecordID"))
            yield name, {key.lower().replace("-", "_"): float(v) for key, v in row.items()}
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise ReadError(
                f"rows of {file.name} are numbers under a head with RecordID ({error!r}); line "
                f"{reader.line_num} is not. Download it again."
            ) from error
