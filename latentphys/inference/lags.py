"""Lags of sensors behind the state, in seconds: a pulse's transit time up to what is usual."""

from __future__ import annotations

from collections import defaultdict
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

LagUnit = Literal["subject", "record", "window"]
UNITS = ("subject", "record", "window")
Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Rows:
    """Lags of one subject's windows, or of what they are pooled to."""

    subject: str
    record: str
    found: Mapping[str, Lag]
    start_s: Array


@dataclass(frozen=True)
class LagQuestion:
    """What is asked of the lags.

    Attributes:
        given: modalities used.
        unit: what a row stands for, "subject", "record" or "window".
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
    """q(tau^m | x) of every subject, record or window, one record held at a time.

    The posterior of a record, or of a subject, has the moments of its windows' mixed: what the lag
    is at a moment of it.

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
    unit = question.unit
    each = [_windows(model, record, question) for record in records]
    if unit != "window":
        each = _pooled(each, unit)
    rows = [
        np.stack([_row(model, own.found.get(name), len(own.start_s), name) for name in names])
        for own in each
    ]
    mean, sd, told = np.concatenate(rows, axis=-1).transpose(1, 2, 0)
    noise = np.random.default_rng(question.seed).standard_normal((question.draws, *mean.shape))
    seconds, plane = {"units": "s"}, (unit, "modality")
    data = {
        "mean": (plane, mean, seconds),
        "sd": (plane, sd, seconds),
        "draws": (("sample", *plane), mean + sd * noise, seconds),
        "told": (plane, told.astype(bool)),
    }
    where: dict[str, object] = {
        "subject": (unit, [own.subject for own in each for _ in own.start_s]),
        "modality": list(names),
    }
    if unit != "subject":
        where["record"] = (unit, [own.record for own in each for _ in own.start_s])
    if unit == "window":
        where["start_s"] = (unit, np.concatenate([own.start_s for own in each]), seconds)
    attrs = {"given": ", ".join(question.given), "sample_dims": "sample"}
    return xr.Dataset(data, coords=where, attrs=attrs)


@torch.no_grad()
def _windows(model: StateSpaceModel, record: PreparedRecord, question: LagQuestion) -> _Rows:
    """Each modality's lag over the windows of a record, end to end, and where they start."""
    index = tile([record], question.window_s, question.window_s, model.spec.state_rate_hz)
    start_s = np.asarray(index.start_step, np.float64) / model.spec.state_rate_hz
    names = [name for name in model.spec.sensors if name in question.given]
    parts: list[Mapping[str, Lag]] = []
    if observed(record, names):
        for rows in torch.arange(len(index)).split(WINDOWS_A_BATCH):
            batch = collate([record], index, rows.numpy(), names, model.spec.inputs)
            parts.append(model.evidence(batch).lags)
    found = {name: _joined([part[name] for part in parts]) for name in (parts[0] if parts else ())}
    return _Rows(record.subject, record.record, found, start_s)


def _joined(lags: Sequence[Lag]) -> Lag:
    """Windows of several batches as those of one."""
    loc, scale = (torch.cat([getattr(lag.q, k) for lag in lags]) for k in ("loc", "scale"))
    q = Normal(loc, scale, validate_args=False)
    return Lag(q, torch.cat([lag.told for lag in lags]))


def _pooled(each: Sequence[_Rows], unit: LagUnit) -> list[_Rows]:
    """One row a record, or a subject, these sorted; of a lag that no window tells of, none."""
    alike: dict[str, list[_Rows]] = defaultdict(list)
    for own in each:
        alike[getattr(own, unit)].append(own)
    told = torch.ones(1, dtype=torch.bool)
    pooled = []
    for name in sorted(alike) if unit == "subject" else alike:
        parts = alike[name]
        lags = pooled_lags([part.found for part in parts])
        found = {modality: Lag(q.expand((1,)), told) for modality, q in lags.items()}
        pooled.append(_Rows(parts[0].subject, parts[0].record, found, np.zeros(1)))
    return pooled


def _row(model: StateSpaceModel, lag: Lag | None, count: int, modality: str) -> Array:
    """Mean, against the usual, sd and whether anything tells of it, (3, row)."""
    prior = model.lag_guide(modality).prior()
    usual, scale = float(prior.loc.detach()), float(prior.scale.detach())
    if lag is None:
        return np.stack([np.zeros(count), np.full(count, scale), np.zeros(count)])
    return torch.stack([lag.q.loc - usual, lag.q.scale, lag.told.to(lag.q.loc)]).double().numpy()
