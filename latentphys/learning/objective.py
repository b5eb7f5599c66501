"""One objective over views, as a weighted sum of its terms.

loss = -ELBO + lambda_cross * (-L_cross) + lambda_miss * L_miss        (nats per second)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from latentphys.learning import terms
from latentphys.learning.views import View, full_view, subset_view
from latentphys.model.distributions import GaussMarkov
from latentphys.model.evidence import Evidence
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.batch import Batch


@dataclass(frozen=True)
class Objective:
    """Weights of the objective's terms.

    Attributes:
        cross: lambda_cross.
        miss: lambda_miss.
        draws: latent paths a window in L_cross.
        one_out: how often a subset view leaves out just one sensor.
        teach_only: whether L_miss moves only q_S (the full posterior is then its fixed target).
    """

    cross: float = 3.0
    miss: float = 0.03
    draws: int = 4
    one_out: float = 0.6
    teach_only: bool = True

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
    """Encode once, look twice (all sensors, a random subset), and weigh the terms."""
    evidence = model.evidence(batch)
    full = full_view(evidence.present())
    subset = subset_view(full.keep, generator, objective.one_out)
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
    if objective.cross > 0:
        crossed = terms.cross(model, batch, subset, q_subset, objective.draws)
        by_window |= {f"cross/{name}": value for name, value in crossed.items()}
        total = total - objective.cross * torch.stack(list(crossed.values())).sum(0)
    if objective.miss > 0:
        target, path = (q_full.detach(), z.detach()) if objective.teach_only else (q_full, z)
        by_window["miss"] = terms.missing(target, q_subset, path, batch)
        total = total + objective.miss * by_window["miss"]
    active = int((q_full.mean.detach().flatten(0, 1).var(0) > 0.01).sum())
    return Score(total.mean(), {k: v.detach() for k, v in by_window.items()}, active)


def _both_guides(
    model: StateSpaceModel, evidence: Evidence, full: View, subset: View
) -> tuple[GaussMarkov, GaussMarkov]:
    """q given all sensors and q given the subset, in one pass of the guide network."""
    precision, weighted = zip(evidence.total(full.keep), evidence.total(subset.keep), strict=True)
    q = model.guide_network(torch.cat(precision), torch.cat(weighted))
    half = len(full.keep)
    return q.window(slice(0, half)), q.window(slice(half, None))
