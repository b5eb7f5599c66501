"""Intervals that keep their promise for a new person: conformal prediction with whole subjects.

From calibration subjects k = 1 .. K with scores s_{k,1} .. s_{k,n_k}, the score of a sample of a
new subject is at most

    q = the `level` quantile of  sum_k 1/(K+1) 1/n_k sum_i delta(s_{k,i}) + 1/(K+1) delta(infinity)

with probability at least `level`: hierarchical conformal prediction. Each person weighs the same,
however long the recording; one share belongs to the person not yet seen.

The bound is for the worst case, a person all of whose samples agree; where samples of one person
differ it covers too much, by up to 1/(K+1). "leave_one_out" aims at the level itself. With Q_b the
quantile at b of the shares 1/K 1/n_k and no share at infinity,

    q = Q_b,    C(b) = 1/K sum_k 1/n_k sum_i 1[s_{k,i} <= Q_b without person k] at the level:

b is the largest at which C is the least it can be at or above the level. People left out one at a
time are then covered at the level on average.

References:
    Lee, Barber and Willett (2023), Distribution-free inference with hierarchical data (the bound).
    Dunn, Wasserman and Ramdas (2023), Distribution-free prediction sets for two-layer
        hierarchical models. JASA 118 (the quantile without the last term, "pooling CDFs").
    Beran (1990), Calibrating prediction regions. JASA 85 (an estimated coverage in place of the
        nominal one).
    Barber, Candes, Ramdas and Tibshirani (2021), Predictive inference with the jackknife+.
        Annals of Statistics 49 (leaving out one by one).
    Lei, G'Sell, Rinaldo, Tibshirani and Wasserman (2018), Distribution-free predictive inference
        for regression. JASA 113 (residuals in units of a predicted spread).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentphys.recordings.errors import FitError

Guarantee = Literal["leave_one_out", "finite_sample", "asymptotic"]
GUARANTEES = {
    "leave_one_out": (
        "people left out of the calibration one at a time are covered at the level on average; a "
        "new subject's coverage, averaged over subjects, equals the level but for an error that "
        "falls faster than one over the number of calibration subjects. No bound for few"
    ),
    "finite_sample": (
        "an interval at a level covers a sample at a random time of a new subject with at least "
        "that probability, whatever the signals' distribution"
    ),
    "asymptotic": (
        "an interval's coverage of a new subject, averaged over subjects, tends to its level as "
        "calibration subjects grow in number; with few it may fall short"
    ),
}
ASSUMPTION = (
    "the new subject is exchangeable with the calibration subjects (same population, devices and "
    "way of going missing), none of whom the model was trained on; samples within a subject may "
    "depend on one another in any way. Coverage holds on average over people, not for each one"
)
KEPT = 500  # points kept of each subject's distribution
HALVINGS = 16  # of the level that is sought: finer than a step of KEPT points


def check_guarantee(guarantee: str) -> None:
    """Refuse a guarantee that there is not.

    Raises:
        FitError: names those there are.
    """
    if guarantee not in GUARANTEES:
        raise FitError(
            f"a guarantee is one of {', '.join(GUARANTEES)}; got {guarantee!r}. "
            "Choose 'finite_sample' for a bound at any number of subjects."
        )


@dataclass(frozen=True)
class SubjectConformal:
    """Calibrated quantiles of a score, from people.

    It serves any score: residuals of samples, or those of a rate read from imputed draws.

    Attributes:
        curves: subject -> ascending scores (point,), equally likely.
        guarantee: one of GUARANTEES.

    Raises:
        FitError: no subject has a score, or another guarantee.

    Example:
        >>> people = {f"s{k}": np.linspace(0.0, 1.0, 101) for k in range(19)}
        >>> repair = SubjectConformal.of(people)
        >>> print(repair.quantile(0.9).round(2), repair.quantile(0.99))
        0.95 inf
    """

    curves: Mapping[str, NDArray[np.float64]]
    guarantee: Guarantee = "finite_sample"

    def __post_init__(self) -> None:
        check_guarantee(self.guarantee)
        if not self.curves:
            raise FitError(
                "calibration needs at least one subject with a score; got none. Give subjects in "
                "whose recordings the sensor was observed."
            )

    @classmethod
    def of(
        cls, scores: Mapping[str, ArrayLike], guarantee: Guarantee = "finite_sample"
    ) -> SubjectConformal:
        """From every subject's scores (n,), NaN left out.

        A long list is kept as 500 points, each the largest of its share: rounding is outwards,
        so that the bound stands.
        """
        curves = {}
        for subject, values in scores.items():
            own = np.sort(np.asarray(values, dtype=np.float64).ravel())
            own = own[~np.isnan(own)]
            if len(own) > KEPT:
                last = np.ceil(np.arange(1, KEPT + 1) * len(own) / KEPT).astype(np.int64) - 1
                own = own[last]
            if len(own):
                curves[str(subject)] = own
        return cls(curves, guarantee)

    @property
    def subjects(self) -> tuple[str, ...]:
        """Whom it was calibrated on."""
        return tuple(self.curves)

    @property
    def highest_level(self) -> float:
        """The largest level with a finite interval.

        K / (K + 1) of "finite_sample", 1 of "asymptotic"; of "leave_one_out" the share of each
        subject's scores below the largest of the others, averaged.
        """
        count = len(self.curves)
        if self.guarantee == "leave_one_out":
            return float(self._left_out.coverage(1.0).mean())
        return count / (count + 1) if self.guarantee == "finite_sample" else 1.0

    def quantile(self, level: float) -> np.float64:
        """q of the formulas above; infinite where there are too few subjects for the level.

        Raises:
            ValueError: the level is not between 0 and 1.
        """
        if not 0.0 < level < 1.0:
            raise ValueError(
                f"the level of an interval lies between 0 and 1; got {level}. 0.9 is usual."
            )
        count = len(self.curves)
        if self.guarantee == "leave_one_out":
            level = self._left_out.matched(level)
        elif self.guarantee == "finite_sample":
            level = level * (count + 1) / count
        points, below = self._pooled
        at = int(np.searchsorted(below.mean(axis=0), level - 1e-12))
        return np.float64(points[at] if at < len(points) else math.inf)

    @cached_property
    def _pooled(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Every score, ascending (point,), and each subject's share up to it (subject, point)."""
        curves = list(self.curves.values())
        scores = np.concatenate(curves)
        who = np.repeat(np.arange(len(curves)), [len(own) for own in curves])
        order = np.argsort(scores, kind="stable")
        points, steps = scores[order], np.zeros((len(curves), len(scores)))
        size = np.array([len(own) for own in curves], dtype=np.float64)
        steps[who[order], np.arange(len(scores))] = 1.0 / size[who[order]]
        # Scores that are equal are reached together.
        last = np.searchsorted(points, points, side="right") - 1
        return points, np.cumsum(steps, axis=1)[:, last]

    @cached_property
    def _left_out(self) -> _LeftOut:
        return _LeftOut(self._pooled[1])

    def too_few(self, level: float) -> str:
        """Why the interval at a level is infinite, and what to do."""
        count = len(self.curves)
        if self.guarantee == "finite_sample":
            needed = math.ceil(level / (1.0 - level) - 1e-9)
            said = (
                f"an interval at {level:g} with a finite-sample guarantee needs {needed} "
                f"calibration subjects, got {count}"
            )
        else:
            said = (
                f"the widest interval that {count} calibration subjects tell of covers "
                f"{self.highest_level:.3g} of one left out; {level:g} was asked"
            )
        return (
            f"{said}: it is infinite. Calibrate on more, ask a lower level, or calibrate with "
            "guarantee='asymptotic'."
        )

    def left_out_coverage(self, level: float) -> dict[str, float]:
        """Each subject's coverage by the interval calibrated on all the others.

        Of the calibration people alone, it tells what to expect of a new one, by any guarantee.
        """
        found = {}
        for name, own in self.curves.items():
            others = {other: curve for other, curve in self.curves.items() if other != name}
            q = SubjectConformal(others, self.guarantee).quantile(level) if others else math.inf
            found[name] = float((own <= q).mean())
        return found

    def interval(
        self, centre: ArrayLike, spread: ArrayLike, level: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """centre -+ q spread, for scores |x - centre| / spread."""
        centre = np.asarray(centre, dtype=np.float64)
        half = self.quantile(level) * np.asarray(spread, dtype=np.float64)
        return centre - half, centre + half

    @classmethod
    def pooled(cls, parts: Sequence[SubjectConformal]) -> SubjectConformal:
        """Several scores as one: a subject's own, each of them weighing the same."""
        curves: dict[str, list[NDArray[np.float64]]] = {}
        for part in parts:
            for subject, own in part.curves.items():
                curves.setdefault(subject, []).append(_points(own))
        guarantee = parts[0].guarantee if parts else "finite_sample"
        return cls.of({name: np.concatenate(own) for name, own in curves.items()}, guarantee)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        # Nine digits tell any two float32 scores apart: fewer make ties, which answer otherwise.
        curves = {name: [float(f"{v:.9g}") for v in own] for name, own in self.curves.items()}
        return {"guarantee": self.guarantee, "curves": curves}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> SubjectConformal:
        """The inverse of `to_dict`."""
        curves = {str(k): np.asarray(v, dtype=np.float64) for k, v in plain["curves"].items()}
        return cls(curves, plain["guarantee"])


@dataclass(frozen=True)
class _LeftOut:
    """Subjects covered by the quantile of the others.

    Attributes:
        below: (subject, point), the share of each subject's scores up to each of all scores.
    """

    below: NDArray[np.float64]

    @cached_property
    def _others(self) -> NDArray[np.float64]:
        """(subject, point), the mean share of the others."""
        return (self.below.sum(axis=0) - self.below) / (len(self.below) - 1)

    def coverage(self, level: float) -> NDArray[np.float64]:
        """(subject,), the share of each that the others' quantile at a level covers."""
        if len(self.below) == 1:  # there are no others, and nothing follows
            return np.zeros(1)
        last = self.below.shape[1] - 1
        at = [min(int(np.searchsorted(row, level - 1e-12)), last) for row in self._others]
        return self.below[np.arange(len(at)), at]

    def matched(self, level: float) -> float:
        """b of the module's formula; above 1 where no quantile of the others covers so much."""

        def covered(b: float) -> float:
            return float(self.coverage(b).mean())

        if covered(1.0) < level - 1e-12:
            return 2.0
        _, least = _bisected(lambda b: covered(b) < level - 1e-12, 0.0, 1.0)
        reached = covered(least)
        if covered(1.0) <= reached + 1e-12:
            return 1.0
        # Where few scores make it a step, its far end: the step belongs to the rank it ends at.
        return _bisected(lambda b: covered(b) <= reached + 1e-12, least, 1.0)[0]


def _bisected(holds: Callable[[float], bool], low: float, high: float) -> tuple[float, float]:
    """The last place at which something holds and the first at which it does not."""
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low, high


def _points(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """A distribution as exactly KEPT points, each the largest of its share."""
    last = np.ceil(np.arange(1, KEPT + 1) * len(curve) / KEPT).astype(np.int64) - 1
    return curve[last]
