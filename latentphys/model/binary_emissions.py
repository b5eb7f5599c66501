"""p(x_t^m | z_t) of a 0/1 sensor whose channels are emitted together, as the notes of a piano."""

from __future__ import annotations

import torch
from pyro.distributions import Bernoulli, TorchDistribution
from torch import Tensor, nn
from torch.nn import functional as F

RARE = -3.0  # log odds at the start: most of what is 0 or 1 is mostly 0


class BinaryEmission(nn.Module):
    """p(x_t | z_t) = prod_c Bernoulli(x_tc ; sigmoid(l_c(z_t))), one log odds a channel and step.

    All samples of a channel within a state step share its log odds. There is neither nuisance nor
    lag; `nuisance`, `offset` and `lag` are taken so that every emission is called alike.

    Args:
        latent_dim: size of z.
        names: channel names that were trained on; others share one log odds.
        width: hidden units.
        reads: which of z it is emitted from; None is all.
    """

    joint = True
    noise: None = None
    tail = None

    def __init__(
        self,
        latent_dim: int,
        names: tuple[str, ...],
        width: int = 150,
        reads: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        self.reads = None if reads is None else list(reads)
        read_dim = latent_dim if reads is None else len(reads)
        self.from_latent = nn.Linear(read_dim, width)
        self.hidden = nn.Linear(width, width)
        self.head = nn.Linear(width, 1 + len(names))
        self.straight = nn.Linear(read_dim, 1 + len(names), bias=False)
        nn.init.constant_(self.head.bias, RARE)

    def logits(self, z: Tensor, name: Tensor, offset: Tensor) -> Tensor:
        """l_c(z_t); arguments and shape as `moments`."""
        z = z if self.reads is None else z[..., self.reads]
        x = F.silu(self.hidden(F.silu(self.from_latent(z))))
        every = self.head(x) + self.straight(z)
        rows = name.unsqueeze(-2).expand(*every.shape[:-1], name.shape[-1])
        chosen = every.gather(-1, rows).unsqueeze(-1)
        return chosen.expand(*chosen.shape[:-1], offset.shape[-1])

    def moments(
        self, z: Tensor, nuisance: Tensor, name: Tensor, offset: Tensor, lag: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Probability of a 1 and standard deviation of every sample.

        Args:
            z: (..., batch, step, latent).
            nuisance: not looked at.
            name: (batch, channel) rows of the trained names, 0 for others.
            offset: (batch, step, patch).
            lag: not looked at; a model of such a sensor has none.

        Returns:
            Two tensors (..., batch, step, channel, patch).
        """
        probability = torch.sigmoid(self.logits(z, name, offset))
        return probability, (probability * (1.0 - probability)).sqrt()

    def forward(
        self, z: Tensor, nuisance: Tensor, name: Tensor, offset: Tensor, lag: Tensor | None = None
    ) -> TorchDistribution:
        """p(x^m | z) over (..., batch, step, channel, patch); arguments as `moments`."""
        return Bernoulli(logits=self.logits(z, name, offset), validate_args=False)

    def around(self, loc: Tensor, scale: Tensor) -> TorchDistribution:
        """Bernoulli of probability `loc`, which leaves no choice of scale."""
        return Bernoulli(probs=loc, validate_args=False)

    def spread(self, loc: Tensor, variance: Tensor) -> TorchDistribution:
        """Bernoulli of probability `loc`: a mixture of Bernoulli is one of their mean."""
        return Bernoulli(probs=loc, validate_args=False)

    def variance(self, scale: Tensor) -> Tensor:
        """Var[x | z] for a standard deviation."""
        return scale**2
