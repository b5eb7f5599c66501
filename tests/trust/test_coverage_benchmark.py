"""The benchmark of coverage counts what it says."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np


def test_resplit_covers_exchangeable_people_at_the_level(
    benchmark: Callable[[str], ModuleType],
) -> None:
    module = benchmark("coverage")
    rng = np.random.default_rng(0)
    people = {}
    for k in range(14):
        residual = np.abs(rng.normal(size=400)) * np.exp(rng.normal(0.0, 0.5))
        depth = np.full(400, 0.85)
        people[f"s{k}"] = module.Person(
            [residual[:150], residual[150:]], [depth[:150], depth[150:]]
        )
    assert module.raw(people).tolist() == [0.0, 0.0, 1.0, 1.0]
    covered, factors = module.resplit(people, 9, "leave_one_out", 40, 0)
    assert covered.shape == factors.shape == (40, 4)
    np.testing.assert_allclose(covered.mean(axis=0), [0.5, 0.8, 0.9, 0.95], atol=0.04)
    wide, infinite = module.resplit(people, 9, "finite_sample", 5, 0)
    assert (wide[:, 3] == 1.0).all()
    assert np.isinf(infinite[:, 3]).all()
    key = (frozenset(["ecg", "resp"]), "ppg", False)
    assert module.words(key) == "ppg absent, given ecg+resp"
    assert module.words((frozenset(["ppg"]), "ppg", False)) == "ppg gaps, given ppg"
    assert module.numbers("6,10") == [6, 10]
