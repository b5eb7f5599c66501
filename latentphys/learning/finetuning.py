"""Fine-tuning: a head, and the encoders and guide if wanted, taught labels of units.

The state kept is the one with the least loss on held-out subjects; training ends when that has not
fallen for some checks. A linear head on a model that stays is fitted in full where what it needs
may be held in memory (`latentphys.learning.linear_heads`); all else is learned in batches.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from latentphys.learning.linear_heads import Figures, fit_linear
from latentphys.learning.task_terms import (
    BETA,
    Resilience,
    held_out_loss,
    prototypes,
    resilient,
    task_loss,
)
from latentphys.learning.units import (
    WINDOWS_A_BATCH,
    Units,
    by_piece,
    outputs_of,
    over_units,
    steps_given,
)
from latentphys.learning.views import subset_view
from latentphys.model.heads import TaskHead, Told
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.mapped import memory_budget
from latentphys.recordings.errors import FitError

Adapt = Literal["frozen", "head", "full"]
ADAPTS: tuple[str, ...] = get_args(Adapt)
STANDARDISED_ON = 256  # windows that a head's features are standardised by
PIECES_A_CHECK = 8  # of a long unit
ROWS_AT_A_TIME = 128


@dataclass(frozen=True)
class Lesson:
    """Labelled units.

    Attributes:
        units: what is seen.
        y: (unit,) positions of classes or standardised numbers; of survival (unit, 2).
    """

    units: Units
    y: Tensor


@dataclass(frozen=True)
class FinetuningPlan:
    """How a task is learned.

    Attributes:
        steps: most updates; of a head that is fitted in full most iterations, over all penalties.
        adapt: "frozen", a linear head on a model that stays; "head", a network on it; "full", the
            network, and the encoders and the guide move too.
        resilience: the resilient loss; None for the loss of every sensor alone.
        class_weight: (class,); None for the same weight.
        batch_size: units a step.
        learning_rate: of the head, decaying to 0 by a cosine; a network takes half of it.
        model_rate: of encoders and guide.
        weight_decay: of AdamW.
        checks: how often the held-out subjects are asked.
        patience: checks (penalties) without a fall, after which training ends.
        seed: of batches, subsets and dropout.
    """

    steps: int = 400
    adapt: Adapt = "frozen"
    resilience: Resilience | None = None
    class_weight: tuple[float, ...] | None = None
    batch_size: int = 16
    learning_rate: float = 2e-3
    model_rate: float = 3e-4
    weight_decay: float = 0.05
    checks: int = 10
    patience: int = 4
    seed: int = 0

    @property
    def weight(self) -> Tensor | None:
        """`class_weight` as losses take it."""
        return None if self.class_weight is None else torch.tensor(self.class_weight)


@dataclass
class Learned:
    """What fine-tuning leaves.

    Attributes:
        model: the one given, or a copy that has moved.
        head: in evaluation mode.
        rows: loss of training and of held-out subjects at every check.
    """

    model: StateSpaceModel
    head: TaskHead
    rows: list[dict[str, float]] = field(default_factory=list)


def finetune(
    model: StateSpaceModel,
    head: TaskHead,
    training: Lesson,
    held_out: Lesson | None,
    patterns: Sequence[Sequence[str]],
    plan: FinetuningPlan,
    progress: bool = True,
) -> Learned:
    """Teach a head, and a copy of the model with `adapt="full"`.

    Args:
        model: is left as it is.
        head: new, at the shares of the classes; is taught in place.
        training: labelled units.
        held_out: labelled units of other subjects; None to go through all the steps.
        patterns: sets of sensors that held-out subjects are asked with, the last of them all
            that are given; their losses are averaged.
        plan: how.
        progress: whether to draw a bar.

    Raises:
        FitError: the loss is not finite.
    """
    torch.manual_seed(plan.seed)
    if held_out is not None:
        thinned = held_out.units.pieces.thinned(PIECES_A_CHECK)
        held_out = replace(held_out, units=replace(held_out.units, pieces=thinned))
    if plan.adapt == "full":
        model = copy.deepcopy(model)
    fixed = plan.adapt != "full" and _fits(head, training, held_out, patterns)
    source = (_Fixed if fixed else _Live)(model, head, training, held_out, patterns, plan)
    # A risk set is of all people at once: their square, too many to hold.
    if isinstance(source, _Fixed) and not head.spec.widths and head.spec.kind != "survival":
        return Learned(model, head, source.fitted(training, plan, progress))
    run = _Run(source, head, training, plan)
    every = max(1, plan.steps // plan.checks)
    best, best_loss, waited = run.state(), math.inf, 0
    for step in tqdm(range(plan.steps), "finetune", disable=not progress, mininterval=0.5):
        run.update(step)
        if (step + 1) % every and step + 1 < plan.steps:
            continue
        loss = math.nan if held_out is None else run.loss_of(held_out)
        run.close_row(step + 1, loss)
        waited = 0 if loss < best_loss else waited + 1
        if loss < best_loss:
            best, best_loss = run.state(), loss
        if held_out is not None and waited >= plan.patience:
            break
    if held_out is not None:
        run.restore(best)
    return Learned(model.eval(), head.eval(), run.told)


class _Live:
    """Windows looked at anew in every step, by a model that may move."""

    def __init__(
        self,
        model: StateSpaceModel,
        head: TaskHead,
        training: Lesson,
        held_out: Lesson | None,
        patterns: Sequence[Sequence[str]],
        plan: FinetuningPlan,
    ) -> None:
        self.model, self.head, self.training, self.held_out = model, head, training, held_out
        self.patterns, self.resilience = patterns, plan.resilience
        self.generator = torch.Generator().manual_seed(plan.seed)
        self.moving = plan.adapt == "full"
        self._standardise()

    @property
    def moves(self) -> list[nn.Module]:
        """The parts of the model that are trained: what speaks of z, not what it emits."""
        return [self.model.encoders, self.model.guide_network] if self.moving else []

    def told(self, rows: NDArray[np.int64]) -> Told:
        """f and h, (look, row, ...): every sensor first, then subsets if resilient."""
        self.model.train(self.moving)
        batch, inside = self.training.units.batch(rows, self.model.spec.inputs)
        with torch.set_grad_enabled(self.moving):
            evidence = self.model.evidence(batch)
            steps = steps_given(self.model, evidence, self._looks(evidence.present()))
        told = self.head(steps, inside.repeat(len(steps) // len(rows), 1))
        return Told(*(x.view(-1, len(rows), x.shape[-1]) for x in told))

    def checked(self) -> Tensor:
        """f of the held-out units by pattern, (pattern, unit, output)."""
        assert self.held_out is not None
        self.model.eval()
        found = outputs_of(self.model, self.head, self.held_out.units, self.patterns)
        return torch.from_numpy(found)

    def _looks(self, present: Tensor) -> Tensor:
        if self.resilience is None:
            return present
        subsets = subset_view(present, self.generator, 0.0, self.resilience.views)
        return torch.cat([present, subsets.keep])

    @torch.no_grad()
    def _standardise(self) -> None:
        """By some training windows, looked at as training will."""
        self.model.eval()
        units, found = self.training.units, []
        chosen = np.linspace(0, len(units.pieces) - 1, min(STANDARDISED_ON, len(units.pieces)))
        parts = -(-len(chosen) // WINDOWS_A_BATCH)
        for rows in np.array_split(chosen.round().astype(np.int64), parts):
            batch, inside = units.batch(rows, self.model.spec.inputs)
            evidence = self.model.evidence(batch)
            steps = steps_given(self.model, evidence, self._looks(evidence.present()))
            found.append(self.head.figures(steps, inside.repeat(len(steps) // len(rows), 1)))
        self.head.standardise(torch.cat(found))


class _Fixed:
    """A model that stays: each window goes through it once, given each pattern, and is kept.

    The last of the patterns is every sensor; subsets are drawn among the others.
    """

    moves: Sequence[nn.Module] = ()

    def __init__(
        self,
        model: StateSpaceModel,
        head: TaskHead,
        training: Lesson,
        held_out: Lesson | None,
        patterns: Sequence[Sequence[str]],
        plan: FinetuningPlan,
    ) -> None:
        self.model, self.head, self.patterns = model.eval(), head, patterns
        self.views = 0 if plan.resilience is None else plan.resilience.views
        self.generator = torch.Generator().manual_seed(plan.seed)
        self.held_out = held_out
        self.seen, self.inside = self._read(training)
        if held_out is not None:
            self.checks, self.checks_inside = self._read(held_out)
        self._standardise()

    def told(self, rows: NDArray[np.int64]) -> Told:
        """f and h, (look, row, ...): every sensor first, then subsets if resilient."""
        own = self.seen[:, torch.from_numpy(rows)]
        parts = own[:-1] if len(own) > 1 else own
        chance = torch.rand(self.views, *parts.shape[:2], generator=self.generator)
        chosen = chance.masked_fill(parts[..., 0].isnan(), -1.0).argmax(1)
        subsets = parts[chosen, torch.arange(len(rows))]
        # A window with one sensor may have no other set than all it has.
        subsets = torch.where(subsets.isnan(), own[-1], subsets)
        return self._asked(torch.cat([own[-1:], subsets]), self.inside[rows])

    @torch.no_grad()
    def checked(self) -> Tensor:
        """f of the held-out units by pattern, (pattern, unit, output)."""
        assert self.held_out is not None
        # A network over the steps of all at once would take much memory.
        parts = zip(
            self.checks.split(ROWS_AT_A_TIME, 1),
            self.checks_inside.split(ROWS_AT_A_TIME),
            strict=True,
        )
        f = [
            torch.cat([self._asked(own.unsqueeze(0), inside).f for own in part])
            for part, inside in parts
        ]
        return over_units(torch.cat(f, dim=1), self.held_out.units)

    def fitted(
        self, training: Lesson, plan: FinetuningPlan, progress: bool
    ) -> list[dict[str, float]]:
        """Fit a linear head to the mean over each unit's windows, which is what it is asked of."""

        def figures(lesson: Lesson, seen: Tensor) -> Figures:
            return Figures(over_units(self.head.standard(seen), lesson.units).float(), lesson.y)

        own = figures(training, self.seen)
        others = None if self.held_out is None else figures(self.held_out, self.checks)
        weight, patience = plan.weight, plan.patience
        return fit_linear(
            self.head, own, others, plan.resilience, weight, plan.steps, patience, progress
        )

    def _read(self, lesson: Lesson) -> tuple[Tensor, Tensor]:
        """What the head needs of every piece, (pattern, piece, width), and the steps inside."""
        units, width = lesson.units, _width(self.head, lesson)

        def steps_themselves(steps: Tensor, inside: Tensor) -> Tensor:
            return steps.flatten(1)

        read = steps_themselves if self.head.spec.widths else self.head.figures
        inside = torch.from_numpy(units.pieces.inside(np.arange(len(units.pieces))))
        return by_piece(self.model, units, self.patterns, read, width), inside

    def _asked(self, seen: Tensor, inside: Tensor) -> Told:
        """(look, row, width) -> f and h, (look, row, ...)."""
        if not self.head.spec.widths:
            return self.head.of_figures(seen)
        steps = seen.flatten(0, 1).view(len(seen) * len(inside), inside.shape[1], -1)
        told = self.head(steps, inside.repeat(len(seen), 1))
        return Told(*(x.view(*seen.shape[:2], -1) for x in told))

    @torch.no_grad()
    def _standardise(self) -> None:
        """By all that was read, in which every pattern counts the same."""
        if not self.head.spec.widths:
            figures = self.seen.flatten(0, 1)
        else:
            shape = (*self.inside.shape, -1)
            found = [self.head.figures(own.view(shape), self.inside) for own in self.seen]
            figures = torch.cat(found)
        self.head.standardise(figures[torch.isfinite(figures).all(-1)])


def _width(head: TaskHead, lesson: Lesson) -> int:
    """Numbers a head needs of one piece."""
    steps = lesson.units.pieces.windows.steps
    return steps * 2 * head.spec.latent_dim if head.spec.widths else len(head.centre)


def _fits(
    head: TaskHead,
    training: Lesson,
    held_out: Lesson | None,
    patterns: Sequence[Sequence[str]],
) -> bool:
    """Whether all that a head needs may be held in memory."""
    sides = [training] if held_out is None else [training, held_out]
    numbers = sum(len(patterns) * len(s.units.pieces) * _width(head, s) for s in sides)
    return 4 * numbers < memory_budget()


class _Run:
    """One fine-tuning."""

    def __init__(
        self, source: _Live | _Fixed, head: TaskHead, training: Lesson, plan: FinetuningPlan
    ) -> None:
        self.source, self.head, self.training, self.plan = source, head, training, plan
        rate = plan.learning_rate * (0.5 if head.spec.widths else 1.0)
        groups = [{"params": list(head.parameters()), "lr": rate}]
        moved = [weight for part in source.moves for weight in part.parameters()]
        if moved:
            groups.append({"params": moved, "lr": plan.model_rate})
        self.rates = [rate, plan.model_rate][: len(groups)]
        self.optimiser = torch.optim.AdamW(groups, weight_decay=plan.weight_decay)
        self.rows = _rows(training, plan)
        self.weight = plan.weight
        self.lost: list[float] = []
        self.told: list[dict[str, float]] = []

    def update(self, step: int) -> None:
        """One step of the optimiser.

        Raises:
            FitError: the loss is not finite.
        """
        self.head.train()
        decay = 0.5 * (1.0 + math.cos(math.pi * step / self.plan.steps))
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * decay * min(1.0, (step + 1) / 20.0)
        loss = self._loss(next(self.rows))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norms = [
            nn.utils.clip_grad_norm_(group["params"], 1.0) for group in self.optimiser.param_groups
        ]
        if not all(bool(torch.isfinite(x)) for x in (loss, *norms)):
            raise FitError(
                f"fine-tuning has no finite loss or gradient at step {step + 1}. Labels or samples "
                "may be extreme: look at them with lp.plot_record, or mark artefacts as NaN."
            )
        self.optimiser.step()
        self.lost.append(float(loss.detach()))

    def _loss(self, rows: NDArray[np.int64]) -> Tensor:
        f, h = self.source.told(rows)
        y = self.training.y[torch.from_numpy(self.training.units.pieces.unit[rows])]
        losses = [task_loss(self.head, own, y, self.weight, BETA) for own in f]
        if self.plan.resilience is None:
            return losses[0].mean()
        apart = ((h[1:] - prototypes(h[0], y)) ** 2).mean(-1)
        return resilient(losses[0], torch.stack(losses[1:]), apart, self.plan.resilience)

    def loss_of(self, held_out: Lesson) -> float:
        """Of units and patterns, see `held_out_loss`."""
        self.head.eval()
        return held_out_loss(self.head, self.source.checked().float(), held_out.y, self.weight)

    def close_row(self, step: int, held_out: float) -> None:
        """Write down a check."""
        row = {"step": float(step), "loss": float(np.mean(self.lost))}
        self.told.append({**row, **({} if math.isnan(held_out) else {"held_out_loss": held_out})})
        self.lost.clear()

    def state(self) -> list[dict[str, Tensor]]:
        """Copies of what moves."""
        return [copy.deepcopy(part.state_dict()) for part in (self.head, *self.source.moves)]

    def restore(self, state: list[dict[str, Tensor]]) -> None:
        """Go back to a state."""
        for part, own in zip((self.head, *self.source.moves), state, strict=True):
            part.load_state_dict(own)


def _rows(training: Lesson, plan: FinetuningPlan) -> Iterator[NDArray[np.int64]]:
    """Batches without end: every unit once before any comes again, by a piece at random."""
    rng = np.random.default_rng(plan.seed)
    own: dict[int, list[int]] = {}
    for row, unit in enumerate(training.units.pieces.unit.tolist()):
        own.setdefault(unit, []).append(row)
    everyone = np.array(list(own))
    size = min(plan.batch_size, len(everyone))
    queue: list[int] = []
    while True:
        while len(queue) < size:
            queue += rng.permutation(everyone).tolist()
        taken, queue = queue[:size], queue[size:]
        yield np.array([own[unit][rng.integers(len(own[unit]))] for unit in taken])
