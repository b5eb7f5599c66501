"""Lags asked of a fitted model, and imputation that knows of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from latentphys.api import fit, load
from latentphys.fitted import FittedModel
from latentphys.inference import imputation, paths
from latentphys.inference.paths import paths_of
from latentphys.recipes.catalogue import recipe
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import ArgumentError, FitError
from latentphys.trust.predicting import EncodedRecord


@pytest.fixture(scope="module")
def lagging(tiny_cohort: Cohort) -> FittedModel:
    """A few steps old, but wide of prior and sure of its posterior, so that lags show."""
    small = {"lags": ("ppg",), "latent_dim": 6, "widths": (8, 12), "width": 8}
    chosen = recipe("statespace", model=small, window_s=8.0)
    fitted = fit(tiny_cohort, steps=4, seed=0, recipe=chosen, progress=False)
    with torch.no_grad():
        fitted.model.lag_guide("ppg").usual.fill_(0.2)
        fitted.model.lag_guide("ppg").spread.fill_(1.0)
        fitted.model.lag_guide("ppg").head.weight.mul_(30.0)
    return fitted


def test_a_lag_has_a_posterior_by_record_and_by_window(
    lagging: FittedModel, tiny_cohort: Cohort
) -> None:
    records = lagging.lag(tiny_cohort, draws=2000)
    windows = lagging.lag(tiny_cohort, unit="window")
    assert dict(records["draws"].sizes) == {"sample": 2000, "record": 6, "modality": 1}
    assert records.record.values.tolist() == list(tiny_cohort.names)
    assert records["mean"].attrs["units"] == "s"
    assert bool(records.told.all())
    np.testing.assert_allclose(records.draws.mean("sample"), records["mean"], atol=0.02)
    np.testing.assert_allclose(records.draws.std("sample"), records.sd, rtol=0.1)
    for name in tiny_cohort.names:
        own = windows.isel(window=(windows.record == name).values)
        assert own.start_s.values.tolist() == [*np.arange(0.0, 52.0, 8.0), 52.0]
        mixed = (own.sd**2).mean() + own["mean"].var()
        told = records.isel(record=(records.record == name).values)
        np.testing.assert_allclose(told["mean"].item(), own["mean"].mean(), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(told.sd.item() ** 2, mixed, rtol=1e-4)
    assert float(records["mean"].std()) > 1e-4, "people differ"


def test_a_subject_s_lag_mixes_the_windows_of_all_its_records(
    lagging: FittedModel, tiny_cohort: Cohort
) -> None:
    first, second, other = tiny_cohort[:3]
    whose = [replace(first, subject="b"), replace(other, subject="a"), replace(second, subject="b")]
    subjects, windows = (lagging.lag(Cohort(whose), unit=unit) for unit in ("subject", "window"))
    assert subjects.subject.values.tolist() == ["a", "b"]
    assert "record" not in subjects.coords
    for name in ("a", "b"):
        own = windows.isel(window=(windows.subject == name).values)
        mixed = (own.sd**2).mean() + own["mean"].var()
        told = subjects.sel(subject=name)
        np.testing.assert_allclose(told["mean"].item(), own["mean"].mean(), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(told.sd.item() ** 2, mixed, rtol=1e-4)


@pytest.mark.parametrize("given", [("ecg", "resp"), ("ppg",)])
def test_without_the_sensor_or_without_others_a_lag_is_the_prior(
    lagging: FittedModel, tiny_cohort: Cohort, given: tuple[str, ...]
) -> None:
    told = lagging.lag(tiny_cohort[0], given=given)
    assert not bool(told.told.any())
    assert told["mean"].item() == 0.0
    assert told.sd.item() == pytest.approx(0.001 + 0.05 * np.e)


def test_questions_that_cannot_be(
    lagging: FittedModel, tiny_fit: FittedModel, tiny_cohort: Cohort
) -> None:
    with pytest.raises(FitError, match="no lag.*'lags'"):
        tiny_fit.lag(tiny_cohort)
    with pytest.raises(ArgumentError, match="subject, record, window; got 'beat'"):
        lagging.lag(tiny_cohort, unit="beat")  # type: ignore[arg-type]


def test_it_is_saved_whole(lagging: FittedModel, tiny_cohort: Cohort, tmp_path: Path) -> None:
    lagging.save(tmp_path)
    again = load(tmp_path)
    assert again.model.spec.lags == ("ppg",)
    a, b = (model.lag(tiny_cohort[1]) for model in (lagging, again))
    assert a.identical(b)
    x, y = (m.impute(tiny_cohort[1], "ppg", draws=4) for m in (lagging, again))
    assert x.identical(y)


@pytest.mark.parametrize(("limit", "most"), [("STEPS_A_CHUNK", 7), ("VALUES_A_CHUNK", 300)])
def test_where_stretches_part_does_not_show(
    lagging: FittedModel,
    tiny_cohort: Cohort,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    most: int,
) -> None:
    def asked() -> np.ndarray:
        return np.asarray(lagging.impute(tiny_cohort[0], "ppg", draws=4)["mean"].values)

    whole = asked()
    monkeypatch.setattr(imputation, limit, most)
    monkeypatch.setattr(paths, "STEPS_AT_A_TIME", 100)
    np.testing.assert_allclose(asked(), whole, rtol=0, atol=2e-5)


def test_imputation_takes_the_lag_of_a_sensor_given_and_else_its_prior(
    lagging: FittedModel, tiny_cohort: Cohort
) -> None:
    prepared = lagging.prepared(tiny_cohort[0])
    given = paths_of(lagging.model, prepared, ("ecg", "ppg", "resp"), 8.0)
    assert list(given.lags) == ["ppg"]
    assert paths_of(lagging.model, prepared, ("ecg", "resp"), 8.0).lags == {}
    encoded = EncodedRecord(lagging.model, prepared, 8.0)
    asked = encoded.paths(("ecg", "ppg", "resp")).lags["ppg"]
    torch.testing.assert_close(asked.loc, given.lags["ppg"].loc)
    torch.testing.assert_close(asked.scale, given.lags["ppg"].scale)
    assert encoded.paths(("ecg", "resp")).lags == {}
    signal = prepared.signals["ppg"]

    def first(lags: dict[str, torch.distributions.Normal]) -> np.ndarray:
        moved = paths.Paths(**{**vars(given), "lags": lags})
        generator = torch.Generator().manual_seed(0)
        parts = imputation.decode(moved, "ppg", signal, 2, generator)
        return np.concatenate([loc.numpy() for _, loc, _ in parts], axis=-1)

    def certain(seconds: float) -> dict[str, torch.distributions.Normal]:
        return {"ppg": torch.distributions.Normal(torch.tensor(seconds), torch.tensor(1e-9))}

    still, late = first(certain(0.0)), first(certain(0.16))  # 20 samples at 125 Hz
    np.testing.assert_allclose(late[..., 20:], still[..., :-20], rtol=0, atol=1e-4)
    assert np.abs(late - still).max() > 1e-3
