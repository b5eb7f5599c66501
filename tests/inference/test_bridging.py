"""Gaps between samples that were seen: noise that lasts, against the exact conditional."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from numpy.typing import NDArray
from sklearn.gaussian_process.kernels import Matern

from latentphys.api import fit
from latentphys.fitted import FittedModel
from latentphys.inference import imputation, paths
from latentphys.inference.bridging import Bridge
from latentphys.inference.imputation import Question, impute_record
from latentphys.model.noise import ROUGH, ColouredNoise
from latentphys.preparation.preprocessing import PreparedRecord, PreparedSignal, Scale
from latentphys.recipes.catalogue import recipe
from latentphys.recordings.cohort import Cohort
from latentphys.trust.asking import answers
from latentphys.trust.missingness import hide
from latentphys.trust.patterns import Ask, Pattern
from latentphys.trust.predicting import EncodedRecord

Array = NDArray[np.float64]
SENSORS = ("ecg", "ppg", "resp")
LASTS, CLOCK, RATE_HZ = 3.0, 2.0, 4.0  # time constant in state steps, which are of two samples
GAP_S = (30.0, 31.0)


def signal_of(values: Array, time_s: Array | None = None) -> PreparedSignal:
    count = len(values)
    names = tuple(f"c{k}" for k in range(count))
    scale = Scale(np.zeros(count), np.ones(count))
    return PreparedSignal(values.astype(np.float32), time_s, RATE_HZ, names, "", scale)


def kernel(a: Array, b: Array) -> Array:
    matern = Matern(length_scale=math.sqrt(3.0) * LASTS, nu=1.5)
    return np.asarray(matern(a[:, None], b[:, None]))


def conditional(at: Array, edges: Array) -> tuple[Array, Array]:
    """Weights (time, edge) and covariance (time, time) of noise given that at some edges."""
    k = kernel(at, edges)
    among = kernel(edges, edges) + ROUGH * np.eye(len(edges))
    weight = np.asarray(np.linalg.solve(among, k.T).T, np.float64)
    return weight, kernel(at, at) - weight @ k.T


@pytest.mark.parametrize("even", [True, False])
def test_a_gap_is_moved_as_the_noise_beside_it_says(even: bool) -> None:
    rng = np.random.default_rng(0)
    values, count = rng.standard_normal((2, 30)), 30
    time_s = None if even else np.sort(rng.uniform(0.0, 8.0, count))
    at = (np.arange(count) / RATE_HZ if time_s is None else time_s) * CLOCK
    seen = np.ones((2, count), dtype=bool)
    seen[0, 10:18] = seen[1, :5] = seen[1, 20:22] = False
    noise = ColouredNoise(LASTS)
    bridge = Bridge.over(noise, signal_of(np.where(seen, values, np.nan), time_s), CLOCK)
    assert bridge is not None
    assert bridge.edge.tolist() == [5, 9, 18, 19, 22]
    loc = torch.from_numpy(rng.standard_normal((3, 2, count))).float()
    scale = torch.from_numpy(rng.uniform(0.5, 2.0, (3, 2, count))).float()
    halves = [np.arange(13), np.arange(13, count)]
    stretches = [(own, loc[..., own], scale[..., own]) for own in halves]
    known = bridge.known(stretches, 3)
    moved = [bridge.moved(stretch, known) for stretch in stretches]
    found_loc, found_scale = (torch.cat([own[k] for own in moved], -1) for k in (1, 2))  # type: ignore[misc]
    away = (values - loc.numpy()) / scale.numpy()
    for channel, gap, edges in (
        (0, range(10, 18), [9, 18]),
        (1, range(5), [5]),
        (1, [20], [19, 22]),
    ):
        weight, covariance = conditional(at[list(gap)], at[edges])
        told = away[:, channel, edges] @ weight.T
        middle, wide = (part[:, channel, gap].numpy() for part in (loc, scale))
        left = np.sqrt(np.diag(covariance))
        np.testing.assert_allclose(found_loc[:, channel, gap], middle + wide * told, atol=1e-4)
        np.testing.assert_allclose(found_scale[:, channel, gap], wide * left, rtol=1e-4)
    shown = torch.from_numpy(seen)
    assert torch.equal(found_loc[:, shown], loc[:, shown])
    assert torch.equal(found_scale[:, shown], scale[:, shown])


def test_noise_drawn_over_a_gap_is_what_is_left_of_it() -> None:
    count, gap, edges = 24, np.arange(8, 16), np.array([7, 16])
    at = np.arange(count) / RATE_HZ * CLOCK
    seen = np.ones((1, count), dtype=bool)
    seen[:, gap] = False
    noise = ColouredNoise(LASTS)
    bridge = Bridge.over(noise, signal_of(np.where(seen, 0.0, np.nan)), CLOCK)
    assert bridge is not None
    drawn = noise.draw((20_000, 1, count), CLOCK / RATE_HZ, np.random.default_rng(0))
    before = drawn.copy()
    bridge.rest(drawn, np.random.default_rng(1))
    assert np.array_equal(drawn[..., seen[0]], before[..., seen[0]])
    _, covariance = conditional(at[gap], at[edges])
    left = np.sqrt(np.diag(covariance))
    found = np.cov(drawn[:, 0, gap].T)
    np.testing.assert_allclose(found, covariance / np.outer(left, left), atol=0.04)
    # What is left has nothing of the edges, seen with what a sample does not share.
    assert np.abs(drawn[:, 0, gap].mean(0)).max() < 0.04


def test_where_there_is_nothing_to_bridge() -> None:
    values = np.zeros((1, 12))
    whole, nothing = signal_of(values), signal_of(np.full_like(values, np.nan))
    values[:, 4:6] = np.nan
    lasting, hole = ColouredNoise(LASTS), signal_of(values)
    assert Bridge.over(lasting, hole, CLOCK) is not None
    assert Bridge.over(None, hole, CLOCK) is None
    assert Bridge.over(lasting, whole, CLOCK) is None
    assert Bridge.over(lasting, nothing, CLOCK) is None
    assert Bridge.over(ColouredNoise(0.01), hole, CLOCK) is None


@pytest.fixture(scope="module")
def lasting(tiny_cohort: Cohort) -> FittedModel:
    """A few steps old, its noise as long as a breath."""
    small = {"latent_dim": 6, "widths": (8, 12), "width": 8}
    chosen = recipe("statespace", model=small, window_s=8.0)
    fitted = fit(tiny_cohort.keep(*SENSORS), steps=2, recipe=chosen, progress=False)
    for name in SENSORS:
        fitted.model.emission(name).noise = ColouredNoise(0.5 * fitted.model.spec.state_rate_hz)
    return fitted


@pytest.fixture(scope="module", params=["resp", "ecg"])  # normal, and Student's t of two leads
def gapped(
    request: pytest.FixtureRequest, lasting: FittedModel, tiny_cohort: Cohort
) -> tuple[str, PreparedRecord, PreparedRecord]:
    """A sensor, a recording, and the same with a gap in it."""
    name: str = request.param
    whole = lasting.prepared(tiny_cohort[1])  # without a hole of its own
    seconds = np.arange(whole.signals[name].values.shape[1]) / whole.signals[name].rate_hz
    return name, whole, hide(whole, {name: (seconds >= GAP_S[0]) & (seconds < GAP_S[1])})


def asked(lasting: FittedModel, record: PreparedRecord, name: str, draws: int = 32) -> xr.Dataset:
    return impute_record(lasting.model, record, Question(name, SENSORS, draws, window_s=8.0))


def test_what_fills_a_gap_joins_what_was_seen(
    lasting: FittedModel,
    gapped: tuple[str, PreparedRecord, PreparedRecord],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, whole, record = gapped
    joined = asked(lasting, record, name)
    monkeypatch.setattr(Bridge, "over", classmethod(lambda *_: None))
    apart = asked(lasting, record, name)
    outside = (joined.time < GAP_S[0]) | (joined.time >= GAP_S[1])
    for part in ("mean", "sd", "lower", "upper", "draws"):
        xr.testing.assert_equal(joined[part][..., outside], apart[part][..., outside])
    first = int(np.flatnonzero(~outside)[0])
    scale = whole.signals[name].scale
    truth = scale.to_units(whole.signals[name].values)[:, first]
    error = [np.abs(one["draws"].values[..., first] - truth).mean() for one in (joined, apart)]
    assert error[0] < 0.7 * error[1]
    assert bool((joined.sd.values[:, first] < 0.8 * apart.sd.values[:, first]).all())


def test_where_stretches_part_does_not_show(
    lasting: FittedModel,
    gapped: tuple[str, PreparedRecord, PreparedRecord],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, _, record = gapped
    whole = asked(lasting, record, name, 4)
    monkeypatch.setattr(imputation, "STEPS_A_CHUNK", 7)
    monkeypatch.setattr(paths, "STEPS_AT_A_TIME", 100)
    parts = asked(lasting, record, name, 4)
    for part in ("mean", "draws"):
        np.testing.assert_allclose(parts[part], whole[part], rtol=0, atol=2e-4)


def test_a_score_is_of_the_same_answer(
    lasting: FittedModel, gapped: tuple[str, PreparedRecord, PreparedRecord]
) -> None:
    name, whole, record = gapped
    hidden = np.asarray(~np.isfinite(record.signals[name].values).any(axis=0))
    pattern = Pattern("gap_s", SENSORS, {name: hidden}, (Ask(1.0, name, hidden),))
    encoded = EncodedRecord(lasting.model, whole, 8.0)
    generator = torch.Generator().manual_seed(0)
    ((_, _, sample),) = answers(encoded, [pattern], 32, generator)
    told = asked(lasting, record, name)
    scale = whole.signals[name].scale
    mean = (told["mean"].values - scale.location[:, None]) / scale.scale[:, None]
    np.testing.assert_allclose(sample.mean[:, hidden], mean[:, hidden], atol=1e-4)


def test_a_sensor_that_is_not_given_is_not_bridged(
    lasting: FittedModel, gapped: tuple[str, PreparedRecord, PreparedRecord]
) -> None:
    name, whole, record = gapped
    others = tuple(own for own in SENSORS if own != name)
    question = Question(name, others, 4, window_s=8.0)
    moved = replace(record.signals[name], values=record.signals[name].values + np.float32(3.0))
    other = replace(record, signals={**record.signals, name: moved})
    one, two = (impute_record(lasting.model, own, question) for own in (record, other))
    xr.testing.assert_equal(one["mean"], two["mean"])
    assert not np.array_equal(
        asked(lasting, record, name, 4)["mean"], asked(lasting, other, name, 4)["mean"]
    )
