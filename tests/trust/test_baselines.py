"""Baselines where the right answer is known: filters, random walks, marginals."""

from __future__ import annotations

import numpy as np
import pytest

from latentphys.preparation.preprocessing import PreparedRecord, PreparedSignal, Scale
from latentphys.recordings.errors import FitError, RateError
from latentphys.trust.baselines import (
    Baseline,
    LastObservation,
    LinearInterpolation,
    MeanBaseline,
    RidgeBaseline,
)
from latentphys.trust.scores import correlation, coverage, score_normal

ALL = (MeanBaseline, RidgeBaseline, LinearInterpolation, LastObservation)
SECONDS, SLOW_HZ, FAST_HZ = 40.0, 25.0, 50.0


def _signal(
    values: np.ndarray,
    rate_hz: float,
    channels: tuple[str, ...] = ("a",),
    time_s: np.ndarray | None = None,
) -> PreparedSignal:
    values = np.atleast_2d(values).astype(np.float32)
    scale = Scale(np.zeros(len(values)), np.ones(len(values)))
    return PreparedSignal(values, time_s, rate_hz, channels, "1", scale)


def _record(name: str, **signals: PreparedSignal) -> PreparedRecord:
    return PreparedRecord(name, name, dict(signals), None, None, SECONDS)


def _smooth_noise(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.convolve(rng.normal(size=count + 8), np.ones(9) / 3.0, mode="valid")


def _filtered_record(index: int, *, hole: bool = True, gain: float = 1.0) -> PreparedRecord:
    """y at 50 Hz; x at 25 Hz is y 0.2 s earlier minus y 0.4 s later, with noise of SD 0.3."""
    rng = np.random.default_rng(index)
    fast = _smooth_noise(rng, int(SECONDS * FAST_HZ))
    pairs = fast.reshape(-1, 2)
    slow = np.stack([pairs[:, 0], pairs[:, 0]])
    target = gain * (np.roll(slow, 5, axis=-1) - np.roll(slow, -10, axis=-1))
    target = target * np.array([[1.0], [-1.0]]) + 0.3 * rng.normal(size=target.shape)
    if hole:
        target[0, 100:200] = np.nan
        fast[400:450] = np.nan
    return _record(
        f"s{index:02d}",
        drive=_signal(fast, FAST_HZ, ("y",)),
        goal=_signal(target, SLOW_HZ, ("up", "down")),
    )


@pytest.fixture(scope="module")
def train() -> list[PreparedRecord]:
    return [_filtered_record(i) for i in range(6)]


def _fitted(kind: type[Baseline], train: list[PreparedRecord]) -> Baseline:
    return kind().fit(train, "goal", ["drive"])


@pytest.mark.parametrize("kind", ALL)
def test_every_baseline_keeps_the_targets_channels_and_times(
    kind: type[Baseline], train: list[PreparedRecord]
) -> None:
    baseline, record = _fitted(kind, train), _filtered_record(50)
    mean, sd = baseline.predict(record)
    assert mean.shape == sd.shape == record.signals["goal"].values.shape
    assert np.isfinite(mean).all()
    assert (sd > 0).all()


@pytest.mark.parametrize("kind", ALL)
def test_every_baseline_answers_for_a_record_without_the_target(
    kind: type[Baseline], train: list[PreparedRecord]
) -> None:
    record = _filtered_record(50)
    absent = _record("s50", drive=record.signals["drive"])
    mean, sd = _fitted(kind, train).predict(absent)
    assert mean.shape == sd.shape == (1, int(SECONDS * SLOW_HZ))
    assert np.isfinite(mean).all()
    assert (sd > 0).all()


@pytest.mark.parametrize("kind", ALL)
def test_every_baseline_refuses_what_it_cannot_do(
    kind: type[Baseline], train: list[PreparedRecord]
) -> None:
    with pytest.raises(FitError, match=r"Call .*\.fit\(\.\.\.\) first"):
        kind().predict(train[0])
    with pytest.raises(FitError, match="'ppg' needs training records that carry it; got 6"):
        kind().fit(train, "ppg", ["drive"])


@pytest.mark.parametrize("kind", [MeanBaseline, RidgeBaseline])
def test_a_prediction_from_others_never_reads_the_target(
    kind: type[Baseline], train: list[PreparedRecord]
) -> None:
    baseline, record = _fitted(kind, train), _filtered_record(50)
    other = np.full_like(record.signals["goal"].values, 7.0)
    changed = _record(
        "s50",
        drive=record.signals["drive"],
        goal=_signal(other, SLOW_HZ, record.signals["goal"].channels),
    )
    for one, two in zip(baseline.predict(record), baseline.predict(changed), strict=True):
        assert np.array_equal(one, two)


def test_mean_is_the_marginal_of_each_channel() -> None:
    rng = np.random.default_rng(0)
    values = rng.exponential(size=(2, 1000)) * np.array([[1.0], [5.0]])
    values[0, :300] = np.nan
    baseline = MeanBaseline()
    baseline.fit([_record("s", goal=_signal(values, SLOW_HZ, ("a", "b")))], "goal")
    swapped = _record("t", goal=_signal(values, SLOW_HZ, ("b", "never seen")))
    mean, sd = baseline.predict(swapped)
    assert mean[0] == pytest.approx(values[1].mean(), rel=1e-5)
    assert sd[0] == pytest.approx(values[1].std(), rel=1e-5)
    assert mean[1] == pytest.approx(np.nanmean(values), rel=1e-5)


def test_ridge_finds_the_filter_and_the_noise() -> None:
    train = [_filtered_record(i, hole=False) for i in range(6)]
    record = _filtered_record(60, hole=False)
    mean, sd = _fitted(RidgeBaseline, train).predict(record)
    truth = record.signals["goal"].values[:, 20:-20]
    signal_sd = truth.std()
    scores = score_normal(truth, mean[:, 20:-20], sd[:, 20:-20])
    assert scores["nrmse"] < 1.35 * 0.3 / signal_sd
    assert sd[:, 0] == pytest.approx(0.35, abs=0.07)
    assert scores["coverage"] == pytest.approx(0.9, abs=0.05)
    assert (correlation(truth, mean[:, 20:-20]) > 0.9).all()


def test_ridges_sd_is_that_of_a_new_person() -> None:
    gains = np.linspace(0.2, 2.0, 8)
    records = [_filtered_record(i, gain=g, hole=False) for i, g in enumerate(gains)]
    one_gain = [_filtered_record(i, hole=False) for i in range(8)]
    _, varied = _fitted(RidgeBaseline, records).predict(records[0])
    _, equal = _fitted(RidgeBaseline, one_gain).predict(records[0])
    assert varied.mean() > 1.5 * equal.mean()


def test_ridge_without_the_given_sensor_falls_back_to_its_intercept(
    train: list[PreparedRecord],
) -> None:
    baseline = _fitted(RidgeBaseline, train)
    goal = _filtered_record(50).signals["goal"]
    mean, _ = baseline.predict(_record("s50", goal=goal))
    assert np.ptp(mean, axis=-1) == pytest.approx([0, 0], abs=1e-9)
    assert np.abs(mean).max() < 0.2


def test_ridge_refuses_itself_as_given_and_irregular_times(train: list[PreparedRecord]) -> None:
    with pytest.raises(FitError, match="the target not among them"):
        RidgeBaseline().fit(train, "goal", ["goal"])
    times = np.array([0.0, 1.0, 5.0])
    lab = _record("s", goal=_signal(np.ones(3), 1.0, time_s=times), drive=_signal(np.ones(9), 1.0))
    with pytest.raises(RateError, match="Use LinearInterpolation or LastObservation"):
        RidgeBaseline().fit([lab], "goal", ["drive"])


def _walk(index: int, step_sd: float = 0.5) -> PreparedRecord:
    rng = np.random.default_rng(1000 + index)
    walk = np.cumsum(step_sd * rng.normal(size=4000))
    return _record(f"w{index}", goal=_signal(walk, 1.0))


def _with_gaps(record: PreparedRecord) -> tuple[PreparedRecord, np.ndarray]:
    """The record with gaps of nine samples, and where they are."""
    hidden = np.arange(4000) % 20 >= 11
    values = np.where(hidden, np.nan, record.signals["goal"].values)
    return _record(record.record, goal=_signal(values, 1.0)), hidden


@pytest.mark.parametrize("kind", [LinearInterpolation, LastObservation])
def test_gap_baselines_know_the_spread_of_a_random_walk(kind: type[Baseline]) -> None:
    baseline = kind().fit([_walk(i) for i in range(8)], "goal")
    record, hidden = _with_gaps(_walk(20))
    mean, sd = baseline.predict(record)
    a = np.arange(4000) % 20 - 10.0
    # The variance of a Brownian bridge, and of a walk going on from its last point.
    variance = a * (10 - a) / 10 if kind is LinearInterpolation else a
    inner = hidden & (np.arange(4000) < 3980)
    assert sd[0, inner] == pytest.approx(0.5 * np.sqrt(variance[inner]), rel=0.1)
    truth = np.where(hidden, _walk(20).signals["goal"].values, np.nan)
    assert coverage(truth, mean - 1.645 * sd, mean + 1.645 * sd) == pytest.approx(0.9, abs=0.04)
    seen = ~hidden
    np.testing.assert_array_equal(mean[0, seen], record.signals["goal"].values[0, seen])


def test_lines_and_last_values() -> None:
    times = np.array([0.0, 1.0, 3.0, 4.0, 8.0, 9.0])
    values = np.array([np.nan, 2.0, np.nan, 8.0, np.nan, np.nan])
    record = _record("s", goal=_signal(values, np.nan, time_s=times))
    train = [_walk(i) for i in range(3)]
    line, _ = LinearInterpolation().fit(train, "goal").predict(record)
    assert line[0] == pytest.approx([2, 2, 6, 8, 8, 8])
    last, sd = LastObservation().fit(train, "goal").predict(record)
    assert last[0, 1:] == pytest.approx([2, 2, 8, 8, 8])
    assert sd[0, 0] > sd[0, 2]  # before the first observation only the marginal is left
    assert sd[0, 5] > sd[0, 4] > sd[0, 3]
