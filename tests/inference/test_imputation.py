"""Imputed sensors: labels, units and times; consistency; what they must not depend on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from latentphys.fitted import FittedModel
from latentphys.inference.imputation import (
    VALUES_A_CHUNK,
    Question,
    _Answer,
    _before_decoding,
    decode,
    impute_record,
)
from latentphys.inference.paths import paths_of
from latentphys.model.distributions import GaussMarkov
from latentphys.model.kalman import LinearGaussian, kalman_filter, rts_smoother
from latentphys.model.noise import ColouredNoise
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.preprocessing import Scale, default_preprocessing
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import ArgumentError, ModalityError
from latentphys.recordings.record import Record
from latentphys.trust.directions import score_model, standardised
from latentphys.trust.scores import correlation

DRAWS = 30


@pytest.fixture(scope="module")
def record(tiny_cohort: Cohort) -> Record:
    return tiny_cohort[0]


@pytest.fixture(scope="module")
def imputed(tiny_fit: FittedModel, record: Record) -> xr.Dataset:
    return tiny_fit.impute(record, "ppg", given=["ecg", "resp"], draws=DRAWS)


def with_signal(record: Record, name: str, values: np.ndarray) -> Record:
    changed = record.signals[name].copy(data=values.astype(np.float32))
    return replace(record, signals={**record.signals, name: changed})


def test_labels_units_and_times_are_the_sensors_own(imputed: xr.Dataset, record: Record) -> None:
    own = record.signals["ppg"]
    assert set(imputed.data_vars) == {"mean", "sd", "lower", "upper", "draws"}
    assert imputed["mean"].dims == ("channel", "time")
    assert imputed.draws.dims == ("sample", "channel", "time")
    assert imputed.sizes == {"channel": 1, "time": own.sizes["time"], "sample": DRAWS}
    np.testing.assert_array_equal(imputed.time, own.time)
    assert imputed.channel.values.tolist() == own.channel.values.tolist()
    assert all(imputed[name].attrs["units"] == "NU" for name in imputed.data_vars)
    assert imputed.time.attrs["units"] == "s"
    assert imputed.attrs["record"] == record.record
    assert imputed.attrs["subject"] == record.subject
    assert imputed.attrs["modality"] == "ppg"
    assert imputed.attrs["given"] == "ecg, resp"
    assert imputed.attrs["level"] == 0.9
    assert imputed.attrs["rate_hz"] == 125.0
    assert imputed.attrs["scaling"] == "own"
    assert imputed.attrs["sample_dims"] == "sample"


def test_what_is_decoded_at_once_is_bounded_for_many_channels_and_draws_too(
    tiny_fit: FittedModel, record: Record
) -> None:
    prepared = tiny_fit.prepared(record)
    signal, many = prepared.signals["ppg"], 40
    wide = replace(
        signal,
        values=np.repeat(signal.values, many, axis=0),
        channels=tuple(f"lead {k}" for k in range(many)),
    )
    paths = paths_of(tiny_fit.model, prepared, ("ecg",), tiny_fit.window_s)
    generator = torch.Generator().manual_seed(0)
    parts = list(decode(paths, "ppg", wide, 200, generator))
    assert max(loc.numel() for _, loc, _ in parts) <= VALUES_A_CHUNK
    samples = np.concatenate([sample for sample, _, _ in parts])
    np.testing.assert_array_equal(samples, np.arange(signal.values.shape[1]))


def test_every_lead_is_imputed(tiny_fit: FittedModel, tiny_cohort: Cohort) -> None:
    two = next(r for r in tiny_cohort if r.signals["ecg"].sizes["channel"] == 2)
    answer = tiny_fit.impute(two, "ecg", draws=3)
    assert answer.channel.values.tolist() == ["II", "V"]
    assert not np.allclose(answer.draws[:, 0], answer.draws[:, 1])


def test_mean_sd_and_interval_are_those_of_the_draws(tiny_fit: FittedModel, record: Record) -> None:
    short = record.crop(0.0, 10.0)
    answer = tiny_fit.impute(short, "ppg", given=["ecg"], draws=400, level=0.8)
    error = (answer["mean"] - answer.draws.mean("sample")) / answer.sd
    assert abs(error).max() < 5.0 / np.sqrt(400)
    ratio = answer.draws.std("sample") / answer.sd
    assert float(ratio.mean()) == pytest.approx(1.0, abs=0.02)
    inside = (answer.draws >= answer.lower) & (answer.draws <= answer.upper)
    assert float(inside.mean()) == pytest.approx(0.8, abs=0.01)
    assert (answer.lower <= answer.upper).all()
    wider = tiny_fit.impute(short, "ppg", given=["ecg"], draws=400, level=0.95)
    assert (wider.upper - wider.lower).mean() > 1.2 * (answer.upper - answer.lower).mean()


def test_the_mean_is_nearer_to_the_exact_one_than_the_mean_of_draws(
    make_model: Callable[..., StateSpaceModel],
) -> None:
    # A random walk seen in noise: the Kalman smoother is a Gauss-Markov path, and exact.
    one, steps, noise = torch.ones(1, 1, dtype=torch.float64), 400, 2.0
    walk = LinearGaussian(one[0], one, 0.95 * one, 0.1 * one, one, noise**2 * one)
    torch.manual_seed(0)
    x = torch.randn(steps, 1, dtype=torch.float64)
    smoothed = rts_smoother(walk, kalman_filter(walk, x, torch.rand(steps, 1) > 0.3))
    variance = smoothed.cov[..., 0]
    r = torch.cat([0.0 * one, smoothed.lag_one_cov[..., 0] / variance[:-1]])
    before = torch.cat([0.0 * one, variance[:-1]])
    paths = GaussMarkov(smoothed.mean, r, (variance - r**2 * before).sqrt())
    loc = paths.sample(torch.Size([60])).mT  # (sample, channel, time)
    answer = _Answer.around(np.empty((60, 1, steps), np.float32))
    answer.fill(
        np.arange(steps),
        loc,
        torch.full_like(loc, noise),
        make_model().emission("ppg"),
        0.9,
        Scale(np.zeros(1), np.ones(1)),
    )
    exact, sd = smoothed.mean[:, 0].numpy(), np.sqrt(variance[:, 0].numpy() + noise**2)
    ours = np.sqrt(np.mean((answer.mean[0] - exact) ** 2))
    sampled = np.sqrt(np.mean((answer.draws[:, 0].mean(0) - exact) ** 2))
    assert ours < 0.5 * sampled
    assert answer.draws[:, 0].std() > noise  # the draws themselves keep the sensor's noise
    np.testing.assert_allclose(answer.sd[0], sd, rtol=0.1)


@pytest.mark.parametrize("target", ["ecg", "ppg"])  # Student's t and normal
def test_draws_of_noise_that_lasts(
    make_model: Callable[..., StateSpaceModel], record: Record, target: str
) -> None:
    """Each sample as wide as is told; neighbours alike, also where decoding is in parts."""
    spread = {}
    for noise in ("white", "coloured"):
        model = make_model(noise=noise).float()
        emission = model.emission(target)
        for name, weight in emission.named_parameters():  # nothing but noise is left
            weight.data.zero_() if name != "tail" else weight.data.fill_(2.0)
        if emission.noise is not None:
            emission.noise = ColouredNoise(2.0)
        prepared = default_preprocessing().prepare(record)
        imputed = impute_record(model, prepared, Question(target, ("resp",), 400, seed=1))
        mean, sd = imputed["mean"].values[0], imputed["sd"].values[0]
        draws = imputed["draws"].values[:, 0]
        assert float(np.median(draws.std(0) / sd)) == pytest.approx(1.0, abs=0.06)
        np.testing.assert_allclose((draws < mean).mean(), 0.5, atol=0.05)
        spread[noise] = np.diff(draws, axis=1).std(0) / sd[1:]
    assert spread["coloured"].max() < 0.3 * spread["white"].min()


def test_uneven_samples_near_one_another_have_the_same_noise(
    make_model: Callable[..., StateSpaceModel], record: Record
) -> None:
    model = make_model(noise="coloured")
    prepared = default_preprocessing().prepare(record)
    signal = prepared.signals["ppg"]
    time_s = np.array([5.0, 5.0 + 0.3 / signal.rate_hz, 9.0, 9.0 + 1.0 / signal.rate_hz])
    uneven = replace(signal, values=signal.values[:, :4], time_s=time_s)
    noise = _before_decoding(model, Question("ppg", ("ecg",), 50), uneven)
    assert noise.shape == (50, 1, 4)
    assert np.array_equal(noise[..., 0], noise[..., 1])
    assert not np.array_equal(noise[..., 2], noise[..., 3])
    assert abs(np.corrcoef(noise[:, 0, 0], noise[:, 0, 2])[0, 1]) < 0.5


def test_the_scores_are_of_the_same_mean(tiny_fit: FittedModel, record: Record) -> None:
    question = Question("ppg", ("ecg",), draws=4, window_s=8.0)
    prepared = tiny_fit.preprocessing.prepare(record)
    scores = score_model(tiny_fit.model, [prepared], question)
    mean = standardised(impute_record(tiny_fit.model, prepared, question)["mean"], prepared, "ppg")
    truth = prepared.signals["ppg"].values
    assert scores["correlation"] == pytest.approx(correlation(truth, mean), rel=1e-9)


def test_the_target_is_not_looked_at(
    tiny_fit: FittedModel, record: Record, imputed: xr.Dataset
) -> None:
    rng = np.random.default_rng(0)
    other = with_signal(record, "ppg", rng.standard_normal(record.signals["ppg"].shape))
    again = tiny_fit.impute(other, "ppg", given=["ecg", "resp"], draws=DRAWS)

    def standard(answer: xr.Dataset, of: Record) -> np.ndarray:
        scale = tiny_fit.preprocessing.prepare(of).signals["ppg"].scale
        return (answer.draws.values - scale.location) / scale.scale

    np.testing.assert_allclose(standard(again, other), standard(imputed, record), atol=1e-5)


def test_the_given_sensors_are_looked_at(
    tiny_fit: FittedModel, record: Record, imputed: xr.Dataset
) -> None:
    rng = np.random.default_rng(0)
    other = with_signal(record, "ecg", rng.standard_normal(record.signals["ecg"].shape))
    again = tiny_fit.impute(other, "ppg", given=["ecg", "resp"], draws=DRAWS)
    assert not np.allclose(again["mean"], imputed["mean"])


def test_sensors_that_are_not_given_are_not_looked_at(
    tiny_fit: FittedModel, record: Record, imputed: xr.Dataset
) -> None:
    again = tiny_fit.impute(record.drop("spo2"), "ppg", given=["ecg", "resp"], draws=DRAWS)
    xr.testing.assert_identical(again, imputed)


def test_a_sensor_the_record_lacks_comes_in_training_units(
    tiny_fit: FittedModel, record: Record
) -> None:
    answer = tiny_fit.impute(record.drop("spo2"), "spo2", draws=5)
    assert answer.attrs["scaling"] == "training"
    assert answer.attrs["rate_hz"] == 1.0
    assert answer.sizes["time"] == 60
    assert answer["mean"].attrs["units"] == "%"
    assert answer.channel.values.tolist() == ["SpO2"]
    assert 80.0 < float(answer["mean"].mean()) < 110.0
    ppg = tiny_fit.impute(record.drop("ppg"), "ppg", draws=5)
    (usual,) = tiny_fit.model.spec.sensors["ppg"].scale
    assert float(ppg.sd.mean()) == pytest.approx(usual, rel=0.5)


@pytest.mark.parametrize("target", ["ppg", "ecg"])
def test_a_silent_sensor_is_an_absent_one(
    tiny_fit: FittedModel, record: Record, target: str
) -> None:
    silent = with_signal(record, "ppg", np.full(record.signals["ppg"].shape, np.nan))
    one = tiny_fit.impute(silent, target, draws=5)
    two = tiny_fit.impute(record.drop("ppg"), target, draws=5)
    xr.testing.assert_identical(one, two)


def test_a_record_with_no_given_sensor_gives_draws_of_the_prior(
    tiny_fit: FittedModel, record: Record
) -> None:
    with pytest.warns(UserWarning, match=r"\(ecg, resp\) is in sim000 \(there are spo2\)"):
        answer = tiny_fit.impute(record.keep("spo2"), "ppg", given=["ecg", "resp"], draws=DRAWS)
    assert all(np.isfinite(answer[name]).all() for name in answer.data_vars)
    assert float(answer.draws.std("sample").min()) > 0
    other = tiny_fit.impute(record.keep("resp"), "ppg", given=[], draws=DRAWS)
    np.testing.assert_array_equal(answer.draws, other.draws)


def test_irregular_times_are_kept(tiny_fit: FittedModel, record: Record) -> None:
    time = np.sort(np.random.default_rng(0).uniform(0.0, 60.0, 40))
    resp = xr.DataArray(
        np.zeros((1, 40), np.float32),
        dims=("channel", "time"),
        coords={"channel": ["RESP"], "time": time},
        attrs={"units": "NU"},
    )
    odd = replace(record, signals={**record.signals, "resp": resp})
    answer = tiny_fit.impute(odd, "resp", given=["ecg"], draws=4)
    np.testing.assert_array_equal(answer.time, time)
    assert np.isfinite(answer.draws).all()


def test_a_seed_gives_the_same_draws(
    tiny_fit: FittedModel, record: Record, imputed: xr.Dataset
) -> None:
    again = tiny_fit.impute(record, "ppg", given=["ecg", "resp"], draws=DRAWS)
    xr.testing.assert_identical(again, imputed)
    other = tiny_fit.impute(record, "ppg", given=["ecg", "resp"], draws=DRAWS, seed=1)
    assert not np.allclose(other.draws, imputed.draws)


def test_a_cohort_gives_one_child_a_record(tiny_fit: FittedModel, tiny_cohort: Cohort) -> None:
    two = tiny_cohort[:2]
    tree = tiny_fit.impute(two, "ppg", draws=2)
    assert list(tree.children) == list(two.names)
    xr.testing.assert_identical(
        tree[two.names[1]].to_dataset(), tiny_fit.impute(two[1], "ppg", draws=2)
    )


@pytest.mark.parametrize("seconds", [1.0, 8.0, 8.04, 20.5])
def test_any_length_is_answered(tiny_fit: FittedModel, record: Record, seconds: float) -> None:
    short = record.crop(0.0, seconds)
    answer = tiny_fit.impute(short, "ppg", draws=3)
    np.testing.assert_array_equal(answer.time, short.signals["ppg"].time)
    assert np.isfinite(answer.draws).all()


def test_a_long_record_is_answered_at_every_sample(tiny_fit: FittedModel, record: Record) -> None:
    x = np.tile(record.signals["ecg"].values[:1], (1, 2))[:, : int(125 * 83)]
    long = Record.from_arrays({"ecg": (x, 125.0)}, subject="long", channels={"ecg": ["II"]})
    answer = tiny_fit.impute(long, "ppg", draws=3)
    assert answer.sizes["time"] == 125 * 83
    assert float(answer.sd.min()) > 0
    assert np.isfinite(answer.draws).all()


def test_unknown_modalities_are_refused_by_name(tiny_fit: FittedModel, record: Record) -> None:
    fitted_with = "fitted with ecg, ppg, resp, spo2"
    with pytest.raises(ModalityError, match=f"target: .*{fitted_with}; got 'pgp'.*'ppg'"):
        tiny_fit.impute(record, "pgp")
    with pytest.raises(ModalityError, match=f"given: .*{fitted_with}; got 'abp'"):
        tiny_fit.impute(record, "ppg", given=["ecg", "abp"])
    with pytest.raises(ModalityError, match=r"given is a list.*Write \['ecg'\]"):
        tiny_fit.impute(record, "ppg", given="ecg")


def test_posterior_predictive_has_every_sensor(tiny_fit: FittedModel, tiny_cohort: Cohort) -> None:
    short = tiny_cohort[0].crop(0.0, 9.0)
    tree = tiny_fit.posterior_predictive(short, draws=3)
    assert tree.name == short.record
    assert set(tree.children) == {"ecg", "ppg", "resp", "spo2"}
    assert tree["ppg"].attrs["given"] == "ecg, ppg, resp, spo2"
    assert tree["spo2"]["draws"].sizes == {"sample": 3, "channel": 1, "time": 9}
    whole = tiny_fit.posterior_predictive(Cohort([short]), draws=3)
    xr.testing.assert_identical(whole[short.record]["ppg"].to_dataset(), tree["ppg"].to_dataset())


def test_results_survive_netcdf(imputed: xr.Dataset, tmp_path: Path) -> None:
    imputed.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "x.nc", engine="h5netcdf") as back:
        xr.testing.assert_allclose(back, imputed)
        assert back.attrs["given"] == imputed.attrs["given"]


def test_the_filtered_truth_is_in_units_and_without_artefacts(
    tiny_fit: FittedModel, record: Record
) -> None:
    x = record.signals["ppg"].values.copy()
    x[0, 1000] = 1e5
    seen = tiny_fit.filtered(with_signal(record, "ppg", x), "ppg")
    assert seen.dims == ("channel", "time")
    assert np.isnan(seen.values[0, 1000])
    assert seen.attrs["units"] == "NU"


def test_channels_asked_for_by_name(tiny_fit: FittedModel, tiny_cohort: Cohort) -> None:
    two = next(r for r in tiny_cohort if r.signals["ecg"].sizes["channel"] == 2)
    both = tiny_fit.impute(two, "ecg", given=["ppg"], draws=50)
    turned = tiny_fit.impute(two, "ecg", given=["ppg"], draws=50, channels=["V", "II"])
    assert turned.channel.values.tolist() == ["V", "II"]
    for k, name in enumerate(("V", "II")):
        apart = (turned["mean"][k] - both["mean"].sel(channel=name)).std() / both["sd"].mean()
        assert float(apart) < 0.3
    # Sizes are each channel's own.
    known = tiny_fit.prepared(two).signals["ecg"].scale.scale
    np.testing.assert_allclose(
        turned["sd"].mean("time") / both["sd"].mean("time").values[::-1], 1.0, rtol=0.1
    )
    assert known[0] != pytest.approx(known[1], rel=0.01)


def test_a_lead_that_was_not_recorded(tiny_fit: FittedModel, tiny_cohort: Cohort) -> None:
    two = next(r for r in tiny_cohort if r.signals["ecg"].sizes["channel"] == 2)
    one = replace(two, signals={**two.signals, "ecg": two.signals["ecg"].sel(channel=["II"])})
    answer = tiny_fit.impute(one, "ecg", given=["ecg"], draws=5, channels=["V", "II"])
    assert answer.attrs["scaling"] == "V: training, II: own"
    assert np.isfinite(answer["mean"].values).all()
    same = tiny_fit.impute(one, "ecg", given=["ecg"], draws=5)
    spread = answer["draws"].std("sample").mean("time") / tiny_fit.prepared(two).signals[
        "ecg"
    ].scale.scale[::-1].reshape(2)
    assert same.channel.values.tolist() == ["II"]
    assert float(spread[0]) > 0  # of the lead that was not told, eps is the prior's
    absent = tiny_fit.impute(one.drop("ecg"), "ecg", draws=5, channels=["V"])
    assert absent.channel.values.tolist() == ["V"]


@pytest.mark.parametrize(
    ("channels", "words"),
    [
        (["V7"], "II, V; got 'V7'"),
        (["II", "II"], "each once"),
        ([], "each once"),
        ("II", "Write a list"),
    ],
)
def test_channels_that_cannot_be(
    tiny_fit: FittedModel, record: Record, channels: list[str], words: str
) -> None:
    with pytest.raises((ModalityError, ArgumentError), match=words):
        tiny_fit.impute(record, "ecg", given=["ppg"], draws=2, channels=channels)
