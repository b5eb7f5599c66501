"""Simulation-based calibration: does inference agree with the model it inverts?

    z ~ p(z),   x ~ p(x | z),   z^1 .. z^L ~ q(z | x):   the rank of z among z^1 .. z^L is
    uniform on 0 .. L if q is the posterior.

References:
    Talts, Betancourt, Simpson, Vehtari and Gelman (2018), Validating Bayesian inference
    algorithms with simulation-based calibration.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Simulate = Callable[[np.random.Generator], tuple[NDArray[np.float64], NDArray[np.float64]]]
Infer = Callable[[NDArray[np.float64], np.random.Generator], NDArray[np.float64]]


def calibration_ranks(
    simulate: Simulate, infer: Infer, repetitions: int = 200, seed: int = 0
) -> tuple[NDArray[np.int64], int]:
    """Ranks of the true quantities among posterior draws.

    Args:
        simulate: rng -> (quantities (quantity,), data).
        infer: (data, rng) -> independent posterior draws of them, (draw, quantity).
        repetitions: simulated data sets.
        seed: of everything.

    Returns:
        Ranks (repetition, quantity) in 0 .. draws, and the number of draws.

    Example:
        >>> def coin(rng):
        ...     z = rng.normal(size=1)
        ...     return z, z + rng.normal(size=1)
        >>> def posterior(x, rng):
        ...     return x / 2 + np.sqrt(0.5) * rng.normal(size=(19, 1))
        >>> ranks, draws = calibration_ranks(coin, posterior)
        >>> bool(rank_uniformity(ranks[:, 0], draws) > 0.01)
        True
    """
    rng = np.random.default_rng(seed)
    ranks, count = [], 0
    for _ in range(repetitions):
        truth, data = simulate(rng)
        draws = infer(data, rng)
        count = len(draws)
        ranks.append((draws < truth).sum(axis=0))
    return np.asarray(ranks, dtype=np.int64), count


def rank_histogram(ranks: ArrayLike, draws: int, bins: int = 10) -> NDArray[np.int64]:
    """How many ranks 0 .. draws fall in each of `bins` shares of them.

    Raises:
        ValueError: bins that do not divide the draws + 1 possible ranks alike.
    """
    if (draws + 1) % bins:
        raise ValueError(
            f"bins must hold equally many of the {draws + 1} possible ranks; got {bins} bins. "
            f"Choose a divisor of {draws + 1}."
        )
    at = np.asarray(ranks).ravel() * bins // (draws + 1)
    return np.bincount(at, minlength=bins)


def rank_uniformity(ranks: ArrayLike, draws: int, bins: int = 10) -> float:
    """The p-value of Pearson's chi-squared test that ranks are uniform.

    Args:
        ranks: (repetition,), independent of one another.
        draws: posterior draws each was ranked among.
        bins: of the histogram.
    """
    from scipy.stats import chisquare

    return float(chisquare(rank_histogram(ranks, draws, bins)).pvalue)
