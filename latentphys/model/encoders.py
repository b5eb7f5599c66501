"""(lambda, eta) and q(eps^m | x^m) from one modality: a shared network over its set of channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentphys.model.channels import ChannelAttention
from latentphys.model.evidence import SensorEvidence, TraceEvidence
from latentphys.model.networks import ResidualBlock
from latentphys.model.tokenisers import LocalBasis


def name_rows(trained: tuple[str, ...], channels: list[tuple[str, ...]]) -> Tensor:
    """(batch, channel) places of channel names among the trained ones, from 1; 0 for others."""
    known = {name: k + 1 for k, name in enumerate(trained)}
    return torch.tensor([[known.get(name, 0) for name in names] for names in channels])


class SensorEncoder(nn.Module):
    """Evidence of one modality, for any number and order of channels at any rate.

    Channels share the network and their evidence adds; an absent channel is never passed
    through it.

    Args:
        basis: the modality's tokeniser.
        evidence_dim: size of lambda and eta.
        nuisance_dim: size of eps of one channel.
        names: channel names that were trained on; others share one embedding.
        width: features of the network.
        dropout: inside the residual blocks.
        attends: whether a channel looks at the modality's other channels before it speaks; its
            nuisance is its own alone either way.
    """

    def __init__(
        self,
        basis: LocalBasis,
        evidence_dim: int,
        nuisance_dim: int,
        names: tuple[str, ...],
        width: int = 64,
        dropout: float = 0.0,
        attends: bool = False,
    ) -> None:
        super().__init__()
        self.basis = basis
        self.names = names
        first = 2 if basis.size % 2 == 0 else 1
        rest = basis.size // first
        self.fine = nn.Conv1d(2, 32, 9, stride=first, padding=4)
        self.coarse = nn.Conv1d(32, width, rest, stride=rest)
        self.name_embedding = nn.Embedding(len(names) + 1, width)
        nn.init.zeros_(self.name_embedding.weight)
        self.blocks = nn.Sequential(
            ResidualBlock(width, dropout=dropout),
            ResidualBlock(width, dilation=2, dropout=dropout),
        )
        self.to_evidence = nn.Linear(width, 2 * evidence_dim)
        self.to_nuisance = nn.Linear(width, 2 * nuisance_dim)
        nn.init.zeros_(self.to_nuisance.weight)
        nn.init.zeros_(self.to_nuisance.bias)
        self.among = ChannelAttention(width) if attends else None

    @property
    def reach(self) -> int:
        """How many steps to either side a step's evidence looks."""
        return 3 + -(-4 // self.basis.size)

    def name_index(self, channels: list[tuple[str, ...]]) -> Tensor:
        """(batch, channel) rows of the name embedding; 0 for a name not trained on."""
        return name_rows(self.names, channels).to(self.name_embedding.weight.device)

    def forward(
        self, values: Tensor, mask: Tensor, offset: Tensor, channels: list[tuple[str, ...]]
    ) -> SensorEvidence:
        """Encode one modality of a batch.

        Args:
            values: (batch, step, channel, patch).
            mask: the same shape, True = observed.
            offset: (batch, step, patch).
            channels: names of each window's channels.

        Returns:
            Its evidence, summed over channels.
        """
        present = mask.any(-1).any(1)
        rows, columns = present.nonzero(as_tuple=True)
        features, seen = self._features(
            values[rows, :, columns],
            mask[rows, :, columns],
            offset[rows],
            self.name_index(channels)[rows, columns],
        )
        speaking = features if self.among is None else self.among(features, seen, rows)
        value, log_precision = self.to_evidence(speaking).chunk(2, dim=-1)
        precision = F.softplus(log_precision) * seen
        about = self.to_nuisance(features) * seen
        mixed = self.among is not None
        traces = TraceEvidence(rows, columns, precision, precision * value, about, seen, mixed)
        return SensorEvidence.of_traces(traces, present)

    def _features(
        self, values: Tensor, mask: Tensor, offset: Tensor, name: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Network features (row, step, width) and whether each step was observed (row, step, 1)."""
        seen = mask.any(-1)
        patch = self.basis.to_patch(values, mask, offset)
        trace = torch.stack([patch, seen.unsqueeze(-1).expand_as(patch).to(patch)], dim=1)
        x = self.coarse(F.silu(self.fine(trace.flatten(2)))).transpose(1, 2)
        x = self.blocks(F.silu(x + self.name_embedding(name).unsqueeze(1)))
        return x, seen.unsqueeze(-1).to(x)
