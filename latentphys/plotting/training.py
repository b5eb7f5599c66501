"""How a fit went: the objective's terms against the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from latentphys.learning.tracking import History
from latentphys.plotting.style import panels


class HasHistory(Protocol):
    """Anything that was fitted."""

    @property
    def history(self) -> History: ...


def plot_training(fit: HasHistory) -> Any:
    """Draw the bound, each sensor's imputation score, KL and the held-out loss.

    Args:
        fit: a fitted model.

    Returns:
        Matplotlib Axes, (4,).
    """
    rows = fit.history.rows
    groups = {
        "ELBO": ["elbo"],
        "imputed\nsensors": sorted({k for row in rows for k in row if k.startswith("cross/")}),
        "KL": ["kl_state", "kl_nuisance", "miss"],
        "loss": ["loss", "held_out_loss"],
    }
    axes = panels(len(groups), "training, nats per second")
    for ax, (label, names) in zip(axes, groups.items(), strict=True):
        for name in names:
            _line(ax, rows, name)
        ax.set_ylabel(label)
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    axes[-1].set_xlabel("step")
    return axes


def _line(ax: Any, rows: Sequence[Mapping[str, float]], name: str) -> None:
    """One term against the step, where it was logged."""
    points = [(row["step"], row[name]) for row in rows if name in row]
    if points:
        ax.plot(*zip(*points, strict=True), "o-", ms=3, lw=1.0, label=name)
