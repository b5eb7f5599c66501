"""Quantiles of a mixture against scipy's root finder, and their coverage."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import norm, t
from torch.distributions import Distribution, Normal, StudentT

from latentphys.inference.mixture import mixture_quantiles

LEVELS = (0.05, 0.5, 0.95)


def components(kind: str, draws: int = 50, places: int = 200, seed: int = 0) -> Distribution:
    """Two clusters some places, far apart and of unlike widths; one elsewhere."""
    rng = torch.Generator().manual_seed(seed)
    loc = torch.randn(draws, places, generator=rng)
    loc[: draws // 5, ::3] += 12.0
    scale = 0.1 + torch.rand(draws, places, generator=rng)
    scale[: draws // 5, ::3] *= 0.05
    return Normal(loc, scale) if kind == "normal" else StudentT(torch.tensor(2.6), loc, scale)


@pytest.mark.parametrize("kind", ["normal", "student_t"])
def test_they_are_the_roots_of_the_distribution_function(kind: str) -> None:
    mixture = components(kind)
    loc, scale = mixture.loc.double().numpy(), mixture.scale.double().numpy()
    family = norm if kind == "normal" else t(2.6)
    for level, found in zip(LEVELS, mixture_quantiles(mixture, LEVELS), strict=True):
        reached = family.cdf((found.double().numpy() - loc) / scale).mean(0)
        np.testing.assert_allclose(reached, level, atol=2.5e-4)
        for place in (0, 1, 2):

            def off(x: float, place: int = place, level: float = level) -> float:
                return float(family.cdf((x - loc[:, place]) / scale[:, place]).mean() - level)

            exact = brentq(off, -500.0, 500.0)
            slope = family.pdf((exact - loc[:, place]) / scale[:, place]) / scale[:, place]
            assert float(found[place]) == pytest.approx(exact, abs=3e-4 / slope.mean() + 1e-5)


def test_one_component_is_its_own_quantile() -> None:
    found = mixture_quantiles(Normal(torch.tensor([[3.0]]), torch.tensor([[2.0]])), (0.975,))
    assert float(found[0]) == pytest.approx(3.0 + 2.0 * 1.959964, abs=2e-3)


@pytest.mark.parametrize("kind", ["normal", "student_t"])
def test_the_interval_covers_at_its_level(kind: str) -> None:
    # What is predicted comes from the same process as the draws: twenty of them tell enough.
    mixture = components(kind, draws=20, places=4000)
    lower, upper = mixture_quantiles(mixture, (0.05, 0.95))
    torch.manual_seed(1)
    fresh = mixture.sample((20,))
    inside = ((fresh >= lower) & (fresh <= upper)).double().mean()
    assert float(inside) == pytest.approx(0.9, abs=0.004)
    one_each = mixture.sample()
    ragged = torch.quantile(one_each, torch.tensor([0.05, 0.95]), dim=0)
    sampled = ((fresh >= ragged[0]) & (fresh <= ragged[1])).double().mean()
    assert float(sampled) < 0.88, "twenty samples' own quantiles are narrower than they say"
