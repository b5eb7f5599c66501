"""Whether two sets of records share a subject, a record, or the same samples."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np

from latentphys.recordings.errors import SplitError, listed
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.record import Record

# Shorter or coarser traces (a heart rate that stays at 70) may agree by chance.
_LEAST_SAMPLES = 64
_LEAST_VALUES = 16


class Entries(Protocol):
    """Anything that lists records before they are read: a `Cohort`."""

    @property
    def entries(self) -> tuple[LazyRecord, ...]: ...


def check_disjoint(train: Entries, test: Entries, *, samples: bool = True) -> None:
    """Refuses two sides of a split that share a subject, a record, or the samples of a channel.

    Warning: samples are compared channel by channel, whole: a part cut out of a record that also
    changed its name and subject is not found.

    Args:
        train: one side.
        test: the other side.
        samples: whether to read every record and compare content; names are compared always.

    Raises:
        SplitError: they share something; the message names it.
    """
    people = _shared(train, test, "subject")
    if people:
        raise SplitError(
            f"train and test share no subject; these have {len(people)} on both sides: "
            f"{listed(people)}. Split by subject, as cohort.split(test=0.2, seed=0) does; if they "
            "are different people of one name, set one side apart with cohort.prefixed('b_')."
        )
    names = _shared(train, test, "record")
    if names:
        raise SplitError(
            f"train and test share no record; {listed(names)} is on both sides. Take it out of "
            "one, or set one side apart with cohort.prefixed('b_') if they only share the name."
        )
    if samples:
        _check_samples(train, test)


def content_hashes(record: Record) -> Iterator[tuple[str, str]]:
    """(hash, "modality/channel") of each channel that has enough observed samples to be told.

    The hash is of the observed samples as float32, so neither the names, the padding with NaN
    nor the stored precision matter.
    """
    for modality, signal in record.signals.items():
        for label, row in zip(signal["channel"].values, signal.values, strict=True):
            seen = row[~np.isnan(row)].astype("<f4")
            if seen.size >= _LEAST_SAMPLES and np.unique(seen).size >= _LEAST_VALUES:
                digest = hashlib.blake2b(seen.tobytes(), digest_size=16).hexdigest()
                yield digest, f"{modality}/{label}"


def _check_samples(train: Entries, test: Entries) -> None:
    owner = {digest: where for digest, where in _hashes(test.entries)}
    pairs = [
        f"{where[0]!r} and {owner[digest][0]!r} ({where[1]})"
        for digest, where in _hashes(train.entries)
        if digest in owner
    ]
    if pairs:
        raise SplitError(
            "train and test share no samples; the same ones are in "
            f"{listed(dict.fromkeys(pairs))}. One is a copy under another name: take it out."
        )


def _hashes(entries: Iterable[LazyRecord]) -> Iterator[tuple[str, tuple[str, str]]]:
    for entry in entries:
        for digest, channel in content_hashes(entry.load()):
            yield digest, (entry.record, channel)


def _shared(train: Entries, test: Entries, what: str) -> list[str]:
    ours = {getattr(entry, what) for entry in train.entries}
    return sorted(ours & {getattr(entry, what) for entry in test.entries})
