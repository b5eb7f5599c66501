"""PhysioOmni: shared and private latents against shared ones, codes against none, on every subset.

Simulated nights; sleep stage of unseen people by a linear probe trained with every sensor (plain)
or on every subset (resilient).
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

import latentphys as lp
from rows.tally import Tally, macro_f1, probe_class
from rows.windows import commonest, embedded, labelled, nights_of

SENSORS = ("eeg", "eog", "emg", "ecg")
SUBSETS = [s for size in range(len(SENSORS), 0, -1) for s in combinations(SENSORS, size)]
CLOCK_HZ = 4.0
NO_CODES = {"codes": 0.0}
WAYS = {
    "shared and private": lp.recipe("physioomni"),
    "no codes": lp.recipe("physioomni", model={"codes": 0}, objective=NO_CODES),
    "shared alone, no codes": lp.recipe(
        "physioomni", model={"codes": 0, "private_dim": 0}, objective=NO_CODES
    ),
    "statespace": lp.recipe("statespace", state_rate_hz=CLOCK_HZ, window_s=30.0),
}


def run(
    seeds: int, steps: int, subjects: int = 18, minutes: float = 30.0
) -> dict[str, dict[str, Tally]]:
    """Macro-F1 by how many sensors are given, over all their subsets."""
    rows: dict[str, dict[str, Tally]] = {}
    for seed in range(seeds):
        train, test = nights_of(300 + seed, SENSORS, subjects, minutes, seed)
        for name, chosen in WAYS.items():
            fit = lp.fit(train, recipe=chosen, steps=steps, seed=seed, progress=False)
            y, _ = labelled(fit, train, commonest("stage"))
            truth, people = labelled(fit, test, commonest("stage"))
            people = [f"{seed}/{who}" for who in people]
            learned = {given: embedded(fit, train, given) for given in SUBSETS}
            asked = {given: embedded(fit, test, given) for given in SUBSETS}
            everything = np.concatenate(list(learned.values())), np.tile(y, len(SUBSETS))
            for probe, taught in {"plain": (learned[SENSORS], y), "resilient": everything}.items():
                row = rows.setdefault(f"{name}, {probe} probe", {})
                for size in range(len(SENSORS), 0, -1):
                    given = [subset for subset in SUBSETS if len(subset) == size]
                    tests = np.concatenate([asked[s] for s in given]), np.tile(truth, len(given))
                    tally = row.setdefault(f"{size} sensors", Tally(macro_f1))
                    probe_class(taught, tests, people * len(given), tally)
    return rows
