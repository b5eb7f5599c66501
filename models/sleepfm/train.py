"""Leave-one-out contrast of five sensors of simulated nights; four minutes of one processor."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from running import run_on_nights

import latentphys as lp

GIVEN = {
    "every sensor": ("eeg", "eog", "emg", "ecg", "airflow"),
    "EEG": ("eeg",),
    "ECG and airflow": ("ecg", "airflow"),
}
# The recipe's own network is 1.4 million weights: too many for 2 MB.
RECIPE = lp.recipe("sleepfm", model={"widths": (64, 64, 64, 64, 64), "evidence_dim": 48})

if __name__ == "__main__":
    run_on_nights("sleepfm", RECIPE, GIVEN, seed=200)
