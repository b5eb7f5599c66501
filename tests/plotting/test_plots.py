"""Figures draw the data they are given, all of it in the stretch, and label it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgba

import latentphys as lp
from latentphys.fitted import FittedModel
from latentphys.learning.tracking import History
from latentphys.plotting.style import TRUTH
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import ArgumentError
from latentphys.recordings.record import Record


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def record(tiny_cohort: Cohort) -> Record:
    return next(r for r in tiny_cohort if r.signals["ecg"].sizes["channel"] == 2)


def stretch(signal: object, start_s: float, stop_s: float) -> object:
    return signal.sel(time=slice(start_s, stop_s - 1e-6))  # type: ignore[attr-defined]


def test_a_record_is_drawn_sample_by_sample(record: Record) -> None:
    axes = lp.plot_record(record, 10.0, 20.0)
    assert len(axes) == len(record.modalities)
    for ax, name in zip(axes, record.modalities, strict=True):
        signal = stretch(record.signals[name], 10.0, 20.0)
        assert len(ax.lines) == signal.sizes["channel"]  # type: ignore[attr-defined]
        for line, own in zip(ax.lines, signal, strict=True):  # type: ignore[call-overload]
            np.testing.assert_array_equal(line.get_ydata(), own)
            np.testing.assert_array_equal(line.get_xdata(), own.time)
        assert ax.get_ylabel() == f"{name}\n[{record.signals[name].attrs['units']}]"
    assert axes[-1].get_xlabel() == "time [s]"
    assert axes[-1].get_xlim() == (10.0, 20.0)
    ecg = axes[record.modalities.index("ecg")]
    assert [text.get_text() for text in ecg.get_legend().get_texts()] == ["II", "V"]
    assert record.subject in axes[0].figure.get_suptitle()


def test_samples_not_observed_are_gaps(record: Record) -> None:
    x = record.signals["ppg"].values.copy()
    x[0, 100:200] = np.nan
    own = record.signals["ppg"].copy(data=x)
    (ax,) = lp.plot_record(replace(record, signals={"ppg": own}), 0.0, 5.0)
    assert np.isnan(ax.lines[0].get_ydata()[100:200]).all()


def test_slow_signals_show_their_samples(record: Record) -> None:
    axes = lp.plot_record(record, 0.0, 20.0)
    marks = {n: ax.lines[0].get_marker() for n, ax in zip(record.modalities, axes, strict=True)}
    assert marks["spo2"] == "o"
    assert marks["ecg"] == "None"


def test_an_imputation_is_drawn_with_its_interval_and_the_truth(
    tiny_fit: FittedModel, record: Record
) -> None:
    imputed = tiny_fit.impute(record, "ecg", draws=5, level=0.8)
    axes = lp.plot_imputation(imputed, record, 4.0, 12.0)
    assert len(axes) == 2
    part = stretch(imputed, 4.0, 12.0)
    for k, ax in enumerate(axes):
        at = part.isel(channel=k)  # type: ignore[attr-defined]
        mean, truth = ax.lines
        np.testing.assert_array_equal(mean.get_ydata(), at["mean"])
        own = stretch(record.signals["ecg"], 4.0, 12.0)
        np.testing.assert_array_equal(truth.get_ydata(), own[k])  # type: ignore[index]
        assert to_rgba(truth.get_color()) == to_rgba(TRUTH)
        band = ax.collections[0].get_paths()[0].vertices[:, 1]
        assert band.min() == pytest.approx(float(at.lower.min()), rel=1e-6)
        assert band.max() == pytest.approx(float(at.upper.max()), rel=1e-6)
        assert at.channel.item() in ax.get_ylabel()
        assert "[mV]" in ax.get_ylabel()
    shown = [text.get_text() for text in axes[0].get_legend().get_texts()]
    assert shown == ["80 %", "mean", "recorded"]
    assert "ecg given ppg, resp, spo2" in axes[0].figure.get_suptitle()


def test_an_imputation_without_truth_draws_none(tiny_fit: FittedModel, record: Record) -> None:
    bare = record.drop("ppg")
    imputed = tiny_fit.impute(bare, "ppg", draws=2)
    for truth in (None, bare):
        (ax,) = lp.plot_imputation(imputed, truth, 0.0, 8.0)
        assert len(ax.lines) == 1
    (ax,) = lp.plot_imputation(imputed, None, 0.0, 8.0, draws=2)
    drawn = imputed["draws"].values[:, 0, : 8 * 125]
    np.testing.assert_array_equal([line.get_ydata() for line in ax.lines[:-1]], drawn)
    truth = tiny_fit.filtered(record, "ppg")
    (ax,) = lp.plot_imputation(imputed, truth, 0.0, 8.0)
    np.testing.assert_array_equal(ax.lines[-1].get_ydata(), truth.values[0, : 8 * 125])


def test_the_posterior_is_drawn_as_it_is(tiny_fit: FittedModel, record: Record) -> None:
    posterior = tiny_fit.posterior(record, draws=2)
    axes = lp.plot_posterior(posterior, record, 5.0, 25.0, latents=3)
    assert len(axes) == 1 + 3 + 2
    state = stretch(posterior["posterior"].to_dataset(), 5.0, 25.0)
    image = axes[0].images[0].get_array()
    np.testing.assert_array_equal(image, state.z_mean.T)  # type: ignore[attr-defined]
    for ax in axes[1:4]:
        k = int(ax.get_ylabel()[2:-1])
        np.testing.assert_array_equal(
            ax.lines[0].get_ydata(),
            state.z_mean[:, k],  # type: ignore[attr-defined]
        )
    assert len({ax.get_ylabel() for ax in axes[1:4]}) == 3
    assert record.truth is not None
    for ax, name in zip(axes[4:], ("heart_rate", "breathing_rate"), strict=True):
        own = stretch(record.truth[name], 5.0, 25.0)
        np.testing.assert_array_equal(ax.lines[0].get_ydata(), own)
        assert ax.get_ylabel() == f"{name}\n[1/min]"


def test_measured_rates_stand_in_for_true_ones(tiny_fit: FittedModel, record: Record) -> None:
    posterior = tiny_fit.posterior(record, draws=2)
    assert len(lp.plot_posterior(posterior, None, latents=2)) == 3
    beats = Record.from_arrays({"hr": (np.arange(60.0) + 60.0, 1.0)}, subject="a")
    axes = lp.plot_posterior(posterior, beats, 0.0, 10.0, latents=2)
    assert len(axes) == 4
    np.testing.assert_array_equal(axes[-1].lines[0].get_ydata(), np.arange(10.0) + 60.0)


def test_no_more_latents_are_drawn_than_there_are(tiny_fit: FittedModel, record: Record) -> None:
    posterior = tiny_fit.posterior(record, draws=2)
    assert len(lp.plot_posterior(posterior, None, 0.0, 8.0, latents=20)) == 1 + 6


def test_training_is_drawn_as_logged(tiny_fit: FittedModel) -> None:
    axes = lp.plot_training(tiny_fit)
    labels = ["ELBO", "imputed\nsensors", "means of\nblocks", "KL", "loss"]
    axes = [ax for ax in axes if ax.get_ylabel() in labels]  # the others are of few sensors alone
    assert [ax.get_ylabel() for ax in axes] == labels
    rows = tiny_fit.history.rows
    np.testing.assert_array_equal(axes[0].lines[0].get_ydata(), [row["elbo"] for row in rows])
    np.testing.assert_array_equal(axes[0].lines[0].get_xdata(), [row["step"] for row in rows])
    for ax in axes[1:3]:
        assert {line.get_label() for line in ax.lines} == set(tiny_fit.modalities)
    losses = {line.get_label(): line.get_ydata() for line in axes[4].lines}
    held_out = [row["held_out_loss"] for row in rows if "held_out_loss" in row]
    np.testing.assert_array_equal(losses["held-out subjects"], held_out)
    assert axes[-1].get_xlabel() == "step"


def test_terms_that_were_not_trained_have_no_panel(tiny_fit: FittedModel) -> None:
    history = History.from_dict(
        {"rows": [{"step": 1.0, "align": 2.0, "mask/ecg": -1.0, "loss": 3.0, "mask/ecg>ppg": 1.0}]}
    )
    axes = lp.plot_training(replace(tiny_fit, history=history))
    assert [ax.get_ylabel() for ax in axes] == ["hidden\nsamples", "alignment", "loss"]


def test_what_tells_of_what_is_drawn_of_few_sensors(tiny_fit: FittedModel) -> None:
    told = ["cross/a>b", "cross/b>a", "cross/a+b>a", "cross/nothing>a", "miss/a", "miss/nothing"]
    history = History.from_dict({"rows": [{"step": 1.0, **dict.fromkeys(told, 1.0)}]})
    axes = lp.plot_training(replace(tiny_fit, history=history))
    drawn = {ax.get_ylabel(): [line.get_label() for line in ax.lines] for ax in axes}
    assert drawn == {"from what to\nwhat": ["a>b", "b>a"], "KL from that\nof a subset": ["a"]}
    many = {f"cross/a{k}>b": 1.0 for k in range(16)}
    history = History.from_dict({"rows": [{"step": 1.0, "loss": 3.0, **many}]})
    axes = lp.plot_training(replace(tiny_fit, history=history))
    assert [ax.get_ylabel() for ax in axes] == ["loss"]


def test_results_of_a_cohort_are_drawn_one_by_one(
    tiny_fit: FittedModel, tiny_cohort: Cohort
) -> None:
    two = Cohort([r.crop(0.0, 12.0) for r in tiny_cohort[:2]])
    imputed = tiny_fit.impute(two, "ppg", draws=2)
    with pytest.raises(ArgumentError, match=r"DataTree of sim000, sim001. .*results\['sim000'\]\)"):
        lp.plot_imputation(imputed)
    (ax,) = lp.plot_imputation(imputed["sim000"])
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), imputed["sim000/mean"].values[0])
    posterior = tiny_fit.posterior(two, draws=2)
    with pytest.raises(ArgumentError, match=r"plot_posterior\(results\['sim000'\]\)"):
        lp.plot_posterior(posterior)
    assert len(lp.plot_posterior(posterior["sim000"], latents=2)) == 3


def test_an_imputation_from_nothing_says_so(tiny_fit: FittedModel, record: Record) -> None:
    (ax,) = lp.plot_imputation(tiny_fit.impute(record, "ppg", given=[], draws=2))
    assert ax.figure.get_suptitle().endswith("ppg given nothing")


@pytest.mark.parametrize("stretch_s", [(1e5, None), (20.0, 10.0), (5.0, 5.0), (-9.0, -1.0)])
def test_a_stretch_without_a_sample_is_not_drawn(
    tiny_fit: FittedModel, record: Record, stretch_s: tuple[float, float | None]
) -> None:
    words = "stops after it starts and lies within .* s; got start_s=.*Choose another"
    imputed = tiny_fit.impute(record, "ppg", draws=2)
    with pytest.raises(ArgumentError, match=words):
        lp.plot_record(record, *stretch_s)
    with pytest.raises(ArgumentError, match=words):
        lp.plot_imputation(imputed, record, *stretch_s)
    with pytest.raises(ArgumentError, match=words):
        lp.plot_posterior(tiny_fit.posterior(record, draws=2), record, *stretch_s)
