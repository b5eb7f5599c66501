"""WFDB: what is written comes back, wfdb reads it too, and a failed write leaves nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import wfdb
import xarray as xr

from latentphys.recordings.errors import WriteError
from latentphys.recordings.reading import read
from latentphys.recordings.record import Record, rate_of
from latentphys.recordings.simulation import simulate


def full_record() -> Record:
    """Several rates that share no small frame, holes everywhere, a name that says no modality."""
    rng = np.random.default_rng(0)
    ecg = rng.normal(0, 1.5, (3, 1250))
    ecg[0, 400:475] = np.nan
    ecg[1, :3] = np.nan
    ecg[2] = np.nan
    ppg = rng.normal(100, 1, (1, 617))
    ppg[0, -5:] = np.nan
    spo2 = np.array([97.0, np.nan, 97.0, 96.0, np.nan, np.nan, 95.0, 95.0, 95.0])
    time = ("event", np.array([0.504, 1.25, 7.0632]))
    note = ("event", ["", "early", ""])
    lasting = ("event", np.full(3, 0.5))
    made = Record.from_arrays(
        {"ecg": (ecg, 125.0), "ppg": (ppg, 62.5), "spo2": (spo2, 1.0), "torso": (ecg[:1], 25.0)},
        subject="s 01",
        units={"ecg": "mV", "ppg": "NU", "spo2": "%", "torso": "mmHg"},
        channels={"ecg": ["II", "V", "MCL"], "torso": ["left, upper"]},
    )
    events = {
        "qrs": xr.DataArray(["N", "V", "N"], dims="event", coords={"time": time, "note": note}),
        "stage": xr.DataArray([0, 2, 4], dims="event", coords={"time": time, "duration": lasting}),
    }
    attrs = {"age": 61.0, "ward": "B", "start": "2020-02-29T23:59:58.250"}
    return replace(made, annotations=events, attrs=attrs)


def test_round_trip(tmp_path: Path) -> None:
    record = full_record()
    record.write(tmp_path / "r1.hea")
    back = read(tmp_path)["r1"]
    assert (back.subject, back.record) == ("s 01", "r1")
    assert set(back.modalities) == set(record.modalities)
    for modality, signal in record.signals.items():
        got = back.signals[modality]
        assert list(got.channel.values) == list(signal.channel.values)
        assert got.attrs["units"] == signal.attrs["units"]
        assert rate_of(got) == rate_of(signal)
        count = signal.sizes["time"]
        assert np.isnan(got.values[:, count:]).all()  # up to the end of the record
        kept = got.values[:, :count]
        np.testing.assert_array_equal(np.isnan(kept), np.isnan(signal.values))
        for ours, theirs in zip(kept, signal.values, strict=True):
            if np.isfinite(theirs).any():
                step = (np.nanmax(theirs) - np.nanmin(theirs)) / 65534
                error = np.nanmax(np.abs(ours - theirs))
                assert error <= 0.51 * step + 1e-6 * np.nanmax(np.abs(theirs)), modality
    assert back.attrs["age"] == 61.0
    assert (back.attrs["ward"], back.attrs["start"]) == ("B", record.attrs["start"])


def test_annotations_come_back(tmp_path: Path) -> None:
    record = full_record()
    record.write(tmp_path / "r1.hea")
    back = read(tmp_path)[0].annotations
    assert set(back) == {"qrs", "stage"}
    for name, events in record.annotations.items():
        np.testing.assert_array_equal(back[name].values, events.values)
        np.testing.assert_allclose(back[name].time.values, events.time.values, atol=5e-5)
    assert list(back["qrs"].note.values) == ["", "early", ""]
    assert back["stage"].dtype.kind == "i"
    np.testing.assert_array_equal(back["stage"].duration.values, [0.5, 0.5, 0.5])


def test_a_second_writing_changes_nothing(tmp_path: Path) -> None:
    full_record().write(tmp_path / "a.hea")
    once = read(tmp_path / "a.hea")[0]
    once.write(tmp_path / "b.hea")
    twice = read(tmp_path / "b.hea")[0]
    assert twice.subject == once.subject
    assert twice.attrs == once.attrs
    for modality, signal in once.signals.items():
        step = float(np.nanmax(signal) - np.nanmin(signal)) / 65534
        np.testing.assert_allclose(twice.signals[modality], signal, rtol=1e-6, atol=0.6 * step)


def test_wfdb_reads_what_is_written(tmp_path: Path) -> None:
    record = full_record()
    record.write(tmp_path / "r1.hea")
    theirs = wfdb.rdrecord(str(tmp_path / "r1"), smooth_frames=False)
    assert theirs.sig_name[:3] == ["II", "V", "MCL"]
    rates = [theirs.fs * per_frame for per_frame in theirs.samps_per_frame]
    np.testing.assert_allclose(rates, [125.0, 125.0, 125.0, 62.5, 1.0, 25.0])
    np.testing.assert_allclose(
        theirs.e_p_signal[0][:1250], record.signals["ecg"].values[0], atol=1e-3
    )


def test_a_simulated_cohort_comes_back(tmp_path: Path) -> None:
    cohort = simulate(subjects=2, minutes=0.2, seed=1)
    for record in cohort:
        with pytest.warns(UserWarning, match="WFDB does not hold inputs, truth"):
            record.write(tmp_path / f"{record.record}.hea")
    back = read(tmp_path)
    for record in cohort:
        got = back[record.record]
        assert set(got.modalities) == set(record.modalities)
        assert set(got.annotations) == set(record.annotations)
        for name, events in record.annotations.items():
            np.testing.assert_allclose(got.annotations[name].time, events.time, atol=5e-5)


def test_writing_again_replaces_all_of_it(tmp_path: Path) -> None:
    full_record().write(tmp_path / "r1.hea")
    (tmp_path / "r1.breath").write_bytes(b"\x00\x00")
    bare = Record.from_arrays({"ppg": (np.arange(50.0), 25.0)}, subject="b")
    bare.write(tmp_path / "r1.hea")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["r1.dat", "r1.hea"]
    assert read(tmp_path)[0].annotations == {}


def test_a_failed_write_leaves_the_old_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_record().write(tmp_path / "r1.hea")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(wfdb, "wrann", full)
    with pytest.raises(OSError, match="no space"):
        full_record().write(tmp_path / "r1.hea")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def _named(name: str) -> Record:
    return Record.from_arrays(
        {"ecg": (np.zeros((2, 50)), 25.0)}, subject="a", channels={"ecg": ["II", name]}
    )


@pytest.mark.parametrize(
    ("record", "path", "words"),
    [
        (_named("V"), "a b.hea", "letters, digits, - and _; got 'a b'"),
        (_named("V,"), "a.hea", "without a space or comma at an end.*'V,'"),
        (
            Record.from_arrays(
                {"ecg": (np.zeros(9), 25.0), "resp": (np.zeros(9), 25.0)},
                subject="a",
                channels={"ecg": ["x"], "resp": ["x"]},
            ),
            "a.hea",
            "names of their own.*'x'",
        ),
        (
            Record.from_arrays({"rr": (np.ones(3), np.array([0.1, 0.9, 2.0]))}, subject="a"),
            "a.hea",
            "regular samples; 'rr'.*record.drop",
        ),
        (
            Record.from_arrays({"ecg": (np.zeros(9), 25.0)}, subject="a", units={"ecg": "m V"}),
            "a.hea",
            "one word; 'ecg'.*'m V'",
        ),
        (
            Record.from_arrays(
                {"ecg": (np.zeros(9), 25.0), "ppg": (np.zeros(9), 62.4725)}, subject="a"
            ),
            "a.hea",
            "share frames.*62.4725",
        ),
    ],
)
def test_what_wfdb_does_not_hold_is_refused(
    tmp_path: Path, record: Record, path: str, words: str
) -> None:
    with pytest.raises(WriteError, match=words):
        record.write(tmp_path / path)
    assert not list(tmp_path.iterdir())


def test_a_note_too_long_is_refused(tmp_path: Path) -> None:
    events = xr.DataArray(["x" * 300], dims="event", coords={"time": ("event", [0.1])})
    record = replace(_named("V"), annotations={"remarks": events})
    with pytest.raises(WriteError, match="at most 250 letters"):
        record.write(tmp_path / "a.hea")
    assert not list(tmp_path.iterdir())
