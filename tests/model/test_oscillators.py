"""The oscillator transition: its matrix, its frequencies, its exact evidence."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from latentphys.model.distributions import Trajectory
from latentphys.model.emissions import LinearEmission
from latentphys.model.kalman import LinearGaussian, log_evidence
from latentphys.model.oscillators import OscillatorTransition
from latentphys.recordings.errors import FitError

STEPS, LATENT, SEEN = 8, 4, 3


def _transition(inputs: int = 0) -> OscillatorTransition:
    torch.manual_seed(0)
    transition = OscillatorTransition(LATENT, inputs).double()
    with torch.no_grad():
        for weight in transition.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return transition


def _exact_by_curvature(
    transition: OscillatorTransition,
    emission: LinearEmission,
    initial: Normal,
    data: tuple[Tensor, Tensor],
    inputs: Tensor | None,
) -> Tensor:
    """log p(x) = log p(x, z*) + (n / 2) log 2 pi - 1/2 log det(-Hessian): the joint is Gaussian."""
    prior, (x, mask), unused = Trajectory(initial, transition, STEPS, inputs), data, torch.zeros(0)

    def log_joint(flat: Tensor) -> Tensor:
        z = flat.view(STEPS, LATENT)
        scores = emission(z, unused, unused, unused).log_prob(x.unsqueeze(-2)).squeeze(-2)
        return prior.log_prob(z) + torch.where(mask, scores, 0.0).sum()

    origin = torch.zeros(STEPS * LATENT, dtype=torch.float64)
    slope = torch.autograd.functional.jacobian(log_joint, origin)
    curvature = -torch.autograd.functional.hessian(log_joint, origin)
    best = torch.linalg.solve(curvature, slope)
    return log_joint(best) + 0.5 * len(best) * math.log(2 * math.pi) - 0.5 * curvature.logdet()


@pytest.mark.parametrize("inputs", [0, 2])
def test_its_evidence_with_linear_emissions_is_the_kalman_filters(inputs: int) -> None:
    transition = _transition(inputs)
    emission = LinearEmission(LATENT, SEEN).double()
    # The same u at every step: a filter of one matrix then knows the moved frequencies too.
    u = torch.tensor([0.7, -1.3], dtype=torch.float64) if inputs else None
    drive = None if u is None else u.expand(STEPS, -1)
    initial = Normal(torch.randn(LATENT).double(), torch.full((LATENT,), 0.8).double())
    x = 2.0 * torch.randn(STEPS, SEEN, dtype=torch.float64)
    mask = torch.rand(STEPS, SEEN) > 0.3
    mask[3] = False
    with torch.no_grad():
        exact = LinearGaussian(
            initial_mean=initial.loc,
            initial_cov=torch.diag(initial.scale**2),
            transition=transition.matrix(u),
            transition_cov=torch.diag(transition.scale**2),
            emission=emission.linear.weight,
            emission_cov=torch.diag(emission.scale**2),
            emission_offset=emission.linear.bias,
            input_matrix=None if transition.drive is None else transition.drive.weight,
        )
        kalman = log_evidence(exact, x, mask, drive)
    ours = _exact_by_curvature(transition, emission, initial, (x, mask), drive)
    torch.testing.assert_close(ours, kalman, rtol=0, atol=1e-6)


@torch.no_grad()
def test_a_pair_turns_at_the_frequency_it_says() -> None:
    transition, rate = _transition(), 12.5
    z = torch.zeros(LATENT, dtype=torch.float64)
    z[::2] = 1.0
    moved = transition(z, None).loc.view(-1, 2)
    torch.testing.assert_close(moved.norm(dim=-1), transition.decay)
    turned = torch.atan2(moved[:, 1], moved[:, 0]) * rate / (2 * math.pi)
    torch.testing.assert_close(turned, transition.oscillation_hz(rate))
    torch.testing.assert_close(transition.matrix() @ z, moved.flatten())


@torch.no_grad()
def test_inputs_move_the_frequency_and_drive_the_state() -> None:
    transition = _transition(2)
    z, u = torch.randn(5, LATENT).double(), torch.randn(5, 2).double()
    assert transition.drive is not None
    rotation = torch.stack([transition.matrix(row) for row in u])
    expected = (rotation @ z.unsqueeze(-1)).squeeze(-1) + transition.drive(u)
    torch.testing.assert_close(transition(z, u).loc, expected)
    hz = transition.oscillation_hz(1.0, u)
    assert hz.shape == (5, LATENT // 2)
    assert ((hz > 0) & (hz < 0.5)).all()
    assert not torch.isclose(hz[0], hz[1]).any()


def test_an_odd_state_is_refused_with_the_remedy() -> None:
    with pytest.raises(FitError, match=r"two latent dimensions, got latent_dim=3.*even number"):
        OscillatorTransition(3)
