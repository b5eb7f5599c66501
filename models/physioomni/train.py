"""Shared and private latents and codes of four sensors of simulated nights; some five minutes."""

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

if __name__ == "__main__":
    run_on_nights("physioomni", lp.recipe("physioomni"), GIVEN, seed=300)
