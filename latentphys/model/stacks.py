"""Stacks of layers over state steps, beside the pyramid: diagonal state spaces, and attention.

Both treat every window alone and run at any length. A step without evidence sends nothing to the
others, so that a window padded by such steps gives the same answer as without them; it only
reads.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentphys.model.distributions import linear_scan
from latentphys.model.networks import ByteDropout

HEAD_SIZE = 32
LONGEST_PERIOD = 10_000.0  # steps over which the slowest pair of rotary features turns once / 2 pi


class LinearRecurrentLayer(nn.Module):
    """h_t = l * h_{t-1} + g * (B x_t) forward and backward in time, y_t = Re(C h_t): diagonal.

    The eigenvalues are l = exp(-exp(nu) + i exp(theta)), inside the unit circle whatever is
    learned, and g = sqrt(1 - |l|^2) keeps h at the drive's size whatever its memory.

    Args:
        width: features of x and y.
        states: complex numbers of h in each direction of time.
        least, most: of |l| at the start; the phase starts between 0 and pi / 10 a step.

    References:
        Orvieto et al. (2023), Resurrecting recurrent neural networks for long sequences, ICML.
        Smith, Warrington and Linderman (2023), Simplified state space layers for sequence
        modeling, ICLR (the two directions).
    """

    def __init__(self, width: int, states: int, least: float = 0.5, most: float = 0.99) -> None:
        super().__init__()
        spread = torch.rand(2 * states)
        size = (least**2 + spread * (most**2 - least**2)).sqrt()
        self.log_decay = nn.Parameter(torch.log(-torch.log(size)))
        self.log_phase = nn.Parameter(torch.log(math.pi / 10 * (1e-3 + torch.rand(2 * states))))
        self.to_state = nn.Linear(width, 4 * states, bias=False)
        self.from_state = nn.Linear(4 * states, width)

    def eigenvalues(self) -> Tensor:
        """l of the forward states, then of the backward ones, (2 * states,) complex."""
        size = torch.exp(-torch.exp(self.log_decay))
        return torch.polar(size, torch.exp(self.log_phase))

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """(batch, step, width); `seen` (batch, step, 1): where x drives h -> the same shape."""
        eigenvalues = self.eigenvalues()
        gain = (1.0 - eigenvalues.abs() ** 2).clamp_min(1e-12).sqrt()
        real, imaginary = torch.where(seen, self.to_state(x), 0.0).chunk(2, dim=-1)
        ahead, back = (gain * torch.complex(real, imaginary)).chunk(2, dim=-1)
        drive = torch.cat([ahead, back.flip(1)], dim=-1)
        h = linear_scan(eigenvalues.expand(x.shape[1], -1), drive)
        ahead, back = h.chunk(2, dim=-1)
        h = torch.cat([ahead, back.flip(1)], dim=-1)
        return self.from_state(torch.cat([h.real, h.imag], dim=-1))


class StepAttention(nn.Module):
    """softmax(q k' / sqrt(d)) v over steps, with rotary positions.

    A step attends to itself and to every step with evidence. Turning q and k by angles that grow
    with the step makes their product depend on how far apart two steps are, not on where.

    Args:
        width: features of x; there is a head for each `HEAD_SIZE` of them, at least one.

    References:
        Vaswani et al. (2017), Attention is all you need.
        Su et al. (2021), RoFormer: enhanced transformer with rotary position embedding.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(1, width // HEAD_SIZE)
        inner = self.heads * HEAD_SIZE
        self.to_qkv = nn.Linear(width, 3 * inner, bias=False)
        self.mix = nn.Linear(inner, width)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """(batch, step, width); `seen` (batch, step, 1): who is attended to -> the same shape."""
        batch, steps, _ = x.shape
        qkv = self.to_qkv(x).view(batch, steps, 3, self.heads, HEAD_SIZE)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        itself = torch.eye(steps, dtype=torch.bool, device=x.device)
        allowed = (seen.mT | itself).unsqueeze(1)
        y = F.scaled_dot_product_attention(_turned(q), _turned(k), v, attn_mask=allowed)
        return self.mix(y.transpose(1, 2).flatten(2))


def _turned(x: Tensor) -> Tensor:
    """Pairs of features (..., step, feature) turned by step * LONGEST_PERIOD^(-2 k / features)."""
    half = x.shape[-1] // 2
    order = torch.arange(half, dtype=x.dtype, device=x.device) / half
    step = torch.arange(x.shape[-2], dtype=x.dtype, device=x.device).unsqueeze(-1)
    angle = step * LONGEST_PERIOD**-order
    first, second = x.chunk(2, dim=-1)
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


class StackLayer(nn.Module):
    """x + mixer(norm(x)), then x + linear(silu(linear(norm(x)))).

    Args:
        mixer: across steps, (x, seen) -> x.
        width: features.
        dropout: after the mixer and inside the second part.
    """

    def __init__(self, mixer: nn.Module, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mixer = mixer
        self.drop = ByteDropout(dropout)
        self.local = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.SiLU(),
            ByteDropout(dropout),
            nn.Linear(2 * width, width),
        )

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """(batch, step, width); `seen` (batch, step, 1) -> the same shape as x."""
        x = x + self.drop(self.mixer(self.norm(x), seen))
        return x + self.local(x)


class StepStack(nn.Module):
    """Layers over steps, all on the clock of the state.

    Args:
        width_in: features a step.
        width: of every layer.
        mixers: one a layer.
        dropout: inside the layers.
    """

    def __init__(
        self, width_in: int, width: int, mixers: list[nn.Module], dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.entry = nn.Linear(width_in, width)
        self.layers = nn.ModuleList([StackLayer(mixer, width, dropout) for mixer in mixers])

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """(batch, step, width_in); `seen` (batch, step, 1) -> (batch, step, width)."""
        x = self.entry(x)
        for layer in self.layers:
            x = layer(x, seen)
        return x
