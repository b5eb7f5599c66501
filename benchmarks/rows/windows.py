"""Embeddings of windows with what was true in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from latentphys.fitted import FittedModel
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.night import simulate_night
from latentphys.recordings.record import Record

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


def embedded(fit: FittedModel, cohort: Cohort, given: Sequence[str] | None = None) -> Array:
    """One row a window of the fit's length, in the cohort's order."""
    return np.asarray(fit.embed(cohort, unit="window", given=given).values, np.float64)


def labelled(fit: FittedModel, cohort: Cohort, truth: Truth) -> tuple[Array, list[str]]:
    """What was true in each window, and whose it is, in the order of `embedded`."""
    rows, values = truths(fit, cohort, truth)
    return values, [str(name) for name in rows["subject"].values]


def by_window(fit: FittedModel, cohort: Cohort, truth: Truth) -> dict[tuple[str, float], float]:
    """(record, start) -> what was true in that window."""
    rows, values = truths(fit, cohort, truth)
    keys = zip(rows["record"].values, rows["start_s"].values, strict=True)
    return {(str(r), float(s)): y for (r, s), y in zip(keys, values.tolist(), strict=True)}


def truths(fit: FittedModel, cohort: Cohort, truth: Truth) -> tuple[xr.DataArray, Array]:
    """The windows' embeddings, and what was true in each."""
    rows = fit.embed(cohort, unit="window")
    records = {record.record: record for record in cohort}
    windows = zip(rows["record"].values, rows["start_s"].values, strict=True)
    values = [truth(records[str(r)], float(s), float(s) + fit.window_s) for r, s in windows]
    return rows, np.asarray(values)
