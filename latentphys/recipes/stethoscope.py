"""Heart sounds and ECG of a digital stethoscope, learned together by hiding parts of both.

    loss = -ELBO - L_mask - L_cross + 0.003 L_miss,    heart sounds as log power in mel bands

Each sensor has its own tokeniser, the state over time is theirs in common. The idea alone is
public; sizes and masking are ours.

Source:
    The masked autoencoder of He et al. (2022), CVPR, on phonocardiogram and ECG.
"""

from latentphys.learning.objective import Objective
from latentphys.learning.views import Masking
from latentphys.preparation.preprocessing import SignalPlan
from latentphys.preparation.spectrogram import mel_edges
from latentphys.recipes.catalogue import Recipe

FRAME_RATE_HZ = 50.0  # systolic intervals are read to a few hundredths of a second

RECIPE = Recipe(
    name="stethoscope",
    source="He et al. (2022), on heart sounds",
    objective=Objective(
        cross=1.25,  # each of two sensors, left out half of the time, then weighs 1
        own_gaps=0.0,  # spans are hidden by the mask
        mask=1.0,
        masking=Masking(ratio=0.4, span_s=1.0, modality=0.2),
    ),
    state_rate_hz=FRAME_RATE_HZ,
    window_s=6.0,
    plans={
        "pcg": SignalPlan(
            bands_hz=tuple(mel_edges(25.0, 400.0, 6).round(1).tolist()),
            band_window_s=0.04,
            band_rate_hz=FRAME_RATE_HZ,
            beyond_sd=30.0,
        )
    },
    augmentation={"tempo": 0.1},
)
