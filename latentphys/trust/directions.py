"""How well one sensor is imputed from others on unseen subjects, beside honest baselines.

Every figure is on the standardised signal and averaged over subjects, so that CRPS and width are in
standard deviations of the sensor and a subject with many records counts once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from latentphys.inference.imputation import Question, impute_record
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.recordings.errors import listed
from latentphys.trust.baselines import MeanBaseline, RidgeBaseline
from latentphys.trust.rates import (
    Rates,
    interval_of_draws,
    left_out_intervals,
    rates_of_draws,
)
from latentphys.trust.scores import score_imputation, score_normal

Array = NDArray[np.float64]
Predict = Callable[[PreparedRecord], tuple[Array, Array]]
SHOWN = ("correlation", "window_correlation", "nrmse", "crps", "coverage", "width")


def without(record: PreparedRecord, modality: str) -> PreparedRecord:
    """The record as if the sensor had never been there."""
    return replace(record, signals={k: v for k, v in record.signals.items() if k != modality})


def warn_of_training_subjects(subjects: Iterable[str], trained_on: Collection[str]) -> None:
    """Say whose scores are not of unseen subjects.

    Args:
        subjects: whose recordings are scored.
        trained_on: subjects the model was fitted or chosen on.

    Warns:
        UserWarning: names those that are both.
    """
    seen = sorted(set(subjects) & set(trained_on))
    if seen:
        warnings.warn(
            f"a score says something of subjects the model has not seen; {len(seen)} of these it "
            f"was fitted or chosen on: {listed(seen)}. Score the other side of the split "
            "(latentphys.check_disjoint tells whether two sides share anything).",
            UserWarning,
            stacklevel=3,
        )


def score_model(
    model: StateSpaceModel,
    records: Iterable[PreparedRecord],
    question: Question,
    *,
    trained_on: Collection[str] = (),
    correlated_s: float | None = None,
) -> dict[str, float]:
    """Scores of the model's imputation of `question.target`, means over subjects.

    Args:
        model: in evaluation mode.
        records: prepared recordings; those without the target or any given sensor are left out.
        question: what is imputed, from what; its `level` is that of the interval counted.
        trained_on: subjects the model was fitted on (`FittedModel.training_subjects`).
        correlated_s: length of the windows of window_correlation, seconds; the question's, in
            which the record is read, when left out.

    Returns:
        The scores of `score_imputation`, on the standardised signal; NaN without a record.

    Warns:
        UserWarning: subjects in `trained_on` are among them.
    """
    scored: list[str] = []

    def score(record: PreparedRecord) -> dict[str, float]:
        scored.append(record.subject)
        truth = record.signals[question.target]
        imputed = impute_record(model, record, question)
        window = round((correlated_s or question.window_s) * truth.rate_hz)
        draws = standardised(imputed.draws, record, question.target)
        mean = standardised(imputed["mean"], record, question.target)
        return score_imputation(truth.values, draws, question.level, window, mean)

    means = _over_subjects(_with(records, question), score)
    warn_of_training_subjects(scored, trained_on)
    return means


def score_predictor(
    predict: Predict, records: Sequence[PreparedRecord], question: Question
) -> dict[str, float]:
    """The same of anything that gives a mean and a standard deviation.

    Args:
        predict: record without the target -> mean and sd, (channel, time) each, standardised.
        records: prepared recordings; those without the target or any given sensor are left out.
        question: what is imputed, from what.
    """

    def score(record: PreparedRecord) -> dict[str, float]:
        truth = record.signals[question.target]
        window = round(question.window_s * truth.rate_hz)
        mean, sd = predict(without(record, question.target))
        count = len(truth.values)
        mean, sd = np.resize(mean, (count, mean.shape[1])), np.resize(sd, (count, sd.shape[1]))
        length = min(mean.shape[1], truth.values.shape[1])
        return score_normal(
            truth.values[:, :length], mean[:, :length], sd[:, :length], question.level, window
        )

    return _over_subjects(_with(records, question), score)


def baselines(
    train: Sequence[PreparedRecord], target: str, given: Sequence[str]
) -> dict[str, Predict]:
    """The marginal mean, and ridge regression on lagged samples of the given sensors."""
    return {
        "mean": MeanBaseline().fit(train, target, given).predict,
        "ridge": RidgeBaseline().fit(train, target, given).predict,
    }


def score_breathing(
    model: StateSpaceModel,
    records: Sequence[PreparedRecord],
    breaths: Mapping[str, NDArray[np.float64]],
    question: Question,
    window_s: float = 32.0,
) -> dict[str, float]:
    """Breathing rate of the imputed respiration draws against marked breaths, in 1/min.

    Args:
        model: in evaluation mode.
        records: prepared recordings.
        breaths: record name -> times of the marked breaths, seconds.
        question: whose target is the respiration signal.
        window_s: length of a window.

    Returns:
        median_error and mean_error of the rate of the draws' mean, coverage and width of the
        draws' 90 % interval, repaired_coverage and repaired_width of the interval repaired on the
        other people (NaN of one person), and windows, their number.
    """
    found: list[Array] = []
    people: dict[str, list[Rates]] = {}
    for record in records:
        if record.record not in breaths or question.target not in record.signals:
            continue
        rate_hz = record.signals[question.target].rate_hz
        draws = standardised(impute_record(model, record, question).draws, record, question.target)
        rates = rates_of_draws(draws[:, 0], rate_hz, breaths[record.record], window_s)
        people.setdefault(record.subject, []).append(rates)
        low, high = interval_of_draws(draws[:, 0], rate_hz, rates.centre, 0.9, window_s)
        found.append(np.stack([rates.annotated, rates.centre, low, high], axis=1))
    told = np.concatenate([np.zeros((0, 4)), *found])
    truth, centre, low, high = told[np.isfinite(told).all(axis=1)].T
    error, inside = np.abs(centre - truth), (low <= truth) & (truth <= high)
    whole = {
        name: Rates(*map(np.concatenate, zip(*parts, strict=True)))
        for name, parts in people.items()
    }
    repaired = left_out_intervals(whole) if len(whole) > 1 else (float("nan"), float("nan"))
    return {
        "median_error": float(np.median(error)),
        "mean_error": float(error.mean()),
        "coverage": float(inside.mean()),
        "width": float(np.mean(high - low)),
        "repaired_coverage": repaired[0],
        "repaired_width": repaired[1],
        "windows": float(len(error)),
    }


def standardised(values: xr.DataArray, record: PreparedRecord, modality: str) -> Array:
    """An imputed array (..., channel, time) on the scale of the prepared signal."""
    scale = record.signals[modality].scale
    out = values.values - scale.location[:, None].astype(values.dtype)
    out /= scale.scale[:, None]
    return out


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Rows of scores as aligned text, one line a method."""
    width = max(len(name) for name in rows)
    head = " ".join(f"{name.replace('_', ' '):>18}" for name in SHOWN)
    lines = [f"{'':{width}} {head}"]
    for name, scores in rows.items():
        lines.append(f"{name:{width}} " + " ".join(f"{scores[key]:18.3f}" for key in SHOWN))
    return "\n".join(lines)


def _with(records: Iterable[PreparedRecord], question: Question) -> Iterator[PreparedRecord]:
    """The records in which the target was observed and some given sensor too."""

    def seen(record: PreparedRecord, name: str) -> bool:
        return name in record.signals and bool(np.isfinite(record.signals[name].values).any())

    return (
        record
        for record in records
        if seen(record, question.target) and any(seen(record, name) for name in question.given)
    )


def _over_subjects(
    records: Iterable[PreparedRecord], score: Callable[[PreparedRecord], dict[str, float]]
) -> dict[str, float]:
    """Means over records within a subject, then over subjects."""
    by_subject: dict[str, list[dict[str, float]]] = {}
    for record in records:
        by_subject.setdefault(record.subject, []).append(score(record))
    means = [
        {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        for rows in by_subject.values()
    ]
    if not means:
        return dict.fromkeys(SHOWN, float("nan"))
    return {key: _mean([row[key] for row in means]) for key in means[0]}


def _mean(values: Sequence[float]) -> float:
    """Mean of the scores that exist; the mean's own correlation, for one, does not."""
    found = [value for value in values if np.isfinite(value)]
    return float(np.mean(found)) if found else float("nan")
