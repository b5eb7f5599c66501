"""Training windows varied as subjects and sensors vary: tempo, gain, noise, missing leads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from latentphys.preparation.inputs import inputs_at
from latentphys.preparation.preprocessing import PreparedRecord, PreparedSignal
from latentphys.preparation.windows import samples_per_step


@dataclass(frozen=True)
class Augmentation:
    """How far training windows are varied; zeros leave them alone.

    Attributes:
        tempo: the clock of a window runs exp(uniform(-tempo, tempo)) times as fast, for all its
            sensors alike, so that they stay aligned but for `delay_s`.
        gain: log-normal spread of each channel's gain.
        noise: standard deviation of white noise added, in standard deviations of the signal.
        lag_s: standard deviation of a shift of each sensor against the others, seconds. Delays
            between sensors (pulse transit) differ from subject to subject; without it a network
            learns those of the training subjects by heart.
        own_lag_s: modality -> its own in place of `lag_s`. By how much the breath in a chest's
            impedance leads or trails the breath in the pulse differs between people by a good
            part of a second.
        one_channel: probability of keeping one random channel of a modality with several.
        delay_s: modality -> how far it follows the heart's electrical beat, seconds
            (`latentphys.preparation.delays`). A faster heart does not shorten the way of its
            pulse in proportion, so a change of tempo leaves this delay as it is.
    """

    tempo: float = 0.2
    gain: float = 0.2
    noise: float = 0.05
    lag_s: float = 0.02
    own_lag_s: Mapping[str, float] = field(default_factory=lambda: {"resp": 0.4})
    one_channel: float = 0.5
    delay_s: Mapping[str, float] = field(default_factory=dict)

    def __call__(
        self,
        record: PreparedRecord,
        start_step: int,
        steps: int,
        state_rate_hz: float,
        rng: np.random.Generator,
    ) -> PreparedRecord:
        """One varied window as a record that starts with it.

        Args:
            record: the whole recording.
            start_step: state step the window starts on.
            steps: its length.
            state_rate_hz: the model's clock.
            rng: source of randomness.
        """
        factor = float(np.exp(rng.uniform(-self.tempo, self.tempo)))
        signals = {
            name: self._signal(name, signal, start_step, steps, state_rate_hz, factor, rng)
            for name, signal in record.signals.items()
        }
        varied = replace(record, signals=signals, duration_s=steps / state_rate_hz)
        if record.inputs is None:
            return varied
        # At the middle of each step, where a batch looks: nothing is rounded twice.
        middle = (start_step + (np.arange(steps) + 0.5) * factor) / state_rate_hz
        return replace(
            varied,
            inputs=inputs_at(record, record.input_names, middle),
            inputs_rate_hz=state_rate_hz,
            inputs_time_s=None,
        )

    def _signal(
        self,
        name: str,
        signal: PreparedSignal,
        start_step: int,
        steps: int,
        state_rate_hz: float,
        factor: float,
        rng: np.random.Generator,
    ) -> PreparedSignal:
        """A window of one signal, its samples moved onto the stretched clock."""
        if signal.time_s is not None:
            values, time_s = _stretched_stamps(signal, start_step, steps, state_rate_hz, factor)
        else:
            first = float(start_step * samples_per_step(signal, state_rate_hz))
            count = int(np.ceil(steps / state_rate_hz * signal.rate_hz))
            lag_s = self.own_lag_s.get(name, self.lag_s)
            shift_s = lag_s * rng.standard_normal() * (signal.rate_hz > state_rate_hz)
            shift_s += self.delay_s.get(name, 0.0) * (1.0 - factor)
            at = first + shift_s * signal.rate_hz + np.arange(count) * factor
            smooth = signal.rate_hz > state_rate_hz and not signal.binary
            values, time_s = _read_between(signal.values, at, smooth), None
        if self.one_channel and len(values) > 1 and rng.random() < self.one_channel:
            kept = rng.integers(len(values))
            values = np.where(np.arange(len(values))[:, None] == kept, values, np.nan)
        if signal.binary:
            return replace(signal, values=values, time_s=time_s)
        gain = np.exp(self.gain * rng.standard_normal((len(values), 1)))
        if signal.rate_hz <= state_rate_hz:
            gain[:] = 1.0  # a number on a display has no gain
        noise = self.noise * rng.standard_normal(values.shape, dtype=np.float32)
        values = (values * gain + noise).astype(np.float32)
        return replace(signal, values=values, time_s=time_s)


def _read_between(
    values: NDArray[np.float32], at: NDArray[np.floating], smooth: bool
) -> NDArray[np.float32]:
    """Values at fractional sample numbers: straight lines for waveforms, else the nearest."""
    length = values.shape[1]
    low = np.floor(at).astype(np.int64) if smooth else np.rint(at).astype(np.int64)
    inside = (low >= 0) & (low < length)
    left = values[:, np.clip(low, 0, length - 1)]
    if smooth:
        right = values[:, np.clip(low + 1, 0, length - 1)]
        left = left + (at - low).astype(np.float32) * (right - left)
    return np.where(inside, left, np.nan).astype(np.float32)


def _stretched_stamps(
    signal: PreparedSignal, start_step: int, steps: int, state_rate_hz: float, factor: float
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Irregular samples of a window with their times on the stretched clock."""
    assert signal.time_s is not None
    time = (signal.time_s - start_step / state_rate_hz) / factor
    inside = (time >= 0) & (time < steps / state_rate_hz)
    return signal.values[:, inside], time[inside]
