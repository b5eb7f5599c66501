"""WFDB files made here: what is read, and what is refused before any sample is."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import wfdb

from latentphys.recordings.errors import (
    ArgumentError,
    ModalityError,
    RateError,
    ReadError,
    UnitError,
)
from latentphys.recordings.reading import read
from latentphys.recordings.record import Record

COUNT = 1000


def write(
    folder: Path,
    name: str,
    channels: dict[str, str],
    *,
    rate_hz: float = 125.0,
    count: int = COUNT,
    comments: list[str] | None = None,
) -> np.ndarray:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng([*name.encode()])
    samples = rng.integers(-1000, 1000, (count, len(channels)))
    wfdb.wrsamp(
        name,
        fs=rate_hz,
        units=list(channels.values()),
        sig_name=list(channels),
        d_signal=samples,
        fmt=["16"] * len(channels),
        adc_gain=[100.0] * len(channels),
        baseline=[0] * len(channels),
        comments=comments,
        write_dir=str(folder),
    )
    return samples / 100.0


def header(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.hea").write_text(text)


def test_values_units_and_missing_samples(tmp_path: Path) -> None:
    expected = write(tmp_path, "a", {"II": "mV", "PLETH": "NU"})
    raw = np.fromfile(tmp_path / "a.dat", dtype="<i2").reshape(-1, 2)
    raw[10:20, 1] = -32768  # how format 16 says "not observed"
    raw.tofile(tmp_path / "a.dat")
    record = read(tmp_path)["a"]
    ppg = record.signals["ppg"].values[0]
    assert np.flatnonzero(np.isnan(ppg)).tolist() == list(range(10, 20))
    np.testing.assert_allclose(record.signals["ecg"].values[0], expected[:, 0], rtol=1e-6)
    assert not np.isnan(record.signals["ecg"].values).any()


def test_voltages_come_in_their_usual_units_and_others_as_they_are(tmp_path: Path) -> None:
    units = {"II": "uV", "V": "V", "EEG Fpz-Cz": "V", "PLETH": "V", "ABP": "mmHg"}
    expected = write(tmp_path, "a", units)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cohort = read(tmp_path)
    assert cohort.units == {"abp": "mmHg", "ecg": "mV", "eeg": "uV", "ppg": "V"}
    signals = cohort[0].signals
    assert {name: s.attrs["units"] for name, s in signals.items()} == cohort.units
    assert "channel_units" not in signals["ecg"].coords
    np.testing.assert_allclose(signals["ecg"].values[0], expected[:, 0] * 1e-3, rtol=1e-6)
    np.testing.assert_allclose(signals["ecg"].values[1], expected[:, 1] * 1e3, rtol=1e-6)
    np.testing.assert_allclose(signals["eeg"].values[0], expected[:, 2] * 1e6, rtol=1e-6)
    np.testing.assert_allclose(signals["ppg"].values[0], expected[:, 3], rtol=1e-6)


def test_records_in_microvolts_and_millivolts_are_one_cohort(tmp_path: Path) -> None:
    write(tmp_path, "a", {"II": "uV"})
    write(tmp_path, "b", {"II": "mV"})
    assert read(tmp_path).units == {"ecg": "mV"}


def test_units_that_are_no_voltage_are_told_and_do_not_mix(tmp_path: Path) -> None:
    write(tmp_path, "a", {"II": "adu"})
    with pytest.warns(UserWarning, match=r"no known voltage are read as they are: 'II' \(ecg\) in"):
        cohort = read(tmp_path)
    assert cohort[0].signals["ecg"].attrs["units"] == "adu"
    write(tmp_path, "b", {"II": "mV"})
    with pytest.warns(UserWarning, match="in 'adu'"):
        mixed = read(tmp_path)
    with pytest.raises(UnitError, match="ecg is adu in 'a' and mV in 'b'"):
        _ = mixed.units


def test_segments_in_other_units_are_converted_or_refused(tmp_path: Path) -> None:
    first = write(tmp_path, "s1", {"ABP": "mmHg"}, count=100)
    second = write(tmp_path, "s2", {"ABP": "kPa"}, count=100)
    header(tmp_path, "m", "m/2 1 125 200\ns1 100\ns2 100\n")
    (record,) = read(tmp_path)
    whole = np.concatenate([first[:, 0], second[:, 0] * 1000 / 133.3224])
    np.testing.assert_allclose(record.signals["abp"].values[0], whole, rtol=1e-6)
    assert record.signals["abp"].attrs["units"] == "mmHg"
    write(tmp_path, "s2", {"ABP": "mV"}, count=100)
    with pytest.raises(UnitError, match="'ABP' of 'm' is 'mmHg' and 'mV' in two segments"):
        read(tmp_path)


def test_halves_of_one_night_are_one_subjects(tmp_path: Path) -> None:
    for name in ("slp01a", "slp01b", "slp02", "slp01c"):
        write(tmp_path, name, {"ECG": "mV"})
    subjects = {entry.record: entry.subject for entry in read(tmp_path).entries}
    assert subjects == {"slp01a": "slp01", "slp01b": "slp01", "slp02": "slp02", "slp01c": "slp01c"}
    assert read(tmp_path)["slp01b"].subject == "slp01"
    write(tmp_path / "own", "slp01a", {"ECG": "mV"}, comments=["<subject>: 7"])
    assert read(tmp_path / "own")["slp01a"].subject == "7"  # what the header says comes first


@pytest.mark.parametrize(
    ("comment", "subject"),
    [
        ("<subject>: s01182", "s01182"),
        ("subject: x7", "x7"),
        ("Patient ID: 12", "12"),
        ("Subject = 3", "3"),
        ("no subject here", "a"),
    ],
)
def test_subject_from_the_comments(tmp_path: Path, comment: str, subject: str) -> None:
    write(tmp_path, "a", {"II": "mV"}, comments=["free text", comment, "<age>: 90+"])
    record = read(tmp_path)[0]
    assert record.subject == subject
    assert record.attrs["age"] == "90+"
    assert record.attrs["comments"].startswith("free text")


def test_numerics_of_the_same_modality_are_kept_apart(tmp_path: Path) -> None:
    write(tmp_path, "a", {"ABP": "mmHg"})
    write(tmp_path, "an", {"ABP": "mmHg", "HR": "bpm"}, rate_hz=1.0, count=8)
    cohort = read(tmp_path)
    assert cohort.names == ("a",)
    assert cohort[0].modalities == ("abp", "abp_numeric", "hr")
    assert cohort[0].rate_hz("abp_numeric") == 1.0
    assert read(tmp_path / "a")[0].modalities == cohort[0].modalities


def test_a_name_that_ends_in_n_stands_alone_without_its_pair(tmp_path: Path) -> None:
    write(tmp_path, "swan", {"II": "mV"})
    assert read(tmp_path).names == ("swan",)


def test_repeated_channel_names_are_numbered(tmp_path: Path) -> None:
    write(tmp_path, "a", {"II": "mV", "V": "mV"})
    text = (tmp_path / "a.hea").read_text().replace(" V\n", " II\n")
    header(tmp_path, "a", text)
    assert list(read(tmp_path)[0].signals["ecg"].channel.values) == ["II", "II_2"]


def test_unknown_names_become_modalities_with_a_warning(tmp_path: Path) -> None:
    write(tmp_path, "a", {"II": "mV", "Vent Flow": "l/s"})
    with pytest.warns(UserWarning, match="'Vent Flow' as 'vent_flow'.*modalities="):
        assert read(tmp_path).modalities == ("ecg", "vent_flow")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mapped = read(tmp_path, modalities={"Vent Flow": "airflow"})
    assert mapped.modalities == ("airflow", "ecg")
    with pytest.raises(ModalityError, match="channel 'Vent Flwo', which no record has.*Did you"):
        read(tmp_path, modalities={"Vent Flwo": "airflow"})


def test_records_index_chooses_and_orders(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path, name, {"II": "mV"})
    (tmp_path / "RECORDS").write_text("c\na\n")
    assert read(tmp_path).names == ("c", "a")
    (tmp_path / "RECORDS").write_text("a\nx9\n")
    with pytest.raises(ReadError, match="lists 1 records whose header is not there: x9"):
        read(tmp_path)
    (tmp_path / "RECORDS").write_text("../a\n")
    with pytest.raises(ReadError, match=r"\.\./a is outside"):
        read(tmp_path)


def test_equal_names_in_subfolders_are_told_apart(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write(tmp_path / folder, "a", {"II": "mV"})
    assert read(tmp_path).names == ("one_a", "two_a")


def test_one_modality_at_two_rates_is_refused(tmp_path: Path) -> None:
    header(
        tmp_path,
        "a",
        "a 2 125 100\na.dat 16x4 200/mV 16 0 0 0 0 II\na.dat 16 200/mV 16 0 0 0 0 V\n",
    )
    (tmp_path / "a.dat").write_bytes(bytes(100 * 5 * 2))
    with pytest.raises(RateError, match="'ecg' of 'a' has II at 500 Hz, V at 125 Hz.*'V': 'ecg_2'"):
        read(tmp_path)
    apart = read(tmp_path, modalities={"V": "ecg_2"})[0]
    assert (apart.rate_hz("ecg"), apart.rate_hz("ecg_2")) == (500.0, 125.0)


def test_gaps_between_segments_are_missing_samples(tmp_path: Path) -> None:
    first = write(tmp_path, "p1", {"II": "mV", "RESP": "NU"}, count=100)
    second = write(tmp_path, "p2", {"II": "mV"}, count=50)
    header(tmp_path, "p", "p/3 2 125 180\np1 100\n~ 30\np2 50\n")
    cohort = read(tmp_path)
    assert cohort.names == ("p",)
    ecg, resp = cohort[0].signals["ecg"].values[0], cohort[0].signals["resp"].values[0]
    gap = np.full(30, np.nan)
    np.testing.assert_allclose(ecg, np.concatenate([first[:, 0], gap, second[:, 0]]), rtol=1e-6)
    np.testing.assert_allclose(resp[:100], first[:, 1], rtol=1e-6)
    assert np.isnan(resp[100:]).all()


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="no recording in .*known are WFDB"):
        read(tmp_path)
    with pytest.raises(ReadError, match="no file or folder"):
        read(tmp_path / "nowhere")
    write(tmp_path / "bidmc", "a", {"II": "mV"})
    with pytest.raises(ReadError, match="Did you mean 'bidmc'?"):
        read(tmp_path / "bimdc")
    with pytest.raises(ReadError, match=r"read by its header; 'a.dat' .* Read '.*a.hea'"):
        read(tmp_path / "bidmc" / "a.dat")
    with pytest.raises(ArgumentError, match="path of a folder or a recording, got ndarray"):
        read(np.zeros(3))  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"modalities says what channels are, got list"):
        read(tmp_path / "bidmc", modalities=["ecg"])  # type: ignore[arg-type]


@pytest.mark.parametrize("lost", [1, 1000])
def test_a_file_cut_short_is_refused_before_it_is_read(tmp_path: Path, lost: int) -> None:
    write(tmp_path, "a", {"II": "mV"})
    data = (tmp_path / "a.dat").read_bytes()
    (tmp_path / "a.dat").write_bytes(data[:-lost])
    with pytest.raises(ReadError, match=f"a.dat is cut short: {2000 - lost} bytes .* needs 2000"):
        read(tmp_path)


@pytest.mark.parametrize("bits", ["8", "16", "24", "32", "80", "212", "310", "311"])
@pytest.mark.parametrize("count", [999, 1000, 1001])
def test_whole_files_of_every_format_pass(tmp_path: Path, bits: str, count: int) -> None:
    if bits in ("8", "310", "311"):  # wfdb reads these but does not write them
        size = {"8": count, "310": 4 * (-(-count // 3)), "311": 4 * (-(-count // 3))}[bits]
        header(tmp_path, "a", f"a 1 125 {count}\na.dat {bits} 200/mV 8 0 0 0 0 II\n")
        (tmp_path / "a.dat").write_bytes(bytes(size))
    else:
        wfdb.wrsamp(
            "a",
            fs=125,
            units=["mV"],
            sig_name=["II"],
            p_signal=np.sin(np.arange(count))[:, None],
            fmt=[bits],
            write_dir=str(tmp_path),
        )
    assert read(tmp_path)[0].signals["ecg"].sizes["time"] == count


@pytest.mark.parametrize("name", ["../x.dat", "/etc/passwd", "sub/../../x.dat", "..\\x.dat", "c:x"])
def test_a_header_that_points_outside_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.dat").write_bytes(bytes(10000))
    header(tmp_path / "in", "a", f"a 1 125 1000\n{name} 16 200/mV 16 0 0 0 0 II\n")
    with pytest.raises(ReadError, match="may name files in its own folder only"):
        read(tmp_path / "in")


def test_segments_outside_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "x", {"II": "mV"})
    header(tmp_path / "in", "a", "a/1 1 125 1000\n../x 1000\n")
    with pytest.raises(ReadError, match="own folder only, it names '../x'"):
        read(tmp_path / "in")


@pytest.mark.parametrize("rate", ["0", "nan", "-125", "fast"])
def test_impossible_rates_are_refused(tmp_path: Path, rate: str) -> None:
    write(tmp_path, "a", {"II": "mV"})
    text = (tmp_path / "a.hea").read_text().replace("a 1 125", f"a 1 {rate}")
    header(tmp_path, "a", text)
    with pytest.raises(RateError, match="rate of 'record a' is a positive number of samples a sec"):
        read(tmp_path)


def test_broken_and_lonely_headers_are_refused(tmp_path: Path) -> None:
    header(tmp_path / "one", "a", "this is 5 no header\n")
    with pytest.raises(ReadError, match="a.hea"):
        read(tmp_path / "one")
    write(tmp_path / "two", "a", {"II": "mV"})
    (tmp_path / "two" / "a.dat").unlink()
    with pytest.raises(ReadError, match="names 'a.dat', which is not beside it"):
        read(tmp_path / "two")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a 2 125 1000\na.dat 16 200/mV 16 0 0 0 0 II\n", "counts 2 signals and describes 1"),
        ("a 1 125 1000\na.dat 17 200/mV 16 0 0 0 0 II\n", "in formats 17; known are 8, 16"),
        ("a 1 125 1000\na.dat\n", "cannot be read"),
        ("a 1 125\na.dat 16 200/mV 16 0 0 0 0 II\n", "says how many samples there are"),
        ("a 0 125 1000\n", "has no signals"),
        ("", "cannot be read"),
    ],
)
def test_headers_that_do_not_add_up_are_refused(tmp_path: Path, text: str, words: str) -> None:
    header(tmp_path, "a", text)
    (tmp_path / "a.dat").write_bytes(bytes(2000))
    with pytest.raises(ReadError, match=words):
        read(tmp_path)


def test_recordings_in_other_formats_are_told(tmp_path: Path) -> None:
    write(tmp_path, "a", {"II": "mV"})
    ecg = Record.from_arrays({"ecg": (np.zeros(500), 250.0)}, subject="s01")
    below = tmp_path / "more"
    below.mkdir()
    for name in ("b.edf", "c.edf", "d.nc"):
        ecg.write(below / name)
    times = np.arange(50) / 50
    np.savetxt(below / "e.csv", np.stack([times, times], 1), "%g", ",", header="t,ppg", comments="")
    others = r"EDF \(more/b.edf\), NetCDF \(more/d.nc\), CSV \(more/e.csv\) are left out"
    with pytest.warns(UserWarning, match=f"is read as WFDB, and .* {others}") as told:
        cohort = read(tmp_path)
    assert cohort.names == ("a",)
    # The remedy of the message, word for word.
    assert str(told[0].message).endswith(f"read(...) + read({str(below / 'b.edf')!r}).")
    assert (cohort + read(below / "b.edf")).names == ("a", "b")


def test_what_stands_beside_recordings_is_no_other_format(tmp_path: Path) -> None:
    write(tmp_path, "a", {"II": "mV"})
    (tmp_path / "subjects.csv").write_text("subject,age\n" + "s,50\n" * 20)
    (tmp_path / "events.tsv").write_text(
        "time\tvalue\n" + "".join(f"{i**2}\t1\n" for i in range(20))
    )
    (tmp_path / "empty.csv").write_text("time,ecg\n")
    (tmp_path / "broken.h5").write_bytes(b"no HDF5")
    (tmp_path / "other.nc").write_bytes(b"no NetCDF")
    np.savez(tmp_path / "results.npz", loss=np.zeros(3))
    (tmp_path / "a.mat").write_bytes(b"named by the header")
    (tmp_path / ".hidden.edf").write_bytes(b"")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(tmp_path).names == ("a",)


def test_paths_and_maps_of_another_kind_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "a", {"II": "mV"})
    with pytest.raises(ArgumentError, match="path of a folder or a recording, got ''. Give one"):
        read("")
    for wrong in ({"II": 3}, {3: "ecg"}, {"II": ""}):
        with pytest.raises(ArgumentError, match="name of a channel to that of a modality, got {"):
            read(tmp_path, modalities=wrong)  # type: ignore[arg-type]


def test_files_are_not_opened_by_listing(tmp_path: Path) -> None:
    write(tmp_path, "a", {"II": "mV"})
    cohort = read(tmp_path)
    shutil.move(tmp_path / "a.dat", tmp_path / "elsewhere.dat")
    assert cohort.modalities == ("ecg",)
    with pytest.raises(ReadError, match="samples of 'a' cannot be read"):
        cohort[0]


def test_names_lose_the_comma_they_were_published_with(tmp_path: Path) -> None:
    expected = write(tmp_path, "a", {"II,": "mV", "PLETH,": "NU"})
    record = read(tmp_path)["a"]
    assert record.signals["ecg"].channel.values.tolist() == ["II"]
    np.testing.assert_allclose(record.signals["ppg"].values[0], expected[:, 1], rtol=1e-6)


def test_a_missing_segment_is_a_gap_and_said_so(tmp_path: Path) -> None:
    first = write(tmp_path, "s1", {"II": "mV"}, count=500)
    write(tmp_path, "s2", {"II": "mV"}, count=500)
    header(tmp_path, "m", "m/2 1 125 1000\ns1 500\ns2 500\n")
    for file in tmp_path.glob("s2.*"):
        file.unlink()
    with pytest.warns(UserWarning, match="record 'm' lacks 1 of its segments, s2"):
        ecg = read(tmp_path / "m")[0].signals["ecg"].values[0]
    np.testing.assert_allclose(ecg[:500], first[:, 0], rtol=1e-6)
    assert np.isnan(ecg[500:]).all()
    for file in tmp_path.glob("s1.*"):
        file.unlink()
    with pytest.raises(ReadError, match="none of them is there: s1, s2"):
        read(tmp_path / "m")


def test_beats_alone_are_intervals_at_the_beats(tmp_path: Path) -> None:
    write(tmp_path, "a", {"II": "mV"})
    beats = np.array([10, 110, 215, 300, 900])
    symbols = ["N", "N", "+", "V", "N"]
    wfdb.wrann("a", "atr", beats, symbols, fs=125.0, write_dir=str(tmp_path))
    assert read(tmp_path)["a"].modalities == ("ecg",)
    (tmp_path / "a.dat").unlink()
    with pytest.warns(UserWarning, match="1 records have annotated beats and none of their"):
        record = read(tmp_path)["a"]
    rr = record.signals["rr"]
    np.testing.assert_allclose(rr.time.values, np.array([110, 300, 900]) / 125.0)
    np.testing.assert_allclose(rr.values[0], [0.8, 190 / 125.0, np.nan])
    assert rr.attrs["units"] == "s"
    assert record.annotations["atr"].sizes["event"] == 5
