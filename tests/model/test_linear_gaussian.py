"""The linear model against the exact filter: the bound never exceeds the evidence, and meets it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from latentphys.learning.terms import elbo, seconds
from latentphys.model.distributions import GaussMarkov, Trajectory
from latentphys.model.emissions import LinearEmission
from latentphys.model.evidence import Evidence, SensorEvidence
from latentphys.model.kalman import LinearGaussian, kalman_filter, log_evidence, rts_smoother
from latentphys.model.statespace import ModelSpec, SensorSpec, StateSpaceModel
from latentphys.model.transitions import LinearTransition
from latentphys.preparation.batch import Batch

STEPS, LATENT = 9, 3


class System:
    """One linear model twice: as the library's networks, and as matrices for the exact filter."""

    def __init__(self, seed: int, diagonal: bool, inputs: int = 0) -> None:
        torch.manual_seed(seed)
        self.transition = LinearTransition(LATENT, inputs).double()
        self.emission = LinearEmission(LATENT, LATENT).double()
        with torch.no_grad():
            for weight in [*self.transition.parameters(), *self.emission.parameters()]:
                weight.add_(0.1 * torch.randn_like(weight))
            self.transition.linear.weight.mul_(0.8)  # stable
            self.emission.linear.weight.add_(torch.eye(LATENT))
            if diagonal:
                for linear in (self.transition.linear, self.emission.linear):
                    linear.weight.copy_(torch.diag(linear.weight.diagonal()))
        loc = torch.randn(LATENT, dtype=torch.float64)
        self.initial = Normal(loc, torch.full_like(loc, 0.8))
        self.inputs = torch.randn(STEPS, inputs, dtype=torch.float64) if inputs else None
        self.prior = Trajectory(self.initial, self.transition, STEPS, self.inputs)
        self.x = 2.0 * torch.randn(STEPS, LATENT, dtype=torch.float64)
        self.mask = torch.rand(STEPS, LATENT) > 0.3
        self.mask[[0, 4, 5]] = False

    def exact(self) -> LinearGaussian:
        drive = self.transition.drive
        return LinearGaussian(
            initial_mean=self.initial.loc,
            initial_cov=torch.diag(self.initial.scale**2),
            transition=self.transition.linear.weight.detach(),
            transition_cov=torch.diag(self.transition.scale.detach() ** 2),
            emission=self.emission.linear.weight.detach(),
            emission_cov=torch.diag(self.emission.scale.detach() ** 2),
            transition_offset=self.transition.linear.bias.detach(),
            emission_offset=self.emission.linear.bias.detach(),
            input_matrix=None if drive is None else drive.weight.detach(),
        )

    def log_joint(self, z: Tensor) -> Tensor:
        """log p(x, z), with the library's own distributions."""
        unused = torch.zeros(0)
        emission = self.emission(z, unused, unused, unused)
        log_prob = emission.log_prob(self.x.unsqueeze(-2)).squeeze(-2)
        return self.prior.log_prob(z) + torch.where(self.mask, log_prob, 0.0).sum((-2, -1))

    def smoother(self) -> GaussMarkov:
        """The exact smoother of a diagonal system as a Gauss-Markov path; near it otherwise."""
        exact = self.exact()
        filtered = kalman_filter(exact, self.x, self.mask, self.inputs)
        smoothed = rts_smoother(exact, filtered)
        variance = smoothed.cov.diagonal(dim1=-2, dim2=-1)
        r = torch.zeros_like(variance)
        r[1:] = smoothed.lag_one_cov.diagonal(dim1=-2, dim2=-1) / variance[:-1]
        scale = variance.clone()
        scale[1:] -= r[1:] ** 2 * variance[:-1]
        return GaussMarkov(smoothed.mean, r, scale.sqrt())

    def log_evidence(self) -> Tensor:
        return log_evidence(self.exact(), self.x, self.mask, self.inputs)


@torch.no_grad()
@pytest.mark.parametrize("inputs", [0, 2])
def test_the_bound_meets_the_evidence_at_the_exact_smoother(inputs: int) -> None:
    system = System(0, diagonal=True, inputs=inputs)
    q = system.smoother()
    z = q.rsample((50,))
    # q is the posterior, so that every single draw gives the evidence
    gap = system.log_joint(z) - q.log_prob(z) - system.log_evidence()
    assert gap.abs().max() < 1e-6


@torch.no_grad()
@pytest.mark.parametrize("seed", range(5))
def test_the_bound_never_exceeds_the_evidence(seed: int) -> None:
    system = System(seed, diagonal=seed % 2 == 0)
    shape = (STEPS, LATENT)
    q = GaussMarkov(
        torch.randn(shape, dtype=torch.float64),
        torch.rand(shape, dtype=torch.float64) - 0.5,
        0.3 + torch.rand(shape, dtype=torch.float64),
    )
    z = q.rsample((2000,))
    draws = system.log_joint(z) - q.log_prob(z)
    error = draws.std() / len(draws) ** 0.5
    assert draws.mean() + 4 * error < system.log_evidence()


@torch.no_grad()
def test_importance_sampling_recovers_the_evidence() -> None:
    # coupled dimensions, where no Gauss-Markov guide is exact
    system = System(1, diagonal=False)
    near = system.smoother()
    q = GaussMarkov(near.mean, near.correlation, 1.1 * near.scale)
    z = q.rsample((50_000,))
    weights = system.log_joint(z) - q.log_prob(z)
    estimate = weights.logsumexp(0) - math.log(len(z))
    share = (weights - weights.logsumexp(0)).exp()
    assert 1.0 / share.square().sum() > 200  # draws that count
    assert abs(estimate - system.log_evidence()) < 4 * share.square().sum().sqrt()
    assert weights.mean() < system.log_evidence()


def _as_statespace(system: System) -> tuple[StateSpaceModel, Batch]:
    """The diagonal system as a `StateSpaceModel`: row k of x is sensor k, one sample a step."""
    names = [f"x{k}" for k in range(LATENT)]
    spec = ModelSpec(
        {name: SensorSpec(1, ("a",)) for name in names},
        state_rate_hz=1.0,
        latent_dim=LATENT,
        evidence_dim=2,
        nuisance_dim=1,
        widths=(4, 4),
        width=4,
        transition="linear",
    )
    model = StateSpaceModel(spec).double().eval()
    model.transition.load_state_dict(system.transition.state_dict())
    with torch.no_grad():
        model.initial_loc.copy_(system.initial.loc)
        model.initial_spread.copy_((system.initial.scale - 1e-2).expm1().log())
        for k, name in enumerate(names):
            emission = model.emission(name)
            emission.noise_floor = 0.0
            emission.head.weight.zero_()
            emission.head.bias[1] = system.emission.scale[k].expm1().log()
            emission.straight.weight.copy_(system.emission.linear.weight[k : k + 1])
            emission.straight.bias.copy_(system.emission.linear.bias[k : k + 1])
            emission.head.bias[0] = 0.0
    rows, shape = 2000, (2000, STEPS, 1, 1)
    batch = Batch(
        values={n: system.x[:, k, None, None].expand(shape) for k, n in enumerate(names)},
        mask={n: system.mask[:, k, None, None].expand(shape) for k, n in enumerate(names)},
        offset={n: torch.zeros(rows, STEPS, 1, dtype=torch.float64) for n in names},
        channels={n: [("a",)] * rows for n in names},
        inputs=None,
        subject=["s"] * rows,
        record=["r"] * rows,
        start_step=torch.zeros(rows, dtype=torch.int64),
        state_rate_hz=1.0,
        steps=STEPS,
    )
    return model, batch


@torch.no_grad()
def test_the_objectives_bound_meets_the_evidence() -> None:
    system = System(2, diagonal=True)
    model, batch = _as_statespace(system)
    rows = len(batch)
    empty = torch.zeros(rows, STEPS, 2, dtype=torch.float64)
    unit = Normal(torch.zeros(rows, 1, 1, dtype=torch.float64), 1.0)
    present = torch.ones(rows, dtype=torch.bool)
    sensors = {name: SensorEvidence(empty, empty, unit, present) for name in batch.values}
    evidence = Evidence(sensors, (rows, STEPS, 2))
    q = system.smoother().expand((rows,))
    z = q.rsample()
    bound = elbo(model, batch, evidence, q, z)
    draws = bound.value * seconds(batch)
    error = draws.std() / rows**0.5
    assert abs(draws.mean() - system.log_evidence()) < 4 * error
    assert error < 0.1
    # the same joint density, exactly
    reached = sum(bound.log_likelihood.values()) * seconds(batch)
    joint = model.prior(batch).log_prob(z) + reached
    torch.testing.assert_close(joint, system.log_joint(z), rtol=0, atol=1e-6)
