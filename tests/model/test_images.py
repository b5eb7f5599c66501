"""Laws of an image sequence as a modality: masks, absence, steps, and one joint with the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pyro
import pytest
import torch
from pyro.poutine import condition, trace
from torch import Tensor

from latentphys.learning import terms
from latentphys.learning.objective import Objective, score_batch
from latentphys.model.image_emissions import ImageEmission
from latentphys.model.image_encoders import ImageEncoder
from latentphys.model.statespace import ModelSpec, SensorSpec, StateSpaceModel
from latentphys.preparation.batch import Batch
from latentphys.preparation.frames import PixelGrid

Make = Callable[..., StateSpaceModel]
FRAME, PIXELS, SLOTS, STEPS = (6, 9), 54, 2, 6
SENSORS = {
    "cine": SensorSpec(1, ("slice 1", "slice 2"), grid=PixelGrid(FRAME)),
    "ecg": SensorSpec(4, ("II",), likelihood="student_t"),
}


@pytest.fixture
def model(make_model: Make) -> StateSpaceModel:
    return make_model(sensors=SENSORS)


@pytest.fixture
def batch() -> Batch:
    """Three windows: two slices with holes, one slice and lost frames, no cine at all."""
    rng = torch.Generator().manual_seed(0)
    cine = torch.randn(3, STEPS, 2, SLOTS * PIXELS, generator=rng, dtype=torch.float64)
    mask = torch.rand(cine.shape, generator=rng) > 0.1
    mask[0, 2, :, PIXELS:] = False  # one frame in this step
    mask[1, 1:3], mask[1, :, 1], mask[2] = False, False, False
    ecg = torch.randn(3, STEPS, 1, 4, generator=rng, dtype=torch.float64)
    slots = torch.tensor([0.1, 0.6], dtype=torch.float64).repeat_interleave(PIXELS)
    grid = torch.arange(4, dtype=torch.float64) / 4
    slices = ("slice 1", "slice 2")
    return Batch(
        values={"cine": torch.where(mask, cine, 0.0), "ecg": ecg},
        mask={"cine": mask, "ecg": torch.ones_like(ecg, dtype=torch.bool)},
        offset={"cine": slots.expand(3, STEPS, -1).clone(), "ecg": grid.expand(3, STEPS, -1)},
        channels={"cine": [slices, (slices[0], ""), ("", "")], "ecg": [("II",)] * 3},
        inputs=None,
        subject=["a", "b", "c"],
        record=["a", "b", "c"],
        start_step=torch.zeros(3, dtype=torch.int64),
        state_rate_hz=4.0,
        steps=STEPS,
    )


def _gradients(model: StateSpaceModel, batch: Batch, objective: Objective) -> list[Tensor]:
    torch.manual_seed(1)
    model.zero_grad()
    loss = score_batch(model, batch, objective, torch.Generator().manual_seed(2)).loss
    loss.backward()
    return [loss] + [torch.zeros(1) if w.grad is None else w.grad for w in model.parameters()]


@pytest.mark.parametrize("fill", [float("nan"), 1e6])
def test_what_stands_behind_the_mask_is_not_seen(
    model: StateSpaceModel, batch: Batch, fill: float
) -> None:
    filled = {n: torch.where(batch.mask[n], v, fill) for n, v in batch.values.items()}
    objective = Objective(mask=1.0, views=2)
    ours = [x.clone() for x in _gradients(model, batch, objective)]
    theirs = _gradients(model, replace(batch, values=filled), objective)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other)
        assert torch.isfinite(one).all()


def test_every_weight_learns(model: StateSpaceModel, batch: Batch) -> None:
    _gradients(model, batch, Objective(gaps=0.0))
    still = [n for n, w in model.named_parameters() if w.grad is None or not w.grad.any()]
    assert not still


@torch.no_grad()
def test_an_absent_cine_changes_nothing(model: StateSpaceModel, batch: Batch) -> None:
    gone = replace(batch, mask={**batch.mask, "cine": torch.zeros_like(batch.mask["cine"])})
    never = batch.drop("cine")
    ours, theirs = (model.guide_of(model.evidence(b)) for b in (gone, never))
    for name in ("mean_path", "correlation", "scale"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name))
    both = model.guide_of(model.evidence(batch))
    assert not torch.equal(both.mean_path[0], theirs.mean_path[0])
    assert torch.equal(both.mean_path[2], theirs.mean_path[2])  # the window without one


@torch.no_grad()
def test_a_frame_speaks_for_its_own_step_alone(model: StateSpaceModel, batch: Batch) -> None:
    values = batch.values["cine"].clone()
    values[0, 3, 0, :PIXELS] += 1.0
    one, other = (
        model.evidence(replace(batch, values={**batch.values, "cine": v})).sensors["cine"]
        for v in (batch.values["cine"], values)
    )
    moved = (one.precision != other.precision).any(-1)
    assert moved.nonzero().tolist() == [[0, 3]]
    assert (one.precision >= 0).all()
    assert not one.precision[1, 1:3].any()
    assert one.present.tolist() == [True, True, False]


@torch.no_grad()
def test_the_evidence_of_frames_and_slices_adds(model: StateSpaceModel, batch: Batch) -> None:
    parts = []
    for column in range(2):
        for slot in range(SLOTS):
            only = torch.zeros_like(batch.mask["cine"])
            at = slice(slot * PIXELS, (slot + 1) * PIXELS)
            only[:, :, column, at] = batch.mask["cine"][:, :, column, at]
            alone = replace(batch, mask={**batch.mask, "cine": only})
            parts.append(model.evidence(alone).sensors["cine"])
    whole = model.evidence(batch).sensors["cine"]
    for name in ("precision", "weighted"):
        total = sum(getattr(part, name) for part in parts)
        torch.testing.assert_close(getattr(whole, name), total)
    traces = whole.traces
    assert traces is not None
    own = traces.nuisance(traces.row, traces.channel, traces.seen.squeeze(-1) > 0)
    torch.testing.assert_close(own.loc, whole.nuisance.loc[traces.row, traces.channel])


@torch.no_grad()
def test_a_frame_is_of_its_own_moment_and_its_pixels_are_in_place() -> None:
    torch.manual_seed(0)
    emission = ImageEmission(FRAME, 3, 2, ("slice 1",)).double()
    z, eps = torch.randn(2, 5, 3).double(), torch.randn(2, 1, 2).double()
    name = torch.ones(2, 1, dtype=torch.int64)
    offset = torch.tensor([0.2, 0.7]).double().repeat_interleave(PIXELS).expand(2, 5, -1)
    loc, scale = emission.moments(z, eps, name, offset)
    assert loc.shape == scale.shape == (2, 5, 1, 2 * PIXELS)
    assert (scale > emission.noise_floor).all()
    first, second = loc.split(PIXELS, dim=-1)
    assert not torch.allclose(first, second)
    alone, _ = emission.moments(z, eps, name, offset[..., PIXELS:])
    torch.testing.assert_close(alone, second)
    emission.mean_frame[2, 3] += 10.0
    moved = (emission.moments(z, eps, name, offset)[0] - loc).abs() > 5.0
    assert moved[0, 0, 0].nonzero().flatten().tolist() == [2 * 9 + 3, PIXELS + 2 * 9 + 3]
    draws = emission.moments(z.expand(4, 2, 5, 3), eps.expand(4, 2, 1, 2), name, offset)[0]
    torch.testing.assert_close(draws[3], emission.moments(z, eps, name, offset)[0])


@torch.no_grad()
def test_the_elbo_and_the_pyro_model_score_the_same_pixels(
    model: StateSpaceModel, batch: Batch
) -> None:
    torch.manual_seed(0)
    evidence = model.evidence(batch)
    z = model.guide_of(evidence).rsample()
    drawn = {
        f"eps_{name}": torch.zeros_like(s.nuisance.loc) for name, s in evidence.sensors.items()
    }
    pyro.clear_param_store()
    sites = trace(condition(model.model, {"z": z, **drawn})).get_trace(batch)
    sites.compute_log_prob()
    for sensor in evidence.sensors.values():
        sensor.nuisance.loc = torch.zeros_like(sensor.nuisance.loc)
        sensor.nuisance.scale = torch.full_like(sensor.nuisance.scale, 1e-12)
    bound = terms.elbo(model, batch, evidence, model.guide_of(evidence), z)
    for name, own in bound.log_likelihood.items():
        told = sites.nodes[f"x_{name}"]["log_prob"] / terms.seconds(batch)
        torch.testing.assert_close(own, told)


def test_a_weight_scales_a_modality_in_every_term(model: StateSpaceModel, batch: Batch) -> None:
    scores = []
    for weights in ({}, {"cine": 0.25}):
        torch.manual_seed(1)
        objective = Objective(mask=1.0, weights=weights)
        scores.append(score_batch(model, batch, objective, torch.Generator().manual_seed(2)))
    plain, weighed = (score.by_window for score in scores)
    for term in ("x", "cross", "mask"):
        assert torch.equal(weighed[f"{term}/cine"], 0.25 * plain[f"{term}/cine"])
        assert torch.equal(weighed[f"{term}/ecg"], plain[f"{term}/ecg"])
    lost = 0.75 * plain["x/cine"]
    torch.testing.assert_close(weighed["elbo"], plain["elbo"] - lost)
    with pytest.raises(ValueError, match="0 or more.*cine=-1"):
        Objective(weights={"cine": -1.0})


def test_a_model_of_images_is_told_in_plain_values() -> None:
    spec = ModelSpec(
        {**SENSORS, "cine": replace(SENSORS["cine"], grid=PixelGrid((8, 8), (2.0, 3.0), "mm"))}
    )
    plain = spec.to_dict()
    for each in plain["sensors"].values():
        if each["grid"]:
            each["grid"] = {**each["grid"], "shape": [8, 8], "spacing": [2.0, 3.0]}
    assert ModelSpec.from_dict(plain) == spec
    del plain["sensors"]["ecg"]["grid"]  # as releases without images wrote it
    assert ModelSpec.from_dict(plain) == spec
    encoder = StateSpaceModel(spec).encoder("cine")
    assert isinstance(encoder, ImageEncoder)
    assert encoder.reach == 0
