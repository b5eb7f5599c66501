"""A modality's lag behind the state: by how much later than z its samples tell of it.

    tau^m ~ N(mu_m, s_m^2) seconds      x^m(t) ~ p_m(x | z(t - tau^m), eps^m)
    q(tau^m | x) = N(loc, scale^2),  from how the modality's evidence goes with all the others'

A constant that all people share may be the emission's or mu_m, so only tau^m - mu_m means
anything. mu_m and s_m are learned; s_m is how far people differ. Where the modality or every other
is absent nothing tells of its lag, and q is the prior, exactly.

References:
    Knapp and Carter (1976), The generalized correlation method for estimation of time delay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional as F

from latentphys.model.evidence import Lag, SensorEvidence

LONGEST_S = 0.5  # no lag is longer
SPREAD_S = 0.05  # where s_m starts: pulse transit times differ by about this much between people
LEAST_S = 1e-3
FEATURES = 16
HIDDEN = 64
TINY = 1e-6


class LagGuide(nn.Module):
    """p(tau^m) and q(tau^m | x) of one modality.

    Learned features of its evidence, a_t, and of the others', b_t, are correlated at every shift
    of whole steps; what lies between the steps is told by several features at once:

        c_kd = sum_t a_{t+k,d} b_{t,d} / sqrt(sum_t a_td^2 sum_t b_td^2)      loc, scale = net(c)

    Args:
        evidence_dim: size of Lambda and H.
        state_rate_hz: steps a second.
    """

    def __init__(self, evidence_dim: int, state_rate_hz: float) -> None:
        super().__init__()
        self.reach = math.ceil(LONGEST_S * state_rate_hz)
        self.own, self.rest = (
            nn.Sequential(nn.Linear(2 * evidence_dim, 32), nn.SiLU(), nn.Linear(32, FEATURES))
            for _ in range(2)
        )
        self.hidden = nn.Linear((2 * self.reach + 1) * FEATURES, HIDDEN)
        self.head = nn.Linear(HIDDEN, 2)
        self.usual = nn.Parameter(torch.zeros(()))
        self.spread = nn.Parameter(torch.zeros(()))
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            self.head.bias.copy_(torch.tensor([0.0, -0.5]))

    def prior(self) -> Normal:
        """p(tau), seconds."""
        scale = LEAST_S + SPREAD_S * torch.exp(self.spread)
        # In so large a unit mu follows people's lags within a few hundred steps of training.
        return Normal(LONGEST_S * self.usual, scale, validate_args=False)

    def forward(self, own: tuple[Tensor, Tensor], rest: tuple[Tensor, Tensor]) -> Lag:
        """q(tau | x) from lambda and eta (batch, step, evidence) of the modality and the others."""
        a, b = _standard(self.own, *own), _standard(self.rest, *rest)
        shifted = F.pad(a, (0, 0, self.reach, self.reach)).unfold(1, a.shape[1], 1)
        curve = torch.einsum("bkdt,btd->bkd", shifted, b)
        raw = self.head(F.silu(self.hidden(curve.flatten(1))))
        loc = LONGEST_S * torch.tanh(2.0 * SPREAD_S / LONGEST_S * raw[:, 0])
        scale = LEAST_S + SPREAD_S * F.softplus(raw[:, 1])
        told = (own[0] > 0).flatten(1).any(-1) & (rest[0] > 0).flatten(1).any(-1)
        prior = self.prior()
        return Lag(
            Normal(
                torch.where(told, loc, prior.loc),
                torch.where(told, scale, prior.scale),
                validate_args=False,
            ),
            told,
        )

    def all_but(self, modality: str, sensors: Mapping[str, SensorEvidence]) -> Lag:
        """q(tau | x) of a modality that is among the sensors."""
        own = sensors[modality]
        zero = torch.zeros_like(own.precision)
        others = [sensor for name, sensor in sensors.items() if name != modality]
        rest = (
            sum((sensor.precision for sensor in others), zero),
            sum((sensor.weighted for sensor in others), zero),
        )
        return self((own.precision, own.weighted), rest)


def _standard(features: nn.Module, precision: Tensor, weighted: Tensor) -> Tensor:
    """Features of each step, of mean 0 and sum of squares 1 over those at which anything spoke."""
    seen = (precision > 0).any(-1, keepdim=True).to(precision)
    x = features(torch.cat([weighted / (1.0 + precision), torch.log1p(precision)], dim=-1)) * seen
    x = (x - x.sum(1, keepdim=True) / seen.sum(1, keepdim=True).clamp_min(1.0)) * seen
    return x / (x.square().sum(1, keepdim=True) + TINY).sqrt()
