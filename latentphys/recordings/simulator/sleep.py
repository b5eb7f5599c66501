"""One person's night: every process behind the sensors, drawn together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentphys.recordings.simulator.apnoea import (
    Breather,
    Breathing,
    Events,
    simulate_arousals,
    simulate_breathing,
    simulate_events,
)
from latentphys.recordings.simulator.bedside import simulate_movements
from latentphys.recordings.simulator.electrodes import Graphoelements, Scalp, draw_graphoelements
from latentphys.recordings.simulator.hypnogram import (
    Codes,
    Sleeper,
    simulate_hypnogram,
    simulate_microstates,
)
from latentphys.recordings.simulator.night_heart import NightHeart, simulate_beats
from latentphys.recordings.simulator.sensors import Morphology

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Person:
    """Who sleeps."""

    age: int
    sex: str
    sleeper: Sleeper
    breather: Breather
    heart: NightHeart
    scalp: Scalp
    shape: Morphology

    @classmethod
    def draw(cls, events_per_hour: float | None, rng: np.random.Generator) -> Person:
        """An adult of 20 to 80."""
        age, sex = int(rng.integers(20, 80)), str(rng.choice(["F", "M"]))
        breather = Breather.draw(events_per_hour, rng)
        return cls(
            age=age,
            sex=sex,
            sleeper=Sleeper.draw(age, breather.events_per_hour, rng),
            breather=breather,
            heart=NightHeart.draw(rng),
            scalp=Scalp.draw(age, rng),
            shape=Morphology.draw(rng),
        )


@dataclass(frozen=True)
class Night:
    """The true state of one night.

    Attributes:
        stages: (epoch,) codes.
        micro: (6 epoch,) codes of 5 s, as the electrodes see them.
        events: apnoeas and hypopnoeas.
        arousals: (arousal, 2) start and stop, seconds.
        movements: (movement, 2) start and stop, seconds.
        breathing: every breath, and the oxygen.
        beats: (beat,) of the R peaks, seconds; they reach past both ends.
        waves: spindles and K-complexes.
    """

    stages: Codes
    micro: Codes
    events: Events
    arousals: Array
    movements: Array
    breathing: Breathing
    beats: Array
    waves: Graphoelements


def simulate_sleep(
    person: Person, seconds: float, cycle_minutes: float, rng: np.random.Generator
) -> Night:
    """The stages first; what depends on them after."""
    stages = simulate_hypnogram(person.sleeper, seconds, cycle_minutes, rng)
    events = simulate_events(person.breather, stages, seconds, rng)
    arousals = simulate_arousals(person.breather, events, stages, seconds, rng)
    breathing = simulate_breathing(person.breather, events, stages, seconds, rng)
    micro = simulate_microstates(stages, rng)
    return Night(
        stages=stages,
        micro=micro,
        events=events,
        arousals=arousals,
        movements=simulate_movements(micro, arousals, seconds, rng),
        breathing=breathing,
        beats=simulate_beats(person.heart, breathing, events, arousals, stages, rng),
        waves=draw_graphoelements(person.scalp, micro, seconds, rng),
    )
