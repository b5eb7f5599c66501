"""Log band powers: tones and noise of known power, holes, and how far a sample reaches."""

from __future__ import annotations

import numpy as np
import pytest

from latentphys.preparation.spectrogram import (
    log_band_power,
    mel_edges,
    reach_frames,
    with_spectrogram,
)
from latentphys.recordings.errors import FitError
from latentphys.recordings.record import Record

RATE, CLOCK, WINDOW, EDGES = 1000.0, 12.5, 0.2, [20.0, 60.0, 120.0, 500.0]


def _power(x: np.ndarray) -> np.ndarray:
    return log_band_power(x, RATE, CLOCK, EDGES, WINDOW)


def test_a_tone_has_half_its_squared_amplitude_in_its_own_band() -> None:
    time = np.arange(4000) / RATE
    powers = _power(3.0 * np.sin(2 * np.pi * 90.0 * time)[None])[0, :, 2:-2]
    np.testing.assert_allclose(powers[1], 10 * np.log10(4.5), atol=0.05)
    assert (powers[[0, 2]] < powers[1] - 20).all()


def test_white_noise_has_its_share_of_the_variance_with_and_without_holes() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 200_000))
    holed = np.where(rng.random(x.shape) < 0.3, np.nan, x)
    for signal in (x, holed):
        linear = 10 ** (_power(signal) / 10)
        share = np.nanmean(linear[0], axis=1)
        np.testing.assert_allclose(share[:2], np.diff(EDGES)[:2] / 500.0, rtol=0.05)


def test_a_frame_is_observed_when_enough_of_it_is() -> None:
    x = np.random.default_rng(0).standard_normal((2, 4000))
    x[0, 1000:2000] = np.nan
    powers = _power(x)
    assert powers.shape == (2, 3, 50)
    assert np.isfinite(powers[1]).all()
    assert np.isnan(powers[0, :, 13:24]).all()
    assert np.isfinite(powers[0, :, :12]).all()
    assert np.isfinite(powers[0, :, 26:]).all()


@pytest.mark.parametrize("window_s", [0.04, 0.08, 0.2, 0.5])
def test_frames_share_samples_as_far_as_said_and_no_further(window_s: float) -> None:
    x = np.random.default_rng(0).standard_normal((1, 4000))
    before = log_band_power(x, RATE, CLOCK, [100.0, 500.0], window_s)
    moved, half, centre = x.copy(), window_s * RATE / 2, 20.5 / CLOCK * RATE
    at = slice(round(centre - half), round(centre + half))
    moved[0, at] += 5.0 * np.random.default_rng(1).standard_normal(at.stop - at.start)
    after = log_band_power(moved, RATE, CLOCK, [100.0, 500.0], window_s)
    touched = np.flatnonzero((before != after)[0, 0])
    reach = reach_frames(window_s, CLOCK)
    assert touched.min() == 20 - reach
    assert touched.max() == 20 + reach


def test_silence_is_finite_and_bands_that_cannot_be_are_refused() -> None:
    assert np.isfinite(_power(np.zeros((1, 2000)))).all()
    for edges in ([21.0, 22.0], [60.0, 20.0], [100.0, 600.0]):
        with pytest.raises(FitError, match=r"bands must ascend .*longer window_s"):
            log_band_power(np.zeros((1, 2000)), RATE, CLOCK, edges, WINDOW)


def test_mel_bands_are_even_on_the_mel_scale() -> None:
    edges = mel_edges(25.0, 400.0, 6)
    np.testing.assert_allclose(edges[[0, -1]], [25.0, 400.0])
    np.testing.assert_allclose(np.diff(np.log(1 + edges / 700.0), 2), 0.0, atol=1e-12)


def test_a_record_carries_the_bands_as_channels() -> None:
    x = np.random.default_rng(0).standard_normal((1, 4000))
    record = Record.from_arrays({"pcg": (x, RATE), "ecg": (x[:, ::4], 250.0)}, subject="s01")
    made = with_spectrogram(record, "pcg", EDGES, CLOCK, WINDOW)
    assert list(made.signals["pcg"].channel.values) == [
        "pcg 20-60 Hz",
        "pcg 60-120 Hz",
        "pcg 120-500 Hz",
    ]
    assert made.signals["pcg"].attrs["units"] == "dB"
    np.testing.assert_array_equal(made.signals["ecg"].values, record.signals["ecg"].values)
    np.testing.assert_allclose(made.signals["pcg"].values, _power(x)[0])
