"""Reading CSV tables: one column a channel, one row a time.

The times are told by a column of times (`time`, `time_ms`, `timestamp`, `date`, ...), or the rate
by the file's name (`ecg_1000hz.csv`). Where neither is there the file is refused: a rate that is
guessed would shift every result.
"""

import gzip
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from latentphys.recordings.arrays import LEAST_EVEN, even_rate
from latentphys.recordings.errors import LatentphysError, RateError, ReadError, listed
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.listing import files_of, folder_of, names_of, stem_of, subject_in
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

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
# Names of a column of times -> seconds of its unit; 0 where its cells say it (dates).
_TIMES = {
    **dict.fromkeys(["time", "t", "time_s", "seconds", "sec", "time (s)", "time [s]"], 1.0),
    **dict.fromkeys(["time_ms", "ms", "milliseconds", "time (ms)", "time [ms]"], 1e-3),
    **dict.fromkeys(["date", "datetime", "timestamp"], 0.0),
}
_RATE = re.compile(r"(?:^|[^\d.])(\d+(?:\.\d+)?)\s*hz(?![a-z])", re.IGNORECASE)
# "ECG (mV)", "ecg [uV]"
_UNITS = re.compile(r"^(.*\S)\s*[\[(]([^\])]{1,10})[\])]$")
_PROBED = 100


@dataclass(frozen=True)
class Table:
    """What the head of a table tells. `times`: its column of times, if it has one."""

    path: Path
    traces: tuple[Trace, ...]
    left_out: tuple[str, ...]
    times: str
    duration_s: float


def is_csv(path: Path) -> bool:
    """Whether the path is a CSV table, or a folder with some in it."""
    return bool(files_of(path, SUFFIXES))


def is_recording(file: Path) -> bool:
    """Whether a table is one of samples: a rate in its name, or even times in its first rows.

    Lists of subjects or events, which stand beside recordings, are none.
    """
    if _RATE.search(stem_of(file, SUFFIXES)):
        return True
    try:
        with _as_read_error(file):
            head = _read(file, nrows=_PROBED)
            column = _column_of_times(head)
            times = _times(head[column], column, file) if column and len(head) else np.zeros(0)
    except LatentphysError:
        return False
    return times.size >= LEAST_EVEN and not np.isnan(even_rate(times))


def list_csv(path: Path, modalities: Mapping[str, str]) -> list[LazyRecord]:
    """What the heads and the times of CSV tables tell.

    Args:
        path: file or folder.
        modalities: column -> modality, before the table of known names.

    Raises:
        ReadError: a table that is damaged, or whose times or rate nothing tells.
        ModalityError: `modalities` names a column that no table has.
        RateError: times that do not increase.
    """
    folder = folder_of(path)
    files = files_of(path, SUFFIXES)
    names = names_of(files, folder, SUFFIXES)
    tables = [_scan(file, names[file]) for file in files]
    check_given(modalities, (trace.name for table in tables for trace in table.traces))
    unknown: dict[str, str] = {}
    made = []
    for table in tables:
        name = names[table.path]
        if table.left_out:
            warnings.warn(
                f"columns of {table.path.name} that hold no numbers are left out: "
                f"{listed(table.left_out)}.",
                stacklevel=3,
            )
        groups = grouped(table.traces, modalities, unknown, name)
        subject = subject_in(names[table.path]) or name
        made.append(
            LazyRecord(
                record=name,
                subject=subject,
                modalities=tuple(groups),
                duration_s=table.duration_s,
                load=partial(_load, table, groups, name, subject, folder.name),
                study=folder.name,
                units=tuple((m, units_of(m, members)) for m, members in groups.items()),
                headers=headers_of_groups(groups, table.duration_s),
            )
        )
    warn_unknown(unknown)
    return made


def _scan(file: Path, name: str) -> Table:
    with _as_read_error(file):
        head = _read(file, nrows=_PROBED)
        if head.empty:
            raise ReadError(f"{file.name} holds no samples below its head; remove it.")
        column = _column_of_times(head)
        if column:
            times = _times(_read(file, usecols=[column])[column], column, file)
            rate_hz, duration_s = even_rate(times), float(times[-1] - times[0])
            duration_s += 0.0 if np.isnan(rate_hz) else 1.0 / rate_hz
        else:
            rate_hz = _rate_of(name, file)
            duration_s = _rows(file) / rate_hz
        numbers = [c for c in head.columns if c != column and head[c].dtype.kind in "iufb"]
        if not numbers:
            raise ReadError(f"{file.name} has no column of numbers in its first rows.")
        return Table(
            path=file,
            traces=tuple(_trace(str(c), rate_hz) for c in numbers),
            left_out=tuple(str(c) for c in head.columns if c != column and c not in numbers),
            times=column,
            duration_s=duration_s,
        )


def _column_of_times(head: Any) -> str:
    return next((str(c) for c in head.columns if str(c).strip().lower() in _TIMES), "")


def _trace(column: str, rate_hz: float) -> Trace:
    match = _UNITS.match(column)
    if match is None:
        return Trace(column, rate_hz)
    # Its kind is told by the name without the units.
    from_name = grouped([Trace(match.group(1), rate_hz, match.group(2))], {}, {}, column)
    return Trace(column, rate_hz, match.group(2), modality=next(iter(from_name)))


def _rate_of(name: str, file: Path) -> float:
    match = _RATE.search(name)
    rate_hz = float(match.group(1)) if match else 0.0
    if not (0 < rate_hz < np.inf):
        raise RateError(
            f"nothing tells the rate of {file.name}: it has no column of times (one of "
            f"{listed(_TIMES, 20)}) and no rate in its name. Rename it, for instance to "
            f"{name}_250hz.csv, or read it with pandas and build the record with "
            "Record.from_arrays({'ecg': (table['ECG'], 250.0)}, subject=...)."
        )
    return rate_hz


def _times(column: Any, name: str, file: Path) -> np.ndarray:
    """Seconds from the first row."""
    import pandas as pd

    unit = _TIMES[name.strip().lower()]
    if column.dtype.kind in "iufb":
        seconds = column.to_numpy(dtype=np.float64) * (unit or 1.0)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it tries cell by cell where formats differ
            dates = pd.to_datetime(column, errors="raise", utc=True)
        seconds = ((dates - dates.iloc[0]) / pd.Timedelta(seconds=1)).to_numpy(dtype=np.float64)
    seconds = seconds - seconds[0]
    if not np.isfinite(seconds).all() or (np.diff(seconds) <= 0).any():
        raise RateError(
            f"times strictly increase; column {name!r} of {file.name} does not. Sort the table and "
            "drop rows of equal times, with pandas, then use Record.from_arrays."
        )
    return seconds


def _rows(file: Path) -> int:
    opened = gzip.open(file) if file.name.lower().endswith(".gz") else file.open("rb")
    with opened as stream:
        return sum(1 for line in stream if line.strip()) - 1


def _load(table: Table, groups: Groups, name: str, subject: str, study: str) -> Record:
    wanted = [trace.name for members in groups.values() for trace in members]
    with _as_read_error(table.path):
        whole = _read(table.path, usecols=[*wanted, *([table.times] if table.times else [])])
        bad = [column for column in wanted if whole[column].dtype.kind not in "iufb"]
        if bad:
            raise ReadError(
                f"columns {listed(bad)} of {table.path.name} hold numbers in their first "
                f"{_PROBED} rows and something else below. Correct them."
            )
        samples = {column: whole[column].to_numpy(dtype=np.float32) for column in wanted}
        uneven = np.isnan(table.traces[0].rate_hz)
        times = _times(whole[table.times], table.times, table.path) if uneven else None
        signals = {m: signal_of(m, members, samples, times) for m, members in groups.items()}
    return Record(signals, subject, name, study)


def _read(file: Path, **options: Any) -> Any:
    import pandas as pd

    separator = "\t" if ".tsv" in file.name.lower() else ","
    return pd.read_csv(file, sep=separator, **options)


@contextmanager
def _as_read_error(file: Path) -> Iterator[None]:
    try:
        yield
    except LatentphysError:
        raise
    except FileNotFoundError as error:
        raise ReadError(f"no file {str(file)!r}. Give the path of a recording.") from error
    except (ValueError, KeyError, TypeError, OSError, EOFError, OverflowError) as error:
        raise ReadError(
            f"{file.name} is no table with a head and rows of numbers ({error}). Read it with "
            "pandas and build the record with Record.from_arrays."
        ) from error
