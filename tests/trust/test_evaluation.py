"""Evaluation end to end: its laws, its refusals, and agreement with what `impute` gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from latentphys.api import fit
from latentphys.fitted import FittedModel
from latentphys.inference.imputation import Question
from latentphys.inference.paths import paths_of
from latentphys.model.statespace import StateSpaceModel
from latentphys.plotting.evaluation import plot_calibration, plot_evaluation
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import (
    ArgumentError,
    CohortError,
    FitError,
    ModalityError,
    SplitError,
)
from latentphys.recordings.record import Record, rate_of
from latentphys.recordings.simulation import simulate
from latentphys.trust.asking import answers
from latentphys.trust.breathing import breathing_rate
from latentphys.trust.directions import score_breathing
from latentphys.trust.missingness import bursts, gap_layout, not_at_random
from latentphys.trust.patterns import Ask, Pattern, Questions, subsets_of
from latentphys.trust.predicting import EncodedRecord, pieces
from latentphys.trust.rates import rates_of_draws
from latentphys.trust.resampling import SubjectBootstrap, ahead_from, ahead_until
from latentphys.trust.result import Evaluation

GAPS = (0.5, 3.0)


@pytest.fixture(scope="module")
def people(tiny_cohort: Cohort) -> Cohort:
    """Two sensors of six people."""
    return tiny_cohort.keep("ppg", "resp")


@pytest.fixture(scope="module")
def two_fit(people: Cohort) -> FittedModel:
    """A model a few steps old."""
    return fit(people, steps=8, seed=0, latent_dim=6, window_s=8.0, progress=False)


@pytest.fixture(scope="module")
def unseen_fit(two_fit: FittedModel) -> FittedModel:
    """The same, as if fitted to other people."""
    return replace(two_fit, about={**two_fit.about, "subjects": ["someone"]})


@pytest.fixture(scope="module")
def evaluation(unseen_fit: FittedModel, people: Cohort) -> Evaluation:
    return unseen_fit.evaluate(
        people, gaps_s=GAPS, missing=[0.5, "artefact", "amplitude"], draws=12
    )


def test_every_subset_target_and_gap_is_scored_beside_baselines(evaluation: Evaluation) -> None:
    whole = evaluation["subset"]
    assert len(whole.subset) == 2 ** len(whole.target) - 1
    ours = whole.estimate.sel(predictor="latentphys", score="crps")
    for subset in whole.subset.values:
        given = str(subset).split("+")
        for target in whole.target.values:
            wanted = target not in given or len(given) == len(whole.target)
            assert bool(np.isfinite(ours.sel(subset=subset, target=target))) == wanted
    gaps = evaluation["gap_s"]
    assert gaps.gap_s.values.tolist() == list(GAPS)
    assert set(gaps.predictor.values) == {"latentphys", "mean", "locf", "linear", "ridge", "kalman"}
    assert np.isfinite(gaps.estimate.sel(score="crps")).all()
    assert set(evaluation["missing"].missing.values) == {"drop 0.5", "artefact", "amplitude"}
    assert evaluation["break_even"].ahead_from_s.dims == ("target", "score")


def test_skill_is_one_minus_the_ratio_of_scores(evaluation: Evaluation) -> None:
    gaps = evaluation["gap_s"]
    value = gaps.estimate.sel(score="crps")
    expected = 1 - value.sel(predictor="latentphys") / value.sel(predictor="kalman")
    found = gaps.skill.sel(score="crps", predictor="kalman")
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert np.isnan(gaps.skill.sel(score="log_score")).all()
    more = gaps.gain.sel(score="log_score", predictor="mean")
    logs = gaps.estimate.sel(score="log_score")
    np.testing.assert_allclose(
        more, logs.sel(predictor="latentphys") - logs.sel(predictor="mean"), rtol=1e-9
    )
    assert (gaps.skill_lower <= gaps.skill_upper).where(gaps.skill_lower.notnull(), True).all()


def test_interpolation_beats_the_mean_in_short_gaps_of_a_slow_sensor(
    evaluation: Evaluation,
) -> None:
    crps = evaluation["gap_s"].estimate.sel(score="crps", target="resp", gap_s=0.5)
    assert float(crps.sel(predictor="linear")) < 0.5 * float(crps.sel(predictor="mean"))
    assert float(crps.sel(predictor="kalman")) < 0.8 * float(crps.sel(predictor="mean"))


def test_histograms_and_coverage_are_shares(evaluation: Evaluation) -> None:
    whole = evaluation["subset"]
    pit = whole.pit.mean("bin")
    np.testing.assert_allclose(pit.values[np.isfinite(pit.values)], 1.0)
    coverage = whole.coverage.values[np.isfinite(whole.coverage.values)]
    assert ((coverage >= 0) & (coverage <= 1)).all()
    assert (whole.coverage.diff("level").fillna(0) >= 0).all()


def test_it_reads_well_and_can_be_computed_with(evaluation: Evaluation) -> None:
    text = repr(evaluation)
    assert "Skill: 1 - CRPS / CRPS of the baseline" in text
    assert "linear interpolation" in text
    assert "<table>" in evaluation._repr_html_()
    table = evaluation.to_dataframe()
    assert {"group", "label", "target", "predictor", "score", "estimate"} <= set(table.columns)
    assert {"crps", "coverage 0.9"} <= set(table.score)
    with pytest.raises(KeyError, match="Evaluate with gaps_s"):
        evaluation["nothing"]


def test_figures_have_one_panel_a_group_and_target(evaluation: Evaluation) -> None:
    import matplotlib.pyplot as plt

    assert plot_evaluation(evaluation).shape == (3, len(evaluation["subset"].target))
    assert plot_calibration(evaluation).shape == (2, len(evaluation["subset"].target))
    plt.close("all")


def test_one_seed_one_answer_and_other_records_change_nothing(
    unseen_fit: FittedModel, people: Cohort
) -> None:
    few = Cohort([people[0], people[1]])

    def ask(cohort: Cohort) -> np.ndarray:
        found = unseen_fit.evaluate(cohort, gaps_s=(2.0,), draws=4, subsets=[["ppg"]])
        own = found["gap_s"].value.sel(predictor="latentphys", subject=people[0].subject)
        return own.values

    np.testing.assert_array_equal(ask(few), ask(few))
    np.testing.assert_array_equal(ask(few), ask(Cohort([people[0], people[2]])))


def test_people_it_was_fitted_with_are_refused_or_named(
    two_fit: FittedModel, people: Cohort
) -> None:
    with pytest.raises(SplitError, match=f"trained on 6 of these subjects: {people[0].subject}"):
        two_fit.evaluate(people)
    one = Cohort([people[0]])
    with pytest.warns(UserWarning, match="The figures are too good"):
        found = two_fit.evaluate(one, gaps_s=(), subsets=[["ppg"]], draws=4, trained="warn")
    assert found.attrs["note"] == f"Too good: trained on {people[0].subject}."
    assert "too good" in repr(found).lower()


def test_what_cannot_be_asked_is_refused(unseen_fit: FittedModel, people: Cohort) -> None:
    with pytest.raises(ModalityError, match="Did you mean 'ppg'"):
        unseen_fit.evaluate(people, subsets=[["pgp"]])
    with pytest.raises(ModalityError, match="at least one sensor"):
        unseen_fit.evaluate(people, subsets=[[]])
    with pytest.raises(ValueError, match="above 0 s"):
        unseen_fit.evaluate(people, gaps_s=[0.0])
    with pytest.raises(ValueError, match="'artefact', 'amplitude', or a share"):
        unseen_fit.evaluate(people, missing=["at random"])
    only = Cohort([people[0].keep("resp")])
    with pytest.raises(CohortError, match="nothing could be scored"):
        unseen_fit.evaluate(only, subsets=[["ppg"]], gaps_s=())


@pytest.mark.parametrize("private_dim", [0, 2])
def test_encoding_once_gives_what_inference_gives(
    two_fit: FittedModel, people: Cohort, private_dim: int
) -> None:
    record = two_fit.preprocessing.prepare(people[0])
    model = two_fit.model
    if private_dim:
        torch.manual_seed(0)
        model = StateSpaceModel(replace(model.spec, private_dim=private_dim)).eval()
    encoded = EncodedRecord(model, record, two_fit.window_s)
    for subset in subsets_of(encoded.names):
        own = encoded.paths(subset)
        other = paths_of(model, record, subset, two_fit.window_s)
        for one, two in zip(own.moments(), other.moments(), strict=True):
            torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)
        assert own.nuisance.keys() == other.nuisance.keys() == set(subset)
        for name in own.nuisance:
            torch.testing.assert_close(own.nuisance[name].loc, other.nuisance[name].loc)


def test_what_is_scored_is_what_impute_gives(tiny_fit: FittedModel, tiny_cohort: Cohort) -> None:
    one = tiny_cohort[0].signals
    leads = np.concatenate([one["ecg"].values, 3.0 - 2.0 * one["ecg"].values[:, ::-1]])
    both = Record.from_arrays(
        {name: (x, rate_of(one[name])) for name, x in [("ecg", leads), ("ppg", one["ppg"].values)]},
        subject="two leads",
        channels={"ecg": ["II", "V"]},
        units={name: one[name].attrs["units"] for name in ("ecg", "ppg")},
    )
    record = tiny_fit.prepared(both)
    encoded = EncodedRecord(tiny_fit.model, record, tiny_fit.window_s)
    pattern = Pattern("subset", ("ppg",), {}, (Ask("ppg", "ecg"),))
    generator = torch.Generator().manual_seed(3)
    ((_, _, scored),) = answers(encoded, [pattern], 16, generator)
    imputed = tiny_fit.impute(both, "ecg", given=["ppg"], draws=16, seed=3, level=0.8)
    scale = record.signals["ecg"].scale
    seen = np.isfinite(scored.truth)
    np.testing.assert_allclose(
        scale.to_units(scored.mean)[seen], imputed["mean"].values[seen], rtol=1e-3, atol=1e-3
    )
    truth = scale.to_units(scored.truth)
    inside = (imputed["lower"].values <= truth) & (truth <= imputed["upper"].values)
    found = np.abs(2 * scored.pit - 1) <= 0.8
    assert (inside == found)[seen].mean() > 0.995
    residual = np.abs(truth - imputed["mean"].values) / imputed["sd"].values
    np.testing.assert_allclose(scored.residual[seen], residual[seen], rtol=1e-2, atol=1e-3)


def test_what_is_hidden_is_not_seen(two_fit: FittedModel, people: Cohort) -> None:
    record = two_fit.preprocessing.prepare(people[0])
    where = np.zeros(record.signals["ppg"].values.shape[1], dtype=bool)
    where[1000:2000] = True
    altered = record.signals["ppg"].values.copy()
    altered[:, where] = 1e3
    signals = {**record.signals, "ppg": replace(record.signals["ppg"], values=altered)}

    def mean(one: object) -> torch.Tensor:
        encoded = EncodedRecord(two_fit.model, one, two_fit.window_s).hiding({"ppg": where})  # type: ignore[arg-type]
        return encoded.paths(encoded.names).moments()[0]

    torch.testing.assert_close(mean(record), mean(replace(record, signals=signals)), rtol=0, atol=0)


def test_pieces_of_a_long_recording_are_the_recording(two_fit: FittedModel, people: Cohort) -> None:
    record = two_fit.preprocessing.prepare(people[0])
    parts = list(pieces(record, 25.0))
    assert len(parts) == 3
    for name, signal in record.signals.items():
        joined = np.concatenate([part.signals[name].values for part in parts], axis=1)
        np.testing.assert_array_equal(joined, signal.values)
    assert sum(part.duration_s for part in parts) == pytest.approx(record.duration_s)
    assert list(pieces(record, 1e3)) == [record]


def test_gaps_have_their_lengths_and_keep_apart() -> None:
    times = np.arange(0, 400, 0.01)
    layout = gap_layout(times, [1.0, 5.0], 10.0, np.random.default_rng(0))
    edges = np.flatnonzero(np.diff(layout)) + 1
    runs = np.split(layout, edges)
    gaps = [(run[0], len(run) / 100) for run in runs if run[0] >= 0]
    assert {k for k, _ in gaps} == {0, 1}
    assert all(abs(length - [1.0, 5.0][k]) < 0.02 for k, length in gaps)
    between = [len(run) / 100 for run in runs if run[0] < 0][1:-1]
    assert min(between) > 9.9
    short = gap_layout(np.arange(5.0), [30.0], 10.0, np.random.default_rng(0))
    assert (short == -1).all()


def test_losses_have_their_share_and_the_larger_values_go_first() -> None:
    rng = np.random.default_rng(0)
    times = np.arange(0, 3000, 0.1)
    for share in (0.1, 0.5, 0.9):
        assert bursts(times, share, rng).mean() == pytest.approx(share, abs=0.06)
    values = rng.normal(size=(1, len(times))).astype(np.float32)
    values[:, 9000:12000] *= 5
    for mechanism in ("artefact", "amplitude"):
        hidden = not_at_random(times, values, mechanism, 0.1, rng)
        assert hidden.mean() == pytest.approx(0.1, abs=0.01)
        assert np.abs(values[0, hidden]).mean() > 2 * np.abs(values[0, ~hidden]).mean()


def test_a_score_of_two_people_has_bounds_and_of_one_none() -> None:
    values = np.array([[1.0, 3.0, np.nan], [2.0, np.nan, np.nan], [np.nan] * 3])
    middle, low, high = SubjectBootstrap(3).bounds(values)
    np.testing.assert_array_equal(middle, [2.0, 2.0, np.nan])
    assert (low[0], high[0]) == (1.0, 3.0)
    assert np.isnan(low[1:]).all()
    same, _, _ = SubjectBootstrap(3).skill(values, 2 * values)
    np.testing.assert_allclose(same[:2], 0.5)


def test_where_the_model_is_ahead() -> None:
    lengths = np.array([1.0, 4.0, 16.0])
    assert ahead_from(lengths, np.array([-1.0, 1.0, 2.0])) == 2.0
    assert ahead_until(lengths, np.array([1.0, -1.0, 2.0])) == 2.0
    assert ahead_from(lengths, np.array([1.0, 1.0, 1.0])) == 0.0
    assert ahead_until(lengths, np.array([1.0, 1.0, 1.0])) == np.inf
    assert ahead_from(lengths, np.array([1.0, 1.0, -1.0])) == np.inf
    assert ahead_until(lengths, np.array([-1.0, 1.0, 1.0])) == 0.0
    assert np.isnan(ahead_from(lengths, np.full(3, np.nan)))


def test_questions_depend_on_the_record_alone(two_fit: FittedModel, people: Cohort) -> None:
    record = two_fit.preprocessing.prepare(people[0])
    questions = Questions(tuple(subsets_of(two_fit.modalities)), GAPS, (), 8.0, 0)
    first, second = (questions.patterns(record, two_fit.modalities) for _ in range(2))
    for one, two in zip(first, second, strict=True):
        assert one.given == two.given
        for name in one.hidden:
            np.testing.assert_array_equal(one.hidden[name], two.hidden[name])


def test_a_calibrated_model_covers_and_remembers(
    unseen_fit: FittedModel, people: Cohort, tmp_path: Path
) -> None:
    known, new = Cohort(list(people)[:4]), Cohort(list(people)[4:])
    repaired = unseen_fit.calibrate(known, draws=12)
    assert repaired.calibration is not None
    assert repaired.calibration.subjects == known.subjects
    assert "exchangeable" in repaired.calibration.statement
    assert "ppg+resp" in repaired.calibration.table()
    assert unseen_fit.calibration is None
    raw = unseen_fit.impute(new[0], "ppg", level=0.7, draws=12)
    better = repaired.impute(new[0], "ppg", level=0.7, draws=12)
    np.testing.assert_array_equal(raw["mean"], better["mean"])
    half = repaired.calibration.factor(["resp"], "ppg", 0.7) * better["sd"]
    np.testing.assert_allclose(better["upper"] - better["mean"], half, rtol=1e-4)
    assert better.attrs["calibration_from"] == "pattern"
    assert better.attrs["calibration_subjects"] == 4
    repaired.save(tmp_path / "model")
    again = FittedModel.load(tmp_path / "model").impute(new[0], "ppg", level=0.7, draws=12)
    np.testing.assert_allclose(again["upper"], better["upper"], rtol=1e-4)
    with pytest.raises(SplitError, match="calibrated on 4"):
        repaired.evaluate(people)
    found = repaired.evaluate(new, gaps_s=(2.0,), draws=12)
    assert "coverage_repaired" in found["subset"]
    assert "repaired" in repr(found)


def test_the_repair_covers_the_calibration_people_at_the_level(
    unseen_fit: FittedModel, people: Cohort
) -> None:
    repaired = unseen_fit.calibrate(people, guarantee="asymptotic", draws=12, subsets=[["ppg"]])
    inside = []
    for record in people:
        imputed = repaired.impute(record, "resp", given=["ppg"], level=0.8, draws=12)
        truth = repaired.filtered(record, "resp").values
        seen = np.isfinite(truth)
        kept = (imputed["lower"].values <= truth) & (truth <= imputed["upper"].values)
        inside.append(kept[seen].mean())
    assert np.mean(inside) == pytest.approx(0.8, abs=0.03)


def test_an_uncalibrated_pattern_takes_the_pool_and_too_few_people_are_said(
    unseen_fit: FittedModel, people: Cohort
) -> None:
    repaired = unseen_fit.calibrate(
        people, draws=6, subsets=[["resp"], ["ppg"]], guarantee="finite_sample"
    )
    dropped = people[0].drop("ppg")  # given, and not there: nothing shown, no such pattern
    with pytest.warns(UserWarning, match="given .ppg. is in sim000 .there are resp.: the answer"):
        pooled = repaired.impute(dropped, "ppg", given=["ppg"], level=0.8, draws=6)
    assert pooled.attrs["calibration_from"] == "target"
    with pytest.warns(UserWarning, match="needs 19 calibration subjects, got 6"):
        wide = repaired.impute(people[0], "ppg", given=["resp"], level=0.95, draws=6)
    assert np.isinf(wide["upper"]).all()


def test_calibration_refuses_the_training_people(two_fit: FittedModel, people: Cohort) -> None:
    with pytest.raises(SplitError, match="trained on 6"):
        two_fit.calibrate(people)


def test_a_breathing_rate_is_repaired_where_breaths_were_marked(
    unseen_fit: FittedModel, people: Cohort, tmp_path: Path
) -> None:
    known, new = Cohort(list(people)[:5]), people[5]
    repaired = unseen_fit.calibrate(known, draws=6, subsets=[["ppg"]])
    raw = unseen_fit.breathing_rate(new, draws=6)
    better = repaired.breathing_rate(new, draws=6)
    np.testing.assert_array_equal(raw.rate, better.rate)
    assert raw.stop_s.values.tolist() == [32.0]
    assert raw.attrs["calibration"] == ""
    assert "exchangeable" in better.attrs["calibration"]
    imputed = unseen_fit.impute(new, "resp", given=["ppg"], draws=6)
    draws = imputed.draws.values[:, 0, : 32 * 125]
    counted, told = breathing_rate(draws, 125.0), float(breathing_rate(draws.mean(0), 125.0))
    assert float(raw.rate[0]) == pytest.approx(told)
    assert float(raw.lower[0]) == pytest.approx(min(told, float(np.nanquantile(counted, 0.05))))
    assert repaired.calibration is not None
    errors = repaired.calibration.rates[frozenset(["ppg"])]
    assert errors.subjects == known.subjects
    spread = float(np.nanstd(counted)) + 1.0
    half = float(errors.quantile(0.9)) * spread
    assert float(better.upper[0] - better.rate[0]) == pytest.approx(half, rel=1e-4)
    repaired.save(tmp_path / "model")
    again = FittedModel.load(tmp_path / "model").breathing_rate(new, draws=6)
    np.testing.assert_allclose(again.upper, better.upper, rtol=1e-4)
    unmarked = Cohort([replace(record, annotations={}) for record in known])
    bare = unseen_fit.calibrate(unmarked, draws=6, subsets=[["ppg"]])
    assert bare.breathing_rate(new, draws=6).attrs["calibration"] == ""


def test_another_device_is_evaluated_at_its_own_rate(
    unseen_fit: FittedModel, people: Cohort
) -> None:
    others = simulate(2, 0.5, seed=9, absent=0.0, ppg_rate_hz=200.0, resp_rate_hz=50.0)
    others = others.keep("ppg", "resp").prefixed("ward_")
    found = unseen_fit.evaluate(others, training=people, gaps_s=(1.0,), draws=4)
    assert found.attrs["subjects"] == sorted(others.subjects)
    whole = found["subset"].estimate.sel(score="crps", subset="ppg", target="resp")
    assert np.isfinite(whole.sel(predictor=["latentphys", "mean", "ridge", "kalman"])).all()
    assert np.isfinite(found["gap_s"].skill.sel(score="crps", predictor="linear")).all()


def test_breathing_is_scored_with_and_without_repair(two_fit: FittedModel, people: Cohort) -> None:
    records = [two_fit.prepared(record) for record in people]
    breaths = {r.record: r.annotations["breath"].time.values for r in people}
    question = Question("resp", ("ppg",), draws=6, window_s=8.0)
    found = score_breathing(two_fit.model, records, breaths, question, window_s=15.0)
    assert found["windows"] == 4 * len(people)
    first = two_fit.impute(people[0], "resp", given=["ppg"], draws=6)
    own = rates_of_draws(first.draws.values[:, 0], 125.0, breaths[people[0].record], 15.0)
    assert np.isfinite(own.score).all()
    assert 0.0 <= found["coverage"] < found["repaired_coverage"] <= 1.0
    assert found["repaired_width"] > found["width"]
    one = score_breathing(two_fit.model, records[:1], breaths, question)
    assert np.isnan(one["repaired_coverage"])


def test_a_record_is_no_cohort_and_a_text_no_list(unseen_fit: FittedModel, people: Cohort) -> None:
    record: Any = people[0]
    cohort_due = r"a Cohort, got Record. Put records together as Cohort\(records\)"
    for ask in (
        lambda: unseen_fit.evaluate(record),
        lambda: unseen_fit.evaluate(people, training=record),
        lambda: unseen_fit.calibrate(record),
        lambda: unseen_fit.audit(record),
        lambda: unseen_fit.audit(people, training=record),
    ):
        with pytest.raises(ArgumentError, match=cohort_due):
            ask()
    for wrong, words in (
        ({"subsets": "ppg"}, r"sets of sensors, got 'ppg'. Write \['ppg'\]"),
        ({"subsets": 3}, r"sets of sensors, got 3. Write \[\['ppg'\]"),
        ({"subsets": [3]}, "each of subsets is a list of sensors, got 3"),
        ({"gaps_s": 1.0}, r"lengths in seconds, got 1.0. Write \[1.0\]"),
        ({"missing": "artefact"}, r"kinds of loss, got 'artefact'. Write \['artefact'\]"),
    ):
        with pytest.raises((ArgumentError, ModalityError), match=words):
            unseen_fit.evaluate(people, **wrong)  # type: ignore[arg-type]


def test_a_guarantee_is_checked_before_the_work(
    unseen_fit: FittedModel, people: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latentphys.trust.held_out.scored", lambda *_: pytest.fail("it worked"))
    with pytest.raises(FitError, match="a guarantee is one of leave_one_out, .*; got 'x'"):
        unseen_fit.calibrate(people, guarantee="x")  # type: ignore[arg-type]


def test_records_shorter_than_a_window_of_breaths_have_no_rate(
    unseen_fit: FittedModel, people: Cohort
) -> None:
    short = people[0].crop(0.0, 31.0)
    told = unseen_fit.breathing_rate(short, draws=2)
    assert told.sizes == {"window": 0}
    few = Cohort([short, people[1], people[2]])
    fitted = unseen_fit.calibrate(few, subsets=[["ppg"]], draws=4)
    assert fitted.calibration is not None
    assert fitted.calibration.subjects == tuple(sorted(few.subjects))
    (rates,) = fitted.calibration.rates.values()
    assert set(rates.subjects) == set(people.subjects[1:3])
    assert fitted.breathing_rate(short, draws=2).sizes == {"window": 0}
    alone = unseen_fit.calibrate(Cohort([short]), subsets=[["ppg"]], draws=4)
    assert alone.calibration is not None
    assert not alone.calibration.rates


def test_a_score_that_there_is_not_is_not_drawn(evaluation: Evaluation) -> None:
    with pytest.raises(ArgumentError, match="score is one of .*crps.*; got 'crsp'. Did you mean"):
        plot_evaluation(evaluation, score="crsp")
