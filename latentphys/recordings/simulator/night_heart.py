"""The heart asleep: stage, breathing, apnoeas and arousals set its rate; its ECG.

References:
    Somers, Dyken, Mark and Abboud (1993), Sympathetic-nerve activity during sleep in normal
    subjects. New England Journal of Medicine 328: rate falls from wake to N3 and rises in REM.
    Guilleminault et al. (1984), Cyclical variation of the heart rate in sleep apnoea syndrome.
    Lancet 323: slowing in the apnoea, racing after it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentphys.recordings.simulator.apnoea import KINDS, Breathing, Events
from latentphys.recordings.simulator.hypnogram import Codes, stage_at
from latentphys.recordings.simulator.physiology import lagged, phase_through, wandering
from latentphys.recordings.simulator.sensors import ANGLE, HEIGHT, WIDTH, Morphology

Array = NDArray[np.float64]

HEART_HZ = 5.0
# By stage W, N1, N2, N3, REM; beats a minute.
RATE = np.array([9.0, 3.0, 0.0, -1.5, 4.0])
SPREAD = np.array([3.5, 2.0, 1.3, 0.7, 3.0])
SINUS_ARRHYTHMIA = np.array([0.6, 0.8, 1.0, 1.2, 0.5])
NIGHT_FALL, NIGHT_S = 5.0, 7200.0


@dataclass(frozen=True)
class NightHeart:
    """What makes one person's heart at night, in beats a minute.

    Attributes:
        rate: in N2.
        arrhythmia: of breathing.
        slowing: by the end of an apnoea.
        racing: after it.
    """

    rate: float
    arrhythmia: float
    slowing: float
    racing: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> NightHeart:
        """A sleeper."""
        return cls(
            rate=rng.uniform(52.0, 74.0),
            arrhythmia=rng.uniform(1.5, 5.0),
            slowing=rng.uniform(3.0, 9.0),
            racing=rng.uniform(7.0, 16.0),
        )


def simulate_beats(
    heart: NightHeart,
    breathing: Breathing,
    events: Events,
    arousals: Array,
    stages: Codes,
    rng: np.random.Generator,
) -> Array:
    """Times of the R peaks, (beat,) seconds, past both ends of the night."""
    time = np.arange(breathing.time[0], breathing.time[-1], 1.0 / HEART_HZ)
    stage = stage_at(stages, time)

    def by_stage(table: Array) -> Array:
        return lagged(table[stage] - table[stage[0]], HEART_HZ, 15.0) + table[stage[0]]

    rate = (
        heart.rate + by_stage(RATE) - NIGHT_FALL * (1.0 - np.exp(-np.clip(time, 0, None) / NIGHT_S))
    )
    rate = rate + by_stage(SPREAD) * wandering(rng, len(time), HEART_HZ, 12.0)
    breath = np.interp(time, breathing.time, breathing.drive * breathing.depth)
    volume = -np.cos(np.interp(time, breathing.time, breathing.phase))
    swing = heart.arrhythmia * by_stage(SINUS_ARRHYTHMIA)
    rate = rate + swing * np.minimum(breath, 2.0) * volume
    for start, stop, kind in zip(events.start, events.stop, events.kind, strict=True):
        amount = 0.5 if KINDS[kind] == "hypopnoea" else 1.0
        first, last = np.searchsorted(time, [start, stop])
        rate[first:last] -= amount * heart.slowing * np.linspace(0.0, 1.0, last - first)
        rate[last:] += amount * _burst(time[last:] - stop, heart.racing, last_s=8.0)
    for start, _ in arousals:
        first = int(np.searchsorted(time, start))
        rate[first:] += _burst(time[first:] - start, 0.5 * heart.racing, last_s=6.0)
    phase = np.cumsum(np.clip(rate, 35.0, 150.0) / 60.0) / HEART_HZ
    beats = np.interp(np.arange(1.0, np.floor(phase[-1])), phase, time)
    return np.asarray(beats + 0.004 * rng.standard_normal(len(beats)))


def _burst(since: Array, height: float, last_s: float) -> Array:
    """A rise over 2 s that fades; zeros once it has faded."""
    out = np.zeros(len(since))
    near = since[: np.searchsorted(since, 8.0 * last_s)]
    out[: len(near)] = height * (1.0 - np.exp(-near / 2.0)) * np.exp(-near / last_s)
    return out


def ecg(beats: Array, shape: Morphology, breathing: Breathing, time: Array) -> Array:
    """Lead II in mV: McSharry's limit cycle in closed form, for a phase that is given.

        z = sum_i a_i b_i^2 exp(-dtheta_i^2 / (2 b_i^2))

    `latentphys.recordings.simulator.sensors.ecg` integrates the same equation, with its slow
    return to the baseline.
    """
    phase = phase_through(beats, time)
    hertz = phase_through(beats, time, slope=True) / (2.0 * np.pi)
    stretch = np.sqrt(hertz)
    z = np.zeros(len(time))
    for k in range(5):
        angle = ANGLE[k] * stretch if k == 4 else ANGLE[k]
        off = np.mod(phase - angle + np.pi, 2.0 * np.pi) - np.pi
        height = HEIGHT[k] * shape.heights[k] * WIDTH[k] ** 2
        near = np.abs(off) < 4.5 * WIDTH[k]
        z[near] += height * np.exp(-0.5 * (off[near] / WIDTH[k]) ** 2)
    effort = np.interp(time, breathing.time, breathing.depth * breathing.drive)
    lung = -effort * np.cos(np.interp(time, breathing.time, breathing.phase))
    return z * (1.0 + 0.06 * lung) + 0.02 * lung
