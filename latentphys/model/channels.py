"""Attention among the channels of one modality, before their evidence is summed."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SHARPEST = 30.0  # of the logits, so that their exponentials need no maximum taken off


class ChannelAttention(nn.Module):
    """y_i = x_i + W sum_j w_ij v_j over the channels j observed at the step.

    w_ij is the softmax over j of tau <q_i, k_j> of unit vectors. A channel so learns what the
    others say already, and how much of its own evidence is news. The sums run over pairs of
    present channels, one by one: any number and order of them, and an absent channel is no term
    of any sum.

    Args:
        width: features of a channel.

    References:
        Lee et al. (2019), Set Transformer, ICML (attention over a set).
        Henry et al. (2020), Query-key normalization for transformers (unit vectors).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(4.0)))
        self.mix = nn.Linear(width, width)
        nn.init.zeros_(self.mix.bias)

    def forward(self, x: Tensor, seen: Tensor, window: Tensor) -> Tensor:
        """Let the channels of each window look at each other.

        Args:
            x: (trace, step, width), each present channel of each window a trace.
            seen: (trace, step, 1), 1 where the channel was observed, else 0.
            window: (trace,) whose traces they are.

        Returns:
            (trace, step, width).
        """
        q, k, v = self.to_qkv(self.norm(x)).chunk(3, dim=-1)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        looks, at = (window.unsqueeze(1) == window).nonzero(as_tuple=True)
        sharpness = self.log_sharpness.exp().clamp_max(SHARPEST)
        likeness = (q[looks] * k[at]).sum(-1, keepdim=True)
        weight = torch.exp(sharpness * likeness) * seen[at]
        among = torch.zeros_like(seen).index_add(0, looks, weight)
        found = torch.zeros_like(x).index_add(0, looks, weight * v[at])
        return x + self.mix(found / among.clamp_min(1e-30))
