"""The benchmark's summary over splits."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


def test_mean_and_spread_over_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    spec = importlib.util.spec_from_file_location("impute_benchmark", folder / "impute.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.whole_numbers("0,2,11") == [0, 2, 11]
    names = ("correlation", "window_correlation", "nrmse", "crps", "coverage", "width")
    splits = [{"ppg": {"ours": dict.fromkeys(names, value)}} for value in (0.5, 0.7, 0.9)]
    title, _, mean, spread = module.over_splits(splits).splitlines()
    assert title == "ppg"
    assert mean.split() == ["ours", *["0.700"] * 6]
    assert spread.split() == ["sd,", "ours", *["0.200"] * 6]
