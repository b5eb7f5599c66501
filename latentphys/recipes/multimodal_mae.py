"""A multimodal masked autoencoder with modality drop.

    L = -log p(hidden patches | z, visible patches)          half of every sensor's time hidden,
                                                             and a sensor altogether, now and then

The paper's squared error is the likelihood of a Gaussian of fixed width; here the width is learned.
The drop is at the input, and what is dropped is reconstructed too.

Source:
    Fang et al. (2024), Promoting cross-modal representations to improve multimodal foundation
    models for physiological signals.
"""

from latentphys.learning.objective import Objective
from latentphys.learning.views import Masking
from latentphys.recipes.catalogue import Recipe

RECIPE = Recipe(
    name="multimodal_mae",
    source="Fang et al. (2024)",
    objective=Objective(
        elbo=0.0,
        cross=0.0,
        miss=0.0,
        mask=1.0,
        masking=Masking(ratio=0.5, span_s=2.0, modality=0.3),
    ),
    window_s=30.0,
    model={"guide": "attention", "widths": (96, 96, 96)},
)
