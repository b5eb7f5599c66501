"""Linear probes by scikit-learn, held to subjects they were not fitted to.

    number    ridge regression                        min ||y - X w||^2 + n a ||w||^2
    class     multinomial logistic regression         min sum log loss + n a ||w||^2 / 2
    ordinal   k - 1 logistic regressions of y > level   P(y = j) = P(y > j - 1) - P(y > j)

The penalty a is chosen by subjects left out of the training folds; columns are standardised, and
gaps filled with their mean, by the training rows alone. No class is given less than
1 / (n + classes), the rule of succession.

References:
    Frank and Hall (2001), A simple approach to ordinal classification.
    Alain and Bengio (2017), Understanding intermediate layers using linear classifier probes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["number", "class", "ordinal"]
Array = NDArray[np.float64]
Rows = NDArray[np.int64]

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2)
USUAL = 1.0  # where one subject alone is left to choose by
INNER_FOLDS = 3


def out_of_fold(
    x: Array, y: NDArray[Any], subjects: NDArray[Any], kind: Kind, folds: int, seed: int
) -> tuple[Array, NDArray[np.int64]]:
    """Every row predicted by a probe that never saw its subject.

    Args:
        x: (row, feature), NaN where there is none.
        y: (row,), numbers, or the positions of classes in their order.
        subjects: (row,).
        kind: of probe.
        folds: into which the subjects are cut.
        seed: of the cut.

    Returns:
        (row,) predicted numbers, or (row, class) probabilities; and the fold of each row.
    """
    width = int(y.max()) + 1
    predicted = np.empty(len(y)) if kind == "number" else np.empty((len(y), width))
    fold = np.zeros(len(y), dtype=np.int64)
    for number, (train, test) in enumerate(by_subject(subjects, folds, seed)):
        inner = list(by_subject(subjects[train], INNER_FOLDS, seed))
        parts = [(train[a], train[b]) for a, b in inner]
        penalty = _chosen(x, y, parts, kind, width)
        inside, outside = _standardised(x, train, test)
        predicted[test] = _path(inside, outside, y[train], kind, width, (penalty,))[0]
        fold[test] = number
    return predicted, fold


def by_subject(subjects: NDArray[Any], folds: int, seed: int) -> Iterator[tuple[Rows, Rows]]:
    """Train and test rows of scikit-learn's GroupKFold; none of one subject alone."""
    from sklearn.model_selection import GroupKFold

    # Sorted by name first, so that the order of reading does not decide who is tested when.
    _, who = np.unique(subjects, return_inverse=True)
    count = min(folds, int(who.max()) + 1)
    if count > 1:
        chooser = GroupKFold(n_splits=count, shuffle=True, random_state=seed)
        yield from chooser.split(np.zeros((len(who), 1)), groups=who)


def _chosen(
    x: Array, y: NDArray[Any], parts: list[tuple[Rows, Rows]], kind: Kind, width: int
) -> float:
    """The penalty with the least loss on the left-out rows."""
    if not parts:
        return USUAL
    losses = np.zeros(len(PENALTIES))
    for train, test in parts:
        inside, outside = _standardised(x, train, test)
        path = _path(inside, outside, y[train], kind, width, PENALTIES)
        losses += [loss(predicted, y[test], kind).sum() for predicted in path]
    return PENALTIES[int(losses.argmin())]


def loss(predicted: Array, y: NDArray[Any], kind: Kind) -> Array:
    """(row,): squared error of a number, log loss of a class in nats."""
    if kind == "number":
        return np.asarray((predicted - y) ** 2)
    return -np.log(predicted[np.arange(len(y)), y])


def _standardised(x: Array, train: Rows, test: Rows) -> tuple[Array, Array]:
    """Columns in standard deviations of the training rows; a gap is its mean, and is flagged."""
    seen = np.isfinite(x)
    inside, count = x[train], np.maximum(seen[train].sum(axis=0), 1)
    centre = np.where(seen[train], inside, 0.0).sum(axis=0) / count
    spread = np.sqrt(np.where(seen[train], (inside - centre) ** 2, 0.0).sum(axis=0) / count)
    scaled = np.where(seen, x - centre, 0.0) / np.where(spread > 1e-9, spread, 1.0)
    scaled[:, spread <= 1e-9] = 0.0
    # One flag for columns that are absent together.
    holed = ~seen[:, ~seen.all(axis=0)]
    gone = np.unique(holed, axis=1).astype(np.float64) if holed.size else np.zeros((len(x), 0))
    # A constant column, so that no features at all is a probe as well.
    whole = np.concatenate([np.zeros((len(x), 1)), scaled, gone], axis=1)
    return whole[train], whole[test]


def _path(
    x: Array,
    new: Array,
    y: NDArray[Any],
    kind: Kind,
    width: int,
    penalties: Sequence[float],
) -> Array:
    """Probes fitted to (x, y), one a penalty, asked about new rows: (penalty, row[, class])."""
    if kind == "number":
        from sklearn.linear_model import Ridge

        fits = [Ridge(alpha=penalty * len(x)).fit(x, y) for penalty in penalties]
        return np.stack([np.asarray(fit.predict(new), dtype=np.float64) for fit in fits])
    if kind == "class":
        found = _logistic(x, new, y, width, penalties)
    else:
        above = [_logistic(x, new, y > k, 2, penalties)[..., 1] for k in range(width - 1)]
        # Fitted one by one they may cross; a higher level is never the likelier.
        tail = np.minimum.accumulate(np.stack([np.ones_like(above[0]), *above], axis=-1), axis=-1)
        found = tail - np.concatenate([tail[..., 1:], np.zeros_like(tail[..., :1])], axis=-1)
    # What n rows never showed is not known to be rarer than this.
    found = np.maximum(found, 1.0 / (len(x) + width))
    return np.asarray(found / found.sum(axis=-1, keepdims=True))


def _logistic(
    x: Array, new: Array, y: NDArray[Any], width: int, penalties: Sequence[float]
) -> Array:
    """Probabilities (penalty, row, class); 0 of a class that is not among y."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    y = y.astype(np.int64)
    here = np.unique(y)
    found = np.zeros((len(penalties), len(new), width))
    if len(here) == 1:
        found[..., here[0]] = 1.0
        return found
    # From the strongest penalty down, each starting where the last one ended.
    fitted = LogisticRegression(warm_start=True)
    with warnings.catch_warnings():
        # With hardly a penalty, stopping early is one.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for k in np.argsort(penalties)[::-1]:
            fitted.set_params(C=1.0 / (penalties[k] * len(x))).fit(x, y)
            found[k][:, here] = fitted.predict_proba(new)
    return found
