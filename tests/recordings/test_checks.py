"""Clocks: planted offsets and drifts come back, overlap is counted, no beats are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from latentphys.recordings.checks import alignment, alignments, overlap_s
from latentphys.recordings.errors import ModalityError, RateError
from latentphys.recordings.reading import read
from latentphys.recordings.record import Record
from latentphys.recordings.simulation import simulate


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return list(simulate(3, minutes=4, seed=2, absent=0.0).keep("ecg", "ppg"))


def set_wrong(record: Record, offset_s: float, drift_ms_per_min: float) -> Record:
    """The record with the pulse's clock set wrong; its samples keep their values."""
    signal = record.signals["ppg"]
    times = signal["time"].values
    times = times + offset_s + drift_ms_per_min * times / 6e4
    kept = times >= 0
    moved = xr.DataArray(
        signal.values[:, kept],
        dims=signal.dims,
        coords={"channel": signal["channel"].values, "time": times[kept]},
        attrs={"units": signal.attrs["units"]},
    )
    return replace(record, signals={**record.signals, "ppg": moved})


@pytest.mark.parametrize(
    ("offset_s", "drift"), [(0.5, 0.0), (-3.0, 20.0), (3.0, -100.0), (1.2, 100.0), (-0.7, -3.0)]
)
def test_planted_offset_and_drift_come_back(
    records: list[Record], offset_s: float, drift: float
) -> None:
    for record in records:
        before = alignment(record, "ecg", "ppg")
        after = alignment(set_wrong(record, offset_s, drift), "ecg", "ppg")
        assert after.offset_s - before.offset_s == pytest.approx(offset_s, abs=0.015)
        assert after.drift_ms_per_min - before.drift_ms_per_min == pytest.approx(drift, abs=2.0)
        assert after.correlation > 0.5
        span = after.lags.values[np.isfinite(after.lags.values)]
        assert len(span) > 8


def test_clocks_that_agree_show_the_transit_time(records: list[Record]) -> None:
    for record in records:
        found = alignment(record, "ecg", "ppg")
        transit = float(record.truth["transit_time"].mean())  # type: ignore[index]
        assert found.offset_s == pytest.approx(transit, abs=0.15)
        assert abs(found.drift_ms_per_min) < 8.0
        back = alignment(record, "ppg", "ecg")
        assert back.offset_s == pytest.approx(-found.offset_s, abs=0.02)


def test_holes_do_not_matter_much(records: list[Record]) -> None:
    record = records[0]
    ppg = record.signals["ppg"].copy(deep=True)
    both = np.isfinite(ppg.values[0]) & np.isfinite(record.signals["ecg"].values).any(axis=0)
    lost_s = both[2000:9000].sum() / 125.0
    ppg.values[:, 2000:9000] = np.nan
    whole, holed = (
        alignment(r, "ecg", "ppg")
        for r in (record, replace(record, signals={**record.signals, "ppg": ppg}))
    )
    assert holed.offset_s == pytest.approx(whole.offset_s, abs=0.02)
    assert holed.overlap_s == pytest.approx(whole.overlap_s - lost_s, abs=2.0)


def test_strangers_do_not_align(records: list[Record]) -> None:
    one, other = records[0], records[1]
    mixed = replace(one, signals={"ecg": one.signals["ecg"], "ppg": other.signals["ppg"]})
    found, true = alignment(mixed, "ecg", "ppg"), alignment(one, "ecg", "ppg")
    assert found.correlation < 0.5 * true.correlation
    silent = one.signals["ppg"].copy(data=np.full_like(one.signals["ppg"].values, np.nan))
    nothing = alignment(replace(one, signals={**one.signals, "ppg": silent}), "ecg", "ppg")
    assert np.isnan([nothing.offset_s, nothing.drift_ms_per_min]).all()
    assert nothing.overlap_s == nothing.correlation == 0.0


def test_overlap_is_of_what_was_observed() -> None:
    x, y = np.zeros(100 * 50), np.full(100, 97.0)
    x[: 20 * 50] = np.nan
    y[60:] = np.nan
    record = Record.from_arrays(
        {"ecg": (x, 50.0), "spo2": (y, 1.0), "lab": (np.ones(2), np.array([30.0, 31.0]))},
        subject="a",
    )
    assert overlap_s(record, "ecg", "spo2") == pytest.approx(40.0)
    assert overlap_s(record, "spo2", "ecg") == pytest.approx(40.0)
    assert overlap_s(record, "ecg", "lab") == pytest.approx(2.0)


def test_every_pair_is_listed_and_those_without_beats_have_no_offset() -> None:
    record = simulate(1, minutes=1, seed=1, absent=0.0)[0]
    table = alignments(record).set_index(["one", "other"])
    assert len(table) == 6
    assert np.isfinite(table.loc[("ecg", "ppg"), "offset_s"])
    assert np.isnan(table.loc[("ecg", "resp"), "offset_s"])
    assert 50 < table.loc[("ppg", "spo2"), "overlap_s"] <= 60


def test_what_shows_no_beat_is_refused(records: list[Record]) -> None:
    with pytest.raises(
        ModalityError, match="goes by heart beats, which ecg, ppg, abp show.*'resp'"
    ):
        alignment(records[0], "ecg", "resp")
    slow = Record.from_arrays(
        {"ecg": (np.zeros(90), 10.0), "ppg": (np.zeros(90), 50.0)}, subject="a"
    )
    with pytest.raises(RateError, match="at least 25 samples a second; 'ecg' of record 'a' has 10"):
        alignment(slow, "ecg", "ppg")


def test_a_monitors_own_clock_does_not_drift(data_root: Path) -> None:
    for record in read(data_root / "bidmc")[:4]:
        found = alignment(record, "ecg", "ppg")
        assert abs(found.drift_ms_per_min) < 3.0
        assert found.overlap_s == pytest.approx(480.0, abs=0.2)
