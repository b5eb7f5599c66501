"""Batches one after another, made ahead in a thread, with a state to resume from."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any

from latentphys.preparation.batch import Batch
from latentphys.preparation.loading import WindowLoader
from latentphys.recordings.errors import FitError, listed


class Batches(Iterator[Batch]):
    """The batches of a loader; those made ahead are the same, bit for bit, as made in turn.

    Args:
        loader: gives batch after batch; its `start` is where to begin.
        ahead: how many batches a thread may have ready; 0 makes each when it is asked for.

    Example:
        >>> from latentphys.preparation.preprocessing import default_preprocessing
        >>> from latentphys.recordings.simulation import simulate
        >>> records = [default_preprocessing().prepare(record) for record in simulate(2, 0.2)]
        >>> loader = WindowLoader(records, ("ecg", "ppg"), 50, 12.5, batch_size=4)
        >>> with Batches(loader) as batches:
        ...     first = next(batches)
        ...     state = batches.state_dict()
        >>> len(first), state["next"]
        (4, 1)
    """

    def __init__(self, loader: WindowLoader, ahead: int = 2) -> None:
        self._loader, self._ahead = loader, ahead
        self._next = loader.start
        self._thread: _Ahead | None = None

    def __next__(self) -> Batch:
        number = self._next + self._loader.rank
        if self._ahead < 1:
            batch = self._loader.batch(number)
        else:
            if self._thread is None:
                self._thread = _Ahead(self._loader, number, self._ahead)
            try:
                batch = self._thread.take()
            except BaseException:
                # A thread ends with its error; who asks again has the batch tried again.
                self.close()
                raise
        self._next += self._loader.world
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Where the stream is, as plain values for JSON: save it with the weights.

        It counts the batches that were given out, not those made ahead, and is the same on all
        ranks; a run may go on with another number of processes.
        """
        return {"next": self._next, "loader": self._loader.identity}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            FitError: a state of another stream; names what differs.
        """
        own, given = self._loader.identity, state.get("loader")
        given = given if isinstance(given, Mapping) else {}
        differing = [name for name in own if name not in given or given[name] != own[name]]
        position = state.get("next")
        if differing or not isinstance(position, int) or position < 0:
            detail = listed(f"{n} ({given.get(n)!r} there, {own[n]!r} here)" for n in differing)
            raise FitError(
                "a stream goes on from a state of its own; this one differs in "
                f"{detail if differing else 'its position'}. Resume with the records and settings "
                "of the run that was saved."
            )
        self.close()
        self._next = position
        self._loader = replace(self._loader, start=position)

    def close(self) -> None:
        """Stop the thread; batches it made ahead are made again when asked for."""
        if self._thread is not None:
            self._thread.stop()
            self._thread = None

    def __enter__(self) -> Batches:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Ahead:
    """A thread that makes batches in order and keeps a few."""

    def __init__(self, loader: WindowLoader, number: int, ahead: int) -> None:
        # The one being made counts as ready, so the queue holds one less.
        self._ready: queue.Queue[Batch | BaseException] = queue.Queue(max(1, ahead - 1))
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(loader, number), name="latentphys-batches", daemon=True
        )
        self._thread.start()

    def take(self) -> Batch:
        made = self._ready.get()
        if isinstance(made, BaseException):
            raise made
        return made

    def stop(self) -> None:
        self._stopping.set()
        while self._thread.is_alive():
            # It may be waiting for room.
            try:
                self._ready.get_nowait()
            except queue.Empty:
                self._thread.join(0.01)

    def _run(self, loader: WindowLoader, number: int) -> None:
        while not self._stopping.is_set():
            try:
                self._ready.put(loader.batch(number))
            except BaseException as error:  # noqa: BLE001 - raised where the batch is asked for
                self._ready.put(error)
                return
            number += loader.world
