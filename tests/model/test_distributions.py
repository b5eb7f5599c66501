"""Path distributions against loops, explicit normals and closed forms."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceMeanField_ELBO
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from latentphys.model.distributions import (
    GaussMarkov,
    Trajectory,
    _doubling_scan,
    kl_along,
    linear_scan,
)
from latentphys.model.transitions import GatedTransition, LinearTransition

STEPS, LATENT = 7, 2


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _path_distribution(batch: int = 2) -> GaussMarkov:
    shape = (batch, STEPS, LATENT)
    return GaussMarkov(
        torch.randn(shape, dtype=torch.float64),
        torch.rand(shape, dtype=torch.float64) * 1.6 - 0.8,
        0.2 + torch.rand(shape, dtype=torch.float64),
    )


def _explicit(q: GaussMarkov, row: int, dim: int) -> MultivariateNormal:
    """z - m = (I - R)^{-1} S noise, with R the matrix that r puts under the diagonal."""
    below = torch.diag(q.correlation[row, 1:, dim], -1)
    root = torch.linalg.inv(torch.eye(STEPS, dtype=torch.float64) - below)
    root = root @ torch.diag(q.scale[row, :, dim])
    return MultivariateNormal(q.mean[row, :, dim], root @ root.T)


def _linear_prior(batch: int = 2) -> tuple[Trajectory, MultivariateNormal]:
    """A linear transition's trajectory, and the one normal over all of (step, latent)."""
    transition = LinearTransition(LATENT).double()
    with torch.no_grad():
        transition.linear.weight.add_(0.2 * torch.randn(LATENT, LATENT))
        transition.linear.bias.normal_()
    first = Normal(
        torch.randn(LATENT, dtype=torch.float64), 0.5 + torch.rand(LATENT, dtype=torch.float64)
    )
    prior = Trajectory(first, transition, STEPS, batch_shape=torch.Size((batch,)))
    size = STEPS * LATENT
    weight, bias = transition.linear.weight.detach(), transition.linear.bias.detach()
    mean = torch.zeros(STEPS, LATENT, dtype=torch.float64)
    root = torch.zeros(STEPS, LATENT, size, dtype=torch.float64)
    mean[0], root[0, :, :LATENT] = first.loc, torch.diag(first.scale)
    for t in range(1, STEPS):
        mean[t] = weight @ mean[t - 1] + bias
        root[t] = weight @ root[t - 1]
        root[t, :, t * LATENT : (t + 1) * LATENT] = torch.diag(transition.scale.detach())
    flat = root.reshape(size, size)
    return prior, MultivariateNormal(mean.flatten(), flat @ flat.T)


def _joint(q: GaussMarkov, row: int) -> MultivariateNormal:
    """q over the flattened (step, latent)."""
    cov = torch.zeros(STEPS, LATENT, STEPS, LATENT, dtype=torch.float64)
    for dim in range(LATENT):
        cov[:, dim, :, dim] = _explicit(q, row, dim).covariance_matrix
    size = STEPS * LATENT
    return MultivariateNormal(q.mean[row].flatten(), cov.reshape(size, size))


def _agrees(draws: Tensor, truth: Tensor) -> None:
    """Within four standard errors of the mean over the first axis."""
    error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - truth).abs() < 4 * error).all()
    assert (error < 0.05 * truth.abs().clamp_min(1.0)).all()


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 13])
def test_scan_equals_loop(steps: int) -> None:
    decay = torch.randn(2, steps, 3, dtype=torch.float64)
    drive = torch.randn(2, steps, 3, dtype=torch.float64)
    d, loop = torch.zeros(2, 3, dtype=torch.float64), []
    for t in range(steps):
        d = decay[:, t] * d + drive[:, t]
        loop.append(d)
    torch.testing.assert_close(linear_scan(decay, drive), torch.stack(loop, 1))


def test_density_equals_explicit_normal() -> None:
    q = _path_distribution()
    z = torch.randn(2, STEPS, LATENT, dtype=torch.float64)
    for row in range(2):
        each = [_explicit(q, row, d).log_prob(z[row, :, d]) for d in range(LATENT)]
        torch.testing.assert_close(q.log_prob(z)[row], torch.stack(each).sum())


def test_variance_is_the_diagonal_of_the_covariance_and_of_draws() -> None:
    q = _path_distribution()
    for row in range(2):
        for dim in range(LATENT):
            explicit = _explicit(q, row, dim)
            torch.testing.assert_close(q.variance[row, :, dim], explicit.variance)
    z = q.rsample((20_000,))
    _agrees(z, q.mean)
    _agrees((z - q.mean) ** 2, q.variance)


def test_neighbouring_steps_of_draws_covary_by_r() -> None:
    q = _path_distribution()
    centred = q.rsample((20_000,)) - q.mean
    lag_one = q.correlation[:, 1:] * q.variance[:, :-1]
    _agrees(centred[:, :, 1:] * centred[:, :, :-1], lag_one)


def test_draws_carry_gradient_to_every_parameter() -> None:
    q = _path_distribution()
    parameters = [q.mean_path, q.correlation, q.scale]
    for parameter in parameters:
        parameter.requires_grad_()
    q.rsample().square().sum().backward()
    for parameter in parameters:
        assert parameter.grad is not None
        assert (parameter.grad[:, 1:] != 0).all()


def test_expand_and_window_keep_the_density() -> None:
    q = _path_distribution()
    z = q.rsample((4,))
    torch.testing.assert_close(q.expand((4, 2)).log_prob(z), q.log_prob(z))
    torch.testing.assert_close(q.window(slice(1, 2)).log_prob(z[:, 1:]), q.log_prob(z)[:, 1:])


@pytest.mark.parametrize("inputs", [0, 3])
def test_trajectory_density_equals_step_by_step(inputs: int) -> None:
    transition = GatedTransition(LATENT, inputs, width=5).double()
    drive = torch.randn(2, STEPS, inputs, dtype=torch.float64) if inputs else None
    initial = Normal(torch.zeros(LATENT, dtype=torch.float64), 1.0)
    prior = Trajectory(initial, transition, STEPS, drive, torch.Size((2,)))
    z = torch.randn(2, STEPS, LATENT, dtype=torch.float64)
    total = initial.log_prob(z[:, 0]).sum(-1)
    for t in range(1, STEPS):
        step = transition(z[:, t - 1], None if drive is None else drive[:, t])
        total = total + step.log_prob(z[:, t]).sum(-1)
    torch.testing.assert_close(prior.log_prob(z), total)


def test_trajectory_draws_have_the_joint_normals_moments() -> None:
    prior, joint = _linear_prior()
    z = prior.rsample((20_000,))[:, 0].flatten(1).detach()
    _agrees(z, joint.mean)
    _agrees((z - joint.mean) ** 2, joint.variance)
    one = prior.rsample()
    torch.testing.assert_close(prior.log_prob(one), joint.log_prob(one.flatten(1)))


def test_kl_along_is_exact_in_expectation() -> None:
    q = _path_distribution()
    prior, joint = _linear_prior()
    other = _path_distribution()
    z = q.rsample((20_000,))
    exact = torch.stack([kl_divergence(_joint(q, row), joint) for row in range(2)])
    _agrees(kl_along(q, prior, z).sum(-1).detach(), exact)
    exact = torch.stack([kl_divergence(_joint(q, row), _joint(other, row)) for row in range(2)])
    _agrees(kl_along(q, other, z).sum(-1), exact)


def test_kl_along_is_zero_against_itself() -> None:
    q = _path_distribution()
    assert kl_along(q, q, q.rsample()).abs().max() < 1e-12


def test_mean_field_elbo_uses_the_registered_kl(monkeypatch: pytest.MonkeyPatch) -> None:
    q = _path_distribution()
    prior, joint = _linear_prior()
    asked = []
    count = torch.Size((2000, 2))

    def model() -> None:
        with pyro.plate("draw", 2000, dim=-2), pyro.plate("window", 2, dim=-1):
            z = pyro.sample("z", prior)
            pyro.sample("x", dist.Normal(z, 1.0).to_event(2), obs=torch.zeros_like(z))

    def guide() -> None:
        with pyro.plate("draw", 2000, dim=-2), pyro.plate("window", 2, dim=-1):
            pyro.sample("z", q)

    original = Trajectory.conditionals

    def spied(self: Trajectory, z: Tensor) -> Normal:
        asked.append(z)
        return original(self, z)

    monkeypatch.setattr(Trajectory, "conditionals", spied)
    pyro.clear_param_store()
    loss = TraceMeanField_ELBO().loss(model, guide) / 2000
    # the model's own density of z, and the closed-form KL along one more path
    assert sum(z.shape[:2] == count for z in asked) >= 2
    kl = torch.stack([kl_divergence(_joint(q, row), joint) for row in range(2)])
    fit = Normal(q.mean, 1.0).log_prob(torch.tensor(0.0)) - 0.5 * q.variance
    exact = float((kl - fit.sum((-2, -1))).sum())
    assert abs(loss - exact) < 0.01 * abs(exact)


def test_both_scans_agree_in_value_and_gradient_when_draws_share_a_decay() -> None:
    decay = (torch.rand(3, STEPS, LATENT, dtype=torch.float64) * 1.9 - 0.95).requires_grad_()
    drive = torch.randn(5, 3, STEPS, LATENT, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(linear_scan, (decay, drive))
    weight = torch.randn(5, 3, STEPS, LATENT, dtype=torch.float64)
    ours, doubling = linear_scan(decay, drive), _doubling_scan(decay, drive)
    torch.testing.assert_close(ours, doubling)
    for one, other in zip(
        torch.autograd.grad((weight * ours).sum(), (decay, drive)),
        torch.autograd.grad((weight * doubling).sum(), (decay, drive)),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_a_second_derivative_of_the_scan_is_refused() -> None:
    decay = torch.full((STEPS, LATENT), 0.5, requires_grad=True)
    path = linear_scan(decay, torch.ones(STEPS, LATENT))
    (first,) = torch.autograd.grad(path.square().sum(), decay, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        first.sum().backward()
