"""Heart sounds at the chest wall, and what a stethoscope does to them.

Each valve rings as a damped oscillation; S1 is mitral and tricuspid, S2 aortic and pulmonary
closure, the pulmonary later in inspiration (the physiological splitting of S2).

References:
    Chen, Durand and Lee (1997), Time-frequency analysis of the first heart sound. Part 1:
    simulation and analysis. Medical and Biological Engineering and Computing 35: valve sounds as
    exponentially decaying sinusoids.
    Almasi, Shamsollahi and Senhadji (2011), A dynamical model for generating synthetic
    phonocardiogram signals. IEEE EMBC: two components a sound, varying from beat to beat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentphys.recordings.simulator.cardiac_cycle import Q_TO_R_S, Systole
from latentphys.recordings.simulator.physiology import Physiology, wandering

Array = NDArray[np.float64]

VALVES = ("mitral", "tricuspid", "aortic", "pulmonary")
RINGING_S = 0.2  # a valve is silent after this long
ONSET_S = 0.004
TRICUSPID_DELAY_S = 0.025
SPLIT_S = 0.015  # P2 after A2 in expiration; inspiration adds as much again and more


@dataclass(frozen=True)
class Chest:
    """How one person's valves sound at the chest wall, four of each: `VALVES`.

    Attributes:
        hertz: pitch.
        loudness: amplitude.
        decay_s: time constant of the ringing.
        murmur: loudness of an innocent systolic murmur; 0 in most.
        breathing: how much the lung over the heart takes from the sounds, in inspiration.
    """

    hertz: Array
    loudness: Array
    decay_s: Array
    murmur: float
    breathing: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Chest:
        """A healthy chest."""
        return cls(
            hertz=np.array([45.0, 60.0, 70.0, 60.0]) * np.exp(0.15 * rng.standard_normal(4)),
            loudness=np.array([1.0, 0.4, 0.8, 0.25]) * np.exp(0.2 * rng.standard_normal(4)),
            decay_s=np.array([0.025, 0.02, 0.015, 0.015]) * np.exp(0.15 * rng.standard_normal(4)),
            murmur=rng.uniform(0.02, 0.06) if rng.random() < 0.3 else 0.0,
            breathing=rng.uniform(0.1, 0.3),
        )


def pcg(
    state: Physiology, systole: Systole, chest: Chest, time: Array, rng: np.random.Generator
) -> Array:
    """The sound (time,), no units: each valve's ringing from its closing on.

    x(s) = A (1 - exp(-s / 4 ms)) exp(-s / decay) sin(2 pi f s),  s >= 0
    """
    rate_hz = 1.0 / (time[1] - time[0])
    breath = np.interp(state.beat_time, state.time, state.depth * np.sin(state.breath_phase))
    first = systole.first_sound(state.beat_time)
    second = systole.second_sound(state.beat_time)
    split = SPLIT_S * (1.0 + 0.8 * (breath + 1.0))
    closing = np.stack([first, first + TRICUSPID_DELAY_S, second, second + split])
    loud = chest.loudness[:, None] * np.exp(0.08 * rng.standard_normal(closing.shape))
    loud = loud * (1.0 - chest.breathing * np.array([1.0, -0.5, 1.0, -0.5])[:, None] * breath)
    # A ventricle that contracts harder shuts its inlet louder and at a higher pitch.
    loud[:2] *= np.exp(0.15 * systole.contractility)
    pitch = chest.hertz[:, None] * np.ones_like(closing)
    pitch[:2] *= np.exp(0.04 * systole.contractility)
    sound = np.zeros(len(time))
    for k in range(len(VALVES)):
        _ring(sound, rate_hz, closing[k], loud[k], pitch[k], chest.decay_s[k])
    if chest.murmur:
        sound += chest.murmur * _murmur(state, systole, time, rate_hz, rng)
    return sound


def stethoscope(
    sound: Array, state: Physiology, rate_hz: float, amount: float, rng: np.random.Generator
) -> Array:
    """What the instrument adds: gain, tone, hiss, lung sounds, friction and lost contact.

    Args:
        sound: (time,) at the chest wall.
        state: its breathing makes the lung sounds.
        rate_hz: samples a second.
        amount: 0 for none, 1 for an ordinary ward.
        rng: source of randomness.

    Returns:
        (time,), NaN where the contact was lost.
    """
    if amount == 0:
        return sound
    count, spread = len(sound), sound.std()
    time = np.arange(count) / rate_hz
    tone = float(np.clip(0.3 * amount * rng.standard_normal(), -0.6, 0.6))
    edge = np.diff(sound, prepend=sound[0]) * rate_hz / (2 * np.pi * 60.0)
    sound = (1.0 - abs(tone)) * sound + tone * edge
    flow = np.abs(np.interp(time, state.time, state.depth * np.cos(state.breath_phase)))
    lung = _noise_between(100.0, 300.0, count, rate_hz, rng)
    grip = np.exp(0.2 * wandering(rng, count, rate_hz, 10.0))
    hiss = 0.12 * rng.standard_normal(count) + 0.15 * flow * lung
    hiss += 0.3 * _noise_between(3.0, 20.0, count, rate_hz, rng)  # the chest wall moves
    sound = grip * np.exp(0.5 * amount * rng.standard_normal()) * (sound + amount * spread * hiss)
    for _ in range(rng.poisson(amount * 1.5 * count / rate_hz / 60.0)):
        start, length = int(rng.integers(count)), int(rng.uniform(0.2, 1.5) * rate_hz)
        burst = slice(start, min(start + length, count))
        if rng.random() < 0.2:
            sound[burst] = np.nan
        else:
            rub = rng.standard_normal(len(sound[burst]))
            sound[burst] += amount * spread * 3.0 * np.hanning(len(rub)) * rub
    return sound


def _ring(
    sound: Array, rate_hz: float, start_s: Array, loud: Array, pitch: Array, decay_s: float
) -> None:
    """Adds one valve's ringing of every beat to the sound, in place."""
    first = np.ceil(start_s * rate_hz).astype(int)
    index = first[:, None] + np.arange(int(RINGING_S * rate_hz))
    since = index / rate_hz - start_s[:, None]
    wave = loud[:, None] * (1.0 - np.exp(-since / ONSET_S)) * np.exp(-since / decay_s)
    wave *= np.sin(2.0 * np.pi * pitch[:, None] * since)
    inside = (index >= 0) & (index < len(sound))
    np.add.at(sound, index[inside], wave[inside])


def _murmur(
    state: Physiology, systole: Systole, time: Array, rate_hz: float, rng: np.random.Generator
) -> Array:
    """Turbulence while blood is ejected, loudest in the middle."""
    opening = state.beat_time - Q_TO_R_S + systole.pre_ejection
    beat = np.clip(np.searchsorted(opening, time) - 1, 0, len(opening) - 1)
    share = np.clip((time - opening[beat]) / systole.ejection[beat], 0.0, 1.0)
    return np.sin(np.pi * share) ** 2 * _noise_between(80.0, 180.0, len(time), rate_hz, rng)


def _noise_between(
    low_hz: float, high_hz: float, count: int, rate_hz: float, rng: np.random.Generator
) -> Array:
    """Noise of unit variance in a band, as far as the rate reaches."""
    from scipy.signal import butter, sosfilt

    noise = rng.standard_normal(count)
    if low_hz >= 0.4 * rate_hz:
        return np.zeros(count)
    band = [low_hz, min(high_hz, 0.45 * rate_hz)]
    filtered = sosfilt(butter(2, band, "bandpass", fs=rate_hz, output="sos"), noise)
    return np.asarray(filtered / max(filtered.std(), 1e-12))
