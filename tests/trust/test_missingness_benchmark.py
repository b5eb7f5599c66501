"""What the board of missingness removes from training recordings."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from latentphys.recordings.cohort import Cohort
from latentphys.recordings.record import Record


@pytest.fixture(scope="module")
def module(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("missingness")


@pytest.fixture(scope="module")
def worn(tiny_cohort: Cohort) -> Record:
    """A recording of the three sensors."""
    return tiny_cohort[0].keep("ecg", "ppg", "resp")


def test_a_sensor_always_stays(module: ModuleType, worn: Record) -> None:
    rng = np.random.default_rng(0)
    counts = [len(module.without_sensors(worn, rng).modalities) for _ in range(200)]
    assert min(counts) == 1
    # One kept for certain, each of the two others half of the time.
    assert np.mean(counts) == pytest.approx(2.0, abs=0.2)


def test_every_sensor_loses_about_half_at_times_of_its_own(
    module: ModuleType, worn: Record
) -> None:
    rng = np.random.default_rng(0)
    drawn = [module.in_bursts(worn, rng) for _ in range(20)]
    lost = {
        name: np.array([np.isnan(record.signals[name].values).all(0) for record in drawn])
        for name in worn.modalities
    }
    for share in lost.values():
        assert share.mean() == pytest.approx(0.5, abs=0.1)
    assert (lost["ecg"] != lost["ppg"]).mean() == pytest.approx(0.5, abs=0.15)
    kept = ~np.isnan(drawn[0].signals["ecg"].values)
    np.testing.assert_array_equal(
        drawn[0].signals["ecg"].values[kept], worn.signals["ecg"].values[kept]
    )


def test_a_cell_is_a_mean_with_its_interval(module: ModuleType) -> None:
    assert module.cell(np.array([0.5, 0.5])) == "0.500 [0.500, 0.500]"
    assert module.cell(np.array([np.nan, np.nan])) == "-"
