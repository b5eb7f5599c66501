"""Every recipe trains a few steps, is saved and loaded, and answers."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latentphys.api import fit, load
from latentphys.learning.objective import Objective
from latentphys.preparation.preprocessing import SignalPlan
from latentphys.preparation.spectrogram import log_band_power
from latentphys.recipes.catalogue import RECIPES, Recipe, recipe
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import ArgumentError, FitError
from latentphys.recordings.night import simulate_night
from latentphys.recordings.reading import read
from latentphys.recordings.record import Record
from latentphys.recordings.simulation import simulate

SMALL = {"latent_dim": 24, "evidence_dim": 8, "widths": (8, 12), "width": 8, "dropout": 0.1}


def _cohort(name: str) -> Cohort:
    if name == "stethoscope":
        return simulate(subjects=2, minutes=0.5, seed=1, absent=0.0, pcg_rate_hz=1000.0).keep(
            "ecg", "pcg"
        )
    if name == "dropfuse":
        return simulate(2, 0.3, seed=1, absent=0.0, cine_rate_hz=12.5).keep("ecg", "cine")
    if name in ("sleepfm", "physioomni"):
        return simulate_night(2, minutes=2.0, seed=1, absent=0.0).keep("eeg", "eog", "ecg")
    return simulate(subjects=2, minutes=0.5, seed=1, absent=0.0)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_is_saved_and_loaded_and_imputes(name: str, tmp_path: Path) -> None:
    cohort = _cohort(name)
    heads = {"align_dim": 4} if "align_dim" in recipe(name).model else {}
    private = {"private_dim": 4} if "private_dim" in recipe(name).model else {}
    chosen = recipe(name, model={**SMALL, **heads, **private}, batch_size=2, window_s=4.0)
    fitted = fit(cohort, steps=3, recipe=chosen, held_out=0.0, progress=False)
    assert fitted.about["recipe"] == name
    row = fitted.history.rows[-1]
    weights = chosen.objective
    for term, key in (("elbo", "elbo"), ("align", "align"), ("miss", "miss")):
        assert (key in row) == (getattr(weights, term) > 0)
    assert any(key.startswith("mask/") for key in row) == (weights.mask > 0)
    fitted.save(tmp_path / name)
    loaded = load(tmp_path / name)
    target = cohort[0].modalities[0]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        answers = [m.impute(cohort[0], target, draws=2) for m in (fitted, loaded)]
    assert ["representation alone" in str(one.message) for one in said] == (
        [True, True] if name == "sleepfm" else []
    )
    assert np.isfinite(answers[0]["mean"].values).all()
    np.testing.assert_array_equal(answers[0]["draws"].values, answers[1]["draws"].values)
    assert np.isfinite(fitted.embed(cohort, unit="record").values).all()


def test_a_contrast_gives_its_unit_vectors() -> None:
    chosen = recipe("sleepfm", model={**SMALL, "align_dim": 4}, batch_size=2, window_s=4.0)
    cohort = _cohort("sleepfm")
    fitted = fit(cohort, steps=2, recipe=chosen, held_out=0.0, progress=False)
    lacking = cohort[0].drop("eog")
    e = fitted.embed(lacking, "window", per_modality=True, aligned=True)
    assert e.dims == ("window", "modality", "feature")
    assert e.feature.values.tolist() == ["aligned_0", "aligned_1", "aligned_2", "aligned_3"]
    assert e.sel(modality="eog").isnull().all()
    np.testing.assert_allclose((e.sel(modality=["eeg", "ecg"]) ** 2).sum("feature"), 1.0, rtol=1e-5)
    # The head is of what is embedded otherwise: mean and log swing, as training standardised them.
    plain = fitted.embed(lacking, "window", given=["eeg"]).values[:, : 4 * SMALL["latent_dim"]]
    mean, _, swing, _ = np.split(plain, 4, axis=1)
    head = fitted.model.alignment
    assert head is not None
    s = (np.concatenate([mean, swing], axis=1) - head.centre.numpy()) / head.spread.numpy()
    told = s @ head.project.weight.detach().numpy().T
    told /= np.linalg.norm(told, axis=1, keepdims=True)
    np.testing.assert_allclose(e.sel(modality="eeg"), told, atol=0.02)
    with pytest.raises(ArgumentError, match="a window or epoch"):
        fitted.embed(lacking, "record", aligned=True)
    plain_model = fit(cohort, steps=1, recipe=recipe("dmm", model=SMALL), progress=False)
    with pytest.raises(ArgumentError, match="this one has none"):
        plain_model.embed(lacking, aligned=True)


def test_a_contrast_of_one_sensor_is_refused() -> None:
    cohort = simulate(subjects=1, minutes=0.5, seed=1, absent=0.0).keep("ecg")
    with pytest.raises(FitError, match="two or more; got ecg alone"):
        fit(cohort, recipe="sleepfm", steps=1, progress=False)


def test_images_have_no_codes() -> None:
    chosen = recipe("physioomni", model={**SMALL, "private_dim": 4}, batch_size=2, window_s=4.0)
    fitted = fit(_cohort("dropfuse"), steps=3, recipe=chosen, held_out=0.0, progress=False)
    logged = {key for row in fitted.history.rows for key in row}
    assert {"token/ecg", "code/ecg"} <= logged
    assert not {"token/cine", "code/cine"} & logged


def test_half_of_z_is_shared_however_many_sensors_there_are() -> None:
    everything = simulate_night(2, minutes=1.0, seed=1, absent=0.0)
    few = everything.keep("eeg", "eog", "emg", "ecg")
    small = {name: SMALL[name] for name in ("evidence_dim", "widths", "width")}
    chosen = recipe("physioomni", model=small, batch_size=2, window_s=4.0)
    for cohort, shared in ((few, 24), (everything, 6 * 7)):
        spec = fit(cohort, steps=1, recipe=chosen, held_out=0.0, progress=False).model.spec
        assert (spec.shared_dim, spec.private_dim) == (shared, 6)
    with pytest.raises(FitError, match="7 modalities of private_dim=6 against latent_dim=40"):
        fit(everything, steps=1, recipe=chosen, latent_dim=40, progress=False)


def test_heart_sounds_are_heard_in_bands() -> None:
    chosen = recipe("stethoscope")
    record = chosen.preprocessing.prepare(_cohort("stethoscope")[0])
    bands = record.signals["pcg"]
    assert len(bands.channels) == 6
    assert bands.rate_hz == chosen.state_rate_hz
    assert record.signals["ecg"].rate_hz > 100
    plan = SignalPlan(bands_hz=(20.0, 100.0, 200.0), band_window_s=0.2, band_rate_hz=12.5)
    assert plan.reach == 2
    fitted = fit(
        _cohort("stethoscope"),
        steps=1,
        recipe=recipe("stethoscope", model=SMALL, batch_size=2, plans={"pcg": plan}),
        progress=False,
    )
    assert fitted.model.spec.sensors["pcg"].reach == 8  # two frames at 12.5 Hz are eight steps
    assert fitted.model.reach == 8 + fitted.model.encoder("pcg").reach


def test_eeg_is_seen_in_bands() -> None:
    """Two electrodes' power from delta to beta, eight channels a second."""
    plan = SignalPlan(bands_hz=(0.5, 4.0, 8.0, 13.0, 30.0), band_window_s=2.0, band_rate_hz=1.0)
    chosen = recipe(
        "statespace", state_rate_hz=1.0, window_s=60.0, plans={"eeg": plan}, model=SMALL
    )
    night = simulate_night(1, minutes=20.0, seed=1, absent=0.0).keep("eeg", "ecg")
    fitted = fit(night, steps=2, recipe=chosen, held_out=0.0, progress=False)
    bands = fitted.prepared(night[0]).signals["eeg"]
    assert len(bands.channels) == 2 * 4
    assert bands.rate_hz == 1.0
    imputed = fitted.impute(night[0], "eeg", draws=2)
    assert imputed.sizes["channel"] == 8
    assert imputed["mean"].attrs["units"] == "dB"
    assert fitted.embed(night[0].drop("ecg"), unit="epoch").sizes["epoch"] == 40
    time = np.arange(6000) / 100.0
    wave = 20.0 * np.sin(2 * np.pi * 10.0 * time)[None]
    alpha = Record.from_arrays({"eeg": (wave, 100.0)}, subject="s")
    power = log_band_power(alpha.signals["eeg"].values, 100.0, 1.0, list(plan.bands_hz), 2.0)
    assert (power[0].mean(-1).argmax(), power.shape[1]) == (2, 4)


def test_a_recipe_is_changed_in_part() -> None:
    chosen = recipe("sleepfm", objective={"align": 2.0}, model={"latent_dim": 7}, window_s=60.0)
    assert chosen.objective.align == 2.0
    assert chosen.objective.elbo == 0.0
    assert chosen.model["latent_dim"] == 7
    assert chosen.model["align_dim"] == recipe("sleepfm").model["align_dim"]
    assert recipe("sleepfm").model.get("latent_dim") is None
    assert recipe("statespace", objective=Objective(cross=1.0)).objective.cross == 1.0
    masking = recipe("physioomni", objective={"masking": {"span_s": 4.0}}).objective.masking
    assert masking == replace(recipe("physioomni").objective.masking, span_s=4.0)


def test_sizes_given_to_fit_come_before_the_recipes() -> None:
    cohort = simulate(subjects=1, minutes=0.5, seed=1, absent=0.0)
    own = Recipe("mine", model=SMALL, window_s=8.0, batch_size=2)
    fitted = fit(cohort, steps=1, recipe=own, latent_dim=5, window_s=4.0, progress=False)
    assert fitted.model.spec.latent_dim == 5
    assert fitted.window_s == 4.0


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("sleepfn", {}, "sleepfm"),
        ("sleepfm", {"windows": 3.0}, "window_s"),
        ("sleepfm", {"model": {"latents": 3}}, "latent_dim"),
        ("sleepfm", {"model": {"sensors": {}}}, "chooses"),
        ("sleepfm", {"training": {"seed": 1}}, "chooses"),
        ("sleepfm", {"augmentation": {"gains": 1}}, "gain"),
        ("sleepfm", {"objective": {"crss": 1.0}}, "Did you mean 'cross'"),
        ("sleepfm", {"objective": {"masking": {"ratios": 0.5}}}, "Did you mean 'ratio'"),
        ("sleepfm", {"objective": {"masking": {"ratio": 1.5}}}, "from 0 to 1; got 1.5"),
        ("sleepfm", {"objective": {"masking": {"span_s": 0.0}}}, "span_s=0.0"),
        ("sleepfm", {"objective": {"masking": 0.5}}, "masking is a Masking, or a mapping"),
        ("sleepfm", {"objective": {"elb": 3}}, "Did you mean 'elbo'"),
        ("sleepfm", {"objective": 3}, "objective is an Objective, got int. Write Objective"),
        ("sleepfm", {"model": 3}, "model of a recipe is a mapping of names to values, got 3"),
        ("sleepfm", {"model": {"dropout": 5}}, "dropout is from 0 up to, but not, 1, got 5"),
        ("sleepfm", {"model": {"latent_dim": 0}}, "latent_dim is a whole number from 1 up, got 0"),
        ("sleepfm", {"state_rate_hz": 0}, "state_rate_hz is a finite number above 0, got 0. 12.5"),
        ("sleepfm", {"state_rate_hz": -1}, "state_rate_hz is a finite number above 0, got -1"),
        ("sleepfm", {"batch_size": 0}, "batch_size is a whole number from 1 up, got 0. 8 is us"),
        ("sleepfm", {"window_s": -4}, "window_s is a finite number above 0, got -4. 16 is usual"),
        (None, {}, "the recipes are statespace, .*; got None"),
    ],
)
def test_a_recipe_that_cannot_be(name: str, changes: dict[str, object], words: str) -> None:
    with pytest.raises(FitError, match=words):
        recipe(name, **changes)
    with pytest.raises(FitError, match="Recipe"):
        fit(simulate(subjects=1, minutes=0.5), recipe=3)  # type: ignore[arg-type]


def test_a_recipe_is_short() -> None:
    folder = Path(__file__).parents[2] / "latentphys" / "recipes"
    for name in RECIPES:
        lines = (folder / f"{name}.py").read_text().splitlines()
        assert len(lines) <= 80
        assert any("Source:" in line or "latentphys' own" in line for line in lines)


def test_a_recipe_of_ones_own_that_cannot_be() -> None:
    with pytest.raises(FitError, match=r"objective is an Objective, got dict.*objective=\{...\}"):
        Recipe("mine", objective={"elb": 3})  # type: ignore[arg-type]
    with pytest.raises(FitError, match="training of a recipe is a mapping.*got None"):
        Recipe("mine", training=None)  # type: ignore[arg-type]


def test_a_published_recipe_may_name_sensors_that_these_people_lack() -> None:
    people = simulate(subjects=1, minutes=0.2, seed=1, absent=0.0).keep("ecg", "ppg")
    own = {"model": {**SMALL, "align_dim": 4}, "batch_size": 2}
    fit(people, steps=1, recipe=recipe("dropfuse", **own), progress=False)
    wrong = recipe("dropfuse", objective={"weights": {"cine": 1.0, "egc": 2.0}}, **own)
    with pytest.raises(FitError, match="got 'egc'. Did you mean 'ecg'"):
        fit(people, steps=1, recipe=wrong, progress=False)


@pytest.mark.parametrize("name", ["physioomni", "sleepfm"])
def test_recipes_of_nights_run_unchanged_on_twenty_electrodes_and_an_ecg(
    name: str, data_root: Path
) -> None:
    cohort = read(data_root / "eegmat")
    records = [record.crop(0.0, 30.0) for record in cohort if record.record.endswith("_2")]
    made = fit(Cohort(records[:3]), recipe=name, steps=2, progress=False)
    for given in (None, ["eeg"], ["ecg"]):
        rows = made.embed(Cohort(records[3:]), unit="window", given=given)
        assert rows["subject"].values.tolist() == ["Subject03", "Subject04"]
        assert np.isfinite(rows.values).all()
    if name == "physioomni":
        imputed = made.impute(records[3], "eeg", given=["ecg"], draws=4)
        np.testing.assert_array_equal(imputed.channel, records[3].signals["eeg"].channel)
        np.testing.assert_array_equal(imputed.time, records[3].signals["eeg"].time)
        assert (imputed.lower <= imputed.upper).all()
