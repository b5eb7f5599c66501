"""Downloads that go on where they were cut, and that appear only when whole and verified."""

import contextlib
import hashlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any
from urllib.parse import quote

from latentphys.recordings.errors import DatasetError

_RETRIES = 4
_CONNECTIONS = 4
# A cut loses the piece it falls in, so pieces are small.
_CHUNK_BYTES = 1 << 13
# Seconds to connect, and between two pieces of an answer.
_TIMEOUT_S = (15, 60)


class ResumingDownloader:
    """A downloader for pooch that keeps what came before a cut and asks for the rest of it.

    Args:
        session: a `requests.Session`.
        part: where the beginning is kept until the file is whole.
        received: called with the number of bytes of each piece.
        stop: set when the rest is not wanted any more.
    """

    def __init__(
        self,
        session: Any,
        part: Path,
        received: Callable[[int], None] = lambda count: None,
        stop: threading.Event | None = None,
    ) -> None:
        self._session = session
        self._part = part
        self._received = received
        self._stop = stop or threading.Event()

    def __call__(self, url: str, output_file: str, pooch: Any, check_only: bool = False) -> None:
        """Brings `url` to `output_file`, which pooch then verifies and puts in place."""
        start = self._part.stat().st_size if self._part.is_file() else 0
        # Without identity a server may compress, and a range of that is not a range of the file.
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        with self._session.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as answer:
            # 416: what is here is as long as the file, or longer; pooch's check tells which.
            if not (start and answer.status_code == 416):
                self._check_status(answer, url)
                self._write(answer, start)
        os.replace(self._part, output_file)

    def _write(self, answer: Any, start: int) -> None:
        ranges = answer.headers.get("Content-Range", "")
        goes_on = answer.status_code == 206 and ranges.startswith(f"bytes {start}-")
        length = answer.headers.get("Content-Length")
        count = 0
        with self._part.open("ab" if goes_on else "wb") as file:
            for piece in answer.iter_content(_CHUNK_BYTES):
                if self._stop.is_set():
                    raise DatasetError("the download was stopped; call again to go on with it.")
                file.write(piece)
                count += len(piece)
                self._received(len(piece))
        if length is not None and count < int(length):
            from requests.exceptions import ConnectionError as CutError

            raise CutError(f"cut after {count} of {length} bytes")

    @staticmethod
    def _check_status(answer: Any, url: str) -> None:
        refused = 400 <= answer.status_code < 500 and answer.status_code not in (408, 425, 429)
        if refused:
            raise DatasetError(
                f"{url} cannot be downloaded: the server answers {answer.status_code} "
                f"{answer.reason}. See whether the file is there with a browser, or take it from "
                "another place with mirror= or LATENTPHYS_MIRROR."
            )
        answer.raise_for_status()


def download(
    base_url: str,
    wanted: Mapping[str, str],
    folder: Path,
    staging: Path,
    *,
    title: str,
    progress: bool = True,
) -> None:
    """Brings files into a folder, each whole and verified or not at all.

    A file that comes cut is asked for again from where it was cut, one that comes altered from
    its beginning, some times each. What is unfinished stays in `staging` for the next call.

    Args:
        base_url: address of the folder.
        wanted: name below the address -> SHA-256; "" where it is not known.
        folder: where they go.
        staging: a folder on the same disk, for what is unfinished. One process at a time.
        title: what the progress bar says.
        progress: whether to show one.

    Raises:
        DatasetError: a file that does not come, or does not match its checksum.
    """
    import pooch
    import requests
    from tqdm import tqdm

    store = pooch.create(
        path=staging,
        base_url=base_url + "/",
        registry={name: digest or None for name, digest in wanted.items()},
        urls={name: f"{base_url}/{quote(name)}" for name in wanted},
        retry_if_failed=_RETRIES,
    )
    stop = threading.Event()
    show = {"desc": title, "unit": "file", "disable": not progress, "mininterval": 0.5}
    with (
        _quiet(pooch.get_logger()),
        requests.Session() as session,
        tqdm(total=len(wanted), **show) as bar,
        ThreadPoolExecutor(_CONNECTIONS) as pool,
    ):
        tally = _Tally(bar)
        jobs = [pool.submit(_bring, store, n, folder, session, tally, stop) for n in wanted]
        _finish(jobs, bar, stop)
    shutil.rmtree(staging, ignore_errors=True)


def _finish(jobs: list[Future[None]], bar: Any, stop: threading.Event) -> None:
    try:
        for job in as_completed(jobs):
            job.result()
            bar.update()
    except BaseException:
        stop.set()
        for job in jobs:
            job.cancel()
        raise


def _bring(
    store: Any,
    name: str,
    folder: Path,
    session: Any,
    tally: Callable[[int], None],
    stop: threading.Event,
) -> None:
    import requests

    url, digest = store.get_url(name), store.registry[name]
    key = hashlib.sha256(f"{url} {digest}".encode()).hexdigest()[:32]
    part = Path(store.path) / ".parts" / key
    part.parent.mkdir(parents=True, exist_ok=True)
    (Path(store.path) / name).parent.mkdir(parents=True, exist_ok=True)
    if digest is None:
        part.unlink(missing_ok=True)  # nothing could tell that the two ends fit
    try:
        staged = store.fetch(name, downloader=ResumingDownloader(session, part, tally, stop))
    except requests.RequestException as error:
        raise DatasetError(
            f"{name!r} does not come from {url} ({error}). What has come is kept: call again to "
            "go on, or take the set from another place with mirror= or LATENTPHYS_MIRROR."
        ) from error
    except ValueError as error:
        raise DatasetError(
            f"{name!r} from {url} does not match its SHA-256 checksum {digest}, after "
            f"{_RETRIES + 1} downloads. It was altered on the way or at the source, and is not "
            "kept. Take it from another place with mirror= or LATENTPHYS_MIRROR."
        ) from error
    place = folder / name
    place.parent.mkdir(parents=True, exist_ok=True)
    os.replace(staged, place)


class _Tally:
    """Megabytes so far on a bar that counts files, drawn a few times a second."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._lock = threading.Lock()
        self._bytes = 0
        self._drawn_s = 0.0

    def __call__(self, count: int) -> None:
        with self._lock:
            self._bytes += count
            if time.monotonic() - self._drawn_s > 0.5:
                self._drawn_s = time.monotonic()
                self._bar.set_postfix_str(f"{self._bytes / 1e6:.1f} MB")


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """pooch writes a line a file, which no progress bar survives."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
