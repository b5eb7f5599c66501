"""PhysioOmni: what sensors share and what each has to itself.

    z_t = (shared_t, private_t^1, ..., private_t^M)
    loss = -ELBO - L_mask,    shared evidence from every sensor, private from its own alone

The paper's codes, private and shared, are Gaussian here, and its masked-code cross-entropy is the
likelihood of the hidden samples; its orthogonality is what the prior asks: private numbers and
shared ones are independent under p(z).

Source:
    Jiang et al. (2025), Towards robust multimodal physiological foundation models.
"""

from latentphys.learning.objective import Objective
from latentphys.learning.views import Masking
from latentphys.recipes.catalogue import Recipe
from latentphys.recipes.sleepfm import CHIN

RECIPE = Recipe(
    name="physioomni",
    source="Jiang et al. (2025)",
    objective=Objective(
        cross=0.0,
        miss=0.003,
        mask=1.0,
        masking=Masking(
            ratio={"eeg": 0.5, "ecg": 0.7, "eog": 0.7, "emg": 0.5, "": 0.5}, modality=0.2
        ),
    ),
    state_rate_hz=4.0,
    window_s=30.0,
    model={"latent_dim": 48, "private_dim": 6, "guide": "attention", "widths": (96, 96, 96)},
    plans={"emg": CHIN},
)
