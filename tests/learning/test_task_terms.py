"""Losses of tasks against closed forms, numbers worked by hand, and statsmodels."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

from latentphys.learning.task_terms import (
    Resilience,
    cox,
    cross_entropy,
    cumulative,
    gaussian,
    prototypes,
    resilient,
)
from latentphys.model.distributions import GaussMarkov
from latentphys.model.figures import TINY, figures_of
from latentphys.model.heads import (
    MOST_AWAY,
    HeadSpec,
    TaskHead,
    cumulative_log_probs,
    normal_of,
    steps_of,
)


def rows(count: int, latent: int = 3, steps: int = 10, seed: int = 0) -> GaussMarkov:
    rng = torch.Generator().manual_seed(seed)
    drawn = torch.randn(3, count, steps, latent, generator=rng, dtype=torch.float64)
    return GaussMarkov(drawn[0], 0.9 * torch.tanh(drawn[1]), 0.1 + drawn[2].exp())


def test_cumulative_logits_are_differences_of_sigmoids() -> None:
    theta = torch.tensor([-1.5, 0.2, 3.0], dtype=torch.float64)
    f = torch.linspace(-4.0, 4.0, 9, dtype=torch.float64)
    below = torch.sigmoid(theta - f.unsqueeze(-1))
    edges = torch.cat([torch.zeros(9, 1), below, torch.ones(9, 1)], dim=1)
    p = cumulative_log_probs(f, theta).exp()
    torch.testing.assert_close(p, edges.diff(dim=1))
    y = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 0])
    torch.testing.assert_close(cumulative(f, theta, y), -p[torch.arange(9), y].log())
    # Where the two sigmoids are 1 to the last digit, their difference is not 0.
    far = cumulative_log_probs(torch.tensor(-60.0), torch.tensor([0.0, 1.0]))
    assert float(far[1]) == pytest.approx(-60.0 + math.log(1 - math.exp(-1)), abs=1e-4)


def test_a_new_head_says_the_shares_of_the_classes() -> None:
    shares, q, inside = (0.5, 0.2, 0.3), rows(4), torch.ones(4, 10, dtype=torch.bool)
    for kind in ("class", "ordinal"):
        head = TaskHead(HeadSpec(kind, 3, 3, (6, 8))).double().eval()  # type: ignore[arg-type]
        head.start_from(shares)
        f = head(steps_of(q), inside).f
        p = (
            f.softmax(-1)
            if kind == "class"
            else cumulative_log_probs(f[:, 0], head.thresholds).exp()
        )
        np.testing.assert_allclose(p.detach(), np.tile(shares, (4, 1)), atol=1e-3)


def test_a_head_reads_the_steps_of_its_unit_alone() -> None:
    for widths in ((), (6, 8)):
        torch.manual_seed(0)
        head = TaskHead(HeadSpec("number", 0, 3, widths)).double().eval()
        with torch.no_grad():
            for weight in head.parameters():
                weight.add_(0.1 * torch.randn_like(weight))
        q, inside = rows(2), torch.zeros(2, 10, dtype=torch.bool)
        inside[:, 2:7] = True
        other = GaussMarkov(torch.where(inside.unsqueeze(-1), q.mean, 1e3), q.correlation, q.scale)
        torch.testing.assert_close(
            head(steps_of(q), inside).f, head(steps_of(other), inside).f, rtol=0, atol=0
        )
        one = head(steps_of(q.window(slice(1, 2))), inside[1:]).f
        torch.testing.assert_close(head(steps_of(q), inside).f[1:], one)
        moved = GaussMarkov(q.mean + inside.unsqueeze(-1), q.correlation, q.scale)
        assert (head(steps_of(moved), inside).f - head(steps_of(q), inside).f).abs().min() > 1e-6


def test_a_head_does_not_extrapolate() -> None:
    """A sensor less moves log sd by many of the spreads it has with every sensor."""
    head = TaskHead(HeadSpec("number", 0, 3)).double().eval()
    with torch.no_grad():
        head.out.weight.fill_(1.0)
    q, inside = rows(40), torch.ones(40, 10, dtype=torch.bool)
    figures = head.figures(steps_of(q), inside)
    head.standardise(figures)
    h = head.of_figures(figures + 1e3 * torch.eye(12)[0]).h
    assert float(h[:, 0].min()) == float(h[:, 0].max()) == MOST_AWAY
    torch.testing.assert_close(h[:, 1:], head.of_figures(figures).h[:, 1:])
    assert float(head.of_figures(figures).h.abs().max()) < MOST_AWAY


def test_a_linear_head_forgets_figures_of_dimensions_and_no_rhythm() -> None:
    head = TaskHead(HeadSpec("number", 0, 3, rate_hz=12.5)).double()
    figures = torch.randn(200, 18, dtype=torch.float64)
    heard = {}
    for name, columns in (("dimensions", slice(0, 12)), ("rhythms", slice(12, 18))):
        with torch.no_grad():
            head.out.weight.zero_()
            head.out.weight[:, columns] = 1.0
        heard[name] = [head.train(on).of_figures(figures).f[:, 0] for on in (True, False)]
    torch.testing.assert_close(*heard["rhythms"])
    training, asked = heard["dimensions"]
    assert (training - asked).abs().min() > 0.0
    assert float((training == 0.0).double().mean()) == pytest.approx(0.8**12, abs=0.06)


def test_the_figures_are_those_of_an_embedding() -> None:
    from latentphys.inference.embedding import _features

    q, inside = rows(2), torch.zeros(2, 10, dtype=torch.bool)
    inside[:, 3:9] = True
    found = TaskHead(HeadSpec("number", 0, 3, rate_hz=12.5)).double().figures(steps_of(q), inside)
    found[:, -6:] += math.log(12.5)  # cycles a step -> Hz
    for k in range(2):
        own = _features(steps_of(q)[k, 3:9], "window", 12.5)
        torch.testing.assert_close(found[k, :12], own[:12])
        # The rhythms' grid is as fine as all ten steps there, as the six here.
        torch.testing.assert_close(found[k, 12:], own[12:], atol=0.05, rtol=0.0)


def test_figures_are_moments_of_the_steps_inside() -> None:
    q, inside = rows(2), torch.zeros(2, 10, dtype=torch.bool)
    inside[:, 3:9] = True
    found = figures_of(steps_of(q), inside)
    for k in range(2):
        mean, sd = q.mean[k, 3:9].numpy(), q.variance[k, 3:9].sqrt().numpy()
        swing = [
            np.log(np.sqrt(x + TINY)) for x in (mean.var(0), (np.diff(mean, axis=0) ** 2).mean(0))
        ]
        by_hand = np.concatenate([mean.mean(0), np.log(sd).mean(0), *swing])
        np.testing.assert_allclose(found[k], by_hand, rtol=1e-6)


def test_rhythms_are_told_at_any_amplitude_and_phase() -> None:
    """A planted breath and a planted heart, in mixed dimensions, one of them at rest."""
    head = TaskHead(HeadSpec("number", 0, 3, rate_hz=12.5)).double()
    time, inside = torch.arange(375) / 12.5, torch.ones(1, 375, dtype=torch.bool)
    for breath, heart in ((0.2, 1.1), (0.3, 1.6)):
        slow, fast = (torch.sin(2 * math.pi * hz * time + 1.0) for hz in (breath, heart))
        z = torch.stack([3.0 * slow + fast, 0.1 * fast - 0.05 * slow, 0.0 * slow], -1)[None]
        steps = torch.cat([z, torch.zeros_like(z)], -1).double()
        told = head.figures(steps, inside)[0, -6:].view(2, 3).exp() * 12.5
        assert told[0, 2] == pytest.approx(breath, rel=0.02)
        assert told[1, 2] == pytest.approx(heart, rel=0.02)
        assert (told[0, 0] - breath).abs() > (told[0, 2] - breath).abs()  # p = 4 is nearest
    beyond = inside.clone()
    beyond[:, 300:] = False
    changed = torch.where(beyond.unsqueeze(-1), steps, 1e3)
    torch.testing.assert_close(head.figures(changed, beyond), head.figures(steps, beyond))
    one = torch.zeros_like(inside)
    one[:, 7] = True
    assert head.figures(steps, one).isfinite().all()
    assert head.figures(steps[:, :3], inside[:, :3]).isfinite().all()
    slow_clock = TaskHead(HeadSpec("number", 0, 3, rate_hz=1.0 / 30.0))
    assert len(slow_clock.centre) == 12


def test_numbers_are_gaussian_and_beta_moves_gradients_alone() -> None:
    f = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    y = torch.randn(5, dtype=torch.float64)
    exact = -normal_of(f).log_prob(y) - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(gaussian(f, y), exact)
    (plain,) = torch.autograd.grad(gaussian(f, y).sum(), f)
    (weighed,) = torch.autograd.grad(gaussian(f, y, 0.5).sum(), f)
    sd = normal_of(f.detach()).stddev
    torch.testing.assert_close(weighed, plain * sd.unsqueeze(-1))


def test_weights_of_classes() -> None:
    f, y = torch.randn(4, 3), torch.tensor([0, 1, 2, 2])
    weight = torch.tensor([2.0, 1.0, 0.5])
    torch.testing.assert_close(cross_entropy(f, y, weight), weight[y] * cross_entropy(f, y))
    theta = torch.tensor([0.0, 1.0])
    torch.testing.assert_close(
        cumulative(f[:, 0], theta, y, weight), weight[y] * cumulative(f[:, 0], theta, y)
    )


def by_hand(ties: str) -> float:
    """Two events at time 2, one at 3, someone who left at 2 and one at 4; hazards 1 to 5."""
    # At 2 all five are at risk (15), hazards 1 and 2 have the event; at 3 those of 4 and 5.
    at_two = math.log(15.0) + math.log(15.0 - (1.5 if ties == "efron" else 0.0))
    return at_two - math.log(1.0) - math.log(2.0) + math.log(9.0) - math.log(4.0)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_partial_likelihood_by_hand(ties: str) -> None:
    risk = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64).log()
    time = torch.tensor([2.0, 2.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    event = torch.tensor([True, True, False, True, False])
    loss = cox(risk, time, event, ties)  # type: ignore[arg-type]
    assert float(loss.sum()) == pytest.approx(by_hand(ties), abs=1e-12)
    assert loss[~event].abs().sum() == 0
    shuffled = torch.tensor([4, 2, 1, 3, 0])
    again = cox(risk[shuffled], time[shuffled], event[shuffled], ties)  # type: ignore[arg-type]
    assert float(again.sum()) == pytest.approx(float(loss.sum()), abs=1e-12)
    # One risk for all and another zero of it: the same.
    shifted = cox(risk + 500.0, time, event, ties)  # type: ignore[arg-type]
    torch.testing.assert_close(shifted, loss)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_partial_likelihood_is_that_of_statsmodels(ties: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from statsmodels.duration.hazard_regression import PHReg

    rng = np.random.default_rng(0)
    x, time = rng.standard_normal((40, 2)), rng.integers(1, 9, 40).astype(float)
    event, beta = rng.random(40) < 0.6, np.array([0.7, -0.3])
    model = PHReg(time, x, status=event.astype(int), ties=ties)
    weight = torch.tensor(beta, requires_grad=True)
    risk = torch.from_numpy(x) @ weight
    loss = cox(risk, torch.from_numpy(time), torch.from_numpy(event), ties).sum()  # type: ignore[arg-type]
    assert float(loss.detach()) == pytest.approx(-float(model.loglike(beta)), rel=1e-9)
    loss.backward()
    np.testing.assert_allclose(weight.grad, -model.score(beta), rtol=1e-7)


def test_nothing_is_learned_of_rows_without_an_event() -> None:
    risk = torch.randn(4, requires_grad=True)
    loss = cox(risk, torch.ones(4), torch.zeros(4, dtype=torch.bool))
    loss.sum().backward()
    assert loss.sum() == 0
    assert risk.grad is not None
    assert torch.isfinite(risk.grad).all()


def test_prototypes_are_means_of_a_label_and_stay_put() -> None:
    h = torch.arange(8.0).view(4, 2).requires_grad_()
    found = prototypes(h, torch.tensor([0, 1, 0, 2]))
    expected = torch.stack([(h[0] + h[2]) / 2, h[1], (h[0] + h[2]) / 2, h[3]])
    torch.testing.assert_close(found, expected.detach())
    assert not found.requires_grad
    torch.testing.assert_close(prototypes(h, torch.tensor([0.5, 1.5, 2.5, 3.5])), h.detach())


def test_the_resilient_loss_is_its_formula_and_no_weight_shifts() -> None:
    whole, parts, apart = torch.rand(4), torch.rand(2, 4), torch.rand(2, 4)
    weights = Resilience(1.0, 0.5, 0.1)
    by_formula = whole.sum() / 4 + 0.5 * parts.sum() / 8 + 0.1 * apart.sum() / 8
    loss = resilient(whole, parts, apart, weights)
    torch.testing.assert_close(loss, by_formula)

    def gradients(of: Tensor) -> Tensor:
        """Of each row's loss, when a row's subsets are all it has."""
        of.requires_grad_()
        value = resilient(of, torch.stack([parts[0], of]), apart, weights)
        return torch.autograd.grad(value, of)[0]

    # A window with one sensor weighs as much as any other.
    assert len(set(gradients(whole.clone()).tolist())) == 1
