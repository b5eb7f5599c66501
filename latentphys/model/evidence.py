"""Evidence in information form: what a set of sensors says about each state step.

    Lambda_t = sum over present channels of lambda_t >= 0        H_t = sum of eta_t

An absent sensor adds zero to both, exactly, so every subset of sensors is a mask on one sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Normal


@dataclass
class SensorEvidence:
    """What one modality says, its channels summed.

    Attributes:
        precision: lambda >= 0, (batch, step, evidence); zero where nothing was observed.
        weighted: eta, the precision-weighted value, the same shape.
        nuisance: q(eps | this modality), Normal over (batch, channel, nuisance); the prior
            N(0, I) on absent channels.
        present: whether the window has any sample of it, (batch,).
    """

    precision: Tensor
    weighted: Tensor
    nuisance: Normal
    present: Tensor


@dataclass
class Evidence:
    """The evidence of every modality of a batch, encoded once."""

    sensors: Mapping[str, SensorEvidence]
    shape: tuple[int, int, int]

    def present(self) -> Tensor:
        """(batch, modality): which modalities each window has, in the order of `sensors`."""
        return torch.stack([sensor.present for sensor in self.sensors.values()], dim=-1)

    def total(self, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Lambda and H over the kept modalities.

        Args:
            keep: (row, modality) or (row, modality, step) bool in the order of `sensors`, row k
                of window k % batch; None keeps all.

        Returns:
            Two tensors (row, step, evidence).
        """
        reference = next(iter(self.sensors.values())).precision
        rows = self.shape[0] if keep is None else len(keep)
        shape = (rows // self.shape[0], *self.shape)
        precision, weighted = reference.new_zeros(shape), reference.new_zeros(shape)
        for k, sensor in enumerate(self.sensors.values()):
            if keep is None:
                precision, weighted = precision + sensor.precision, weighted + sensor.weighted
            else:
                kept = keep[:, k].view(*shape[:2], -1, 1)
                precision = precision + torch.where(kept, sensor.precision, 0.0)
                weighted = weighted + torch.where(kept, sensor.weighted, 0.0)
        return precision.flatten(0, 1), weighted.flatten(0, 1)
