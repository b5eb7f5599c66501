"""The objective's terms against Pyro, against the formula, and against what they claim."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import Normal

from latentphys.learning import terms
from latentphys.learning.objective import Objective, _Seen, score_batch
from latentphys.learning.views import Masking, View, gap_view, masked_view, subset_view
from latentphys.model.distributions import GaussMarkov
from latentphys.model.emissions import PatchEmission
from latentphys.model.evidence import nuisance_of
from latentphys.model.noise import ColouredNoise
from latentphys.model.statespace import StateSpaceModel
from latentphys.model.tokenisers import LocalBasis
from latentphys.preparation.batch import Batch
from latentphys.recordings.errors import FitError

Make = Callable[..., StateSpaceModel]
MakeBatch = Callable[..., Batch]


def _pyro_elbo(model: StateSpaceModel, batch: Batch, kl_weight: float) -> Tensor:
    """One draw of Pyro's Trace_ELBO, nats per second, by window."""
    pyro.clear_param_store()
    guide = poutine.trace(model.guide).get_trace(batch, kl_weight)
    joint = poutine.trace(poutine.replay(model.model, guide)).get_trace(batch, kl_weight)
    joint.compute_log_prob()
    guide.compute_log_prob()
    total = torch.zeros(len(batch), dtype=torch.float64)
    for trace, sign in ((joint, 1.0), (guide, -1.0)):
        for site in trace.nodes.values():
            if site["type"] == "sample" and "log_prob" in site and site["name"] != "window":
                total = total + sign * site["log_prob"]
    return total / terms.seconds(batch)


def _copies(batch: Batch, count: int) -> Batch:
    """One window many times over, so that one pass is many draws."""
    rows = torch.zeros(count, dtype=torch.int64)
    return replace(
        batch,
        values={n: x[rows] for n, x in batch.values.items()},
        mask={n: x[rows] for n, x in batch.mask.items()},
        offset={n: x[rows] for n, x in batch.offset.items()},
        channels={n: x * count for n, x in batch.channels.items()},
        subject=batch.subject * count,
        record=batch.record * count,
        start_step=batch.start_step[rows],
    )


@torch.no_grad()
@pytest.mark.parametrize("kl_weight", [1.0, 0.3])
def test_explicit_elbo_is_pyros_in_expectation(
    make_model: Make, make_batch: MakeBatch, kl_weight: float
) -> None:
    model, batch = make_model(), _copies(make_batch(windows=1, steps=6), 2000)
    batch.mask["ppg"][1000:] = False
    evidence = model.evidence(batch)
    q = model.guide_of(evidence)
    torch.manual_seed(0)
    explicit = terms.elbo(model, batch, evidence, q, q.rsample(), kl_weight).value.view(2, 1000)
    by_pyro = _pyro_elbo(model, batch, kl_weight).view(2, 1000)
    error = ((explicit.var(1) + by_pyro.var(1)) / 1000).sqrt()
    assert ((explicit.mean(1) - by_pyro.mean(1)).abs() < 4 * error).all()
    assert (error < 0.02 * explicit.mean(1).abs()).all()


@torch.no_grad()
def test_elbo_is_the_sum_of_its_parts_and_of_single_samples(
    make_model: Make, make_batch: MakeBatch
) -> None:
    model, batch = make_model(), make_batch()
    evidence = model.evidence(batch)
    for sensor in evidence.sensors.values():  # nothing left to the draw
        sensor.nuisance.scale = torch.full_like(sensor.nuisance.scale, 1e-300)
    q = model.guide_of(evidence)
    z = q.rsample()
    bound = terms.elbo(model, batch, evidence, q, z, 0.5)
    kl = bound.kl_state + bound.kl_nuisance
    torch.testing.assert_close(bound.value, sum(bound.log_likelihood.values()) - 0.5 * kl)
    name = "ppg"
    eps = evidence.sensors[name].nuisance.loc
    emission = model.emission(name)(z, eps, model.name_index(name, batch), batch.offset[name])
    by_hand = torch.zeros(len(batch), dtype=torch.float64)
    log_prob = emission.log_prob(batch.values[name])
    for row, step, channel, slot in batch.mask[name].nonzero().tolist():
        by_hand[row] += log_prob[row, step, channel, slot]
    torch.testing.assert_close(bound.log_likelihood[name], by_hand / (12 / 4.0))


def _view(batch: Batch, *scored: str) -> View:
    names = list(batch.values)
    target = torch.tensor([[name in scored for name in names]] * len(batch))
    return View(keep=~target, target=target)


@torch.no_grad()
def test_cross_with_one_draw_is_its_log_likelihood(make_model: Make, make_batch: MakeBatch) -> None:
    model, batch = make_model(), make_batch()
    evidence, view = model.evidence(batch), _view(batch, "ppg")
    q = model.guide_of(evidence, view.keep)
    torch.manual_seed(5)
    score = terms.cross(model, batch, evidence, view, q, draws=1)
    torch.manual_seed(5)
    z = q.rsample(torch.Size((1,)))[0]
    eps = torch.randn(1, len(batch), 1, 2, dtype=torch.float64)[0]
    emission = model.emission("ppg")(z, eps, model.name_index("ppg", batch), batch.offset["ppg"])
    by_hand = terms.observed_log_prob(emission.log_prob(batch.values["ppg"]), batch.mask["ppg"])
    torch.testing.assert_close(score["ppg"], by_hand / terms.seconds(batch))
    assert (score["ecg"] == 0).all()
    assert (score["resp"] == 0).all()


@torch.no_grad()
def test_cross_scores_each_windows_own_targets(make_model: Make, make_batch: MakeBatch) -> None:
    model, batch = (
        make_model(),
        make_batch().drop("ecg"),
    )  # columns are the batch's, not the model's
    view = _view(batch, "resp")
    view.target[1] = False
    evidence = model.evidence(batch)
    q = model.guide_of(evidence, view.keep)
    score = terms.cross(model, batch, evidence, view, q, draws=3)
    assert list(score) == ["ppg", "resp"]
    assert (score["resp"] != 0).tolist() == [True, False, True]
    assert (score["ppg"] == 0).all()


@torch.no_grad()
def test_several_views_at_once_are_the_views_one_by_one(
    make_model: Make, make_batch: MakeBatch
) -> None:
    model, batch = make_model(), make_batch()
    for emission in model.emissions.values():
        emission.modulation.weight.zero_()  # type: ignore[union-attr, operator]
    evidence, present = model.evidence(batch), torch.ones(3, 3, dtype=torch.bool)
    both = subset_view(present, torch.Generator().manual_seed(3), views=2)
    q = _certain(model.guide_of(evidence, both.keep))
    together = terms.cross(model, batch, evidence, both, q, draws=2, beta=0.5)
    for half in (slice(0, 3), slice(3, 6)):
        view = View(both.keep[half], both.target[half])
        own = _certain(model.guide_of(evidence, view.keep))
        torch.testing.assert_close(own.mean, q.mean[half])
        alone = terms.cross(model, batch, evidence, view, own, draws=2)
        for name, score in alone.items():
            torch.testing.assert_close(together[name][half], score)


def _certain(q: GaussMarkov) -> GaussMarkov:
    return GaussMarkov(q.mean, q.correlation, torch.full_like(q.scale, 1e-300))


def test_beta_weighs_gradients_and_leaves_the_value(
    make_model: Make, make_batch: MakeBatch
) -> None:
    model, batch = make_model(), make_batch(windows=1)
    gradients, values = [], []
    for beta in (0.0, 1.0):
        torch.manual_seed(0)
        evidence = model.evidence(batch)
        q = model.guide_of(evidence, _view(batch, "ppg").keep)
        emission = model.emission("ppg")
        score = terms.cross(model, batch, evidence, _view(batch, "ppg"), q, 1, beta)["ppg"]
        (gradient,) = torch.autograd.grad(score, emission.head.bias)
        values.append(score.detach())
        gradients.append(gradient[:4])
    torch.testing.assert_close(*values)
    assert not torch.allclose(gradients[0], gradients[1])
    # at beta = 1 the mean's gradient is the residual's, whatever the spread
    torch.manual_seed(0)
    z = q.path(torch.randn(1, *q.mean.shape, dtype=torch.float64))
    eps = torch.randn(1, 1, 1, 2, dtype=torch.float64)
    loc, scale = emission.moments(z, eps, model.name_index("ppg", batch), batch.offset["ppg"])
    residual = torch.where(batch.mask["ppg"], batch.values["ppg"] - loc[0], 0.0)
    mean_variance = scale[0][batch.mask["ppg"]].square().mean()
    by_hand = residual.sum((0, 1, 2)) / mean_variance / terms.seconds(batch)
    torch.testing.assert_close(gradients[1], by_hand)


@torch.no_grad()
def test_what_is_scored_in_a_gap_never_speaks(make_model: Make, make_batch: MakeBatch) -> None:
    model, batch = make_model(), make_batch(windows=40, steps=24, holes=0.0)
    present = torch.ones(40, 3, dtype=torch.bool)
    view = gap_view(
        View(present, ~present),
        present,
        batch.steps,
        torch.Generator().manual_seed(0),
        share=1.0,
        reach=model.reach,
    )
    changed = make_batch(windows=40, steps=24, holes=0.0)
    for k, name in enumerate(changed.values):
        inside = view.targets(k, batch.steps)
        assert inside.any()
        changed.values[name][inside] += 3.0
    one, two = (model.evidence(b) for b in (batch, changed))
    assert not torch.equal(one.total()[0], two.total()[0])
    for before, after in zip(one.total(view.keep), two.total(view.keep), strict=True):
        assert torch.equal(before, after)


@torch.no_grad()
def test_what_is_scored_in_a_sensors_own_gap_never_speaks(
    make_model: Make, make_batch: MakeBatch
) -> None:
    """Whatever the hidden samples are, the posteriors stay and the cross term alone changes."""
    model = make_model()
    batch, changed = (make_batch(windows=40, steps=24, holes=0.1) for _ in range(2))
    objective = Objective(own_gaps=0.6, none_out=0.4, gaps=0.2, mask=1.0)
    seen = _Seen.of(model, batch, objective, torch.Generator().manual_seed(0))
    hidden = {name: batch.mask[name] & ~seen.shown.mask[name] for name in batch.mask}
    for name, samples in hidden.items():
        assert samples.any()
        changed.values[name][samples] += 3.0
    other = _Seen.of(model, changed, objective, torch.Generator().manual_seed(0))
    for view, q in seen.q.items():
        assert torch.equal(q.mean, other.q[view].mean)
        assert torch.equal(q.scale, other.q[view].scale)
    scores = []
    for windows in (batch, changed):
        torch.manual_seed(0)
        rng = torch.Generator().manual_seed(0)
        scores.append(score_batch(model, windows, objective, rng).by_window)
    for name in batch.mask:
        assert torch.equal(scores[0][f"x/{name}"], scores[1][f"x/{name}"])
        assert not torch.equal(scores[0][f"cross/{name}"], scores[1][f"cross/{name}"])


@torch.no_grad()
@pytest.mark.parametrize("lost", [[1], [0, 1, 2]])
def test_a_sensor_whose_every_sample_lies_in_a_gap_has_the_priors_nuisance(
    make_model: Make, make_batch: MakeBatch, lost: list[int]
) -> None:
    """Whatever it or its batch mates show elsewhere; in the last window too."""
    model, batch = make_model(), make_batch(windows=3, holes=0.0)
    gap = torch.zeros_like(batch.mask["ppg"])
    gap[lost] = True
    shown = batch.hide({"ppg": gap})
    evidence = model.evidence(shown)
    keep = torch.ones(3, 3, batch.steps, dtype=torch.bool)
    keep[:, :, 3] = False
    q = model.guide_of(evidence, keep)
    view = View(keep, ~keep, gaps={"ppg": gap})
    torch.manual_seed(5)
    score = terms.cross(model, batch, evidence, view, q, draws=2)["ppg"]
    silent = replace(evidence.sensors["ppg"], traces=None)
    absent = {**evidence.sensors, "ppg": silent}
    torch.manual_seed(5)
    prior = terms.cross(model, batch, replace(evidence, sensors=absent), view, q, draws=2)["ppg"]
    torch.testing.assert_close(score[lost], prior[lost])


@torch.no_grad()
def test_a_gaps_samples_are_scored_once_and_exactly(
    make_model: Make, make_batch: MakeBatch
) -> None:
    model, batch = make_model(), make_batch(windows=1, holes=0.0)
    gap = torch.zeros_like(batch.mask["ppg"])
    gap[:, 5:7], gap[:, 7, :, :1] = True, True  # and the first sample of one step more
    shown = batch.hide({"ppg": gap})
    keep = torch.ones(1, 3, dtype=torch.bool)
    evidence = model.evidence(shown)
    q = model.guide_of(evidence, keep)
    view = View(keep, ~keep, gaps={"ppg": gap})
    torch.manual_seed(5)
    score = terms.cross(model, batch, evidence, view, q, draws=1)
    torch.manual_seed(5)
    z = q.rsample(torch.Size((1,)))[0]
    own = evidence.sensors["ppg"].nuisance
    eps = own.loc + own.scale * torch.randn(1, 1, 2, dtype=torch.float64)
    emission = model.emission("ppg")(z, eps, model.name_index("ppg", batch), batch.offset["ppg"])
    by_hand = emission.log_prob(batch.values["ppg"])[gap].sum() / terms.seconds(batch)
    torch.testing.assert_close(score["ppg"], by_hand.unsqueeze(0))
    assert not score["ecg"].any()


@torch.no_grad()
def test_cross_scores_a_gap_alone(make_model: Make, make_batch: MakeBatch) -> None:
    model, batch = make_model(), make_batch(windows=1, holes=0.0)
    keep, target = torch.ones(1, 3, 12).bool(), torch.zeros(1, 3, 12).bool()
    keep[..., 3:9], target[:, 1, 5:7] = False, True
    evidence = model.evidence(batch)
    q = model.guide_of(evidence, keep)
    torch.manual_seed(5)
    score = terms.cross(model, batch, evidence, View(keep, target), q, draws=1)["ppg"]
    torch.manual_seed(5)
    z = q.rsample(torch.Size((1,)))[0]
    # It speaks outside the gap: its own nuisance, from those steps alone.
    traces = evidence.sensors["ppg"].traces
    assert traces is not None
    own = nuisance_of(traces.about_nuisance[:, keep[0, 1]].mean(1))
    eps = own.loc + own.scale * torch.randn(1, 1, 2, dtype=torch.float64)
    emission = model.emission("ppg")(z, eps, model.name_index("ppg", batch), batch.offset["ppg"])
    by_hand = emission.log_prob(batch.values["ppg"])[:, 5:7].sum() / terms.seconds(batch)
    torch.testing.assert_close(score, by_hand.unsqueeze(0))


@torch.no_grad()
@pytest.mark.parametrize("masking", [Masking(0.3, 1.0), Masking(0.0, channel=0.5)])
def test_what_a_mask_scores_speaks_neither_of_the_state_nor_of_the_nuisance(
    make_model: Make, make_batch: MakeBatch, masking: Masking
) -> None:
    model = make_model()
    batch, changed = (make_batch(windows=40, steps=48, holes=0.0) for _ in range(2))
    evidence = model.evidence(batch)
    channels = {name: batch.mask[name].any(-1).any(1) for name in batch.mask}
    rng = torch.Generator().manual_seed(0)
    view = masked_view(
        evidence.present(), channels, 48, batch.state_rate_hz, rng, masking, model.reach
    )
    for k, name in enumerate(changed.values):
        inside = view.targets(k, 48).unsqueeze(-1).expand(-1, -1, channels[name].shape[1])
        if view.hidden:
            inside = inside | view.hidden[name].unsqueeze(1)
        changed.values[name][inside] += 3.0
    other = model.evidence(changed)
    assert not torch.equal(evidence.total()[0], other.total()[0])
    totals = (e.total(view.keep, view.hidden) for e in (evidence, other))
    for before, after in zip(*totals, strict=True):
        torch.testing.assert_close(before, after, rtol=0.0, atol=0.0)
    # With the first batch's samples put back the whole score is the same: eps was, too.
    q = model.guide_of(evidence, view.keep)
    scores = []
    for said in (evidence, other):
        torch.manual_seed(0)
        scores.append(terms.cross(model, batch, said, view, q))
    for name, score in scores[0].items():
        assert torch.equal(score, scores[1][name])
        assert view.hidden or (score != 0).any()


@torch.no_grad()
def test_hidden_channels_are_as_if_never_there(make_model: Make, make_batch: MakeBatch) -> None:
    model, batch = make_model(), make_batch()
    hidden = {"ecg": torch.tensor([[True, False]] * 3)}
    alone = replace(batch, mask={**batch.mask, "ecg": batch.mask["ecg"].clone()})
    alone.mask["ecg"][:, :, 0] = False
    present = torch.ones(3, 3, dtype=torch.bool)
    evidence = model.evidence(batch).total(present, hidden)
    for got, want in zip(evidence, model.evidence(alone).total(), strict=True):
        torch.testing.assert_close(got, want)
    attends = make_model(channels="attention")
    with pytest.raises(FitError, match="channels='sum'"):
        attends.evidence(batch).total(present, hidden)


@torch.no_grad()
def test_total_correlation_is_the_papers_mixture(make_model: Make, make_batch: MakeBatch) -> None:
    bound = terms.Elbo(
        value=torch.tensor([1.0]),
        log_likelihood={"a": torch.tensor([-2.0]), "b": torch.tensor([-4.0])},
        kl_state=torch.tensor([3.0]),
        kl_nuisance=torch.tensor([0.25]),
        kl_lag=torch.tensor([0.25]),
    )
    apart = torch.tensor([[1.0], [2.0]])
    # (1 - .5/2) (-6) - .2 (.5 * 3 + .5 + .25 * 3)
    mixed = terms.total_correlation(bound, apart, alpha=0.5, kl_weight=0.2)
    torch.testing.assert_close(mixed, torch.tensor([-4.5 - 0.2 * 2.75]))
    torch.testing.assert_close(
        terms.total_correlation(bound, apart, alpha=0.0), torch.tensor([-9.5])
    )
    model, batch = make_model(), make_batch()
    scores = []
    for alpha in (0.0, 0.5):
        torch.manual_seed(0)
        objective = Objective(cross=0.0, miss=0.0, total_correlation=alpha)
        scores.append(score_batch(model, batch, objective, torch.Generator()))
    parts = scores[1].by_window
    reached = sum(parts[f"x/{name}"] for name in batch.values)
    held = 0.5 * parts["kl_state"] + parts["kl_nuisance"] + 0.5 / 3 * parts["kl_single"]
    torch.testing.assert_close(scores[1].loss, -((1 - 0.5 / 3) * reached - held).mean())
    torch.testing.assert_close(parts["elbo"], scores[0].by_window["elbo"])


def _logged(model: StateSpaceModel, batch: Batch, objective: Objective) -> dict[str, list[float]]:
    return score_batch(model, batch, objective, torch.Generator().manual_seed(0)).by_direction


@torch.no_grad()
def test_every_direction_is_logged(make_model: Make, make_batch: MakeBatch) -> None:
    """A sensor left out of windows without a hole is scored for all of their seconds."""
    model, batch = make_model(), make_batch(windows=40, holes=0.0)
    alone = Objective(gaps=0.0, own_gaps=0.0)
    score = score_batch(model, batch, alone, torch.Generator().manual_seed(0))
    logged = score.by_direction
    for name in batch.values:
        rows = [x for key, own in logged.items() if key.endswith(f">{name}") for x in own]
        torch.testing.assert_close(sum(rows) / 40, float(score.by_window[f"cross/{name}"].mean()))
    missed = [x for key, own in logged.items() if key.startswith("miss/") for x in own]
    torch.testing.assert_close(sum(missed) / 40, float(score.by_window["miss"].mean()))
    expected = {"cross/ecg+ppg>resp", "cross/ecg>ppg", "cross/ecg>resp", "miss/ecg", "miss/ecg+ppg"}
    assert expected <= set(logged)
    assert not any(key.split(">")[1] in key.split(">")[0] for key in logged if ">" in key)
    longer = make_batch(windows=40, steps=48, holes=0.0)
    both = _logged(model, longer, replace(alone, mask=1.0, masking=Masking(0.3, 1.0, 0.3)))
    assert {"cross/ecg+ppg>resp", "mask/ecg+ppg>resp", "mask/ecg+ppg+resp>ecg"} <= set(both)


@torch.no_grad()
def test_a_short_gap_is_told_a_second_as_a_long_one(
    make_model: Make, make_batch: MakeBatch
) -> None:
    """Nats a second of what is scored: of a sensor told at each sample alike, however much is."""
    model, batch = make_model(), make_batch(windows=40, holes=0.0)
    part = model.emission("ppg")
    for weight in (*part.head.parameters(), *part.straight.parameters()):
        weight.zero_()
    batch.values["ppg"].fill_(0.5)
    logged = _logged(model, batch, Objective(gaps=0.0, draws=1))
    gaps = [x for key, own in logged.items() if key.endswith("ppg+resp>ppg") for x in own]
    left_out = [x for key, own in logged.items() if key == "cross/ecg+resp>ppg" for x in own]
    assert len(gaps) > 3
    assert gaps == pytest.approx([left_out[0]] * len(gaps), rel=1e-5)


@torch.no_grad()
def test_missing_is_zero_for_equal_posteriors_alone(
    make_model: Make, make_batch: MakeBatch
) -> None:
    model, batch = make_model(), make_batch()
    evidence = model.evidence(batch)
    q = model.guide_of(evidence)
    z = q.rsample()
    assert terms.missing(q, q, z, batch).abs().max() < 1e-12
    for name in batch.values:
        subset = model.guide_of(evidence, _view(batch, name).keep)
        assert (terms.missing(q, subset, z, batch) > 0).all()


@pytest.mark.parametrize("teach_only", [True, False])
def test_missing_teaches_the_subset_alone(
    make_model: Make, make_batch: MakeBatch, teach_only: bool
) -> None:
    model, batch = make_model(), make_batch(windows=1).drop("ecg")
    gradients = []
    for miss in (0.0, 1.0):
        torch.manual_seed(0)
        model.zero_grad()
        objective = Objective(cross=0.0, miss=miss, views=1, teach_only=teach_only)
        score_batch(model, batch, objective, torch.Generator().manual_seed(0)).loss.backward()
        weights = [model.encoder(name).to_evidence.weight.grad for name in ("ppg", "resp")]
        gradients.append([w.clone() for w in weights if w is not None])
    moved = [not torch.allclose(a, b) for a, b in zip(*gradients, strict=True)]
    # one of the two sensors is left out; it is part of the full posterior alone
    assert sum(moved) == (1 if teach_only else 2)


@torch.no_grad()
def test_terms_are_per_second(make_model: Make, make_batch: MakeBatch) -> None:
    model, batch = make_model(), make_batch(windows=1)
    evidence = model.evidence(batch)
    q = model.guide_of(evidence)
    z = q.rsample()
    slow = terms.elbo(model, batch, evidence, q, z).kl_state
    batch.state_rate_hz = 8.0
    torch.testing.assert_close(terms.elbo(model, batch, evidence, q, z).kl_state, 2.0 * slow)


@torch.no_grad()
def test_score_weighs_its_terms(make_model: Make, make_batch: MakeBatch) -> None:
    model, batch = make_model(), make_batch()
    objective = Objective(cross=2.0, miss=0.3)
    torch.manual_seed(0)
    score = score_batch(model, batch, objective, torch.Generator().manual_seed(0))
    by_window = score.by_window
    crossed = sum(by_window[f"cross/{name}"] for name in batch.values)
    loss = -by_window["elbo"] - 2.0 * crossed + 0.3 * by_window["miss"]
    torch.testing.assert_close(score.loss, loss.mean())
    assert 0 <= score.active_units <= 3


def _spread_gradient(model: StateSpaceModel, batch: Batch, draws: int) -> float:
    """d E[cross] / d log(spread of q_S) where z behind x is exchangeable with the draws."""
    torch.manual_seed(0)
    emission = PatchEmission(LocalBasis(2), 3, 2, ("RESP",), width=4).double()
    model.emissions["resp"] = emission
    noise = emission.noise_floor + 1.0
    with torch.no_grad():  # x = z_1 + noise, whatever eps
        emission.head.weight.zero_()
        emission.head.bias.zero_()
        emission.head.bias[2] = float(torch.tensor(1.0).expm1().log())
        emission.straight.weight.copy_(torch.tensor([1.0, 0.0, 0.0]))
        emission.straight.bias.zero_()
    shape = (len(batch), 1, 3)
    z = torch.randn(shape, dtype=torch.float64)[..., :1].unsqueeze(-1)
    batch.values["resp"] = z + noise * torch.randn(z.shape[:3] + (2,), dtype=torch.float64)
    log_spread = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    q = GaussMarkov(torch.zeros_like(log_spread), torch.zeros_like(log_spread), log_spread.exp())
    view = View(keep=torch.zeros(shape[0], 1).bool(), target=torch.ones(shape[0], 1).bool())
    evidence = model.evidence(batch)
    score = terms.cross(model, batch, evidence, view, q, draws)["resp"].sum() * terms.seconds(batch)
    (gradient,) = torch.autograd.grad(score, log_spread)
    return float(gradient[:, 0, 0].mean())


def test_cross_rewards_an_honest_spread_as_draws_grow(
    make_model: Make, make_batch: MakeBatch
) -> None:
    # with K draws a mean of K is paid for: the pull towards a narrow q_S falls like 1 / K
    batch = _copies(make_batch(windows=1, steps=1, holes=0.0), 8000).drop("ecg", "ppg")
    pull = {draws: -_spread_gradient(make_model(), batch, draws) for draws in (1, 4, 32)}
    assert pull[1] > 5 * pull[4] > 0
    assert pull[4] < 0.35
    assert abs(pull[32]) < 0.06


def _scored_traces(values: Tensor, mask: Tensor) -> terms._Traces:
    """Traces (trace, step, 1, patch) with nothing but samples."""
    none = torch.zeros(len(values), dtype=torch.long)
    share = mask.float().mean((-2, -1))
    return terms._Traces(none, none, none, values, mask, share, none[:, None], values[:, :, 0])


def test_the_score_of_blocks_is_the_crps_of_their_means() -> None:
    """E over draws = n (s (w (2 Phi(w) - 1) + 2 phi(w) - 1 / sqrt(pi))), w = (x - mu) / s."""
    torch.manual_seed(0)
    count, steps, patch, state, noise = 40_000, 4, 5, 0.7, 1.3
    drawn = torch.randn(2, count, 1, 1, 1, dtype=torch.float64).repeat(1, 1, steps, 1, patch)
    loc = 0.2 + state * torch.cat([drawn, -drawn])
    variance = torch.full_like(loc, noise**2)
    mask = torch.ones(count, steps, 1, patch, dtype=torch.bool)
    mask[:, 1, :, 3:] = False  # of the first block of two steps
    mask[:, 3] = False  # half of the second
    mask[:, 2, :, 0] = False  # and more: it does not count
    values = torch.where(mask, 1.0, torch.nan).double()
    found = terms._block_score(loc, variance, _scored_traces(values, mask), 2)
    scored = 8
    spread = (state**2 + noise**2 / scored) ** 0.5
    unit, w = Normal(0.0, 1.0), torch.tensor((1.0 - 0.2) / spread)
    crps = w * (2.0 * unit.cdf(w) - 1.0) + 2.0 * unit.log_prob(w).exp() - math.pi**-0.5
    assert float(found.mean()) == pytest.approx(scored * spread * float(crps), rel=0.02)


def test_blocks_tell_a_state_that_is_not_known_from_noise_of_every_sample() -> None:
    torch.manual_seed(0)
    count, steps, patch = 2000, 3, 8
    away = torch.randn(count, 1, 1, 1, dtype=torch.float64).expand(count, steps, 1, patch)
    mask = torch.ones(count, steps, 1, patch, dtype=torch.bool)
    traces = _scored_traces(away, mask)
    drawn = torch.randn(2, count, 1, 1, 1, dtype=torch.float64).expand(2, *away.shape)
    drawn, nothing = torch.cat([drawn, -drawn]), torch.zeros(4, *away.shape, dtype=torch.float64)
    state = terms._block_score(drawn, nothing, traces, steps).mean()
    noise = terms._block_score(nothing, nothing + 1.0, traces, steps).mean()
    assert float(state) < 0.9 * float(noise)  # 0.56 and 0.69 times the number of samples


def test_the_score_of_blocks_is_of_noise_that_lasts() -> None:
    """As of draws that have it sample by sample, over holes and at unequal scales."""
    torch.manual_seed(0)
    count, steps, patch, noise = 20_000, 2, 5, ColouredNoise(1.0)
    sd = torch.linspace(0.5, 2.0, steps * patch).view(1, 1, steps, 1, patch)
    sd = sd.double().repeat(4, count, 1, 1, 1)
    mask = torch.ones(count, steps, 1, patch, dtype=torch.bool)
    mask[:, 0, :, 1:4] = False
    traces = _scored_traces(torch.full((count, steps, 1, patch), 0.7).double(), mask)
    shape = (4, count, steps * patch)
    drawn = torch.from_numpy(noise.draw(shape, 1.0 / patch, np.random.default_rng(0)))
    written = terms._block_score(sd * drawn.view_as(sd), 1e-12 * sd, traces, steps)
    found = terms._block_score(torch.zeros_like(sd), sd**2, traces, steps, noise).detach()
    assert float(found.mean()) == pytest.approx(float(written.mean()), rel=0.02)
    white = terms._block_score(torch.zeros_like(sd), sd**2, traces, steps)
    assert float(found.mean()) > 1.05 * float(white.mean())


def test_blocks_teach_how_long_noise_lasts() -> None:
    torch.manual_seed(0)
    count, steps, patch, lasts = 400, 12, 5, ColouredNoise(1.5)
    values = lasts.draw((count, steps * patch), 1.0 / patch, np.random.default_rng(0))
    values = torch.from_numpy(values).view(count, steps, 1, patch)
    traces = _scored_traces(values, torch.ones_like(values, dtype=torch.bool))
    nothing = torch.zeros(4, *values.shape)
    learned = ColouredNoise()
    optimizer = torch.optim.Adam(learned.parameters(), 0.003)
    for _ in range(150):
        loss = sum(
            terms._block_score(nothing, nothing + 1.0, traces, length, learned).mean()
            for length in (3, 12)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(learned.time_constant.detach()) == pytest.approx(1.5, rel=0.25)


def test_only_blocks_teach_how_long_a_sensors_noise_lasts(
    make_model: Make, make_batch: MakeBatch
) -> None:
    for block, taught in ((0.0, False), (0.3, True)):
        model = make_model(noise="coloured")
        objective = Objective(cross=2.0, own_gaps=0.0, block=block)
        rng = torch.Generator().manual_seed(0)
        score_batch(model, make_batch(), objective, rng).loss.backward()
        lasting = [model.emission(name).noise for name in ("ecg", "ppg", "resp")]
        grads = [noise.log_time.grad for noise in lasting if noise is not None]
        assert [grad is not None and bool(grad != 0) for grad in grads] == [taught] * 3


def test_the_score_of_blocks_is_taken_off_what_is_told(
    make_model: Make, make_batch: MakeBatch
) -> None:
    model, batch = make_model(), make_batch()
    scores = []
    for block in (0.0, 0.5):
        torch.manual_seed(0)
        objective = Objective(cross=2.0, own_gaps=0.0, block=block)
        scores.append(score_batch(model, batch, objective, torch.Generator().manual_seed(0)))
    assert not any(name.startswith("block/") for name in scores[0].by_window)
    blocks = sum(scores[1].by_window[f"block/{name}"] for name in batch.values)
    assert isinstance(blocks, Tensor)
    assert bool((blocks > 0).any())
    told = sum(scores[1].by_window[f"cross/{name}"] for name in batch.values)
    elbo, miss = (scores[1].by_window[name] for name in ("elbo", "miss"))
    expected = -elbo - 2.0 * (told - 0.5 * blocks) + objective.miss * miss
    torch.testing.assert_close(scores[1].loss, expected.mean())
    with pytest.raises(FitError, match="an even number from 4"):
        Objective(block=1.0, draws=2)


def test_a_gap_is_scored_in_the_first_look_at_its_window(
    make_model: Make, make_batch: MakeBatch
) -> None:
    model, batch = make_model(), make_batch(windows=4)
    present, gap = torch.ones(8, 3, dtype=torch.bool), torch.zeros_like(batch.mask["ecg"][:, :, :1])
    gap[:, :3] = True
    view = View(keep=present, target=~present, gaps={"ecg": gap})
    evidence = model.evidence(batch)
    q = model.guide_of(evidence).window(torch.arange(4).repeat(2))
    score = terms.cross(model, batch, evidence, view, q)["ecg"]
    assert (score[:4] != 0).all()
    assert (score[4:] == 0).all()
