"""Conformal intervals: the quantile by hand, and coverage of new people who differ a lot."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from latentphys.recordings.errors import FitError
from latentphys.trust.conformal import GUARANTEES, KEPT, SubjectConformal
from latentphys.trust.rates import (
    RateIntervals,
    Rates,
    interval_of_draws,
    left_out_intervals,
    rates_of_draws,
)


def test_one_score_a_subject_is_ordinary_split_conformal() -> None:
    scores = np.random.default_rng(0).exponential(size=39)
    repair = SubjectConformal.of({f"s{k}": [v] for k, v in enumerate(scores)})
    for level in (0.5, 0.8, 0.9, 0.95):
        rank = math.ceil(40 * level - 1e-9)  # the textbook rule: rank ceil((n + 1) level)
        assert repair.quantile(level) == np.sort(scores)[rank - 1]


def test_the_quantile_weighs_people_and_keeps_a_share_for_the_next() -> None:
    people = {"long": np.arange(100.0), "short": [1000.0]}
    repair = SubjectConformal.of(people)
    # 1/3 of the mass on 0 .. 99, 1/3 on 1000, 1/3 at infinity
    assert repair.quantile(0.3) == 89.0
    assert repair.quantile(0.5) == 1000.0
    assert repair.quantile(0.7) == np.inf
    assert repair.highest_level == pytest.approx(2 / 3)
    loose = SubjectConformal.of(people, "asymptotic")
    assert loose.quantile(0.45) == 89.0
    assert loose.quantile(0.99) == 1000.0


def new_person(rng: np.random.Generator, size: int) -> np.ndarray:
    """Correlated scores whose size differs fourfold from person to person."""
    walk = np.convolve(rng.normal(size=size + 9), np.ones(10) / np.sqrt(10), mode="valid")
    return np.abs(walk) * np.exp(rng.normal(0.0, 0.7))


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
def test_new_people_are_covered_on_average_as_each_repair_says(level: float) -> None:
    rng = np.random.default_rng(4)
    shares: dict[str, list[float]] = {name: [] for name in GUARANTEES}
    for _ in range(200):
        people = {f"s{k}": new_person(rng, int(rng.integers(20, 200))) for k in range(10)}
        scores = new_person(rng, 100)
        for name, own in shares.items():
            repair = SubjectConformal.of(people, name)  # type: ignore[arg-type]
            own.append(float((scores <= repair.quantile(level)).mean()))
    mean = {name: float(np.mean(own)) for name, own in shares.items()}
    error = {name: np.std(own) / np.sqrt(len(own)) for name, own in shares.items()}
    # A bound, and not much above it; the level itself; short of it, as few people make it.
    assert mean["finite_sample"] > level - 3 * error["finite_sample"]
    assert mean["finite_sample"] < level + 2 / 11 + 3 * error["finite_sample"]
    assert abs(mean["leave_one_out"] - level) < 3 * error["leave_one_out"]
    assert mean["leave_one_out"] < mean["finite_sample"]
    if level >= 0.8:
        assert mean["asymptotic"] < mean["leave_one_out"]


def test_people_left_out_one_at_a_time_are_covered_at_the_level() -> None:
    rng = np.random.default_rng(0)
    people = {f"s{k}": np.sort(new_person(rng, 20)) for k in range(8)}
    repair = SubjectConformal.of(people, "leave_one_out")
    plain = SubjectConformal(people, "asymptotic")
    tried = np.arange(0.4, 1.0, 0.002)
    covered = np.array([np.mean(list(plain.left_out_coverage(b).values())) for b in tried])
    for level in (0.5, 0.9):
        least = covered[covered >= level - 1e-9].min()
        at = int(np.flatnonzero(covered <= least + 1e-9)[-1])
        assert plain.quantile(tried[at]) <= repair.quantile(level)
        assert repair.quantile(level) <= plain.quantile(tried[at + 1])
    assert tried[at] > 0.9


def test_one_person_or_one_score_each_can_tell_too_little() -> None:
    alone = SubjectConformal.of({"a": np.arange(100.0)}, "leave_one_out")
    assert alone.quantile(0.5) == np.inf
    assert alone.highest_level == 0.0
    assert alone.left_out_coverage(0.5) == {"a": 1.0}
    # With one score each, all but the largest are below the largest of the others.
    ten = SubjectConformal.of({f"s{k}": [float(k)] for k in range(10)}, "leave_one_out")
    assert ten.highest_level == pytest.approx(0.9)
    assert ten.quantile(0.9) == 9.0
    assert ten.quantile(0.91) == np.inf
    assert "covers 0.9 of one left out; 0.95 was asked" in ten.too_few(0.95)


def test_a_long_list_is_kept_short_with_rounding_outwards() -> None:
    scores = np.random.default_rng(1).exponential(size=12_345)
    repair = SubjectConformal.of({"a": scores, "b": scores[:9]}, "asymptotic")
    exact = SubjectConformal({"a": np.sort(scores), "b": np.sort(scores[:9])}, "asymptotic")
    assert len(repair.curves["a"]) == KEPT
    for level in (0.1, 0.5, 0.9, 0.99):
        assert exact.quantile(level) <= repair.quantile(level)
        assert exact.quantile(max(level - 0.002, 0.01)) <= repair.quantile(level)


def test_it_comes_back_from_json_and_says_what_it_cannot_do() -> None:
    repair = SubjectConformal.of({"a": [1.0, 2.0, np.nan], "b": [3.0]})
    again = SubjectConformal.from_dict(json.loads(json.dumps(repair.to_dict())))
    assert again.subjects == ("a", "b")
    assert [again.quantile(q) for q in (0.2, 0.5)] == [repair.quantile(q) for q in (0.2, 0.5)]
    with pytest.raises(FitError, match="at least one subject"):
        SubjectConformal.of({"a": [np.nan]})
    with pytest.raises(FitError, match="leave_one_out, finite_sample, asymptotic"):
        SubjectConformal.of({"a": [1.0]}, "sure")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="between 0 and 1"):
        repair.quantile(1.0)


def test_scores_that_hardly_differ_answer_alike_from_json() -> None:
    rng = np.random.default_rng(3)
    people = {f"s{k}": (1.0 + 1e-3 * rng.random(500)).astype(np.float32) for k in range(4)}
    repair = SubjectConformal.of(people, "leave_one_out")
    again = SubjectConformal.from_dict(json.loads(json.dumps(repair.to_dict())))
    levels = np.linspace(0.05, 0.95, 91)
    np.testing.assert_array_equal(
        [again.quantile(q) for q in levels],
        [np.float64(f"{repair.quantile(q):.9g}") for q in levels],
    )


def test_rates_of_draws_that_agree_on_a_wrong_rate_are_repaired() -> None:
    rng = np.random.default_rng(2)
    people = {}
    for k in range(30):
        true, error = rng.uniform(12, 20), rng.normal(0.0, 3.0)
        time = np.arange(0, 64, 0.1)
        draws = np.sin(2 * np.pi * ((true + error) / 60 * time + rng.random((8, 1))))
        marks = np.arange(0.5, 64, 60 / true)
        people[f"s{k}"] = rates_of_draws(draws, 10.0, marks)
    fitted = RateIntervals.of({name: people[name] for name in list(people)[:20]})
    found = []
    for name in list(people)[20:]:
        lower, upper = fitted.interval(people[name], 0.9)
        found.append(((lower <= people[name].annotated) & (people[name].annotated <= upper)).mean())
        narrow = people[name].spread - 1.0
        assert narrow.max() < 1.0  # the draws themselves hardly differ
    assert np.mean(found) >= 0.8
    covered, width = left_out_intervals(people, 0.8)
    assert covered == pytest.approx(0.8, abs=0.1)
    assert width > 4.0


def test_breaths_are_those_that_all_draws_agree_on() -> None:
    """What wanders differently in every draw has no part in the rate, and widens its interval."""
    rng = np.random.default_rng(3)
    time = np.arange(0, 64, 0.1)
    breath = np.sin(2 * np.pi * 0.25 * time)
    slow = np.sin(2 * np.pi * (0.12 * time + rng.random((64, 1))))
    draws = breath + 1.5 * slow
    rates = rates_of_draws(draws, 10.0)
    np.testing.assert_allclose(rates.centre, 15.0, atol=0.3)
    each = np.stack([rates_of_draws(draw[None], 10.0).centre for draw in draws])
    assert abs(float(np.median(each)) - 15.0) > 2.0
    lower, upper = interval_of_draws(draws, 10.0, rates.centre, 0.8)
    np.testing.assert_allclose(lower, np.quantile(each, 0.1, axis=0))
    assert (upper >= rates.centre).all()
    still = rates_of_draws(np.stack([breath, -breath]), 10.0)  # their mean has no breath
    np.testing.assert_allclose(still.centre, 15.0, atol=0.3)


def test_windows_without_a_rate_are_left_out() -> None:
    silent = rates_of_draws(np.zeros((3, 400)), 10.0, [1.0, 5.0])
    assert np.isnan(silent.score).all()
    known = Rates(np.array([10.0]), np.array([2.0]), np.array([13.0]))
    assert RateIntervals.of({"a": silent, "b": known}).conformal.subjects == ("b",)
