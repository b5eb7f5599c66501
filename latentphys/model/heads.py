"""Heads: what a task is told of the posterior path over a unit of time, p(y | q(z | sensors)).

    number     y ~ N(mu, sd^2)                    f = (mu, spread), sd = floor + softplus(spread)
    class      P(y = k) = softmax_k(f)
    ordinal    P(y <= k) = sigmoid(theta_k - f)   theta increasing, the same for everybody
    survival   h(t) = h_0(t) e^f                  proportional hazards

f is linear in h, the unit's features; h is pooled from q over the steps inside the unit, see
`latentphys.model.figures`.

References:
    McCullagh (1980), Regression models for ordinal data.
    Cox (1972), Regression models and life-tables.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional as F

from latentphys.model.distributions import SCALE_FLOOR, GaussMarkov
from latentphys.model.figures import (
    FIGURES,
    POWERS,
    TINY,
    bands_of,
    figures_of,
    moments,
    rhythms,
)
from latentphys.model.networks import ByteDropout, StepPyramid

TaskKind = Literal["number", "class", "ordinal", "survival"]
TASK_KINDS: tuple[str, ...] = get_args(TaskKind)
# The figures of latent dimensions know every person apart, and so learn a few people by heart. A
# head fitted in full is penalised instead (`latentphys.learning.linear_heads`).
FIGURES_DROPOUT = 0.8
UNIT_SPREAD = 0.5413  # softplus of it is 1
# Fewer sensors move the posterior's sd by tens of the spreads it had with all of them.
MOST_AWAY = 4.0
NEAREST = 1e-4  # of two thresholds: each class keeps a probability


@dataclass(frozen=True)
class HeadSpec:
    """Everything needed to rebuild a head, as plain values.

    Attributes:
        kind: of task.
        classes: how many; 0 where there are none.
        latent_dim: size of z.
        widths: of a network over steps, finest first; none for a head linear in figures of z.
        dropout: inside it.
        rate_hz: steps a second, for rhythms; 0 for a head that is told none.
    """

    kind: TaskKind
    classes: int
    latent_dim: int
    widths: tuple[int, ...] = ()
    dropout: float = 0.2
    rate_hz: float = 0.0

    @property
    def bands(self) -> tuple[tuple[float, float], ...]:
        """Those that steps are close enough to show, in cycles a step."""
        return tuple(bands_of(self.rate_hz).values())

    @property
    def figures(self) -> int:
        """How many figures of a unit there are."""
        return self.dimensions + len(POWERS) * len(self.bands)

    @property
    def dimensions(self) -> int:
        """How many of them are of latent dimensions; those of rhythms follow."""
        return len(FIGURES) * self.latent_dim

    @property
    def outputs(self) -> int:
        """Size of f."""
        return {"number": 2, "class": self.classes}.get(self.kind, 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> HeadSpec:
        """The inverse of `to_dict`.

        Raises:
            TypeError: an unknown field, or a kind that there is not.
        """
        if plain["kind"] not in TASK_KINDS:
            raise TypeError(f"a task is one of {', '.join(TASK_KINDS)}, not {plain['kind']!r}")
        return cls(**{**plain, "widths": tuple(plain["widths"])})


class Told(NamedTuple):
    """f, (row, output), and the features h it is linear in, (row, feature)."""

    f: Tensor
    h: Tensor


class TaskHead(nn.Module):
    """f of a unit from the posterior over its steps.

    The figures of each latent dimension are those of `FittedModel.embed`: the mean of the
    posterior mean, its mean log sd, and the logs of how far and how fast the mean moves; rhythms
    of the whole state follow. With `widths` a network over the posterior's steps adds its own
    mean and spread. Steps outside the unit enter neither.

    Args:
        spec: sizes and kind.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__()
        self.spec = spec
        figures = spec.figures
        self.register_buffer("centre", torch.zeros(figures))
        self.register_buffer("spread", torch.ones(figures))
        self.network: StepPyramid | None = None
        width = figures
        if spec.widths:
            self.network = StepPyramid(2 * spec.latent_dim, spec.widths, spec.dropout)
            width = spec.widths[-1]
            # Without it features and the errors they cause drive one another up.
            self.level = nn.LayerNorm(spec.widths[0])
            self.hidden = nn.Linear(figures + 2 * spec.widths[0], width)
        self.drop_figures = ByteDropout(0.0 if spec.widths else FIGURES_DROPOUT)
        self.drop = ByteDropout(spec.dropout if spec.widths else 0.0)
        self.out = nn.Linear(width, spec.outputs)
        nn.init.zeros_(self.out.weight)  # a new head says what is true of everybody
        nn.init.zeros_(self.out.bias)
        if spec.kind == "ordinal":
            self.first = nn.Parameter(torch.zeros(()))
            self.steps = nn.Parameter(torch.full((spec.classes - 2,), UNIT_SPREAD))

    def figures(self, steps: Tensor, inside: Tensor) -> Tensor:
        """The figures of every latent dimension over a unit's steps, and rhythms, (row, figure).

        Args:
            steps: (row, step, 2 * latent), see `steps_of`.
            inside: (row, step) bool, the unit's steps; one at least.
        """
        told = [figures_of(steps, inside)]
        if self.spec.bands:
            mean, _ = steps.chunk(2, dim=-1)
            told.append(rhythms(mean, inside, self.spec.bands))
        return torch.cat(told, dim=-1)

    def standardise(self, figures: Tensor) -> None:
        """Take the figures' mean and spread over some rows for what they are compared with."""
        self.centre.copy_(figures.mean(0))
        self.spread.copy_(figures.std(0, correction=0).clamp_min(1e-3))

    def forward(self, steps: Tensor, inside: Tensor) -> Told:
        """(row, step, 2 * latent) and the unit's steps, (row, step) bool -> f and h."""
        figures = self.figures(steps, inside)
        if self.network is None:
            return self.of_figures(figures)
        seen = self.level(self.network(torch.where(inside.unsqueeze(-1), steps, 0.0)))
        mean, variance = moments(seen, inside)
        own = [self.standard(figures), mean, 0.5 * torch.log(variance + TINY)]
        h = F.silu(self.hidden(torch.cat(own, dim=-1)))
        return Told(self.out(self.drop(h)), h)

    def of_figures(self, figures: Tensor) -> Told:
        """f and h of a linear head from `figures`, (..., figure)."""
        h = self.standard(figures)
        first = self.spec.dimensions
        heard = [self.drop_figures(h[..., :first]), h[..., first:]]
        return Told(self.out(torch.cat(heard, dim=-1)), h)

    def standard(self, figures: Tensor) -> Tensor:
        """In spreads of what it was taught with; beyond that a head does not extrapolate."""
        return ((figures - self.centre) / self.spread).clamp(-MOST_AWAY, MOST_AWAY)

    @property
    def thresholds(self) -> Tensor:
        """theta of an ordinal task, (classes - 1,), increasing."""
        gaps = F.softplus(self.steps) + NEAREST
        return torch.cat([self.first.view(1), self.first + gaps.cumsum(0)])

    @torch.no_grad()
    def start_from(self, shares: Sequence[float]) -> None:
        """Begin at the shares of the classes: what is known of somebody without a sensor."""
        share = torch.tensor(shares, dtype=self.out.bias.dtype).clamp_min(1e-3)
        share = share / share.sum()
        if self.spec.kind == "class":
            self.out.bias.copy_(share.log())
            return
        theta = torch.logit(share.cumsum(0)[:-1].clamp(1e-3, 1.0 - 1e-3))
        self.first.copy_(theta[0])
        gaps = (theta[1:] - theta[:-1] - NEAREST).clamp_min(1e-3)
        self.steps.copy_(gaps + torch.log(-torch.expm1(-gaps)))  # the inverse of softplus


def steps_of(q: GaussMarkov) -> Tensor:
    """Mean and log sd of z at each step, (row, step, 2 * latent)."""
    return torch.cat([q.mean, 0.5 * q.variance.log()], dim=-1)


def normal_of(f: Tensor) -> Normal:
    """N(mu, sd^2) of a number from f, (..., 2); at zero N(0, 1)."""
    mean, spread = f.unbind(-1)
    return Normal(mean, SCALE_FLOOR + F.softplus(spread + UNIT_SPREAD), validate_args=False)


def cumulative_log_probs(f: Tensor, thresholds: Tensor) -> Tensor:
    """log P(y = k) of an ordinal task, (..., classes).

        P(y = k) = sigmoid(theta_k - f) - sigmoid(theta_{k-1} - f)
                 = sigmoid(theta_k - f) sigmoid(f - theta_{k-1}) (1 - e^{theta_{k-1} - theta_k})

    The product loses no digits where the difference is of two numbers near one.

    Args:
        f: (...).
        thresholds: (classes - 1,), increasing.

    Example:
        >>> p = cumulative_log_probs(torch.tensor(0.0), torch.tensor([-1.0, 1.0])).exp()
        >>> [round(float(x), 3) for x in p]
        [0.269, 0.462, 0.269]
    """
    away = thresholds - f.unsqueeze(-1)
    edge = away.new_full((*away.shape[:-1], 1), math.inf)
    below = F.logsigmoid(torch.cat([away, edge], dim=-1))
    above = F.logsigmoid(-torch.cat([-edge, away], dim=-1))
    gap = thresholds[1:] - thresholds[:-1]
    between = F.pad(torch.log(-torch.expm1(-gap)), (1, 1))
    return below + above + between
