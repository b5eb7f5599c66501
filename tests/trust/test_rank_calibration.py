"""Simulation-based calibration: exact inference gives uniform ranks, a wrong posterior does not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from latentphys.model.distributions import GaussMarkov, Trajectory
from latentphys.model.emissions import LinearEmission
from latentphys.model.kalman import LinearGaussian, Smoothed, kalman_filter, rts_smoother
from latentphys.model.transitions import LinearTransition
from latentphys.trust.rank_calibration import calibration_ranks, rank_histogram, rank_uniformity

STEPS, LATENT, DRAWS, REPETITIONS = 8, 2, 19, 400
LEVEL = 0.01


class System:
    """The library's linear networks, and the same model as matrices."""

    def __init__(self, diagonal: bool) -> None:
        torch.manual_seed(0)
        self.transition = LinearTransition(LATENT).double()
        self.emission = LinearEmission(LATENT, LATENT).double()
        turn = (
            torch.diag(torch.tensor([0.9, -0.5]))
            if diagonal
            else torch.tensor([[0.8, 0.4], [-0.4, 0.7]])
        )
        with torch.no_grad():
            self.transition.linear.weight.copy_(turn)
            if diagonal:
                self.emission.linear.weight.copy_(torch.diag(torch.tensor([1.0, 0.6])))
        unit = torch.ones(LATENT, dtype=torch.float64)
        self.prior = Trajectory(Normal(0.3 * unit, 0.8 * unit), self.transition, STEPS, None)
        self.exact = LinearGaussian(
            initial_mean=0.3 * unit,
            initial_cov=torch.diag(0.64 * unit),
            transition=self.transition.linear.weight.detach(),
            transition_cov=torch.diag(self.transition.scale.detach() ** 2),
            emission=self.emission.linear.weight.detach(),
            emission_cov=torch.diag(self.emission.scale.detach() ** 2),
            transition_offset=self.transition.linear.bias.detach(),
            emission_offset=self.emission.linear.bias.detach(),
        )

    @torch.no_grad()
    def simulate(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A path and its sensors, a third of the samples and one whole step missing."""
        torch.manual_seed(int(rng.integers(2**31)))
        z = self.prior.sample()
        x = self.emission(z, z, z, z).sample().squeeze(-2)
        x[torch.rand(x.shape) < 0.3] = torch.nan
        x[4] = torch.nan
        return quantities(z.unsqueeze(0))[0], x.numpy()

    def smoothed(self, x: np.ndarray) -> Smoothed:
        return rts_smoother(self.exact, kalman_filter(self.exact, torch.from_numpy(x)))


def quantities(z: torch.Tensor) -> np.ndarray:
    """First, unobserved and last state, the mean and the highest point of paths (draw, ...)."""
    parts = [z[:, 0, 0], z[:, 4, 1], z[:, -1, 0], z.mean((1, 2)), z[..., 0].amax(1)]
    return torch.stack(parts, dim=1).numpy()


def infer_path(
    system: System, narrow: float, x: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draws of whole paths by the library's Gauss-Markov distribution: exact when diagonal."""
    torch.manual_seed(int(rng.integers(2**31)))
    found = system.smoothed(x)
    variance = found.cov.diagonal(dim1=-2, dim2=-1)
    lag = found.lag_one_cov.diagonal(dim1=-2, dim2=-1)
    carry = torch.cat([torch.zeros(1, LATENT, dtype=lag.dtype), lag / variance[:-1]])
    before = torch.cat([torch.zeros(1, LATENT, dtype=lag.dtype), variance[:-1]])
    scale = (variance - carry**2 * before).sqrt()
    q = GaussMarkov(found.mean, carry, narrow * scale)
    return quantities(q.sample(torch.Size([DRAWS])))


def infer_moment(system: System, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws of each state alone, from the smoother's moments."""
    found = system.smoothed(x)
    rows = [
        rng.multivariate_normal(found.mean[t].numpy(), found.cov[t].numpy(), DRAWS)
        for t in (0, 4, STEPS - 1)
    ]
    return np.concatenate(rows, axis=1)


def moments_of(system: System, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    torch.manual_seed(int(rng.integers(2**31)))
    with torch.no_grad():
        z = system.prior.sample()
        x = system.emission(z, z, z, z).sample().squeeze(-2)
    x[torch.rand(x.shape) < 0.3] = torch.nan
    return z[[0, 4, STEPS - 1]].flatten().numpy(), x.numpy()


def p_values(
    simulate: Callable[..., tuple[np.ndarray, np.ndarray]], infer: Callable[..., np.ndarray]
) -> np.ndarray:
    ranks, draws = calibration_ranks(simulate, infer, REPETITIONS, seed=1)
    assert ranks.min() >= 0
    assert ranks.max() <= draws == DRAWS
    return np.array([rank_uniformity(column, draws) for column in ranks.T])


def test_the_gauss_markov_posterior_of_a_linear_model_has_uniform_ranks() -> None:
    system = System(diagonal=True)
    found = p_values(system.simulate, partial(infer_path, system, 1.0))
    assert found.min() > LEVEL / len(found)


@pytest.mark.parametrize("narrow", [0.6, 1.7])
def test_a_posterior_of_the_wrong_width_is_found_out(narrow: float) -> None:
    system = System(diagonal=True)
    found = p_values(system.simulate, partial(infer_path, system, narrow))
    assert (found < LEVEL / len(found)).all()


def test_the_smoothers_moments_have_uniform_ranks_with_a_turning_state() -> None:
    system = System(diagonal=False)
    found = p_values(partial(moments_of, system), partial(infer_moment, system))
    assert found.min() > LEVEL / len(found)


def test_bins_hold_equally_many_ranks() -> None:
    assert rank_histogram(np.arange(20), 19, 10).tolist() == [2] * 10
    with pytest.raises(ValueError, match="Choose a divisor of 20"):
        rank_histogram(np.arange(20), 19, 7)
