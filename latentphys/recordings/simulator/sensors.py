"""Clean sensor signals from the physiological state, and what sensors do to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentphys.recordings.simulator.physiology import (
    GRID_HZ,
    Physiology,
    lagged,
    phase_through,
    wandering,
)

Array = NDArray[np.float64]

# P, Q, R, S, T of McSharry et al. (2003), table I: angle (rad), height, width (rad).
ANGLE = np.array([-np.pi / 3, -np.pi / 12, 0.0, np.pi / 12, np.pi / 2])
HEIGHT = np.array([1.2, -5.0, 30.0, -7.5, 0.75])
WIDTH = np.array([0.25, 0.1, 0.1, 0.1, 0.4])
QRS_S = 0.09  # how long Q, R and S of these widths last at 60 beats a minute, about
LEADS = {"II": np.ones(5), "V": np.array([0.6, 1.4, 0.7, 2.2, 1.3])}
INNER_HZ = 500.0
CIRCULATION_S = 15.0  # from the lung to the finger


@dataclass(frozen=True)
class Morphology:
    """A subject's wave shapes: factors on the heights of P Q R S T, and the pulse wave.

    `qrs_s` is the duration of the QRS at any heart rate; None lets it shorten with the beat.
    `repolarisation` is a factor on the T wave's delay.
    """

    heights: Array
    dicrotic: float
    pulse_width: float
    qrs_s: float | None = None
    repolarisation: float = 1.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Morphology:
        """Shapes around the textbook's."""
        return cls(
            heights=np.exp(0.2 * rng.standard_normal(5)),
            dicrotic=rng.uniform(0.15, 0.5),
            pulse_width=rng.uniform(0.5, 0.75),
        )


def ecg(state: Physiology, shape: Morphology, lead: str, time: Array) -> Array:
    """One lead in mV: the z equation of McSharry's limit cycle, driven by the heart phase.

        dz/dt = -omega / (2 pi) sum_i a_i dtheta_i exp(-dtheta_i^2 / (2 b_i^2)) - (z - z0)

    The factor omega / (2 pi) keeps heights free of the heart rate; the angle of T grows with the
    square root of the rate, so that QT follows the square root of RR (Bazett).

    Args:
        state: the true state.
        shape: the subject's morphology.
        lead: "II" or "V".
        time: (time,) seconds.

    References:
        McSharry, Clifford, Tarassenko and Smith (2003), A dynamical model for generating
        synthetic electrocardiogram signals. IEEE Transactions on Biomedical Engineering 50.
    """
    from scipy.signal import lfilter

    inner = np.arange(state.time[0] + 1.0, state.time[-1] - 1.0, 1.0 / INNER_HZ)
    phase = state.heart_phase(inner)
    hertz = phase_through(state.beat_time, inner, slope=True) / (2.0 * np.pi)
    wide = np.ones((5, len(inner)))
    if shape.qrs_s is not None:
        wide[1:4] = shape.qrs_s / QRS_S * hertz
    stretch = wide.copy()
    stretch[-1] = np.sqrt(hertz) * shape.repolarisation
    force = np.zeros(len(inner))
    heights = HEIGHT * shape.heights * LEADS[lead]
    for k in range(5):
        from_wave = np.angle(np.exp(1j * (phase - ANGLE[k] * stretch[k])))
        # A wave's height is that of its force times its width squared.
        height = heights[k] / wide[k] ** 2
        force -= height * from_wave * np.exp(-0.5 * (from_wave / (WIDTH[k] * wide[k])) ** 2)
    breathing = 0.03 * np.sin(np.interp(inner, state.time, state.breath_phase))
    keep = float(np.exp(-1.0 / INNER_HZ))
    drive = 2.0 * np.pi * hertz * force + breathing
    z = lfilter([1.0 - keep], [1.0, -keep], drive)
    depth = np.interp(inner, state.time, state.depth)
    z = np.asarray(z) * (1.0 + 0.06 * depth * breathing / 0.03)  # the heart's axis breathes
    return np.interp(time, inner, z)


def ppg(state: Physiology, shape: Morphology, time: Array) -> Array:
    """Finger pulse, arbitrary units: two waves a beat that start one transit time after R.

    Breathing moves its height (stroke volume), its baseline (venous return) and, through the
    beats, its intervals.
    """
    feet = state.beat_time + state.transit
    phase = np.mod(phase_through(feet, time), 2.0 * np.pi)
    wave = _pulse_wave(phase, shape)
    # What is left at the beat's two ends goes in a straight line: no jump at the foot.
    start, stop = _pulse_wave(np.array([0.0, 2.0 * np.pi]), shape)
    wave = wave - start - (stop - start) * phase / (2.0 * np.pi)
    breath = np.interp(time, state.time, state.depth * np.sin(state.breath_phase))
    strength = 1.0 + 0.01 * (state.at(state.systolic, time) - 120.0)
    return wave * (strength - 0.12 * breath) - 0.15 * breath


def _pulse_wave(phase: Array, shape: Morphology) -> Array:
    """A systolic and a dicrotic wave over one beat, phase in [0, 2 pi]."""
    systolic = np.exp(-0.5 * ((phase - 1.3) / shape.pulse_width) ** 2)
    dicrotic = np.exp(-0.5 * ((phase - 3.2) / 0.7) ** 2)
    return np.asarray(systolic + shape.dicrotic * dicrotic)


def resp(state: Physiology, time: Array) -> Array:
    """Chest impedance, arbitrary units: slower out than in, as high as the breath is deep."""
    phase = np.interp(time, state.time, state.breath_phase)
    depth = np.interp(time, state.time, state.depth)
    return depth * (np.sin(phase) - 0.2 * np.sin(2.0 * phase))


def spo2(state: Physiology, time: Array) -> Array:
    """Oxygen saturation in whole percent: dips a circulation time after shallow breathing."""
    ventilation = state.depth * state.breathing_rate
    short = np.clip(1.0 - ventilation / np.median(ventilation), 0.0, None)
    debt = lagged(short, GRID_HZ, 10.0)
    return np.rint(98.0 - 14.0 * np.interp(time - CIRCULATION_S, state.time, debt))


def wear(x: Array, rate_hz: float, amount: float, rng: np.random.Generator) -> Array:
    """What a worn sensor adds: gain, baseline wander, noise, motion bursts and dropouts.

    Args:
        x: (channel, time) clean signal.
        rate_hz: samples a second.
        amount: 0 for none, 1 for an ordinary ward.
        rng: source of randomness.

    Returns:
        (channel, time), NaN where the contact was lost.
    """
    if amount == 0:
        return x
    count = x.shape[1]
    spread = x.std(axis=1, keepdims=True)
    x = x * np.exp(0.3 * amount * rng.standard_normal((len(x), 1)))
    wander = np.stack([wandering(rng, count, rate_hz, 4.0) for _ in x])
    x = x + amount * spread * (0.08 * wander + 0.03 * rng.standard_normal(x.shape))
    for _ in range(rng.poisson(amount * count / rate_hz / 60.0)):
        start, length = int(rng.integers(count)), int(rng.uniform(0.5, 3.0) * rate_hz)
        burst = slice(start, min(start + length, count))
        if rng.random() < 0.3:
            x[:, burst] = np.nan
        else:
            x[:, burst] += amount * spread * rng.standard_normal((len(x), 1))
    return x
