"""The text's emission fitted by itself: it alone moves, it learns, and it stops at its best."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from latentphys.api import fit
from latentphys.learning import text_fitting
from latentphys.learning.text_fitting import fit_text_emission
from latentphys.recipes.catalogue import recipe
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.record import Record

if TYPE_CHECKING:
    from latentphys.fitted import FittedModel
    from latentphys.preparation.preprocessing import PreparedRecord

REPORTS = ("Upright.", "Turned over.")


def record_of(k: int) -> Record:
    """Spikes that point up or down in two leads, and the report that says so."""
    rng = np.random.default_rng(k)
    spikes = np.zeros(800)
    spikes[rng.integers(0, 100) :: 100] = 1.0 if k % 2 == 0 else -1.0
    x = np.stack([spikes, 0.5 * spikes]) + 0.05 * rng.standard_normal((2, 800))
    own = Record.from_arrays(
        {"ecg": (x, 100.0)}, subject=f"s{k}", units={"ecg": "mV"}, channels={"ecg": ["I", "II"]}
    )
    return replace(own, texts={"report": REPORTS[k % 2]})


@pytest.fixture(scope="module")
def fitted() -> FittedModel:
    cohort = Cohort([record_of(k) for k in range(12)])
    return fit(
        cohort,
        recipe=recipe("statespace", objective={"elbo": 1.0, "miss": 0.003}),
        steps=24,
        latent_dim=4,
        window_s=8.0,
        progress=False,
        seed=0,
        text="report",
        held_out=0.0,
    )


@pytest.fixture(scope="module")
def unseen(fitted: FittedModel) -> list[PreparedRecord]:
    return [fitted.prepared(record_of(k)) for k in range(12, 20)]


def test_it_learns_what_few_steps_of_training_could_not(fitted: FittedModel) -> None:
    assert fitted.answers is not None
    for k in range(12, 20):
        for leads in (["I", "II"], ["II"]):
            ranked = fitted.describe(record_of(k).select(ecg=leads), top=1)
            assert ranked.finding.item() == REPORTS[k % 2].lower().rstrip(".")


def test_the_emission_alone_moves_and_stays_as_it_was_best(
    fitted: FittedModel, unseen: list[PreparedRecord]
) -> None:
    model = fitted.model
    training = [fitted.prepared(record_of(k)) for k in range(12)]
    others = {n: w.clone() for n, w in model.state_dict().items() if "text_emission" not in n}
    with torch.no_grad():
        for weight in model.text_emission.parameters():
            weight.add_(0.5 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    before = torch.get_rng_state()
    losses = fit_text_emission(model, training, unseen, 8.0, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert len(losses) == 1 + text_fitting.STEPS // text_fitting.CHECK_EVERY
    assert min(losses) < 0.5 * losses[0]
    for name, weight in others.items():
        assert torch.equal(weight, model.state_dict()[name])
    # of others' reports it can only be taught worse: the first check is the best
    pairs = [(one, training[k ^ 1]) for k, one in enumerate(training)]
    training = [replace(one, tokens=other.tokens, texts=other.texts) for one, other in pairs]
    z = torch.randn(5, 100, 4, generator=torch.Generator().manual_seed(1))
    best = model.text_emission.pool(z)
    again = fit_text_emission(model, training, unseen, 8.0, seed=0)
    assert again[0] == pytest.approx(min(losses), rel=1e-5)
    assert min(again[1:]) > again[0]
    torch.testing.assert_close(model.text_emission.pool(z), best)


def test_without_a_text_there_is_nothing_to_fit(
    fitted: FittedModel, unseen: list[PreparedRecord]
) -> None:
    silent = [replace(record, tokens={}, texts={}) for record in unseen]
    before = {n: w.clone() for n, w in fitted.model.state_dict().items()}
    assert fit_text_emission(fitted.model, silent, [], 8.0, seed=0) == []
    for name, weight in before.items():
        assert torch.equal(weight, fitted.model.state_dict()[name])
