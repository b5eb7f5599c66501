"""The command line from a folder of recordings to a page, and inputs that it refuses."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import wfdb
import xarray as xr

import latentphys.demo
from latentphys.cli import main
from latentphys.fitted import FittedModel
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import ReadError, WriteError
from latentphys.recordings.record import Record
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

    monkeypatch.delenv("LATENTPHYS_DATA", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")  # so that ../shared/data is not there
    monkeypatch.setattr(latentphys.demo, "simulate", tiny)
    cohort, which = latentphys.demo.recordings(None)
    assert cohort == "cohort"
    assert "simulated" in which
    assert asked
    assert asked[0]["subjects"] == 24
    (tmp_path / "shared" / "data").mkdir(parents=True)
    with pytest.raises(ReadError, match="no recording in"):
        latentphys.demo.recordings(None)


@pytest.mark.parametrize("parent", [False, True])
def test_the_folder_named_is_itself_read_or_its_bidmc(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parent: bool
) -> None:
    if parent:
        shutil.copytree(recordings, tmp_path / "bidmc")
        (tmp_path / "bidmc.txt").write_text("beside it")
    monkeypatch.setenv("LATENTPHYS_DATA", str(tmp_path if parent else recordings))
    cohort, which = latentphys.demo.recordings(None)
    assert len(cohort) == 3
    assert ("BIDMC" in which) == parent
    assert "simulated" not in which


@pytest.mark.parametrize("kind", ["file", "empty", "nothing"])
def test_a_data_folder_without_recordings_is_refused(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    (tmp_path / "empty").mkdir()
    place = next(recordings.glob("*.hea")) if kind == "file" else tmp_path / kind
    monkeypatch.setenv("LATENTPHYS_DATA", str(place))
    got = {"file": "is a file", "empty": "no recording in", "nothing": "nothing is there"}[kind]
    with pytest.raises(ReadError, match=f"folder of recordings.*{place.name}.*{got}.*--data"):
        latentphys.demo.recordings(None)


def test_a_file_is_no_folder_for_results(
    tiny_fit: FittedModel,
    recordings: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "taken"
    file.write_text("mine")
    monkeypatch.setattr(latentphys.demo, "read", lambda path: pytest.fail("work before the check"))
    for out in (file, file / "below"):
        with pytest.raises(SystemExit) as stop:
            main(["demo", "--data", str(recordings), "--out", str(out)])
        assert stop.value.code == 2
        assert f"'{file}' is a file. Give another path" in capsys.readouterr().err
        with pytest.raises(WriteError, match="is a file"):
            tiny_fit.save(out)
    assert file.read_text() == "mine"


def without(record: Record, *names: str) -> Record:
    """The record with these sensors silent: there by name, without a sample."""
    signals = dict(record.signals)
    for name in names:
        signals[name] = signals[name].copy(data=np.full(signals[name].shape, np.nan, np.float32))
    return replace(record, signals=signals)


@pytest.mark.parametrize("case", ["target silent", "one sensor each", "irregular", "one sensor"])
def test_what_cannot_be_shown_is_left_out_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    cohort = simulate(3, 0.5, seed=1, absent=0.0, nuisance=0.0)
    train, test = cohort.split(test=0.2, seed=0)
    unseen = {record.record for record in test}

    def changed(record: Record) -> Record:
        if case == "irregular":
            ppg = record.signals["ppg"].isel(time=slice(None, None, 5))
            shaken = ppg.time.values + 0.01 * np.sin(np.arange(ppg.sizes["time"]))
            ppg = (
                ppg.assign_coords(time=shaken - shaken[0])
                .drop_attrs(deep=False)
                .assign_attrs(units="NU")
            )
            return replace(record, signals={**record.signals, "ppg": ppg})
        if case == "one sensor":
            return record.keep("ecg")
        if record.record not in unseen:
            return record
        return without(record, "ppg") if case == "target silent" else without(record, "ppg", "resp")

    made = Cohort([changed(record) for record in cohort])
    monkeypatch.setattr(latentphys.demo, "recordings", lambda data: (made, "made"))
    assert main(["demo", "--minutes", "0.01", "--out", str(tmp_path)]) == 0
    said, page = capsys.readouterr().out, (tmp_path / "report.html").read_text()
    shows = case in ("target silent", "irregular")
    assert page.count("<img ") == 3 + shows
    assert ("Imputation left out: no unseen record" in said) == (not shows)
    assert ("Imputation left out" in page) == (not shows)
    assert ("Baseline ridge of ppg left out" in page) == (case == "irregular")
    if shows:
        with xr.open_dataset(tmp_path / "imputation.nc", engine="h5netcdf") as imputed:
            assert imputed.attrs["modality"] == ("resp" if case == "target silent" else "ppg")


def test_units_that_differ_are_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = simulate(3, 0.5, seed=1, absent=0.0, nuisance=0.0)
    _, test = cohort.split(test=0.2, seed=0)
    odd = test[0].signals["ecg"].assign_attrs(units="kPa")
    one = replace(test[0], signals={**test[0].signals, "ecg": odd})
    made = Cohort([*(r for r in cohort if r.record != one.record), one])
    monkeypatch.setattr(latentphys.demo, "recordings", lambda data: (made, "made"))
    monkeypatch.setattr(latentphys.demo, "fit", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(SystemExit):
        main(["demo", "--out", str(tmp_path / "out")])
    assert "kPa" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
