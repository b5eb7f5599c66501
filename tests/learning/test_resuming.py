"""An interrupted training goes on as if it had not been, and only with what it began with."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import latentphys.learning.training as training
from latentphys.api import fit
from latentphys.fitted import FittedModel
from latentphys.learning.resuming import Checkpoint
from latentphys.preparation.preprocessing import Preprocessing, SignalPlan
from latentphys.recipes.catalogue import recipe
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import FitError, ModelFileError
from latentphys.recordings.simulation import simulate

STEPS = 6
TINY: dict[str, Any] = {"steps": STEPS, "latent_dim": 4, "window_s": 4.0, "progress": False}


class Killed(BaseException):
    """What stops a run in its middle; nothing of ours catches it."""


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    """Five short recordings, so that one subject is held out."""
    return simulate(subjects=5, minutes=0.15, seed=1, absent=0.0).keep("ecg", "ppg")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def whole(cohort: Cohort) -> FittedModel:
    """A run that nothing interrupts."""
    return fit(cohort, **TINY)


@pytest.fixture(scope="module")
def begun(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a run that was killed in its fourth step."""
    folder = tmp_path_factory.mktemp("begun") / "run"
    with pytest.MonkeyPatch.context() as patch:
        killed(patch, 4)
        with pytest.raises(Killed):
            fit(cohort, **TINY, checkpoint=Checkpoint(folder, every_steps=2))
    return folder


def killed(patch: pytest.MonkeyPatch, call: int) -> None:
    """Stop training in that call of the objective, within its updates."""
    original, calls = training._Run._update, []

    def update(run: Any, *arguments: Any) -> Any:
        calls.append(run)
        if len(calls) == call:
            raise Killed
        return original(run, *arguments)

    patch.setattr(training._Run, "_update", update)


def assert_same(one: FittedModel, two: FittedModel) -> None:
    weights, others = one.model.state_dict(), two.model.state_dict()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    rows = [
        [{name: value for name, value in row.items() if name != "seconds"} for row in fitted]
        for fitted in (one.history.rows, two.history.rows)
    ]
    assert rows[0] == rows[1]
    assert one.about == two.about


def test_an_interrupted_run_ends_as_one_that_was_not(
    cohort: Cohort, whole: FittedModel, begun: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(begun, folder)
    assert json.loads((folder / "training.json").read_text())["step"] == 2
    with pytest.MonkeyPatch.context() as patch:
        killed(patch, 3)  # once more, two steps on
        with pytest.raises(Killed):
            fit(cohort, **TINY, checkpoint=Checkpoint(folder, every_steps=1))
    assert json.loads((folder / "training.json").read_text())["step"] == 4
    assert_same(fit(cohort, **TINY, checkpoint=folder), whole)
    names = {file.name.split("-")[0] for file in folder.iterdir()}
    assert names == {"training.json", "training"}
    assert len(list(folder.iterdir())) == 2, "old tensors are gone"


@pytest.mark.parametrize("name", ["physioomni", "sleepfm"])
def test_averages_that_follow_training_go_on_too(name: str, cohort: Cohort, tmp_path: Path) -> None:
    """Codebooks, shares of codes and what a contrast is standardised by."""
    sizes = {"evidence_dim": 8, "widths": (8, 12), "width": 8}
    private = {"private_dim": 1} if name == "physioomni" else {}
    chosen = recipe(name, model={**sizes, **private}, batch_size=2)
    own = {**TINY, "recipe": chosen}
    with pytest.MonkeyPatch.context() as patch:
        killed(patch, 4)
        with pytest.raises(Killed):
            fit(cohort, **own, checkpoint=Checkpoint(tmp_path / "run", every_steps=1))
    gone_on, straight = fit(cohort, **own, checkpoint=tmp_path / "run"), fit(cohort, **own)
    assert_same(gone_on, straight)


def test_a_finished_run_is_given_back(
    cohort: Cohort, whole: FittedModel, begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(begun, folder)
    finished = fit(cohort, **TINY, checkpoint=folder)
    finished.save(folder)  # beside the checkpoint
    killed(monkeypatch, 1)  # no step is made
    assert_same(fit(cohort, **TINY, checkpoint=folder), whole)
    assert_same(FittedModel.load(folder), whole)


def test_a_checkpoint_changes_nothing(cohort: Cohort, whole: FittedModel, tmp_path: Path) -> None:
    kept = fit(cohort, **TINY, checkpoint=Checkpoint(tmp_path / "a" / "b", every_steps=1))
    assert_same(kept, whole)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 7}, r"plan.steps \(6 there, 7 here\)"),
        ({"steps": None, "minutes": 1.0}, r"plan.minutes \(null there, 1.0 here\), plan.steps"),
        ({"seed": 1}, r"plan.seed \(0 there, 1 here\)"),
        ({"latent_dim": 5}, r"latent_dim \(4 there, 5 here\)"),
        ({"window_s": 5.0}, r"window_s \(4.0 there, 5.0 here\)"),
        ({"held_out": 0.0}, r"held_out \(\[.* there, \[\] here\)"),
        ({"preprocessing": Preprocessing({"ecg": SignalPlan(low_hz=1.0)})}, "preprocessing.plans"),
    ],
)
def test_other_arguments_are_refused_before_any_work(
    cohort: Cohort,
    begun: Path,
    changes: dict[str, Any],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Preprocessing, "prepare", None)
    before = {file.name: file.read_bytes() for file in begun.iterdir()}
    with pytest.raises(FitError, match=rf"arguments it began with; .*{words}.* begin anew"):
        fit(cohort, **{**TINY, **changes}, checkpoint=begun)
    assert before == {file.name: file.read_bytes() for file in begun.iterdir()}


def test_other_recordings_are_refused(cohort: Cohort, begun: Path) -> None:
    with pytest.raises(FitError, match=r"recordings and arguments it began with.*records"):
        fit(cohort[:4], **TINY, checkpoint=begun)
    split = Cohort(cohort.entries, split="0123456789ab")
    with pytest.raises(FitError, match=r"split \(none there, \"0123456789ab\" here\)"):
        fit(split, **TINY, checkpoint=begun)
    ecg = cohort[2].signals["ecg"].copy(deep=True)
    ecg[0, 100] = ecg[0, 100] + np.float32(0.01)  # one sample of one record
    touched = replace(cohort[2], signals={**cohort[2].signals, "ecg": ecg})
    records = [touched if record.record == touched.record else record for record in cohort]
    with pytest.raises(FitError, match=r"differs in content \(.* there, .* here\)"):
        fit(Cohort(records), **TINY, checkpoint=begun)


def test_a_damaged_checkpoint_is_told(cohort: Cohort, begun: Path, tmp_path: Path) -> None:
    def copy(name: str) -> tuple[Path, Path]:
        folder = tmp_path / name
        shutil.copytree(begun, folder)
        return folder, next(folder.glob("training-*"))

    folder, tensors = copy("altered")
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelFileError, match="its SHA-256 differs"):
        fit(cohort, **TINY, checkpoint=folder)
    folder, _ = copy("cut")
    card = folder / "training.json"
    card.write_text(card.read_text()[:100])
    with pytest.raises(ModelFileError, match=r"is not JSON .* another folder, or remove this one"):
        fit(cohort, **TINY, checkpoint=folder)
    folder, _ = copy("newer")
    plain = json.loads((folder / "training.json").read_text())
    (folder / "training.json").write_text(json.dumps({**plain, "format": 2}))
    with pytest.raises(ModelFileError, match="reads checkpoint format 1, .* is of format 2"):
        fit(cohort, **TINY, checkpoint=folder)
    del plain["next_check"]
    (folder / "training.json").write_text(json.dumps(plain))
    with pytest.raises(ModelFileError, match=r"whole of a training \(KeyError\('next_check'\)\)"):
        fit(cohort, **TINY, checkpoint=folder)


def test_an_interrupted_write_leaves_the_former_checkpoint(
    cohort: Cohort, whole: FittedModel, begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import latentphys.recordings.beside as beside

    folder = tmp_path / "run"
    shutil.copytree(begun, folder)
    before = (folder / "training.json").read_bytes()
    real = beside.os.replace

    def fails(source: Path, target: Path) -> None:
        if Path(target).name == "training.json":
            raise OSError("disk full")
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(beside.os, "replace", fails)
        with pytest.raises(OSError, match="disk full"):
            fit(cohort, **TINY, checkpoint=Checkpoint(folder, every_steps=1))
    assert (folder / "training.json").read_bytes() == before
    assert_same(fit(cohort, **TINY, checkpoint=folder), whole)


def test_a_time_budget_counts_the_parts_together(cohort: Cohort, tmp_path: Path) -> None:
    budget = {**TINY, "steps": None, "minutes": 0.03}
    first = fit(cohort, **budget, checkpoint=tmp_path)
    again = fit(cohort, **budget, checkpoint=tmp_path)
    assert again.history.rows[-1]["step"] == first.history.rows[-1]["step"]


def test_an_interval_is_positive() -> None:
    with pytest.raises(FitError, match="every_steps of a checkpoint must be positive, got 0"):
        Checkpoint("x", every_steps=0)
    with pytest.raises(FitError, match="every_minutes of a checkpoint must be positive"):
        Checkpoint("x", every_minutes=float("nan"))
