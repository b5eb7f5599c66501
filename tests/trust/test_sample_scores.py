"""Sample scores against scoringrules, scipy, scikit-learn and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import scoringrules
import torch
from scipy import stats
from sklearn.metrics import r2_score, root_mean_squared_error

from latentphys.trust.sample_scores import (
    LEVELS,
    PIT_BINS,
    SCORES,
    Mixture,
    Summary,
    fair_crps,
    score_gaussian,
    score_mixture,
)


@pytest.fixture
def case() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth (n,), locations and scales (draw, n)."""
    rng = np.random.default_rng(0)
    loc = rng.normal(size=(40, 300))
    return rng.normal(size=300), loc, rng.uniform(0.2, 1.5, size=loc.shape)


@pytest.mark.parametrize("freedom", [None, 3.7])
def test_a_mixtures_scores_are_those_of_scipy(
    case: tuple[np.ndarray, np.ndarray, np.ndarray], freedom: float | None
) -> None:
    truth, loc, scale = case
    law = stats.norm(loc, scale) if freedom is None else stats.t(freedom, loc, scale)
    mixture = Mixture(torch.from_numpy(loc), torch.from_numpy(scale), freedom)
    x = torch.from_numpy(truth)
    np.testing.assert_allclose(
        mixture.log_density(x), np.log(law.pdf(truth).mean(0)), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(mixture.pit(x), law.cdf(truth).mean(0), atol=1e-7)
    mean, sd = mixture.moments()
    np.testing.assert_allclose(mean, loc.mean(0), rtol=1e-9)
    within = law.var().mean(0)
    np.testing.assert_allclose(sd, np.sqrt(loc.var(0, ddof=1) + within), rtol=1e-9)


@pytest.mark.parametrize("freedom", [None, 3.7])
def test_draws_of_a_mixture_follow_its_distribution(freedom: float | None) -> None:
    loc, scale = torch.full((4000, 2), 1.5), torch.full((4000, 2), 0.3)
    drawn = Mixture(loc, scale, freedom).sample(torch.Generator().manual_seed(0)).numpy()
    law = stats.norm(1.5, 0.3) if freedom is None else stats.t(freedom, 1.5, 0.3)
    assert stats.kstest(drawn[:, 0], law.cdf).pvalue > 0.01
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.06


def test_the_fair_crps_is_that_of_scoringrules(
    case: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    truth, draws, _ = case
    expected = scoringrules.crps_ensemble(truth, draws, m_axis=0, estimator="fair")
    found = fair_crps(torch.from_numpy(truth), torch.from_numpy(draws)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6, rtol=1e-6)


def test_a_gaussians_scores_are_those_of_scoringrules_and_scipy() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(2, 50)).astype(np.float32)
    mean, sd = rng.normal(size=(2, 50)), rng.uniform(0.1, 2.0, (2, 50))
    scored = torch.from_numpy(rng.random((2, 50)) > 0.3)
    at = scored.numpy()
    found = score_gaussian(truth, scored, mean, sd)
    x, m, s = truth[at].astype(float), mean[at], sd[at]
    np.testing.assert_allclose(found.crps[at], scoringrules.crps_normal(x, m, s), atol=1e-6)
    np.testing.assert_allclose(-found.log_density[at], scoringrules.logs_normal(x, m, s), atol=1e-6)
    np.testing.assert_allclose(found.pit[at], stats.norm.cdf(x, m, s), atol=1e-6)
    np.testing.assert_allclose(found.residual[at], np.abs(x - m) / s, atol=1e-6)
    assert np.isnan(found.crps[~at]).all()


def test_the_mixture_of_one_gaussian_scores_as_that_gaussian() -> None:
    truth = np.random.default_rng(2).normal(size=(1, 4000)).astype(np.float32)
    scored = torch.ones(1, 4000, dtype=torch.bool)
    loc, scale = torch.full((400, 4000), 0.2), torch.full((400, 4000), 1.3)
    generator = torch.Generator().manual_seed(0)
    ours = Summary.of(score_mixture(truth, scored, Mixture(loc, scale), generator), 100)
    mean, sd = np.full((1, 4000), 0.2), np.full((1, 4000), 1.3)
    exact = Summary.of(score_gaussian(truth, scored, mean, sd), 100)
    assert ours is not None
    assert exact is not None
    where = [SCORES.index(name) for name in ("log_score", "crps", "nrmse")]
    np.testing.assert_allclose(ours.scores[where], exact.scores[where], atol=2e-3)
    np.testing.assert_allclose(ours.coverage, exact.coverage, atol=0.01)


def test_a_summary_holds_what_its_parts_say() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(1, 6000)).astype(np.float32)
    mean = np.full((1, 6000), 0.1) + 0.5 * truth
    scored = torch.ones(1, 6000, dtype=torch.bool)
    found = Summary.of(score_gaussian(truth, scored, mean, np.full_like(mean, 1.0)), 500)
    assert found is not None
    scores = dict(zip(SCORES, found.scores, strict=True))
    error = root_mean_squared_error(truth[0], mean[0])
    assert scores["nrmse"] == pytest.approx(error / truth.std(), abs=1e-6)
    assert scores["nrmse"] == pytest.approx(np.sqrt(1 - r2_score(truth[0], mean[0])), abs=1e-6)
    assert scores["correlation"] == pytest.approx(1.0)
    assert scores["window_correlation"] == pytest.approx(1.0)
    inside = [stats.norm.interval(level, mean, 1.0) for level in LEVELS]
    expected = [((low <= truth) & (truth <= high)).mean() for low, high in inside]
    np.testing.assert_allclose(found.coverage, expected, atol=1e-9)
    assert len(found.pit) == PIT_BINS
    assert found.pit.mean() == pytest.approx(1.0)


def test_nothing_scored_is_no_summary() -> None:
    truth = np.full((1, 9), np.nan, np.float32)
    none = torch.zeros(1, 9, dtype=torch.bool)
    assert Summary.of(score_gaussian(truth, none, np.zeros((1, 9)), np.ones((1, 9))), 3) is None
