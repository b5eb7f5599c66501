"""Where no sensor speaks the state is less certain, and what it predicts covers the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from latentphys.api import fit
from latentphys.fitted import FittedModel
from latentphys.recipes.catalogue import recipe
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.record import Record
from latentphys.recordings.simulation import simulate

GAP_S = (20.0, 26.0)


@pytest.fixture(scope="module")
def fitted() -> FittedModel:
    cohort = simulate(subjects=8, minutes=2.0, seed=5, absent=0.0).keep("ppg", "resp")
    chosen = recipe(  # else it takes 1,000 steps
        "statespace",
        objective={"gaps": 0.8, "miss": 0.1, "elbo": 1.0},
    )
    sizes = {"latent_dim": 8, "window_s": 8.0}
    return fit(cohort, steps=100, seed=0, recipe=chosen, progress=False, **sizes)


@pytest.fixture(scope="module")
def unseen() -> Cohort:
    return simulate(subjects=4, minutes=1.0, seed=77, absent=0.0).keep("ppg", "resp")


def _with_gap(record: Record) -> Record:
    signals = {}
    for name, signal in record.signals.items():
        inside = (signal.time >= GAP_S[0]) & (signal.time < GAP_S[1])
        signals[name] = signal.where(~inside)
        signals[name].attrs = dict(signal.attrs)
    return replace(record, signals=signals)


def test_the_state_is_less_certain_in_a_gap(fitted: FittedModel, unseen: Cohort) -> None:
    ratios = []
    for record in unseen:
        sd = fitted.posterior(_with_gap(record), draws=2)["posterior"].z_sd.mean("latent")
        inside = (sd.time > GAP_S[0] + 1.0) & (sd.time < GAP_S[1] - 1.0)
        outside = (sd.time > 10.0) & ((sd.time < 18.0) | (sd.time > 28.0)) & (sd.time < 50.0)
        ratios.append(float(sd[inside].mean() / sd[outside].mean()))
    assert min(ratios) > 1.2, ratios


def test_what_fills_a_gap_covers_the_truth(fitted: FittedModel, unseen: Cohort) -> None:
    covered = []
    for record in unseen:
        filled = fitted.impute(_with_gap(record), "ppg", given=["ppg", "resp"], draws=100)
        inside = (filled.time > GAP_S[0]) & (filled.time < GAP_S[1])
        truth = record.signals["ppg"].sel(channel=filled.channel)
        within = (truth.values >= filled.lower) & (truth.values <= filled.upper)
        covered.append(float(within[..., np.asarray(inside)].mean()))
    assert 0.75 < np.mean(covered) <= 1.0, covered
