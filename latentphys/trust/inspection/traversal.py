"""What moving one number of the state does to each sensor.

    effect_k^m = rms_t( E[x^m | z + s_k e_k] - E[x^m | z - s_k e_k] ) / 2

with s_k the spread of z_k over recordings, eps^m held, and x^m in standard deviations of the
sensor: how far it moves for one standard deviation of that number alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.batch import Batch

Array = NDArray[np.float64]
MOVES = (-1.0, 0.0, 1.0)  # standard deviations
SHOWN_S = 4.0  # of curves: several beats, a breath


@dataclass(frozen=True)
class Stretch:
    """A window of state, and what else an emission needs: one window of each.

    Attributes:
        z: (1, step, latent).
        nuisance: modality -> eps, (1, 1, nuisance), of its first channel.
        name: modality -> row of the channel's name, (1, 1).
        offset: modality -> (1, step, patch).
    """

    z: Tensor
    nuisance: dict[str, Tensor]
    name: dict[str, Tensor]
    offset: dict[str, Tensor]


@torch.no_grad()
def stretch_of(model: StateSpaceModel, batch: Batch) -> Stretch:
    """The posterior mean of a batch's first window, and the sensors' nuisance with it."""
    evidence = model.evidence(batch)
    names = [name for name, sensor in evidence.sensors.items() if bool(sensor.present[0].any())]
    return Stretch(
        model.guide_of(evidence).mean[:1],
        {name: evidence.sensors[name].nuisance.loc[:1, :1] for name in names},
        {name: model.name_index(name, batch)[:1, :1] for name in names},
        {name: batch.offset[name][:1] for name in names},
    )


@torch.no_grad()
def imagined(model: StateSpaceModel, z: Tensor) -> Stretch:
    """The same for a state of the model's own, (1, step, latent): usual channels, eps = 0."""
    names, rate = list(model.spec.sensors), model.spec.state_rate_hz
    eps = z.new_zeros(1, 1, model.spec.nuisance_dim)
    offset = {}
    for name in names:
        size = max(1, round(model.spec.sensors[name].rate_hz / rate))
        offset[name] = (torch.arange(size) / size).expand(1, z.shape[1], size)
    usual = {n: model.encoder(n).name_index([model.spec.sensors[n].channels[:1]]) for n in names}
    return Stretch(z, dict.fromkeys(names, eps), usual, offset)


@torch.no_grad()
def traversed(model: StateSpaceModel, stretch: Stretch, spread: Array) -> dict[str, Array]:
    """modality -> its first channel for each number of the state at each of `MOVES`.

    Args:
        model: in evaluation mode.
        stretch: to move.
        spread: s, (latent,).

    Returns:
        (latent, move, step, patch) each, standardised.
    """
    latent = stretch.z.shape[-1]
    steps = torch.from_numpy(spread).float()[:, None] * torch.eye(latent)
    moves = torch.tensor(MOVES)[:, None]
    found = {}
    for name in stretch.nuisance:
        parts = []
        for step in steps:  # one number at a time: a long window of many is much to hold
            z = stretch.z + (moves * step)[:, None, None, :]
            at = stretch.offset[name], stretch.name[name], stretch.nuisance[name]
            told = model.emission(name)(z, at[2], at[1], at[0]).mean
            parts.append(told[:, 0, :, 0].numpy().astype(np.float64))
        found[name] = np.stack(parts)
    return found


def effect(curves: Array) -> Array:
    """(latent, move, step, patch) -> effect_k, (latent,)."""
    half = 0.5 * (curves[:, -1] - curves[:, 0])
    return np.asarray(np.sqrt((half**2).mean((-2, -1))))
