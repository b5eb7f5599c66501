"""Whether loading keeps up with the model: windows a second made, against those a step eats.

    python benchmarks/loading.py

The model is of the usual size, the windows are 16 s of ECG, pulse and respiration at 125 Hz.
Records are in memory, then mapped from files with a tenth of them allowed at a time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice

import torch

from latentphys.api import simulate
from latentphys.learning.objective import Objective
from latentphys.learning.specification import sensors_of
from latentphys.learning.training import TrainingPlan, train
from latentphys.model.statespace import ModelSpec, StateSpaceModel
from latentphys.preparation.augmentation import Augmentation
from latentphys.preparation.batch import Batch
from latentphys.preparation.loading import WindowLoader
from latentphys.preparation.mapped import MappedRecords, size_bytes
from latentphys.preparation.prefetching import Batches
from latentphys.preparation.preprocessing import PreparedRecord, default_preprocessing
from latentphys.recipes.statespace import RECIPE

WINDOW_S = 16.0


def loader_of(records: Sequence[PreparedRecord]) -> WindowLoader:
    """The training stream of `latentphys.fit`."""
    names, steps = ("ecg", "ppg", "resp"), round(WINDOW_S * RECIPE.state_rate_hz)
    return WindowLoader(
        records,
        names,
        steps,
        RECIPE.state_rate_hz,
        RECIPE.batch_size,
        0,
        Augmentation(),
        bucketed=True,
    )


def made(batches: Iterator[Batch], count: int) -> float:
    """Windows a second that come out of a stream."""
    next(batches)
    start = time.perf_counter()
    windows = sum(len(batch) for batch in islice(batches, count))
    return windows / (time.perf_counter() - start)


def eaten(records: Sequence[PreparedRecord], batches: Iterator[Batch], steps: int) -> float:
    """Windows a second that training takes from a stream."""
    torch.manual_seed(0)
    model = StateSpaceModel(
        ModelSpec(sensors_of(records, RECIPE.state_rate_hz), RECIPE.state_rate_hz)
    )
    train(model, batches, [], Objective(), TrainingPlan(steps=2), progress=False)
    start = time.perf_counter()
    train(model, batches, [], Objective(), TrainingPlan(steps=steps), progress=False)
    return steps * RECIPE.batch_size / (time.perf_counter() - start)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40, help="training steps measured")
    steps = parser.parse_args().steps
    cohort = simulate(subjects=40, minutes=4.0, absent=0.0).drop("spo2")
    held = [default_preprocessing().prepare(record) for record in cohort]
    print(
        f"{torch.get_num_threads()} threads, batches of {RECIPE.batch_size} windows of "
        f"{WINDOW_S:g} s"
    )
    with tempfile.TemporaryDirectory() as folder:
        mapped = MappedRecords(folder, sum(size_bytes(record) for record in held) // 10)
        for record in held:
            mapped.append(record)
        for name, records in (("in memory", held), ("mapped, a tenth at a time", mapped)):
            loader = loader_of(records)
            supply = made(iter(loader), 60)
            print(f"{name}: {supply:.0f} windows/s made in turn")
            for ahead in (0, 2):
                with Batches(loader, ahead) as batches:
                    rate = eaten(records, batches, steps)
                how = "made ahead in a thread" if ahead else "made in turn"
                print(f"  training, batches {how}: {rate:.1f} windows/s")
        repeated = [next(iter(loader_of(held)))] * (steps + 4)
        appetite = eaten(held, iter(repeated), steps)
        print(f"appetite (the same batch again and again): {appetite:.1f} windows/s")
        print(f"loading is {supply / appetite:.0f} times as fast as the model eats")


if __name__ == "__main__":
    main()
