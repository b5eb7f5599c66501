"""The same model twice: one site a trajectory, and one site a step in a `pyro.markov` loop.

    z_t ~ q(z_t | z_{t-1}, x) = N(m_t + r_t * (z_{t-1} - m_{t-1}), s_t^2)      t = 1 .. T

Same weights, same transition, same emissions, same factors of the guide, so both programs have
the same density; only the number of sites differs. Times a full step (loss and gradients).

    python benchmarks/markov.py --batch 8 32 --steps 200 --latent 32
"""

from __future__ import annotations

import argparse
import statistics
import time

import pyro
import torch
from pyro.distributions import Normal
from pyro.infer import Trace_ELBO
from torch import Tensor

from latentphys.model.statespace import ModelSpec, SensorSpec, StateSpaceModel
from latentphys.preparation.batch import Batch
from latentphys.recipes.statespace import RECIPE


class StepByStep:
    """A `StateSpaceModel`'s joint and guide with sites z_0, x_0, z_1, x_1 and so on.

    Args:
        whole: the model whose weights are used.
    """

    def __init__(self, whole: StateSpaceModel) -> None:
        self.whole = whole

    def model(self, batch: Batch) -> None:
        """p(eps) p(z_1) prod_t p(z_t | z_{t-1}, u_t) prod_m p(x_t^m | z_t, eps^m)."""
        whole = self.whole
        pyro.module("latentphys", whole)
        inputs = batch.inputs if whole.spec.input_dim else None
        loc, scale = whole.prior_moments()
        with pyro.plate("window", len(batch), dim=-1):
            nuisance = {name: self._unit(batch, name) for name in batch.modalities}
            z = loc
            for t in pyro.markov(range(batch.steps)):
                if t:
                    step = whole.transition(z, None if inputs is None else inputs[:, t])
                    loc, scale = step.loc, step.scale
                z = pyro.sample(f"z_{t}", Normal(loc, scale).to_event(1))
                for name, eps in nuisance.items():
                    self._observe(batch, name, t, z, eps)

    def guide(self, batch: Batch) -> None:
        """q(eps | x) prod_t q(z_t | z_{t-1}, x)."""
        pyro.module("latentphys", self.whole)
        evidence = self.whole.evidence(batch)
        q = self.whole.guide_of(evidence)
        with pyro.plate("window", len(batch), dim=-1):
            for name in batch.modalities:
                eps = evidence.sensors[name].nuisance
                pyro.sample(f"eps_{name}", Normal(eps.loc, eps.scale).to_event(2))
            carried = torch.zeros_like(q.mean_path[:, 0])
            for t in pyro.markov(range(batch.steps)):
                loc = q.mean_path[:, t] + q.correlation[:, t] * carried
                z = pyro.sample(f"z_{t}", Normal(loc, q.scale[:, t]).to_event(1))
                carried = z - q.mean_path[:, t]

    def _unit(self, batch: Batch, name: str) -> Tensor:
        values = batch.values[name]
        zeros = values.new_zeros(len(batch), values.shape[2], self.whole.spec.nuisance_dim)
        return pyro.sample(f"eps_{name}", Normal(zeros, torch.ones_like(zeros)).to_event(2))

    def _observe(self, batch: Batch, name: str, t: int, z: Tensor, eps: Tensor) -> None:
        mask = batch.mask[name][:, t]
        values = torch.where(mask, batch.values[name][:, t], 0.0)
        emission = self.whole.emission(name)(
            z.unsqueeze(-2),
            eps,
            self.whole.name_index(name, batch),
            batch.offset[name][:, t : t + 1],
        )
        seen = emission.mask(mask.unsqueeze(-3)).to_event(3)
        pyro.sample(f"x_{name}_{t}", seen, obs=values.unsqueeze(-3))


def build(
    windows: int, steps: int, latent: int, samples: int = 10
) -> tuple[StateSpaceModel, Batch]:
    """A model of three sensors with random weights, and random windows with holes."""
    torch.manual_seed(0)
    names = ("ecg", "ppg", "resp")
    sensors = {name: SensorSpec(samples, (name,)) for name in names}
    model = StateSpaceModel(ModelSpec(sensors, latent_dim=latent))
    shape = (windows, steps, 1, samples)
    offset = torch.arange(samples) / samples
    batch = Batch(
        values={name: torch.randn(shape) for name in names},
        mask={name: torch.rand(shape) > 0.1 for name in names},
        offset={name: offset.expand(windows, steps, -1) for name in names},
        channels={name: [(name,)] * windows for name in names},
        inputs=None,
        subject=["s"] * windows,
        record=["r"] * windows,
        start_step=torch.zeros(windows, dtype=torch.int64),
        state_rate_hz=12.5,
        steps=steps,
    )
    return model, batch


def step_seconds(program: StateSpaceModel | StepByStep, batch: Batch) -> float:
    """Wall-clock time of one Trace_ELBO loss and its gradients."""
    pyro.clear_param_store()
    started = time.perf_counter()
    loss = Trace_ELBO().differentiable_loss(program.model, program.guide, batch)
    loss.backward()
    return time.perf_counter() - started


def compare(windows: int, steps: int, latent: int, repeats: int) -> None:
    """Time both programs, alternating, and print the medians and their ratio."""
    whole, batch = build(windows, steps, latent)
    programs = {"one site a trajectory": whole, "one site a step": StepByStep(whole)}
    times: dict[str, list[float]] = {name: [] for name in programs}
    for program in programs.values():
        step_seconds(program, batch)  # the first pass allocates
    for _ in range(repeats):
        for name, program in programs.items():
            times[name].append(step_seconds(program, batch))
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    print(f"{windows} windows of {steps} steps, medians of {repeats}")
    for name, seconds in medians.items():
        print(f"{name:>22}: {seconds:.3f} s a step")
    fast, slow = medians.values()
    print(f"{'ratio':>22}: {slow / fast:.1f}")


def main() -> None:
    """Compare at the library's own batch size and at a larger one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[RECIPE.batch_size, 32])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--latent", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    chosen = parser.parse_args()
    for windows in chosen.batch:
        compare(windows, chosen.steps, chosen.latent, chosen.repeats)


if __name__ == "__main__":
    main()
