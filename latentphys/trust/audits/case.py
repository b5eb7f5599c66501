"""What every audit is given: a model, people, and the few ways of asking about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from latentphys.preparation.batch import Batch, collate
from latentphys.preparation.windows import tile
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.record import Record
from latentphys.trust.held_out import Fitted
from latentphys.trust.predicting import EncodedRecord, Subset, observed
from latentphys.trust.resampling import SubjectBootstrap, mean_of

Array = NDArray[np.float64]
LONGEST_S = 240.0  # of each record, its middle: beats by the hundred, and an audit in minutes
FEATURE_S = 16.0  # of signal behind one row of features: several breaths
CONTROLS = 4  # records that an untrained network is asked about: its answer needs no interval
TINY = 1e-6
UNTRAINED = "the same network untrained"


@dataclass(frozen=True, eq=False)
class Case:
    """One model held to one cohort.

    Attributes:
        fitted: the model and how it prepares records.
        cohort: people it is held to.
        training: those it was fitted on, where they were given.
        labels: name -> series over time of a record, beyond what the record itself tells.
        draws: posterior paths a read-out is averaged over.
        seed: of everything drawn.
    """

    fitted: Fitted
    cohort: Cohort
    training: Cohort | None = None
    labels: Mapping[str, Callable[[Record], Any]] = field(default_factory=dict)
    draws: int = 8
    seed: int = 0

    @cached_property
    def _observed(self) -> tuple[tuple[Record, Subset], ...]:
        """The middle of every record with a sample, and of which of the model's sensors it has."""
        found = []
        for record in self.cohort:
            names = [name for name in record.modalities if name in self.names]
            if not names:
                continue
            kept = record.keep(*names).middle(LONGEST_S)
            if seen := observed(self.fitted.prepare(kept), self.names):
                found.append((kept, seen))
        return tuple(found)

    @property
    def records(self) -> tuple[Record, ...]:
        """The middle of every record with a sample, with the model's sensors alone."""
        return tuple(record for record, _ in self._observed)

    @property
    def complete(self) -> list[Record]:
        """The records in which every sensor of the model was observed."""
        return [record for record, seen in self._observed if seen == self.names]

    @cached_property
    def state_rows(self) -> list[Array]:
        """`features` of each of the records."""
        return [self.features(record) for record in self.records]

    @cached_property
    def raw_rows(self) -> list[Array]:
        """`raw_features` of each of the records."""
        return [self.raw_features(record) for record in self.records]

    @property
    def names(self) -> tuple[str, ...]:
        """The model's sensors whose samples lie along a curve."""
        return tuple(name for name in self.fitted.names if name not in self.images)

    @property
    def images(self) -> tuple[str, ...]:
        """The model's image sequences, which no audit looks at."""
        sensors = self.fitted.model.spec.sensors.items()
        return tuple(name for name, sensor in sensors if sensor.grid is not None)

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        """People of the records, sorted."""
        return tuple(sorted({record.subject for record in self.records}))

    @cached_property
    def bootstrap(self) -> SubjectBootstrap:
        """One resampling of these people for every audit."""
        return SubjectBootstrap(len(self.subjects), seed=self.seed)

    @cached_property
    def untrained(self) -> Case:
        """The same case of the same networks with fresh random weights."""
        return replace(self, fitted=self.fitted.untrained(self.seed))

    def by_subject(self, values: Mapping[str, list[Any]]) -> Array:
        """Means over each person's records, (..., subject); NaN for a person without one.

        Args:
            values: subject -> an array a record, of one shape.
        """
        shape = np.shape(next(iter(values.values()))[0])
        rows = [
            mean_of(np.array(values[s]), axis=0) if values.get(s) else np.full(shape, np.nan)
            for s in self.subjects
        ]
        return np.stack(rows, axis=-1).astype(np.float64)

    def encoded(self, record: Record) -> EncodedRecord:
        """The evidence of a record, by subset of sensors."""
        prepared = self.fitted.prepare(record)
        return EncodedRecord(self.fitted.model, prepared, self.fitted.window_s)

    def windows(self, record: Record) -> Batch:
        """A record's windows, end to end."""
        prepared, model = self.fitted.prepare(record), self.fitted.model
        window_s, clock = self.fitted.window_s, model.spec.state_rate_hz
        index = tile([prepared], window_s, window_s, clock)
        return collate([prepared], index, range(len(index)), self.names, model.spec.inputs)

    def generator(self) -> torch.Generator:
        """The same noise each time, so that two answers differ by what was asked alone."""
        return torch.Generator().manual_seed(self.seed)

    def features(self, record: Record) -> Array:
        """(row, feature): where the posterior mean is, how far it swings and how fast it moves.

        One row each `FEATURE_S`: of every latent number its mean, the log root mean square about
        it, and that of its steps.
        """
        encoded = self.encoded(record)
        mean, _ = encoded.paths(encoded.names).moments()
        return summarised(mean.numpy().T, round(FEATURE_S * self.fitted.model.spec.state_rate_hz))

    def raw_features(self, record: Record) -> Array:
        """The same summary of the raw samples of every sensor, in their own units."""
        rows = []
        for name in self.names:
            if name in record.signals:
                signal = record.signals[name]
                step = float(np.median(np.diff(signal["time"].values)))
                size = max(2, round(FEATURE_S / step))
                rows.append(summarised(signal.values[:1].astype(np.float64), size))
        count = min(len(own) for own in rows)
        return np.concatenate([own[:count] for own in rows], axis=1)


def summarised(x: Array, size: int) -> Array:
    """(series, time) -> (row, 3 * series): mean, log rms about it, log rms of the steps."""
    size = min(size, x.shape[1])
    rows = []
    for k in range(max(1, x.shape[1] // size)):
        part = x[:, k * size : (k + 1) * size]
        swing = 0.5 * np.log(_mean(_centred(part) ** 2) + TINY)
        steps = 0.5 * np.log(_mean(np.diff(part, axis=1) ** 2) + TINY)
        rows.append(np.concatenate([_mean(part), swing, steps]))
    return np.stack(rows)


def _mean(x: Array) -> Array:
    return np.nan_to_num(mean_of(x))


def _centred(x: Array) -> Array:
    return x - _mean(x)[:, None]
