"""The posterior path: schema, no seam between windows, no variance lost."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from latentphys.fitted import FittedModel
from latentphys.inference.paths import PathPosterior, infer_path
from latentphys.model.distributions import GaussMarkov
from latentphys.model.evidence import Evidence
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import ModalityError
from latentphys.recordings.record import Record

WINDOW_S, HOP = 8.0, 50  # steps from one window to the next, at 12.5 Hz


@pytest.fixture(scope="module")
def path(tiny_fit: FittedModel, tiny_cohort: Cohort) -> PathPosterior:
    record = tiny_fit.preprocessing.prepare(tiny_cohort[0])
    rng = torch.Generator().manual_seed(0)
    return infer_path(tiny_fit.model, record, ("ecg", "resp"), WINDOW_S, 400, rng)


def test_there_is_no_jump_where_windows_meet(path: PathPosterior) -> None:
    size = path.draws.diff(dim=1).square().mean((0, 2))[HOP : HOP + 12 * HOP]
    # By place within the hop, over all windows but the first: a seam is one place that stands out.
    place = size.reshape(-1, HOP).mean(0).sqrt()
    assert float(place.max() / place.median()) < 1.06
    assert float(place.min() / place.median()) > 0.94


def test_windows_that_disagree_are_cross_faded(
    tiny_fit: FittedModel, tiny_cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    def up_and_down(evidence: Evidence) -> GaussMarkov:
        windows, steps, _ = evidence.shape
        mean = (torch.arange(windows) % 2).float()[:, None, None].expand(windows, steps, 6)
        return GaussMarkov(mean, torch.tensor(0.9), torch.tensor(0.01))

    monkeypatch.setattr(tiny_fit.model, "guide_of", up_and_down)
    record = tiny_fit.preprocessing.prepare(tiny_cohort[0])
    rng = torch.Generator().manual_seed(0)
    mean = infer_path(tiny_fit.model, record, ("ecg",), WINDOW_S, 2, rng).mean
    assert float(mean.max() - mean.min()) > 0.95
    # Half an overlap takes the path from one window to the next, at most pi / 2 as fast as a line.
    assert float(mean.diff(dim=0).abs().max()) < 1.1 * np.pi / 2 / HOP


def test_no_variance_is_lost_where_windows_overlap(path: PathPosterior) -> None:
    ratio = path.draws.std(0) / path.sd
    middle = torch.arange(len(ratio))[HOP + HOP // 2 : -HOP : HOP]
    assert float(ratio[middle].mean()) == pytest.approx(1.0, abs=0.05)
    assert float(ratio.mean()) == pytest.approx(1.0, abs=0.05)


def test_mean_is_that_of_the_draws(path: PathPosterior) -> None:
    error = (path.draws.mean(0) - path.mean) / path.sd
    assert float(error.abs().max()) < 5.5 / np.sqrt(400)


def test_a_single_window_is_its_guide(tiny_fit: FittedModel, tiny_cohort: Cohort) -> None:
    prepared = tiny_fit.preprocessing.prepare(tiny_cohort[0].crop(0.0, WINDOW_S))
    rng = torch.Generator().manual_seed(0)
    one = infer_path(tiny_fit.model, prepared, ("ecg",), WINDOW_S, 3, rng)
    again = infer_path(tiny_fit.model, prepared, ("ecg",), WINDOW_S, 3, rng.manual_seed(0))
    assert one.mean.shape == (100, 6)
    assert torch.equal(one.draws, again.draws)
    assert set(one.nuisance) == {"ecg"}


def test_schema(tiny_fit: FittedModel, tiny_cohort: Cohort) -> None:
    record = tiny_cohort[0]
    tree = tiny_fit.posterior(record, draws=7)
    assert isinstance(tree, xr.DataTree)
    assert list(tree.children) == ["posterior"]
    assert tree.name == record.record
    group = tree["posterior"].to_dataset()
    assert group.z.dims == ("sample", "time", "latent")
    assert group.z_mean.dims == group.z_sd.dims == ("time", "latent")
    assert group.sizes == {"sample": 7, "time": 750, "latent": 6}
    np.testing.assert_allclose(group.time, (np.arange(750) + 0.5) / 12.5)
    assert group.time.attrs["units"] == "s"
    assert group.attrs["sample_dims"] == "sample"
    assert group.attrs["given"] == "ecg, ppg, resp, spo2"
    assert group.attrs["subject"] == record.subject
    assert float(group.z_sd.min()) > 0


def test_arviz_reads_the_posterior(tiny_fit: FittedModel, tiny_cohort: Cohort) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import arviz
    tree = tiny_fit.posterior(tiny_cohort[0].crop(0.0, 8.0), draws=5)
    if hasattr(arviz, "InferenceData"):  # before 1.0; later versions take the tree itself
        data = arviz.InferenceData.from_datatree(tree)
        assert data.groups() == ["posterior"]
        xr.testing.assert_equal(data.posterior, tree["posterior"].to_dataset())
        drawn = arviz.extract(data, combined=False)
        assert drawn.z.dims == ("sample", "time", "latent")


def test_netcdf_round_trip(tiny_fit: FittedModel, tiny_cohort: Cohort, tmp_path: Path) -> None:
    tree = tiny_fit.posterior(tiny_cohort[:2], draws=2)
    tree.to_netcdf(tmp_path / "p.nc", engine="h5netcdf")
    with xr.open_datatree(tmp_path / "p.nc", engine="h5netcdf") as back:
        assert set(back.children) == set(tiny_cohort.names[:2])
        for name in back.children:
            one, two = back[name]["posterior"].to_dataset(), tree[name]["posterior"].to_dataset()
            xr.testing.assert_equal(one, two)
            assert one.attrs == two.attrs


def test_given_sensors_alone_count(tiny_fit: FittedModel, tiny_cohort: Cohort) -> None:
    record = tiny_cohort[0]
    some = tiny_fit.posterior(record, given=["ecg"], draws=2)
    alone = tiny_fit.posterior(record.keep("ecg"), given=["ecg"], draws=2)
    xr.testing.assert_identical(some, alone)
    all_of_them = tiny_fit.posterior(record, draws=2)
    assert not np.allclose(some["posterior"].z_mean, all_of_them["posterior"].z_mean)
    with pytest.raises(ModalityError, match="fitted with ecg, ppg, resp, spo2; got 'egc'"):
        tiny_fit.posterior(record, given=["egc"])


def test_silence_is_absence(tiny_fit: FittedModel, tiny_cohort: Cohort) -> None:
    record = tiny_cohort[0]
    nothing = record.signals["ppg"].copy(data=np.full_like(record.signals["ppg"].values, np.nan))
    silent = replace(record, signals={**record.signals, "ppg": nothing})
    one = tiny_fit.posterior(silent, draws=2)
    xr.testing.assert_identical(one, tiny_fit.posterior(record.drop("ppg"), draws=2))


def test_a_gap_longer_than_a_window_is_bridged(tiny_fit: FittedModel, tiny_cohort: Cohort) -> None:
    record = tiny_cohort[0].keep("ecg")
    x = record.signals["ecg"].values.copy()
    x[:, 125 * 20 : 125 * 45] = np.nan
    holed = replace(record, signals={"ecg": record.signals["ecg"].copy(data=x)})
    group = tiny_fit.posterior(holed, draws=20)["posterior"]
    whole = tiny_fit.posterior(record, draws=20)["posterior"]
    assert all(np.isfinite(group[name]).all() for name in ("z", "z_mean", "z_sd"))
    assert float(group.z_sd.min()) > 0
    early = group.time < 10.0
    np.testing.assert_allclose(group.z_mean[early], whole.z_mean[early], atol=0.35)
    assert float(group.z.std("sample").min()) > 0


def test_a_silent_slow_sensor_is_absent_too(tiny_fit: FittedModel, tiny_cohort: Cohort) -> None:
    # Fewer samples a step than the model's own grid, and none of them observed.
    record = tiny_cohort[0].keep("ecg")
    silent = Record.from_arrays({"resp": (np.full(60 * 25, np.nan), 25.0)}, subject="a")
    both = replace(record, signals={**record.signals, **silent.signals})
    one, two = (tiny_fit.posterior(r, draws=2)["posterior"] for r in (both, record))
    np.testing.assert_array_equal(one.z, two.z)
