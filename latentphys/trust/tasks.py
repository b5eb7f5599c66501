"""A task that a model was fine-tuned for, and what it says of recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from latentphys.learning.units import Units, outputs_of
from latentphys.model.heads import (
    HeadSpec,
    TaskHead,
    TaskKind,
    cumulative_log_probs,
    normal_of,
)
from latentphys.preparation.pieces import Pieces, pieces_of
from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.preparation.spans import Spans, Unit, spans_of
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import ModalityError, closest, listed
from latentphys.recordings.record import Record
from latentphys.trust.held_out import Fitted
from latentphys.trust.probing import by_person
from latentphys.trust.survival import survival
from latentphys.trust.targets import missing
from latentphys.trust.task_calibration import TaskCalibration, tempered

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Baseline:
    """What is said of somebody of whom nothing is known, and what survival is counted from.

    Attributes:
        shares: of the classes in training.
        location, scale: mean and spread of a number in training.
        event_times, hazard: H_0 of a survival time, in training.
    """

    shares: tuple[float, ...] = ()
    location: float = 0.0
    scale: float = 1.0
    event_times: tuple[float, ...] = ()
    hazard: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "shares": list(self.shares),
            "location": self.location,
            "scale": self.scale,
            "event_times": list(self.event_times),
            "hazard": list(self.hazard),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Baseline:
        """The inverse of `to_dict`."""
        rows = {name: tuple(plain[name]) for name in ("shares", "event_times", "hazard")}
        return cls(location=plain["location"], scale=plain["scale"], **rows)


@dataclass(frozen=True, eq=False)
class Task:
    """What `FittedModel.finetune` adds to a model.

    Attributes:
        head: in evaluation mode.
        unit: what it says something of.
        classes: in order; none of numbers and survival.
        given: sensors it was taught with.
        labels: their name, "" where they were given otherwise.
        baseline: of training.
        calibration: from held-out subjects.
        about: how it was taught: units, subjects, held out, unlabelled, losses.
    """

    head: TaskHead
    unit: Unit
    classes: tuple[Any, ...]
    given: tuple[str, ...]
    labels: str = ""
    baseline: Baseline = field(default_factory=Baseline)
    calibration: TaskCalibration = field(default_factory=TaskCalibration)
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> TaskKind:
        """number, class, ordinal or survival."""
        return self.head.spec.kind

    def known(self, given: Sequence[str]) -> tuple[str, ...]:
        """The given sensors in the task's order.

        Raises:
            ModalityError: one that it was not taught with.
        """
        for name in given:
            if name not in self.given:
                raise ModalityError(
                    f"this task was taught with {listed(self.given)}; got {name!r}."
                    f"{closest(name, self.given)} Give some of those, or fine-tune with "
                    f"given=[..., {name!r}]."
                )
        return tuple(name for name in self.given if name in given)

    def calibration_said(self) -> str:
        """Whom calibration is from, in words; "" without any."""
        people, known = self.calibration.subjects, self.about.get("held_out_known", ())
        if not people:
            return ""
        said = f"{len(people)} held-out subjects"
        if not known:
            return said
        return f"{said}; the model was fitted to {len(known)} of them: too sure of new people"

    def __str__(self) -> str:
        return f"tells {self.labels or 'labels'} ({self.kind}) of each {self.unit}"

    def log_probs(self, f: Array) -> Array:
        """log P(class), (..., class), before calibration; NaN where f is."""
        with torch.no_grad():
            told = torch.from_numpy(f)
            if self.kind == "class":
                return told.log_softmax(-1).numpy()
            theta = self.head.thresholds.double()
            return cumulative_log_probs(told[..., 0], theta).numpy()

    def moments(self, f: Array) -> tuple[Array, Array]:
        """Mean and sd of a number in its own units, before calibration."""
        p = normal_of(torch.from_numpy(f))
        mean = self.baseline.location + self.baseline.scale * p.mean.numpy()
        return mean, self.baseline.scale * p.stddev.numpy()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the head's weights are saved beside the model's."""
        return {
            "head": self.head.spec.to_dict(),
            "unit": self.unit,
            "classes": list(self.classes),
            "given": list(self.given),
            "labels": self.labels,
            "baseline": self.baseline.to_dict(),
            "calibration": self.calibration.to_dict(),
            "about": dict(self.about),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Task:
        """The inverse of `to_dict`, with a head of new weights."""
        return cls(
            TaskHead(HeadSpec.from_dict(plain["head"])).eval(),
            plain["unit"],
            tuple(plain["classes"]),
            tuple(plain["given"]),
            plain["labels"],
            Baseline.from_dict(plain["baseline"]),
            TaskCalibration.from_dict(plain["calibration"]),
            dict(plain["about"]),
        )


@dataclass
class Asked:
    """Units of recordings, gathered one recording at a time.

    Attributes:
        fitted: prepares recordings.
        unit: what a unit is.
        spans: of each recording.
        subjects, records: of each recording.
        labels: of each recording's units, where there is a reader.
    """

    fitted: Fitted
    unit: Unit
    reader: Any = None
    spans: list[Spans] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    labels: list[list[Any]] = field(default_factory=list)

    def prepare(self, record: Record) -> PreparedRecord:
        """The record as the model takes it; its units are written down."""
        prepared = self.fitted.prepare(record)
        clock = self.fitted.model.spec.state_rate_hz
        base: Unit = "record" if self.unit == "subject" else self.unit
        spans = spans_of(record, prepared, base, self.fitted.window_s, clock)
        self.spans.append(spans)
        self.subjects.append(record.subject)
        self.records.append(record.record)
        if self.reader is not None:
            self.labels.append(self.reader(record, spans))
        return prepared

    def pieces(self, records: Sequence[PreparedRecord]) -> Pieces:
        """The pieces of all units, numbered as `coords` has them."""
        if self.unit == "subject":
            people = {name: k for k, name in enumerate(dict.fromkeys(self.subjects))}
            numbers = [np.array([people[name]]) for name in self.subjects]
        else:
            ends = np.cumsum([0, *map(len, self.spans)])
            numbers = [np.arange(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)]
        clock = self.fitted.model.spec.state_rate_hz
        return pieces_of(records, self.spans, numbers, self.fitted.window_s, clock)

    def coords(self) -> dict[str, tuple[str, Any]]:
        """Coordinates of the units."""
        if self.unit == "subject":
            return {"subject": ("unit", list(dict.fromkeys(self.subjects)))}
        counts = [len(own) for own in self.spans]
        return {
            "subject": ("unit", np.repeat(self.subjects, counts)),
            "record": ("unit", np.repeat(self.records, counts)),
            "start_s": ("unit", np.concatenate([own.start_s for own in self.spans])),
            "stop_s": ("unit", np.concatenate([own.stop_s for own in self.spans])),
        }


def label_people(asked: Asked) -> list[Any]:
    """The label of each unit as `Asked.coords` numbers them; None of a subject without one.

    Raises:
        LabelError: classes that differ among the recordings of a subject.
    """
    said = [label for own in asked.labels for label in own]
    if asked.unit != "subject":
        return said
    known = [k for k, label in enumerate(said) if not missing(label)]
    if not known:
        return [None] * len(dict.fromkeys(asked.subjects))
    _, labels, names = by_person({}, [said[k] for k in known], [asked.subjects[k] for k in known])
    own = dict(zip(names, labels, strict=True))
    return [own.get(name) for name in dict.fromkeys(asked.subjects)]


def labels_of(sensors: NDArray[np.bool_], names: Sequence[str]) -> list[str]:
    """The set of sensors of each unit in words, "ecg+resp"; "" for none."""
    return ["+".join(n for n, own in zip(names, row, strict=True) if own) for row in sensors]


def predict_cohort(
    fitted: Fitted, task: Task, data: Record | Cohort, given: Sequence[str], level: float
) -> xr.Dataset:
    """What a task says of every unit; see `FittedModel.predict`."""
    asked = Asked(fitted, task.unit)
    # One recording at a time; a subject's, which are one unit, together.
    told, seen = [], []
    records: list[PreparedRecord] = []
    for record in [data] if isinstance(data, Record) else data:
        prepared = asked.prepare(record)
        if task.unit == "subject":
            records.append(prepared)
            continue
        one = Asked(fitted, task.unit, spans=asked.spans[-1:], subjects=asked.subjects[-1:])
        units = Units.of([prepared], one.pieces([prepared]), given)
        told.append(outputs_of(fitted.model, task.head, units, [given])[0])
        seen.append(units.sensors())
    if records:
        units = Units.of(records, asked.pieces(records), given)
        told.append(outputs_of(fitted.model, task.head, units, [given])[0])
        seen.append(units.sensors())
    f, sensors = np.concatenate(told), labels_of(np.concatenate(seen), given)
    data_vars, attrs = answered(task, f, sensors, level)
    coords = {**asked.coords(), "sensors": ("unit", sensors)}
    about = {"task": task.labels or "labels", "kind": task.kind, "given": list(given)}
    found = xr.Dataset(data_vars, coords=coords, attrs={**about, **attrs})
    if task.classes:
        found = found.assign_coords({"class": list(task.classes)})
    if "survival" in found:
        found = found.assign_coords(horizon=horizons(task))
    return found


def answered(
    task: Task, f: Array, sensors: Sequence[str], level: float
) -> tuple[dict[str, tuple[Any, ...]], dict[str, Any]]:
    """Variables and attributes of a prediction; a unit without a sensor has training's baseline.

    Args:
        task: whose head gave f.
        f: (unit, output).
        sensors: of each unit, as `labels_of` has them.
        level: of intervals.
    """
    silent = np.asarray(np.isnan(f).any(axis=1))
    factor = np.array([task.calibration.factor_of(label) for label in sensors])
    if task.kind == "survival":
        risk = np.where(silent, 0.0, f[:, 0])
        at, hazard = (np.array(x) for x in (task.baseline.event_times, task.baseline.hazard))
        alive = survival(risk, at, hazard, horizons(task))
        return {"risk": ("unit", risk), "survival": (("unit", "horizon"), alive)}, {
            "calibration": "none: risk is a log hazard ratio, survival follows from training's "
            "baseline hazard"
        }
    people = task.calibration_said()
    if task.classes:
        log_p = tempered(task.log_probs(np.nan_to_num(f)), factor[:, None])
        p = np.where(silent[:, None], np.array(task.baseline.shares), np.exp(log_p))
        said = np.array(task.classes)[p.argmax(axis=1)]
        how = f"temperatures by set of sensors, from {people}"
        both = {"probability": (("unit", "class"), p), "predicted": ("unit", said)}
        return both, {"calibration": how if people else "none: no subjects were held out"}
    mean, sd = task.moments(np.nan_to_num(f))
    mean = np.where(silent, task.baseline.location, mean)
    sd = np.where(silent, task.baseline.scale, sd * factor)
    widths = {label: task.calibration.half_width(label, level) for label in set(sensors)}
    half = sd * np.array([widths[label][0] for label in sensors])
    promises = "; ".join(sorted({promise for _, promise in widths.values()}))
    how = f"{promises} (by set of sensors, from {people})"
    return {
        "mean": ("unit", mean),
        "sd": ("unit", sd),
        "lower": ("unit", mean - half),
        "upper": ("unit", mean + half),
    }, {"level": level, "calibration": how if people else "none: no subjects were held out"}


def horizons(task: Task) -> Array:
    """Times survival is told at: quartiles of training's event times."""
    return np.unique(np.quantile(task.baseline.event_times, [0.25, 0.5, 0.75]))
