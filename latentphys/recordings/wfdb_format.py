"""Reading WFDB (PhysioNet) records at their native rates.

A record `X` and its numerics `Xn` in the same folder are one recording.
"""

import math
import re
import warnings
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import xarray as xr

from latentphys.recordings.errors import ReadError, listed
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.listing import subject_in
from latentphys.recordings.modalities import modality_of
from latentphys.recordings.record import Record
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
from latentphys.recordings.wfdb_annotations import read_annotations
from latentphys.recordings.wfdb_beats import beats_alone, list_beats
from latentphys.recordings.wfdb_files import (
    WfdbFile,
    read_samples,
    scan,
    segment_names,
    too_long,
)

_COMMENT = re.compile(r"^\s*<?\s*([A-Za-z][\w ]{0,30}?)\s*>?\s*[:=]\s*(\S.*?)\s*$")
_MODALITY = re.compile(r"^\s*modality of (.+): (\w+)\s*$")  # as `write_wfdb` notes it
_SUBJECT_KEYS = ("subject", "subject_id", "patient", "patient_id")


def is_wfdb(path: Path) -> bool:
    """Whether the path is a WFDB record, or a folder with some in or below it."""
    if path.is_dir():
        return any(path.rglob("*.hea"))
    return _header(path).is_file()


def list_wfdb(path: Path, modalities: Mapping[str, str]) -> list[LazyRecord]:
    """What the headers under a path tell of each recording; no sample is read.

    Args:
        path: folder, or one record with or without `.hea`.
        modalities: channel name -> modality, before the table of known names.

    Raises:
        ReadError: a header that cannot be read, or whose files are missing, short or elsewhere.
        ModalityError: `modalities` names a channel that no record has.
        RateError: one modality at two rates in one record.
    """
    folder = path if path.is_dir() else path.parent
    stems = _stems(path) if path.is_dir() else [_header(path).with_suffix("")]
    names = _names(stems, folder)
    beats = [stem for stem in stems if beats_alone(stem)]
    recordings = {}
    for stem in (stem for stem in stems if stem not in beats):
        parts = [stem, stem.with_name(stem.name + "n")]
        recordings[stem] = [scan(part) for part in parts if _header(part).is_file()]
    check_given(
        modalities,
        (c.name for files in recordings.values() for file in files for c in file.channels),
    )
    unknown: dict[str, str] = {}
    made = []
    for stem, files in recordings.items():
        plan = [_groups(file, modalities, unknown) for file in files]
        made.append(_lazy(names[stem], folder.name, files, _numerics_apart(plan)))
    warn_unknown(unknown)
    if beats:
        warnings.warn(
            f"{len(beats)} records have annotated beats and none of their signal files, "
            f"{listed(stem.name for stem in beats)}: read as beat intervals, modality 'rr'. "
            "Download their signal files if they should be there.",
            stacklevel=3,
        )
    return made + [list_beats(stem, names[stem], folder.name) for stem in beats]


def _groups(file: WfdbFile, given: Mapping[str, str], unknown: dict[str, str]) -> Groups:
    """modality -> its channels in one file; new unknown names are noted in `unknown`."""
    notes = [match for line in file.comments if (match := _MODALITY.match(line))]
    told = {match.group(1): match.group(2) for match in notes}
    traces = [
        Trace(
            name=channel.name,
            rate_hz=channel.rate_hz,
            units=channel.units,
            modality=told.get(channel.name) or modality_of(channel.base_name, channel.units) or "",
        )
        for channel in file.channels
    ]
    return grouped(traces, given, unknown, file.stem.name)


def _numerics_apart(plans: list[Groups]) -> list[Groups]:
    """A numerics' modality that the waveforms have too is renamed `..._numeric`."""
    if len(plans) < 2:
        return plans
    waves, numerics = plans
    return [waves, {(f"{m}_numeric" if m in waves else m): c for m, c in numerics.items()}]


def _lazy(name: str, study: str, files: list[WfdbFile], plans: list[Groups]) -> LazyRecord:
    attrs = _attrs(files[0].comments)
    subject = next(
        (str(attrs[key]) for key in _SUBJECT_KEYS if key in attrs), subject_in(name) or name
    )
    everything = {m: channels for plan in plans for m, channels in plan.items()}
    if not everything:
        raise ReadError(f"record {name!r} has no signals in its header; it cannot be a record.")
    _check_same_start(files)
    return LazyRecord(
        record=name,
        subject=subject,
        modalities=tuple(everything),
        duration_s=max(file.duration_s for file in files),
        load=partial(_load, tuple(files), tuple(plans), name, subject, study),
        study=study,
        units=tuple((m, units_of(m, channels)) for m, channels in everything.items()),
        headers=tuple(
            header
            for file, plan in zip(files, plans, strict=True)
            for header in headers_of_groups(plan, file.duration_s)
        ),
        start=_start(files[0]),
    )


def _start(file: WfdbFile) -> str:
    """Date and time of the first sample; empty where the header gives no date."""
    if math.isnan(file.start_s):
        return ""
    day, seconds = divmod(file.start_s, 86400)
    begin = datetime.fromordinal(int(day)) + timedelta(seconds=seconds)
    return begin.isoformat(timespec="milliseconds" if begin.microsecond else "seconds")


def _load(
    files: tuple[WfdbFile, ...], plans: tuple[Groups, ...], name: str, subject: str, study: str
) -> Record:
    signals: dict[str, xr.DataArray] = {}
    annotations: dict[str, xr.DataArray] = {}
    for file, plan in zip(files, plans, strict=True):
        samples = read_samples(file)
        for modality, channels in plan.items():
            signals[modality] = signal_of(modality, channels, samples)
        annotations |= read_annotations(file.stem, file.rate_hz)
    attrs = _attrs(files[0].comments)
    for key in _SUBJECT_KEYS:
        attrs.pop(key, None)
    if start := _start(files[0]):
        attrs["start"] = start
    return Record(signals, subject, name, study, annotations=annotations, attrs=attrs)


def _attrs(comments: tuple[str, ...]) -> dict[str, object]:
    """Age, sex and the like from a header's "key: value" comments, which are kept whole too."""
    comments = tuple(line for line in comments if not _MODALITY.match(line))
    attrs: dict[str, object] = {"comments": "\n".join(comments)} if comments else {}
    for line in comments:
        match = _COMMENT.match(line)
        if match:
            key = re.sub(r"\s+", "_", match.group(1).strip().lower())
            attrs.setdefault(key, match.group(2))
    age = str(attrs.get("age", ""))
    if re.fullmatch(r"\d+(\.\d+)?", age):
        attrs["age"] = float(age)
    return attrs


def _check_same_start(files: list[WfdbFile]) -> None:
    starts = [file.start_s for file in files if not math.isnan(file.start_s)]
    slowest = min(channel.rate_hz for file in files for channel in file.channels)
    if len(starts) > 1 and abs(starts[1] - starts[0]) > 1.0 / slowest:
        raise ReadError(
            f"waveforms and numerics of one recording start together; {files[0].stem.name!r} and "
            f"{files[1].stem.name!r} start {starts[1] - starts[0]:g} s apart. Cut them to a "
            "common start, or move the numerics to another folder."
        )


def _header(path: Path) -> Path:
    return path if path.suffix == ".hea" else path.with_name(path.name + ".hea")


def _stems(folder: Path) -> list[Path]:
    """The recordings of a folder: what RECORDS lists, else its headers, else those below it."""
    index = folder / "RECORDS"
    if index.is_file():
        stems = _listed_records(folder, index)
    else:
        headers = list(folder.glob("*.hea")) or list(folder.rglob("*.hea"))
        stems = sorted((header.with_suffix("") for header in headers), key=_natural)
        inside = {stem.with_name(name) for stem in stems for name in segment_names(stem)}
        stems = [stem for stem in stems if stem not in inside]
    have = set(stems)
    return [s for s in stems if not (s.name.endswith("n") and s.with_name(s.name[:-1]) in have)]


def _listed_records(folder: Path, index: Path) -> list[Path]:
    lines = index.read_text(encoding="utf-8", errors="replace").splitlines()
    names = dict.fromkeys(line.strip() for line in lines if line.strip())
    outside = [name for name in names if Path(name).is_absolute() or ".." in Path(name).parts]
    if outside:
        raise ReadError(
            f"{str(index)!r} lists records inside its folder; {listed(outside)} is outside. "
            "Correct the file, or read that folder by itself."
        )
    missing = [name for name in names if too_long(name) or not _header(folder / name).is_file()]
    if missing:
        raise ReadError(
            f"{str(index)!r} lists {len(missing)} records whose header is not there: "
            f"{listed(missing)}. Download them, or remove RECORDS to read what is there."
        )
    return [folder / name for name in names]


def _names(stems: Iterable[Path], folder: Path) -> dict[Path, str]:
    """Short names when they tell the records apart, else the path below the folder."""
    stems = list(stems)
    if len({stem.name for stem in stems}) == len(stems):
        return {stem: stem.name for stem in stems}
    return {stem: "_".join(stem.relative_to(folder).parts) for stem in stems}


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Sort key under which "2" comes before "10"."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]
