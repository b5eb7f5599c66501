"""An assessment in a picture: one score by the sensors that are there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from latentphys.plotting.style import TRUTH, check_score, panels
from latentphys.trust.assessment import NOTHING, Assessment


def plot_assessment(
    assessments: Assessment | Mapping[str, Assessment], score: str | None = None
) -> Any:
    """One score for every set of sensors, with 95 % over people; the dashed line is without any.

    Args:
        assessments: from `FittedModel.assess`; several by name stand side by side.
        score: one of their scores; the first when left out.

    Returns:
        Matplotlib Axes, one.

    Raises:
        ArgumentError: a score that there is not.
    """
    named = {"": assessments} if isinstance(assessments, Assessment) else dict(assessments)
    first = next(iter(named.values())).dataset
    score = str(first.score.values[0]) if score is None else score
    check_score(score, first.score.values)
    ax = panels(1, f"{first.attrs['task']}, {score} on unseen people", height=2.6)[0]
    for k, (name, assessment) in enumerate(named.items()):
        one = assessment.dataset.sel(score=score)
        shown = one.sel(sensors=one.sensors != NOTHING)
        at = np.arange(shown.sizes["sensors"]) + 0.15 * (k - (len(named) - 1) / 2)
        middle = shown.estimate.values
        bars = np.nan_to_num(np.abs(np.stack([shown.lower.values, shown.upper.values]) - middle))
        ax.errorbar(at, middle, bars, color=f"C{k}", fmt="o", ms=4, lw=1.2, label=name)
    ax.axhline(float(one.estimate.sel(sensors=NOTHING)), color=TRUTH, lw=0.8, ls="--")
    ax.set_xticks(
        range(shown.sizes["sensors"]), shown.sensors.values.tolist(), rotation=30, ha="right"
    )
    ax.set_ylabel(score)
    if len(named) > 1:
        ax.legend(frameon=False, fontsize=8)
    return ax
