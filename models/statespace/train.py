"""The default recipe on BIDMC's ECG, PPG and respiration; eight minutes of one processor."""

import sys
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from running import Figures, imputed, recordings_of, run

import latentphys as lp
from latentphys.fitted import FittedModel

SENSORS = ("ecg", "ppg", "resp")
# The recipe's own network is 1.2 million weights: too many for 2 MB.
RECIPE = lp.recipe("statespace", model={"widths": (64, 96, 96, 96, 96)})
ASKED = {"ppg": ("ecg", "resp"), "resp": ("ecg", "ppg"), "ecg": ("ppg", "resp")}


@cache
def people() -> tuple[lp.Cohort, lp.Cohort]:
    cohort = lp.read(recordings_of("bidmc")).keep(*SENSORS)
    train, test = cohort.split(test=0.2, seed=1)
    return train, test


def fitted() -> FittedModel:
    return lp.fit(people()[0], recipe=RECIPE, steps=2200, seed=1)


def scored(fit: FittedModel) -> Figures:
    return imputed(fit, *people(), ASKED)


if __name__ == "__main__":
    run("statespace", fitted, scored)
