"""A public dataset as something to call: `bidmc()` is its cohort, `bidmc.card` what it is."""

import hashlib
import os
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from latentphys.recordings.archives.card import Card
from latentphys.recordings.archives.checksums import REGISTRY, Ledger, read_registry
from latentphys.recordings.archives.downloading import download
from latentphys.recordings.archives.layout import Layout, read_records
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import DatasetError, listed

PHYSIONET = "https://physionet.org/files"


@dataclass(frozen=True)
class OpenDataset:
    """A dataset that anyone may download; calling it gives its cohort.

    The archive's list of checksums comes first and every file is checked against it, once; what
    is in the cache already is used without a network.

    Args:
        card: what it is.
        slug: its folder at the archive.
        layout: which of its files make up a record.

    Example:
        >>> layout = Layout(r"(?P<record>demo\\d)\\.(hea|dat)")
        >>> card = Card("demo", "A demonstration", "1.0.0", "CC0", 1, 1, "-", "-", "-", "-", "-")
        >>> OpenDataset(card, slug="demo", layout=layout).card.title
        'A demonstration'
    """

    card: Card
    slug: str
    layout: Layout

    def __call__(
        self,
        records: str | Sequence[str] | None = None,
        *,
        subset: str | Sequence[str] | None = None,
        path: str | Path | None = None,
        mirror: str | Path | None = None,
        cache: str | Path | None = None,
        progress: bool = True,
    ) -> Cohort:
        """The dataset's records, downloaded where they are not here yet.

        Args:
            records: names of the records to take; all when None.
            subset: names of the parts to take, where the set has some.
            path: folder of a copy to read as it is, neither downloaded nor checked.
            mirror: where to take files from in place of the archive: an address, or a folder
                that is read where it is. `<mirror>/<slug>/<version>/` holds the set, its
                SHA256SUMS.txt included. LATENTPHYS_MIRROR when None.
            cache: folder for what is downloaded. LATENTPHYS_CACHE when None, else the user's
                cache folder.
            progress: whether to show a progress bar.

        Raises:
            DatasetError: no such record or subset, a file that does not come or is not what its
                checksum says, or a cache that cannot be written.
            ReadError: files of a format that cannot be read.
        """
        if path is not None:
            return read_copy(Path(path), self.layout, records, subset, self.card)
        folder, keys = self._obtain(records, subset, mirror, cache, progress)
        _warn_of_unknown_subjects(self.card)
        return read_records(folder, keys, self.layout, self.card.name)

    def fetch(
        self,
        records: str | Sequence[str] | None = None,
        *,
        subset: str | Sequence[str] | None = None,
        mirror: str | Path | None = None,
        cache: str | Path | None = None,
        progress: bool = True,
    ) -> Path:
        """The folder with the dataset's files, verified; arguments as for calling it."""
        return self._obtain(records, subset, mirror, cache, progress)[0]

    def _obtain(
        self,
        records: str | Sequence[str] | None,
        subset: str | Sequence[str] | None,
        mirror: str | Path | None,
        cache: str | Path | None,
        progress: bool,
    ) -> tuple[Path, list[str]]:
        """(folder, keys of the records asked for), all of their files there and verified."""
        from filelock import FileLock

        root, source = _cache_folder(cache), _source(mirror)
        here = Path(self.slug) / self.card.version
        folder = (source if isinstance(source, Path) else root) / here
        url = None if isinstance(source, Path) else f"{source}/{here.as_posix()}"
        staging = root / ".partial" / here
        staging.parent.mkdir(parents=True, exist_ok=True)
        # Other processes (ranks of one training) wait, then find everything in place.
        with FileLock(staging.with_name(staging.name + ".lock")):
            if url and not (folder / REGISTRY).is_file():
                pinned = {REGISTRY: self.card.registry_sha256}
                title = f"{self.card.name} checksums"
                download(url, pinned, folder, staging, title=title, progress=False)
            sums = read_registry(folder / REGISTRY, self.card.registry_sha256)
            files = self.layout.records(sums)
            _check_any(files, folder, self.card, self.layout)
            keys = self.layout.choose(files, records, subset, self.card.name)
            names = [name for key in keys for name in files[key]]
            wanted = {name: sums[name] for name in [*self.layout.chosen_tables(sums), *names]}
            ledger = Ledger(_ledger_path(root, folder))
            problems = ledger.unmatched(folder, wanted)
            try:
                if problems and url is None:
                    raise _mirror_error(folder, problems)
                if problems:
                    lacking = {name: wanted[name] for name in problems}
                    name = self.card.name
                    download(url or "", lacking, folder, staging, title=name, progress=progress)
                    for file, digest in lacking.items():
                        ledger.add(folder, file, digest)
            finally:
                ledger.save()
        return folder, keys


@dataclass(frozen=True)
class HeldDataset:
    """A dataset that one has to get oneself: calling it with its folder gives its cohort.

    Args:
        card: what it is.
        steps: how to get it.
        layout: which of its files make up a record.
    """

    card: Card
    steps: tuple[str, ...]
    layout: Layout

    def __call__(
        self,
        records: str | Sequence[str] | None = None,
        *,
        subset: str | Sequence[str] | None = None,
        path: str | Path | None = None,
    ) -> Cohort:
        """The dataset's records, from a folder of the user's.

        Args:
            records: names of the records to take; all when None.
            subset: names of the parts to take, where the set has some.
            path: the folder that holds it.

        Raises:
            DatasetError: no path (the message tells how to get the files), or no such record.
            ReadError: files of a format that cannot be read.
        """
        if path is None:
            steps = "\n".join(f"  {number}. {step}" for number, step in enumerate(self.steps, 1))
            raise DatasetError(
                f"{self.card.title} cannot be downloaded by the library ({self.card.licence}).\n"
                f"{steps}\nThen give the folder: lp.datasets.{self.card.name}(path='...')."
            )
        return read_copy(Path(path), self.layout, records, subset, self.card)


def read_copy(
    folder: Path,
    layout: Layout,
    records: str | Sequence[str] | None,
    subset: str | Sequence[str] | None,
    card: Card,
) -> Cohort:
    """The records of a dataset's copy, as it is.

    Raises:
        DatasetError: no such folder, none of the set's files in it, or no such record.
    """
    folder = folder.expanduser()
    if not folder.is_dir():
        raise DatasetError(f"no folder {str(folder)!r}. Give the one that holds {card.title}.")
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    files = layout.records(names)
    _check_any(files, folder, card, layout)
    keys = layout.choose(files, records, subset, card.name)
    _warn_of_unknown_subjects(card)
    return read_records(folder, keys, layout, card.name)


def _check_any(keys: Collection[str], folder: Path, card: Card, layout: Layout) -> None:
    if not keys:
        raise DatasetError(
            f"{str(folder)!r} has no record of {card.name}; below it their files are named like "
            f"{layout.files!r}. Give the folder that holds those."
        )


def _warn_of_unknown_subjects(card: Card) -> None:
    if card.subjects is None:
        warnings.warn(
            f"{card.name} does not tell which records are of one person; each counts as a subject "
            "of its own, so a split may have one person on both sides. Hold out a whole subset.",
            stacklevel=3,
        )


def _cache_folder(cache: str | Path | None) -> Path:
    import pooch

    own = cache or os.environ.get("LATENTPHYS_CACHE") or pooch.os_cache("latentphys")
    folder = Path(own).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(
            f"the cache {str(folder)!r} cannot be made ({error}). {_ELSE}"
        ) from error
    if not os.access(folder, os.W_OK):
        raise DatasetError(f"the cache {str(folder)!r} cannot be written. {_ELSE}")
    return folder


_ELSE = "Give another folder with cache= or LATENTPHYS_CACHE."


def _source(mirror: str | Path | None) -> str | Path:
    """An address without its last slash, or the folder of a mirror."""
    given = mirror or os.environ.get("LATENTPHYS_MIRROR") or PHYSIONET
    if isinstance(given, str) and "://" in given:
        if not given.startswith(("http://", "https://")):
            raise DatasetError(f"a mirror is a folder, or an http or https address; got {given!r}.")
        return given.rstrip("/")
    return Path(given).expanduser().resolve()


def _ledger_path(root: Path, folder: Path) -> Path:
    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return root / ".verified" / f"{place}.json"


def _mirror_error(folder: Path, problems: dict[str, str]) -> DatasetError:
    told = [f"{name} ({problem})" for name, problem in problems.items()]
    return DatasetError(
        f"{len(problems)} files of the mirror {str(folder)!r} are not what its {REGISTRY} says: "
        f"{listed(told, 5)}. Copy them again from the archive, or take fewer records."
    )
