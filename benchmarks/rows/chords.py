"""Deep Markov model: Bach's chorales, test chorales' nats a step by the bound (lower is better).

The claim: 6.93 (Krishnan et al. 2017). `statespace` is that model learned by its own objective,
with the whole of the ELBO, of which the answer is made; beside them two models without a latent
state, every note by its own frequency and every note as a Markov chain. "People" are chorales;
those chosen by are the validation ones.
"""

from __future__ import annotations

import chorales
import numpy as np

import latentphys as lp
from rows.tally import Rows, Tally, share

DMM = lp.recipe("dmm")
WAYS = {
    "dmm": DMM,
    "statespace": lp.recipe(
        "statespace",
        objective={"elbo": 1.0},
        state_rate_hz=DMM.state_rate_hz,
        window_s=DMM.window_s,
        model=DMM.model,
        plans=DMM.plans,
        augmentation=DMM.augmentation,
        training=DMM.training,
    ),
}
WITHOUT_STATE = {"notes alone": chorales.unigram, "chains of notes": chorales.markov}
CLAIMS = [("statespace", "dmm")]


def run(seeds: int, steps: int) -> Rows:
    """Nats a step, a row a way."""
    heard, test = chorales.chorales("train"), chorales.chorales("test")
    rows: Rows = {}
    for seed in range(seeds):
        for name, chosen in WAYS.items():
            fit = chorales.learn(None, steps, seed, chosen)
            asked = chorales.whole(fit, "test")
            row = {c: Tally(share) for c in ("-ELBO", "importance-weighted, 50 draws")}
            row = rows.setdefault(name, row)
            for k, (bound, _, weighted, length) in enumerate(chorales.nats(fit.model, asked)):
                for tally, own in zip(row.values(), (bound, weighted), strict=True):
                    tally.add(str(k), np.array([own, length]))
    for name, told in WITHOUT_STATE.items():
        tally = rows.setdefault(name, {}).setdefault("-ELBO", Tally(share))
        for k, roll in enumerate(test):
            tally.add(str(k), np.array([told(heard, [roll]) * len(roll), len(roll)]))
    return rows
