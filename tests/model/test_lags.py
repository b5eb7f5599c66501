"""A modality's lag: read between samples, paid for in every bound, and silent about the absent."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pyro
import pytest
import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from latentphys.learning import terms
from latentphys.learning.objective import Objective, score_batch
from latentphys.learning.views import View
from latentphys.model.lags import LagGuide
from latentphys.model.statespace import ModelSpec, SensorSpec, StateSpaceModel
from latentphys.model.tokenisers import LocalBasis, read_between
from latentphys.preparation.batch import Batch
from latentphys.recordings.errors import FitError

Make = Callable[..., StateSpaceModel]
MakeBatch = Callable[..., Batch]
LAGS = {"lags": ("ppg",)}


def _hidden(batch: Batch, *names: str, rows: slice = slice(None)) -> Batch:
    mask = {n: m.clone() for n, m in batch.mask.items()}
    for name in names:
        mask[name][rows] = False
    return replace(batch, mask=mask)


def test_between_samples_a_parabola_is_exact_and_beyond_the_ends_it_stays() -> None:
    number = torch.arange(12, dtype=torch.float64)
    series = torch.stack([number**2 - 3.0 * number, 2.0 - number])
    at = torch.tensor([2.0, 3.25, 7.9, -4.0, 30.0], dtype=torch.float64)
    told = read_between(series, at)
    inside = at[:3]
    torch.testing.assert_close(told[0, :3], inside**2 - 3.0 * inside)
    torch.testing.assert_close(told[1, :3], 2.0 - inside)
    torch.testing.assert_close(told[:, 3:], series[:, [0, -1]])


@pytest.mark.parametrize("offsets", [4, 7])
def test_a_lagging_curve_is_the_curve_before(offsets: int) -> None:
    basis, steps, lag = LocalBasis(4), 30, torch.tensor([0.37, -1.62], dtype=torch.float64)

    def wave(t: Tensor) -> Tensor:  # t in steps; eight grid points a period and more
        return torch.sin(2.0 * math.pi * t / 5.0) + 0.3 * torch.cos(2.0 * math.pi * t / 2.5)

    step = torch.arange(steps, dtype=torch.float64).view(-1, 1, 1)
    patch = wave(step + basis.grid.double()).expand(2, -1, -1, -1)
    offset = (torch.arange(offsets, dtype=torch.float64) / offsets).expand(2, steps, -1)
    told = basis.read_behind(patch, offset, lag)
    truth = wave(step + offset[:1, :, None] - lag.view(-1, 1, 1, 1))
    inner = slice(3, steps - 3)
    torch.testing.assert_close(told[:, inner], truth[:, inner], rtol=0, atol=0.03)
    assert (truth[:, inner] - wave(step + offset[:1, :, None])[:, inner]).abs().max() > 0.5


def test_no_lag_is_no_change_and_a_whole_step_is_the_step_before(
    make_model: Make, make_batch: MakeBatch
) -> None:
    model, batch = make_model(**LAGS), make_batch()
    z = torch.randn(3, batch.steps, 3, dtype=torch.float64)
    eps = torch.randn(3, 1, 2, dtype=torch.float64)
    arguments = (z, eps, model.name_index("ppg", batch), batch.offset["ppg"])
    plain = model.emission("ppg").moments(*arguments)
    still = model.emission("ppg").moments(*arguments, torch.zeros(3, dtype=torch.float64))
    late = model.emission("ppg").moments(*arguments, torch.ones(3, dtype=torch.float64))
    for a, b, c in zip(plain, still, late, strict=True):
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(c[:, 1:], a[:, :-1])


@torch.no_grad()
def test_explicit_elbo_is_pyros_in_expectation(make_model: Make, make_batch: MakeBatch) -> None:
    model, batch = make_model(**LAGS), make_batch(windows=1, steps=6)
    rows = torch.zeros(2000, dtype=torch.int64)
    copies = {
        kind: {n: x[rows] for n, x in getattr(batch, kind).items()}
        for kind in ("values", "mask", "offset")
    }
    channels = {n: x * 2000 for n, x in batch.channels.items()}
    batch = replace(batch, **copies, channels=channels, subject=["s"] * 2000)
    batch = replace(batch, record=["r"] * 2000, start_step=rows)
    batch = _hidden(batch, "ecg", "resp", rows=slice(1000, None))
    evidence = model.evidence(batch)
    q = model.guide_of(evidence)
    torch.manual_seed(0)
    bound = terms.elbo(model, batch, evidence, q, q.rsample(), 0.3)
    assert (bound.kl_lag[:1000] > 0).all()
    assert (bound.kl_lag[1000:] == 0).all(), "nothing tells of it"
    guide = poutine.trace(model.guide).get_trace(batch, 0.3)
    joint = poutine.trace(poutine.replay(model.model, guide)).get_trace(batch, 0.3)
    joint.compute_log_prob()
    guide.compute_log_prob()
    assert joint.nodes["lag_ppg"]["value"].shape == (2000,)
    by_pyro = torch.zeros(2000, dtype=torch.float64)
    for trace, sign in ((joint, 1.0), (guide, -1.0)):
        for site in trace.nodes.values():
            if site["type"] == "sample" and site["name"] != "window":
                by_pyro += sign * site["log_prob"] / terms.seconds(batch)
    explicit, by_pyro = bound.value.view(2, 1000), by_pyro.view(2, 1000)
    error = ((explicit.var(1) + by_pyro.var(1)) / 1000).sqrt()
    assert ((explicit.mean(1) - by_pyro.mean(1)).abs() < 4 * error).all()
    assert (error < 0.02 * explicit.mean(1).abs()).all()
    pyro.clear_param_store()


@torch.no_grad()
def test_what_is_asked_of_an_absent_pulse_pays_for_its_lag(
    make_model: Make, make_batch: MakeBatch
) -> None:
    model, batch = make_model(**LAGS), make_batch()
    evidence = model.evidence(batch)
    target = torch.tensor([[False, True, False]] * 2 + [[False] * 3])
    view = View(keep=~target, target=target)
    q = model.guide_of(evidence, view.keep)
    lag, prior = evidence.lags["ppg"], model.lag_guide("ppg").prior()
    certain = Normal(lag.q.loc, torch.full_like(lag.q.scale, 1e-9))
    evidence.lags = {"ppg": replace(lag, q=certain)}
    torch.manual_seed(5)
    score = terms.cross(model, batch, evidence, view, q, draws=1)
    torch.manual_seed(5)
    z = q.rsample(torch.Size((1,)))[0, :2]
    eps = torch.randn(2, 1, 2, dtype=torch.float64)
    names, steps_late = model.name_index("ppg", batch)[:2], certain.loc[:2] * 4.0
    emission = model.emission("ppg")(z, eps, names, batch.offset["ppg"][:2], steps_late)
    log_prob = emission.log_prob(batch.values["ppg"][:2])
    reached = terms.observed_log_prob(log_prob, batch.mask["ppg"][:2])
    paid = kl_divergence(certain, prior)[:2]
    torch.testing.assert_close(score["ppg"][:2], (reached - paid) / terms.seconds(batch))
    assert score["ppg"][2] == 0, "not asked, not paid"


@pytest.mark.parametrize("fill", [1e6, math.nan])
def test_nothing_depends_on_what_stands_behind_the_mask(
    make_model: Make, make_batch: MakeBatch, fill: float
) -> None:
    model, batch = make_model(**LAGS), _hidden(make_batch(), "ppg", rows=slice(0, 1))
    results = []
    for own in (0.0, fill):
        values = {n: torch.where(batch.mask[n], batch.values[n], own) for n in batch.values}
        filled = replace(batch, values=values)
        model.zero_grad()
        torch.manual_seed(1)
        generator = torch.Generator().manual_seed(2)
        score_batch(model, filled, Objective(mask=1.0), generator).loss.backward()
        lag = model.evidence(filled).lags["ppg"].q
        gradients = [w.grad.clone() for w in model.parameters() if w.grad is not None]
        results.append([lag.loc, lag.scale, *gradients])
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)
        assert torch.isfinite(a).all()
    moved = [n for n, w in model.named_parameters() if w.grad is not None and w.grad.any()]
    assert any("lag_guides.ppg.own" in name for name in moved)
    assert any("lag_guides.ppg.spread" in name for name in moved)


@torch.no_grad()
def test_an_absent_sensor_tells_nothing_of_a_lag(make_model: Make, make_batch: MakeBatch) -> None:
    model, batch = make_model(**LAGS), make_batch()
    masked, dropped = _hidden(batch, "resp"), batch.drop("resp")
    a, b = (model.evidence(each).lags["ppg"] for each in (masked, dropped))
    assert torch.equal(a.q.loc, b.q.loc)
    assert torch.equal(a.q.scale, b.q.scale)
    whole = model.evidence(batch).lags["ppg"]
    assert not torch.isclose(whole.q.loc, a.q.loc).any()
    prior = model.lag_guide("ppg").prior()
    for absent in (("ppg",), ("ecg", "resp")):
        nothing = model.evidence(_hidden(batch, *absent)).lags["ppg"]
        assert not nothing.told.any()
        assert (nothing.q.loc == prior.loc).all()
        assert (nothing.q.scale == prior.scale).all()
    assert model.evidence(batch.drop("ppg")).lags == {}


def test_a_known_delay_is_found_between_the_steps() -> None:
    """Two sensors that hear one wave, one of them late; the steps are 0.25 s."""
    torch.manual_seed(0)
    guide, steps = LagGuide(3, 4.0), torch.arange(40) / 4.0

    def heard(count: int) -> tuple[Tensor, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        delay = 0.12 + 0.1 * torch.randn(count)
        rate, phase = 1.0 + 0.2 * torch.randn(count, 1), 2 * math.pi * torch.rand(count, 1)

        def evidence(late: Tensor) -> tuple[Tensor, Tensor]:
            angle = 2 * math.pi * rate * (steps - late.unsqueeze(-1)) + phase
            value = torch.stack([angle.sin(), angle.cos(), (2 * angle).sin()], -1)
            return torch.ones_like(value), 2.0 * value

        return delay, evidence(delay), evidence(torch.zeros(count))

    optimiser = torch.optim.Adam(guide.parameters(), 3e-3)
    for _ in range(200):
        delay, own, rest = heard(64)
        lag = guide(own, rest).q
        known = Normal(lag.loc.detach(), lag.scale.detach())
        loss = (kl_divergence(known, guide.prior()) - lag.log_prob(delay)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        delay, own, rest = heard(500)
        lag = guide(own, rest).q
    assert torch.corrcoef(torch.stack([delay, lag.loc]))[0, 1] > 0.95
    inside = (delay - lag.loc).abs() < 1.645 * lag.scale
    assert inside.float().mean() > 0.8
    assert lag.scale.mean() < 0.06, "far surer than before"
    prior = guide.prior()
    assert float(prior.loc.detach()) == pytest.approx(0.12, abs=0.02), "what is usual among people"
    assert 0.06 < float(prior.scale.detach()) < 0.13, "on its way from 0.05 to 0.1"


def test_a_spec_with_lags(make_model: Make) -> None:
    spec = make_model(**LAGS).spec
    assert ModelSpec.from_dict(spec.to_dict()) == spec
    older = {k: v for k, v in spec.to_dict().items() if k != "lags"}
    assert ModelSpec.from_dict(older).lags == ()
    with pytest.raises(FitError, match="ecg, ppg, resp.*'spo2'"):
        make_model(lags=("spo2",))
    with pytest.raises(FitError, match="waveform: none"):
        make_model(sensors={"x": SensorSpec(1, ("a",), "bernoulli")}, lags=("x",))
    assert not any("lag" in name for name, _ in make_model().named_parameters())
