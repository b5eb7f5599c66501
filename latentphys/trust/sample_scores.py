"""Sample-by-sample scores of a predictive distribution, and what they add up to.

For each observed sample: the log density, the CRPS, the PIT, and the residual in predicted
standard deviations. Everything `evaluate` and `calibrate` report comes from these four.

    log score   log p(x)              nats a sample, of the standardised signal; more is better
    CRPS        as in `scores`        standard deviations of the sensor; less is better
    PIT         F(x)                  uniform when calibrated; |2 F(x) - 1| <= level is coverage
    residual    |x - mean| / sd       what conformal repair ranks
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentphys.trust.scores import correlation, nrmse, window_correlation

Array = NDArray[np.float64]
LEVELS = (0.5, 0.8, 0.9, 0.95)
SCORES = ("log_score", "crps", "correlation", "window_correlation", "nrmse")
PIT_BINS = 20
STUDENT_POOL = 2**17


@dataclass(frozen=True)
class SampleScores:
    """Scores of every sample, (channel, time), NaN where a sample is not scored."""

    truth: Array
    mean: Array
    log_density: Array
    crps: Array
    pit: Array
    residual: Array


@dataclass(frozen=True)
class Mixture:
    """Equally weighted components around (draw, n) locations: the model's predictive.

    Attributes:
        loc, scale: (draw, n).
        freedom: of a Student's t; None is a normal.
    """

    loc: Tensor
    scale: Tensor
    freedom: float | None = None

    def log_density(self, truth: Tensor) -> Tensor:
        """log (1/S) sum_s p_s(x), (n,); with few draws a little too low (Jensen)."""
        z = (truth - self.loc) / self.scale
        if self.freedom is None:
            each = -0.5 * z * z - 0.5 * math.log(2.0 * math.pi)
        else:
            nu = self.freedom
            constant = math.lgamma(0.5 * (nu + 1)) - math.lgamma(0.5 * nu)
            constant -= 0.5 * math.log(nu * math.pi)
            each = constant - 0.5 * (nu + 1) * torch.log1p(z * z / nu)
        return torch.logsumexp(each - self.scale.log(), dim=0) - math.log(len(self.loc))

    def pit(self, truth: Tensor) -> Tensor:
        """F(x) = (1/S) sum_s F_s(x), (n,), whose quantiles `impute` gives as lower and upper."""
        z = (truth - self.loc) / self.scale
        if self.freedom is None:
            each = torch.special.ndtr(z)
        else:
            each = _student_cdf(z, self.freedom)
        return each.mean(0)

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw of every component, (draw, n)."""
        if self.freedom is None:
            noise = torch.randn(self.loc.shape, generator=generator, dtype=self.loc.dtype)
        else:
            # Gamma variables are slow to draw: taken from a pool, each many times over.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
                half = torch.full((STUDENT_POOL,), 0.5 * self.freedom, dtype=self.loc.dtype)
                gamma = torch.distributions.Gamma(half, half, validate_args=False).sample()
            pool = torch.randn(STUDENT_POOL, generator=generator, dtype=self.loc.dtype)
            pool = pool / gamma.sqrt()
            noise = pool[torch.randint(STUDENT_POOL, self.loc.shape, generator=generator)]
        return self.loc + self.scale * noise

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, (n,)."""
        within = self.scale**2
        if self.freedom is not None:
            within = within * (self.freedom / (self.freedom - 2.0))
        return self.loc.mean(0), (self.loc.var(0) + within.mean(0)).sqrt()


def _student_cdf(z: Tensor, freedom: float) -> Tensor:
    """F(z) of Student's t from a table over asinh z, to 1e-7: exactly, it is half of all time."""
    from scipy.special import stdtr

    reach, step = 20.0, 1e-3  # |z| up to 2e8
    grid = np.arange(-reach, reach + 1.5 * step, step)
    table = torch.from_numpy(stdtr(freedom, np.sinh(grid))).to(z.dtype)
    place = (torch.asinh(z) + reach).clamp(0.0, 2.0 * reach) / step
    left = place.long().clamp_max(len(table) - 2)
    below = table[left]
    return below + (place - left) * (table[left + 1] - below)


def fair_crps(truth: Tensor, draws: Tensor) -> Tensor:
    """E|X - x| - 1/2 E|X - X'| by sorting, unbiased for any number of draws.

        mean_s |X_s - x| - 1 / (S (S - 1)) sum_i (2 i - S - 1) X_(i)

    Args:
        truth: (n,).
        draws: (draw, n), at least two.

    References:
        Zamo and Naveau (2018), Estimation of the continuous ranked probability score with
        limited information. Mathematical Geosciences 50.
    """
    count = len(draws)
    rank = torch.arange(1, count + 1, dtype=draws.dtype).unsqueeze(-1)
    ordered = torch.sort(draws, dim=0).values
    spread = ((2.0 * rank - count - 1.0) * ordered).sum(0) / (count * (count - 1))
    return (draws - truth).abs().mean(0) - spread


def score_mixture(
    truth: NDArray[np.float32], scored: Tensor, mixture: Mixture, generator: torch.Generator
) -> SampleScores:
    """Scores of the model's predictive.

    Args:
        truth: (channel, time).
        scored: (channel, time), the samples that `mixture` is about, in their order.
        mixture: over n = scored.sum() samples.
        generator: of the draws the CRPS takes.
    """
    x = torch.from_numpy(truth)[scored].to(mixture.loc.dtype)
    mean, sd = mixture.moments()
    crps = fair_crps(x, mixture.sample(generator))
    parts = (mean, mixture.log_density(x), crps, mixture.pit(x), (x - mean).abs() / sd)
    return _placed(truth, scored.numpy(), *(part.numpy() for part in parts))


def score_gaussian(
    truth: NDArray[np.float32], scored: Tensor, mean: Array, sd: Array
) -> SampleScores:
    """Scores of N(mean, sd^2), (channel, time) each, in closed form (Gneiting et al. 2005)."""
    from scipy.special import ndtr

    where = scored.numpy()
    x, m, s = truth[where].astype(np.float64), mean[where], sd[where]
    z = (x - m) / s
    density = np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    log_density = -0.5 * z * z - np.log(s) - 0.5 * math.log(2.0 * math.pi)
    below = ndtr(z)
    crps = s * (z * (2.0 * below - 1.0) + 2.0 * density - 1.0 / math.sqrt(math.pi))
    return _placed(truth, where, m, log_density, crps, below, np.abs(z))


def _placed(
    truth: NDArray[np.float32], where: NDArray[np.bool_], *parts: NDArray[Any]
) -> SampleScores:
    """Flat values back at their samples, NaN elsewhere."""

    def whole(values: NDArray[Any]) -> Array:
        full = np.full(truth.shape, np.nan)
        full[where] = values
        return full

    return SampleScores(whole(truth[where]), *(whole(part) for part in parts))


@dataclass(frozen=True)
class Summary:
    """What one recording contributes: means over its scored samples.

    Attributes:
        scores: in the order of SCORES.
        coverage: share of samples inside the central interval at LEVELS.
        pit: share of samples in PIT_BINS equal bins, times PIT_BINS: 1 everywhere is calibrated.
        residual: every |x - mean| / sd, (n,).
    """

    scores: Array
    coverage: Array
    pit: Array
    residual: Array

    @classmethod
    def of(cls, sample: SampleScores, window_samples: int) -> Summary | None:
        """None when no sample was scored.

        Args:
            sample: scores of every sample.
            window_samples: of the windows `window_correlation` is the median over.
        """
        seen = np.isfinite(sample.truth)
        if not seen.any():
            return None
        each = window_correlation(sample.truth, sample.mean, max(1, window_samples))
        each = each[np.isfinite(each)]
        pit = sample.pit[seen]
        scores = np.array(
            [
                sample.log_density[seen].mean(),
                sample.crps[seen].mean(),
                float(correlation(sample.truth.ravel(), sample.mean.ravel())),
                float(np.median(each)) if each.size else np.nan,
                nrmse(sample.truth, sample.mean),
            ]
        )
        inside = np.abs(2.0 * pit - 1.0)
        coverage = np.array([(inside <= level).mean() for level in LEVELS])
        histogram = np.histogram(pit, PIT_BINS, (0.0, 1.0))[0] * (PIT_BINS / len(pit))
        return cls(scores, coverage, histogram, sample.residual[seen])
