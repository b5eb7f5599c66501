"""What training reports: a progress bar for people, a history for plots."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

import numpy as np
from tqdm import tqdm

from latentphys.learning.objective import Score


class Progress:
    """A bar from 0 to 1 with nats per second, KL, active units and the time left.

    Args:
        show: whether to draw it.
        label: in front of the bar.
    """

    def __init__(self, show: bool, label: str = "fit") -> None:
        form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining} {postfix}"
        self.bar = tqdm(total=1.0, desc=label, disable=not show, bar_format=form, mininterval=0.5)

    def update(self, fraction: float, score: Score) -> None:
        """Move to `fraction` of the budget and show the last batch."""
        if self.bar.disable:
            return
        terms = {name: float(value.mean()) for name, value in score.by_window.items()}
        shown = {"elbo": "elbo", "kl_state": "KL", "align": "align"}
        told = [f"{word} {terms[name]:.3g}" for name, word in shown.items() if name in terms]
        hidden = [value for name, value in terms.items() if name.startswith("mask/")]
        told += [f"hidden {sum(hidden):.3g}"] if hidden else []
        self.bar.set_postfix_str(
            f"{', '.join(told)} nats/s, active units {score.active_units}", refresh=False
        )
        self.bar.update(min(fraction, 1.0) - self.bar.n)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self.bar.close()


class History:
    """Every logged term against the step, as plain lists.

    Rows are means over the steps since the last row, so a plot is smooth and a file is small.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._open: dict[str, list[float]] = defaultdict(list)
        self._started = time.monotonic()

    def add(self, score: Score) -> None:
        """Take in one training batch."""
        for name, value in score.by_window.items():
            self._open[name].append(float(value.mean()))
        for direction, scores in score.by_direction.items():
            self._open[direction] += scores
        self._open["loss"].append(float(score.loss.detach()))
        self._open["active_units"].append(float(score.active_units))

    def close_row(self, step: int, **extra: float) -> None:
        """Write a row at a step: means of what was added since the last, and extra figures."""
        means = {name: float(np.mean(values)) for name, values in self._open.items()}
        seconds = time.monotonic() - self._started
        self.rows.append({"step": float(step), "seconds": seconds, **means, **extra})
        self._open.clear()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"rows": self.rows}

    def state_dict(self) -> dict[str, Any]:
        """Rows and what is gathered for the next one, as plain values for JSON."""
        seconds = time.monotonic() - self._started
        return {"rows": self.rows, "open": dict(self._open), "seconds": seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken; the time between does not count."""
        self.rows = [dict(row) for row in state["rows"]]
        self._open.clear()
        self._open |= {name: list(values) for name, values in state["open"].items()}
        self._started = time.monotonic() - state["seconds"]

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> History:
        """The inverse of `to_dict`."""
        history = cls()
        history.rows = [dict(row) for row in plain["rows"]]
        return history
