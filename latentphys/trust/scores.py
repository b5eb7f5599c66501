"""How good an imputation is, in numbers that hide nothing.

    NRMSE    = sqrt(mean (x - m)^2) / SD(x)           1 is what guessing the mean gets
    CRPS     = E|X - x| - 1/2 E|X - X'|               in the signal's unit, mean over samples
    coverage = share of x inside the central interval should equal the interval's level
    PIT      = F(x)                                   uniform when the draws are calibrated

Truth carries NaN where nothing was observed; such samples count nowhere. No torch here.

References:
    Gneiting and Raftery (2007), Strictly proper scoring rules, prediction, and estimation.
    Dawid (1984), Statistical theory: the prequential approach (the PIT).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class Interval(NamedTuple):
    """An estimate with its interval."""

    estimate: float
    lower: float
    upper: float


def _array(values: ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64)


def correlation(truth: ArrayLike, mean: ArrayLike) -> Array:
    """Pearson's r along time.

    Args:
        truth: (..., time), NaN = not observed.
        mean: (..., time).

    Returns:
        (...); NaN where either side is constant or fewer than three samples were observed.
    """
    truth, mean = np.broadcast_arrays(_array(truth), _array(mean))
    seen = np.isfinite(truth) & np.isfinite(mean)
    count = seen.sum(axis=-1, keepdims=True)

    def centred(values: Array) -> Array:
        total = np.where(seen, values, 0.0).sum(axis=-1, keepdims=True)
        return np.where(seen, values - total / np.maximum(count, 1), 0.0)

    x, y = centred(truth), centred(mean)
    spread = np.sqrt((x**2).sum(axis=-1) * (y**2).sum(axis=-1))
    scale = np.sqrt(
        (np.where(seen, truth, 0.0) ** 2).sum(-1) * (np.where(seen, mean, 0.0) ** 2).sum(-1)
    )
    # Rounding leaves a constant with a spread of its last bits: that is no spread.
    defined = (spread > 1e-12 * scale) & (count[..., 0] >= 3)
    return np.where(defined, (x * y).sum(axis=-1) / np.where(defined, spread, 1.0), np.nan)


def window_correlation(truth: ArrayLike, mean: ArrayLike, samples: int) -> Array:
    """Pearson's r in each whole window of `samples` samples, so that slow drifts earn nothing.

    Args:
        truth, mean: (..., time).

    Returns:
        (..., window); NaN where undefined.
    """
    truth, mean = np.broadcast_arrays(_array(truth), _array(mean))
    windows = truth.shape[-1] // samples
    shape = (*truth.shape[:-1], windows, samples)
    kept = windows * samples
    return correlation(truth[..., :kept].reshape(shape), mean[..., :kept].reshape(shape))


def nrmse(truth: ArrayLike, mean: ArrayLike) -> float:
    """sqrt(mean (x - m)^2) / SD(x) over every observed sample, pooled."""
    truth, mean = np.broadcast_arrays(_array(truth), _array(mean))
    seen = np.isfinite(truth) & np.isfinite(mean)
    if not seen.any():
        return float("nan")
    spread = truth[seen].std()
    error = np.sqrt(np.mean((truth[seen] - mean[seen]) ** 2))
    return float(error / spread) if spread > 0 else float("nan")


def crps(truth: ArrayLike, draws: ArrayLike) -> Array:
    """E|X - x| - 1/2 E|X - X'| from draws, unbiased for any number of draws.

    By probability-weighted moments: the fair estimator, without its square in memory.

    Args:
        truth: (..., time), NaN = not observed.
        draws: (sample, ..., time), at least two samples.

    Returns:
        (..., time), in the unit of the signal; NaN where not observed.
    """
    import scoringrules

    truth, draws = _array(truth), _array(draws)
    seen = np.isfinite(truth)
    score = np.full(truth.shape, np.nan)
    if seen.any():
        score[seen] = scoringrules.crps_ensemble(
            truth[seen], draws[:, seen], m_axis=0, estimator="pwm", backend="numpy"
        )
    return score


def normal_crps(truth: ArrayLike, mean: ArrayLike, sd: ArrayLike) -> Array:
    """The CRPS of N(mean, sd^2) in closed form; NaN where not observed."""
    import scoringrules

    truth, mean, sd = np.broadcast_arrays(_array(truth), _array(mean), _array(sd))
    score = np.full(truth.shape, np.nan)
    seen = np.isfinite(truth)
    if seen.any():
        score[seen] = scoringrules.crps_normal(truth[seen], mean[seen], sd[seen], backend="numpy")
    return score


def central_interval(draws: ArrayLike, level: float = 0.9) -> tuple[Array, Array]:
    """The (1 - level) / 2 and (1 + level) / 2 quantiles over samples.

    Args:
        draws: (sample, ..., time).

    Raises:
        ValueError: the level is not between 0 and 1.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(
            f"the level of an interval lies between 0 and 1; got {level}. 0.9 is usual."
        )
    tail = (1.0 - level) / 2.0
    lower, upper = np.quantile(_array(draws), [tail, 1.0 - tail], axis=0)
    return lower, upper


def coverage(truth: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> float:
    """Share of the observed samples with lower <= x <= upper; NaN with none observed."""
    truth = _array(truth)
    seen = np.isfinite(truth)
    inside = (truth >= _array(lower)) & (truth <= _array(upper))
    return float(inside[seen].mean()) if seen.any() else float("nan")


def width(truth: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> float:
    """Mean width of the interval over the observed samples, in the unit of the signal."""
    seen = np.isfinite(_array(truth))
    span = np.broadcast_to(_array(upper) - _array(lower), seen.shape)
    return float(span[seen].mean()) if seen.any() else float("nan")


def pit(truth: ArrayLike, draws: ArrayLike) -> Array:
    """The probability integral transform F(x), by mid-ranks: (#below + (#equal + 1) / 2) / (S + 1).

    Args:
        truth: (..., time).
        draws: (sample, ..., time).

    Returns:
        (..., time) in (0, 1), NaN where not observed.
    """
    truth, draws = _array(truth), _array(draws)
    below = (draws < truth).sum(axis=0)
    equal = (draws == truth).sum(axis=0)
    rank = (below + 0.5 * (equal + 1)) / (len(draws) + 1)
    return np.where(np.isfinite(truth), rank, np.nan)


def pit_distance(values: ArrayLike) -> float:
    """Kolmogorov's distance sup |F(p) - p| of PIT values from uniform: 0 is calibrated."""
    sorted_values = np.sort(_array(values)[np.isfinite(_array(values))])
    count = len(sorted_values)
    if count == 0:
        return float("nan")
    above = np.arange(1, count + 1) / count - sorted_values
    below = sorted_values - np.arange(count) / count
    return float(max(above.max(), below.max()))


def score_imputation(
    truth: ArrayLike,
    draws: ArrayLike,
    level: float = 0.9,
    window_samples: int | None = None,
    mean: ArrayLike | None = None,
) -> dict[str, float]:
    """Every score of one record's imputation from posterior predictive draws.

    Args:
        truth: (channel, time) or (time,), NaN = not observed.
        draws: (sample, channel, time) or (sample, time), same unit.
        level: of the central interval.
        window_samples: samples a window for `window_correlation`; None takes the whole record
            as one window.
        mean: the prediction's mean, of the truth's shape, where it is known better than as the
            draws' mean; correlation, window_correlation and nrmse are of it.

    Returns:
        correlation (pooled over channels and time), window_correlation (median over windows
        and channels), nrmse, crps (unit of the signal), ncrps (crps / SD of the truth),
        coverage, width (unit of the signal), nwidth, pit_distance, and count: the number of
        observed samples. NaN where a score is undefined.

    Raises:
        ValueError: shapes do not fit.
    """
    truth, draws = _array(truth), np.asarray(draws)
    if draws.shape[1:] != truth.shape or len(draws) < 2:
        raise ValueError(
            f"draws must be (sample, *truth's shape) with two samples or more; got "
            f"{draws.shape} for a truth of {truth.shape}. Put the sample axis first."
        )
    middle = draws.mean(axis=0, dtype=np.float64) if mean is None else _array(mean)
    if middle.shape != truth.shape:
        raise ValueError(
            f"a mean has the truth's shape {truth.shape}; got {middle.shape}. Leave it out to take "
            "the draws' mean."
        )
    # A channel at a time: sorted copies of all would be several times the draws' own memory.
    channels = zip(
        truth.reshape(-1, truth.shape[-1]),
        np.moveaxis(draws.reshape(len(draws), -1, truth.shape[-1]), 1, 0),
        strict=True,
    )
    each = [(crps(x, own), *central_interval(own, level), pit(x, own)) for x, own in channels]
    score, lower, upper, rank = (np.reshape(part, truth.shape) for part in zip(*each, strict=True))
    scores = _point_scores(truth, middle, window_samples)
    scores |= _spread_scores(truth, score, lower, upper)
    return scores | {"pit_distance": pit_distance(rank)}


def score_normal(
    truth: ArrayLike,
    mean: ArrayLike,
    sd: ArrayLike,
    level: float = 0.9,
    window_samples: int | None = None,
) -> dict[str, float]:
    """The same scores for a prediction N(mean, sd^2), in closed form.

    Args:
        truth, mean, sd: (channel, time) or (time,).
        level: of the central interval.
        window_samples: as in `score_imputation`.
    """
    from scipy.stats import norm

    truth, mean, sd = np.broadcast_arrays(_array(truth), _array(mean), _array(sd))
    half = norm.ppf(0.5 + level / 2.0) * sd
    scores = _point_scores(truth, mean, window_samples)
    scores |= _spread_scores(truth, normal_crps(truth, mean, sd), mean - half, mean + half)
    values = np.where(np.isfinite(truth), norm.cdf(truth, mean, sd), np.nan)
    return scores | {"pit_distance": pit_distance(values)}


def _point_scores(truth: Array, mean: Array, window_samples: int | None) -> dict[str, float]:
    samples = truth.shape[-1] if window_samples is None else window_samples
    each = window_correlation(truth, mean, samples) if samples else np.array([])
    each = each[np.isfinite(each)]
    return {
        "correlation": float(correlation(truth.ravel(), mean.ravel())),
        "window_correlation": float(np.median(each)) if each.size else float("nan"),
        "nrmse": nrmse(truth, mean),
        "count": float(np.isfinite(truth).sum()),
    }


def _spread_scores(truth: Array, score: Array, lower: Array, upper: Array) -> dict[str, float]:
    seen = np.isfinite(truth)
    spread = float(truth[seen].std()) if seen.any() else float("nan")
    unit = spread if spread > 0 else float("nan")
    mean_crps = float(score[seen].mean()) if seen.any() else float("nan")
    mean_width = width(truth, lower, upper)
    return {
        "crps": mean_crps,
        "ncrps": mean_crps / unit,
        "coverage": coverage(truth, lower, upper),
        "width": mean_width,
        "nwidth": mean_width / unit,
    }


def bootstrap_subjects(
    values: ArrayLike,
    subjects: ArrayLike,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """The mean over subjects, with a percentile interval from resampling whole subjects.

    Records of one person are averaged first: they are one observation, not several.

    Args:
        values: (record,), one score a record; NaN is left out.
        subjects: (record,), whose record it is.
        n: bootstrap resamples.
        seed: of the resampling.
        level: of the interval.

    Returns:
        Estimate and bounds. The bounds are NaN with fewer than two subjects: from one person
        nothing follows about others.

    Raises:
        ValueError: the lengths differ.

    References:
        Field and Welsh (2007), Bootstrapping clustered data.
    """
    values, subjects = _array(values), np.asarray(subjects)
    if values.shape != subjects.shape or values.ndim != 1:
        raise ValueError(
            f"one subject a value; got {values.shape} values and {subjects.shape} subjects. "
            "Pass the subject of each record."
        )
    seen = np.isfinite(values)
    names = np.unique(subjects[seen])
    means = np.array([values[seen & (subjects == name)].mean() for name in names])
    if len(means) < 2:
        estimate = float(means[0]) if len(means) else float("nan")
        return Interval(estimate, float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    resampled = means[rng.integers(len(means), size=(n, len(means)))].mean(axis=1)
    lower, upper = np.quantile(resampled, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(float(means.mean()), float(lower), float(upper))
