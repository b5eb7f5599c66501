"""Simulated nights: what the sleeper does, found again at the sensors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import welch

from latentphys.recordings.errors import CohortError, RateError
from latentphys.recordings.labels import STAGES, codes, per_epoch, per_step, sleep_stage
from latentphys.recordings.night import simulate_night
from latentphys.recordings.reading import read
from latentphys.recordings.record import Record
from latentphys.recordings.simulator.apnoea import (
    KINDS,
    Breather,
    Breathing,
    Events,
    airflow,
    effort,
    simulate_breathing,
    spo2,
)
from latentphys.recordings.simulator.hypnogram import (
    N1,
    N2,
    N3,
    REM,
    Sleeper,
    W,
    simulate_hypnogram,
)
from latentphys.recordings.simulator.night_heart import NightHeart, simulate_beats

BREATHER = Breather(
    rate=15.0,
    events_per_hour=30.0,
    central=0.3,
    arousable=0.8,
    saturation=97.0,
    fall_per_s=0.3,
    circulation_s=20.0,
)
SLEEPER = Sleeper(latency_minutes=12.0, depth=1.0, wakefulness=1.0, cycle=1.0)
HEART = NightHeart(rate=60.0, arrhythmia=3.0, slowing=6.0, racing=12.0)
BANDS = ((0.5, 2), (2, 4), (4, 7), (8, 11.5), (12, 15), (16, 30))


@pytest.fixture(scope="module")
def nights() -> list[Record]:
    return list(simulate_night(6, 60.0, seed=3, absent=0.0))


@pytest.fixture(scope="module")
def clean() -> list[Record]:
    return list(simulate_night(3, 60.0, seed=1, absent=0.0, nuisance=0.0, events_per_hour=30.0))


def epochs(record: Record, modality: str) -> np.ndarray:
    """(channel, epoch, sample)."""
    x = record.signals[modality].values
    each = round(30 * record.rate_hz(modality))
    return x[:, : x.shape[1] // each * each].reshape(len(x), -1, each)


def band_power(record: Record, modality: str) -> np.ndarray:
    """(channel, band, epoch), log."""
    rate = record.rate_hz(modality)
    hertz, power = welch(np.nan_to_num(epochs(record, modality)), fs=rate, nperseg=round(4 * rate))
    means = [power[..., (hertz >= a) & (hertz < b)].mean(-1) for a, b in BANDS]
    return np.log(np.stack(means, axis=1) + 1e-3)


def stages(record: Record) -> np.ndarray:
    return codes(per_epoch(record, "stage", label=sleep_stage), STAGES).values


def three_events() -> Events:
    return Events(np.array([60.0, 160.0, 260.0]), np.array([90.0, 185.0, 285.0]), np.arange(3))


def breathed(seed: int = 0, events: Events | None = None) -> Breathing:
    rng = np.random.default_rng(seed)
    still = np.full(12, N2, dtype=np.int8)
    return simulate_breathing(BREATHER, events or three_events(), still, 360.0, rng)


def test_a_night_has_the_shares_of_the_literature() -> None:
    rng = np.random.default_rng(0)
    shares, thirds = [], []
    for _ in range(40):
        sleeper = Sleeper.draw(int(rng.integers(20, 80)), 0.0, rng)
        night = simulate_hypnogram(sleeper, 8 * 3600.0, 90.0, rng)
        asleep = night[np.flatnonzero(night != W)[0] :]
        slept = asleep[asleep != W]
        shares.append([(slept == k).mean() for k in range(5)] + [(asleep == W).mean()])
        cut = len(asleep) // 3
        first, last = asleep[:cut], asleep[-cut:]
        thirds.append([(part == k).mean() for part in (first, last) for k in (N3, REM)])
    _, n1, n2, n3, rem, awake = np.mean(shares, axis=0)
    assert 0.03 < n1 < 0.12
    assert 0.45 < n2 < 0.60
    assert 0.10 < n3 < 0.25
    assert 0.18 < rem < 0.27
    assert 0.03 < awake < 0.16
    n3_first, rem_first, n3_last, rem_last = np.mean(thirds, axis=0)
    assert n3_first > 2.5 * n3_last
    assert rem_last > 1.5 * rem_first


def test_rem_comes_back_every_ninety_minutes() -> None:
    rng = np.random.default_rng(1)
    gaps = []
    for _ in range(30):
        night = simulate_hypnogram(SLEEPER, 8 * 3600.0, 90.0, rng)
        at = np.flatnonzero(night == REM) / 2.0
        starts = at[np.diff(at, prepend=-99.0) > 35.0]
        gaps += np.diff(starts).tolist()
    assert np.median(gaps) == pytest.approx(90.0, abs=15.0)


def test_bouts_are_not_geometric() -> None:
    rng = np.random.default_rng(2)
    lengths: dict[int, list[int]] = {W: [], REM: []}
    for _ in range(30):
        night = simulate_hypnogram(SLEEPER, 8 * 3600.0, 90.0, rng)
        for bout in np.split(night, np.flatnonzero(np.diff(night)) + 1)[1:-1]:
            lengths.setdefault(int(bout[0]), []).append(len(bout))
    # A geometric bout's spread equals its mean; Weibull bouts have more (shape 0.7) or less.
    assert np.std(lengths[W]) > 1.15 * np.mean(lengths[W])
    assert np.std(lengths[REM]) < 0.9 * np.mean(lengths[REM])


@pytest.mark.parametrize("minutes", [12.0, 40.0])
def test_a_short_night_visits_the_stages(minutes: float) -> None:
    def kinds(cycle_minutes: float) -> list[int]:
        rng = np.random.default_rng(0)
        nights = [simulate_hypnogram(SLEEPER, 60 * minutes, cycle_minutes, rng) for _ in range(20)]
        return [len(set(night.tolist())) for night in nights]

    assert min(kinds(minutes / 4.5)) >= 4
    assert np.mean(kinds(900.0)) == 1.0
    night = simulate_night(1, 12.0, seed=0, absent=0.0)[0]
    assert len(set(stages(night))) >= 4
    slow = simulate_night(1, 12.0, seed=0, absent=0.0, cycle_minutes=900.0)[0]
    assert set(stages(slow)) == {W}


def test_stages_are_annotated_as_real_ones_are(nights: list[Record]) -> None:
    for record in nights:
        coded = stages(record)
        assert len(coded) == 120
        assert coded.min() >= 0
        assert record.truth is not None
        truth = record.truth.stage.values
        np.testing.assert_array_equal(truth[187::375][:120], coded)
        assert record.truth.stage.attrs["classes"] == list(STAGES)
        apnoea = per_step(record, "apnoea", 12.5)
        differ = (apnoea.values != "") != (record.truth.apnoea.values > 0)
        # A label holds at the middle of a step, the truth at its start.
        assert differ.sum() <= 2 * record.annotations["apnoea"].sizes["event"]


def test_each_stage_has_its_waves(clean: list[Record]) -> None:
    for record in clean:
        power, stage = band_power(record, "eeg"), stages(record)

        def mean(
            band: int, code: int, power: np.ndarray = power, stage: np.ndarray = stage
        ) -> float:
            return float(power[0, band][stage == code].mean())

        assert mean(0, N3) > mean(0, N2) + 0.8 > mean(0, W) + 1.6
        assert mean(4, N2) > max(mean(4, W), mean(4, N1), mean(4, REM)) + 0.3
        assert mean(5, W) > mean(5, N2) > mean(5, N3)
        tone = np.log(epochs(record, "emg").std(axis=-1))[0]
        assert tone[stage == W].mean() > tone[stage == N2].mean() > tone[stage == REM].mean()


def test_alpha_is_strongest_behind_and_awake(nights: list[Record]) -> None:
    awake, asleep, ahead = [], [], []
    for record in nights:
        power, stage = band_power(record, "eeg")[:, 3], stages(record)
        awake.append(power[1][stage == W].mean())
        asleep.append(power[1][stage == N3].mean())
        ahead.append(power[0][stage == W].mean())
    assert np.mean(awake) > np.mean(asleep) + 0.5
    assert np.mean(awake) > np.mean(ahead) + 0.3


def test_spindles_ring_where_they_are_marked(clean: list[Record]) -> None:
    for record in clean:
        x, marks = record.signals["eeg"].values[0], record.annotations["spindle"]
        first = (marks.time.values * 100).astype(int)
        long = marks.duration.values > 1.0
        inside = np.array([x[i : i + 100] for i in first[long] if i + 100 < len(x)])
        before = np.array([x[i - 200 : i - 100] for i in first[long] if 200 <= i < len(x) - 100])
        hertz = np.fft.rfftfreq(100, 0.01)
        band = (hertz >= 12) & (hertz <= 15)

        def sigma(pieces: np.ndarray, band: np.ndarray = band) -> float:
            return float((np.abs(np.fft.rfft(pieces * np.hanning(100))) ** 2)[:, band].mean())

        assert sigma(inside) > 3 * sigma(before)
        stage = per_step(record, "stage", 1.0).values
        at = stage[np.minimum(marks.time.values.astype(int), len(stage) - 1)]
        assert np.isin(at, ["N2", "N3", "N1"]).mean() > 0.9


def test_the_eyes_move_apart_and_in_rem(clean: list[Record]) -> None:
    for record in clean:
        left, right = record.signals["eog"].values
        stage = np.repeat(stages(record), 3000)[: len(left)]
        speed = np.abs(np.diff(left - right, prepend=left[0] - right[0])) > 15.0
        assert speed[stage == REM].mean() > 5 * speed[stage == N2].mean()
        dreaming = stage == REM
        assert np.corrcoef(left[dreaming], right[dreaming])[0, 1] < -0.3
        deep = stage == N3
        assert np.corrcoef(left[deep], right[deep])[0, 1] > 0.3


def test_effort_goes_on_when_the_airway_is_shut_and_stops_when_the_drive_does() -> None:
    breathing, events = breathed(), three_events()
    time = np.arange(0.0, 360.0, 0.04)
    flow, belts = airflow(breathing, time), effort(breathing, time)
    calm = time < 55.0

    def size(x: np.ndarray, k: int) -> float:
        """Against calm breathing, from 4 s after the start."""
        inside = (time >= events.start[k] + 4.0) & (time < events.stop[k])
        return float(x[inside].std() / x[calm].std())

    assert KINDS == ("obstructive", "central", "hypopnoea")
    assert size(flow, 0) < 0.03
    assert size(belts[0], 0) > 0.9
    assert size(flow, 1) < 0.03
    assert size(belts[0], 1) < 0.03
    assert 0.25 < size(flow, 2) < 0.7
    assert size(belts[0], 2) > 0.9
    shut = (time > 66.0) & (time < 89.0)
    assert np.corrcoef(belts[:, shut])[0, 1] < 0.0 < np.corrcoef(belts[:, calm])[0, 1]


@pytest.mark.parametrize("delay_s", [12.0, 20.0, 32.0])
def test_oxygen_is_lowest_a_circulation_time_after_the_apnoea(delay_s: float) -> None:
    breather = replace(BREATHER, circulation_s=delay_s)
    time = np.arange(0.0, 360.0)
    for seed in range(3):
        breathing, events = breathed(seed), three_events()
        seen = spo2(breather, breathing, time)
        for stop in events.stop[:2]:
            near = (time > stop - 5.0) & (time < stop + 60.0)
            lowest = time[near][seen[near] == seen[near].min()].mean()
            # The oximeter's mean over 3 s and whole percents add about 2 s.
            assert lowest - stop == pytest.approx(delay_s + 2.0, abs=3.0)
            fallen = seen[time < 50.0].mean() - seen[near].min()
            assert 4.0 < fallen < 12.0
        assert seen[time > 340.0].mean() == pytest.approx(97.0, abs=2.0)


def test_the_delay_shows_in_whole_nights(clean: list[Record]) -> None:
    for record in clean:
        assert record.truth is not None
        lung = record.truth.oxygen_saturation.values
        finger = record.signals["spo2"].values[0]
        delay = float(record.truth.circulation_delay[0])
        seconds = np.arange(60.0, len(finger) - 1.0)
        lags = np.arange(5.0, 45.0, 0.5)
        at_lung = [np.interp(seconds - lag, record.truth.time, lung) for lag in lags]
        fit = [np.corrcoef(x, finger[60 : 60 + len(seconds)])[0, 1] for x in at_lung]
        assert lags[int(np.argmax(fit))] == pytest.approx(delay + 1.5, abs=1.0)
        assert max(fit) > 0.9


def test_the_heart_slows_in_an_apnoea_and_races_after() -> None:
    breathing, events = breathed(), three_events()
    still = np.full(12, N2, dtype=np.int8)
    rates = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        beats = simulate_beats(HEART, breathing, events, np.zeros((0, 2)), still, rng)
        middle = (beats[1:] + beats[:-1]) / 2
        rates.append(np.interp(np.arange(0.0, 350.0), middle, 60.0 / np.diff(beats)))
    rate = np.mean(rates, axis=0)
    late, after, before = rate[83:90].mean(), rate[92:99].mean(), rate[40:58].mean()
    assert late < before - 3.0
    assert after > before + 4.0


def test_the_heart_is_faster_awake_than_in_deep_sleep(nights: list[Record]) -> None:
    for record in nights:
        stage = stages(record)
        assert record.truth is not None
        rate = record.truth.heart_rate.values[: 375 * len(stage)].reshape(-1, 375).mean(1)
        if (stage == N3).sum() > 6:
            assert rate[stage == W].mean() > rate[stage == N3].mean() + 3.0


def test_r_peaks_are_where_the_beats_are(clean: list[Record]) -> None:
    for record in clean:
        x, beats = record.signals["ecg"].values[0], record.annotations["beat"].time.values
        index = np.round(beats[(beats > 1) & (beats < 3598)] * 125).astype(int)
        windows = np.stack([x[index + k] for k in range(-30, 31)])
        assert (np.abs(windows.argmax(axis=0) - 30) <= 2).mean() > 0.98


def test_arousals_follow_events_and_tighten_the_chin(clean: list[Record]) -> None:
    for record in clean:
        arousals, events = record.annotations["arousal"], record.annotations["apnoea"]
        ends = events.time.values + events.duration.values
        followed = [np.abs(arousals.time.values - end).min() < 1.0 for end in ends]
        assert np.mean(followed) > 0.4
        assert record.truth is not None
        x = record.signals["emg"].values[0]
        roused = np.repeat(record.truth.arousal.values.astype(bool), 8)[: len(x)]
        asleep = np.repeat(stages(record), 3000)[: len(x)] != W
        assert x[roused & asleep].std() > 1.5 * x[~roused & asleep].std()


def test_a_seed_gives_the_same_nights_however_many() -> None:
    three, two, other = (simulate_night(k, 3.0, seed=s) for k, s in ((3, 1), (2, 1), (2, 2)))
    for a, b in zip(two, three, strict=False):
        assert a.modalities == b.modalities
        assert all(a.signals[name].identical(b.signals[name]) for name in a.modalities)
        assert a.truth is not None
        assert a.truth.identical(b.truth)
    name = two[0].modalities[0]
    assert not other[0].signals.get(name, two[1].signals[name]).identical(two[0].signals[name])
    assert not np.array_equal(three[0].truth.heart_rate, three[1].truth.heart_rate)  # type: ignore[union-attr]


def test_people_differ_more_than_their_epochs(nights: list[Record]) -> None:
    means = [band_power(record, "eeg")[0][:, stages(record) == N2].mean(-1) for record in nights]
    assert np.std(means, axis=0).mean() > 0.1
    delays = {float(record.truth.circulation_delay[0]) for record in nights if record.truth}
    assert len(delays) == len(nights)


def test_band_powers_tell_the_stages_well_but_not_perfectly(nights: list[Record]) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import cohen_kappa_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels, people = [], [], []
    for k, record in enumerate(nights):
        powers = [band_power(record, name).reshape(12, -1) for name in ("eeg", "eog")]
        tone = np.log(np.nan_to_num(epochs(record, "emg")).std(-1) + 1e-3)
        features.append(np.concatenate([*powers, tone]).T)
        labels.append(stages(record))
        people.append(np.full(len(labels[-1]), k))
    y = np.concatenate(labels)
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    folds = GroupKFold(3)
    guess = cross_val_predict(
        probe, np.concatenate(features), y, groups=np.concatenate(people), cv=folds
    )
    # Two human scorers agree to about 0.75.
    assert 0.5 < cohen_kappa_score(y, guess) < 0.85
    drowsy = guess[y == N1] == N1
    assert drowsy.mean() < 0.7


def test_sensors_and_their_flaws() -> None:
    clean, worn = (simulate_night(2, 10.0, absent=0.0, nuisance=n)[0] for n in (0.0, 2.0))
    assert clean.modalities == ("eeg", "eog", "emg", "ecg", "airflow", "effort", "spo2")
    assert [clean.rate_hz(name) for name in clean.modalities] == [100, 100, 100, 125, 25, 25, 1]
    assert all(np.isfinite(s.values).all() for s in clean.signals.values())
    assert clean.truth is not None
    assert clean.truth.identical(worn.truth)
    for name in clean.modalities[:-1]:
        assert not np.allclose(clean.signals[name], worn.signals[name], equal_nan=True)
    oxygen = clean.signals["spo2"].values
    np.testing.assert_array_equal(oxygen, np.rint(oxygen))
    assert clean.signals["eeg"].attrs["units"] == "uV"


def test_mains_hum_shows_where_the_rate_leaves_it_room() -> None:
    slow, fast = (
        simulate_night(1, 5.0, absent=0.0, eeg_rate_hz=hz)[0].signals["eeg"] for hz in (100, 200)
    )
    hertz, power = welch(np.nan_to_num(fast.values[0]), fs=200.0, nperseg=800)
    near = power[(hertz > 44) & (hertz < 56)]
    assert near.max() > 5 * np.median(near)
    hertz, power = welch(np.nan_to_num(slow.values[0]), fs=100.0, nperseg=400)
    near = power[(hertz > 44) & (hertz < 49.5)]
    assert near.max() < 3 * np.median(near)


def test_absent_sensors_and_nights_without_apnoeas(tmp_path: Path) -> None:
    cohort = simulate_night(20, 0.5, seed=0, absent=0.5)
    missing = 1 - np.mean([len(record.modalities) for record in cohort]) / 7
    assert missing == pytest.approx(0.5, abs=0.17)
    assert min(len(record.modalities) for record in cohort) >= 1
    calm = simulate_night(1, 8.0, seed=0, absent=0.0, events_per_hour=0.0)[0]
    assert calm.annotations["apnoea"].sizes["event"] == 0
    calm.write(tmp_path / "calm.nc")
    again = read(tmp_path / "calm.nc")[0]
    assert again.truth is not None
    assert again.truth.identical(calm.truth)
    assert again.annotations["stage"].identical(calm.annotations["stage"])


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"subjects": 0}, CohortError, "whole number from 1 up, got 0"),
        ({"minutes": -1.0}, CohortError, "minutes must be positive, got -1.0"),
        ({"minutes": 0.2}, CohortError, "at least one epoch of 30 s, got 0.2"),
        ({"cycle_minutes": 0.0}, CohortError, "cycle_minutes must be positive, got 0.0"),
        ({"events_per_hour": 500.0}, CohortError, r"from 0 \(no apnoeas\) to 120, got 500.0"),
        ({"absent": 1.0}, CohortError, r"probability in \[0, 1\), got 1.0"),
        ({"nuisance": float("nan")}, CohortError, "nuisance is 0 .clean. or more, got nan"),
        ({"eeg_rate_hz": 0.0}, RateError, "'eeg' is a positive number"),
        ({"eeg_rate_hz": 20.0}, RateError, "at 64 Hz or more, got 20.0. Ask for 100"),
    ],
)
def test_arguments_that_cannot_be_are_refused(
    changes: dict[str, float], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        simulate_night(**{"subjects": 1, "minutes": 1.0, **changes})  # type: ignore[arg-type]
