"""DropFuse: ECG and cardiac MRI in one state, from either of which both are told.

    L = sum_m (x_m - x_m(z))^2 + 0.1 InfoNCE(z_ECG, z_MRI)    both from z, z of both or of one alone

z is of both sensors in -ELBO and of one of them in L_cross, which asks the other of it; a window
takes both turns, where the paper drops one at random. The squared error is the likelihood of a
Gaussian whose width is learned; with beta = 1 its mean learns as by squared error. The cine is
real time, at 12.5 frames a second, where the paper's is one averaged beat.

Warning:
    The paper has no divergence from a prior. Against one, a cine that weighs as much as the ECG,
    second for second (a factor of 0.017), leaves the heart's motion out of z for long: after 200
    steps on 40 phantoms the cine told from an unseen ECG was a still picture, while z told the
    ejection fraction well. At 0.25 and 800 steps it beats.

Source:
    Radhakrishnan et al. (2023), Cross-modal autoencoder framework learns holistic representations
    of cardiovascular state. Nature Communications 14.
"""

from latentphys.learning.objective import Objective
from latentphys.preparation.preprocessing import SignalPlan
from latentphys.recipes.catalogue import Recipe

FRAME, FRAMES_A_SECOND, WINDOW_S, ECG_HZ = (24, 24), 12.5, 4.8, 125.0

RECIPE = Recipe(
    name="dropfuse",
    source="Radhakrishnan et al. (2023)",
    objective=Objective(
        cross=1.25,  # each of two sensors, left out half of the time, then weighs 1
        miss=0.0,
        views=2,
        one_out=1.0,
        gaps=0.0,
        own_gaps=0.0,
        draws=1,  # as the paper's one latent; two cost half as much again
        beta=1.0,
        # The paper's errors are means: a mean over a window's samples is their sum by their number.
        align=0.1 * ECG_HZ * WINDOW_S,
        alignment="pairwise",
        weights={"cine": 0.25},
    ),
    state_rate_hz=FRAMES_A_SECOND,
    window_s=WINDOW_S,
    model={"align_dim": 64, "widths": (64, 64, 64, 64)},
    plans={
        "cine": SignalPlan(frame=FRAME),
        # In millivolts as they are: the height of the QRS complex tells of the heart's mass.
        "ecg": SignalPlan(
            low_hz=0.05,
            high_hz=40.0,
            flat_s=2.0,
            beyond_sd=30.0,
            location=0.0,
            scale=0.15,
            units="mV",
        ),
    },
    augmentation={"tempo": 0.0, "gain": 0.1, "lag_s": 0.0},
)
