"""Signal quality: each planted fault is flagged in its window and channel, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import ArgumentError, RateError
from latentphys.recordings.reading import read
from latentphys.recordings.record import Record
from latentphys.recordings.signal_quality import QualityRules, quality
from latentphys.recordings.simulation import simulate

RATE = 100.0


def eeg(seconds: int = 50) -> np.ndarray:
    return 20 * np.random.default_rng(0).standard_normal(int(seconds * RATE))


def record_of(x: np.ndarray) -> Record:
    return Record.from_arrays({"eeg": (x, RATE)}, subject="a", units={"eeg": "uV"})


def flagged(x: np.ndarray, name: str) -> list[float]:
    found = quality(record_of(x))
    assert found.poor.values[0].tolist() == (found[name].values[0] > 0.1).tolist()
    return found[name].values[0].round(3).tolist()


def test_good_samples_are_not_poor() -> None:
    found = quality(record_of(eeg()))
    assert not found.poor.any()
    for name in ("missing", "flat", "clipped", "out_of_range"):
        assert (found[name].values == 0.0).all(), name


def test_missing_flat_clipped_and_impossible_samples_are_counted() -> None:
    x = eeg()
    x[1000:1500] = np.nan
    assert flagged(x, "missing") == [0.0, 0.5, 0.0, 0.0, 0.0]
    x = eeg()
    x[2000:2300] = x[2000]
    assert flagged(x, "flat") == [0.0, 0.0, 0.3, 0.0, 0.0]
    x = eeg()
    x[3000:4000] = np.where(np.arange(1000) % 10 < 4, 100.0, x[3000:4000])
    assert flagged(np.clip(x, -100, 100), "clipped") == [0.0, 0.0, 0.0, 0.4, 0.0]
    x = eeg()
    x[4000:4200] = np.linspace(1001, 5000, 200)
    assert flagged(x, "out_of_range") == [0.0, 0.0, 0.0, 0.0, 0.2]


def test_shares_are_of_what_was_observed() -> None:
    x = eeg(10)
    x[:500] = np.nan
    x[500:700] = 3000.0
    found = quality(record_of(x))
    assert found.missing.item() == 0.5
    assert found.out_of_range.item() == pytest.approx(0.4)
    assert found.flat.item() == pytest.approx(0.4)


def test_limits_hold_in_their_own_units_alone() -> None:
    x = np.full(30, 500.0)
    for units, share in (("1/min", 1.0), ("", 0.0)):
        record = Record.from_arrays({"hr": (x, 1.0)}, subject="a", units={"hr": units})
        assert quality(record).out_of_range.values[0].tolist() == [share] * 3


def test_channels_of_one_modality_are_judged_in_their_own_units() -> None:
    x = np.stack([np.full(1000, 50.0), np.full(1000, 50.0)]) + eeg(10) / 100
    record = Record.from_arrays({"ecg": (x, RATE)}, subject="a", units={"ecg": "mV"})
    signal = record.signals["ecg"].assign_coords(channel_units=("channel", ["mV", "NU"]))
    mixed = Record({"ecg": signal}, "a", "a")
    assert quality(mixed).out_of_range.values.ravel().tolist() == [1.0, 0.0]


def test_numbers_on_a_display_may_rest() -> None:
    record = Record.from_arrays(
        {"spo2": (np.full(60, 97.0), 1.0)}, subject="a", units={"spo2": "%"}
    )
    assert not quality(record).poor.any()


def test_a_signal_that_ends_early_is_missing_from_then_on() -> None:
    record = Record.from_arrays({"eeg": (eeg(50), RATE), "emg": (eeg(25), RATE)}, subject="a")
    found = quality(record)
    assert found.sizes == {"channel": 2, "window": 5}
    assert found.channel.values.tolist() == ["eeg/eeg", "emg/emg"]
    # What is not due is not missing: the file of that sensor ends there.
    assert found.missing.sel(channel="emg/emg").values.tolist()[:3] == [0.0, 0.0, 0.0]
    short = quality(Record.from_arrays({"eeg": (eeg(47), RATE)}, subject="a"))
    assert short.missing.values[0].tolist() == [0.0] * 5


def test_moments_are_scipys_and_holes_do_not_matter() -> None:
    x = np.random.default_rng(1).gamma(2.0, size=1000)
    x[10:60] = np.nan
    found = quality(record_of(x))
    seen = x[np.isfinite(x)]
    assert found.kurtosis.item() == pytest.approx(stats.kurtosis(seen, fisher=False))
    assert found.skewness.item() == pytest.approx(stats.skew(seen))


def test_a_clean_ecg_is_good_and_noise_on_it_is_not() -> None:
    record = simulate(1, minutes=1, seed=0, absent=0.0, nuisance=0.0)[0].keep("ecg")
    clean = quality(record)
    assert not clean.poor.any()
    assert (clean.kurtosis.sel(channel="ecg/II") > 5).all()
    noise = np.random.default_rng(0).standard_normal(record.signals["ecg"].shape)
    noisy = record.signals["ecg"] + 2.0 * noise
    noisy.attrs = record.signals["ecg"].attrs
    bad = quality(Record({"ecg": noisy}, "a", "a"))
    assert bad.poor.all()
    assert (bad.spectral_ratio < clean.spectral_ratio).all()


def test_a_tone_is_in_the_band_it_is_in() -> None:
    time = np.arange(1000) / RATE
    for hertz, least, most in ((10.0, 0.95, 1.0), (30.0, 0.0, 0.05)):
        x = np.sin(2 * np.pi * hertz * time)
        found = quality(Record.from_arrays({"ecg": (x, RATE)}, subject="a"))
        assert least <= found.spectral_ratio.item() <= most


def test_rules_and_windows_are_the_users() -> None:
    x = eeg()
    x[1000:1200] = np.nan
    record = record_of(x)
    assert quality(record).poor.sum() == 1
    assert quality(record, rules=QualityRules(most=0.3)).poor.sum() == 0
    assert quality(record, window_s=1.0).poor.sum() == 2
    assert quality(record, window_s=7.0).sizes["window"] == 8
    with pytest.raises(RateError, match="more than 0 s, got window_s=0"):
        quality(record, window_s=0)
    with pytest.raises(ArgumentError, match=r"of one record, got Cohort. .* quality\(cohort\[0\]"):
        quality(Cohort([record]))  # type: ignore[arg-type]


def test_irregular_samples_are_judged_too() -> None:
    times = np.array([0.0, 3.0, 11.0, 12.0])
    record = Record.from_arrays({"lab": (np.array([1.0, np.nan, 2.0, 3.0]), times)}, subject="a")
    found = quality(record)
    assert found.missing.values[0].tolist() == [0.5, 0.0]


def test_real_recordings_are_mostly_good(data_root: Path) -> None:
    for record in read(data_root / "bidmc")[:3]:
        found = quality(record)
        share = found.poor.groupby("modality").mean(...)
        assert float(share.sel(modality="ppg")) < 0.3
        assert float(found.missing.sel(channel="resp/RESP").max()) < 0.01


def test_a_respiration_at_its_rails_is_found(data_root: Path) -> None:
    record = read(data_root / "bidmc" / "bidmc17")[0].keep("resp")
    x = record.signals["resp"].values[0]
    rails = float(((x == np.nanmin(x)) | (x == np.nanmax(x))).mean())
    found = quality(record)
    assert float(found.clipped.mean()) == pytest.approx(rails, abs=0.02)
    assert rails > 0.5
    assert float(found.poor.mean()) > 0.9
