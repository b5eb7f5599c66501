"""Records of several subjects, listed at once and read one by one."""

import warnings
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from latentphys.recordings.arguments import names_in, number_between, seed_number
from latentphys.recordings.digests import digest_of
from latentphys.recordings.embeddings import Embedding, Encoder
from latentphys.recordings.errors import CohortError, ModalityError, SplitError, closest, listed
from latentphys.recordings.index import cohort_html, cohort_text, table_of
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.leaks import check_disjoint
from latentphys.recordings.modalities import check_units
from latentphys.recordings.record import Record, check_distinct

if TYPE_CHECKING:
    import pandas as pd

# Enough for a plot, a slider and a repeated look; training holds its own prepared copies.
_HELD_RECORDS = 8


class Cohort:
    """An indexed collection of records; samples are read when a record is taken out of it.

    Args:
        records: records, read or lazy, each of its own name.
        split: digest of the split this is a side of; see `split_digest`.

    Raises:
        CohortError: there are none, or two have the same name.

    Warns:
        UserWarning: modalities whose names differ in capitals alone.

    Example:
        >>> one = Record.from_arrays({"ecg": (np.zeros(500), 250.0)}, subject="s01")
        >>> two = Record.from_arrays({"ppg": (np.zeros(250), 125.0)}, subject="s02")
        >>> cohort = Cohort([one, two])
        >>> cohort.subjects, cohort.modalities, cohort["s02"].modalities
        (('s01', 's02'), ('ecg', 'ppg'), ('ppg',))
    """

    def __init__(self, records: Iterable[Record | LazyRecord], *, split: str = "") -> None:
        if not isinstance(records, Iterable):
            raise CohortError(
                f"a cohort holds records, got one {type(records).__name__}. Put it in a list: "
                "Cohort([record])."
            )
        records = list(records)
        wrong = [type(r).__name__ for r in records if not isinstance(r, Record | LazyRecord)]
        if wrong:
            raise CohortError(
                f"a cohort holds records, got {listed(sorted(set(wrong)))}. Make them with "
                "Record.from_arrays, or read them with latentphys.read(path)."
            )
        if not records:
            raise CohortError(
                "a cohort holds at least one record, got none. Read a folder that has some, or "
                "loosen what selects them."
            )
        self._entries = tuple(LazyRecord.of(record) for record in records)
        twice = [name for name, count in Counter(self.names).items() if count > 1]
        if twice:
            raise CohortError(
                f"records of a cohort have different names; given more than once: {listed(twice)}."
                " Rename them, or add a whole cohort as other.prefixed('b_')."
            )
        self._held: OrderedDict[int, Record] = OrderedDict()
        self._split = split
        _warn_of_spellings(self.modalities)

    @property
    def entries(self) -> tuple[LazyRecord, ...]:
        """What is known of each record before it is read."""
        return self._entries

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the records, in order."""
        return tuple(entry.record for entry in self._entries)

    @property
    def subjects(self) -> tuple[str, ...]:
        """Names of the subjects, each once, sorted."""
        return tuple(sorted({entry.subject for entry in self._entries}))

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that at least one record has, sorted."""
        return tuple(sorted({name for entry in self._entries for name in entry.modalities}))

    @property
    def images(self) -> tuple[str, ...]:
        """Image sequences that at least one record has, sorted."""
        return tuple(sorted({name for entry in self._entries for name in entry.images}))

    @property
    def studies(self) -> tuple[str, ...]:
        """Names of the studies, each once, sorted; "" is one where a record names none."""
        return tuple(sorted({entry.study for entry in self._entries}))

    @property
    def split_digest(self) -> str:
        """Digest of the split whose side this is, whole; empty for anything else."""
        return self._split

    @property
    def units(self) -> dict[str, str]:
        """Units of each modality.

        Raises:
            UnitError: two records give one modality in different units.
        """
        return check_units(
            (modality, unit, entry.record)
            for entry in self._entries
            for modality, unit in entry.units
        )

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Record]:
        return (self._load(position) for position in range(len(self)))

    @overload
    def __getitem__(self, key: int | str) -> Record: ...
    @overload
    def __getitem__(self, key: slice) -> "Cohort": ...
    def __getitem__(self, key: int | slice | str) -> "Record | Cohort":
        """A record by position or name, or a cohort by slice."""
        if isinstance(key, slice):
            return Cohort(self._entries[key])
        if isinstance(key, str):
            if key not in self.names:
                raise CohortError(
                    f"no record {key!r} in this cohort; it has {listed(self.names)}."
                    f"{closest(key, self.names)}"
                )
            return self._load(self.names.index(key))
        return self._load(range(len(self))[key])

    def drop(self, *modalities: str) -> "Cohort":
        """Every record without these signals or images; records left with none are left out.

        Raises:
            ModalityError: no record has one of them.
        """
        gone = self._known(modalities)
        everything = (*self.modalities, *self.images)
        return self._kept(tuple(name for name in everything if name not in gone))

    def keep(self, *modalities: str) -> "Cohort":
        """Every record with these signals and images alone; those that have none are left out.

        Raises:
            ModalityError: no record has one of them.
        """
        return self._kept(self._known(modalities))

    def select(
        self,
        *,
        modality: str | Sequence[str] = (),
        subject: str | Sequence[str] = (),
        study: str | Sequence[str] = (),
        min_minutes: float = 0.0,
    ) -> "Cohort":
        """The records that have all these modalities, are of these subjects and last long enough.

        Args:
            modality: modalities a record must have; it keeps its other ones.
            subject: subjects to take; all when empty.
            study: studies to take; all when empty.
            min_minutes: least length of the longest signal, in minutes.

        Raises:
            ModalityError: no record has one of the modalities.
            CohortError: a subject or study is not there, or nothing is left.
        """
        wanted = self._known(names_in(modality))
        people = _named("subject", subject, self.subjects)
        studies = _named("study", study, self.studies)
        number_between(
            "min_minutes",
            min_minutes,
            0.0,
            np.inf,
            "Leave it out to take records of any length.",
            inclusive=True,
            error=CohortError,
        )
        left = [
            entry
            for entry in self._entries
            if set(wanted) <= {*entry.modalities, *entry.images}
            and (not people or entry.subject in people)
            and (not studies or entry.study in studies)
            and entry.duration_s >= 60.0 * min_minutes
        ]
        if not left:
            longest = max(entry.duration_s for entry in self._entries) / 60.0
            raise CohortError(
                f"no record is left: none of {len(self)} has {listed(wanted)}, is of subject "
                f"{listed(people) if people else 'any'} and of study "
                f"{listed(studies) if studies else 'any'}, and lasts {min_minutes:g} min "
                f"(the longest lasts {longest:.1f} min). Ask for less."
            )
        return Cohort(left)

    def rename(self, **channels: Mapping[str, str]) -> "Cohort":
        """The same records with other names for channels, wherever they occur.

        Args:
            channels: modality -> {old name: new name}.

        Raises:
            ModalityError: no record has a modality or a channel, or two channels of a record
                would have one name.

        Example:
            >>> names = {"ecg": ["MLII"]}
            >>> one = Record.from_arrays({"ecg": (np.zeros(9), 1.0)}, subject="a", channels=names)
            >>> Cohort([one]).rename(ecg={"MLII": "II"})[0].signals["ecg"].channel.values.tolist()
            ['II']
        """
        self._known(channels)
        for modality, names in channels.items():
            own = [h for e in self._entries for h in e.headers if h.modality == modality]
            have = sorted({name for header in own for name in header.channels})
            silent = sum(modality in entry.modalities for entry in self._entries) > len(own)
            for name in names:
                # Files that do not tell their channels may yet have it.
                if name not in have and not silent:
                    raise ModalityError(
                        f"no {modality!r} of this cohort has a channel {name!r}; they have "
                        f"{listed(have, 20)}.{closest(name, have)}"
                    )
            for header in own:
                check_distinct(modality, header.channels, names)
        return Cohort([entry.renamed(channels) for entry in self._entries])

    def with_embedding(
        self,
        modality: str,
        encoder: Encoder,
        *,
        window_s: float,
        hop_s: float | None = None,
        name: str | None = None,
        observed: float = 1.0,
    ) -> "Cohort":
        """Every record with a frozen encoder's features of a signal as one more modality.

        The features stand at the middles of their windows and are NaN where too little of the
        signal was observed, so that a fit takes them as any sensor. They are made when a record is
        read.

        Warning:
            An encoder that learns (a PCA, a network) is fitted on training subjects alone, before
            this is called; features of everybody leak. What the features were made of is told by
            them: `impute` leaves them out of what it imputes their own source from. A record
            prepared alone has none: ask about `Cohort([record]).with_embedding(...)[0]`.

        Args:
            modality: whose windows are embedded; records without it are left as they are.
            encoder: (windows (window, channel, time), samples a second) -> (window, feature); the
                same features for a window whatever windows are beside it. Reduce a thousand
                features to tens: each is a channel.
            window_s: length of a window, seconds.
            hop_s: from one window to the next; window_s when left out.
            name: of the features as a modality; "<modality>_features" when left out.
            observed: share of each channel's samples that a window needs; what is missing of one
                that has them is interpolated for the encoder.

        Raises:
            ModalityError: no record has the modality, or one has the name already.
            ArgumentError: a length or share that cannot be.

        Example:
            >>> one = Record.from_arrays({"ppg": (np.arange(500.0), 50.0)}, subject="s01")
            >>> def mean(windows, rate_hz):
            ...     return windows.mean(axis=2)
            >>> more = Cohort([one]).with_embedding("ppg", mean, window_s=4.0, name="ppg_mean")
            >>> more[0].signals["ppg_mean"].values.tolist(), more[0].signals["ppg_mean"].time.values
            ([[99.5, 299.5]], array([2., 6.]))
        """
        self._known([modality])
        name = f"{modality}_features" if name is None else name
        if name in self.modalities:
            raise ModalityError(
                f"records of this cohort have a modality {name!r} already. Choose another name "
                "for the features."
            )
        hop_s = window_s if hop_s is None else hop_s
        embedding = Embedding(modality, encoder, name, window_s, hop_s, observed)
        return Cohort([e.embedded(embedding) for e in self._entries], split=self._split)

    def table(self, *, observed: bool = False) -> "pd.DataFrame":
        """The index: one row a record and modality.

        Files whose headers tell all of it are not read further.

        Args:
            observed: whether to read samples to count them, where headers do not tell.

        Returns:
            DataFrame with subject, study, record, start (date and time), duration_s (of the
            record), modality, rate_hz (NaN: irregular), channels (a tuple), units, samples (a
            channel) and observed (share that is not NaN; NaN: not counted).

        Example:
            >>> one = Record.from_arrays({"ecg": (np.zeros(500), 250.0)}, subject="s01")
            >>> table = Cohort([one]).table(observed=True)
            >>> table[["record", "modality", "rate_hz", "observed"]].values.tolist()
            [['s01', 'ecg', 250.0, 1.0]]
        """
        return table_of(self._entries, observed=observed)

    def add(self, other: "Cohort | Record | LazyRecord") -> "Cohort":
        """This cohort and the other's records after it.

        Raises:
            CohortError: a name is in both.
        """
        more = other.entries if isinstance(other, Cohort) else (other,)
        return Cohort([*self._entries, *more])

    def __add__(self, other: "Cohort | Record | LazyRecord") -> "Cohort":
        return self.add(other)

    def prefixed(self, prefix: str) -> "Cohort":
        """The same records with a prefix to their own and their subjects' names.

        For putting together studies that count their subjects alike ("1", "2", ...).
        """
        return Cohort([entry.prefixed(prefix) for entry in self._entries])

    def split(self, test: float = 0.2, seed: int = 0) -> tuple["Cohort", "Cohort"]:
        """(train, test): every subject is wholly on one side.

        Args:
            test: share of the subjects that goes to the test side, between 0 and 1.
            seed: which split; the same seed gives the same one whatever the records' order.

        Raises:
            SplitError: fewer than two subjects, a share that leaves a side empty, or the same
                samples under two subjects' names.
        """
        people = self.subjects
        if len(people) < 2:
            raise SplitError(
                f"a split is by subject and needs at least two; this cohort has {len(people)} "
                f"({listed(people)}). Read more subjects, or hold out time with record.crop."
            )
        share = "It is the share of the subjects that is tested; 0.2 is usual."
        test = number_between("test", test, 0.0, 1.0, share, error=SplitError)
        seed = check_seed(seed)
        from sklearn.model_selection import GroupShuffleSplit

        # Sorted by name first, so that the order of reading does not decide who is tested.
        entries = sorted(self._entries, key=lambda entry: entry.record)
        groups = np.array([entry.subject for entry in entries])
        chooser = GroupShuffleSplit(n_splits=1, test_size=test, random_state=seed)
        try:
            _, chosen = next(chooser.split(groups, groups=groups))
        except ValueError as error:
            raise SplitError(
                f"test={test} of {len(people)} subjects leaves one side without any. Choose a "
                f"share between {1 / len(people):.2g} and {1 - 1 / len(people):.2g}."
            ) from error
        tested = set(groups[chosen])
        train = [entry for entry in self._entries if entry.subject not in tested]
        test_ = [entry for entry in self._entries if entry.subject in tested]
        digest = digest_of({"train": train, "test": test_})
        sides = Cohort(train, split=digest), Cohort(test_, split=digest)
        check_disjoint(*sides)
        return sides

    def _known(self, modalities: Iterable[str]) -> tuple[str, ...]:
        names = tuple(modalities)
        have = (*self.modalities, *self.images)
        for name in names:
            if name not in have:
                raise ModalityError(
                    f"no record of this cohort has modality {name!r}; they have "
                    f"{listed(have)}.{closest(name, have)}"
                )
        return names

    def _kept(self, wanted: tuple[str, ...]) -> "Cohort":
        left = []
        for entry in self._entries:
            names = tuple(name for name in entry.modalities if name in wanted)
            images = tuple(name for name in entry.images if name in wanted)
            if names or images:
                whole = (names, images) == (entry.modalities, entry.images)
                left.append(entry if whole else entry.keep(names, images))
        if not left:
            have = (*self.modalities, *self.images)
            raise CohortError(f"no modality is left; the records have {listed(have)}. Keep one.")
        return Cohort(left)

    def _load(self, position: int) -> Record:
        if position in self._held:
            self._held.move_to_end(position)
            return self._held[position]
        record = self._held[position] = self._entries[position].load()
        if len(self._held) > _HELD_RECORDS:
            self._held.popitem(last=False)
        return record

    def __getstate__(self) -> dict[str, Any]:
        # A pickled cohort is a list of files, not their samples.
        return {"_entries": self._entries, "_held": OrderedDict(), "_split": self._split}

    def __repr__(self) -> str:
        return cohort_text(self._entries)

    def _repr_html_(self) -> str:
        return cohort_html(self._entries)


def check_seed(seed: int) -> int:
    """The seed of a split as an int.

    Raises:
        SplitError: it is none.
    """
    return seed_number(seed, SplitError, bits=32, remedy="It says which split; 0 is usual.")


def _warn_of_spellings(modalities: Sequence[str]) -> None:
    folded = Counter(name.casefold() for name in modalities)
    alike = [name for name in modalities if folded[name.casefold()] > 1]
    if alike:
        warnings.warn(
            f"modalities of one sensor have one name; {listed(alike)} of this cohort are taken as "
            "different sensors. Spell them alike where the records are made.",
            stacklevel=3,
        )


def _named(what: str, wanted: str | Sequence[str], have: Sequence[str]) -> list[str]:
    names = names_in(wanted)
    for name in names:
        if name not in have:
            raise CohortError(
                f"no {what} {name!r} in this cohort; it has {listed(have)}.{closest(name, have)}"
            )
    return names
