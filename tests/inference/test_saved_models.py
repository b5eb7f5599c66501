"""Saved models: the same bits back, strict about everything else, safe when interrupted."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import load_file, save_file

from latentphys.fitted import FittedModel
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import ModelFileError, WriteError


@pytest.fixture
def saved(tiny_fit: FittedModel, tmp_path: Path) -> Path:
    tiny_fit.save(tmp_path / "model")
    return tmp_path / "model"


def weights_of(folder: Path) -> Path:
    (file,) = folder.glob("weights-*.safetensors")
    return file


def change_card(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    card = json.loads((folder / "model.json").read_text())
    change(card)
    (folder / "model.json").write_text(json.dumps(card))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Other weights under a digest that fits them."""
    file = weights_of(folder)
    weights = load_file(file)
    change(weights)
    save_file(weights, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    change_card(folder, lambda card: card["weights"].update(sha256=digest))


def test_half_precision_is_half_the_size_and_nearly_the_same_answer(
    tiny_fit: FittedModel, saved: Path, tiny_cohort: Cohort, tmp_path: Path
) -> None:
    tiny_fit.save(tmp_path / "half", half=True)
    assert weights_of(tmp_path / "half").stat().st_size < 0.55 * weights_of(saved).stat().st_size
    back = FittedModel.load(tmp_path / "half")
    assert all(weight.dtype == torch.float32 for weight in back.model.parameters())
    one, two = (fit.embed(tiny_cohort, unit="window").values for fit in (tiny_fit, back))
    assert not np.array_equal(one, two)
    np.testing.assert_allclose(two, one, atol=5e-3)


def test_half_precision_refuses_what_it_cannot_hold(tiny_fit: FittedModel, tmp_path: Path) -> None:
    other = copy.deepcopy(tiny_fit)
    with torch.no_grad():
        other.model.initial_loc[0] = 1e6
    with pytest.raises(WriteError, match=r"up to 65,504; initial_loc has 1e\+06.*half=False"):
        other.save(tmp_path / "half", half=True)
    assert not (tmp_path / "half").exists()


def test_the_same_bits_come_back(tiny_fit: FittedModel, saved: Path, tiny_cohort: Cohort) -> None:
    back = FittedModel.load(saved)
    one, two = tiny_fit.model.state_dict(), back.model.state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert back.model.spec == tiny_fit.model.spec
    assert back.model.spec.noise == "coloured"  # as by default
    assert back.preprocessing == tiny_fit.preprocessing
    assert back.window_s == tiny_fit.window_s
    assert back.history.rows == tiny_fit.history.rows
    assert back.about == json.loads(json.dumps(tiny_fit.about))
    assert not back.model.training
    short = tiny_cohort[0].crop(0.0, 10.0)
    xr.testing.assert_identical(
        back.impute(short, "ppg", draws=4), tiny_fit.impute(short, "ppg", draws=4)
    )


def test_loading_runs_no_code_from_the_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was unpickled")

    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler")):
        monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    FittedModel.load(saved)
    assert sorted(file.suffix for file in saved.iterdir()) == [".json", ".safetensors"]


def test_no_model_there(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"folder with model.json; .* has none.*fit.save"):
        FittedModel.load(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelFileError, match="folder with model.json"):
        FittedModel.load(tmp_path / "file")


@pytest.mark.parametrize("text", ["{", "", "\x00", "[]", "null", '"x"', "3"])
def test_broken_json(saved: Path, text: str) -> None:
    (saved / "model.json").write_text(text)
    with pytest.raises(ModelFileError, match=r"model.json is not .*Save the model again"):
        FittedModel.load(saved)


def test_another_format(saved: Path) -> None:
    change_card(saved, lambda card: card.update(format=99))
    with pytest.raises(ModelFileError, match="reads model format 1, .* is of format 99"):
        FittedModel.load(saved)


@pytest.mark.parametrize("key", ["weights", "spec", "preprocessing", "window_s", "history"])
def test_a_card_that_lacks_something(saved: Path, key: str) -> None:
    change_card(saved, lambda card: card.pop(key))
    with pytest.raises(ModelFileError, match=key):
        FittedModel.load(saved)


def test_a_card_whose_weights_have_no_name(saved: Path) -> None:
    change_card(saved, lambda card: card.update(weights="weights"))
    with pytest.raises(ModelFileError, match="does not name its weights by file and sha256"):
        FittedModel.load(saved)


def test_a_card_that_says_something_unknown(saved: Path) -> None:
    change_card(saved, lambda card: card["spec"].update(sharpness=3))
    with pytest.raises(ModelFileError, match="sharpness"):
        FittedModel.load(saved)
    change_card(saved, lambda card: card["spec"].pop("sharpness"))
    change_card(saved, lambda card: card["preprocessing"].update(version=99))
    with pytest.raises(ModelFileError, match="version 1, the file asks for 99"):
        FittedModel.load(saved)


def test_a_missing_weight(saved: Path) -> None:
    change_weights(saved, lambda weights: weights.pop("initial_loc"))
    with pytest.raises(ModelFileError, match=r"missing \['initial_loc'\], surplus none"):
        FittedModel.load(saved)


def test_a_surplus_weight(saved: Path) -> None:
    change_weights(saved, lambda weights: weights.update(more=torch.zeros(1)))
    with pytest.raises(ModelFileError, match=r"missing none, surplus \['more'\]"):
        FittedModel.load(saved)


def test_a_weight_of_another_shape(saved: Path) -> None:
    change_weights(saved, lambda weights: weights.update(initial_loc=torch.zeros(5)))
    with pytest.raises(ModelFileError, match=r"another shape \['initial_loc'\]"):
        FittedModel.load(saved)


def test_changed_bytes(saved: Path) -> None:
    file = weights_of(saved)
    content = bytearray(file.read_bytes())
    content[-7] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelFileError, match="not the file that was saved"):
        FittedModel.load(saved)
    file.write_bytes(content[:1000])
    with pytest.raises(ModelFileError, match="not the file that was saved"):
        FittedModel.load(saved)


def test_weights_that_are_not_there(saved: Path) -> None:
    weights_of(saved).unlink()
    with pytest.raises(ModelFileError, match="lacks its weights"):
        FittedModel.load(saved)


def test_a_card_cannot_point_outside_its_folder(saved: Path, tmp_path: Path) -> None:
    name = weights_of(saved).name
    weights_of(saved).rename(tmp_path / name)
    change_card(saved, lambda card: card["weights"].update(file=f"../{name}"))
    with pytest.raises(ModelFileError, match="lacks its weights"):
        FittedModel.load(saved)


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("good", [0, 1])
def test_an_interrupted_save_leaves_the_former_model(
    tiny_fit: FittedModel, saved: Path, monkeypatch: pytest.MonkeyPatch, call: str, good: int
) -> None:
    before = FittedModel.load(saved)
    other = FittedModel.load(saved)
    with torch.no_grad():
        other.model.initial_loc.add_(1.0)
    done, real = [], getattr(os, call)

    def fail(*arguments: Any) -> None:
        if len(done) == good:
            raise OSError(28, "No space left on device")
        done.append(call)
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="No space left"):
            other.save(saved)
    assert len(done) == good
    assert not [file.name for file in saved.iterdir() if file.name.startswith(".")]
    after = FittedModel.load(saved)
    assert torch.equal(after.model.initial_loc, before.model.initial_loc)
    other.save(saved)
    assert torch.equal(FittedModel.load(saved).model.initial_loc, other.model.initial_loc)
    assert len(list(saved.iterdir())) == 2, "an old file was left"
