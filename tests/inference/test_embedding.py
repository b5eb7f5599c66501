"""Embeddings: every unit, sequences, each modality alone, and what they must not depend on."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from latentphys.fitted import FittedModel
from latentphys.inference.embedding import Form, _features
from latentphys.preparation.spans import Spans, Unit
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import ArgumentError
from latentphys.recordings.record import Record

UNITS = ("patch", "beat", "epoch", "window", "record", "subject")


@pytest.mark.parametrize(("unit", "rows"), [("window", 3 * 7), ("record", 3), ("subject", 2)])
def test_embeddings(tiny_fit: FittedModel, tiny_cohort: Cohort, unit: str, rows: int) -> None:
    twice = [tiny_cohort[0], tiny_cohort[1], replace(tiny_cohort[2], subject="sim000")]
    table = tiny_fit.embed(Cohort(twice), unit)  # type: ignore[arg-type]
    assert table.dims == (unit, "feature")
    assert table.shape == (rows, 4 * 6 + 6)
    assert table.feature.values[0] == "mean_0"
    assert table.feature.values[24:27].tolist() == ["breathing_1", "breathing_2", "breathing_4"]
    assert np.isfinite(table).all()
    assert set(table.subject.values) == {"sim000", "sim001"}
    if unit == "window":
        assert table.start_s.values[:7].tolist() == [8.0 * k for k in range(7)]
        assert table.record.values[[0, 7, 14]].tolist() == ["sim000", "sim001", "sim002"]
    if unit == "subject":
        records = tiny_fit.embed(Cohort(twice), "record")
        mean = records.values[[0, 2]].mean(0)
        np.testing.assert_allclose(table.sel(subject="sim000"), mean, rtol=1e-4, atol=1e-5)


def test_the_mean_embedding_is_the_mean_of_the_posterior(
    tiny_fit: FittedModel, tiny_cohort: Cohort
) -> None:
    record = tiny_cohort[0]
    table = tiny_fit.embed(record, "window", given=["ecg"])
    group = tiny_fit.posterior(record, given=["ecg"], draws=1)["posterior"]
    second = group.z_mean[100:200]
    np.testing.assert_allclose(table[1, :6], second.mean("time"), atol=1e-5)
    log_sd = np.log(group.z_sd[100:200]).mean("time")
    np.testing.assert_allclose(table[1, 6:12], log_sd, atol=1e-5)


def test_a_record_shorter_than_a_unit_is_one_unit(
    tiny_fit: FittedModel, tiny_cohort: Cohort
) -> None:
    short: Record = tiny_cohort[0].crop(0.0, 2.0)
    for unit in ("window", "epoch", "record"):
        table = tiny_fit.embed(short, unit)  # type: ignore[arg-type]
        assert table.shape == (1, 30)
        assert np.isfinite(table).all()
        assert (table.start_s.item(), table.stop_s.item()) == (0.0, 2.0)
    with pytest.raises(ArgumentError, match="a whole epoch, 30 s; record 'sim000' lasts 2 s"):
        tiny_fit.embed(short, "epoch", pooled=False)


@pytest.mark.parametrize("unit", UNITS)
def test_every_unit_is_finite_and_says_where_it_lies(
    tiny_fit: FittedModel, tiny_cohort: Cohort, unit: str
) -> None:
    table = tiny_fit.embed(tiny_cohort[:2], unit)  # type: ignore[arg-type]
    assert table.dims == (unit, "feature")
    assert np.isfinite(table).all()
    if unit == "subject":
        return
    assert (table.stop_s > table.start_s).all()
    assert float(table.stop_s.max()) <= 60.0
    rows = {"patch": 2 * 750, "epoch": 4, "window": 14, "record": 2}
    assert table.sizes[unit] == rows.get(unit, table.sizes[unit])


def test_a_patch_is_a_step_of_the_posterior(tiny_fit: FittedModel, tiny_cohort: Cohort) -> None:
    record = tiny_cohort[0]
    table = tiny_fit.embed(record, "patch")
    group = tiny_fit.posterior(record, draws=1)["posterior"]
    np.testing.assert_allclose(table[:, :6], group.z_mean, atol=1e-6)
    np.testing.assert_allclose(table[:, 6:], np.log(group.z_sd), atol=1e-5)
    np.testing.assert_allclose(0.5 * (table.start_s + table.stop_s), group.time)


def test_a_beat_is_from_one_peak_to_the_next(tiny_fit: FittedModel, tiny_cohort: Cohort) -> None:
    record = tiny_cohort[0]
    table = tiny_fit.embed(record, "beat")
    marked = record.annotations["beat"].time.values
    np.testing.assert_array_equal(table.start_s, marked[:-1])
    np.testing.assert_array_equal(table.stop_s, marked[1:])
    group = tiny_fit.posterior(record, draws=1)["posterior"]
    inside = (group.time >= marked[5]) & (group.time < marked[6])
    np.testing.assert_allclose(table[5, :6], group.z_mean[inside].mean("time"), atol=1e-5)


def test_a_rhythm_is_the_states_own_frequency_and_a_long_units_its_minutes_mean() -> None:
    time = torch.arange(1600) / 12.5  # two minutes and a rest of 8 s

    def features(hertz: torch.Tensor, unit: Unit, rate_hz: float = 12.5) -> torch.Tensor:
        mean = torch.stack([torch.sin(2 * math.pi * hertz * time), 0.0 * time], dim=-1)
        return _features(torch.cat([mean, torch.zeros_like(mean)], dim=-1), unit, rate_hz)

    names = Form("record").features(2, 12.5)
    assert names[8:] == [f"{band}_{p}" for band in ("breathing", "heart") for p in (1, 2, 4)]
    steady = dict(zip(names, features(torch.tensor(1.2), "record").tolist(), strict=True))
    assert math.exp(steady["heart_4"]) == pytest.approx(1.2, rel=0.01)
    # The rest, of another rhythm still, is left out.
    changing = torch.where(time < 60.0, 1.0, torch.where(time < 120.0, 1.44, 3.0))
    heart = features(changing, "record")[-1]
    assert math.exp(heart) == pytest.approx(1.2, rel=0.01)
    assert len(features(changing, "beat")) == len(Form("beat").features(2, 12.5)) == 8
    slow = features(changing, "record", rate_hz=4.0)
    assert len(slow) == len(Form("record").features(2, 4.0)) == 11
    assert len(features(changing, "record", rate_hz=1.0 / 30.0)) == 8


@pytest.mark.parametrize("unit", ["window", "epoch"])
def test_a_sequence_is_the_posterior_step_by_step(
    tiny_fit: FittedModel, tiny_cohort: Cohort, unit: str
) -> None:
    record = tiny_cohort[0]
    table = tiny_fit.embed(record, unit, pooled=False)  # type: ignore[arg-type]
    assert table.dims == (unit, "step", "latent")
    mean = tiny_fit.posterior(record, draws=1)["posterior"].z_mean
    steps = table.sizes["step"]
    np.testing.assert_allclose(table[1], mean[steps : 2 * steps], atol=1e-6)
    times = mean.time[steps : 2 * steps]
    np.testing.assert_allclose(table.start_s[1] + table.since_s, times, atol=1e-6)
    pooled = tiny_fit.embed(record, unit)  # type: ignore[arg-type]
    np.testing.assert_allclose(table.mean("step"), pooled[:, :6], atol=1e-5)


@pytest.mark.parametrize("unit", ["window", "record", "subject"])
def test_an_embedding_says_what_it_is(
    tiny_fit: FittedModel, tiny_cohort: Cohort, unit: str
) -> None:
    table = tiny_fit.embed(tiny_cohort, unit, given=["ecg", "ppg"])  # type: ignore[arg-type]
    assert table.name == "embedding"
    assert table.attrs == {"given": "ecg, ppg", "inference_library": "latentphys"}


def test_each_modality_alone_and_the_absent_nan(tiny_fit: FittedModel, tiny_cohort: Cohort) -> None:
    whole, without = tiny_cohort[0], tiny_cohort[1].drop("ppg")
    names = ["ppg", "ecg"]
    table = tiny_fit.embed(Cohort([whole, without]), "window", given=names, per_modality=True)
    assert table.dims == ("window", "modality", "feature")
    alone = tiny_fit.embed(whole, "window", given=["ppg"])
    np.testing.assert_array_equal(table.sel(modality="ppg")[:7], alone)
    assert np.isnan(table.sel(modality="ppg")[7:]).all()
    assert np.isfinite(table.sel(modality="ecg")).all()
    people = tiny_fit.embed(Cohort([whole, without]), "subject", per_modality=True)
    assert np.isnan(people.sel(modality="ppg", subject=without.subject)).all()
    nothing = Record.from_arrays({"gsr": (np.ones(800), 40.0)}, subject="x")
    strange = tiny_fit.embed(nothing, "record", per_modality=True)
    assert strange.shape == (1, 4, 30)
    assert np.isnan(strange).all()
    steps = tiny_fit.embed(whole, "epoch", per_modality=True, pooled=False)
    assert steps.dims == ("epoch", "modality", "step", "latent")


@pytest.mark.parametrize("unit", UNITS)
def test_a_row_does_not_depend_on_the_others(
    tiny_fit: FittedModel, tiny_cohort: Cohort, unit: str
) -> None:
    record = tiny_cohort[1]
    alone = tiny_fit.embed(record, unit)  # type: ignore[arg-type]
    together = tiny_fit.embed(tiny_cohort[:3], unit)  # type: ignore[arg-type]
    own = together[together.subject.values == record.subject]
    np.testing.assert_array_equal(own.values, alone.values)


def test_an_absent_sensor_is_as_if_never_passed(tiny_fit: FittedModel, tiny_cohort: Cohort) -> None:
    record = tiny_cohort[0]
    nothing = record.signals["ppg"].copy(data=np.full_like(record.signals["ppg"].values, np.nan))
    silent = replace(record, signals={**record.signals, "ppg": nothing})
    dropped = record.drop("ppg")
    for unit in UNITS:
        xr.testing.assert_identical(
            tiny_fit.embed(silent, unit),  # type: ignore[arg-type]
            tiny_fit.embed(dropped, unit),  # type: ignore[arg-type]
        )


def test_padding_is_not_observed(tiny_fit: FittedModel, tiny_cohort: Cohort) -> None:
    """NaN put behind a record changes no unit well before its end."""
    record = tiny_cohort[0].keep("ecg", "resp")
    padded = {
        name: (np.pad(s.values, ((0, 0), (0, 125 * 20)), constant_values=np.nan), 125.0)
        for name, s in record.signals.items()
    }
    longer = Record.from_arrays(
        padded, subject="a", channels={n: s.channel.values for n, s in record.signals.items()}
    )
    one, two = (tiny_fit.embed(r, "window") for r in (record, longer))
    assert two.sizes["window"] == 10
    np.testing.assert_allclose(two[:5], one[:5], atol=1e-5)
    assert np.isfinite(two).all()


def test_sequences_are_of_units_of_one_length(tiny_fit: FittedModel, tiny_cohort: Cohort) -> None:
    with pytest.raises(ArgumentError, match="a window or an epoch step by step.*unit='beat'"):
        tiny_fit.embed(tiny_cohort, "beat", pooled=False)


def test_a_unit_shorter_than_a_step_has_the_step_it_lies_in() -> None:
    epochs = Spans(np.arange(4) * 30.0, np.arange(1, 5) * 30.0)
    assert epochs.steps(4, 1 / 30) == [slice(k, k + 1) for k in range(4)]
    beats = Spans(np.array([20.0, 29.0, 61.0]), np.array([21.0, 32.0, 62.0]))
    assert beats.steps(4, 1 / 30) == [slice(0, 1), slice(1, 2), slice(2, 3)]
    windows = Spans(np.array([0.0, 0.1]), np.array([0.1, 0.2]))
    assert windows.steps(50, 50.0) == [slice(0, 5), slice(5, 10)]
