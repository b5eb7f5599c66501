"""The training loop: a budget, a finite guard, the best state on held-out subjects."""

from __future__ import annotations

import copy
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from latentphys.learning.checkpoints import check_weights
from latentphys.learning.code_terms import LEARNED_BY
from latentphys.learning.objective import Objective, Score, score_batch
from latentphys.learning.resuming import KIND, Kept
from latentphys.learning.tracking import History, Progress
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.batch import Batch
from latentphys.preparation.prefetching import Batches
from latentphys.recordings.errors import FitError, ModelFileError


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how fast to train.

    Attributes:
        minutes: wall-clock budget; exclusive with `steps`.
        steps: number of updates; the choice for exact reproducibility.
        learning_rate: peak, after a short warm-up; decays to 0 by a cosine.
        weight_decay: of AdamW.
        clip: largest gradient norm.
        warm_up: share of the budget over which the KL weight rises from 0.01 to 1.
        average: decay of the exponential moving average of the weights.
        checks: how many times the held-out subjects are scored.
        patience: consecutive non-finite batches before training stops.
        seed: of the views, the draws and the weights' dropout.
    """

    minutes: float | None = None
    steps: int | None = None
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    clip: float = 1.0
    warm_up: float = 1.0 / 3.0
    average: float = 0.99
    checks: int = 10
    patience: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a plan without exactly one budget."""
        given = [name for name in ("minutes", "steps") if getattr(self, name) is not None]
        if len(given) != 1:
            raise FitError(
                f"training needs one budget, got {given or 'none'}. Pass minutes= or steps=."
            )
        budget = self.minutes if self.minutes is not None else self.steps
        if budget is None or not budget > 0:
            raise FitError(f"{given[0]} must be positive, got {budget}. Pass a longer budget.")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass
class _Average:
    """An exponential moving average of a model's weights, faster at the start."""

    model: StateSpaceModel
    decay: float
    seen: int = 0
    copy: StateSpaceModel = field(init=False)

    def __post_init__(self) -> None:
        self.copy = copy.deepcopy(self.model).eval()

    @torch.no_grad()
    def update(self) -> None:
        self.seen += 1
        weight = 1.0 - min(self.decay, (1.0 + self.seen) / (10.0 + self.seen))
        pairs = zip(self.copy.parameters(), self.model.parameters(), strict=True)
        for averaged, current in pairs:
            averaged.lerp_(current, weight)
        # Codebooks are averages themselves, and go with what makes codes as it is.
        alike = zip(_as_they_are(self.copy), _as_they_are(self.model), strict=True)
        for mine, theirs in alike:
            mine.copy_(theirs)


def _as_they_are(model: StateSpaceModel) -> list[Tensor]:
    """Tensors of a model that are not averaged."""
    tokenisers = [] if model.codes is None else model.codes.tokenisers()
    return [*tokenisers, *model.buffers()]


def train(
    model: StateSpaceModel,
    batches: Iterable[Batch],
    held_out: Sequence[Batch],
    objective: Objective,
    plan: TrainingPlan,
    progress: bool = True,
    kept: Kept | None = None,
) -> History:
    """Fit a model in place and leave it in its best averaged state.

    The state kept is the one with the least loss (full KL weight) on the held-out batches, among
    the checks after the warm-up; without held-out batches, the last.

    Args:
        model: its weights are replaced.
        batches: an endless stream of training batches; `Batches` when it is to be kept.
        held_out: batches of subjects not trained on; may be empty.
        objective: the terms' weights.
        plan: budget and optimiser.
        progress: whether to draw a bar.
        kept: a checkpoint to go on from, and to write.

    Returns:
        The history of every term.

    Raises:
        FitError: `plan.patience` batches in a row gave no finite loss; names what broke.
    """
    torch.manual_seed(plan.seed)
    run = _Run(model, objective, plan, Progress(progress))
    if kept is not None:
        run.keep(kept, batches)
    try:
        run.through(iter(batches), held_out)
    finally:
        run.progress.close()
    model.load_state_dict(run.best_state if run.best_state else run.average.copy.state_dict())
    model.eval()
    return run.history


class _Run:
    """The state of one training run."""

    def __init__(
        self, model: StateSpaceModel, objective: Objective, plan: TrainingPlan, progress: Progress
    ) -> None:
        self.model, self.objective, self.plan, self.progress = model, objective, plan, progress
        self.optimiser = torch.optim.AdamW(
            model.parameters(),
            lr=plan.learning_rate,
            weight_decay=plan.weight_decay,
            fused=True,
        )
        self.generator = torch.Generator().manual_seed(plan.seed)
        self.average = _Average(model, plan.average)
        self.history = History()
        self.best_loss = math.inf
        self.best_state: dict[str, Any] | None = None
        self.step, self.broken, self.next_check = 0, 0, 1
        self.started = time.monotonic()
        self.kept: Kept | None = None
        self.stream: Batches | None = None

    def keep(self, kept: Kept, stream: Iterable[Batch]) -> None:
        """Go on from a checkpoint, if there is one, and write it as training goes on.

        Raises:
            FitError: a stream without a state, or of other windows.
            ModelFileError: a checkpoint that is not whole.
        """
        if not isinstance(stream, Batches):
            raise FitError(
                "a training is kept with the position of its stream, which only Batches has; got "
                f"{type(stream).__name__}. Pass Batches(loader)."
            )
        self.kept, self.stream = kept, stream
        if kept.found is not None:
            try:
                self._go_on(*kept.found, stream)
            except (KeyError, TypeError, AttributeError, RuntimeError) as error:
                raise ModelFileError(
                    f"{kept.folder} does not hold the whole of a training ({error!r}). "
                    f"{KIND.remedy}"
                ) from error
            kept.went_on(self.step)

    def through(self, batches: Iterator[Batch], held_out: Sequence[Batch]) -> None:
        """Train until the budget is spent."""
        while True:
            fraction = self._fraction(time.monotonic() - self.started)
            # Before the check, which is then the same for who goes on from here.
            if self.kept is not None and (fraction >= 1.0 or self.kept.due(self.step)):
                self.kept.write(self.step, self._tensors(), self._position())
            if fraction >= self.next_check / self.plan.checks or fraction >= 1.0:
                self._check(held_out, fraction)
                self.next_check = math.floor(fraction * self.plan.checks) + 1
            if fraction >= 1.0:
                return
            score = self._update(next(batches), fraction)
            self.progress.update(fraction, score)

    def _tensors(self) -> dict[str, Tensor]:
        """Every tensor that the next step depends on."""
        optimiser = self.optimiser.state_dict()["state"]
        groups = {
            "model": self.model.state_dict(),
            "average": self.average.copy.state_dict(),
            "best": self.best_state or {},
            "optimiser": {f"{n}.{k}": v for n, each in optimiser.items() for k, v in each.items()},
            "random": {"torch": torch.get_rng_state(), "views": self.generator.get_state()},
        }
        return {
            f"{group}/{n}": tensor for group, named in groups.items() for n, tensor in named.items()
        }

    def _position(self) -> dict[str, Any]:
        """Everything else, as plain values for JSON."""
        assert self.stream is not None
        return {
            "step": self.step,
            "seconds": time.monotonic() - self.started,
            "broken": self.broken,
            "next_check": self.next_check,
            "averaged": self.average.seen,
            "best_loss": self.best_loss,
            "history": self.history.state_dict(),
            "stream": self.stream.state_dict(),
        }

    def _go_on(self, tensors: dict[str, Tensor], position: dict[str, Any], stream: Batches) -> None:
        """The inverse of `_tensors` and `_position`."""
        groups: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for name, tensor in tensors.items():
            group, _, own = name.partition("/")
            groups[group][own] = tensor
        for target, saved in ((self.model, "model"), (self.average.copy, "average")):
            check_weights(target.state_dict(), groups[saved])
            target.load_state_dict(groups[saved])
        self.best_state = groups["best"] or None
        moments: dict[int, dict[str, Tensor]] = defaultdict(dict)
        for name, tensor in groups["optimiser"].items():
            number, _, own = name.partition(".")
            moments[int(number)][own] = tensor
        settings = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": dict(moments), "param_groups": settings})
        torch.set_rng_state(groups["random"]["torch"])
        self.generator.set_state(groups["random"]["views"])
        self.step, self.broken = position["step"], position["broken"]
        self.next_check, self.best_loss = position["next_check"], position["best_loss"]
        self.average.seen = position["averaged"]
        self.started = time.monotonic() - position["seconds"]
        self.history.load_state_dict(position["history"])
        stream.load_state_dict(position["stream"])

    def _fraction(self, elapsed_s: float) -> float:
        """Share of the budget that is spent."""
        if self.plan.steps is not None:
            return self.step / self.plan.steps
        assert self.plan.minutes is not None
        return elapsed_s / (60.0 * self.plan.minutes)

    def _update(self, batch: Batch, fraction: float) -> Score:
        self.model.train()
        warm = min(1.0, (self.step + 1) / 50.0)
        for group in self.optimiser.param_groups:
            cosine = 0.5 * (1.0 + math.cos(math.pi * min(fraction, 1.0)))
            group["lr"] = self.plan.learning_rate * warm * cosine
        risen = _risen(fraction, self.plan.warm_up)
        learn_codes = fraction < LEARNED_BY
        score = score_batch(self.model, batch, self.objective, self.generator, risen, learn_codes)
        self.optimiser.zero_grad(set_to_none=True)
        score.loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.clip)
        self.step += 1
        if bool(torch.isfinite(score.loss)) and bool(torch.isfinite(norm)):
            self.broken = 0
            self.optimiser.step()
            self.average.update()
            self.history.add(score)
        else:
            self._recover(batch, score)
        return score

    def _recover(self, batch: Batch, score: Score) -> None:
        """Leave out a batch that is not finite; after `patience` in a row, stop and say why."""
        # Moving averages have followed it; those beside the averaged weights are from before.
        for mine, before in zip(self.model.buffers(), self.average.copy.buffers(), strict=True):
            mine.copy_(before)
        self.broken += 1
        if self.broken < self.plan.patience:
            return
        raise FitError(
            f"{self.broken} batches in a row gave no finite loss or gradient; the last broke at "
            f"{_name_broken(batch, score)}. Its values may be extreme: look at it with "
            "lp.plot_record, mark artefacts as NaN, or lower learning_rate."
        )

    def _check(self, held_out: Sequence[Batch], fraction: float) -> None:
        """Score the averaged weights on the held-out batches and keep them if they are best."""
        if not held_out:
            self.history.close_row(self.step)
            return
        loss = held_out_loss(self.average.copy, held_out, self.objective)
        self.history.close_row(self.step, held_out_loss=loss)
        if fraction > self.plan.warm_up and loss < self.best_loss:
            self.best_loss = loss
            self.best_state = copy.deepcopy(self.average.copy.state_dict())


def _risen(fraction: float, over: float) -> float:
    """A weight that rises from 0.01 to 1 over a share of the budget."""
    return min(1.0, 0.01 + fraction / over) if over > 0 else 1.0


@torch.no_grad()
def held_out_loss(
    model: StateSpaceModel, batches: Sequence[Batch], objective: Objective, seed: int = 0
) -> float:
    """Mean loss at full KL weight, with the same draws at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        losses = [score_batch(model, batch, objective, generator).loss for batch in batches]
    return float(torch.stack(losses).mean())


def _name_broken(batch: Batch, score: Score) -> str:
    """The term, record and window that is not finite, in words.

    One extreme sample spoils every term of its window by way of z; the term named is of the
    modality that has the largest sample there.
    """
    broken = {term: ~torch.isfinite(value) for term, value in score.by_window.items()}
    rows = torch.stack(list(broken.values())).any(0).nonzero().flatten()
    if not len(rows):
        return "the gradient (every term was finite)"
    row = int(rows[0])
    candidates = [term for term, where in broken.items() if bool(where[row])]
    term = max(candidates, key=lambda name: _largest_sample(batch, name, row))
    kind = f" of modality '{term.split('/')[1]}'" if "/" in term else ""
    start_s = float(batch.start_step[row]) / batch.state_rate_hz
    return f"term '{term}'{kind}, record '{batch.record[row]}', window starting at {start_s:.1f} s"


def _largest_sample(batch: Batch, term: str, row: int) -> float:
    """Size of the largest observed sample of a term's modality; -1 for a term without one."""
    if "/" not in term:
        return -1.0
    name = term.split("/")[1]
    if name not in batch.mask:  # a text has no samples
        return -1.0
    size = torch.where(batch.mask[name][row], batch.values[name][row].abs(), 0.0)
    return float(torch.nan_to_num(size, nan=math.inf, posinf=math.inf).max())
