"""The stages of a night as a semi-Markov process.

A bout of a stage lasts a Weibull time of that stage, then the next stage is drawn from the
transitions of the present half of the cycle: towards N3 in its first part, towards REM in its
last. Two slow clocks make a night of it: sleep pressure, which falls through the night and with
it N3, and the share of REM in a cycle, which grows.

References:
    Yang and Hursch (1973), The use of a semi-Markov model for describing sleep patterns.
    Biometrics 29.
    Wang, Alvarez, Ruiz and Moonis (2013), Computational modeling of sleep stage dynamics using
    Weibull semi-Markov chains. HEALTHINF: bouts are not geometric.
    Kemp and Kamphuisen (1986), Simulation of human hypnograms using a Markov chain model.
    Sleep 9: only rates that vary through the night and the cycle give true hypnograms.
    Borbely (1982), A two process model of sleep regulation. Human Neurobiology 1: pressure.
    Ohayon, Carskadon, Guilleminault and Vitiello (2004), Meta-analysis of quantitative sleep
    parameters. Sleep 27: the shares of the stages (N1 about 5 %, N2 50, N3 20, REM 20 to 25).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int8]

W, N1, N2, N3, REM = range(5)
EPOCH_S = 30.0
CYCLE_MINUTES = 90.0
# (mean minutes, Weibull shape) of a bout in a night of 90-minute cycles; a shape under 1 has the
# many short and few long bouts of wake.
BOUTS = {W: (1.8, 0.7), N1: (1.3, 1.1), N2: (7.0, 1.1), N3: (14.0, 1.4), REM: (10.0, 1.3)}
# P(next | now), rows W, N1, N2, N3, REM; a stage does not follow itself.
NREM_MOVES = np.array(
    [
        [0.00, 0.93, 0.07, 0.00, 0.00],
        [0.10, 0.00, 0.90, 0.00, 0.00],
        [0.10, 0.10, 0.00, 0.80, 0.00],
        [0.06, 0.04, 0.90, 0.00, 0.00],
        [0.25, 0.15, 0.60, 0.00, 0.00],
    ]
)
REM_MOVES = np.array(
    [
        [0.00, 0.60, 0.15, 0.00, 0.25],
        [0.10, 0.00, 0.20, 0.00, 0.70],
        [0.05, 0.10, 0.00, 0.00, 0.85],
        [0.05, 0.05, 0.90, 0.00, 0.00],
        [0.30, 0.40, 0.30, 0.00, 0.00],
    ]
)
MICRO_S = 5.0
# P(looks like | stage), of 5 s.
MICRO = np.array(
    [
        [0.85, 0.15, 0.00, 0.00, 0.00],
        [0.18, 0.57, 0.20, 0.00, 0.05],
        [0.02, 0.08, 0.86, 0.04, 0.00],
        [0.00, 0.00, 0.15, 0.85, 0.00],
        [0.02, 0.16, 0.02, 0.00, 0.80],
    ]
)
PRESSURE_CYCLES = 2.5  # sleep pressure falls to 1/e in as many


@dataclass(frozen=True)
class Sleeper:
    """What makes one person's night.

    Attributes:
        latency_minutes: from lights off to sleep, in a night of 90-minute cycles.
        depth: factor on the time in N3; less in the old.
        wakefulness: factor on the chance of waking, its root on the length of wake.
        cycle: length of a cycle, as a factor.
    """

    latency_minutes: float
    depth: float
    wakefulness: float
    cycle: float

    @classmethod
    def draw(cls, age: int, events_per_hour: float, rng: np.random.Generator) -> Sleeper:
        """An adult; apnoeas break the night and keep it shallow."""
        young = 1.4 - 0.9 * (age - 20) / 60.0
        broken = 1.0 + events_per_hour / 30.0
        return cls(
            latency_minutes=float(np.clip(12.0 * np.exp(0.5 * rng.standard_normal()), 3.0, 45.0)),
            depth=float(young * np.exp(0.2 * rng.standard_normal()) / np.sqrt(broken)),
            wakefulness=float(np.exp(0.3 * rng.standard_normal()) * broken * (0.6 + age / 120.0)),
            cycle=float(np.clip(1.0 + 0.08 * rng.standard_normal(), 0.8, 1.2)),
        )


def simulate_hypnogram(
    sleeper: Sleeper, seconds: float, cycle_minutes: float, rng: np.random.Generator
) -> Codes:
    """The stage of every 30-s epoch, (epoch,), the last one perhaps cut.

    Args:
        sleeper: whose night it is.
        seconds: its length.
        cycle_minutes: length of a cycle; every bout is shorter in proportion to 90, though never
            than an epoch, so that a short night visits all the stages.
        rng: source of randomness.
    """
    epochs = int(np.ceil(seconds / EPOCH_S - 1e-9))
    cycle = cycle_minutes * sleeper.cycle * 60.0 / EPOCH_S  # in epochs
    pace = cycle_minutes / CYCLE_MINUTES * 60.0 / EPOCH_S  # epochs a minute of a whole night
    onset = max(1, round(sleeper.latency_minutes * pace))
    stages, now = [W] * onset, W
    while len(stages) < epochs:
        asleep = (len(stages) - onset) / cycle
        pressure = sleeper.depth * np.exp(-asleep / PRESSURE_CYCLES)
        rem = rem_share(asleep)
        now = int(rng.choice(5, p=_moves(now, asleep % 1.0 >= 1.0 - rem, pressure, sleeper)))
        stages += [now] * _bout(now, pressure, sleeper, pace, rng)
    return np.array(stages[:epochs], dtype=np.int8)


def stage_at(stages: Codes, time: NDArray[np.float64], epoch_s: float = EPOCH_S) -> Codes:
    """The stage at each time; before the night and after it, that of its ends."""
    epoch = np.floor(np.asarray(time) / epoch_s).astype(int)
    return np.asarray(stages[np.clip(epoch, 0, len(stages) - 1)])


def simulate_microstates(stages: Codes, rng: np.random.Generator) -> Codes:
    """What the electrodes see of each `MICRO_S`, (6 epoch,).

    An epoch has the name of what fills most of it: a drowsy sleeper hovers between wake and
    sleep, and the rest of an epoch is what makes scorers disagree, most of all about N1.
    """
    each = np.repeat(stages, round(EPOCH_S / MICRO_S))
    bounds = np.cumsum(MICRO, axis=1)[each]
    drawn = (rng.random((len(each), 1)) > bounds).sum(axis=1)
    return np.asarray(np.minimum(drawn, REM), dtype=np.int8)


def rem_share(cycles: float) -> float:
    """The last part of a cycle, in which REM comes: a tenth at first, a third by morning."""
    return float(0.10 + 0.28 * (1.0 - np.exp(-cycles / 1.8)))


def _moves(now: int, late: bool, pressure: float, sleeper: Sleeper) -> NDArray[np.float64]:
    """Probabilities of the next stage."""
    row = (REM_MOVES if late else NREM_MOVES)[now].copy()
    if now == N2 and not late:
        row[N3] *= min(pressure, 1.2)
    if now != W:
        row[W] *= sleeper.wakefulness
    return np.asarray(row / row.sum())


def _bout(
    stage: int, pressure: float, sleeper: Sleeper, pace: float, rng: np.random.Generator
) -> int:
    """Length of a bout in epochs, rounded at random so that its mean is kept."""
    from scipy.special import gamma

    mean, shape = BOUTS[stage]
    mean *= {N3: min(pressure, 1.5), W: np.sqrt(sleeper.wakefulness)}.get(stage, 1.0)
    length = mean * pace * rng.weibull(shape) / gamma(1.0 + 1.0 / shape)
    return max(1, int(np.floor(length + rng.random())))
