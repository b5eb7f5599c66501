"""Does the posterior state hold the physiology? Simulated subjects, whose truth is known.

    python benchmarks/state.py --minutes 6 --seed 0

A ridge regression on the posterior state of training subjects predicts heart rate, breathing rate
and pulse transit time of unseen ones, window by window; beside it the same regression on the same
summary of an untrained model's state. Then the pulse sensor is taken away.
"""

from __future__ import annotations

import argparse

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from latentphys.api import fit, simulate
from latentphys.fitted import FittedModel
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.record import Record

Array = NDArray[np.float64]
TARGETS = ("heart_rate", "breathing_rate", "transit_time")
LAGS = (0, 1, 2, 4)


def summary(state: xr.Dataset, start_s: float, window_s: float) -> Array:
    """Mean of the state and its lagged second moments over one window."""
    part = state.isel(time=(state.time >= start_s) & (state.time < start_s + window_s))
    z = part.z_mean.values.astype(np.float64)
    centred = z - z.mean(0)
    moments = [z.mean(0)]
    for lag in LAGS:
        product = centred[: len(z) - lag].T @ centred[lag:] / (len(z) - lag)
        moments.append(product[np.triu_indices(len(product))] if lag == 0 else product.ravel())
    return np.concatenate(moments)


def windows(fitted: FittedModel, cohort: Cohort, window_s: float) -> tuple[Array, Array]:
    """Summaries and true means of every window of records with ECG, pulse and respiration."""
    features, truth = [], []
    for record in (r for r in cohort if {"ecg", "ppg", "resp"} <= set(r.modalities)):
        state = fitted.posterior(record, draws=1)["posterior"].to_dataset()
        for k in range(int(record.duration_s // window_s)):
            features.append(summary(state, k * window_s, window_s))
            truth.append(true_means(record, k * window_s, window_s))
    return np.array(features), np.array(truth)


def true_means(record: Record, start_s: float, window_s: float) -> list[float]:
    """The targets' true means over one window."""
    assert record.truth is not None
    time = record.truth.time
    part = record.truth.isel(time=(time >= start_s) & (time < start_s + window_s))
    return [float(part[name].mean()) for name in TARGETS]


def probe(fitted: FittedModel, train: Cohort, test: Cohort, window_s: float) -> list[float]:
    """R^2 of each target on unseen subjects."""
    known, known_truth = windows(fitted, train, window_s)
    unseen, unseen_truth = windows(fitted, test, window_s)
    scores = []
    for k in range(len(TARGETS)):
        model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 6, 13)))
        model.fit(known, known_truth[:, k])
        scores.append(float(r2_score(unseen_truth[:, k], model.predict(unseen))))
    return scores


def main() -> None:
    """Fit, probe and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--subjects", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--window-s", type=float, default=16.0)
    options = parser.parse_args()
    cohort = simulate(options.subjects, 4.0, options.seed)
    train, test = cohort.split(test=0.25, seed=options.seed)
    fitted = fit(train, minutes=options.minutes, seed=options.seed)
    untrained = fit(train, steps=1, seed=options.seed, progress=False)
    print(f"{'R^2 on unseen subjects':24} " + " ".join(f"{name:>15}" for name in TARGETS))
    for name, model in {"fitted": fitted, "untrained": untrained}.items():
        scores = probe(model, train, test, options.window_s)
        print(f"{name:24} " + " ".join(f"{score:15.3f}" for score in scores))
    complete = [r for r in test if {"ecg", "ppg", "resp"} <= set(r.modalities)]
    for gone in ("ppg", "resp", "ecg"):
        given = [name for name in fitted.modalities if name != gone]
        ratios = [
            fitted.posterior(r, draws=1, given=given)["posterior"].z_sd
            / fitted.posterior(r, draws=1)["posterior"].z_sd
            for r in complete
        ]
        each = np.mean([ratio.mean("time").values for ratio in ratios], axis=0)
        print(
            f"without {gone}: posterior sd times {each.mean():.2f} "
            f"(most affected latent {each.max():.2f}, least {each.min():.2f})"
        )


if __name__ == "__main__":
    main()
