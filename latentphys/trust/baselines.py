"""What a model must beat: predictions that need no model, honestly fitted and honestly uncertain.

    MeanBaseline         x_t ~ N(mu, sigma^2)                       knows the marginal alone
    RidgeBaseline        x_t ~ N(a + sum_k w_k' y_{t+k}, sigma^2)    |k| <= 1 s of other sensors y
    LinearInterpolation  x_t from the observed x on both sides of a gap
    LastObservation      x_t from the last observed x

All work on standardised signals at native rates (`PreparedRecord`) and share two methods:
`fit(records, target, given)` and `predict(record) -> (mean, sd)`, each (channel, time) at the
target's sample times. A Gaussian with these moments is the prediction. No torch here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.recordings.errors import FitError, RateError
from latentphys.trust.alignment import (
    aligned,
    reference_channels,
    sample_times,
    target_times,
    with_target,
)

Array = NDArray[np.float64]
ALPHAS = (1e1, 1e2, 1e3, 1e4, 1e5)  # penalties tried, for a sum over some 10^4 rows
POOLED = ""  # key of what was fitted to all channels together, for a channel never seen


class Baseline(ABC):
    """A rule that predicts one modality from others, or from its own observed part."""

    @abstractmethod
    def fit(
        self, records: Sequence[PreparedRecord], target: str, given: Sequence[str] = ()
    ) -> Baseline:
        """Learn from training records; returns itself.

        Raises:
            FitError: no training record carries the target.
        """

    @abstractmethod
    def predict(self, record: PreparedRecord) -> tuple[Array, Array]:
        """Mean and SD of the target, (channel, time) each, standardised.

        The channels and times are those of the record's own target; of a record without it,
        the commonest training channel at the training rate.
        """


def _unfitted(baseline: Baseline) -> FitError:
    name = type(baseline).__name__
    return FitError(f"{name} predicts only after fitting; got none. Call {name}().fit(...) first.")


@dataclass(frozen=True)
class _Marginal:
    """Moments of each channel, and where the target lives when a record lacks it."""

    moments: dict[str, tuple[float, float]]
    channel: str
    rate_hz: float
    target: str

    @classmethod
    def of(cls, records: Sequence[PreparedRecord], target: str) -> _Marginal:
        pools: dict[str, list[NDArray[np.float32]]] = {POOLED: []}
        for _, name, values in _channels(records, target):
            for key in (POOLED, name):
                pools.setdefault(key, []).append(values[np.isfinite(values)])
        moments = {}
        for name, parts in pools.items():
            pool = np.concatenate(parts, dtype=np.float64)
            if pool.size:
                moments[name] = (float(pool.mean()), float(pool.std()))
        rate_hz = float(np.median([r.signals[target].rate_hz for r in records]))
        return cls(moments, reference_channels(records, [target])[target], rate_hz, target)

    def channels(self, record: PreparedRecord) -> tuple[str, ...]:
        signal = record.signals.get(self.target)
        return (self.channel,) if signal is None else tuple(signal.channels)

    def predict(self, record: PreparedRecord) -> tuple[Array, Array]:
        times = target_times(record, self.target, self.rate_hz)
        rows = [self.moments.get(c, self.moments[POOLED]) for c in self.channels(record)]
        mean, sd = np.array(rows).T[:, :, None] * np.ones((1, 1, len(times)))
        return mean, sd


def _channels(
    records: Sequence[PreparedRecord], target: str
) -> Iterator[tuple[PreparedRecord, str, NDArray[np.float32]]]:
    for record in records:
        signal = record.signals[target]
        for name, values in zip(signal.channels, signal.values, strict=True):
            yield record, name, values


class MeanBaseline(Baseline):
    """x_t ~ N(mu, sigma^2): the marginal of each channel in training, and nothing else."""

    def __init__(self) -> None:
        """Nothing is chosen; `fit` finds the moments."""
        self._marginal: _Marginal | None = None

    def fit(
        self, records: Sequence[PreparedRecord], target: str, given: Sequence[str] = ()
    ) -> MeanBaseline:
        self._marginal = _Marginal.of(with_target(records, target), target)
        return self

    def predict(self, record: PreparedRecord) -> tuple[Array, Array]:
        if self._marginal is None:
            raise _unfitted(self)
        return self._marginal.predict(record)


class MeanFrame(Baseline):
    """x_ti ~ N(mu_i, sigma_i^2): of images, the marginal of each pixel in training."""

    def __init__(self) -> None:
        """Nothing is chosen; `fit` finds the moments."""
        self._moments: tuple[Array, Array] | None = None
        self._target = ""

    def fit(
        self, records: Sequence[PreparedRecord], target: str, given: Sequence[str] = ()
    ) -> MeanFrame:
        signals = [record.signals[target] for record in with_target(records, target)]
        frames = np.concatenate([s.values.reshape(-1, s.pixels) for s in signals])
        seen = np.isfinite(frames)
        count = np.maximum(seen.sum(0), 1)
        mean = np.where(seen, frames, 0.0).sum(0, dtype=np.float64) / count
        variance = np.where(seen, (frames - mean) ** 2, 0.0).sum(0, dtype=np.float64) / count
        self._moments, self._target = (mean, np.sqrt(variance)), target
        return self

    def predict(self, record: PreparedRecord) -> tuple[Array, Array]:
        if self._moments is None:
            raise _unfitted(self)
        signal = record.signals.get(self._target)  # one frame where the record has none
        samples = len(self._moments[0]) if signal is None else signal.values.shape[1]
        mean, sd = (np.resize(moment, (1, samples)) for moment in self._moments)
        return mean, sd


@dataclass(frozen=True)
class _Filter:
    """x_t ~ N(intercept + sum_k kernel[:, k] . y_{t+k}, sd^2)."""

    kernel: Array  # (modality, lag)
    intercept: float
    sd: float

    def __call__(self, given: Array) -> Array:
        from scipy.signal import correlate

        half = self.kernel.shape[1] // 2
        padded = np.pad(given, ((0, 0), (half, half)))
        rows = [
            correlate(y, w, mode="valid", method="auto")
            for y, w in zip(padded, self.kernel, strict=True)
        ]
        return self.intercept + np.sum(rows, axis=0)


class RidgeBaseline(Baseline):
    """x_t ~ N(a + sum_k w_k' y_{t+k}, sigma^2): ridge regression on the other sensors around t.

    The penalty is chosen, and sigma measured, on subjects left out of each fold; sigma is thus
    that of a new person. Every channel name of the target that three training subjects carry has
    its own filter; another channel gets the one fitted to all.
    """

    def __init__(self, reach_s: float = 1.0, rows: int = 20_000, seed: int = 0) -> None:
        """Use the given sensors from -reach_s to reach_s, and at most `rows` training samples."""
        self._reach_s, self._rows, self._seed = reach_s, rows, seed
        self._marginal: _Marginal | None = None
        self._reference: dict[str, str] = {}
        self._filters: dict[str, _Filter] = {}

    def fit(
        self, records: Sequence[PreparedRecord], target: str, given: Sequence[str] = ()
    ) -> RidgeBaseline:
        """As `Baseline.fit`.

        Raises:
            FitError: nothing is given, the target is among the given, or no record carries it.
            RateError: the target has no regular rate, so lags in samples mean nothing.
        """
        _check_given(given, target)
        records = with_target(records, target)
        if any(r.signals[target].time_s is not None for r in records):
            raise RateError(
                f"ridge regression needs a regular target; {target!r} has irregular times. "
                "Use LinearInterpolation or LastObservation for it."
            )
        self._marginal = _Marginal.of(records, target)
        self._reference = reference_channels(records, given)
        half = max(1, round(self._reach_s * self._marginal.rate_hz))
        design, goal, names, subjects = self._training_rows(records, target, half)
        for name in (POOLED, *np.unique(names)):
            rows = np.full(len(goal), True) if name == POOLED else names == name
            if name == POOLED or len(np.unique(subjects[rows])) >= 3:
                fitted = _fit_filter(design[rows], goal[rows], subjects[rows])
                self._filters[str(name)] = fitted
        return self

    def _training_rows(
        self, records: Sequence[PreparedRecord], target: str, half: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[Any], NDArray[Any]]:
        """Design (row, modality, lag), goal, channel name and subject of sampled rows."""
        rng = np.random.default_rng(self._seed)
        share = max(1, self._rows // sum(1 for _ in _channels(records, target)))
        design, goal, names, subjects = [], [], [], []
        for record, name, values in _channels(records, target):
            seen = np.flatnonzero(np.isfinite(values))
            rows = rng.choice(seen, min(share, len(seen)), replace=False)
            times = sample_times(record.signals[target])
            given = np.nan_to_num(aligned(record, self._reference, times))
            padded = np.pad(given, ((0, 0), (half, half)))
            windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1, axis=1)
            design.append(windows[:, rows].transpose(1, 0, 2))
            goal.append(values[rows])
            names += [name] * len(rows)
            subjects += [record.subject] * len(rows)
        return np.concatenate(design), np.concatenate(goal), np.array(names), np.array(subjects)

    def predict(self, record: PreparedRecord) -> tuple[Array, Array]:
        if self._marginal is None:
            raise _unfitted(self)
        times = target_times(record, self._marginal.target, self._marginal.rate_hz)
        given = np.nan_to_num(aligned(record, self._reference, times)).astype(np.float64)
        names = self._marginal.channels(record)
        filters = [self._filters.get(name, self._filters[POOLED]) for name in names]
        mean = np.stack([fir(given) for fir in filters])
        sd = np.array([[fir.sd] for fir in filters]) * np.ones_like(mean)
        return mean, sd


def _check_given(given: Sequence[str], target: str) -> None:
    if not given or target in given:
        raise FitError(
            f"predicting {target!r} from other sensors needs others; got given = {list(given)}. "
            "Name one or more modalities, the target not among them."
        )


def _folds(subjects: NDArray[Any]) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Train and test rows by subject; one subject alone is cut into spans instead."""
    from sklearn.model_selection import GroupKFold, KFold

    count = len(np.unique(subjects))
    if count < 2:
        return list(KFold(min(3, len(subjects))).split(subjects))
    return list(GroupKFold(min(3, count)).split(subjects, groups=subjects))


def _fit_filter(
    design: NDArray[np.float32], goal: NDArray[np.float32], subjects: NDArray[Any]
) -> _Filter:
    """Penalty and sigma from rows of left-out subjects, the filter from all rows."""
    from sklearn.linear_model import Ridge, RidgeCV
    from sklearn.model_selection import cross_val_predict

    # float64: neighbouring lags are nearly alike, too nearly for float32
    flat, folds = design.reshape(len(goal), -1).astype(np.float64), _folds(subjects)
    model = RidgeCV(ALPHAS, cv=folds, scoring="neg_mean_squared_error").fit(flat, goal)
    held_out = cross_val_predict(Ridge(model.alpha_), flat, goal, cv=folds)
    sd = float(np.sqrt(np.mean((goal - held_out) ** 2, dtype=np.float64)))
    kernel = np.asarray(model.coef_, dtype=np.float64).reshape(design.shape[1:])
    return _Filter(kernel, float(model.intercept_), sd)


@dataclass(frozen=True)
class _Variogram:
    """gamma(h) = 1/2 E (x_{t+h} - x_t)^2: how much a signal forgets in h seconds."""

    lag_s: Array
    value: Array

    @classmethod
    def of(cls, records: Sequence[PreparedRecord], target: str, seed: int = 0) -> _Variogram:
        """Pool pairs of observed samples, up to 2000 for each channel and lag, into log bins."""
        rng = np.random.default_rng(seed)
        lags, squares = [], []
        for record, _, values in _channels(records, target):
            seen = np.isfinite(values)
            times, x = sample_times(record.signals[target])[seen], values[seen].astype(np.float64)
            if len(x) < 2:
                continue
            for apart in np.unique(np.geomspace(1, len(x) - 1, 40).astype(int)):
                first = rng.integers(len(x) - apart, size=min(2000, len(x) - apart))
                lags.append(times[first + apart] - times[first])
                squares.append(0.5 * (x[first + apart] - x[first]) ** 2)
        lag, square = np.concatenate(lags), np.concatenate(squares)
        edges = np.geomspace(lag.min(), lag.max(), 60)
        which = np.clip(np.searchsorted(edges, lag), 0, 59)
        count = np.bincount(which, minlength=60)
        kept = count > 0
        centre = np.bincount(which, weights=lag, minlength=60)[kept] / count[kept]
        return cls(centre, np.bincount(which, weights=square, minlength=60)[kept] / count[kept])

    def __call__(self, lag_s: Array) -> Array:
        """gamma at any lag: 0 at 0, straight lines between bins, the last bin beyond."""
        grid, value = np.append(0.0, self.lag_s), np.append(0.0, self.value)
        return np.interp(lag_s, grid, value)


class _GapBaseline(Baseline):
    """Predicts a channel from its own observed samples, with the variogram's uncertainty."""

    def __init__(self) -> None:
        self._marginal: _Marginal | None = None
        self._variogram: _Variogram | None = None

    def fit(
        self, records: Sequence[PreparedRecord], target: str, given: Sequence[str] = ()
    ) -> _GapBaseline:
        """As `Baseline.fit`; what is given besides the target is not used."""
        records = with_target(records, target)
        self._marginal = _Marginal.of(records, target)
        self._variogram = _Variogram.of(records, target)
        return self

    def predict(self, record: PreparedRecord) -> tuple[Array, Array]:
        """As `Baseline.predict`; where nothing was observed to go by, the marginal.

        A sample that was observed is predicted as itself with an SD of 1e-6, so hide with NaN
        what is to be scored.
        """
        if self._marginal is None or self._variogram is None:
            raise _unfitted(self)
        mean, sd = self._marginal.predict(record)
        signal = record.signals.get(self._marginal.target)
        if signal is None:
            return mean, sd
        times = sample_times(signal)
        for c, values in enumerate(signal.values):
            seen = np.isfinite(values)
            if seen.any():
                value, variance, known = self._bridge(
                    times, times[seen], values[seen].astype(np.float64), self._variogram
                )
                mean[c] = np.where(known, value, mean[c])
                sd[c] = np.where(known, np.sqrt(np.maximum(variance, 1e-12)), sd[c])
        return mean, sd

    @staticmethod
    @abstractmethod
    def _bridge(
        times: Array, seen_times: Array, seen: Array, variogram: _Variogram
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Value, variance of its error, and whether there was anything to go by, per time."""


class LastObservation(_GapBaseline):
    """x_t ~ N(x_s, 2 gamma(t - s)), s the last observed time up to t."""

    @staticmethod
    def _bridge(
        times: Array, seen_times: Array, seen: Array, variogram: _Variogram
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        last = np.searchsorted(seen_times, times, side="right") - 1
        known = last >= 0
        last = np.maximum(last, 0)
        return seen[last], 2.0 * variogram(np.maximum(times - seen_times[last], 0.0)), known


class LinearInterpolation(_GapBaseline):
    """x_t ~ N(w x_s + (1 - w) x_e, v) on the straight line from the last to the next observed.

    With a = t - s, b = e - t and w = b / (a + b), the error of that line has variance
    v = 2 [w gamma(a) + (1 - w) gamma(b) - w (1 - w) gamma(a + b)].
    Before the first and after the last observed sample the nearest one stands alone.

    References:
        Matheron (1963), Principles of geostatistics (the variance of a weighted mean).
    """

    @staticmethod
    def _bridge(
        times: Array, seen_times: Array, seen: Array, variogram: _Variogram
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        end = np.clip(np.searchsorted(seen_times, times), 0, len(seen) - 1)
        start = np.clip(np.searchsorted(seen_times, times, side="right") - 1, 0, len(seen) - 1)
        a, b = np.abs(times - seen_times[start]), np.abs(seen_times[end] - times)
        w = np.where(a + b > 0, b / np.where(a + b > 0, a + b, 1.0), 1.0)
        w = np.where(start == end, 1.0, w)
        value = w * seen[start] + (1.0 - w) * seen[end]
        line = w * variogram(a) + (1.0 - w) * variogram(b) - w * (1.0 - w) * variogram(a + b)
        return value, 2.0 * line, np.full(len(times), True)
