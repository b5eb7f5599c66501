"""Systole beat by beat: pre-ejection period, ejection time and the sounds of the closing valves.

    Q ----------- M1 --------- aortic valve opens ------------------ A2 --- P2
    |  electro-    |  isovolumic    |                                 |
    |  mechanical  |  contraction   |  left-ventricular ejection time |
    |------- pre-ejection period ---|                                 |
                   |----------- systolic interval (S1 to S2) ---------|

Q lies Q_TO_R_S before the R peak. The intervals follow the heart rate by Weissler's regressions;
contractility, filling and pressure, which wander on their own, move them about those lines, so
that neither is a function of the heart rate alone, nor one of the other.

References:
    Weissler, Harris and Schoenfeld (1968), Systolic time intervals in heart failure in man.
    Circulation 37: the regressions and their spread.
    Lewis, Rittgers, Forester and Boudoulas (1977), A critical review of the systolic time
    intervals. Circulation 56: what contractility, preload and afterload do to them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from latentphys.recordings.simulator.physiology import (
    DRIVE_LAG_S,
    GRID_HZ,
    SYSTOLIC,
    Physiology,
    lagged,
    wandering,
)

Array = NDArray[np.float64]

# Seconds and seconds per (1/min): intercept, slope. Weissler et al., adults at rest, supine.
PRE_EJECTION = {"M": (0.131, -0.0004), "F": (0.133, -0.0004)}
EJECTION = {"M": (0.413, -0.0017), "F": (0.418, -0.0016)}
SPREAD_S = 0.010  # between people of one heart rate
Q_TO_R_S = 0.04
# What one unit of a slow state does, seconds: contractility and filling.
CONTRACTILITY = {"pre_ejection": -0.009, "ejection": -0.006}
FILLING = {"pre_ejection": -0.003, "ejection": 0.009}
PRE_EJECTION_PER_MMHG = 0.0003  # afterload
DRIVE_CONTRACTILITY = 1.5  # of full exogenous drive


@dataclass(frozen=True)
class Heart:
    """What makes one person's systole.

    Attributes:
        sex: "M" or "F", for the regressions.
        pre_ejection_s, ejection_s: how far off the regressions.
        isovolumic: isovolumic contraction as a share of the pre-ejection period.
    """

    sex: str
    pre_ejection_s: float
    ejection_s: float
    isovolumic: float

    @classmethod
    def draw(cls, sex: str, rng: np.random.Generator) -> Heart:
        """An adult."""
        return cls(
            sex=sex,
            pre_ejection_s=float(np.clip(SPREAD_S * rng.standard_normal(), -0.02, 0.03)),
            ejection_s=SPREAD_S * rng.standard_normal(),
            isovolumic=rng.uniform(0.3, 0.45),
        )


@dataclass(frozen=True)
class Systole:
    """The intervals of every beat of a `Physiology`, (beat,) each, seconds.

    Attributes:
        pre_ejection: from Q to the opening of the aortic valve.
        ejection: left-ventricular ejection time.
        isovolumic: from the closing of the mitral to the opening of the aortic valve.
        contractility, filling: the slow states behind them, about 0, without units.
    """

    pre_ejection: Array
    ejection: Array
    isovolumic: Array
    contractility: Array
    filling: Array

    @property
    def interval(self) -> Array:
        """The systolic interval, from the first to the second sound."""
        return self.isovolumic + self.ejection

    def opening(self, beat_time: Array) -> Array:
        """When the aortic valve opens, seconds."""
        return beat_time - Q_TO_R_S + self.pre_ejection

    def first_sound(self, beat_time: Array) -> Array:
        """When the mitral valve closes, seconds."""
        return beat_time - Q_TO_R_S + self.pre_ejection - self.isovolumic

    def second_sound(self, beat_time: Array) -> Array:
        """When the aortic valve closes, seconds."""
        return beat_time - Q_TO_R_S + self.pre_ejection + self.ejection


def simulate_systole(heart: Heart, state: Physiology, rng: np.random.Generator) -> Systole:
    """The intervals of every beat: the regression on the beat before, and what moves it.

    PEP  = a + b HR + offset - 9 ms contractility - 3 ms filling + 0.3 ms / mmHg
    LVET = c + d HR + offset - 6 ms contractility + 9 ms filling
    """
    grid, beats = state.time, state.beat_time

    def at_beats(values: Array) -> Array:
        return np.interp(beats, grid, values)

    effect = lagged(state.drive, GRID_HZ, DRIVE_LAG_S)
    contractility = at_beats(wandering(rng, len(grid), GRID_HZ, 60.0))
    contractility = contractility + DRIVE_CONTRACTILITY * at_beats(effect)
    # Inspiration fills the right heart, and for that beat less reaches the left.
    breath = at_beats(state.depth * np.sin(state.breath_phase))
    filling = at_beats(wandering(rng, len(grid), GRID_HZ, 45.0)) - 0.4 * breath
    period = np.diff(beats, prepend=2 * beats[0] - beats[1])
    rate = 60.0 / period
    (a, b), (c, d) = PRE_EJECTION[heart.sex], EJECTION[heart.sex]
    pre_ejection = a + b * rate + heart.pre_ejection_s
    pre_ejection += CONTRACTILITY["pre_ejection"] * contractility
    pre_ejection += FILLING["pre_ejection"] * filling
    pre_ejection += PRE_EJECTION_PER_MMHG * (state.systolic - SYSTOLIC)
    ejection = c + d * rate + heart.ejection_s
    ejection += CONTRACTILITY["ejection"] * contractility + FILLING["ejection"] * filling
    jitter = 0.0015 * rng.standard_normal((2, len(beats)))
    pre_ejection = np.clip(pre_ejection + jitter[0], 0.05, 0.2)
    ejection = np.clip(ejection + jitter[1], 0.15, 0.45)
    return Systole(pre_ejection, ejection, heart.isovolumic * pre_ejection, contractility, filling)


def with_pulse_after_ejection(state: Physiology, systole: Systole) -> Physiology:
    """The same beats, whose pulses leave the heart when the valve opens.

    The pulse arrives a pre-ejection period and a vascular transit time after the electrical
    beat. What `simulate_physiology` draws is the two together at the person's mean pre-ejection
    period; here the beat's own takes its place.
    """
    change = systole.pre_ejection - systole.pre_ejection.mean()
    return replace(state, transit=np.maximum(0.1, state.transit + change))
