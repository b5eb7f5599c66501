"""Heart sounds and ECG of simulated people learned together; four minutes of one processor."""

import sys
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from running import Figures, mean_of, probed, run

import latentphys as lp
from latentphys.fitted import FittedModel

SENSORS = ("ecg", "pcg")
# The recipe's own network is 1.1 million weights: too many for 2 MB.
RECIPE = lp.recipe("stethoscope", model={"widths": (64, 96, 96, 96, 96)})
TRUTHS = {f"{name}, R2": mean_of(name) for name in ("systolic_interval", "pre_ejection_period")}
GIVEN = {"both": SENSORS, "heart sounds": ("pcg",), "ECG": ("ecg",)}


@cache
def people() -> tuple[lp.Cohort, lp.Cohort]:
    cohort = lp.simulate(60, 1.5, seed=100, absent=0.0, pcg_rate_hz=1000.0).keep(*SENSORS)
    train, test = cohort.split(test=1 / 3, seed=0)
    return train, test


def fitted() -> FittedModel:
    return lp.fit(people()[0], recipe=RECIPE, steps=400, seed=0)


def scored(fit: FittedModel) -> Figures:
    return probed(fit, *people(), TRUTHS, GIVEN)


if __name__ == "__main__":
    run("stethoscope", fitted, scored)
