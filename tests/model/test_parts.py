"""Laws that every choice of parts keeps: the contracts, saving, and a fit of a few steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from latentphys.fitted import FittedModel
from latentphys.learning.objective import Objective, score_batch
from latentphys.learning.specification import sensors_of
from latentphys.learning.tracking import History
from latentphys.learning.training import TrainingPlan, train
from latentphys.model.statespace import ModelSpec, StateSpaceModel
from latentphys.preparation.batch import Batch
from latentphys.preparation.loading import WindowLoader
from latentphys.preparation.preprocessing import default_preprocessing
from latentphys.recipes.statespace import RECIPE
from latentphys.recordings.errors import FitError

if TYPE_CHECKING:
    from latentphys.recordings.cohort import Cohort

Make = Callable[..., StateSpaceModel]
MakeBatch = Callable[..., Batch]
PARTS: dict[str, dict[str, Any]] = {
    "lru": {"guide": "lru"},
    "attention": {"guide": "attention"},
    "oscillator": {"transition": "oscillator", "latent_dim": 4},
    "channels": {"channels": "attention"},
    "private": {"private_dim": 2, "latent_dim": 8},
    "all": {
        "guide": "lru",
        "transition": "oscillator",
        "channels": "attention",
        "private_dim": 1,
        "latent_dim": 7,
    },
}
every_part = pytest.mark.parametrize("part", PARTS)


def _loss_and_gradients(model: StateSpaceModel, batch: Batch) -> list[Tensor]:
    torch.manual_seed(1)
    model.zero_grad()
    loss = score_batch(model, batch, Objective(), torch.Generator().manual_seed(2)).loss
    loss.backward()
    return [loss] + [torch.zeros(1) if w.grad is None else w.grad for w in model.parameters()]


@every_part
def test_what_stands_behind_the_mask_is_not_seen(
    make_model: Make, make_batch: MakeBatch, part: str
) -> None:
    model, batch = make_model(**PARTS[part]), make_batch()
    broken = {n: torch.where(batch.mask[n], v, float("nan")) for n, v in batch.values.items()}
    ours = [x.clone() for x in _loss_and_gradients(model, batch)]
    theirs = _loss_and_gradients(model, replace(batch, values=broken))
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other)
        assert torch.isfinite(one).all()


@every_part
def test_every_weight_of_the_part_learns(
    make_model: Make, make_batch: MakeBatch, part: str
) -> None:
    model = make_model(**PARTS[part])
    _loss_and_gradients(model, make_batch())
    still = [n for n, w in model.named_parameters() if w.grad is None or not w.grad.any()]
    assert not still


@torch.no_grad()
@every_part
def test_a_window_does_not_depend_on_its_neighbours(
    make_model: Make, make_batch: MakeBatch, part: str
) -> None:
    model, batch = make_model(**PARTS[part]), make_batch()
    batch.mask["ppg"][0] = False
    alone = replace(
        batch,
        values={n: v[1:2] for n, v in batch.values.items()},
        mask={n: v[1:2] for n, v in batch.mask.items()},
        offset={n: v[1:2] for n, v in batch.offset.items()},
        channels={n: v[1:2] for n, v in batch.channels.items()},
        subject=batch.subject[1:2],
        record=batch.record[1:2],
        start_step=batch.start_step[1:2],
    )
    together = model.guide_of(model.evidence(batch)).window(slice(1, 2))
    q = model.guide_of(model.evidence(alone))
    for name in ("mean_path", "correlation", "scale"):
        torch.testing.assert_close(getattr(together, name), getattr(q, name), rtol=0, atol=1e-9)


@torch.no_grad()
@every_part
def test_absent_is_never_there(make_model: Make, make_batch: MakeBatch, part: str) -> None:
    model, batch = make_model(**PARTS[part]), make_batch()
    dropped = model.guide_of(model.evidence(batch.drop("ppg")))
    batch.mask["ppg"][:] = False
    hidden = model.guide_of(model.evidence(batch))
    assert torch.equal(hidden.mean, dropped.mean)
    assert torch.equal(hidden.variance, dropped.variance)


@every_part
def test_a_few_steps_on_simulated_recordings_saved_loaded_and_imputing(
    tiny_cohort: Cohort, tmp_path: Path, part: str
) -> None:
    preprocessing = default_preprocessing()
    records = [preprocessing.prepare(record) for record in tiny_cohort]
    sensors = sensors_of(records, RECIPE.state_rate_hz)
    latent = {"latent_dim": 8 + 2 * len(sensors)}
    torch.manual_seed(0)
    small = {"evidence_dim": 8, "widths": (16, 16), "width": 16, **PARTS[part], **latent}
    model = StateSpaceModel(ModelSpec(sensors, RECIPE.state_rate_hz, **small))
    loader = WindowLoader(records, tuple(sensors), 50, RECIPE.state_rate_hz, 4)
    plan = TrainingPlan(steps=3)
    history = train(model, loader, [], Objective(), plan, progress=False)
    fit = FittedModel(model, preprocessing, 4.0, history, {})
    fit.save(tmp_path / part)
    again = FittedModel.load(tmp_path / part)
    assert again.model.spec == model.spec
    for ours, theirs in zip(model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert isinstance(again.history, History)
    imputed = again.impute(tiny_cohort[0], "ppg", given=["ecg"], draws=2)
    assert bool(imputed["mean"].notnull().all())


def test_a_model_saved_before_the_parts_is_the_default(make_model: Make) -> None:
    spec = make_model().spec
    before = {
        k: v for k, v in spec.to_dict().items() if k not in ("guide", "channels", "private_dim")
    }
    assert ModelSpec.from_dict(before) == spec
    names = {
        name.split(".")[0] + "." + name.split(".")[1]
        for name in make_model().state_dict()
        if "." in name
    }
    assert names == {
        "transition.linear",
        "transition.hidden",
        "transition.gate",
        "transition.proposal",
        "transition.spread",
        "guide_network.pyramid",
        "guide_network.head",
        *(f"{kind}.{name}" for kind in ("encoders", "emissions") for name in spec.sensors),
    }


@pytest.mark.parametrize("field", ["guide", "transition", "channels"])
def test_a_part_that_there_is_not_is_named(make_model: Make, field: str) -> None:
    with pytest.raises(FitError, match=f"{field} must be one of .*; got 'other'"):
        make_model(**{field: "other"})
    plain = make_model().spec.to_dict()
    with pytest.raises(TypeError, match=f"{field} must be one of"):
        ModelSpec.from_dict({**plain, field: "other"})


def test_frequencies_are_read_off_the_model(make_model: Make) -> None:
    model = make_model(**PARTS["all"])
    hz = model.oscillation_hz()
    assert hz.shape == (2,)
    assert ((hz > 0) & (hz < 2.0)).all()  # half the clock of 4 Hz
    with pytest.raises(FitError, match=r"only an oscillator .*transition='oscillator'"):
        make_model().oscillation_hz()
