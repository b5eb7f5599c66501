"""Breathing asleep: apnoeas, the effort behind them, arousals after them and the oxygen they cost.

    flow = depth x drive x airway,    effort = depth x drive

An obstructive apnoea shuts the airway while the drive goes on and grows; a central one stops the
drive; a hypopnoea narrows the airway. Oxygen falls at the lung while ventilation is below need
and comes back with the breaths that follow; the finger sees it a circulation time later.

References:
    Berry et al. (2012), Rules for scoring respiratory events in sleep. Journal of Clinical Sleep
    Medicine 8: the events, at least 10 s long, and their kinds.
    Kwon, Khan, Pritzker and Iber (2014), Circulation time measurement from sleep studies in
    patients with obstructive sleep apnea. Journal of Clinical Sleep Medicine 10: 18.5 s from lung
    to finger, 26.1 s in heart failure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentphys.recordings.simulator.hypnogram import N3, REM, Codes, W, stage_at
from latentphys.recordings.simulator.physiology import GRID_HZ, lagged, wandering

Array = NDArray[np.float64]

KINDS = ("obstructive", "central", "hypopnoea")
# By stage W, N1, N2, N3, REM.
PRONE = np.array([0.0, 1.3, 1.1, 0.25, 1.4])  # factor on events an hour
RATE = np.array([1.05, 1.0, 0.98, 1.0, 1.08])
RATE_SPREAD = np.array([0.12, 0.07, 0.05, 0.025, 0.13])
DEPTH_SPREAD = np.array([0.25, 0.12, 0.08, 0.04, 0.22])
RECOVERY_S = 6.0  # of the big breaths after an event
OXYGEN_HZ = 5.0
REFILL_S = 8.0  # time constant at which ordinary breathing restores the lung's oxygen


@dataclass(frozen=True)
class Breather:
    """What makes one person's breathing at night.

    Attributes:
        rate: breaths a minute.
        events_per_hour: apnoeas and hypopnoeas, of sleep, about.
        central: share of them that are central.
        arousable: chance that one ends in an arousal.
        saturation: oxygen saturation at ease, percent.
        fall_per_s: its fall while nothing is breathed, percent a second.
        circulation_s: from the lung to the finger.
    """

    rate: float
    events_per_hour: float
    central: float
    arousable: float
    saturation: float
    fall_per_s: float
    circulation_s: float

    @classmethod
    def draw(cls, events_per_hour: float | None, rng: np.random.Generator) -> Breather:
        """A sleeper; two in five have next to no apnoeas, some of the others many."""
        healthy, severity = rng.random() < 0.4, np.exp(0.8 * rng.standard_normal())
        own = rng.uniform(0.0, 4.0) if healthy else float(np.clip(14.0 * severity, 5.0, 70.0))
        mostly_central = rng.random() < 0.2
        return cls(
            rate=rng.uniform(12.0, 18.0),
            events_per_hour=own if events_per_hour is None else events_per_hour,
            central=rng.uniform(0.5, 0.8) if mostly_central else rng.uniform(0.05, 0.25),
            arousable=rng.uniform(0.6, 0.95),
            saturation=rng.uniform(95.0, 98.0),
            fall_per_s=rng.uniform(0.15, 0.5),
            circulation_s=rng.uniform(12.0, 32.0),
        )


@dataclass(frozen=True)
class Events:
    """Stretches of the night: (event,) each; `kind` is a row of `KINDS`."""

    start: Array
    stop: Array
    kind: NDArray[np.int64]


@dataclass(frozen=True)
class Breathing:
    """The breath of one night on its grid, (time,) each.

    Attributes:
        time: seconds.
        phase: radians, unwrapped; inspiration begins at multiples of 2 pi.
        rate: 1/min.
        depth: of a breath, 1 at ease; the breaths after an event are bigger.
        drive: of the muscles, 1 at ease.
        airway: 1 open, 0 shut.
        paradox: how far abdomen and thorax move against each other, 0 to 1.
        ventilation: 1 at ease.
        saturation: of the blood that leaves the lung, percent.
    """

    time: Array
    phase: Array
    rate: Array
    depth: Array
    drive: Array
    airway: Array
    paradox: Array
    ventilation: Array
    saturation: Array


def simulate_events(
    breather: Breather, stages: Codes, seconds: float, rng: np.random.Generator
) -> Events:
    """Apnoeas and hypopnoeas of a night: a Poisson process thinned by stage, with rests between."""
    most = breather.events_per_hour * PRONE.max()
    found: list[tuple[float, float, int]] = []
    now = 0.0
    while most > 0 and now < seconds:
        now += rng.exponential(3600.0 / most)
        length = float(np.clip(18.0 * np.exp(0.35 * rng.standard_normal()), 10.0, 60.0))
        stage, chance, kind = int(stage_at(stages, np.array(now))), *rng.random(2)
        length *= 1.3 if stage == REM else 1.0
        central = kind < breather.central and stage not in (N3, REM)
        asleep = (stage_at(stages, np.arange(now, now + length + 1.0)) != W).all()
        if asleep and now + length < seconds and chance < PRONE[stage] / PRONE.max():
            of_airway = 0 if rng.random() < 0.6 else 2
            found.append((now, now + length, 1 if central else of_airway))
            now += length + 12.0
    table = np.array(found, dtype=np.float64).reshape(-1, 3)
    return Events(table[:, 0], table[:, 1], table[:, 2].astype(np.int64))


def simulate_arousals(
    breather: Breather, events: Events, stages: Codes, seconds: float, rng: np.random.Generator
) -> Array:
    """(arousal, 2) start and stop: at the ends of events, and some of their own accord."""
    after = events.stop[rng.random(len(events.stop)) < breather.arousable] - 0.5
    alone = rng.uniform(0.0, seconds, rng.poisson(8.0 * seconds / 3600.0))
    alone = alone[~np.isin(stage_at(stages, alone), (W, N3))]
    quiet = [t for t in alone if ((t < events.start - 5) | (t > events.stop + 20)).all()]
    start = np.sort(np.concatenate([after, quiet]))
    stop = np.minimum(start + rng.uniform(3.0, 12.0, len(start)), seconds)
    return np.stack([start, stop], axis=1)


def simulate_breathing(
    breather: Breather, events: Events, stages: Codes, seconds: float, rng: np.random.Generator
) -> Breathing:
    """Every breath of the night, and the oxygen that comes of it."""
    time = np.arange(-4.0, seconds + 4.0, 1.0 / GRID_HZ)
    stage = stage_at(stages, time)

    def by_stage(table: Array) -> Array:
        return lagged(table[stage] - table[stage[0]], GRID_HZ, 5.0) + table[stage[0]]

    wander = wandering(rng, len(time), GRID_HZ, 8.0), wandering(rng, len(time), GRID_HZ, 6.0)
    rate = breather.rate * by_stage(RATE) * np.exp(by_stage(RATE_SPREAD) * wander[0])
    depth = np.exp(by_stage(DEPTH_SPREAD) * wander[1])
    drive, airway, paradox = np.ones((3, len(time)))
    paradox *= 0.0
    for start, stop, kind in zip(events.start, events.stop, events.kind, strict=True):
        first, last = np.searchsorted(time, [start, stop])
        gone = np.arange(first, last) / GRID_HZ - first / GRID_HZ
        if KINDS[kind] == "central":
            drive[first:last] = np.clip(1.0 - gone, 0.0, 1.0)
        else:
            left = 0.0 if KINDS[kind] == "obstructive" else 0.4
            airway[first:last] = np.clip(1.0 - gone, left, 1.0)
            paradox[first:last] = np.clip(gone, 0.0, 1.0 - left)
            drive[first:last] = 1.0 + (1.0 - left) * 0.7 * gone / (stop - start)
        after = slice(last, last + int(4 * RECOVERY_S * GRID_HZ))
        since = np.arange(len(depth[after])) / GRID_HZ
        depth[after] *= 1.0 + 0.9 * np.exp(-since / RECOVERY_S)
    # Nothing in a chest jumps.
    drive, airway = (1.0 - lagged(1.0 - each, GRID_HZ, 0.25) for each in (drive, airway))
    paradox = lagged(paradox, GRID_HZ, 0.25)
    phase = rng.uniform(0.0, 2.0 * np.pi) + np.cumsum(2.0 * np.pi * rate / 60.0) / GRID_HZ
    ventilation = depth * drive * airway * rate / (breather.rate * RATE[stage])
    saturation = _saturation(breather, time, ventilation)
    saturation = np.minimum(saturation + 0.4 * wandering(rng, len(time), GRID_HZ, 300.0), 100.0)
    return Breathing(time, phase, rate, depth, drive, airway, paradox, ventilation, saturation)


def _saturation(breather: Breather, time: Array, ventilation: Array) -> Array:
    """Percent, at the lung: what is short of need is lost, what is breathed refills.

    dD/dt = fall max(0, 1 - v) - v D / REFILL_S,    saturation = at ease - D
    """
    step = round(GRID_HZ / OXYGEN_HZ)
    supply = ventilation[: len(ventilation) // step * step].reshape(-1, step).mean(1)
    keep = np.exp(-supply / (REFILL_S * OXYGEN_HZ))
    lost = breather.fall_per_s / OXYGEN_HZ * np.clip(1.0 - supply, 0.0, None)
    debt, path = 0.0, np.empty(len(supply))
    for k, (kept, more) in enumerate(zip(keep.tolist(), lost.tolist(), strict=True)):
        debt = debt * kept + more
        path[k] = debt
    at = time[0] + (np.arange(len(supply)) + 1.0) / OXYGEN_HZ
    return np.interp(time, at, breather.saturation - np.minimum(path, 45.0))


def airflow(breathing: Breathing, time: Array) -> Array:
    """At the nose, arbitrary units: in is positive, and a little faster than out."""
    phase = np.interp(time, breathing.time, breathing.phase)
    amount = np.interp(time, breathing.time, breathing.depth * breathing.drive * breathing.airway)
    return amount * (np.sin(phase) + 0.2 * np.sin(2.0 * phase))


def effort(breathing: Breathing, time: Array) -> Array:
    """Belts round thorax and abdomen, (2, time), arbitrary units.

    Against a shut airway the two move against each other.
    """
    phase = np.interp(time, breathing.time, breathing.phase)
    amount = np.interp(time, breathing.time, breathing.depth * breathing.drive)
    against = np.interp(time, breathing.time, breathing.paradox)
    lag = 0.2 + 2.2 * against
    return np.stack([-amount * np.cos(phase), -0.8 * amount * np.cos(phase - lag)])


def spo2(breather: Breather, breathing: Breathing, time: Array) -> Array:
    """At the finger, whole percent: a circulation time late, a mean over the last 3 s."""
    late = [
        np.interp(time - breather.circulation_s - back, breathing.time, breathing.saturation)
        for back in np.linspace(0.0, 3.0, 7)
    ]
    return np.rint(np.mean(late, axis=0))
