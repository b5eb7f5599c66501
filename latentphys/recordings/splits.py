"""Splits of a cohort, always by subject, checked for leaks, saved as a small readable file."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from latentphys.recordings.beside import beside
from latentphys.recordings.cohort import Cohort, check_seed
from latentphys.recordings.digests import digest_of
from latentphys.recordings.errors import SplitError, listed
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.leaks import Contents, check_parts, contents_of
from latentphys.recordings.record import Record

VERSION = 1
_KEY = "latentphys_split"
_SIDES = ("train", "valid", "test")
# An attribute of every record, subject -> class, or a function of a record.
Classes = str | Mapping[str, Any] | Callable[[Record], Any]


@dataclass(frozen=True)
class Split:
    """Sides of a cohort that share no subject, no record and no time of recording.

    The functions of this module compare the samples as well; `check` does it for a split made by
    hand.

    Args:
        train: what is learned from.
        test: what is held out to the end.
        valid: what choices are made on; None when there is no such side.
        made_by: how the split was made, plain values for the file.

    Raises:
        SplitError: two sides share something; the message names it.

    Example:
        >>> from latentphys.recordings.simulation import simulate
        >>> split = train_valid_test(simulate(10, minutes=0.2), valid=0.2, test=0.2, seed=0)
        >>> len(split.train), len(split.valid), len(split.test), len(split.digest)
        (6, 2, 2, 12)
    """

    train: Cohort
    test: Cohort
    valid: Cohort | None = None
    made_by: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_parts(self.parts, samples=False)
        for name, side in self.parts.items():
            object.__setattr__(self, name, Cohort(side.entries, split=self.digest))

    @property
    def parts(self) -> dict[str, Cohort]:
        """Side -> its records, of the sides there are."""
        sides = {"train": self.train, "valid": self.valid, "test": self.test}
        return {name: side for name, side in sides.items() if side is not None}

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits of who is on which side; every side's `split_digest`."""
        return digest_of({name: side.entries for name, side in self.parts.items()})

    def check(self) -> None:
        """Compare the sides' samples too; reads every record.

        Raises:
            SplitError: two sides share samples; the message names the records.
        """
        check_parts(self.parts)

    def save(self, path: str | Path) -> None:
        """Write a JSON file with the subjects and records of each side."""
        sides = {}
        for name, side in self.parts.items():
            own: dict[str, list[str]] = {}
            for entry in sorted(side.entries, key=lambda e: (e.subject, e.record)):
                own.setdefault(entry.subject, []).append(entry.record)
            sides[name] = own
        plain = {_KEY: VERSION, "digest": self.digest, "made_by": dict(self.made_by), **sides}
        text = json.dumps(plain, indent=1, ensure_ascii=False) + "\n"
        with beside(Path(path)) as part:
            part.write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path, cohort: Cohort) -> "Split":
        """The same sides of a cohort, which must have just these records of these subjects.

        Args:
            path: what `save` wrote.
            cohort: the records, read as they were for the split.

        Raises:
            SplitError: no such file, one that was altered, or another cohort.
        """
        plain = _read(Path(path))
        sides = _listed_sides(plain, Path(path).name)
        _check_cohort(sides, cohort, Path(path).name)
        entries = {entry.record: entry for entry in cohort.entries}
        parts = {
            side: Cohort([entries[record] for record in own]) for side, own in sides.items() if own
        }
        split = cls(parts["train"], parts["test"], parts.get("valid"), plain["made_by"])
        if split.digest != plain["digest"]:
            raise SplitError(
                f"{Path(path).name} says its digest is {plain['digest']!r}; its sides have "
                f"{split.digest}. It was altered: save the split again."
            )
        return split

    def __repr__(self) -> str:
        sides = ", ".join(
            f"{name} {len(side)} records of {len(side.subjects)} subjects"
            for name, side in self.parts.items()
        )
        return f"Split {self.digest}: {sides}"


def train_valid_test(
    cohort: Cohort,
    *,
    valid: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    stratify: Classes | None = None,
) -> Split:
    """One split by shares of the subjects.

    Args:
        cohort: at least as many subjects as sides.
        valid: share of the subjects on the validation side; 0 for none.
        test: share on the test side.
        seed: which split; the same one whatever the records' order.
        stratify: what every side shall have in equal parts: the name of an attribute
            (`record.attrs`), subject -> class, or a function of a record. One class a subject.

    Raises:
        SplitError: shares or classes that leave a side empty, or sides that share something.
    """
    shares = {"valid": valid, "test": test}
    if not (0 < test < 1 and 0 <= valid < 1 and valid + test < 1):
        raise SplitError(
            f"valid and test are shares of the subjects that leave some to train on, got "
            f"valid={valid!r} and test={test!r}. Choose, say, 0.1 and 0.2."
        )
    seed = check_seed(seed)
    people, classes = _people(cohort, stratify)
    count = {name: _count(share, len(people), name) for name, share in shares.items() if share}
    if sum(count.values()) >= len(people):
        raise SplitError(
            f"{len(people)} subjects do not fill the sides: {count} leave none to train on. Read "
            "more subjects, or ask for smaller shares."
        )
    side = dict.fromkeys(people, "train")
    rest = people
    for name, wanted in count.items():
        for chosen in (taken := _drawn(rest, classes, wanted, seed, name)):
            side[chosen] = name
        rest = [person for person in rest if person not in taken]
    how = {"method": "train_valid_test", "valid": valid, "test": test, "seed": seed}
    return _checked(cohort, side, how | _told(stratify), contents_of(cohort.entries))


def k_fold(
    cohort: Cohort, folds: int = 5, *, seed: int = 0, stratify: Classes | None = None
) -> list[Split]:
    """Splits in which every subject is tested once (scikit-learn's GroupKFold).

    Args:
        cohort: at least as many subjects as folds.
        folds: how many.
        seed: which folds; the same ones whatever the records' order.
        stratify: see `train_valid_test` (scikit-learn's StratifiedGroupKFold).

    Raises:
        SplitError: more folds than subjects, or sides that share something.

    Example:
        >>> from latentphys.recordings.simulation import simulate
        >>> splits = k_fold(simulate(6, minutes=0.2), folds=3)
        >>> sorted(name for split in splits for name in split.test.subjects)[:3]
        ['sim000', 'sim001', 'sim002']
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    seed = check_seed(seed)
    people, classes = _people(cohort, stratify)
    if not 2 <= folds <= len(people):
        raise SplitError(
            f"folds is from 2 to the number of subjects, {len(people)}; got {folds!r}."
        )
    # Sorted by name first, so that the order of reading does not decide who is tested when.
    entries = sorted(cohort.entries, key=lambda entry: entry.record)
    groups = np.array([entry.subject for entry in entries])
    kind = GroupKFold if stratify is None else StratifiedGroupKFold
    chooser = kind(n_splits=folds, shuffle=True, random_state=seed)
    labels = np.array([classes[group] for group in groups]) if stratify is not None else groups
    _check_classes(classes, folds, stratify)
    contents, made = contents_of(cohort.entries), []
    for number, (_, tested) in enumerate(chooser.split(groups, labels, groups)):
        chosen = set(groups[tested].tolist())
        side = {person: "test" if person in chosen else "train" for person in people}
        how = {"method": "k_fold", "folds": folds, "fold": number, "seed": seed}
        made.append(_checked(cohort, side, how | _told(stratify), contents))
    return made


def leave_one_study_out(cohort: Cohort) -> list[Split]:
    """A split for each study of a cohort, with that study alone on the test side.

    Args:
        cohort: records of at least two studies.

    Raises:
        SplitError: one study only, or studies that share a subject, a time or samples.

    Example:
        >>> from latentphys.recordings.simulation import simulate
        >>> from dataclasses import replace
        >>> here, there = simulate(2, minutes=0.2), simulate(2, minutes=0.2, seed=1)
        >>> both = here + Cohort([replace(r, study="b") for r in there.prefixed("b_")])
        >>> [split.test.studies for split in leave_one_study_out(both)]
        [('b',), ('simulated',)]
    """
    if len(cohort.studies) < 2:
        raise SplitError(
            f"leaving a study out needs at least two; this cohort has {listed(cohort.studies)}. "
            "Add another as cohort + other, or use k_fold."
        )
    contents, made = contents_of(cohort.entries), []
    for study in cohort.studies:
        parts = {
            "train": Cohort([entry for entry in cohort.entries if entry.study != study]),
            "test": Cohort([entry for entry in cohort.entries if entry.study == study]),
        }
        check_parts(parts, contents=contents)
        how = {"method": "leave_one_study_out", "study": study}
        made.append(Split(parts["train"], parts["test"], made_by=how))
    return made


def _checked(
    cohort: Cohort, side: Mapping[str, str], how: Mapping[str, Any], contents: Contents
) -> Split:
    parts = {
        name: Cohort([entry for entry in cohort.entries if side[entry.subject] == name])
        for name in _SIDES
        if name in side.values()
    }
    check_parts(parts, contents=contents)
    return Split(parts["train"], parts["test"], parts.get("valid"), how)


def _people(cohort: Cohort, stratify: Classes | None) -> tuple[list[str], dict[str, str]]:
    """Subjects, sorted, and the class of each; all of one class when none is asked for."""
    people = list(cohort.subjects)
    if len(people) < 2:
        raise SplitError(
            f"a split is by subject and needs at least two; this cohort has {len(people)} "
            f"({listed(people)}). Read more subjects, or hold out time with record.crop."
        )
    if stratify is None:
        return people, dict.fromkeys(people, "")
    found: dict[str, set[str]] = {person: set() for person in people}
    for entry in cohort.entries:
        found[entry.subject].add(_class_of(entry, stratify))
    torn = [f"{person} ({listed(sorted(own))})" for person, own in found.items() if len(own) > 1]
    if torn:
        raise SplitError(
            f"a subject has one class to stratify by; more have {listed(torn)}. Give a mapping "
            "subject -> class."
        )
    return people, {person: own.pop() for person, own in found.items()}


def _class_of(entry: LazyRecord, stratify: Classes) -> str:
    if isinstance(stratify, Mapping):
        if entry.subject not in stratify:
            raise SplitError(
                f"stratify gives every subject a class; {entry.subject!r} has none. Add it."
            )
        return str(stratify[entry.subject])
    record = entry.load()
    if callable(stratify):
        return str(stratify(record))
    if stratify not in record.attrs:
        raise SplitError(
            f"stratify names an attribute of every record; {entry.record!r} has no {stratify!r}, "
            f"it has {listed(record.attrs)}. Give a mapping subject -> class."
        )
    return str(record.attrs[stratify])


def _check_classes(classes: Mapping[str, str], least: int, stratify: Classes | None) -> None:
    rare = [f"{name!r} ({n})" for name, n in Counter(classes.values()).items() if n < least]
    if stratify is not None and rare:
        raise SplitError(
            f"every class needs a subject on every side, here at least {least} of them; too few "
            f"have {listed(rare)}. Join classes (ages by decade, say) in a mapping subject -> "
            "class."
        )


def _count(share: float, people: int, name: str) -> int:
    count = round(share * people)
    if count < 1:
        raise SplitError(
            f"{name}={share:g} of {people} subjects is none. Choose at least {1 / people:.2g}, "
            "or 0 for no validation side."
        )
    return count


def _drawn(
    people: list[str], classes: Mapping[str, str], count: int, seed: int, name: str
) -> set[str]:
    """So many subjects, of every class in proportion."""
    from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

    labels = [classes[person] for person in people]
    plain = len(set(labels)) == 1
    kind = ShuffleSplit if plain else StratifiedShuffleSplit
    try:
        _, chosen = next(kind(1, test_size=count, random_state=seed).split(people, labels))
    except ValueError as error:
        raise SplitError(
            f"the {name} side cannot hold every class: {count} of {len(people)} subjects, classes "
            f"{listed(f'{k!r} ({n})' for k, n in Counter(labels).items())}. Join classes in a "
            "mapping subject -> class, or ask for a larger share."
        ) from error
    return {people[i] for i in chosen}


def _told(stratify: Classes | None) -> dict[str, str]:
    if stratify is None:
        return {}
    if isinstance(stratify, str):
        return {"stratify": stratify}
    return {"stratify": "a mapping" if isinstance(stratify, Mapping) else "a function"}


def _read(path: Path) -> dict[str, Any]:
    try:
        plain = dict(json.loads(path.read_text(encoding="utf-8")))
        version, digest, how = plain[_KEY], plain["digest"], plain["made_by"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SplitError(
            f"{path.name} is no split that can be read ({error!r}). Give a file that split.save "
            "wrote."
        ) from error
    if version != VERSION or not isinstance(digest, str) or not isinstance(how, dict):
        raise SplitError(
            f"{path.name} is a split of version {version!r}, this release reads version "
            f"{VERSION}. Update latentphys, or save the split again."
        )
    return plain


def _listed_sides(plain: Mapping[str, Any], name: str) -> dict[str, dict[str, str]]:
    """side -> {record: subject}."""
    sides: dict[str, dict[str, str]] = {}
    try:
        for side in _SIDES:
            own = plain.get(side, {})
            sides[side] = {str(r): str(subject) for subject, rs in own.items() for r in rs}
    except (AttributeError, TypeError) as error:
        raise SplitError(
            f"{name} lists subjects and their records on each side; it does not ({error}). Save "
            "the split again."
        ) from error
    if not (sides["train"] and sides["test"]):
        raise SplitError(f"{name} has no train or no test side. Save the split again.")
    return sides


def _check_cohort(sides: Mapping[str, Mapping[str, str]], cohort: Cohort, name: str) -> None:
    expected = {record: subject for own in sides.values() for record, subject in own.items()}
    found = {entry.record: entry.subject for entry in cohort.entries}
    _refuse(name, "records that the cohort lacks", (r for r in expected if r not in found))
    _refuse(name, "not these records of the cohort", (r for r in found if r not in expected))
    other = (
        f"{record} (of {expected[record]}, here {subject})"
        for record, subject in found.items()
        if expected[record] != subject
    )
    _refuse(name, "records of another subject", other)


def _refuse(name: str, what: str, offenders: Iterable[str] | Iterator[str]) -> None:
    named = list(offenders)
    if named:
        raise SplitError(
            f"a split fits the cohort it was made of; {name} has {what}: {listed(named)}. Read "
            "and select the records as for the split, or make a new one."
        )
