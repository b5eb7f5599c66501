"""A record whose samples are read when they are asked for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from latentphys.recordings.embeddings import Embedding
from latentphys.recordings.headers import SignalHeader, headers_of
from latentphys.recordings.record import Record


@dataclass(frozen=True)
class LazyRecord:
    """What is known of a record before its samples are read, and how to read them.

    Args:
        record: name of the recording.
        subject: whose it is.
        modalities: what it holds of waveforms.
        duration_s: seconds of the longest signal.
        load: reads it; a plain function or `functools.partial`, so that cohorts can be pickled.
        study: where it comes from.
        units: (modality, units) of its signals.
        headers: rate, channels and units of each modality; empty when its format tells them
            only with the samples.
        start: date and time of its first sample (ISO 8601); empty when not known. A record that
            is read has it in `attrs["start"]`.
        images: names of its image sequences.
    """

    record: str
    subject: str
    modalities: tuple[str, ...]
    duration_s: float
    load: Callable[[], Record]
    study: str = ""
    units: tuple[tuple[str, str], ...] = ()
    headers: tuple[SignalHeader, ...] = ()
    start: str = ""
    images: tuple[str, ...] = ()

    @classmethod
    def of(cls, record: "Record | LazyRecord") -> "LazyRecord":
        """The lazy form of a record that is already read; a lazy one is given back."""
        if isinstance(record, LazyRecord):
            return record
        units = tuple((name, s.attrs.get("units", "")) for name, s in record.signals.items())
        return cls(
            record.record,
            record.subject,
            record.modalities,
            record.duration_s,
            partial(_same, record),
            record.study,
            units,
            headers_of(record.signals),
            str(record.attrs.get("start", "")),
            tuple(record.images),
        )

    def keep(self, modalities: tuple[str, ...], images: tuple[str, ...] = ()) -> "LazyRecord":
        """The record with these of its waveforms and images, the others dropped once it is read."""
        return replace(
            self,
            modalities=modalities,
            images=images,
            units=tuple(pair for pair in self.units if pair[0] in modalities),
            headers=tuple(each for each in self.headers if each.modality in modalities),
            load=partial(_load_kept, self, (*modalities, *images)),
        )

    def prefixed(self, prefix: str) -> "LazyRecord":
        """The record under a longer name, its subject too."""
        return replace(
            self,
            record=prefix + self.record,
            subject=prefix + self.subject,
            load=partial(_load_prefixed, self, prefix),
        )

    def renamed(self, channels: Mapping[str, Mapping[str, str]]) -> "LazyRecord":
        """The record with other names for some channels: modality -> {old: new}."""
        return replace(
            self,
            headers=tuple(h.renamed(channels.get(h.modality, {})) for h in self.headers),
            load=partial(_load_renamed, self, {m: dict(names) for m, names in channels.items()}),
        )

    def embedded(self, embedding: Embedding) -> "LazyRecord":
        """The record with features of one of its signals, made once it is read."""
        if embedding.modality not in self.modalities:
            return self
        return replace(
            self,
            modalities=(*self.modalities, embedding.name),
            load=partial(_load_embedded, self, embedding),
        )


def _same(record: Record) -> Record:
    return record


def _load_kept(lazy: LazyRecord, modalities: tuple[str, ...]) -> Record:
    record = lazy.load()
    # A cohort knows of waveforms and images only: texts stay.
    known = (*record.modalities, *record.images)
    return record.drop(*(name for name in known if name not in modalities))


def _load_embedded(lazy: LazyRecord, embedding: Embedding) -> Record:
    return embedding.added(lazy.load())


def _load_prefixed(lazy: LazyRecord, prefix: str) -> Record:
    record = lazy.load()
    return replace(record, record=prefix + record.record, subject=prefix + record.subject)


def _load_renamed(lazy: LazyRecord, channels: Mapping[str, Mapping[str, str]]) -> Record:
    record = lazy.load()
    # A map for a cohort names what some record has; this one need not have all of it.
    own = {
        modality: {old: new for old, new in names.items() if old in labels}
        for modality, names in channels.items()
        if modality in record.signals
        for labels in [[str(name) for name in record.signals[modality]["channel"].values]]
    }
    return record.rename(**own)
