"""Network blocks that treat every window alone: no statistic crosses the batch or time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ByteDropout(nn.Module):
    """Dropout whose mask takes a byte of randomness a value; on a CPU `nn.Dropout` takes a
    float's, a quarter of a training step.

    Args:
        rate: probability of zero, held to a multiple of 1/256.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.dropped = round(256 * rate)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; what is kept is scaled up so that the mean stays."""
        if not self.training or not self.dropped:
            return x
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device)
        noise = words.random_(-(2**63), None).view(torch.uint8)[: x.numel()].view(x.shape)
        return x * ((noise >= self.dropped).to(x.dtype) * (256.0 / (256.0 - self.dropped)))


class StepConv(nn.Module):
    """A convolution over the steps of (batch, step, feature), as one matrix product.

    Args:
        width_in, width_out: features.
        kernel: steps it sees.
        stride: steps it moves.
        dilation: steps between those it sees.
    """

    def __init__(
        self, width_in: int, width_out: int, kernel: int, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.stride = stride
        self.places = [dilation * k for k in range(kernel)]
        self.padding = (dilation * (kernel - 1) + 2 - stride) // 2
        self.linear = nn.Linear(kernel * width_in, width_out)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, step, width_in) -> (batch, step / stride, width_out)."""
        steps = x.shape[1]
        x = F.pad(x, (0, 0, self.padding, self.padding))
        seen = [x[:, at : at + steps : self.stride] for at in self.places]
        return self.linear(torch.cat(seen, dim=-1))


class ResidualBlock(nn.Module):
    """x + linear(silu(conv(norm(x)))), over (batch, step, feature)."""

    def __init__(
        self, width: int, kernel: int = 3, dilation: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = StepConv(width, width, kernel, dilation=dilation)
        self.drop = ByteDropout(dropout)
        self.outer = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, step, feature) -> the same shape."""
        return x + self.outer(self.drop(F.silu(self.inner(self.norm(x)))))


class StepPyramid(nn.Module):
    """A U-shaped network over state steps: halves the clock level by level and comes back.

    Beats are resolved at the top, breaths at the bottom, where few steps span a whole window. A
    level hands down its learned average and its peaks: the height of a beat carries the breath.
    Any number of steps runs; surplus steps at the end are zeros, as for an unobserved step.

    Args:
        width_in: features a step.
        widths: features at each level, finest first.
        dropout: inside the residual blocks.

    References:
        Ronneberger, Fischer and Brox (2015), U-Net.
    """

    def __init__(self, width_in: int, widths: tuple[int, ...], dropout: float = 0.0) -> None:
        super().__init__()
        self.factor = 2 ** (len(widths) - 1)
        self.entry = nn.Linear(width_in, widths[0])
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.down_blocks = nn.ModuleList([ResidualBlock(w, dropout=dropout) for w in widths])
        self.halve = nn.ModuleList([StepConv(fine, coarse, 4, stride=2) for fine, coarse in pairs])
        self.peaks = nn.ModuleList([nn.Linear(fine, coarse) for fine, coarse in pairs])
        self.bottom = nn.Sequential(
            ResidualBlock(widths[-1], kernel=5, dropout=dropout),
            ResidualBlock(widths[-1], kernel=5, dropout=dropout),
        )
        self.widen = nn.ModuleList([nn.Linear(coarse, fine) for fine, coarse in pairs])
        self.up_blocks = nn.ModuleList([ResidualBlock(w, dropout=dropout) for w in widths[:-1]])

    def forward(self, x: Tensor) -> Tensor:
        """(batch, step, width_in) -> (batch, step, widths[0])."""
        steps = x.shape[1]
        x = self.entry(F.pad(x, (0, 0, 0, -steps % self.factor)))
        skips = []
        for level, block in enumerate(self.down_blocks):
            x = block(x)
            if level < len(self.halve):
                skips.append(x)
                highest = torch.maximum(x[:, ::2], x[:, 1::2])
                x = self.halve[level](x) + self.peaks[level](highest)
        x = self.bottom(x)
        for level in reversed(range(len(self.up_blocks))):
            coarse = self.widen[level](x)
            x = skips[level] + torch.repeat_interleave(coarse, 2, dim=1)
            x = self.up_blocks[level](x)
        return x[:, :steps]
