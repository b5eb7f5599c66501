"""Network blocks that treat every window alone: no statistic crosses the batch or time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ChannelNorm(nn.Module):
    """Layer norm over the features of one step of a (batch, feature, step) tensor."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, feature, step) -> the same shape."""
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


class ResidualBlock(nn.Module):
    """x + conv(gelu(conv(norm(x)))), over (batch, feature, step)."""

    def __init__(
        self, width: int, kernel: int = 3, dilation: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        padding = dilation * (kernel // 2)
        self.inner = nn.Conv1d(width, width, kernel, padding=padding, dilation=dilation)
        self.drop = nn.Dropout(dropout)
        self.outer = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, feature, step) -> the same shape."""
        return x + self.outer(self.drop(F.gelu(self.inner(self.norm(x)))))


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
        self.entry = nn.Conv1d(width_in, widths[0], 1)
        self.down_blocks = nn.ModuleList([ResidualBlock(w, dropout=dropout) for w in widths])
        self.halve = nn.ModuleList(
            [
                nn.Conv1d(fine, coarse, 4, stride=2, padding=1)
                for fine, coarse in zip(widths[:-1], widths[1:], strict=True)
            ]
        )
        self.peaks = nn.ModuleList(
            [
                nn.Conv1d(fine, coarse, 1)
                for fine, coarse in zip(widths[:-1], widths[1:], strict=True)
            ]
        )
        self.bottom = nn.Sequential(
            ResidualBlock(widths[-1], kernel=5, dropout=dropout),
            ResidualBlock(widths[-1], kernel=5, dropout=dropout),
        )
        self.widen = nn.ModuleList(
            [
                nn.Conv1d(coarse, fine, 1)
                for fine, coarse in zip(widths[:-1], widths[1:], strict=True)
            ]
        )
        self.up_blocks = nn.ModuleList([ResidualBlock(w, dropout=dropout) for w in widths[:-1]])

    def forward(self, x: Tensor) -> Tensor:
        """(batch, width_in, step) -> (batch, widths[0], step)."""
        steps = x.shape[-1]
        x = self.entry(F.pad(x, (0, -steps % self.factor)))
        skips = []
        for level, block in enumerate(self.down_blocks):
            x = block(x)
            if level < len(self.halve):
                skips.append(x)
                x = self.halve[level](x) + self.peaks[level](F.max_pool1d(x, 2))
        x = self.bottom(x)
        for level in reversed(range(len(self.up_blocks))):
            coarse = self.widen[level](x)
            x = skips[level] + torch.repeat_interleave(coarse, 2, dim=-1)
            x = self.up_blocks[level](x)
        return x[..., :steps]
