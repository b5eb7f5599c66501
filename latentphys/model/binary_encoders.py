"""(lambda, eta) of a 0/1 sensor, from all its channels at a step together."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional as F

from latentphys.model.encoders import name_rows
from latentphys.model.evidence import SensorEvidence
from latentphys.model.networks import ByteDropout


class BinaryEncoder(nn.Module):
    """Evidence of one modality whose channels mean something only together, as a chord's notes.

    A step's channels, each as the share of ones among its observed samples and whether there were
    any, pass through one small network; what was not observed is 0 and said to be so. Channels
    are told by their trained names, in any order; another name is not heard.

    Args:
        evidence_dim: size of lambda and eta.
        nuisance_dim: size of eps of a channel, of which this sensor says nothing.
        names: channel names that were trained on.
        width: hidden units.
        dropout: of hidden units; half of it of what is observed.
    """

    reach = 0  # steps to either side that a step's evidence looks

    def __init__(
        self,
        evidence_dim: int,
        nuisance_dim: int,
        names: tuple[str, ...],
        width: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.names = names
        self.nuisance_dim = nuisance_dim
        self.network = nn.Sequential(
            ByteDropout(dropout / 2),
            nn.Linear(2 * len(names), 2 * width),
            nn.SiLU(),
            ByteDropout(dropout),
            nn.Linear(2 * width, 2 * evidence_dim),
        )

    def name_index(self, channels: list[tuple[str, ...]]) -> Tensor:
        """(batch, channel) rows of the trained names, from 1; 0 for a name not trained on."""
        return name_rows(self.names, channels).to(next(self.parameters()).device)

    def forward(
        self, values: Tensor, mask: Tensor, offset: Tensor, channels: list[tuple[str, ...]]
    ) -> SensorEvidence:
        """Encode one modality of a batch.

        Args:
            values: (batch, step, channel, patch), 0 or 1.
            mask: the same shape, True = observed.
            offset: (batch, step, patch); not looked at.
            channels: names of each window's channels.

        Returns:
            Its evidence; zero on a step where nothing was observed.
        """
        rows = self.name_index(channels).unsqueeze(1).expand(values.shape[:3])
        ones = torch.where(mask, values, 0.0).sum(-1) / mask.sum(-1).clamp_min(1)
        seen = mask.any(-1).to(ones)
        slots = ones.new_zeros(*values.shape[:2], 1 + len(self.names))
        heard = torch.cat([slots.scatter(-1, rows, x)[..., 1:] for x in (ones, seen)], dim=-1)
        speaks = (heard[..., len(self.names) :] > 0).any(-1, keepdim=True)
        value, log_precision = self.network(heard).chunk(2, dim=-1)
        precision = F.softplus(log_precision) * speaks
        unit = values.new_zeros(values.shape[0], values.shape[2], self.nuisance_dim)
        return SensorEvidence(
            precision=precision,
            weighted=precision * value,
            nuisance=Normal(unit, torch.ones_like(unit), validate_args=False),
            present=speaks.squeeze(-1).any(-1),
        )
