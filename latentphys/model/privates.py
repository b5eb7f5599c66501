"""Private latents: parts of z that one modality alone speaks of and is emitted from.

    z_t = (shared_t, private_t^1, ..., private_t^M)      p(x_t^m | shared_t, private_t^m)
    p(private_1) = N(0, 1)      p(private_t | private_{t-1}) = N(a * private_{t-1}, 1 - a^2)

Each private number is stationary and moves on its own, so that its prior is itself a Gauss-Markov
path: the guide of an absent modality's private part is its prior, at no divergence.

References:
    Wang et al. (2016), Deep variational canonical correlation analysis (VCCA-private).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from latentphys.model.distributions import GaussMarkov


class PrivatePrior(nn.Module):
    """a of every private number, (size,) in (-1, 1).

    Args:
        size: of all modalities' private parts together.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.carry = nn.Parameter(torch.full((size,), 1.5))

    @property
    def correlation(self) -> Tensor:
        """a, (size,)."""
        return 0.999 * torch.tanh(self.carry)

    @property
    def scale(self) -> Tensor:
        """sqrt(1 - a^2), (size,)."""
        return (1.0 - self.correlation**2).sqrt()


class PrivateTransition(nn.Module):
    """p(shared_t | shared_{t-1}, u_t) p(private_t | private_{t-1}).

    Args:
        shared: the transition of the shared part.
        privates: the privates' prior.
    """

    def __init__(self, shared: nn.Module, privates: PrivatePrior) -> None:
        super().__init__()
        self.shared, self.privates = shared, privates

    def forward(self, z: Tensor, inputs: Tensor | None) -> Normal:
        """z (..., latent), inputs (..., input) or None -> Normal over (..., latent)."""
        size = len(self.privates.carry)
        shared = self.shared(z[..., :-size], inputs)
        private = self.privates.correlation * z[..., -size:]
        scale = self.privates.scale.expand(private.shape)
        return Normal(
            torch.cat([shared.loc, private], dim=-1),
            torch.cat([shared.scale.expand(shared.loc.shape), scale], dim=-1),
            validate_args=False,
        )


class PrivateGuide(nn.Module):
    """A guide that leaves the private part of a modality without evidence to its prior.

    The last columns of the evidence are the private ones, as many as private numbers; only the
    encoder of its own modality writes to a column.

    Args:
        guide: of the whole of z.
        privates: the privates' prior, which the transition owns.
        private_dim: numbers of one modality.
    """

    def __init__(self, guide: nn.Module, privates: PrivatePrior, private_dim: int) -> None:
        super().__init__()
        self.guide = guide
        self.private_dim = private_dim
        self._privates = (privates,)  # in a tuple: its weights are the transition's, saved once

    def forward(self, precision: Tensor, weighted: Tensor) -> GaussMarkov:
        """Lambda and H (batch, step, evidence) -> q over (batch,) paths (step, latent)."""
        q, privates = self.guide(precision, weighted), self._privates[0]
        size = len(privates.carry)
        spoken = (precision[..., -size:] > 0).unflatten(-1, (-1, self.private_dim))
        spoken = spoken.any(-1).any(1, keepdim=True).repeat_interleave(self.private_dim, -1)
        first = torch.arange(precision.shape[1], device=precision.device).unsqueeze(-1) == 0
        prior_scale = torch.where(first, 1.0, privates.scale)

        def part(own: Tensor, prior: Tensor) -> Tensor:
            shared, private = own[..., :-size], own[..., -size:]
            return torch.cat([shared, torch.where(spoken, private, prior)], dim=-1)

        return GaussMarkov(
            part(q.mean_path, torch.zeros_like(privates.carry)),
            part(q.correlation, privates.correlation),
            part(q.scale, prior_scale),
            validate_args=False,
        )
