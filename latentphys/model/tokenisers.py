"""From samples at any rate to a fixed patch a state step, and back.

Inside one state step a signal is a combination of a few cosines,

    x(o) = sum_k c_k cos(pi k o),    o in [0, 1) the position inside the step,

so one model meets the same modality at 125, 250 or 360 Hz, with holes, as the same coefficients.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

ROUGHNESS = 1e-3  # ridge on c_k, growing as k^2: what a hole leaves open becomes smooth


class LocalBasis(nn.Module):
    """Cosines on one state step, and the regular grid of as many points that they span.

    Args:
        size: number of cosines and of grid points, the samples a step at the model's own rate.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        grid = torch.arange(size, dtype=torch.float64) / size
        at_grid = self._cosines(grid)
        self.grid: Tensor
        self.to_grid: Tensor
        self.from_grid: Tensor
        self.register_buffer("grid", grid.float(), persistent=False)
        self.register_buffer("to_grid", at_grid.float(), persistent=False)
        self.register_buffer("from_grid", torch.linalg.inv(at_grid).float(), persistent=False)

    def _cosines(self, offset: Tensor) -> Tensor:
        order = torch.arange(self.size, dtype=offset.dtype, device=offset.device)
        return torch.cos(math.pi * order * offset.unsqueeze(-1))

    def is_grid(self, offset: Tensor) -> bool:
        """Whether every step's samples (..., patch) lie on the grid already."""
        return offset.shape[-1] == self.size and bool(
            torch.isclose(offset, self.grid.to(offset), atol=1e-5).all()
        )

    def to_patch(self, values: Tensor, mask: Tensor, offset: Tensor) -> Tensor:
        """Masked least squares of the observed samples, read off on the grid.

        c = argmin sum_i mask_i (x_i - sum_k c_k cos(pi k o_i))^2 + ROUGHNESS sum_k (1 + k^2) c_k^2

        Args:
            values: (row, step, patch); what stands where mask is False does not matter.
            mask: the same shape, True = observed.
            offset: the same shape, position in the step.

        Returns:
            (row, step, size); zero on a step without a sample.
        """
        values = torch.where(mask, values, 0.0)
        whole = self._whole(mask, offset)
        if values.shape[-1] >= self.size and bool(whole.all()):
            return values[..., : self.size]
        patch = values.new_zeros(*values.shape[:-1], self.size)
        if values.shape[-1] >= self.size:
            patch = torch.where(whole.unsqueeze(-1), values[..., : self.size], patch)
        rest = mask.any(-1) & ~whole
        patch[rest] = self._project(values[rest], mask[rest], offset[rest])
        return patch

    def _whole(self, mask: Tensor, offset: Tensor) -> Tensor:
        """Which steps (row, step) hold just the grid's samples; decided for each step alone, so
        that a window's patch does not depend on the rates of those beside it."""
        if mask.shape[-1] < self.size:
            return torch.zeros_like(mask[..., 0])
        first, spare = mask[..., : self.size], mask[..., self.size :]
        near = torch.isclose(offset[..., : self.size], self.grid.to(offset), atol=1e-5)
        return (first & near).all(-1) & ~spare.any(-1)

    def _project(self, values: Tensor, mask: Tensor, offset: Tensor) -> Tensor:
        basis = self._cosines(offset) * mask.unsqueeze(-1)
        order = torch.arange(self.size, dtype=values.dtype, device=values.device)
        ridge = torch.diag(ROUGHNESS * (1.0 + order**2))
        gram = basis.mT @ basis + ridge
        moment = basis.mT @ values.unsqueeze(-1)
        coefficients = torch.cholesky_solve(moment, torch.linalg.cholesky(gram))
        return (coefficients.squeeze(-1) @ self.to_grid.to(values).T) * mask.any(-1, keepdim=True)

    def read_off(self, patch: Tensor, offset: Tensor) -> Tensor:
        """The curve through grid values (..., size) at the samples' offsets (..., patch)."""
        if self.is_grid(offset):
            return patch
        coefficients = patch @ self.from_grid.to(patch).T
        return torch.einsum("...k,...pk->...p", coefficients, self._cosines(offset))

    def read_behind(self, patch: Tensor, offset: Tensor, lag: Tensor) -> Tensor:
        """The curve of a whole window some steps before the samples, between its grid points.

        A sample looks across the border of its step, so it is read off the grid as one series.

        Args:
            patch: grid values, (..., batch, step, channel, size).
            offset: of the samples, (batch, step, patch).
            lag: how many steps before, (..., batch); negative for after.

        Returns:
            (..., batch, step, channel, patch).
        """
        steps, slots = offset.shape[-2:]
        place = torch.arange(steps, dtype=lag.dtype, device=lag.device).unsqueeze(-1) + offset
        at = (place - lag[..., None, None]).flatten(-2) * self.size
        series = patch.transpose(-3, -2).flatten(-2)
        return read_between(series, at).unflatten(-1, (steps, slots)).transpose(-3, -2)


def read_between(series: Tensor, at: Tensor) -> Tensor:
    """A series between its samples, by cubic convolution; beyond its ends, its last sample there.

    Exact at the samples and for parabolas, and smooth in `at`.

    Args:
        series: (..., channel, sample).
        at: sample numbers that need not be whole, (..., place).

    Returns:
        (..., channel, place).

    References:
        Keys (1981), Cubic convolution interpolation for digital image processing. IEEE
        Transactions on Acoustics, Speech, and Signal Processing 29.
    """
    low = at.detach().floor()
    f, first = at - low, low.long()
    weights = (
        f * (-0.5 + f * (1.0 - 0.5 * f)),
        1.0 + f * f * (-2.5 + 1.5 * f),
        f * (0.5 + f * (2.0 - 1.5 * f)),
        f * f * (-0.5 + 0.5 * f),
    )
    shape = (*series.shape[:-1], at.shape[-1])
    total = series.new_zeros(())
    for k, weight in enumerate(weights):
        which = (first + (k - 1)).clamp(0, series.shape[-1] - 1).unsqueeze(-2).expand(shape)
        total = total + weight.unsqueeze(-2) * series.gather(-1, which)
    return total
