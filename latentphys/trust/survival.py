"""Scores and baseline of proportional hazards, from risks f, times and events.

    concordance   C = share of comparable pairs in which who had the event first has the higher f
    baseline      H_0(t) = sum_{t_j <= t} d_j / sum_{k at risk at t_j} e^{f_k}
    survival      S(t | f) = exp(-H_0(t) e^f)

A pair is comparable where the earlier of its two times is an event's; equal f count half.

References:
    Harrell, Califf, Pryor, Lee and Rosati (1982), Evaluating the yield of medical tests.
    Breslow (1972), in the discussion of Cox, Regression models and life-tables.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def concordance(risk: ArrayLike, time: ArrayLike, event: ArrayLike) -> float:
    """Harrell's C; NaN where no pair can be compared.

    Args:
        risk: f, (row,).
        time: (row,).
        event: (row,), whether it happened.

    Example:
        >>> concordance([2.0, 1.0, 0.0], [1.0, 2.0, 3.0], [True, True, False])
        1.0
    """
    told, pairs = concordant(risk, time, event)
    return float(told.sum() / pairs.sum()) if pairs.sum() else float("nan")


def concordant(risk: ArrayLike, time: ArrayLike, event: ArrayLike) -> tuple[Array, Array]:
    """Of each row that had the event: the later rows it is rightly ranked above, and all later.

    Two events at one time are not compared; who left at the time of another's event came after.
    """
    f, t = (np.asarray(x, np.float64) for x in (risk, time))
    happened = np.asarray(event, bool)
    told, pairs = np.zeros(len(f)), np.zeros(len(f))
    for i in np.flatnonzero(happened):
        later = (t > t[i]) | ((t == t[i]) & ~happened)
        told[i] = (f[i] > f[later]).sum() + 0.5 * (f[i] == f[later]).sum()
        pairs[i] = later.sum()
    return told, pairs


def baseline_hazard(risk: ArrayLike, time: ArrayLike, event: ArrayLike) -> tuple[Array, Array]:
    """Times of events, ascending, and H_0 just after each; Breslow's estimator."""
    f, t = (np.asarray(x, np.float64) for x in (risk, time))
    happened = np.asarray(event, bool)
    at = np.unique(t[happened])
    deaths = np.array([(happened & (t == each)).sum() for each in at])
    hazard = np.array([np.exp(f[t >= each]).sum() for each in at])
    return at, np.cumsum(deaths / hazard)


def survival(risk: ArrayLike, at: Array, hazard: Array, times: ArrayLike) -> Array:
    """S(t | f), (row, time), of the step function H_0.

    Args:
        risk: f, (row,).
        at, hazard: from `baseline_hazard`.
        times: asked for; beyond the last event S stays where it is.
    """
    steps = np.searchsorted(at, np.asarray(times, np.float64), side="right")
    cumulative = np.concatenate([[0.0], hazard])[steps]
    return np.exp(-np.exp(np.asarray(risk, np.float64))[:, None] * cumulative)
