"""PhysioOmni: what sensors share and what each has to itself.

    c_t^m = (private code of m's own codebook, shared code of the common one), a token each step
    L_token = 1/2 |x - dec(v_private, v_shared)|^2 + 1/2 |x - dec(v_private, others' v_shared)|^2
              + 1/4 commitment + 1/10 cos^2(e_private, e_shared)
    L_code  = log p(c_private | z) + log p(c_shared | shared part of z),      of hidden tokens
    loss    = -ELBO - L_mask + 0.003 L_miss + (L_token, then -L_code),
    z_t     = (shared_t, private_t^1, ..., private_t^M)

The paper's two stages are one call here: codes are learned, L_token, in the first third of a
training and told, L_code, in the rest. Codebooks follow by moving averages (.99) and hold 256 codes
where the paper's hold 8192. Beside the codes the state tells the hidden samples themselves, L_mask;
it is shared and private too, independent under p(z), and with more than four sensors z grows, so
that half of it is shared.

Parts are hidden for eight seconds: at four steps a second what is hidden is so for a second to
either side of it too, and spans of two seconds would leave a third to a half of what the ratios
say.

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
        codes=1.0,
        masking=Masking(
            ratio={"eeg": 0.5, "ecg": 0.7, "eog": 0.7, "emg": 0.5, "": 0.5},
            span_s=8.0,
            modality=0.2,
        ),
    ),
    state_rate_hz=4.0,
    window_s=30.0,
    model={
        "latent_dim": 48,
        "private_dim": 6,
        "codes": 256,
        "guide": "attention",
        "widths": (96, 96, 96),
    },
    plans={"emg": CHIN},
)
