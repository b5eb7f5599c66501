"""p(x_t^m | z_t, eps^m): each emission returns the distribution over the samples of a patch."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pyro.distributions import Normal, StudentT, TorchDistribution
from scipy.special import ndtr, stdtrit
from torch import Tensor, nn
from torch.nn import functional as F

from latentphys.model.distributions import SCALE_FLOOR
from latentphys.model.noise import ColouredNoise
from latentphys.model.tokenisers import LocalBasis

Likelihood = Literal["normal", "student_t", "bernoulli"]


class PatchEmission(nn.Module):
    """p(x_t^m | z_t, eps^m), heteroscedastic, read off at any sample offsets.

    The network gives the curve of one state step on the modality's own grid, and its log scale
    by a low-order curve; both are read off where the samples lie.

    Args:
        basis: the modality's tokeniser.
        latent_dim: size of z.
        nuisance_dim: size of eps of one channel.
        names: channel names that were trained on; others share one embedding.
        likelihood: "normal", or "student_t" with learned degrees of freedom.
        noise_floor: least sensor noise, in standard deviations of the signal. Without it a
            smooth sensor's likelihood outweighs every other term of the objective.
        width: hidden units.
        reads: which of z it is emitted from; None is all.
        coloured: whether noise lasts from sample to sample, for a time that is learned. The
            density of samples is a product over them all the same: of correlations only L_block
            and drawn samples know.
    """

    joint = False  # its channels are emitted one by one

    def __init__(
        self,
        basis: LocalBasis,
        latent_dim: int,
        nuisance_dim: int,
        names: tuple[str, ...],
        likelihood: Likelihood = "normal",
        noise_floor: float = 0.1,
        width: int = 96,
        reads: tuple[int, ...] | None = None,
        coloured: bool = False,
    ) -> None:
        super().__init__()
        self.basis = basis
        self.reads = None if reads is None else list(reads)
        read_dim = latent_dim if reads is None else len(reads)
        self.noise_floor = noise_floor
        self.scale_basis = LocalBasis(min(3, basis.size))
        self.likelihood = likelihood
        self.name_embedding = nn.Embedding(len(names) + 1, nuisance_dim)
        nn.init.zeros_(self.name_embedding.weight)
        self.from_latent = nn.Linear(read_dim, width)
        self.modulation = nn.Linear(2 * nuisance_dim, 2 * width)
        nn.init.zeros_(self.modulation.bias)
        self.hidden = nn.Linear(width, width)
        self.parts = [basis.size, self.scale_basis.size]
        self.head = nn.Linear(width, sum(self.parts))
        self.straight = nn.Linear(read_dim, basis.size)
        nn.init.zeros_(self.head.bias)
        self.tail = nn.Parameter(torch.tensor(2.0)) if likelihood == "student_t" else None
        self.noise = ColouredNoise() if coloured else None

    def moments(
        self, z: Tensor, nuisance: Tensor, name: Tensor, offset: Tensor, lag: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Location and scale of every sample.

        Args:
            z: (..., batch, step, latent).
            nuisance: eps, (..., batch, channel, nuisance).
            name: (batch, channel) rows of the name embedding.
            offset: (batch, step, patch).
            lag: by how many steps the samples are late, (..., batch); None for not at all.

        Returns:
            Two tensors (..., batch, step, channel, patch).
        """
        z = z if self.reads is None else z[..., self.reads]
        embedded = self.name_embedding(name).expand(nuisance.shape)
        gain, shift = self.modulation(torch.cat([nuisance, embedded], dim=-1)).chunk(2, dim=-1)
        x = F.silu(self.hidden(F.silu(self._modulated(z, 1.0 + gain, shift))))
        curve, log_scale = self.head(x).transpose(-3, -2).split(self.parts, dim=-1)
        curve = curve + self.straight(z).unsqueeze(-2)
        if lag is not None:
            over_grid = log_scale @ self.scale_basis._cosines(self.basis.grid.to(log_scale)).T
            both = torch.cat([curve, over_grid], dim=-2)
            loc, log_scale = self.basis.read_behind(both, offset, lag).chunk(2, dim=-2)
            return loc, self.noise_floor + F.softplus(log_scale)
        at = offset.unsqueeze(-2)
        if not self.basis.is_grid(offset):
            at = at.expand(*curve.shape[:-1], offset.shape[-1])
        loc = self.basis.read_off(curve, at)
        basis = self.scale_basis._cosines(offset).unsqueeze(-3)
        scale = self.noise_floor + F.softplus((basis * log_scale.unsqueeze(-2)).sum(-1))
        return loc, scale

    def _modulated(self, z: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        """from_latent(z) * gain + shift, (..., batch, channel, step, width).

        A matrix for each channel: gain and shift enter it and not every step, which would take
        longer than the product.
        """
        leading = torch.broadcast_shapes(z.shape[:-2] + (1,), gain.shape[:-1])
        z = z.unsqueeze(-3).expand(*leading, *z.shape[-2:]).flatten(0, -3)
        weight = self.from_latent.weight.T * gain.unsqueeze(-2)
        bias = (self.from_latent.bias * gain + shift).unsqueeze(-2)
        weight, bias = (
            part.expand(*leading, *part.shape[-2:]).flatten(0, -3) for part in (weight, bias)
        )
        return torch.baddbmm(bias, z, weight).unflatten(0, leading)

    def forward(
        self, z: Tensor, nuisance: Tensor, name: Tensor, offset: Tensor, lag: Tensor | None = None
    ) -> TorchDistribution:
        """p(x^m | z, eps^m) over (..., batch, step, channel, patch); arguments as `moments`."""
        return self.around(*self.moments(z, nuisance, name, offset, lag))

    def around(self, loc: Tensor, scale: Tensor) -> TorchDistribution:
        """This emission's noise family around a location, independent over samples."""
        if self.tail is None:
            return Normal(loc, scale, validate_args=False)
        return StudentT(self.degrees_of_freedom(), loc, scale, validate_args=False)

    def spread(self, loc: Tensor, variance: Tensor) -> TorchDistribution:
        """This emission's noise family around a location, with a given variance."""
        if self.tail is None:
            return Normal(loc, variance.sqrt(), validate_args=False)
        nu = self.degrees_of_freedom()
        return StudentT(nu, loc, (variance * (nu - 2.0) / nu).sqrt(), validate_args=False)

    def driven(self, loc: Tensor, scale: Tensor, normal: Tensor) -> Tensor:
        """The samples that standard normal noise drives, whose order it keeps.

        With F the distribution of `around(0, 1)`: loc + scale * F^{-1}(Phi(normal)).
        """
        if self.tail is not None:
            nu = float(self.degrees_of_freedom().detach())
            normal = torch.from_numpy(_student_of_normal(nu, normal.numpy())).to(loc)
        return loc + scale * normal

    def degrees_of_freedom(self) -> Tensor:
        """nu > 2 of the Student-t likelihood, so that its variance exists."""
        assert self.tail is not None
        return 2.1 + F.softplus(self.tail)

    def variance(self, scale: Tensor) -> Tensor:
        """Var[x | z, eps] for a scale: sigma^2, or sigma^2 nu / (nu - 2)."""
        if self.tail is None:
            return scale**2
        nu = self.degrees_of_freedom()
        return scale**2 * nu / (nu - 2.0)


def _student_of_normal(nu: float, normal: NDArray[np.float32]) -> NDArray[np.float64]:
    """Student's t at the level that normal noise is at, from a table out to six deviations."""
    at = np.linspace(-6.0, 6.0, 4097)
    return np.interp(normal, at, stdtrit(nu, ndtr(at)))


class LinearEmission(nn.Module):
    """p(x_t | z_t) = N(C z_t + d, diag(sigma^2)): one channel, one sample for each row of C.

    With `LinearTransition` the evidence is exact (`latentphys.model.kalman`). It has no
    nuisance; `nuisance` and `name` are taken so that every emission is called alike.

    Args:
        latent_dim: size of z.
        size: samples a step.
    """

    def __init__(self, latent_dim: int, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(latent_dim, size)
        self.spread = nn.Parameter(torch.zeros(size))

    @property
    def scale(self) -> Tensor:
        """sigma, (size,)."""
        return SCALE_FLOOR + F.softplus(self.spread)

    def forward(
        self, z: Tensor, nuisance: Tensor, name: Tensor, offset: Tensor
    ) -> TorchDistribution:
        """p(x | z) over (..., batch, step, 1, size)."""
        loc = self.linear(z).unsqueeze(-2)
        return Normal(loc, self.scale.expand(loc.shape), validate_args=False)
