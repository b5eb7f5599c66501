"""p(z_t | z_{t-1}, u_t): one class a file entry, each returns the Normal over z_t."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional as F

from latentphys.model.distributions import SCALE_FLOOR

REACH = 8.0  # a state's spread is near 1, and posteriors of trained models stay within 8


def _inverse_softplus(value: float) -> float:
    return float(torch.log(torch.expm1(torch.tensor(value))))


class GatedTransition(nn.Module):
    """p(z_t | z_{t-1}, u_t) = N((1 - g) * A z + g * h(z, u), sigma(z, u)^2).

    A linear path with a gate to a nonlinear one; the scale starts near 1 so that early guides
    are free to move. z is taken no further than `REACH` to either side. Training shows the
    transition no state beyond, and what it happens to say there is often more than it was given:
    a path without evidence, which gets there in a minute or two, would not come back.

    Args:
        latent_dim: size of z.
        input_dim: size of u, 0 without inputs.
        width: hidden units.

    References:
        Krishnan, Shalit and Sontag (2017), Structured inference networks for nonlinear state
        space models, section 5.
    """

    def __init__(self, latent_dim: int, input_dim: int = 0, width: int = 64) -> None:
        super().__init__()
        self.input_dim = input_dim
        self.linear = nn.Linear(latent_dim, latent_dim)
        with torch.no_grad():
            self.linear.weight.copy_(0.9 * torch.eye(latent_dim))
            self.linear.bias.zero_()
        self.hidden = nn.Linear(latent_dim + input_dim, 2 * width)
        self.gate = nn.Linear(width, latent_dim)
        self.proposal = nn.Linear(width, latent_dim)
        self.spread = nn.Linear(width, latent_dim)
        nn.init.constant_(self.gate.bias, -1.0)
        nn.init.constant_(self.spread.bias, _inverse_softplus(1.0))

    def forward(self, z: Tensor, inputs: Tensor | None) -> Normal:
        """z (..., latent), inputs (..., input) or None -> Normal over (..., latent)."""
        z = z.clamp(-REACH, REACH)
        joined = z
        if self.input_dim:
            drive = z.new_zeros(self.input_dim) if inputs is None else inputs
            joined = torch.cat([z, drive.expand(*z.shape[:-1], self.input_dim)], dim=-1)
        for_gate, for_proposal = F.gelu(self.hidden(joined)).chunk(2, dim=-1)
        gate = torch.sigmoid(self.gate(for_gate))
        loc = (1.0 - gate) * self.linear(z) + gate * self.proposal(for_proposal)
        scale = SCALE_FLOOR + F.softplus(self.spread(for_proposal))
        return Normal(loc, scale, validate_args=False)


class LinearTransition(nn.Module):
    """p(z_t | z_{t-1}, u_t) = N(A z_{t-1} + B u_t + b, diag(sigma^2)).

    With linear Gaussian emissions the model's evidence and smoother are exact
    (`latentphys.model.kalman`).

    Args:
        latent_dim: size of z.
        input_dim: size of u, 0 without inputs.
    """

    def __init__(self, latent_dim: int, input_dim: int = 0) -> None:
        super().__init__()
        self.input_dim = input_dim
        self.linear = nn.Linear(latent_dim, latent_dim)
        with torch.no_grad():
            self.linear.weight.copy_(0.9 * torch.eye(latent_dim))
            self.linear.bias.zero_()
        self.drive = nn.Linear(input_dim, latent_dim, bias=False) if input_dim else None
        self.spread = nn.Parameter(torch.full((latent_dim,), _inverse_softplus(1.0)))

    @property
    def scale(self) -> Tensor:
        """sigma, (latent,)."""
        return SCALE_FLOOR + F.softplus(self.spread)

    def forward(self, z: Tensor, inputs: Tensor | None) -> Normal:
        """z (..., latent), inputs (..., input) or None -> Normal over (..., latent)."""
        loc = self.linear(z)
        if self.drive is not None and inputs is not None:
            loc = loc + self.drive(inputs)
        return Normal(loc, self.scale.expand(loc.shape), validate_args=False)
