"""Which files under a path are recordings, what they are called, and whose they are."""

import re
from collections.abc import Iterable
from pathlib import Path

# A subject's name, where a file's name says it in a way that is no guess.
_SUBJECT = (
    re.compile(r"(?:^|/)(sub-[A-Za-z0-9]+)(?=[_/.]|$)"),  # BIDS
    re.compile(r"(?:^|/)(S[CT]4\d\d)\d[A-Z]\w(?=[-_.]|$)"),  # Sleep-EDF: two nights of a subject
    re.compile(r"(?:^|/)([A-Za-z]+[-_]?\d+)[-_]\d+$"),  # Subject00_1, patient003-2
    re.compile(r"(?:^|/)(slp\d\d)[abx]?$"),  # MIT-BIH's sleep: slp01a and slp01b are one night
)


def files_of(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files that end in one of the suffixes: the path itself, those in it, else those below it.

    Args:
        path: a file or folder.
        suffixes: lower case, with the dot; ".csv.gz" is one.

    Example:
        >>> files_of(Path("/nowhere"), (".edf",))
        []
    """
    if path.is_file():
        return [path] if path.name.lower().endswith(suffixes) else []
    if not path.is_dir():
        return []
    here = [file for file in path.iterdir() if _fits(file, suffixes)]
    return sorted(here or (f for f in path.rglob("*") if _fits(f, suffixes)), key=natural)


def stem_of(file: Path, suffixes: tuple[str, ...]) -> str:
    """The file's name without the one of the suffixes that it has.

    Example:
        >>> stem_of(Path("a/ecg_100hz.csv.gz"), (".csv", ".csv.gz"))
        'ecg_100hz'
    """
    fitting = [suffix for suffix in suffixes if file.name.lower().endswith(suffix)]
    return file.name[: -max(map(len, fitting))] if fitting else file.name


def names_of(files: Iterable[Path], folder: Path, suffixes: tuple[str, ...]) -> dict[Path, str]:
    """file -> name of the recording: its stem where that tells them apart, else the path too."""
    stems = {file: stem_of(file, suffixes) for file in files}
    if len(set(stems.values())) == len(stems):
        return stems
    parts = {file: "_".join(file.relative_to(folder).parent.parts) for file in stems}
    longer = {
        file: f"{parts[file]}_{stem}" if parts[file] else stem for file, stem in stems.items()
    }
    if len(set(longer.values())) == len(longer):
        return longer
    # a.edf beside a.bdf
    return {file: "_".join(file.relative_to(folder).parts) for file in stems}


def folder_of(path: Path) -> Path:
    """The folder a path is or lies in."""
    return path if path.is_dir() else path.parent


def subject_in(stem: str) -> str:
    """The subject that a file's name tells; empty when it tells none.

    Args:
        stem: name, or path below the dataset, without suffix.

    Example:
        >>> subject_in("Subject00_1"), subject_in("SC4001E0-PSG"), subject_in("sub-04_task-rest")
        ('Subject00', 'SC400', 'sub-04')
        >>> subject_in("slp01b"), subject_in("night_1")
        ('slp01', '')
    """
    found = (pattern.search(stem) for pattern in _SUBJECT)
    return next((match.group(1) for match in found if match), "")


def natural(path: Path) -> list[tuple[int, int, str]]:
    """Sort key under which "2" comes before "10"."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def _fits(file: Path, suffixes: tuple[str, ...]) -> bool:
    return file.name.lower().endswith(suffixes) and not file.name.startswith(".") and file.is_file()
