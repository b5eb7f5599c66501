"""Lags of sensors behind the state, in seconds: a pulse's transit time up to what is usual."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch.distributions import Normal

from latentphys.inference.paths import WINDOWS_A_BATCH, pooled_lags
from latentphys.model.evidence import Lag
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.batch import collate
from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.preparation.windows import observed, tile
from latentphys.recordings.errors import ArgumentError, FitError, listed

LagUnit = Literal["record", "window"]
UNITS = ("record", "window")
Array = NDArray[np.float64]


@dataclass(frozen=True)
class LagQuestion:
    """What is asked of the lags.

    Attributes:
        given: modalities used.
        unit: what a row stands for, "record" or "window".
        window_s: length of the windows, seconds.
        draws: posterior draws.
        seed: of the draws.

    Raises:
        ArgumentError: another unit.
    """

    given: tuple[str, ...]
    unit: LagUnit
    window_s: float
    draws: int
    seed: int

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ArgumentError(f"unit is one of {listed(UNITS)}; got {self.unit!r}.")


def lag_records(
    model: StateSpaceModel, records: Iterable[PreparedRecord], question: LagQuestion
) -> xr.Dataset:
    """q(tau^m | x) of every record, or of its windows, one record held at a time.

    A record's posterior has the moments of its windows' mixed: what its lag is at a moment of it.

    Args:
        model: in evaluation mode.
        records: prepared recordings.
        question: what is asked.

    Returns:
        See `FittedModel.lag`.

    Raises:
        FitError: a model without lags.
    """
    names = model.spec.lags
    if not names:
        raise FitError(
            "this model has no lag. Fit one with "
            "recipe=latentphys.recipe('statespace', model={'lags': ('ppg',)})."
        )
    rows, subjects, own, starts = [], [], [], []
    for record in records:
        found, start_s = _windows(model, record, question)
        if question.unit == "record":
            found, start_s = _pooled(found), np.zeros(1)
        rows.append(np.stack([_row(model, found.get(name), len(start_s), name) for name in names]))
        subjects += [record.subject] * len(start_s)
        own += [record.record] * len(start_s)
        starts.append(start_s)
    mean, sd, told = np.concatenate(rows, axis=-1).transpose(1, 2, 0)
    noise = np.random.default_rng(question.seed).standard_normal((question.draws, *mean.shape))
    seconds, plane, unit = {"units": "s"}, (question.unit, "modality"), question.unit
    data = {
        "mean": (plane, mean, seconds),
        "sd": (plane, sd, seconds),
        "draws": (("sample", *plane), mean + sd * noise, seconds),
        "told": (plane, told.astype(bool)),
    }
    where: dict[str, object] = {
        "record": (unit, own),
        "subject": (unit, subjects),
        "modality": list(names),
    }
    if unit == "window":
        where["start_s"] = (unit, np.concatenate(starts), seconds)
    attrs = {"given": ", ".join(question.given), "sample_dims": "sample"}
    return xr.Dataset(data, coords=where, attrs=attrs)


@torch.no_grad()
def _windows(
    model: StateSpaceModel, record: PreparedRecord, question: LagQuestion
) -> tuple[dict[str, Lag], Array]:
    """Each modality's lag over the windows of a record, end to end, and where they start."""
    index = tile([record], question.window_s, question.window_s, model.spec.state_rate_hz)
    start_s = np.asarray(index.start_step, np.float64) / model.spec.state_rate_hz
    names = [name for name in model.spec.sensors if name in question.given]
    if not observed(record, names):
        return {}, start_s
    parts: list[Mapping[str, Lag]] = []
    for rows in torch.arange(len(index)).split(WINDOWS_A_BATCH):
        batch = collate([record], index, rows.numpy(), names, model.spec.inputs)
        parts.append(model.evidence(batch).lags)
    return {name: _joined([part[name] for part in parts]) for name in parts[0]}, start_s


def _joined(lags: Sequence[Lag]) -> Lag:
    """Windows of several batches as those of one."""
    loc, scale = (torch.cat([getattr(lag.q, k) for lag in lags]) for k in ("loc", "scale"))
    q = Normal(loc, scale, validate_args=False)
    return Lag(q, torch.cat([lag.told for lag in lags]))


def _pooled(found: Mapping[str, Lag]) -> dict[str, Lag]:
    """One row a record; of a lag that no window tells of, none."""
    told = torch.ones(1, dtype=torch.bool)
    return {name: Lag(q.expand((1,)), told) for name, q in pooled_lags([found]).items()}


def _row(model: StateSpaceModel, lag: Lag | None, count: int, modality: str) -> Array:
    """Mean, against the usual, sd and whether anything tells of it, (3, row)."""
    prior = model.lag_guide(modality).prior()
    usual, scale = float(prior.loc.detach()), float(prior.scale.detach())
    if lag is None:
        return np.stack([np.zeros(count), np.full(count, scale), np.zeros(count)])
    return torch.stack([lag.q.loc - usual, lag.q.scale, lag.told.to(lag.q.loc)]).double().numpy()
