"""The simulator against what it says it simulates, measured from its sensors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import find_peaks, periodogram

from latentphys.recordings.errors import CohortError, RateError
from latentphys.recordings.record import Record
from latentphys.recordings.simulation import simulate
from latentphys.recordings.simulator import physiology, sensors
from latentphys.recordings.simulator.physiology import (
    DRIVE_LAG_S,
    Physiology,
    Subject,
    lagged,
    simulate_physiology,
)

PERSON = Subject(
    heart_rate=70.0,
    breathing_rate=15.0,
    sinus_arrhythmia_s=0.04,
    baroreflex_s=0.006,
    drive_gain=20.0,
    transit_s=0.25,
)


@pytest.fixture(scope="module")
def clean() -> list[Record]:
    return list(
        simulate(3, 2.0, seed=5, absent=0.0, nuisance=0.0, ecg_rate_hz=500, ppg_rate_hz=500)
    )


def r_peaks(record: Record) -> np.ndarray:
    x = record.signals["ecg"].values[0]
    peaks, _ = find_peaks(x, height=0.6 * np.quantile(x, 0.999), distance=150)
    return peaks / 500.0


def run(person: Subject, seconds: float = 300.0, seed: int = 0) -> Physiology:
    return simulate_physiology(person, seconds, np.random.default_rng(seed))


def at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(physiology, "_drive", lambda rng, time, seconds: np.zeros(len(time)))


def test_r_peaks_give_the_true_heart_rate(clean: list[Record]) -> None:
    for record in clean:
        assert record.truth is not None
        peaks = r_peaks(record)
        beats = record.annotations["beat"].time.values
        assert abs(len(peaks) - len(beats)) <= 1
        middle = (peaks[1:] + peaks[:-1]) / 2
        truth = np.interp(middle, record.truth.time, record.truth.heart_rate)
        error = np.abs(60.0 / np.diff(peaks) - truth)
        assert np.median(error) < 1.0
        assert np.quantile(error, 0.95) < 4.0
        nearest = np.abs(peaks[:, None] - beats).min(1)
        assert np.quantile(nearest, 0.95) < 0.02


@pytest.mark.parametrize("transit_s", [0.2, 0.3])
def test_the_pulse_starts_one_transit_time_after_r(transit_s: float) -> None:
    state = run(replace(PERSON, transit_s=transit_s), seconds=120.0)
    shape = sensors.Morphology(heights=np.ones(5), dicrotic=0.3, pulse_width=0.6)
    time = np.arange(0.0, 120.0, 1 / 500.0)
    x = sensors.ecg(state, shape, "II", time)
    peaks = time[find_peaks(x, height=0.6 * x.max(), distance=150)[0]]
    # The foot of a pulse is where it bends up most: the peak of the second derivative.
    bend = np.gradient(np.gradient(sensors.ppg(state, shape, time), time), time)
    foot = time[find_peaks(bend, height=0.3 * bend.max(), distance=200)[0]]
    peaks = peaks[peaks < 118.0]
    late = np.array([foot[foot > r][0] - r for r in peaks])
    error = late - state.at(state.transit, peaks)
    assert np.quantile(np.abs(error), 0.95) < 0.02


def test_heart_rate_swings_with_breathing(monkeypatch: pytest.MonkeyPatch) -> None:
    at_rest(monkeypatch)
    state = run(PERSON)
    time = np.arange(0.0, 300.0, 0.25)
    rate = state.heart_rate(time)
    frequency, power = periodogram(rate - rate.mean(), fs=4.0, window="hann")
    band = (frequency > 0.12) & (frequency < 0.5)
    peak = 60.0 * frequency[band][power[band].argmax()]
    assert peak == pytest.approx(state.breathing_rate.mean(), abs=2.0)
    still = run(replace(PERSON, sinus_arrhythmia_s=0.0)).heart_rate(time)
    _, quiet = periodogram(still - still.mean(), fs=4.0, window="hann")
    assert power[band].sum() > 5 * quiet[band].sum()


def test_inspiration_raises_heart_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    at_rest(monkeypatch)
    state = run(replace(PERSON, sinus_arrhythmia_s=0.06))
    phase = np.interp(state.beat_time[:-1], state.time, state.breath_phase)
    breathing_in = np.sin(phase - 2 * np.pi * 0.3 * 15 / 60) > 0
    period = np.diff(state.beat_time)
    assert period[breathing_in].mean() < period[~breathing_in].mean() - 0.02


def test_the_drive_raises_heart_rate_after_a_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(rng: np.random.Generator, time: np.ndarray, seconds: float) -> np.ndarray:
        return np.where(time >= 150.0, 1.0, 0.0)

    monkeypatch.setattr(physiology, "_drive", step)
    states = [run(PERSON, seed=seed) for seed in range(6)]

    def rate(start_s: float, stop_s: float) -> float:
        time = np.arange(start_s, stop_s, 0.5)
        return float(np.mean([state.heart_rate(time).mean() for state in states]))

    rest, soon, late = rate(60.0, 150.0), rate(150.0, 152.0), rate(200.0, 300.0)
    assert 8.0 < late - rest < 21.0
    assert soon - rest < 0.4 * (late - rest)
    midway = rate(150.0 + DRIVE_LAG_S, 154.0 + DRIVE_LAG_S)
    assert 0.4 < (midway - rest) / (late - rest) < 0.95


def test_a_lag_is_first_order() -> None:
    y = lagged(np.ones(1000), 25.0, 8.0)
    assert y[8 * 25 - 1] == pytest.approx(1 - np.exp(-1), abs=1e-6)


@pytest.mark.parametrize("gain", [0.0, 0.004, 0.008])
def test_a_rise_of_pressure_lengthens_the_next_period(
    monkeypatch: pytest.MonkeyPatch, gain: float
) -> None:
    at_rest(monkeypatch)
    slopes = []
    for seed in range(4):
        state = run(replace(PERSON, sinus_arrhythmia_s=0.0, baroreflex_s=gain), seed=seed)
        period = np.diff(state.beat_time)
        # Against the slow drift, which pressure follows too: beat-to-beat changes.
        x, y = np.diff(state.systolic[:-1]), np.diff(period)
        slopes.append(np.polyfit(x, y, 1)[0])
    assert np.mean(slopes) == pytest.approx(gain, abs=0.0015)


def test_pressure_shortens_transit(monkeypatch: pytest.MonkeyPatch) -> None:
    at_rest(monkeypatch)
    state = run(PERSON)
    slope = np.polyfit(np.diff(state.systolic), np.diff(state.transit), 1)[0]
    assert slope == pytest.approx(PERSON.transit_per_mmhg, rel=0.15)


def same(a: Record, b: Record) -> bool:
    return a.modalities == b.modalities and all(
        a.signals[name].identical(b.signals[name]) for name in a.modalities
    )


def test_a_seed_gives_the_same_subjects_however_many() -> None:
    three, two, other = (simulate(k, 0.3, seed=s) for k, s in ((3, 1), (2, 1), (2, 2)))
    assert all(same(a, b) for a, b in zip(two, three, strict=False))
    assert not same(two[0], other[0])
    assert not same(three[0], three[1])
    assert two[1].truth is not None
    assert two[1].truth.identical(three[1].truth)


@pytest.mark.parametrize("absent", [0.0, 0.3])
def test_sensors_are_absent_as_often_as_asked(absent: float) -> None:
    cohort = simulate(80, 0.1, seed=0, absent=absent)
    missing = 1 - np.mean([len(record.modalities) for record in cohort]) / 4
    # Binomial of 320 sensors: four standard deviations are 0.1.
    assert missing == pytest.approx(absent, abs=0.1 if absent else 1e-12)


def test_one_sensor_always_remains() -> None:
    cohort = simulate(40, 0.05, seed=0, absent=0.97)
    assert all(record.modalities for record in cohort)
    assert min(len(record.modalities) for record in cohort) == 1


def test_rates_units_and_whole_percents() -> None:
    record = simulate(1, 1.0, absent=0.0, ecg_rate_hz=360, ppg_rate_hz=64.0, resp_rate_hz=25.0)[0]
    assert [record.rate_hz(name) for name in ("ecg", "ppg", "resp", "spo2")] == [360, 64, 25, 1]
    assert [record.signals[name].sizes["time"] for name in record.modalities] == [
        *[360 * 60, 64 * 60, 25 * 60, 60]
    ]
    spo2 = record.signals["spo2"].values
    np.testing.assert_array_equal(spo2, np.rint(spo2))
    assert 70 <= spo2.min() <= spo2.max() <= 100
    assert record.signals["ecg"].attrs["units"] == "mV"
    assert record.attrs["synthetic"]
    assert record.inputs is not None
    assert float(record.inputs.max()) <= 1.0


def test_clean_sensors_have_no_holes_and_worn_ones_differ() -> None:
    clean, worn = (simulate(1, 1.0, absent=0.0, nuisance=n)[0] for n in (0.0, 3.0))
    assert all(np.isfinite(s.values).all() for s in clean.signals.values())
    assert not np.allclose(clean.signals["ppg"], worn.signals["ppg"], equal_nan=True)
    assert clean.truth is not None
    assert clean.truth.identical(worn.truth)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"subjects": 0}, CohortError, "whole number from 1 up, got 0"),
        ({"subjects": 1.5}, CohortError, "whole number from 1 up, got 1.5"),
        ({"minutes": 0}, CohortError, "minutes must be positive, got 0"),
        ({"minutes": float("inf")}, CohortError, "minutes must be positive, got inf"),
        ({"minutes": 0.001}, CohortError, "'spo2' at 1 Hz, minutes is 0.0167 or more, got 0.001"),
        ({"minutes": 0.1, "ppg_rate_hz": 0.1}, CohortError, "'ppg' at 0.1 Hz, minutes is 0.167"),
        ({"absent": 1.0}, CohortError, r"probability in \[0, 1\), got 1.0"),
        ({"nuisance": -1.0}, CohortError, "nuisance is 0 .clean. or more, got -1.0"),
        ({"ppg_rate_hz": 0.0}, RateError, "'ppg' is a positive number"),
        ({"ecg_rate_hz": float("nan")}, RateError, "'ecg' is a positive number"),
    ],
)
def test_arguments_that_cannot_be_are_refused(
    changes: dict[str, float], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        simulate(**{"subjects": 1, "minutes": 0.1, **changes})  # type: ignore[arg-type]


def test_the_least_length_is_simulated() -> None:
    assert simulate(1, 1 / 60, absent=0.0)[0].signals["spo2"].sizes["time"] == 1
