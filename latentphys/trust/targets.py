"""What a probe predicts: a label for each unit of a recording, from whatever says it.

Names that the library knows beside a record's own attributes, truth and annotations:

    stage            sleep stage, W N1 N2 N3 REM, from annotations that name stages
    heart_rate       beats a minute between the beats marked in the unit, or found in the ECG
    breathing_rate   breaths a minute between the breaths marked in the unit
    task             what the subject did: "rest" or the task's name
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from latentphys.preparation.beats import beat_times
from latentphys.preparation.spans import Spans
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import LabelError, closest, listed
from latentphys.recordings.labels import per_step, sleep_stage
from latentphys.recordings.record import Record

if TYPE_CHECKING:
    import pandas as pd

Labels: TypeAlias = (
    "str | pd.Series | pd.DataFrame | xr.DataArray | Mapping[Any, Any] | Callable[[Record], Any]"
)
# A recording and its units -> a label a unit, None where nobody said.
Reader = Callable[[Record, Spans], list[Any]]

# name -> what it is read from
NAMES = {
    "stage": "annotations that name sleep stages (W, N1, N2, N3, REM)",
    "heart_rate": "marked beats, or those found in the ECG",
    "breathing_rate": "marked breaths",
    "task": "an attribute or annotations of this name",
}
BREATHS = ("breath", "breaths", "breath_1", "breath_2")
_NOTHING = ("", "?", "nan", "unknown")
# EEGMAT names a subject's recording at rest _1 and the one in mental arithmetic _2.
_EEGMAT = re.compile(r"Subject\d+_([12])$")


def reader_of(labels: Labels, cohort: Cohort | None = None) -> tuple[Reader, list[Any] | None]:
    """How a recording's units are labelled, and the order of the labels where they have one.

    Args:
        labels: a name (of the module's, an attribute, a variable of the truth, or annotations); a
            pandas Series, DataArray or mapping by (record, start_s), by record or by subject; a
            mapping record -> array, a label a unit in their order; a pandas table (`_of_table`);
            or a function of a Record that gives one label, or a DataArray over its time (s, the
            start of each stretch).
        cohort: whose recordings are labelled.

    Raises:
        LabelError: something else.

    Warns:
        UserWarning: labels of nobody in the cohort, while some in it have none: names both.
    """
    if isinstance(labels, str):
        return (lambda record, spans: _by_name(labels, record, spans)), None
    if isinstance(labels, xr.DataArray):
        return _by_key(_keyed(labels), cohort), None
    if isinstance(labels, Mapping):
        return _by_key(dict(labels), cohort), None
    if callable(labels):
        return (lambda record, spans: _spread(labels(record), record, spans)), None
    if hasattr(labels, "columns"):
        labels = _of_table(labels)
    if hasattr(labels, "index") and hasattr(labels, "items"):
        if not labels.index.is_unique:
            twice = labels.index[labels.index.duplicated()].tolist()
            raise LabelError(f"a unit has one label; the labels give two of {listed(twice[:3])}.")
        ordered = getattr(getattr(labels, "cat", None), "ordered", False)
        order = labels.cat.categories.tolist() if ordered else None
        return _by_key(dict(labels.items()), cohort), order
    raise LabelError(
        "labels are a name, a pandas Series or DataArray by (record, start_s), record or subject, "
        f"or a function of a Record; got {type(labels).__name__}."
    )


def missing(label: Any) -> bool:
    """Whether a label says nothing: None, NaN, or a text such as "", "?", "nan", "unknown"."""
    if isinstance(label, str):
        return label.strip().lower() in _NOTHING
    if isinstance(label, tuple):  # a time and whether the event happened then
        return any(missing(part) for part in label)
    if label is None or type(label).__name__ in ("NAType", "NaTType"):  # pandas' own
        return True
    return isinstance(label, float | np.floating) and math.isnan(label)


def _by_name(name: str, record: Record, spans: Spans) -> list[Any]:
    """The label of a name in one recording; None throughout where it does not have it."""
    if name == "stage":
        return _stages(record, spans)
    if record.truth is not None and name in record.truth.data_vars:
        return _spread(record.truth[name], record, spans)
    if name in record.attrs:
        return [record.attrs[name]] * len(spans)
    if name == "heart_rate":
        try:
            return _rates(beat_times(record), spans)
        except LabelError:
            return [None] * len(spans)
    if name == "breathing_rate":
        marked = next((b for b in BREATHS if b in record.annotations), None)
        if marked is not None:
            return _rates(np.sort(record.annotations[marked].time.values), spans)
    if name == "task" and (found := _EEGMAT.search(record.record)):
        return ["rest" if found.group(1) == "1" else "arithmetic"] * len(spans)
    if name in record.annotations:
        return _spread(per_step(record, name, _fine_hz(spans)), record, spans)
    return [None] * len(spans)


def _stages(record: Record, spans: Spans) -> list[Any]:
    """The sleep stage that covers more than half of each unit."""
    for name in sorted(record.annotations, key=lambda name: name != "stage"):
        stages = per_step(record, name, _fine_hz(spans), label=sleep_stage)
        # Beats and rhythms share a letter with stages, but one alone.
        if len(set(stages.values.tolist()) - {""}) > (name != "stage"):
            return _spread(stages, record, spans)
    return [None] * len(spans)


def _fine_hz(spans: Spans) -> float:
    """A clock on which annotations are read: eight steps in the shortest unit, at least 1 Hz."""
    return max(1.0, 8.0 / float((spans.stop_s - spans.start_s).min()))


def _rates(times: NDArray[np.float64], spans: Spans) -> list[Any]:
    """60 (n - 1) / (t_n - t_1) of the events in each unit, its ends included."""
    first = np.searchsorted(times, spans.start_s - 1e-6)
    last = np.searchsorted(times, spans.stop_s + 1e-6) - 1
    return [
        60.0 * (b - a) / float(times[b] - times[a]) if b > a else None
        for a, b in zip(first.tolist(), last.tolist(), strict=True)
    ]


def _by_key(table: dict[Any, Any], cohort: Cohort | None) -> Reader:
    """Labels looked up by (record, start_s), record or subject."""
    table = {_key(key): value for key, value in table.items()}
    if cohort is not None:
        _warn_of_strangers(table, cohort)

    def read(record: Record, spans: Spans) -> list[Any]:
        whole = table.get(record.record, table.get(record.subject))
        if isinstance(whole, list | np.ndarray):
            return _one_a_unit(list(whole), record, spans)
        starts = spans.start_s.tolist()
        return [table.get(_key((record.record, start)), whole) for start in starts]

    return read


def _warn_of_strangers(table: Mapping[Any, Any], cohort: Cohort) -> None:
    """Say which labels are of nobody here, while some here have none: a name may be misspelt.

    A table of more people than these, all of whom have their label, is no mistake.
    """
    named = dict.fromkeys(key[0] if isinstance(key, tuple) else key for key in table)
    known = {name for entry in cohort.entries for name in (entry.record, entry.subject)}
    strange = [name for name in named if name not in known]
    bare = [e for e in cohort.entries if e.record not in named and e.subject not in named]
    people = dict.fromkeys(entry.subject for entry in bare)
    if strange and bare and len(strange) < len(named):
        warnings.warn(
            f"labels are by the names of records or subjects; {listed(strange)} are of nobody "
            f"here, and {listed(people)} have no label.{closest(strange[0], people)} Compare the "
            "names with cohort.table().",
            UserWarning,
            stacklevel=6,
        )


def finite(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Labels as they are.

    Raises:
        LabelError: one is infinite.
    """
    if np.isinf(numbers).any():
        raise LabelError(
            f"labels are finite numbers; {int(np.isinf(numbers).sum())} are infinite. Put NaN for "
            "what is not known, and leave out what has no bound."
        )
    return numbers


def _one_a_unit(labels: list[Any], record: Record, spans: Spans) -> list[Any]:
    """Labels in the order of a recording's units."""
    if len(labels) != len(spans):
        raise LabelError(
            f"an array of labels has one for each unit of its recording, in their order; record "
            f"{record.record!r} has {len(spans)} units and {len(labels)} labels. Compare "
            "fit.embed, or key the labels by (record, start_s)."
        )
    return [label.item() if isinstance(label, np.generic) else label for label in labels]


def _of_table(table: pd.DataFrame) -> pd.Series:
    """One column beside record (and start_s) or subject, or time and event of a survival time.

    These keys are columns or the table's index.
    """
    keys = [name for name in ("record", "start_s", "subject") if name in table.columns]
    if "record" in keys:  # whose record it is, is known
        keys, table = (
            [k for k in keys if k != "subject"],
            table.drop(columns="subject", errors="ignore"),
        )
    if keys:
        table = table.set_index(keys if len(keys) > 1 else keys[0])
    columns = [str(name) for name in table.columns]
    if sorted(columns) == ["event", "time"]:
        import pandas as pd

        pairs = zip(table["time"].tolist(), table["event"].tolist(), strict=True)
        return pd.Series(list(pairs), index=table.index, dtype=object)
    if len(columns) != 1:
        raise LabelError(
            "a table of labels has one column beside record, start_s and subject, or time and "
            f"event; got {listed(columns)}. Choose one, as table[['subject', 'age']]."
        )
    return table.iloc[:, 0]


def nothing_labelled(labels: Labels, unit: str, cohort: Cohort) -> LabelError:
    """What to say where no unit of a cohort has a label."""
    if isinstance(labels, str):
        own = {name for r in cohort for name in (*r.attrs, *(r.truth or ()), *r.annotations)}
        known = sorted(map(str, own))
        if labels in NAMES:
            return LabelError(
                f"{labels!r} is read from {NAMES[labels]}; none of these recordings tells it for "
                f"a {unit}. They have {listed(known, 20)}. Pass labels of your own, by record or "
                "subject."
            )
        return LabelError(
            f"labels name something of the recordings; none of them has {labels!r} for a "
            f"{unit}. Known are {', '.join(NAMES)}, and of these recordings {listed(known, 20)}."
            f"{closest(labels, (*NAMES, *known))}"
        )
    record = cohort[0]
    return LabelError(
        f"no {unit} of these recordings has a label. Labels are by record and start_s, as "
        f"({record.record!r}, 0.0), by record or by subject, as {record.subject!r}; compare "
        "those of fit.embed."
    )


def _key(key: Any) -> Any:
    """Starts to the millisecond, so that arithmetic on them does no harm."""
    if not isinstance(key, tuple):
        return str(key)
    if len(key) != 2 or isinstance(key[1], str):
        raise LabelError(
            f"labels of units are by record and start_s (seconds), in this order; got {key!r}. "
            "Set the index to these two."
        )
    return str(key[0]), round(float(key[1]), 3)


def _keyed(labels: xr.DataArray) -> dict[Any, Any]:
    """A DataArray's values by the coordinates of an embedding."""
    names = [name for name in ("record", "subject") if name in labels.coords]
    if labels.ndim != 1 or not names:
        raise LabelError(
            "labels as a DataArray have one dimension and a coordinate record (with start_s) or "
            f"subject, as an embedding has; got dims {labels.dims} and coordinates "
            f"{listed(map(str, labels.coords))}."
        )
    keys = [str(name) for name in labels[names[0]].values]
    values = labels.values.tolist()
    if names[0] == "record" and "start_s" in labels.coords:
        starts = labels["start_s"].values.tolist()
        return dict(zip(zip(keys, starts, strict=True), values, strict=True))
    return dict(zip(keys, values, strict=True))


def _spread(label: Any, record: Record, spans: Spans) -> list[Any]:
    """One label, or labels over time, to the units of a recording."""
    if not isinstance(label, xr.DataArray):
        return [label] * len(spans)
    if label.ndim != 1 or "time" not in label.coords:
        raise LabelError(
            "labels over time are one-dimensional with a coordinate time (s, the start of each "
            f"stretch); those of record {record.record!r} have dims {label.dims} and coordinates "
            f"{listed(map(str, label.coords))}."
        )
    start = np.asarray(label["time"].values, dtype=np.float64)
    usual = float(np.median(np.diff(start))) if len(start) > 1 else math.inf
    stop = np.minimum(np.append(start[1:], math.inf), start + usual + 1e-6)
    values = label.values
    majority = values.dtype.kind not in "fiu"
    read = _held_most if majority else _mean_over
    found = []
    for a, b in zip(spans.start_s, spans.stop_s, strict=True):
        first, last = np.searchsorted(stop, a, "right"), np.searchsorted(start, b)
        cover = np.minimum(stop[first:last], b) - np.maximum(start[first:last], a)
        found.append(read(values[first:last], cover, b - a))
    return found


def _held_most(values: NDArray[Any], cover: NDArray[np.float64], length: float) -> Any:
    """The text that holds for more than half of a unit."""
    for value in dict.fromkeys(values.tolist()):
        if not missing(value) and cover[values == value].sum() > length / 2 + 1e-6:
            return value
    return None


def _mean_over(values: NDArray[Any], cover: NDArray[np.float64], length: float) -> float | None:
    """The mean over what of a unit has a number; None where that is less than half of it."""
    seen = np.isfinite(values.astype(np.float64))
    held = float(cover[seen].sum())
    if not held > 0 or held < length / 2 - 1e-6:
        return None
    return float(values[seen].astype(np.float64) @ cover[seen] / held)
