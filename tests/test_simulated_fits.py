"""A model of every simulated set of sensors: a few steps of training, then an imputation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import latentphys as lp
from latentphys.preparation.preprocessing import DEFAULT_PLANS, Preprocessing

PLANS = {
    "sound": Preprocessing(),
    "envelope": Preprocessing(
        {**DEFAULT_PLANS, "pcg": replace(DEFAULT_PLANS["pcg"], envelope_hz=20.0)}
    ),
}


@pytest.mark.parametrize("plan", PLANS)
def test_heart_sounds_from_the_ecg(plan: str) -> None:
    heard = [
        record.keep("ecg", "pcg") for record in lp.simulate(2, 0.3, absent=0.0, pcg_rate_hz=500.0)
    ]
    fit = lp.fit(
        lp.Cohort(heard),
        steps=2,
        latent_dim=6,
        window_s=4.0,
        preprocessing=PLANS[plan],
        progress=False,
    )
    imputed = fit.impute(heard[0], "pcg", given=["ecg"])
    assert imputed["mean"].shape == heard[0].signals["pcg"].shape
    assert np.isfinite(imputed["mean"].values).all()


def test_oxygen_from_the_rest_of_a_night() -> None:
    nights = lp.simulate_night(2, 1.0, absent=0.0)
    fit = lp.fit(nights, steps=2, latent_dim=6, window_s=4.0, progress=False)
    given = [name for name in nights[0].modalities if name != "spo2"]
    imputed = fit.impute(nights[0], "spo2", given=given)
    assert imputed["mean"].sizes["time"] == 60
    assert np.isfinite(imputed["mean"].values).all()
