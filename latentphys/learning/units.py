"""f of whole units: every window encoded once, every pattern of sensors a mask on its evidence.

f_unit = mean of f over the unit's windows in which a sensor of the pattern spoke
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentphys.model.evidence import Evidence
from latentphys.model.heads import TaskHead, steps_of
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.batch import Batch, collate
from latentphys.preparation.pieces import Pieces
from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.preparation.windows import presence

WINDOWS_A_BATCH = 16


@dataclass(frozen=True)
class Units:
    """Units of recordings, as a model reads them.

    Attributes:
        records: prepared.
        pieces: windows of the units; each has a sample of a given sensor.
        given: the sensors used, in the model's order.
    """

    records: Sequence[PreparedRecord]
    pieces: Pieces
    given: tuple[str, ...]

    @classmethod
    def of(cls, records: Sequence[PreparedRecord], pieces: Pieces, given: Sequence[str]) -> Units:
        """The units without the windows in which none of the given sensors has a sample."""
        seen = presence(pieces.windows, records, given)
        return cls(records, pieces.where(np.any(seen, axis=1)), tuple(given))

    def sensors(self) -> NDArray[np.bool_]:
        """Which of the given sensors each unit has, (unit, sensor)."""
        seen = np.zeros((self.pieces.units, len(self.given)), dtype=bool)
        found = presence(self.pieces.windows, self.records, self.given)
        np.logical_or.at(seen, self.pieces.unit, found)
        return seen

    def batch(self, rows: NDArray[np.int64], inputs: Sequence[str]) -> tuple[Batch, Tensor]:
        """Some pieces as a batch, and which steps are their unit's, (row, step)."""
        windows = collate(self.records, self.pieces.windows, rows, self.given, inputs)
        return windows, torch.from_numpy(self.pieces.inside(rows))


def steps_given(model: StateSpaceModel, evidence: Evidence, keep: Tensor) -> Tensor:
    """What q(z | the kept sensors) says of each step, (row, step, 2 * latent).

    Several looks at a batch go through the guide at once.

    Args:
        model: whose guide it is.
        evidence: of the batch; a text would tell the label and is not heard.
        keep: (row, modality) bool, row k of window k % batch; see `Evidence.total`.
    """
    return steps_of(model.guide_network(*evidence.total(keep, text=False)))


@torch.no_grad()
def outputs_of(
    model: StateSpaceModel, head: TaskHead, units: Units, patterns: Sequence[Sequence[str]]
) -> NDArray[np.float64]:
    """f of every unit given each pattern of sensors, (pattern, unit, output).

    Args:
        model, head: in evaluation mode.
        units: what is asked about.
        patterns: sensors used; those that a unit lacks are absent.

    Returns:
        NaN where a unit has none of a pattern's sensors.
    """
    f = by_piece(
        model, units, patterns, lambda steps, inside: head(steps, inside).f, head.spec.outputs
    )
    return over_units(f, units).numpy()


def over_units(f: Tensor, units: Units) -> Tensor:
    """Means over the pieces that have an answer; (pattern, piece, ...) -> (pattern, unit, ...)."""
    spoke = torch.isfinite(f).all(-1, keepdim=True)
    shape = (len(f), units.pieces.units)
    total, count = f.new_zeros(*shape, f.shape[-1]).double(), f.new_zeros(*shape, 1).double()
    where = torch.from_numpy(units.pieces.unit)
    total.index_add_(1, where, torch.where(spoke, f, 0.0).double())
    count.index_add_(1, where, spoke.double())
    return torch.where(count > 0, total / count.clamp_min(1.0), torch.nan)


@torch.no_grad()
def by_piece(
    model: StateSpaceModel,
    units: Units,
    patterns: Sequence[Sequence[str]],
    read: Callable[[Tensor, Tensor], Tensor],
    width: int,
) -> Tensor:
    """What is read of every piece given each pattern, (pattern, piece, width).

    Args:
        model: in evaluation mode.
        units: whose pieces they are.
        patterns: sensors used.
        read: steps (row, step, 2 * latent) and those inside -> (row, ...) of `width` numbers.
        width: see there.

    Returns:
        NaN where no sensor of a pattern spoke.
    """
    found = [torch.zeros(len(patterns), 0, width)]
    for first in range(0, len(units.pieces), WINDOWS_A_BATCH):
        rows = np.arange(first, min(first + WINDOWS_A_BATCH, len(units.pieces)))
        batch, inside = units.batch(rows, model.spec.inputs)
        evidence = model.evidence(batch)
        asked = torch.tensor([[name in own for name in evidence.sensors] for own in patterns])
        keep = asked.unsqueeze(1) & evidence.present()
        steps = steps_given(model, evidence, keep.flatten(0, 1))
        told = read(steps, inside.repeat(len(patterns), 1)).reshape(*keep.shape[:2], width)
        found.append(torch.where(keep.any(-1, keepdim=True), told, torch.nan))
    return torch.cat(found, dim=1)
