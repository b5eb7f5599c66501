"""The benchmark's summary over splits."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import xarray as xr

from latentphys.fitted import FittedModel
from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.recordings.cohort import Cohort


def test_draws_as_waveforms(
    benchmark: Callable[[str], ModuleType], tiny_fit: FittedModel, tiny_cohort: Cohort
) -> None:
    """The truth with an offset a draw, some of which are on one side in one of two recordings."""
    module = benchmark("impute")
    records = [tiny_fit.prepared(record) for record in tiny_cohort][:2]
    records[1].signals["ppg"].values[0, 100:400] = np.nan
    away = np.linspace(-2.0, 2.0, 9)

    def told(record: PreparedRecord, shift: float) -> xr.Dataset:
        signal, moved = record.signals["ppg"], away + shift
        draws = signal.values[None] + moved[:, None, None].astype(np.float32)
        units = draws * signal.scale.scale[0] + signal.scale.location[0]
        return xr.Dataset({"draws": (("sample", "channel", "time"), units)})

    inside, apart = np.abs(away).mean(), np.abs(away[:, None] - away).sum() / (9 * 8)
    for side in (3.0, -3.0):
        answers = [(one, told(one, shift)) for one, shift in zip(records, (0.0, side), strict=True)]
        found = module.as_waveforms(answers, "ppg")
        assert found["crps"] == pytest.approx((inside + 3.0) / 2.0 - apart / 2.0, rel=1e-3)
        assert found["covers"] == 0.5
        assert found["rougher by"] == pytest.approx(1.0, rel=1e-3)


def test_mean_and_spread_over_splits(benchmark: Callable[[str], ModuleType]) -> None:
    module = benchmark("impute")
    assert module.whole_numbers("0,2,11") == [0, 2, 11]
    names = ("correlation", "window_correlation", "nrmse", "crps", "coverage", "width")
    splits = [{"ppg": {"ours": dict.fromkeys(names, value)}} for value in (0.5, 0.7, 0.9)]
    title, _, mean, spread = module.over_splits(splits).splitlines()
    assert title == "ppg"
    assert mean.split() == ["ours", *["0.700"] * 6]
    assert spread.split() == ["sd,", "ours", *["0.200"] * 6]
