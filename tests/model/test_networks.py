"""Network blocks against torch's own, and the laws every window relies on."""

from __future__ import annotations

import pytest
import torch

from latentphys.model.networks import ByteDropout, ResidualBlock, StepConv, StepPyramid


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(3, 1, 1), (3, 1, 2), (5, 1, 1), (4, 2, 1)]
)
def test_a_convolution_over_steps_is_torchs(kernel: int, stride: int, dilation: int) -> None:
    own = StepConv(5, 7, kernel, stride, dilation)
    theirs = torch.nn.Conv1d(5, 7, kernel, stride=stride, dilation=dilation, padding=own.padding)
    with torch.no_grad():
        theirs.weight.copy_(own.linear.weight.view(7, kernel, 5).transpose(1, 2))
        theirs.bias.copy_(own.linear.bias)
    x = torch.randn(3, 24, 5)
    expected = theirs(x.transpose(1, 2)).transpose(1, 2)
    assert own(x).shape == (3, 24 // stride, 7)
    torch.testing.assert_close(own(x), expected)


def test_dropout_has_the_rate_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    drop, x = ByteDropout(0.2), torch.ones(1000, 1003)
    y = drop(x)
    for part in (y, *y.view(-1)[: 8 * 125000].view(-1, 8).T):  # each byte of a word alike
        zero = float((part == 0).double().mean())
        assert abs(zero - 51 / 256) < 5 * (0.16 / part.numel()) ** 0.5
    assert y.unique().tolist() == pytest.approx([0.0, 256 / 205])
    assert abs(float(y.mean()) - 1.0) < 0.005
    assert torch.equal(drop.eval()(x), x)
    assert torch.equal(ByteDropout(0.0)(x), x)


def test_dropout_passes_the_gradient_of_what_it_kept() -> None:
    drop, x = ByteDropout(0.5), torch.randn(40, 41, requires_grad=True)
    torch.manual_seed(1)
    y = drop(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient == 0, y == 0)
    torch.testing.assert_close(gradient, torch.where(y == 0, 0.0, y / x))


def test_a_window_does_not_depend_on_those_beside_it() -> None:
    torch.manual_seed(0)
    pyramid = StepPyramid(4, (6, 8, 10)).double().eval()
    x = torch.randn(5, 21, 4, dtype=torch.float64)
    together = pyramid(x)
    assert together.shape == (5, 21, 6)
    for k in range(5):
        torch.testing.assert_close(pyramid(x[k : k + 1])[0], together[k])


def test_a_block_sees_as_far_as_its_kernel() -> None:
    torch.manual_seed(0)
    block = ResidualBlock(4, dilation=2).double()
    x = torch.randn(1, 11, 4, dtype=torch.float64)
    y = x.clone()
    y[:, 5] = torch.randn(4)
    moved = (block(x) != block(y)).any(-1)[0].nonzero().flatten().tolist()
    assert moved == [3, 5, 7]
