"""q(z_{1:T} | evidence): the parallel Gauss-Markov guide, by one of several networks over steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentphys.model.distributions import SCALE_FLOOR, GaussMarkov
from latentphys.model.networks import StepPyramid
from latentphys.model.stacks import LinearRecurrentLayer, StepAttention, StepStack

MEAN_LIMIT = 8.0  # the prior's scale is near 1; while its KL is warmed up nothing else holds m


def _features(precision: Tensor, weighted: Tensor) -> Tensor:
    """H / (1 + Lambda) and log(1 + Lambda), the moments under a unit Gaussian prior."""
    return torch.cat([weighted / (1.0 + precision), torch.log1p(precision)], dim=-1)


def _head(width: int, latent_dim: int) -> nn.Linear:
    """From features to m, r and s of every latent dimension."""
    head = nn.Linear(width, 3 * latent_dim)
    with torch.no_grad():
        head.bias.zero_()
        head.bias[2 * latent_dim :] = -2.0  # a small scale at the start
    return head


def _path(raw: Tensor) -> GaussMarkov:
    """q over paths from a head's numbers, (batch, step, 3 * latent)."""
    mean, carry, spread = raw.chunk(3, dim=-1)
    return GaussMarkov(
        MEAN_LIMIT * torch.tanh(mean / MEAN_LIMIT),
        0.999 * torch.tanh(carry),
        SCALE_FLOOR + F.softplus(spread),
        validate_args=False,
    )


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
        self.head = _head(widths[0], latent_dim)

    def forward(self, precision: Tensor, weighted: Tensor) -> GaussMarkov:
        """Lambda and H (batch, step, evidence) -> q over (batch,) paths (step, latent)."""
        return _path(self.head(self.pyramid(_features(precision, weighted))))


class StackGuide(nn.Module):
    """The same q as `PyramidGuide` by layers that all run on the clock of the state.

    A step at which no sensor spoke sends nothing to the other steps: a window gives the same
    answer with such steps appended.

    Args:
        evidence_dim: size of Lambda and H.
        latent_dim: size of z.
        width: features of the layers.
        mixers: one a layer, `LinearRecurrentLayer` or `StepAttention` of that width.
        dropout: inside the layers.
    """

    def __init__(
        self,
        evidence_dim: int,
        latent_dim: int,
        width: int,
        mixers: list[nn.Module],
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.stack = StepStack(2 * evidence_dim, width, mixers, dropout)
        self.head = _head(width, latent_dim)

    def forward(self, precision: Tensor, weighted: Tensor) -> GaussMarkov:
        """Lambda and H (batch, step, evidence) -> q over (batch,) paths (step, latent)."""
        seen = (precision > 0).any(-1, keepdim=True)
        return _path(self.head(self.stack(_features(precision, weighted), seen)))


def make_guide(
    kind: str, evidence_dim: int, latent_dim: int, widths: tuple[int, ...], dropout: float
) -> nn.Module:
    """The guide that a model's plain values name.

    Args:
        kind: "pyramid", "lru" or "attention".
        evidence_dim: size of Lambda and H.
        latent_dim: size of z.
        widths: of the pyramid's levels, finest first; a stack has a layer for each, all as wide
            as the widest.
        dropout: inside the network.
    """
    if kind == "pyramid":
        return PyramidGuide(evidence_dim, latent_dim, widths, dropout)
    width = max(widths)
    mixers: list[nn.Module] = [
        LinearRecurrentLayer(width, max(1, width // 2)) if kind == "lru" else StepAttention(width)
        for _ in widths
    ]
    return StackGuide(evidence_dim, latent_dim, width, mixers, dropout)
