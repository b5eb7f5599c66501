"""Where a window lies for the contrastive terms: one point, or one Gaussian, of its posterior."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentphys.model.distributions import GaussMarkov

MOST_SCALE = 100.0  # of the logits, as in CLIP: beyond it one pair decides the gradient
AT_FIRST = 1.0 / 0.07  # of the logits, as in CLIP
TINY = 1e-6  # under the logarithm, for a state at rest


def pooled(q: GaussMarkov) -> tuple[Tensor, Tensor]:
    """Mean over the window's steps of the posterior's mean and variance, (row, latent) each."""
    return q.mean.mean(-2), q.variance.mean(-2)


class AlignmentHead(nn.Module):
    """A unit vector a window, from where its posterior mean is and how far it swings.

        e = W (mean_t m_t, log sd_t m_t) / |W (mean_t m_t, log sd_t m_t)|

    A state that oscillates has the same mean in every window; its swing tells windows apart.

    Args:
        latent_dim: size of z.
        size: of e.

    References:
        Radford et al. (2021), Learning transferable visual models from natural language
        supervision, section 2.5: the first and the largest scale.
    """

    def __init__(self, latent_dim: int, size: int) -> None:
        super().__init__()
        self.project = nn.Linear(2 * latent_dim, size)
        share = math.log(AT_FIRST) / math.log(MOST_SCALE)
        self.scale_logit = nn.Parameter(torch.tensor(math.log(share / (1.0 - share))))

    def forward(self, q: GaussMarkov) -> Tensor:
        """q over (row,) windows -> e, (row, size)."""
        mean = q.mean.mean(-2)
        swing = 0.5 * torch.log(q.mean.var(-2, correction=0) + TINY)
        return F.normalize(self.project(torch.cat([mean, swing], dim=-1)), dim=-1)

    @property
    def scale(self) -> Tensor:
        """e^tau, what similarities are multiplied by, learned between 1 and `MOST_SCALE`.

        tau is a sigmoid's share of the largest, so that it can always move: of a clamped one
        nothing is learned beyond the bound.
        """
        return (math.log(MOST_SCALE) * torch.sigmoid(self.scale_logit)).exp()
