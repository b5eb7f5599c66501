"""Probabilities of classes: agreement with scikit-learn, closed forms and plain counting."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from latentphys.recordings.errors import ArgumentError
from latentphys.trust.decisions import (
    brier_score,
    calibration_error,
    excess_area,
    reliability,
    risk_coverage,
    selective_risk,
)


def said(count: int = 500, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that know something of the truth, with many ties."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, count)
    p = rng.dirichlet(np.ones(classes), count) + np.eye(classes)[truth] * rng.random((count, 1))
    p = np.round(p / p.sum(axis=1, keepdims=True), 2)
    p[:, -1] = 1.0 - p[:, :-1].sum(axis=1)
    return np.clip(p, 0.0, 1.0), truth


@pytest.mark.parametrize("classes", [2, 4])
def test_the_brier_score_is_scikit_learns(classes: int) -> None:
    p, truth = said(classes=classes)
    expected = brier_score_loss(
        truth, p if classes > 2 else p[:, 1], scale_by_half=False, labels=range(classes)
    )
    assert brier_score(p, truth) == pytest.approx(expected, abs=1e-9)
    assert brier_score(np.eye(3), [0, 1, 2]) == 0.0
    assert brier_score(np.eye(3), [1, 2, 0]) == 2.0


def test_reliability_is_scikit_learns_calibration_curve() -> None:
    p, truth = said()
    right, sure = p.argmax(axis=1) == truth, p.max(axis=1)
    found = reliability(p, truth, bins=10)
    accuracy, confidence = calibration_curve(right, sure, n_bins=10)
    seen = found.units > 0
    np.testing.assert_allclose(found.accuracy[seen], accuracy, atol=1e-9)
    np.testing.assert_allclose(found.confidence[seen], confidence, atol=1e-9)
    assert np.isnan(found.accuracy[~seen]).all()
    weight = found.units[seen] / len(truth)
    expected = float((weight * np.abs(accuracy - confidence)).sum())
    assert calibration_error(p, truth, bins=10) == pytest.approx(expected, abs=1e-9)


def test_calibration_error_in_closed_form() -> None:
    # Three quarters right at a confidence of 0.9, all right at 0.6: |.75 - .9| / 2 + .4 / 2.
    p = [[0.9, 0.1]] * 4 + [[0.6, 0.4]] * 4
    assert calibration_error(p, [0, 0, 0, 1, 0, 0, 0, 0]) == pytest.approx(0.275)
    # A confidence on an edge belongs to the bin below it.
    assert reliability([[0.6, 0.4], [0.59, 0.41]], [0, 0], bins=5).units.tolist() == [0, 0, 2, 0, 0]


def test_the_risk_of_the_surest_is_counted() -> None:
    p, truth = said(60)
    p = p + 1e-6 * np.random.default_rng(1).random(p.shape)
    p /= p.sum(axis=1, keepdims=True)
    curve = selective_risk(p, truth)
    order = np.argsort(-p.max(axis=1))
    wrong = (p.argmax(axis=1) != truth)[order]
    np.testing.assert_allclose(curve.risk, [wrong[: k + 1].mean() for k in range(60)], atol=1e-12)
    assert curve.area == pytest.approx(np.mean([wrong[: k + 1].mean() for k in range(60)]))
    assert curve.at(1.0) == pytest.approx(wrong.mean())
    assert curve.at(0.5) == pytest.approx(wrong[:30].mean())


def test_units_alike_in_confidence_are_taken_in_every_order() -> None:
    sure, loss = np.array([0.9, 0.5, 0.5, 0.5, 0.1]), np.array([1.0, 0.0, 2.0, 5.0, 0.0])
    every = []
    for middle in permutations([1, 2, 3]):
        lost = loss[[0, *middle, 4]]
        every.append(np.cumsum(lost) / np.arange(1, 6))
    np.testing.assert_allclose(risk_coverage(sure, loss).risk, np.mean(every, axis=0))


def test_an_order_by_the_loss_cannot_be_bettered() -> None:
    rng = np.random.default_rng(0)
    loss = (rng.random(200) < 0.3).astype(float)
    best = risk_coverage(-loss, loss)
    assert excess_area(best, loss) == 0.0
    # The best area in closed form: no error among the surest n - e, then (k - n + e) / k.
    errors = int(loss.sum())
    tail = [(k - 200 + errors) / k for k in range(200 - errors + 1, 201)]
    assert best.area == pytest.approx(sum(tail) / 200, abs=1e-12)
    random = risk_coverage(rng.random(200), loss)
    assert excess_area(random, loss) > 0.1
    assert risk_coverage(np.zeros(200), loss).area == pytest.approx(loss.mean(), abs=1e-12)


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(ArgumentError, match="not below 0 and sum to 1"):
        brier_score([[0.5, 0.2]], [0])
    with pytest.raises(ArgumentError, match="give both columns"):
        brier_score([0.5, 0.2], [0, 1])
    with pytest.raises(ArgumentError, match="one of 2 classes, from 0; got 0 to 2"):
        calibration_error([[0.5, 0.5]] * 2, [0, 2])
    with pytest.raises(ArgumentError, match="one of 2 classes"):
        calibration_error([[0.5, 0.5]] * 2, [0.0, 1.0])
    with pytest.raises(ArgumentError, match="finite confidence and loss"):
        risk_coverage([np.nan], [1.0])
    with pytest.raises(ArgumentError, match="one loss a confidence"):
        risk_coverage([], [])
    with pytest.raises(ArgumentError, match="above 0 and up to 1; got 0"):
        risk_coverage([0.5], [1.0]).at(0)
    with pytest.raises(ArgumentError, match="bins is a whole number from 1"):
        reliability([[0.5, 0.5]], [0], bins=0)
