"""Writing EDF+: every signal at its own rate, 16 bits a sample.

EDF holds neither NaN nor signals of different lengths. What was not observed is written as 0 (or
the value nearest to it in range) under an annotation `not observed: ecg/II` that covers the gap;
a signal that ends before the last data record does has `end of signal: ecg/II` at its end. Our
reader carries both out. A channel's modality and name stand in its header field for the transducer.
"""

import math
import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from latentphys.recordings.beside import beside
from latentphys.recordings.edf_format import END, NOT_OBSERVED, OURS
from latentphys.recordings.errors import WriteError, listed
from latentphys.recordings.events import Line, to_lines
from latentphys.recordings.record import Record, rate_of
from latentphys.recordings.traces import unique
from latentphys.recordings.units import conversion, usual_units

if TYPE_CHECKING:
    import edfio

_LEVELS = 2**16 - 1
_LONGEST_RECORD_S = 3600
_LEFT_OUT = ("inputs", "truth", "images", "texts", "attrs")


def write_edf(record: Record, path: Path) -> None:
    """Write the signals and annotations of a record as EDF+.

    Samples come back to half a step of the channel's range / 65535; rates, NaN, channel names,
    units (voltages in the usual ones of their modality), annotations and the subject exactly.

    Warning: EDF holds no inputs, truth, images, texts or attrs; a warning says which are left out.

    Args:
        record: what to write.
        path: of the file; one that stands there is replaced once the new one is whole.

    Raises:
        WriteError: irregular sample times, or names, units or values that do not fit EDF's fields.

    Example:
        >>> import tempfile
        >>> from latentphys.recordings.reading import read
        >>> x = np.sin(np.arange(500.0))
        >>> x[10:20] = np.nan
        >>> path = Path(tempfile.mkdtemp()) / "a.edf"
        >>> write_edf(Record.from_arrays({"ppg": (x, 62.5)}, subject="s01"), path)
        >>> int(np.isnan(read(path)[0].signals["ppg"]).sum())
        10
    """
    import edfio

    _warn_left_out(record)
    where = f"record {record.record!r}"
    record_s = _record_s(record)
    count = math.ceil(round(record.duration_s / record_s, 9))
    lines = to_lines(record.annotations, where)
    signals = []
    for modality, signal in record.signals.items():
        first = _first_sample(modality, signal, where)
        length = round(rate_of(signal) * record_s) * count
        for i, (name, short) in enumerate(_names(modality, signal, where)):
            row = signal.values[i].astype(np.float64)
            whole = np.full(length, np.nan)
            whole[first : first + row.size] = row
            lines += _marks(name, whole, first + row.size, rate_of(signal))
            units = _channel_units(signal, i)
            signals.append(_edf_signal(modality, name, short, whole, rate_of(signal), units))
    file = edfio.Edf(
        signals,
        patient=_patient(record),
        recording=edfio.Recording(equipment_code=OURS),
        data_record_duration=record_s,
        annotations=[_annotation(line) for line in lines],
    )
    with beside(Path(path)) as part:
        file.write(part)


def _record_s(record: Record) -> int:
    """Seconds of a data record: the fewest that hold whole samples of every signal."""
    if not record.signals:
        raise WriteError(f"record {record.record!r} has no signals; EDF holds nothing else.")
    parts = []
    for modality, signal in record.signals.items():
        rate = rate_of(signal)
        if math.isnan(rate):
            raise WriteError(
                f"EDF holds regular samples; {modality!r} of record {record.record!r} has "
                f"irregular times. Leave it out with record.drop({modality!r}), or write .nc."
            )
        parts.append(Fraction(rate).limit_denominator(_LONGEST_RECORD_S))
        if abs(float(parts[-1]) - rate) > 1e-9 * rate:
            raise WriteError(
                f"EDF counts whole samples in a record of whole seconds; {modality!r} at {rate!r} "
                f"Hz does not fit up to {_LONGEST_RECORD_S} s. Write .nc instead."
            )
    seconds = math.lcm(*(part.denominator for part in parts))
    if seconds > _LONGEST_RECORD_S:
        raise WriteError(
            f"the rates of record {record.record!r} fit together only every {seconds} s; EDF "
            f"records take up to {_LONGEST_RECORD_S} s here. Write the signals apart, or .nc."
        )
    return seconds


def _first_sample(modality: str, signal: xr.DataArray, where: str) -> int:
    """Where on the grid from 0 s the signal begins; a cropped slow signal begins later."""
    steps = float(signal["time"].values[0]) * rate_of(signal)
    if steps < -1e-3 or abs(steps - round(steps)) > 1e-3:
        raise WriteError(
            f"EDF samples start with the file; {modality!r} of {where} starts at "
            f"{signal['time'].values[0]:g} s, between two of its samples. Write .nc instead."
        )
    return round(steps)


def _names(modality: str, signal: xr.DataArray, where: str) -> Iterator[tuple[str, str]]:
    """(modality/channel, label of at most 16 letters) of each channel."""
    labels = [str(label) for label in signal["channel"].values]
    plain = [label.encode("ascii", "replace").decode() for label in labels]
    shorts = unique([label[:12] if len(label) > 16 else label for label in plain])
    for label, short in zip(labels, shorts, strict=True):
        name = f"{modality}/{label}"
        whole = f"{OURS} {name}"
        if not (
            whole.isascii() and whole.isprintable() and len(whole) <= 80 and "/" not in modality
        ):
            raise WriteError(
                f"EDF names are short and in ASCII; {name!r} of {where} is not. Rename the "
                "channel, or write .nc."
            )
        yield name, short[:16]


def _marks(name: str, whole: np.ndarray, end: int, rate_hz: float) -> list[Line]:
    """Lines on the gaps of a channel and on its end."""
    absent = np.isnan(whole[:end])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], absent, [False]])))
    made = [
        Line(start / rate_hz, (stop - start) / rate_hz, NOT_OBSERVED + name)
        for start, stop in edges.reshape(-1, 2).tolist()
    ]
    if end < whole.size:
        made.append(Line(end / rate_hz, math.nan, END + name))
    return made


def _channel_units(signal: xr.DataArray, i: int) -> str:
    if "channel_units" in signal.coords:
        return str(signal["channel_units"].values[i])
    return str(signal.attrs.get("units", ""))


def _edf_signal(
    modality: str, name: str, short: str, samples: np.ndarray, rate_hz: float, units: str
) -> "edfio.EdfSignal":
    import edfio

    usual, _ = usual_units(modality, units)
    samples = samples * conversion(units, usual)
    if np.isinf(samples).any():
        raise WriteError(f"EDF holds finite samples; {name!r} has infinite ones. Make them NaN.")
    if not (usual.isascii() and usual.isprintable() and len(usual) <= 8):
        raise WriteError(f"EDF units are at most 8 ASCII letters; {name!r} has {usual!r}. Use .nc.")
    low, high = _range(name, samples)
    return edfio.EdfSignal(
        np.where(np.isnan(samples), min(max(0.0, low), high), samples),
        sampling_frequency=rate_hz,
        label=short,
        transducer_type=f"{OURS} {name}",
        physical_dimension=usual,
        physical_range=(low, high),
    )


def _range(name: str, samples: np.ndarray) -> tuple[float, float]:
    """Lowest and highest value of the header, each written in 8 letters, around the samples."""
    seen = samples[~np.isnan(samples)]
    if seen.size == 0:
        return -1.0, 1.0
    least, most = float(seen.min()), float(seen.max())
    # A constant has no range of its own: any about it does, as long as EDF can write it.
    room = 0.0 if most > least else max(abs(most) * 1e-3, 1e-3)
    low, high = _eight(least - room, up=False), _eight(most + room, up=True)
    if not low <= least <= most <= high or (room == 0 and high - low > 1.5 * (most - least)):
        raise WriteError(
            f"EDF writes a channel's range in 8 letters; {name!r} runs from {least!r} to {most!r}. "
            "Subtract its mean or use another unit, or write .nc."
        )
    return low, high


def _eight(value: float, *, up: bool) -> float:
    """The number of at most 8 letters next to `value`, above or below it; NaN if there is none."""
    towards = math.ceil if up else math.floor
    for digits in range(6, -1, -1):
        rounded = towards(value * 10**digits) / 10**digits
        text = f"{rounded:.{digits}f}"
        if len(text) <= 8:
            return float(text)
    return math.nan


def _patient(record: Record) -> "edfio.Patient":
    import edfio

    subject = record.subject
    if (
        not (subject.isascii() and subject.isprintable() and " " not in subject)
        or len(subject) > 60
    ):
        raise WriteError(
            f"EDF's patient code is ASCII without spaces, at most 60 letters; got {subject!r}. "
            "Rename the subject with dataclasses.replace(record, subject=...), or write .nc."
        )
    return edfio.Patient(code=subject)


def _annotation(line: Line) -> "edfio.EdfAnnotation":
    import edfio

    lasting = None if math.isnan(line.duration_s) else line.duration_s
    return edfio.EdfAnnotation(line.onset_s, lasting, line.text)


def _warn_left_out(record: Record) -> None:
    lost = [name for name in _LEFT_OUT if _filled(getattr(record, name))]
    if lost:
        warnings.warn(
            f"EDF does not hold {listed(lost)}; record {record.record!r} is written without. "
            "NetCDF (.nc) and Zarr (.zarr) hold all of it.",
            stacklevel=4,
        )


def _filled(value: object) -> bool:
    return value is not None and not (isinstance(value, dict) and not value)
