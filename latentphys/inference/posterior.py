"""The posterior physiological state of a recording."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr

from latentphys.inference.doors import heard
from latentphys.inference.paths import infer_path
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.preprocessing import PreparedRecord


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
            "given": ", ".join(heard(record, given)),
            "sample_dims": "sample",
            "inference_library": "latentphys",
        },
    )
    return xr.DataTree.from_dict({"posterior": dataset}, name=record.record)
