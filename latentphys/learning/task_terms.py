"""What a task costs: a loss of each kind, and fine-tuning for sensors that will be missing.

    resilient = r_1 l(y, f_all) + r_S mean_v l(y, f_{S_v}) + r_0 mean_v |c_y - h_{S_v}|^2

S_v are random subsets of the sensors a window has: the window is encoded once, and the same head
is asked of the posterior that each subset leaves. Every window weighs the same whichever of its
sensors are absent.

References:
    PhysioOmni (2025), whose fine-tuning has r_0 sum_m |c_y - f_m|^2 + r_1 CE(mean f)
        + sum_m r_m CE(f_m), with one vector a sensor in place of a posterior a subset.
    Seitzer, Tavakoli, Antic and Martius (2022), On the pitfalls of heteroscedastic uncertainty
        estimation with probabilistic neural networks (beta).
    Cox (1975), Partial likelihood. Breslow (1974), Covariance analysis of censored survival data.
    Efron (1977), The efficiency of Cox's likelihood function for censored data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from latentphys.model.heads import TaskHead, cumulative_log_probs, normal_of

Ties = Literal["efron", "breslow"]
BETA = 0.5


@dataclass(frozen=True)
class Resilience:
    """The weights of the resilient loss.

    Attributes:
        together: r_1, of every sensor a window has.
        parts: r_S, of the subsets.
        prototype: r_0.
        views: how many subsets of each window a step looks at.
    """

    together: float = 1.0
    parts: float = 1.0
    prototype: float = 0.1
    views: int = 2


def gaussian(f: Tensor, y: Tensor, beta: float = 0.0) -> Tensor:
    """-log N(y ; mu, sd^2) less its constant, (row,); gradients weighed by sd^(2 beta).

    With beta = 0 a row that is hard buys a wide sd and its mean stops learning.

    Args:
        f: (row, 2), see `normal_of`.
        y: (row,).
        beta: of the gradient's weight, which is held fixed.
    """
    p = normal_of(f)
    loss = 0.5 * ((y - p.mean) / p.stddev) ** 2 + p.stddev.log()
    return p.variance.detach() ** beta * loss if beta else loss


def cross_entropy(f: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
    """-w_y log softmax_y(f), (row,)."""
    return F.cross_entropy(f, y, weight, reduction="none")


def cumulative(f: Tensor, thresholds: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
    """-w_y log(sigmoid(theta_y - f) - sigmoid(theta_{y-1} - f)), (row,); f is (row,)."""
    return F.nll_loss(cumulative_log_probs(f, thresholds), y, weight, reduction="none")


def cox(risk: Tensor, time: Tensor, event: Tensor, ties: Ties = "efron") -> Tensor:
    """What each row takes from the log partial likelihood, (row,); 0 where nothing happened.

        -log L = sum_j sum_{i in D_j} [ -f_i + log( sum_{R_j} e^f - (l_i / d_j) sum_{D_j} e^f ) ]

    D_j are the d_j rows whose event is at time t_j, R_j those still at risk then, themselves
    among them. l_i counts the events of D_j before i, from 0 (Efron); or is 0 (Breslow).

    Args:
        risk: f, (row,), log hazards.
        time: (row,), of the event or of the end of follow-up.
        event: (row,) bool, whether it happened.
        ties: how events at one time share the risk set.
    """
    at_risk = time.unsqueeze(0) >= time.unsqueeze(1)
    log_all = torch.logsumexp(risk.masked_fill(~at_risk, -torch.inf), dim=1)
    denominator = log_all
    if ties == "efron":
        tied = (time.unsqueeze(0) == time.unsqueeze(1)) & event
        log_tied = torch.logsumexp(risk.masked_fill(~tied, -1e30), dim=1)
        before, number = tied.tril(-1).sum(1), tied.sum(1).clamp_min(1)
        share = before.to(risk.dtype) / number
        gone = share * torch.exp(torch.where(event, log_tied - log_all, 0.0))
        denominator = log_all + torch.log1p(-torch.where(event, gone, 0.0))
    return torch.where(event, denominator - risk, 0.0)


def task_loss(
    head: TaskHead, f: Tensor, y: Tensor, weight: Tensor | None = None, beta: float = 0.0
) -> Tensor:
    """The loss of a task of any kind, (row,).

    Args:
        head: gives the kind, and the thresholds of an ordinal task.
        f: (row, output).
        y: (row,) numbers or positions of classes; of survival (row, 2), time and event.
        weight: (class,).
        beta: see `gaussian`.
    """
    kind = head.spec.kind
    if kind == "number":
        return gaussian(f, y, beta)
    if kind == "class":
        return cross_entropy(f, y, weight)
    if kind == "ordinal":
        return cumulative(f[:, 0], head.thresholds, y, weight)
    return cox(f[:, 0], y[:, 0], y[:, 1] > 0)


@torch.no_grad()
def held_out_loss(head: TaskHead, f: Tensor, y: Tensor, weight: Tensor | None = None) -> float:
    """Mean over patterns of the mean loss of the units that have a pattern's sensors.

    Args:
        head, y, weight: see `task_loss`.
        f: (pattern, unit, output), NaN where none of a pattern's sensors spoke.
    """
    losses = []
    for own in f:
        seen = torch.isfinite(own).all(-1)
        if bool(seen.any()):
            losses.append(task_loss(head, own[seen], y[seen], weight).mean())
    return float(torch.stack(losses).mean())


def prototypes(h: Tensor, y: Tensor) -> Tensor:
    """c_y: the mean features of the rows with the same label, (row, feature), without gradient.

    Numbers and times hardly ever coincide: there it is the row's own features, from every sensor.
    """
    y = y.flatten(1) if y.dim() > 1 else y.unsqueeze(1)
    same = (y.unsqueeze(0) == y.unsqueeze(1)).all(-1).to(h.dtype)
    return (same @ h.detach()) / same.sum(1, keepdim=True)


def resilient(whole: Tensor, parts: Tensor, apart: Tensor, weights: Resilience) -> Tensor:
    """The loss of a step; see the top of this file.

    Args:
        whole: l(y, f_all), (row,).
        parts: l(y, f_S), (view, row).
        apart: |c_y - h_S|^2, mean over features, (view, row).
        weights: r_1, r_S and r_0.
    """
    return (
        weights.together * whole.mean()
        + weights.parts * parts.mean()
        + weights.prototype * apart.mean()
    )
