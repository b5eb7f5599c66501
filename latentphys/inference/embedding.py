"""Embeddings: what the posterior state is and does over the units of a recording."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from latentphys.inference.paths import paths_of
from latentphys.model.figures import FIGURES, POWERS, bands_of, figures_of, rhythms
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.preparation.spans import EPOCH_S, Spans, Unit, check_unit
from latentphys.preparation.windows import observed
from latentphys.recordings.errors import ArgumentError

STEP_FEATURES = FIGURES[:2]  # one step does not vary
SEQUENCES = ("window", "epoch")
TOO_SHORT = ("patch", "beat")  # to have a rhythm
MINUTE_S = 60.0
TINY = 1e-6

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Form:
    """How an embedding is laid out.

    Attributes:
        unit: what a row stands for.
        per_modality: given each modality alone, along a dimension of its own.
        pooled: figures of each unit; else its posterior mean step by step.
        aligned: in place of the figures, the unit vector that contrastive terms compare.

    Raises:
        ArgumentError: a unit that there is not, or sequences or unit vectors of another unit than
            SEQUENCES.
    """

    unit: Unit = "window"
    per_modality: bool = False
    pooled: bool = True
    aligned: bool = False

    def __post_init__(self) -> None:
        check_unit(self.unit)
        if not self.pooled and self.unit not in SEQUENCES:
            raise ArgumentError(
                f"pooled=False gives a {' or an '.join(SEQUENCES)} step by step, all of one "
                f"length; got unit={self.unit!r}. Take unit='patch', which is a row a step."
            )
        if self.aligned and (self.unit not in SEQUENCES or not self.pooled):
            raise ArgumentError(
                f"aligned=True gives a unit vector a {' or '.join(SEQUENCES)}; got "
                f"unit={self.unit!r}, pooled={self.pooled}. Take unit='window'."
            )

    def features(self, latent_dim: int, rate_hz: float) -> list[str]:
        """The names of a row's figures, in their order.

        Args:
            latent_dim: size of z.
            rate_hz: steps a second.
        """
        kinds = STEP_FEATURES if self.unit == "patch" else FIGURES
        names = [f"{kind}_{k}" for kind in kinds for k in range(latent_dim)]
        if self.unit in TOO_SHORT:
            return names
        return names + [f"{band}_{p}" for band in bands_of(rate_hz) for p in POWERS]


def embed_records(
    model: StateSpaceModel,
    records: Iterable[tuple[PreparedRecord, Spans]],
    given: Sequence[str],
    window_s: float,
    form: Form,
) -> xr.DataArray:
    """The posterior over units of recordings, one recording held at a time.

    Args:
        model: in evaluation mode.
        records: prepared recordings, each with its units.
        given: modalities used.
        window_s: length of the windows a recording is read in, seconds.
        form: unit and layout.

    Returns:
        See `FittedModel.embed`.

    Raises:
        ArgumentError: a sequence asked of a record shorter than its unit, or unit vectors of a
            model without any.
    """
    if form.aligned and model.alignment is None:
        raise ArgumentError(
            "unit vectors are of a model that was taught to compare them; this one has none. Fit "
            "with recipe='sleepfm', say, or take aligned=False."
        )
    rows, subjects, names, starts, stops = [], [], [], [], []
    for record, spans in records:
        rows.append(_rows(model, record, spans, given, window_s, form))
        subjects += [record.subject] * len(spans)
        names += [record.record] * len(spans)
        starts.append(spans.start_s)
        stops.append(spans.stop_s)
    unit = form.unit
    dims, coords = _layout(model, given, form)
    table = xr.DataArray(
        np.concatenate(rows),
        dims=(unit, *dims),
        coords={**coords, "subject": (unit, subjects)},
        name="embedding",
        attrs={"given": ", ".join(given), "inference_library": "latentphys"},
    )
    if not form.pooled:
        middle = (np.arange(table.sizes["step"]) + 0.5) / model.spec.state_rate_hz
        table = table.assign_coords(since_s=("step", middle, {"units": "s"}))
    if unit == "subject":
        return (
            table.rename(subject="who").groupby("who").mean(keep_attrs=True).rename(who="subject")
        )
    return table.assign_coords(
        record=(unit, names),
        start_s=(unit, np.concatenate(starts), {"units": "s"}),
        stop_s=(unit, np.concatenate(stops), {"units": "s"}),
    )


def unit_features(
    model: StateSpaceModel,
    record: PreparedRecord,
    spans: Spans,
    given: Sequence[str],
    window_s: float,
    unit: Unit,
) -> Array:
    """The pooled features of one recording, (unit, feature), all finite.

    Args:
        model: in evaluation mode.
        record: a prepared recording.
        spans: its units.
        given: modalities used; with none of them observed the answer is the prior's.
        window_s: length of the windows it is read in, seconds.
        unit: of the spans.
    """
    mean, sd = paths_of(model, record, given, window_s).moments()
    path, clock = torch.cat([mean, sd.log()], dim=-1), model.spec.state_rate_hz
    parts = spans.steps(len(path), clock)
    if unit == "patch":
        return path[[part.start for part in parts]].numpy()
    return torch.stack([_features(path[part], unit, clock) for part in parts]).numpy()


def _rows(
    model: StateSpaceModel,
    record: PreparedRecord,
    spans: Spans,
    given: Sequence[str],
    window_s: float,
    form: Form,
) -> Array:
    """Rows of one recording, (unit, ...) as `_layout` says."""

    def embedded(names: Sequence[str]) -> Array:
        if form.aligned:
            return _unit_vectors(model, record, spans, names, window_s)
        if form.pooled:
            return unit_features(model, record, spans, names, window_s, form.unit)
        return _sequences(model, record, spans, names, window_s, form.unit)

    if not form.per_modality:
        return embedded(given)
    each = {name: embedded([name]) for name in given if observed(record, [name])}
    shape = next(iter(each.values())).shape if each else embedded([]).shape
    nothing = np.full(shape, np.nan, dtype=np.float32)
    return np.stack([each.get(name, nothing) for name in given], axis=1)


def _layout(
    model: StateSpaceModel, given: Sequence[str], form: Form
) -> tuple[tuple[str, ...], dict[str, list[str] | range]]:
    """Dimensions after the unit, and their coordinates."""
    latents = range(model.spec.latent_dim)
    dims: tuple[str, ...] = ("feature",)
    if form.aligned:
        names = [f"aligned_{k}" for k in range(model.spec.align_dim)]
    else:
        names = form.features(model.spec.latent_dim, model.spec.state_rate_hz)
    coords: dict[str, list[str] | range] = {"feature": names}
    if not form.pooled:
        dims, coords = ("step", "latent"), {"latent": latents}
    if form.per_modality:
        dims, coords = ("modality", *dims), {**coords, "modality": list(given)}
    return dims, coords


@torch.no_grad()
def _unit_vectors(
    model: StateSpaceModel,
    record: PreparedRecord,
    spans: Spans,
    given: Sequence[str],
    window_s: float,
) -> Array:
    """Where contrastive terms see each unit, (unit, feature)."""
    head = model.alignment
    assert head is not None
    mean = paths_of(model, record, given, window_s).moments()[0]
    parts = spans.steps(len(mean), model.spec.state_rate_hz)
    return torch.cat([head(mean[None, part]) for part in parts]).numpy()


def _sequences(
    model: StateSpaceModel,
    record: PreparedRecord,
    spans: Spans,
    given: Sequence[str],
    window_s: float,
    unit: Unit,
) -> Array:
    """Posterior means (unit, step, latent), as many steps as begin and end within every unit."""
    length_s = EPOCH_S if unit == "epoch" else window_s
    if record.duration_s < length_s - TINY:
        raise ArgumentError(
            f"a sequence is of a whole {unit}, {length_s:g} s; record {record.record!r} lasts "
            f"{record.duration_s:g} s. Leave it out, or take pooled=True."
        )
    mean = paths_of(model, record, given, window_s).moments()[0].numpy()
    clock = model.spec.state_rate_hz
    count = max(1, math.floor(length_s * clock + TINY))
    parts = spans.steps(len(mean), clock)
    return np.stack([mean[part.start : part.start + count] for part in parts])


def _features(path: Tensor, unit: Unit, rate_hz: float) -> Tensor:
    """The figures of one unit and its rhythms, log Hz; those of a long unit its minutes' mean.

    Args:
        path: posterior mean and log sd of z, (step, 2 * latent).
        unit: what it is.
        rate_hz: steps a second.

    Returns:
        (feature,), as `Form.features` names them.
    """
    inside = torch.ones(1, len(path), dtype=torch.bool)
    figures = figures_of(path[None], inside)[0]
    bands = list(bands_of(rate_hz).values())
    if unit in TOO_SHORT or not bands:
        return figures
    minute = round(MINUTE_S * rate_hz)
    mean, whole = path.chunk(2, dim=-1)[0], len(path) // minute * minute
    minutes = mean[:whole].split(minute) if whole else (mean,)
    # One by one: the periodogram of a day at once is a gigabyte.
    told = [rhythms(one[None], inside[:, : len(one)], bands) for one in minutes]
    return torch.cat([figures, torch.cat(told).mean(0) + math.log(rate_hz)])
