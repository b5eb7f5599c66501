"""One site a trajectory, and one site a step in a `pyro.markov` loop: the same density."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from pyro.poutine import Trace
from torch import Tensor

from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.batch import Batch

Make = Callable[..., StateSpaceModel]
MakeBatch = Callable[..., Batch]
BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "markov.py"
STEPS = 5


@pytest.fixture(scope="module")
def benchmark() -> dict[str, object]:
    return runpy.run_path(str(BENCHMARK), run_name="benchmark")


def _by_step(values: dict[str, Tensor]) -> Callable[..., None]:
    """A program that only says the values of the sites, a site a step."""

    def program(batch: Batch) -> None:
        with pyro.plate("window", len(batch), dim=-1):
            for name, value in values.items():
                pyro.sample(name, pyro.distributions.Delta(value).to_event(value.dim() - 1))

    return program


def _cut(trace: Trace) -> dict[str, Tensor]:
    """The latent values of a whole-trajectory trace, z cut into its steps."""
    z = trace.nodes["z"]["value"]
    names = [name for name in trace.nodes if name.startswith("eps_")]
    steps = {f"z_{t}": z[:, t] for t in range(z.shape[1])}
    return {name: trace.nodes[name]["value"] for name in names} | steps


@torch.no_grad()
@pytest.mark.parametrize("inputs", [0, 2])
def test_same_trace_same_density(
    benchmark: dict[str, object], make_model: Make, make_batch: MakeBatch, inputs: int
) -> None:
    model = make_model(inputs=tuple(f"u{k}" for k in range(inputs)))
    batch = make_batch(steps=STEPS, inputs=inputs)
    by_step = benchmark["StepByStep"](model)  # type: ignore[operator]
    whole = poutine.trace(model.guide).get_trace(batch)
    replayed = poutine.trace(_by_step(_cut(whole))).get_trace(batch)
    joint = poutine.trace(poutine.replay(model.model, whole)).get_trace(batch)
    joint_by_step = poutine.trace(poutine.replay(by_step.model, replayed)).get_trace(batch)
    guide_by_step = poutine.trace(poutine.replay(by_step.guide, replayed)).get_trace(batch)
    assert sum(name.startswith("z_") for name in guide_by_step.nodes) == STEPS
    torch.testing.assert_close(joint.log_prob_sum(), joint_by_step.log_prob_sum())
    torch.testing.assert_close(whole.log_prob_sum(), guide_by_step.log_prob_sum())


@torch.no_grad()
def test_same_bound_in_expectation(
    benchmark: dict[str, object], make_model: Make, make_batch: MakeBatch
) -> None:
    model, batch = make_model(), make_batch(windows=1, steps=STEPS)
    by_step = benchmark["StepByStep"](model)  # type: ignore[operator]
    torch.manual_seed(0)
    losses = torch.tensor(
        [[Trace_ELBO().loss(p.model, p.guide, batch) for p in (model, by_step)] for _ in range(40)]
    )
    error = (losses.var(0).sum() / 40).sqrt()
    assert (losses[:, 0].mean() - losses[:, 1].mean()).abs() < 4 * error
    assert error < 0.05 * losses.mean().abs()
