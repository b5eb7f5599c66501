"""Where a transition rests, and how fast it turns there.

    f(z) = E[z_{t+1} | z_t = z, u = 0]      f(z*) = z*      J = df/dz (z*)

An eigenvalue l of J is a motion about the rest: it turns |arg l| rate / 2 pi times a second and
shrinks by e in -1 / (rate log |l|) seconds. The rest is stable where all |l| < 1.

References:
    Sussillo and Barak (2013), Opening the black box: low-dimensional dynamics in high-dimensional
        recurrent neural networks. Neural Computation 25.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[np.float64]
STEPS = 60  # of Newton; from the data it arrives in fewer than ten, or not at all
HALVINGS = 8
CLOSE = 1e-8  # of |f(z) - z| for a rest, per latent number
SAME = 1e-3  # two rests nearer than this, in the state's own units, are one


@dataclass(frozen=True)
class FixedPoints:
    """Rests of a transition, the one that most starts led to first.

    Attributes:
        z: (point, latent).
        eigenvalues: (point, mode) complex, the slowest to shrink first.
        share: (point,), of the starts that led there; the others led to none.
    """

    z: Array
    eigenvalues: NDArray[np.complex128]
    share: Array

    def __len__(self) -> int:
        return len(self.z)

    @property
    def stable(self) -> NDArray[np.bool_]:
        """(point,)."""
        return np.asarray((np.abs(self.eigenvalues) < 1.0).all(-1))

    def frequency_hz(self, rate_hz: float) -> Array:
        """Turns a second of each mode, (point, mode); 0 of one that does not turn."""
        return np.asarray(np.abs(np.angle(self.eigenvalues)) * rate_hz / (2.0 * math.pi))

    def decay_s(self, rate_hz: float) -> Array:
        """Seconds in which each mode shrinks by e, (point, mode); infinite where it does not."""
        size = np.abs(self.eigenvalues)
        with np.errstate(divide="ignore"):
            return np.where(size < 1.0, -1.0 / (rate_hz * np.log(size)), math.inf)


def fixed_points(transition: nn.Module, starts: Tensor) -> FixedPoints:
    """Newton's method from every start, in double precision, without inputs.

        d = (J - I)^-1 (z - f(z)),   halved until |f(z + d) - z - d| falls

    Args:
        transition: p(z_t | z_{t-1}, u_t), called as (z, None).
        starts: (start, latent), states to begin from: where the data are.

    Returns:
        The distinct rests that were reached; none is an answer too.
    """
    exact = copy.deepcopy(transition).double().eval().requires_grad_(False)
    z = starts.detach().double()
    eye = torch.eye(z.shape[-1], dtype=z.dtype)
    for _ in range(STEPS):
        moved = _next(exact, z) - z
        if bool((moved.norm(dim=-1) < CLOSE).all()):
            break
        towards = torch.linalg.lstsq(jacobian(exact, z) - eye, -moved.unsqueeze(-1)).solution
        z = _nearer(exact, z, towards.squeeze(-1), moved.norm(dim=-1))
    rests = (_next(exact, z) - z).norm(dim=-1) < CLOSE * z.shape[-1]
    return _distinct(exact, z[rests & z.isfinite().all(-1)], len(starts))


def jacobian(transition: nn.Module, z: Tensor) -> Tensor:
    """df/dz at each state, (state, latent, latent)."""
    # Each row of f depends on its own state alone, so the sum over states keeps them apart.
    total = torch.autograd.functional.jacobian(lambda at: _next(transition, at).sum(0), z)
    return torch.as_tensor(total).movedim(1, 0)


def _next(transition: nn.Module, z: Tensor) -> Tensor:
    loc: Tensor = transition(z, None).loc
    return loc


def _nearer(transition: nn.Module, z: Tensor, towards: Tensor, missed: Tensor) -> Tensor:
    """The longest of ever shorter steps that comes nearer to a rest; none for who has arrived."""
    size = torch.where(missed < CLOSE, 0.0, 1.0).to(z).unsqueeze(-1)
    for _ in range(HALVINGS):
        tried = z + size * towards
        worse = ~((_next(transition, tried) - tried).norm(dim=-1) <= missed)
        if not bool(worse.any()):
            break
        size = torch.where(worse.unsqueeze(-1), size / 2.0, size)
    return z + size * towards


def _distinct(transition: nn.Module, z: Tensor, starts: int) -> FixedPoints:
    """Each rest once, with its eigenvalues."""
    kept: list[Tensor] = []
    counts: list[int] = []
    for one in z:
        near = [k for k, other in enumerate(kept) if float((one - other).norm()) < SAME]
        if near:
            counts[near[0]] += 1
        else:
            kept.append(one)
            counts.append(1)
    latent = z.shape[-1]
    order = sorted(range(len(kept)), key=lambda k: -counts[k])
    if not order:
        return FixedPoints(np.zeros((0, latent)), np.zeros((0, latent), complex), np.zeros(0))
    points = torch.stack([kept[k] for k in order])
    values = np.linalg.eigvals(jacobian(transition, points).numpy()).astype(np.complex128)
    slowest = np.argsort(-np.abs(values), axis=-1, kind="stable")
    share = np.array([counts[k] for k in order]) / starts
    return FixedPoints(points.numpy(), np.take_along_axis(values, slowest, -1), share)
