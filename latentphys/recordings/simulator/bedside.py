"""What a night does to sensors: gains, noise, drift, mains hum, movement, loose contacts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentphys.recordings.simulator.electrodes import during, sprinkled
from latentphys.recordings.simulator.hypnogram import Codes
from latentphys.recordings.simulator.physiology import wandering

Array = NDArray[np.float64]

MAINS_HZ = 50.0
MOVEMENTS_PER_MINUTE = np.array([1.2, 0.15, 0.04, 0.02, 0.06])  # by stage W N1 N2 N3 REM
LOOSE_PER_HOUR = 0.15
PROBE_OFF_PER_HOUR = 0.5


@dataclass(frozen=True)
class Flaws:
    """Of one kind of sensor, in its units (rms): noise, slow drift, movement, mains hum."""

    noise: float
    drift: float
    movement: float
    mains: float


FLAWS = {
    "eeg": Flaws(noise=1.5, drift=6.0, movement=35.0, mains=1.5),
    "eog": Flaws(noise=2.0, drift=12.0, movement=50.0, mains=1.5),
    "emg": Flaws(noise=0.6, drift=2.0, movement=15.0, mains=0.7),
    "ecg": Flaws(noise=0.008, drift=0.03, movement=0.12, mains=0.006),
    "airflow": Flaws(noise=0.02, drift=0.05, movement=0.6, mains=0.0),
    "effort": Flaws(noise=0.015, drift=0.12, movement=0.8, mains=0.0),
}


def simulate_movements(
    stages: Codes, arousals: Array, seconds: float, rng: np.random.Generator
) -> Array:
    """(movement, 2) start and stop: many awake, with half of the arousals, few else."""
    start = sprinkled(MOVEMENTS_PER_MINUTE, stages, seconds, rng)
    start = np.sort(np.concatenate([start, arousals[rng.random(len(arousals)) < 0.5, 0]]))
    return np.stack([start, start + rng.uniform(2.0, 8.0, len(start))], axis=1)


def worn_overnight(
    x: Array,
    rate_hz: float,
    flaws: Flaws,
    movements: Array,
    amount: float,
    rng: np.random.Generator,
) -> Array:
    """The signal (channel, time) as it is recorded, NaN where an electrode came off.

    Mains hum shows where the rate leaves it room; below, the amplifier's filter takes it out.

    Args:
        x: (channel, time) clean.
        rate_hz: samples a second.
        flaws: of this kind of sensor.
        movements: (movement, 2) start and stop, seconds, shared by all sensors.
        amount: 0 for none, 1 for an ordinary night.
        rng: source of randomness.
    """
    if amount == 0:
        return x
    channels, count = x.shape
    time = np.arange(count) / rate_hz
    moving = during(movements, time)
    out = x * np.exp(0.25 * amount * rng.standard_normal((channels, 1)))
    hum = np.sin(2.0 * np.pi * MAINS_HZ * time + rng.uniform(0.0, 2.0 * np.pi))
    for row in out:
        row += amount * flaws.noise * rng.standard_normal(count)
        row += amount * flaws.drift * wandering(rng, count, rate_hz, 5.0)
        row += amount * flaws.movement * moving * wandering(rng, count, rate_hz, 0.1)
        strength = flaws.mains * np.exp(0.7 * rng.standard_normal())
        if MAINS_HZ < 0.45 * rate_hz:
            row += amount * strength * hum
        _lose(row, rate_hz, amount * LOOSE_PER_HOUR, (20.0, 300.0), rng)
    return out


def probe_overnight(
    x: Array, rate_hz: float, movements: Array, amount: float, rng: np.random.Generator
) -> Array:
    """An oximeter (1, time): what it reads, NaN where a movement or a cold finger lost it."""
    if amount == 0:
        return x
    out = x.copy()
    lost = movements[rng.random(len(movements)) < 0.1 * min(amount, 5.0)]
    out[:, during(lost, np.arange(x.shape[1]) / rate_hz) > 0] = np.nan
    _lose(out[0], rate_hz, amount * PROBE_OFF_PER_HOUR, (5.0, 60.0), rng)
    return out


def _lose(
    row: Array,
    rate_hz: float,
    per_hour: float,
    lasting_s: tuple[float, float],
    rng: np.random.Generator,
) -> None:
    """Contact lost a few times a night, in place."""
    for _ in range(rng.poisson(per_hour * len(row) / rate_hz / 3600.0)):
        start, length = int(rng.integers(len(row))), int(rng.uniform(*lasting_s) * rate_hz)
        row[start : start + length] = np.nan
