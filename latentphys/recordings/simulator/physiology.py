"""The state behind the simulated sensors: breathing, heart beats, pressure and transit time.

The heart is a beat-to-beat recursion in the manner of deBoer, Karemaker and Strackee (1987):
breathing moves the heart period (respiratory sinus arrhythmia) and the pulse pressure, pressure
feeds back on the next heart period (baroreflex), an exogenous drive shortens it through a lag.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

GRID_HZ = 25.0
SYSTOLIC, DIASTOLIC = 120.0, 75.0  # set points, mmHg
WINDKESSEL_S = 2.0  # decay of diastolic pressure
PRESSURE_PER_S = 16.0  # a longer filling time raises the pulse pressure, mmHg / s
DRIVE_LAG_S = 8.0
VAGAL_DELAY_S = 0.3


@dataclass(frozen=True)
class Subject:
    """What makes one person.

    Attributes:
        heart_rate: at rest, 1/min.
        breathing_rate: at rest, 1/min.
        sinus_arrhythmia_s: amplitude of the breathing's effect on the heart period.
        baroreflex_s: change of the next heart period per mmHg.
        drive_gain: rise of heart rate at full drive, 1/min.
        transit_s: pulse transit time at the pressure set point.
        transit_per_mmhg: its change with pressure, s / mmHg (negative).
    """

    heart_rate: float
    breathing_rate: float
    sinus_arrhythmia_s: float
    baroreflex_s: float
    drive_gain: float
    transit_s: float
    transit_per_mmhg: float = -0.0008

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Subject:
        """An adult at rest."""
        return cls(
            heart_rate=rng.uniform(55.0, 95.0),
            breathing_rate=rng.uniform(10.0, 22.0),
            sinus_arrhythmia_s=rng.uniform(0.02, 0.06),
            baroreflex_s=rng.uniform(0.003, 0.008),
            drive_gain=rng.uniform(12.0, 28.0),
            transit_s=rng.uniform(0.17, 0.33),
        )


@dataclass(frozen=True)
class Physiology:
    """The true state of one recording.

    Attributes:
        time: (time,) the grid, seconds.
        breath_phase: (time,) radians, unwrapped; inspiration begins at multiples of 2 pi.
        breathing_rate: (time,) 1/min.
        depth: (time,) of breathing, about 1.
        drive: (time,) u in [0, 1].
        beat_time: (beat,) of the R peaks, seconds; they reach past both ends of the grid.
        systolic: (beat,) mmHg.
        transit: (beat,) pulse transit time, seconds.
    """

    time: Array
    breath_phase: Array
    breathing_rate: Array
    depth: Array
    drive: Array
    beat_time: Array
    systolic: Array
    transit: Array

    def heart_phase(self, time: Array) -> Array:
        """Radians, unwrapped; the R peak is at multiples of 2 pi."""
        return phase_through(self.beat_time, time)

    def heart_rate(self, time: Array) -> Array:
        """Instantaneous, 1/min: the slope of the heart phase."""
        return 60.0 * phase_through(self.beat_time, time, slope=True) / (2.0 * np.pi)

    def at(self, values: Array, time: Array) -> Array:
        """A beat's figure (beat,) held between beats by straight lines."""
        return np.interp(time, self.beat_time, values)


def phase_through(events: Array, time: Array, slope: bool = False) -> Array:
    """A monotone phase that passes 2 pi k at event k, or its slope (rad/s)."""
    from scipy.interpolate import PchipInterpolator

    phase = PchipInterpolator(events, 2.0 * np.pi * np.arange(len(events)))
    return np.asarray(phase.derivative()(time) if slope else phase(time))


def wandering(
    rng: np.random.Generator, count: int, rate_hz: float, time_constant_s: float
) -> Array:
    """A stationary Ornstein-Uhlenbeck path of unit variance, (count,)."""
    from scipy.signal import lfilter

    keep = float(np.exp(-1.0 / (rate_hz * time_constant_s)))
    noise = np.sqrt(1.0 - keep**2) * rng.standard_normal(count)
    path, _ = lfilter([1.0], [1.0, -keep], noise, zi=[keep * rng.standard_normal()])
    return np.asarray(path)


def lagged(x: Array, rate_hz: float, time_constant_s: float) -> Array:
    """First-order lag of x, started at rest."""
    from scipy.signal import lfilter

    keep = float(np.exp(-1.0 / (rate_hz * time_constant_s)))
    return np.asarray(lfilter([1.0 - keep], [1.0, -keep], x))


def simulate_physiology(subject: Subject, seconds: float, rng: np.random.Generator) -> Physiology:
    """Run one subject's loops over `seconds`."""
    margin = 4.0  # the grid reaches past both ends, so that filters and beats do
    time = np.arange(-margin, seconds + margin, 1.0 / GRID_HZ)
    drive = _drive(rng, time, seconds)
    effect = lagged(drive, GRID_HZ, DRIVE_LAG_S)
    rate = subject.breathing_rate * np.exp(0.06 * wandering(rng, len(time), GRID_HZ, 20.0))
    rate = np.clip(rate + 3.0 * effect, 7.0, 30.0)
    depth = np.exp(0.15 * wandering(rng, len(time), GRID_HZ, 12.0))
    phase = rng.uniform(0.0, 2.0 * np.pi) + np.cumsum(2.0 * np.pi * rate / 60.0) / GRID_HZ
    beats = _beats(subject, time, phase, depth, effect, rng)
    return Physiology(time, phase, rate, depth, drive, *beats)


def _drive(rng: np.random.Generator, time: Array, seconds: float) -> Array:
    """Piecewise constant u in [0, 1]: rests and loads of 20 to 60 s."""
    drive, start = np.zeros(len(time)), float(rng.uniform(10.0, 40.0))
    while start < seconds:
        stop = start + rng.uniform(20.0, 60.0)
        drive[(time >= start) & (time < stop)] = rng.uniform(0.3, 1.0)
        start = stop + rng.uniform(20.0, 60.0)
    return drive


def _beats(
    subject: Subject,
    time: Array,
    breath_phase: Array,
    depth: Array,
    effect: Array,
    rng: np.random.Generator,
) -> tuple[Array, Array, Array]:
    """Beat times, systolic pressures and transit times, beat by beat."""
    resting = 60.0 / subject.heart_rate
    drift = 0.02 * wandering(rng, len(time), GRID_HZ, 30.0)
    transit_drift = 0.006 * wandering(rng, len(time), GRID_HZ, 60.0)
    # Inspiration shortens the heart period after a vagal delay and lowers the pulse pressure.
    arrhythmia = -subject.sinus_arrhythmia_s * depth * np.cos(breath_phase - np.pi / 2)
    now, systolic, period = float(time[0]), SYSTOLIC, resting
    times, pressures, transits = [], [], []
    while now < time[-1]:
        times.append(now)
        at = min(int((now - time[0]) * GRID_HZ), len(time) - 1)
        before = max(at - int(VAGAL_DELAY_S * GRID_HZ), 0)
        diastolic = DIASTOLIC * systolic / SYSTOLIC * np.exp(-(period - resting) / WINDKESSEL_S)
        pulse = SYSTOLIC - DIASTOLIC + PRESSURE_PER_S * (period - resting)
        pulse += -3.0 * depth[at] * np.sin(breath_phase[at]) + rng.standard_normal()
        systolic = float(diastolic + pulse)
        rested = resting + drift[at] + arrhythmia[before]
        driven = 60.0 / (60.0 / max(rested, 0.3) + subject.drive_gain * effect[at])
        reflex = subject.baroreflex_s * (systolic - SYSTOLIC)
        period = float(np.clip(driven + reflex + 0.004 * rng.standard_normal(), 0.35, 1.8))
        pressures.append(systolic)
        transit = subject.transit_s + subject.transit_per_mmhg * (systolic - SYSTOLIC)
        transits.append(max(0.1, transit + transit_drift[at]))
        now += period
    return np.array(times), np.array(pressures), np.array(transits)
