"""p(z_t | z_{t-1}, u_t) as damped stochastic rotations: heart and breath turn, and lose phase."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional as F

from latentphys.model.distributions import SCALE_FLOOR
from latentphys.model.transitions import _inverse_softplus
from latentphys.recordings.errors import FitError

SLOWEST, FASTEST = 0.004, 0.25  # turns a step at the start: 0.05 to 3.1 Hz on a clock of 12.5 Hz


class OscillatorTransition(nn.Module):
    """p(z_t | z_{t-1}, u_t) = N(a_k R(w_k(u_t)) z_{t-1} + B u_t, s_k^2 I) for each pair k of z.

    R turns the pair (z_{2k}, z_{2k+1}) by w_k(u) = pi * sigmoid(f_k + (W u)_k), always below half a
    turn a step, so that a frequency is read in one way; 0 < a_k < 1 damps it. With linear
    Gaussian emissions the evidence is exact (`latentphys.model.kalman`), inputs or none.

    Args:
        latent_dim: size of z, even.
        input_dim: size of u, 0 without inputs.

    Raises:
        FitError: an odd latent_dim.

    References:
        Matsuda and Komaki (2017), Time series decomposition into oscillation components and
        phase estimation. Neural Computation 29, equation 2.

    Example:
        >>> transition = OscillatorTransition(4)
        >>> [round(hz, 2) for hz in transition.oscillation_hz(12.5).tolist()]
        [0.05, 3.12]
    """

    def __init__(self, latent_dim: int, input_dim: int = 0) -> None:
        super().__init__()
        if latent_dim % 2:
            raise FitError(
                f"an oscillator takes two latent dimensions, got latent_dim={latent_dim} for this "
                "transition. Pass an even number, or choose another transition."
            )
        self.input_dim, pairs = input_dim, latent_dim // 2
        turns = torch.logspace(math.log10(SLOWEST), math.log10(FASTEST), pairs)
        self.frequency = nn.Parameter(torch.logit(2.0 * turns))
        self.damping = nn.Parameter(torch.full((pairs,), float(torch.logit(torch.tensor(0.9)))))
        self.spread = nn.Parameter(torch.full((pairs,), _inverse_softplus(1.0)))
        self.speed = nn.Linear(input_dim, pairs, bias=False) if input_dim else None
        self.drive = nn.Linear(input_dim, latent_dim, bias=False) if input_dim else None
        if self.speed is not None:
            nn.init.zeros_(self.speed.weight)

    @property
    def decay(self) -> Tensor:
        """a, (pair,)."""
        return torch.sigmoid(self.damping)

    @property
    def scale(self) -> Tensor:
        """s, (latent,): the same for both numbers of a pair."""
        return (SCALE_FLOOR + F.softplus(self.spread)).repeat_interleave(2)

    def angle(self, inputs: Tensor | None = None) -> Tensor:
        """w(u) in radians a step, (..., pair); inputs (..., input)."""
        frequency = self.frequency
        if self.speed is not None and inputs is not None:
            frequency = frequency + self.speed(inputs)
        return math.pi * torch.sigmoid(frequency)

    def oscillation_hz(self, state_rate_hz: float, inputs: Tensor | None = None) -> Tensor:
        """The frequency of each pair in turns a second, (..., pair).

        Args:
            state_rate_hz: steps a second.
            inputs: u, (..., input), that move it; None is u = 0.
        """
        return self.angle(inputs) * state_rate_hz / (2.0 * math.pi)

    def matrix(self, inputs: Tensor | None = None) -> Tensor:
        """The transition as one block-diagonal matrix for one u, (latent, latent)."""
        angle = self.angle(inputs)
        cos, sin = self.decay * angle.cos(), self.decay * angle.sin()
        blocks = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
        return torch.block_diag(*blocks)

    def forward(self, z: Tensor, inputs: Tensor | None) -> Normal:
        """z (..., latent), inputs (..., input) or None -> Normal over (..., latent)."""
        angle = self.angle(inputs)
        cos, sin = self.decay * angle.cos(), self.decay * angle.sin()
        first, second = z.unflatten(-1, (-1, 2)).unbind(-1)
        turned = torch.stack([cos * first - sin * second, sin * first + cos * second], dim=-1)
        loc = turned.flatten(-2)
        if self.drive is not None and inputs is not None:
            loc = loc + self.drive(inputs)
        return Normal(loc, self.scale.expand(loc.shape), validate_args=False)
