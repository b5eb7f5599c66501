"""What a model knows of its sensors, read off the recordings."""

from __future__ import annotations

import numpy as np
import pytest

import latentphys as lp
from latentphys.learning.specification import sensors_of
from latentphys.model.statespace import SensorSpec
from latentphys.preparation.preprocessing import default_preprocessing
from latentphys.recordings.record import Record

LEVELS = {"low": (-40.0, 2.0), "high": (500.0, 30.0)}


def record(subject: str, channels: list[str], silent: tuple[str, ...] = ()) -> Record:
    """Two minutes of noise at each channel's own level and spread."""
    rng = np.random.default_rng(int(subject))
    values = np.stack([m + s * rng.standard_normal(120) for m, s in map(LEVELS.get, channels)])
    values[[name in silent for name in channels]] = np.nan
    return Record.from_arrays({"x": (values, 1.0)}, subject=subject, channels={"x": channels})


def test_each_channel_has_its_own_typical_scaling() -> None:
    records = [record(str(k), ["low", "high"]) for k in range(5)]
    records += [record(str(k), ["high", "low"], silent=("low",)) for k in range(5, 12)]
    (spec,) = sensors_of([default_preprocessing().prepare(r) for r in records], 1.0).values()
    told = spec.scaling(["high", "low", "another"])
    np.testing.assert_allclose(told.location[:2], [500.0, -40.0], atol=8.0)
    np.testing.assert_allclose(told.scale[:2], [30.0, 2.0], rtol=0.15)
    np.testing.assert_allclose(told.location[2], told.location[:2].mean())
    assert SensorSpec.from_dict({**vars(spec), "grid": None}) == spec


def test_one_scaling_of_all_channels_is_read_as_that_of_each() -> None:
    spec = SensorSpec.from_dict({"size": 1, "channels": ["a", "b"], "location": 3.0, "scale": 2.0})
    told = spec.scaling(["b", "a"])
    assert told.location.tolist() == [3.0, 3.0]
    assert told.scale.tolist() == [2.0, 2.0]


@pytest.mark.parametrize("name", LEVELS)
def test_a_silent_channel_is_imputed_at_its_own_level(name: str) -> None:
    people = lp.Cohort([record(str(k), ["low", "high"]) for k in range(4)])
    small = {"latent_dim": 2, "evidence_dim": 4, "nuisance_dim": 2, "widths": (4,), "width": 4}
    chosen = lp.recipe("statespace", state_rate_hz=1.0, window_s=20.0, model=small)
    fit = lp.fit(people, recipe=chosen, steps=2, seed=0, progress=False)
    asked = record("7", ["low", "high"], silent=(name,))
    told = fit.impute(asked, "x", draws=8)["mean"].sel(channel=name)
    level, spread = LEVELS[name]
    np.testing.assert_allclose(told, level, atol=3.0 * spread)
