"""(lambda, eta) and q(eps^m | x^m) of an image sequence: each frame speaks for its own step."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentphys.model.encoders import name_rows
from latentphys.model.evidence import SensorEvidence, TraceEvidence
from latentphys.model.networks import ByteDropout

CHANNELS = (24, 32)
STRIDES = (4, 2)


class ImageEncoder(nn.Module):
    """Evidence of one image sequence, a frame at a time by one convolutional network.

    A frame's pixels come with what was observed of them; one that was not is 0 and said to be
    so. A frame of which nothing was observed is never passed through the network. The evidence
    of the frames of a step adds, as does that of the slices; of eps the steps' mean is taken.

    Args:
        frame: (height, width) in pixels.
        evidence_dim: size of lambda and eta.
        nuisance_dim: size of eps of one slice.
        names: names of the slices that were trained on; others share one embedding.
        width: features of a frame.
        dropout: of these.
    """

    reach = 0  # steps to either side that a step's evidence looks

    def __init__(
        self,
        frame: tuple[int, int],
        evidence_dim: int,
        nuisance_dim: int,
        names: tuple[str, ...],
        width: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.frame, self.names = frame, names
        self.convolutions = nn.Sequential(
            nn.Conv2d(2, CHANNELS[0], 2 * STRIDES[0] - 1, stride=STRIDES[0], padding=3),
            nn.SiLU(),
            nn.Conv2d(CHANNELS[0], CHANNELS[1], 3, stride=STRIDES[1], padding=1),
            nn.SiLU(),
        )
        points = math.prod(math.ceil(math.ceil(n / STRIDES[0]) / STRIDES[1]) for n in frame)
        self.entry = nn.Linear(CHANNELS[-1] * points, width)
        self.from_offset = nn.Linear(1, width, bias=False)
        self.name_embedding = nn.Embedding(len(names) + 1, width)
        nn.init.zeros_(self.name_embedding.weight)
        self.hidden = nn.Sequential(nn.SiLU(), ByteDropout(dropout), nn.Linear(width, width))
        self.to_evidence = nn.Linear(width, 2 * evidence_dim)
        self.to_nuisance = nn.Linear(width, 2 * nuisance_dim)
        nn.init.zeros_(self.to_nuisance.weight)
        nn.init.zeros_(self.to_nuisance.bias)

    def name_index(self, channels: list[tuple[str, ...]]) -> Tensor:
        """(batch, slice) rows of the name embedding; 0 for a name not trained on."""
        return name_rows(self.names, channels).to(self.name_embedding.weight.device)

    def forward(
        self, values: Tensor, mask: Tensor, offset: Tensor, channels: list[tuple[str, ...]]
    ) -> SensorEvidence:
        """Encode one image sequence of a batch.

        Args:
            values: (batch, step, slice, patch), the patch frame * pixel.
            mask: the same shape, True = observed.
            offset: (batch, step, patch).
            channels: names of each window's slices.

        Returns:
            Its evidence, summed over frames and slices.
        """
        batch, steps, count, _ = values.shape
        size = self.frame[0] * self.frame[1]
        seen = mask.unflatten(-1, (-1, size))  # batch, step, slice, frame, pixel
        there = seen.any(-1)
        rows, columns = there.any(-1).any(1).nonzero(as_tuple=True)
        trace = torch.zeros(batch, count, dtype=torch.int64, device=values.device)
        trace[rows, columns] = torch.arange(len(rows), device=values.device)
        at = there.nonzero(as_tuple=True)
        place = trace[at[0], at[2]] * steps + at[1]  # of each frame among (trace, step)
        frames = torch.where(seen[at], values.unflatten(-1, (-1, size))[at], 0.0)
        features = self._features(
            torch.stack([frames, seen[at].to(frames)], dim=1).unflatten(-1, self.frame),
            offset[..., ::size][at[0], at[1], at[3]],
            self.name_index(channels)[at[0], at[2]],
        )
        value, log_precision = self.to_evidence(features).chunk(2, dim=-1)
        each = F.softplus(log_precision)

        def by_step(x: Tensor) -> Tensor:
            total = x.new_zeros(len(rows) * steps, x.shape[-1]).index_add(0, place, x)
            return total.view(len(rows), steps, x.shape[-1])

        precision, weighted = by_step(each), by_step(each * value)
        frames_a_step = by_step(features.new_ones(len(place), 1))
        spoken = frames_a_step.clamp_max(1.0)
        about = by_step(self.to_nuisance(features)) / frames_a_step.clamp_min(1.0)
        traces = TraceEvidence(rows, columns, precision, weighted, about, spoken, mixed=False)
        return SensorEvidence.of_traces(traces, there.any(-1).any(1))

    def _features(self, images: Tensor, offset: Tensor, name: Tensor) -> Tensor:
        """(frame, 2, y, x), where in its step each lies, and its slice -> (frame, width)."""
        x = self.entry(self.convolutions(images).flatten(1))
        x = x + self.from_offset(offset.unsqueeze(-1) - 0.5) + self.name_embedding(name)
        return F.silu(self.hidden(x))
