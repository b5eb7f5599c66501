"""Beats marked and found, and the spans of units."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from latentphys.preparation.beats import beat_intervals, beat_times
from latentphys.preparation.preprocessing import Preprocessing
from latentphys.preparation.spans import spans_of
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import ArgumentError, LabelError
from latentphys.recordings.reading import read
from latentphys.recordings.record import Record


def unmarked(record: Record, gain: float = 1.0, hole: slice = slice(0)) -> Record:
    """Without annotations; the ECG times a gain, with a hole in it."""
    ecg = record.signals["ecg"].copy(data=gain * record.signals["ecg"].values)
    ecg.values[:, hole] = np.nan
    return replace(record, annotations={}, signals={"ecg": ecg})


@pytest.mark.parametrize("gain", [1.0, 1000.0, 0.001])
def test_found_beats_are_the_marked_ones(tiny_cohort: Cohort, gain: float) -> None:
    record = tiny_cohort[0]
    truth = record.annotations["beat"].time.values
    found = beat_times(unmarked(record, gain))
    near = np.abs(found[:, None] - truth).min(axis=1)
    assert near.max() < 0.04
    assert len(found) >= len(truth) - 3


def test_beats_are_found_on_both_sides_of_a_hole(tiny_cohort: Cohort) -> None:
    record = tiny_cohort[0]
    whole = beat_times(unmarked(record))
    holed = beat_times(unmarked(record, hole=slice(125 * 20, 125 * 30)))
    assert not ((holed > 20.0) & (holed < 30.0)).any()
    late = holed[holed > 33.0]
    assert np.abs(late[:, None] - whole).min(axis=1).max() < 0.02
    assert len(late) >= (whole > 33.0).sum() - 3
    starts, stops = beat_intervals(unmarked(record, hole=slice(125 * 20, 125 * 30)))
    assert (stops - starts).max() <= 3.0


def test_on_a_real_record_they_are_the_annotators(data_root: Path) -> None:
    cohort = read(data_root / "wfdb_sample" / "sample-data" / "100.hea")
    record = cohort[0].crop(0.0, 300.0)
    marked = beat_times(record)
    found = beat_times(replace(record, annotations={}))
    near = np.abs(found[:, None] - marked).min(axis=1)
    assert near.max() < 0.05
    assert abs(len(found) - len(marked)) <= 2


@pytest.mark.parametrize("name", ["bidmc13", "bidmc33", "bidmc53"])
def test_tall_t_waves_are_not_counted(data_root: Path, name: str) -> None:
    record = read(data_root / "bidmc" / f"{name}.hea")[0]
    monitor = float(np.nanmean(record.signals["hr"]))
    starts, stops = beat_intervals(record)
    assert 60.0 / float((stops - starts).mean()) == pytest.approx(monitor, abs=2.0)


def test_ten_seconds_are_enough_in_any_units(data_root: Path) -> None:
    record = read(data_root / "ludb" / "data" / "1.hea")[0].select(ecg="II")
    marks = record.annotations["ii"]
    truth = marks.time.values[marks.values == "N"]
    for gain in (1.0, 1e-3, 1e3):
        found = beat_times(unmarked(record, gain))
        assert np.abs(found[:, None] - truth).min(axis=0).max() < 0.05


def test_marks_that_are_no_beats_are_left_out() -> None:
    marks = xr.DataArray(list("+N~V"), dims="event", coords={"time": ("event", [0.0, 1, 1.5, 2])})
    record = Record.from_arrays({"ppg": (np.zeros(300), 100.0)}, subject="a")
    assert beat_times(replace(record, annotations={"atr": marks})).tolist() == [1.0, 2.0]


def test_a_record_with_neither_is_refused() -> None:
    record = Record.from_arrays({"ppg": (np.zeros(300), 100.0)}, subject="a", record="r1")
    with pytest.raises(LabelError, match="record 'r1' has annotations none, signals ppg.*0 beats"):
        beat_times(record)
    flat = Record.from_arrays({"ecg": (np.zeros(3000), 100.0)}, subject="a")
    slow = Record.from_arrays(
        {"ecg": (np.random.default_rng(0).normal(size=999), 50.0)}, subject="a"
    )
    for none in (flat, slow):
        with pytest.raises(LabelError, match="Leave it out, or take unit='window'"):
            beat_times(none)
    lone = xr.DataArray([1, 1], dims="event", coords={"time": ("event", [1.0, 9.0])})
    with pytest.raises(LabelError, match="at most 3 s; record 'r1' has 2 beats"):
        beat_intervals(replace(record, annotations={"beat": lone}))


def night(**sets: tuple[list[str], list[float]]) -> Record:
    record = Record.from_arrays({"eeg": (np.zeros(200), 1.0)}, subject="a")
    marks = {
        name: xr.DataArray(values, dims="event", coords={"time": ("event", times)})
        for name, (values, times) in sets.items()
    }
    return replace(record, annotations=marks)


def test_epochs_lie_on_the_grid_of_the_stages() -> None:
    def starts(record: Record) -> list[float]:
        return spans_of(
            record, Preprocessing().prepare(record), "epoch", 16.0, 1.0
        ).start_s.tolist()

    assert starts(night()) == [30.0 * k for k in range(6)]
    scored = night(
        rhythm=(["R", "N", "R"], [3.0, 4.0, 5.2]), stage=(["W", "N1", "?"], [40.0, 70.0, 75.0])
    )
    assert starts(scored) == [10.0 + 30.0 * k for k in range(6)]
    assert starts(scored.crop(0.0, 35.0)) == [0.0]
    with pytest.raises(ArgumentError, match="unit is one of patch, beat, epoch, window, record"):
        spans_of(night(), Preprocessing().prepare(night()), "night", 16.0, 1.0)  # type: ignore[arg-type]
