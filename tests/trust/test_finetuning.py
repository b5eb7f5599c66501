"""Fine-tuning: every kind and way, subjects apart, saved strictly, errors that say what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch

from latentphys.api import fit, load
from latentphys.learning.finetuning import FinetuningPlan, Lesson, finetune
from latentphys.learning.task_terms import Resilience, gaussian
from latentphys.learning.units import Units, outputs_of
from latentphys.model.heads import HeadSpec, TaskHead
from latentphys.plotting.assessment import plot_assessment
from latentphys.preparation.pieces import pieces_of
from latentphys.preparation.spans import Spans
from latentphys.recipes.catalogue import recipe
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import (
    ArgumentError,
    FitError,
    LabelError,
    ModalityError,
    ModelFileError,
    SplitError,
)
from latentphys.recordings.record import Record
from latentphys.recordings.simulation import simulate
from latentphys.trust.adapting import survival_times
from latentphys.trust.probe_scores import SCORES
from latentphys.trust.targets import reader_of
from latentphys.trust.task_calibration import of_classes, of_numbers

if TYPE_CHECKING:
    from latentphys.fitted import FittedModel

SMALL = {"latent_dim": 4, "evidence_dim": 6, "nuisance_dim": 2, "widths": (6, 8), "width": 8}
QUICK: dict[str, Any] = {"steps": 3, "progress": False, "adapt": "frozen"}


@pytest.fixture(scope="module")
def people() -> Cohort:
    return simulate(subjects=8, minutes=0.4, seed=3, absent=0.0).keep("ecg", "ppg", "resp")


@pytest.fixture(scope="module")
def base(people: Cohort) -> FittedModel:
    chosen = recipe("statespace", model=SMALL, batch_size=2, window_s=8.0)
    return fit(people[:5], recipe=chosen, steps=1, seed=0, progress=False)


@pytest.fixture(scope="module")
def tuned(base: FittedModel, people: Cohort) -> FittedModel:
    return base.finetune(people[:6], "heart_rate", **QUICK)


def named(people: Cohort, values: list[Any]) -> dict[str, Any]:
    return dict(zip(people.subjects, values, strict=False))


def test_a_number_of_each_window_with_its_interval(tuned: FittedModel, people: Cohort) -> None:
    told = tuned.predict(people[6:], given=["ppg"])
    assert set(told.data_vars) == {"mean", "sd", "lower", "upper"}
    assert told.sizes["unit"] == 6
    assert told.sensors.values.tolist() == ["ppg"] * 6
    assert (told.lower < told["mean"]).all()
    assert (told["mean"] < told.upper).all()
    assert "held-out subjects" in told.attrs["calibration"]
    assert str(tuned).endswith("tells heart_rate (number) of each window)")
    embedded = tuned.embed(people[6:])
    np.testing.assert_array_equal(told.start_s, embedded.start_s)
    np.testing.assert_array_equal(told.record, embedded.record)


@pytest.mark.parametrize("adapt", ["frozen", "head", "full"])
@pytest.mark.parametrize("resilient", [True, False])
def test_what_moves(base: FittedModel, people: Cohort, adapt: str, resilient: bool) -> None:
    before = {name: w.clone() for name, w in base.model.state_dict().items()}
    own = base.finetune(
        people[:4],
        "heart_rate",
        adapt=adapt,
        resilient=resilient,
        held_out=0.0,
        steps=2,
        progress=False,
    )
    assert all(torch.equal(w, before[name]) for name, w in base.model.state_dict().items())
    after = own.model.state_dict()
    moved = {name.split(".")[0] for name, w in before.items() if not torch.equal(w, after[name])}
    assert moved == ({"encoders", "guide_network"} if adapt == "full" else set())
    imputed = own.impute(people[6], "ppg", draws=2)
    assert np.isfinite(imputed["mean"]).all()


def test_the_same_seed_gives_the_same_weights(base: FittedModel, people: Cohort) -> None:
    a, b, c = (
        base.finetune(people[:4], "heart_rate", adapt="full", steps=2, seed=s, progress=False)
        for s in (0, 0, 1)
    )
    assert a.task is not None
    assert b.task is not None
    assert c.task is not None
    one, same, other = (x.task.head.out.weight for x in (a, b, c))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_classes_records_and_probabilities(base: FittedModel, people: Cohort) -> None:
    labels = named(people, ["a", "b", "c", "a", "b", "c", "a", "b"])
    own = base.finetune(people[:6], labels, unit="record", class_weights="balanced", **QUICK)
    told = own.predict(people)
    assert told["class"].values.tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(told.probability.sum("class"), 1.0)
    assert told.sizes["unit"] == 8
    assert told.predicted.values.tolist() == [
        "abc"[k] for k in told.probability.argmax("class").values
    ]
    scores = own.assess(people[6:], labels).dataset
    assert scores.score.values.tolist() == list(SCORES["class"])
    assert np.isfinite(scores.estimate.sel(score="calibration_error")).all()
    assert scores.sensors.values.tolist()[-2:] == ["ecg+ppg+resp", "baseline"]
    assert 0 <= float(scores.estimate.sel(sensors="ppg", score="accuracy")) <= 1


def test_scores_are_of_units_in_which_every_sensor_of_the_set_spoke(
    base: FittedModel, people: Cohort
) -> None:
    labels = named(people, ["a", "b", "c", "a", "b", "c", "a", "b"])
    own = base.finetune(people[:6], labels, unit="record", **QUICK)
    told = own.assess(Cohort([people[6].drop("ppg"), people[7]]), labels).dataset
    assert told.asked.sel(sensors="ecg+ppg").values.tolist() == [False, True]
    assert told.asked.sel(sensors="ecg+resp").values.tolist() == [True, True]
    assert told.asked.sel(sensors="baseline").all()
    right = (told.predicted == told.truth).sel(sensors="ecg+ppg").values
    assert told.estimate.sel(sensors="ecg+ppg", score="accuracy") == right[1]


def test_an_assessment_is_drawn(tuned: FittedModel, people: Cohort) -> None:
    import matplotlib.pyplot as plt

    found = tuned.assess(people[6:])
    ax = plot_assessment({"a": found, "b": found}, "mae")
    assert [label.get_text() for label in ax.get_xticklabels()][-1] == "ecg+ppg+resp"
    assert len(ax.containers) == 2
    baseline = float(found.dataset.estimate.sel(sensors="baseline", score="mae"))
    assert ax.lines[-1].get_ydata()[0] == baseline
    assert "mae" in found._repr_html_()
    plt.close(ax.figure)


def test_ordinal_labels_of_subjects(base: FittedModel, people: Cohort) -> None:
    grades = ["low", "middle", "high"] * 3
    kinds = pd.CategoricalDtype(["low", "middle", "high"], ordered=True)
    labels = pd.Series(grades[:8], index=people.subjects, dtype=kinds)
    own = base.finetune(people[:6], labels, unit="subject", **QUICK)
    assert own.task is not None
    assert own.task.kind == "ordinal"
    told = own.predict(people[6:])
    assert told["class"].values.tolist() == ["low", "middle", "high"]
    assert told.subject.values.tolist() == list(people[6:].subjects)
    np.testing.assert_allclose(told.probability.sum("class"), 1.0)
    assert "quadratic_kappa" in own.assess(people[6:], labels).dataset.score


def test_survival_from_a_table(base: FittedModel, people: Cohort) -> None:
    table = pd.DataFrame(
        {
            "subject": people.subjects,
            "time": [1.0, 2.0, 2.0, 4.0, 3.0, 6.0, 1.5, 7.0],
            "event": [True, True, True, False, True, False, True, False],
        }
    )
    own = base.finetune(people[:6], table, unit="subject", **QUICK)
    told = own.predict(people[6:], given=["ecg"])
    assert np.isfinite(told.risk).all()
    assert (told.survival.diff("horizon") <= 0).all()
    assert "log hazard ratio" in told.attrs["calibration"]
    scores = own.assess(people[6:], table)
    assert scores.dataset.score.values.tolist() == ["concordance"]
    assert float(scores.dataset.estimate.sel(sensors="baseline").item()) == 0.5
    assert "concordance" in repr(scores)


def test_epochs_are_read_from_the_windows_around_them(base: FittedModel) -> None:
    night = simulate(subjects=4, minutes=1.1, seed=5, absent=0.0).keep("ecg", "ppg")
    labels = {record.record: np.array([60.0 + k, 70.0 + k]) for k, record in enumerate(night)}
    own = base.finetune(night, labels, unit="epoch", given=["ppg"], held_out=0.0, **QUICK)
    assert own.predict(night).start_s.values.tolist() == [0.0, 30.0] * 4


def test_a_unit_without_a_sensor_has_what_was_true_of_training(
    tuned: FittedModel, people: Cohort
) -> None:
    record = people[6].drop("ppg")
    told = tuned.predict(record, given=["ppg"])
    assert tuned.task is not None
    assert told.sensors.values.tolist() == [""] * 3
    np.testing.assert_allclose(told["mean"], tuned.task.baseline.location)
    both = tuned.predict(record, given=["ecg", "ppg"])
    alone = tuned.predict(record, given=["ecg"])
    np.testing.assert_array_equal(both["mean"], alone["mean"])


def test_people_asked_together_are_asked_alone(tuned: FittedModel, people: Cohort) -> None:
    together = tuned.predict(people[5:])
    for record in people[5:]:
        alone = tuned.predict(record)
        own = together.isel(unit=together.record.values == record.record)
        np.testing.assert_allclose(own["mean"], alone["mean"], rtol=1e-6)


def test_saved_strictly(tuned: FittedModel, people: Cohort, tmp_path: Path) -> None:
    tuned.save(tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.predict(people[6:], given=["ecg"]).identical(
        tuned.predict(people[6:], given=["ecg"])
    )
    card = json.loads((tmp_path / "m" / "model.json").read_text())
    assert card["task"]["about"]["held_out"]
    del card["task"]
    (tmp_path / "m" / "model.json").write_text(json.dumps(card))
    with pytest.raises(ModelFileError, match="surplus .*task.out.bias"):
        load(tmp_path / "m")


def test_who_is_held_out_teaches_nothing(base: FittedModel, people: Cohort) -> None:
    """Other labels of held-out people choose another state at most: one check, one state."""
    labels = named(people, [60.0, 65.0, 70.0, 75.0, 80.0, 85.0, 61.0, 62.0])
    held = people[4:6]
    a, b = (
        base.finetune(people[:4], {**labels, **more}, held_out=held, unit="record", **QUICK)
        for more in ({}, named(held, [0.0, 500.0]))
    )
    assert a.task is not None
    assert b.task is not None
    assert a.task.about["held_out"] == sorted(held.subjects)
    assert a.task.baseline == b.task.baseline
    assert a.task.about["losses"][0]["loss"] == b.task.about["losses"][0]["loss"]
    assert a.task.calibration.factor != b.task.calibration.factor
    assert set(people[:6].subjects) <= set(a.training_subjects)


def units(people: Cohort, base: FittedModel) -> tuple[Units, Lesson]:
    records = [base.prepared(record) for record in people]
    whole = [Spans(np.zeros(1), np.array([r.duration_s])) for r in records]
    numbers = [np.array([k]) for k in range(len(records))]
    found = pieces_of(records, whole, numbers, 8.0, 12.5)
    read = Units.of(records, found, ("ecg", "ppg", "resp"))
    return read, Lesson(read, torch.arange(len(records)).float())


def test_who_the_model_was_fitted_on_is_no_stranger(base: FittedModel, people: Cohort) -> None:
    known = base.finetune(people[1:5], "heart_rate", held_out=people[:1] + people[5:6], **QUICK)
    said = known.predict(people[7]).attrs["calibration"]
    assert "2 held-out subjects; the model was fitted to 1 of them: too sure" in said
    new = base.finetune(people[1:5], "heart_rate", held_out=people[5:7], **QUICK)
    assert "fitted to" not in new.predict(people[7]).attrs["calibration"]


def test_training_ends_when_held_out_people_gain_nothing(base: FittedModel, people: Cohort) -> None:
    _, training = units(people[:4], base)
    _, other = units(people[4:6], base)
    # They are told the opposite: the first state is the best there is.
    other = Lesson(other.units, -3.0 * other.y - 5.0)
    plan = FinetuningPlan(steps=100, adapt="frozen", checks=50, patience=3, learning_rate=0.1)
    head = TaskHead(HeadSpec("number", 0, 4))
    learned = finetune(base.model, head, training, other, [("ecg", "ppg", "resp")], plan, False)
    losses = [row["held_out_loss"] for row in learned.rows]
    assert len(losses) - 1 - int(np.argmin(losses)) == 3
    assert len(losses) < 50
    f = outputs_of(base.model, learned.head, other.units, [("ecg", "ppg", "resp")])[0]
    sd = 0.01 + np.log1p(np.exp(f[:, 1] + 0.5413))
    own = (0.5 * ((other.y.numpy() - f[:, 0]) / sd) ** 2 + np.log(sd)).mean()
    assert own == pytest.approx(min(losses), rel=1e-5)


def test_resilient_training_serves_the_subsets(base: FittedModel, people: Cohort) -> None:
    """With sensors gone, a head taught on subsets errs less than one that saw them all together."""
    _, training = units(people[:6], base)
    subsets = [("ecg",), ("ppg",), ("resp",), ("ecg", "ppg", "resp")]
    losses = []
    for resilience in (None, Resilience()):
        torch.manual_seed(0)
        plan = FinetuningPlan(
            steps=150, adapt="frozen", resilience=resilience, learning_rate=0.03, weight_decay=0.0
        )
        head = TaskHead(HeadSpec("number", 0, 4))
        y = (training.y - training.y.mean()) / training.y.std()
        learned = finetune(base.model, head, Lesson(training.units, y), None, subsets, plan, False)
        f = outputs_of(base.model, learned.head, training.units, subsets)[:3, :, 0]
        losses.append(float(((f - y.numpy()) ** 2).mean()))
    assert losses[1] < losses[0]


def test_long_units_are_several_windows_and_short_ones_the_middle_of_one(
    base: FittedModel, people: Cohort
) -> None:
    record = base.prepared(people[0])
    spans = Spans(np.array([0.0, 3.0]), np.array([24.0, 5.0]))
    found = pieces_of([record], [spans], [np.arange(2)], 8.0, 12.5)
    assert found.windows.start_step.tolist() == [0, 100, 200, 0]
    assert found.unit.tolist() == [0, 0, 0, 1]
    inside = found.inside([3])[0]
    assert np.flatnonzero(inside).tolist() == list(range(37, 62))
    assert found.thinned(2).windows.start_step.tolist() == [0, 200, 0]


def test_temperatures_and_spreads_are_found() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1.0, 1.0, 1.0], 400)
    y = np.array([rng.choice(3, p=row) for row in p])
    subjects = np.repeat([f"p{k}" for k in range(20)], 20)
    sharp = np.log(p) * 3.0
    sharp -= np.logaddexp.reduce(sharp, axis=1, keepdims=True)
    found = of_classes({"a": sharp, "b": np.log(p)}, y, subjects)
    assert found.factor_of("a") == pytest.approx(3.0, rel=0.3)
    assert found.factor_of("b") == pytest.approx(1.0, rel=0.2)
    assert found.factor_of("never tried") > 1.2
    mean = rng.standard_normal(400)
    number = mean + 2.0 * rng.standard_normal(400)
    repaired = of_numbers({"a": (mean, np.ones(400))}, number, subjects)
    assert repaired.factor_of("a") == pytest.approx(2.0, rel=0.1)
    half, promise = repaired.half_width("a", 0.9)
    assert np.mean(np.abs(number - mean) <= 2.0 * half) == pytest.approx(0.92, abs=0.04)
    assert "at least that probability" in promise
    few = of_numbers({"a": (mean[:60], np.ones(60))}, number[:60], subjects[:60])
    wide, lesser = few.half_width("a", 0.9)
    assert np.isfinite(wide)
    assert "with few it may fall short" in lesser


def test_labels_come_as_tables_and_arrays() -> None:
    record = Record.from_arrays({"resp": (np.zeros(600), 10.0)}, subject="a", record="r")
    spans = Spans(np.array([0.0, 30.0]), np.array([30.0, 60.0]))

    def read(labels: Any) -> list[Any]:
        return reader_of(labels)[0](record, spans)

    table = pd.DataFrame({"record": ["r", "r"], "start_s": [0.0, 30.0], "stage": ["W", "N1"]})
    assert read(table) == ["W", "N1"]
    assert read(table.assign(subject="a")) == ["W", "N1"]
    assert read(pd.DataFrame({"age": [61]}, index=["a"])) == [61, 61]
    assert read({"r": np.array([1.5, 2.5])}) == [1.5, 2.5]
    with pytest.raises(LabelError, match="has 2 units and 3 labels.*Compare fit.embed"):
        read({"r": [1, 2, 3]})
    with pytest.raises(LabelError, match="one column.*or time and event; got age, sex"):
        read(pd.DataFrame({"age": [61], "sex": ["F"]}, index=["a"]))


def test_unlabelled_units_are_told_and_left_out(base: FittedModel, people: Cohort) -> None:
    labels = named(people, [60.0, np.nan, 70.0, None, 80.0, 75.0])
    with pytest.warns(UserWarning, match="2 of 6 records have no label"):
        own = base.finetune(people[:6], labels, unit="record", **QUICK)
    assert own.task is not None
    assert own.task.about["unlabelled"] == 2
    assert people.subjects[1] not in own.task.about["subjects"]


def test_errors_say_what_to_do(base: FittedModel, tuned: FittedModel, people: Cohort) -> None:
    train = people[:4]
    with pytest.raises(ArgumentError, match="fine-tuning takes a Cohort, got Record"):
        base.finetune(train[0], "heart_rate", **QUICK)  # type: ignore[arg-type]
    with pytest.raises(LabelError, match="none of them has 'hart_rate'.*Did you mean 'heart_rate'"):
        base.finetune(train, "hart_rate", **QUICK)
    with pytest.raises(LabelError, match="no window of these.*by subject, as 'sim000'"):
        base.finetune(train, {"nobody": 1.0}, **QUICK)
    with pytest.raises(LabelError, match="no record of these recordings has a label"):
        base.finetune(train, named(train, [np.nan] * 4), unit="record", **QUICK)
    with pytest.raises(LabelError, match="labels tell units apart; all 4 units have 'a'"):
        base.finetune(train, named(train, ["a"] * 4), unit="record", **QUICK)
    never = named(train, [(1.0, False)] * 4)
    with pytest.raises(LabelError, match="none of the 4 units has one. Follow up longer"):
        base.finetune(train, never, unit="record", **QUICK)
    early = named(train, [(-1.0, True)] * 4)
    with pytest.raises(LabelError, match="survival times are above 0; got -1"):
        base.finetune(train, early, unit="record", **QUICK)
    with pytest.raises(LabelError, match=r"a pair.*got 60.0. Write \(3.2, True\)"):
        base.finetune(train, named(train, [60.0] * 4), unit="record", kind="survival", **QUICK)
    with pytest.raises(LabelError, match="three levels or more; got 0, 1. Take kind='class'"):
        base.finetune(train, named(train, [0, 1, 0, 1]), unit="record", kind="ordinal", **QUICK)
    with pytest.raises(SplitError, match="on both sides are sim003.*cohort.split"):
        base.finetune(train, "heart_rate", held_out=people[3:5], **QUICK)
    with pytest.raises(SplitError, match="it was trained on 1 of these subjects: sim005"):
        tuned.assess(people[5:])
    with pytest.raises(ArgumentError, match="class_weights are of classes; these .* a number"):
        base.finetune(train, "heart_rate", class_weights="balanced", **QUICK)
    two = named(train, ["a", "b", "a", "b"])
    with pytest.raises(ArgumentError, match="a positive weight for each of a, b; got"):
        base.finetune(train, two, class_weights={"a": 1.0}, unit="record", held_out=0.0, **QUICK)
    for wrong in ({"adapt": "half"}, {"unit": "beat"}, {"kind": "text"}):
        with pytest.raises(ArgumentError, match="is one of"):
            base.finetune(train, "heart_rate", **{**QUICK, **wrong})
    with pytest.raises(ModalityError, match="got 'eeg'"):
        base.finetune(train, "heart_rate", given=["eeg"], **QUICK)
    with pytest.raises(FitError, match="this model was taught none.*fit.finetune"):
        base.predict(people)
    one = base.finetune(train, "heart_rate", given=["ecg"], held_out=0.0, **QUICK)
    with pytest.raises(ModalityError, match="taught with ecg; got 'ppg'"):
        one.predict(people, given=["ppg"])
    with pytest.warns(UserWarning, match="nobody of the 3 labelled subjects is held out"):
        base.finetune(people[:3], "heart_rate", **QUICK)
    strange = base.finetune(train, two, unit="record", held_out=0.0, **QUICK)
    with pytest.raises(LabelError, match="this task tells 'a', 'b' apart; .* also are 'c'"):
        strange.assess(people[6:], named(people[6:], ["a", "c"]))
    with pytest.raises(LabelError, match="labels that have no name; pass those"):
        strange.assess(people[6:])


def test_a_network_learns_a_frequency_and_does_not_run_away() -> None:
    """From paths alone: what oscillates faster has the larger label, whatever its height."""
    rng = torch.Generator().manual_seed(0)
    hz = 0.15 + 0.35 * torch.rand(96, generator=rng)
    time = torch.arange(100) / 12.5
    phase = 6.28 * torch.rand(96, 3, generator=rng)
    height = 0.5 + 2.0 * torch.rand(96, 1, 3, generator=rng)
    wave = height * torch.sin(6.28 * hz[:, None, None] * time[:, None] + phase[:, None])
    steps = torch.cat([wave, torch.full_like(wave, -2.0)], dim=-1)
    inside, y = torch.ones(96, 100, dtype=torch.bool), (hz - hz.mean()) / hz.std()
    torch.manual_seed(0)
    head = TaskHead(HeadSpec("number", 0, 3, (16, 16, 16)))
    head.standardise(head.figures(steps[:64], inside[:64]))
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-3)
    largest = 0.0
    for _ in range(60):
        f, h = head(steps[:64], inside[:64])
        optimiser.zero_grad()
        gaussian(f, y[:64], 0.5).mean().backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimiser.step()
        largest = max(largest, float(h.detach().abs().max()))
    with torch.no_grad():
        error = head.eval()(steps[64:], inside[64:]).f[:, 0] - y[64:]
    assert largest < 30.0
    assert float((error**2).mean()) < 0.5


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (["alive", "dead"], "True or False .1 or 0.; got 'alive'. Write event == 'dead'"),
        (["alive"] * 2, "got 'alive'"),
        (["0", "1"], "got '0'"),
        ([1, 2], "got 2.*R's 1 and 2 event == 2"),
        ([-1, 1], "got -1"),
        ([0.5, 1], "got 0.5"),
    ],
)
def test_an_event_is_true_or_false(
    base: FittedModel, people: Cohort, events: list[Any], words: str
) -> None:
    pairs = [(k + 1.0, events[k % 2]) for k in range(4)]
    with pytest.raises(LabelError, match=words):
        base.finetune(people[:4], named(people, pairs), unit="subject", kind="survival", **QUICK)


def test_survival_times_as_they_may_be() -> None:
    pairs = [(1, True), (2.0, np.bool_(False)), (np.float32(3.0), 1), (4.0, np.int64(0)), (5, 1.0)]
    expected = [[1, 1], [2, 0], [3, 1], [4, 0], [5, 1]]
    np.testing.assert_array_equal(survival_times(pairs), expected)
    with pytest.raises(LabelError, match="labels are finite numbers; 1 are infinite"):
        survival_times([(np.inf, True), (2.0, True)])
    with pytest.raises(LabelError, match=r"a pair.*got \('soon', True\)"):
        survival_times([("soon", True)])


def test_labels_of_nobody_are_named_where_somebody_has_none(
    base: FittedModel, people: Cohort
) -> None:
    train, mistyped = people[:4], dict(zip(["sim000", "sim001", "sim002"], "aba", strict=True))
    mistyped["smi003"] = "b"
    words = "smi003 are of nobody here, and sim003 have no label. Did you mean 'sim003'"
    with pytest.warns(UserWarning, match=words), pytest.warns(UserWarning, match="1 of 4 records"):
        own = base.finetune(train, mistyped, unit="record", held_out=0.0, **QUICK)
    assert own.task is not None
    assert own.task.about["units"] == 3
    # A table of everybody serves both sides of a split, and a NaN is no misspelling.
    everybody = named(people, list("abababab"))
    own = base.finetune(train, everybody, unit="record", held_out=0.0, **QUICK)
    with pytest.warns(UserWarning, match="smi003 are of nobody here, and sim007 have no label"):
        own.assess(people[6:], {"sim006": "a", "smi003": "b"})


def test_an_assessment_takes_people_and_sets_of_sensors(tuned: FittedModel, people: Cohort) -> None:
    with pytest.raises(ArgumentError, match=r"an assessment is of a Cohort, got Record.*Cohort\("):
        tuned.assess(people[6])  # type: ignore[arg-type]
    with pytest.raises(ModalityError, match="one or more sets of ecg, ppg, resp; got none. Leave"):
        tuned.assess(people[6:], subsets=[])
    with pytest.raises(ModalityError, match=r"list of sets of sensors, got 'ecg'. Write \['ecg'\]"):
        tuned.assess(people[6:], subsets="ecg")
    with pytest.raises(ArgumentError, match="score is one of r2, mae, .*; got 'zzz'"):
        plot_assessment(tuned.assess(people[6:]), "zzz")
