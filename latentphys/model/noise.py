"""Sensor noise that lasts: what the state does not tell of a waveform is itself a waveform."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

AT_FIRST = 0.25  # time constant before training, in state steps
HASTE = 15.0  # how many times faster than a weight its logarithm learns
CLOSEST = 1e-4  # samples, in time constants: of closer ones rounding leaves no innovation
SETTLED = 16.0  # time constants after which noise does not know how it began
ROUGH = 0.3  # of its variance, what a sample that was seen does not share with its neighbours
FAR = 1e9  # state steps to a sample that there is not


class ColouredNoise(nn.Module):
    """Stationary normal noise of unit variance, correlated between samples t steps apart by

        r(t) = (1 + |t| / tau) exp(-|t| / tau),

    a Matern process of smoothness 3/2: it has a slope, as signals have, and one time constant,
    which is learned. Each sample by itself is distributed as white noise is.

    Args:
        time_constant: tau before training, in state steps.

    References:
        Rasmussen and Williams (2006), Gaussian Processes for Machine Learning, equation 4.17.
    """

    def __init__(self, time_constant: float = AT_FIRST) -> None:
        super().__init__()
        self.log_time = nn.Parameter(torch.tensor(math.log(time_constant / AT_FIRST) / HASTE))

    @property
    def time_constant(self) -> Tensor:
        """tau in state steps."""
        return AT_FIRST * torch.exp(HASTE * self.log_time)

    def correlation(self, steps: Tensor) -> Tensor:
        """r(t) at distances in state steps, of their shape."""
        return _kernel(steps / self.time_constant)

    def between(self, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
        """What the samples seen at either side tell of the noise between them.

            E[n_t | n_a, n_b] = w . n,    Var[n_t | n_a, n_b] = 1 - w . k,    w = (R + v I)^{-1} k
            k = (r(t - a), r(b - t)),     R = [[1, r(b - a)], [r(b - a), 1]],    v = ROUGH

        Of Student's t, w . n is the location that a Student process has. No sensor's noise is
        quite as smooth as this process: taken at its word (v = 0) it is far too sure beside a
        sample that was seen.

        Args:
            before, after: state steps to the samples, FAR where there is none.

        Returns:
            w (2, ...), and the standard deviation that is left (...).

        References:
            Rasmussen and Williams (2006), equations 2.23 and 2.24. Shah, Wilson and Ghahramani
            (2014), Student-t processes as alternatives to Gaussian processes, AISTATS.
        """
        k = self.correlation(torch.stack([before, after]))
        both, own = self.correlation(before + after), 1.0 + ROUGH
        weight = (own * k - both * k.flip(0)) / (own**2 - both**2)
        return weight, (1.0 - (weight * k).sum(0)).sqrt()

    def draw(
        self, shape: tuple[int, ...], spacing: float, generator: np.random.Generator
    ) -> NDArray[np.float32]:
        """Noise at evenly spaced times, the last axis of `shape`.

        Such samples are an autoregression of order 2 with a moving average of order 1.

        Args:
            shape: (sample, ..., time).
            spacing: of the times, in state steps.
            generator: of the white noise it is made of.
        """
        from scipy.signal import lfilter

        away = max(spacing / float(self.time_constant.detach()), CLOSEST)
        pole = math.exp(-away)
        recursion = np.array([1.0, -2.0 * pole, pole**2])
        # Autocovariances, at 0 and 1, of what the recursion leaves of the process.
        r = _kernel(torch.arange(-2, 4, dtype=torch.float64) * away).numpy()
        at_0, at_1 = np.convolve(r, np.convolve(recursion, recursion[::-1]), mode="valid")
        ratio = at_1 / at_0
        theta = 2.0 * ratio / (1.0 + math.sqrt(1.0 - 4.0 * ratio**2))
        average = np.array([1.0, theta]) * math.sqrt(at_0 / (1.0 + theta**2))
        settling = math.ceil(SETTLED / away)
        noise = np.empty(shape, np.float32)
        for one in noise:
            white = generator.standard_normal((*one.shape[:-1], settling + shape[-1]))
            one[:] = lfilter(average, recursion, white)[..., settling:]
        return noise


def _kernel(away: Tensor) -> Tensor:
    """r at distances in time constants."""
    return (1.0 + away.abs()) * torch.exp(-away.abs())
