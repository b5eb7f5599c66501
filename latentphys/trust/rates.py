"""Breathing rates with intervals that hold for new people, from imputed respiration.

A rate read from each posterior draw gives a centre and a spread; the spread alone is too narrow for
a new person, because draws do not know how wrong the model is. Conformal repair ranks

    s = |annotated rate - median of the draws' rates| / (SD of the draws' rates + 1 breath a minute)

over people (`latentphys.trust.conformal`). The 1 keeps draws that agree by luck from being certain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentphys.trust.breathing import annotated_rate, breathing_rate
from latentphys.trust.conformal import Guarantee, SubjectConformal

Array = NDArray[np.float64]
LEAST_SPREAD = 1.0  # breaths a minute


class Rates(NamedTuple):
    """Rates of windows, (window,) each, breaths a minute."""

    centre: Array
    spread: Array
    annotated: Array

    @property
    def score(self) -> Array:
        """|annotated - centre| / spread; NaN where either is not known."""
        return np.abs(self.annotated - self.centre) / self.spread


def rates_of_draws(
    draws: ArrayLike, rate_hz: float, breaths: ArrayLike = (), window_s: float = 32.0
) -> Rates:
    """The rate in each whole window of imputed respiration.

    Args:
        draws: (sample, time), one channel.
        rate_hz: samples a second.
        breaths: seconds at which breaths were marked, if known.
        window_s: length of a window.
    """
    draws = np.asarray(draws, dtype=np.float64)
    size = round(window_s * rate_hz)
    found = []
    for k in range(draws.shape[-1] // size):
        rates = breathing_rate(draws[:, k * size : (k + 1) * size], rate_hz)
        rates = rates[np.isfinite(rates)]
        marked = annotated_rate(breaths, k * window_s, (k + 1) * window_s)
        if len(rates):
            found.append((float(np.median(rates)), float(rates.std()) + LEAST_SPREAD, marked))
        else:
            found.append((np.nan, np.nan, marked))
    return Rates(*np.array(found, dtype=np.float64).reshape(-1, 3).T)


@dataclass(frozen=True)
class RateIntervals:
    """Repaired intervals of breathing rates.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> people = {}
        >>> for k in range(20):
        ...     true = rng.normal(15.0, 3.0, 30)
        ...     people[f"s{k}"] = Rates(true + rng.normal(0.0, 2.0, 30), np.ones(30), true)
        >>> repair = RateIntervals.of(people)
        >>> lower, upper = repair.interval(people["s0"], 0.9)
        >>> bool((upper - lower).mean() > 6.0)
        True
    """

    conformal: SubjectConformal

    @classmethod
    def of(
        cls, people: Mapping[str, Rates], guarantee: Guarantee = "finite_sample"
    ) -> RateIntervals:
        """From calibration subjects with annotated breaths."""
        scores = {subject: rates.score for subject, rates in people.items()}
        return cls(SubjectConformal.of(scores, guarantee))

    def interval(self, rates: Rates, level: float = 0.9) -> tuple[Array, Array]:
        """Lower and upper rate of each window, not below 0."""
        lower, upper = self.conformal.interval(rates.centre, rates.spread, level)
        return np.maximum(lower, 0.0), upper
