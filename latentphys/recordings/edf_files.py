"""One EDF, EDF+ or BDF file as it lies on disk: its header checked first, samples by edfio.

The file's sizes and its records' onsets are read here: edfio opens a BDF only whole, guesses at
a file that is cut short, and joins the parts of a discontinuous one without their gaps.
"""

import io
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latentphys.recordings.errors import LatentphysError, ReadError, listed
from latentphys.recordings.events import Line

if TYPE_CHECKING:
    import edfio

_BROKEN = (ValueError, IndexError, KeyError, TypeError, AttributeError, ArithmeticError, OSError)
_ONSET = re.compile(rb"([+-]\d{1,15}(?:\.\d{1,15})?)[\x14\x15]")
# Bytes of one field in all signal headers before the count of samples a record.
_BEFORE_COUNTS = 16 + 80 + 8 * 5 + 80
# A gap is held as NaN: a span this much longer than what was recorded is a damaged header.
_LONGEST_SPAN = 50


@dataclass(frozen=True)
class EdfChannel:
    """A channel as the header tells of it; `position` counts channels without annotations."""

    position: int
    label: str
    transducer: str
    units: str
    rate_hz: float
    per_record: int


@dataclass(frozen=True)
class EdfFile:
    """A file's header. `onsets_s`: of each data record if there are gaps, else empty."""

    path: Path
    channels: tuple[EdfChannel, ...]
    broken: tuple[str, ...]
    records: int
    record_s: float
    onsets_s: tuple[float, ...]
    patient_code: str
    equipment: str

    @property
    def duration_s(self) -> float:
        """Seconds from the first to the last sample, gaps counted."""
        start = self.onsets_s[-1] - self.onsets_s[0] if self.onsets_s else 0.0
        return start + self.record_s * (1 if self.onsets_s else self.records)


@dataclass(frozen=True)
class _Layout:
    """Where things lie: bytes of the header, of one sample; labels and counts of all signals."""

    header: bytes
    width: int
    labels: tuple[str, ...]
    counts: tuple[int, ...]
    records: int
    record_s: float

    @property
    def record_bytes(self) -> int:
        return self.width * sum(self.counts)


def scan(path: Path) -> EdfFile:
    """The header of a file, its size checked against it; samples are not read.

    Raises:
        ReadError: no EDF or BDF, cut short, or onsets of a discontinuous file that make no sense.
    """
    with _as_read_error(path):
        layout = _layout(path)
        edf = _open(io.BytesIO(layout.header), layout)
        plus_d = layout.header[192:236].strip().endswith(b"+D")
        channels, broken = _channels(edf, layout)
        return EdfFile(
            path=path,
            channels=tuple(channels),
            broken=tuple(broken),
            records=layout.records,
            record_s=layout.record_s,
            onsets_s=_onsets(path, layout) if plus_d else (),
            patient_code=edf.local_patient_identification.split(" ")[0],
            equipment=_subfield(edf.local_recording_identification, 4),
        )


def read_samples(file: EdfFile) -> dict[int, np.ndarray]:
    """Channel's position -> samples (time,) in physical units, float32, NaN in the gaps."""
    with _as_read_error(file.path):
        edf = _open(file.path, _layout(file.path))
        found = {}
        for channel in file.channels:
            data = edf.signals[channel.position].data.astype(np.float32)
            found[channel.position] = _spread(data, channel, file)
        return found


def read_lines(file: EdfFile) -> list[Line]:
    """The annotations of an EDF+ or BDF+ file; none, with a warning, where they are no UTF-8."""
    with _as_read_error(file.path):
        edf = _open(file.path, _layout(file.path))
        try:
            found = edf.annotations
        except ValueError as error:
            warnings.warn(
                f"annotations of {file.path.name} cannot be read ({error}) and are left out.",
                stacklevel=2,
            )
            return []
    # edfio counts from the first record's own onset, as the samples are.
    return [Line(a.onset, math.nan if a.duration is None else a.duration, a.text) for a in found]


def _layout(path: Path) -> _Layout:
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(256)
        if len(head) < 256 or head[:8].strip() not in (b"0", b"\xffBIOSEMI"):
            raise ReadError(
                f"{path.name} is no EDF or BDF file: it does not begin with a header of 256 bytes "
                "and a version. Download it again."
            )
        count = int(head[252:256])
        header = head + stream.read(256 * max(count, 0))
    if count < 1 or int(head[184:192]) != 256 * (count + 1) or len(header) != 256 * (count + 1):
        raise ReadError(
            f"the header of {path.name} counts {count} signals and {head[184:192].decode()!r} "
            f"bytes; {count} signals take {256 * (count + 1)}. It is damaged: download it again."
        )
    names, places = 256, 256 + _BEFORE_COUNTS * count
    layout = _Layout(
        header=header,
        width=2 if head[:8].strip() == b"0" else 3,
        labels=tuple(_text(header[names + 16 * i : names + 16 * (i + 1)]) for i in range(count)),
        counts=tuple(int(header[places + 8 * i : places + 8 * (i + 1)]) for i in range(count)),
        records=int(head[236:244]),
        record_s=float(head[244:252]),
    )
    return _checked(path, layout, size)


def _checked(path: Path, layout: _Layout, size: int) -> _Layout:
    if min(layout.counts) < 0 or layout.record_bytes == 0 or not 0 <= layout.record_s < math.inf:
        raise ReadError(
            f"the header of {path.name} gives records of {layout.record_s:g} s with "
            f"{listed(map(str, layout.counts))} samples; both are positive. "
            "Download it again."
        )
    sampled = [label for label in layout.labels if not label.endswith(" Annotations")]
    if sampled and layout.record_s == 0:
        raise ReadError(
            f"signals of {path.name} ({listed(sampled)}) need records that last; its header gives "
            "0 s, as files of annotations alone have it. It is damaged: download it again."
        )
    have = (size - len(layout.header)) // layout.record_bytes
    records = have if layout.records == -1 else layout.records  # -1: it was still recording
    if records < 1 or have < records:
        needed = len(layout.header) + max(records, 1) * layout.record_bytes
        raise ReadError(
            f"{path.name} is cut short: {size} bytes where its header needs {needed}. Download it "
            "again."
        )
    header = layout.header[:236] + f"{records:<8d}".encode() + layout.header[244:]
    return _Layout(header, layout.width, layout.labels, layout.counts, records, layout.record_s)


def _open(source: Path | io.BytesIO, layout: _Layout) -> "edfio.Edf | edfio.Bdf":
    import edfio

    with warnings.catch_warnings():
        # The sizes are checked already, and a header alone has no records.
        warnings.simplefilter("ignore")
        if layout.width == 3:
            return edfio.read_bdf(source, header_encoding="latin-1")
        lazy = isinstance(source, Path)
        return edfio.read_edf(source, lazy_load_data=lazy, header_encoding="latin-1")


def _channels(edf: "edfio.Edf | edfio.Bdf", layout: _Layout) -> tuple[list[EdfChannel], list[str]]:
    """The channels that can be read, and the names of those that cannot."""
    made, broken = [], []
    signals: tuple[Any, ...] = edf.signals  # of one class or the other, with the same names
    for position, signal in enumerate(signals):
        try:
            # Read now: a scale that is missing or empty is found before the samples are.
            low, high = signal.physical_range
            usable = signal.digital_min < signal.digital_max and low != high
            per_record = signal.samples_per_data_record
            rate_hz = per_record / layout.record_s
            usable = usable and math.isfinite(low) and math.isfinite(high) and rate_hz > 0
        except (ValueError, ArithmeticError):
            usable = False
        if not usable:
            broken.append(signal.label or f"channel_{position + 1}")
            continue
        made.append(
            EdfChannel(
                position,
                signal.label,
                signal.transducer_type,
                signal.physical_dimension,
                rate_hz,
                per_record,
            )
        )
    return made, broken


def _onsets(path: Path, layout: _Layout) -> tuple[float, ...]:
    """Onset of each data record (s): the first time in its first annotation signal."""
    marked = [i for i, label in enumerate(layout.labels) if label.endswith(" Annotations")]
    if not marked:
        raise ReadError(
            f"{path.name} says that it has gaps (EDF+D) and has no annotations to tell where. It "
            "cannot be placed in time: have it written as EDF+C."
        )
    start = layout.width * sum(layout.counts[: marked[0]])
    length = layout.width * layout.counts[marked[0]]
    onsets = []
    with path.open("rb") as stream:
        for number in range(layout.records):
            stream.seek(len(layout.header) + number * layout.record_bytes + start)
            match = _ONSET.match(stream.read(length))
            if match is None:
                raise ReadError(
                    f"{path.name} has gaps and record {number} does not say when it starts. It is "
                    "damaged: download it again."
                )
            onsets.append(float(match.group(1)))
    steps, span = np.diff(onsets), onsets[-1] - onsets[0]
    if (steps < layout.record_s * (1 - 1e-6)).any():
        raise ReadError(
            f"records of {path.name} overlap in time; each starts after the one before it ends. "
            "Its clock was set back: split the file there."
        )
    if span > _LONGEST_SPAN * layout.records * layout.record_s + 86400:
        raise ReadError(
            f"{path.name} spans {span:.3g} s and holds {layout.records * layout.record_s:.3g} s of "
            "recording; gaps are held as NaN. Split the file at the gaps."
        )
    return tuple(onsets)


def _spread(data: np.ndarray, channel: EdfChannel, file: EdfFile) -> np.ndarray:
    """Samples at their places, each data record of a discontinuous file at the nearest sample."""
    if not file.onsets_s:
        return data
    starts = np.rint((np.array(file.onsets_s) - file.onsets_s[0]) * channel.rate_hz).astype(int)
    whole = np.full(starts[-1] + channel.per_record, np.nan, dtype=np.float32)
    for start, block in zip(starts, data.reshape(-1, channel.per_record), strict=True):
        whole[start : start + block.size] = block
    return whole


def _text(field: bytes) -> str:
    return field.decode("latin-1").strip()


def _subfield(text: str, number: int) -> str:
    parts = text.split(" ")
    return parts[number] if len(parts) > number else ""


@contextmanager
def _as_read_error(path: Path) -> Iterator[None]:
    try:
        yield
    except LatentphysError:
        raise
    except FileNotFoundError as error:
        raise ReadError(f"no file {str(path)!r}. Give the path of a recording.") from error
    except _BROKEN as error:
        raise ReadError(
            f"{path.name} cannot be read as EDF or BDF ({error}). It is damaged, or of another "
            "format: download it again."
        ) from error
