"""Files and folders that appear whole or not at all."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latentphys.recordings.errors import WriteError


def check_folder(path: str | Path) -> Path:
    """The path of a folder to write, which may not be there yet.

    Raises:
        WriteError: it, or a folder it would stand in, is a file.
    """
    folder = Path(path)
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise WriteError(
                f"results are written into a folder, new or there already; {str(place)!r} is a "
                "file. Give another path, or move the file away."
            )
    return folder


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """A path in the same folder to write to, renamed onto `target` when the block ends well.

    What stood at `target` stays until then; after an error nothing new is left.

    Args:
        target: a file or folder; its parent folders are made.

    Raises:
        WriteError: one of its parents is a file.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with beside(folder / "a.txt") as part:
        ...     _ = part.write_text("whole")
        >>> [file.name for file in folder.iterdir()]
        ['a.txt']
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise WriteError(
            f"a file is written into a folder; {str(target.parent)!r} is a file, or lies in one. "
            "Give another path, or move that file away."
        ) from error
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        yield part
        if target.is_dir():
            # A folder cannot be renamed onto one that holds files: the old one steps aside.
            old = part.with_name(f"{part.name}.old")
            os.replace(target, old)
            os.replace(part, target)
            shutil.rmtree(old)
        else:
            os.replace(part, target)
    finally:
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)
