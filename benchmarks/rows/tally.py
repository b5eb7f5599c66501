"""Scores of people, summed so that people can be resampled: every figure with its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

Array = NDArray[np.float64]
STAGES = ("W", "N1", "N2", "N3", "REM")
RESAMPLES = 1000
FARTHEST = 4.0


class Tally:
    """Sums a person, from which a score is made.

    Args:
        score: sums of everyone -> the score.
    """

    def __init__(self, score: Callable[[Array], float]) -> None:
        self.score = score
        self.sums: dict[str, Array] = {}

    def add(self, subject: str, sums: Array) -> None:
        """More of one person."""
        self.sums[subject] = self.sums.get(subject, 0.0) + np.asarray(sums, np.float64)

    def estimate(self) -> tuple[float, float, float]:
        """The score and its 95 % interval over resampled people."""
        each = np.stack(list(self.sums.values()))
        rng = np.random.default_rng(0)
        drawn = rng.integers(len(each), size=(RESAMPLES, len(each)))
        scores = [self.score(each[rows].sum(0)) for rows in drawn]
        low, high = np.nanpercentile(scores, [2.5, 97.5])
        return self.score(each.sum(0)), float(low), float(high)

    def __str__(self) -> str:
        value, low, high = self.estimate()
        return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def share(sums: Array) -> float:
    """sum / count."""
    return float(sums[0] / max(sums[1], 1e-12))


def explained(sums: Array) -> float:
    """R2 = 1 - squared error / squared distance from the training mean."""
    return float(1.0 - sums[0] / max(sums[1], 1e-12))


def macro_f1(confusion: Array) -> float:
    """Mean over the classes that occur of 2 TP / (2 TP + FP + FN); (truth, answer) counts."""
    right = np.diag(confusion)
    both = confusion.sum(0) + confusion.sum(1)
    occurs = confusion.sum(1) > 0
    return float((2.0 * right[occurs] / np.maximum(both[occurs], 1e-12)).mean())


def spreads() -> Pipeline:
    """Features in spreads of what a probe is taught with, beyond FARTHEST of which none counts.

    With a sensor missing, the state is sure by tens of spreads less: a line drawn that far is no
    answer.
    """
    near = FunctionTransformer(np.clip, kw_args={"a_min": -FARTHEST, "a_max": FARTHEST})
    return make_pipeline(StandardScaler(), near)


def probe_number(
    train: tuple[Array, Array], test: tuple[Array, Array], subjects: Sequence[str], tally: Tally
) -> None:
    """Ridge regression on some people, its squared errors on others."""
    probe = make_pipeline(spreads(), RidgeCV(alphas=np.logspace(-2, 5, 15)))
    x, y = _finite(*train)
    probe.fit(x, y)
    answer, mean = probe.predict(test[0]), y.mean()
    for subject, truth, told in zip(subjects, test[1], answer, strict=True):
        if np.isfinite(truth):
            tally.add(subject, np.array([(truth - told) ** 2, (truth - mean) ** 2]))


def probe_class(
    train: tuple[Array, Array], test: tuple[Array, Array], subjects: Sequence[str], tally: Tally
) -> None:
    """Logistic regression on some people, its confusions on others; classes are whole numbers."""
    answers = LogisticRegression(C=0.1, max_iter=500, class_weight="balanced")
    probe = make_pipeline(spreads(), answers)
    x, y = _finite(*train)
    probe.fit(x, y.astype(int))
    count_confusions(test[1], probe.predict(test[0]), subjects, tally)


def count_confusions(truth: Array, answer: Array, subjects: Sequence[str], tally: Tally) -> None:
    """Add (truth, answer) counts of five classes; NaN or a negative one of either is not scored."""
    for subject, y, told in zip(subjects, truth, answer, strict=True):
        if y >= 0 and told >= 0:
            confusion = np.zeros((len(STAGES), len(STAGES)))
            confusion[int(y), int(told)] = 1.0
            tally.add(subject, confusion)


def _finite(x: Array, y: Array) -> tuple[Array, Array]:
    known = np.isfinite(y) & (y >= 0) & np.isfinite(x).all(1)
    return x[known], y[known]


def table(title: str, rows: Mapping[str, Mapping[str, object]]) -> str:
    """Rows by name, columns by name, as text."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    cells = [["", *columns]]
    cells += [[name, *(str(row.get(c, "")) for c in columns)] for name, row in rows.items()]
    widths = [max(len(line[k]) for line in cells) for k in range(len(columns) + 1)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in cells]
    return "\n".join([title, *(line.rstrip() for line in lines)])
