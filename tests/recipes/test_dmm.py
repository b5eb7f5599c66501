"""The deep Markov model: its bound is the paper's, and it learns 0/1 sequences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from latentphys.api import fit, load
from latentphys.learning.objective import score_batch
from latentphys.learning.specification import sensors_of
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.batch import collate
from latentphys.preparation.windows import tile
from latentphys.recipes.catalogue import recipe
from latentphys.recordings.record import Record

SMALL = {"latent_dim": 4, "evidence_dim": 8, "widths": (16, 16), "width": 16, "dropout": 0.0}


def _melodies(count: int = 12, steps: int = 40) -> list[Record]:
    """A hidden chord of two moves on by chance; each sounds other notes of six, some unheard."""
    rng = np.random.default_rng(0)
    records = []
    for k in range(count):
        chord = np.cumsum(rng.random(steps) < 0.2) % 2
        likely = np.where(np.arange(6)[:, None] // 3 == chord, 0.9, 0.05)
        roll = (rng.random((6, steps)) < likely).astype(float)
        roll[rng.random(roll.shape) < 0.1] = np.nan
        names = {"notes": [f"key_{n}" for n in range(6)]}
        records.append(Record.from_arrays({"notes": (roll, 1.0)}, subject=f"m{k}", channels=names))
    return records


@torch.no_grad()
def test_the_loss_is_the_papers_bound(make_model: Callable[..., StateSpaceModel]) -> None:
    chosen = recipe("dmm")
    records = [chosen.preprocessing.prepare(record) for record in _melodies(2, 7)]
    sensors = sensors_of(records, chosen.state_rate_hz, chosen.preprocessing.plans)
    assert sensors["notes"].likelihood == "bernoulli"
    model = make_model(sensors=sensors, **{**chosen.model, **SMALL, "state_rate_hz": 1.0})
    batch = collate(records, tile(records, 7.0, 7.0, 1.0), [0, 1], ("notes",))
    values, offset = batch.values["notes"].double(), batch.offset["notes"].double()
    batch = replace(batch, values={"notes": values}, offset={"notes": offset})
    torch.manual_seed(3)
    loss = score_batch(model, batch, chosen.objective, torch.Generator()).loss

    torch.manual_seed(3)
    q = model.guide_of(model.evidence(batch))
    z = q.rsample()
    first, none = Normal(*model.prior_moments()), torch.zeros(0)
    rows = model.name_index("notes", batch)
    p = model.emission("notes").moments(z, none, rows, batch.offset["notes"])[0]
    total = 0.0
    for n in range(2):
        for t in range(7):
            seen = batch.mask["notes"][n, t]
            x = batch.values["notes"][n, t]
            total += float(Bernoulli(probs=p[n, t]).log_prob(x)[seen].sum())
            loc, before = q.mean[n, t], first
            if t > 0:
                loc = loc + q.correlation[n, t] * (z[n, t - 1] - q.mean[n, t - 1])
                before = model.transition(z[n, t - 1], None)
            total -= float(kl_divergence(Normal(loc, q.scale[n, t]), before).sum())
    # Two windows of seven seconds: the loss is in nats per second.
    np.testing.assert_allclose(float(loss), -total / 14.0, rtol=1e-9)


def test_it_learns_is_saved_and_loaded_and_imputes_probabilities(tmp_path: Path) -> None:
    melodies = _melodies()
    chosen = recipe("dmm", model=SMALL, window_s=20.0)
    fitted = fit(melodies, steps=200, recipe=chosen, held_out=0.0, progress=False)
    losses = [-row["elbo"] for row in fitted.history.rows]
    # Independent notes cost 4.1 nats a step, the chord known 1.4.
    assert losses[-1] < 3.6
    assert losses[-1] < losses[1]
    fitted.save(tmp_path / "dmm")
    again = load(tmp_path / "dmm")
    held = melodies[0].signals["notes"].values
    imputed = again.impute(melodies[0], "notes", given=["notes"], draws=50)
    mean, draws = imputed["mean"].values, imputed["draws"].values
    np.testing.assert_array_equal(
        draws, fitted.impute(melodies[0], "notes", given=["notes"], draws=50)["draws"].values
    )
    assert ((mean > 0) & (mean < 1)).all()
    assert set(np.unique(draws)) == {0.0, 1.0}
    assert set(np.unique(imputed["upper"].values)) <= {0.0, 1.0}
    np.testing.assert_allclose(imputed["sd"].values, np.sqrt(mean * (1 - mean)), atol=0.02)
    assert mean[held == 1].mean() > mean[held == 0].mean() + 0.2
