"""One objective over views, as a weighted sum of its terms.

loss = -ELBO + lambda_cross * (-L_cross) + lambda_miss * L_miss        (nats per second)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from latentphys.learning import terms
from latentphys.learning.views import View, full_view, gap_view, subset_view
from latentphys.model.distributions import GaussMarkov
from latentphys.model.evidence import Evidence
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.batch import Batch

SHORTEST_GAP_S = 0.5


@dataclass(frozen=True)
class Objective:
    """Weights of the objective's terms.

    Attributes:
        cross: lambda_cross.
        miss: lambda_miss.
        views: random subsets of each window's sensors that are looked at.
        draws: latent paths a view in L_cross; even, or 1.
        beta: L_cross weighs each sample's gradient by its predictive variance to this power.
        one_out: how often a subset view leaves out just one sensor.
        gaps: share of the subset views that have a gap in all sensors.
        teach_only: whether L_miss moves only q_S (the full posterior is then its fixed target).
    """

    cross: float = 3.0
    miss: float = 0.003
    views: int = 1
    draws: int = 4
    one_out: float = 0.6
    gaps: float = 0.1
    teach_only: bool = True
    beta: float = 0.5

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Score:
    """The loss of a batch and what it is made of.

    Attributes:
        loss: scalar.
        by_window: term -> (batch,), nats per second; keys such as "elbo", "x/ecg", "cross/ppg",
            "kl_state", "kl_nuisance", "miss".
        active_units: latent dimensions whose posterior mean varies by more than 0.01.
    """

    loss: Tensor
    by_window: dict[str, Tensor]
    active_units: int


def score_batch(
    model: StateSpaceModel,
    batch: Batch,
    objective: Objective,
    generator: torch.Generator,
    kl_weight: float = 1.0,
) -> Score:
    """Encode once, look several times (all sensors, random subsets), and weigh the terms."""
    evidence = model.evidence(batch)
    full = full_view(evidence.present())
    subset = _partial_view(model, batch, full, objective, generator)
    q_full, q_subset = _both_guides(model, evidence, full, subset)
    z = q_full.rsample()
    bound = terms.elbo(model, batch, evidence, q_full, z, kl_weight)
    by_window = {
        "elbo": bound.value,
        "kl_state": bound.kl_state,
        "kl_nuisance": bound.kl_nuisance,
        **{f"x/{name}": value for name, value in bound.log_likelihood.items()},
    }
    total = -bound.value
    views = (objective.views, len(batch))
    if objective.cross > 0:
        crossed = terms.cross(
            model, batch, evidence, subset, q_subset, objective.draws, objective.beta
        )
        crossed = {f"cross/{name}": value.view(views).mean(0) for name, value in crossed.items()}
        by_window |= crossed
        total = total - objective.cross * torch.stack(list(crossed.values())).sum(0)
    if objective.miss > 0:
        q_all, path = (q_full.detach(), z.detach()) if objective.teach_only else (q_full, z)
        repeated = torch.arange(len(batch)).repeat(objective.views)
        miss = terms.missing(q_all.window(repeated), q_subset, path[repeated], batch)
        by_window["miss"] = miss.view(views).mean(0)
        total = total + objective.miss * by_window["miss"]
    active = int((q_full.mean.detach().flatten(0, 1).var(0) > 0.01).sum())
    return Score(total.mean(), {k: v.detach() for k, v in by_window.items()}, active)


def _partial_view(
    model: StateSpaceModel,
    batch: Batch,
    full: View,
    objective: Objective,
    generator: torch.Generator,
) -> View:
    """Random subsets of the sensors, some with a gap in all of them."""
    view = subset_view(full.keep, generator, objective.one_out, objective.views)
    if objective.gaps <= 0:
        return view
    return gap_view(
        view,
        full.keep,
        batch.steps,
        generator,
        share=objective.gaps,
        reach=model.reach,
        shortest=max(1, round(SHORTEST_GAP_S * batch.state_rate_hz)),
    )


def _both_guides(
    model: StateSpaceModel, evidence: Evidence, full: View, subset: View
) -> tuple[GaussMarkov, GaussMarkov]:
    """q given all sensors and q given the subsets, in one pass of the guide network."""
    precision, weighted = zip(evidence.total(full.keep), evidence.total(subset.keep), strict=True)
    q = model.guide_network(torch.cat(precision), torch.cat(weighted))
    first = len(full.keep)
    return q.window(slice(0, first)), q.window(slice(first, None))
