"""Paths of the prior: they stay where states are, whatever the transition has learned."""

from __future__ import annotations

import torch
from torch.distributions import Normal

from latentphys.model.distributions import Trajectory
from latentphys.model.transitions import REACH, GatedTransition


@torch.no_grad()
def test_a_transition_that_grows_does_not_carry_a_path_away() -> None:
    torch.manual_seed(0)
    grows = GatedTransition(latent_dim=3)
    grows.linear.weight.copy_(1.2 * torch.eye(3))
    grows.spread.weight.mul_(20.0)  # and is the less sure the farther it is
    start = Normal(torch.zeros(3), torch.ones(3))
    steps = 4000
    prior = Trajectory(start, grows, steps, None, torch.Size(), validate_args=False)
    path = prior.path(torch.randn(20, steps, 3))
    assert path.isfinite().all()
    # At the edge it says this, and no path is farther off than its noise.
    edge = grows(torch.tensor([REACH, REACH, REACH]), None)
    assert float(path.abs().max()) < 2.0 * REACH + 8.0 * float(edge.scale.max())


@torch.no_grad()
def test_within_reach_the_transition_is_as_written() -> None:
    torch.manual_seed(0)
    transition, z = GatedTransition(latent_dim=3), 2.0 * torch.randn(50, 3)
    for_gate, for_proposal = torch.nn.functional.gelu(transition.hidden(z)).chunk(2, dim=-1)
    gate = torch.sigmoid(transition.gate(for_gate))
    loc = (1.0 - gate) * transition.linear(z) + gate * transition.proposal(for_proposal)
    torch.testing.assert_close(transition(z, None).loc, loc)
    beyond = torch.tensor([[2.0 * REACH, -3.0 * REACH, 0.0]])
    edge = torch.tensor([[REACH, -REACH, 0.0]])
    torch.testing.assert_close(transition(beyond, None).loc, transition(edge, None).loc)
