"""Concordance against a count of pairs, the baseline hazard against statsmodels."""

from __future__ import annotations

import warnings
from itertools import permutations

import numpy as np
import pytest

from latentphys.trust.survival import baseline_hazard, concordance, survival


def people(seed: int = 0, count: int = 30) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    risk = rng.integers(-3, 4, count) / 2.0  # some alike
    return risk, rng.integers(1, 12, count).astype(float), rng.random(count) < 0.5


@pytest.mark.parametrize("seed", range(4))
def test_concordance_is_a_count_of_pairs(seed: int) -> None:
    risk, time, event = people(seed)
    right = pairs = 0.0
    for i, j in permutations(range(len(risk)), 2):
        first = time[i] < time[j] or (time[i] == time[j] and not event[j])
        if event[i] and first:
            pairs += 1
            right += 1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0
    assert concordance(risk, time, event) == pytest.approx(right / pairs)
    assert concordance(-risk, time, event) == pytest.approx(1.0 - right / pairs)


def test_concordance_without_a_pair_is_not_known() -> None:
    assert np.isnan(concordance([1.0, 2.0], [1.0, 2.0], [False, False]))
    assert np.isnan(concordance([1.0, 2.0], [2.0, 2.0], [True, True]))


def test_the_baseline_hazard_is_breslows() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from statsmodels.duration.hazard_regression import PHReg

    risk, time, event = people(count=50)
    model = PHReg(time, risk[:, None], status=event.astype(int), ties="breslow")
    at, hazard = baseline_hazard(risk, time, event)
    ((theirs, cumulative, _),) = model.baseline_cumulative_hazard(np.ones(1))
    np.testing.assert_array_equal(theirs, at)
    # Theirs is just before each event.
    np.testing.assert_allclose(cumulative, np.concatenate([[0.0], hazard[:-1]]), atol=1e-12)


def test_survival_falls_at_events_alone() -> None:
    at, hazard = baseline_hazard([0.0, 0.0, 0.0], [1.0, 2.0, 3.0], [True, False, True])
    np.testing.assert_allclose(hazard, [1 / 3, 1 / 3 + 1])
    told = survival([0.0, np.log(2.0)], at, hazard, [0.5, 1.0, 2.9, 3.0])
    np.testing.assert_allclose(told[0], np.exp([0.0, -1 / 3, -1 / 3, -4 / 3]))
    np.testing.assert_allclose(told[1], told[0] ** 2)
