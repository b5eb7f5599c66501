"""What all figures share: panels over one time axis, colours, and cutting a stretch of time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from latentphys.recordings.errors import ArgumentError, closest, listed

TRUTH, MODEL = "0.15", "#1f6f8b"


def panels(count: int, title: str, height: float = 1.6) -> np.ndarray:
    """(count,) Axes above one another with one time axis."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        count,
        1,
        sharex=True,
        squeeze=False,
        figsize=(9.0, max(2.6, height * count + 0.8)),
        layout="constrained",
    )
    figure.suptitle(title, fontsize=11)
    for ax in axes[:, 0]:
        ax.spines[["top", "right"]].set_visible(False)
    return np.asarray(axes[:, 0])


def check_stretch(start_s: float, stop_s: float, first_s: float, last_s: float) -> None:
    """Refuse a stretch of time in which there is nothing to draw.

    Args:
        start_s, stop_s: of the stretch, seconds.
        first_s, last_s: of what there is.

    Raises:
        ArgumentError: it stops before it starts, or lies outside.
    """
    if not (start_s < stop_s and start_s <= last_s and stop_s > first_s):
        raise ArgumentError(
            f"a stretch stops after it starts and lies within {first_s:g} to {last_s:g} s; got "
            f"start_s={start_s:g}, stop_s={stop_s:g}. Choose another."
        )


def not_of_one(results: Any, verb: str) -> ArgumentError:
    """What to say where the results of one record are drawn, and those of several came."""
    names = list(getattr(results, "children", ()))
    one = f"one of them, as {verb}(results[{names[0]!r}])" if names else "what a record's is"
    return ArgumentError(
        f"{verb} draws what is told of one record; got a {type(results).__name__} of "
        f"{listed(names)}. Give {one}."
    )


def check_score(score: str, known: Iterable[Any]) -> None:
    """Refuse a score that there is not.

    Raises:
        ArgumentError: names those there are.
    """
    names = [str(name) for name in known]
    if score not in names:
        raise ArgumentError(
            f"score is one of {listed(names, 20)}; got {score!r}.{closest(str(score), names)}"
        )


def ends(labelled: Any) -> tuple[float, float]:
    """First and last time of a labelled array, seconds."""
    return float(labelled.time[0]), float(labelled.time[-1])


def span(signal: Any, start_s: float, stop_s: float) -> Any:
    """The samples of a labelled array in [start_s, stop_s)."""
    return signal.isel(time=(signal.time >= start_s) & (signal.time < stop_s))
