"""Heart sounds: what the simulator says of systole, found again in the sound and the pulse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import butter, find_peaks, sosfiltfilt

from latentphys.recordings.errors import RateError
from latentphys.recordings.record import Record
from latentphys.recordings.simulation import simulate
from latentphys.recordings.simulator.cardiac_cycle import (
    Heart,
    Systole,
    simulate_systole,
    with_pulse_after_ejection,
)
from latentphys.recordings.simulator.physiology import Physiology, Subject, simulate_physiology
from latentphys.recordings.simulator.sounds import Chest, pcg

HZ = 1000.0
HEART = Heart(sex="M", pre_ejection_s=0.0, ejection_s=0.0, isovolumic=0.4)


@pytest.fixture(scope="module")
def clean() -> list[Record]:
    return list(simulate(3, 2.0, seed=5, absent=0.0, nuisance=0.0, pcg_rate_hz=HZ))


@pytest.fixture(scope="module")
def states() -> list[Physiology]:
    rng = np.random.default_rng(0)
    return [simulate_physiology(Subject.draw(rng), 120.0, rng) for _ in range(30)]


def envelope(x: np.ndarray) -> np.ndarray:
    low = butter(2, 25.0, "lowpass", fs=HZ, output="sos")
    return np.sqrt(np.clip(sosfiltfilt(low, x**2), 0.0, None))


def heard_after(peaks: np.ndarray, times: np.ndarray) -> np.ndarray:
    """From each time to the first peak after it, NaN beyond 80 ms."""
    late = np.array([(peaks[peaks > t] - t).min(initial=np.inf) for t in times])
    return np.where(late < 0.08, late, np.nan)


def events(record: Record, name: str) -> np.ndarray:
    times = record.annotations[name].time.values
    return times[(times > 1.0) & (times < 118.0)]


def test_both_sounds_are_heard_at_their_true_times(clean: list[Record]) -> None:
    for record in clean:
        loud = envelope(record.signals["pcg"].values[0].astype(float))
        peaks = find_peaks(loud, height=0.25 * np.quantile(loud, 0.99), distance=120)[0] / HZ
        for name in ("s1", "s2"):
            late = heard_after(peaks, events(record, name))
            assert np.isnan(late).mean() < 0.02
            # The envelope's peak trails the closing by the ringing: the same in every beat.
            assert np.nanquantile(np.abs(late - np.nanmedian(late)), 0.95) < 0.015
        beats = len(events(record, "beat"))
        assert abs(len(events(record, "s1")) - beats) <= 1
        assert len(peaks) < 2.2 * (beats + 4)


def test_the_systolic_interval_can_be_measured_from_the_sound(clean: list[Record]) -> None:
    for record in clean:
        assert record.truth is not None
        loud = envelope(record.signals["pcg"].values[0].astype(float))
        peaks = find_peaks(loud, height=0.25 * np.quantile(loud, 0.99), distance=120)[0] / HZ
        first = events(record, "s1")[:-1]
        second = np.array([t[t > s].min() for s in first for t in [record.annotations["s2"].time]])
        measured = second + heard_after(peaks, second) - first - heard_after(peaks, first)
        beat = np.array([t[t < s].max() for s in second for t in [record.annotations["beat"].time]])
        truth = np.interp(beat, record.truth.time, record.truth.systolic_interval)
        seen = np.isfinite(measured)
        assert np.corrcoef(measured[seen], truth[seen])[0, 1] > 0.8
        assert np.median(measured[seen] - truth[seen]) == pytest.approx(0.0, abs=0.02)


def systoles(states: list[Physiology], heart: Heart = HEART) -> list[Systole]:
    return [simulate_systole(heart, s, np.random.default_rng(k)) for k, s in enumerate(states)]


def test_the_intervals_follow_weisslers_regressions(states: list[Physiology]) -> None:
    figures = [
        (60.0 / np.diff(state.beat_time).mean(), s.pre_ejection.mean(), s.ejection.mean())
        for state, s in zip(states, systoles(states), strict=True)
    ]
    rate, pre_ejection, ejection = np.array(figures).T
    assert np.polyfit(rate, ejection, 1)[0] == pytest.approx(-0.0017, abs=0.0004)
    assert np.mean(ejection + 0.0017 * rate) == pytest.approx(0.413, abs=0.012)
    assert np.mean(pre_ejection + 0.0004 * rate) == pytest.approx(0.131, abs=0.015)
    # Lewis et al. (1977): the quotient is near 0.345, and higher in a failing heart.
    assert np.mean(pre_ejection / ejection) == pytest.approx(0.345, abs=0.06)


def test_no_interval_is_a_function_of_heart_rate(states: list[Physiology]) -> None:
    for state, systole in zip(states, systoles(states), strict=True):
        rate = 60.0 / np.diff(state.beat_time)
        for values in (systole.pre_ejection, systole.ejection, systole.interval):
            rest = values[1:] - np.polyval(np.polyfit(rate, values[1:], 1), rate)
            assert 0.003 < rest.std() < 0.02


def test_a_harder_contraction_opens_the_valve_sooner(states: list[Physiology]) -> None:
    pooled = systoles(states)
    strength = np.concatenate([s.contractility for s in pooled])
    pre_ejection = np.concatenate([s.pre_ejection for s in pooled])
    filling = np.concatenate([s.filling for s in pooled])
    ejection = np.concatenate([s.ejection for s in pooled])
    assert np.corrcoef(strength, pre_ejection)[0, 1] < -0.5
    assert np.corrcoef(filling, ejection)[0, 1] > 0.2


def test_the_pulse_comes_later_by_what_the_valve_opens_later(states: list[Physiology]) -> None:
    state = states[0]
    systole = simulate_systole(HEART, state, np.random.default_rng(0))
    delayed = with_pulse_after_ejection(state, systole)
    change = systole.pre_ejection - systole.pre_ejection.mean()
    np.testing.assert_allclose(delayed.transit - state.transit, change, atol=1e-12)
    np.testing.assert_array_equal(delayed.beat_time, state.beat_time)
    vascular = delayed.transit - systole.pre_ejection
    np.testing.assert_allclose(vascular, state.transit - systole.pre_ejection.mean())


def test_breathing_in_splits_the_second_sound(states: list[Physiology]) -> None:
    state = states[0]
    systole = simulate_systole(HEART, state, np.random.default_rng(0))
    time = np.arange(0.0, 100.0, 1 / HZ)

    def valve(number: int) -> np.ndarray:
        """Envelope peaks of one valve alone."""
        loud = np.eye(4)[number]
        chest = Chest(np.full(4, 60.0), loud, np.full(4, 0.02), murmur=0.0, breathing=0.2)
        sound = envelope(pcg(state, systole, chest, time, np.random.default_rng(1)))
        return find_peaks(sound, height=0.3 * sound.max(), distance=300)[0] / HZ

    aortic, pulmonary = valve(2), valve(3)
    at = [(pulmonary[pulmonary > a].min(initial=np.inf) - a, a) for a in aortic]
    split, when = np.array([pair for pair in at if pair[0] < 0.2]).T
    volume = np.interp(when, state.time, state.depth * np.sin(state.breath_phase))
    assert np.corrcoef(split, volume)[0, 1] > 0.8
    assert 0.005 < split.min() < split.max() < 0.07


def test_people_sound_different_and_a_seed_the_same(clean: list[Record]) -> None:
    again = simulate(1, 2.0, seed=5, absent=0.0, nuisance=0.0, pcg_rate_hz=HZ)[0]
    assert again.signals["pcg"].identical(clean[0].signals["pcg"])
    assert again.truth is not None
    assert again.truth.identical(clean[0].truth)
    pitch = []
    for record in clean:
        power = np.abs(np.fft.rfft(record.signals["pcg"].values[0])) ** 2
        pitch.append(np.average(np.fft.rfftfreq(int(120 * HZ), 1 / HZ), weights=power))
    assert min(pitch) > 30.0
    assert max(pitch) < 120.0
    assert np.ptp(pitch) > 2.0


def test_a_stethoscope_only_adds_nuisance(clean: list[Record]) -> None:
    worn = simulate(3, 2.0, seed=5, absent=0.0, nuisance=1.0, pcg_rate_hz=HZ)
    for a, b in zip(clean, worn, strict=True):
        assert a.truth is not None
        assert a.truth.identical(b.truth)
        assert a.annotations["s1"].identical(b.annotations["s1"])
        assert np.isfinite(a.signals["pcg"].values).all()
    gains = [
        np.nanstd(b.signals["pcg"]) / np.nanstd(a.signals["pcg"])
        for a, b in zip(clean, worn, strict=True)
    ]
    assert max(gains) / min(gains) > 1.2


def test_listening_leaves_the_other_sensors_as_they_were() -> None:
    plain = simulate(2, 0.3, seed=1, absent=0.0)
    heard = simulate(2, 0.3, seed=1, absent=0.0, pcg_rate_hz=500.0)
    for a, b in zip(plain, heard, strict=True):
        for name in ("ecg", "resp", "spo2"):
            assert a.signals[name].identical(b.signals[name])
        assert not a.signals["ppg"].identical(b.signals["ppg"])
        assert "pcg" not in a.modalities
        assert set(a.annotations) == {"beat", "breath"}
        assert b.rate_hz("pcg") == 500.0


def test_without_heart_sounds_nothing_has_changed() -> None:
    """Figures of the release before heart sounds."""
    record = simulate(1, 0.3, seed=1, absent=0.0)[0]
    before = {
        "ecg": [0.0783737376332283, 0.39320895075798035, 0.01290004514157772],
        "ppg": [0.1627570390701294, 0.15105818212032318, 0.5027427077293396],
        "resp": [-1.568281888961792, -1.4051235914230347, -1.3121269941329956],
        "spo2": [98.0, 98.0, 98.0],
    }
    for name, figures in before.items():
        x = record.signals[name].values[0]
        np.testing.assert_allclose(x[:: len(x) // 5][:3], figures, rtol=1e-5)
    assert record.truth is not None
    transit = record.truth.transit_time.values[:101:50]
    np.testing.assert_allclose(transit, [0.18721998008, 0.18561270682, 0.18567238106], rtol=1e-9)
    assert "pre_ejection_period" not in record.truth


def test_the_stethoscope_can_be_absent_and_needs_a_rate() -> None:
    cohort = simulate(40, 0.05, seed=0, absent=0.4, pcg_rate_hz=200.0)
    missing = np.mean(["pcg" not in record.modalities for record in cohort])
    assert missing == pytest.approx(0.4, abs=0.25)
    with pytest.raises(RateError, match="'pcg' is a positive number"):
        simulate(1, 0.1, pcg_rate_hz=0.0)
    with pytest.raises(RateError, match="pcg_rate_hz is 200 or more, got 50.0. Ask for 1000"):
        simulate(1, 0.1, pcg_rate_hz=50.0)


def test_a_stiffer_heart_is_the_persons_own(states: list[Physiology]) -> None:
    late = replace(HEART, pre_ejection_s=0.02, ejection_s=-0.02)
    for a, b in zip(systoles(states[:3]), systoles(states[:3], late), strict=True):
        np.testing.assert_allclose(b.pre_ejection - a.pre_ejection, 0.02, atol=1e-9)
        np.testing.assert_allclose(b.ejection - a.ejection, -0.02, atol=1e-9)
