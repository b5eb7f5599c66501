"""q(z_{1:T} | evidence): the parallel Gauss-Markov guide."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentphys.model.distributions import GaussMarkov
from latentphys.model.networks import StepPyramid

SCALE_FLOOR = 1e-2
MEAN_LIMIT = 8.0  # the prior's scale is near 1; while its KL is warmed up nothing else holds m


class PyramidGuide(nn.Module):
    """q(z_{1:T} | Lambda, H) = prod_t N(z_t ; m_t + r_t * (z_{t-1} - m_{t-1}), s_t^2).

    The summed evidence enters as the mean and the log precision it gives under a unit Gaussian
    prior, H / (1 + Lambda) and log(1 + Lambda); one network over steps gives m, r and s for
    every t at once.

    Args:
        evidence_dim: size of Lambda and H.
        latent_dim: size of z.
        widths: features of the network's levels, finest first.
        dropout: inside the network.
    """

    def __init__(
        self,
        evidence_dim: int,
        latent_dim: int,
        widths: tuple[int, ...] = (64, 96, 128, 128, 128),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.pyramid = StepPyramid(2 * evidence_dim, widths, dropout)
        self.head = nn.Linear(widths[0], 3 * latent_dim)
        with torch.no_grad():
            self.head.bias.zero_()
            self.head.bias[2 * latent_dim :] = -2.0  # a small scale at the start

    def forward(self, precision: Tensor, weighted: Tensor) -> GaussMarkov:
        """Lambda and H (batch, step, evidence) -> q over (batch,) paths (step, latent)."""
        features = torch.cat([weighted / (1.0 + precision), torch.log1p(precision)], dim=-1)
        mean, carry, spread = self.head(self.pyramid(features)).chunk(3, dim=-1)
        return GaussMarkov(
            MEAN_LIMIT * torch.tanh(mean / MEAN_LIMIT),
            0.999 * torch.tanh(carry),
            SCALE_FLOOR + F.softplus(spread),
            validate_args=False,
        )
