"""An evaluation in pictures: who is ahead where, and whether intervals keep their promise."""

from __future__ import annotations

from typing import Any

import numpy as np

from latentphys.plotting.style import MODEL, TRUTH, check_score
from latentphys.trust.result import MODEL as OURS
from latentphys.trust.result import Evaluation

RIVALS = {
    "mean": "0.6",
    "locf": "#c9a227",
    "linear": "#d1603d",
    "ridge": "#7a5195",
    "kalman": "#3b8f5a",
}


def plot_evaluation(evaluation: Evaluation, score: str = "crps") -> Any:
    """One score of the model and every baseline: by missing sensors, and by gap length.

    Args:
        evaluation: from `FittedModel.evaluate`.
        score: one of its scores.

    Returns:
        Matplotlib Axes, (group, target).

    Raises:
        ArgumentError: a score that there is not.
    """
    groups = list(evaluation.groups)
    check_score(score, evaluation[groups[0]].score.values)
    targets = [str(target) for target in evaluation[groups[0]].target.values]
    axes = _grid(len(groups), len(targets), f"{score}, with 95 % over subjects")
    for row, group in zip(axes, groups, strict=True):
        data = evaluation[group].sel(score=score)
        for ax, target in zip(row, targets, strict=True):
            _one(ax, data.sel(target=target), group)
            ax.set_title(target, fontsize=10)
        row[0].set_ylabel(score)
    axes[0, 0].legend(frameon=False, fontsize=8)
    return axes


def _one(ax: Any, data: Any, group: str) -> None:
    shown = [
        str(p) for p in data.predictor.values if np.isfinite(data.estimate.sel(predictor=p)).any()
    ]
    kept = np.isfinite(data.estimate).any("predictor").values
    data = data.isel({group: kept})
    at = data[group].values.astype(float) if group == "gap_s" else np.arange(data.sizes[group])
    for k, name in enumerate(shown):
        one = data.sel(predictor=name)
        colour = MODEL if name == OURS else RIVALS.get(name, "0.5")
        middle = one.estimate.values
        bars = np.abs(np.stack([one.estimate_lower.values, one.estimate_upper.values]) - middle)
        if group == "gap_s":
            ax.errorbar(at, middle, bars, color=colour, marker="o", ms=3, lw=1.2, label=name)
        else:
            shift = 0.12 * (k - (len(shown) - 1) / 2)
            ax.errorbar(at + shift, middle, bars, color=colour, fmt="o", ms=4, lw=1.2, label=name)
    if group == "gap_s":
        ax.set_xscale("log")
        ax.set_xlabel("gap [s]")
    else:
        ax.set_xticks(at, [str(label) for label in data[group].values], rotation=30, ha="right")
        ax.set_xlim(-0.6, max(len(at) - 0.4, 0.6))


def plot_calibration(evaluation: Evaluation, group: str = "subset") -> Any:
    """Reliability by pattern above, PIT histograms below, one column a target.

    Thin lines are people; dashed lines are repaired intervals.

    Args:
        evaluation: from `FittedModel.evaluate`.
        group: one of its groups.

    Returns:
        Matplotlib Axes, (2, target).
    """
    data = evaluation[group].sel({"predictor": OURS})
    targets = [str(target) for target in data.target.values]
    axes = _grid(2, len(targets), f"calibration by {group}")
    levels = data.level.values
    for k, target in enumerate(targets):
        own = data.sel(target=target)
        above, below = axes[0, k], axes[1, k]
        above.plot([0, 1], [0, 1], color=TRUTH, lw=0.8)
        below.axhline(1.0, color=TRUTH, lw=0.8)
        for j, label in enumerate(own[group].values.tolist()):
            one = own.sel({group: label})
            if not np.isfinite(one.coverage_estimate).any():
                continue
            colour = f"C{j}"
            above.plot(levels, one.coverage.values, color=colour, lw=0.4, alpha=0.35)
            above.plot(levels, one.coverage_estimate, color=colour, marker="o", ms=3, label=label)
            if "repaired_estimate" in one:
                above.plot(levels, one.repaired_estimate, color=colour, ls="--", marker="s", ms=3)
            below.step(one.bin, one.pit.mean("subject"), where="mid", color=colour, lw=1.2)
        if "repaired_estimate" in own:
            above.plot([], [], color=TRUTH, ls="--", marker="s", ms=3, label="repaired")
        above.set(xlim=(0.4, 1.0), ylim=(0, 1.02), title=target, xlabel="level")
        below.set(xlim=(0, 1), ylim=(0, None), xlabel="PIT")
        above.legend(frameon=False, fontsize=7)
    axes[0, 0].set_ylabel("samples covered")
    axes[1, 0].set_ylabel("density")
    return axes


def _grid(rows: int, columns: int, title: str) -> Any:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        rows, columns, squeeze=False, figsize=(3.4 * columns, 2.9 * rows), layout="constrained"
    )
    figure.suptitle(title, fontsize=11)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    return axes
