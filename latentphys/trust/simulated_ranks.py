"""Simulation-based calibration of a fitted deep model: its guide against its own prior.

    z ~ p(z),  eps^m ~ N(0, I),  x^m ~ p_m(x^m | z, eps^m),  z^1 .. z^L ~ q(z | x of the given)

Ranks of z among the draws are uniform if q is the posterior. A guide learns from recordings, not
from the prior, so a deep model is not expected to pass: how it fails says what its draws are worth
where recordings look as the prior has them, and nothing of recordings that do not.

References:
    Talts, Betancourt, Simpson, Vehtari and Gelman (2018), Validating Bayesian inference algorithms
    with simulation-based calibration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.batch import Batch
from latentphys.trust.rank_calibration import rank_histogram, rank_uniformity

BINS = 10
AT_ONCE = 50  # windows


@dataclass(frozen=True)
class SimulatedRanks:
    """Ranks of the true state among draws, at the middle of windows drawn from the model.

    Attributes:
        ranks: (window, latent), 0 .. draws.
        draws: posterior draws each was ranked among.
        error: (window, latent), (z - mean of the draws) / SD of the draws.
        given: the sensors used.
    """

    ranks: NDArray[np.int64]
    draws: int
    error: NDArray[np.float64]
    given: tuple[str, ...]

    @property
    def p_values(self) -> NDArray[np.float64]:
        """(latent,) of the chi-squared test that ranks are uniform."""
        return np.array([rank_uniformity(column, self.draws, BINS) for column in self.ranks.T])

    @property
    def histogram(self) -> NDArray[np.float64]:
        """Ranks of all latent dimensions in ten bins, 1 everywhere is calibrated."""
        counts = rank_histogram(self.ranks, self.draws, BINS)
        return np.asarray(counts * BINS / counts.sum())

    @property
    def spread(self) -> float:
        """Root mean square error in predicted SDs: 1 is calibrated, above it q is too narrow."""
        return float(np.sqrt(np.mean(self.error**2)))

    def __repr__(self) -> str:
        bars = " ".join(f"{bar:.2f}" for bar in self.histogram)
        rejected = int((self.p_values < 0.01).sum())
        return (
            f"{'+'.join(self.given)}: uniform ranks rejected at 1 % for {rejected} of "
            f"{self.ranks.shape[1]} latent dimensions; errors of {self.spread:.2f} predicted SDs; "
            f"ranks by tenths {bars}"
        )


@torch.no_grad()
def simulated_ranks(
    model: StateSpaceModel,
    steps: int,
    given: Sequence[str] = (),
    windows: int = 200,
    draws: int = 99,
    seed: int = 0,
) -> SimulatedRanks:
    """Ranks of states drawn from a model's prior among those its guide draws.

    Args:
        model: in evaluation mode; inputs are 0.
        steps: length of a window, state steps; that of training is the fair one.
        given: sensors the guide is shown; all when left out.
        windows: how many are drawn.
        draws: of the guide; one less than a multiple of ten.
        seed: of everything.
    """
    names = tuple(given) or tuple(model.spec.sensors)
    ranks, errors = [], []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for first in range(0, windows, AT_ONCE):
            count = min(AT_ONCE, windows - first)
            z = model.prior_over(steps, None, torch.Size((count,))).sample()
            shown = _recorded(model, z, names)
            found = model.guide_of(model.evidence(shown)).sample(torch.Size((draws,)))
            truth, found = z[:, steps // 2], found[:, :, steps // 2]
            ranks.append((found < truth).sum(0))
            errors.append((truth - found.mean(0)) / found.std(0))
    return SimulatedRanks(
        torch.cat(ranks).numpy(), draws, torch.cat(errors).double().numpy(), names
    )


def _recorded(model: StateSpaceModel, z: Tensor, names: Sequence[str]) -> Batch:
    """What sensors of training's channels and rate record of paths (window, step, latent)."""
    count, steps, _ = z.shape
    spec = model.spec
    values, mask, offset, channels = {}, {}, {}, {}
    for name in names:
        sensor = spec.sensors[name]
        leads = sensor.channels[:1]
        channels[name] = [leads] * count
        grid = torch.arange(sensor.size, dtype=z.dtype) / sensor.size
        offset[name] = grid.expand(count, steps, -1).clone()
        nuisance = torch.randn(count, len(leads), spec.nuisance_dim, dtype=z.dtype)
        index = model.encoder(name).name_index(channels[name])
        values[name] = model.emission(name)(z, nuisance, index, offset[name]).sample()
        mask[name] = torch.ones_like(values[name], dtype=torch.bool)
    return Batch(
        values=values,
        mask=mask,
        offset=offset,
        channels=channels,
        inputs=None,
        subject=["simulated"] * count,
        record=[f"simulated{k}" for k in range(count)],
        start_step=torch.zeros(count, dtype=torch.int64),
        state_rate_hz=spec.state_rate_hz,
        steps=steps,
    )
