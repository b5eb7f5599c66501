"""Fixtures of the recordings' tests: an HTTP server that can be made to misbehave."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

import pytest


class ArchiveServer:
    """Serves a folder; `faults[path]` says what is wrong with the next answers, one by one.

    "corrupt" turns a byte over, "cut" closes the connection half way, "stall" sends nothing more
    from there on, a number is a status code.
    """

    def __init__(self, folder: Path) -> None:
        self.faults: dict[str, list[str | int]] = defaultdict(list)
        self.requests: list[tuple[str, str]] = []
        self.ranges = True
        self.stalled = threading.Event()
        self._closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.answer(self, folder)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> ArchiveServer:
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()

    def asked(self, path: str) -> list[str]:
        """The Range headers with which a file was asked for, in order; "" where there was none."""
        return [ranges for name, ranges in self.requests if name == path]

    def answer(self, handler: BaseHTTPRequestHandler, folder: Path) -> None:
        path, ranges = handler.path.lstrip("/"), handler.headers.get("Range", "")
        self.requests.append((path, ranges))
        fault = self.faults[path].pop(0) if self.faults[path] else ""
        file = folder / path
        if isinstance(fault, int) or not file.is_file():
            self._refuse(handler, fault if isinstance(fault, int) else 404)
            return
        content = file.read_bytes()
        start = 0
        if (match := re.fullmatch(r"bytes=(\d+)-", ranges)) and self.ranges:
            start = int(match.group(1))
            if start >= len(content):
                self._refuse(handler, 416)
                return
        body = bytearray(content[start:])
        if fault == "corrupt":
            body[len(body) // 2] ^= 0xFF
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(body)))
        if start:
            last = len(content) - 1
            handler.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
        handler.end_headers()
        if fault in ("cut", "stall"):
            handler.wfile.write(body[: max(1, len(body) // 2)])
            handler.wfile.flush()
            if fault == "stall":
                self.stalled.set()
                self._closing.wait(30)
            handler.close_connection = True
            return
        handler.wfile.write(body)

    @staticmethod
    def _refuse(handler: BaseHTTPRequestHandler, status: int) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", "0")
        handler.end_headers()


@pytest.fixture
def archive_server() -> type[ArchiveServer]:
    """`with archive_server(folder) as running:` serves a folder at `running.url`."""
    return ArchiveServer
