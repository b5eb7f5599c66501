"""What is asked at the door: numbers that cannot be, units, inputs, absent sensors, training."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import latentphys as lp
from latentphys.fitted import FittedModel
from latentphys.inference.imputation import Question
from latentphys.inference.paths import paths_of
from latentphys.model.statespace import ModelSpec, StateSpaceModel
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import (
    ArgumentError,
    CohortError,
    InputError,
    LatentphysError,
    ModalityError,
    ModelFileError,
    SplitError,
    UnitError,
    WriteError,
)
from latentphys.recordings.record import Record


@pytest.fixture(scope="module")
def record(tiny_cohort: Cohort) -> Record:
    return tiny_cohort[0].crop(0.0, 20.0)


def changed(record: Record, name: str, factor: float, units: str) -> Record:
    signal = record.signals[name]
    made = signal.copy(data=(signal.values * factor).astype(signal.dtype)).assign_attrs(units=units)
    return replace(record, signals={**record.signals, name: made})


def with_inputs(record: Record, values: object, names: list[str], times: object) -> Record:
    array = xr.DataArray(
        np.atleast_2d(np.asarray(values, dtype=np.float64)),
        dims=("input", "time"),
        coords={"input": names, "time": np.asarray(times, dtype=np.float64)},
    )
    return replace(record, inputs=array)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"draws": 0}, "draws is a whole number from 2 up, got 0. .*100 is usual"),
        ({"draws": 1}, "draws is a whole number from 2 up, got 1"),
        ({"draws": 2.5}, "draws is a whole number from 2 up, got 2.5"),
        ({"draws": True}, "draws is a whole number .* got True"),
        ({"level": 90}, "level is between 0 and 1, got 90. For a 90 % interval write 0.9"),
        ({"level": 0}, "level is between 0 and 1, got 0"),
        ({"level": float("nan")}, "level is between 0 and 1, got nan"),
        ({"seed": -1}, "seed is a whole number from 0 up, got -1"),
        ({"scaling": "mine"}, "scaling is 'own' or 'training', got 'mine'"),
    ],
)
def test_numbers_that_cannot_be(
    tiny_fit: FittedModel, record: Record, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(ArgumentError, match=words):
        tiny_fit.impute(record, "ppg", **changes)  # type: ignore[call-overload]


def test_the_other_doors(tiny_fit: FittedModel, record: Record) -> None:
    with pytest.raises(ArgumentError, match="draws is a whole number from 1 up, got 0"):
        tiny_fit.posterior(record, draws=0)
    with pytest.raises(ArgumentError, match="seed is a whole number from 0 up, got -1"):
        tiny_fit.posterior(record, seed=-1)
    with pytest.raises(ArgumentError, match="unit is one of patch, beat, .*, subject; got 'night'"):
        tiny_fit.embed(record, "night")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="window_s is a finite number above 0, got 0"):
        Question("ppg", ("ecg",), window_s=0)
    with pytest.raises(ArgumentError, match=r"a Record or a Cohort, got list.*Cohort\(records\)"):
        tiny_fit.posterior([record])  # type: ignore[arg-type]
    with pytest.raises(LatentphysError, match="record 'sim000' has no modality 'pgp'.*'ppg'"):
        tiny_fit.filtered(record, "pgp")
    assert tiny_fit.posterior(record, draws=np.int64(2))["posterior"].sizes["sample"] == 2


def test_a_record_without_any_known_sensor_is_answered_by_the_prior(
    tiny_fit: FittedModel, record: Record
) -> None:
    ecg = record.signals["ecg"]
    nothing = ecg.copy(data=np.full_like(ecg.values, np.nan))
    silent = replace(record, signals={"ecg": nothing}, inputs=None)
    strange = Record.from_arrays({"gsr": (np.ones(800), 40.0)}, subject="x", record="sim000")
    for asked, given in ((silent, None), (strange, [])):
        group = tiny_fit.posterior(asked, given=given, draws=4)["posterior"]
        assert np.isfinite(group.z).all()
        assert tiny_fit.embed(asked, given=given).shape[0] >= 1
        answer = tiny_fit.impute(asked, "resp", given=given, draws=4)
        assert all(np.isfinite(answer[name]).all() for name in answer.data_vars)
    one, two = (tiny_fit.posterior(r, given=[], draws=4)["posterior"].z for r in (silent, strange))
    np.testing.assert_array_equal(one, two)


def test_a_silent_channel_beside_others_has_the_training_subjects_size(
    tiny_fit: FittedModel, tiny_cohort: Cohort
) -> None:
    two = next(r for r in tiny_cohort if r.signals["ecg"].sizes["channel"] == 2)
    ecg = two.signals["ecg"].copy(data=500.0 * two.signals["ecg"].values + 70.0)
    ecg.values[1] = np.nan
    record = replace(two, signals={**two.signals, "ecg": ecg}).crop(0.0, 20.0)
    answer = tiny_fit.impute(record, "ecg", given=["resp"], draws=20)
    usual = tiny_fit.model.spec.sensors["ecg"].scaling(["V"]).scale.item()
    assert answer.attrs["scaling"] == "II: own, V: training"
    assert 0.3 * usual < float(answer.sd[1].mean()) < 3.0 * usual
    assert float(answer.sd[0].mean()) > 30.0 * usual
    assert usual < 0.9, "a scale of 1 would pass unseen"


def test_the_training_scaling_uses_nothing_of_the_target(
    tiny_fit: FittedModel, record: Record
) -> None:
    big = changed(record, "ppg", 40.0, "NU")
    one, two = (
        tiny_fit.impute(r, "ppg", given=["ecg"], draws=5, scaling="training") for r in (record, big)
    )
    xr.testing.assert_identical(one, two)
    assert one.attrs["scaling"] == "training"
    own = tiny_fit.impute(big, "ppg", given=["ecg"], draws=5)
    assert own.attrs["scaling"] == "own"
    assert float(own.sd.mean()) > 10.0 * float(one.sd.mean())


@pytest.mark.parametrize(
    ("name", "factor", "units"),
    [("spo2", 0.01, "1"), ("ecg", 1000.0, "uV")],
)
def test_other_units_are_converted_and_answered_in(
    tiny_fit: FittedModel, record: Record, name: str, factor: float, units: str
) -> None:
    other = changed(record, name, factor, units)
    plain, converted = (tiny_fit.prepared(r).signals[name].values for r in (record, other))
    np.testing.assert_allclose(converted, plain, atol=2e-3)
    for scaling in ("own", "training"):
        one, two = (
            tiny_fit.impute(r, name, draws=5, scaling=scaling)  # type: ignore[call-overload]
            for r in (record, other)
        )
        assert two["mean"].attrs["units"] == units
        for part in ("mean", "sd", "lower", "upper"):
            spread = float(one.sd.mean())
            np.testing.assert_allclose(two[part] / factor, one[part], atol=0.02 * spread)


def test_units_that_cannot_be_are_refused(tiny_fit: FittedModel, record: Record) -> None:
    with pytest.raises(
        UnitError,
        match="'ecg' of record 'sim000' is in 'mmHg'.*fitted on 'ecg' in 'mV'.*record.drop",
    ):
        tiny_fit.posterior(changed(record, "ecg", 1.0, "mmHg"))
    for units in ("", "%"):
        with pytest.raises(UnitError, match="used from 40 to 100 %.*look like a fraction.*'1'"):
            tiny_fit.posterior(changed(record, "spo2", 0.01, units))
    with pytest.warns(UserWarning, match="'spo2' of record 'sim000' .*counts as not observed"):
        tiny_fit.posterior(changed(record, "spo2", 0.0, "%"), draws=2)


def test_a_heart_rate_in_hertz_is_one_in_beats_a_minute(tiny_fit: FittedModel) -> None:
    beats = np.linspace(60.0, 90.0, 60)
    prepare = tiny_fit.preprocessing.prepare

    def made(values: np.ndarray, units: str) -> np.ndarray:
        record = Record.from_arrays({"hr": (values, 1.0)}, subject="a", units={"hr": units})
        return prepare(record).signals["hr"].values

    plain = made(beats, "1/min")
    assert np.isfinite(plain).all()
    np.testing.assert_allclose(made(beats / 60.0, "Hz"), plain, atol=1e-5)
    np.testing.assert_array_equal(made(beats, "bpm"), plain)
    np.testing.assert_array_equal(made(beats, ""), plain)
    with pytest.raises(UnitError, match="'hr' of record 'a'.*look like per second.*'Hz'"):
        made(beats / 60.0, "")
    with pytest.raises(UnitError, match="'hr' of record 'a' is taken in '1/min'.*'mV'"):
        made(beats, "mV")


@pytest.fixture(scope="module")
def driven(tiny_fit: FittedModel) -> FittedModel:
    """A model of two inputs; its weights are random, that is enough to tell what reaches it."""
    torch.manual_seed(0)
    spec = ModelSpec.from_dict({**tiny_fit.model.spec.to_dict(), "inputs": ["drug", "tilt"]})
    return replace(tiny_fit, model=StateSpaceModel(spec).eval())


def prior_of(driven: FittedModel, record: Record) -> np.ndarray:
    """Draws of the driven prior: no sensor is given."""
    bare = replace(
        Record.from_arrays({"gsr": (np.ones(800), 40.0)}, subject="x"), inputs=record.inputs
    )
    return driven.posterior(bare, given=[], draws=3)["posterior"].z.values


def test_inputs_are_matched_by_name(driven: FittedModel, record: Record) -> None:
    times = np.arange(20.0)
    drug, tilt = np.sin(times), np.cos(times)
    both = with_inputs(record, [drug, tilt], ["drug", "tilt"], times)
    swapped = with_inputs(record, [tilt, drug], ["tilt", "drug"], times)
    more = with_inputs(record, [tilt, drug, drug], ["tilt", "drug", "noise"], times)
    expected = prior_of(driven, both)
    np.testing.assert_array_equal(prior_of(driven, swapped), expected)
    np.testing.assert_array_equal(prior_of(driven, more), expected)
    alone = prior_of(driven, with_inputs(record, [drug], ["drug"], times))
    still = prior_of(driven, with_inputs(record, [drug, 0 * tilt], ["drug", "tilt"], times))
    np.testing.assert_array_equal(alone, still)
    assert not np.allclose(alone, expected)
    with pytest.raises(InputError, match="fitted with drug, tilt, record 'x' has drog.*'drug'"):
        prior_of(driven, with_inputs(record, [drug], ["drog"], times))


def test_inputs_have_a_time_of_their_own(driven: FittedModel, record: Record) -> None:
    names = ["drug", "tilt"]
    # One change of dose at 7.3 s, told three ways.
    irregular = with_inputs(record, [[0.0, 2.0], [1.0, 1.0]], names, [0.0, 7.3])
    steady = np.arange(0.0, 20.0, 0.1)
    fine = with_inputs(record, [2.0 * (steady > 7.25), 0 * steady + 1.0], names, steady)
    before = with_inputs(record, [[0.0, 2.0], [1.0, np.nan]], names, [-3.0, 7.3])
    expected = prior_of(driven, irregular)
    np.testing.assert_array_equal(prior_of(driven, fine), expected)
    np.testing.assert_array_equal(prior_of(driven, before), expected)
    late = with_inputs(record, [[2.0], [1.0]], names, [7.3])
    change = prior_of(driven, late)[:, :91]
    assert not np.allclose(change, expected[:, :91]), "tilt did not drive before its first value"


def test_a_model_driven_in_training_takes_its_input_by_name(
    tiny_fit: FittedModel, record: Record
) -> None:
    assert record.inputs is not None
    odd = replace(record, inputs=record.inputs.assign_coords(input=["other"]))
    with pytest.raises(InputError, match="fitted with drive, record 'sim000' has other"):
        tiny_fit.posterior(odd)
    tiny_fit.posterior(replace(record, inputs=None), draws=2)


def test_scores_of_training_subjects_are_warned_of(tiny_fit: FittedModel, record: Record) -> None:
    assert tiny_fit.training_subjects == tuple(f"sim00{k}" for k in range(6))
    with pytest.warns(UserWarning, match="fitted or chosen on: sim000. .*other side of the split"):
        tiny_fit.score(record, "ppg", given=["ecg"], draws=4)
    unseen = replace(record, subject="new", record="new")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = tiny_fit.score(Cohort([unseen]), "ppg", given=["ecg"], draws=4)
    assert {"correlation", "crps", "coverage"} <= set(scores)


def test_sides_are_checked_by_a_public_function(tiny_cohort: Cohort) -> None:
    with pytest.raises(SplitError, match="sim001"):
        lp.check_disjoint(tiny_cohort[:2], tiny_cohort[1:])


def test_an_irregular_sample_at_the_very_end_is_imputed(
    tiny_fit: FittedModel, record: Record
) -> None:
    # 0.88 s is eleven steps: the last sample lies on the record's own end, and on a step's start.
    times = np.array([0.0, 0.3, 8.0, 16.88])
    cuff = Record.from_arrays({"resp": (np.ones(4), times)}, subject="a", units={"resp": "NU"})
    assert cuff.duration_s == 16.88
    answer = tiny_fit.impute(cuff, "resp", given=[], draws=8)
    assert answer.sizes["time"] == 4
    assert float(answer.draws.std("sample").min()) > 0.0
    told = tiny_fit.posterior(cuff.crop(0.0, 16.8), given=["resp"], draws=2)
    whole = tiny_fit.posterior(cuff, given=["resp"], draws=2)
    assert whole["posterior"].sizes["time"] == 212 > told["posterior"].sizes["time"]


def test_a_cohort_is_embedded_record_by_record(
    tiny_fit: FittedModel, tiny_cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    prepare = FittedModel.prepared

    def prepared(self: FittedModel, record: Record) -> object:
        order.append("prepared")
        return prepare(self, record)

    def inferred(*args: object) -> object:
        order.append("inferred")
        return paths_of(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(FittedModel, "prepared", prepared)
    monkeypatch.setattr("latentphys.inference.embedding.paths_of", inferred)
    short = Cohort([r.crop(0.0, 8.0) for r in tiny_cohort[:3]])
    assert tiny_fit.embed(short, "record").shape == (3, 30)
    assert order == ["prepared", "inferred"] * 3


def test_memory_does_not_grow_with_the_record(tiny_fit: FittedModel, record: Record) -> None:
    """Beside the answer itself, what lives at a time is the same for one minute and for four."""
    kept = record.keep("resp")
    sizes = []
    for minutes in (1, 4):
        x = np.tile(kept.signals["resp"].values[:, : 125 * 20], (1, 3 * minutes))
        long = Record.from_arrays({"resp": (x, 125.0)}, subject="a", units={"resp": "NU"})
        paths = paths_of(tiny_fit.model, tiny_fit.prepared(long), ("resp",), 8.0)
        largest, steps = 0, 0
        for _, part in paths.chunks(20, torch.Generator().manual_seed(0)):
            largest, steps = max(largest, part.shape[1]), steps + part.shape[1]
        assert steps == 750 * minutes
        sizes.append(largest)
    assert sizes[0] == sizes[1] <= 1000


@pytest.fixture(scope="module")
def misnamed(record: Record) -> Record:
    """What a reader makes of a file that numbers its sensors."""
    arrays = {f"{name.upper()}_1": (record.signals[name].values, 125.0) for name in ("ecg", "ppg")}
    return Record.from_arrays(arrays, subject="odd")


def test_who_has_none_of_the_given_is_named_once(
    tiny_fit: FittedModel, record: Record, misnamed: Record
) -> None:
    both = Cohort([misnamed, record])
    words = "none of the modalities given .* is in odd .there are ECG_1, PPG_1.*knows ecg, ppg"
    calls = {
        "embed": lambda: tiny_fit.embed(both),
        "posterior": lambda: tiny_fit.posterior(both, draws=2),
        "impute": lambda: tiny_fit.impute(misnamed, "resp", draws=2),
        "posterior_predictive": lambda: tiny_fit.posterior_predictive(both, draws=2),
        "breathing_rate": lambda: tiny_fit.breathing_rate(both, draws=2),
    }
    for name, ask in calls.items():
        with pytest.warns(UserWarning, match=words + ".*Of 'ECG_1': Did you mean 'ecg'") as told:
            ask()
        assert len(told) == 1, name
    with pytest.warns(UserWarning, match=r"given \(resp\) is in odd, sim000"):
        tiny_fit.embed(Cohort([misnamed, record.drop("resp")]), given=["resp"])
    for given in ([], ["ecg"]):
        tiny_fit.embed(record, given=given)  # what was asked for, and no warning
    prior = tiny_fit.embed(misnamed, given=[])
    with pytest.warns(UserWarning, match="the answer is the prior"):
        np.testing.assert_array_equal(tiny_fit.embed(misnamed), prior)


def test_given_names_what_was_used(tiny_fit: FittedModel, record: Record) -> None:
    ecg = record.signals["ecg"]
    silent = ecg.copy(data=np.full_like(ecg.values, np.nan))
    own = replace(record, signals={**record.drop("resp").signals, "ecg": silent})
    asked = ["ecg", "resp", "spo2"]
    assert tiny_fit.impute(own, "ppg", given=asked, draws=2).attrs["given"] == "spo2"
    told = tiny_fit.posterior(own, given=asked, draws=2)["posterior"]
    assert told.attrs["given"] == "spo2"
    assert tiny_fit.impute(own, "ppg", given=[], draws=2).attrs["given"] == ""


def test_a_score_is_of_what_was_recorded_and_not_shown(
    tiny_fit: FittedModel, record: Record
) -> None:
    new = replace(record, subject="new")
    with pytest.raises(ModalityError, match="'ppg' against what others tell.*Leave 'ppg' out"):
        tiny_fit.score(new, "ppg", given=["ecg", "ppg"])
    with pytest.raises(CohortError, match="samples of 'ppg' and of one of ecg, resp, spo2; none"):
        tiny_fit.score(Cohort([new.drop("ppg")]), "ppg", draws=2)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda fit, r: fit.impute("ppg", r), "target: a modality is a name.*got Record.*record"),
        (lambda fit, r: fit.impute(r, None), "target: a modality is a name, one of ecg.*NoneType"),
        (lambda fit, r: fit.score(r, ["ppg"]), "target: a modality is a name.*got list"),
        (lambda fit, r: fit.embed(r, given=3), r"list of modalities, got 3. Write \['ecg', 'ppg'"),
        (lambda fit, r: fit.embed(r, given="ecg"), r"got 'ecg'. Write \['ecg'\]"),
        (lambda fit, r: fit.embed(r, given=[3]), "given: a modality is a name.*got int"),
    ],
)
def test_names_that_cannot_be(
    tiny_fit: FittedModel, record: Record, ask: Callable[..., object], words: str
) -> None:
    with pytest.raises(ModalityError, match=words):
        ask(tiny_fit, record)


def test_a_seed_that_torch_cannot_take(tiny_fit: FittedModel, record: Record) -> None:
    tiny_fit.impute(record, "ppg", seed=2**62, draws=2)
    for ask in (tiny_fit.posterior, lambda r, seed: tiny_fit.impute(r, "ppg", seed=seed)):
        with pytest.raises(ArgumentError, match=r"whole number below 2\*\*63, got 9223372036"):
            ask(record, seed=2**63)


def test_a_folder_has_a_name(
    tiny_fit: FittedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ("", None, 3):
        with pytest.raises(WriteError, match="a folder, given by its path; got.*or '.' for the"):
            tiny_fit.save(path)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
    with pytest.raises(ModelFileError, match=r"a folder, given by its path; got NoneType.*load\("):
        lp.load(None)  # type: ignore[arg-type]
    tiny_fit.save(".")
    assert lp.load(".").modalities == tiny_fit.modalities
