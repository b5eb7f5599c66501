"""Scores of probes that are made of sums over people, so that resampled people cost a product.

    number    r2 = 1 - sum (y - p)^2 / sum (y - mean y)^2, mae, spearman
    class     accuracy, macro_f1, balanced_accuracy (mean recall), log_loss in nats, and how far to
              believe the probabilities: brier, calibration_error (ECE), selective_risk (AURC), as
              `latentphys.trust.decisions` has them
    ordinal   the same, and quadratic_kappa = 1 - sum w O / sum w E with w_ij = (i - j)^2

All pool the rows of all people. In resamples, Spearman keeps the ranks of the whole, and means
over classes are over those that are there. Of more than 512 rows, neighbours in confidence beyond
the surest 256 count as alike in the selective risk.

References:
    Cohen (1968), Weighted kappa.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentphys.trust.decisions import BINS, bin_of, squared_errors
from latentphys.trust.linear_probes import Kind, loss

Array = NDArray[np.float64]

_CLASS = (
    "accuracy",
    "macro_f1",
    "balanced_accuracy",
    "log_loss",
    "brier",
    "calibration_error",
    "selective_risk",
)
SCORES: dict[Kind, tuple[str, ...]] = {
    "number": ("r2", "mae", "spearman"),
    "class": _CLASS,
    "ordinal": (*_CLASS, "quadratic_kappa"),
}
MOST_GROUPS = 512  # of rows alike in confidence


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
        each = _of_classes(predicted, y)
    _, who = np.unique(subjects, return_inverse=True)
    summed = np.zeros((int(who.max()) + 1, each.shape[1]))
    np.add.at(summed, who, each)
    return summed.T


def _of_classes(predicted: Array, y: NDArray[Any]) -> Array:
    """(row, part): confusion, losses, count, right and confidence by bin, count and wrong by group.

    Bins are of the confidence, groups are of rows alike in it, the surest first.
    """
    width, rows = predicted.shape[1], np.arange(len(y))
    sure, said = predicted.max(axis=1), predicted.argmax(axis=1)
    met = np.zeros((len(y), width * width))
    met[rows, y * width + said] = 1.0
    bins = np.zeros((len(y), 3, BINS))
    for k, value in enumerate((1.0, said == y, sure)):
        bins[rows, k, bin_of(sure)] = value
    groups = np.zeros((len(y), 2, min(len(y), MOST_GROUPS)))
    place = np.searchsorted(np.sort(-sure), -sure)
    if len(y) > MOST_GROUPS:
        half = MOST_GROUPS // 2  # the risk of the surest few is what grouping would blur
        place = np.where(place < half, place, half + (place - half) * half // (len(y) - half))
    groups[rows, 0, place], groups[rows, 1, place] = 1.0, said != y
    losses = np.stack([loss(predicted, y, "class"), squared_errors(predicted, y)], axis=1)
    parts = (met, losses, bins.reshape(len(y), -1), groups.reshape(len(y), -1))
    return np.concatenate(parts, axis=1)


def score_of(kind: Kind, classes: int = 0) -> Callable[[Array], Array]:
    """(resample, part) sums -> (resample, score), in the order of SCORES.

    Args:
        kind: of probe.
        classes: how many there are; 0 of numbers.
    """

    def scored(sums: Array) -> Array:
        # A resample may hold one class, or one number: what it cannot tell is NaN.
        with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Mean of empty slice")
            return _numbers(sums) if kind == "number" else _classes(sums, kind, classes)

    return scored


def _numbers(sums: Array) -> Array:
    n, a, aa, square, size, r, s, rr, ss, rs = sums.T
    r2 = 1.0 - square / (aa - a**2 / n)
    spread = (rr - r**2 / n) * (ss - s**2 / n)
    # Predictions that differ by rounding alone order nothing.
    spearman = np.where(spread > 1e-9, (rs - r * s / n) / np.sqrt(spread), np.nan)
    return np.stack([r2, size / n, spearman], axis=1)


def _classes(sums: Array, kind: Kind, width: int) -> Array:
    cells = width * width
    met, losses, bins, groups = np.split(sums, [cells, cells + 2, cells + 2 + 3 * BINS], axis=1)
    met, total = met.reshape(-1, width, width), met.sum(axis=1)
    hit, there, said = np.einsum("rkk->rk", met), met.sum(axis=2), met.sum(axis=1)
    recall = np.where(there > 0, hit / there, np.nan)
    f1 = np.where(there > 0, 2 * hit / (there + said), np.nan)
    _, right, sure = bins.reshape(-1, 3, BINS).transpose(1, 0, 2)
    scores = [
        hit.sum(axis=1) / total,
        np.nanmean(f1, axis=1),
        np.nanmean(recall, axis=1),
        *(losses / total[:, None]).T,
        np.abs(right - sure).sum(axis=1) / total,
        _selective(*groups.reshape(len(groups), 2, -1).transpose(1, 0, 2)),
    ]
    if kind == "ordinal":
        place = np.arange(width)
        weight = (place[:, None] - place) ** 2.0
        chance = there[:, :, None] * said[:, None, :] / total[:, None, None]
        scores.append(1.0 - (weight * met).sum((1, 2)) / (weight * chance).sum((1, 2)))
    return np.stack(scores, axis=1)


def _selective(count: Array, wrong: Array) -> Array:
    """Area under the risk of the surest, from (resample, group) counts; groups in every order.

    Within a group of m rows with a share l wrong, after n rows with e wrong, the risk of k = n + j
    rows is (e + l j) / k on average, and sum_j 1 / (n + j) = psi(n + m + 1) - psi(n + 1).
    """
    from scipy.special import digamma

    rows, errors = np.cumsum(count, axis=1), np.cumsum(wrong, axis=1)
    share = np.where(count > 0, wrong / np.maximum(count, 1.0), 0.0)
    before = errors - wrong - share * (rows - count)
    harmonic = digamma(rows + 1.0) - digamma(rows - count + 1.0)
    return np.asarray((wrong + before * harmonic).sum(axis=1) / rows[:, -1])
