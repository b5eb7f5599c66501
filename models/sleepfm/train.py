"""Leave-one-out contrast of five sensors of simulated nights; ten minutes of one processor."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from running import Figures, commonest, nights_of, probed, run

import latentphys as lp
from latentphys.fitted import FittedModel

SENSORS = ("eeg", "eog", "emg", "ecg", "airflow")
RECIPE = lp.recipe("sleepfm", model={"widths": (64, 64, 64, 64, 64), "evidence_dim": 48})
GIVEN = {"every sensor": SENSORS, "EEG": ("eeg",), "ECG and airflow": ("ecg", "airflow")}


def people() -> tuple[lp.Cohort, lp.Cohort]:
    return nights_of(200, SENSORS, subjects=36, minutes=30.0, split_seed=0)


def fitted() -> FittedModel:
    return lp.fit(people()[0], recipe=RECIPE, steps=300, seed=0)


def scored(fit: FittedModel) -> Figures:
    truths = {"sleep stage, macro-F1": commonest("stage")}
    return probed(fit, *people(), truths, GIVEN, classes=True)


if __name__ == "__main__":
    run("sleepfm", fitted, scored)
