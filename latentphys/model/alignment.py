"""Where a window lies for the contrastive terms: one point, or one Gaussian, of its posterior."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentphys.model.distributions import GaussMarkov

MOST_SCALE = 100.0  # of the logits, as in CLIP: beyond it one pair decides the gradient
AT_FIRST = 1.5  # of the logits: with many times more, windows not yet aligned fall into one point
HASTE = 15.0  # how many times faster than a weight the scale learns
KEPT = 0.9  # of the averages, a batch
LEAST_SPREAD = 1e-3  # of a figure that hardly differs between windows
TINY = 1e-6  # under the logarithm, for a state at rest


def pooled(q: GaussMarkov) -> tuple[Tensor, Tensor]:
    """Mean over the window's steps of the posterior's mean and variance, (row, latent) each."""
    return q.mean.mean(-2), q.variance.mean(-2)


class AlignmentHead(nn.Module):
    """A unit vector a window, from where its posterior mean is and how far it swings.

        e = W s / |W s|,    s = ((mean_t m_t, log sd_t m_t) - centre) / spread

    A state that oscillates has the same mean in every window; its swing tells windows apart.
    Centre and spread are moving averages over the windows of training: what all windows have in
    common is far larger than what tells them apart, and unit vectors of it are all alike.

    Args:
        latent_dim: size of z.
        size: of e.

    References:
        Radford et al. (2021), Learning transferable visual models from natural language
        supervision, section 2.5: the largest scale.
    """

    def __init__(self, latent_dim: int, size: int) -> None:
        super().__init__()
        self.project = nn.Linear(2 * latent_dim, size, bias=False)
        self.centre: Tensor
        self.spread: Tensor
        self.begun: Tensor
        self.register_buffer("centre", torch.zeros(2 * latent_dim))
        self.register_buffer("spread", torch.ones(2 * latent_dim))
        self.register_buffer("begun", torch.zeros(()))
        share = math.log(AT_FIRST) / math.log(MOST_SCALE)
        self.scale_logit = nn.Parameter(torch.tensor(math.log(share / (1.0 - share)) / HASTE))

    def forward(self, path: Tensor, present: Tensor | None = None) -> Tensor:
        """Posterior means (row, step, latent) -> e, (row, size).

        Args:
            path: of windows.
            present: (row,) bool, the windows of which anything was observed, which in training
                move the averages; all when left out.
        """
        mean = path.mean(-2)
        swing = 0.5 * torch.log(path.var(-2, correction=0) + TINY)
        figures = torch.cat([mean, swing], dim=-1)
        if self.training:
            self._follow(figures.detach() if present is None else figures.detach()[present])
        return F.normalize(self.project((figures - self.centre) / self.spread), dim=-1)

    def _follow(self, figures: Tensor) -> None:
        """Move the averages towards those of a batch; take the first batch's as they are."""
        if len(figures) < 2:
            return
        share = 1.0 - KEPT if self.begun > 0 else 1.0
        self.centre.lerp_(figures.mean(0), share)
        self.spread.lerp_(figures.std(0) + LEAST_SPREAD, share)
        self.begun.fill_(1.0)

    @property
    def scale(self) -> Tensor:
        """e^tau, what similarities are multiplied by, learned between 1 and `MOST_SCALE`.

        tau is a sigmoid's share of the largest, so that it can always move: of a clamped one
        nothing is learned beyond the bound.
        """
        return (math.log(MOST_SCALE) * torch.sigmoid(HASTE * self.scale_logit)).exp()
