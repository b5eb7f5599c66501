"""How a fit went: the objective's terms against the step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from latentphys.learning.tracking import History
from latentphys.learning.views import NOTHING
from latentphys.plotting.style import panels


class HasHistory(Protocol):
    """Anything that was fitted."""

    @property
    def history(self) -> History: ...


WORDS = {
    "elbo": "evidence lower bound",
    "kl_state": "state, from its prior",
    "kl_nuisance": "nuisance, from its prior",
    "kl_lag": "lag, from its prior",
    "kl_single": "state, from each sensor's own",
    "miss": "state, from that of a subset",
    "align": "alignment",
    "loss": "training",
    "held_out_loss": "held-out subjects",
}
LINES, MOST = 5, 15  # of a legend's column, and of a panel of directions


def plot_training(fit: HasHistory) -> Any:
    """Draw the terms that were trained: bound, scores of sensors, divergences, the loss.

    What each subset of sensors tells of each other sensor is drawn of models with few of them;
    `fit.history.rows` has it of all ("cross/ecg+resp>ppg").

    Args:
        fit: a fitted model.

    Returns:
        Matplotlib Axes, one a kind of term that was logged; the loss is last.
    """
    rows = fit.history.rows
    everything = sorted({name for row in rows for name in row})
    directions = [name for name in everything if ">" in name]
    logged = [name for name in everything if name not in directions]
    groups = {
        "ELBO": ["elbo"],
        "imputed\nsensors": [name for name in logged if name.startswith("cross/")],
        "from what to\nwhat": _few(name for name in directions if _from_others(name)),
        "means of\nblocks": [name for name in logged if name.startswith("block/")],
        "hidden\nsamples": [name for name in logged if name.startswith("mask/")],
        "means of\nhidden blocks": [name for name in logged if name.startswith("mask_block/")],
        "hidden\ncodes": [name for name in logged if name.startswith("code/")],
        "tokens": [name for name in logged if name.startswith("token/")],
        "alignment": ["align"],
        "KL": ["kl_state", "kl_nuisance", "kl_lag", "kl_single", "miss"],
        "KL from that\nof a subset": _few(
            name for name in logged if name.startswith("miss/") and name != f"miss/{NOTHING}"
        ),
        "loss": ["held_out_loss", "loss"],
    }
    shown = {label: [n for n in names if n in everything] for label, names in groups.items()}
    shown = {label: names for label, names in shown.items() if names}
    axes = panels(len(shown), "training, nats per second")
    for ax, (label, names) in zip(axes, shown.items(), strict=True):
        for name in names:
            _line(ax, rows, name)
        ax.set_ylabel(label)
        columns = -(-len(names) // LINES)
        ax.legend(
            loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8, ncols=columns
        )
    axes[-1].set_xlabel("step")
    return axes


def _from_others(direction: str) -> bool:
    """Whether a direction is of L_cross and of a sensor that does not speak of itself."""
    sources, _, target = direction.partition(">")
    term, _, speaking = sources.partition("/")
    return term == "cross" and target not in speaking.split("+") and speaking != NOTHING


def _few(names: Iterable[str]) -> list[str]:
    """Names of lines that can be told apart; none of more."""
    found = list(names)
    return found if len(found) <= MOST else []


def _line(ax: Any, rows: Sequence[Mapping[str, float]], name: str) -> None:
    """One term against the step, where it was logged."""
    points = [(row["step"], row[name]) for row in rows if name in row]
    label = WORDS.get(name, name.rpartition("/")[2])
    ax.plot(*zip(*points, strict=True), "o-", ms=3, lw=1.0, label=label)
