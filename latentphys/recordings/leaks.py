"""Whether sets of records share a subject, a record, a time, or the same samples."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from typing import Protocol

import numpy as np

from latentphys.recordings.errors import SplitError, listed
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.record import Record
from latentphys.recordings.stretches import (
    LEAST_SAMPLES,
    LEAST_VALUES,
    Prints,
    prints_of,
    shared_stretch,
)

# Of the places at which two channels' fingerprints agree, so many are looked at.
_TRIED = 3
_STARTED_TOGETHER_S = 1.0


class Entries(Protocol):
    """Anything that lists records before they are read: a `Cohort`."""

    @property
    def entries(self) -> tuple[LazyRecord, ...]: ...


@dataclass(frozen=True)
class Content:
    """What tells a record's samples from all others': hashes of whole channels, fingerprints."""

    whole: tuple[tuple[str, str], ...]
    prints: tuple[Prints, ...]

    @classmethod
    def of(cls, record: Record) -> "Content":
        """The content of a record that is read."""
        return cls(tuple(content_hashes(record)), tuple(prints_of(record)))


Contents = dict[str, Content]


def contents_of(entries: Iterable[LazyRecord]) -> Contents:
    """record -> its content; reads every record, one at a time.

    To be made once where several splits of one cohort are checked.
    """
    return {entry.record: Content.of(entry.load()) for entry in entries}


def check_disjoint(train: Entries, test: Entries, *, samples: bool = True) -> None:
    """Refuses two sides of a split that share a subject, a record, a time or samples.

    See `check_parts`.

    Args:
        train: one side.
        test: the other side.
        samples: whether to read every record and compare content; names are compared always.

    Raises:
        SplitError: they share something; the message names it.
    """
    check_parts({"train": train, "test": test}, samples=samples)


def check_parts(
    parts: Mapping[str, Entries], *, samples: bool = True, contents: Contents | None = None
) -> None:
    """Refuses sides of a split of which two share a subject, a record, a time or samples.

    - Time: two records of one study and different subjects that begin within the same second.
      One person under two pseudonyms looks like this. Dates that say nothing are not used: a
      study most of whose records begin on one and the same day (a placeholder), begin at
      midnight, or a second at which three or more begin. People recorded together on purpose
      are a false alarm: drop `attrs["start"]` of theirs, or check with `samples` alone.
    - Samples: whole channels by a hash, then any stretch by fingerprints that survive cropping,
      renaming and a change of gain, offset, polarity, precision or padding (see `stretches`).
      What fingerprints suggest is compared sample by sample before it counts, so that two people
      are confused only if a stretch of at least 64 samples, 16 values and 24 turns, 8 of them
      wider than rounding, is one another's copy. A test signal or a calibration that one device
      adds to all its recordings is such a copy: crop it.

    Warning:
        Not found: a copy that was filtered, resampled or had noise added; a shared stretch of
        fewer than about 48 turns of the signal (half a second of noisy EEG, ten beats of a
        smooth pulse, 24 breaths), and in recordings of hours one of less than a few minutes.

    Args:
        parts: side -> its records.
        samples: whether to read every record and compare content; names are compared always.
        contents: what `contents_of` gave for these records, to read none of them again.

    Raises:
        SplitError: two sides share something; the message names it.
    """
    pairs = list(combinations(parts.items(), 2))
    for (here, ours), (there, theirs) in pairs:
        _check_names(f"{here} and {there}", ours, theirs)
        _check_times(f"{here} and {there}", ours, theirs)
    if not samples:
        return
    found = contents if contents is not None else {}
    if contents is None:
        for side in parts.values():
            found |= contents_of(side.entries)
    for (here, ours), (there, theirs) in pairs:
        _check_samples(f"{here} and {there}", ours, theirs, found)


def content_hashes(record: Record) -> Iterator[tuple[str, str]]:
    """(hash, "modality/channel") of each channel that has enough observed samples to be told.

    The hash is of the observed samples as float32, so neither the names, the padding with NaN
    nor the stored precision matter.
    """
    for modality, signal in record.signals.items():
        for label, row in zip(signal["channel"].values, signal.values, strict=True):
            seen = row[~np.isnan(row)].astype("<f4")
            if seen.size >= LEAST_SAMPLES and np.unique(seen).size >= LEAST_VALUES:
                digest = hashlib.blake2b(seen.tobytes(), digest_size=16).hexdigest()
                yield digest, f"{modality}/{label}"


def _check_names(sides: str, train: Entries, test: Entries) -> None:
    people = _shared(train, test, "subject")
    if people:
        raise SplitError(
            f"{sides} share no subject; these have {len(people)} on both sides: "
            f"{listed(people)}. Split by subject, as cohort.split(test=0.2, seed=0) does; if they "
            "are different people of one name, set one side apart with cohort.prefixed('b_')."
        )
    names = _shared(train, test, "record")
    if names:
        raise SplitError(
            f"{sides} share no record; {listed(names)} is on both sides. Take it out of "
            "one, or set one side apart with cohort.prefixed('b_') if they only share the name."
        )


def _check_times(sides: str, train: Entries, test: Entries) -> None:
    ours, theirs = _begins(train.entries), _begins(test.entries)
    everyone = [*ours, *theirs]
    days = {study: _days(everyone, study) for study in {entry.study for entry, _ in everyone}}
    # Two may begin together by mistake; many at once are a programme's or a placeholder.
    often = Counter((entry.study, round(start)) for entry, start in everyone)
    by_second = defaultdict(list)
    for entry, start in theirs:
        for second in (math.floor(start) - 1, math.floor(start), math.floor(start) + 1):
            by_second[entry.study, second].append((entry, start))
    together = [
        f"{one.record!r} and {other.record!r} ({one.start})"
        for one, start in ours
        for other, begin in by_second[one.study, math.floor(start)]
        if abs(start - begin) < _STARTED_TOGETHER_S
        and _tells(start, days[one.study])
        and often[one.study, round(start)] < 3
    ]
    if together:
        raise SplitError(
            f"{sides} share no time of recording; in one study the same second begins "
            f"{listed(dict.fromkeys(together))}. It may be one person under two names: give them "
            "one, or set attrs['start'] to '' where the clocks say nothing."
        )


def _begins(entries: Iterable[LazyRecord]) -> list[tuple[LazyRecord, float]]:
    """Entries whose start is known, with seconds on a clock common to all."""
    found = []
    for entry in entries:
        try:
            start = datetime.fromisoformat(entry.start)
        except ValueError:
            continue
        found.append((entry, (start.replace(tzinfo=None) - datetime.min).total_seconds()))
    return found


def _days(begins: list[tuple[LazyRecord, float]], study: str) -> Counter[float]:
    return Counter(start // 86400 for entry, start in begins if entry.study == study)


def _tells(start: float, days: Counter[float]) -> bool:
    """Whether a start is one of its own, and not what anonymisation put there."""
    placeholder = days.total() > 2 and days[start // 86400] > days.total() / 2
    return start % 86400 != 0 and not placeholder


def _check_samples(sides: str, train: Entries, test: Entries, found: Contents) -> None:
    owner = {digest: (e.record, w) for e in test.entries for digest, w in found[e.record].whole}
    pairs = [
        f"{entry.record!r} and {owner[digest][0]!r} ({where})"
        for entry in train.entries
        for digest, where in found[entry.record].whole
        if digest in owner
    ]
    pairs = pairs or list(_stretches(train, test, found))
    if pairs:
        raise SplitError(
            f"{sides} share no samples; the same ones are in "
            f"{listed(dict.fromkeys(pairs))}. One is a copy under another name: take it out."
        )


def _stretches(train: Entries, test: Entries, found: Contents) -> Iterator[str]:
    """Which records share a stretch, and how much of it, once a pair of records."""
    rows = [(e, p) for e in test.entries for p in found[e.record].prints]
    if not rows:
        return
    values = np.concatenate([p.values for _, p in rows])
    places = np.concatenate([p.places for _, p in rows])
    whose = np.repeat(np.arange(len(rows)), [len(p.values) for _, p in rows])
    order = np.argsort(values, kind="stable")
    values, places, whose = values[order], places[order], whose[order]
    for entry in train.entries:
        told: set[str] = set()
        for prints in found[entry.record].prints:
            first = np.searchsorted(values, prints.values)
            hit = np.flatnonzero(values[np.minimum(first, len(values) - 1)] == prints.values)
            tried: Counter[int] = Counter()
            for k in hit.tolist():
                other, theirs = rows[whose[first[k]]]
                number = int(whose[first[k]])
                tried[number] += 1
                if other.record in told or tried[number] > _TRIED:
                    continue
                starts = (int(prints.places[k]), int(places[first[k]]))
                line = _compared(entry, prints, other, theirs, starts)
                if line:
                    told.add(other.record)
                    yield line


def _compared(
    one: LazyRecord, ours: Prints, other: LazyRecord, theirs: Prints, starts: tuple[int, int]
) -> str:
    """What two channels share around two places, in words; empty if it is nothing."""
    x = one.load().signals[ours.modality]
    y = other.load().signals[theirs.modality]
    shared = shared_stretch(x, y, (ours.channel, theirs.channel), starts)
    if shared is None:
        return ""
    if math.isnan(shared.seconds):
        length = f"{shared.samples} samples"
    else:
        length = f"{shared.seconds:.1f} s"
    return (
        f"{one.record!r} and {other.record!r} ({length} of {ours.modality}/{ours.channel}, at "
        f"{float(x['time'].values[shared.starts[0]]):.1f} s of one and "
        f"{float(y['time'].values[shared.starts[1]]):.1f} s of the other)"
    )


def _shared(train: Entries, test: Entries, what: str) -> list[str]:
    ours = {getattr(entry, what) for entry in train.entries}
    return sorted(ours & {getattr(entry, what) for entry in test.entries})
