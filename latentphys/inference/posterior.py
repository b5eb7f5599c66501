"""The posterior physiological state of a recording, and embeddings made of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from latentphys.inference.paths import infer_path
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.preprocessing import PreparedRecord

Unit = Literal["window", "record", "subject"]
FEATURES = ("mean", "log_sd", "log_variation", "log_increment")
# Added to variances before the logarithm, so that a state at rest has one.
TINY = 1e-6


def posterior_record(
    model: StateSpaceModel,
    record: PreparedRecord,
    given: Sequence[str],
    window_s: float,
    draws: int,
    seed: int,
) -> xr.DataTree:
    """q(z_{1:T} | x of the given sensors) of one recording, as ArviZ lays results out.

    Args:
        model: in evaluation mode.
        record: a prepared recording.
        given: modalities used; with none of them observed the answer is the prior.
        window_s: length of the windows it is read in, seconds.
        draws: posterior paths.
        seed: of the draws.

    Returns:
        DataTree with group `posterior`: z (sample, time, latent), z_mean and z_sd
        (time, latent); time in seconds, the middle of each state step.
    """
    generator = torch.Generator().manual_seed(seed)
    path = infer_path(model, record, given, window_s, draws, generator)
    clock = model.spec.state_rate_hz
    dataset = xr.Dataset(
        {
            "z": (("sample", "time", "latent"), path.draws.numpy()),
            "z_mean": (("time", "latent"), path.mean.numpy()),
            "z_sd": (("time", "latent"), path.sd.numpy()),
        },
        coords={
            "sample": np.arange(draws),
            "time": ("time", (np.arange(len(path.mean)) + 0.5) / clock, {"units": "s"}),
            "latent": np.arange(model.spec.latent_dim),
        },
        attrs={
            "record": record.record,
            "subject": record.subject,
            "given": ", ".join(given),
            "sample_dims": "sample",
            "inference_library": "latentphys",
        },
    )
    return xr.DataTree.from_dict({"posterior": dataset}, name=record.record)


def embed_records(
    model: StateSpaceModel,
    records: Iterable[PreparedRecord],
    given: Sequence[str],
    window_s: float,
    unit: Unit,
) -> xr.DataArray:
    """What the posterior state is and does, over windows, records or subjects.

    Args:
        model: in evaluation mode.
        records: prepared recordings; one at a time is held.
        given: modalities used.
        window_s: length of a window, seconds; windows do not overlap.
        unit: what a row stands for.

    Returns:
        (unit, feature) with coordinates record and subject (and start_s for windows). Four
        features a latent dimension: `mean` of the posterior mean, `log_sd` its mean log
        posterior standard deviation, and `log_variation` and `log_increment`, the log root mean
        square of the posterior mean about its own mean and from step to step, whose ratio is
        how fast it moves.
    """
    rows, subjects, names, starts = [], [], [], []
    for record in records:
        path = infer_path(model, record, given, window_s, 1, torch.Generator().manual_seed(0))
        mean, sd = path.mean.numpy(), path.sd.numpy()
        steps = max(1, round(window_s * model.spec.state_rate_hz))
        count = max(1, len(mean) // steps) if unit == "window" else 1
        for k in range(count):
            part = slice(k * steps, (k + 1) * steps) if unit == "window" else slice(None)
            rows.append(_features(mean[part], sd[part]))
            subjects.append(record.subject)
            names.append(record.record)
            starts.append(k * steps / model.spec.state_rate_hz)
    latents = [f"{kind}_{k}" for kind in FEATURES for k in range(model.spec.latent_dim)]
    table = xr.DataArray(
        np.stack(rows),
        dims=(unit, "feature"),
        coords={"subject": (unit, subjects), "feature": latents},
    )
    if unit == "subject":
        return table.rename(subject="who").groupby("who").mean().rename(who="subject")
    table = table.assign_coords(record=(unit, names))
    return table.assign_coords(start_s=(unit, starts)) if unit == "window" else table


def _features(mean: NDArray[np.float32], sd: NDArray[np.float32]) -> NDArray[np.float32]:
    """The FEATURES of one stretch of posterior means and sds (step, latent)."""
    variation = np.sqrt(mean.var(0) + TINY)
    steps = np.diff(mean, axis=0) if len(mean) > 1 else np.zeros_like(mean)
    increment = np.sqrt((steps**2).mean(0) + TINY)
    return np.concatenate([mean.mean(0), np.log(sd).mean(0), np.log(variation), np.log(increment)])
