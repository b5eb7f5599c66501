"""Annotations as targets: what holds when, what counts where, at the edges above all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from latentphys.recordings import labels
from latentphys.recordings.errors import LabelError, RateError
from latentphys.recordings.labels import STAGES, sleep_stage
from latentphys.recordings.reading import read
from latentphys.recordings.record import Record
from latentphys.recordings.simulation import simulate


def events(times: list[float], values: list | None = None, **coords: list) -> xr.DataArray:
    made = np.array(values if values is not None else [1] * len(times))
    own = {name: ("event", np.array(column)) for name, column in coords.items()}
    return xr.DataArray(made, dims="event", coords={"time": ("event", np.array(times)), **own})


def lasting(seconds: float, **annotations: xr.DataArray) -> Record:
    record = Record.from_arrays({"eeg": (np.zeros(round(seconds * 10)), 10.0)}, subject="a")
    return replace(record, annotations=annotations)


def night() -> Record:
    """Stages as slpdb writes them: in the note, apnoea after it, no durations."""
    notes = ["W", "1", "2 HA", "3", "4 LA", "R", "MT", "2 X"]
    times = [30.0 * k for k in range(8)]
    return lasting(240.0, st=events(times, ['"'] * 8, note=notes))


def test_stages_in_every_spelling() -> None:
    read_ = [sleep_stage(v) for v in ("W", "Sleep stage 1", "N2", "stage 3", "S4", "REM", "5")]
    assert read_ == ["W", "N1", "N2", "N3", "N3", "REM", "REM"]
    assert [sleep_stage(v) for v in ("Sleep stage ?", "Movement time", "MT", "", "X")] == [""] * 5


def test_epochs_of_a_night() -> None:
    found = labels.per_epoch(night(), "st", label=sleep_stage)
    assert found.values.tolist() == ["W", "N1", "N2", "N3", "N3", "REM", "", "N2"]
    assert found.time.values.tolist() == [30.0 * k for k in range(8)]
    assert labels.codes(found, STAGES).values.tolist() == [0, 1, 2, 3, 3, 4, -1, 2]
    assert labels.codes(found, STAGES).attrs["classes"] == list(STAGES)


def test_numbered_stages_are_read_as_numbers() -> None:
    for kind in (int, float):
        numbered = lasting(90.0, stage=events([0.0, 30.0, 60.0], [kind(v) for v in (0, 2, 4)]))
        found = labels.per_epoch(numbered, "stage", label=sleep_stage)
        assert found.values.tolist() == ["W", "N2", "N3"]


def test_an_epoch_needs_more_than_half() -> None:
    half = lasting(60.0, stage=events([0.0, 15.0, 46.0], ["A", "B", "A"]))
    assert labels.per_epoch(half, "stage").values.tolist() == ["", "B"]
    more = lasting(60.0, stage=events([0.0, 15.1, 45.0], ["A", "B", "A"]))
    assert labels.per_epoch(more, "stage").values.tolist() == ["A", ""]
    pieces = lasting(30.0, stage=events([0.0, 8.0, 20.0, 28.0], ["A", "B", "A", "B"]))
    assert labels.per_epoch(pieces, "stage").values.tolist() == ["A"]


def test_epochs_may_begin_late_and_the_cut_one_is_left_out() -> None:
    late = lasting(100.0, stage=events([10.0, 40.0, 70.0], ["A", "B", "C"]))
    found = labels.per_epoch(late, "stage", start_s=10.0)
    assert found.values.tolist() == ["A", "B", "C"]
    assert labels.per_epoch(late, "stage").sizes["epoch"] == 3
    with pytest.raises(LabelError, match="lasts 100 s; from 0 s on that is no whole epoch of 200"):
        labels.per_epoch(late, "stage", 200.0)


def test_labels_hold_as_long_as_is_said() -> None:
    stage = events([0.0, 4.0, 6.0], ["A", "B", "C"])
    found = labels.per_step(lasting(10.0, stage=stage), "stage", 1.0)
    assert found.values.tolist() == [*"AAAABBCCCC"]
    found = labels.per_step(lasting(10.0, stage=stage), "stage", 1.0, lasting_s=1.0)
    assert found.values.tolist() == [*"A", "", "", "", "B", "", "C", "", "", ""]
    said = stage.assign_coords(duration=("event", [2.0, np.nan, 3.0]))
    found = labels.per_step(lasting(10.0, stage=said), "stage", 1.0)
    assert found.values.tolist() == ["A", "A", "", "", "B", "B", "C", "C", "C", ""]


def test_the_later_label_holds_where_two_overlap_and_the_longer_goes_on_after_it() -> None:
    stage = events([0.0, 3.0], ["A", "B"], duration=[10.0, 2.0])
    record = lasting(10.0, stage=stage)
    assert labels.per_step(record, "stage", 1.0).values.tolist() == [*"AAABBAAAAA"]
    assert labels.per_epoch(record, "stage", 2.0).values.tolist() == ["A", "", "", "A", "A"]


def test_a_step_takes_the_label_at_its_middle() -> None:
    stage = events([0.0, 1.4, 3.6], ["A", "B", "C"])
    found = labels.per_step(lasting(5.0, stage=stage), stage, 1.0)
    assert found.values.tolist() == [*"ABBBC"]
    onset_at_middle = events([0.0, 1.5], ["A", "B"])
    assert labels.per_step(lasting(3.0), onset_at_middle, 1.0).values.tolist() == [*"ABB"]
    assert labels.per_step(lasting(3.0), stage, 12.5).sizes["time"] == 38
    assert labels.per_step(lasting(3.0), events([]), 1.0).values.tolist() == [""] * 3


def test_events_count_where_they_begin() -> None:
    beats = events([0.0, 0.1 + 0.2, 0.999, 1.0, 9.95, 10.0, -0.5])
    found = labels.counts(lasting(10.0, beat=beats), "beat", 10.0)
    assert found.sizes["time"] == 100
    assert np.flatnonzero(found.values).tolist() == [0, 3, 9, 10, 99]
    assert found.values.sum() == 5
    some = events([1.0, 2.0, 3.0], ["N", "V", "N"])
    found = labels.counts(lasting(4.0), some, 1.0, chosen=lambda v, note: "1" if v == "N" else "")
    assert found.values.tolist() == [0, 1, 0, 1]


def test_phase_grows_from_event_to_event() -> None:
    breaths = events([1.0, 3.0, 7.0, 17.0])
    found = labels.phase(lasting(20.0), breaths, 2.0, longest_s=5.0)
    at = dict(zip(found.time.values.tolist(), found.values.tolist(), strict=True))
    assert np.isnan(at[0.5])
    assert at[1.0] == pytest.approx(2 * np.pi * 0.125)  # the step's middle, 1.25 s
    assert at[3.0] == pytest.approx(2 * np.pi * 0.25 / 4)
    assert np.isnan([at[7.5], at[16.5], at[17.0], at[19.5]]).all()
    assert ((found >= 0) & (found < 2 * np.pi) | np.isnan(found)).all()
    assert np.isnan(labels.phase(lasting(4.0), events([2.0]), 1.0).values).all()


def test_phase_is_the_simulators_own() -> None:
    record = simulate(1, minutes=1, seed=4, absent=0.0)[0]
    found = labels.phase(record, "beat", 12.5)
    true = np.interp(found.time + 0.04, record.truth.time, np.unwrap(record.truth.heart_phase))  # type: ignore[union-attr]
    off = np.angle(np.exp(1j * (found.values - true)))
    off = off[np.isfinite(off)] - np.angle(np.nanmean(np.exp(1j * off)))
    assert np.abs(off).max() < 0.5


def test_rates_by_window() -> None:
    breaths = events([k * 4.0 for k in range(20)])
    found = labels.event_rate(lasting(100.0), breaths, 32.0, hop_s=16.0)
    assert found.time.values.tolist() == [0.0, 16.0, 32.0, 48.0, 64.0]
    np.testing.assert_allclose(found.values, 15.0)
    assert np.isnan(labels.event_rate(lasting(100.0), breaths, 4.0).values).all()
    with pytest.raises(LabelError, match="less than a window of 200 s"):
        labels.event_rate(lasting(100.0), breaths, 200.0)
    with pytest.raises(RateError, match="hop_s is a positive number of seconds, got 0"):
        labels.event_rate(lasting(100.0), breaths, 32.0, hop_s=0)


def test_marks_of_waves_become_stretches() -> None:
    symbols = [")", "(", "p", ")", "(", "N", ")", "t", ")", "(", "t"]
    marks = events([0.1 * k for k in range(len(symbols))], symbols)
    found = labels.waves(lasting(2.0), marks)
    assert found.values.tolist() == ["P", "QRS"]
    np.testing.assert_allclose(found.time, [0.1, 0.4])
    np.testing.assert_allclose(found.duration, [0.2, 0.2])
    np.testing.assert_allclose(found.peak, [0.2, 0.5])
    steps = labels.per_step(lasting(1.0), found, 10.0)
    assert steps.values.tolist() == ["", "P", "P", "", "QRS", "QRS", "", "", "", ""]


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(LabelError, match="has no annotations 'sta'; it has st. Did you mean 'st'"):
        labels.per_step(night(), "sta", 1.0)
    with pytest.raises(LabelError, match="one-dimensional with a coordinate time"):
        labels.counts(night(), xr.DataArray(np.zeros(3), dims="event"), 1.0)
    with pytest.raises(RateError, match="the rate of 'steps' is a positive number"):
        labels.counts(night(), "st", 0.0)
    with pytest.raises(RateError, match="epoch_s is a positive number of seconds, got -1"):
        labels.per_epoch(night(), "st", -1.0)


def test_breaths_of_real_patients(data_root: Path) -> None:
    record = read(data_root / "bidmc" / "bidmc01")[0]
    found = labels.event_rate(record, "breath_1", 32.0)
    assert found.sizes["window"] == 15
    assert 15 < float(found.median()) < 28
    assert labels.counts(record, "breath_1", 12.5).values.sum() == 170
    known = np.isfinite(labels.phase(record, "breath_1", 12.5, longest_s=10.0))
    assert float(known.mean()) > 0.9


def test_stages_of_real_nights(data_root: Path) -> None:
    import wfdb

    path = data_root / "slpdb_annotations" / "slp01a"
    marked = wfdb.rdann(str(path), "st")
    stage = events((marked.sample / 250.0).tolist(), marked.symbol, note=marked.aux_note)
    record = lasting(7200.0, st=stage)
    found = labels.per_epoch(record, "st", label=lambda v, note: sleep_stage(v, note.strip("\0")))
    assert found.sizes["epoch"] == 240
    assert set(found.values.tolist()) <= {*STAGES, ""}
    assert (found != "").mean() > 0.9


def test_waves_of_a_real_lead(data_root: Path) -> None:
    import wfdb

    path = data_root / "ludb" / "data" / "1"
    marked = wfdb.rdann(str(path), "ii")
    marks = events((marked.sample / 500.0).tolist(), marked.symbol)
    found = labels.waves(read(path)[0], marks)
    assert set(found.values.tolist()) == {"P", "QRS", "T"}
    qrs = found.duration.values[found.values == "QRS"]
    assert 0.05 < float(np.median(qrs)) < 0.15
