"""A fitted model of ECG and cine answers in frames, with the cine there or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latentphys.api import fit, load
from latentphys.fitted import FittedModel
from latentphys.recipes.catalogue import recipe
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import ModelFileError
from latentphys.recordings.reading import read
from latentphys.recordings.simulation import simulate

SMALL = {"latent_dim": 6, "evidence_dim": 8, "widths": (8, 12), "width": 8, "align_dim": 4}


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    made = simulate(3, 0.15, seed=6, absent=0.0, nuisance=0.3, cine_rate_hz=20.0)
    return made.keep("ecg", "cine")


@pytest.fixture(scope="module")
def fitted(cohort: Cohort) -> FittedModel:
    chosen = recipe("dropfuse", model=SMALL, batch_size=2)
    return fit(cohort, recipe=chosen, steps=4, progress=False, held_out=0.0)


def test_a_cine_is_imputed_at_its_own_times_and_brightness(
    cohort: Cohort, fitted: FittedModel
) -> None:
    record, truth = cohort[0], fitted.filtered(cohort[0], "cine")
    answer = fitted.impute(record, "cine", given=["ecg"], draws=6)
    assert answer["mean"].dims == ("time", "y", "x")
    assert answer["draws"].dims == ("sample", "time", "y", "x")
    assert answer.sizes == {"time": 180, "y": 24, "x": 24, "sample": 6}
    np.testing.assert_array_equal(answer["time"], record.images["cine"]["time"])
    np.testing.assert_allclose(answer["y"], truth["y"])
    assert answer["y"].attrs["units"] == "mm"
    assert float(answer["x"][-1]) == pytest.approx(32 * 3.5 - 0.5 * 32 / 24 * 3.5)
    assert (answer["lower"] <= answer["upper"]).all()
    assert (answer["sd"] > 0).all()
    middle = float(np.nanmedian(truth))
    assert abs(float(answer["mean"].median()) - middle) < 3.0 * float(truth.std())
    blank = record.images["cine"].copy(data=np.full_like(record.images["cine"].values, np.nan))
    typical = fitted.impute(replace(record, images={"cine": blank}), "cine", draws=2)
    assert typical.attrs["scaling"] == "training"


def test_an_absent_cine_is_imputed_and_changes_nothing(cohort: Cohort, fitted: FittedModel) -> None:
    record = cohort[1]
    without = record.drop("cine")
    answer = fitted.impute(without, "cine", draws=2)
    assert answer.sizes["time"] == 180  # at the training rate, for as long as the ECG
    assert answer["x"].attrs["units"] == "mm"
    told = fitted.impute(record, "cine", given=["ecg"], draws=2, scaling="training")
    np.testing.assert_array_equal(answer["mean"], told["mean"])
    frames = record.images["cine"]
    blank = replace(record, images={"cine": frames.copy(data=np.full_like(frames.values, np.nan))})
    states = [fitted.posterior(r, draws=2)["posterior"]["z"].values for r in (without, blank)]
    np.testing.assert_array_equal(*states)
    both = fitted.posterior(record, draws=2)["posterior"]["z"].values
    assert not np.allclose(both, states[0])
    rows = fitted.embed(Cohort([without]), unit="record")
    np.testing.assert_array_equal(rows, fitted.embed(Cohort([blank]), unit="record"))


def test_an_audit_says_that_it_does_not_look_at_images(fitted: FittedModel) -> None:
    new = simulate(2, 0.3, seed=16, absent=0.0, cine_rate_hz=20.0).keep("ecg", "cine")
    audit = fitted.audit(new.prefixed("new_"), only=["collapse"], draws=1)
    assert audit.about["sensors"] == "ecg"
    assert audit.about["not looked at"] == "cine"
    assert "not looked at: cine" in audit.to_html()


def test_frames_of_another_rate_and_size_are_the_same_modality(
    cohort: Cohort, fitted: FittedModel
) -> None:
    record, frames = cohort[0], cohort[0].images["cine"]
    large = np.repeat(np.repeat(frames.values[::2], 2, 1), 2, 2)
    other = frames[::2].copy().drop_vars("time")
    half = {**frames.attrs, "rate_hz": 10.0, "spacing_xyz": [1.75, 1.75, 8.0]}
    other = type(frames)(large, {"time": frames.time.values[::2]}, ("time", "y", "x"), attrs=half)
    answer = fitted.impute(replace(record, images={"cine": other}), "cine", given=["ecg"], draws=2)
    assert answer.sizes["time"] == 90
    same = fitted.impute(record, "cine", given=["ecg"], draws=2)
    np.testing.assert_allclose(answer["x"], same["x"])


def test_several_slices_come_back_as_slices(cohort: Cohort, fitted: FittedModel) -> None:
    frames = cohort[0].images["cine"]
    stack = frames.expand_dims(slice=2).copy()
    record = replace(cohort[0], images={"cine": stack.assign_attrs(frames.attrs)})
    answer = fitted.impute(record, "cine", given=["ecg"], draws=2)
    assert answer["mean"].dims == ("slice", "time", "y", "x")
    assert fitted.filtered(record, "cine").dims == ("slice", "time", "y", "x")
    assert list(answer["slice"].values) == ["slice 1", "slice 2"]


def test_it_is_saved_and_loaded_strictly(
    cohort: Cohort, fitted: FittedModel, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "a")
    loaded = load(tmp_path / "a")
    assert loaded.model.spec == fitted.model.spec
    ours, theirs = (m.impute(cohort[0], "cine", given=["ecg"], draws=2) for m in (fitted, loaded))
    np.testing.assert_array_equal(ours["draws"], theirs["draws"])
    text = (tmp_path / "a" / "model.json").read_text()
    assert '"shape"' in text
    (tmp_path / "a" / "model.json").write_text(text.replace('"units": "mm"', '"unit": "mm"'))
    with pytest.raises(ModelFileError, match="does not describe"):
        load(tmp_path / "a")


def test_a_calibrated_model_widens_its_frames(cohort: Cohort, fitted: FittedModel) -> None:
    others = Cohort([replace(r, record=f"{r.record}b", subject=f"{r.subject}b") for r in cohort])
    repaired = fitted.calibrate(others, subsets=[("ecg",)], draws=2, guarantee="asymptotic")
    answer = repaired.impute(cohort[0], "cine", given=["ecg"], draws=2)
    assert answer["lower"].dims == ("time", "y", "x")
    assert "calibration" in answer.attrs


def test_a_cine_from_a_volume_file_tells_the_same(
    cohort: Cohort, fitted: FittedModel, tmp_path: Path
) -> None:
    nibabel = pytest.importorskip("nibabel")
    frames = cohort[0].images["cine"]
    across, down, thick = frames.attrs["spacing_xyz"]
    values = frames.values.transpose(2, 1, 0)[:, :, None]
    volume = nibabel.Nifti1Image(values.astype(np.float32), np.diag([across, down, thick, 1.0]))
    volume.header.set_zooms((across, down, thick, 1.0 / frames.attrs["rate_hz"]))
    volume.header.set_xyzt_units("mm", "sec")
    nibabel.save(volume, tmp_path / "patient001.nii.gz")
    given = cohort[0].drop("ecg")
    blank = replace(given, images={"cine": frames.copy(data=np.zeros_like(frames.values))})
    read_back, same, other = (
        fitted.posterior(record, draws=2)["posterior"]["z"].values
        for record in (read(tmp_path)[0], given, blank)
    )
    np.testing.assert_allclose(read_back, same, atol=1e-6)
    assert not np.allclose(other, same, atol=1e-3)
    assert fitted.impute(read(tmp_path)[0], "ecg", draws=2)["mean"].dims == ("channel", "time")
