"""What all figures share: panels over one time axis, colours, and cutting a stretch of time."""

from __future__ import annotations

from typing import Any

import numpy as np

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


def span(signal: Any, start_s: float, stop_s: float) -> Any:
    """The samples of a labelled array in [start_s, stop_s)."""
    return signal.isel(time=(signal.time >= start_s) & (signal.time < stop_s))
