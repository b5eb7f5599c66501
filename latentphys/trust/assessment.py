"""How good a task's predictions are on people it was not taught with, by missing sensors.

number     r2, mae, spearman; coverage and width of the predicted intervals
class      accuracy, macro_f1, balanced_accuracy, log_loss, brier, calibration_error, selective_risk
ordinal    the same, and quadratic_kappa
survival   concordance
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from latentphys.inference.doors import check_cohort
from latentphys.learning.units import Units, outputs_of
from latentphys.preparation.mapped import prepared
from latentphys.recordings.arguments import seed_number
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import LabelError, ModalityError, listed
from latentphys.trust.adapting import survival_times
from latentphys.trust.held_out import Fitted, OnTrained, check_unseen
from latentphys.trust.patterns import subsets_of
from latentphys.trust.probe_scores import SCORES, parts_of, score_of
from latentphys.trust.resampling import SubjectBootstrap
from latentphys.trust.score_tables import as_html, as_text, cell
from latentphys.trust.survival import concordant
from latentphys.trust.targets import Labels, finite, missing, nothing_labelled, reader_of
from latentphys.trust.tasks import Asked, Task, answered, label_people, labels_of

Array = NDArray[np.float64]
NOTHING = "baseline"
# variable of a prediction -> what it is called here
SHOWN = {
    "mean": "predicted",
    "predicted": "predicted",
    "risk": "predicted",
    "lower": "lower_bound",
    "upper": "upper_bound",
}


@dataclass(frozen=True, eq=False)
class Assessment:
    """Scores of a task by set of sensors.

    Attributes:
        dataset: (sensors, score) estimate, lower and upper, 95 % over people; the last of
            `sensors` is "baseline", what is said without any. `truth` (unit), `predicted`
            (sensors, unit) with coordinates subject, record and start_s; of numbers also their
            interval, lower_bound and upper_bound. `asked` (sensors, unit) is whether every sensor
            of the set spoke: scores are of those units, and numbers of the others are NaN.
    """

    dataset: xr.Dataset

    def to_dataframe(self) -> Any:
        """A pandas table: sensors, score, estimate, lower, upper."""
        return self.dataset[["estimate", "lower", "upper"]].to_dataframe().reset_index()

    def _rows(self) -> list[list[str]]:
        data = self.dataset
        rows = [["sensors", *data.score.values.tolist()]]
        for name in data.sensors.values.tolist():
            one = data.sel(sensors=name)
            cells = zip(one.estimate.values, one.lower.values, one.upper.values, strict=True)
            rows.append([name, *(cell(*bounds) for bounds in cells)])
        return rows

    def _said(self) -> str:
        about = self.dataset.attrs
        text = f"{about['task']} ({about['kind']}) of each {about['unit']}; {about['units']} units "
        return text + f"of {about['subjects']} unseen subjects. Brackets: 95 % over subjects."

    def __repr__(self) -> str:
        return as_text("Assessment", self._said(), self._rows())

    def _repr_html_(self) -> str:
        return as_html("Assessment", self._said(), self._rows())


def assess_cohort(
    fitted: Fitted,
    task: Task,
    cohort: Cohort,
    labels: Labels | None,
    subsets: Sequence[Sequence[str]] | None,
    level: float,
    seed: int,
    trained: OnTrained,
) -> Assessment:
    """Every set of sensors, scored on the units that have them all; see `FittedModel.assess`."""
    seed = seed_number(seed)
    check_cohort(cohort, "an assessment is of")
    patterns = subsets_of(task.given, subsets)
    if not patterns:
        raise ModalityError(
            f"subsets is a list of one or more sets of {listed(task.given)}; got none. Leave it "
            "out for all of them."
        )
    check_unseen(cohort.subjects, fitted.trained_on, "trained", trained)
    source = task.labels if labels is None else labels
    if not isinstance(source, str) or source:
        reader, _ = reader_of(source, cohort)
    else:
        raise LabelError(
            "this task was taught with labels that have no name; pass those of these people, as "
            "fit.assess(cohort, labels)."
        )
    asked = Asked(fitted, task.unit, reader)
    with prepared(cohort.entries, asked) as records:
        said = label_people(asked)
        known = np.flatnonzero([not missing(label) for label in said])
        if not len(known):
            raise nothing_labelled(source, task.unit, cohort)
        units = Units.of(records, asked.pieces(records), task.given)
        told = outputs_of(fitted.model, task.head, units, patterns)
        here = units.sensors()
    coords = {k: ("unit", np.asarray(v)[known]) for k, (_, v) in asked.coords().items()}
    y = _truth(task, [said[k] for k in known])
    scored = _Scored(task, y, np.asarray(coords["subject"][1]), level, seed)
    rows = {}
    for pattern, f in zip(patterns, told, strict=True):
        label = labels_of(np.isin([task.given], pattern), task.given)[0]
        own = here & np.isin(task.given, pattern)
        whole = own.sum(axis=1) == len(pattern)
        rows[label] = scored.of(np.where(whole[:, None], f, np.nan)[known], label)
    rows[NOTHING] = scored.of(np.full((len(known), told.shape[2]), np.nan), NOTHING)
    data = scored.together(rows).assign_coords(coords)
    data.attrs = {
        "task": task.labels or "labels",
        "kind": task.kind,
        "unit": task.unit,
        "units": len(y),
        "subjects": len(np.unique(coords["subject"][1])),
        "level": level,
        "seed": seed,
    }
    return Assessment(data)


def _truth(task: Task, said: list[Any]) -> NDArray[Any]:
    """Labels as the task knows them.

    Raises:
        LabelError: one that it does not know.
    """
    if task.kind == "survival":
        return survival_times(said)
    if task.kind == "number":
        try:
            return finite(np.array(said, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise LabelError(
                f"this task tells numbers; labels here are {listed(map(repr, said), 4)}."
            ) from error
    strange = sorted({repr(label) for label in said if label not in task.classes})
    if strange:
        raise LabelError(
            f"this task tells {listed(map(repr, task.classes))} apart; labels here also are "
            f"{listed(strange)}. Leave those units out, or fine-tune with them."
        )
    return np.array([task.classes.index(label) for label in said])


@dataclass(frozen=True)
class _Row:
    """Scores of one set of sensors, (score,) each, and what was predicted, (unit,)."""

    estimate: Array
    lower: Array
    upper: Array
    told: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class _Scored:
    """Labelled units to be held against predictions."""

    task: Task
    y: NDArray[Any]
    subjects: NDArray[Any]
    level: float
    seed: int

    @property
    def names(self) -> tuple[str, ...]:
        """Scores, in order."""
        kind = self.task.kind
        if kind == "survival":
            return ("concordance",)
        own = SCORES[kind]
        return (*own, "coverage", "width") if kind == "number" else own

    def of(self, f: Array, label: str) -> _Row:
        """One set of sensors; the baseline is asked of every unit without a sensor."""
        asked = np.asarray(np.isfinite(f).all(axis=1) | (label == NOTHING))
        said, _ = answered(self.task, f, [label] * len(f), self.level)
        told = {name: np.asarray(values) for name, (_, values) in said.items()}
        shown = {SHOWN[name]: values for name, values in told.items() if name in SHOWN}
        shown = {
            k: np.where(asked, v, np.nan) if v.dtype.kind == "f" else v for k, v in shown.items()
        } | {"asked": asked}
        if not asked.any():
            empty = np.full(len(self.names), np.nan)
            return _Row(empty, empty, empty, shown)
        parts, score = self._parts({name: own[asked] for name, own in told.items()}, asked)
        bootstrap = SubjectBootstrap(parts.shape[1], seed=self.seed)
        bounds = bootstrap.of_sums(parts, score)
        if label == NOTHING and self.task.kind == "number":
            for bound in bounds:  # a constant orders nothing
                bound[self.names.index("spearman")] = np.nan
        return _Row(*bounds, shown)

    def _parts(
        self, told: dict[str, NDArray[Any]], asked: NDArray[np.bool_]
    ) -> tuple[Array, Callable[[Array], Array]]:
        """What each person adds to sums, (part, subject), and the scores made of them."""
        y, people, kind = self.y[asked], self.subjects[asked], self.task.kind
        if kind == "survival":
            pairs = np.stack(concordant(told["risk"], *y.T), axis=1)
            return _summed(pairs, people), _ratio
        predicted = told["mean"] if kind == "number" else np.maximum(told["probability"], 1e-12)
        parts = parts_of(predicted, y, people, kind)
        score, count = score_of(kind, len(self.task.classes)), len(parts)
        if kind != "number":
            return parts, score
        inside = (told["lower"] <= y) & (y <= told["upper"])
        more = np.stack([np.ones(len(y)), inside, told["upper"] - told["lower"]], axis=1)

        def both(sums: Array) -> Array:
            made = np.concatenate([score(sums[:, :count]), _means(sums[:, count:])], axis=1)
            # Resampled people may all have one number, of which nothing is explained.
            return np.where(np.isfinite(made), made, np.nan)

        return np.concatenate([parts, _summed(more, people)]), both

    def together(self, rows: dict[str, _Row]) -> xr.Dataset:
        """All sets of sensors as one table."""
        dims = ("sensors", "score")
        bounds = {
            name: (dims, np.stack([getattr(row, name) for row in rows.values()]))
            for name in ("estimate", "lower", "upper")
        }
        first = next(iter(rows.values()))
        told = {
            name: (("sensors", "unit"), np.stack([row.told[name] for row in rows.values()]))
            for name in first.told
        }
        truth = np.array(self.task.classes)[self.y] if self.task.classes else self.y
        own = (
            {"truth": ("unit", truth)} if truth.ndim == 1 else {"truth": (("unit", "part"), truth)}
        )
        return xr.Dataset(
            {**bounds, **told, **own},
            coords={"sensors": list(rows), "score": list(self.names)},
        )


def _summed(each: Array, people: NDArray[Any]) -> Array:
    """(unit, part) -> (part, subject), people by name."""
    _, who = np.unique(people, return_inverse=True)
    summed = np.zeros((int(who.max()) + 1, each.shape[1]))
    np.add.at(summed, who, each)
    return summed.T


def _ratio(sums: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return (sums[:, 0] / sums[:, 1])[:, None]


def _means(sums: Array) -> Array:
    """The share covered and the mean width."""
    return sums[:, 1:] / sums[:, :1]
