"""What the posterior state knows of a label: linear probes on people they were not fitted to.

Beside the same probe on the untrained network, on raw features, and on nothing at all: a
representation earns its name by what it adds to these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from latentphys.inference.embedding import unit_features
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.preparation.spans import Spans, Unit, check_unit, spans_of
from latentphys.recordings.arguments import seed_number, whole_number
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import ArgumentError, LabelError, SplitError, listed
from latentphys.trust.decisions import (
    BINS,
    Reliability,
    RiskCoverage,
    reliability,
    selective_risk,
)
from latentphys.trust.directions import warn_of_training_subjects
from latentphys.trust.held_out import Fitted
from latentphys.trust.linear_probes import Kind, out_of_fold
from latentphys.trust.probe_scores import SCORES, parts_of, score_of
from latentphys.trust.raw_features import Figures, raw_features, side_by_side
from latentphys.trust.resampling import SubjectBootstrap
from latentphys.trust.result import MODEL
from latentphys.trust.score_tables import as_html, as_text, cell
from latentphys.trust.targets import Labels, finite, missing, nothing_labelled, reader_of

Array = NDArray[np.float64]
KINDS = ("auto", "number", "class", "ordinal")
MOST_LEVELS = 20  # of an ordinal label; each costs a probe


@dataclass(frozen=True)
class ProbeRequest:
    """The arguments of `FittedModel.probe` beside the cohort."""

    labels: Labels
    unit: Unit = "window"
    kind: Literal["auto", "number", "class", "ordinal"] = "auto"
    given: Sequence[str] = ()
    folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        check_unit(self.unit)
        if self.kind not in KINDS:
            raise ArgumentError(f"kind is one of {', '.join(KINDS)}; got {self.kind!r}.")
        whole_number("folds", self.folds, 2, "5 is usual.")
        seed_number(self.seed)


@dataclass(frozen=True, eq=False)
class ProbeResult:
    """Scores of a probe on people it was not fitted to, beside controls.

    Attributes:
        dataset: (features, score) estimate, lower, upper (95 % over people), and gain, gain_lower,
            gain_upper, the model's score minus this one's, over the same resampled people; truth
            (unit) and predicted (features, unit) with coordinates subject, record, start_s,
            stop_s and fold; of classes, probability (features, unit, class). `features` are the
            model's, those of the untrained network, of the raw signals, and none ("majority", or
            "mean" of numbers). With few people the figures of what knows nothing lie below zero:
            the others' mean leads away from one's.
    """

    dataset: xr.Dataset

    def to_dataframe(self) -> Any:
        """A pandas table: features, score, estimate, lower, upper and the gains."""
        names = ["estimate", "lower", "upper", "gain", "gain_lower", "gain_upper"]
        return self.dataset[names].to_dataframe().reset_index()

    def reliability(self, features: str = MODEL, bins: int = BINS) -> Reliability:
        """How often the likeliest class is right, by how likely it was said to be.

        Args:
            features: whose probe.
            bins: of the confidence.

        Raises:
            LabelError: a probe of numbers.
        """
        return reliability(*self._decisions(features), bins=bins)

    def risk_coverage(self, features: str = MODEL) -> RiskCoverage:
        """The share of wrong decisions when the probe answers only where it is surest.

        Args:
            features: whose probe.

        Raises:
            LabelError: a probe of numbers.
        """
        return selective_risk(*self._decisions(features))

    def _decisions(self, features: str) -> tuple[Array, NDArray[np.int64]]:
        """Probabilities (unit, class) and positions of the true classes (unit,)."""
        data = self.dataset
        if "probability" not in data:
            raise LabelError(
                "a probe of numbers gives no probabilities. Probe classes, or levels of the "
                "number with kind='ordinal'."
            )
        place = {label: k for k, label in enumerate(data["class"].values.tolist())}
        truth = np.array([place[label] for label in data.truth.values.tolist()])
        return data.probability.sel(features=features).values, truth

    def _rows(self) -> list[list[str]]:
        """A row a score, a column a set of features."""
        data = self.dataset
        rows = [["score", *data.features.values.tolist()]]
        for name in data.score.values.tolist():
            one = data.sel(score=name)
            cells = zip(one.estimate.values, one.lower.values, one.upper.values, strict=True)
            rows.append([name, *(cell(*bounds) for bounds in cells)])
        return rows

    def _said(self) -> str:
        about = self.dataset.attrs
        text = f"{about['labels']} ({about['kind']}) of each {about['unit']} by a linear probe; "
        text += f"{about['units']} units of {about['subjects']} subjects, {about['folds']} folds "
        return text + "by subject. Brackets: 95 % over subjects."

    def __repr__(self) -> str:
        return as_text("Probe", self._said(), self._rows())

    def _repr_html_(self) -> str:
        return as_html("Probe", self._said(), self._rows())


def probe_cohort(fitted: Fitted, cohort: Cohort, request: ProbeRequest) -> ProbeResult:
    """All units of all recordings, labelled, embedded and probed; see `FittedModel.probe`."""
    warn_of_training_subjects(cohort.subjects, fitted.trained_on)
    labels, order = reader_of(request.labels, cohort)
    rows = _Rows({MODEL: fitted.model, "untrained": fitted.untrained(request.seed).model})
    base: Unit = "record" if request.unit == "subject" else request.unit
    clock, window_s = fitted.model.spec.state_rate_hz, fitted.window_s
    for record in cohort:
        prepared = fitted.prepare(record)
        spans = spans_of(record, prepared, base, window_s, clock)
        rows.add(prepared, spans, labels(record, spans), request.given, window_s, base)
    if not rows.labels:
        raise nothing_labelled(request.labels, request.unit, cohort)
    features, said, subjects, where = rows.together(), rows.labels, rows.subjects, rows.where()
    if request.unit == "subject":
        features, said, subjects = by_person(features, said, subjects)
        where = {}
    kind, y, classes = targets_of(said, request.kind, order)
    people = np.array(subjects)
    _check_people(people)
    features["mean" if kind == "number" else "majority"] = np.zeros((len(y), 0))
    data = _scored(features, y, people, kind, request)
    values = y if kind == "number" else np.array(classes)[y]
    data["truth"] = ("unit", values)
    data = data.assign_coords({"subject": ("unit", people), **where})
    if kind != "number":
        data["predicted"] = data.predicted.copy(data=np.array(classes)[data.predicted])
        data = data.assign_coords({"class": classes})
    data.attrs = {
        "labels": request.labels if isinstance(request.labels, str) else "labels",
        "kind": kind,
        "unit": request.unit,
        "classes": list(map(str, classes)),
        "given": list(request.given),
        "units": len(y),
        "unlabelled": rows.unlabelled,
        "subjects": len(np.unique(people)),
        "folds": int(data.fold.max()) + 1,
        "seed": request.seed,
    }
    return ProbeResult(data)


@dataclass
class _Rows:
    """Labelled units of the recordings so far; what is kept of one is its features alone."""

    models: dict[str, StateSpaceModel]
    embedded: dict[str, list[Array]] = field(default_factory=dict)
    raw: list[Figures] = field(default_factory=list)
    spans: list[Spans] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    unlabelled: int = 0

    def add(
        self,
        record: PreparedRecord,
        spans: Spans,
        labels: list[Any],
        given: Sequence[str],
        window_s: float,
        unit: Unit,
    ) -> None:
        """The units of one more recording; those without a label are counted, and left out."""
        kept = np.array([not missing(label) for label in labels])
        self.unlabelled += int((~kept).sum())
        if not kept.any():
            return
        spans = Spans(spans.start_s[kept], spans.stop_s[kept])
        for name, model in self.models.items():
            found = unit_features(model, record, spans, given, window_s, unit)
            self.embedded.setdefault(name, []).append(found.astype(np.float64))
        self.raw.append(raw_features(record, spans, given))
        self.spans.append(spans)
        self.labels += compress(labels, kept)
        self.subjects += [record.subject] * len(spans)
        self.records += [record.record] * len(spans)

    def together(self) -> dict[str, Array]:
        """Name -> features (unit, feature) of all of them."""
        features = {name: np.concatenate(parts) for name, parts in self.embedded.items()}
        features["raw"] = side_by_side(self.raw, [len(spans) for spans in self.spans])
        return features

    def where(self) -> dict[str, tuple[str, Any]]:
        """Coordinates of the units beside their subject."""
        return {
            "record": ("unit", self.records),
            "start_s": ("unit", np.concatenate([spans.start_s for spans in self.spans])),
            "stop_s": ("unit", np.concatenate([spans.stop_s for spans in self.spans])),
        }


def _check_people(people: NDArray[Any]) -> None:
    count = len(np.unique(people))
    if count < 2:
        raise SplitError(
            f"a probe is held to subjects it was not fitted to, which takes two or more with "
            f"labels; got {count}. Add subjects."
        )


def by_person(
    features: dict[str, Array], labels: list[Any], subjects: list[str]
) -> tuple[dict[str, Array], list[Any], list[str]]:
    """Recordings averaged over each subject's; so are numbers that differ among them.

    Raises:
        LabelError: classes that differ among the recordings of a subject.
    """
    people, who = np.unique(np.array(subjects), return_inverse=True)
    said = []
    for k, person in enumerate(people):
        own = list(dict.fromkeys(label for label, w in zip(labels, who, strict=True) if w == k))
        if len(own) > 1 and not all(is_number(label) for label in own):
            raise LabelError(
                f"a subject has one label; the recordings of {str(person)!r} have "
                f"{listed(map(str, own))}. Take unit='record'."
            )
        said.append(own[0] if len(own) == 1 else float(np.mean(own)))
    means = {}
    for name, x in features.items():
        seen = np.isfinite(x)
        total, count = np.zeros((len(people), x.shape[1])), np.zeros((len(people), x.shape[1]))
        np.add.at(total, who, np.where(seen, x, 0.0))
        np.add.at(count, who, seen)
        means[name] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return means, said, people.tolist()


def is_number(label: Any) -> bool:
    """Whether a label is a number; True and False are none."""
    return isinstance(label, int | float | np.number) and not isinstance(label, bool)


def targets_of(
    labels: Sequence[Any], kind: str = "auto", order: Sequence[Any] | None = None
) -> tuple[Kind, NDArray[Any], list[Any]]:
    """What the probe predicts: numbers, or positions among classes.

    Args:
        labels: one a unit, none missing.
        kind: "auto" takes text, truth values and two distinct numbers for classes, labels of a
            known order (an ordered Categorical) for ordinal, other numbers for numbers.
        order: of the classes, where known.

    Returns:
        Kind, (unit,) and the classes in order (none of numbers).

    Raises:
        LabelError: labels that are all alike, or that are not of the kind.

    Example:
        >>> targets_of(["W", "N2", "W"])
        ('class', array([1, 0, 1]), ['N2', 'W'])
        >>> targets_of([61.0, 74.5, 80.0])[0], targets_of([0, 1, 1])[0]
        ('number', 'class')
    """
    numbers = all(is_number(label) for label in labels)
    distinct = list(dict.fromkeys(labels))
    if len(distinct) < 2:
        raise LabelError(
            f"labels tell units apart; all {len(labels)} units have {distinct[0]!r}. Add "
            "recordings with another."
        )
    texts = [label for label in distinct if isinstance(label, str)]
    if kind == "auto":
        if texts and len(texts) < len(distinct):
            raise LabelError(
                f"labels are numbers or texts; {listed(map(repr, texts), 4)} stand among numbers. "
                "Pass a function of a Record that tells what they mean, or kind='class'."
            )
        kind = "number" if numbers and len(distinct) > 2 else "class"
        kind = "ordinal" if order is not None else kind
    if kind == "number":
        if not numbers:
            raise LabelError(f"kind='number' takes numbers; labels are {listed(distinct, 4)}.")
        return "number", finite(np.array(labels, dtype=np.float64)), []
    if kind == "class":
        classes = sorted(distinct, key=lambda label: (str(type(label)), label))
        return "class", np.array([classes.index(label) for label in labels]), classes
    if order is None and not numbers:
        raise LabelError(
            f"ordinal labels have an order: numbers, or an ordered pandas Categorical; got "
            f"{listed(map(str, distinct), 4)}. Take kind='class'."
        )
    classes = [c for c in order if c in distinct] if order is not None else sorted(distinct)
    if len(classes) > MOST_LEVELS:
        raise LabelError(
            f"an ordinal probe has up to {MOST_LEVELS} levels; got {len(classes)}. Take "
            "kind='number'."
        )
    return "ordinal", np.array([classes.index(label) for label in labels]), classes


def _scored(
    features: dict[str, Array],
    y: NDArray[Any],
    people: NDArray[Any],
    kind: Kind,
    request: ProbeRequest,
) -> xr.Dataset:
    """Probes on each set of features, held to the same folds and the same resampled people."""
    bootstrap = SubjectBootstrap(len(np.unique(people)), seed=request.seed)
    width = 0 if kind == "number" else int(y.max()) + 1
    plain, parts, guesses, fold = score_of(kind, width), {}, [], np.zeros(len(y), np.int64)
    for name, x in features.items():
        predicted, fold = out_of_fold(x, y, people, kind, request.folds, request.seed)
        parts[name] = parts_of(predicted, y, people, kind)
        guesses.append(predicted)
    own = parts[MODEL]

    def score(sums: Array) -> Array:
        made = plain(sums)
        # Resampled people may all have one number, of which nothing is explained.
        return np.where(np.isfinite(made), made, np.nan)

    def ahead(sums: Array) -> Array:
        return score(sums[:, : len(own)]) - score(sums[:, len(own) :])

    bounds = np.array([bootstrap.of_sums(part, score) for part in parts.values()])
    gains = np.array([bootstrap.of_sums(np.vstack([own, p]), ahead) for p in parts.values()])
    if kind == "number":  # a constant a fold orders nothing
        bounds[-1, :, -1] = gains[-1, :, -1] = np.nan
    names, dims = ("estimate", "lower", "upper"), ("features", "score")
    data = {name: (dims, bounds[:, k]) for k, name in enumerate(names)}
    gain = {
        name: (dims, gains[:, k]) for k, name in enumerate(("gain", "gain_lower", "gain_upper"))
    }
    told = np.stack(guesses)
    found: dict[str, Any] = {"predicted": (("features", "unit"), told)}
    if kind != "number":
        found = {
            "predicted": (("features", "unit"), told.argmax(axis=2)),
            "probability": (("features", "unit", "class"), told),
        }
    return xr.Dataset(
        {**data, **gain, **found},
        coords={
            "features": list(features),
            "score": list(SCORES[kind]),
            "fold": ("unit", fold),
        },
    )
