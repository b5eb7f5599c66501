"""Image sequences as signals: their grid, their times and their holes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from latentphys.learning.specification import sensors_of
from latentphys.preparation.batch import collate
from latentphys.preparation.frames import as_frames, grid_of, resampled
from latentphys.preparation.preprocessing import DEFAULT_PLANS, Preprocessing, SignalPlan
from latentphys.preparation.windows import WindowIndex
from latentphys.recordings.errors import FitError
from latentphys.recordings.images import image_array
from latentphys.recordings.record import Record

RNG = np.random.default_rng(0)


def plan(frame: tuple[int, int] = (4, 6)) -> Preprocessing:
    return Preprocessing({**DEFAULT_PLANS, "cine": SignalPlan(frame=frame)})


def recording(frames: np.ndarray, rate_hz: float = 10.0, **attrs: object) -> Record:
    plain = Record.from_arrays({"ecg": (RNG.standard_normal(200), 100.0)}, subject="a")
    images = image_array(frames, rate_hz, name="cine", units="NU").assign_attrs(attrs)
    return replace(plain, images={"cine": images})


@pytest.mark.parametrize("shape", [(4, 5), (8, 3), (9, 11), (13, 20)])
def test_a_pixel_is_the_mean_of_the_area_it_covers(shape: tuple[int, int]) -> None:
    frames = RNG.standard_normal((2, 8, 10)).astype(np.float32)
    frames[0, 2:4, 3:5] = np.nan
    fine = np.repeat(np.repeat(frames, shape[0], 1), shape[1], 2)  # both grids divide this one
    blocks = fine.reshape(2, shape[0], 8, shape[1], 10)
    seen = np.isfinite(blocks).mean((2, 4))
    with np.errstate(invalid="ignore"):
        expected = np.where(seen >= 0.5, np.nansum(blocks, (2, 4)) / (seen * 80), np.nan)
    np.testing.assert_allclose(resampled(frames, shape), expected, rtol=1e-4, atol=1e-5)


def test_frames_of_the_right_size_stay_as_they_are() -> None:
    frames = RNG.standard_normal((3, 4, 6)).astype(np.float32)
    frames[1, 2, 3] = np.nan
    np.testing.assert_array_equal(resampled(frames, (4, 6)), frames)
    prepared = plan().prepare(recording(frames)).signals["cine"]
    back = prepared.scale.to_units(as_frames(prepared.values, prepared.grid).reshape(1, -1))
    np.testing.assert_allclose(back.reshape(3, 4, 6), frames, rtol=1e-5, atol=1e-6)
    assert (prepared.units, prepared.rate_hz, prepared.pixels) == ("NU", 10.0, 24)
    standard = prepared.values[np.isfinite(prepared.values)]
    assert abs(np.median(standard)) < 1e-6
    assert standard.std() == pytest.approx(1.0, abs=0.1)


def test_spacing_follows_the_grid() -> None:
    record = recording(np.zeros((2, 8, 12)), spacing_xyz=[3.0, 2.0, 8.0], spacing_units="mm")
    grid = grid_of(record.images["cine"], (4, 6))
    assert (grid.spacing, grid.units) == ((4.0, 6.0), "mm")
    np.testing.assert_allclose(grid.coords()["y"][1], [2.0, 6.0, 10.0, 14.0])
    assert grid_of(recording(np.zeros((2, 8, 12))).images["cine"], (4, 6)).units == "px"


def test_a_frame_belongs_to_the_step_its_time_falls_in() -> None:
    frames = np.arange(20.0)[:, None, None] + np.zeros((20, 4, 6))
    frames[7], frames[3, 1, 2] = np.nan, np.nan
    record = recording(frames, rate_hz=12.0)
    index = WindowIndex(np.zeros(1, np.int64), np.array([2]), 6, 5.0)
    prepared = plan().prepare(record)
    batch = collate([prepared], index, [0], ["ecg", "cine"])
    values = batch.values["cine"][0, :, 0].unflatten(-1, (-1, 4, 6)).numpy()
    mask = batch.mask["cine"][0, :, 0].unflatten(-1, (-1, 4, 6)).numpy()
    offset = batch.offset["cine"][0].unflatten(-1, (-1, 4, 6)).numpy()
    one = prepared.signals["cine"].scale
    step = np.floor(np.arange(20) / 12.0 * 5.0 + 1e-9) - 2
    for t in range(6):
        own = [k for k in np.flatnonzero(step == t)]
        for slot, k in enumerate(own):
            assert mask[t, slot].sum() == (0 if k == 7 else 23 if k == 3 else 24)
            told = values[t, slot][mask[t, slot]] * one.scale[0] + one.location[0]
            np.testing.assert_allclose(told, k, atol=1e-4)
            np.testing.assert_allclose(offset[t, slot], k / 12.0 * 5.0 - t - 2, atol=1e-5)
        assert not mask[t, len(own) :].any()


def test_a_window_without_a_frame_still_has_whole_frames() -> None:
    record = recording(np.ones((3, 4, 6)), rate_hz=10.0)
    index = WindowIndex(np.zeros(1, np.int64), np.array([5]), 4, 5.0)
    batch = collate([plan().prepare(record)], index, [0], ["ecg", "cine"])
    assert batch.values["cine"].shape == (1, 4, 1, 24)
    assert not batch.mask["cine"].any()


def test_slices_are_channels() -> None:
    prepared = plan().prepare(recording(RNG.standard_normal((3, 5, 4, 6)))).signals["cine"]
    assert prepared.channels == ("slice 1", "slice 2", "slice 3")
    assert prepared.values.shape == (3, 5 * 24)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(FitError, match=r"\(height, width\)"):
        SignalPlan(frame=(0, 4))
    binary = Preprocessing({"cine": SignalPlan(binary=True)})
    with pytest.raises(FitError, match="binary=True"):
        binary.prepare(recording(np.zeros((2, 4, 6))))
    sizes = [plan(frame).prepare(recording(RNG.random((2, 8, 8)))) for frame in ((4, 4), (8, 8))]
    with pytest.raises(FitError, match="one size.*one plan"):
        sensors_of(sizes, 5.0)


def test_a_plan_with_a_frame_is_kept_with_a_model() -> None:
    made = Preprocessing.from_dict(plan((4, 6)).to_dict())
    assert made.plans["cine"].frame == (4, 6)
    older = plan().to_dict()
    for each in older["plans"].values():
        del each["frame"]
    assert Preprocessing.from_dict(older).plans["ecg"] == DEFAULT_PLANS["ecg"]
