"""Scores against closed forms, known answers and the definition written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr

from latentphys.trust.scores import (
    bootstrap_subjects,
    central_interval,
    correlation,
    coverage,
    crps,
    normal_crps,
    nrmse,
    pit,
    pit_distance,
    score_imputation,
    score_normal,
    width,
    window_correlation,
)


@pytest.fixture
def holed() -> tuple[np.ndarray, np.ndarray]:
    """A truth (2, 400) with holes, and 200 draws of it from the right distribution."""
    rng = np.random.default_rng(0)
    centre = np.sin(np.arange(400) / 9.0) * np.array([[1.0], [3.0]])
    truth = centre + 0.5 * rng.normal(size=centre.shape)
    truth[0, 50:120] = np.nan
    truth[1, ::7] = np.nan
    draws = centre + 0.5 * rng.normal(size=(200, *centre.shape))
    return truth, draws


def test_correlation_is_pearsons_over_what_was_observed(
    holed: tuple[np.ndarray, np.ndarray],
) -> None:
    truth, draws = holed
    for row, mean in zip(truth, draws[0], strict=True):
        seen = np.isfinite(row)
        expected = pearsonr(row[seen], mean[seen]).statistic
        assert correlation(row, mean) == pytest.approx(expected, abs=1e-12)


def test_correlation_of_a_constant_or_of_nothing_is_undefined() -> None:
    ramp = np.arange(10.0)
    assert np.isnan(correlation(ramp, np.full(10, 0.1)))
    assert np.isnan(correlation(np.full(10, np.nan), ramp))
    assert np.isnan(correlation([1.0, 2.0, np.nan], [1.0, 2.0, 3.0]))


def test_windows_do_not_reward_a_drift() -> None:
    rng = np.random.default_rng(1)
    drift = np.linspace(0, 100, 1000)
    truth, mean = drift + rng.normal(size=1000), drift + rng.normal(size=1000)
    assert correlation(truth, mean) > 0.99
    each = window_correlation(truth, mean, 5)
    assert each.shape == (200,)
    assert abs(np.median(each)) < 0.25


def test_nrmse_of_the_mean_is_one_and_of_the_truth_is_zero(
    holed: tuple[np.ndarray, np.ndarray],
) -> None:
    truth, _ = holed
    assert nrmse(truth, np.full(truth.shape, np.nanmean(truth))) == pytest.approx(1.0)
    assert nrmse(truth, np.nan_to_num(truth)) == 0.0


def test_crps_is_its_definition_and_keeps_the_holes(
    holed: tuple[np.ndarray, np.ndarray],
) -> None:
    truth, draws = holed
    score = crps(truth, draws[:20])
    assert np.array_equal(np.isnan(score), np.isnan(truth))
    x, point = draws[:20, 1, 3], truth[1, 3]
    spread = np.abs(x[:, None] - x[None]).sum() / (20 * 19)
    assert score[1, 3] == pytest.approx(np.abs(x - point).mean() - 0.5 * spread)


def test_crps_from_draws_tends_to_the_closed_form() -> None:
    rng = np.random.default_rng(2)
    truth = np.array([-1.0, 0.3, np.nan, 4.0])
    draws = 1.5 + 2.0 * rng.normal(size=(40_000, 4))
    np.testing.assert_allclose(crps(truth, draws), normal_crps(truth, 1.5, 2.0), atol=0.03)


def test_coverage_and_width_count_the_observed_alone() -> None:
    truth = np.array([0.0, 2.0, np.nan, 0.5])
    lower, upper = np.array([-1.0, -1.0, -9.0, 0.5]), np.array([1.0, 1.0, 9.0, 1.5])
    assert coverage(truth, lower, upper) == pytest.approx(2 / 3)
    assert width(truth, lower, upper) == pytest.approx(5 / 3)
    assert np.isnan(coverage([np.nan], [0.0], [1.0]))


def test_calibrated_draws_give_uniform_pit_and_nominal_coverage() -> None:
    rng = np.random.default_rng(3)
    truth, draws = rng.normal(size=20_000), rng.normal(size=(99, 20_000))
    assert pit_distance(pit(truth, draws)) < 0.02
    assert pit_distance(pit(truth, 0.5 * draws)) > 0.1
    assert pit_distance(pit(truth + 1.0, draws)) > 0.3
    assert coverage(truth, *central_interval(draws, 0.8)) == pytest.approx(0.8, abs=0.02)


def test_pit_ranks() -> None:
    draws = np.array([[1.0], [2.0], [3.0]])
    assert pit([0.0], draws) == pytest.approx(0.125)
    assert pit([2.0], draws) == pytest.approx(0.5)
    assert pit([9.0], draws) == pytest.approx(0.875)
    assert np.isnan(pit([np.nan], draws))


def test_score_imputation_agrees_with_the_normal_it_was_drawn_from(
    holed: tuple[np.ndarray, np.ndarray],
) -> None:
    truth, draws = holed
    centre = np.sin(np.arange(400) / 9.0) * np.array([[1.0], [3.0]])
    sampled = score_imputation(truth, draws, window_samples=100)
    exact = score_normal(truth, centre, 0.5, window_samples=100)
    assert sampled.keys() == exact.keys()
    assert sampled["count"] == np.isfinite(truth).sum()
    for name, value in exact.items():
        assert sampled[name] == pytest.approx(value, abs=0.03), name
    assert exact["coverage"] == pytest.approx(0.9, abs=0.03)


def test_scores_of_many_channels_are_those_of_all_their_samples(
    holed: tuple[np.ndarray, np.ndarray],
) -> None:
    truth, draws = holed
    told = score_imputation(truth, draws, level=0.8)
    lower, upper = central_interval(draws, 0.8)
    assert told["crps"] == pytest.approx(np.nanmean(crps(truth, draws)), rel=1e-12)
    assert told["coverage"] == coverage(truth, lower, upper)
    assert told["width"] == pytest.approx(width(truth, lower, upper), rel=1e-12)
    assert told["pit_distance"] == pytest.approx(pit_distance(pit(truth, draws)), rel=1e-12)
    flat = score_imputation(truth[0], draws[:, 0])
    assert flat == score_imputation(truth[:1], draws[:, :1])


def test_scores_do_not_see_what_stands_where_nothing_was_observed(
    holed: tuple[np.ndarray, np.ndarray],
) -> None:
    truth, draws = holed
    other = np.where(np.isnan(truth), 1e6, draws)
    assert score_imputation(truth, draws) == score_imputation(truth, other)


def test_scores_of_nothing_are_nan_and_raise_no_warning() -> None:
    scores = score_imputation(np.full((1, 30), np.nan), np.zeros((5, 1, 30)))
    assert scores.pop("count") == 0
    assert all(np.isnan(value) for value in scores.values())


def test_bootstrap_takes_a_person_as_one_observation() -> None:
    values = [1.0, 1.0, 1.0, 1.0, 3.0, np.nan]
    subjects = ["a", "a", "a", "a", "b", "c"]
    estimate, lower, upper = bootstrap_subjects(values, subjects, seed=1)
    assert estimate == pytest.approx(2.0)
    assert (lower, upper) == pytest.approx((1.0, 3.0))
    assert bootstrap_subjects(values, subjects, seed=1) == (estimate, lower, upper)


def test_bootstrap_interval_has_the_right_size() -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(size=200)
    estimate, lower, upper = bootstrap_subjects(values, np.arange(200), n=4000)
    assert upper - lower == pytest.approx(2 * 1.96 * values.std() / np.sqrt(200), rel=0.1)
    assert lower < estimate < upper


def test_one_person_says_nothing_about_others() -> None:
    estimate, lower, upper = bootstrap_subjects([1.0, 2.0], ["a", "a"])
    assert estimate == pytest.approx(1.5)
    assert np.isnan(lower)
    assert np.isnan(upper)


def test_errors_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="Put the sample axis first"):
        score_imputation(np.zeros((1, 30)), np.zeros((1, 30, 5)))
    with pytest.raises(ValueError, match=r"truth's shape \(1, 30\); got \(30,\)"):
        score_imputation(np.zeros((1, 30)), np.zeros((5, 1, 30)), mean=np.zeros(30))
    with pytest.raises(ValueError, match=r"between 0 and 1; got 90"):
        central_interval(np.zeros((5, 3)), 90)
    with pytest.raises(ValueError, match="one subject a value"):
        bootstrap_subjects([1.0, 2.0], ["a"])
