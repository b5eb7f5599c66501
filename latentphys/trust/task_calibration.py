"""What a task says, held to subjects it was not taught: temperatures, and intervals of numbers.

    class, ordinal   p = softmax(log p_model / T), T of least log loss on the held-out subjects
    number           sd = s sd_model, s^2 = mean ((y - mu) / sd_model)^2; interval = mu -+ q sd,
                     q the conformal quantile of |y - mu| / sd over held-out subjects

Each by the set of sensors a unit has: a model that hears fewer should be less sure, and need not be
so by itself. A set that was not tried takes what all of them together give.

References:
    Guo, Pleiss, Sun and Weinberger (2017), On calibration of modern neural networks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentphys.trust.conformal import GUARANTEES, SubjectConformal
from latentphys.trust.resampling import mean_of

Array = NDArray[np.float64]
TEMPERATURES = np.geomspace(0.25, 8.0, 61)
POOLED = ""


@dataclass(frozen=True)
class TaskCalibration:
    """What was found on held-out subjects, by set of sensors ("ecg+resp"; "" for all sets).

    Attributes:
        subjects: on whom.
        factor: T of classes, s of numbers; 1 without a word on it.
        conformal: scores of numbers in units of the widened sd.
    """

    subjects: tuple[str, ...] = ()
    factor: Mapping[str, float] = field(default_factory=dict)
    conformal: Mapping[str, SubjectConformal] = field(default_factory=dict)

    def factor_of(self, label: str) -> float:
        """T or s of a set of sensors."""
        return float(self.factor.get(label, self.factor.get(POOLED, 1.0)))

    def half_width(self, label: str, level: float) -> tuple[float, str]:
        """q of an interval at a level, and what is promised of it.

        Whole people are ranked; where they are too few for the level (K people bound levels up to
        K / (K + 1)), the quantile without the share of the person not yet seen is taken.
        """
        found = self.conformal.get(label, self.conformal.get(POOLED))
        if found is None:
            from scipy.stats import norm

            return float(norm.ppf(0.5 + level / 2)), "that of a Gaussian with the predictive sd"
        if level > found.highest_level:
            found = replace(found, guarantee="asymptotic")
        return float(found.quantile(level)), GUARANTEES[found.guarantee]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "subjects": list(self.subjects),
            "factor": dict(self.factor),
            "conformal": {label: own.to_dict() for label, own in self.conformal.items()},
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> TaskCalibration:
        """The inverse of `to_dict`."""
        conformal = {k: SubjectConformal.from_dict(own) for k, own in plain["conformal"].items()}
        factor = {label: float(value) for label, value in plain["factor"].items()}
        return cls(tuple(plain["subjects"]), factor, conformal)


def of_classes(
    log_probs: Mapping[str, Array], y: NDArray[np.int64], subjects: NDArray[Any]
) -> TaskCalibration:
    """A temperature for each set of sensors.

    Args:
        log_probs: set -> (unit, class), NaN where a unit has none of its sensors.
        y: (unit,) positions of classes.
        subjects: (unit,).
    """
    rows = {k: np.flatnonzero(np.isfinite(p).all(axis=1)) for k, p in log_probs.items()}
    factor = {k: temperature(log_probs[k][own], y[own]) for k, own in rows.items() if len(own)}
    if factor:
        everything = [log_probs[k][rows[k]] for k in factor]
        truths = [y[rows[k]] for k in factor]
        # What is wanted of a set never tried is no surer for having been asked often.
        factor[POOLED] = temperature(np.concatenate(everything), np.concatenate(truths))
    return TaskCalibration(tuple(np.unique(subjects).tolist()), factor)


def temperature(log_probs: Array, y: NDArray[np.int64]) -> float:
    """T of least log loss; few units leave it near 1 (log T ~ N(0, 1) before them).

    Args:
        log_probs: (unit, class).
        y: (unit,).
    """
    unit = np.arange(len(y))
    loss = [
        -float(tempered(log_probs, t)[unit, y].sum()) + 0.5 * math.log(t) ** 2 for t in TEMPERATURES
    ]
    return float(TEMPERATURES[int(np.argmin(loss))])


def tempered(log_probs: Array, t: float | Array) -> Array:
    """log softmax(log p / T), (unit, class)."""
    scores = log_probs / t
    return np.asarray(scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True))


def of_numbers(
    moments: Mapping[str, tuple[Array, Array]], y: Array, subjects: NDArray[Any]
) -> TaskCalibration:
    """A factor of the sd and a ranking of people for each set of sensors.

    Args:
        moments: set -> mean and sd, (unit,) each, NaN where a unit has none of its sensors.
        y: (unit,).
        subjects: (unit,).
    """
    factor, conformal = {}, {}
    for label, (mean, sd) in moments.items():
        score = np.abs(y - mean) / sd
        seen = np.isfinite(score)
        if not seen.any():
            continue
        people = {str(p): score[seen & (subjects == p)] for p in np.unique(subjects[seen])}
        # Each person weighs the same, however many units are theirs.
        square = np.array([np.mean(own**2) for own in people.values()])
        factor[label] = max(float(np.sqrt(square.mean())), 1e-3)
        scaled = {name: own / factor[label] for name, own in people.items()}
        # As a saved model has it: rounded.
        conformal[label] = SubjectConformal.from_dict(SubjectConformal.of(scaled).to_dict())
    if factor:
        factor[POOLED] = float(np.sqrt(mean_of(np.array(list(factor.values())) ** 2)))
        pooled = SubjectConformal.pooled(list(conformal.values()))
        conformal[POOLED] = SubjectConformal.from_dict(pooled.to_dict())
    return TaskCalibration(tuple(np.unique(subjects).tolist()), factor, conformal)
