"""Gaps in a sensor that speaks: noise that lasts is known in part from the samples beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentphys.model.noise import FAR, ROUGH, ColouredNoise
from latentphys.preparation.preprocessing import PreparedSignal

Stretch = tuple[NDArray[np.int64], Tensor, Tensor]
LEAST = 0.01  # correlation of neighbouring samples from which noise lasts at all


@dataclass(frozen=True)
class Bridge:
    """The samples seen nearest to each sample of a sensor's gaps, at either side.

    Given a path of the state, what a sensor shows in a gap is not independent of what it shows
    beside it: the noise there was x = loc + scale * n, and n lasts.

    Attributes:
        noise: the sensor's.
        edge: (edge,) numbers of the samples beside gaps, ascending.
        values: (channel, edge), NaN where a channel was not seen there.
        beside: (side, channel, time), which edge is before and after a sample of a gap; -1 where
            there is none, and outside gaps.
        at: (time,) times, state steps.
    """

    noise: ColouredNoise
    edge: NDArray[np.int64]
    values: NDArray[np.float32]
    beside: NDArray[np.int32]
    at: NDArray[np.float64]

    @classmethod
    def over(
        cls,
        noise: ColouredNoise | None,
        signal: PreparedSignal,
        state_rate_hz: float,
    ) -> Bridge | None:
        """The bridge over what was not seen; None where nothing is to be learned from one.

        Args:
            noise: the sensor's; None where it does not last.
            signal: the sensor, as it was given; what was not seen is NaN.
            state_rate_hz: the model's clock.
        """
        if noise is None:
            return None
        seen = np.isfinite(signal.values)
        if seen.all() or not seen.any():
            return None
        with torch.no_grad():
            if noise.correlation(torch.tensor(state_rate_hz / signal.rate_hz)) < LEAST:
                return None
        count = seen.shape[1]
        number = np.arange(count, dtype=np.int32)
        before = np.maximum.accumulate(np.where(seen, number, -1), axis=1)
        after = np.minimum.accumulate(np.where(seen, number, count)[:, ::-1], axis=1)[:, ::-1]
        beside = np.stack([before, np.where(after < count, after, -1)])
        beside[:, seen] = -1
        edge = np.unique(beside[beside >= 0]).astype(np.int64)
        beside = np.where(beside >= 0, np.searchsorted(edge, beside), -1).astype(np.int32)
        values = np.where(seen[:, edge], signal.values[:, edge], np.nan)
        at = number / signal.rate_hz if signal.time_s is None else signal.time_s
        return cls(noise, edge, values, beside, at * state_rate_hz)

    def known(self, stretches: Iterable[Stretch], draws: int) -> Tensor:
        """n of the samples beside gaps, (draw, channel, edge); 0 where a channel was not seen.

        Args:
            stretches: numbers, locations and scales of the samples, a stretch after another.
            draws: of the state's path.
        """
        known = torch.zeros(draws, *self.values.shape)
        for sample, loc, scale in stretches:
            here = np.flatnonzero(np.isin(sample, self.edge))
            own = np.searchsorted(self.edge, sample[here])
            away = torch.from_numpy(self.values[:, own]) - loc[..., here]
            known[..., own] = torch.nan_to_num(away / scale[..., here])
        return known

    def moved(self, stretch: Stretch, known: Tensor) -> Stretch:
        """Locations and scales given n beside gaps; outside gaps they are as they were."""
        sample, loc, scale = stretch
        own = self.beside[:, :, sample]
        if not (own >= 0).any():
            return stretch
        weight, left = self._told(own, sample)
        told = _of_edges(known, own)
        return sample, loc + scale * (weight * told).sum(1), scale * left

    def rest(self, noise: NDArray[np.float32], generator: np.random.Generator) -> None:
        """Leave of noise in gaps, in place, what is not told beside them, at unit variance.

        With `moved`, waveforms drawn so join what was seen.

        Args:
            noise: (draw, channel, time), drawn without a word of what was seen.
            generator: of what a sample does not share with its neighbours.
        """
        edges = noise[..., self.edge]
        edges = edges + math.sqrt(ROUGH) * generator.standard_normal(edges.shape, np.float32)
        for channel, beside in enumerate(self.beside.transpose(1, 0, 2)):
            sample = np.flatnonzero((beside >= 0).any(0))
            own = beside[:, None, sample]
            weight, left = self._told(own, sample)
            told = _of_edges(torch.from_numpy(edges[:, channel : channel + 1]), own)
            free = torch.from_numpy(noise[:, channel : channel + 1, sample])
            noise[:, channel, sample] = ((free - (weight * told).sum(1)) / left)[:, 0].numpy()

    @torch.no_grad()
    def _told(self, own: NDArray[np.int32], sample: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Weights (side, channel, time) of n beside samples, and what of them is left."""
        away = np.where(own >= 0, np.abs(self.at[self.edge][own] - self.at[sample]), FAR)
        weight, left = self.noise.between(*torch.from_numpy(away))
        return weight.float(), left.float()


def _of_edges(known: Tensor, own: NDArray[np.int32]) -> Tensor:
    """n (draw, channel, edge) of the edges `own` (side, channel, time): (draw, side, ...)."""
    channel = torch.arange(known.shape[1]).unsqueeze(-1)
    return known[:, channel, torch.from_numpy(own).long()]
