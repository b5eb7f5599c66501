"""Figures of a posterior path over a unit of time: what the state is in it, and what it does.

Of each latent dimension its level, how sure of it the sensors are, and how far and how fast it
moves. Of the whole state how fast it goes to and fro, as breathing and the heart do, at any
amplitude:

    S(f) = mean_k P_k(f) / sum_f P_k(f),     P_k the periodogram of the mean of z_k, Hann window
    rhythm_p = sum_f S(f)^p log f / sum_f S(f)^p,     over a band; p = 1, 2, 4 ever nearer its peak

Reference:
    Percival and Walden (1993), Spectral Analysis for Physical Applications: tapered periodograms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

FIGURES = ("mean", "log_sd", "log_variation", "log_increment")  # of each latent dimension
BANDS_HZ = {"breathing": (0.07, 0.8), "heart": (0.8, 4.0)}
POWERS = (1, 2, 4)
TINY = 1e-6  # added to variances before a logarithm: a state at rest has one

Band = tuple[float, float]


def bands_of(rate_hz: float) -> dict[str, Band]:
    """Those of BANDS_HZ that steps are close enough to show, in cycles a step.

    Args:
        rate_hz: steps a second; 0 for no band at all.

    Example:
        >>> list(bands_of(4.0)), list(bands_of(12.5))
        (['breathing'], ['breathing', 'heart'])
    """
    shown = {name: band for name, band in BANDS_HZ.items() if 2.0 * band[1] <= rate_hz}
    return {name: (low / rate_hz, high / rate_hz) for name, (low, high) in shown.items()}


def figures_of(steps: Tensor, inside: Tensor) -> Tensor:
    """The FIGURES of every latent dimension over a unit's steps.

    The mean of the posterior mean, the mean of its log sd, and the logs of the root mean square
    of the posterior mean about its own mean and from step to step.

    Args:
        steps: mean and log sd of z, (row, step, 2 * latent).
        inside: (row, step) bool, the unit's steps; one at least.

    Returns:
        (row, figure), every dimension's first, then every dimension's second, and so on.
    """
    mean, log_sd = steps.chunk(2, dim=-1)
    centre, variation = moments(mean, inside)
    both = inside[:, 1:] & inside[:, :-1]
    square = (mean[:, 1:] - mean[:, :-1]) ** 2
    count = both.sum(1, keepdim=True).clamp_min(1)
    increment = torch.where(both.unsqueeze(-1), square, 0.0).sum(1) / count
    uncertain = moments(log_sd, inside)[0]
    swing = [0.5 * torch.log(x + TINY) for x in (variation, increment)]
    return torch.cat([centre, uncertain, *swing], dim=-1)


def moments(x: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of (row, step, feature) over the steps inside, (row, feature) each."""
    inside = inside.unsqueeze(-1)
    count = inside.sum(1)
    mean = torch.where(inside, x, 0.0).sum(1) / count
    away = torch.where(inside, (x - mean.unsqueeze(1)) ** 2, 0.0)
    return mean, away.sum(1) / count


def rhythms(mean: Tensor, inside: Tensor, bands: Sequence[Band]) -> Tensor:
    """Where in each band the state's power lies: mean log cycles a step by S^p.

    The periodogram is taken once for all bands.

    Args:
        mean: of z, (row, step, latent).
        inside: (row, step) bool, the unit's steps.
        bands: least and largest frequency of each, cycles a step, the slowest first.

    Returns:
        (row, band * power).
    """
    count = inside.sum(1, keepdim=True)
    place = inside.cumsum(1) - 0.5
    taper = torch.where(inside, torch.sin(math.pi * place / count) ** 2, 0.0).to(mean)
    centre = moments(mean, inside)[0]
    away = torch.where(inside.unsqueeze(-1), mean - centre.unsqueeze(1), 0.0)
    # So long that a band holds several frequencies of the shortest unit too.
    length = max(4 * mean.shape[1], math.ceil(1.0 / bands[0][0]))
    power = torch.fft.rfft(taper.unsqueeze(-1) * away, n=length, dim=1).abs().square()
    share = (power / (power.sum(1, keepdim=True) + TINY)).mean(-1)
    hertz = torch.arange(share.shape[1], device=mean.device, dtype=mean.dtype) / length
    found = []
    for low, high in bands:
        own = (hertz >= low) & (hertz < high)
        inner, log_hertz = share[:, own] + TINY, hertz[own].log()
        inner = inner / inner.sum(1, keepdim=True)
        found += [(inner**p * log_hertz).sum(1) / (inner**p).sum(1) for p in POWERS]
    return torch.stack(found, dim=-1)
