"""Windows and batches: every observed sample lands in exactly one place, at the right time."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from latentphys.preparation.batch import Batch, collate, places
from latentphys.preparation.preprocessing import PreparedRecord, PreparedSignal, Scale
from latentphys.preparation.windows import WindowIndex, drop_empty, steps_in, tile

CLOCK = 12.5


def signal(
    values: NDArray[np.floating], rate_hz: float, time_s: NDArray[np.float64] | None = None
) -> PreparedSignal:
    values = np.atleast_2d(values).astype(np.float32)
    names = tuple(f"c{k}" for k in range(len(values)))
    unit = Scale(np.zeros(len(values)), np.ones(len(values)))
    return PreparedSignal(values, time_s, rate_hz, names, "mV", unit)


def record(duration_s: float, name: str = "r", **signals: PreparedSignal) -> PreparedRecord:
    return PreparedRecord(name, f"subject of {name}", signals, None, float("nan"), duration_s)


def noise(count: int, channels: int = 1, seed: int = 0) -> NDArray[np.floating]:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((channels, count))
    values[rng.random(values.shape) < 0.1] = np.nan
    return values


def window(start: int, steps: int, which: int = 0) -> WindowIndex:
    return WindowIndex(np.array([which]), np.array([start]), steps, CLOCK)


def scatter(batch: Batch, modality: str, like: PreparedSignal, row: int = 0) -> NDArray[np.float32]:
    """A window's samples back on the signal's own grid, by their times alone."""
    mask = batch.mask[modality][row].numpy()
    back = np.full_like(like.values, np.nan)
    filled = np.zeros(like.values.shape, dtype=int)
    step = np.arange(batch.steps)[:, None] + int(batch.start_step[row])
    time = (step + batch.offset[modality][row].numpy().astype(np.float64)) / CLOCK
    if like.time_s is None:
        sample = np.rint(time * like.rate_hz).astype(int)
    else:
        sample = np.abs(time[..., None] - like.time_s).argmin(-1)
    for channel in range(len(like.values)):
        at = mask[:, channel]
        back[channel, sample[at]] = batch.values[modality][row].numpy()[:, channel][at]
        np.add.at(filled[channel], sample[at], 1)
    assert filled.max() <= 1, "a sample is in two places"
    return back


@pytest.mark.parametrize("rate_hz", [125.0, 250.0, 360.0, 128.0, 62.5, 1.0])
def test_every_observed_sample_comes_back_bit_for_bit(rate_hz: float) -> None:
    duration_s = 40.0
    own = signal(noise(int(duration_s * rate_hz), channels=2), rate_hz)
    whole = window(0, steps_in(duration_s, CLOCK))
    batch = collate([record(duration_s, x=own)], whole, [0], ["x"])
    np.testing.assert_array_equal(scatter(batch, "x", own), own.values)
    assert (batch.values["x"][~batch.mask["x"]] == 0.0).all()


@pytest.mark.parametrize("start", [1, 3, 77])
def test_a_window_holds_the_samples_of_its_own_time_alone(start: int) -> None:
    own = signal(noise(360 * 20), 360.0)
    back = scatter(collate([record(20.0, x=own)], window(start, 50), [0], ["x"]), "x", own)
    sample = np.arange(own.values.shape[1])
    step = np.array([int(Fraction(int(i)) / 360 * Fraction(25, 2)) for i in sample])
    inside = (step >= start) & (step < start + 50)
    np.testing.assert_array_equal(back[:, inside], own.values[:, inside])
    assert np.isnan(back[:, ~inside]).all()


def test_irregular_samples_come_back_and_keep_their_times() -> None:
    rng = np.random.default_rng(1)
    time = np.sort(rng.uniform(0.0, 20.0, 90))
    own = signal(noise(90), 4.5, time)
    batch = collate([record(20.0, x=own)], window(0, 250), [0], ["x"])
    np.testing.assert_array_equal(scatter(batch, "x", own), own.values)
    step, _, slot = np.nonzero(batch.mask["x"][0].numpy())
    seen = (step + batch.offset["x"][0].numpy()[step, slot]) / CLOCK
    np.testing.assert_allclose(np.sort(seen), time[np.isfinite(own.values[0])], atol=1e-6)


def test_360_hz_gives_28_or_29_samples_a_step_and_their_offsets() -> None:
    at = places(signal(np.zeros(360 * 8), 360.0), 0, 100, CLOCK)
    counts = at.exists.sum(1)
    assert at.sample.shape[1] == 29
    assert set(counts.tolist()) == {28, 29}
    assert counts.sum() == 360 * 8
    for step in range(100):
        first = -(-step * 144 // 5)  # 28.8 samples a step
        exact = [(first + k) * 5 / 144 - step for k in range(int(counts[step]))]
        np.testing.assert_allclose(at.offset[step, : counts[step]], exact, atol=1e-6)


@pytest.mark.parametrize("rate_hz", [1.0, 62.5, 125.0, 360.0])
def test_offsets_lie_in_their_step(rate_hz: float) -> None:
    own = signal(noise(int(rate_hz * 60)), rate_hz)
    batch = collate([record(60.0, x=own)], window(13, 200), [0], ["x"])
    offset = batch.offset["x"][batch.mask["x"][:, :, 0]]
    assert len(offset)
    assert bool((offset >= 0).all())
    assert bool((offset < 1).all())


def test_nothing_drifts_over_a_night() -> None:
    start = round(8 * 3600 * CLOCK)
    empty = np.broadcast_to(np.float32(0.0), (1, 360 * 3600 * 9))
    unit = Scale(np.zeros(1), np.ones(1))
    at = places(PreparedSignal(empty, None, 360.0, ("c",), "", unit), start, 5, CLOCK)
    assert at.sample[0, 0] == 360 * 3600 * 8
    assert at.offset[0, 0] == 0.0
    assert at.sample[1, 0] == 360 * 3600 * 8 + 29
    np.testing.assert_allclose(at.offset[1, 0], 29 / 28.8 - 1, atol=1e-6)


def test_nan_becomes_a_mask_and_a_zero() -> None:
    values = np.ones(125)
    values[[3, 40]] = np.nan
    batch = collate([record(1.0, x=signal(values, 125.0))], window(0, 13), [0], ["x"])
    mask, x = batch.mask["x"][0, :, 0], batch.values["x"][0, :, 0]
    assert not mask[0, 3]
    assert not mask[4, 0]
    assert int(mask.sum()) == 123
    assert bool((x == mask.float()).all())


def test_a_window_that_overruns_the_end_is_masked_there() -> None:
    own = signal(np.ones(125 * 2), 125.0)
    batch = collate([record(2.0, x=own)], window(20, 50), [0], ["x"])
    seen = batch.mask["x"][0, :, 0].any(-1)
    assert seen.tolist() == [True] * 5 + [False] * 45


def test_absent_modalities_and_fewer_channels_are_left_empty() -> None:
    both = record(4.0, "a", x=signal(np.ones((2, 500)), 125.0), y=signal(np.ones(4), 1.0))
    one = record(4.0, "b", x=signal(np.ones((1, 500)), 125.0))
    index = WindowIndex(np.array([0, 1]), np.array([0, 0]), 50, CLOCK)
    batch = collate([both, one], index, [0, 1], ["x", "y", "z"])
    assert batch.modalities == ("x", "y")
    assert batch.channels["x"] == [("c0", "c1"), ("c0", "")]
    assert batch.channels["y"][1] == ("",)
    assert not batch.mask["x"][1, :, 1].any()
    assert not batch.mask["y"][1].any()
    assert batch.drop("x").modalities == ("y",)
    assert batch.record == ["a", "b"]


def test_inputs_are_those_at_the_middle_of_a_step() -> None:
    own = record(8.0, x=signal(np.ones(1000), 125.0))
    drive = np.arange(32, dtype=np.float32)[None]
    driven = PreparedRecord("d", "s", own.signals, drive, 4.0, 8.0)
    index = WindowIndex(np.array([0, 1]), np.array([7, 7]), 20, CLOCK)
    inputs = collate([driven, own], index, [0, 1], ["x"]).inputs
    assert inputs is not None
    expected = [int((7 + k + 0.5) / CLOCK * 4.0) for k in range(20)]
    assert inputs[0, :, 0].tolist() == expected
    assert not inputs[1].any()


def test_tiles_cover_a_record_and_end_with_it() -> None:
    records = [record(40.0, "a"), record(5.0, "b")]
    index = tile(records, 16.0, 8.0, CLOCK)
    own = index.start_step[index.record_index == 0]
    covered = np.zeros(500, dtype=bool)
    for start in own:
        covered[start : start + 200] = True
    assert covered.all()
    assert own.max() + 200 == 500
    assert index.start_step[index.record_index == 1].tolist() == [0]


def test_windows_without_a_sample_are_dropped() -> None:
    values = np.full(125 * 40, np.nan)
    values[125 * 20] = 1.0
    made = [record(40.0, x=signal(values, 125.0))]
    index = tile(made, 8.0, 8.0, CLOCK)
    kept = drop_empty(index, made, ["x"])
    assert kept.start_step.tolist() == [200]
    assert len(drop_empty(index, made, ["y"])) == 0


def test_a_sensor_silent_for_longer_than_a_window_is_absent_there() -> None:
    wave = np.zeros((1, 2000), dtype=np.float32)
    unit = Scale(np.zeros(1), np.ones(1))
    steady = PreparedSignal(wave, None, 125.0, ("II",), "mV", unit)
    nothing = np.zeros((1, 0), dtype=np.float32)
    cuff = PreparedSignal(nothing, np.zeros(0), 0.04, ("NIBP",), "mmHg", unit)
    own = PreparedRecord("r", "s", {"ecg": steady, "nibp": cuff}, None, float("nan"), 16.0)
    batch = collate([own], tile([own], 16.0, 16.0, 12.5), [0], ["ecg", "nibp"])
    assert not batch.mask["nibp"].any()
    assert batch.mask["ecg"].all()
