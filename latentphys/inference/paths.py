"""The posterior path of a whole recording from overlapping windows, without a seam.

Every window is driven by the same noise at the same moment of the recording, so neighbouring
windows draw the same path where they overlap and a cross-fade between them loses no variance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal

from latentphys.model.distributions import GaussMarkov
from latentphys.model.evidence import Evidence, Lag
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.batch import collate
from latentphys.preparation.inputs import inputs_at
from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.preparation.windows import any_finite, record_steps, tile

WINDOWS_A_BATCH = 16
# Steps of the windows whose paths are drawn at a time: what bounds the memory of a long record.
STEPS_AT_A_TIME = 1000
# Noise is drawn in blocks of so many steps, the same at a moment whatever the windows.
NOISE_BLOCK = 256
# So that the very edge of a record, which one window alone covers, has a weight.
FADE_FLOOR = 1e-6


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


@dataclass(frozen=True)
class Paths:
    """q(z_{1:T}, eps | x) of one recording, from which paths are drawn bit by bit.

    Attributes:
        model: in evaluation mode.
        record: what is asked about.
        steps: state steps of the record.
        starts: first step of each window; empty where nothing was observed.
        windows: q of each window, over (window,) paths (step, latent); None where nothing was
            observed, which leaves the prior.
        nuisance: as in `PathPosterior`.
        lags: modality -> Normal over its lag in seconds, of those that something given tells of.
    """

    model: StateSpaceModel
    record: PreparedRecord
    steps: int
    starts: tuple[int, ...]
    windows: GaussMarkov | None
    nuisance: dict[str, Normal]
    lags: dict[str, Normal] = field(default_factory=dict)

    @torch.no_grad()
    def moments(self) -> tuple[Tensor, Tensor]:
        """Marginal mean and standard deviation, (step, latent) each."""
        if self.windows is None:
            loc, scale = (moment.detach() for moment in self.model.prior_moments())
            return loc.expand(self.steps, -1), scale.expand(self.steps, -1)
        blend = _Blend(2, self.model.spec.latent_dim)
        both = torch.stack([self.windows.mean, self.windows.variance])
        mean, variance = blend.take(both, self.starts, self.starts[-1] + both.shape[-2])
        return mean[: self.steps], variance[: self.steps].sqrt()

    @torch.no_grad()
    def chunks(self, draws: int, generator: torch.Generator) -> Iterator[tuple[int, Tensor]]:
        """(first step, paths (sample, step, latent)) of one stretch after another, the whole once.

        What is held at a time does not grow with the record, where anything was observed.

        Args:
            draws: number of paths.
            generator: source of randomness.
        """
        latent = self.model.spec.latent_dim
        if self.windows is None:
            whole = torch.randn(draws, self.steps, latent, generator=generator)
            yield 0, _prior_posterior(self.model, self.record, whole).draws
            return
        noise = _Noise(draws, latent, generator)
        length = self.windows.event_shape[0]
        group = max(1, STEPS_AT_A_TIME // length)
        blend, done = _Blend(draws, latent), 0
        for first in range(0, len(self.starts), group):
            starts = self.starts[first : first + group]
            driven = noise.between(starts[0], starts[-1] + length)
            each = torch.stack([driven[:, s - starts[0] :][:, :length] for s in starts], dim=1)
            z = self.windows.window(slice(first, first + group)).path(each)
            # What later windows do not reach is final.
            after = self.starts[first + group :]
            stop = min(after[0] if after else self.steps, self.steps)
            part = blend.take(z, starts, stop)
            if stop > done:
                yield done, part
                done = stop


@torch.no_grad()
def paths_of(
    model: StateSpaceModel, record: PreparedRecord, given: Sequence[str], window_s: float
) -> Paths:
    """Encode a recording once; see `infer_path` for what the windows do.

    Args:
        model: in evaluation mode.
        record: a prepared recording of any length.
        given: modalities whose samples are used.
        window_s: length of a window; windows overlap by half.
    """
    spec = model.spec
    total = record_steps(record, spec.state_rate_hz)
    kept = [name for name in spec.sensors if name in given and name in record.signals]
    told = [name for name in spec.texts if name in given and name in record.tokens]
    if not told and not any(any_finite(record.signals[name].values) for name in kept):
        return Paths(model, record, total, (), None, {})
    index = tile([record], window_s, window_s / 2, spec.state_rate_hz)
    pooled: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in kept}
    found: list[GaussMarkov] = []
    lags: list[Mapping[str, Lag]] = []
    for rows in torch.arange(len(index)).split(WINDOWS_A_BATCH):
        batch = collate([record], index, rows.numpy(), [*kept, *told], spec.inputs)
        evidence = model.evidence(batch)
        found.append(model.guide_of(evidence))
        lags.append(evidence.lags)
        _pool(evidence, pooled)
    nuisance = {
        name: Normal(
            torch.cat([loc for loc, _ in seen]).mean(0), torch.cat([s for _, s in seen]).mean(0)
        )
        for name, seen in pooled.items()
        if seen
    }
    together = GaussMarkov(
        torch.cat([q.mean_path for q in found]),
        torch.cat([q.correlation for q in found]),
        torch.cat([q.scale for q in found]),
        validate_args=False,
    )
    starts = tuple(int(start) for start in index.start_step)
    return Paths(model, record, total, starts, together, nuisance, pooled_lags(lags))


def pooled_lags(found: Sequence[Mapping[str, Lag]]) -> dict[str, Normal]:
    """Each modality's lag in a recording: the moments of its windows' posteriors, mixed.

    Windows that tell nothing of it are left out, and so is a lag that none tells of.

    Args:
        found: modality -> its lag, of one batch of windows after another.
    """
    lags = {}
    for name in dict.fromkeys(name for batch in found for name in batch):
        each = [batch[name] for batch in found if name in batch]
        loc = torch.cat([lag.q.loc[lag.told] for lag in each])
        scale = torch.cat([lag.q.scale[lag.told] for lag in each])
        if len(loc):
            variance = scale.square().mean() + loc.var(correction=0)
            lags[name] = Normal(loc.mean(), variance.sqrt(), validate_args=False)
    return lags


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

    Returns:
        Moments, paths and nuisance of the whole record.
    """
    paths = paths_of(model, record, given, window_s)
    if paths.windows is None:
        noise = torch.randn(draws, paths.steps, model.spec.latent_dim, generator=generator)
        return _prior_posterior(model, record, noise)
    whole = torch.empty(draws, paths.steps, model.spec.latent_dim)
    for start, part in paths.chunks(draws, generator):
        whole[:, start : start + part.shape[1]] = part
    return PathPosterior(*paths.moments(), whole, paths.nuisance)


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
    if model.spec.inputs and record.inputs is not None:
        middle = (np.arange(steps) + 0.5) / model.spec.state_rate_hz
        driven = np.nan_to_num(inputs_at(record, model.spec.inputs, middle))
        inputs = torch.from_numpy(driven.T.copy())
    draws = model.prior_over(steps, inputs, torch.Size()).path(noise)
    if len(draws) > 1:
        return PathPosterior(draws.mean(0), draws.std(0), draws, {})
    loc, scale = (moment.detach() for moment in model.prior_moments())
    return PathPosterior(loc.expand(steps, -1), scale.expand(steps, -1), draws, {})


class _Noise:
    """Standard normal noise (sample, step, latent) by stretches that only move forward."""

    def __init__(self, draws: int, latent: int, generator: torch.Generator) -> None:
        self.generator = generator
        self.start, self.held = 0, torch.empty(draws, 0, latent)

    def between(self, first: int, stop: int) -> Tensor:
        """The noise of steps first to stop; what lies before is forgotten."""
        draws, _, latent = self.held.shape
        blocks, end = [self.held[:, first - self.start :]], self.start + self.held.shape[1]
        while end < stop:
            blocks.append(torch.randn(draws, NOISE_BLOCK, latent, generator=self.generator))
            end += NOISE_BLOCK
        self.start, self.held = first, torch.cat(blocks, dim=1)
        return self.held[:, : stop - first]


class _Blend:
    """Cross-faded sums over windows, given out as they become final."""

    def __init__(self, rows: int, latent: int) -> None:
        self.start = 0
        self.weight = torch.zeros(0, 1)
        self.sum = torch.zeros(rows, 0, latent)

    def take(self, values: Tensor, starts: Sequence[int], stop: int) -> Tensor:
        """Add windows and give out what is final.

        Args:
            values: (row, window, step, latent).
            starts: first step of each window, none before what was given out already.
            stop: no later window reaches before it.

        Returns:
            (row, step, latent) from the step after what was given out, up to `stop`.
        """
        length = values.shape[-2]
        missing = starts[-1] + length - self.start - len(self.weight)
        self.weight = torch.cat([self.weight, torch.zeros(max(0, missing), 1)])
        more = torch.zeros(len(self.sum), max(0, missing), self.sum.shape[-1])
        self.sum = torch.cat([self.sum, more], dim=1)
        fade = torch.sin(torch.pi * (torch.arange(length) + 0.5) / length).square() + FADE_FLOOR
        for k, start in enumerate(starts):
            at = slice(start - self.start, start - self.start + length)
            self.weight[at] += fade.unsqueeze(-1)
            self.sum[:, at] += fade.unsqueeze(-1) * values[:, k]
        count = stop - self.start
        final = self.sum[:, :count] / self.weight[:count]
        self.start, self.weight, self.sum = stop, self.weight[count:], self.sum[:, count:]
        return final
