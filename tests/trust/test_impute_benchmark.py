"""The benchmark's summary over splits."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType


def test_mean_and_spread_over_splits(benchmark: Callable[[str], ModuleType]) -> None:
    module = benchmark("impute")
    assert module.whole_numbers("0,2,11") == [0, 2, 11]
    names = ("correlation", "window_correlation", "nrmse", "crps", "coverage", "width")
    splits = [{"ppg": {"ours": dict.fromkeys(names, value)}} for value in (0.5, 0.7, 0.9)]
    title, _, mean, spread = module.over_splits(splits).splitlines()
    assert title == "ppg"
    assert mean.split() == ["ours", *["0.700"] * 6]
    assert spread.split() == ["sd,", "ours", *["0.200"] * 6]
