"""Published lists of SHA-256 checksums, and which files are known to match theirs."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from latentphys.recordings.errors import DatasetError

# PhysioNet's name for the list of every file of a version.
REGISTRY = "SHA256SUMS.txt"
_LINE = re.compile(r"([0-9a-fA-F]{64})[ \t]+\*?(\S.*)")


def parse_checksums(text: str, source: str) -> dict[str, str]:
    """File name -> SHA-256 in small letters, from the lines of a SHA256SUMS file.

    Args:
        text: what the file says.
        source: where it is from; for messages.

    Raises:
        DatasetError: a line that is no checksum, a name outside the folder, one name with two
            checksums, or no line at all.

    Example:
        >>> parse_checksums(f"{'0a' * 32} data/1.dat", "a list")["data/1.dat"][:4]
        '0a0a'
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.rstrip())
        if match is None:
            raise DatasetError(
                f"a list of checksums has a SHA-256 and a file name on each line; line {number} "
                f"of {source} is {line[:60]!r}. It is another file, or a page of a network login: "
                "open the address in a browser."
            )
        digest, name = match.group(1).lower(), match.group(2).removeprefix("./")
        if not _inside(name) or found.get(name, digest) != digest:
            raise DatasetError(
                f"a list of checksums names files inside its folder, each once; line {number} of "
                f"{source} names {name[:80]!r}. Do not use this source."
            )
        found[name] = digest
    if not found:
        raise DatasetError(f"{source} lists no file. It is empty: fetch it again.")
    return found


def read_registry(path: Path, pinned: str = "") -> dict[str, str]:
    """The list of checksums in a file, refused if its own digest is known and differs.

    Raises:
        DatasetError: it is not there, not a list of checksums, or not the pinned one.
    """
    if not path.is_file():
        raise DatasetError(
            f"no {REGISTRY} in {str(path.parent)!r}; files are checked against it. Copy it there "
            "from the archive, or give the folder as path= to read it unchecked."
        )
    digest = sha256(path)
    if pinned and digest != pinned.lower():
        raise DatasetError(
            f"{str(path)!r} is not the published list of checksums: its SHA-256 is {digest}, the "
            f"one on the card is {pinned.lower()}. Remove the file and try again; if it comes "
            "back, the source has changed and should not be trusted."
        )
    return parse_checksums(path.read_text(encoding="utf-8", errors="replace"), repr(str(path)))


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Ledger:
    """Files already found to match their checksum, so that a large set is hashed once.

    A file counts as unchanged while its size and modification time stay what they were.

    Args:
        path: where it is kept; one that cannot be read counts as empty.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, list[object]] = {}
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = {}
        if isinstance(known, dict):
            self._known = known

    def unmatched(self, folder: Path, wanted: Mapping[str, str]) -> dict[str, str]:
        """Of the files wanted (name -> SHA-256), those missing or different -> which it is."""
        problems = {}
        for name, digest in wanted.items():
            path = folder / name
            if not path.is_file():
                problems[name] = "missing"
            elif self._known.get(name) != _mark(path, digest):
                if sha256(path) != digest:
                    problems[name] = "different"
                else:
                    self.add(folder, name, digest)
        return problems

    def add(self, folder: Path, name: str, digest: str) -> None:
        """Notes that a file matches its checksum."""
        self._known[name] = _mark(folder / name, digest)

    def save(self) -> None:
        """Writes what is known beside the old file, then in its place."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_suffix(".tmp")
        beside.write_text(json.dumps(self._known), encoding="utf-8")
        os.replace(beside, self._path)


def _mark(path: Path, digest: str) -> list[object]:
    told = path.stat()
    return [digest, told.st_size, told.st_mtime_ns]


def _inside(name: str) -> bool:
    parts = PurePosixPath(name).parts
    strange = any(c in name for c in '\\:*?"<>|') or not name.isprintable()
    return bool(parts) and not strange and parts[0] != "/" and ".." not in parts
