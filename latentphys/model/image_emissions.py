"""p(frame | z_t, eps^m): the picture at a moment, its pixels independent given the state.

References:
    Shi et al. (2016), Real-time single image and video super-resolution using an efficient
    sub-pixel convolutional neural network. CVPR: convolving at a quarter of the size, and giving
    16 pixels a point, takes a third of the time of transposed convolutions up to the whole.
"""

from __future__ import annotations

import torch
from pyro.distributions import Normal, TorchDistribution
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = (16, 32)
QUARTER = 4  # a point stands for 4 x 4 pixels


class ImageEmission(nn.Module):
    """p(x_i | z_t, eps^m) = N(mu_i, sigma_i^2), pixel by pixel, by sub-pixel convolutions.

    What is read of z_t drifts linearly over the step, so that a frame is of its own moment:

        h = (1 + gain(eps)) * (A z_t + (o - 1/2) D z_t) + shift(eps),    o in [0, 1) the offset

    sigma is a coarse map, read between its points, above the floor that every emission has.

    Args:
        frame: (height, width) in pixels.
        latent_dim: size of z.
        nuisance_dim: size of eps of one slice.
        names: names of the slices that were trained on.
        noise_floor: least sigma, in standard deviations of the images.
        width: hidden units.
        reads: which of z it is emitted from; None is all.
    """

    joint = False
    noise: None = None
    tail = None

    def __init__(
        self,
        frame: tuple[int, int],
        latent_dim: int,
        nuisance_dim: int,
        names: tuple[str, ...],
        noise_floor: float = 0.1,
        width: int = 96,
        reads: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        self.frame, self.noise_floor = frame, noise_floor
        self.reads = None if reads is None else list(reads)
        read_dim = latent_dim if reads is None else len(reads)
        self.coarse = tuple(-(-n // QUARTER) for n in frame)
        points = self.coarse[0] * self.coarse[1]
        self.name_embedding = nn.Embedding(len(names) + 1, nuisance_dim)
        nn.init.zeros_(self.name_embedding.weight)
        self.from_latent = nn.Linear(read_dim, width)
        self.drift = nn.Linear(read_dim, width, bias=False)
        self.modulation = nn.Linear(2 * nuisance_dim, 2 * width)
        nn.init.zeros_(self.modulation.bias)
        self.hidden = nn.Linear(width, width)
        self.to_points = nn.Linear(width, CHANNELS[0] * points)
        self.widen = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(CHANNELS[0], CHANNELS[1], 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(CHANNELS[1], QUARTER**2, 3, padding=1),
            nn.PixelShuffle(QUARTER),
        )
        self.to_scale = nn.Linear(width, points)
        nn.init.zeros_(self.to_scale.bias)
        self.mean_frame = nn.Parameter(torch.zeros(frame))

    def moments(
        self, z: Tensor, nuisance: Tensor, name: Tensor, offset: Tensor, lag: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Location and scale of every pixel.

        Args:
            z: (..., batch, step, latent).
            nuisance: eps, (..., batch, slice, nuisance).
            name: (batch, slice) rows of the name embedding.
            offset: (batch, step, patch), the patch frame * pixel.
            lag: not looked at; a model of such a sensor has none.

        Returns:
            Two tensors (..., batch, step, slice, patch).
        """
        z = z if self.reads is None else z[..., self.reads]
        embedded = self.name_embedding(name).expand(nuisance.shape)
        gain, shift = self.modulation(torch.cat([nuisance, embedded], dim=-1)).chunk(2, dim=-1)
        # Axes: ..., batch, step, slice, frame, width.
        gain, shift = (x.unsqueeze(-3).unsqueeze(-2) for x in (gain, shift))
        since = offset[..., :: self.frame[0] * self.frame[1]].unsqueeze(-1) - 0.5
        read = self.from_latent(z).unsqueeze(-2) + since * self.drift(z).unsqueeze(-2)
        x = read.unsqueeze(-3) * (1.0 + gain) + shift
        x = F.silu(self.hidden(F.silu(x)))
        before, x = x.shape[:-1], x.flatten(0, -2)
        height, width = self.frame
        picture = self.widen(self.to_points(x).unflatten(-1, (CHANNELS[0], *self.coarse)))
        loc = picture[:, 0, :height, :width] + self.mean_frame
        spread = self.to_scale(x).unflatten(-1, (1, *self.coarse))
        spread = F.interpolate(spread, scale_factor=float(QUARTER), mode="bilinear")
        scale = self.noise_floor + F.softplus(spread[:, 0, :height, :width])
        shape = (*before[:-1], -1)
        return loc.reshape(shape), scale.reshape(shape)

    def forward(
        self, z: Tensor, nuisance: Tensor, name: Tensor, offset: Tensor, lag: Tensor | None = None
    ) -> TorchDistribution:
        """p(x^m | z, eps^m) over (..., batch, step, slice, patch); arguments as `moments`."""
        return self.around(*self.moments(z, nuisance, name, offset))

    def around(self, loc: Tensor, scale: Tensor) -> TorchDistribution:
        """Normal around a location, independent over pixels."""
        return Normal(loc, scale, validate_args=False)

    def spread(self, loc: Tensor, variance: Tensor) -> TorchDistribution:
        """Normal around a location, with a given variance."""
        return Normal(loc, variance.sqrt(), validate_args=False)

    def variance(self, scale: Tensor) -> Tensor:
        """Var[x | z, eps] for a standard deviation."""
        return scale**2
