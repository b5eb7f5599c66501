"""`prepare`: a folder of recordings as one chunked Zarr v3 store with an index.

A record is written into `.partial` and renamed into `records` by the process that leads, so a
store holds whole records only, whatever is killed and when; the index is written last.
"""

import json
import multiprocessing
import os
import secrets
import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from latentphys.recordings.beside import beside
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import (
    ExtraError,
    LatentphysError,
    ReadError,
    WriteError,
    closest,
    listed,
)
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.reading import read
from latentphys.recordings.schema import SCHEMA, VERSION, header, lazy_record, node
from latentphys.recordings.zarr_format import (
    INDEX,
    META,
    STORE,
    STORE_VERSION,
    group_attrs,
    write_tree,
)

DTYPES = ("float32", "int16")
RECORDS = "records"
PARTIAL = ".partial"
LOCK = ".lock"
CONNECT_S = 15.0


def prepare(
    source: str | Path,
    target: str | Path,
    *,
    dtype: str = "float32",
    workers: int = 1,
    scheduler: str | None = None,
    modalities: Mapping[str, str] | None = None,
    progress: bool = True,
) -> Cohort:
    """Turn a folder of recordings into a store that reads fast, and give it back as a cohort.

    Run again after a kill it keeps the records that are complete and does the others. Nothing is
    resampled; only the samples' precision changes.

    Warning: a script that passes `workers` above 1 needs `if __name__ == "__main__":`, because
        processes are started afresh. The workers of a Dask cluster must see both folders under
        the same paths.

    Args:
        source: anything `latentphys.read` takes.
        target: folder of the store; new, empty, or a store of the same source.
        dtype: of signals and images: "float32", or "int16" with a scale a channel: half the room,
            and exact for samples that came from a converter of up to 16 bits.
        workers: processes on this machine, this one among them.
        scheduler: address of a Dask scheduler to use instead of processes of its own.
        modalities: channel name -> modality, as for `latentphys.read`.
        progress: whether to draw a bar.

    Returns:
        The store's cohort, as `latentphys.read(target)` gives it.

    Raises:
        ReadError: the source cannot be read, or some of its records cannot; the others are kept.
        WriteError: `target` is another folder, a store of another source or precision, or is
            being written by another process; or a process of ours has ended.
        ExtraError: a scheduler without the extra `cluster`.

    Example:
        >>> import tempfile
        >>> from latentphys.recordings.simulation import simulate
        >>> from latentphys.recordings.zarr_format import write_zarr
        >>> folder = Path(tempfile.mkdtemp())
        >>> for record in simulate(2, minutes=0.2):
        ...     write_zarr(record, folder / "all" / f"{record.record}.zarr")
        >>> prepare(folder / "all", folder / "store", progress=False).names
        ('sim000', 'sim001')
    """
    if dtype not in DTYPES:
        raise WriteError(
            f"a store holds {' or '.join(DTYPES)}, got {dtype!r}.{closest(dtype, DTYPES)}"
        )
    if workers < 1:
        raise WriteError(f"workers is a number of processes from 1 up, got {workers}.")
    folder = Path(target).expanduser().resolve()
    cohort = read(Path(source).expanduser().resolve(), modalities=modalities)
    with _opened(folder, dtype, cohort) as store:
        jobs = store.missing()
        writer = partial(_write, dtype=dtype)
        if scheduler is not None:
            results = _on_dask(writer, jobs, scheduler)
        elif workers > 1:
            results = _in_processes(writer, jobs, workers)
        else:
            results = map(writer, jobs)
        broken = store.gather(results, len(jobs), progress)
        if broken:
            raise ReadError(
                f"{len(broken)} of {len(cohort)} records could not be prepared: "
                f"{listed(broken, 3)}. Repair them or take them out of the source, then run "
                "prepare again; the others are kept."
            )
        store.finish()
    return read(folder)


@dataclass(frozen=True)
class _Job:
    """A record to be written, and where to."""

    entry: LazyRecord
    part: Path


@dataclass(frozen=True)
class _Result:
    """What became of a job: an empty error is success."""

    job: _Job
    error: str


@dataclass(frozen=True)
class _Store:
    """A store that is being written."""

    folder: Path
    entries: tuple[LazyRecord, ...]

    def place(self, entry: LazyRecord) -> Path:
        """Where the record's folder is once it is complete."""
        return self.folder / RECORDS / node(entry.record)

    def missing(self) -> list[_Job]:
        """The records that are not complete yet, each with a place of its own to be written."""
        run = self.folder / PARTIAL / secrets.token_hex(4)
        run.mkdir(parents=True)
        todo = [entry for entry in self.entries if not self._complete(entry)]
        return [_Job(entry, run / str(number)) for number, entry in enumerate(todo)]

    def gather(self, results: Iterator[_Result], todo: int, progress: bool) -> list[str]:
        """Move what is written to its place as it comes; gives the failures back, in words."""
        from tqdm.auto import tqdm

        broken = []
        done = len(self.entries) - todo
        with tqdm(
            total=len(self.entries), initial=done, unit="record", disable=not progress
        ) as bar:
            for result in results:
                if result.error:
                    broken.append(f"{result.job.entry.record!r} ({result.error})")
                else:
                    self._commit(result.job)
                bar.update()
        return broken

    def finish(self) -> None:
        """Write the index: from here on the store can be read."""
        rows = [
            {"path": place.relative_to(self.folder).as_posix(), "header": group_attrs(place)}
            for place in map(self.place, self.entries)
        ]
        with beside(self.folder / INDEX) as part:
            part.write_text(json.dumps({STORE: STORE_VERSION, "records": rows}), encoding="utf-8")
            with part.open() as file:
                os.fsync(file.fileno())
        shutil.rmtree(self.folder / PARTIAL)

    def _complete(self, entry: LazyRecord) -> bool:
        """Whether the record is there, as its source's header tells it now."""
        place = self.place(entry)
        if not place.is_dir():
            return False
        attrs = group_attrs(place)
        if attrs.get(VERSION) != SCHEMA:  # an earlier release left out images and texts
            return False
        about = header(attrs, place.name)
        found = lazy_record(about, entry.load, place.name)
        same = ("record", "subject", "study", "modalities", "units")
        # Headers give a duration that the samples' own may differ from by a rounding.
        return abs(found.duration_s - entry.duration_s) < 1.0 and all(
            getattr(found, name) == getattr(entry, name) for name in same
        )

    def _commit(self, job: _Job) -> None:
        if not job.part.is_dir():
            raise WriteError(
                f"record {job.entry.record!r} was written by a worker that does not share "
                f"{str(self.folder)!r} with this process. Give a folder that all workers see."
            )
        place = self.place(job.entry)
        if place.is_dir():
            os.replace(place, job.part.with_name(f"{job.part.name}.old"))
        os.replace(job.part, place)


def _write(job: _Job, dtype: str) -> _Result:
    """Read one record and write it into its part; runs in any process."""
    try:
        write_tree(job.entry.load(), job.part, dtype)
    except LatentphysError as error:
        return _Result(job, str(error))
    return _Result(job, "")


def _in_processes(
    write: Callable[[_Job], _Result], jobs: Sequence[_Job], workers: int
) -> Iterator[_Result]:
    """Results in the order they are ready, from this process and others that it starts."""
    others = min(workers, len(jobs)) - 1
    if others < 1:
        yield from map(write, jobs)
        return
    # Started afresh: a copy of this process could hold locks of threads it does not have.
    pool = ProcessPoolExecutor(
        others,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_beside_the_leader,
    )
    waiting, done = deque(jobs), SimpleQueue[Future[_Result]]()

    def give(_: Future[_Result] | None = None) -> None:
        """Have another process take the first that waits; called again when it is done with it."""
        # A pool that is broken or shut takes no more, and the loop below is told or left.
        with suppress(IndexError, RuntimeError):
            future = pool.submit(write, waiting.popleft())
            future.add_done_callback(done.put)
            future.add_done_callback(give)

    try:
        for _ in range(2 * others):  # one that is written and one that is next
            give()
        for _ in jobs:
            # This process takes the last: the others need the time of many a record to start.
            own = _last(waiting) if done.empty() else None
            yield done.get().result() if own is None else write(own)
    except BrokenProcessPool as error:
        raise WriteError(
            "a process that wrote records has ended, for want of memory perhaps, or because the "
            "script that called prepare lacks 'if __name__ == \"__main__\":'. Run prepare again, "
            "with fewer workers; the records that are complete are kept."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _last(waiting: deque[_Job]) -> _Job | None:
    """The last job, taken from them; None if there is none left."""
    try:
        return waiting.pop()
    except IndexError:
        return None


def _start_beside_the_leader() -> None:
    """What a process that only writes does first."""
    import numcodecs.blosc

    # A process is a core: threads of several processes would get in each other's way.
    numcodecs.blosc.use_threads = False
    _end_with_the_leader()


def _end_with_the_leader() -> None:
    """Have this process end when the one that started it does, even by a kill."""
    leader = multiprocessing.parent_process()

    def watch() -> None:
        if leader is not None:
            leader.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _on_dask(
    write: Callable[[_Job], _Result], jobs: Sequence[_Job], scheduler: str
) -> Iterator[_Result]:
    """Results in the order they are ready, from a cluster."""
    try:
        from dask.distributed import Client
        from dask.distributed import as_completed as completed
    except ImportError as error:
        raise ExtraError(
            "a scheduler needs dask[distributed], which is not installed. Run pip install "
            "'latentphys[cluster]', or use --workers."
        ) from error
    if not jobs:
        return
    try:
        client = Client(scheduler, timeout=CONNECT_S)
    except (OSError, ValueError) as error:
        raise WriteError(
            f"no Dask scheduler answers at {scheduler!r} ({error}). Start one with 'dask "
            "scheduler' and workers with 'dask worker ADDRESS', or use --workers."
        ) from error
    try:
        for future in completed(client.map(write, jobs, pure=False)):
            yield future.result()
            future.release()
    finally:
        client.close()


@contextmanager
def _opened(folder: Path, dtype: str, cohort: Cohort) -> Iterator[_Store]:
    """The store, checked, locked and cleared of what an earlier run left half done."""
    _check_target(folder, dtype, cohort)
    (folder / RECORDS).mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        shutil.rmtree(folder / PARTIAL, ignore_errors=True)
        if not (folder / META).is_file():
            _write_group(folder / RECORDS, {})
            _write_group(folder, {STORE: STORE_VERSION, "dtype": dtype})
        yield _Store(folder, cohort.entries)


def _check_target(folder: Path, dtype: str, cohort: Cohort) -> None:
    """Refuse a folder that is no store, or a store of something else."""
    if not folder.exists():
        return
    remedy = "Give a new folder."
    if not folder.is_dir():
        raise WriteError(f"a store is a folder; {str(folder)!r} is a file. {remedy}")
    if not (folder / META).is_file():
        strange = [name for name in os.listdir(folder) if name not in (RECORDS, LOCK)]
        if strange:
            raise WriteError(f"{str(folder)!r} holds other things: {listed(strange)}. {remedy}")
        return
    attrs = group_attrs(folder)
    if attrs.get(STORE) != STORE_VERSION:
        raise WriteError(
            f"{str(folder)!r} is not a store of version {STORE_VERSION}: it says "
            f"{attrs.get(STORE)!r}. {remedy}"
        )
    if attrs.get("dtype") != dtype:
        raise WriteError(
            f"a store has one precision; {str(folder)!r} is {attrs.get('dtype')}, not {dtype}. "
            f"{remedy}"
        )
    expected = {node(name) for name in cohort.names}
    found = {place.name for place in (folder / RECORDS).glob("*") if place.is_dir()}
    surplus = found - expected
    if surplus:
        raise WriteError(
            f"a store is of one source; {str(folder)!r} holds records that the source lacks: "
            f"{listed(sorted(surplus))}. {remedy}"
        )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Only one process leads; the lock goes with the process, however it ends."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system: two runs at once are the user's to avoid
        yield
        return
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise WriteError(
                f"another process is preparing {str(folder)!r}. Wait for it, or give another "
                "folder."
            ) from error
        yield


def _write_group(folder: Path, attrs: Mapping[str, Any]) -> None:
    """A group of Zarr v3 is a folder with this file, whole or not there."""
    meta = {"zarr_format": 3, "node_type": "group", "attributes": dict(attrs)}
    with beside(folder / META) as part:
        part.write_text(json.dumps(meta), encoding="utf-8")
