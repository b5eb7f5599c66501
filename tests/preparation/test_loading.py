"""The training stream: a pure function of (seed, number); what augmentation may and may not do."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from latentphys.preparation.augmentation import Augmentation
from latentphys.preparation.batch import Batch
from latentphys.preparation.loading import WindowLoader, in_order
from latentphys.preparation.preprocessing import PreparedRecord, PreparedSignal, Scale
from latentphys.preparation.windows import tile
from latentphys.recordings.errors import FitError, InputError

CLOCK, STEPS, RATE = 12.5, 50, 125.0
PLAIN = Augmentation(tempo=0.0, gain=0.0, noise=0.0, lag_s=0.0, one_channel=0.0)


def signal(values: np.ndarray, rate_hz: float = RATE) -> PreparedSignal:
    values = np.atleast_2d(values).astype(np.float32)
    names = tuple(f"c{k}" for k in range(len(values)))
    unit = Scale(np.zeros(len(values)), np.ones(len(values)))
    return PreparedSignal(values, None, rate_hz, names, "", unit)


def record(seconds: float, name: str = "r", seed: int = 0) -> PreparedRecord:
    rng = np.random.default_rng(seed)
    ecg = rng.standard_normal((2, int(seconds * RATE)))
    ecg[:, 100:110] = np.nan
    signals = {"ecg": signal(ecg), "ppg": signal(ecg[0])}
    return PreparedRecord(name, name, signals, None, float("nan"), seconds)


def loader(records: list[PreparedRecord], **changes: object) -> WindowLoader:
    names = tuple(sorted({name for r in records for name in r.signals}))
    plain = {"batch_size": 6, "seed": 3, **changes}
    return WindowLoader(records, names, STEPS, CLOCK, **plain)  # type: ignore[arg-type]


def equal(a: Batch, b: Batch) -> bool:
    return (
        a.record == b.record
        and a.start_step.tolist() == b.start_step.tolist()
        and all(torch.equal(a.values[m], b.values[m]) for m in a.modalities)
        and all(torch.equal(a.mask[m], b.mask[m]) for m in a.modalities)
        and all(torch.equal(a.offset[m], b.offset[m]) for m in a.modalities)
    )


def test_a_batch_depends_on_seed_and_number_alone() -> None:
    records = [record(20.0, "a"), record(40.0, "b", 1)]
    for augmentation in (None, Augmentation()):
        stream = list(islice(loader(records, augmentation=augmentation), 4))
        again = loader(records, augmentation=augmentation)
        assert equal(again.batch(3), stream[3])
        assert equal(again.batch(0), stream[0])
        assert not equal(stream[0], stream[1])
        assert not equal(loader(records, augmentation=augmentation, seed=4).batch(0), stream[0])
        resumed = loader(records, augmentation=augmentation, start=2)
        assert all(equal(a, b) for a, b in zip(resumed, stream[2:], strict=False))


def test_batches_do_not_touch_the_global_random_state() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    loader([record(20.0)], augmentation=Augmentation()).batch(0)
    assert torch.equal(torch.rand(3), expected)


def test_windows_lie_within_their_record_and_everywhere_in_it() -> None:
    long = record(60.0, "long")
    starts = torch.cat([b.start_step for b in islice(loader([long]), 60)])
    assert int(starts.min()) >= 0
    assert int(starts.max()) <= 750 - STEPS
    assert int(starts.max()) > 650
    assert int(starts.min()) < 50


def test_records_are_drawn_in_proportion_to_their_length() -> None:
    stream = loader([record(10.0, "short"), record(90.0, "long")], batch_size=64)
    names = [name for batch in islice(stream, 10) for name in batch.record]
    assert 0.85 < names.count("long") / len(names) < 0.95


def test_a_record_shorter_than_a_window_is_masked_after_its_end() -> None:
    batch = loader([record(2.0)], augmentation=PLAIN).batch(0)
    seen = batch.mask["ppg"][:, :, 0].any(-1)
    assert bool(seen[:, :25].any(-1).all())
    assert not seen[:, 25:].any()


def test_without_variation_augmented_windows_are_the_record() -> None:
    own = record(20.0)
    window = PLAIN(own, 30, STEPS, CLOCK, np.random.default_rng(0))
    np.testing.assert_array_equal(
        window.signals["ecg"].values, own.signals["ecg"].values[:, 300 : 300 + 10 * STEPS]
    )


def test_sensors_stay_aligned_under_tempo() -> None:
    aligned = Augmentation(gain=0.0, noise=0.0, lag_s=0.0, one_channel=0.0)
    time = np.arange(int(40 * RATE)) / RATE
    x = np.sin(2 * np.pi * 1.1 * time)
    fast = np.sin(2 * np.pi * 1.1 * np.arange(40 * 500) / 500.0)
    signals = {"a": signal(x), "b": signal(x), "c": signal(fast, 500.0)}
    own = PreparedRecord("r", "s", signals, None, float("nan"), 40.0)
    stretched = set()
    for seed in range(6):
        window = aligned(own, 103, STEPS, CLOCK, np.random.default_rng(seed))
        a, b, c = (window.signals[name].values[0] for name in "abc")
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(c[::4], a, atol=5e-3)
        stretched.add(round(float(a[-1]), 4))
    assert len(stretched) == 6, "the tempo never changed"


def test_rates_that_do_not_divide_the_clock_stay_aligned() -> None:
    time = 360
    ramp = {
        "a": signal(np.arange(40 * RATE) / RATE),
        "b": signal(np.arange(40 * time) / time, time),
    }
    slow = {"d": signal(np.arange(40.0), 1.0)}
    own = PreparedRecord("r", "s", {**ramp, **slow}, None, float("nan"), 40.0)
    window = PLAIN(own, 101, STEPS, CLOCK, np.random.default_rng(0))
    start_s = 101 / CLOCK
    for name, rate in (("a", RATE), ("b", 360.0)):
        values = window.signals[name].values[0]
        np.testing.assert_allclose(values, start_s + np.arange(len(values)) / rate, atol=1e-4)
    seconds = window.signals["d"].values[0]
    assert np.abs(seconds - start_s - np.arange(len(seconds))).max() <= 0.5


def test_inputs_follow_the_window_and_its_tempo() -> None:
    # The drive and the signal are both the time itself, so they must agree wherever one looks.
    own = PreparedRecord(
        "r",
        "s",
        {"x": signal(np.arange(60 * RATE) / RATE)},
        np.arange(60 * 4, dtype=np.float32)[None] / 4.0,
        4.0,
        60.0,
    )
    for tempo in (0.0, 0.15):
        varied = Augmentation(tempo=tempo, gain=0.0, noise=0.0, lag_s=0.0, one_channel=0.0)
        batch = loader([own], augmentation=varied).batch(0)
        assert batch.inputs is not None
        middle = batch.values["x"][:, :, 0, 5]
        late = middle - batch.inputs[:, :, 0]
        assert float(late.min()) > -0.01, "the drive is ahead of the signal"
        assert float(late.max()) < 0.26, "the drive is behind by more than its own sample"


def test_gain_noise_lag_and_leads_vary() -> None:
    own = record(40.0)
    rng = np.random.default_rng(0)

    def varied(**which: float) -> PreparedRecord:
        none = {"tempo": 0.0, "gain": 0.0, "noise": 0.0, "lag_s": 0.0, "one_channel": 0.0}
        return Augmentation(**{**none, **which})(own, 100, STEPS, CLOCK, rng)

    x = own.signals["ecg"].values[:, 1000:1500]
    gain = varied(gain=0.2).signals["ecg"].values / x
    np.testing.assert_allclose(gain.std(1), 0.0, atol=1e-5)
    assert abs(float(gain[0, 0]) - float(gain[1, 0])) > 1e-3
    added = varied(noise=0.1).signals["ecg"].values - x
    assert 0.08 < added.std() < 0.12
    lagged = varied(lag_s=0.5).signals
    both = lagged["ecg"].values[0], lagged["ppg"].values[0]
    assert not np.allclose(*both, equal_nan=True), "sensors were shifted alike"
    kept = np.isfinite(varied(one_channel=1.0).signals["ecg"].values).any(1)
    assert kept.sum() == 1


def test_numbers_on_a_display_have_no_gain_and_are_never_interpolated() -> None:
    numbers = np.random.default_rng(0).integers(90, 100, 60).astype(float)
    own = PreparedRecord("r", "s", {"spo2": signal(numbers, 1.0)}, None, float("nan"), 60.0)
    varied = Augmentation(noise=0.0)
    for seed in range(5):
        values = varied(own, 100, STEPS, CLOCK, np.random.default_rng(seed)).signals["spo2"].values
        assert np.isin(values[np.isfinite(values)], numbers).all()


def test_in_order_gives_every_window_once() -> None:
    records = [record(20.0, "a"), record(40.0, "b", 1)]
    index = tile(records, 4.0, 4.0, CLOCK)
    batches = list(in_order(records, index, ["ecg"], 4))
    assert [len(b) for b in batches] == [4, 4, 4, 3]
    assert [s for b in batches for s in b.start_step.tolist()] == index.start_step.tolist()


def with_gap(own: PreparedRecord, first_s: float, last_s: float) -> PreparedRecord:
    signals = {}
    for name, each in own.signals.items():
        values = each.values.copy()
        values[:, int(first_s * RATE) : int(last_s * RATE)] = np.nan
        signals[name] = replace(each, values=values)
    return replace(own, signals=signals)


def test_a_silent_record_is_never_drawn_and_is_told() -> None:
    silent = with_gap(record(2.0, "silent"), 0.0, 2.0)
    strange = PreparedRecord("strange", "s", {"gsr": signal(np.ones(500))}, None, float("nan"), 4.0)
    records = [silent, record(20.0, "a"), strange]
    names = ("ecg", "ppg")
    stream = WindowLoader(records, names, STEPS, CLOCK, 6, 3, Augmentation(), bucketed=True)
    assert stream.silent == ("silent", "strange")
    drawn = {name for batch in islice(stream, 20) for name in batch.record}
    assert drawn == {"a"}
    with pytest.raises(FitError, match="needs a sample of ecg, ppg, of which the 2 records"):
        WindowLoader([silent, strange], names, STEPS, CLOCK).batch(0)


def test_no_window_overruns_a_short_record() -> None:
    seconds = {f"r{k}": 0.4 + 0.4 * k for k in range(12)}
    own = [record(length, name) for name, length in seconds.items()]
    batches = list(islice(loader(own, bucketed=True), 200))
    assert {name for batch in batches for name in batch.record} == set(seconds)
    assert len({batch.steps for batch in batches}) > 6
    least = STEPS // 8
    for batch in batches:
        length = torch.tensor([np.ceil(seconds[name] * CLOCK) for name in batch.record])
        assert bool((batch.start_step + batch.steps <= length.clamp_min(least)).all())
    padded = list(islice(loader(own), 20))
    assert {batch.steps for batch in padded} == {STEPS}


def test_no_short_record_comes_twice_where_there_are_enough() -> None:
    own = [record(2.0 + 0.01 * k, f"r{k}") for k in range(20)]
    for batch in islice(loader(own, bucketed=True), 30):
        assert len(set(batch.record)) == 6
    few = loader(own[:4], bucketed=True).batch(0)
    assert len(few) == 6


def test_no_window_is_without_a_sample() -> None:
    # Of a minute, 1 s is observed.
    own = with_gap(with_gap(record(60.0), 0.0, 30.0), 31.0, 60.0)
    for augmentation in (None, PLAIN):
        for batch in islice(loader([own], augmentation=augmentation), 10):
            seen = batch.mask["ecg"].flatten(1).any(1) | batch.mask["ppg"].flatten(1).any(1)
            assert bool(seen.all())
            assert len(set(batch.start_step.tolist())) > 1 or augmentation is not None


def test_inputs_come_in_the_order_asked_for() -> None:
    own = record(20.0)
    drive = np.stack([np.full(80, 1.0), np.full(80, 2.0)]).astype(np.float32)
    ab = replace(own, inputs=drive, inputs_rate_hz=4.0, input_names=("a", "b"))
    b = replace(own, inputs=drive[1:], inputs_rate_hz=4.0, input_names=("b",))
    batch = loader([ab, b], inputs=("b", "a", "c"), augmentation=Augmentation()).batch(0)
    assert batch.inputs is not None
    assert batch.input_names == ("b", "a", "c")
    assert bool((batch.inputs[..., 0] == 2.0).all())
    assert set(batch.inputs[..., 1].unique().tolist()) == {0.0, 1.0}
    assert not batch.inputs[..., 2].any()
    assert loader([ab, b]).batch(0).input_names == ("a", "b")
    found = batch.driven_by(("a",))
    assert found is not None
    assert torch.equal(found[..., 0], batch.inputs[..., 1])
    with pytest.raises(InputError, match=r"fitted with 2 inputs \(a, b\); the batch has 3 without"):
        replace(batch, input_names=()).driven_by(("a", "b"))
