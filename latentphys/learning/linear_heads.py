"""A linear head on a model that stays: fitted in full, its penalty chosen by held-out people.

    loss(W) = sum_u [r_1 l(y_u, f_u given all) + r_S mean_S l(y_u, f_u given S)] / units
              + a (|W of latent dimensions|^2 + SPARED |W of rhythms|^2) / 2

f_u = W h_u + b, h_u the mean over the unit's windows of its standardised figures. Every unit and
every set S of its sensors is looked at in each iteration of L-BFGS, so nothing is left to chance
and no figure is learned the later for going with others; the penalty falls from the strongest,
each fit starting from the last. What a prototype adds to the resilient loss does not depend on W.

References:
    Nocedal and Wright (2006), Numerical Optimization, algorithm 7.5.
    Friedman, Hastie and Tibshirani (2010), Regularization paths for generalized linear models via
        coordinate descent: a path of penalties, each started from the one before.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from latentphys.learning.task_terms import Resilience, held_out_loss, task_loss
from latentphys.model.heads import TaskHead
from latentphys.recordings.errors import FitError

PENALTIES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
USUAL = 0.3  # with nobody held out to choose by
# Figures of latent dimensions know every person apart; how fast the state goes to and fro does not.
SPARED = 0.01


@dataclass(frozen=True)
class Figures:
    """What is known of labelled units.

    Attributes:
        h: standardised, (pattern, unit, figure), the last pattern all sensors; NaN where none of a
            pattern's sensors spoke.
        y: (unit,) numbers or positions of classes.
    """

    h: Tensor
    y: Tensor


def fit_linear(
    head: TaskHead,
    training: Figures,
    held_out: Figures | None,
    resilience: Resilience | None,
    weight: Tensor | None,
    steps: int,
    patience: int,
    progress: bool,
) -> list[dict[str, float]]:
    """Fit a linear head's weights, in place.

    Args:
        head: new, without a network, at the shares of the classes.
        training: of the people it learns from.
        held_out: of others, whose loss chooses the penalty; None for USUAL.
        resilience: r_1 and r_S; None for every sensor alone.
        weight: (class,).
        steps: most iterations, over all penalties.
        patience: penalties without a fall, after which no smaller one is tried.
        progress: whether to draw a bar.

    Returns:
        Iterations so far, loss of training and of held-out people, a row a penalty.

    Raises:
        FitError: the loss is not finite.
    """
    looks, shares = _looks(training, resilience)
    path = (USUAL,) if held_out is None else PENALTIES
    cost = torch.ones(head.out.weight.shape[1]) * SPARED
    cost[: head.spec.dimensions] = 1.0
    rows: list[dict[str, float]] = []
    best, best_loss, waited, done = copy.deepcopy(head.state_dict()), math.inf, 0, 0
    head.eval()
    for number, penalty in enumerate(tqdm(path, "finetune", disable=not progress)):
        most = steps * (number + 1) // len(path) - done
        done += most
        lost = _minimised(head, looks, shares, training.y, weight, penalty * cost, most)
        row = {"step": float(done), "penalty": penalty, "loss": lost}
        rows.append(row)
        if held_out is None:
            return rows
        loss = held_out_loss(head, head.out(held_out.h), held_out.y, weight)
        row["held_out_loss"] = loss
        waited = 0 if loss < best_loss else waited + 1
        if loss < best_loss:
            best, best_loss = copy.deepcopy(head.state_dict()), loss
        if waited >= patience:
            break
    head.load_state_dict(best)
    return rows


def _looks(training: Figures, resilience: Resilience | None) -> tuple[Tensor, Tensor]:
    """Figures that are looked at, 0 where there are none, and what each look weighs.

    A unit weighs the same however many sets its sensors have; one with no other set than all of
    them is looked at twice.
    """
    h, spoke = training.h, torch.isfinite(training.h).all(-1)
    units = h.shape[1]
    if resilience is None:
        return h[-1:].nan_to_num(), spoke[-1:].float() / units
    together, parts = h.new_zeros(len(h), units), spoke.float()
    together[-1] = 1.0
    if len(h) > 1:
        parts[-1] = (~spoke[:-1].any(0)).float()
    parts = parts / parts.sum(0)
    return h.nan_to_num(), (resilience.together * together + resilience.parts * parts) / units


def _minimised(
    head: TaskHead,
    looks: Tensor,
    shares: Tensor,
    y: Tensor,
    weight: Tensor | None,
    cost: Tensor,
    most: int,
) -> float:
    """Move the head to the least loss; the loss without its penalty."""
    patterns = len(looks)
    rows, told = looks.flatten(0, 1), y.repeat(patterns)
    solver = torch.optim.LBFGS(
        head.parameters(), max_iter=max(1, most), line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        return (task_loss(head, head.out(rows), told, weight) * shares.flatten()).sum()

    def closure() -> Tensor:
        solver.zero_grad()
        total = loss() + 0.5 * (cost * head.out.weight**2).sum()
        total.backward()
        return total

    solver.step(closure)
    with torch.no_grad():
        lost = float(loss())
    if not (math.isfinite(lost) and all(bool(w.isfinite().all()) for w in head.parameters())):
        raise FitError(
            "fine-tuning has no finite loss. Labels or samples may be extreme: look at them with "
            "lp.plot_record, or mark artefacts as NaN."
        )
    return lost
