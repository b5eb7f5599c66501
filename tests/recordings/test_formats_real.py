"""Every public folder that other readers do not cover: one `read`, a right index, right samples."""

import gzip
import tarfile
import warnings
from pathlib import Path

import edfio
import numpy as np
import pandas as pd
import pytest
import scipy.io

from latentphys.recordings.cohort import Cohort
from latentphys.recordings.reading import read


def quiet(path: Path) -> Cohort:
    """Read with no warning at all."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read(path)


def test_eegmat(data_root: Path) -> None:
    cohort = quiet(data_root / "eegmat")
    assert (len(cohort), len(cohort.subjects)) == (10, 5)
    assert cohort.subjects[0] == "Subject00"
    assert cohort.units == {"eeg": "uV", "ecg": "mV"}
    record = cohort["Subject03_2"]
    assert (record.rate_hz("eeg"), record.rate_hz("ecg")) == (500.0, 500.0)
    assert (record.signals["eeg"].sizes["channel"], record.signals["ecg"].sizes["channel"]) == (
        20,
        1,
    )
    raw = edfio.read_edf(data_root / "eegmat" / "Subject03_2.edf")
    eeg = record.signals["eeg"]
    assert list(eeg.channel.values) == [s.label for s in raw.signals if s.label != "ECG ECG"]
    np.testing.assert_allclose(eeg.values[3], raw.signals[3].data, rtol=1e-5, atol=1e-5)
    ecg = raw.get_signal("ECG ECG").data  # its header says mV, that of the EEG uV
    np.testing.assert_allclose(record.signals["ecg"].values[0], ecg, rtol=1e-5, atol=1e-6)
    train, test = cohort.split(test=0.2, seed=0)
    assert not set(train.subjects) & set(test.subjects)


def test_eegmat_agrees_with_mne(data_root: Path) -> None:
    mne = pytest.importorskip("mne")
    path = data_root / "eegmat" / "Subject01_2.edf"
    raw = mne.io.read_raw_edf(path, verbose="error")
    eeg = read(path)[0].signals["eeg"]
    theirs = raw.get_data(picks=[0, 7]) * 1e6
    np.testing.assert_allclose(eeg.values[[0, 7]], theirs, rtol=1e-4, atol=1e-3)


def test_bids_physiology(data_root: Path) -> None:
    cohort = quiet(data_root / "ds000210_physio")
    assert (len(cohort), len(cohort.subjects)) == (75, 15)
    assert cohort.modalities == ("ppg", "resp")
    assert set(cohort.subjects) == {f"sub-{i:02d}" for i in range(1, 16)}
    record = cohort["sub-04_task-rest_run-01"]
    assert (record.rate_hz("ppg"), record.attrs["task"], record.attrs["run"]) == (
        50.0,
        "rest",
        "01",
    )
    file = next((data_root / "ds000210_physio").rglob("sub-04_task-rest_run-01_physio.tsv.gz"))
    with gzip.open(file) as stream:
        table = np.loadtxt(stream)
    np.testing.assert_array_equal(record.signals["ppg"].values[0], table[:, 0])
    np.testing.assert_array_equal(record.signals["resp"].values[0], table[:, 1])
    alone = quiet(file)
    assert (alone.subjects, alone[0].rate_hz("resp")) == (("sub-04",), 50.0)
    assert cohort.entries[cohort.names.index(record.record)].duration_s == record.duration_s


def test_neurokit(data_root: Path) -> None:
    cohort = quiet(data_root / "neurokit")
    rates = {r.record: {m: r.rate_hz(m) for m in r.modalities} for r in cohort}
    assert rates == {
        "bio_eventrelated_100hz": dict.fromkeys(["ecg", "eda", "resp", "trigger"], 100.0),
        "bio_resting_5min_100hz": dict.fromkeys(["ecg", "ppg", "resp"], 100.0),
        "bio_resting_8min_100hz": dict.fromkeys(["ecg", "eda", "resp", "trigger"], 100.0),
        "ecg_1000hz": {"ecg": 1000.0},
        "eog_100hz": {"eog": 100.0},
        "eog_200hz": {"eog": 200.0},
    }
    table = pd.read_csv(data_root / "neurokit" / "bio_resting_5min_100hz.csv.gz")
    record = cohort["bio_resting_5min_100hz"]
    np.testing.assert_array_equal(
        record.signals["resp"].values[0], table["RSP"].to_numpy(dtype=np.float32)
    )
    assert record.duration_s == 300.0
    assert list(cohort["eog_200hz"].signals["eog"].channel.values) == ["hEOG", "vEOG"]


def test_physionet2012(data_root: Path) -> None:
    folder = data_root / "physionet2012"
    cohort = quiet(folder)
    assert (len(cohort), len(cohort.subjects), len(cohort.modalities)) == (4000, 4000, 37)
    assert cohort.units["nimap"] == "mmHg"
    record = cohort["132539"]
    assert np.isnan(record.rate_hz("hr"))
    assert record.attrs["age"] == 54.0
    assert record.attrs["in_hospital_death"] == 0.0
    assert "height" not in record.attrs  # -1: not known
    with tarfile.open(folder / "set-a.tar.gz") as archive:
        member = archive.extractfile("set-a/132539.txt")
        assert member is not None
        table = pd.read_csv(member)
    hr = table[table.Parameter == "HR"]
    minutes = [60 * int(t[:2]) + int(t[3:]) for t in hr.Time]
    np.testing.assert_array_equal(record.signals["hr"].time.values, np.array(minutes) * 60.0)
    np.testing.assert_array_equal(record.signals["hr"].values[0], hr.Value)
    deaths = pd.read_csv(folder / "Outcomes-a.txt")["In-hospital_death"]
    sample = cohort.entries[::400]
    found = [entry.load().attrs["in_hospital_death"] for entry in sample]
    assert found == deaths.to_numpy()[::400].tolist()


def test_stays_without_a_measurement_are_kept(data_root: Path) -> None:
    record = read(data_root / "physionet2012" / "set-a.tar.gz")["140501"]
    assert record.modalities == ("hr",)
    assert np.isnan(record.signals["hr"].values).all()
    assert record.attrs["age"] > 0


def test_sleep_features(data_root: Path) -> None:
    cohort = quiet(data_root / "sleep_edf_features")
    assert (len(cohort), len(cohort.subjects)) == (14, 7)
    record = cohort["SC4041E0"]
    signal = record.signals["eeg_features"]
    assert record.rate_hz("eeg_features") == 1 / 30
    held = np.load(data_root / "sleep_edf_features" / "SC4041E0.npz")
    np.testing.assert_array_equal(signal.values, held["features"].T)
    assert list(signal.channel.values)[8:10] == ["Fpz-Cz mobility", "Pz-Oz log delta"]
    stage = record.annotations["stage"]
    np.testing.assert_array_equal(stage.values, held["stage"])
    np.testing.assert_array_equal(stage.time.values, 30.0 * np.arange(len(held["stage"])))
    assert record.subject == "SC404"


def test_ett(data_root: Path) -> None:
    with pytest.warns(UserWarning, match="unknown kind.*'HUFL' as 'hufl'"):
        (record,) = read(data_root / "ett")
    table = pd.read_csv(data_root / "ett" / "ETTh1.csv")
    assert len(record.modalities) == 7
    assert record.rate_hz("ot") == pytest.approx(1 / 3600, rel=1e-12)
    assert record.signals["ot"].sizes["time"] == len(table)
    np.testing.assert_allclose(record.signals["ot"].values[0], table["OT"], rtol=1e-6)
    assert record.duration_s == pytest.approx(3600.0 * len(table))


def test_ett_as_one_modality(data_root: Path) -> None:
    columns = ["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"]
    cohort = read(data_root / "ett", modalities=dict.fromkeys(columns, "transformer"))
    assert cohort.modalities == ("transformer",)
    assert list(cohort[0].signals["transformer"].channel.values) == columns


def test_jsb_chorales(data_root: Path) -> None:
    cohort = quiet(data_root / "jsb_chorales")
    held = scipy.io.loadmat(data_root / "jsb_chorales" / "JSB_Chorales.mat")
    assert len(cohort) == len(cohort.subjects) == 229 + 76 + 77
    splits = [name.partition("_")[0] for name in cohort.names]
    assert [splits.count(s) for s in ("traindata", "validdata", "testdata")] == [229, 76, 77]
    record = cohort["validdata_002"]
    notes = record.signals["notes"]
    assert (notes.sizes["channel"], record.rate_hz("notes"), record.attrs) == (
        88,
        1.0,
        {"split": "validdata"},
    )
    np.testing.assert_array_equal(notes.values, held["validdata"][0, 1].T)
    assert cohort.entries[0].duration_s == held["traindata"][0, 0].shape[0]
