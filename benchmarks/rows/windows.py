"""Embeddings of windows with what was true in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from latentphys.fitted import FittedModel
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.night import simulate_night
from latentphys.recordings.record import Record
from rows.tally import Labelled

Array = NDArray[np.float64]
Truth = Callable[[Record, float, float], float]


def nights_of(
    seed: int, sensors: Sequence[str], subjects: int, minutes: float, split_seed: int
) -> tuple[Cohort, Cohort]:
    """Simulated nights with every sensor worn: those to fit, and a third of the people unseen."""
    nights = simulate_night(subjects, minutes, seed=seed, absent=0.0).keep(*sensors)
    return nights.split(test=1 / 3, seed=split_seed)


def mean_of(name: str) -> Truth:
    """The mean of a simulated truth between two times."""

    def truth(record: Record, start_s: float, stop_s: float) -> float:
        assert record.truth is not None
        values = record.truth[name].sel(time=slice(start_s, stop_s - 1e-6)).values
        return float(np.mean(values)) if len(values) else float("nan")

    return truth


def observed_mean(modality: str) -> Truth:
    """The mean of what a slow sensor read between two times; NaN with less than half of it."""

    def truth(record: Record, start_s: float, stop_s: float) -> float:
        if modality not in record.signals:
            return float("nan")
        values = record.signals[modality].sel(time=slice(start_s, stop_s - 1e-6)).values
        seen = np.isfinite(values)
        return float(values[seen].mean()) if seen.mean() > 0.5 else float("nan")

    return truth


def commonest(name: str) -> Truth:
    """The class a simulated truth holds for most of the time between two times."""

    def truth(record: Record, start_s: float, stop_s: float) -> float:
        assert record.truth is not None
        values = record.truth[name].sel(time=slice(start_s, stop_s - 1e-6)).values
        return float(np.bincount(values.astype(int)).argmax()) if len(values) else float("nan")

    return truth


def embedded(fit: FittedModel, cohort: Cohort, given: Sequence[str] | None = None) -> xr.DataArray:
    """One row a window of the fit's length, in the cohort's order, whatever is given."""
    return fit.embed(cohort, unit="window", given=given).astype(np.float64)


def truths(rows: xr.DataArray, cohort: Cohort, truth: Truth) -> Array:
    """What was true in each window of `embedded`."""
    records = {record.record: record for record in cohort}
    return np.asarray([truth(records[name], a, b) for name, a, b in _places(rows)])


def labelled(
    fit: FittedModel, cohort: Cohort, truth: Truth, given: Sequence[str] | None = None
) -> Labelled:
    """Each window's embedding, what was true in it, and whose it is."""
    return with_truth(embedded(fit, cohort, given), cohort, truth)


def with_truth(rows: xr.DataArray, cohort: Cohort, truth: Truth) -> Labelled:
    """`embedded` windows with what was true in them."""
    return Labelled(rows.values, truths(rows, cohort, truth), people(rows))


def pooled(
    rows: Mapping[tuple[str, ...], xr.DataArray], subsets: Sequence[tuple[str, ...]], y: Array
) -> Labelled:
    """Embeddings of the same windows by some subsets, one below the other, each beside its y."""
    x, count = np.concatenate([rows[given] for given in subsets]), len(subsets)
    return Labelled(x, np.tile(y, count), people(rows[subsets[0]]) * count)


def teachings(
    rows: Mapping[tuple[str, ...], xr.DataArray], subsets: Sequence[tuple[str, ...]], y: Array
) -> dict[str, Labelled]:
    """What a probe is taught with: every sensor, the first of the subsets, or all subsets."""
    return {"plain": pooled(rows, subsets[:1], y), "resilient": pooled(rows, subsets, y)}


def by_window(rows: xr.DataArray, cohort: Cohort, truth: Truth) -> dict[tuple[str, float], float]:
    """(record, start) -> what was true in that window."""
    values = truths(rows, cohort, truth).tolist()
    return {(name, a): y for (name, a, _), y in zip(_places(rows), values, strict=True)}


def people(rows: xr.DataArray) -> list[str]:
    """Whose each window is."""
    return [str(name) for name in rows["subject"].values]


def _places(rows: xr.DataArray) -> list[tuple[str, float, float]]:
    """(record, start, stop) of each window, seconds."""
    starts, stops = (rows[name].values.tolist() for name in ("start_s", "stop_s"))
    return list(zip(map(str, rows["record"].values), starts, stops, strict=True))
