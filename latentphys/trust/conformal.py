"""Intervals that keep their promise for a new person: conformal prediction with whole subjects.

From calibration subjects k = 1 .. K with scores s_{k,1} .. s_{k,n_k}, the score of a sample of a
new subject is at most

    q = the `level` quantile of  sum_k 1/(K+1) 1/n_k sum_i delta(s_{k,i}) + 1/(K+1) delta(infinity)

with probability at least `level`: hierarchical conformal prediction. Each person weighs the same,
however long the recording; one share belongs to the person not yet seen.

References:
    Lee, Barber and Willett (2023), Distribution-free inference with hierarchical data (the bound).
    Dunn, Wasserman and Ramdas (2023), Distribution-free prediction sets for two-layer
        hierarchical models. JASA 118 (the quantile without the last term, "pooling CDFs").
    Lei, G'Sell, Rinaldo, Tibshirani and Wasserman (2018), Distribution-free predictive inference
        for regression. JASA 113 (residuals in units of a predicted spread).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentphys.recordings.errors import FitError

Guarantee = Literal["finite_sample", "asymptotic"]
GUARANTEES = {
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


@dataclass(frozen=True)
class SubjectConformal:
    """Calibrated quantiles of a score, from people.

    It serves any score: residuals of samples, or those of a rate read from imputed draws.

    Attributes:
        curves: subject -> ascending scores (point,), equally likely.
        guarantee: "finite_sample" or "asymptotic" (see GUARANTEES).

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
        if self.guarantee not in GUARANTEES:
            raise FitError(
                f"a guarantee is one of {', '.join(GUARANTEES)}; got {self.guarantee!r}. "
                "Choose 'finite_sample' for a bound at any number of subjects."
            )
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
        """The largest level with a finite interval: K / (K + 1), or 1."""
        count = len(self.curves)
        return count / (count + 1) if self.guarantee == "finite_sample" else 1.0

    def quantile(self, level: float) -> np.float64:
        """q of the formula above; infinite where there are too few subjects for the level.

        Raises:
            ValueError: the level is not between 0 and 1.
        """
        if not 0.0 < level < 1.0:
            raise ValueError(
                f"the level of an interval lies between 0 and 1; got {level}. 0.9 is usual."
            )
        shares = len(self.curves) + (self.guarantee == "finite_sample")
        values = np.concatenate(list(self.curves.values()))
        weights = np.concatenate([np.full(len(c), 1 / len(c)) for c in self.curves.values()])
        order = np.argsort(values, kind="stable")
        mass = np.cumsum(weights[order]) / shares
        at = int(np.searchsorted(mass, level - 1e-12))
        return np.float64(values[order[at]] if at < len(values) else math.inf)

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
        curves = {name: [float(f"{v:.5g}") for v in own] for name, own in self.curves.items()}
        return {"guarantee": self.guarantee, "curves": curves}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> SubjectConformal:
        """The inverse of `to_dict`."""
        curves = {str(k): np.asarray(v, dtype=np.float64) for k, v in plain["curves"].items()}
        return cls(curves, plain["guarantee"])


def _points(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """A distribution as exactly KEPT points, each the largest of its share."""
    last = np.ceil(np.arange(1, KEPT + 1) * len(curve) / KEPT).astype(np.int64) - 1
    return curve[last]
