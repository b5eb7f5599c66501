"""The model and its guide: parts put together, and their joint as Pyro programs.

z_{1:T} ~ p(z_1) prod_t p(z_t | z_{t-1}, u_t)      eps^m ~ N(0, I)      x^m ~ p_m(x^m | z, eps^m)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import numpy as np
import pyro
import torch
from pyro.distributions import Normal as PyroNormal
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional as F

from latentphys.model.alignment import AlignmentHead
from latentphys.model.binary_emissions import BinaryEmission
from latentphys.model.binary_encoders import BinaryEncoder
from latentphys.model.codes import Codes, SensorCodes
from latentphys.model.distributions import SCALE_FLOOR, GaussMarkov, Trajectory
from latentphys.model.emissions import Likelihood, PatchEmission
from latentphys.model.encoders import SensorEncoder
from latentphys.model.evidence import Evidence, Lag, SensorEvidence, TraceEvidence
from latentphys.model.guides import make_guide
from latentphys.model.image_emissions import ImageEmission
from latentphys.model.image_encoders import ImageEncoder
from latentphys.model.keys import key_of
from latentphys.model.lags import LagGuide
from latentphys.model.oscillators import OscillatorTransition
from latentphys.model.privates import PrivateGuide, PrivatePrior, PrivateTransition
from latentphys.model.texts import (
    ChannelShapes,
    TextEmission,
    TextEncoder,
    TextEvidence,
    TextSpec,
    channel_shapes,
)
from latentphys.model.tokenisers import LocalBasis
from latentphys.model.transitions import GatedTransition, LinearTransition
from latentphys.preparation.batch import Batch, Tokens
from latentphys.preparation.frames import PixelGrid
from latentphys.preparation.preprocessing import Scale
from latentphys.recordings.errors import FitError, listed

TRANSITIONS: Mapping[str, Callable[[int, int], nn.Module]] = {
    "gated": GatedTransition,
    "linear": LinearTransition,
    "oscillator": OscillatorTransition,
}
CHOICES = {
    "transition": tuple(TRANSITIONS),
    "guide": ("pyramid", "lru", "attention"),
    "channels": ("sum", "attention"),
    "noise": ("white", "coloured"),
}

Encoder = SensorEncoder | BinaryEncoder | ImageEncoder
Emission = PatchEmission | BinaryEmission | ImageEmission
Spoken = TypeVar("Spoken", SensorEvidence, TraceEvidence)
UNIT_SPREAD = 0.5413  # softplus of it is 1: p(z_1) starts as wide as the transition
# A number a model, for Pyro's store: a copy of a model gets its own, and no number comes twice.
_COUNT = itertools.count()
_NUMBERS: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()


@dataclass(frozen=True)
class SensorSpec:
    """What the model knows of one modality.

    Attributes:
        size: cosines (and grid points) a state step.
        channels: channel names trained on, the commonest first.
        likelihood: "normal", "student_t", or "bernoulli" of values 0 and 1 whose channels are
            encoded and emitted together.
        rate_hz: samples a second in training; an absent sensor is imputed at it.
        units: of the sensor.
        location, scale: the training subjects' typical scaling of each channel, for one that a
            record does not have.
        reach: steps to either side that its preparation has looked, before the encoder does.
        source: the modality whose embedding it is; "" for a sensor's own.
        grid: of the pixels of an image sequence; None for a signal.
    """

    size: int
    channels: tuple[str, ...]
    likelihood: Likelihood = "normal"
    rate_hz: float = 1.0
    units: str = ""
    location: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    reach: int = 0
    source: str = ""
    grid: PixelGrid | None = None

    @property
    def waveform(self) -> bool:
        """Whether its samples lie along a curve: neither 0/1 values nor images."""
        return self.likelihood != "bernoulli" and self.grid is None

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> SensorSpec:
        """From JSON's values."""
        channels = tuple(plain["channels"])
        made: dict[str, Any] = {"channels": channels}
        for name in ("location", "scale"):
            value = plain.get(name, ())  # of models saved earlier, one for all channels
            one = isinstance(value, int | float)
            made[name] = (float(value),) * len(channels) if one else tuple(value)
        if plain.get("grid") is not None:
            pairs = {name: tuple(plain["grid"][name]) for name in ("shape", "spacing")}
            made["grid"] = PixelGrid(**{**plain["grid"], **pairs})
        return cls(**{**plain, **made})

    def scaling(self, channels: Sequence[str]) -> Scale:
        """Typical scaling of some channels; one that is not known has the median of all."""
        known = dict(zip(self.channels, zip(self.location, self.scale, strict=True), strict=False))
        usual = np.median(list(known.values()) or [(0.0, 1.0)], axis=0)
        return Scale(*np.array([known.get(name, usual) for name in channels], np.float64).T)


@dataclass(frozen=True)
class ModelSpec:
    """Everything needed to rebuild a model's networks, as plain values.

    Attributes:
        sensors: modality -> SensorSpec, in the model's order.
        state_rate_hz: the model's clock.
        latent_dim, evidence_dim, nuisance_dim: sizes of z, private parts included, of the
            evidence about its shared part, and of eps.
        inputs: names of u's columns; a record's inputs are matched by them.
        widths: features of the guide's levels, finest first.
        width: features of encoders and emissions.
        dropout: in encoders and guide.
        noise_floor: least sensor noise, in standard deviations of the signal.
        transition: "gated", "linear" or "oscillator" (of the shared part of z).
        guide: its network over steps, "pyramid", "lru" or "attention".
        channels: "sum" of a modality's channels' evidence, or "attention" among them before it.
        noise: of waveforms, "white" or "coloured": drawn with a learned correlation in time.
        private_dim: of z, the numbers each modality has to itself.
        align_dim: of the unit vectors that contrastive terms compare; 0 without them.
        text: the static text it reads and emits, from the shared part of z; None for none.
        lags: modalities that follow the state by a lag of their own, with a posterior.
        codes: size of the codebooks of discrete tokens; 0 without them.

    Raises:
        FitError: a part that there is not, private parts that leave nothing shared, or a lag of a
            modality that has none.
    """

    sensors: Mapping[str, SensorSpec]
    state_rate_hz: float = 12.5
    latent_dim: int = 32
    evidence_dim: int = 64
    nuisance_dim: int = 8
    inputs: tuple[str, ...] = ()
    widths: tuple[int, ...] = (64, 96, 128, 128, 128)
    width: int = 64
    dropout: float = 0.3
    noise_floor: float = 0.1
    transition: str = "gated"
    guide: str = "pyramid"
    channels: str = "sum"
    noise: str = "white"
    private_dim: int = 0
    align_dim: int = 0
    text: TextSpec | None = None
    lags: tuple[str, ...] = ()
    codes: int = 0

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise FitError(
                    f"{name} must be one of {', '.join(allowed)}; got {getattr(self, name)!r}. "
                    f"Choose one of them, or leave it out for {allowed[0]!r}."
                )
        if not 0 <= self.private_dim * len(self.sensors) < self.latent_dim:
            raise FitError(
                f"private parts must leave some of z shared: {len(self.sensors)} modalities of "
                f"private_dim={self.private_dim} against latent_dim={self.latent_dim}. Pass a "
                "larger latent_dim or a smaller private_dim."
            )
        delayed = [name for name, sensor in self.sensors.items() if sensor.waveform]
        for name in self.lags:
            if name not in delayed:
                raise FitError(
                    f"a lag is of a modality with a waveform: {listed(delayed) or 'none'} of the "
                    f"training records; got {name!r}. Leave it out of lags=({name!r},)."
                )

    @property
    def shared_dim(self) -> int:
        """How many numbers of z, its first, every modality speaks of."""
        return self.latent_dim - self.private_dim * len(self.sensors)

    def private_of(self, modality: str) -> range:
        """Which numbers of z are the modality's own."""
        start = self.shared_dim + self.private_dim * list(self.sensors).index(modality)
        return range(start, start + self.private_dim)

    def derived_from(self, modality: str) -> tuple[str, ...]:
        """A modality's embeddings; of an embedding, its source and the others of that."""
        own = self.sensors[modality].source or modality
        kin = [name for name, sensor in self.sensors.items() if own in (name, sensor.source)]
        return tuple(name for name in kin if name != modality)

    @property
    def texts(self) -> tuple[str, ...]:
        """The name of its text, if any."""
        return (self.text.name,) if self.text else ()

    @property
    def evidence_size(self) -> int:
        """Size of Lambda and H: what is said of the shared part, then of every private one."""
        return self.evidence_dim + self.latent_dim - self.shared_dim

    @property
    def input_dim(self) -> int:
        """Size of u."""
        return len(self.inputs)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> ModelSpec:
        """The inverse of `to_dict`; a field left out has its default.

        Raises:
            TypeError: an unknown field, or a value that no part goes by.
        """
        sensors = {name: SensorSpec.from_dict(spec) for name, spec in plain["sensors"].items()}
        widths, inputs = tuple(plain["widths"]), tuple(plain["inputs"])
        text = TextSpec.from_dict(plain["text"]) if plain.get("text") else None
        made = {"sensors": sensors, "widths": widths, "inputs": inputs, "text": text}
        made["lags"] = tuple(plain.get("lags", ()))
        try:
            return cls(**{**plain, **made})
        except FitError as error:
            raise TypeError(str(error)) from error


class StateSpaceModel(nn.Module):
    """A deep state-space model with one emission and one encoder a modality.

    Every method takes the same weights to another question: `evidence` encodes the sensors
    once, `guide_of` gives q(z | any subset), `emit` the distribution of a sensor's samples,
    `model` and `guide` are the Pyro programs of the same joint.

    Args:
        spec: sizes, modalities and clock.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        shared, private = spec.shared_dim, spec.latent_dim - spec.shared_dim
        self.transition = TRANSITIONS[spec.transition](shared, spec.input_dim)
        self.initial_loc = nn.Parameter(torch.zeros(shared))
        self.initial_spread = nn.Parameter(torch.full((shared,), UNIT_SPREAD))
        self.guide_network = make_guide(
            spec.guide, spec.evidence_size, spec.latent_dim, spec.widths, spec.dropout
        )
        if private:
            privates = PrivatePrior(private)
            self.transition = PrivateTransition(self.transition, privates)
            self.guide_network = PrivateGuide(self.guide_network, privates, spec.private_dim)
        self.alignment = AlignmentHead(spec.latent_dim, spec.align_dim) if spec.align_dim else None
        self.encoders = nn.ModuleDict()
        self.emissions = nn.ModuleDict()
        for name, sensor in spec.sensors.items():
            reads = (*range(shared), *spec.private_of(name)) if private else None
            networks = _sensor_networks(spec, sensor, reads)
            self.encoders[key_of(name)], self.emissions[key_of(name)] = networks
        if spec.text is not None:  # last, so that the others' weights are drawn as without it
            self.text_encoder = TextEncoder(spec.text, spec.evidence_dim, spec.dropout)
            looked_at = {
                name: len(sensor.channels)
                for name, sensor in spec.sensors.items()
                if sensor.waveform
            }
            self.text_emission = TextEmission(spec.text, shared, spec.dropout, looked_at)
        # What is optional comes after what is not, whose weights are drawn as without it.
        self.lag_guides = nn.ModuleDict(
            {key_of(n): LagGuide(spec.evidence_size, spec.state_rate_hz) for n in spec.lags}
        )
        self.codes = _codes(spec) if spec.codes else None

    def prior(self, batch: Batch) -> Trajectory:
        """p(z_{1:T} | u_{1:T}) over the windows of a batch."""
        inputs = batch.driven_by(self.spec.inputs)
        return self.prior_over(batch.steps, inputs, torch.Size((len(batch),)))

    def prior_over(self, steps: int, inputs: Tensor | None, batch: torch.Size) -> Trajectory:
        """p(z_{1:T} | u_{1:T}) over any number of steps; inputs (batch..., step, input)."""
        initial = Normal(*self.prior_moments(), validate_args=False)
        return Trajectory(initial, self.transition, steps, inputs, batch, validate_args=False)

    def prior_moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of p(z_1), (latent,) each."""
        loc, scale = self.initial_loc, SCALE_FLOOR + F.softplus(self.initial_spread)
        if not self.spec.private_dim:
            return loc, scale
        private = loc.new_zeros(self.spec.latent_dim - self.spec.shared_dim)
        return torch.cat([loc, private]), torch.cat([scale, private + 1.0])

    def evidence(self, batch: Batch) -> Evidence:
        """What every modality of the batch that the model knows says about the state."""
        sensors = {
            name: self.encoder(name)(
                batch.values[name], batch.mask[name], batch.offset[name], batch.channels[name]
            )
            for name in self.spec.sensors
            if name in batch.values
        }
        if self.spec.private_dim:
            sensors = {name: self._in_place(name, sensor) for name, sensor in sensors.items()}
        shape = (len(batch), batch.steps, self.spec.evidence_size)
        return Evidence(sensors, shape, self._text_evidence(batch), self.lags(sensors))

    def lags(self, sensors: Mapping[str, SensorEvidence]) -> dict[str, Lag]:
        """What some modalities' evidence says of the lags of those of them that have one."""
        own = [name for name in self.spec.lags if name in sensors]
        return {name: self.lag_guide(name).all_but(name, sensors) for name in own}

    def lag_guide(self, modality: str) -> LagGuide:
        """Prior and posterior of a modality's lag; of one named in `spec.lags`."""
        return cast(LagGuide, self.lag_guides[key_of(modality)])

    def _text_evidence(self, batch: Batch) -> TextEvidence | None:
        """What the batch's texts say, of the shared part of z alone; None without texts."""
        tokens = self.tokens_of(batch)
        if tokens is None:
            return None
        own, private = self.text_encoder(tokens), self.spec.evidence_size - self.spec.evidence_dim
        precision, weighted = (F.pad(x, (0, private)) for x in (own.precision, own.weighted))
        return replace(own, precision=precision, weighted=weighted)

    def tokens_of(self, batch: Batch) -> Tokens | None:
        """The batch's texts, if they are the model's; None for a model without text."""
        return batch.tokens if batch.tokens and batch.tokens.name in self.spec.texts else None

    def shapes_of(self, batch: Batch) -> dict[str, ChannelShapes]:
        """What the channels of each sensor look like to who writes a text about them."""
        return {
            name: ChannelShapes(
                channel_shapes(batch.values[name], batch.mask[name]), self.name_index(name, batch)
            )
            for name in self._observed(batch)
            if self.spec.sensors[name].waveform
        }

    def _in_place(self, modality: str, sensor: SensorEvidence) -> SensorEvidence:
        """Its private evidence in its own columns, after the shared ones; zero in the others'."""
        own, shared = self.spec.private_of(modality), self.spec.shared_dim
        before, after = own.start - shared, self.spec.latent_dim - own.stop

        def place(x: Tensor) -> Tensor:
            said, private = x.tensor_split([self.spec.evidence_dim], dim=-1)
            return torch.cat([said, F.pad(private, (before, after))], dim=-1)

        def placed(own: Spoken) -> Spoken:
            return replace(own, precision=place(own.precision), weighted=place(own.weighted))

        traces = None if sensor.traces is None else placed(sensor.traces)
        return replace(placed(sensor), traces=traces)

    def oscillation_hz(self, inputs: Tensor | None = None) -> Tensor:
        """The frequencies of an oscillator transition in Hz, (..., pair); inputs (..., input).

        Raises:
            FitError: another transition.
        """
        transition = self.transition
        if isinstance(transition, PrivateTransition):
            transition = transition.shared
        if not isinstance(transition, OscillatorTransition):
            raise FitError(
                "only an oscillator transition has frequencies, this model's is "
                f"{self.spec.transition!r}. Fit one with transition='oscillator'."
            )
        return transition.oscillation_hz(self.spec.state_rate_hz, inputs)

    def guide_of(self, evidence: Evidence, keep: Tensor | None = None) -> GaussMarkov:
        """q(z_{1:T} | the kept modalities); `keep` as in `Evidence.total`."""
        return self.guide_network(*evidence.total(keep))

    @property
    def reach(self) -> int:
        """How many steps to either side the evidence of any sensor looks."""
        sensors = self.spec.sensors.items()
        return max(self.encoder(name).reach + sensor.reach for name, sensor in sensors)

    def encoder(self, modality: str) -> Encoder:
        """The encoder of a modality."""
        return cast(Encoder, self.encoders[key_of(modality)])

    def emission(self, modality: str) -> Emission:
        """The emission of a modality."""
        return cast(Emission, self.emissions[key_of(modality)])

    def name_index(self, modality: str, batch: Batch) -> Tensor:
        """(batch, channel) rows of the modality's channel-name embedding."""
        return self.encoder(modality).name_index(batch.channels[modality])

    def model(self, batch: Batch, kl_weight: float = 1.0) -> Tensor:
        """The generative model as a Pyro program; one site a trajectory, one a modality."""
        pyro.module(self._store_name(), self)
        with pyro.plate("window", len(batch), dim=-1):
            with pyro.poutine.scale(scale=kl_weight):
                z = pyro.sample("z", self.prior(batch))
            for name in self._observed(batch):
                mask = batch.mask[name]
                values = torch.where(mask, batch.values[name], 0.0)
                shape = (len(batch), values.shape[2], self.spec.nuisance_dim)
                unit = PyroNormal(values.new_zeros(shape), values.new_ones(shape))
                with pyro.poutine.scale(scale=kl_weight):
                    nuisance = pyro.sample(f"eps_{name}", unit.to_event(2))
                lag = None
                if name in self.spec.lags:
                    usual = self.lag_guide(name).prior()
                    with pyro.poutine.scale(scale=kl_weight):
                        seconds = pyro.sample(f"lag_{name}", PyroNormal(usual.loc, usual.scale))
                    lag = seconds * self.spec.state_rate_hz
                emission = self.emission(name)(
                    z, nuisance, self.name_index(name, batch), batch.offset[name], lag
                )
                pyro.sample(f"x_{name}", emission.mask(mask).to_event(3), obs=values)
            if tokens := self.tokens_of(batch):
                told = self.text_emission
                words = told(told.pool(z, self.shapes_of(batch)), tokens)
                words = words.mask(told.scored(tokens))
                pyro.sample(f"w_{tokens.name}", words.to_event(1), obs=tokens.ids)
        return z

    def guide(self, batch: Batch, kl_weight: float = 1.0) -> None:
        """The guide as a Pyro program, from all sensors of the batch."""
        pyro.module(self._store_name(), self)
        evidence = self.evidence(batch)
        with pyro.plate("window", len(batch), dim=-1), pyro.poutine.scale(scale=kl_weight):
            pyro.sample("z", self.guide_of(evidence))
            for name in self._observed(batch):
                eps = evidence.sensors[name].nuisance
                pyro.sample(f"eps_{name}", PyroNormal(eps.loc, eps.scale).to_event(2))
                if name in evidence.lags:
                    lag = evidence.lags[name].q
                    pyro.sample(f"lag_{name}", PyroNormal(lag.loc, lag.scale))

    def _store_name(self) -> str:
        """Where Pyro keeps this model's parameters: a name no other model of the process has.

        Under a shared name Pyro would hand one model's weights to the other.
        """
        return f"latentphys-{_NUMBERS.setdefault(self, next(_COUNT))}"

    def _observed(self, batch: Batch) -> list[str]:
        return [name for name in self.spec.sensors if name in batch.values]


def _codes(spec: ModelSpec) -> Codes:
    """Codebooks of every modality with a waveform."""
    sensors = {}
    for name, sensor in spec.sensors.items():
        if not sensor.waveform:
            continue
        shared, own = range(spec.shared_dim), spec.private_of(name)
        names = len(sensor.channels) + 1
        sensors[name] = SensorCodes(
            LocalBasis(sensor.size), spec.codes, names, (*shared, *own), spec.shared_dim
        )
    return Codes(sensors, spec.codes)


def _sensor_networks(
    spec: ModelSpec, sensor: SensorSpec, reads: tuple[int, ...] | None
) -> tuple[Encoder, Emission]:
    """Encoder and emission of one modality; `reads` is what of z it is emitted from."""
    said = spec.evidence_dim + spec.private_dim
    if sensor.likelihood == "bernoulli":
        return (
            BinaryEncoder(said, spec.nuisance_dim, sensor.channels, spec.width, spec.dropout),
            BinaryEmission(spec.latent_dim, sensor.channels, reads=reads),
        )
    if sensor.grid is not None:
        frame, names = sensor.grid.shape, sensor.channels
        return (
            ImageEncoder(frame, said, spec.nuisance_dim, names, spec.width, spec.dropout),
            ImageEmission(
                frame, spec.latent_dim, spec.nuisance_dim, names, spec.noise_floor, reads=reads
            ),
        )
    basis = LocalBasis(sensor.size)
    encoder = SensorEncoder(
        basis,
        said,
        spec.nuisance_dim,
        sensor.channels,
        spec.width,
        spec.dropout,
        attends=spec.channels == "attention",
    )
    emission = PatchEmission(
        basis,
        spec.latent_dim,
        spec.nuisance_dim,
        sensor.channels,
        sensor.likelihood,
        spec.noise_floor,
        reads=reads,
        coloured=spec.noise == "coloured",
    )
    return encoder, emission
