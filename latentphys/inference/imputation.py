"""Absent sensors from present ones: p(x^m | x of the given sensors), in the sensor's own units."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Normal

from latentphys.inference.bridging import Bridge, Stretch
from latentphys.inference.doors import heard
from latentphys.inference.mixture import mixture_quantiles
from latentphys.inference.paths import Paths, paths_of
from latentphys.model.emissions import PatchEmission
from latentphys.model.statespace import Emission, StateSpaceModel
from latentphys.preparation.batch import places
from latentphys.preparation.frames import PixelGrid, as_frames
from latentphys.preparation.preprocessing import PreparedRecord, PreparedSignal, Scale
from latentphys.recordings.arguments import number_between, seed_number, whole_number
from latentphys.recordings.errors import ArgumentError, ModalityError, closest
from latentphys.recordings.units import conversion, quantity_of

# Decoded at a time: all draws of all channels of so few steps stay in the processor's cache.
STEPS_A_CHUNK, VALUES_A_CHUNK = 100, 250_000
Scaling = Literal["own", "training"]


@dataclass(frozen=True)
class Question:
    """What is asked of the model.

    Attributes:
        target: the modality to impute.
        given: the modalities it is imputed from.
        draws: posterior predictive draws, two or more.
        level: of the central interval, between 0 and 1.
        window_s: length of the windows the record is read in, seconds.
        seed: of the draws.
        scaling: whose median and spread take the answer to the sensor's units: "own", the
            record's where it has samples of that channel, else the training subjects'; or
            "training", those always, so that nothing the record has of the target is used.
        channels: of the target, in the order of the answer; None for the record's, or of a
            sensor it does not have the commonest one.

    Raises:
        ArgumentError: a number outside what is allowed, another scaling, or channels that are
            none, or the same twice.
    """

    target: str
    given: tuple[str, ...]
    draws: int = 100
    level: float = 0.9
    window_s: float = 16.0
    seed: int = 0
    scaling: Scaling = "own"
    channels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be asked."""
        whole_number("draws", self.draws, 2, "An interval takes several; 100 is usual.")
        number_between("level", self.level, 0.0, 1.0, "For a 90 % interval write 0.9.")
        number_between("window_s", self.window_s, 0.0, float("inf"), "16 is usual.")
        seed_number(self.seed)
        if self.scaling not in ("own", "training"):
            raise ArgumentError(
                f"scaling is 'own' or 'training', got {self.scaling!r}. 'own' uses the record's "
                "median and spread of the target where it has samples of it."
            )
        if self.channels is not None and len(set(self.channels)) != max(1, len(self.channels)):
            raise ArgumentError(
                f"channels are names of channels, each once, got {list(self.channels)}. Leave "
                "them out for those the record has."
            )


def check_modalities(model: StateSpaceModel, names: Sequence[str], what: str) -> None:
    """Refuse a modality the model was not fitted with.

    Raises:
        ModalityError: names those there are.
    """
    known = (*model.spec.sensors, *(model.spec.texts if what == "given" else ()))
    for name in names:
        if not isinstance(name, str):
            raise ModalityError(
                f"{what}: a modality is a name, one of {', '.join(known)}; got "
                f"{type(name).__name__}. Write {known[0]!r}, say; the record comes before it."
            )
        if name not in known:
            raise ModalityError(
                f"{what}: this model was fitted with {', '.join(known)}; got {name!r}."
                f"{closest(name, known)} Fit a cohort that has it, or choose another."
            )


def impute_record(model: StateSpaceModel, record: PreparedRecord, question: Question) -> xr.Dataset:
    """The posterior predictive of one sensor over a whole recording.

        p(x^m | x^S) = E[p_m(x^m | z, eps^m)],   z ~ q(z | x^S),   eps^m ~ N(0, I)

    eps^m, and the lag of a sensor that has one, is the sensor's own posterior where it is among
    the given ones, else its prior. In a gap of a given sensor whose noise lasts, the noise is
    given what it was at the samples beside the gap (`latentphys.inference.bridging`). `mean`,
    `sd`, `lower` and `upper` are of the mixture of the emission's distributions over the draws of
    (z, eps^m); `draws` has one sample of each. Beside the result itself, memory does not grow with
    the length of a record of which anything given was observed.

    Args:
        model: in evaluation mode.
        record: a prepared recording.
        question: what is asked.

    Returns:
        Dataset with mean, sd, lower, upper (channel, time) and draws (sample, channel, time),
        float32, at the sensor's own times and units. Of images the time is that of pixel after
        pixel of each frame; `as_images` gives frames. Attribute `scaling` says whether the units
        come from the record's own samples ("own") or from the training subjects' ("training"),
        by channel where they differ; `given` names the given modalities that were there.

    Raises:
        ModalityError: a target the model was not fitted with, or channels that neither the
            model nor the record knows.
        UnitError: a target in units that training's cannot be converted to.
    """
    check_modalities(model, [question.target], "target")
    own = record.signals.get(question.target) or _unseen(model, record, question.target)
    signal = own if question.channels is None else _of_channels(model, own, question)
    signal, scaling = _scaled(model, signal, question)
    draws, emission = int(question.draws), model.emission(question.target)
    generator = torch.Generator().manual_seed(int(question.seed))
    paths = paths_of(model, record, question.given, question.window_s)
    if question.channels is not None and question.target in paths.nuisance:
        q = _by_channel(paths.nuisance[question.target], own.channels, signal.channels)
        paths = replace(paths, nuisance={question.target: q})
    before, bridge = _before_decoding(model, question, signal), None
    if question.target in question.given:
        bridge = Bridge.over(emission.noise, signal, model.spec.state_rate_hz)
    if bridge is not None:
        bridge.rest(before, np.random.default_rng([int(question.seed), 1]))
    answer = _Answer.around(before)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(int(question.seed))
        parts = decode(paths, question.target, signal, draws, generator, bridge=bridge)
        for sample, loc, scale in parts:
            answer.fill(sample, loc, scale, emission, float(question.level), signal.scale)
    return _dataset(record, question, signal, answer, scaling)


@torch.no_grad()
def decode(
    paths: Paths,
    modality: str,
    signal: PreparedSignal,
    draws: int,
    generator: torch.Generator,
    *,
    wanted: NDArray[np.bool_] | None = None,
    bridge: Bridge | None = None,
) -> Iterator[Stretch]:
    """Location and scale of every sample of a sensor, standardised, a stretch at a time.

    Args:
        paths: the posterior of the recording, by a model in evaluation mode.
        modality: the sensor.
        signal: whose channels and sample times are decoded; its values are not looked at.
        draws: paths to decode.
        generator: of eps^m, of the lag and of the paths.
        wanted: (time,), samples to decode; stretches without any are left out.
        bridge: over the sensor's gaps, whose samples it moves.

    Yields:
        Numbers of the samples (time,), their location and their scale (sample, channel, time).
    """
    decoded = partial(_decoded, paths, modality, signal, draws, generator)
    if bridge is None:
        yield from decoded(wanted)
        return
    edges = np.zeros(signal.values.shape[1], dtype=bool)
    edges[bridge.edge] = True
    began = generator.get_state()
    known = bridge.known(decoded(edges), draws)
    generator.set_state(began)  # the same paths again
    for stretch in decoded(wanted):
        yield bridge.moved(stretch, known)


def _decoded(
    paths: Paths,
    modality: str,
    signal: PreparedSignal,
    draws: int,
    generator: torch.Generator,
    wanted: NDArray[np.bool_] | None,
) -> Iterator[Stretch]:
    """What the state tells of a sensor; as `decode`, without a bridge."""
    model = paths.model
    channels, size = len(signal.channels), model.spec.nuisance_dim
    noise = torch.randn(draws, 1, channels, size, generator=generator)
    if modality in paths.nuisance:
        q = paths.nuisance[modality]
        noise = q.loc + q.scale * noise
    names = model.encoder(modality).name_index([signal.channels])
    lag = _lag(paths, modality, draws, generator)
    margin = 0 if lag is None else math.ceil(float(lag.abs().max())) + 2
    length = _steps_at_a_time(model, signal, draws)
    for first, z, before, after in _with_margin(paths.chunks(draws, generator), margin):
        for part in range(before, z.shape[1] - after, length):
            stop = min(part + length, z.shape[1] - after)
            start, end = max(0, part - margin), min(z.shape[1], stop + margin)
            path, inner = z[:, None, start:end], slice(part - start, stop - start)
            at = places(signal, first + start, path.shape[2], model.spec.state_rate_hz)
            sample = at.sample[inner][at.exists[inner]]
            if wanted is not None and not wanted[sample].any():
                continue
            loc, scale = model.emission(modality).moments(
                path, noise, names, torch.from_numpy(at.offset[None]), lag
            )
            exists = torch.from_numpy(at.exists[inner])
            yield (
                sample,
                loc[:, 0, inner].permute(0, 2, 1, 3)[..., exists],
                scale[:, 0, inner].permute(0, 2, 1, 3)[..., exists],
            )


def _steps_at_a_time(model: StateSpaceModel, signal: PreparedSignal, draws: int) -> int:
    a_step = signal.rate_hz / model.spec.state_rate_hz * len(signal.channels) * signal.pixels
    return min(STEPS_A_CHUNK, max(1, int(VALUES_A_CHUNK / max(a_step * draws, 1.0))))


def _lag(paths: Paths, modality: str, draws: int, generator: torch.Generator) -> Tensor | None:
    """Draws of a sensor's lag in steps, (sample, 1): its posterior, else its prior; None without.

    One a path: a person's lag is the same throughout a recording.
    """
    model = paths.model
    if modality not in model.spec.lags:
        return None
    q = paths.lags.get(modality, model.lag_guide(modality).prior())
    seconds = q.loc + q.scale * torch.randn(draws, 1, generator=generator)
    return seconds * model.spec.state_rate_hz


def _with_margin(
    chunks: Iterator[tuple[int, Tensor]], margin: int
) -> Iterator[tuple[int, Tensor, int, int]]:
    """Stretches of paths with steps of their neighbours beside them.

    Yields:
        First step, paths (sample, step, latent), and how many of the steps are of the stretch
        before and of the one after.
    """
    if margin == 0:
        yield from ((first, z, 0, 0) for first, z in chunks)
        return
    held: Tensor | None = None
    start = before = 0
    for first, z in chunks:
        if held is not None:
            after = z[:, :margin]
            yield start, torch.cat([held, after], dim=1), before, after.shape[1]
            kept = held[:, -margin:]
            held, before, start = torch.cat([kept, z], dim=1), kept.shape[1], first - kept.shape[1]
        else:
            held, start = z, first
    if held is not None:
        yield start, held, before, 0


@dataclass(frozen=True)
class _Answer:
    """Arrays of the result, filled a stretch at a time: (channel, time), draws (sample, ...).

    Of a sensor whose noise lasts, `draws` holds standard normal noise until it is filled.
    """

    mean: NDArray[np.float32]
    sd: NDArray[np.float32]
    lower: NDArray[np.float32]
    upper: NDArray[np.float32]
    draws: NDArray[np.float32]

    @classmethod
    def around(cls, draws: NDArray[np.float32]) -> _Answer:
        """Room for what is told of some draws."""
        mean, sd, lower, upper = (np.empty(draws.shape[1:], np.float32) for _ in range(4))
        return cls(mean, sd, lower, upper, draws)

    def fill(
        self,
        sample: NDArray[np.int64],
        loc: Tensor,
        scale: Tensor,
        emission: Emission,
        level: float,
        units: Scale,
    ) -> None:
        """Put in some samples, from their standardised locations and scales."""
        if not len(sample):
            return
        each = emission.around(loc, scale)
        lower, upper = mixture_quantiles(each, ((1.0 - level) / 2.0, (1.0 + level) / 2.0))
        variance = loc.var(0) + emission.variance(scale).mean(0)
        # Samples of a stretch of state steps follow one another.
        at = slice(int(sample[0]), int(sample[-1]) + 1)
        self.mean[:, at] = units.to_units(loc.mean(0).numpy())
        self.sd[:, at] = variance.sqrt().numpy() * units.scale[:, None]
        self.lower[:, at] = units.to_units(lower.numpy())
        self.upper[:, at] = units.to_units(upper.numpy())
        if isinstance(emission, PatchEmission) and emission.noise is not None:
            drawn = emission.driven(loc, scale, torch.from_numpy(self.draws[:, :, at]))
        else:
            drawn = each.sample()
        self.draws[:, :, at] = units.to_units(drawn.numpy())


def _before_decoding(
    model: StateSpaceModel, question: Question, signal: PreparedSignal
) -> NDArray[np.float32]:
    """Room for the draws, (sample, channel, time), with their noise where it lasts."""
    noise = model.emission(question.target).noise
    shape = (int(question.draws), *signal.values.shape)
    if noise is None:
        return np.empty(shape, np.float32)
    spacing = model.spec.state_rate_hz / signal.rate_hz
    generator = np.random.default_rng(int(question.seed))
    if signal.time_s is None:
        return noise.draw(shape, spacing, generator)
    # At uneven times it is the noise of the nearest of even ones.
    at = np.rint((signal.time_s - signal.time_s.min(initial=0.0)) * signal.rate_hz).astype(int)
    return noise.draw((*shape[:2], 1 + at.max(initial=0)), spacing, generator)[..., at]


def _unseen(model: StateSpaceModel, record: PreparedRecord, modality: str) -> PreparedSignal:
    """A sensor the recording does not have: all NaN, at the training rate."""
    spec = model.spec.sensors[modality]
    length, time_s = max(1, round(record.duration_s * spec.rate_hz)), None
    if spec.grid is not None:
        time_s = np.repeat(np.arange(length) / spec.rate_hz, spec.grid.pixels)
        length = len(time_s)
    return PreparedSignal(
        values=np.full((1, length), np.nan, dtype=np.float32),
        time_s=time_s,
        rate_hz=spec.rate_hz,
        channels=spec.channels[:1],
        units=spec.units,
        scale=Scale(np.zeros(1), np.ones(1)),
        grid=spec.grid,
    )


def _of_channels(
    model: StateSpaceModel, signal: PreparedSignal, question: Question
) -> PreparedSignal:
    """The channels asked for; those the record does not have are all NaN."""
    asked, spec = tuple(question.channels or ()), model.spec.sensors[question.target]
    if spec.likelihood == "bernoulli":
        raise ArgumentError(
            f"channels of 0 and 1 are imputed all together, {question.target!r} too. Leave "
            "channels out and select from the answer."
        )
    known = dict.fromkeys((*signal.channels, *spec.channels))
    for name in asked:
        if name not in known:
            raise ModalityError(
                f"channels of {question.target!r} that this model or the record knows are "
                f"{', '.join(known)}; got {name!r}.{closest(name, known)}"
            )
    shape = (len(asked), signal.values.shape[1])
    values, scale = np.full(shape, np.nan, np.float32), Scale(*np.ones((2, len(asked))))
    own, at = _shared(asked, signal.channels)
    values[own] = signal.values[at]
    scale.location[own], scale.scale[own] = signal.scale.location[at], signal.scale.scale[at]
    return replace(signal, values=values, channels=asked, scale=scale)


def _by_channel(q: Normal, told: tuple[str, ...], asked: tuple[str, ...]) -> Normal:
    """q(eps) of the channels asked for, over (channel, nuisance): the prior's of those not told."""
    loc, scale = torch.zeros(len(asked), q.loc.shape[-1]), torch.ones(len(asked), q.loc.shape[-1])
    known, at = _shared(asked, told)
    loc[known], scale[known] = q.loc[at], q.scale[at]
    return Normal(loc, scale, validate_args=False)


def _shared(asked: tuple[str, ...], have: tuple[str, ...]) -> tuple[list[int], list[int]]:
    """Where the names that both hold stand among those asked for, and among those there are."""
    both = [k for k, name in enumerate(asked) if name in have]
    return both, [have.index(asked[k]) for k in both]


def _scaled(
    model: StateSpaceModel, signal: PreparedSignal, question: Question
) -> tuple[PreparedSignal, str]:
    """The target with the scaling asked for, and whose it is, in words.

    A channel of which nothing was observed says nothing of its scaling: the training one. A
    sensor of which nothing was observed comes in training's units too.
    """
    spec = model.spec.sensors[question.target]
    seen = np.isfinite(signal.values).any(axis=1)
    factor = 1.0
    if not seen.any():
        signal = replace(signal, units=spec.units)
    elif quantity_of(spec.units) is not None and quantity_of(signal.units) is not None:
        factor = conversion(spec.units, signal.units)
    own = seen if question.scaling == "own" else np.zeros_like(seen)
    usual = spec.scaling(signal.channels)
    scale = Scale(
        np.where(own, signal.scale.location, usual.location * factor),
        np.where(own, signal.scale.scale, usual.scale * factor),
    )
    words = np.where(own, "own", "training")
    told = ", ".join(f"{c}: {w}" for c, w in zip(signal.channels, words, strict=True))
    return replace(signal, scale=scale), str(words[0]) if len(set(words)) == 1 else told


def _dataset(
    record: PreparedRecord,
    question: Question,
    signal: PreparedSignal,
    answer: _Answer,
    scaling: str,
) -> xr.Dataset:
    """The arrays, labelled."""
    time = signal.time_s
    if time is None:
        time = np.arange(signal.values.shape[1]) / signal.rate_hz
    units = {"units": signal.units}
    plane, cube = ("channel", "time"), ("sample", "channel", "time")
    return xr.Dataset(
        {
            "mean": (plane, answer.mean, units),
            "sd": (plane, answer.sd, units),
            "lower": (plane, answer.lower, units),
            "upper": (plane, answer.upper, units),
            "draws": (cube, answer.draws, units),
        },
        coords={
            "channel": list(signal.channels),
            "time": ("time", time, {"units": "s"}),
            "sample": np.arange(len(answer.draws)),
        },
        attrs={
            "record": record.record,
            "subject": record.subject,
            "modality": question.target,
            "given": ", ".join(heard(record, question.given)),
            "level": question.level,
            "rate_hz": signal.rate_hz,
            "scaling": scaling,
            "sample_dims": "sample",
        },
    )


def as_images(imputed: xr.Dataset, grid: PixelGrid) -> xr.Dataset:
    """What `impute_record` gives of an image sequence, as frames.

    Args:
        imputed: over (channel, time), the time that of each pixel.
        grid: of the pixels.

    Returns:
        The same variables over (time, y, x), of several slices (slice, time, y, x); y and x are
        where the pixels' centres lie, from the image's edge.
    """
    apart, together = ("slice", "time", "y", "x"), {}
    one = imputed.sizes["channel"] == 1
    for name, flat in imputed.data_vars.items():
        values = as_frames(flat.values, grid)
        dims = (("sample",) if "sample" in flat.dims else ()) + (apart[1:] if one else apart)
        together[name] = (dims, values.squeeze(-4) if one else values, flat.attrs)
    time = imputed["time"]
    coords = {"time": ("time", time.values[:: grid.pixels], time.attrs), **grid.coords()}
    frames = xr.Dataset(together, coords=coords, attrs=imputed.attrs)
    frames = frames.assign_coords(sample=imputed["sample"])
    return frames if one else frames.assign_coords(slice=imputed["channel"].values)
