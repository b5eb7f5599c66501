"""Scores of people, summed so that people can be resampled: every figure with its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

Array = NDArray[np.float64]
STAGES = ("W", "N1", "N2", "N3", "REM")
RESAMPLES = 1000
FARTHEST = 4.0
PENALTIES = np.logspace(-2, 5, 15)
FOLDS = 5


class Labelled(NamedTuple):
    """Features (row, feature), what is true of each row (NaN: unknown), and whose it is."""

    x: Array
    y: Array
    who: Sequence[str]

    def known(self) -> Labelled:
        """The rows a probe can be taught with."""
        own = np.isfinite(self.y) & (self.y >= 0) & np.isfinite(self.x).all(1)
        return Labelled(self.x[own], self.y[own], np.asarray(self.who)[own].tolist())

    def of_split(self, seed: int) -> Labelled:
        """People told apart from those of other splits who have the same names."""
        return self._replace(who=[f"{seed}/{name}" for name in self.who])


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
        return _over_people(lambda rows: self.score(each[rows].sum(0)), len(each))

    def __str__(self) -> str:
        value, low, high = self.estimate()
        return f"{value:.3f} [{low:.3f}, {high:.3f}]"


class Difference:
    """One way's score less another's, of the same people, who are resampled together."""

    def __init__(self, one: Tally, other: Tally) -> None:
        who = [name for name in one.sums if name in other.sums]
        self._score = one.score
        self._each = [np.stack([own.sums[name] for name in who]) for own in (one, other)]

    def estimate(self) -> tuple[float, float, float]:
        """The difference and its 95 % interval over resampled people."""

        def less(rows: NDArray[np.int64]) -> float:
            one, other = (self._score(each[rows].sum(0)) for each in self._each)
            return one - other

        return _over_people(less, len(self._each[0]))

    def __str__(self) -> str:
        value, low, high = self.estimate()
        return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


Rows = dict[str, dict[str, Tally]]  # way -> score -> its tally


def differences(rows: Rows, pairs: Sequence[tuple[str, str]]) -> dict[str, dict[str, Difference]]:
    """ "one less other" -> of the scores that both rows have, the differences."""
    return {
        f"{one} less {other}": {
            column: Difference(tally, rows[other][column])
            for column, tally in rows[one].items()
            if column in rows[other]
        }
        for one, other in pairs
        if one in rows and other in rows
    }


def _over_people(
    score: Callable[[NDArray[np.int64]], float], people: int
) -> tuple[float, float, float]:
    """A score of rows of people, and its 95 % interval over people drawn again."""
    drawn = np.random.default_rng(0).integers(people, size=(RESAMPLES, people))
    low, high = np.nanpercentile([score(rows) for rows in drawn], [2.5, 97.5])
    return score(np.arange(people)), float(low), float(high)


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


def probe_number(taught: Labelled, asked: Labelled, tally: Tally) -> None:
    """Ridge regression on some people, its squared errors on others.

    Its penalty is chosen by people left out: rows left out have others of the same person beside
    them, and so say that hardly any is needed.
    """
    x, y, who = taught.known()
    folds = GroupKFold(min(FOLDS, len(set(who)))).split(x, groups=who)
    probe = make_pipeline(spreads(), RidgeCV(alphas=PENALTIES, cv=list(folds)))
    probe.fit(x, y)
    answer, mean = probe.predict(asked.x), y.mean()
    for subject, truth, told in zip(asked.who, asked.y, answer, strict=True):
        if np.isfinite(truth):
            tally.add(subject, np.array([(truth - told) ** 2, (truth - mean) ** 2]))


def probe_class(taught: Labelled, asked: Labelled, tally: Tally) -> None:
    """Logistic regression on some people, its confusions on others; classes are whole numbers."""
    answers = LogisticRegression(C=0.1, max_iter=500, class_weight="balanced")
    probe = make_pipeline(spreads(), answers)
    x, y, _ = taught.known()
    probe.fit(x, y.astype(int))
    count_confusions(asked.y, probe.predict(asked.x), asked.who, tally)


def count_confusions(truth: Array, answer: Array, subjects: Sequence[str], tally: Tally) -> None:
    """Add (truth, answer) counts of five classes; NaN or a negative one of either is not scored."""
    for subject, y, told in zip(subjects, truth, answer, strict=True):
        if y >= 0 and told >= 0:
            confusion = np.zeros((len(STAGES), len(STAGES)))
            confusion[int(y), int(told)] = 1.0
            tally.add(subject, confusion)


def table(title: str, rows: Mapping[str, Mapping[str, object]]) -> str:
    """Rows by name, columns by name, as text."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    cells = [["", *columns]]
    cells += [[name, *(str(row.get(c, "")) for c in columns)] for name, row in rows.items()]
    widths = [max(len(line[k]) for line in cells) for k in range(len(columns) + 1)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in cells]
    return "\n".join([title, *(line.rstrip() for line in lines)])
