"""What another look at a batch costs: encode once, marginalise many.

    python benchmarks/views.py [--repeats 15]

A training step (loss and gradient) of the default model and batch, with every term of the
objective added in turn; the ratio is to the step with the ELBO alone, medians of one run in which
the ways take turns. Of two steps in a row the second counts, as in training: the first asks the
system again for the memory that a smaller step before it has given back.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from statistics import median
from typing import Any

import torch

import latentphys as lp
from latentphys.learning.objective import Objective, score_batch
from latentphys.learning.specification import sensors_of
from latentphys.model.statespace import ModelSpec, StateSpaceModel
from latentphys.preparation.loading import WindowLoader
from latentphys.preparation.preprocessing import default_preprocessing
from latentphys.recipes.statespace import RECIPE


def changed(**weights: Any) -> Objective:
    """The default objective with some of it changed."""
    return replace(RECIPE.objective, **weights)


ALONE = {"cross": 0.0, "miss": 0.0}
WAYS = {
    "ELBO alone": changed(**ALONE),
    "+ L_miss of one subset": changed(cross=0.0),
    "+ L_cross of one subset": changed(block=0.0, miss=0.0),
    "+ L_cross and L_block": changed(miss=0.0),
    "+ L_mask": changed(**ALONE, block=0.0, mask=1.0),
    "+ L_align, every sensor alone": changed(**ALONE, align=1.0, alignment="posterior"),
    "default": RECIPE.objective,
    "default, two subsets": changed(views=2),
    "default, three subsets": changed(views=3),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    cohort = lp.simulate(6, 2.0, seed=0, absent=0.0).keep("ecg", "ppg", "resp")
    records = [default_preprocessing().prepare(record) for record in cohort]
    sensors, clock = sensors_of(records, RECIPE.state_rate_hz), RECIPE.state_rate_hz
    model = StateSpaceModel(ModelSpec(sensors, clock, **RECIPE.model))
    steps = round(RECIPE.window_s * clock)
    batch = WindowLoader(records, tuple(sensors), steps, clock, RECIPE.batch_size).batch(0)
    taken: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(options.repeats):
        for name, objective in WAYS.items():
            for _ in range(2):
                start = time.process_time()
                score = score_batch(model, batch, objective, torch.Generator().manual_seed(0))
                score.loss.backward()
                took = time.process_time() - start
                model.zero_grad()
            taken[name].append(took)
    seconds = {name: median(values) for name, values in taken.items()}
    print(f"{torch.get_num_threads()} threads, {RECIPE.batch_size} windows, processor time a step")
    for name, own in seconds.items():
        print(f"{name:36} {1000 * own:7.1f} ms  {own / seconds['ELBO alone']:5.2f}")
    one, two, three = (seconds[n] for n in list(WAYS)[-3:])
    second, third = (two - one) / one, (three - two) / one
    print(f"a second subset: {second:.0%} of a default step, a third: {third:.0%}")


if __name__ == "__main__":
    main()
