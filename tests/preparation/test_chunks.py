"""Preprocessing of a chunk equals that of the whole away from its edges; steps can be replaced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latentphys.api import fit, load
from latentphys.preparation.preprocessing import (
    DEFAULT_PLANS,
    STEPS,
    Array,
    Preprocessing,
    SignalPlan,
    default_preprocessing,
)
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import FitError, ModelFileError
from latentphys.recordings.reading import read
from latentphys.recordings.record import Record

RATE = 50.0
LONG_S, FROM_S, TO_S = 400.0, 100.0, 300.0


def signal(seed: int = 0) -> Array:
    """A pulse on a wandering baseline, with a hole, a flat stretch, and samples beyond belief."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(LONG_S * RATE)) / RATE
    x = np.sin(2 * np.pi * 1.2 * time) + 0.5 * np.sin(2 * np.pi * 0.03 * time)
    x = x + 0.1 * rng.standard_normal(len(time)) + 0.002 * np.cumsum(rng.standard_normal(len(time)))
    x[8000:8100] = np.nan
    x[9000:9200] = x[9000]
    x[11_000] = 1e5
    x[12_000] = np.inf
    return x


def chunk_and_whole(name: str, plan: SignalPlan) -> tuple[Array, Array]:
    """(of the chunk alone, the same part of the whole) after one step."""
    x = signal()
    cut = slice(round(FROM_S * RATE), round(TO_S * RATE))
    return STEPS[name](x[cut], RATE, plan), STEPS[name](x, RATE, plan)[cut]


def inside(x: Array, edge_s: float) -> Array:
    edge = round(edge_s * RATE)
    return x[edge : len(x) - edge]


def test_extremes_and_outliers_are_the_same_everywhere() -> None:
    plan = SignalPlan(least=-3.0, most=3.0, beyond_sd=4.0, location=0.0, scale=0.6)
    for name in ("extremes", "outliers"):
        chunk, whole = chunk_and_whole(name, plan)
        np.testing.assert_array_equal(chunk, whole)
        assert np.isnan(chunk).sum() > 100


def test_flat_stretches_are_the_same_further_than_their_length_from_a_cut() -> None:
    plan = SignalPlan(flat_s=2.0)
    chunk, whole = chunk_and_whole("flat", plan)
    np.testing.assert_array_equal(inside(chunk, 2.0), inside(whole, 2.0))
    assert np.isnan(inside(chunk, 2.0)).sum() >= 300


@pytest.mark.parametrize(
    ("low_hz", "high_hz", "edge_s"),
    [(0.05, 12.0, 40.0), (0.5, 12.0, 4.0), (None, 12.0, 0.17), (0.5, None, 4.0)],
)
def test_the_band_is_the_same_two_periods_of_its_low_corner_from_a_cut(
    low_hz: float | None, high_hz: float | None, edge_s: float
) -> None:
    plan = SignalPlan(low_hz=low_hz, high_hz=high_hz)
    x = np.where(np.abs(signal()) < 10, signal(), 0.0)  # no hole within reach of the cuts
    cut = slice(round(FROM_S * RATE), round(TO_S * RATE))
    chunk, whole = STEPS["band"](x[cut], RATE, plan), STEPS["band"](x, RATE, plan)[cut]
    off = np.abs(inside(chunk, edge_s) - inside(whole, edge_s)).max()
    assert off < 1e-3 * whole.std()
    assert np.abs(chunk - whole).max() > 10 * off, "the edges would have told no difference"


def test_a_chunk_prepared_with_the_wholes_scale_is_the_whole_away_from_its_edges() -> None:
    x = signal()
    x[np.abs(x) > 10] = np.nan
    record = Record.from_arrays({"ppg": (x, RATE), "spo2": (np.full(400, 96.0), 1.0)}, subject="a")
    plans = default_preprocessing()
    scales = plans.scales(record)
    part = record.crop(FROM_S, TO_S)
    cut = slice(round(FROM_S * RATE), round(TO_S * RATE))
    chunk = plans.prepare(part, scales).signals
    whole = plans.prepare(record, scales).signals
    near, far = chunk["ppg"].values[0], whole["ppg"].values[0, cut]
    np.testing.assert_allclose(inside(near, 40.0), inside(far, 40.0), atol=2e-3)
    np.testing.assert_array_equal(chunk["spo2"].values, whole["spo2"].values[:, 100:300])
    own = plans.prepare(record).signals
    np.testing.assert_array_equal(own["ppg"].values, whole["ppg"].values)


def test_steps_are_pure_and_keep_holes() -> None:
    x = signal()
    x[~np.isfinite(x)] = np.nan
    before = x.copy()
    plan = SignalPlan(low_hz=0.05, high_hz=12.0, least=-9.0, flat_s=2.0, beyond_sd=12.0)
    for name, step in STEPS.items():
        one, two = step(x, RATE, plan), step(x, RATE, plan)
        np.testing.assert_array_equal(x, before, err_msg=name)
        np.testing.assert_array_equal(one, two, err_msg=name)
        assert np.isnan(one)[np.isnan(x)].all(), name


def halved(x: Array, rate_hz: float, plan: SignalPlan) -> Array:
    """A step of one's own."""
    return x / 2


def shortened(x: Array, rate_hz: float, plan: SignalPlan) -> Array:
    return x[::2]


def test_a_step_of_ones_own_stands_in_for_the_librarys() -> None:
    x = np.random.default_rng(0).standard_normal(2000) + 5.0
    record = Record.from_arrays({"spo2": (np.full(50, 97.0), 1.0), "ppg": (x, RATE)}, subject="a")
    mine = Preprocessing().replaced(band=halved)
    assert mine.steps["band"] is halved
    assert mine.steps["flat"] is STEPS["flat"]
    prepared = mine.prepare(record).signals["ppg"]
    back = prepared.scale.to_units(prepared.values)
    np.testing.assert_allclose(back[0], x / 2, atol=1e-5)
    assert Preprocessing().own_steps == {}


def test_steps_that_there_are_not_or_that_move_samples_are_refused() -> None:
    with pytest.raises(
        FitError, match="extremes, flat, band, envelope, outliers.*'bnad'.*Did you mean 'band'"
    ):
        Preprocessing().replaced(bnad=halved)
    with pytest.raises(FitError, match="the steps of preprocessing"):
        Preprocessing().replaced(band="butter")  # type: ignore[arg-type]
    record = Record.from_arrays({"ppg": (np.arange(100.0), RATE)}, subject="a")
    with pytest.raises(FitError, match=r"'band' made shape \(50,\) of \(100,\)"):
        Preprocessing().replaced(band=shortened).prepare(record)


def test_a_model_keeps_the_plan_and_names_the_steps_it_was_fitted_with(
    tiny_cohort: Cohort, tmp_path: Path
) -> None:
    plans = {**DEFAULT_PLANS, "ecg": SignalPlan(low_hz=0.5, high_hz=30.0)}
    mine = Preprocessing(plans).replaced(band=halved)
    fitted = fit(
        tiny_cohort[:2], steps=1, latent_dim=3, window_s=4.0, progress=False, preprocessing=mine
    )
    assert fitted.preprocessing == mine
    fitted.save(tmp_path / "model")
    with pytest.raises(ModelFileError, match=r"of its own band=.*halved, given are none"):
        load(tmp_path / "model")
    with pytest.raises(ModelFileError, match="given are band=.*shortened"):
        load(tmp_path / "model", steps={"band": shortened})
    again = load(tmp_path / "model", steps={"band": halved})
    assert again.preprocessing == mine
    record = tiny_cohort[0]
    np.testing.assert_array_equal(
        again.preprocessing.prepare(record).signals["ecg"].values,
        mine.prepare(record).signals["ecg"].values,
    )


def test_a_real_recordings_chunk_is_its_whole(data_root: Path) -> None:
    record = read(data_root / "bidmc" / "bidmc01")[0].keep("ecg", "ppg", "resp")
    plans = default_preprocessing()
    scales = plans.scales(record)
    chunk, whole = plans.prepare(record.crop(120.0, 360.0), scales), plans.prepare(record, scales)
    for name, part in chunk.signals.items():
        edge = round(40 * part.rate_hz)
        start = round(120 * part.rate_hz)
        same = whole.signals[name].values[:, start : start + part.values.shape[1]]
        np.testing.assert_allclose(
            part.values[:, edge:-edge], same[:, edge:-edge], atol=2e-3, err_msg=name
        )


def test_a_model_carries_the_digest_of_its_split(tiny_cohort: Cohort) -> None:
    train, _ = tiny_cohort.split(test=0.5)
    fitted = fit(train, steps=1, latent_dim=3, window_s=4.0, progress=False)
    assert fitted.about["split"] == train.split_digest
    whole = fit(tiny_cohort[:2], steps=1, latent_dim=3, window_s=4.0, progress=False)
    assert "split" not in whole.about
