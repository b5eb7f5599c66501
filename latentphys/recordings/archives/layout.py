"""How an archive lays out its files: which make up a record, and whose recording it is."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import DatasetError, closest, listed
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.reading import read
from latentphys.recordings.record import Record

# What tables tell of the records: name -> attributes; "subject" among them is whose it is.
Details = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Layout:
    """Which files of an archive make up a record.

    Args:
        files: pattern of the files of a record, the whole path below the archive; its group
            `record` is what they have in common, the record's key.
        main: what the key is continued by in the file that is given to `read`.
        tables: pattern of the files that are always taken with the records.
        subsets: name -> what the keys of its records begin with.
        default: subsets taken when none is asked for; all records when empty.
        subject: pattern of the subject in the last part of a key; as `read` says when empty.
        details: folder -> what its tables say of the records, by the last part of their keys.

    Example:
        >>> layout = Layout(r"(?P<record>\\w+/\\d+)\\.(hea|dat)")
        >>> layout.records(["a/1.hea", "a/1.dat", "a/2.dat", "README"])
        {'a/1': ['a/1.hea', 'a/1.dat']}
    """

    files: str
    main: str = ".hea"
    tables: str = ""
    subsets: Mapping[str, str] = field(default_factory=dict)
    default: tuple[str, ...] = ()
    subject: str = ""
    details: Callable[[Path], Details] | None = None

    def records(self, names: Iterable[str]) -> dict[str, list[str]]:
        """Key of each record -> its files, of those names; without its main file there is none."""
        found = defaultdict(list)
        for name in names:
            if match := re.fullmatch(self.files, name):
                found[match.group("record")].append(name)
        return {key: files for key, files in found.items() if key + self.main in files}

    def chosen_tables(self, names: Iterable[str]) -> list[str]:
        """The files among `names` that are always taken."""
        return [name for name in names if re.fullmatch(self.tables, name)]

    def choose(
        self,
        keys: Iterable[str],
        records: str | Sequence[str] | None,
        subset: str | Sequence[str] | None,
        dataset: str,
    ) -> list[str]:
        """Keys of the records that are asked for, in natural order.

        Raises:
            DatasetError: a subset or record that is not there, or a name that several have.
        """
        asked = list(self.default) if subset is None else _several(subset)
        for name in asked:
            if name not in self.subsets:
                raise DatasetError(
                    f"{dataset} has no subset {name!r}; its subsets are {listed(self.subsets)}."
                    f"{closest(name, self.subsets)}"
                )
        starts = tuple(self.subsets[name] for name in asked)
        inside = sorted((k for k in keys if not starts or k.startswith(starts)), key=_natural)
        if records is None:
            return inside
        return list(dict.fromkeys(_one(name, inside, dataset) for name in _several(records)))


def read_records(folder: Path, keys: Sequence[str], layout: Layout, study: str) -> Cohort:
    """The records with these keys, their subjects and what is known of them as the set tells it.

    Args:
        folder: of the archive.
        keys: of the records, at least one.
        layout: of the archive.
        study: what the records' `study` says.

    Raises:
        DatasetError: a table that is not what it should be.
        ReadError: files of a format that cannot be read.
    """
    known = _known(folder, layout)
    entries = []
    for key in keys:
        name = key.rsplit("/", 1)[-1]
        attrs = dict(known.get(name, {}))
        told = re.search(layout.subject, name) if layout.subject else None
        own = attrs.pop("subject", told.group() if told else None)
        for entry in read(folder / (key + layout.main)).entries:
            entries.append(_labelled(entry, study, own or entry.subject, attrs))
    return Cohort(entries)


def _known(folder: Path, layout: Layout) -> Details:
    try:
        return layout.details(folder) if layout.details else {}
    except (KeyError, ValueError, SyntaxError) as error:
        raise DatasetError(
            f"a table in {str(folder)!r} has not the columns and values it should ({error!r}). "
            "Replace it by the archive's."
        ) from error


def _labelled(entry: LazyRecord, study: str, subject: str, attrs: Mapping[str, Any]) -> LazyRecord:
    return replace(
        entry,
        study=study,
        subject=subject,
        load=partial(_load_labelled, entry, study, subject, dict(attrs)),
    )


def _load_labelled(entry: LazyRecord, study: str, subject: str, attrs: Mapping[str, Any]) -> Record:
    record = entry.load()
    return replace(
        record,
        signals={name: _plain_labels(signal) for name, signal in record.signals.items()},
        study=study,
        subject=subject,
        attrs={**record.attrs, **attrs},
    )


def _plain_labels(signal: xr.DataArray) -> xr.DataArray:
    """Channels without the comma that BIDMC's headers write after each name."""
    labels = [str(label) for label in signal["channel"].values]
    plain = [label.rstrip(" ,") or label for label in labels]
    return signal if plain == labels else signal.assign_coords(channel=plain)


def _several(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _one(name: str, keys: list[str], dataset: str) -> str:
    if name in keys:
        return name
    short = {key.rsplit("/", 1)[-1]: key for key in keys}
    found = [key for key in keys if key.endswith(f"/{name}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise DatasetError(f"{dataset} has several records {name!r}: {listed(found)}. Name one.")
    raise DatasetError(
        f"{dataset} has no record {name!r} among the {len(keys)} that were asked for; they are "
        f"{listed(short)}.{closest(name, short)}"
    )


def _natural(key: str) -> list[tuple[int, str]]:
    """Sort key under which "2" comes before "10"."""
    return [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", key)]
