"""Public recordings, read as a user would, against wfdb's own answer."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import wfdb

from latentphys.recordings.cohort import Cohort
from latentphys.recordings.labels import waves
from latentphys.recordings.leaks import check_disjoint
from latentphys.recordings.reading import read
from latentphys.recordings.record import Record
from latentphys.recordings.wfdb_annotations import LEADS


@pytest.fixture(scope="module")
def bidmc(data_root: Path) -> Cohort:
    return read(data_root / "bidmc")


def test_bidmc_records_and_subjects(bidmc: Cohort) -> None:
    assert len(bidmc) == 39
    assert len(bidmc.subjects) == 36
    assert bidmc.names[:2] == ("bidmc01", "bidmc02")
    assert bidmc["bidmc01"].subject == "s01182"
    assert bidmc["bidmc01"].study == "bidmc"
    assert {"ecg", "ppg", "resp", "hr", "pulse", "resp_rate", "spo2"} <= set(bidmc.modalities)
    assert len(bidmc.select(modality=["ecg", "ppg", "resp"], min_minutes=8)) == 39


def test_bidmc_pairs_waveforms_with_numerics(bidmc: Cohort, data_root: Path) -> None:
    record = bidmc["bidmc01"]
    assert record.rate_hz("ecg") == 125.0
    assert record.rate_hz("resp_rate") == 1.0
    assert record.signals["resp"].sizes["time"] == 60001
    assert record.signals["resp_rate"].sizes["time"] == 481
    units = {m: s.attrs["units"] for m, s in record.signals.items()}
    assert (units["ecg"], units["ppg"], units["hr"], units["spo2"]) == ("mV", "NU", "1/min", "%")
    numerics = wfdb.rdrecord(str(data_root / "bidmc" / "bidmc01n"))
    for modality, channel in (("hr", 0), ("pulse", 1), ("resp_rate", 2), ("spo2", 3)):
        np.testing.assert_array_equal(
            record.signals[modality].values[0], numerics.p_signal[:, channel].astype(np.float32)
        )


def test_bidmc_channels_keep_name_order_and_samples(bidmc: Cohort, data_root: Path) -> None:
    orders = set()
    for name in bidmc.names:
        ours = bidmc[name].signals["ecg"]
        raw = wfdb.rdrecord(str(data_root / "bidmc" / name))
        leads = [n for n in raw.sig_name if n not in ("RESP", "PLETH", "ABP", "ART", "CVP")]
        assert list(ours.channel.values) == leads
        orders.add(tuple(leads))
        for lead, row in zip(leads, ours.values, strict=True):
            column = raw.p_signal[:, raw.sig_name.index(lead)]
            np.testing.assert_array_equal(row, column.astype(np.float32))
    assert len(orders) > 3


def test_bidmc_gaps_stay_missing(bidmc: Cohort, data_root: Path) -> None:
    holes = 0
    for record in bidmc:
        raw = wfdb.rdrecord(str(data_root / "bidmc" / f"{record.record}n")).p_signal
        ours = np.isnan(np.vstack([record.signals[m] for m in ("hr", "pulse", "resp_rate")]))
        np.testing.assert_array_equal(ours.T, np.isnan(raw[:, :3]))
        holes += int(ours.sum())
    assert holes > 0


def test_bidmc_uncalibrated_lead_beside_calibrated_ones(bidmc: Cohort) -> None:
    ecg = bidmc["bidmc41"].signals["ecg"]
    assert ecg.attrs["units"] == "mV"
    assert list(ecg.channel_units.values) == ["NU", "mV", "mV"]
    assert bidmc["bidmc41"].select(ecg="I").signals["ecg"].attrs["units"] == "NU"
    assert bidmc.units["ecg"] == "mV"


def test_bidmc_annotators_are_told_apart(bidmc: Cohort, data_root: Path) -> None:
    record = bidmc["bidmc01"]
    assert set(record.annotations) == {"breath_1", "breath_2"}
    raw = wfdb.rdann(str(data_root / "bidmc" / "bidmc01"), "breath")
    first = [s / 125 for s, note in zip(raw.sample, raw.aux_note, strict=True) if note == "ann1"]
    assert record.annotations["breath_1"].dims == ("event",)
    np.testing.assert_allclose(record.annotations["breath_1"].time.values, first)
    total = sum(a.sizes["event"] for a in record.annotations.values())
    assert total == len(raw.sample)


def test_bidmc_attributes(bidmc: Cohort) -> None:
    attrs = bidmc["bidmc01"].attrs
    assert (attrs["age"], attrs["sex"], attrs["location"]) == (88.0, "M", "micu")


@pytest.mark.parametrize("seed", range(3))
def test_bidmc_split_shares_no_subject(bidmc: Cohort, seed: int) -> None:
    train, test = bidmc.split(test=0.2, seed=seed)
    assert len(train) + len(test) == 39
    assert not set(train.subjects) & set(test.subjects)
    check_disjoint(train, test, samples=False)


def test_ludb_is_read_below_its_folder(data_root: Path) -> None:
    cohort = read(data_root / "ludb")
    assert len(cohort) == len(cohort.subjects) == 150
    assert cohort.names[:9] == ("1", "2", "3", "4", "5", "6", "7", "9", "10")
    record = cohort["1"]
    assert (record.signals["ecg"].sizes["channel"], record.rate_hz("ecg")) == (12, 500.0)
    assert list(record.select(ecg=["II"]).signals["ecg"].channel.values) == ["ii"]
    assert "Sinus bradycardia" in record.attrs["comments"]
    assert record.attrs["age"] == 51.0


def test_ludbs_marks_are_waves_lead_by_lead(data_root: Path) -> None:
    record = read(data_root / "ludb")["1"]
    found = waves(record, "ii")
    assert set(found.values) == {"P", "QRS", "T"}
    qrs = found[found == "QRS"]
    assert ((qrs.duration > 0.04) & (qrs.duration < 0.2)).all()
    lead = record.signals["ecg"].sel(channel="ii")
    for onset, lasting in zip(qrs.time.values, qrs.duration.values, strict=True):
        beat = lead.sel(time=slice(onset, onset + lasting))
        assert np.ptp(beat.values) > 0.5 * np.ptp(lead.values)
    assert set(LEADS) <= set(record.annotations)


@pytest.mark.parametrize("name", ["100", "03700181", "a103l", "p10143", "v102s"])
def test_samples_equal_those_of_wfdb(data_root: Path, name: str) -> None:
    path = data_root / "wfdb_sample" / "sample-data" / name
    (record,) = read(path)
    raw = wfdb.rdrecord(str(path), smooth_frames=False)
    found = {}
    for signal in record.signals.values():
        for channel, row in zip(signal.channel.values, signal.values, strict=True):
            found[str(channel)] = (signal.attrs["rate_hz"], row)
    assert set(found) == set(raw.sig_name)
    for i, channel in enumerate(raw.sig_name):
        rate_hz, row = found[channel]
        assert rate_hz == raw.fs * raw.samps_per_frame[i]
        np.testing.assert_array_equal(row, raw.e_p_signal[i].astype(np.float32))


def test_mixed_rates_stay_apart(data_root: Path) -> None:
    folder = data_root / "wfdb_sample" / "sample-data"
    record = read(folder / "03700181.hea")[0]
    rates = {m: record.rate_hz(m) for m in record.modalities}
    assert rates == {"ecg": 500.0, "abp": 125.0, "resp": 125.0}
    assert record.signals["ecg"].sizes["time"] == 4 * record.signals["abp"].sizes["time"]
    assert record.duration_s == 600.0


def channels_of(record: Record) -> dict[str, np.ndarray]:
    """Channel name -> samples (time,) of all modalities."""
    return {
        str(channel): row
        for signal in record.signals.values()
        for channel, row in zip(signal.channel.values, signal.values, strict=True)
    }


@pytest.mark.parametrize("name", ["041s/041s", "fixed1/v102s"])
def test_segments_equal_those_that_wfdb_joins(data_root: Path, name: str) -> None:
    path = data_root / "wfdb_sample" / "sample-data" / "multi-segment" / name
    cohort = read(path.parent)
    assert cohort.names == (path.name,)  # its segments are no records of their own
    raw = wfdb.rdrecord(str(path), smooth_frames=False)
    ours = channels_of(cohort[0])
    assert set(ours) == set(raw.sig_name)
    for channel, theirs in zip(raw.sig_name, raw.e_p_signal, strict=True):
        np.testing.assert_array_equal(ours[channel], theirs.astype(np.float32))
        assert np.isfinite(theirs).mean() > 0.9
    assert {len(row) for row in ours.values()} == {len(row) for row in raw.e_p_signal}


def test_a_variable_layout_equals_that_of_wfdb(data_root: Path, tmp_path: Path) -> None:
    folder = data_root / "wfdb_sample" / "sample-data" / "multi-segment" / "p000878"
    for file in folder.glob("3269321_*"):
        shutil.copy(file, tmp_path)
    # The record as published goes on for 117 hours, of which these segments are here.
    lines = (folder / "p000878-2137-10-26-16-57.hea").read_text().splitlines()
    head = "p000878/4 4 125 7500 16:57:09.000 26/10/2137"
    (tmp_path / "p000878.hea").write_text("\n".join([head, *lines[1:5]]) + "\n")
    ours = channels_of(read(tmp_path)[0])
    raw = wfdb.rdrecord(str(folder / "p000878-2137-10-26-16-57"), sampto=7500, smooth_frames=False)
    theirs = dict(zip(raw.sig_name, raw.e_p_signal, strict=True))
    for channel, row in ours.items():
        np.testing.assert_array_equal(row, theirs[channel].astype(np.float32))
    assert np.isnan(ours["PLETH"][:3750]).all()
    assert np.isnan(ours["II"][:5750]).all()
    assert np.isfinite(ours["II"][5750:]).any()
    # What no segment here has is nothing but NaN to wfdb, and no channel to us.
    assert set(ours) == {"PLETH", "II"}
    assert all(np.isnan(theirs[name]).all() for name in set(theirs) - set(ours))


def test_a_gap_in_a_fixed_layout_is_not_observed(data_root: Path, tmp_path: Path) -> None:
    folder = data_root / "wfdb_sample" / "sample-data" / "multi-segment" / "041s"
    for file in folder.glob("041s0*"):
        shutil.copy(file, tmp_path)
    (tmp_path / "041g.hea").write_text("041g/3 7 125 2500\n041s01 1000\n~ 500\n041s02 1000\n")
    with pytest.raises(AttributeError):
        wfdb.rdrecord(str(tmp_path / "041g"), smooth_frames=False)
    (record,) = read(tmp_path)
    assert record.duration_s == 20.0
    ours = channels_of(record)
    parts = [wfdb.rdrecord(str(folder / n), smooth_frames=False) for n in ("041s01", "041s02")]
    for i, (channel, frames) in enumerate(
        zip(parts[0].sig_name, parts[0].samps_per_frame, strict=True)
    ):
        first, second = (part.e_p_signal[i].astype(np.float32) for part in parts)
        gap = np.full(500 * frames, np.nan, dtype=np.float32)
        np.testing.assert_array_equal(ours[channel], np.concatenate([first, gap, second]))


def test_missing_segments_are_not_observed(data_root: Path) -> None:
    folder = data_root / "wfdb_sample" / "sample-data" / "multi-segment" / "p000878"
    with pytest.warns(UserWarning, match="lacks .* of its segments, .*3269321_0003"):
        cohort = read(folder)
    (entry,) = cohort.entries
    assert entry.modalities == ("ecg", "ppg")


def test_every_sample_record_reads(data_root: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        cohort = read(data_root / "wfdb_sample")
    assert len(cohort) == 8


def test_annotated_beats_without_waveforms(data_root: Path) -> None:
    with pytest.warns(UserWarning, match="18 records have annotated beats and none of their"):
        cohort = read(data_root / "slpdb_annotations")
    assert len(cohort) == 18
    assert len(cohort.subjects) == 16  # two nights come in halves
    assert cohort["slp01a"].subject == cohort["slp01b"].subject == "slp01"
    record = cohort["slp01a"]
    assert record.modalities == ("rr",)
    rr = record.signals["rr"]
    assert np.isnan(record.rate_hz("rr"))
    own = wfdb.rdann(str(data_root / "slpdb_annotations" / "slp01a"), "ecg")
    beats = own.sample[np.isin(own.symbol, list("NLRBAaJSVrFejnE/fQ?"))] / 250.0
    np.testing.assert_allclose(rr.time.values, np.unique(beats)[1:])
    assert 0.6 < float(np.nanmedian(rr.values)) < 1.2
    stages = record.annotations["st"]
    np.testing.assert_allclose(np.diff(stages.time.values), 30.0, atol=0.01)
    assert str(stages.note.values[0])[0] in "W1234R"


def test_a_folder_of_many_formats_tells_what_is_left_out(data_root: Path) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        read(data_root)
    words = next(str(each.message) for each in told if "left out" in str(each.message))
    for name in ("eegmat/Subject00_1.edf", "sleep_edf_features/SC4001E0.npz", "ds000210_physio"):
        assert name in words
    assert "subject-info" not in words
    assert "ludb" not in words
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("bidmc", "eegmat", "ludb", "ds000210_physio", "sleep_edf_features"):
            read(data_root / name)
