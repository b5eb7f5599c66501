"""The baselines of one evaluation: fitted to other people, asked the model's own questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.recordings.errors import FitError, RateError
from latentphys.trust.baselines import (
    Baseline,
    LastObservation,
    LinearInterpolation,
    MeanBaseline,
    MeanFrame,
    RidgeBaseline,
)
from latentphys.trust.kalman_baseline import KalmanBaseline
from latentphys.trust.patterns import Pattern

Array = NDArray[np.float64]
Moments = tuple[Array, Array]
METHODS = ("mean", "locf", "linear", "ridge", "kalman")
RIDGE_ROWS = 6000
FOLDS = 3


class Rivals:
    """Baselines fitted to some records, each when it is first asked.

    Of images the mean is the mean frame; the other baselines neither tell images nor look at them.

    Args:
        records: prepared records of people other than those scored.
        names: the model's sensors.
        clock_hz: of the Kalman smoother.
    """

    def __init__(
        self, records: Sequence[PreparedRecord], names: Sequence[str], clock_hz: float
    ) -> None:
        self._records, self._names, self._clock_hz = list(records), tuple(names), clock_hz
        self._fitted: dict[tuple[str, ...], Any] = {}
        seen = (item for record in self._records for item in record.signals.items())
        self._images = {name for name, signal in seen if signal.grid is not None}

    def predict(
        self, record: PreparedRecord, patterns: Sequence[Pattern]
    ) -> list[dict[tuple[str, str], Moments]]:
        """For each pattern, (method, target) -> mean and SD (channel, time)."""
        versions = [pattern.applied(record) for pattern in patterns]
        waves = set(self._names) - self._images
        kalman = self._fit(("kalman",), self._kalman) if waves else None
        smoothed = None
        if kalman is not None:
            smoothed = kalman.smooth(record, versions, [set(p.given) for p in patterns])
        answers = []
        for k, (pattern, version) in enumerate(zip(patterns, versions, strict=True)):
            own: dict[tuple[str, str], Moments] = {}
            for target in pattern.targets:
                for method, baseline in self._ones(pattern, target).items():
                    if baseline is not None:
                        own[method, target] = _as_wide(baseline.predict(version), record, target)
                if kalman is not None and smoothed is not None and target not in self._images:
                    own["kalman", target] = kalman.predict(record, target, smoothed[k])
            answers.append(own)
        return answers

    def _kalman(self) -> KalmanBaseline:
        names = [name for name in self._names if name not in self._images]
        return KalmanBaseline(self._clock_hz).fit(self._records, names)

    def _ones(self, pattern: Pattern, target: str) -> dict[str, Baseline | None]:
        """Those that apply: nothing interpolates a sensor that is not there at all."""
        if target in self._images:
            return {"mean": self._baseline(MeanFrame, target)}
        others = tuple(n for n in pattern.given if n != target and n not in self._images)
        found = {"mean": self._baseline(MeanBaseline, target)}
        if others:
            found["ridge"] = self._baseline(lambda: RidgeBaseline(rows=RIDGE_ROWS), target, others)
        if pattern.hidden:
            found["locf"] = self._baseline(LastObservation, target)
            found["linear"] = self._baseline(LinearInterpolation, target)
        return found

    def _baseline(
        self, make: Callable[[], Baseline], target: str, given: tuple[str, ...] = ()
    ) -> Baseline | None:
        key = (getattr(make, "__name__", ""), target, *given)
        found: Baseline | None = self._fit(key, lambda: make().fit(self._records, target, given))
        return found

    def _fit(self, key: tuple[str, ...], fit: Callable[[], Any]) -> Any:
        """Once; None where the training records do not allow it."""
        if key not in self._fitted:
            try:
                self._fitted[key] = fit() if self._records else None
            except (FitError, RateError):
                self._fitted[key] = None
        return self._fitted[key]


def _as_wide(moments: Moments, record: PreparedRecord, target: str) -> Moments:
    """One row a channel of the record."""
    shape = record.signals[target].values.shape
    mean, sd = (np.resize(part[:, : shape[1]], shape) for part in moments)
    return mean, sd


def rivals_of(
    records: Sequence[PreparedRecord],
    training: Sequence[PreparedRecord] | None,
    names: Sequence[str],
    clock_hz: float,
) -> Mapping[str, Rivals]:
    """Subject -> baselines that never saw that subject.

    Args:
        records: those to be scored.
        training: what to fit to; None fits to the other scored subjects, in three folds.
        names: the model's sensors.
        clock_hz: of the Kalman smoother.
    """
    subjects = sorted({record.subject for record in records})
    if training is not None:
        shared = Rivals(training, names, clock_hz)
        return dict.fromkeys(subjects, shared)
    fold = {subject: k % FOLDS for k, subject in enumerate(subjects)}
    each = [
        Rivals([r for r in records if fold[r.subject] != k], names, clock_hz) for k in range(FOLDS)
    ]
    return {subject: each[fold[subject]] for subject in subjects}
