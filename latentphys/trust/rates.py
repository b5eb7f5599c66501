"""Breathing rates with intervals that hold for new people, from imputed respiration.

The mean of the posterior draws is counted for a centre: what wanders differently in every draw is
gone from it, and breaths that all draws agree on are left. The draws' own rates give a spread, too
narrow for a new person, because draws do not know how wrong the model is. Conformal repair ranks

    s = |annotated rate - rate of the draws' mean| / (SD of the draws' rates + 1 breath a minute)

over people (`latentphys.trust.conformal`). The 1 keeps draws that agree by luck from being certain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from latentphys.inference.imputation import Question, impute_record
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.recordings.record import Record
from latentphys.trust.breathing import annotated_rate, breathing_rate
from latentphys.trust.calibration import Calibration
from latentphys.trust.conformal import Guarantee, SubjectConformal
from latentphys.trust.targets import BREATHS

Array = NDArray[np.float64]
LEAST_SPREAD = 1.0  # breaths a minute
RESPIRATION = "resp"
WINDOW_S = 32.0


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
    draws: ArrayLike, rate_hz: float, breaths: ArrayLike = (), window_s: float = WINDOW_S
) -> Rates:
    """The rate in each whole window of imputed respiration.

    Where no breath is found in the draws' mean, the centre is the median of the draws' rates.

    Args:
        draws: (sample, time), one channel.
        rate_hz: samples a second.
        breaths: seconds at which breaths were marked, if known.
        window_s: length of a window.
    """
    draws = np.asarray(draws, dtype=np.float64)
    means = _by_window(draws.mean(axis=0, keepdims=True), rate_hz, window_s)[:, 0]
    found = []
    for k, rates in enumerate(_by_window(draws, rate_hz, window_s)):
        rates = rates[np.isfinite(rates)]
        marked = annotated_rate(breaths, k * window_s, (k + 1) * window_s)
        if len(rates):
            centre = means[k] if np.isfinite(means[k]) else np.median(rates)
            found.append((float(centre), float(rates.std()) + LEAST_SPREAD, marked))
        else:
            found.append((np.nan, np.nan, marked))
    return Rates(*np.array(found, dtype=np.float64).reshape(-1, 3).T)


def interval_of_draws(
    draws: Array, rate_hz: float, centre: Array, level: float = 0.9, window_s: float = WINDOW_S
) -> tuple[Array, Array]:
    """Quantiles of the draws' rates in each window, and the centre: (window,) each, 1/min.

    Args:
        draws: (sample, time), one channel.
        rate_hz: samples a second.
        centre: (window,), see `rates_of_draws`; inside the interval.
        level: of the interval.
        window_s: length of a window.
    """
    each = _by_window(draws, rate_hz, window_s)
    lower, upper = np.full((2, len(each)), np.nan)
    known = np.isfinite(each).any(axis=1)
    tail = 0.5 * (1.0 - level)
    if known.any():
        lower[known], upper[known] = np.nanquantile(each[known], [tail, 1.0 - tail], axis=1)
    return np.minimum(lower, centre), np.maximum(upper, centre)


def _by_window(draws: Array, rate_hz: float, window_s: float) -> Array:
    """(window, sample) rates of whole windows."""
    size = round(window_s * rate_hz)
    count = draws.shape[-1] // size
    windows = draws[:, : count * size].reshape(len(draws), count, size)
    return np.moveaxis(breathing_rate(windows, rate_hz), 0, 1)


def breath_times(record: Record) -> Array:
    """When breaths were marked, seconds, by the first annotator there is; empty of none."""
    marked = next((name for name in BREATHS if name in record.annotations), None)
    if marked is None:
        return np.zeros(0)
    return np.sort(record.annotations[marked].time.values.astype(np.float64))


def imputed_rates(
    model: StateSpaceModel,
    record: PreparedRecord,
    question: Question,
    breaths: ArrayLike = (),
) -> Rates:
    """Rates of a recording's imputed respiration in windows of 32 s.

    Args:
        model: in evaluation mode.
        record: prepared.
        question: whose target is the respiration signal.
        breaths: seconds at which breaths were marked, if known.
    """
    imputed = impute_record(model, record, question)
    rate_hz = float(imputed.attrs["rate_hz"])
    return rates_of_draws(imputed.draws.values[:, 0], rate_hz, breaths)


def rate_intervals(
    model: StateSpaceModel,
    record: PreparedRecord,
    question: Question,
    calibration: Calibration | None,
) -> xr.Dataset:
    """The breathing rate in each 32 s of a recording, from imputed respiration.

    Args:
        model: in evaluation mode.
        record: prepared.
        question: whose target is the respiration signal; its `level` is that of the interval.
        calibration: whose repair is used, if it has one of rates.

    Returns:
        rate (of the draws' mean), lower and upper (window), breaths a minute. Without
        a repair, the interval is of the draws' rates; attribute `calibration` says which.
    """
    imputed = impute_record(model, record, question)
    draws, rate_hz = imputed.draws.values[:, 0], float(imputed.attrs["rate_hz"])
    repair = None if calibration is None else calibration.rate_repair(question.given)
    rates = rates_of_draws(draws, rate_hz)
    if repair is not None and calibration is not None:
        lower, upper = RateIntervals(repair).interval(rates, question.level)
        said = calibration.statement
    else:
        lower, upper = interval_of_draws(draws, rate_hz, rates.centre, question.level)
        said = ""
    start = WINDOW_S * np.arange(len(rates.centre))
    units = {"units": "1/min"}
    return xr.Dataset(
        {
            "rate": ("window", rates.centre, units),
            "lower": ("window", lower, units),
            "upper": ("window", upper, units),
        },
        coords={
            "start_s": ("window", start, {"units": "s"}),
            "stop_s": ("window", start + WINDOW_S, {"units": "s"}),
        },
        attrs={
            "record": record.record,
            "subject": record.subject,
            "given": ", ".join(question.given),
            "level": question.level,
            "calibration": said,
        },
    )


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
        cls, people: Mapping[str, Rates], guarantee: Guarantee = "leave_one_out"
    ) -> RateIntervals:
        """From calibration subjects with annotated breaths."""
        scores = {subject: rates.score for subject, rates in people.items()}
        return cls(SubjectConformal.of(scores, guarantee))

    def interval(self, rates: Rates, level: float = 0.9) -> tuple[Array, Array]:
        """Lower and upper rate of each window, not below 0."""
        lower, upper = self.conformal.interval(rates.centre, rates.spread, level)
        return np.maximum(lower, 0.0), upper


def left_out_intervals(people: Mapping[str, Rates], level: float = 0.9) -> tuple[float, float]:
    """Coverage and width of repaired intervals, each person's made from all the others.

    Args:
        people: subject -> rates with annotated ones, of people the model was not fitted with.
        level: of the intervals.

    Returns:
        Means over people of the share of windows covered and of the width, breaths a minute.

    Raises:
        FitError: fewer than two people.
    """
    covered, widths = [], []
    for name, own in people.items():
        repair = RateIntervals.of({k: rates for k, rates in people.items() if k != name})
        lower, upper = repair.interval(own, level)
        known = np.isfinite(own.score)
        if known.any():
            inside = (lower <= own.annotated) & (own.annotated <= upper)
            covered.append(float(inside[known].mean()))
            widths.append(float((upper - lower)[known].mean()))
    return float(np.mean(covered)), float(np.mean(widths))
