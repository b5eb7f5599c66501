"""One WFDB record as it lies on disk: header checked first, samples read at native rates."""

import math
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latentphys.recordings.errors import RateError, ReadError, UnitError, listed
from latentphys.recordings.modalities import normal_units
from latentphys.recordings.record import check_rate
from latentphys.recordings.units import conversion

# Bytes a sample takes.
_BYTES = {
    "8": 1.0,
    "16": 2.0,
    "24": 3.0,
    "32": 4.0,
    "61": 2.0,
    "80": 1.0,
    "160": 2.0,
    "212": 1.5,
    "310": 4 / 3,
    "311": 4 / 3,
}
_MOST_SAMPLES = 2**31  # 8 GB; gaps have no file whose size would tell that a header is damaged
_LONGEST_NAME = 240  # bytes
_COMPRESSED = ("508", "516", "524")  # no fixed size
_FOREIGN = (ValueError, IndexError, KeyError, TypeError, AttributeError, OSError)


@dataclass(frozen=True)
class Channel:
    """A channel as the header tells of it; `name` is made unique in the record."""

    name: str
    base_name: str
    rate_hz: float
    units: str


@dataclass(frozen=True)
class Segment:
    """Part of a record: where its files are, and its first frame in the whole."""

    stem: Path
    start_frame: int


@dataclass(frozen=True)
class WfdbFile:
    """A record on disk: its channels, its segments (itself, if it is in one piece) and comments.

    `start_s` is the time of day of its first sample as seconds since year 1, NaN if not given.
    """

    stem: Path
    channels: tuple[Channel, ...]
    segments: tuple[Segment, ...]
    frames: int
    rate_hz: float
    start_s: float
    comments: tuple[str, ...]

    @property
    def duration_s(self) -> float:
        """Seconds from its first to its last frame."""
        return self.frames / self.rate_hz


def scan(stem: Path) -> WfdbFile:
    """A record's header, with its files checked before any of them is opened.

    Raises:
        ReadError: the header cannot be read; a file it names is outside its folder, missing, or
            shorter than the header says.
        RateError: its rate is not positive.
        UnitError: a channel's units in two segments are not of one kind.
    """
    header = read_header(stem)
    rate_hz = float(header.fs)
    if getattr(header, "seg_name", None) is None:
        _check_sizes(stem, header)
        pieces, frames = [(Segment(stem, 0), header)], int(header.sig_len or 0)
    else:
        pieces, frames = _pieces(stem, header)
    if frames <= 0:
        raise ReadError(
            f"header {stem.name}.hea says how many samples there are; it gives none. Add the "
            "number to its first line."
        )
    channels: dict[str, Channel] = {}
    for _, part in pieces:
        for channel in _channels(part, rate_hz):
            before = channels.setdefault(channel.name, channel)
            _check_same(stem, before, channel)
    samples = sum(frames * round(channel.rate_hz / rate_hz) for channel in channels.values())
    if samples > _MOST_SAMPLES:
        raise ReadError(
            f"header {stem.name}.hea counts {samples} samples; a record has at most "
            f"{_MOST_SAMPLES}. It is damaged, or its segments are better read by their own names."
        )
    return WfdbFile(
        stem=stem,
        channels=tuple(channels.values()),
        segments=tuple(segment for segment, _ in pieces),
        frames=frames,
        rate_hz=rate_hz,
        start_s=_start_s(header),
        comments=tuple(header.comments or ()),
    )


def read_samples(file: WfdbFile) -> dict[str, np.ndarray]:
    """Channel name -> samples (time,) in its units, float32, NaN where there are none."""
    import wfdb

    whole = {c.name: _blank(file, c) for c in file.channels}
    units = {c.name: c.units for c in file.channels}
    for segment in file.segments:
        try:
            # smooth_frames=False, or wfdb averages fast channels down to the frame rate.
            part = wfdb.rdrecord(str(segment.stem), smooth_frames=False)
        except _FOREIGN as error:
            raise ReadError(
                f"samples of {segment.stem.name!r} cannot be read ({error}). Its files do not fit "
                "its header; download them again."
            ) from error
        for name, samples, per_frame, unit in zip(
            _unique(part.sig_name), part.e_p_signal, part.samps_per_frame, part.units, strict=True
        ):
            start = segment.start_frame * per_frame
            samples = samples[: whole[name].size - start]
            factor = conversion(normal_units(unit), units[name])
            whole[name][start : start + samples.size] = (
                samples if factor == 1.0 else samples * factor
            )
    return whole


def segment_names(stem: Path) -> list[str]:
    """Names of the records that make up a multi-segment one; empty for one in a single piece.

    Raises:
        ReadError: one of them is outside the record's folder.
    """
    lines = _lines(stem)
    if not lines or "/" not in lines[0].split()[0]:
        return []
    return [name for name in _named_files(stem, lines) if name != "~"]


def signal_files(stem: Path) -> list[str]:
    """Names of the signal files of a record in one piece, each once; empty for a layout of others.

    Raises:
        ReadError: one of them is outside the record's folder.
    """
    lines = _lines(stem)
    if not lines or "/" in lines[0].split()[0]:
        return []
    return list(dict.fromkeys(_named_files(stem, lines)))


def _lines(stem: Path) -> list[str]:
    """The header's lines that are neither blank nor comments."""
    text = stem.with_name(stem.name + ".hea").read_text(encoding="utf-8", errors="replace")
    return [line for line in text.splitlines() if line.strip() and line.strip()[0] != "#"]


def _named_files(stem: Path, lines: list[str]) -> list[str]:
    """The files or segments a header names, all of them beside it."""
    names = [line.split()[0] for line in lines[1:]]
    for name in names:
        if name in (".", "..") or re.search(r"[/\\:]", name):
            raise ReadError(
                f"header {stem.name}.hea may name files in its own folder only, it names "
                f"{name!r}. Move that file beside the header and correct the line."
            )
        if too_long(name):
            raise ReadError(
                f"header {stem.name}.hea names a file by {len(name)} letters, {name[:20]!r}...: "
                "more than a file's name can have. It is damaged: download it again."
            )
    return names


def too_long(name: str) -> bool:
    """Whether a path has a part that with a suffix is longer than file systems bear (255 bytes)."""
    return any(len(part.encode()) > _LONGEST_NAME for part in Path(name).parts)


def _check_written_rate(stem: Path, lines: list[str]) -> None:
    """The rate as written; wfdb would silently take 250 Hz for one that it cannot parse."""
    words = lines[0].split() if lines else []
    if len(words) > 2:
        try:
            rate_hz = float(re.split(r"[/(]", words[2])[0])
        except ValueError:
            rate_hz = math.nan
        check_rate(rate_hz, f"record {stem.name}")


def read_header(stem: Path) -> Any:
    """wfdb's header object; every file it names is checked to be beside it first."""
    import wfdb

    lines = _lines(stem)
    _named_files(stem, lines)
    _check_written_rate(stem, lines)
    try:
        return wfdb.rdheader(str(stem))
    except _FOREIGN as error:
        raise ReadError(
            f"header {stem.name}.hea cannot be read ({error}). It is no WFDB header, or cut short;"
            " download it again."
        ) from error


def _pieces(stem: Path, header: Any) -> tuple[list[tuple[Segment, Any]], int]:
    """(segment, its header) of a multi-segment record, and frames in all; gaps have no piece."""
    pieces: list[tuple[Segment, Any]] = []
    absent: list[str] = []
    start = 0
    for name, length in zip(header.seg_name, header.seg_len, strict=True):
        if name != "~" and length > 0:
            part_stem = stem.with_name(name)
            if not part_stem.with_name(name + ".hea").is_file():
                absent.append(name)
            else:
                part = read_header(part_stem)
                if getattr(part, "seg_name", None) is not None:
                    raise ReadError(
                        f"a segment is a record in one piece; {name!r} of {stem.name!r} is made "
                        "of segments itself. Read it by its own name."
                    )
                _check_sizes(part_stem, part)
                pieces.append((Segment(part_stem, start), part))
        start += int(length)
    if not pieces:
        raise ReadError(
            f"record {stem.name!r} is made of segments, and none of them is there: "
            f"{listed(absent)}. Download them, or remove the header."
        )
    if absent:
        warnings.warn(
            f"record {stem.name!r} lacks {len(absent)} of its segments, {listed(absent)}: read as "
            "not observed. Download them if they should be there.",
            stacklevel=2,
        )
    return pieces, start


def _check_sizes(stem: Path, header: Any) -> None:
    """Every signal file is there and holds at least the samples the header counts."""
    names, formats = header.file_name or [], [str(fmt) for fmt in header.fmt or []]
    strange = [fmt for fmt in formats if fmt not in (*_BYTES, *_COMPRESSED)]
    if strange or header.n_sig != len(names):
        raise ReadError(
            f"header {stem.name}.hea counts {header.n_sig} signals and describes {len(names)}, in "
            f"formats {listed(formats)}; known are {listed((*_BYTES, *_COMPRESSED), 20)}. It is "
            "cut short or altered: download it again."
        )
    needed: dict[str, float] = {}
    for i, name in enumerate(names):
        size = _BYTES.get(formats[i], 0.0)
        samples = (header.samps_per_frame[i] or 1) * (header.sig_len or 0)
        first = 0.0 if name in needed else float(header.byte_offset[i] or 0)
        needed[name] = needed.get(name, 0.0) + first + size * samples
    for name, size in needed.items():
        path = stem.with_name(name)
        if not path.is_file():
            raise ReadError(
                f"header {stem.name}.hea names {name!r}, which is not beside it. Download it, or "
                "remove the header."
            )
        if path.stat().st_size < math.floor(size):
            raise ReadError(
                f"{name} is cut short: {path.stat().st_size} bytes where its header "
                f"{stem.name}.hea needs {math.ceil(size)}. Download it again."
            )


def _channels(header: Any, rate_hz: float) -> list[Channel]:
    names = _named(header.sig_name or ())
    return [
        Channel(unique, name, rate_hz * (per_frame or 1), normal_units(units))
        for unique, name, per_frame, units in zip(
            _unique(names), names, header.samps_per_frame or (), header.units or (), strict=True
        )
    ]


def _named(names: Iterable[str | None]) -> list[str]:
    """Names as meant: the published BIDMC has "PLETH,", and some channels have none."""
    return [(name or "").rstrip(" ,") or f"channel_{i + 1}" for i, name in enumerate(names)]


def _unique(names: Iterable[str | None]) -> list[str]:
    """Names with "_2", "_3", ... after a repeated one."""
    made: list[str] = []
    for base in _named(names):
        count = 1
        unique = base
        while unique in made:
            count += 1
            unique = f"{base}_{count}"
        made.append(unique)
    return made


def _check_same(stem: Path, before: Channel, now: Channel) -> None:
    if before.rate_hz != now.rate_hz:
        raise RateError(
            f"a channel has one rate; {now.name!r} of {stem.name!r} has {before.rate_hz:g} and "
            f"{now.rate_hz:g} Hz in two segments. Read the segments by their own names."
        )
    try:
        conversion(now.units, before.units)
    except UnitError as error:
        raise UnitError(
            f"a channel has units of one kind; {now.name!r} of {stem.name!r} is {before.units!r} "
            f"and {now.units!r} in two segments. Read the segments by their own names."
        ) from error


def _blank(file: WfdbFile, channel: Channel) -> np.ndarray:
    per_frame = round(channel.rate_hz / file.rate_hz)
    try:
        return np.full(file.frames * per_frame, np.nan, dtype=np.float32)
    except MemoryError as error:
        raise ReadError(
            f"record {file.stem.name!r} does not fit into memory: its header counts "
            f"{file.frames * per_frame} samples of {channel.name!r}. Read its segments by their "
            "own names."
        ) from error


def _start_s(header: Any) -> float:
    day, time = header.base_date, header.base_time
    if day is None or time is None:
        return math.nan
    seconds = time.hour * 3600 + time.minute * 60 + time.second + time.microsecond / 1e6
    return float(day.toordinal() * 86400 + seconds)
