"""MNE: channel types, SI units and annotations, there and back; files by suffix."""

from dataclasses import replace
from pathlib import Path

import mne
import numpy as np
import pytest
import xarray as xr

from latentphys.recordings.errors import RateError, ReadError
from latentphys.recordings.reading import read
from latentphys.recordings.record import Record
from latentphys.recordings.regridding import on_grid


def made() -> Record:
    rng = np.random.default_rng(1)
    eeg = rng.normal(0, 30, (2, 1000))
    eeg[0, 200:250] = np.nan
    plain = Record.from_arrays(
        {
            "eeg": (eeg, 200.0),
            "ecg": (rng.normal(0, 1, 1000), 200.0),
            "ppg": (rng.normal(50, 1, 990), 200.0),
            "eda": (rng.normal(5, 1, 1000), 200.0),
            "resp": (rng.normal(0, 1, 1000), 200.0),
        },
        subject="s07",
        units={"eeg": "uV", "ecg": "mV", "ppg": "NU", "eda": "uS", "resp": "cmH2O"},
        channels={"eeg": ["Fpz", "II"], "ecg": ["II"]},
    )
    time = ("event", np.array([0.5, 2.0]))
    return replace(
        plain,
        annotations={
            "stage": xr.DataArray(
                [1, 4], dims="event", coords={"time": time, "duration": ("event", [0.5, 1.0])}
            ),
            "annotations": xr.DataArray(["a", "b"], dims="event", coords={"time": time}),
        },
    )


def test_types_and_units_there() -> None:
    raw = made().to_mne()
    types = dict(zip(raw.ch_names, raw.get_channel_types(), strict=True))
    assert types == {
        "Fpz": "eeg",
        "II": "eeg",
        "II_2": "ecg",
        "ppg": "misc",
        "eda": "gsr",
        "RESP": "resp",  # MNE cannot pick a channel that is called as its type
    }
    record = made()
    np.testing.assert_allclose(raw.get_data("Fpz")[0], record.signals["eeg"].values[0] * 1e-6)
    np.testing.assert_allclose(raw.get_data("II_2")[0], record.signals["ecg"].values[0] * 1e-3)
    np.testing.assert_allclose(raw.get_data("eda")[0], record.signals["eda"].values[0] * 1e-6)
    gaps = [a for a in raw.annotations if a["description"] == "BAD_not_observed"]
    assert [(g["onset"], round(g["duration"], 9), g["ch_names"]) for g in gaps] == [
        (1.0, 0.25, ("Fpz",)),
        (4.95, 0.05, ("ppg",)),
    ]
    assert raw.info["subject_info"]["his_id"] == "s07"


def test_and_back() -> None:
    record = made()
    back = Record.from_mne(record.to_mne(), subject="s07", record="s07")
    assert set(back.modalities) == set(record.modalities)
    for modality, signal in record.signals.items():
        got = back.signals[modality].values[:, : signal.sizes["time"]]
        np.testing.assert_allclose(got, signal.values, rtol=1e-6)
        assert list(back.signals[modality].channel.values) == list(signal.channel.values)
        assert back.signals[modality].attrs == signal.attrs
    assert set(back.annotations) == {"stage", "annotations"}
    assert back.annotations["stage"].values.tolist() == [1, 4]
    assert back.annotations["stage"].duration.values.tolist() == [0.5, 1.0]
    assert back.annotations["annotations"].values.tolist() == ["a", "b"]


def test_through_a_fif_file(tmp_path: Path) -> None:
    record = made()
    record.to_mne().save(tmp_path / "night_raw.fif", verbose="error")
    cohort = read(tmp_path)
    assert cohort.subjects == ("s07",)
    assert cohort.units == {"eeg": "uV", "ecg": "mV", "ppg": "NU", "eda": "uS", "resp": "cmH2O"}
    back = cohort["night_raw"]
    np.testing.assert_allclose(back.signals["eeg"].values, record.signals["eeg"].values, rtol=1e-5)
    np.testing.assert_array_equal(
        np.isnan(back.signals["ppg"].values[0, :990]), np.isnan(record.signals["ppg"].values[0])
    )
    assert set(back.annotations) == {"stage", "annotations"}
    assert back.annotations["stage"].time.values.tolist() == [0.5, 2.0]


def test_types_of_others_are_kept_and_vague_ones_told_by_name() -> None:
    names = ["Cz", "ECG ECG", "EOG left", "Aux", "Status", "T9x"]
    kinds = ["eeg", "eeg", "eog", "misc", "stim", "emg"]
    info = mne.create_info(names, 100.0, kinds)
    raw = mne.io.RawArray(np.full((6, 200), 2e-5), info, first_samp=300, verbose="error")
    raw.info["bads"] = ["Cz"]
    raw.set_annotations(mne.Annotations([0.5, 1.0], [0.0, 0.25], ["seen", "BAD_ACQ_SKIP"]))
    with pytest.warns(UserWarning, match="'Aux' as 'aux'"):
        record = Record.from_mne(raw, subject="a", record="a")
    found = {m: list(s.channel.values) for m, s in record.signals.items()}
    assert found == {
        "aux": ["Aux"],
        "ecg": ["ECG ECG"],
        "eeg": ["Cz"],
        "emg": ["T9x"],
        "eog": ["EOG left"],
        "stim": ["Status"],
    }
    assert {m: s.attrs["units"] for m, s in record.signals.items()} == {
        "aux": "",
        "ecg": "mV",
        "eeg": "uV",
        "emg": "uV",
        "eog": "uV",
        "stim": "",
    }
    assert record.signals["ecg"].values[0, 0] == pytest.approx(0.02)
    assert record.signals["eeg"].values[0, 0] == pytest.approx(20.0)
    # A recording that MNE counts from its first sample still starts at 0 s.
    assert record.annotations["annotations"].time.values.tolist() == [0.5]
    assert np.flatnonzero(np.isnan(record.signals["eeg"].values[0])).tolist() == list(
        range(100, 125)
    )
    assert record.attrs["bad_channels"] == "Cz"


def test_several_rates_need_one() -> None:
    times = np.arange(0, 8, 1 / 250)
    record = Record.from_arrays(
        {"ecg": (np.sin(2 * np.pi * 3 * times), 250.0), "hr": (np.arange(8.0), 1.0)},
        subject="a",
        units={"ecg": "mV"},
    )
    with pytest.raises(RateError, match="one rate.*ecg 250 Hz, hr 1 Hz.*rate_hz="):
        record.to_mne()
    raw = record.to_mne(rate_hz=100.0)
    at = np.arange(raw.n_times) / 100.0
    inner = slice(50, 750)
    np.testing.assert_allclose(
        raw.get_data("ECG")[0, inner] * 1e3, np.sin(2 * np.pi * 3 * at)[inner], atol=0.01
    )
    np.testing.assert_allclose(raw.get_data("hr")[0, :700], at[:700], atol=1e-9)


def test_irregular_times_are_refused() -> None:
    record = Record.from_arrays({"hr": (np.zeros(3), np.array([0.0, 1.0, 5.0]))}, subject="a")
    with pytest.raises(RateError, match="hr of record 'a' have irregular times.*drop"):
        record.to_mne()


def test_unknown_units_are_said() -> None:
    record = Record.from_arrays({"ecg": (np.zeros(30), 10.0)}, subject="a")
    with pytest.warns(UserWarning, match="units of 'ecg' of 'a' are not known"):
        record.to_mne()


def test_regridding_keeps_holes_where_they_are() -> None:
    times = np.arange(400) / 100.0
    values = np.sin(2 * np.pi * times)
    values[100:200] = np.nan
    for rate_hz in (50.0, 100.0, 250.0, 40.0):
        grid = np.arange(round(4 * rate_hz)) / rate_hz
        out = on_grid(values, times, 100.0, rate_hz, grid.size)
        hole = (grid > 1.0) & (grid < 1.985)
        assert np.isnan(out[hole]).all()
        seen = ((grid > 0.1) & (grid < 0.9)) | ((grid > 2.1) & (grid < 3.9))
        np.testing.assert_allclose(out[seen], np.sin(2 * np.pi * grid)[seen], atol=0.02)


def test_a_broken_file_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "a.fif").write_bytes(b"no fif")
    with pytest.raises(ReadError, match="a.fif cannot be read by MNE"):
        read(tmp_path)
    (tmp_path / "b.vhdr").write_text("nothing")
    with pytest.raises(ReadError, match="b.vhdr cannot be read by MNE"):
        read(tmp_path / "b.vhdr")
