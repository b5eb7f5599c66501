"""Absent sensors from present ones: p(x^m | x of the given sensors), in the sensor's own units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from latentphys.inference.paths import PathPosterior, infer_path
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.batch import places
from latentphys.preparation.preprocessing import PreparedRecord, PreparedSignal, Scale
from latentphys.recordings.errors import ModalityError, closest

STEPS_A_CHUNK = 1000


@dataclass(frozen=True)
class Question:
    """What is asked of the model.

    Attributes:
        target: the modality to impute.
        given: the modalities it is imputed from.
        draws: posterior predictive draws.
        level: of the central interval.
        window_s: length of the windows the record is read in, seconds.
        seed: of the draws.
    """

    target: str
    given: tuple[str, ...]
    draws: int = 100
    level: float = 0.9
    window_s: float = 16.0
    seed: int = 0


def check_modalities(model: StateSpaceModel, names: Sequence[str], what: str) -> None:
    """Refuse a modality the model was not fitted with.

    Raises:
        ModalityError: names those there are.
    """
    known = tuple(model.spec.sensors)
    for name in names:
        if name not in known:
            raise ModalityError(
                f"{what}: this model was fitted with {', '.join(known)}; got {name!r}."
                f"{closest(name, known)} Fit a cohort that has it, or choose another."
            )


def impute_record(model: StateSpaceModel, record: PreparedRecord, question: Question) -> xr.Dataset:
    """The posterior predictive of one sensor over a whole recording.

        p(x^m | x^S) = E[p_m(x^m | z, eps^m)],   z ~ q(z | x^S),   eps^m ~ N(0, I)

    eps^m is the sensor's own posterior where it is among the given ones, else its prior.

    Returns:
        Dataset with mean, sd, lower, upper (channel, time) and draws (sample, channel, time) at
        the sensor's own times and units; attribute `scaling` says whether they come from the
        record's own sensor or from the training subjects.
    """
    signal = record.signals.get(question.target) or _unseen(model, record, question.target)
    if not np.isfinite(signal.values).any():
        signal = _in_training_units(model, signal, question.target)
    generator = torch.Generator().manual_seed(question.seed)
    path = infer_path(model, record, question.given, question.window_s, question.draws, generator)
    loc, scale = decode(model, question.target, path, signal, generator)
    emission = model.emission(question.target)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(question.seed)
        draws = emission.around(loc, scale).sample().numpy()
        variance = loc.var(0) + emission.variance(scale).mean(0)
    return _dataset(record, question, signal, draws, loc.mean(0).numpy(), variance.sqrt().numpy())


@torch.no_grad()
def decode(
    model: StateSpaceModel,
    modality: str,
    path: PathPosterior,
    signal: PreparedSignal,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Location and scale of every sample of a sensor, (sample, channel, time), standardised."""
    draws, total, _ = path.draws.shape
    channels, size = len(signal.channels), model.spec.nuisance_dim
    noise = torch.randn(draws, 1, channels, size, generator=generator)
    if modality in path.nuisance:
        q = path.nuisance[modality]
        noise = q.loc + q.scale * noise
    names = model.encoder(modality).name_index([signal.channels])
    length = signal.values.shape[1]
    loc, scale = torch.zeros(draws, channels, length), torch.ones(draws, channels, length)
    for start in range(0, total, STEPS_A_CHUNK):
        steps = min(STEPS_A_CHUNK, total - start)
        at = places(signal, start, steps, model.spec.state_rate_hz)
        chunk = model.emission(modality).moments(
            path.draws[:, None, start : start + steps],
            noise,
            names,
            torch.from_numpy(at.offset[None]),
        )
        exists, sample = torch.from_numpy(at.exists), torch.from_numpy(at.sample[at.exists])
        for whole, part in zip((loc, scale), chunk, strict=True):
            whole[..., sample] = part[:, 0].permute(0, 2, 1, 3)[..., exists]
    return loc, scale


def _unseen(model: StateSpaceModel, record: PreparedRecord, modality: str) -> PreparedSignal:
    """A sensor the recording does not have: all NaN, at the training rate."""
    spec = model.spec.sensors[modality]
    length = max(1, round(record.duration_s * spec.rate_hz))
    return PreparedSignal(
        values=np.full((1, length), np.nan, dtype=np.float32),
        time_s=None,
        rate_hz=spec.rate_hz,
        channels=spec.channels[:1],
        units=spec.units,
        scale=Scale(np.zeros(1), np.ones(1)),
    )


def _in_training_units(
    model: StateSpaceModel, signal: PreparedSignal, modality: str
) -> PreparedSignal:
    """A sensor of which nothing was observed says nothing of its scaling: the training one."""
    spec, count = model.spec.sensors[modality], len(signal.channels)
    scale = Scale(np.full(count, spec.location), np.full(count, spec.scale))
    return replace(signal, units=spec.units, scale=scale)


def _dataset(
    record: PreparedRecord,
    question: Question,
    signal: PreparedSignal,
    draws: NDArray[np.float32],
    mean: NDArray[np.float32],
    sd: NDArray[np.float32],
) -> xr.Dataset:
    """Standardised arrays in the sensor's own units, labelled."""
    tail = (1.0 - question.level) / 2.0
    draws = signal.scale.to_units(draws).astype(np.float32)
    lower, upper = np.quantile(draws, [tail, 1.0 - tail], axis=0)
    time = signal.time_s
    if time is None:
        time = np.arange(mean.shape[1]) / signal.rate_hz
    units = {"units": signal.units}
    own = signal is record.signals.get(question.target)
    return xr.Dataset(
        {
            "mean": (("channel", "time"), signal.scale.to_units(mean), units),
            "sd": (("channel", "time"), sd * signal.scale.scale[:, None], units),
            "lower": (("channel", "time"), lower, units),
            "upper": (("channel", "time"), upper, units),
            "draws": (("sample", "channel", "time"), draws, units),
        },
        coords={
            "channel": list(signal.channels),
            "time": ("time", time, {"units": "s"}),
            "sample": np.arange(len(draws)),
        },
        attrs={
            "record": record.record,
            "subject": record.subject,
            "modality": question.target,
            "given": ", ".join(question.given),
            "level": question.level,
            "rate_hz": signal.rate_hz,
            "scaling": "record" if own else "training subjects",
            "sample_dims": "sample",
        },
    )
