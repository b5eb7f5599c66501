"""EDF, EDF+ and BDF: what is written comes back; what others wrote is read; damage is refused."""

import datetime
import warnings
from dataclasses import replace
from pathlib import Path

import edfio
import numpy as np
import pytest
import xarray as xr

from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import CohortError, ReadError, WriteError
from latentphys.recordings.reading import read
from latentphys.recordings.record import Record, rate_of
from latentphys.recordings.simulation import simulate


def full_record() -> Record:
    """Odd rates, holes at the start, in the middle, at the end and everywhere, several channels."""
    rng = np.random.default_rng(0)
    ecg = rng.normal(0, 1.5, (3, 1250))
    ecg[0, 400:475] = np.nan
    ecg[1, :3] = np.nan
    ecg[2] = np.nan
    ppg = rng.normal(100, 1, (1, 617))  # 62.5 Hz, ends between two data records
    ppg[0, -5:] = np.nan
    ppg[0, 10] = np.nan
    spo2 = np.array([97.0, np.nan, 97.0, 96.0, np.nan, np.nan, 95.0, 95.0, 95.0])
    eeg = rng.normal(0, 3e-5, (2, 2560))
    made = Record.from_arrays(
        {"ecg": (ecg, 125.0), "ppg": (ppg, 62.5), "spo2": (spo2, 1.0), "eeg": (eeg, 256.0)},
        subject="s01",
        units={"ecg": "mV", "ppg": "NU", "spo2": "%", "eeg": "V"},
        channels={"ecg": ["II", "V", "MCL"], "eeg": ["Fpz-Cz", "II"]},
    )
    return replace(made, annotations=annotations())


def annotations() -> dict[str, xr.DataArray]:
    time = ("event", np.array([0.5, 1.25, 7.0625]))
    return {
        "annotations": xr.DataArray(["a", "b c", "µ"], dims="event", coords={"time": time}),
        "qrs": xr.DataArray(
            ["N", "V", "N"],
            dims="event",
            coords={"time": time, "note": ("event", ["", "early", ""])},
        ),
        "stage": xr.DataArray(
            [0, 2, 4],
            dims="event",
            coords={"time": time, "duration": ("event", np.full(3, 0.5))},
        ),
    }


def test_round_trip(tmp_path: Path) -> None:
    record = full_record()
    record.write(tmp_path / "r1.edf")
    cohort = read(tmp_path)
    back = cohort["r1"]
    assert (back.subject, back.record) == ("s01", "r1")
    assert cohort.entries[0].duration_s >= record.duration_s
    assert set(back.modalities) == set(record.modalities)
    for modality, signal in record.signals.items():
        got = back.signals[modality]
        scale = 1e6 if modality == "eeg" else 1.0
        assert list(got.channel.values) == list(signal.channel.values)
        assert rate_of(got) == rate_of(signal)
        np.testing.assert_allclose(got.time.values, signal.time.values, atol=1e-9)
        np.testing.assert_array_equal(np.isnan(got.values), np.isnan(signal.values))
        for ours, theirs in zip(got.values, signal.values * scale, strict=True):
            if np.isnan(theirs).all():
                continue
            # Half a step of a range that is at most a hundredth wider, and float32's own.
            step = (np.nanmax(theirs) - np.nanmin(theirs)) * 1.01 / 65535
            error = np.nanmax(np.abs(ours - theirs))
            assert error <= 0.5 * step + 1e-6 * np.nanmax(np.abs(theirs)), modality
    assert {m: s.attrs["units"] for m, s in back.signals.items()} == {
        "ecg": "mV",
        "ppg": "NU",
        "spo2": "%",
        "eeg": "uV",
    }


def test_annotations_come_back(tmp_path: Path) -> None:
    record = full_record()
    record.write(tmp_path / "r1.edf")
    back = read(tmp_path)[0].annotations
    assert set(back) == {"annotations", "qrs", "stage"}
    for name, events in record.annotations.items():
        np.testing.assert_array_equal(back[name].values, events.values)
        np.testing.assert_array_equal(back[name].time.values, events.time.values)
    assert list(back["qrs"].note.values) == ["", "early", ""]
    assert back["stage"].dtype.kind == "i"
    np.testing.assert_array_equal(back["stage"].duration.values, [0.5, 0.5, 0.5])
    assert "duration" not in back["annotations"].coords


def test_a_second_writing_changes_nothing(tmp_path: Path) -> None:
    full_record().write(tmp_path / "a.edf")
    once = read(tmp_path)[0]
    once.write(tmp_path / "b.edf")
    twice = read(tmp_path / "b.edf")[0]
    for modality, signal in once.signals.items():
        step = float(np.nanmax(signal) - np.nanmin(signal)) * 1.01 / 65535
        np.testing.assert_allclose(twice.signals[modality], signal, rtol=1e-6, atol=0.6 * step)
        np.testing.assert_array_equal(np.isnan(twice.signals[modality]), np.isnan(signal))


def test_other_programs_can_read_what_is_written(tmp_path: Path) -> None:
    full_record().write(tmp_path / "a.edf")
    edf = edfio.read_edf(tmp_path / "a.edf")
    assert edf.reserved == "EDF+C"
    assert edf.data_record_duration == 2  # the fewest seconds that hold whole samples at 62.5 Hz
    assert edf.get_signal("Fpz-Cz").physical_dimension == "uV"
    gaps = [a for a in edf.annotations if a.text == "not observed: ecg/II"]
    assert [(a.onset, a.duration) for a in gaps] == [(3.2, 0.6)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"signals": {"ecg": (np.zeros(3), np.array([0.0, 1.0, 3.0]))}}, "irregular times.*drop"),
        ({"subject": "Jo Doe"}, "patient code is ASCII without spaces.*'Jo Doe'"),
        ({"units": {"ecg": "cells/microlitre"}}, "at most 8 ASCII letters"),
        ({"channels": {"ecg": ["µ"]}}, "short and in ASCII.*'ecg/µ'"),
        ({"signals": {"ecg": (np.linspace(1e7, 1e7 + 1e-3, 9), 1.0)}}, "range in 8 letters"),
        ({"signals": {"ecg": (np.array([0.0, np.inf]), 1.0)}}, "finite samples"),
        ({"signals": {"ecg": (np.zeros(9), np.pi)}}, "whole samples in a record"),
    ],
)
def test_what_edf_cannot_hold_is_refused(tmp_path: Path, change: dict, words: str) -> None:
    plain = {"signals": {"ecg": (np.zeros(9), 10.0)}, "subject": "s01"}
    with pytest.raises(WriteError, match=words):
        Record.from_arrays(**{**plain, **change}).write(tmp_path / "a.edf")
    assert list(tmp_path.iterdir()) == []


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    record = Record.from_arrays({"ecg": (np.arange(9.0), 10.0)}, subject="s01")
    with pytest.warns(UserWarning, match="EDF does not hold texts, attrs; record 's01'.*NetCDF"):
        replace(record, attrs={"age": 4}, texts={"report": "fine"}).write(tmp_path / "a.edf")
    simulated = simulate(1, 0.1, seed=0)[0]
    assert simulated.inputs is not None
    with pytest.warns(UserWarning, match="EDF does not hold inputs, truth"):
        simulated.write(tmp_path / "b.edf")


def test_a_cropped_record_keeps_its_times(tmp_path: Path) -> None:
    record = Record.from_arrays(
        {"ecg": (np.arange(100.0), 10.0), "hr": (np.arange(10.0), 1.0)}, subject="s01"
    )
    record.crop(2.0, 8.0).write(tmp_path / "a.edf")
    back = read(tmp_path)[0].signals["hr"]
    np.testing.assert_allclose(back.values[0], [2, 3, 4, 5, 6, 7], atol=1e-4)
    with pytest.raises(WriteError, match="'hr' of record 's01' starts at 0.5 s, between"):
        record.crop(2.5, 8.0).write(tmp_path / "b.edf")


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    record = Record.from_arrays({"ecg": (np.zeros(9), 10.0)}, subject="s01")
    record.write(tmp_path / "a.nc")
    assert read(tmp_path / "a.nc")[0].rate_hz("ecg") == 10.0
    replace(record, texts={"report": "fine"}).write(tmp_path / "b.zarr")
    assert read(tmp_path / "b.zarr")[0].texts == {"report": "fine"}
    with pytest.raises(WriteError, match=r"one of \.edf.*got 'a\.edff'.*Did you mean '\.edf'"):
        record.write(tmp_path / "a.edff")


# What others wrote


def foreign(path: Path, *, bdf: bool = False, code: str = "X", seconds: int = 4) -> np.ndarray:
    kind = edfio.BdfSignal if bdf else edfio.EdfSignal
    x = np.sin(np.arange(100 * seconds) / 7) * 80
    signals = [
        kind(x, 100, label="EEG Fpz-Cz", physical_dimension="uV", physical_range=(-100, 100)),
        kind(x[: 10 * seconds] / 80, 10, label="ECG", physical_dimension="uV"),
        kind(x[:seconds], 1, label="SpO2", physical_dimension="%"),
        kind(x[: 10 * seconds] / 40, 10, label="ECG", physical_dimension="mV"),
    ]
    notes = [
        edfio.EdfAnnotation(1.0, 2.0, "[x] Sleep stage W"),
        edfio.EdfAnnotation(3.0, None, "y"),
    ]
    file = (edfio.Bdf if bdf else edfio.Edf)(
        signals, annotations=notes, patient=edfio.Patient(code=code), starttime=datetime.time(1, 2)
    )
    file.write(path)
    return x


@pytest.mark.parametrize("bdf", [False, True])
def test_mixed_rates_units_and_repeated_names(tmp_path: Path, bdf: bool) -> None:
    path = tmp_path / ("a.bdf" if bdf else "a.edf")
    x = foreign(path, bdf=bdf)
    record = read(path)[0]
    rates = {m: record.rate_hz(m) for m in record.modalities}
    assert rates == {"ecg": 10.0, "eeg": 100.0, "spo2": 1.0}
    assert list(record.signals["ecg"].channel.values) == ["ECG", "ECG_2"]
    np.testing.assert_allclose(record.signals["eeg"].values[0], x, atol=2e-3)
    # uV and mV beside each other: both in mV.
    np.testing.assert_allclose(record.signals["ecg"].values[0], x[:40] / 80e3, atol=1e-6)
    np.testing.assert_allclose(record.signals["ecg"].values[1], x[:40] / 40, atol=1e-4)
    assert record.signals["ecg"].attrs["units"] == "mV"
    assert list(record.annotations) == ["annotations"]
    events = record.annotations["annotations"]
    assert list(events.values) == ["[x] Sleep stage W", "y"]  # no text of others is taken apart
    np.testing.assert_array_equal(events.duration.values, [2.0, np.nan])


def test_subjects(tmp_path: Path) -> None:
    for name, code in {"Subject00_1": "X", "Subject00_2": "c5", "night": "p7", "b": "X"}.items():
        foreign(tmp_path / f"{name}.edf", code=code)
    cohort = read(tmp_path)
    of = {entry.record: entry.subject for entry in cohort.entries}
    assert of == {"Subject00_1": "Subject00", "Subject00_2": "Subject00", "b": "b", "night": "p7"}
    assert cohort["Subject00_2"].attrs == {"patient_code": "c5"}


def test_nights_find_their_hypnograms(tmp_path: Path) -> None:
    foreign(tmp_path / "SC4001E0-PSG.edf")
    foreign(tmp_path / "SC4002E0-PSG.edf")
    stages = [edfio.EdfAnnotation(0.0, 30.0, "Sleep stage 2")]
    edfio.Edf([], annotations=stages).write(tmp_path / "SC4002EC-Hypnogram.edf")
    cohort = read(tmp_path)
    assert cohort.names == ("SC4001E0-PSG", "SC4002E0-PSG")
    assert cohort.subjects == ("SC400",)
    found = [
        sum("Sleep stage 2" in str(t) for t in r.annotations["annotations"].values) for r in cohort
    ]
    assert found == [0, 1]
    alone = read(tmp_path / "SC4002E0-PSG.edf")[0]
    assert "Sleep stage 2" in alone.annotations["annotations"].values


def discontinuous(path: Path, onsets: list[str]) -> None:
    """An EDF+D of four records of 1 s, made from an EDF+C by writing other onsets into it."""
    x = np.arange(40.0)
    file = edfio.Edf(
        [edfio.EdfSignal(x, 10, label="ECG", physical_dimension="mV")],
        annotations=[edfio.EdfAnnotation(100.5, None, "late")],
    )
    file.write(path)
    raw = path.read_bytes().replace(b"EDF+C", b"EDF+D", 1)
    size = (len(raw) - 768) // 4
    records = [raw[768 + i * size : 768 + (i + 1) * size] for i in range(4)]
    made = raw[:768]
    for i, (record, onset) in enumerate(zip(records, onsets, strict=True)):
        rest = record[20:].replace(b"+%d\x14\x14\x00" % i, onset.encode() + b"\x14\x14\x00", 1)
        made += record[:20] + rest[: size - 20].ljust(size - 20, b"\x00")
    path.write_bytes(made)


def test_gaps_of_a_discontinuous_file_are_nan(tmp_path: Path) -> None:
    discontinuous(tmp_path / "a.edf", ["+0", "+1", "+5", "+6"])
    cohort = read(tmp_path)
    assert cohort.entries[0].duration_s == 7.0
    ecg = cohort[0].signals["ecg"].values[0]
    gap = np.full(30, np.nan)
    expected = np.concatenate([np.arange(20.0), gap, np.arange(20.0, 40.0)])
    np.testing.assert_allclose(ecg, expected, atol=1e-3)
    assert cohort[0].annotations["annotations"].time.values.tolist() == [100.5]


def test_a_first_record_that_starts_late_starts_the_record(tmp_path: Path) -> None:
    discontinuous(tmp_path / "a.edf", ["+3", "+4", "+6", "+7"])
    record = read(tmp_path)[0]
    assert np.flatnonzero(np.isnan(record.signals["ecg"].values[0])).tolist() == list(range(20, 30))
    # Sample and annotation are as far apart as their clock says.
    assert record.annotations["annotations"].time.values.tolist() == [97.5]


@pytest.mark.parametrize(
    ("onsets", "words"),
    [
        (["+0", "+1", "+1", "+2"], "overlap in time"),
        (["+0", "+1", "+2", "+9999999"], "spans 1e.07 s and holds 4 s"),
    ],
)
def test_onsets_that_make_no_sense(tmp_path: Path, onsets: list[str], words: str) -> None:
    discontinuous(tmp_path / "a.edf", onsets)
    with pytest.raises(ReadError, match=words):
        read(tmp_path)


def test_a_channel_that_fails_shifts_no_names(tmp_path: Path) -> None:
    x = foreign(tmp_path / "a.edf")
    raw = bytearray((tmp_path / "a.edf").read_bytes())
    count = int(raw[252:256])
    place = 256 + (16 + 80 + 8) * count + 8 * 1  # the second channel's physical minimum
    raw[place : place + 8] = b"broken  "
    (tmp_path / "a.edf").write_bytes(raw)
    with pytest.warns(UserWarning, match="channels of a.edf have no usable scale.*ECG"):
        record = read(tmp_path)[0]
    assert {m: list(s.channel.values) for m, s in record.signals.items()} == {
        "eeg": ["EEG Fpz-Cz"],
        "ecg": ["ECG"],
        "spo2": ["SpO2"],
    }
    np.testing.assert_allclose(record.signals["eeg"].values[0], x, atol=2e-3)
    np.testing.assert_allclose(record.signals["ecg"].values[0], x[:40] / 40, atol=1e-4)


def test_a_file_cut_short_is_refused_before_it_is_read(tmp_path: Path) -> None:
    foreign(tmp_path / "a.edf")
    data = (tmp_path / "a.edf").read_bytes()
    (tmp_path / "a.edf").write_bytes(data[:-1])
    with pytest.raises(ReadError, match=rf"cut short: {len(data) - 1} bytes .* needs {len(data)}"):
        read(tmp_path)
    (tmp_path / "a.edf").write_bytes(b"0       ")
    with pytest.raises(ReadError, match="no EDF or BDF file"):
        read(tmp_path)


def test_signals_in_records_of_no_length_are_refused(tmp_path: Path) -> None:
    foreign(tmp_path / "a.edf")
    raw = bytearray((tmp_path / "a.edf").read_bytes())
    raw[244:252] = b"0       "
    (tmp_path / "a.edf").write_bytes(raw)
    with pytest.raises(ReadError, match=r"signals of a.edf \(.*\) need records that last"):
        read(tmp_path)


def test_a_recording_still_running_is_read_as_far_as_it_is(tmp_path: Path) -> None:
    foreign(tmp_path / "a.edf")
    raw = bytearray((tmp_path / "a.edf").read_bytes())
    raw[236:244] = b"-1      "
    (tmp_path / "a.edf").write_bytes(raw)
    assert read(tmp_path)[0].duration_s == 4.0


def test_samples_are_read_late(tmp_path: Path) -> None:
    foreign(tmp_path / "a.edf")
    cohort = read(tmp_path)
    (tmp_path / "a.edf").unlink()
    assert cohort.modalities == ("ecg", "eeg", "spo2")
    with pytest.raises(ReadError, match="no file"):
        cohort[0]


def test_equal_stems_are_told_apart(tmp_path: Path) -> None:
    foreign(tmp_path / "a.edf")
    foreign(tmp_path / "a.bdf", bdf=True)
    assert read(tmp_path).names == ("a.bdf", "a.edf")


def test_images_and_texts_of_a_record(tmp_path: Path) -> None:
    frames = xr.DataArray(
        np.zeros((5, 2, 2)),
        dims=("time", "y", "x"),
        coords={"time": np.arange(5) / 2},
        attrs={"rate_hz": 2.0, "units": ""},
    )
    plain = Record.from_arrays({"ecg": (np.zeros(10), 10.0)}, subject="s01")
    record = replace(plain, images={"cine": frames}, texts={"report": "fine"})
    assert (record.modalities, record.duration_s) == (("ecg",), 2.5)
    assert list(record.drop("ecg").images) == ["cine"]
    assert record.drop("ecg").modalities == ()
    assert record.keep("report").duration_s == 0.0
    assert record.keep("ecg", "report").images == {}
    with pytest.raises(ValueError, match="no modality 'cinee'.*Did you mean 'cine'"):
        record.drop("cinee")
    with pytest.raises(ValueError, match="has cine twice"):
        replace(record, texts={"cine": "x"})
    assert record.crop(0.0, 1.0).images["cine"].sizes["time"] == 2

    both = replace(record, signals={**record.signals, "ppg": record.signals["ecg"]})
    assert list(Cohort([both]).drop("ppg")[0].images) == ["cine"]
    with pytest.raises(CohortError):
        Cohort([both, both])


def test_no_warning_on_a_clean_file(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        foreign(tmp_path / "a.edf")
        assert len(read(tmp_path)[0].modalities) == 3
