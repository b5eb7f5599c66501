"""A view says which sensors speak and which are scored; every term of the objective takes one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class View:
    """One way to look at a batch.

    Attributes:
        keep: (batch, modality) bool: the sensors whose evidence is used.
        target: (batch, modality) bool: the sensors whose samples are scored.
    """

    keep: Tensor
    target: Tensor


def full_view(present: Tensor) -> View:
    """Everything observed speaks, everything observed is scored."""
    return View(keep=present, target=present)


def subset_view(present: Tensor, generator: torch.Generator, one_out: float = 0.6) -> View:
    """A random proper subset of each window's sensors speaks; the rest are scored.

    A window with n sensors keeps n - 1 of them with probability `one_out`, else a number drawn
    uniformly from 1 to n - 1. A window with one sensor or none keeps it and scores nothing.

    Args:
        present: (batch, modality) bool, which sensors each window has.
        generator: source of randomness.
        one_out: probability of leaving out just one.

    Returns:
        A view with `keep` and `target` disjoint, their union `present`.
    """
    count = present.sum(-1)
    leave_one = torch.rand(len(present), generator=generator) < one_out
    uniform = torch.rand(len(present), generator=generator)
    drawn = 1 + (uniform * (count - 1).clamp_min(1)).long()
    size = torch.where(leave_one, count - 1, drawn)
    size = torch.where(count < 2, count, size)
    order = torch.rand(present.shape, generator=generator).masked_fill(~present, 2.0)
    rank = order.argsort(-1).argsort(-1)
    keep = present & (rank < size.unsqueeze(-1))
    return View(keep=keep, target=present & ~keep)
