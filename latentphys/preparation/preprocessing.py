"""From physical units to standardised signals: filters on observed runs, artefacts to NaN, scaling.

Every step is a pure function of one channel and keeps NaN where it was. The plan has a version and
is stored with every model, so a saved model prepares new recordings as it was trained on.

The steps, in order, each `step(x, rate_hz, plan) -> x` of one channel (time,):

    extremes    infinite values and values outside [plan.least, plan.most] to NaN
    flat        constant stretches of plan.flat_s to NaN
    band        zero-phase pass band [plan.low_hz, plan.high_hz] on each observed run
    envelope    |x| below plan.envelope_hz in place of the wave
    outliers    values beyond plan.beyond_sd spreads of the median to NaN

then scaling. Of images, brought to plan.frame, extremes, outliers and one scaling for all pixels
of a record: brightness has no unit, and depends on coil and gain.

A plan of one's own changes their figures, a step of one's own replaces one:

    mine = Preprocessing({**DEFAULT_PLANS, "ecg": SignalPlan(low_hz=0.5, high_hz=30.0)})
    mine = mine.replaced(band=my_filter)
    fit = lp.fit(cohort, preprocessing=mine)
    lp.load(path, steps={"band": my_filter})   # code is not stored: it is given again

A chunk gives what the whole record gives at the same places, away from its edges, once both are
scaled alike (`Preprocessing.scales` of the whole, or a plan with location and scale): `extremes`
and `outliers` everywhere; `flat` further than plan.flat_s from a cut; `band` further than about
2 / low_hz seconds (40 s at 0.05 Hz, or 2 / high_hz with no low corner), to a thousandth of the
signal's spread. tests/preparation/test_chunks.py holds them to it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from latentphys.preparation.frames import PixelGrid, as_samples, grid_of
from latentphys.preparation.spectrogram import reach_frames, with_spectrogram
from latentphys.recordings.embeddings import WINDOW, source_of
from latentphys.recordings.errors import FitError, ModelFileError, UnitError, closest, listed
from latentphys.recordings.modalities import normal_units
from latentphys.recordings.record import Record, rate_of
from latentphys.recordings.units import conversion, quantity_of

VERSION = 1
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """standardised = (x - location) / scale, a figure a channel, in the signal's units."""

    location: NDArray[np.float64]
    scale: NDArray[np.float64]

    def to_units(self, standardised: NDArray[Any]) -> NDArray[Any]:
        """(..., channel, time) standardised -> the sensor's own units."""
        return standardised * self.scale[:, None] + self.location[:, None]


@dataclass(frozen=True)
class PreparedSignal:
    """One modality, standardised.

    Attributes:
        values: (channel, time) float32, NaN = not observed.
        time_s: (time,) seconds from the record's start; None when sample i is at i / rate_hz.
        rate_hz: samples a second; the median rate when timestamps are irregular.
        channels: names.
        units: of the signal before scaling.
        scale: how to get back to them.
        binary: whether its values are 0 and 1, and nothing else.
        grid: of an image sequence, whose samples are the pixels of frame after frame; None for a
            signal.
        source: the modality whose embedding it is; "" for a sensor's own.
        window_s: length of the windows it was embedded from.
    """

    values: NDArray[np.float32]
    time_s: NDArray[np.float64] | None
    rate_hz: float
    channels: tuple[str, ...]
    units: str
    scale: Scale
    binary: bool = False
    grid: PixelGrid | None = None
    source: str = ""
    window_s: float = 0.0

    @property
    def pixels(self) -> int:
        """Samples that come together: those of a frame, or one."""
        return 1 if self.grid is None else self.grid.pixels


@dataclass(frozen=True)
class PreparedRecord:
    """One recording, standardised.

    Attributes:
        record, subject: names.
        signals: modality -> its signal, images among them.
        inputs: (input, time) float32 or None; NaN only before the first observed value, after
            that the last one holds.
        inputs_rate_hz: samples a second of the inputs; NaN when irregular.
        duration_s: length of the recording.
        input_names: of the rows of `inputs`; input_1, input_2, ... when left out (input, if one).
        inputs_time_s: (time,) seconds of the inputs; None when sample i is at i / rate.
        tokens: text's name -> its token ids (token,), of texts that are there.
        texts: the same texts in words.
    """

    record: str
    subject: str
    signals: dict[str, PreparedSignal]
    inputs: NDArray[np.float32] | None
    inputs_rate_hz: float
    duration_s: float
    input_names: tuple[str, ...] = ()
    inputs_time_s: NDArray[np.float64] | None = None
    tokens: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Name the inputs as `Record.from_arrays` does."""
        if self.inputs is not None and not self.input_names:
            count = len(self.inputs)
            names = ["input"] if count == 1 else [f"input_{k + 1}" for k in range(count)]
            object.__setattr__(self, "input_names", tuple(names))


@dataclass(frozen=True)
class SignalPlan:
    """What is done to one modality.

    Attributes:
        low_hz, high_hz: pass band of a second-order Butterworth filter run forward and backward
            on each observed run; None leaves that side open.
        envelope_hz: the rectified signal below this in place of the wave: how loud a heart
            sound is, without its pitch. None keeps the wave.
        least, most: physiological limits; values beyond are NaN.
        flat_s: a constant stretch this long is a disconnected sensor: NaN. None keeps it.
        beyond_sd: values further than this many standard deviations from the median are NaN.
        location, scale: a fixed scaling, where absolute values mean something; None takes the
            record's own median and winsorised standard deviation.
        units: of the limits and the fixed scaling; a signal in others is converted. None takes
            them to be the signal's own.
        bands_hz: corners of frequency bands, whose log power takes the wave's place, a channel a
            band, before all other steps (`latentphys.preparation.spectrogram`).
        band_window_s, band_rate_hz: length of its frames and how many a second.
        binary: its values are 0 and 1 (notes, alarms, states of a switch): not scaled, and
            modelled by their probability, all channels together.
        frame: (height, width) that images are brought to, by the mean of what a pixel covers.

    Raises:
        FitError: a binary modality with a filter, a scaling or bands; a frame without pixels.
    """

    low_hz: float | None = None
    high_hz: float | None = None
    least: float | None = None
    most: float | None = None
    flat_s: float | None = None
    beyond_sd: float | None = None
    location: float | None = None
    scale: float | None = None
    envelope_hz: float | None = None
    units: str | None = None
    bands_hz: tuple[float, ...] | None = None
    band_window_s: float = 0.16
    band_rate_hz: float = 12.5
    binary: bool = False
    frame: tuple[int, int] = (32, 32)

    def __post_init__(self) -> None:
        """Refuse what would make other values of 0 and 1, and frames of nothing."""
        if len(self.frame) != 2 or not all(int(n) == n and n >= 1 for n in self.frame):
            raise FitError(
                f"a frame is (height, width) in whole pixels, got {self.frame!r}. Write (32, 32)."
            )
        others = ("low_hz", "high_hz", "envelope_hz", "location", "scale", "bands_hz")
        given = [name for name in others if getattr(self, name) is not None]
        if self.binary and given:
            raise FitError(
                f"a binary modality keeps its values 0 and 1; its plan has {listed(given)} too. "
                "Leave that out, or binary=True."
            )

    @property
    def reach(self) -> int:
        """How many samples to either side of one share what it was made of, bands alone."""
        if self.bands_hz is None:
            return 0
        return reach_frames(self.band_window_s, self.band_rate_hz)


_WAVEFORM: dict[str, Any] = {"flat_s": 2.0, "beyond_sd": 12.0}
DEFAULT_PLANS: Mapping[str, SignalPlan] = {
    "ecg": SignalPlan(low_hz=0.05, high_hz=40.0, **_WAVEFORM),
    # Breathing shows in the slow baseline of the pulse, so it stays.
    "ppg": SignalPlan(low_hz=0.05, high_hz=12.0, **_WAVEFORM),
    "resp": SignalPlan(low_hz=0.05, high_hz=3.0, **_WAVEFORM),
    "abp": SignalPlan(high_hz=20.0, **_WAVEFORM),
    "cvp": SignalPlan(high_hz=20.0, **_WAVEFORM),
    # Electrodes of the night: the bands of the AASM manual (Berry et al. 2017, JCSM 13).
    "eeg": SignalPlan(low_hz=0.3, high_hz=35.0, **_WAVEFORM),
    "eog": SignalPlan(low_hz=0.3, high_hz=35.0, **_WAVEFORM),
    "emg": SignalPlan(low_hz=10.0, high_hz=100.0, **_WAVEFORM),
    # No breath is a flat line too: only what no apnoea lasts is a disconnected sensor.
    "airflow": SignalPlan(low_hz=0.05, high_hz=3.0, flat_s=150.0, beyond_sd=12.0),
    "effort": SignalPlan(low_hz=0.05, high_hz=3.0, flat_s=150.0, beyond_sd=12.0),
    # Springer, Tarassenko and Clifford (2016), IEEE Trans. Biomed. Eng. 63: heart sounds. They
    # are short and sparse, so that their peaks lie many spreads out.
    "pcg": SignalPlan(low_hz=25.0, high_hz=400.0, flat_s=2.0, beyond_sd=30.0),
    "hr": SignalPlan(least=20.0, most=300.0, location=80.0, scale=20.0, units="1/min"),
    "pulse": SignalPlan(least=20.0, most=300.0, location=80.0, scale=20.0, units="1/min"),
    "resp_rate": SignalPlan(least=1.0, most=80.0, location=18.0, scale=6.0, units="1/min"),
    "spo2": SignalPlan(least=40.0, most=100.0, location=97.0, scale=3.0, units="%"),
}


# One channel (time,) float64, NaN = not observed; samples a second; what is done to its modality.
Step = Callable[[Array, float, SignalPlan], Array]


@dataclass(frozen=True)
class Preprocessing:
    """The plan of every modality; one it does not name is only scaled.

    Attributes:
        plans: modality -> SignalPlan.
        version: of the steps' meaning.
        own_steps: name of a step -> the function that stands in for the library's.

    Raises:
        FitError: a step that there is not.
    """

    plans: Mapping[str, SignalPlan] = field(default_factory=lambda: dict(DEFAULT_PLANS))
    version: int = VERSION
    own_steps: Mapping[str, Step] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a step that there is not."""
        for name, step in self.own_steps.items():
            if name not in STEPS or not callable(step):
                raise FitError(
                    f"the steps of preprocessing are {listed(STEPS)}, each a function "
                    f"(x, rate_hz, plan) -> x; got {name!r}: {step!r}.{closest(name, STEPS)}"
                )

    @property
    def steps(self) -> dict[str, Step]:
        """Name -> function of every step, in order."""
        return {name: self.own_steps.get(name, step) for name, step in STEPS.items()}

    def replaced(self, **steps: Step) -> Preprocessing:
        """The same plans with functions of one's own in place of some steps.

        Raises:
            FitError: a step that there is not.

        Example:
            >>> def no_filter(x: Array, rate_hz: float, plan: SignalPlan) -> Array:
            ...     return x
            >>> list(Preprocessing().replaced(band=no_filter).own_steps)
            ['band']
        """
        return replace(self, own_steps={**self.own_steps, **steps})

    def scales(self, record: Record) -> dict[str, Scale]:
        """The scale `prepare` finds for each modality, to prepare parts of the record alike."""
        return {name: signal.scale for name, signal in self.prepare(record).signals.items()}

    def prepare(self, record: Record, scales: Mapping[str, Scale] | None = None) -> PreparedRecord:
        """Filter, clean and standardise every signal and image sequence of a record.

        Args:
            record: what to prepare.
            scales: modality -> a scale to use instead of the plan's or the record's own, a figure
                a channel, for outliers as for standardising.

        Raises:
            UnitError: a signal in units that cannot be converted to those of its plan's limits,
                or in none, with all its values beyond the limits but not if taken for a fraction
                or per second.
            FitError: a binary modality with other values than 0 and 1, or of images.
        """
        signals = {
            name: self._signal(name, record, (scales or {}).get(name)) for name in record.signals
        }
        for name in record.images:
            signals[name] = self._images(name, record, (scales or {}).get(name))
        inputs = record.inputs
        if inputs is None:
            return PreparedRecord(
                record.record, record.subject, signals, None, float("nan"), record.duration_s
            )
        rate, time = rate_of(inputs), np.asarray(inputs["time"].values, dtype=np.float64)
        return PreparedRecord(
            record=record.record,
            subject=record.subject,
            signals=signals,
            inputs=_held(np.asarray(inputs.values, dtype=np.float32)),
            inputs_rate_hz=rate,
            duration_s=record.duration_s,
            input_names=tuple(str(name) for name in inputs["input"].values),
            inputs_time_s=None if np.isfinite(rate) and abs(time[0]) < 1e-9 else time,
        )

    def _signal(self, name: str, record: Record, given: Scale | None) -> PreparedSignal:
        """One modality of a record, cleaned and standardised."""
        plan = self.plans.get(name, SignalPlan())
        if plan.bands_hz is not None:
            record = with_spectrogram(
                record, name, plan.bands_hz, plan.band_rate_hz, plan.band_window_s
            )
        signal = record.signals[name]
        rate, time = rate_of(signal), np.asarray(signal.time, dtype=np.float64)
        regular = bool(np.isfinite(rate)) and (not len(time) or abs(time[0]) < 1e-9)
        if not np.isfinite(rate):
            rate = 1.0 / float(np.median(np.diff(time))) if len(time) > 1 else 1.0
        factor = to_plan_units(record, name, plan)
        if given is not None:
            given = Scale(given.location * factor, given.scale * factor)
        own = [plan] * len(signal.values) if given is None else scaled_plans(plan, given)
        cleaned = [
            self.clean(np.asarray(x, np.float64) * by, rate, each)
            for x, by, each in zip(signal.values, factor, own, strict=True)
        ]
        scale = robust_scale(cleaned, plan) if given is None else given
        if plan.binary:
            scale = unscaled(name, record.record, cleaned)
        standard = [
            (x - m) / s for x, m, s in zip(cleaned, scale.location, scale.scale, strict=True)
        ]
        return PreparedSignal(
            values=np.asarray(standard, dtype=np.float32).reshape(len(cleaned), -1),
            time_s=None if regular else time,
            rate_hz=rate,
            channels=tuple(str(c) for c in signal.channel.values),
            units=str(signal.attrs.get("units", "")),
            scale=Scale(scale.location / factor, scale.scale / factor),
            binary=plan.binary,
            source=source_of(signal),
            window_s=float(signal.attrs.get(WINDOW, 0.0)),
        )

    def _images(self, name: str, record: Record, given: Scale | None) -> PreparedSignal:
        """One image sequence of a record, on the plan's grid and standardised."""
        plan, images = self.plans.get(name, SignalPlan()), record.images[name]
        if plan.binary:
            raise FitError(
                f"images are modelled by their brightness; the plan of {name!r} says binary=True. "
                "Leave it out."
            )
        values, time_s, slices = as_samples(images, plan.frame)
        grey = without_extremes(values.astype(np.float64), plan.least, plan.most)
        if given is not None:
            plan = scaled_plans(plan, given)[0]
        grey = outliers_step(grey, images.attrs["rate_hz"], plan)
        one = robust_scale([grey], plan)
        return PreparedSignal(
            values=((grey - one.location) / one.scale).astype(np.float32),
            time_s=time_s,
            rate_hz=float(images.attrs["rate_hz"]),
            channels=slices,
            units=str(images.attrs.get("units", "")),
            scale=Scale(*(np.repeat(figure, len(slices)) for figure in (one.location, one.scale))),
            grid=grid_of(images, plan.frame),
        )

    def clean(self, x: Array, rate_hz: float, plan: SignalPlan) -> Array:
        """One channel through every step but the scaling.

        Raises:
            FitError: a step of one's own changed the number of samples.
        """
        for name, step in self.steps.items():
            y = step(x, rate_hz, plan)
            if np.shape(y) != x.shape:
                raise FitError(
                    f"a step of preprocessing keeps every sample in its place (NaN where it is "
                    f"not to be used); {name!r} made shape {np.shape(y)} of {x.shape}. Resample "
                    "before reading instead."
                )
            x = np.asarray(y, dtype=np.float64)
        return x

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; of a step of one's own, its name."""
        plans = {name: asdict(plan) for name, plan in self.plans.items()}
        plain = {"version": self.version, "plans": plans}
        own = {name: _name(step) for name, step in self.own_steps.items()}
        return {**plain, "own_steps": own} if own else plain

    @classmethod
    def from_dict(
        cls, plain: Mapping[str, Any], steps: Mapping[str, Step] | None = None
    ) -> Preprocessing:
        """The inverse of `to_dict`.

        Args:
            plain: what `to_dict` gave.
            steps: the functions of one's own that it names; no code is taken from a file.

        Raises:
            ModelFileError: another version, a parameter this version does not know, or other
                steps than those it was made with.
        """
        if plain.get("version") != VERSION:
            raise ModelFileError(
                f"this release prepares signals by preprocessing version {VERSION}, the file "
                f"asks for {plain.get('version')!r}. Load it with the release that wrote it."
            )
        try:
            plans = {name: _plan(plan) for name, plan in plain["plans"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelFileError(
                f"the preprocessing stored in the file is not one this release wrote: {error}. "
                "Save the model again."
            ) from error
        named = dict(plain.get("own_steps", {}))
        given = {name: _name(step) for name, step in (steps or {}).items()}
        if named != given:
            raise ModelFileError(
                "a model prepares signals by the steps it was trained with; it has of its own "
                f"{listed(f'{k}={v}' for k, v in named.items())}, given are "
                f"{listed(f'{k}={v}' for k, v in given.items())}. Give just these, as in "
                "latentphys.load(path, steps={'band': my_filter})."
            )
        return cls(plans, own_steps=dict(steps or {}))


def _plan(plain: Mapping[str, Any]) -> SignalPlan:
    """A plan from JSON's values."""
    bands, frame = plain.get("bands_hz"), plain.get("frame", SignalPlan.frame)
    read = {"bands_hz": None if bands is None else tuple(bands), "frame": tuple(frame)}
    return SignalPlan(**{**plain, **read})


def default_preprocessing() -> Preprocessing:
    """The plan for the modalities the library knows by name."""
    return Preprocessing()


def clean(x: Array, rate_hz: float, plan: SignalPlan) -> Array:
    """Artefacts to NaN, then the pass band, then what still lies beyond belief to NaN."""
    return Preprocessing().clean(x, rate_hz, plan)


def to_plan_units(record: Record, modality: str, plan: SignalPlan) -> Array:
    """Factor a channel, (channel,), that takes its samples to the units of the plan's limits.

    Samples in units that are not known, or in none, are taken to be in the plan's.

    Raises:
        UnitError: units of another quantity; or none of the samples lies within the limits, and
            most would after a change of unit.

    Warns:
        UserWarning: none of the samples lies within the limits.
    """
    factor = np.ones(record.signals[modality].sizes["channel"])
    if plan.units is None:
        return factor
    where = f"{modality!r} of record {record.record!r}"
    for k, unit in enumerate(units_of_channels(record.signals[modality])):
        if quantity_of(unit) is not None:
            try:
                factor[k] = conversion(unit, plan.units)
            except UnitError as error:
                raise UnitError(f"{where} is taken in {plan.units!r}: {error}") from error
        x = np.asarray(record.signals[modality].values[k], np.float64)
        _check_magnitude(x * factor[k], unit, where, plan)
    return factor


def units_of_channels(signal: xr.DataArray) -> list[str]:
    """Units of each channel of a signal, in one spelling."""
    if "channel_units" in signal.coords:
        return [normal_units(str(unit)) for unit in signal["channel_units"].values]
    return [normal_units(str(signal.attrs.get("units", "")))] * signal.sizes["channel"]


def _check_magnitude(x: Array, unit: str, where: str, plan: SignalPlan) -> None:
    """Refuse samples whose size tells that they are not in the plan's units."""
    seen = x[np.isfinite(x)]
    if not len(seen) or np.isfinite(without_extremes(seen, plan.least, plan.most)).any():
        return
    least = "none" if plan.least is None else f"{plan.least:g}"
    most = "none" if plan.most is None else f"{plan.most:g}"
    rule = (
        f"values of {where} are used from {least} to {most} {plan.units}; its units are "
        f"{unit or 'not given'} and none of its values lies there (median {np.median(seen):g})"
    )
    for other, told in (("1", "a fraction"), ("Hz", "per second")):
        if quantity_of(other) != quantity_of(plan.units or ""):
            continue
        factor = conversion(other, plan.units or "")
        if np.isfinite(without_extremes(seen * factor, plan.least, plan.most)).mean() > 0.5:
            raise UnitError(
                f"{rule}. They look like {told}: give the signal units {other!r}, or multiply it "
                f"by {factor:g}."
            )
    warnings.warn(
        f"{rule}. It counts as not observed; drop it, or give its right units.",
        UserWarning,
        stacklevel=2,
    )


def _held(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inputs (input, time) with NaN replaced by the last observed value; NaN before the first."""
    seen = np.isfinite(values)
    if seen.all():
        return values
    last = np.maximum.accumulate(np.where(seen, np.arange(values.shape[1]), 0), axis=1)
    held = np.take_along_axis(values, last, axis=1)
    return np.where(np.isfinite(held), held, np.nan).astype(np.float32)


def scaled_plans(plan: SignalPlan, scale: Scale) -> list[SignalPlan]:
    """The plan of each channel with its scale fixed."""
    return [
        replace(plan, location=float(m), scale=float(s))
        for m, s in zip(scale.location, scale.scale, strict=True)
    ]


def extremes_step(x: Array, rate_hz: float, plan: SignalPlan) -> Array:
    """`without_extremes` by the plan's limits."""
    return without_extremes(x, plan.least, plan.most)


def flat_step(x: Array, rate_hz: float, plan: SignalPlan) -> Array:
    """`without_flat_runs` of the plan's length; nothing where it names none."""
    if plan.flat_s is None:
        return x
    return without_flat_runs(x, max(2, round(plan.flat_s * rate_hz)))


def band_step(x: Array, rate_hz: float, plan: SignalPlan) -> Array:
    """`filter_runs` between the plan's corners."""
    return filter_runs(x, rate_hz, plan.low_hz, plan.high_hz)


def envelope_step(x: Array, rate_hz: float, plan: SignalPlan) -> Array:
    """The rectified signal below the plan's `envelope_hz`; the wave where it names none."""
    return (
        x if plan.envelope_hz is None else filter_runs(np.abs(x), rate_hz, None, plan.envelope_hz)
    )


def outliers_step(x: Array, rate_hz: float, plan: SignalPlan) -> Array:
    """`without_outliers` about the plan's location and scale, or the channel's own."""
    if plan.beyond_sd is None:
        return x
    about = None
    if plan.location is not None and plan.scale is not None:
        about = (plan.location, plan.scale)
    return without_outliers(x, plan.beyond_sd, about)


def without_extremes(x: Array, least: float | None, most: float | None) -> Array:
    """Infinite values and values outside [least, most] become NaN."""
    keep = np.isfinite(x)
    if least is not None:
        keep &= x >= least
    if most is not None:
        keep &= x <= most
    return np.where(keep, x, np.nan)


def runs(observed: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """[start, stop) of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], observed, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def without_flat_runs(x: Array, samples: int) -> Array:
    """Constant stretches of at least `samples` samples become NaN."""
    same = np.concatenate([[False], np.diff(x) == 0.0])
    x = x.copy()
    for start, stop in runs(same):
        if stop - start + 1 >= samples:
            x[start - 1 : stop] = np.nan
    return x


def without_outliers(x: Array, beyond_sd: float, about: tuple[float, float] | None = None) -> Array:
    """Values further than `beyond_sd` winsorised standard deviations from the median: NaN.

    Args:
        x: (time,).
        beyond_sd: how far is too far.
        about: (median, deviation) to go by; those of `x` when left out.
    """
    location, scale = median_and_spread(x) if about is None else about
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(x - location) <= beyond_sd * scale, x, np.nan)


def filter_runs(x: Array, rate_hz: float, low_hz: float | None, high_hz: float | None) -> Array:
    """Zero-phase Butterworth filter on each observed run; no run sees another across a gap.

    A corner at or above 0.45 of the rate is left out. A run too short to filter (under twice the
    filter's padding) loses its mean when a low corner was asked for, and is kept.

    Args:
        x: (time,), NaN = not observed.
        rate_hz: samples a second.
        low_hz, high_hz: corners; None leaves that side open.
    """
    from scipy.signal import butter, sosfiltfilt

    high_hz = None if high_hz is None or high_hz >= 0.45 * rate_hz else high_hz
    low_hz = None if low_hz is None or low_hz >= 0.45 * rate_hz else low_hz
    if low_hz is None and high_hz is None:
        return x
    if low_hz is not None and high_hz is not None:
        sos = butter(2, [low_hz, high_hz], "bandpass", fs=rate_hz, output="sos")
    elif low_hz is not None:
        sos = butter(2, low_hz, "highpass", fs=rate_hz, output="sos")
    else:
        sos = butter(2, high_hz, "lowpass", fs=rate_hz, output="sos")
    padding = round(rate_hz / (low_hz or high_hz or rate_hz))
    y = np.full_like(x, np.nan)
    for start, stop in runs(np.isfinite(x)):
        run = x[start:stop]
        if len(run) > 30:
            y[start:stop] = sosfiltfilt(sos, run, padlen=min(padding, len(run) - 1))
        else:
            y[start:stop] = run - run.mean() if low_hz is not None else run
    return y


def median_and_spread(x: Array) -> tuple[float, float]:
    """Median, and standard deviation after winsorising at the 0.5 and 99.5 percentiles."""
    seen = x[np.isfinite(x)]
    if not len(seen):
        return 0.0, 1.0
    low, high = np.quantile(seen, [0.005, 0.995])
    spread = float(np.clip(seen, low, high).std())
    return float(np.median(seen)), spread if spread > 1e-12 else 1.0


def robust_scale(channels: list[Array], plan: SignalPlan) -> Scale:
    """The plan's fixed scaling, or each channel's own median and winsorised spread."""
    if plan.location is not None and plan.scale is not None:
        count = len(channels)
        return Scale(np.full(count, plan.location), np.full(count, plan.scale))
    figures = np.array([median_and_spread(x) for x in channels], dtype=np.float64).reshape(-1, 2)
    return Scale(figures[:, 0], figures[:, 1])


def unscaled(modality: str, record: str, channels: list[Array]) -> Scale:
    """Location 0 and scale 1 of each channel of a binary modality.

    Raises:
        FitError: other values than 0 and 1.
    """
    for x in channels:
        other = x[np.isfinite(x) & (x != 0.0) & (x != 1.0)]
        if len(other):
            raise FitError(
                f"a binary modality has the values 0, 1 and NaN; {modality!r} of record {record!r} "
                f"has {other[0]:g}. Put a threshold to it first, or leave out binary=True."
            )
    return Scale(np.zeros(len(channels)), np.ones(len(channels)))


def _name(step: Step) -> str:
    """Where a function is from, as told in a model's file."""
    kind = type(step)
    module = getattr(step, "__module__", kind.__module__)
    return f"{module}.{getattr(step, '__qualname__', kind.__qualname__)}"


STEPS: Mapping[str, Step] = {
    "extremes": extremes_step,
    "flat": flat_step,
    "band": band_step,
    "envelope": envelope_step,
    "outliers": outliers_step,
}
