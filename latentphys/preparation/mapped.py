"""Prepared records of a cohort too large for memory: written once, then mapped as needed.

A memory-mapped array reads like one in memory (a window costs a microsecond, from Zarr a
millisecond), and what is mapped at a time is bounded, so training stays within its budget.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from latentphys.preparation.preprocessing import PreparedRecord, PreparedSignal
from latentphys.recordings.errors import FitError
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.record import Record

# Arrays start on cache lines.
_ALIGNED = 64


@dataclass(frozen=True)
class _Place:
    """Where an array lies in its record's file."""

    start: int
    shape: tuple[int, ...]
    dtype: str

    def view(self, file: NDArray[np.uint8]) -> NDArray[Any]:
        size = int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize
        return file[self.start : self.start + size].view(self.dtype).reshape(self.shape)


@dataclass(frozen=True)
class _Filed:
    """A record without its arrays, and where they are."""

    empty: PreparedRecord
    values: dict[str, _Place]
    times: dict[str, _Place]
    inputs: _Place | None
    file: Path
    size: int


class MappedRecords(Sequence[PreparedRecord]):
    """Prepared records in files, at most `budget_bytes` of them mapped at a time.

    Reading an element gives the record with arrays over its mapped file, read-only. The least
    recently used one is unmapped first; who still holds it keeps it alive.

    Args:
        folder: for the files, which are left there; nobody else's may be in it.
        budget_bytes: how much may be mapped; one record always is.

    Example:
        >>> from latentphys.preparation.preprocessing import default_preprocessing
        >>> from latentphys.recordings.simulation import simulate
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     records = MappedRecords(folder, budget_bytes=2**20)
        ...     for record in simulate(3, minutes=0.2):
        ...         records.append(default_preprocessing().prepare(record))
        ...     len(records), records[2].record
        (3, 'sim002')
    """

    def __init__(self, folder: str | Path, budget_bytes: int) -> None:
        self.folder, self.budget_bytes = Path(folder), budget_bytes
        self._filed: list[_Filed] = []
        self._mapped: OrderedDict[int, PreparedRecord] = OrderedDict()
        self._mapped_bytes = 0
        # A prefetching thread and the training loop may ask at the same time.
        self._lock = threading.Lock()

    def append(self, record: PreparedRecord) -> None:
        """Write a record's arrays into a file of its own."""
        path = self.folder / f"{len(self._filed)}.bin"
        values, times = {}, {}
        with path.open("wb") as file:

            def put(array: NDArray[Any]) -> _Place:
                file.write(bytes(-file.tell() % _ALIGNED))
                place = _Place(file.tell(), array.shape, array.dtype.str)
                file.write(np.ascontiguousarray(array).data)
                return place

            for name, signal in record.signals.items():
                values[name] = put(signal.values)
                if signal.time_s is not None:
                    times[name] = put(signal.time_s)
            inputs = None if record.inputs is None else put(record.inputs)
            size = file.tell()
        nothing = np.zeros((0, 0), np.float32)
        bare = {
            name: replace(signal, values=nothing, time_s=None)
            for name, signal in record.signals.items()
        }
        empty = replace(record, signals=bare, inputs=None)
        self._filed.append(_Filed(empty, values, times, inputs, path, size))

    def __len__(self) -> int:
        return len(self._filed)

    @overload
    def __getitem__(self, key: int) -> PreparedRecord: ...
    @overload
    def __getitem__(self, key: slice) -> list[PreparedRecord]: ...
    def __getitem__(self, key: int | slice) -> PreparedRecord | list[PreparedRecord]:
        if isinstance(key, slice):
            return [self[number] for number in range(*key.indices(len(self)))]
        number = range(len(self))[key]
        with self._lock:
            if number in self._mapped:
                self._mapped.move_to_end(number)
                return self._mapped[number]
            self._mapped_bytes += self._filed[number].size
            while self._mapped and self._mapped_bytes > self.budget_bytes:
                gone, _ = self._mapped.popitem(last=False)
                self._mapped_bytes -= self._filed[gone].size
            record = self._mapped[number] = _map(self._filed[number])
            return record

    def __iter__(self) -> Iterator[PreparedRecord]:
        return (self[number] for number in range(len(self)))


class Prepares(Protocol):
    """What makes a prepared record of a record, as `Preprocessing` does."""

    def prepare(self, record: Record) -> PreparedRecord:
        """The record as the model takes it."""


@contextmanager
def prepared(
    entries: Iterable[LazyRecord], preprocessing: Prepares, budget_bytes: int | None = None
) -> Iterator[Sequence[PreparedRecord]]:
    """Prepared records of a cohort, in memory if they fit and mapped from files if not.

    Records are read one at a time. The same values either way, bit for bit.

    Args:
        entries: what to read; see `Cohort.entries`.
        preprocessing: what is done to each record.
        budget_bytes: how much of the prepared signals may be in memory; `memory_budget` when
            left out.

    Yields:
        The records, for as long as the block lasts; files are in the folder for temporary files
        (TMPDIR names another) and go with the block.
    """
    budget = memory_budget() if budget_bytes is None else budget_bytes
    held: list[PreparedRecord] = []
    used = 0
    with tempfile.TemporaryDirectory(prefix="latentphys-", ignore_cleanup_errors=True) as folder:
        mapped: MappedRecords | None = None
        for entry in entries:
            record = preprocessing.prepare(entry.load())
            if mapped is not None:
                mapped.append(record)
                continue
            held.append(record)
            used += size_bytes(record)
            if used > budget:
                mapped = MappedRecords(folder, budget)
                for earlier in held:
                    mapped.append(earlier)
                held.clear()
                _give_back()
            del record
        _give_back()
        yield held if mapped is None else mapped


def size_bytes(record: PreparedRecord) -> int:
    """Memory that the arrays of a prepared record take."""
    arrays = [signal.values for signal in record.signals.values()]
    stamps = [signal.time_s for signal in record.signals.values()]
    driven = (record.inputs, record.inputs_time_s)
    return sum(array.nbytes for array in (*arrays, *stamps, *driven) if array is not None)


def memory_budget() -> int:
    """Bytes of prepared signals to hold: a quarter of what this process may use.

    LATENTPHYS_MEMORY_GB, if set, is the budget itself. Else the machine's memory, or the limit
    set on the process or its control group where that is less.

    Raises:
        FitError: the variable is not a number.
    """
    own = os.environ.get("LATENTPHYS_MEMORY_GB", "")
    try:
        return int(float(own) * 1e9) if own else min(_limits()) // 4
    except (ValueError, OverflowError) as error:
        raise FitError(
            f"LATENTPHYS_MEMORY_GB is a number of gigabytes, got {own!r}. Set it to 4, say, or "
            "unset it."
        ) from error


def _limits() -> Iterator[int]:
    yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for place in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            text = Path("/sys/fs/cgroup", place).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            yield int(text)
    try:
        import resource
    except ImportError:  # no such limits on this system
        return
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            yield soft


def _give_back() -> None:
    """Hand freed memory back to the system, where the C library can.

    Arrays of a few megabytes come and go while records are prepared; their room would stay with
    the process, beside what training needs.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # another C library, another system
        return


def _map(filed: _Filed) -> PreparedRecord:
    file = np.asarray(np.memmap(filed.file, mode="r")) if filed.size else np.zeros(0, np.uint8)
    signals: dict[str, PreparedSignal] = {
        name: replace(
            signal,
            values=filed.values[name].view(file),
            time_s=filed.times[name].view(file) if name in filed.times else None,
        )
        for name, signal in filed.empty.signals.items()
    }
    inputs = None if filed.inputs is None else filed.inputs.view(file)
    return replace(filed.empty, signals=signals, inputs=inputs)
