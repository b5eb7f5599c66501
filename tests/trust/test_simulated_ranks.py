"""Ranks of a deep model's own simulations: uniform for an exact guide, found out otherwise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from latentphys.model.distributions import Trajectory
from latentphys.model.statespace import StateSpaceModel
from latentphys.trust.simulated_ranks import simulated_ranks

STEPS = 12


class _Prior:
    """A guide that has looked at nothing: what it draws is exact where z says nothing of x."""

    def __init__(self, model: StateSpaceModel, narrow: float) -> None:
        self.model, self.narrow = model, narrow

    def __call__(self, evidence: object, keep: object = None) -> _Prior:
        return self

    def sample(self, shape: torch.Size) -> torch.Tensor:
        prior: Trajectory = self.model.prior_over(STEPS, None, torch.Size((50,)))
        noise = torch.randn(*shape, 50, STEPS, self.model.spec.latent_dim, dtype=torch.float64)
        return prior.path(self.narrow * noise)


@pytest.mark.parametrize(("narrow", "uniform"), [(1.0, True), (0.5, False)])
def test_an_exact_guide_passes_and_a_narrow_one_does_not(
    make_model: Callable[..., StateSpaceModel],
    monkeypatch: pytest.MonkeyPatch,
    narrow: float,
    uniform: bool,
) -> None:
    model = make_model()
    monkeypatch.setattr(model, "guide_of", _Prior(model, narrow))
    found = simulated_ranks(model, STEPS, windows=400, draws=19)
    assert found.ranks.shape == (400, 3)
    assert (found.p_values > 0.01 / 3).all() == uniform
    assert found.histogram.mean() == pytest.approx(1.0)
    if uniform:
        assert found.spread == pytest.approx(1.0, abs=0.12)
    else:
        assert (found.p_values < 0.01).all()
        assert found.spread > 1.5
        assert found.histogram[[0, -1]].min() > 1.5  # the truth lies outside too often


def test_what_the_guide_is_shown_is_what_is_given(
    make_model: Callable[..., StateSpaceModel],
) -> None:
    model = make_model()
    one = simulated_ranks(model, STEPS, ["ppg"], windows=60, draws=9)
    again = simulated_ranks(model, STEPS, ["ppg"], windows=60, draws=9)
    every = simulated_ranks(model, STEPS, windows=60, draws=9)
    np.testing.assert_array_equal(one.ranks, again.ranks)
    assert every.given == ("ecg", "ppg", "resp")
    assert (one.ranks != every.ranks).any()
    assert "ppg: uniform ranks rejected at 1 % for" in repr(one)
