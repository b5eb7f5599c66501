"""SleepFM: sensors of one moment brought together, each against the mean of the others.

    L = 1 / 2M sum_m [CE(e_m . o_{-m} e^tau) + CE(transposed)]
    o_{-m} = mean of the other modalities' unit vectors, not made a unit vector again; tau >= 0

No decoder is trained: what comes out is a representation, `fit.embed`. A recording that lacks a
modality stays in training with those it has; the paper leaves it out.

Source:
    Thapa et al. (2024), SleepFM: multi-modal representation learning for sleep. ICML.
"""

from latentphys.learning.objective import Objective
from latentphys.preparation.preprocessing import SignalPlan
from latentphys.recipes.catalogue import Recipe

CHIN = SignalPlan(low_hz=10.0, high_hz=100.0, envelope_hz=2.0, flat_s=2.0, beyond_sd=12.0)

RECIPE = Recipe(
    name="sleepfm",
    source="Thapa et al. (2024)",
    objective=Objective(elbo=0.0, cross=0.0, miss=0.0, align=1.0, alignment="leave_one_out"),
    state_rate_hz=4.0,
    window_s=30.0,
    batch_size=32,
    model={"align_dim": 128, "channels": "attention"},
    plans={"emg": CHIN},
)
