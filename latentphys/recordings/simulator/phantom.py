"""Short-axis cine of a phantom's left ventricle, as a scanner shows it.

A slice at a fixed height above the apex cuts cavity and wall in two circles; beside them lie the
right ventricle's crescent and dark lung. There are no papillary muscles, and no flow.

    |s + n|,   n complex normal                        the noise of a magnitude image

References:
    Gudbjartsson and Patz (1995), The Rician distribution of noisy MRI data. Magnetic Resonance in
    Medicine 34.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentphys.recordings.simulator.physiology import Physiology
from latentphys.recordings.simulator.ventricle import Ventricle, walls

Array = NDArray[np.float64]

PIXELS, SPACING_MM = 32, (3.5, 3.5, 8.0)  # the slice's thickness last
EDGE_CM = 0.12  # half width of the blur of an edge
NOISE = 0.06  # of the blood's brightness
BREATHING_CM = 0.4  # how far the diaphragm moves the heart


@dataclass(frozen=True)
class Slice:
    """Where one scan lies and how bright it is.

    Attributes:
        centre: (y, x) of the ventricle off the middle of the image, cm.
        height: of the slice below the base of the full ventricle, a share of its length.
        septum: direction of the right ventricle, radians.
        right: the right ventricle's radius over the left one's outer radius.
        blood, muscle, lung: brightness.
        shade: (y, x), how brightness changes across the image (the coil's sensitivity).
        gain: of all of it.
    """

    centre: Array
    height: float
    septum: float
    right: float
    blood: float
    muscle: float
    lung: float
    shade: Array
    gain: float

    @classmethod
    def draw(cls, amount: float, rng: np.random.Generator) -> Slice:
        """A scan as one operator plans it; with amount 0 the textbook's."""
        centre, shade = amount * rng.standard_normal((2, 2))
        bright = np.exp(amount * np.array([0.08, 0.12, 0.3]) * rng.standard_normal(3))
        return cls(
            centre=0.4 * np.clip(centre, -2.0, 2.0),
            height=0.35 + amount * rng.uniform(-0.1, 0.1),
            septum=np.pi + 0.3 * amount * float(np.clip(rng.standard_normal(), -2.0, 2.0)),
            right=0.95 + amount * rng.uniform(-0.1, 0.1),
            blood=float(bright[0]),
            muscle=0.4 * float(bright[1]),
            lung=0.12 * float(bright[2]),
            shade=0.12 * np.clip(shade, -2.0, 2.0),
            gain=500.0 * float(np.exp(0.3 * amount * rng.standard_normal())),
        )


def cine(ventricle: Ventricle, view: Slice, state: Physiology, volume: Array, time: Array) -> Array:
    """Frames (time, y, x) without noise.

    Args:
        ventricle: whose heart it is.
        view: the slice.
        state: its breathing moves the heart up and down.
        volume: of the ventricle, mL, (time,).
        time: (time,) seconds.
    """
    radius, length, thickness = walls(ventricle, volume)
    _, longest, _ = walls(ventricle, np.array([ventricle.end_diastolic_ml]))
    # The apex stays, the base comes down: the slice cuts nearer to the base in systole.
    above_apex = (1.0 - view.height) * longest
    below_base = np.clip(length - above_apex, 0.0, None)
    inner = radius * np.sqrt(1.0 - (below_base / length) ** 2)
    outer = (radius + thickness) * np.sqrt(1.0 - (below_base / (length + thickness)) ** 2)
    place = (np.arange(PIXELS) - (PIXELS - 1) / 2) * SPACING_MM[0] / 10.0
    breath = np.interp(time, state.time, state.depth * np.sin(state.breath_phase))
    y = place[:, None] - view.centre[0] - 0.5 * BREATHING_CM * breath[:, None, None]
    x = place[None, :] - view.centre[1] + 0.0 * y
    in_cavity = _inside(y, x, inner)
    in_heart = _inside(y, x, outer)
    size = view.right * outer
    aside = 0.6 * outer[:, None, None]
    in_right = _inside(y - aside * np.sin(view.septum), x - aside * np.cos(view.septum), size)
    picture = view.lung + (view.blood - view.lung) * in_right
    picture += (view.muscle - picture) * in_heart
    picture += (view.blood - picture) * in_cavity
    across = view.shade[0] * place[:, None] + view.shade[1] * place[None, :]
    return np.asarray(view.gain * picture * np.exp(across / place.max()))


def scanned(
    frames: Array, view: Slice, rate_hz: float, amount: float, rng: np.random.Generator
) -> Array:
    """Frames (time, y, x) with a scanner's noise, and NaN where it lost a run of frames.

    Args:
        frames: without noise.
        view: whose brightness sets the noise.
        rate_hz: frames a second.
        amount: 0 for none, 1 for an ordinary scan.
        rng: source of randomness.
    """
    if amount == 0:
        return frames
    noise = amount * NOISE * view.gain * rng.standard_normal((2, *frames.shape))
    frames = np.hypot(frames + noise[0], noise[1])
    for _ in range(rng.poisson(amount * len(frames) / rate_hz / 30.0)):
        start, length = int(rng.integers(len(frames))), rng.uniform(0.2, 1.0) * rate_hz
        frames[start : start + max(1, round(length))] = np.nan
    return frames


def _inside(y: Array, x: Array, radius: Array) -> Array:
    """From 0 outside to 1 inside a circle about the origin, (time, y, x)."""
    edge = (radius[:, None, None] - np.hypot(y, x)) / EDGE_CM
    return np.asarray(1.0 / (1.0 + np.exp(np.clip(-edge, -40.0, 40.0))))
