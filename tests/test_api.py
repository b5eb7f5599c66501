"""The verbs: refused before any work, reproducible, and honest about what they used."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import latentphys as lp
from latentphys.api import _checks, fit
from latentphys.fitted import FittedModel, summary_of
from latentphys.recipes.catalogue import recipe
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import (
    CohortError,
    FitError,
    LatentphysError,
    SplitError,
    UnitError,
    WriteError,
)
from latentphys.recordings.record import Record

TINY = {"latent_dim": 6, "window_s": 8.0, "progress": False}


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Preparing a record or making a model is work."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("work was done before the arguments were checked")

    monkeypatch.setattr("latentphys.preparation.preprocessing.Preprocessing.prepare", refuse)
    monkeypatch.setattr("latentphys.api.StateSpaceModel", refuse)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 3, "minutes": 1.0}, r"one budget, got \['minutes', 'steps'\]"),
        ({"steps": 0}, "steps is a whole number from 1 up, got 0"),
        ({"minutes": -1.0}, "minutes is a finite number above 0, got -1.0"),
        ({"steps": 2.5}, "steps is a whole number from 1 up, got 2.5"),
        ({"steps": 1, "seed": -1}, "seed is a whole number from 0 up, got -1"),
        ({"steps": 1, "seed": 0.5}, "seed is a whole number from 0 up, got 0.5"),
        ({"steps": 1, "latent_dim": 0}, "latent_dim is a whole number from 1 up, got 0"),
        ({"steps": 1, "window_s": 0}, "window_s is a finite number above 0, got 0"),
        ({"steps": 1, "window_s": -1.0}, "window_s is a finite number above 0, got -1.0"),
        ({"steps": 1, "window_s": float("nan")}, "window_s is a finite number above 0, got nan"),
        ({"steps": 1, "held_out": -1}, "held_out is from 0 up to, but not, 1, got -1"),
        ({"steps": 1, "held_out": 2}, "held_out is from 0 up to, but not, 1, got 2"),
        ({"minutes": float("inf")}, "minutes is a finite number above 0, got inf"),
        ({"minutes": float("nan")}, "minutes is a finite number above 0, got nan"),
        ({"steps": 1, "seed": 2**70}, r"seed is a whole number below 2\*\*63, got 11805916"),
        ({"steps": 1, "preprocessing": {}}, "preprocessing is a Preprocessing, got dict"),
        ({"steps": 1, "window_s": 0.5}, "12 steps .* or more, 0.96 s at 12.5 Hz.*window_s=0.5"),
    ],
)
def test_a_budget_that_cannot_be(
    tiny_cohort: Cohort, changes: dict[str, float], words: str
) -> None:
    with pytest.raises(FitError, match=words):
        fit(tiny_cohort, **changes)  # type: ignore[arg-type]


@pytest.mark.usefixtures("no_work")
def test_one_modality_in_two_units(tiny_cohort: Cohort) -> None:
    odd = tiny_cohort[0].signals["ecg"].assign_attrs(units="uV")
    record = replace(tiny_cohort[0], signals={"ecg": odd}, record="odd")
    with pytest.raises(UnitError, match="ecg"):
        fit(tiny_cohort + record, steps=1)


def test_what_is_fitted_may_be_records(tiny_cohort: Cohort) -> None:
    short = tiny_cohort[0].crop(0.0, 10.0)
    for data in (short, [short]):
        fitted = fit(data, steps=1, **TINY)  # type: ignore[arg-type]
        assert fitted.training_subjects == (short.subject,)
    with pytest.raises(CohortError, match="a Cohort, a Record or a list of records, got str"):
        fit("data/bidmc", steps=1)  # type: ignore[arg-type]


def test_a_record_without_a_sample_is_left_out_and_named(tiny_cohort: Cohort) -> None:
    silent = Record.from_arrays({"ecg": (np.full(100, np.nan), 125.0)}, subject="quiet")
    strange = Record.from_arrays({"ecg": (np.full(300, np.nan), 125.0)}, subject="empty")
    cohort = Cohort([tiny_cohort[0], tiny_cohort[1], silent, strange])
    with pytest.warns(UserWarning, match="left out: quiet, empty"):
        fitted = fit(cohort, steps=12, **TINY)  # type: ignore[arg-type]
    assert all(np.isfinite(v) for row in fitted.history.rows for v in row.values())


def test_a_record_silent_but_for_a_moment_trains(tiny_cohort: Cohort) -> None:
    ecg = np.full(60 * 125, np.nan)
    ecg[3000:3400] = tiny_cohort[0].signals["ecg"].values[0, 3000:3400]
    brief = Record.from_arrays({"ecg": (ecg, 125.0)}, subject="brief")
    fitted = fit(brief, steps=3, **TINY)  # type: ignore[arg-type]
    assert all(np.isfinite(v) for row in fitted.history.rows for v in row.values())


def test_a_silent_channel_does_not_set_the_typical_size(tiny_cohort: Cohort) -> None:
    x = np.full((2, 2000), np.nan)
    x[0] = 0.01 * np.sin(np.arange(2000) / 9.0)
    fitted = fit(Record.from_arrays({"ppg": (x, 125.0)}, subject="a"), steps=1, **TINY)  # type: ignore[arg-type]
    assert all(0.001 < scale < 0.02 for scale in fitted.model.spec.sensors["ppg"].scale)


def test_an_empty_cohort() -> None:
    with pytest.raises(CohortError, match="at least one record, got none"):
        Cohort([])

    class Nothing:
        def __len__(self) -> int:
            return 0

    with pytest.raises(CohortError, match="at least one record, got an empty cohort"):
        summary_of(Nothing())  # type: ignore[arg-type]


def test_nothing_observed() -> None:
    silent = {"ecg": (np.full(2000, np.nan), 125.0)}
    cohort = Cohort([Record.from_arrays(silent, subject=name) for name in "ab"])
    with pytest.raises(FitError, match="at least one observed sample.*NaN throughout"):
        fit(cohort, steps=1, **TINY)  # type: ignore[arg-type]


def test_the_least_window_trains(tiny_cohort: Cohort) -> None:
    fitted = fit(tiny_cohort[:1], steps=1, latent_dim=4, window_s=0.96, progress=False)
    assert all(np.isfinite(v) for row in fitted.history.rows for v in row.values())
    without = recipe("statespace", objective={"block": 0.0})
    fit(tiny_cohort[:1], steps=1, recipe=without, latent_dim=4, window_s=0.3, progress=False)


@pytest.mark.usefixtures("no_work")
def test_a_checkpoint_that_cannot_be_written(
    tiny_cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "afile").write_text("x")
    with pytest.raises(WriteError, match="afile' is a file. Give another path"):
        fit(tiny_cohort, steps=1, checkpoint=tmp_path / "afile" / "run")
    with pytest.raises(WriteError, match="a folder, given by its path; got ''"):
        fit(tiny_cohort, steps=1, checkpoint="")
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write anywhere
    with pytest.raises(WriteError, match="cannot be written to. Give another path"):
        fit(tiny_cohort, steps=1, checkpoint=tmp_path / "new" / "run")
    assert not (tmp_path / "new").exists()


def test_sensors_without_a_sample_anywhere_are_named(tiny_cohort: Cohort) -> None:
    def of(k: int, ppg: np.ndarray) -> Record:
        arrays = {"ecg": tiny_cohort[k].signals["ecg"].values[:1, :2500], "ppg": ppg}
        arrays["resp"] = np.full(2500, 3.0)
        signals = {name: (x, 125.0) for name, x in arrays.items()}
        return Record.from_arrays(signals, subject=f"s{k}")

    nothing = np.full(2500, np.nan)
    with pytest.warns(UserWarning, match="constant, or .*and left out: ppg, resp. Look"):
        fitted = fit([of(0, nothing), of(1, nothing)], steps=1, **TINY)  # type: ignore[arg-type]
    assert fitted.modalities == ("ecg",)
    some = tiny_cohort[1].signals["ppg"].values[0, :2500]
    with pytest.warns(UserWarning, match="and left out: resp. Look"):
        fitted = fit([of(0, nothing), of(1, some)], steps=1, **TINY)  # type: ignore[arg-type]
    assert fitted.modalities == ("ecg", "ppg")


@pytest.mark.parametrize("field", ["weights", "own_gaps"])
def test_an_objective_names_sensors_there_are(tiny_cohort: Cohort, field: str) -> None:
    people = tiny_cohort[:1].keep("ecg", "ppg")
    wrong = recipe("statespace", objective={field: {"egc": 0.5}})
    with pytest.raises(
        FitError, match=f"{field} of the objective .*ecg, ppg; got 'egc'. Did you m"
    ):
        fit(people, steps=1, recipe=wrong, **TINY)  # type: ignore[arg-type]
    right = recipe("statespace", objective={field: {"ecg": 0.5}})
    fit(people, steps=1, recipe=right, **TINY)  # type: ignore[arg-type]


def test_a_clock_far_ahead_of_all_signals_is_said() -> None:
    def of(rate_hz: float) -> Record:
        hr = 70.0 + 5.0 * np.sin(np.arange(400) / 9.0)
        return Record.from_arrays({"hr": (hr, rate_hz)}, subject="a", units={"hr": "1/min"})

    words = r"the fastest of hr has 0.0333 samples.*state_rate_hz=0.0333, window_s=6000\), say"
    with pytest.warns(UserWarning, match=words):
        fit(of(1 / 30), steps=1, **TINY)  # type: ignore[arg-type]
    slow = recipe("statespace", state_rate_hz=1 / 30, window_s=600.0)
    fit(of(1 / 30), steps=1, recipe=slow, latent_dim=4, progress=False)
    fit(of(1.5), steps=1, **TINY)  # type: ignore[arg-type]


def test_every_error_can_be_caught_at_once() -> None:
    for error in (FitError, CohortError, UnitError):
        assert issubclass(error, LatentphysError)
        assert issubclass(error, ValueError)


def test_a_seed_gives_the_same_weights(tiny_cohort: Cohort) -> None:
    cohort = tiny_cohort[:2]
    one, two, other = (fit(cohort, steps=2, seed=s, **TINY) for s in (0, 0, 1))  # type: ignore[arg-type]
    weights = [model.model.state_dict() for model in (one, two, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert any(not torch.equal(weights[0][name], weights[2][name]) for name in weights[0])
    rows = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in model.history.rows]
        for model in (one, two)
    ]
    assert rows[0] == rows[1]


def test_a_fit_says_what_it_was_made_of(tiny_fit: FittedModel, tiny_cohort: Cohort) -> None:
    assert tiny_fit.modalities == ("ecg", "ppg", "resp", "spo2")
    assert tiny_fit.about["subjects"] == list(tiny_cohort.subjects)
    assert len(tiny_fit.about["held_out"]) == 1
    assert tiny_fit.about["plan"]["steps"] == 8
    assert tiny_fit.about["units"] == {"ecg": "mV", "ppg": "NU", "resp": "NU", "spo2": "%"}
    assert not tiny_fit.model.training
    assert tiny_fit.model.spec.inputs == ("drive",)
    spec = tiny_fit.model.spec.sensors
    assert spec["ecg"].channels == ("II", "V")
    assert spec["spo2"].rate_hz == 1.0
    assert spec["spo2"].size == 1
    assert spec["ecg"].likelihood == "student_t"
    assert "latent 6 at 12.5 Hz" in repr(tiny_fit)
    assert all(np.isfinite(v) for row in tiny_fit.history.rows for v in row.values())
    assert any("held_out_loss" in row for row in tiny_fit.history.rows)


def test_people_of_one_s_own_choose_the_best_state(tiny_cohort: Cohort) -> None:
    training, checking = tiny_cohort[:2], tiny_cohort[2:4]
    fitted = fit(training, steps=2, held_out=checking, **TINY)  # type: ignore[arg-type]
    assert fitted.about["held_out"] == [entry.subject for entry in checking.entries]
    assert fitted.about["subjects"] == list(tiny_cohort[:4].subjects)
    assert fitted.about["records"] == list(tiny_cohort[:4].names)
    alone = fit(training, steps=2, held_out=0.0, **TINY)  # type: ignore[arg-type]
    assert "held_out_loss" in fitted.history.rows[-1]
    assert "held_out_loss" not in alone.history.rows[-1]
    # They choose, and teach nothing.
    losses = [model.history.rows[-1]["loss"] for model in (fitted, alone)]
    assert losses[0] == losses[1]
    with pytest.raises(SplitError, match="nobody it learns from; on both sides"):
        fit(training, steps=2, held_out=tiny_cohort[1:3], **TINY)  # type: ignore[arg-type]


def test_a_short_record_is_checked_as_long_as_it_is(
    tiny_fit: FittedModel, tiny_cohort: Cohort
) -> None:
    long, short, alike = (tiny_cohort[k].crop(0.0, s) for k, s in enumerate((30.0, 5.0, 5.0)))
    reserve = [tiny_fit.prepared(record) for record in (short, long, alike)]
    chosen = recipe("statespace", window_s=8.0)
    batches = _checks(reserve, tiny_fit.model.spec, chosen)
    steps = round(5.0 * chosen.state_rate_hz) + 1  # that of the last half
    assert {batch.steps: batch.record for batch in batches} == {
        steps: [short.record, alike.record],
        100: [long.record] * 4,
    }


def test_a_time_budget_is_kept(tiny_cohort: Cohort) -> None:
    began = time.monotonic()
    fitted = fit(tiny_cohort[:2], minutes=1 / 60, **TINY)  # type: ignore[arg-type]
    assert time.monotonic() - began < 15.0
    assert fitted.history.rows


def test_the_public_names() -> None:
    assert lp.fit is fit
    assert set(lp.__all__) <= set(dir(lp))
    assert all(getattr(lp, name) is not None for name in lp.__all__)
    with pytest.raises(AttributeError, match="no attribute 'fti'"):
        lp.fti  # noqa: B018
