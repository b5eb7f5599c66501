"""EEG, EOG and chin EMG of a night, in microvolts, before any electrode.

EEG is a 1/f background and rhythms, each a noise-driven damped oscillator whose strength follows
the stage, with spindles and K-complexes on top; the eyes roll, dart and blink; the chin is tense
awake and slack in REM. Strengths are of adults, at Fpz-Cz and Pz-Oz. `stages` are microstates
(`hypnogram.MICRO_S`) throughout.

References:
    Iber, Ancoli-Israel, Chesson and Quan (2007), The AASM manual for the scoring of sleep: what
    each stage shows.
    Berry et al. (2017), AASM scoring manual updates. Journal of Clinical Sleep Medicine 13.
    De Gennaro and Ferrara (2003), Sleep spindles: an overview. Sleep Medicine Reviews 7: their
    pitch, density and length.
    Da Rosa et al. (1991), A model-based detector of vertex waves and K complexes in sleep
    electroencephalogram. Electroencephalography and Clinical Neurophysiology 78: rhythms as
    filtered noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentphys.recordings.simulator.hypnogram import MICRO_S, Codes, W, stage_at
from latentphys.recordings.simulator.physiology import lagged, wandering

Array = NDArray[np.float64]

CHANNELS = ("EEG Fpz-Cz", "EEG Pz-Oz")
SLOW_HZ = 2.0  # the clock of strengths
# Hz, width in Hz, uV (rms) by stage W N1 N2 N3 REM, share at Fpz-Cz and at Pz-Oz, fluctuation.
RHYTHMS = {
    "slow": (1.0, 1.0, (2.5, 5.0, 10.0, 33.0, 4.0), (1.0, 0.65), 0.35),
    "theta": (5.5, 2.5, (3.5, 6.5, 6.5, 7.0, 5.5), (1.0, 0.8), 0.3),
    "alpha": (10.0, 1.2, (11.0, 3.0, 1.8, 1.2, 2.5), (0.4, 1.0), 0.5),
    "sigma": (13.0, 2.0, (1.0, 1.2, 2.0, 1.5, 1.0), (1.0, 0.7), 0.3),
    "beta": (21.0, 8.0, (4.0, 2.8, 1.8, 1.2, 2.8), (1.0, 0.8), 0.25),
}
BACKGROUND = np.array([8.0, 7.5, 8.0, 7.5, 7.0])
AROUSED = {"slow": 0.4, "theta": 0.8, "alpha": 3.0, "sigma": 0.5, "beta": 2.0}
SPINDLES_PER_MINUTE = np.array([0.0, 0.1, 3.0, 1.0, 0.05])
K_COMPLEXES_PER_MINUTE = np.array([0.0, 0.0, 1.3, 0.2, 0.0])
ROLLING = np.array([6.0, 45.0, 3.0, 0.0, 2.0])  # slow eye movements, uV
SACCADES_PER_MINUTE = np.array([14.0, 1.5, 0.3, 0.1, 14.0])
BLINKS_PER_MINUTE = np.array([8.0, 0.3, 0.0, 0.0, 0.0])
TONE = np.array([11.0, 6.0, 4.5, 4.0, 1.8])  # chin, uV
TWITCHES_PER_MINUTE = np.array([1.0, 0.3, 0.1, 0.0, 2.5])


@dataclass(frozen=True)
class Scalp:
    """How one person's sleep looks at the electrodes.

    Attributes:
        strength: rhythm -> factor on its amplitude.
        alpha_hz, spindle_hz: their pitch.
        spindles: factor on their number.
        spindle_uv: their height.
        eyes: factor on eye movements.
        tone: factor on the chin's tone.
    """

    strength: dict[str, float]
    alpha_hz: float
    spindle_hz: float
    spindles: float
    spindle_uv: float
    eyes: float
    tone: float

    @classmethod
    def draw(cls, age: int, rng: np.random.Generator) -> Scalp:
        """An adult; slow waves and spindles shrink with age."""
        strength = {name: float(np.exp(0.25 * rng.standard_normal())) for name in RHYTHMS}
        strength["slow"] *= 1.2 - 0.5 * (age - 20) / 60.0
        if rng.random() < 0.15:
            strength["alpha"] *= 0.3  # some people have next to none
        return cls(
            strength=strength,
            alpha_hz=rng.uniform(8.7, 11.3),
            spindle_hz=rng.uniform(12.2, 14.2),
            spindles=float(np.exp(0.3 * rng.standard_normal()) * (1.2 - 0.4 * (age - 20) / 60.0)),
            spindle_uv=rng.uniform(14.0, 30.0),
            eyes=float(np.exp(0.25 * rng.standard_normal())),
            tone=float(np.exp(0.3 * rng.standard_normal())),
        )


@dataclass(frozen=True)
class Graphoelements:
    """Single waves of the night, (event,) seconds each."""

    spindle: Array
    spindle_s: Array
    k_complex: Array


def sprinkled(per_minute: Array, stages: Codes, seconds: float, rng: np.random.Generator) -> Array:
    """Sorted times of a Poisson process whose rate follows the stage, (event,)."""
    most = float(per_minute.max())
    if most <= 0:
        return np.zeros(0)
    times = np.sort(rng.uniform(0.0, seconds, rng.poisson(most * seconds / 60.0)))
    return times[rng.random(len(times)) < per_minute[stage_at(stages, times, MICRO_S)] / most]


def draw_graphoelements(
    scalp: Scalp, stages: Codes, seconds: float, rng: np.random.Generator
) -> Graphoelements:
    """Spindles and K-complexes; half of the K-complexes carry a spindle."""
    complexes = sprinkled(K_COMPLEXES_PER_MINUTE, stages, seconds, rng)
    complexes = complexes[np.diff(complexes, prepend=-9.0) > 2.0]
    own = sprinkled(scalp.spindles * SPINDLES_PER_MINUTE, stages, seconds, rng)
    carried = complexes[rng.random(len(complexes)) < 0.5] + 0.9
    spindles = np.sort(np.concatenate([own, carried]))
    spindles = spindles[np.diff(spindles, prepend=-9.0) > 2.0]
    return Graphoelements(spindles, rng.uniform(0.5, 1.5, len(spindles)), complexes)


def eeg(
    scalp: Scalp,
    stages: Codes,
    arousals: Array,
    waves: Graphoelements,
    time: Array,
    rng: np.random.Generator,
) -> Array:
    """Fpz-Cz and Pz-Oz, (2, time) uV."""
    rate_hz, seconds = 1.0 / (time[1] - time[0]), float(time[-1])
    slow = np.arange(-2.0, seconds + 2.0, 1.0 / SLOW_HZ)
    aroused = during(arousals, slow)
    shut = _eyes_shut(len(slow), rng)
    x = np.interp(time, slow, by_stage(BACKGROUND, stages, slow, 0.1, rng))
    out = x * together(lambda: pink(len(time), rate_hz, rng), 0.6)
    for name, (hertz, width, table, shares, spread) in RHYTHMS.items():
        hertz = {"alpha": scalp.alpha_hz, "sigma": scalp.spindle_hz}.get(name, hertz)
        strength = by_stage(np.array(table), stages, slow, spread, rng) * scalp.strength[name]
        if name == "alpha":
            strength = strength * np.where(stage_at(stages, slow, MICRO_S) == W, shut, 1.0)
        strength = strength * (1.0 + (AROUSED[name] - 1.0) * aroused)
        at = np.interp(time, slow, strength)

        def rhythm(hertz: float = hertz, width: float = width) -> Array:
            return oscillator(len(time), hertz, width, rate_hz, rng)

        out += np.array(shares)[:, None] * at * together(rhythm, 0.75)
    _add_waves(out, scalp, waves, rate_hz, rng)
    return out


def _add_waves(
    out: Array, scalp: Scalp, waves: Graphoelements, rate_hz: float, rng: np.random.Generator
) -> None:
    """Spindles and K-complexes into the EEG, in place."""
    for start, length in zip(waves.spindle, waves.spindle_s, strict=True):
        since = np.arange(int(length * rate_hz)) / rate_hz
        hertz = scalp.spindle_hz + 0.4 * rng.standard_normal()
        height = scalp.spindle_uv * np.exp(0.25 * rng.standard_normal())
        phase = rng.uniform(0.0, 2.0 * np.pi)
        wave = np.hanning(len(since)) * np.sin(2.0 * np.pi * hertz * since + phase)
        add_at(out, start, rate_hz, height * np.outer([1.0, 0.6], wave))
    since = np.arange(int(1.6 * rate_hz)) / rate_hz
    for start in waves.k_complex:
        down = np.exp(-0.5 * ((since - 0.35) / 0.09) ** 2)
        up = np.exp(-0.5 * ((since - 0.75) / 0.2) ** 2)
        height = rng.uniform(70.0, 150.0)
        add_at(out, start, rate_hz, height * np.outer([1.0, 0.45], 0.55 * up - down))


def eog(
    scalp: Scalp,
    stages: Codes,
    frontal: Array,
    time: Array,
    rng: np.random.Generator,
) -> Array:
    """E1-M2 and E2-M2, (2, time) uV: the eyes move them apart, the brain and blinks together."""
    rate_hz, seconds = 1.0 / (time[1] - time[0]), float(time[-1])
    slow = np.arange(-2.0, seconds + 2.0, 1.0 / SLOW_HZ)
    rolling = np.interp(time, slow, by_stage(ROLLING, stages, slow, 0.9, rng))
    moved = rolling * oscillator(len(time), 0.3, 0.15, rate_hz, rng)
    darts = sprinkled(SACCADES_PER_MINUTE / 3.0, stages, seconds, rng)
    # Saccades come in bursts of about three.
    darts = np.concatenate([darts + k * rng.uniform(0.3, 0.9, len(darts)) for k in range(3)])
    jumps = np.zeros(len(time))
    index = np.minimum((darts * rate_hz).astype(int), len(time) - 1)
    height = rng.uniform(20.0, 140.0, len(darts)) * rng.choice([-1.0, 1.0], len(darts))
    np.add.at(jumps, index, height)
    moved += np.cumsum(jumps) - _lag_of_steps(jumps, rate_hz)
    moved = lagged(moved, rate_hz, 0.02)
    blinked = np.zeros((1, len(time)))
    lid = np.hanning(int(0.3 * rate_hz))[None]
    for start in sprinkled(BLINKS_PER_MINUTE, stages, seconds, rng):
        add_at(blinked, float(start), rate_hz, rng.uniform(60.0, 140.0) * lid)
    both = 0.35 * frontal + 0.6 * scalp.eyes * blinked[0]
    return np.stack([both + scalp.eyes * moved, both - 0.9 * scalp.eyes * moved])


def emg(
    scalp: Scalp, stages: Codes, arousals: Array, time: Array, rng: np.random.Generator
) -> Array:
    """The chin, (1, time) uV: noise above 10 Hz as strong as the muscle is tense."""
    from scipy.signal import butter, sosfilt

    rate_hz, seconds = 1.0 / (time[1] - time[0]), float(time[-1])
    slow = np.arange(-2.0, seconds + 2.0, 1.0 / SLOW_HZ)
    tone = by_stage(TONE, stages, slow, 0.3, rng) * scalp.tone
    tone *= 1.0 + 2.0 * during(arousals, slow)
    tense = np.interp(time, slow, tone)[None].copy()
    for start in sprinkled(TWITCHES_PER_MINUTE, stages, seconds, rng):
        burst = np.hanning(int(rng.uniform(0.1, 0.5) * rate_hz))[None]
        add_at(tense, float(start), rate_hz, rng.uniform(5.0, 15.0) * burst)
    noise = sosfilt(
        butter(2, 10.0, "highpass", fs=rate_hz, output="sos"), rng.standard_normal(len(time))
    )
    return np.asarray(tense * noise)


def by_stage(
    table: Array, stages: Codes, time: Array, spread: float, rng: np.random.Generator
) -> Array:
    """A figure of the stage that changes over some seconds and fluctuates, (time,)."""
    rate_hz = 1.0 / (time[1] - time[0])
    raw = table[stage_at(stages, time, MICRO_S)]
    smooth = lagged(raw - raw[0], rate_hz, 4.0) + raw[0]
    fast, slow = wandering(rng, len(time), rate_hz, 3.0), wandering(rng, len(time), rate_hz, 90.0)
    return np.asarray(smooth * np.exp(spread * (0.7 * fast + 0.7 * slow) - 0.5 * spread**2))


def during(stretches: Array, time: Array) -> Array:
    """1 within any [start, stop), else 0, (time,)."""
    inside = np.zeros(len(time))
    for start, stop in stretches:
        inside[np.searchsorted(time, start) : np.searchsorted(time, stop)] = 1.0
    return inside


def oscillator(
    count: int, hertz: float, width_hz: float, rate_hz: float, rng: np.random.Generator
) -> Array:
    """A damped oscillator driven by white noise: AR(2) of unit variance, (count,).

    x_t = 2 r cos(w) x_{t-1} - r^2 x_{t-2} + e_t,    r = exp(-pi width / rate)
    """
    from scipy.signal import lfilter

    r, w = np.exp(-np.pi * width_hz / rate_hz), 2.0 * np.pi * hertz / rate_hz
    a, b = 2.0 * r * np.cos(w), -(r**2)
    variance = (1.0 - b) / ((1.0 + b) * ((1.0 - b) ** 2 - a**2))
    settle = int(2.0 * rate_hz / width_hz)
    noise = rng.standard_normal(count + settle) / np.sqrt(variance)
    return np.asarray(lfilter([1.0], [1.0, -a, -b], noise)[settle:])


def pink(count: int, rate_hz: float, rng: np.random.Generator) -> Array:
    """1/f noise above 0.3 Hz, of unit variance, (count,)."""
    from scipy.fft import irfft, next_fast_len, rfftfreq

    length = next_fast_len(count, real=True)
    hertz = rfftfreq(length, 1.0 / rate_hz)
    shape = 1.0 / np.sqrt(np.maximum(hertz, 0.3))
    shape[hertz < 0.1] = 0.0
    spectrum = shape * (rng.standard_normal((2, len(hertz))).T @ np.array([1.0, 1.0j]))
    x = irfft(spectrum, length)[:count]
    return np.asarray(x / max(float(x.std()), 1e-12))


def together(draw: Callable[[], Array], shared: float) -> Array:
    """Two channels of unit variance that correlate by shared^2, (2, time)."""
    common = shared * draw()
    own = np.sqrt(1.0 - shared**2)
    return np.stack([common + own * draw(), common + own * draw()])


def add_at(out: Array, start_s: float, rate_hz: float, wave: Array) -> None:
    """Adds (channel, length) from a time on, cut at the end, in place."""
    first = int(start_s * rate_hz)
    room = max(out.shape[1] - first, 0)
    out[:, first : first + wave.shape[1]] += wave[:, :room]


def _lag_of_steps(jumps: Array, rate_hz: float) -> Array:
    """What an AC-coupled amplifier takes from a step: it returns to zero over a second."""
    return lagged(np.cumsum(jumps), rate_hz, 1.0)


def _eyes_shut(count: int, rng: np.random.Generator) -> Array:
    """1 with eyes shut, 0.25 open: alpha is blocked while awake and looking."""
    shut = wandering(rng, count, SLOW_HZ, 40.0) > -0.4
    return lagged(np.where(shut, 1.0, 0.25), SLOW_HZ, 1.0)
