"""BIDS physiology, CSV, long tables and PhysioNet 2012, made here: rules and refusals."""

import gzip
import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from latentphys.recordings.errors import (
    LatentphysError,
    ModalityError,
    RateError,
    ReadError,
)
from latentphys.recordings.reading import read
from latentphys.recordings.record import Record

# BIDS


def physio(
    folder: Path, name: str, table: np.ndarray, about: dict | None, json_at: Path | None = None
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(folder / f"{name}_physio.tsv.gz", "wt") as stream:
        for row in table:
            stream.write("\t".join("n/a" if np.isnan(x) else f"{x:g}" for x in row) + "\n")
    if about is not None:
        (json_at or folder / f"{name}_physio.json").write_text(json.dumps(about))


ABOUT = {"SamplingFrequency": 12.5, "StartTime": -2.0, "Columns": ["cardiac", "trigger"]}


def test_columns_units_holes_and_start(tmp_path: Path) -> None:
    table = np.array([[1.0, 0], [np.nan, 1], [3, 0]])
    about = {**ABOUT, "cardiac": {"Units": "uV"}}
    physio(tmp_path / "sub-a1" / "func", "sub-a1_task-x_run-2", table, about)
    record = read(tmp_path)[0]
    assert (record.subject, record.record) == ("sub-a1", "sub-a1_task-x_run-2")
    assert record.modalities == ("ppg", "trigger")
    np.testing.assert_array_equal(record.signals["ppg"].values, [[1, np.nan, 3]])
    assert record.signals["ppg"].attrs == {"units": "uV", "rate_hz": 12.5}
    assert record.attrs == {"start_time_s": -2.0, "task": "x", "run": "2"}


def test_nearer_json_wins_and_strangers_do_not_count(tmp_path: Path) -> None:
    folder = tmp_path / "ds" / "sub-1" / "func"
    physio(folder, "sub-1_task-x", np.zeros((4, 2)), None)
    (tmp_path / "physio.json").write_text(json.dumps({"SamplingFrequency": 1}))  # above the dataset
    (tmp_path / "ds" / "dataset_description.json").write_text("{}")
    (tmp_path / "ds" / "task-x_physio.json").write_text(json.dumps({**ABOUT, "StartTime": 7}))
    (tmp_path / "ds" / "task-y_physio.json").write_text(json.dumps({"SamplingFrequency": 3}))
    (tmp_path / "ds" / "sub-1" / "sub-1_physio.json").write_text(json.dumps({"StartTime": 5}))
    for path in (tmp_path / "ds", tmp_path / "ds" / "sub-1", folder / "sub-1_task-x_physio.tsv.gz"):
        record = read(path)[0]
        assert (record.rate_hz("ppg"), record.attrs["start_time_s"]) == (12.5, 5.0)


def test_recordings_of_one_run_are_one_record(tmp_path: Path) -> None:
    folder = tmp_path / "sub-1"
    slow = {"SamplingFrequency": 5, "StartTime": 1.0, "Columns": ["respiratory"]}
    fast = {"SamplingFrequency": 50, "StartTime": 0.5, "Columns": ["cardiac"]}
    physio(folder, "sub-1_recording-breath", np.arange(10.0)[:, None], slow)
    physio(folder, "sub-1_recording-pulse", np.arange(50.0)[:, None], fast)
    (record,) = read(tmp_path)
    assert record.record == "sub-1"
    assert (record.rate_hz("resp"), record.rate_hz("ppg")) == (5.0, 50.0)
    assert record.signals["resp"].time.values[0] == 0.5
    assert record.duration_s == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("about", "error", "words"),
    [
        (None, ReadError, "tells SamplingFrequency, Columns; none beside it"),
        ({**ABOUT, "SamplingFrequency": 0}, RateError, "positive number of samples a second"),
        ({**ABOUT, "SamplingFrequency": [1]}, ReadError, "no number for a rate"),
        ({**ABOUT, "Columns": ["a", "a"]}, ReadError, "Columns of .* are different names"),
        ({**ABOUT, "Columns": "cardiac"}, ReadError, "Columns of .* are different names"),
        ({**ABOUT, "StartTime": "nan"}, ReadError, "StartTime is seconds"),
    ],
)
def test_json_that_does_not_add_up(
    tmp_path: Path, about: dict | None, error: type[LatentphysError], words: str
) -> None:
    physio(tmp_path, "sub-1", np.zeros((4, 2)), about)
    with pytest.raises(error, match=words):
        read(tmp_path)


def test_tables_that_do_not_fit(tmp_path: Path) -> None:
    physio(tmp_path, "sub-1", np.zeros((4, 3)), ABOUT)
    with pytest.raises(ReadError, match="has 3 columns where its JSON names 2: cardiac, trigger"):
        read(tmp_path)[0]
    path = tmp_path / "sub-1_physio.tsv.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ReadError, match="sub-1_physio.tsv.gz is no table.*packed by gzip"):
        read(tmp_path)


# CSV


def csv(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_rate_from_a_name_and_columns_from_theirs(tmp_path: Path) -> None:
    csv(tmp_path / "a_62.5Hz.csv", "ECG (uV),PPG,note,RSP\n1000,2,x,\n2000,3,y,5\n")
    with pytest.warns(UserWarning, match="hold no numbers are left out: note"):
        record = read(tmp_path)[0]
    assert {m: record.rate_hz(m) for m in record.modalities} == dict.fromkeys(
        ["ecg", "ppg", "resp"], 62.5
    )
    np.testing.assert_allclose(record.signals["ecg"].values, [[1.0, 2.0]])
    assert record.signals["ecg"].attrs["units"] == "mV"
    np.testing.assert_array_equal(record.signals["resp"].values, [[np.nan, 5]])


@pytest.mark.parametrize(
    ("head", "cells", "rate_hz"),
    [
        ("time", ["3.000", "3.004", "3.008", "3.012"], 250.0),
        ("Time_ms", ["0", "8", "16", "24"], 125.0),
        ("date", ["2020-01-01 00:00", "2020-01-01 01:00", "2020-01-01 02:00"], 1 / 3600),
        ("timestamp", ["0", "0.5", "1.0"], 2.0),
        ("time", ["0", "1", "5"], np.nan),
    ],
)
def test_times_in_a_column(tmp_path: Path, head: str, cells: list[str], rate_hz: float) -> None:
    csv(
        tmp_path / "a.csv", f"{head},HR\n" + "\n".join(f"{c},{60 + i}" for i, c in enumerate(cells))
    )
    cohort = read(tmp_path)
    np.testing.assert_allclose(cohort[0].rate_hz("hr"), rate_hz)
    assert cohort.entries[0].duration_s == pytest.approx(cohort[0].duration_s)
    if np.isnan(rate_hz):
        assert cohort[0].signals["hr"].time.values.tolist() == [0.0, 1.0, 5.0]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "ECG\n1\n", "nothing tells the rate.*a_250hz.csv.*from_arrays"),
        ("a_0hz.csv", "ECG\n1\n", "nothing tells the rate"),
        ("a.csv", "time,ECG\n1,1\n1,2\n", "times strictly increase; column 'time'"),
        ("a.csv", "time,ECG\n1,1\n,2\n", "times strictly increase"),
        ("a.csv", "date,ECG\nx,1\ny,2\n", "no table with a head"),
        ("a_9hz.csv", "", "no table with a head"),
        ("a_9hz.csv", "ECG\n", "holds no samples"),
        ("a_9hz.csv", "note\nx\n", "no column of numbers"),
    ],
)
def test_tables_that_tell_too_little(tmp_path: Path, name: str, text: str, words: str) -> None:
    csv(tmp_path / name, text)
    with pytest.raises((RateError, ReadError), match=words):
        read(tmp_path)


def test_letters_below_the_first_rows(tmp_path: Path) -> None:
    csv(tmp_path / "a_9hz.csv", "ECG,PPG\n" + "1,1\n" * 200 + "x,1\n")
    with pytest.raises(ReadError, match="columns ECG of a_9hz.csv hold numbers in their first 100"):
        read(tmp_path)[0]


def test_modalities_of_columns(tmp_path: Path) -> None:
    csv(tmp_path / "a_9hz.csv", "aorta,PPG\n1,1\n")
    assert read(tmp_path, modalities={"aorta": "abp"}).modalities == ("abp", "ppg")
    with pytest.raises(ModalityError, match="'aorat', which no record has.*Did you mean 'aorta'"):
        read(tmp_path, modalities={"aorat": "abp"})


# Long tables


def test_long_tables() -> None:
    rows = [
        ("00:30", "HR", 72.0, "bpm"),
        ("00:07", "HR", 70.0, "bpm"),
        ("00:07", "HR", 71.0, "bpm"),  # the later row counts
        ("01:00:30", "Temp", 36.5, "degC"),
        ("02:00", "Temp", np.nan, "degC"),
    ]
    frame = pd.DataFrame(rows, columns=["Time", "Parameter", "Value", "unit"])
    names = {"time": "Time", "variable": "Parameter", "value": "Value", "units": "unit"}
    record = Record.from_long(frame, subject="s1", record="stay", **names)
    assert (record.subject, record.record) == ("s1", "stay")
    hr = record.signals["hr"]
    assert (hr.values.tolist(), hr.time.values.tolist()) == ([[71, 72]], [420, 1800])
    assert np.isnan(record.rate_hz("hr"))
    assert hr.attrs["units"] == "1/min"
    assert record.signals["temperature"].time.values.tolist() == [3630]


@pytest.mark.parametrize("kind", ["dates", "deltas", "numbers"])
def test_times_of_long_tables(kind: str) -> None:
    seconds = np.array([0.0, 90.0, 30.0])
    times = {
        "dates": pd.Timestamp("2020-01-01") + pd.to_timedelta(seconds, unit="s"),
        "deltas": pd.to_timedelta(seconds, unit="s"),
        "numbers": seconds,
    }[kind]
    frame = pd.DataFrame({"time": times, "variable": "HR", "value": [1, 2, 3]})
    assert Record.from_long(frame, subject="a").signals["hr"].values.tolist() == [[1, 3, 2]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"value": ["a", "b"]}, "column 'value' holds numbers"),
        ({"time": ["x", "y"]}, "column 'time' holds times"),
        ({"time": [np.nan, 1.0]}, "rows without a time"),
        ({"value": [np.nan, np.nan]}, "at least one value"),
        ({"variable": ["a b", "a_b"]}, "modalities of one name"),
    ],
)
def test_long_tables_that_make_no_record(change: dict, words: str) -> None:
    plain = {"time": [0.0, 1.0], "variable": ["HR", "HR"], "value": [1.0, 2.0]}
    with pytest.raises(LatentphysError, match=words):
        Record.from_long(pd.DataFrame({**plain, **change}), subject="a")
    with pytest.raises(ModalityError, match="when is not there"):
        Record.from_long(pd.DataFrame(plain), subject="a", time="when")


STAY = """Time,Parameter,Value
00:00,RecordID,140001
00:00,Age,77
00:00,Height,-1
00:00,Weight,80
00:00,Weight,80.5
00:07,HR,70
00:07,HR,71
30:15,pH,7.4
"""


@pytest.mark.parametrize("packed", [False, True])
def test_stays_from_texts_or_their_archive(tmp_path: Path, packed: bool) -> None:
    if packed:
        with tarfile.open(tmp_path / "set-a.tar.gz", "w:gz") as archive:
            for name, text in {"set-a/140001.txt": STAY, "../../140002.txt": STAY}.items():
                member = tarfile.TarInfo(name)
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))
    else:
        for name in ("140001", "140002"):
            (tmp_path / f"{name}.txt").write_text(STAY)
    (tmp_path / "Outcomes-a.txt").write_text("RecordID,In-hospital_death\n140001,1\n")
    cohort = read(tmp_path)
    assert cohort.names == ("140001", "140002")
    record = cohort["140001"]
    assert record.modalities == cohort.entries[0].modalities == ("hr", "ph", "weight")
    assert record.attrs == {"age": 77.0, "weight": 80.0, "in_hospital_death": 1.0}
    assert record.signals["hr"].values.tolist() == [[71.0]]
    assert record.signals["weight"].values.tolist() == [[80.5]]
    assert record.signals["ph"].time.values.tolist() == [30 * 3600 + 15 * 60.0]
    assert cohort.entries[0].duration_s == record.duration_s
    assert sorted(os.listdir(tmp_path.parent)).count("140002.txt") == 0


def test_damaged_stays(tmp_path: Path) -> None:
    (tmp_path / "set-a.tar.gz").write_bytes(b"no archive")
    with pytest.raises(ReadError, match="set-a.tar.gz is damaged"):
        read(tmp_path)
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "140001.txt").write_text(STAY + "noon,HR,70\n")
    with pytest.raises(ReadError, match="rows of stay 140001 are 'HH:MM,parameter,value'"):
        read(folder)
