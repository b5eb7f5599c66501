"""Quantiles of a predictive mixture: the mean over draws of the emission's own distributions.

    F(x) = mean_k F_k(x),      F_k Normal or Student-t with the location and scale of draw k

A quantile of F uses the shape of every component; one of samples drawn from it wobbles from sample
to sample, the more so in the tails.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal, StudentT

ITERATIONS = 40
NEAR = 1e-4  # of the level: far below what a hundred draws can tell
TABLE = 4097


def mixture_quantiles(
    components: Normal | StudentT | Bernoulli, levels: tuple[float, ...]
) -> list[Tensor]:
    """The quantiles of an equally weighted mixture along the first axis.

    Newton's steps from the normal with the mixture's moments; one that would leave the bracket
    (the least and the largest quantile of the components, narrowed as it goes) bisects it.

    Args:
        components: Normal or Student-t with `loc` and `scale` (component, ...), or Bernoulli, of
            which a mixture has the quantile 1 at levels above its mean probability of a 0.
        levels: probabilities, each between 0 and 1.

    Returns:
        A tensor (...) a level.
    """
    if isinstance(components, Bernoulli):
        zero = 1.0 - components.probs.mean(0)
        return [(level > zero).to(zero) for level in levels]
    cdf, density, of_one, variance = _family(components)
    loc, scale = components.loc, components.scale
    mean = loc.mean(0)
    sd = (loc.var(0, correction=0) + variance * scale.square().mean(0)).sqrt()
    found = []
    for level in levels:
        unit = of_one(level)
        edge = loc + unit * scale
        low, high = edge.amin(0), edge.amax(0)
        x = torch.clamp(mean + sd * _normal_quantile(level), low, high)
        for _ in range(ITERATIONS):
            t = (x - loc) / scale
            off = cdf(t).mean(0) - level
            if not bool((off.abs() > NEAR).any()):
                break
            low, high = torch.where(off < 0, x, low), torch.where(off > 0, x, high)
            step = x - off / (density(t) / scale).mean(0)
            inside = (step > low) & (step < high)  # False where it is NaN too
            x = torch.where(inside, step, 0.5 * (low + high))
        found.append(x)
    return found


_Function = Callable[[Tensor], Tensor]


def _family(
    components: Normal | StudentT,
) -> tuple[_Function, _Function, Callable[[float], float], float]:
    """Distribution function, density, quantile and variance of a component of unit scale."""
    if isinstance(components, StudentT):
        nu = float(torch.as_tensor(components.df).flatten()[0])
        log_norm = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - 0.5 * math.log(nu * math.pi)
        table = torch.from_numpy(_student_table(nu))

        def student_cdf(t: Tensor) -> Tensor:
            # Nearly linear in t / sqrt(nu + t^2), which maps the line onto (-1, 1).
            place = (t * torch.rsqrt(nu + t * t) + 1.0) * (0.5 * (TABLE - 1))
            below = place.long().clamp_(0, TABLE - 2)
            left = table[below].to(t)
            return left + (place - below) * (table[below + 1].to(t) - left)

        def student_density(t: Tensor) -> Tensor:
            return torch.exp(log_norm - 0.5 * (nu + 1.0) * torch.log1p(t * t / nu))

        return student_cdf, student_density, lambda p: _student_quantile(p, nu), nu / (nu - 2.0)

    def normal_density(t: Tensor) -> Tensor:
        return torch.exp(-0.5 * t * t) / math.sqrt(2.0 * math.pi)

    return _normal_cdf, normal_density, _normal_quantile, 1.0


def _normal_cdf(t: Tensor) -> Tensor:
    return 0.5 * (1.0 + torch.erf(t * math.sqrt(0.5)))


def _normal_quantile(level: float) -> float:
    return float(torch.special.ndtri(torch.tensor(level, dtype=torch.float64)))


def _student_quantile(level: float, nu: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(nu, level))


@lru_cache(maxsize=8)
def _student_table(nu: float) -> np.ndarray:
    """The Student-t distribution function on an even grid of t / sqrt(nu + t^2)."""
    from scipy.special import stdtr

    place = np.linspace(-1.0, 1.0, TABLE)
    with np.errstate(divide="ignore"):
        t = place * np.sqrt(nu / np.maximum(1.0 - place**2, 0.0))
    return np.asarray(stdtr(nu, t), dtype=np.float32)
