"""One subject's continuous recording: signals at their own rates, holes kept as holes."""

import html
import math
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from latentphys.recordings.arguments import names_in
from latentphys.recordings.arrays import by_channel, rate_or_times, seconds_of, unmasked
from latentphys.recordings.errors import (
    CohortError,
    LatentphysError,
    ModalityError,
    RateError,
    closest,
    listed,
)
from latentphys.recordings.headers import headers_of, html_table, rate_text
from latentphys.recordings.images import check_images

if TYPE_CHECKING:
    import mne
    import pandas as pd

_Labelled = TypeVar("_Labelled", xr.DataArray, xr.Dataset)
_SLOWEST_HZ = 1e-12  # a sample in thirty thousand years
_MANY = 16  # a panel of laboratory values has as many channels, and few samples


@dataclass(frozen=True, eq=False)
class Record:
    """One recording of one subject: `signals[modality]` is a DataArray (channel, time).

    Every signal keeps its own rate and units; NaN means not observed. Coordinates: `channel`
    (str) and `time` (seconds from the record's start, float64). Attributes: `units` (str) and
    `rate_hz` (float; absent when the sample times are irregular). Channels of one modality in
    different units carry them in the coordinate `channel_units`.

    Args:
        signals: modality -> DataArray with dims (channel, time).
        subject: whose recording it is; splits are made by it.
        record: name of the recording, unique in a cohort, without "/".
        study: where it comes from; for the reader of a table.
        inputs: exogenous drive u, dims (input, time), by name; `rate_hz` and times as a signal's.
            Its last observed value holds until the next; a value set before the record began
            has a negative time. Before the first value it does not drive.
        annotations: name -> one-dimensional DataArray (event) with coordinate `time` (s).
        truth: the simulator's own state over time; None for anything measured.
        attrs: what else is known of it (age, sex, ...); `start` is the date and time of its
            first sample (ISO 8601), where that is known.
        images: modality -> image sequence (time, y, x) or (slice, time, y, x), with attributes
            `units` and `rate_hz`.
        texts: modality -> one static text, such as a report.

    Raises:
        CohortError: a subject or record without a name, or a record's name with "/" in it.
        ModalityError: no signals, images or texts, or dims, names or samples that cannot be a
            signal.
        RateError: a rate or sample times that cannot be a sensor's.

    Example:
        >>> record = Record.from_arrays({"ecg": (np.zeros(500), 250.0)}, subject="s01")
        >>> record.rate_hz("ecg"), record.duration_s
        (250.0, 2.0)
    """

    signals: Mapping[str, xr.DataArray]
    subject: str
    record: str
    study: str = ""
    inputs: xr.DataArray | None = None
    annotations: Mapping[str, xr.DataArray] = field(default_factory=dict)
    truth: xr.Dataset | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)
    images: Mapping[str, xr.DataArray] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in (("subject", self.subject), ("record", self.record)):
            if not isinstance(value, str) or not value:
                given = repr(str(value)) if isinstance(value, int | np.integer) else "'s01', say"
                raise CohortError(
                    f"a record's {name} is a non-empty string, got {value!r}. Write {given}."
                )
        # Results are trees with a node a record and a modality, and a slash parts a tree's path.
        if "/" in self.record or self.record in (".", ".."):
            raise CohortError(
                f"a record's name holds no '/' and is not '.' or '..', for it names a node of the "
                f"tree of results; got {self.record!r}. Write "
                f"{self.record.replace('/', '_').replace('.', '_')!r}."
            )
        if not (self.signals or self.images or self.texts):
            raise ModalityError(
                f"record {self.record!r} has no signals; a record needs at least one modality. "
                "A sensor that recorded nothing can stay as NaN."
            )
        for modality, signal in self.signals.items():
            what = f"modality {modality!r} of record {self.record!r}"
            _check_signal(what, signal, "channel")
            first_s = float(signal["time"].values[0])
            if first_s < -1e-9:
                raise RateError(
                    f"sample times count from the record's start, 0 s; those of {what} begin at "
                    f"{first_s:g} s. Add {-first_s:g} s to the times of all its signals, inputs "
                    "and annotations."
                )
        if self.inputs is not None:
            _check_signal(f"inputs of record {self.record!r}", self.inputs, "input")
        for modality, frames in self.images.items():
            check_images(f"images {modality!r} of record {self.record!r}", frames)
        for modality, text in self.texts.items():
            if not isinstance(text, str):
                raise ModalityError(
                    f"text {modality!r} of record {self.record!r} is a string, got "
                    f"{type(text).__name__}."
                )
        twice = [name for name, count in Counter(self._everything()).items() if count > 1]
        if twice:
            raise ModalityError(
                f"a name is a signal, images or a text, not two of them; record {self.record!r} "
                f"has {listed(twice)} twice. Rename one."
            )
        for name in ("signals", "annotations", "attrs", "images", "texts"):
            object.__setattr__(self, name, dict(getattr(self, name)))

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the waveform modalities, in the order of `signals`."""
        return tuple(self.signals)

    @property
    def duration_s(self) -> float:
        """Seconds from the record's start to the end of its longest signal or images."""
        timed = (*self.signals.values(), *self.images.values())
        return max((_end_s(each) for each in timed), default=0.0)

    def rate_hz(self, modality: str) -> float:
        """Samples a second of a modality; NaN when its times are irregular."""
        return rate_of(self.signals[self._known(modality)])

    def drop(self, *modalities: str) -> "Record":
        """The record without these signals, images or texts.

        Raises:
            ModalityError: one of them is not there.
        """
        gone = {self._one_of(modality, self._everything()) for modality in modalities}
        return self.keep(*(name for name in self._everything() if name not in gone))

    def keep(self, *modalities: str) -> "Record":
        """The record with these signals, images and texts alone.

        Raises:
            ModalityError: one of them is not there.
        """
        names = [self._one_of(modality, self._everything()) for modality in modalities]
        return replace(
            self,
            signals={name: self.signals[name] for name in names if name in self.signals},
            images={name: self.images[name] for name in names if name in self.images},
            texts={name: self.texts[name] for name in names if name in self.texts},
        )

    def select(self, **channels: str | Sequence[str]) -> "Record":
        """The record with only the named channels of the named modalities; others stay whole.

        Raises:
            ModalityError: a modality or a channel that is not there.

        Example:
            >>> x = np.zeros((2, 500))
            >>> names = {"ecg": ["II", "V"]}
            >>> record = Record.from_arrays({"ecg": (x, 250.0)}, subject="s01", channels=names)
            >>> record.select(ecg="II").signals["ecg"].channel.values.tolist()
            ['II']
        """
        signals = dict(self.signals)
        for modality, names in channels.items():
            signal = signals[self._known(modality)]
            wanted = names_in(names)
            have = [str(name) for name in signal["channel"].values]
            positions = [self._channel_position(modality, have, name) for name in wanted]
            signals[modality] = _with_common_units(signal.isel(channel=positions))
        return replace(self, signals=signals)

    def rename(self, **channels: Mapping[str, str]) -> "Record":
        """The record with other names for some channels: modality -> {old name: new name}.

        Raises:
            ModalityError: a modality or a channel that is not there, or two of one name.

        Example:
            >>> r = Record.from_arrays({"ecg": (np.zeros(500), 250.0)}, subject="s01")
            >>> r.rename(ecg={"ecg": "II"}).signals["ecg"].channel.values.tolist()
            ['II']
        """
        signals = dict(self.signals)
        for modality, names in channels.items():
            signal = signals[self._known(modality)]
            have = [str(name) for name in signal["channel"].values]
            for name in names:
                if name not in have:
                    raise ModalityError(
                        f"{modality!r} of record {self.record!r} has no channel {name!r}; it has "
                        f"{listed(have)}.{closest(name, have)}"
                    )
            check_distinct(modality, have, names)
            made = np.array([names.get(name, name) for name in have])
            signals[modality] = signal.assign_coords(channel=made)
        return replace(self, signals=signals)

    def crop(self, start_s: float = 0.0, stop_s: float | None = None) -> "Record":
        """The samples with start_s <= time < stop_s, their times counted from `start_s`.

        Warning: a signal slower than the cut keeps its true times, so its first sample may lie
        between 0 and one sample after the new start.

        Raises:
            RateError: the span is empty or outside the record, or leaves a signal no sample.
        """
        stop = self.duration_s if stop_s is None else float(stop_s)
        if not 0 <= start_s < stop or start_s >= self.duration_s:
            raise RateError(
                f"crop takes 0 <= start_s < stop_s inside the record, got {start_s} to {stop} s; "
                f"record {self.record!r} lasts {self.duration_s:g} s."
            )
        cut = {name: _cut(signal, start_s, stop) for name, signal in self.signals.items()}
        frames = {name: _cut(images, start_s, stop) for name, images in self.images.items()}
        empty = [name for name, part in (cut | frames).items() if part.sizes["time"] == 0]
        if empty:
            raise RateError(
                f"crop from {start_s} to {stop} s leaves {listed(empty)} of record "
                f"{self.record!r} without a sample. Drop it first or take a longer span."
            )
        return replace(
            self,
            signals=cut,
            images=frames,
            inputs=None if self.inputs is None else _cut_inputs(self.inputs, start_s, stop),
            annotations={n: _cut(a, start_s, stop) for n, a in self.annotations.items()},
            truth=None if self.truth is None else _cut(self.truth, start_s, stop),
        )

    def middle(self, length_s: float) -> "Record":
        """So many seconds from the middle of it; all of it where it is no longer.

        Raises:
            RateError: no length, or one that leaves a signal no sample.
        """
        if length_s >= self.duration_s:
            return self
        start = 0.5 * (self.duration_s - length_s)
        return self.crop(start, start + length_s)

    @classmethod
    def from_arrays(
        cls,
        signals: Mapping[str, tuple[ArrayLike, float | ArrayLike]],
        *,
        subject: str,
        record: str | None = None,
        study: str = "",
        units: Mapping[str, str] | None = None,
        channels: Mapping[str, Sequence[str]] | None = None,
        inputs: tuple[ArrayLike, float | ArrayLike] | xr.DataArray | None = None,
    ) -> "Record":
        """A record from plain arrays.

        Sample times that are even from 0 on, ten or more of them, are a rate.

        Args:
            signals: modality -> (samples, rate). Samples: (time,) or (channel, time), NaN or
                masked where not observed; a DataArray has its dimension `time` in either place, a
                DataFrame a row a sample. Rate: samples a second, or the sample times if
                irregular, in seconds from the record's start, which is one for all its signals.
            subject: whose recording it is.
            record: its name; the subject's when left out.
            study: where it comes from.
            units: modality -> units; empty when left out.
            channels: modality -> channel names; when left out those of a DataArray or DataFrame,
                else the modality's name.
            inputs: exogenous drive, (samples (input, time), rate in Hz or sample times), named
                input or input_1, input_2, ...; a DataArray (input, time) has names of its own.

        Raises:
            ModalityError: samples of another shape or kind, or names that do not fit them.
            RateError: a rate that is not a positive number, or times that do not increase, are
                dates or count from elsewhere.

        Warns:
            UserWarning: more channels than samples, as arrays (time, channel) have.

        Example:
            >>> ecg, spo2 = np.zeros((2, 2500)), np.full(10, 97.0)
            >>> r = Record.from_arrays({"ecg": (ecg, 250.0), "spo2": (spo2, 1.0)}, subject="s01")
            >>> r.modalities
            ('ecg', 'spo2')
        """
        units = {} if units is None else units
        channels = {} if channels is None else channels
        _check_mapping("signals", signals, '{"ecg": (x, 250.0)}')
        _check_mapping("units", units, '{"ecg": "mV"}')
        _check_mapping("channels", channels, '{"ecg": ["II"]}')
        for name in (*units, *channels):
            if name not in signals:
                raise _unknown_modality(name, list(signals), record or subject)
        made = {}
        for modality, pair in signals.items():
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise ModalityError(
                    f"modality {modality!r} takes a pair (samples, rate in Hz), "
                    f'got {type(pair).__name__}. Write {{"{modality}": (x, 250.0)}}.'
                )
            samples, labels = by_channel(pair[0], _names_of(modality, channels.get(modality)))
            rate = rate_or_times(pair[1], modality)
            made[modality] = signal_array(
                samples, rate, name=modality, units=units.get(modality, ""), labels=labels
            )
            if labels is None:
                _warn_of_many(modality, *made[modality].shape)
        if isinstance(inputs, tuple):
            drive, labels = by_channel(inputs[0])
            inputs = signal_array(drive, *inputs[1:], name="input", labels=labels, axis="input")
        return cls(made, subject, subject if record is None else record, study, inputs)

    # The next four build or take Records, so what they call cannot be imported above.
    @classmethod
    def from_mne(cls, raw: "mne.io.BaseRaw", *, subject: str, record: str) -> "Record":
        """A record of what MNE has read; see `latentphys.recordings.mne_format.from_mne`."""
        from latentphys.recordings.mne_format import from_mne

        return from_mne(raw, subject=subject, record=record)

    def to_mne(self, rate_hz: float | None = None) -> "mne.io.RawArray":
        """The signals as an MNE Raw; see `latentphys.recordings.mne_format.to_mne`."""
        from latentphys.recordings.mne_format import to_mne

        return to_mne(self, rate_hz)

    @classmethod
    def from_long(
        cls, frame: "pd.DataFrame", *, subject: str, record: str | None = None, **columns: str
    ) -> "Record":
        """A record of a table of one value a row; see `latentphys.recordings.long.from_long`."""
        from latentphys.recordings.long import from_long

        return from_long(frame, subject=subject, record=record, **columns)

    def write(self, path: str | Path) -> None:
        """Write the record, in the format of the suffix; see `latentphys.recordings.writing`."""
        from latentphys.recordings.writing import write

        write(self, Path(path))

    def _everything(self) -> list[str]:
        return [*self.signals, *self.images, *self.texts]

    def _known(self, modality: str) -> str:
        return self._one_of(modality, self.modalities)

    def _one_of(self, modality: str, have: Iterable[str]) -> str:
        if modality not in have:
            raise _unknown_modality(modality, have, self.record)
        return modality

    def _channel_position(self, modality: str, have: list[str], name: str) -> int:
        if name in have:
            return have.index(name)
        # LUDB writes its leads in small letters, BIDMC in capitals: both mean the same lead.
        folded = [channel.lower() for channel in have]
        if folded.count(str(name).lower()) == 1:
            return folded.index(str(name).lower())
        raise ModalityError(
            f"{modality!r} of record {self.record!r} has no channel {name!r}; it has "
            f"{listed(have)}.{closest(name, have)}"
        )

    def __repr__(self) -> str:
        parts = [
            f"{name} {'|'.join(map(str, s['channel'].values))} {rate_of(s):g} Hz"
            for name, s in self.signals.items()
        ]
        parts += [f"{name} {dict(s.sizes)}" for name, s in self.images.items()]
        parts += [f"{name} {len(text)} letters" for name, text in self.texts.items()]
        return (
            f"<Record {self.record!r} of subject {self.subject!r}, "
            f"{self.duration_s / 60:.1f} min: {', '.join(parts)}>"
        )

    def _repr_html_(self) -> str:
        rows = [
            (
                each.modality,
                rate_text(each.rate_hz),
                listed(each.channels, 12),
                each.units,
                str(each.samples),
                f"{100 * each.observed:.0f} %",
            )
            for each in headers_of(self.signals, observed=True)
        ]
        for name, frames in self.images.items():
            shape = " x ".join(f"{size} {dim}" for dim, size in frames.sizes.items())
            rows.append((name, "", "images", str(frames.attrs.get("units", "")), shape, ""))
        rows += [(name, "", "text", "", f"{len(t)} letters", "") for name, t in self.texts.items()]
        head = ("modality", "rate", "channels", "units", "samples", "observed")
        marks = [f"{name} ({events.sizes['event']})" for name, events in self.annotations.items()]
        about = [f"{name}: {value}" for name, value in self.attrs.items() if name != "comments"]
        lines = [
            f"Record {self.record!r} of subject {self.subject!r}, {self.duration_s / 60:.1f} min",
            f"study: {self.study}" if self.study else "",
            f"annotations: {listed(marks)}" if marks else "",
            listed(about),
        ]
        top = "".join(f"<p>{html.escape(line)}</p>" for line in lines if line and line != "none")
        return top + html_table(head, rows)


def check_distinct(modality: str, have: Iterable[str], names: Mapping[str, str]) -> None:
    """Refuses new names that would give two channels of a signal one name.

    Raises:
        ModalityError: they do.
    """
    made = Counter(names.get(name, name) for name in have)
    twice = [name for name, count in made.items() if count > 1]
    if twice:
        raise ModalityError(
            f"the channels of a modality have different names; renamed, {modality!r} has "
            f"{listed(twice)} more than once. Choose another name."
        )


def signal_array(
    samples: ArrayLike,
    rate: float | ArrayLike,
    *,
    name: str,
    units: str = "",
    labels: Sequence[str] | None = None,
    axis: str = "channel",
) -> xr.DataArray:
    """Samples and their rate as the DataArray a `Record` holds.

    Args:
        samples: (time,) or (channel, time), NaN or masked where not observed; integers become
            float32.
        rate: samples a second, or the sample times in seconds (time,).
        name: the modality, for messages and default channel names.
        units: physical units.
        labels: channel names.
        axis: "channel" for signals, "input" for an exogenous drive.

    Raises:
        ModalityError: samples of another shape or kind, or labels that do not fit them.
        RateError: a rate that is not a positive number, or times that do not fit.
    """
    values = unmasked(samples)
    if values.dtype.kind not in "fiub" or values.ndim not in (1, 2) or values.shape[-1] == 0:
        raise ModalityError(
            f"{name!r} takes real numbers of shape (time,) or (channel, time) with at least one "
            f"sample, got {values.dtype} of shape {values.shape}. Make an array of floats of them, "
            "NaN where not observed."
        )
    values = values if values.dtype in (np.float32, np.float64) else values.astype(np.float32)
    values = np.atleast_2d(values)
    count, length = values.shape
    if labels is None:
        labels = [name] if count == 1 else [f"{name}_{i + 1}" for i in range(count)]
    if len(labels) != count:
        raise ModalityError(
            f"{name!r} has {count} channels (shape {values.shape}) but {len(labels)} names "
            f"({listed(labels)}). Samples are (channel, time): transpose them if they are not."
        )
    times, attrs = _times(rate, length, name)
    return xr.DataArray(
        values,
        dims=(axis, "time"),
        coords={axis: np.array([str(label) for label in labels]), "time": times},
        attrs={"units": units, **attrs},
    )


def check_rate(rate_hz: float, name: str) -> float:
    """The rate as a float.

    Raises:
        RateError: it is not a positive, finite number, or so small that no duration is a number.
    """
    try:
        rate = float(rate_hz)
    except (TypeError, ValueError):
        rate = math.nan
    if not (math.isfinite(rate) and rate >= _SLOWEST_HZ):
        raise RateError(
            f"the rate of {name!r} is a positive number of samples a second, {_SLOWEST_HZ:g} at "
            f"least, got {rate_hz!r} Hz. For irregular samples give their times in seconds instead "
            "of a rate."
        )
    return rate


def rate_of(signal: xr.DataArray) -> float:
    """Samples a second of a signal; NaN when it has none because its times are irregular."""
    return float(signal.attrs.get("rate_hz", math.nan))


def _times(rate: float | ArrayLike, length: int, name: str) -> tuple[np.ndarray, dict[str, float]]:
    if np.ndim(rate) == 0:
        rate_hz = check_rate(rate, name)  # type: ignore[arg-type]
        return np.arange(length) / rate_hz, {"rate_hz": rate_hz}
    times = seconds_of(rate, name)
    if times.shape != (length,):
        raise RateError(
            f"{name!r} has {length} samples but times of shape {times.shape}; give one time (s) "
            "a sample, or a single rate in Hz."
        )
    return times, {}


def _check_signal(what: str, signal: xr.DataArray, axis: str) -> None:
    if not isinstance(signal, xr.DataArray) or signal.dims != (axis, "time"):
        got = signal.dims if isinstance(signal, xr.DataArray) else type(signal).__name__
        raise ModalityError(
            f"{what} is a DataArray with dims ({axis!r}, 'time'), got {got}. "
            "Record.from_arrays builds one from plain arrays."
        )
    if signal.dtype.kind != "f" or 0 in signal.shape:
        raise ModalityError(
            f"{what} holds floats (NaN = not observed) and at least one sample, got "
            f"{signal.dtype} of shape {signal.shape}."
        )
    missing = [name for name in (axis, "time") if name not in signal.coords]
    if missing:
        raise ModalityError(f"{what} needs coordinates {axis} and time, lacks {listed(missing)}.")
    names = [str(name) for name in signal[axis].values]
    if len(set(names)) != len(names):
        raise ModalityError(f"{what} has two {axis}s of one name: {listed(names)}. Rename one.")
    if "rate_hz" in signal.attrs and not math.isnan(signal.attrs["rate_hz"]):
        check_rate(signal.attrs["rate_hz"], what)
    times = signal["time"].values
    if times.dtype.kind != "f" or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise RateError(
            f"sample times of {what} are finite seconds that strictly increase; these do not. "
            "Sort them and drop duplicates."
        )
    _check_even(what, times, rate_of(signal))


def _check_even(what: str, times: np.ndarray, rate_hz: float) -> None:
    """Refuse times that a rate does not describe, to within half a sample."""
    if math.isnan(rate_hz):
        return
    off = times - times[0]
    off *= rate_hz
    off -= np.arange(len(times))
    np.abs(off, out=off)
    if off.max() > 0.5:
        first = int((off > 0.5).argmax())
        raise RateError(
            f"a signal with a rate has its samples 1 / rate_hz apart; {what} says {rate_hz:g} Hz "
            f"and sample {first} lies at {times[first]:g} s, {off[first]:.3g} samples off. Correct "
            "its rate_hz, or remove that attribute: its times then are taken as irregular."
        )


def _check_mapping(name: str, given: object, example: str) -> None:
    if not isinstance(given, Mapping):
        raise ModalityError(
            f"{name} of a record are a mapping by modality, got {type(given).__name__}. Write "
            f"{name}={example}."
        )


def _names_of(modality: str, names: Sequence[str] | None) -> list[str] | None:
    """Channel names as a list; a string is one name and no list of letters."""
    if isinstance(names, str) or not isinstance(names, Iterable | None):
        raise ModalityError(
            f"the channels of {modality!r} are a list of names, got {names!r}. Write "
            f'channels={{"{modality}": ["{names}"]}}.'
        )
    return None if names is None else list(names)


def _warn_of_many(modality: str, channels: int, samples: int) -> None:
    if channels > max(samples, _MANY):
        warnings.warn(
            f"samples are (channel, time), and {modality!r} has {channels} channels of {samples} "
            "samples. Transpose them if they are (time, channel): samples.T; if they are not, name "
            "the channels with channels={...}.",
            stacklevel=3,
        )


def _unknown_modality(modality: str, have: Iterable[str], where: str) -> LatentphysError:
    have = list(have)
    return ModalityError(
        f"record {where!r} has no modality {modality!r}; it has {listed(have)}."
        f"{closest(modality, have)}"
    )


def _with_common_units(signal: xr.DataArray) -> xr.DataArray:
    """The signal with its channels' own units as its units, once they agree."""
    if "channel_units" not in signal.coords:
        return signal
    units = {str(unit) for unit in signal["channel_units"].values}
    if len(units) > 1:
        return signal
    return signal.drop_vars("channel_units").assign_attrs(units=units.pop())


def _end_s(signal: xr.DataArray) -> float:
    rate = rate_of(signal)
    return float(signal["time"].values[-1]) + (0.0 if math.isnan(rate) else 1.0 / rate)


def _cut_inputs(inputs: xr.DataArray, start_s: float, stop_s: float) -> xr.DataArray | None:
    """The inputs of a span, with the value that holds at its start (its time is then negative)."""
    times = inputs["time"].values
    first = max(0, int(np.searchsorted(times, start_s + 1e-9, side="right")) - 1)
    last = int(np.searchsorted(times, stop_s - 1e-9))
    if last <= first:
        return None
    part = inputs.isel(time=slice(first, last))
    moved = times[first:last] - start_s
    return part.assign_coords(time=("time", np.where(np.abs(moved) < 1e-9, 0.0, moved)))


def _cut(data: _Labelled, start_s: float, stop_s: float) -> _Labelled:
    times = data["time"].values
    # A hair of tolerance: 0.1 s at 1000 Hz is not exactly representable.
    inside = (times >= start_s - 1e-9) & (times < stop_s - 1e-9)
    dim = data["time"].dims[0]
    part = data.isel({dim: inside})
    return part.assign_coords(time=(dim, np.maximum(times[inside] - start_s, 0.0)))
