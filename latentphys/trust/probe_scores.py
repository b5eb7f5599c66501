"""Scores of probes that are made of sums over people, so that resampled people cost a product.

    number    r2 = 1 - sum (y - p)^2 / sum (y - mean y)^2, mae, spearman
    class     accuracy, macro_f1, balanced_accuracy (mean recall), log_loss in nats
    ordinal   the same, and quadratic_kappa = 1 - sum w O / sum w E with w_ij = (i - j)^2

All pool the rows of all people. In resamples, Spearman keeps the ranks of the whole, and means
over classes are over those that are there.

References:
    Cohen (1968), Weighted kappa.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentphys.trust.linear_probes import Kind, loss

Array = NDArray[np.float64]

SCORES: dict[Kind, tuple[str, ...]] = {
    "number": ("r2", "mae", "spearman"),
    "class": ("accuracy", "macro_f1", "balanced_accuracy", "log_loss"),
    "ordinal": ("accuracy", "macro_f1", "balanced_accuracy", "log_loss", "quadratic_kappa"),
}


def parts_of(predicted: Array, y: NDArray[Any], subjects: NDArray[Any], kind: Kind) -> Array:
    """What each person adds to the sums, (part, subject), people by name.

    Args:
        predicted: (row,) numbers or (row, class) probabilities.
        y: (row,) numbers or positions of classes.
        subjects: (row,).
        kind: of probe.
    """
    if kind == "number":
        from scipy.stats import rankdata

        # Sums of squares about a shift lose no digits; ranks are about their own mean anyway.
        a, r, s = y - y.mean(), *(rankdata(v) - 0.5 * (len(y) + 1) for v in (y, predicted))
        error = predicted - y
        each = np.stack(
            [np.ones(len(y)), a, a**2, error**2, np.abs(error), r, s, r**2, s**2, r * s], axis=1
        )
    else:
        width = predicted.shape[1]
        met = np.zeros((len(y), width, width))
        met[np.arange(len(y)), y, predicted.argmax(axis=1)] = 1.0
        each = np.concatenate([met.reshape(len(y), -1), loss(predicted, y, kind)[:, None]], axis=1)
    _, who = np.unique(subjects, return_inverse=True)
    summed = np.zeros((int(who.max()) + 1, each.shape[1]))
    np.add.at(summed, who, each)
    return summed.T


def score_of(kind: Kind) -> Callable[[Array], Array]:
    """(resample, part) sums -> (resample, score), in the order of SCORES."""

    def scored(sums: Array) -> Array:
        # A resample may hold one class, or one number: what it cannot tell is NaN.
        with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Mean of empty slice")
            return _numbers(sums) if kind == "number" else _classes(sums, kind)

    return scored


def _numbers(sums: Array) -> Array:
    n, a, aa, square, size, r, s, rr, ss, rs = sums.T
    r2 = 1.0 - square / (aa - a**2 / n)
    spread = (rr - r**2 / n) * (ss - s**2 / n)
    # Predictions that differ by rounding alone order nothing.
    spearman = np.where(spread > 1e-9, (rs - r * s / n) / np.sqrt(spread), np.nan)
    return np.stack([r2, size / n, spearman], axis=1)


def _classes(sums: Array, kind: Kind) -> Array:
    width = round(float(np.sqrt(sums.shape[1] - 1)))
    met, total = sums[:, :-1].reshape(-1, width, width), sums[:, :-1].sum(axis=1)
    hit, there, said = np.einsum("rkk->rk", met), met.sum(axis=2), met.sum(axis=1)
    recall = np.where(there > 0, hit / there, np.nan)
    f1 = np.where(there > 0, 2 * hit / (there + said), np.nan)
    scores = [
        hit.sum(axis=1) / total,
        np.nanmean(f1, axis=1),
        np.nanmean(recall, axis=1),
        sums[:, -1] / total,
    ]
    if kind == "ordinal":
        place = np.arange(width)
        weight = (place[:, None] - place) ** 2.0
        chance = there[:, :, None] * said[:, None, :] / total[:, None, None]
        scores.append(1.0 - (weight * met).sum((1, 2)) / (weight * chance).sum((1, 2)))
    return np.stack(scores, axis=1)
