"""Shared and private latents of four sensors of simulated nights; two minutes of one processor."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from running import run_on_nights

import latentphys as lp

GIVEN = {
    "every sensor": ("eeg", "eog", "emg", "ecg"),
    "EEG": ("eeg",),
    "EOG and ECG": ("eog", "ecg"),
}

# The weights here are from before the recipe learned codes; leave these changes out to have them.
NO_CODES = lp.recipe("physioomni", model={"codes": 0}, objective={"codes": 0.0})

if __name__ == "__main__":
    run_on_nights("physioomni", NO_CODES, GIVEN, seed=300)
