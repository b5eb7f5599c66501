"""The command line from a folder of recordings to a page, and inputs that it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import wfdb
import xarray as xr

import latentphys.demo
from latentphys.cli import main
from latentphys.fitted import FittedModel
from latentphys.recordings.simulation import simulate


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A WFDB folder of three simulated subjects, 40 s each."""
    folder = tmp_path_factory.mktemp("recordings")
    for record in simulate(3, 40 / 60, seed=1, absent=0.0, nuisance=0.0):
        names = {"ecg": "II", "ppg": "PLETH", "resp": "RESP"}
        wfdb.wrsamp(
            record.record,
            fs=125.0,
            units=["mV", "NU", "NU"],
            sig_name=list(names.values()),
            p_signal=np.stack([record.signals[m].values[0] for m in names], axis=1).astype(float),
            fmt=["16"] * 3,
            write_dir=str(folder),
        )
    return folder


def test_the_demo_writes_a_page_results_and_a_model(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import matplotlib.pyplot as plt

    out = tmp_path / "out"
    before = len(plt.get_fignums())
    assert main(["demo", "--data", str(recordings), "--minutes", "0.03", "--out", str(out)]) == 0
    assert len(plt.get_fignums()) == before, "figures were left open"
    page = (out / "report.html").read_text()
    assert page.count("<img ") == 4
    assert not re.search(r"(src|href)='(?!data:)", page), "the page needs other files"
    assert "ppg given ecg, resp" in page
    assert all(row in page for row in ("latentphys ", "ridge ", "mean "))
    for name in ("record", "imputation", "posterior", "training"):
        assert (out / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    assert FittedModel.load(out / "model").modalities == ("ecg", "ppg", "resp")
    with xr.open_dataset(out / "imputation.nc", engine="h5netcdf") as imputed:
        assert imputed.attrs["modality"] == "ppg"
        assert imputed.sizes["time"] == 40 * 125
    with xr.open_datatree(out / "posterior.nc", engine="h5netcdf") as posterior:
        assert posterior["posterior"].z_mean.dims == ("time", "latent")
    assert "2 subjects to fit, 1 unseen" in capsys.readouterr().out
    assert not [file.name for file in out.iterdir() if file.name.startswith(".")]


@pytest.mark.parametrize("arguments", [["--data", "nowhere"], ["--minutes", "0"]])
def test_refused_inputs_exit_with_2_and_a_message(
    arguments: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    recordings: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    if "--data" not in arguments:
        arguments = [*arguments, "--data", str(recordings)]
    with pytest.raises(SystemExit) as stop:
        main(["demo", *arguments])
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("latentphys: ")
    assert "nowhere" in message or "minutes is a finite number above 0" in message
    assert "Traceback" not in message


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["fly"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
    assert "demo" in capsys.readouterr().err


def test_without_a_data_folder_the_demo_simulates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def tiny(**arguments: int) -> str:
        asked.append(arguments)
        return "cohort"

    monkeypatch.setenv("LATENTPHYS_DATA", str(tmp_path))
    monkeypatch.setattr(latentphys.demo, "simulate", tiny)
    cohort, which = latentphys.demo.recordings(None)
    assert cohort == "cohort"
    assert "simulated" in which
    assert asked
    assert asked[0]["subjects"] == 24
