"""Filters on observed runs, artefacts, scaling, and the plan as plain values."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latentphys.preparation.preprocessing import (
    DEFAULT_PLANS,
    Preprocessing,
    SignalPlan,
    clean,
    default_preprocessing,
    filter_runs,
    without_extremes,
    without_flat_runs,
    without_outliers,
)
from latentphys.recordings.errors import ModelFileError
from latentphys.recordings.reading import read
from latentphys.recordings.record import Record

RATE = 125.0


def wave(seconds: float, seed: int = 0) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    rng = np.random.default_rng(seed)
    return np.sin(2 * np.pi * 1.2 * time) + 0.1 * rng.standard_normal(len(time)) + 3.0


def test_no_run_sees_another_across_a_gap() -> None:
    x = wave(30.0)
    x[1500:1600] = np.nan
    other = x.copy()
    other[1600:] = 100.0 * other[1600:] + 7.0
    one, two = (filter_runs(v, RATE, 0.05, 12.0) for v in (x, other))
    np.testing.assert_array_equal(one[:1500], two[:1500])
    assert not np.allclose(one[1600:], two[1600:])
    np.testing.assert_array_equal(np.isnan(one), np.isnan(x))


def test_a_run_is_filtered_as_if_it_were_alone() -> None:
    x = wave(30.0)
    x[1500:1600] = np.nan
    whole = filter_runs(x, RATE, 0.05, 12.0)
    np.testing.assert_array_equal(whole[1600:], filter_runs(x[1600:], RATE, 0.05, 12.0))


def test_the_pass_band_passes_and_the_rest_does_not() -> None:
    time = np.arange(int(60 * RATE)) / RATE
    kept, slow, fast = (np.sin(2 * np.pi * f * time) for f in (1.0, 0.005, 40.0))
    middle = slice(1250, -1250)
    y = filter_runs(kept + 50.0 + 5.0 * slow + fast, RATE, 0.05, 12.0)
    np.testing.assert_allclose(y[middle], kept[middle], atol=0.15)


def test_a_chunk_is_the_whole_away_from_its_edges() -> None:
    x = wave(300.0)
    whole = filter_runs(x, RATE, 0.5, 12.0)
    chunk = filter_runs(x[10_000:20_000], RATE, 0.5, 12.0)
    inner = slice(1250, -1250)
    np.testing.assert_allclose(chunk[inner], whole[10_000:20_000][inner], atol=1e-4)


def test_corners_beyond_the_rate_are_left_out_and_short_runs_kept() -> None:
    x = np.arange(10.0)
    np.testing.assert_array_equal(filter_runs(x, 1.0, None, 40.0), x)
    np.testing.assert_array_equal(filter_runs(x, RATE, 0.05, 12.0), x - x.mean())


def test_flat_runs_become_nan_from_first_to_last_sample() -> None:
    x = np.array([0.0, 1.0, 2.0, 2.0, 2.0, 2.0, 3.0, 3.0, 4.0])
    missing = np.isnan(without_flat_runs(x, 4))
    assert missing.tolist() == [False, False, True, True, True, True, False, False, False]
    assert not np.isnan(without_flat_runs(x, 5)).any()
    assert x[2] == 2.0, "the caller's samples were changed"


def test_extremes_and_infinities_become_nan() -> None:
    x = np.array([-np.inf, 0.0, 20.0, 300.0, 301.0, np.inf, np.nan])
    assert np.isfinite(without_extremes(x, 20.0, 300.0)).tolist() == [
        *[False, False, True, True, False, False, False]
    ]
    assert np.isfinite(without_extremes(x, None, None)).sum() == 4


def test_outliers_become_nan_and_do_not_hide_themselves() -> None:
    x = np.random.default_rng(0).standard_normal(5000)
    x[100] = 1e6
    missing = np.isnan(without_outliers(x, 12.0))
    assert np.flatnonzero(missing).tolist() == [100]


def test_one_infinite_sample_does_not_spread() -> None:
    x = wave(30.0)
    x[2000] = np.inf
    y = clean(x, RATE, SignalPlan(low_hz=0.05, high_hz=12.0, flat_s=2.0, beyond_sd=12.0))
    assert np.flatnonzero(np.isnan(y)).tolist() == [2000]


def test_standardised_signals_have_unit_spread_and_go_back_to_units() -> None:
    x = np.stack([5.0 * wave(30.0) + 100.0, 0.01 * wave(30.0, 1)])
    record = Record.from_arrays({"other": (x, RATE)}, subject="a", units={"other": "mV"})
    signal = default_preprocessing().prepare(record).signals["other"]
    assert signal.units == "mV"
    assert signal.values.dtype == np.float32
    np.testing.assert_allclose(np.median(signal.values, 1), 0.0, atol=1e-3)
    np.testing.assert_allclose(signal.values.std(1), 1.0, atol=0.05)
    back = signal.scale.to_units(signal.values)
    np.testing.assert_allclose(back, x, atol=1e-4, rtol=1e-6)


def test_numbers_on_a_display_are_scaled_alike_for_everyone() -> None:
    def standard(value: float) -> float:
        record = Record.from_arrays({"spo2": (np.full(60, value), 1.0)}, subject="a")
        return float(default_preprocessing().prepare(record).signals["spo2"].values[0, 0])

    assert standard(97.0) == pytest.approx(0.0)
    assert standard(91.0) == pytest.approx(-2.0)
    with pytest.warns(UserWarning, match="none of its values lies there"):
        assert np.isnan(standard(0.0))


def test_a_silent_channel_is_finite_or_nan_never_infinite() -> None:
    x = np.stack([np.zeros(1000), np.full(1000, np.nan)])
    record = Record.from_arrays({"ecg": (x, RATE)}, subject="a")
    signal = default_preprocessing().prepare(record).signals["ecg"]
    assert np.isnan(signal.values).all()
    assert np.isfinite(signal.scale.scale).all()


def test_irregular_times_are_kept_and_regular_ones_are_not() -> None:
    time = np.array([0.0, 0.9, 2.1, 3.0, 4.2])
    record = Record.from_arrays(
        {"x": (np.arange(5.0), time), "y": (np.arange(5.0), 1.0)}, subject="a"
    )
    prepared = default_preprocessing().prepare(record)
    stamps = prepared.signals["x"].time_s
    assert stamps is not None
    np.testing.assert_array_equal(stamps, time)
    assert prepared.signals["x"].rate_hz == pytest.approx(1 / 1.05)
    assert prepared.signals["y"].time_s is None


def test_a_late_first_sample_of_a_cut_record_keeps_its_time() -> None:
    cut = Record.from_arrays(
        {"ecg": (wave(10.0), RATE), "spo2": (np.full(10, 97.0), 1.0)}, subject="a"
    ).crop(0.4, 8.0)
    stamps = default_preprocessing().prepare(cut).signals["spo2"].time_s
    assert stamps is not None
    np.testing.assert_allclose(stamps[0], 0.6)


def test_the_plan_survives_json() -> None:
    plan = Preprocessing({"ecg": SignalPlan(low_hz=1.0), "x": SignalPlan(location=1.0, scale=2.0)})
    assert Preprocessing.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_an_unknown_plan_is_refused() -> None:
    plain = default_preprocessing().to_dict()
    with pytest.raises(ModelFileError, match="version 1, the file asks for 2"):
        Preprocessing.from_dict({**plain, "version": 2})
    with pytest.raises(ModelFileError, match="sharpness"):
        Preprocessing.from_dict({**plain, "plans": {"ecg": {"sharpness": 3}}})
    with pytest.raises(ModelFileError, match="plans"):
        Preprocessing.from_dict({"version": 1})


def test_real_recordings_are_standardised(data_root: Path) -> None:
    cohort = read(data_root / "bidmc")
    for record in list(cohort[:3]):
        prepared = default_preprocessing().prepare(record)
        for name in ("ecg", "ppg", "resp"):
            if name in prepared.signals:
                values = prepared.signals[name].values
                assert np.isfinite(values).mean() > 0.5
                np.testing.assert_allclose(np.nanstd(values, 1), 1.0, atol=0.25)


def test_an_envelope_says_how_loud_not_how_high() -> None:
    time = np.arange(4000) / 1000.0
    loud = np.exp(-0.5 * ((time % 1.0 - 0.5) / 0.05) ** 2)
    low, high = (loud * np.sin(2 * np.pi * hertz * time) for hertz in (60.0, 90.0))
    plan = replace(DEFAULT_PLANS["pcg"], envelope_hz=20.0)
    one, two = (clean(x, 1000.0, plan) for x in (low, high))
    assert np.corrcoef(one, two)[0, 1] > 0.99
    assert np.corrcoef(one, loud)[0, 1] > 0.98
    assert np.abs(np.corrcoef(clean(low, 1000.0, DEFAULT_PLANS["pcg"]), loud)[0, 1]) < 0.1
    hole = np.where((time > 1.2) & (time < 1.3), np.nan, low)
    np.testing.assert_array_equal(np.isnan(clean(hole, 1000.0, plan)), np.isnan(hole))


@pytest.mark.parametrize("name", ["airflow", "effort"])
def test_a_breath_that_is_not_taken_is_no_disconnected_sensor(name: str) -> None:
    x = np.sin(2 * np.pi * 0.25 * np.arange(300 * 25) / 25.0)
    apnoea, off = x.copy(), x.copy()
    apnoea[2000:3500] = 0.0  # a minute
    off[1000:6500] = 0.0
    assert np.isfinite(clean(apnoea, 25.0, DEFAULT_PLANS[name])).all()
    assert np.isnan(clean(off, 25.0, DEFAULT_PLANS[name])[1100:6400]).all()


@pytest.mark.parametrize(
    ("name", "rate_hz", "kept_hz", "lost_hz"),
    [("eeg", 100.0, 12.0, 0.02), ("emg", 250.0, 40.0, 1.0), ("pcg", 1000.0, 60.0, 3.0)],
)
def test_each_sensor_keeps_its_own_band(
    name: str, rate_hz: float, kept_hz: float, lost_hz: float
) -> None:
    time = np.arange(int(120 * rate_hz)) / rate_hz
    kept = np.sin(2 * np.pi * kept_hz * time)
    y = clean(kept + 3.0 * np.sin(2 * np.pi * lost_hz * time), rate_hz, DEFAULT_PLANS[name])
    middle = slice(len(time) // 4, -len(time) // 4)
    np.testing.assert_allclose(y[middle], kept[middle], atol=0.15)
