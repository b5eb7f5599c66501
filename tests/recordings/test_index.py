"""The index: headers before samples, the table, channel maps, reprs of cohorts and records."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import CohortError, ModalityError
from latentphys.recordings.headers import SignalHeader
from latentphys.recordings.index import COLUMNS
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.netcdf_format import write_netcdf
from latentphys.recordings.reading import read
from latentphys.recordings.record import Record


def make(subject: str, study: str = "lab", seconds: int = 10) -> Record:
    ecg = np.zeros((2, seconds * 50))
    ecg[1, : seconds * 25] = np.nan
    stamps = np.array([0.5, 1.7, 4.0])
    record = Record.from_arrays(
        {"ecg": (ecg, 50.0), "spo2": (np.full(seconds, 97.0), 1.0), "lab": (np.ones(3), stamps)},
        subject=subject,
        record=f"r_{subject}",
        study=study,
        units={"ecg": "mV", "spo2": "%"},
        channels={"ecg": ["MLII", "V5"]},
    )
    return replace(record, attrs={"start": "2020-03-01T22:15:00", "age": 40.0})


def forbidden() -> Record:
    raise AssertionError("samples were read")


def test_a_table_has_a_row_a_record_and_modality() -> None:
    table = Cohort([make("a"), make("b").drop("lab")]).table()
    assert tuple(table.columns) == COLUMNS
    assert table.record.tolist() == ["r_a"] * 3 + ["r_b"] * 2
    first = table.iloc[0]
    assert (first.subject, first.study, first.modality, first.units) == ("a", "lab", "ecg", "mV")
    assert first.channels == ("MLII", "V5")
    assert (first.rate_hz, first.samples, first.duration_s) == (50.0, 500, 10.0)
    assert str(first.start) == "2020-03-01 22:15:00"
    assert np.isnan(table.rate_hz[2])  # irregular
    assert table.observed.isna().all()


def test_the_share_observed_is_counted_when_asked_for() -> None:
    table = Cohort([make("a")]).table(observed=True)
    assert table.observed.tolist() == [0.75, 1.0, 1.0]


def test_headers_make_a_table_without_samples_and_records_are_read_for_want_of_them() -> None:
    header = SignalHeader("ecg", 250.0, ("II",), "mV", 1000, 0.9)
    entry = LazyRecord("r", "s", ("ecg",), 4.0, forbidden, headers=(header,))
    table = Cohort([entry]).table(observed=True)
    assert table[["rate_hz", "samples", "observed"]].values.tolist() == [[250.0, 1000, 0.9]]
    assert table.start.isna().all()
    with pytest.raises(AssertionError, match="samples were read"):
        Cohort([replace(entry, headers=(replace(header, observed=np.nan),))]).table(observed=True)
    with pytest.raises(AssertionError, match="samples were read"):
        Cohort([replace(entry, headers=())]).table()
    plain = LazyRecord("r", "s", ("ecg", "spo2", "lab"), 10.0, partial(make, "a"))
    assert Cohort([plain]).table().modality.tolist() == ["ecg", "spo2", "lab"]


def test_our_files_know_what_was_observed(tmp_path: Path) -> None:
    write_netcdf(make("a"), tmp_path / "a.nc")
    cohort = read(tmp_path)
    entry = replace(cohort.entries[0], load=forbidden)
    table = Cohort([entry]).table()
    assert table.observed.tolist() == [0.75, 1.0, 1.0]
    assert table.channels[0] == ("MLII", "V5")
    assert str(table.start[0]) == "2020-03-01 22:15:00"
    assert np.isnan(table.rate_hz[2])


def test_select_by_study() -> None:
    cohort = Cohort([make("a"), make("b", "field"), make("c", "field")])
    assert cohort.studies == ("field", "lab")
    assert cohort.select(study="field").subjects == ("b", "c")
    assert cohort.select(study=["lab", "field"], subject="b").subjects == ("b",)
    with pytest.raises(CohortError, match="no study 'fiedl' in this cohort.*Did you mean 'field'"):
        cohort.select(study="fiedl")
    with pytest.raises(CohortError, match="no record is left.*of study lab"):
        cohort.select(study="lab", subject="b")


def test_channels_are_renamed_wherever_they_occur_and_not_before_they_are_read() -> None:
    other = make("b").select(ecg="V5")
    cohort = Cohort([make("a"), other]).rename(ecg={"MLII": "II"})
    assert cohort.table().channels[0] == ("II", "V5")
    assert cohort["r_a"].signals["ecg"].channel.values.tolist() == ["II", "V5"]
    assert cohort["r_b"].signals["ecg"].channel.values.tolist() == ["V5"]
    assert pickle.loads(pickle.dumps(cohort)).table().channels[0] == ("II", "V5")
    header = SignalHeader("ecg", 250.0, ("ii",), "mV", 1000)
    lazy = Cohort([LazyRecord("r", "s", ("ecg",), 4.0, forbidden, headers=(header,))])
    assert lazy.rename(ecg={"ii": "II"}).table().channels[0] == ("II",)


def test_wrong_names_of_channels_are_refused() -> None:
    cohort = Cohort([make("a"), make("b")])
    with pytest.raises(ModalityError, match="no 'ecg' of this cohort has a channel 'MLI'.*'MLII'"):
        cohort.rename(ecg={"MLI": "I"})
    with pytest.raises(ModalityError, match="no record of this cohort has modality 'egc'"):
        cohort.rename(egc={"MLII": "II"})
    with pytest.raises(ModalityError, match="different names; renamed, 'ecg' has V5 more than"):
        cohort.rename(ecg={"MLII": "V5"})
    with pytest.raises(ModalityError, match="'r_a' has no channel 'II'; it has MLII, V5"):
        make("a").rename(ecg={"II": "I"})
    swapped = make("a").rename(ecg={"MLII": "V5", "V5": "MLII"})
    assert swapped.signals["ecg"].channel.values.tolist() == ["V5", "MLII"]


def test_a_cohort_says_what_it_holds() -> None:
    lines = repr(Cohort([make("a"), make("b")])).splitlines()
    assert lines[0] == "Cohort of 2 records, 2 subjects, 0 min: ecg, lab, spo2"
    assert lines[1].split() == ["modality", "records", "rate", "units", "channels"]
    assert lines[2].split() == ["ecg", "2", "50", "Hz", "mV", "MLII,", "V5"]
    assert lines[3].split() == ["lab", "2", "irregular", "lab"]
    assert lines[-1].split() == ["r_b", "b", "0.2", "ecg,", "spo2,", "lab"]


def test_notebooks_show_tables_and_names_stay_text() -> None:
    evil = replace(make("a"), record="<script>", attrs={"note": "<b>"})
    shown = Cohort([evil, make("b")])._repr_html_()
    assert "&lt;script&gt;" in shown
    assert "<script>" not in shown
    assert "<td>50 Hz</td>" in shown
    assert "2020-03-01 22:15:00" in shown
    record = evil._repr_html_()
    assert "<td>75 %</td>" in record
    assert "MLII, V5" in record
    assert "note: &lt;b&gt;" in record


def test_real_headers_tell_rates_channels_and_starts(data_root: Path) -> None:
    cohort = read(data_root / "bidmc")
    shut = Cohort([replace(entry, load=forbidden) for entry in cohort.entries])
    table = shut.table()
    assert (table.record.nunique(), table.subject.nunique()) == (39, 36)
    read_too = cohort[:2].table(observed=True)
    both = table[table.record.isin(cohort.names[:2])]
    for name in ("modality", "rate_hz", "channels", "units", "samples"):
        assert both[name].tolist() == read_too[name].tolist()
    loaded = Cohort(list(cohort[:2])).table()
    for name in ("modality", "rate_hz", "channels", "samples", "duration_s"):
        assert both[name].tolist() == loaded[name].tolist()


def test_a_header_with_a_date_gives_the_start(tmp_path: Path) -> None:
    (tmp_path / "x.hea").write_text("x 1 100 200 23:07:00 19/1/1989\nx.dat 16 200 16 0 0 0 0 II\n")
    (tmp_path / "x.dat").write_bytes(np.zeros(200, "<i2").tobytes())
    cohort = read(tmp_path / "x")
    assert cohort.entries[0].start == "1989-01-19T23:07:00"
    assert cohort[0].attrs["start"] == "1989-01-19T23:07:00"


def test_images_and_texts_have_a_row_and_a_look() -> None:
    record = Record({}, "a", "a", texts={"report": "sinus rhythm"})
    table = Cohort([record, make("b")]).table()
    assert table.modality.tolist() == ["", "ecg", "spo2", "lab"]
    assert table.samples.isna().tolist() == [True, False, False, False]
    assert "12 letters" in record._repr_html_()


@pytest.mark.parametrize(
    "folder",
    ["eegmat", "ds000210_physio", "neurokit", "sleep_edf_features", "physionet2012", "ludb/data"],
)
@pytest.mark.filterwarnings("ignore:channels of unknown kind", "ignore:columns of")
def test_what_headers_tell_is_what_samples_have(data_root: Path, folder: str) -> None:
    cohort = read(data_root / folder)
    some = cohort[:: max(1, len(cohort) // 3)]
    shut = [replace(entry, load=forbidden) for entry in some.entries]
    told = Cohort(shut).table()
    found = Cohort(list(some)).table()
    for name in ("record", "modality", "channels", "units"):
        assert told[name].tolist() == found[name].tolist(), name
    np.testing.assert_allclose(told.rate_hz, found.rate_hz)
    known = told.samples.notna()
    assert told.samples[known].tolist() == found.samples[known].tolist()
