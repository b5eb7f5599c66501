"""A masked autoencoder with modality drop on BIDMC; eight minutes of one processor."""

import sys
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from running import Figures, imputed, observed_mean, probed, recordings_of, run

import latentphys as lp
from latentphys.fitted import FittedModel

SENSORS = ("ecg", "ppg", "resp")
RECIPE = lp.recipe("multimodal_mae", window_s=32.0)
TRUTHS = {"heart rate, R2": observed_mean("hr"), "breathing rate, R2": observed_mean("resp_rate")}
GIVEN = {"complete": SENSORS, "without ECG": ("ppg", "resp"), "PPG alone": ("ppg",)}


@cache
def people() -> tuple[lp.Cohort, lp.Cohort]:
    train, test = lp.read(recordings_of("bidmc")).split(test=0.2, seed=1)
    return train, test


def fitted() -> FittedModel:
    return lp.fit(people()[0].keep(*SENSORS), recipe=RECIPE, steps=800, seed=1)


def scored(fit: FittedModel) -> Figures:
    train, test = people()
    sides = train.keep(*SENSORS), test.keep(*SENSORS)
    return {
        **probed(fit, train, test, TRUTHS, GIVEN),
        **imputed(fit, *sides, {"ppg": ("ecg", "resp")}),
    }


if __name__ == "__main__":
    run("multimodal_mae", fitted, scored)
