"""ECG and cardiac cine of phantoms learned together; four minutes of one processor."""

import sys
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from running import Figures, mean_of, probed, run

# running.py has put benchmarks/ on the path.
from cine import Rows, add_translation, cohort_of  # isort: skip

import latentphys as lp
from latentphys.fitted import FittedModel

ASKED = ("ejection_fraction", "myocardial_mass", "end_diastolic_volume")
TRUTHS = {f"{name}, R2": mean_of(name) for name in ASKED}
GIVEN = {"both": ("ecg", "cine"), "cine": ("cine",), "ECG": ("ecg",)}


@cache
def people() -> tuple[lp.Cohort, lp.Cohort]:
    return cohort_of(seed=50, subjects=60)


def fitted() -> FittedModel:
    return lp.fit(people()[0], recipe="dropfuse", steps=800, seed=0, progress=False)


def scored(fit: FittedModel) -> Figures:
    rows: Rows = {}
    add_translation(rows, fit, people(), seed=0)
    figures: Figures = {}
    for who, row in rows.items():
        for what, tally in row.items():
            figures.setdefault(f"cine from ECG, {what}", {})[who] = tally.estimate()
    return figures | probed(fit, *people(), TRUTHS, GIVEN)


if __name__ == "__main__":
    run("dropfuse", fitted, scored)
