"""The models that come with the repository: small, loadable, and carded with their own figures."""

import json
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

import latentphys as lp
from latentphys.recipes.catalogue import RECIPES

MODELS = Path(__file__).parents[1] / "models"
NAMES = sorted(folder.name for folder in MODELS.iterdir() if (folder / "train.py").is_file())
HEADINGS = ("Data", "Licence", "Intended use", "Limits", "Figures")


def test_a_model_is_named_by_its_recipe() -> None:
    assert NAMES
    assert set(NAMES) == set(RECIPES)


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_small_and_load(name: str) -> None:
    (weights,) = (MODELS / name).glob("weights-*.safetensors")
    assert weights.stat().st_size < 2_000_000
    fit = lp.load(MODELS / name)
    assert fit.about["recipe"] == name
    assert all(np.isfinite(w.detach().numpy()).all() for w in fit.model.parameters())


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"sleepfm", "dmm"}))
def test_without_any_sensor_it_tells_what_is_usual_for_as_long_as_asked(name: str) -> None:
    fit = lp.load(MODELS / name)
    target, sensor = next(iter(fit.model.spec.sensors.items()))
    silent = lp.Record.from_arrays({"acceleration": (np.zeros(900), 10.0)}, subject="a")
    answer = fit.impute(silent, target, given=[], draws=20)
    usual = np.median(sensor.scale)
    assert np.isfinite(answer["draws"].values).all()
    assert 0.2 * usual < float(answer["sd"].mean()) < 5.0 * usual


@pytest.mark.parametrize("name", NAMES)
def test_its_training_command_finds_all_it_needs(name: str) -> None:
    made = runpy.run_path(str(MODELS / name / "train.py"), run_name="looked at")
    assert {"run", "run_on_nights"} & set(made)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_what_a_user_must_know(name: str) -> None:
    card = (MODELS / name / "card.md").read_text()
    assert tuple(re.findall(r"^## (.+)$", card, re.MULTILINE)) == HEADINGS
    sections = re.split(r"^## .+$", card, flags=re.MULTILINE)
    assert all(len(section.split()) > 10 for section in sections)
    expected = json.loads((MODELS / name / "expected.json").read_text())
    for figure, row in expected["figures"].items():
        (line,) = (line for line in card.splitlines() if line.startswith(f"| {figure} |"))
        for estimate, *_ in row.values():
            assert f"| {estimate:.2f}" in line


@pytest.mark.parametrize("name", ["statespace", "multimodal_mae"])
def test_an_absent_sensor_of_unseen_people_is_imputed_better_than_by_the_mean(
    name: str, data_root: Path
) -> None:
    fit = lp.load(MODELS / name)
    cohort = lp.read(data_root / "bidmc").keep("ecg", "ppg", "resp")
    unseen = [entry for entry in cohort.entries if entry.subject not in fit.training_subjects]
    records = [entry.load() for entry in unseen[:4]]
    crps = [fit.score(r, "ppg", given=["ecg", "resp"], draws=20)["crps"] for r in records]
    assert np.mean(crps) < 0.5  # the mean with its own width: 0.58


def test_the_state_is_surer_with_every_sensor_than_with_one(data_root: Path) -> None:
    fit = lp.load(MODELS / "statespace")
    cohort = lp.read(data_root / "bidmc").keep("ecg", "ppg", "resp")
    unseen = [entry for entry in cohort.entries if entry.subject not in fit.training_subjects]
    for entry in unseen[:2]:
        record = entry.load().crop(100.0, 132.0)
        every, *single = (
            fit.posterior(record, given=given, draws=1)["posterior"].z_sd.values
            for given in (None, ["ecg"], ["ppg"], ["resp"])
        )
        assert min(float((sd / every).mean()) for sd in single) > 1.05
