"""Breathing rates against known tones and against breaths marked by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latentphys.trust.breathing import annotated_rate, breathing_rate

WINDOW_S = 32.0


def _tone(rate_per_min: float, rate_hz: float = 125.0, seconds: float = WINDOW_S) -> np.ndarray:
    time = np.arange(0, seconds, 1 / rate_hz)
    phase = 2 * np.pi * rate_per_min / 60 * time
    return np.sin(phase) + 0.3 * np.sin(2 * phase + 1.0)


@pytest.mark.parametrize("rate", [7.0, 12.0, 18.5, 25.0, 36.0])
@pytest.mark.parametrize("rate_hz", [5.0, 25.0, 62.5, 125.0, 360.0])
def test_a_tone_gives_its_rate(rate: float, rate_hz: float) -> None:
    assert breathing_rate(_tone(rate, rate_hz), rate_hz) == pytest.approx(rate, rel=0.04)


def test_gain_offset_sign_drift_and_noise_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    clean = _tone(15.0)
    drift = np.linspace(0, 5, len(clean))
    dirty = -40.0 * (clean + drift + 0.5 * rng.normal(size=len(clean))) + 300.0
    assert breathing_rate(dirty, 125.0) == pytest.approx(15.0, abs=0.5)


def test_gaps_are_bridged_and_an_empty_window_has_no_answer() -> None:
    signal = np.stack([_tone(15.0)] * 3)
    signal[0, 600:760] = np.nan
    signal[1, : len(signal[1]) * 6 // 10] = np.nan
    signal[2] = np.nan
    rate = breathing_rate(signal, 125.0)
    assert rate[0] == pytest.approx(15.0, abs=0.7)
    assert np.isnan(rate[1:]).all()
    assert np.isnan(breathing_rate(np.full(4000, 0.3), 125.0))


def test_too_few_samples_have_no_rate() -> None:
    for length in (0, 1, 19):
        assert np.isnan(breathing_rate(np.zeros(length), 125.0))
    assert breathing_rate(np.zeros((3, 0, 400)), 125.0).shape == (3, 0)


def test_many_draws_of_many_windows_at_once() -> None:
    rates = np.random.default_rng(1).uniform(8, 30, size=(20, 7))
    signal = np.array([[_tone(rate, 25.0) for rate in row] for row in rates])
    together = breathing_rate(signal, 25.0)
    assert together.shape == (20, 7)
    assert together[3, 4] == breathing_rate(signal[3, 4], 25.0)
    np.testing.assert_allclose(together, rates, rtol=0.06)


def test_annotated_rate_counts_intervals_inside_the_window() -> None:
    times = [10.0, 0.0, 4.0, 7.0, 99.0]
    assert annotated_rate(times, 0.0, 32.0) == pytest.approx(60 * 3 / 10)
    assert annotated_rate(times, 3.0, 8.0) == pytest.approx(60 / 3)
    assert np.isnan(annotated_rate(times, 50.0, 120.0))
    assert np.isnan(annotated_rate([], 0.0, 32.0))


def test_too_slow_a_rate_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 2 samples a second; got rate_hz = 1\."):
        breathing_rate(np.zeros(32), 1.0)


def _marked_windows(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """(window, time) of BIDMC's respiration, and the rate on which both annotators agree."""
    from latentphys.recordings.reading import read

    signals, marked = [], []
    for record in read(folder):
        resp = record.signals["resp"]
        breaths = [record.annotations[f"breath_{i}"]["time"].values for i in (1, 2)]
        for start in np.arange(0.0, record.duration_s - WINDOW_S, WINDOW_S):
            first, second = (annotated_rate(b, start, start + WINDOW_S) for b in breaths)
            if abs(first - second) < 2.0:
                signals.append(resp.values[0, int(start * 125) : int((start + WINDOW_S) * 125)])
                marked.append((first + second) / 2)
    return np.array(signals), np.array(marked)


def test_bidmc_agrees_with_the_annotators(data_root: Path) -> None:
    signals, marked = _marked_windows(data_root / "bidmc")
    assert len(marked) > 400
    error = np.abs(breathing_rate(signals, 125.0) - marked)
    assert np.median(error) < 0.2
    assert np.mean(error) < 0.4
    # Amplifiers that clip hide every breath's peak; preparation then takes it out.
    top, bottom = signals.max(-1, keepdims=True), signals.min(-1, keepdims=True)
    clipped = np.where((signals == top) | (signals == bottom), np.nan, signals)
    error = np.abs(breathing_rate(clipped, 125.0) - marked)
    assert np.nanmedian(error) < 0.3
