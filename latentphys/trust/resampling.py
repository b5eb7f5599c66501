"""Means over subjects with bootstrap intervals, every score from one and the same resampling.

    skill = 1 - score / score of the baseline      1 is perfect, 0 is no better, below 0 is worse

Sharing the resampled people keeps comparisons paired: a skill's interval is that of the ratio.

References:
    Efron and Tibshirani (1993), An introduction to the bootstrap, chapter 13 (percentiles).
    Field and Welsh (2007), Bootstrapping clustered data (whole subjects).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bounds = tuple[Array, Array, Array]


def mean_of(x: Array, axis: int = -1) -> Array:
    """Mean of what is finite; NaN where nothing is."""
    seen = np.isfinite(x)
    total, count = np.where(seen, x, 0.0).sum(axis), seen.sum(axis)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


class SubjectBootstrap:
    """One resampling of people, used for everything.

    Args:
        subjects: number of people.
        resamples: how often they are drawn again.
        seed: of the drawing.
        level: of the intervals.
    """

    def __init__(
        self, subjects: int, resamples: int = 1000, seed: int = 0, level: float = 0.95
    ) -> None:
        rng = np.random.default_rng(seed)
        drawn = rng.integers(max(subjects, 1), size=(resamples, subjects))
        counts = [np.bincount(row, minlength=subjects) for row in drawn]
        # The first row is the people as they are: the estimate.
        self._weights = np.vstack([np.ones((1, subjects)), *counts])
        self._level = level

    def means(self, values: Array) -> Array:
        """(..., subject), NaN left out -> (resample, ...); row 0 is the estimate itself."""
        seen = np.isfinite(values)
        total = np.tensordot(self._weights, np.where(seen, values, 0.0), axes=(1, -1))
        count = np.tensordot(self._weights, seen.astype(np.float64), axes=(1, -1))
        return np.where(count > 0, total / np.maximum(count, 1.0), np.nan)

    def bounds(self, values: Array) -> Bounds:
        """Estimate, lower and upper of the mean over subjects, (...) each."""
        return self._percentiles(self.means(values), np.isfinite(values).sum(-1))

    def of_sums(self, parts: Array, score: Callable[[Array], Array]) -> Bounds:
        """Bounds of scores that are made of sums over people, as a correlation is.

        Args:
            parts: (part, subject), what each person adds to each sum.
            score: (resample, part) sums -> (resample, score).
        """
        made = score(np.tensordot(self._weights, parts, axes=(1, -1)))
        return self._percentiles(made, np.full(made.shape[1:], parts.shape[-1]))

    def skill(self, values: Array, baseline: Array) -> Bounds:
        """Of 1 - mean score / mean score of the baseline, over the people who have both."""
        ratio, both = self._paired(values, baseline, lambda a, b: 1.0 - a / b)
        return self._percentiles(ratio, both)

    def gain(self, values: Array, baseline: Array) -> Bounds:
        """Of the mean difference to the baseline, over the people who have both."""
        difference, both = self._paired(values, baseline, np.subtract)
        return self._percentiles(difference, both)

    def skills(self, values: Array, baseline: Array) -> Array:
        """(resample, ...) of the skill; row 0 is the estimate."""
        return self._paired(values, baseline, lambda a, b: 1.0 - a / b)[0]

    def _paired(
        self, values: Array, baseline: Array, compare: Callable[[Array, Array], Array]
    ) -> tuple[Array, NDArray[np.int64]]:
        both = np.isfinite(values) & np.isfinite(baseline)
        with np.errstate(invalid="ignore", divide="ignore"):
            compared = compare(
                self.means(np.where(both, values, np.nan)),
                self.means(np.where(both, baseline, np.nan)),
            )
        # A baseline without an error has nothing to be compared with.
        return np.where(np.isfinite(compared), compared, np.nan), both.sum(-1)

    def _percentiles(self, resampled: Array, count: NDArray[np.int64]) -> Bounds:
        """Bounds are NaN with fewer than two people: from one nothing follows about others."""
        tail = 50.0 * (1.0 - self._level)
        estimate, shape = resampled[0], resampled.shape[1:]
        rows = resampled[1:].reshape(len(resampled) - 1, -1)
        low, high = np.full(rows.shape[1], np.nan), np.full(rows.shape[1], np.nan)
        for k in np.flatnonzero(np.isfinite(rows).any(axis=0) & (np.ravel(count) > 1)):
            low[k], high[k] = np.nanpercentile(rows[:, k], [tail, 100.0 - tail])
        return estimate, low.reshape(shape), high.reshape(shape)


def ahead_from(lengths: Array, skill: Array) -> float:
    """The gap length from which the model is ahead up to the longest one tried.

    The sign change is placed between two lengths by a straight line over log length.

    Args:
        lengths: (gap,) ascending seconds.
        skill: (gap,), above 0 = ahead.

    Returns:
        Seconds; 0 when ahead throughout, infinity when behind at the longest, NaN when unknown.

    Example:
        >>> ahead_from(np.array([1.0, 4.0]), np.array([-0.5, 0.5]))
        2.0
    """
    lengths, skill = lengths[np.isfinite(skill)], skill[np.isfinite(skill)]
    if not len(skill):
        return float("nan")
    behind = np.flatnonzero(skill <= 0)
    if not len(behind):
        return 0.0
    k = int(behind[-1])
    return float("inf") if k == len(skill) - 1 else _crossing(lengths, skill, k)


def ahead_until(lengths: Array, skill: Array) -> float:
    """The gap length at which the model, ahead at the shortest one tried, first falls behind.

    Returns:
        Seconds; infinity when ahead throughout, 0 when behind at the shortest, NaN when unknown.
    """
    lengths, skill = lengths[np.isfinite(skill)], skill[np.isfinite(skill)]
    if not len(skill):
        return float("nan")
    behind = np.flatnonzero(skill <= 0)
    if not len(behind):
        return float("inf")
    k = int(behind[0])
    return 0.0 if k == 0 else _crossing(lengths, skill, k - 1)


def _crossing(lengths: Array, skill: Array, k: int) -> float:
    """Zero of the line over log length through points k and k + 1."""
    left, right = np.log(lengths[k : k + 2])
    share = skill[k] / (skill[k] - skill[k + 1])
    return float(np.round(np.exp(left + share * (right - left)), 12))
