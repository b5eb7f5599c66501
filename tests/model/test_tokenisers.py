"""One patch from any rate, with holes, and back."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from latentphys.model.tokenisers import LocalBasis

SIZE, STEPS, CLOCK = 10, 40, 12.5


@pytest.fixture
def basis() -> LocalBasis:
    return LocalBasis(SIZE).double()


def _smooth(time: Tensor) -> Tensor:
    """A band-limited signal of unit size: 1 to 8 Hz."""
    rate = torch.tensor([1.0, 2.3, 5.1, 8.0], dtype=torch.float64)
    size = torch.tensor([1.0, 0.5, 0.4, 0.2], dtype=torch.float64)
    return (size * torch.sin(2 * math.pi * rate * time.unsqueeze(-1) + rate)).sum(-1)


def _sampled(rate_hz: float) -> tuple[Tensor, Tensor, Tensor]:
    """Values, mask and offset (1, step, patch) of the smooth signal at a rate."""
    width = math.ceil(rate_hz / CLOCK)
    values = torch.zeros(1, STEPS, width, dtype=torch.float64)
    mask = torch.zeros(1, STEPS, width, dtype=torch.bool)
    offset = torch.zeros(1, STEPS, width, dtype=torch.float64)
    for step in range(STEPS):
        first = math.ceil(step * rate_hz / CLOCK - 1e-9)
        stop = math.ceil((step + 1) * rate_hz / CLOCK - 1e-9)
        time = torch.arange(first, stop, dtype=torch.float64) / rate_hz
        values[0, step, : len(time)] = _smooth(time)
        mask[0, step, : len(time)] = True
        offset[0, step, : len(time)] = time * CLOCK - step
    return values, mask, offset


def test_on_the_grid_the_patch_is_the_samples(basis: LocalBasis) -> None:
    values, mask, offset = _sampled(125.0)
    assert torch.equal(basis.to_patch(values, mask, offset), values)


@pytest.mark.parametrize("rate_hz", [250.0, 360.0])
def test_another_rate_gives_the_same_patch(basis: LocalBasis, rate_hz: float) -> None:
    reference = _sampled(125.0)[0]
    values, mask, offset = _sampled(rate_hz)
    patch = basis.to_patch(values, mask, offset)
    assert (patch - reference).square().mean().sqrt() < 0.02
    assert (patch - reference).abs().max() < 0.1


def test_a_patch_does_not_depend_on_the_width_of_the_batch(basis: LocalBasis) -> None:
    values, mask, offset = _sampled(125.0)
    mask[0, 3, 4] = False
    mask[0, 5] = False
    alone = basis.to_patch(values, mask, offset)
    spare = torch.zeros(1, STEPS, 19, dtype=torch.float64)
    beside = basis.to_patch(
        torch.cat([values, spare + 7.0], -1),
        torch.cat([mask, spare.bool()], -1),
        torch.cat([offset, spare], -1),
    )
    torch.testing.assert_close(beside, alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rate_hz", [125.0, 360.0])
@pytest.mark.parametrize("fill", [0.0, 1e6, math.nan, math.inf])
def test_what_stands_behind_the_mask_is_irrelevant(
    basis: LocalBasis, rate_hz: float, fill: float
) -> None:
    values, mask, offset = _sampled(rate_hz)
    mask[0, 2, :3] = False
    mask[0, 3] = False
    mask[0, 4, 1:] = False
    filled = torch.where(mask, values, fill)
    patches = [basis.to_patch(x, mask, offset) for x in (values, filled)]
    assert torch.equal(*patches)
    assert torch.isfinite(patches[0]).all()
    assert (patches[0][0, 3] == 0).all()
    assert (patches[0][0, 4] != 0).all()


def test_a_hole_is_bridged_from_the_samples_around_it(basis: LocalBasis) -> None:
    values, mask, offset = _sampled(125.0)
    mask[..., 4] = False
    patch = basis.to_patch(values, mask, offset)
    assert (patch - values)[..., 4].abs().mean() < 0.1 * values.std()


@pytest.mark.parametrize("size", [1, 2, 10, 16])
def test_read_off_inverts_to_patch(size: int) -> None:
    basis = LocalBasis(size).double()
    torch.manual_seed(0)
    patch = torch.randn(2, 3, size, dtype=torch.float64)
    dense = (torch.arange(400, dtype=torch.float64) / 400).expand(2, 3, -1)
    curve = basis.read_off(patch, dense)
    back = basis.to_patch(curve, torch.ones_like(curve, dtype=torch.bool), dense)
    assert (back - patch).abs().max() < 0.02 * patch.abs().max()
    # on the grid the curve passes through the grid's values, in whatever order they are asked
    order = torch.randperm(size)
    grid = (torch.arange(size, dtype=torch.float64) / size)[order].expand(2, 3, -1)
    torch.testing.assert_close(basis.read_off(patch, grid), patch[..., order], atol=1e-5, rtol=0)


def test_an_empty_step_gives_zeros(basis: LocalBasis) -> None:
    values, mask, offset = _sampled(250.0)
    mask[0, 7] = False
    patch = basis.to_patch(values, mask, offset)
    assert (patch[0, 7] == 0).all()
    assert (patch[0, 6] != 0).any()
