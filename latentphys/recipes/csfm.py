"""CSFM: waveforms and reports, three quarters of one and half of the other hidden.

    L = -log p(hidden samples | z, visible ones) - log p(hidden findings | z, visible ones)
    z ~ q(z | ECG, PPG and words that were not hidden)

`lp.fit(cohort, recipe="csfm", text="report")` learns a record's text beside its signals; without
`text` it is a masked model of the waveforms. Any leads, any length, any rate. The paper hides
patches of 0.1 s; a hidden span here is longer, since what is hidden must lie outside what its
neighbours have seen.

Source:
    Cardiac sensing foundation model (2026); its masking alone is published.
"""

from latentphys.learning.objective import Objective
from latentphys.learning.views import Masking
from latentphys.recipes.catalogue import Recipe

RECIPE = Recipe(
    name="csfm",
    source="CSFM (2026)",
    objective=Objective(
        elbo=0.0,
        cross=0.0,
        miss=0.0,
        mask=1.0,
        masking=Masking(ratio=0.75, span_s=2.0, channel=0.25),
    ),
    window_s=10.0,
    model={"guide": "attention", "widths": (96, 96, 96)},
)
