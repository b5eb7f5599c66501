"""Promises about whole recordings: batch-mates, padding, rates, names, and nothing observed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor

from latentphys.inference.paths import infer_path
from latentphys.learning.objective import Objective, score_batch
from latentphys.model.distributions import GaussMarkov
from latentphys.model.statespace import ModelSpec, SensorSpec, StateSpaceModel
from latentphys.preparation.batch import Batch, collate
from latentphys.preparation.preprocessing import PreparedRecord, PreparedSignal, Scale
from latentphys.preparation.windows import WindowIndex

Make = Callable[..., StateSpaceModel]
MakeBatch = Callable[..., Batch]
CLOCK, STEPS = 12.5, 50
SIGNALS = {"ecg": ("II",), "ppg": ("PLETH",)}


def _smooth(time: np.ndarray, phase: float) -> np.ndarray:
    """1 to 8 Hz, far under half of the slowest rate."""
    parts = [(1.2, 1.0), (2.4, 0.6), (4.8, 0.3), (8.0, 0.15)]
    return sum(size * np.sin(2 * np.pi * rate * time + phase * rate) for rate, size in parts)


def _record(
    name: str,
    rates: dict[str, float],
    channels: dict[str, tuple[str, ...]] = SIGNALS,
    phase: float = 0.0,
    seconds: float = STEPS / CLOCK,
) -> PreparedRecord:
    signals = {}
    for k, (modality, rate) in enumerate(rates.items()):
        time = np.arange(round(seconds * rate)) / rate
        names = channels[modality]
        values = np.stack([_smooth(time, phase + k + c) for c in range(len(names))])
        scale = Scale(np.zeros(len(names)), np.ones(len(names)))
        signals[modality] = PreparedSignal(
            values.astype(np.float32), None, rate, names, "mV", scale
        )
    return PreparedRecord(name, name, signals, None, 1.0, seconds)


def _batch(records: Sequence[PreparedRecord]) -> Batch:
    count = len(records)
    index = WindowIndex(np.arange(count), np.zeros(count, np.int64), STEPS, CLOCK)
    return collate(records, index, range(count), list(SIGNALS))


@pytest.fixture
def model() -> StateSpaceModel:
    """Float32, at the sizes of 125 Hz signals, with random weights everywhere."""
    torch.manual_seed(3)
    sensors = {name: SensorSpec(10, names, rate_hz=125.0) for name, names in SIGNALS.items()}
    sizes = {"latent_dim": 3, "evidence_dim": 4, "nuisance_dim": 2, "width": 8}
    spec = ModelSpec(sensors, widths=(6, 8), dropout=0.1, **sizes)  # type: ignore[arg-type]
    model = StateSpaceModel(spec).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return model


def _posterior(model: StateSpaceModel, batch: Batch) -> GaussMarkov:
    with torch.no_grad():
        return model.guide_of(model.evidence(batch))


def _same_row(a: GaussMarkov, row_a: int, b: GaussMarkov, row_b: int) -> None:
    for name in ("mean_path", "correlation", "scale"):
        torch.testing.assert_close(
            getattr(a, name)[row_a], getattr(b, name)[row_b], rtol=0, atol=1e-5
        )


@pytest.mark.parametrize(
    "mate",
    [
        _record("another phase", {"ecg": 125.0, "ppg": 125.0}, phase=1.0),
        _record("faster", {"ecg": 360.0, "ppg": 250.0}),
        _record("more leads", {"ecg": 125.0}, {"ecg": ("I", "II", "V")}),
        _record("one sensor", {"ppg": 125.0}),
        _record("empty", {}),
    ],
    ids=lambda record: record.record,
)
@pytest.mark.parametrize("own_hz", [125.0, 360.0])
def test_a_posterior_does_not_depend_on_batch_mates(
    model: StateSpaceModel, mate: PreparedRecord, own_hz: float
) -> None:
    own = _record("own", {"ecg": own_hz, "ppg": 125.0})
    own.signals["ppg"].values[:, 100:117] = np.nan
    alone = _posterior(model, _batch([own]))
    _same_row(_posterior(model, _batch([mate, own])), 1, alone, 0)
    _same_row(_posterior(model, _batch([own, mate, mate])), 0, alone, 0)


def test_a_score_does_not_depend_on_batch_mates(model: StateSpaceModel) -> None:
    own = _record("own", {"ecg": 125.0, "ppg": 125.0})
    mate = _record("mate", {"ecg": 250.0}, phase=2.0)
    # guide and nuisance without spread: nothing is left to the draw
    with torch.no_grad():
        for name in SIGNALS:
            model.encoder(name).to_nuisance.bias[2:] = -40.0
        model.guide_network.head.bias[6:] = -40.0
    scores = []
    for records in ([own], [own, mate]):
        torch.manual_seed(0)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            objective = Objective(own_gaps=0.0)  # gaps are drawn batch by batch
            score = score_batch(model, _batch(records), objective, generator)
        scores.append({k: float(v[0]) for k, v in score.by_window.items() if k[:2] == "x/"})
    # the scale's floor leaves a hundredth of noise
    assert scores[0] == pytest.approx(scores[1], rel=0.02)


@pytest.mark.parametrize("rate_hz", [250.0, 360.0])
def test_one_model_takes_a_sensor_at_any_rate(model: StateSpaceModel, rate_hz: float) -> None:
    usual = _posterior(model, _batch([_record("a", {"ecg": 125.0})]))
    other = _posterior(model, _batch([_record("a", {"ecg": rate_hz})]))
    moved = _posterior(model, _batch([_record("a", {"ecg": 125.0}, phase=2.0)]))
    difference = (usual.mean - other.mean).square().mean().sqrt()
    assert difference < 0.05 * usual.mean.std()
    assert difference < 0.1 * (usual.mean - moved.mean).square().mean().sqrt()


def test_unknown_channel_names_run_alike(model: StateSpaceModel) -> None:
    known, one, two = (
        _posterior(model, _batch([_record("a", {"ecg": 125.0}, {"ecg": (name,)})]))
        for name in ("II", "aVQ", "lead 7")
    )
    assert torch.isfinite(one.mean).all()
    _same_row(one, 0, two, 0)
    assert not torch.allclose(known.mean, one.mean)


@pytest.mark.parametrize("given", [("ecg", "ppg"), ("ppg",), ()])
def test_nothing_observed_gives_the_prior(model: StateSpaceModel, given: tuple[str, ...]) -> None:
    record = _record("a", {"ecg": 125.0, "ppg": 125.0}, seconds=10.0)
    for signal in record.signals.values():
        signal.values[:] = np.nan
    path = infer_path(model, record, given, 4.0, 6, torch.Generator().manual_seed(0))
    noise = torch.randn(6, 125, 3, generator=torch.Generator().manual_seed(0))
    rollouts = model.prior_over(125, None, torch.Size()).path(noise)
    torch.testing.assert_close(path.draws, rollouts)
    torch.testing.assert_close(path.mean, rollouts.mean(0))
    torch.testing.assert_close(path.sd, rollouts.std(0))
    assert path.nuisance == {}


def test_an_unobserved_batch_scores_finite(model: StateSpaceModel) -> None:
    batch = _batch([_record("a", {"ecg": 125.0, "ppg": 125.0})] * 2)
    for mask in batch.mask.values():
        mask[:] = False
    score = score_batch(model, batch, Objective(), torch.Generator().manual_seed(0))
    score.loss.backward()
    assert torch.isfinite(score.loss)
    for name in ("x/ecg", "x/ppg", "cross/ecg", "cross/ppg", "kl_nuisance"):
        assert (score.by_window[name] == 0).all()
    # The same posterior twice, but for how a processor rounds rows of one product.
    assert (score.by_window["miss"].abs() < 1e-9).all()
    gradients = [w.grad for w in model.parameters() if w.grad is not None]
    assert all(torch.isfinite(g).all() for g in gradients)


def test_a_window_longer_than_the_record_is_finite(model: StateSpaceModel) -> None:
    short = _record("a", {"ecg": 125.0}, seconds=1.0)
    path = infer_path(model, short, ["ecg"], 4.0, 2, torch.Generator().manual_seed(0))
    assert path.draws.shape == (2, 13, 3)
    assert torch.isfinite(path.draws).all()


def _pyro_gradients(model: StateSpaceModel, batch: Batch) -> tuple[float, list[Tensor]]:
    """Loss and gradients by Pyro, under fixed draws."""
    pyro.clear_param_store()
    torch.manual_seed(0)
    model.zero_grad()
    loss = Trace_ELBO().differentiable_loss(model.model, model.guide, batch)
    loss.backward()
    return float(loss.detach()), [w.grad.clone() for w in model.parameters() if w.grad is not None]


@pytest.mark.parametrize("fill", [1e6, math.nan])
def test_pyro_does_not_see_behind_the_mask(
    make_model: Make, make_batch: MakeBatch, fill: float
) -> None:
    model, batch = make_model(), make_batch()
    values = {n: torch.where(batch.mask[n], batch.values[n], fill) for n in batch.values}
    loss, gradients = _pyro_gradients(model, batch)
    other, others = _pyro_gradients(model, replace(batch, values=values))
    assert loss == other
    for a, b in zip(gradients, others, strict=True):
        assert torch.equal(a, b)
