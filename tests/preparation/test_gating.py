"""A mean beat sorted by phase is the phantom's own mean beat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from latentphys.preparation.gating import gate_images
from latentphys.recordings.errors import LabelError, ModalityError
from latentphys.recordings.record import Record
from latentphys.recordings.simulation import simulate

FRAMES = 16


@pytest.fixture(scope="module")
def clean() -> Record:
    made = simulate(1, 0.6, seed=11, absent=0.0, nuisance=0.0, cine_rate_hz=20.0)[0]
    return made


def true_beat(record: Record) -> np.ndarray:
    """Mean true volume in bins of the true heart phase."""
    truth = record.truth
    assert truth is not None
    place = (truth["heart_phase"].values / (2 * np.pi) * FRAMES).astype(int) % FRAMES
    return np.array([truth["volume"].values[place == k].mean() for k in range(FRAMES)])


def test_a_gated_beat_follows_the_true_volume(clean: Record) -> None:
    beat = gate_images(clean, frames=FRAMES)
    assert beat.sizes == {"time": FRAMES, "y": 32, "x": 32}
    assert int(beat["count"].sum()) > 600
    median = float(np.median(np.diff(clean.annotations["beat"].time)))
    assert beat.attrs["rate_hz"] == pytest.approx(FRAMES / median)
    assert beat.attrs["spacing_xyz"][0] == 3.5
    middle = beat.values[:, 12:20, 12:20].mean((1, 2))  # blood leaves the middle as it empties
    bright = beat.values[:, 8:24, 14:28].mean((1, 2))
    assert np.corrcoef(bright, true_beat(clean))[0, 1] > 0.9
    assert np.isfinite(middle).all()


def test_marked_and_found_beats_give_one_beat(clean: Record) -> None:
    marked = gate_images(clean, frames=FRAMES)
    found = gate_images(replace(clean, annotations={}), frames=FRAMES)
    spread = marked.values.std(0).max()
    assert np.abs(marked.values - found.values).max() < 0.5 * spread


def test_frames_sorted_by_another_heart_show_no_beat(clean: Record) -> None:
    own = gate_images(clean, frames=FRAMES).values
    marks = clean.annotations["beat"]
    wrong = marks.assign_coords(time=("event", marks.time.values * 1.13))
    other = gate_images(replace(clean, annotations={"beat": wrong}), frames=FRAMES).values
    assert other.std(0).max() < 0.6 * own.std(0).max()


def test_the_mean_counts_what_was_observed(clean: Record) -> None:
    beat = gate_images(clean, frames=4)
    gone = clean.images["cine"].copy(deep=True)
    gone.values[::3] = np.nan
    gone.values[1::3, 5, 6] = np.nan
    holed = gate_images(replace(clean, images={"cine": gone}), frames=4)
    assert int(holed["count"].sum()) < int(beat["count"].sum())
    time, beats = gone.time.values, np.sort(clean.annotations["beat"].time.values)
    at = np.clip(np.searchsorted(beats, time, side="right") - 1, 0, len(beats) - 2)
    phase = (time - beats[at]) / np.diff(beats)[at]
    usual = np.abs(np.diff(beats) - np.median(np.diff(beats))) <= 0.2 * np.median(np.diff(beats))
    here = (time >= beats[0]) & (time < beats[-1]) & usual[at] & (phase < 0.25)
    expected = np.nanmean(gone.values[here], axis=0)
    np.testing.assert_allclose(holed.values[0], expected, rtol=1e-4)


def test_what_cannot_be_gated_is_refused(clean: Record) -> None:
    with pytest.raises(ModalityError, match="no images 'cyne'.*'cine'"):
        gate_images(clean, "cyne")
    with pytest.raises(LabelError, match="beats are marked"):
        gate_images(replace(clean.drop("ecg"), annotations={}))
    far = clean.images["cine"].assign_coords(time=clean.images["cine"].time + 1000.0)
    with pytest.raises(LabelError, match="larger tolerance"):
        gate_images(replace(clean, images={"cine": far}))
