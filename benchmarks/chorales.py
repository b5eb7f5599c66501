"""The deep Markov model on Bach's chorales: nats a step of polyphonic music never heard.

    LATENTPHYS_DATA=... python benchmarks/chorales.py --minutes 40 --seed 0

Trains the recipe "dmm" on the training chorales and keeps the weights with the best bound on the
validation chorales. Printed for the test chorales, as sums over all chorales by the number of all
time steps: -ELBO with the whole KL, its importance-weighted tightening

    -log 1/K sum_k p(x, z_k) / q(z_k | x),    z_k ~ q,    K = 50

and two models without a latent state, fitted to the same training chorales: every note by its own
frequency, and every note as a Markov chain of its own.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import latentphys as lp
from latentphys.fitted import FittedModel
from latentphys.learning.terms import elbo
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.batch import Batch
from latentphys.preparation.loading import unpadded

Array = NDArray[np.float64]
Roll = Array
NOTES = [f"key_{k + 1}" for k in range(88)]


def chorales(part: str) -> list[Roll]:
    """The piano rolls (step, note) of the "train", "valid" or "test" part."""
    from scipy.io import loadmat

    folder = Path(os.environ["LATENTPHYS_DATA"])
    held = loadmat(folder / "jsb_chorales" / "JSB_Chorales.mat")[f"{part}data"][0]
    return [np.asarray(roll, np.float64) for roll in held]


def cohort(part: str) -> lp.Cohort:
    """The chorales of a part, a record a chorale, a second a step."""
    return lp.Cohort(
        lp.Record.from_arrays(
            {"notes": (roll.T, 1.0)}, subject=f"{part}{k:03d}", channels={"notes": NOTES}
        )
        for k, roll in enumerate(chorales(part))
    )


def whole(fit: FittedModel, part: str, most: int = 32) -> list[Batch]:
    """Chorales of the same length together, so that none is padded."""
    records = sorted(map(fit.prepared, cohort(part)), key=lambda record: record.duration_s)
    longest = math.ceil(records[-1].duration_s)
    spec = fit.model.spec
    return list(unpadded(records, longest, longest, spec.state_rate_hz, tuple(spec.sensors), most))


@torch.no_grad()
def nats(model: StateSpaceModel, batches: Sequence[Batch], draws: int = 50) -> Array:
    """-ELBO, its KL, the importance-weighted bound of `draws` draws, and steps: a row a chorale."""
    torch.manual_seed(1)
    found = []
    for batch in batches:
        evidence = model.evidence(batch)
        q, prior = model.guide_of(evidence), model.prior(batch)
        sums, weights = torch.zeros(len(batch), 2), []
        for _ in range(draws):
            z = q.rsample()
            parts = elbo(model, batch, evidence, q, z)
            sums += torch.stack([-parts.value, parts.kl_state], -1) * batch.steps / draws
            reached = parts.log_likelihood["notes"] * batch.steps
            weights.append(reached + prior.log_prob(z) - q.log_prob(z))
        weighted = math.log(draws) - torch.logsumexp(torch.stack(weights), 0)
        steps = torch.full((len(batch),), float(batch.steps))
        found.append(torch.cat([sums, torch.stack([weighted, steps], -1)], -1))
    return torch.cat(found).double().numpy()


def bounds(model: StateSpaceModel, batches: Sequence[Batch]) -> tuple[float, float, float]:
    """-ELBO, its KL and the importance-weighted bound, in nats a step of all chorales."""
    sums = nats(model, batches).sum(0)
    bound, kl, weighted = (sums[:3] / sums[3]).tolist()
    return bound, kl, weighted


def unigram(train: Sequence[Roll], test: Sequence[Roll]) -> float:
    """Nats a step of independent notes, one added to each count."""
    notes = np.concatenate(train)
    p = (notes.sum(0) + 1.0) / (len(notes) + 2.0)
    unseen = np.concatenate(test)
    return float(-(unseen * np.log(p) + (1.0 - unseen) * np.log1p(-p)).sum() / len(unseen))


def markov(train: Sequence[Roll], test: Sequence[Roll]) -> float:
    """Nats a step of every note as a two-state Markov chain, one added to each count."""
    before, after = (np.concatenate([roll[a:b] for roll in train]) for a, b in ((0, -1), (1, None)))
    first = np.stack([roll[0] for roll in train])
    start = (first.sum(0) + 1.0) / (len(first) + 2.0)
    on = [((after * w).sum(0) + 1.0) / (w.sum(0) + 2.0) for w in (1.0 - before, before)]
    total, steps = 0.0, 0
    for roll in test:
        p = np.concatenate([start[None], np.where(roll[:-1] == 1.0, on[1], on[0])])
        total -= float((roll * np.log(p) + (1.0 - roll) * np.log1p(-p)).sum())
        steps += len(roll)
    return total / steps


def learn(
    minutes: float | None, steps: int | None, seed: int, chosen: str | lp.Recipe = "dmm"
) -> FittedModel:
    """A recipe fitted to the training chorales, the best state by the validation ones."""
    heard, checked = cohort("train"), cohort("valid")
    return lp.fit(
        heard,
        recipe=chosen,
        held_out=checked,
        minutes=minutes,
        steps=steps,
        seed=seed,
        progress=False,
    )


def main() -> None:
    """Train, choose, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=None)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=None, help="folder for the model")
    options = parser.parse_args()
    began, spent = time.monotonic(), time.process_time()
    fitted = learn(options.minutes, options.steps, options.seed)
    for row in fitted.history.rows:
        told = {key: row[key] for key in ("step", "elbo", "kl_state", "held_out_loss")}
        print("  ".join(f"{key} {value:.3f}" for key, value in told.items()))
    print(
        f"{(time.monotonic() - began) / 60:.1f} minutes, {(time.process_time() - spent) / 60:.1f} "
        f"of a processor, {fitted.history.rows[-1]['step']} updates"
    )
    if options.out:
        fitted.save(options.out)
    print(f"{'':6} {'-ELBO':>8} {'KL':>8} {'IW 50':>8} {'notes':>8} {'chains':>8}  nats a step")
    heard = chorales("train")
    for part in ("valid", "test"):
        own = bounds(fitted.model, whole(fitted, part))
        beside = [f(heard, chorales(part)) for f in (unigram, markov)]
        print(f"{part:6} " + " ".join(f"{value:8.3f}" for value in (*own, *beside)), flush=True)


if __name__ == "__main__":
    main()
