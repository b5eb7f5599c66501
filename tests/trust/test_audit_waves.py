"""Waves are found, moved by a known time and timed again; marked intervals are read as marked."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import latentphys as lp
from latentphys.preparation.beats import beat_times
from latentphys.preparation.delineation import Landmarks, delineate, median_beat
from latentphys.recordings.errors import LabelError
from latentphys.recordings.intervals import INTERVALS, intervals, marked_leads
from latentphys.recordings.record import Record
from latentphys.trust.audits.edits import (
    electrodes_moved,
    filtered,
    lengthened,
    resampled,
    shuffled,
)
from latentphys.trust.audits.pathology import _scores, area
from latentphys.trust.audits.waves import _Dosed, _longer, _marked

RATE = 250.0
BEATS = np.arange(0.8, 29.0, 0.9)
TRUE = Landmarks(-0.21, -0.11, -0.04, 0.04, 0.18, 0.38)


def bump(t: np.ndarray, start: float, stop: float) -> np.ndarray:
    """Half a raised cosine between two times, 0 elsewhere."""
    inside = (t > start) & (t < stop)
    turn = 2 * np.pi * (t - start) / max(stop - start, 1e-9)
    return np.where(inside, 0.5 - 0.5 * np.cos(turn), 0.0)


def drawn(beats: np.ndarray = BEATS, marks: Landmarks = TRUE, rate_hz: float = RATE) -> Record:
    """An ECG whose waves begin and end where the landmarks say."""
    t = np.arange(0.0, 30.0, 1.0 / rate_hz)
    x = np.zeros_like(t)
    for beat in beats:
        x += 0.15 * bump(t, beat + marks.p_onset, beat + marks.p_offset)
        x += 1.2 * bump(t, beat + marks.qrs_onset, beat + marks.qrs_offset)
        x += 0.3 * bump(t, beat + marks.t_onset, beat + marks.t_offset)
    second = 0.5 * x + 0.1
    return Record.from_arrays(
        {"ecg": (np.stack([x, second]), rate_hz)}, subject="s", channels={"ecg": ["II", "V"]}
    )


def test_the_median_beat_s_waves_are_found_where_they_were_drawn() -> None:
    x = drawn().signals["ecg"].values[0].astype(np.float64)
    x[1000:1100] = np.nan  # a hole costs beats, not the answer
    x += 0.003 * np.random.default_rng(0).standard_normal(len(x))
    found = delineate(x, RATE, BEATS)
    assert found is not None
    # A raised cosine has no corner at its ends: its foot is seen a little inside.
    for name in ("p_onset", "p_offset", "qrs_onset", "qrs_offset", "t_onset", "t_offset"):
        assert getattr(found, name) == pytest.approx(getattr(TRUE, name), abs=0.03), name
    assert found.pr_interval == pytest.approx(0.17, abs=0.03)
    assert found.qt_interval == pytest.approx(0.42, abs=0.04)
    assert found.qrs_duration == pytest.approx(0.08, abs=0.02)


def test_what_has_no_wave_or_no_beat_has_no_landmark() -> None:
    x = drawn(marks=Landmarks(-0.2, -0.2, -0.04, 0.04, 0.18, 0.38)).signals["ecg"].values[0]
    found = delineate(x.astype(np.float64), RATE, BEATS)
    assert found is not None
    assert math.isnan(found.p_onset)
    assert found.t_offset == pytest.approx(0.38, abs=0.04)
    assert delineate(np.full(7500, np.nan), RATE, BEATS) is None
    assert delineate(np.zeros(7500), RATE, BEATS) is None
    assert delineate(np.zeros(7500), RATE, BEATS[:3]) is None
    assert not len(median_beat(np.zeros(7500), RATE, np.empty(0))[0])


@pytest.mark.parametrize("interval", ["pr", "qt"])
def test_an_interval_is_longer_by_what_was_asked_and_nothing_else_moves(interval: str) -> None:
    record = drawn()
    edited, share = lengthened(record, interval, 0.04, BEATS, TRUE)
    assert share == 1.0
    before, after = (r.signals["ecg"].values[0].astype(np.float64) for r in (record, edited))
    grid = np.arange(0, 29.9, 1 / 125)
    on_grid = [np.interp(grid, np.arange(7500) / RATE, x) for x in (after, before)]
    dosed = _Dosed(record, BEATS, TRUE)
    other = {"pr": "qt", "qt": "pr"}[interval]
    assert _longer(*on_grid, dosed, interval) == pytest.approx(0.04, abs=0.003)
    assert _longer(*on_grid, dosed, other) == pytest.approx(0.0, abs=0.003)
    t = np.arange(7500) / RATE
    inside = np.abs(t - BEATS[10]) < 0.03
    np.testing.assert_allclose(after[inside], before[inside], atol=1e-6)
    # Both leads alike, and the drawn truth: the same waves where the dose puts them.
    np.testing.assert_allclose(edited.signals["ecg"].values[1], 0.5 * after + 0.1, atol=1e-5)
    moved = {"pr": (-0.25, -0.15, 0.18, 0.38), "qt": (-0.21, -0.11, 0.22, 0.42)}[interval]
    expected = drawn(marks=Landmarks(moved[0], moved[1], -0.04, 0.04, *moved[2:]))
    middle = (t > 3.0) & (t < 26.0)
    np.testing.assert_allclose(after[middle], expected.signals["ecg"].values[0][middle], atol=0.03)


def test_a_beat_without_room_stays_as_it_is() -> None:
    crowded = np.arange(0.8, 29.0, 0.62)  # T ends 30 ms before the next P
    record = drawn(crowded)
    same, share = lengthened(record, "pr", 0.04, crowded, TRUE)
    assert share == 0.0
    assert same is record


def test_marks_become_intervals_and_landmarks() -> None:
    times, marks = [], []
    for beat in BEATS[:8]:
        for wave, start, stop in (
            ("p", TRUE.p_onset, TRUE.p_offset),
            ("N", TRUE.qrs_onset, TRUE.qrs_offset),
            ("t", TRUE.t_onset, TRUE.t_offset),
        ):
            times += [beat + start, beat + 0.5 * (start + stop), beat + stop]
            marks += ["(", wave, ")"]
    keep = slice(3, None)  # the first P was not marked
    record = drawn()
    record.annotations["ii"] = xr.DataArray(
        marks[keep], dims="event", coords={"time": ("event", times[keep])}
    )
    found = intervals(record)
    assert found.lead.values.tolist() == ["ii"] * 8
    assert math.isnan(found.pr_interval[0])
    np.testing.assert_allclose(found.pr_interval[1:], 0.17, atol=1e-9)
    np.testing.assert_allclose(found.qrs_duration, 0.08, atol=1e-9)
    np.testing.assert_allclose(found.qt_interval, 0.42, atol=1e-9)
    own = _marked(record, BEATS)
    assert own is not None
    for name in TRUE.__dataclass_fields__:
        assert getattr(own, name) == pytest.approx(getattr(TRUE, name), abs=1e-9)
    with pytest.raises(LabelError, match="LUDB and QTDB mark them"):
        intervals(drawn())


def test_intervals_of_ludb_are_a_heart_s(data_root: Path) -> None:
    record = lp.read(data_root / "ludb")[0]
    assert len(marked_leads(record)) == 12
    found = intervals(record)
    usual = {"pr_interval": (0.1, 0.25), "qrs_duration": (0.06, 0.13), "qt_interval": (0.3, 0.6)}
    for name, (low, high) in usual.items():
        assert low < float(found[name].median()) < high
    assert set(found.data_vars) == set(INTERVALS)


def test_the_simulator_s_waves_are_found() -> None:
    record = lp.simulate(1, 0.5, 2, absent=0.0, nuisance=0.0)[0]
    beats = beat_times(record)
    found = delineate(record.signals["ecg"].values[0].astype(np.float64), 125.0, beats)
    assert found is not None
    period = float(np.median(np.diff(beats)))
    # P is drawn at -60 degrees of the cycle, T at 90 times the root of the rate.
    p, t = -period / 6, period / 4 * math.sqrt(1 / period)
    assert found.p_onset < p < found.p_offset
    assert found.t_onset < t < found.t_offset


def test_a_filter_a_rate_and_a_lead_are_changed_by_what_they_say() -> None:
    t = np.arange(0, 20, 1 / RATE)
    x = np.sin(2 * np.pi * 1.0 * t) + np.sin(2 * np.pi * 40.0 * t)
    x[1000:1100] = np.nan
    record = Record.from_arrays({"ecg": (np.stack([x, -x]), RATE)}, subject="s")
    low = filtered(record, {"ecg": 10.0}).signals["ecg"].values[0]
    assert np.isnan(low[1000:1100]).all()
    inner = slice(1500, 4500)
    np.testing.assert_allclose(low[inner], np.sin(2 * np.pi * t)[inner], atol=0.08)
    slower = resampled(record, "ecg", 0.4)
    assert slower.rate_hz("ecg") == pytest.approx(100.0)
    kept = slower.signals["ecg"]
    at = kept.time.values
    seen = np.isfinite(kept.values[0]) & (at > 6) & (at < 18)
    band = filtered(record, {"ecg": 40.0}).signals["ecg"].values[0]
    np.testing.assert_allclose(kept.values[0][seen], np.interp(at[seen], t, band), atol=0.02)
    moved = electrodes_moved(record, 0.25).signals["ecg"].values
    np.testing.assert_allclose(moved[0][inner], (0.75 / 1.25) * x[inner], atol=1e-6)
    assert np.isnan(moved[0][1000:1100]).all()


def test_shuffled_samples_are_the_same_samples() -> None:
    x = np.arange(50.0)
    x[10:15] = np.nan
    record = Record.from_arrays({"ppg": (x, 10.0)}, subject="s")
    mixed = shuffled(record, np.random.default_rng(0)).signals["ppg"].values[0]
    np.testing.assert_array_equal(np.isnan(mixed), np.isnan(x))
    np.testing.assert_array_equal(np.sort(mixed), np.sort(x))
    assert not np.array_equal(mixed, x, equal_nan=True)


def test_a_probe_that_knows_nothing_ranks_at_chance() -> None:
    rng = np.random.default_rng(0)
    has = np.arange(30) < 12
    areas = [area(_scores(rng.standard_normal((30, 40)), has, k), has) for k in range(12)]
    assert np.mean(areas) == pytest.approx(0.5, abs=0.1)
    assert area(_scores(np.zeros((30, 3)), has, 0), has) == 0.5
    known = np.column_stack([has + 0.1 * rng.standard_normal(30), rng.standard_normal(30)])
    assert area(_scores(known, has, 0), has) > 0.95
