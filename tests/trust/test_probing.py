"""Probes: targets, scores against scikit-learn's, no leak between subjects, honest controls."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import spearmanr
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    r2_score,
)

from latentphys.api import fit
from latentphys.fitted import FittedModel
from latentphys.preparation.preprocessing import Preprocessing
from latentphys.preparation.spans import Spans
from latentphys.recipes.catalogue import recipe
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import ArgumentError, LabelError, SplitError
from latentphys.recordings.reading import read
from latentphys.recordings.record import Record
from latentphys.recordings.simulation import simulate
from latentphys.trust.decisions import brier_score, calibration_error, selective_risk
from latentphys.trust.linear_probes import (
    PENALTIES,
    USUAL,
    _chosen,
    _logistic,
    _path,
    by_subject,
    out_of_fold,
)
from latentphys.trust.probe_scores import SCORES, parts_of, score_of
from latentphys.trust.probing import targets_of
from latentphys.trust.raw_features import FIGURES, raw_features, side_by_side
from latentphys.trust.targets import missing, reader_of

FEATURES = ["latentphys", "untrained", "raw", "mean"]


@pytest.fixture(scope="module")
def others() -> Cohort:
    """People the tiny model has not seen."""
    return simulate(subjects=6, minutes=1.0, seed=11, absent=0.0).prefixed("new_")


def spans(*edges: float) -> Spans:
    return Spans(np.array(edges[:-1]), np.array(edges[1:]))


def rows(seed: int = 0, people: int = 6, each: int = 30) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((people * each, 4)), np.repeat(
        [f"p{k}" for k in range(people)], each
    )


def test_a_probe_finds_what_is_there_in_every_kind() -> None:
    x, people = rows()
    hidden = x @ [1.0, -1.0, 0.5, 0.0]
    level = np.digitize(hidden, [-1.0, 0.0, 1.0])
    y: Any
    for kind, y in (("number", hidden), ("class", level), ("ordinal", level)):
        predicted, _ = out_of_fold(x, y, people, kind, 3, 0)  # type: ignore[arg-type]
        parts = parts_of(predicted, y, people, kind)  # type: ignore[arg-type]
        score = score_of(kind, 4)(parts.sum(1)[None])[0]  # type: ignore[arg-type]
        assert score[0] > (0.99 if kind == "number" else 0.85), kind
    np.testing.assert_allclose(predicted.sum(axis=1), 1.0)
    assert predicted.min() > 0


def test_a_path_of_penalties_is_each_alone() -> None:
    x, _ = rows()
    level = np.digitize(x[:, 0] + x[:, 1], [-1.0, 1.0])
    for kind in ("number", "class", "ordinal"):
        path = _path(x, x[:9], level, kind, 3, (1e-2, 1.0, 1e2))  # type: ignore[arg-type]
        for k, penalty in enumerate((1e-2, 1.0, 1e2)):
            alone = _path(x, x[:9], level, kind, 3, (penalty,))[0]  # type: ignore[arg-type]
            np.testing.assert_allclose(path[k], alone, atol=2e-3)
        assert np.abs(path[0] - path[2]).max() > 0.1


def test_levels_whose_probes_cross_are_put_in_order() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1.0, 1.0, (400, 1))
    level = np.where(x[:, 0] > 0, 1 + (rng.random(400) < 0.4), 0)
    new = np.array([[-0.6]])
    first, second = (_logistic(x, new, level > k, 2, (1e-3,))[0, 0, 1] for k in (0, 1))
    assert second > first + 0.02
    found = _path(x, new, level, "ordinal", 3, (1e-3,))[0, 0]
    np.testing.assert_allclose(found, [1.0 - first, 0.0, first], atol=6e-3)


def test_no_row_of_a_subject_reaches_its_own_probe() -> None:
    """A label that is the subject's own cannot be told of others, however it is coded."""
    x, people = rows(people=8)
    own = np.repeat(np.random.default_rng(1).standard_normal((8, 3)), 30, axis=0)
    x = np.concatenate([x, own], axis=1)
    y = np.repeat([0, 1, 1, 0, 1, 0, 0, 1], 30)
    predicted, fold = out_of_fold(x, y, people, "class", 4, 0)
    changed = y.copy()
    changed[people == "p3"] = 1
    again, _ = out_of_fold(x, changed, people, "class", 4, 0)
    mine = fold == fold[people == "p3"][0]
    np.testing.assert_array_equal(predicted[mine], again[mine])
    assert (predicted[~mine] != again[~mine]).any()
    for person in np.unique(people):
        assert len(set(fold[people == person])) == 1


def test_the_penalty_is_chosen_by_subjects() -> None:
    """Columns that name the training subjects fit them perfectly, and are of no use to others."""
    rng = np.random.default_rng(0)
    people = np.repeat([f"p{k:02d}" for k in range(12)], 40)
    x = np.repeat(rng.standard_normal((12, 20)), 40, axis=0) + 0.01 * rng.standard_normal((480, 20))
    y = np.repeat(rng.standard_normal(12), 40)
    mixed = rng.permutation(480).reshape(3, 160)
    by_rows = [(np.setdiff1d(np.arange(480), part), part) for part in mixed]
    assert _chosen(x, y, by_rows, "number", 1) == min(PENALTIES)
    assert _chosen(x, y, list(by_subject(people, 3, 0)), "number", 1) >= 10.0
    assert _chosen(x, y, [], "number", 1) == USUAL


def test_folds_do_not_depend_on_the_order_of_reading() -> None:
    people = np.repeat(list("cabd"), 3)
    shuffled = np.random.default_rng(0).permutation(people)

    def tested(names: np.ndarray) -> list[set[str]]:
        return [set(names[test].tolist()) for _, test in by_subject(names, 2, 0)]

    assert tested(people) == tested(shuffled)
    assert not list(by_subject(np.array(["a", "a"]), 5, 0))


@pytest.mark.parametrize("kind", ["class", "ordinal"])
def test_class_scores_are_scikit_learns(kind: Any) -> None:
    rng = np.random.default_rng(0)
    people = rng.choice(list("abcde"), 200)
    y = rng.integers(0, 4, 200)
    said = rng.dirichlet(np.ones(4), 200) + 1.5 * np.eye(4)[y] * rng.random((200, 1))
    said /= said.sum(axis=1, keepdims=True)
    best = said.argmax(axis=1)
    parts = parts_of(said, y, people, kind)
    truth = [
        accuracy_score(y, best),
        f1_score(y, best, average="macro"),
        balanced_accuracy_score(y, best),
        log_loss(y, said),
        brier_score(said, y),
        calibration_error(said, y),
        selective_risk(said, y).area,
        cohen_kappa_score(y, best, weights="quadratic"),
    ][: len(SCORES[kind])]  # type: ignore[index]
    score = score_of(kind, 4)
    np.testing.assert_allclose(score(parts.sum(1)[None])[0], truth)
    # A person counted twice is that person's rows given twice.
    twice = np.concatenate([np.arange(200), np.flatnonzero(people == "b")])
    weight = 1.0 + (np.array(list("abcde")) == "b")
    again = dict(zip(SCORES[kind], score((parts @ weight)[None])[0], strict=True))  # type: ignore[index]
    assert again["accuracy"] == pytest.approx(accuracy_score(y[twice], best[twice]))
    assert again["brier"] == pytest.approx(brier_score(said[twice], y[twice]))
    assert again["calibration_error"] == pytest.approx(calibration_error(said[twice], y[twice]))
    area = selective_risk(said[twice], y[twice]).area
    assert again["selective_risk"] == pytest.approx(area)


def test_many_rows_are_grouped_by_confidence() -> None:
    rng = np.random.default_rng(0)
    said = rng.dirichlet(np.ones(3), 4000)
    y = np.array([rng.choice(3, p=row) for row in said])
    parts = parts_of(said, y, np.repeat(["a", "b"], 2000), "class")
    found = score_of("class", 3)(parts.sum(1)[None])[0, SCORES["class"].index("selective_risk")]
    assert found == pytest.approx(selective_risk(said, y).area, abs=1e-4)


def test_number_scores_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    people, y = rng.choice(list("abc"), 300), 1e8 + rng.standard_normal(300)
    y[people == "b"] += 3.0
    guess = y + rng.standard_normal(300)
    parts = parts_of(guess, y, people, "number")
    found = score_of("number")(parts.sum(1)[None])[0]
    truth = [r2_score(y, guess), mean_absolute_error(y, guess), spearmanr(y, guess).statistic]
    np.testing.assert_allclose(found, truth)
    # Of a resample with one person thrice, and another not at all.
    some = np.concatenate([np.flatnonzero(people == "b")] * 3 + [np.flatnonzero(people == "c")])
    found = score_of("number")((parts @ [0.0, 3.0, 1.0])[None])[0]
    assert found[0] == pytest.approx(r2_score(y[some], guess[some]))


def test_raw_features_are_powers_means_and_spreads() -> None:
    time = np.arange(3200) / 100.0
    wave = 3.0 + np.sin(2 * np.pi * 10.0 * time)
    wave[1600:2400] = np.nan
    wave[2400:] += 4.0
    record = Preprocessing({}).prepare(Record.from_arrays({"eeg": (wave, 100.0)}, subject="a"))
    ((key, found),) = raw_features(record, spans(0, 8, 16, 24, 32), ["eeg", "ecg"]).items()
    assert key == ("eeg", "eeg")
    assert found.shape == (4, FIGURES)
    assert np.isnan(found[2]).all()
    assert np.nanargmax(found[0, 2:]) == np.nanargmax(found[3, 2:]) == 15  # 9 to 12.8 Hz
    last = record.signals["eeg"].values[0, 2400:]
    np.testing.assert_allclose(found[3, :2], [last.mean(), np.log(last.std())], atol=1e-3)
    short = raw_features(record, spans(0, 0.5), ["eeg"])["eeg", "eeg"][0]
    assert np.isnan(short[2:12]).all()  # bands below 1.6 Hz
    assert np.isfinite(short[12])


def test_leads_in_common_stay_apart_and_others_are_averaged() -> None:
    def figures(*names: str) -> dict[tuple[str, str], np.ndarray]:
        return {("ecg", n): np.full((2, FIGURES), float(ord(n))) for n in names}

    apart = side_by_side([figures("I", "V"), figures("V"), {}], [2, 2, 1])
    assert apart.shape == (5, FIGURES)
    assert apart[0, 0] == ord("V")
    assert np.isnan(apart[4]).all()
    mixed = side_by_side([figures("I", "V"), figures("X")], [2, 2])
    assert mixed[:, 0].tolist() == [0.5 * (ord("I") + ord("V"))] * 2 + [ord("X")] * 2


def record_of(name: str = "r", **attrs: Any) -> Record:
    record = Record.from_arrays({"eeg": (np.zeros(120), 1.0)}, subject="s", record=name)
    return replace(record, attrs=attrs)


def test_labels_by_name() -> None:
    stage = xr.DataArray(["W", "2"], dims="event", coords={"time": ("event", [0.0, 70.0])})
    breath = xr.DataArray([1, 1, 1], dims="event", coords={"time": ("event", [1.0, 5.0, 9.0])})
    record = replace(record_of(age=40.0), annotations={"stage": stage, "breath": breath})
    epochs = spans(0, 30, 60, 90, 120)

    def said(name: str, record: Record = record, at: Spans = epochs) -> list[Any]:
        return reader_of(name)[0](record, at)

    assert said("stage") == ["W", "W", "N2", "N2"]
    assert said("stage", at=spans(60, 80)) == [None]  # half and half
    assert said("breathing_rate") == [15.0, None, None, None]
    assert said("age") == [40.0] * 4
    assert all(missing(label) for label in ("?", "NaN", "", None, float("nan")))
    assert not any(missing(label) for label in (0, 0.0, False, "W"))
    assert said("heart_rate") == [None] * 4
    assert said("task", record_of("Subject03_2")) == ["arithmetic"] * 4
    assert said("task", record_of("Subject03_1")) == ["rest"] * 4
    assert said("task", record_of(task="faces"))[0] == "faces"


def test_labels_by_table_and_by_function() -> None:
    at, record = spans(0, 30, 60), record_of("r1")
    index = pd.MultiIndex.from_tuples([("r1", 30.0000001), ("r2", 0.0)])
    read_series, order = reader_of(pd.Series(["a", "b"], index=index))
    assert read_series(record, at) == [None, "a"]
    assert order is None
    levels = pd.Categorical(["low"], ["low", "high"], ordered=True)
    assert reader_of(pd.Series(levels, index=["s"]))[1] == ["low", "high"]
    assert reader_of({"s": 3})[0](record, at) == [3, 3]
    assert reader_of({"s": 3, "r1": 4})[0](record, at) == [4, 4]
    coords = {"record": ("window", ["r1", "r1"]), "start_s": ("window", [0.0, 30.0])}
    table = xr.DataArray([5.0, 6.0], dims="window", coords=coords)
    assert reader_of(table)[0](record, at) == [5.0, 6.0]
    assert reader_of(lambda r: r.record)[0](record, at) == ["r1", "r1"]
    clock = xr.DataArray(
        np.r_[np.full(30, 2.0), np.nan], dims="time", coords={"time": np.arange(31.0)}
    )
    assert reader_of(lambda r: clock)[0](record, at) == [2.0, None]
    assert reader_of(lambda r: clock)[0](record, spans(0, 30, 50)) == [2.0, None]
    assert reader_of(lambda r: clock)[0](record, spans(0, 20, 45)) == [2.0, None]
    with pytest.raises(LabelError, match="labels are a name, a pandas Series.*got int"):
        reader_of(3)
    with pytest.raises(LabelError, match="a unit has one label; the labels give two of s"):
        reader_of(pd.Series([1, 2], index=["s", "s"]))
    with pytest.raises(LabelError, match="a coordinate record"):
        reader_of(xr.DataArray([1.0]))
    with pytest.raises(LabelError, match="by record and start_s"):
        reader_of({("r1", "x"): 1})


def test_kinds_and_what_they_refuse() -> None:
    assert targets_of([1, 2, 3], "ordinal")[1].tolist() == [0, 1, 2]
    assert targets_of(["b", "a"], "auto", ["b", "a"])[::2] == ("ordinal", ["b", "a"])
    assert targets_of([True, False])[0] == "class"
    with pytest.raises(LabelError, match="all 2 units have 'W'"):
        targets_of(["W", "W"])
    with pytest.raises(LabelError, match="ordinal labels have an order.*Take kind='class'"):
        targets_of(["b", "a"], "ordinal")
    with pytest.raises(LabelError, match="'90\\+' stand among numbers"):
        targets_of([61.0, "90+", 55.0])
    with pytest.raises(LabelError, match="kind='number' takes numbers"):
        targets_of(["b", "a"], "number")
    with pytest.raises(LabelError, match="up to 20 levels; got 30"):
        targets_of(list(range(30)), "ordinal")


@pytest.mark.parametrize("unit", ["patch", "beat", "epoch", "window", "record", "subject"])
def test_a_table_of_every_unit(tiny_fit: FittedModel, others: Cohort, unit: Any) -> None:
    few = Cohort([r.crop(0.0, 31.0) for r in others]) if unit == "patch" else others
    found = tiny_fit.probe(few, "heart_rate", unit=unit, folds=3)
    data = found.dataset
    assert data.estimate.dims == ("features", "score")
    assert data.features.values.tolist() == FEATURES
    assert data.attrs["kind"] == "number"
    assert set(data.subject.values) == set(others.subjects)
    assert np.isfinite(data.estimate.sel(score="r2")).all()
    inside = data.sel(score="mae")
    assert (inside.lower < inside.estimate).all()
    assert (inside.estimate < inside.upper).all()
    ahead = data.estimate.sel(features="latentphys") - data.estimate
    np.testing.assert_allclose(data.gain.sel(score="r2"), ahead.sel(score="r2"), atol=1e-9)
    assert np.isnan(data.estimate.sel(features="mean", score="spearman"))
    assert float(data.gain.sel(features="latentphys").max("score")) == 0.0
    text = repr(found)
    assert all(name in text for name in FEATURES)
    with pytest.raises(LabelError, match="a probe of numbers gives no probabilities"):
        found.risk_coverage()
    assert "<table>" in found._repr_html_()
    assert len(found.to_dataframe()) == 4 * 3
    if unit != "subject":
        assert np.isfinite(data.start_s).all()


def test_a_probe_of_what_the_sensors_show_beats_nothing(
    tiny_fit: FittedModel, others: Cohort
) -> None:
    """The raw signals tell whether the sensor was there, and how fast the heart beats."""
    data = tiny_fit.probe(others, "heart_rate", unit="window").dataset
    assert float(data.estimate.sel(features="raw", score="r2")) > 0.5
    truth = data.truth.groupby("record").mean()
    rate = {r.record: float(r.truth["heart_rate"][:700].mean()) for r in others}  # type: ignore[index]
    for name, value in rate.items():
        assert float(truth.sel(record=name)) == pytest.approx(value, abs=0.5)


def test_the_same_call_gives_the_same_answer(tiny_fit: FittedModel, others: Cohort) -> None:
    turned = Cohort(list(others)[::-1])
    one, two = (tiny_fit.probe(c, "heart_rate", unit="record").dataset for c in (others, turned))
    np.testing.assert_allclose(one.estimate, two.estimate, atol=1e-6)
    np.testing.assert_allclose(one.lower, two.lower, atol=1e-6)


def test_what_cannot_be_probed(tiny_fit: FittedModel, tiny_cohort: Cohort, others: Cohort) -> None:
    with pytest.raises(LabelError, match="none of them has 'hart_rate' for a window.*heart_rate"):
        tiny_fit.probe(others, "hart_rate")
    with pytest.raises(LabelError, match=r"no window of these.*\('new_sim000', 0.0\)"):
        tiny_fit.probe(others, {"nobody": 1})
    twins = Cohort([replace(r, subject="twin") for r in others[:2]])
    names = dict(zip(twins.names, "ab", strict=True))
    with pytest.raises(LabelError, match="recordings of 'twin' have a, b. Take unit='record'"):
        tiny_fit.probe(twins, names, unit="subject")
    with pytest.raises(SplitError, match="two or more with labels; got 1"):
        tiny_fit.probe(others[:1], "heart_rate")
    with pytest.raises(ArgumentError, match="kind is one of auto, number, class, ordinal"):
        tiny_fit.probe(others, "heart_rate", kind="rank")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="folds is a whole number from 2"):
        tiny_fit.probe(others, "heart_rate", folds=1)
    with pytest.raises(ArgumentError, match="a probe takes a Cohort, got Record"):
        tiny_fit.probe(others[0], "heart_rate")  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="subjects the model has not seen"):
        tiny_fit.probe(tiny_cohort, "heart_rate", unit="record")


def test_the_untrained_network_does_not_move_the_random_state(
    tiny_fit: FittedModel, others: Cohort
) -> None:
    import torch

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    tiny_fit.probe(others, "heart_rate", unit="record")
    assert torch.equal(torch.rand(3), expected)


def test_sleep_stages_of_nights_at_one_step_an_epoch(data_root: Path) -> None:
    cohort = read(data_root / "sleep_edf_features")
    people = Cohort([r.crop(30.0 * 900, 30.0 * 1020) for r in cohort if r.record.endswith("1E0")])
    slow = recipe("statespace", state_rate_hz=1 / 30, window_s=600.0)
    fitted = fit(people[:2], recipe=slow, latent_dim=6, steps=4, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fitted.probe(people[2:], "stage", unit="epoch", folds=3)
    data = found.dataset
    assert data.attrs["kind"] == "class"
    assert set(data.attrs["classes"]) <= {"W", "N1", "N2", "N3", "REM"}
    assert data.sizes["unit"] == 120 * (len(people) - 2) - data.attrs["unlabelled"]
    assert data.probability.dims == ("features", "unit", "class")
    assert data["class"].values.tolist() == data.attrs["classes"]
    curve, estimate = found.risk_coverage("raw"), data.estimate.sel(features="raw")
    assert curve.risk[-1] == pytest.approx(1.0 - float(estimate.sel(score="accuracy")))
    assert curve.area == pytest.approx(float(estimate.sel(score="selective_risk")), abs=1e-4)
    assert curve.area < curve.risk[-1]  # what it is surer of is right more often
    error = found.reliability("raw").error
    assert error == pytest.approx(float(estimate.sel(score="calibration_error")))
    best = data.estimate.sel(score="accuracy")
    assert float(best.sel(features="raw")) > float(best.sel(features="majority")) + 0.03
    first = people[2]
    notes = first.annotations["stage"].note.values
    assert data.truth.values[data.record.values == first.record].tolist() == notes.tolist()


def test_infinite_labels_and_names_nobody_has(tiny_fit: FittedModel, others: Cohort) -> None:
    ages = dict(zip(others.subjects, [61.0, np.inf, 40.0, 72.0, 55.0, 33.0], strict=False))
    with pytest.raises(LabelError, match="labels are finite numbers; 1 are infinite. Put NaN"):
        tiny_fit.probe(others, ages, unit="record")
    with pytest.raises(
        LabelError, match="'stage' is read from annotations that name sleep"
    ) as told:
        tiny_fit.probe(others, "stage")
    assert "Did you mean" not in str(told.value)
    assert "They have age, " in str(told.value)


def test_misspelt_people_are_named(tiny_fit: FittedModel, others: Cohort) -> None:
    names = [*others.subjects[:-1], "new_sim00O"]
    ages = dict(zip(names, np.linspace(30.0, 80.0, len(names)), strict=True))
    missed = others.subjects[-1]
    with pytest.warns(UserWarning, match=f"new_sim00O are of nobody here, and {missed} have no"):
        found = tiny_fit.probe(others, ages, unit="window")
    assert found.dataset.attrs["subjects"] == len(names) - 1
