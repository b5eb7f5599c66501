"""The posterior path of a whole recording from overlapping windows, without a seam.

Every window is driven by the same noise at the same moment of the recording, so neighbouring
windows draw the same path where they overlap and a cross-fade between them loses no variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal

from latentphys.model.distributions import GaussMarkov
from latentphys.model.evidence import Evidence
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.batch import collate
from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.preparation.windows import steps_in, tile

WINDOWS_A_BATCH = 16


@dataclass(frozen=True)
class PathPosterior:
    """q(z_{1:T}, eps | x) of one recording.

    Attributes:
        mean, sd: (step, latent), the marginal moments.
        draws: (sample, step, latent).
        nuisance: modality -> Normal over (channel, nuisance): of an observed sensor its
            posterior, averaged over windows; absent sensors are not in it.
    """

    mean: Tensor
    sd: Tensor
    draws: Tensor
    nuisance: dict[str, Normal]


@torch.no_grad()
def infer_path(
    model: StateSpaceModel,
    record: PreparedRecord,
    given: Sequence[str],
    window_s: float,
    draws: int,
    generator: torch.Generator,
) -> PathPosterior:
    """The posterior path given some of the sensors.

    Where none of them has a sample the answer is the prior, exactly. A window without a sample in
    a record that has some is the guide's, which training has shown such gaps, so that a path
    leaves the last sample and arrives at the next without a jump.

    Args:
        model: in evaluation mode.
        record: a prepared recording of any length.
        given: modalities whose samples are used.
        window_s: length of a window; windows overlap by half.
        draws: number of paths.
        generator: source of randomness.
    """
    spec = model.spec
    total = steps_in(record.duration_s, spec.state_rate_hz)
    index = tile([record], window_s, window_s / 2, spec.state_rate_hz)
    padded = int(index.start_step.max()) + index.steps
    noise = torch.randn(draws, max(total, padded), spec.latent_dim, generator=generator)
    kept = [name for name in spec.sensors if name in given and name in record.signals]
    if not any(np.isfinite(record.signals[name].values).any() for name in kept):
        return _prior_posterior(model, record, noise[:, :total])
    blend = _Blend(noise.shape[1], spec.latent_dim, draws)
    pooled: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in kept}
    for rows in torch.arange(len(index)).split(WINDOWS_A_BATCH):
        batch = collate([record], index, rows.numpy(), kept)
        evidence = model.evidence(batch)
        q = model.guide_of(evidence)
        starts = [int(start) for start in batch.start_step]
        driven = torch.stack([noise[:, s : s + batch.steps] for s in starts], dim=1)
        blend.add(q, q.path(driven), starts)
        _pool(evidence, pooled)
    mean, sd, paths = blend.result()
    nuisance = {
        name: Normal(
            torch.cat([loc for loc, _ in seen]).mean(0), torch.cat([s for _, s in seen]).mean(0)
        )
        for name, seen in pooled.items()
        if seen
    }
    return PathPosterior(mean[:total], sd[:total], paths[:, :total], nuisance)


def _pool(evidence: Evidence, pooled: dict[str, list[tuple[Tensor, Tensor]]]) -> None:
    """Collect q(eps) of the windows in which a modality was observed."""
    for name, sensor in evidence.sensors.items():
        if bool(sensor.present.any()):
            q = sensor.nuisance
            pooled[name].append((q.loc[sensor.present], q.scale[sensor.present]))


def _prior_posterior(
    model: StateSpaceModel, record: PreparedRecord, noise: Tensor
) -> PathPosterior:
    """Rollouts of the transition over a recording of which nothing was observed."""
    steps, inputs = noise.shape[1], None
    if model.spec.input_dim and record.inputs is not None:
        at = np.floor((np.arange(steps) + 0.5) / model.spec.state_rate_hz * record.inputs_rate_hz)
        at = np.clip(at.astype(np.int64), 0, record.inputs.shape[1] - 1)
        inputs = torch.from_numpy(np.nan_to_num(record.inputs[:, at]).T.copy())
    draws = model.prior_over(steps, inputs, torch.Size()).path(noise)
    if len(draws) > 1:
        return PathPosterior(draws.mean(0), draws.std(0), draws, {})
    loc, scale = model.prior_moments()
    return PathPosterior(loc.expand(steps, -1), scale.expand(steps, -1), draws, {})


class _Blend:
    """Cross-faded sums over windows."""

    def __init__(self, steps: int, latent: int, draws: int) -> None:
        self.weight = torch.zeros(steps, 1)
        self.mean = torch.zeros(steps, latent)
        self.square = torch.zeros(steps, latent)
        self.draws = torch.zeros(draws, steps, latent)

    def add(self, q: GaussMarkov, z: Tensor, starts: Sequence[int]) -> None:
        """Take in windows: q over (window,) and their paths z (sample, window, step, latent)."""
        steps = z.shape[-2]
        ramp = (torch.arange(steps) + 0.5) / steps
        fade = torch.sin(torch.pi * ramp).square().unsqueeze(-1) + 1e-6
        variance = q.variance
        for k, start in enumerate(starts):
            at = slice(start, start + steps)
            self.weight[at] += fade
            self.mean[at] += fade * q.mean[k]
            self.square[at] += fade * variance[k]
            self.draws[:, at] += fade * z[:, k]

    def result(self) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, sd and draws."""
        return (
            self.mean / self.weight,
            (self.square / self.weight).sqrt(),
            self.draws / self.weight,
        )
