"""How far to believe the probability of a class, and what is gained by not deciding when unsure.

    Brier     = mean_i sum_c (p_ic - 1[y_i = c])^2         0 to 2; strictly proper
    ECE       = sum_b n_b / n |share right in b - mean confidence in b|,   b bins of max_c p_ic
    risk(k)   = mean loss of the k surest units,           at coverage k / n
    AURC      = 1/n sum_k risk(k)                          excess: less that of the best order

Units that are alike in confidence are taken in every order, equally likely. No torch here.

Warning:
    ECE is a distance estimated with noise: it is above 0 for a calibrated model too, the more so
    the fewer units a bin holds, and it says nothing of the classes below the likeliest.

References:
    Brier (1950), Verification of forecasts expressed in terms of probability.
    Guo, Pleiss, Sun and Weinberger (2017), On calibration of modern neural networks (ECE).
    Geifman and El-Yaniv (2017), Selective classification for deep neural networks.
    Geifman, Uziel and El-Yaniv (2019), Bias-reduced uncertainty estimation for deep neural
        classifiers (AURC and its excess).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentphys.recordings.errors import ArgumentError

Array = NDArray[np.float64]
BINS = 15


class Reliability(NamedTuple):
    """Confidence and share right in bins of confidence, (bin,) each; NaN in an empty one.

    Attributes:
        confidence: mean of the largest probability.
        accuracy: share of the units whose likeliest class is right.
        units: how many there are.
    """

    confidence: Array
    accuracy: Array
    units: NDArray[np.int64]

    @property
    def error(self) -> float:
        """ECE."""
        gap = np.where(self.units > 0, np.abs(self.accuracy - self.confidence), 0.0)
        return float((self.units * gap).sum() / self.units.sum())


class RiskCoverage(NamedTuple):
    """Mean loss of the surest units, by the share that is answered; (unit,) each."""

    coverage: Array
    risk: Array

    @property
    def area(self) -> float:
        """AURC."""
        return float(self.risk.mean())

    def at(self, coverage: float) -> float:
        """The risk when the surest units up to a coverage above 0 are answered."""
        if not 0.0 < coverage <= 1.0:
            raise ArgumentError(
                f"a coverage is a share of the units above 0 and up to 1; got {coverage}. 0.8 "
                "answers the surest four fifths."
            )
        return float(self.risk[np.searchsorted(self.coverage, coverage - 1e-12)])


def brier_score(probability: ArrayLike, truth: ArrayLike) -> float:
    """mean_i sum_c (p_ic - 1[y_i = c])^2.

    Args:
        probability: (unit, class), rows that sum to 1.
        truth: (unit,), positions of the classes.

    Raises:
        ArgumentError: no probabilities, or classes that there are not.

    Example:
        >>> round(brier_score([[0.9, 0.1], [0.2, 0.8]], [0, 0]), 3)
        0.65
    """
    p, y = _checked(probability, truth)
    return float(squared_errors(p, y).mean())


def squared_errors(probability: Array, truth: NDArray[np.int64]) -> Array:
    """What each unit adds to the Brier score, (unit,)."""
    hit = np.eye(probability.shape[1])[truth]
    return np.asarray(((probability - hit) ** 2).sum(axis=1))


def reliability(probability: ArrayLike, truth: ArrayLike, bins: int = BINS) -> Reliability:
    """How often the likeliest class is right, by how likely it is said to be.

    Args:
        probability: (unit, class), rows that sum to 1.
        truth: (unit,), positions of the classes.
        bins: equal ones of the confidence, from 0 to 1, closed above.

    Raises:
        ArgumentError: no probabilities, classes that there are not, or no bin.
    """
    p, y = _checked(probability, truth)
    if bins < 1:
        raise ArgumentError(f"bins is a whole number from 1; got {bins}. {BINS} is usual.")
    sure, right = p.max(axis=1), p.argmax(axis=1) == y
    at = bin_of(sure, bins)
    count = np.bincount(at, minlength=bins)

    def mean(values: NDArray[np.generic]) -> Array:
        total = np.bincount(at, weights=values.astype(np.float64), minlength=bins)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    return Reliability(mean(sure), mean(right), count)


def bin_of(confidence: Array, bins: int = BINS) -> NDArray[np.int64]:
    """Which of the equal bins, closed above, each confidence lies in."""
    edges = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    return np.searchsorted(edges, confidence).astype(np.int64)


def calibration_error(probability: ArrayLike, truth: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error of the likeliest class.

    Args:
        probability: (unit, class), rows that sum to 1.
        truth: (unit,), positions of the classes.
        bins: as in `reliability`.

    Example:
        >>> calibration_error([[0.75, 0.25]] * 4, [0, 0, 0, 1])
        0.0
    """
    return reliability(probability, truth, bins).error


def risk_coverage(confidence: ArrayLike, loss: ArrayLike) -> RiskCoverage:
    """The mean loss of the surest units, for every number of them.

    It serves any loss and any confidence: errors of a classifier by its largest probability,
    squared errors of an imputed signal by minus its predicted standard deviation.

    Args:
        confidence: (unit,), more is surer.
        loss: (unit,), 0 and 1 of a decision, or any number.

    Raises:
        ArgumentError: not one loss a confidence, none at all, or some that are not finite.

    Example:
        >>> curve = risk_coverage([0.9, 0.8, 0.7, 0.6], [0, 0, 1, 1])
        >>> curve.risk.round(2).tolist(), round(curve.area, 3)
        ([0.0, 0.0, 0.33, 0.5], 0.208)
    """
    sure, lost = np.asarray(confidence, dtype=np.float64), np.asarray(loss, dtype=np.float64)
    if sure.ndim != 1 or sure.shape != lost.shape or not len(sure):
        raise ArgumentError(
            f"one loss a confidence, at least one; got {lost.shape} losses and {sure.shape} "
            "confidences. Pass one of each a unit."
        )
    if not (np.isfinite(sure).all() and np.isfinite(lost).all()):
        raise ArgumentError(
            "a unit has a finite confidence and loss; some are not. Leave out units without one."
        )
    _, group = np.unique(-sure, return_inverse=True)
    alike = np.bincount(group, weights=lost) / np.bincount(group)
    count = np.arange(1, len(sure) + 1)
    return RiskCoverage(count / len(sure), np.cumsum(alike[np.sort(group)]) / count)


def selective_risk(probability: ArrayLike, truth: ArrayLike) -> RiskCoverage:
    """The share of wrong decisions among the surest units.

    Args:
        probability: (unit, class), rows that sum to 1.
        truth: (unit,), positions of the classes.
    """
    p, y = _checked(probability, truth)
    return risk_coverage(p.max(axis=1), p.argmax(axis=1) != y)


def excess_area(curve: RiskCoverage, loss: ArrayLike) -> float:
    """AURC less that of the order by the loss itself: 0 is an order that cannot be bettered.

    Args:
        curve: from `risk_coverage`.
        loss: what it was made of.
    """
    lost = np.asarray(loss, dtype=np.float64)
    return curve.area - risk_coverage(-lost, lost).area


def _checked(probability: ArrayLike, truth: ArrayLike) -> tuple[Array, NDArray[np.int64]]:
    """Both as arrays.

    Raises:
        ArgumentError: rows that are no probabilities, or truths that are no classes.
    """
    p, y = np.asarray(probability, dtype=np.float64), np.asarray(truth)
    if p.ndim != 2 or y.shape != p.shape[:1] or not len(p):
        raise ArgumentError(
            f"probabilities are (unit, class) and truths (unit,), at least one; got {p.shape} and "
            f"{y.shape}. Of two classes give both columns."
        )
    if not ((p >= -1e-9).all() and np.allclose(p.sum(axis=1), 1.0, atol=1e-4)):
        raise ArgumentError(
            "the probabilities of a unit are not below 0 and sum to 1; some do not. Pass them as "
            "a softmax gives them."
        )
    if not np.issubdtype(y.dtype, np.integer) or y.min() < 0 or y.max() >= p.shape[1]:
        raise ArgumentError(
            f"a truth is the position of one of {p.shape[1]} classes, from 0; got "
            f"{y.min()} to {y.max()} of {y.dtype}. Number the classes by their column."
        )
    return p, y.astype(np.int64)
