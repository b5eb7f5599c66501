"""Fine-tuning on labels: read, checked, split by subject, taught, calibrated."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from latentphys.learning.finetuning import (
    ADAPTS,
    Adapt,
    FinetuningPlan,
    Learned,
    Lesson,
    finetune,
)
from latentphys.learning.task_terms import Resilience
from latentphys.learning.units import Units, outputs_of
from latentphys.model.heads import HeadSpec, TaskHead, TaskKind
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.mapped import prepared
from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.preparation.spans import Unit
from latentphys.recordings.arguments import number_between, seed_number, whole_number
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import ArgumentError, LabelError, SplitError, listed
from latentphys.trust.held_out import Fitted
from latentphys.trust.patterns import subsets_of
from latentphys.trust.probing import is_number, targets_of
from latentphys.trust.survival import baseline_hazard
from latentphys.trust.targets import Labels, finite, missing, nothing_labelled, reader_of
from latentphys.trust.task_calibration import TaskCalibration, of_classes, of_numbers
from latentphys.trust.tasks import Asked, Baseline, Task, label_people, labels_of

Array = NDArray[np.float64]
Kind = Literal["auto", "number", "class", "ordinal", "survival"]
KINDS = ("auto", "number", "class", "ordinal", "survival")
TASK_UNITS = ("window", "epoch", "record", "subject")
HEAD_WIDTHS = (48, 48, 48, 48)  # its coarsest level sees a window in few steps
MOST_SENSORS = 4  # up to these every subset is checked and calibrated
LEAST_SUBJECTS = 4  # of fewer, nobody is held out
TRIES = 200


@dataclass(frozen=True)
class FinetuneRequest:
    """The arguments of `FittedModel.finetune` beside the cohort.

    Attributes:
        labels, kind, unit, resilient, adapt, given, class_weights, held_out, steps, seed,
            progress: see there.
    """

    labels: Labels
    kind: Kind = "auto"
    unit: Unit = "window"
    resilient: bool = True
    adapt: Adapt = "frozen"
    given: tuple[str, ...] = ()
    class_weights: Literal["balanced"] | Mapping[Any, float] | None = None
    held_out: float | Cohort = 0.2
    steps: int = 400
    seed: int = 0
    progress: bool = True

    def __post_init__(self) -> None:
        for name, allowed in (("kind", KINDS), ("unit", TASK_UNITS), ("adapt", ADAPTS)):
            if getattr(self, name) not in allowed:
                raise ArgumentError(
                    f"{name} is one of {', '.join(allowed)}; got {getattr(self, name)!r}."
                )
        whole_number("steps", self.steps, 1, "400 is usual.")
        seed_number(self.seed)
        if not isinstance(self.held_out, Cohort):
            words = "A fifth is usual, 0 for none; or give a Cohort of other people."
            number_between("held_out", self.held_out, 0.0, 1.0, words, inclusive=True)


@dataclass(frozen=True)
class _Labelled:
    """Labelled units of a cohort.

    Attributes:
        units: the labelled ones, numbered from 0.
        said: (unit,) their labels as given.
        subjects: (unit,).
        order: of the classes, where the labels have one.
        unlabelled: how many units nobody labelled.
    """

    units: Units
    said: list[Any]
    subjects: NDArray[Any]
    order: list[Any] | None
    unlabelled: int


@dataclass(frozen=True)
class _Targets:
    """Labels as what a head is taught.

    Attributes:
        kind: of task.
        y: (unit,) numbers in their own units, or positions of classes; of survival (unit, 2).
        classes: in order.
    """

    kind: TaskKind
    y: NDArray[Any]
    classes: list[Any]


def finetune_cohort(
    fitted: Fitted, cohort: Cohort, request: FinetuneRequest
) -> tuple[StateSpaceModel, Task]:
    """The model, moved if wanted, and its task; see `FittedModel.finetune`."""
    everyone = cohort
    own: tuple[str, ...] = ()
    if isinstance(request.held_out, Cohort):
        own = request.held_out.subjects
        _check_apart(cohort, request.held_out)
        everyone = cohort + request.held_out
    reader, order = reader_of(request.labels, everyone)
    asked = Asked(fitted, request.unit, reader)
    with prepared(everyone.entries, asked) as records:
        found = _labelled(asked, records, everyone, order, request)
        targets = _targets(found, request.kind)
        checking = _held_out(found, targets, own, request)
        return _taught(fitted, found, targets, checking, request)


def _check_apart(cohort: Cohort, held_out: Cohort) -> None:
    both = sorted(set(cohort.subjects) & set(held_out.subjects))
    if both:
        raise SplitError(
            "who a task is checked on is nobody it is taught with; on both sides are "
            f"{listed(both)}. Split by subject, as cohort.split(...) does."
        )


def _labelled(
    asked: Asked,
    records: Sequence[PreparedRecord],
    cohort: Cohort,
    order: list[Any] | None,
    request: FinetuneRequest,
) -> _Labelled:
    """The units that have a label and a sample of a given sensor.

    Raises:
        LabelError: there are none.
    """
    said, pieces = label_people(asked), asked.pieces(records)
    subjects = np.asarray(asked.coords()["subject"][1])
    known = np.array([not missing(label) for label in said])
    if not known.any():
        raise nothing_labelled(request.labels, request.unit, cohort)
    units = Units.of(records, pieces, request.given)
    heard = units.sensors().any(axis=1)
    kept = np.flatnonzero(known & heard)
    if not len(kept):
        raise LabelError(
            f"a unit is learned from a sample of {listed(request.given)}; no labelled "
            f"{request.unit} has one. Give other sensors, or look with lp.plot_record."
        )
    number = np.full(len(said), -1)
    number[kept] = np.arange(len(kept))
    pieces = units.pieces.where(number[units.pieces.unit] >= 0)
    pieces = replace(pieces, unit=number[pieces.unit], units=len(kept))
    skipped = int((~known).sum())
    if skipped:
        warnings.warn(
            f'{skipped} of {len(said)} {request.unit}s have no label (NaN, None or "") and are '
            "left out.",
            UserWarning,
            stacklevel=5,
        )
    labels = [said[k] for k in kept]
    return _Labelled(replace(units, pieces=pieces), labels, subjects[kept], order, skipped)


def _targets(found: _Labelled, kind: Kind) -> _Targets:
    """Labels as numbers.

    Raises:
        LabelError: all alike, not of the kind, or times of which none is an event's.
    """
    pairs = [isinstance(label, tuple) and len(label) == 2 for label in found.said]
    if kind == "survival" or (kind == "auto" and all(pairs)):
        return _Targets("survival", survival_times(found.said), [])
    told, y, classes = targets_of(found.said, kind, found.order)
    if told == "ordinal" and len(classes) < 3:
        raise LabelError(
            f"ordinal labels have three levels or more; got {listed(classes)}. Take kind='class'."
        )
    return _Targets(told, y, [c.item() if isinstance(c, np.generic) else c for c in classes])


def survival_times(said: Sequence[Any]) -> Array:
    """(unit, 2) time and event.

    Raises:
        LabelError: labels that are no such pairs, events that are not 0 or 1, times that are not
            positive, or no event.
    """
    for label in said:
        if not isinstance(label, tuple) or len(label) != 2 or not is_number(label[0]):
            raise LabelError(
                "a survival label is a pair: the time of the event or of the end of follow-up, and "
                f"whether the event happened; got {label!r}. Write (3.2, True), or give a table "
                "with columns time and event."
            )
    for _, event in said:
        # A text is as good as True, and R's 1 is alive: only what is clear is taken.
        if not (is_number(event) or isinstance(event, bool | np.bool_)) or event not in (0, 1):
            raise LabelError(
                "whether the event happened is True or False (1 or 0); got "
                f"{event!r}. Write event == 'dead', say, or of R's 1 and 2 event == 2."
            )
    y = finite(np.array([(float(time), bool(event)) for time, event in said], dtype=np.float64))
    if not (y[:, 0] > 0).all():
        raise LabelError(
            f"survival times are above 0; got {float(y[:, 0].min()):g}. Count them from when the "
            "recording was made, and leave out who had the event before."
        )
    if not y[:, 1].any():
        raise LabelError(
            f"risks are told by events; none of the {len(y)} units has one. Follow up longer, "
            "or add recordings of people who had it."
        )
    return y


def _held_out(
    found: _Labelled, targets: _Targets, own: Sequence[str], request: FinetuneRequest
) -> NDArray[np.bool_]:
    """Which units are of held-out subjects, (unit,).

    Raises:
        LabelError: what is left to learn from has one class, or no event.
    """
    people = np.unique(found.subjects)
    if isinstance(request.held_out, Cohort):
        checking = np.isin(found.subjects, own)
        if not _teaches(targets, ~checking) or not checking.any():
            raise LabelError(
                "the people to learn from need a label of every class (an event, if survival), "
                "and those held out a label. Split again, or leave held_out out."
            )
        return checking
    count = round(request.held_out * len(people))
    if request.held_out > 0 and len(people) >= LEAST_SUBJECTS:
        rng = np.random.default_rng(request.seed)
        for _ in range(TRIES):
            chosen = rng.permutation(people)[: max(1, count)]
            checking = np.isin(found.subjects, chosen)
            alike = targets.kind != "survival" or bool(targets.y[checking, 1].any())
            if alike and _teaches(targets, ~checking):
                return checking
    if request.held_out > 0:
        warnings.warn(
            f"nobody of the {len(people)} labelled subjects is held out: without them a class (an "
            "event) is missing, or they are too few. All steps are trained, and nothing is "
            "calibrated.",
            UserWarning,
            stacklevel=5,
        )
    return np.zeros(len(found.subjects), dtype=bool)


def _teaches(targets: _Targets, kept: NDArray[np.bool_]) -> bool:
    """Whether some units have every class, an event, or numbers that differ."""
    y = targets.y[kept]
    if targets.kind == "survival":
        return bool(y[:, 1].any()) if len(y) else False
    return len(np.unique(y)) >= max(2, len(targets.classes))


def _taught(
    fitted: Fitted,
    found: _Labelled,
    targets: _Targets,
    checking: NDArray[np.bool_],
    request: FinetuneRequest,
) -> tuple[StateSpaceModel, Task]:
    baseline, y = _baseline(targets, ~checking)
    spec = HeadSpec(
        targets.kind,
        len(targets.classes),
        fitted.model.spec.latent_dim,
        () if request.adapt == "frozen" else HEAD_WIDTHS,
        rate_hz=fitted.model.spec.state_rate_hz,
    )
    torch.manual_seed(request.seed)
    head = TaskHead(spec)
    if targets.classes:
        head.start_from(baseline.shares)
    training = _lesson(found, y, ~checking)
    reserve = _lesson(found, y, checking) if checking.any() else None
    patterns = _patterns(request.given) if request.resilient else [request.given]
    plan = FinetuningPlan(
        steps=request.steps,
        adapt=request.adapt,
        resilience=Resilience() if request.resilient else None,
        class_weight=_class_weight(targets, ~checking, request.class_weights),
        seed=request.seed,
    )
    learned = finetune(fitted.model, head, training, reserve, patterns, plan, request.progress)
    names = request.labels if isinstance(request.labels, str) else ""
    about = _about(found, checking, plan, request, learned)
    # Of whom the model itself has seen the signals, it knows more than of anybody new.
    about["held_out_known"] = sorted(set(about["held_out"]) & set(fitted.trained_on))
    task = Task(
        learned.head,
        request.unit,
        tuple(targets.classes),
        request.given,
        names,
        baseline,
        about=about,
    )
    if targets.kind == "survival":
        f = outputs_of(learned.model, head, training.units, [request.given])[0, :, 0]
        at, hazard = baseline_hazard(np.nan_to_num(f), *targets.y[~checking].T)
        told = replace(baseline, event_times=tuple(at.tolist()), hazard=tuple(hazard.tolist()))
        return learned.model, replace(task, baseline=told)
    if reserve is None:
        return learned.model, task
    repair = _calibrated(learned, task, reserve, targets.y[checking], found.subjects[checking])
    return learned.model, replace(task, calibration=repair)


def _baseline(targets: _Targets, kept: NDArray[np.bool_]) -> tuple[Baseline, torch.Tensor]:
    """What is true of the training units together, and y as the head is taught it."""
    if targets.kind == "survival":
        return Baseline(), torch.from_numpy(targets.y).float()
    own = targets.y[kept]
    if targets.kind == "number":
        location, scale = float(own.mean()), max(float(own.std()), 1e-9)
        y = torch.from_numpy((targets.y - location) / scale).float()
        return Baseline(location=location, scale=scale), y
    shares = np.bincount(own, minlength=len(targets.classes)) / len(own)
    return Baseline(shares=tuple(shares.tolist())), torch.from_numpy(targets.y).long()


def _lesson(found: _Labelled, y: torch.Tensor, kept: NDArray[np.bool_]) -> Lesson:
    """Some of the units, numbered anew."""
    number = np.full(len(kept), -1)
    number[kept] = np.arange(int(kept.sum()))
    pieces = found.units.pieces.where(kept[found.units.pieces.unit])
    pieces = replace(pieces, unit=number[pieces.unit], units=int(kept.sum()))
    return Lesson(replace(found.units, pieces=pieces), y[torch.from_numpy(kept)])


def _patterns(given: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The sets of sensors that are tried: all, or of many sensors each, all but each, and all."""
    if len(given) <= MOST_SENSORS:
        return subsets_of(given)
    rest = [tuple(n for n in given if n != name) for name in given]
    return [*((name,) for name in given), *rest, given]


def _class_weight(
    targets: _Targets,
    kept: NDArray[np.bool_],
    asked: Literal["balanced"] | Mapping[Any, float] | None,
) -> tuple[float, ...] | None:
    """(class,), their mean over training units 1.

    Raises:
        ArgumentError: weights of a task without classes, or that cannot be.
    """
    if asked is None:
        return None
    allowed = f"'balanced' or a positive weight for each of {listed(targets.classes)}"
    if not targets.classes:
        raise ArgumentError(
            f"class_weights are of classes; these labels are a {targets.kind}. Leave them out."
        )
    shares = np.bincount(targets.y[kept], minlength=len(targets.classes)) / kept.sum()
    if isinstance(asked, str):
        if asked != "balanced":
            raise ArgumentError(f"class_weights are {allowed}; got {asked!r}.")
        weight = 1.0 / np.maximum(shares, 1e-12)
    else:
        if set(asked) != set(targets.classes) or not all(w > 0 for w in asked.values()):
            raise ArgumentError(f"class_weights are {allowed}; got {dict(asked)!r}.")
        weight = np.array([float(asked[name]) for name in targets.classes])
    weight = weight / float(weight @ shares)
    return tuple(weight.tolist())


def _calibrated(
    learned: Learned, task: Task, reserve: Lesson, y: NDArray[Any], subjects: NDArray[Any]
) -> TaskCalibration:
    """Of every set of sensors that held-out units have."""
    patterns = _patterns(task.given)
    told = outputs_of(learned.model, task.head, reserve.units, patterns)
    here, found = reserve.units.sensors(), {}
    for pattern, f in zip(patterns, told, strict=True):
        # A unit that lacks one of these sensors is of another set.
        label = labels_of(np.isin([task.given], pattern), task.given)[0]
        own = labels_of(here & np.isin(task.given, pattern), task.given)
        kept = np.array([each == label for each in own])
        found[label] = np.where(kept[:, None], f, np.nan)
    if task.kind == "number":
        return of_numbers({label: task.moments(f) for label, f in found.items()}, y, subjects)
    return of_classes({label: task.log_probs(f) for label, f in found.items()}, y, subjects)


def _about(
    found: _Labelled,
    checking: NDArray[np.bool_],
    plan: FinetuningPlan,
    request: FinetuneRequest,
    learned: Learned,
) -> dict[str, Any]:
    """How the task was taught, plain values for JSON."""
    return {
        "subjects": np.unique(found.subjects).tolist(),
        "held_out": np.unique(found.subjects[checking]).tolist(),
        "units": len(found.said),
        "unlabelled": found.unlabelled,
        "resilient": request.resilient,
        "plan": asdict(plan),
        "losses": learned.rows,
    }
