"""Evidence in information form: what a set of sensors says about each state step.

    Lambda_t = sum over present channels of lambda_t >= 0        H_t = sum of eta_t

An absent sensor adds zero to both, exactly, so every subset of sensors is a mask on one sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.distributions import Normal
from torch.nn import functional as F

from latentphys.model.distributions import SCALE_FLOOR
from latentphys.model.texts import TextEvidence
from latentphys.recordings.errors import FitError

UNIT_NUISANCE = 0.5  # softplus of it and the floor are about 1


@dataclass
class TraceEvidence:
    """What every observed channel of a modality says by itself.

    Attributes:
        row, channel: (trace,) where it stands in the batch.
        precision, weighted: (trace, step, evidence).
        about_nuisance: what each step says of eps, (trace, step, 2 * nuisance), whose mean over
            observed steps is the trace's; 0 where nothing was observed.
        seen: (trace, step, 1), 1 where anything was observed.
        mixed: whether the channels looked at one another before they spoke.
    """

    row: Tensor
    channel: Tensor
    precision: Tensor
    weighted: Tensor
    about_nuisance: Tensor
    seen: Tensor
    mixed: bool

    def nuisance(self, row: Tensor, channel: Tensor, kept: Tensor) -> Normal:
        """q(eps | the kept steps alone), (query, nuisance); of the prior where they hold nothing.

        Args:
            row, channel: (query,) of channels, of which some may have no trace here.
            kept: (query, step) bool.
        """
        told = zip(self.row.tolist(), self.channel.tolist(), strict=True)
        number = {at: k for k, at in enumerate(told)}
        asked = zip(row.tolist(), channel.tolist(), strict=True)
        which = torch.tensor([number.get(at, len(number)) for at in asked], dtype=torch.int64)
        # One row more, of nothing, for those without a trace.
        seen, about = (F.pad(x, (0, 0, 0, 0, 0, 1)) for x in (self.seen, self.about_nuisance))
        weight = seen[which] * kept.unsqueeze(-1)
        count = weight.sum(1)
        q = nuisance_of((about[which] * weight).sum(1) / count.clamp_min(1.0))
        return Normal(
            torch.where(count > 0, q.loc, 0.0),
            torch.where(count > 0, q.scale, 1.0),
            validate_args=False,
        )


def nuisance_of(raw: Tensor) -> Normal:
    """q(eps) from an encoder's numbers, (..., 2 * nuisance); at zero nearly the prior N(0, I)."""
    loc, spread = raw.chunk(2, dim=-1)
    return Normal(loc, SCALE_FLOOR + F.softplus(spread + UNIT_NUISANCE), validate_args=False)


@dataclass
class SensorEvidence:
    """What one modality says, its channels summed.

    Attributes:
        precision: lambda >= 0, (batch, step, evidence); zero where nothing was observed.
        weighted: eta, the precision-weighted value, the same shape.
        nuisance: q(eps | this modality), Normal over (batch, channel, nuisance); the prior
            N(0, I) on absent channels.
        present: whether the window has any sample of it, (batch,).
        traces: what its channels say one by one; None where they cannot be told apart.
    """

    precision: Tensor
    weighted: Tensor
    nuisance: Normal
    present: Tensor
    traces: TraceEvidence | None = None

    @classmethod
    def of_traces(cls, traces: TraceEvidence, present: Tensor) -> SensorEvidence:
        """What a modality's channels say together.

        Args:
            traces: what each says.
            present: (batch, channel) bool, which channels a window has.
        """
        batch, count = present.shape
        seen = traces.seen.sum(1).clamp_min(1.0)
        own = nuisance_of(traces.about_nuisance.sum(1) / seen)
        zeros = traces.precision.new_zeros(batch, *traces.precision.shape[1:])
        flat, shape = traces.row * count + traces.channel, (batch * count, own.loc.shape[-1])
        return cls(
            precision=zeros.index_add(0, traces.row, traces.precision),
            weighted=zeros.index_add(0, traces.row, traces.weighted),
            nuisance=Normal(
                zeros.new_zeros(shape).index_copy(0, flat, own.loc).view(batch, count, -1),
                zeros.new_ones(shape).index_copy(0, flat, own.scale).view(batch, count, -1),
                validate_args=False,
            ),
            present=present.any(-1),
            traces=traces,
        )

    def without(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """lambda and eta with the evidence of some channels left out.

        Args:
            hidden: (row, channel) bool, row k of window k % batch.

        Returns:
            Two tensors (row, step, evidence).

        Raises:
            FitError: its channels do not speak one by one.
        """
        traces, batch = self.traces, len(self.precision)
        if traces is None or traces.mixed:
            raise FitError(
                "a channel is hidden by leaving out its evidence, which tells nothing of the "
                "others; with channels='attention' it does. Fit with channels='sum', or hide no "
                "channels."
            )
        rows = torch.arange(len(hidden)).view(-1, batch).t()[traces.row]
        left = ~hidden.view(-1, batch, hidden.shape[-1])[:, traces.row, traces.channel].t()
        which, view = left.nonzero(as_tuple=True)
        at = rows[which, view]
        zeros = self.precision.new_zeros(len(hidden), *self.precision.shape[1:])
        return (
            zeros.index_add(0, at, traces.precision[which]),
            zeros.index_add(0, at, traces.weighted[which]),
        )


@dataclass(frozen=True)
class Lag:
    """What is known of one modality's lag.

    Attributes:
        q: q(tau | x), Normal over (batch,) seconds; the prior where nothing tells of it.
        told: (batch,) bool, where something does.
    """

    q: Normal
    told: Tensor


@dataclass
class Evidence:
    """The evidence of every modality of a batch, encoded once.

    Attributes:
        sensors: modality -> what it says.
        shape: (batch, step, evidence).
        text: what the text says, if there is one.
        lags: modality -> its lag, of those that have one.
    """

    sensors: Mapping[str, SensorEvidence]
    shape: tuple[int, int, int]
    text: TextEvidence | None = None
    lags: Mapping[str, Lag] = field(default_factory=dict)

    def present(self) -> Tensor:
        """(batch, modality): which modalities each window has, in the order of `sensors`."""
        return torch.stack([sensor.present for sensor in self.sensors.values()], dim=-1)

    def total(
        self,
        keep: Tensor | None = None,
        hidden: Mapping[str, Tensor] | None = None,
        text: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Lambda and H over the kept modalities.

        Args:
            keep: (row, modality) or (row, modality, step) bool in the order of `sensors`, row k
                of window k % batch; None keeps all.
            hidden: modality -> (row, channel) bool, channels to leave out.
            text: whether the text speaks too, at every step of every row.

        Returns:
            Two tensors (row, step, evidence).
        """
        spoken = (*self.sensors.values(), *((self.text,) if self.text else ()))
        reference = spoken[0].precision
        rows = self.shape[0] if keep is None else len(keep)
        shape = (rows // self.shape[0], *self.shape)
        precision, weighted = reference.new_zeros(shape), reference.new_zeros(shape)
        for k, (name, sensor) in enumerate(self.sensors.items()):
            own = sensor.precision, sensor.weighted
            if hidden and name in hidden:
                without = sensor.without(hidden[name])
                own = without[0].view(shape), without[1].view(shape)
            if keep is not None:
                kept = keep[:, k].view(*shape[:2], -1, 1)
                own = torch.where(kept, own[0], 0.0), torch.where(kept, own[1], 0.0)
            precision, weighted = precision + own[0], weighted + own[1]
        if text and self.text is not None:
            said = self.text.total()
            precision, weighted = precision + said[0], weighted + said[1]
        return precision.flatten(0, 1), weighted.flatten(0, 1)
