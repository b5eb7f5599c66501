"""A left ventricle: its volume over the beat, its wall, and what its ECG tells of it.

    EF = 1.125 - 1.25 PEP / LVET               a beat's ejection fraction, from its intervals
    V(t): filled to the valve's opening, ejected over LVET, then filled early and by the atrium
    V = (2/3) pi r^2 L,   V + mass / 1.05 = (2/3) pi (r + h)^2 (L + h)      half an ellipsoid

A failing ventricle is dilated, rounder and heavier, conducts slowly, opens its valve late and
ejects for a short time. A larger mass makes a taller and a wider QRS, a slow conduction delays
the valve's opening by half of what it adds to the QRS, and the T wave ends with ejection. So the
ECG tells something of mass and ejection fraction, never all: contractility of the moment, filling
and the scatter about the regression do not show in it.

References:
    Garrard, Weissler and Dodge (1970), The relationship of alterations in systolic time intervals
    to ejection fraction in patients with cardiac disease. Circulation 42: the regression.
    Sokolow and Lyon (1949), The ventricular complex in left ventricular hypertrophy as obtained
    by unipolar precordial and limb leads. American Heart Journal 37: voltage and mass.
    Murkofsky et al. (1998), A prolonged QRS duration on surface electrocardiogram is a specific
    indicator of left ventricular dysfunction. JACC 32: QRS duration and ejection fraction.
    Boudoulas, Geleris, Lewis and Rittgers (1981), Linear relationship between electrical systole,
    mechanical systole, and heart rate. Chest 80: QT and the end of ejection.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from latentphys.recordings.simulator.cardiac_cycle import EJECTION, PRE_EJECTION, Heart, Systole
from latentphys.recordings.simulator.physiology import Physiology
from latentphys.recordings.simulator.sensors import QRS_S, Morphology

Array = NDArray[np.float64]

DENSITY = 1.05  # of myocardium, g / mL
MASS_G = {"M": 130.0, "F": 95.0}
END_DIASTOLIC_ML = {"M": 125.0, "F": 100.0}
EJECTION_SCATTER = 0.03  # between people of one PEP / LVET; the regression's own is 0.08
FILLING_VOLUME = 0.05  # of the end-diastolic volume, one unit of filling
RELAXATION_S = 0.07  # from the aortic valve's closing to the mitral valve's opening
EARLY_S, ATRIAL_S, EARLY_SHARE = 0.2, 0.12, 0.7
# A failing heart's own, at its worst: seconds of QRS, pre-ejection period and ejection time.
FAILING = {"qrs": 0.05, "pre_ejection": 0.03, "ejection": -0.04}
MECHANICAL_DELAY = 0.5  # of what conduction adds to the QRS


@dataclass(frozen=True)
class Ventricle:
    """What makes one person's left ventricle.

    Attributes:
        failure: from 0 (healthy) to 1.
        mass_g: of its wall.
        end_diastolic_ml: its volume when full, on the average.
        slenderness: length over radius when full.
        qrs_s: how long it takes to be excited.
        ejection_offset: of its ejection fraction from the regression.
    """

    failure: float
    mass_g: float
    end_diastolic_ml: float
    slenderness: float
    qrs_s: float
    ejection_offset: float

    @classmethod
    def draw(cls, sex: str, rng: np.random.Generator) -> Ventricle:
        """A patient of a cardiac scanner: one in three is healthy."""
        failure = max(0.0, float(rng.uniform(-0.5, 1.0)))
        size = np.exp(0.12 * rng.standard_normal())
        mass = MASS_G[sex] * size * np.exp(0.2 * rng.standard_normal()) * (1.0 + 0.5 * failure)
        full = END_DIASTOLIC_ML[sex] * size * np.exp(0.08 * rng.standard_normal())
        qrs = QRS_S * (mass / np.mean(list(MASS_G.values()))) ** (1 / 3)
        qrs *= np.exp(0.05 * rng.standard_normal())
        return cls(
            failure=failure,
            mass_g=float(mass),
            end_diastolic_ml=float(full * (1.0 + 0.8 * failure)),
            slenderness=3.6 - 0.8 * failure,
            qrs_s=float(qrs + FAILING["qrs"] * failure),
            ejection_offset=EJECTION_SCATTER * float(rng.standard_normal()),
        )

    def of_heart(self, heart: Heart) -> Heart:
        """The heart with this ventricle's intervals: late to open, and early to close."""
        late = MECHANICAL_DELAY * (self.qrs_s - QRS_S) + FAILING["pre_ejection"] * self.failure
        return replace(
            heart,
            pre_ejection_s=heart.pre_ejection_s + late,
            ejection_s=heart.ejection_s + FAILING["ejection"] * self.failure,
        )

    def of_ecg(self, shape: Morphology, heart: Heart, rate: float) -> Morphology:
        """The person's waves: QRS as tall and wide as the mass asks, T as late as ejection ends.

        Args:
            shape: without a ventricle.
            heart: with it, as `of_heart` gives it.
            rate: of the heart, 1/min.
        """
        voltage = (self.mass_g / np.mean(list(MASS_G.values()))) ** 0.7
        heights = shape.heights * np.array([1.0, voltage, voltage, voltage, 1.0])
        usual = sum(a + b * rate for a, b in (PRE_EJECTION[heart.sex], EJECTION[heart.sex]))
        systole = usual + heart.pre_ejection_s + heart.ejection_s
        return replace(shape, heights=heights, qrs_s=self.qrs_s, repolarisation=systole / usual)


@dataclass(frozen=True)
class Beats:
    """Volumes of every beat of a `Physiology`, (beat,) each: mL, and a share."""

    end_diastolic: Array
    end_systolic: Array
    ejection_fraction: Array


def beats_of(ventricle: Ventricle, systole: Systole) -> Beats:
    """How far each beat fills and empties the ventricle."""
    share = 1.125 - 1.25 * systole.pre_ejection / systole.ejection + ventricle.ejection_offset
    share = np.clip(share, 0.1, 0.8)
    full = ventricle.end_diastolic_ml * (1.0 + FILLING_VOLUME * np.tanh(systole.filling))
    return Beats(full, full * (1.0 - share), share)


def volume_at(beats: Beats, state: Physiology, systole: Systole, time: Array) -> Array:
    """The ventricle's volume in mL, (time,)."""
    opening = systole.opening(state.beat_time)
    k = np.clip(np.searchsorted(opening, time, side="right") - 1, 0, len(opening) - 2)
    ejected = np.clip((time - opening[k]) / systole.ejection[k], 0.0, 1.0)
    inlet = opening[k] + systole.ejection[k] + RELAXATION_S
    shut = opening[k + 1] - systole.isovolumic[k + 1]
    room = np.maximum(shut - inlet, 0.05)
    early, atrial = np.minimum(EARLY_S, 0.6 * room), np.minimum(ATRIAL_S, 0.35 * room)
    filled = EARLY_SHARE * _smooth((time - inlet) / early)
    filled += (1.0 - EARLY_SHARE) * _smooth((time - shut + atrial) / atrial)
    full, empty, next_full = beats.end_diastolic, beats.end_systolic, beats.end_diastolic[k + 1]
    systolic = full[k] - (full[k] - empty[k]) * np.sin(0.5 * np.pi * ejected**0.8) ** 2
    return np.asarray(np.where(ejected < 1, systolic, empty[k] + (next_full - empty[k]) * filled))


def walls(ventricle: Ventricle, volume: Array) -> tuple[Array, Array, Array]:
    """Radius and length of the cavity and thickness of the wall around it, cm, (time,) each.

    The cavity shortens half as much as it narrows; the wall keeps its volume.
    """
    full = ventricle.end_diastolic_ml
    radius = (3.0 * full / (2.0 * np.pi * ventricle.slenderness)) ** (1 / 3)
    length = ventricle.slenderness * radius * (volume / full) ** 0.2
    radius = radius * (volume / full) ** 0.4
    outer = 3.0 * (volume + ventricle.mass_g / DENSITY) / (2.0 * np.pi)
    thickness = np.ones_like(volume)
    for _ in range(8):  # Newton's steps; the product is convex and grows
        wide, long = radius + thickness, length + thickness
        thickness = thickness - (wide**2 * long - outer) / (2.0 * wide * long + wide**2)
    return radius, length, thickness


def _smooth(x: Array) -> Array:
    """From 0 to 1 over [0, 1], at rest at both ends."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)
