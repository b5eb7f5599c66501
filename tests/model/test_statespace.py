"""What the model may depend on: observed samples, and nothing else."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import pyro
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor

from latentphys.learning.objective import Objective, score_batch
from latentphys.learning.terms import elbo
from latentphys.model.distributions import GaussMarkov
from latentphys.model.statespace import ModelSpec, SensorSpec, StateSpaceModel
from latentphys.preparation.batch import Batch

Make = Callable[..., StateSpaceModel]
MakeBatch = Callable[..., Batch]
NAMES = ("ecg", "ppg", "resp")


def _filled(batch: Batch, fill: float) -> Batch:
    """Another value behind the mask."""
    values = {n: torch.where(batch.mask[n], batch.values[n], fill) for n in batch.values}
    return replace(batch, values=values)


def _hidden(batch: Batch, name: str, rows: slice = slice(None)) -> Batch:
    """A modality of some windows not observed."""
    mask = {n: m.clone() for n, m in batch.mask.items()}
    mask[name][rows] = False
    return replace(batch, mask=mask)


def _posterior(model: StateSpaceModel, batch: Batch) -> GaussMarkov:
    with torch.no_grad():
        return model.guide_of(model.evidence(batch))


def _equal(a: GaussMarkov, b: GaussMarkov) -> bool:
    names = ("mean_path", "correlation", "scale")
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)


def _close(a: GaussMarkov, b: GaussMarkov) -> None:
    for name in ("mean_path", "correlation", "scale"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=0, atol=1e-9)


def _elbo(model: StateSpaceModel, batch: Batch) -> Tensor:
    """The bound of each window under fixed draws."""
    torch.manual_seed(1)
    evidence = model.evidence(batch)
    q = model.guide_of(evidence)
    return elbo(model, batch, evidence, q, q.rsample()).value


def _gradients(model: StateSpaceModel, batch: Batch) -> list[Tensor]:
    """The whole objective's gradient under fixed draws."""
    torch.manual_seed(1)
    model.zero_grad()
    generator = torch.Generator().manual_seed(2)
    score_batch(model, batch, Objective(), generator).loss.backward()
    return [torch.zeros(1) if w.grad is None else w.grad.clone() for w in model.parameters()]


@pytest.mark.parametrize("fill", [1e6, math.nan, math.inf])
def test_nothing_depends_on_what_stands_behind_the_mask(
    make_model: Make, make_batch: MakeBatch, fill: float
) -> None:
    model, batch = make_model(), _hidden(make_batch(), "ppg", slice(0, 1))
    other = _filled(batch, fill)
    batch = _filled(batch, 0.0)
    assert _equal(_posterior(model, batch), _posterior(model, other))
    assert torch.equal(_elbo(model, batch), _elbo(model, other))
    for a, b in zip(_gradients(model, batch), _gradients(model, other), strict=True):
        assert torch.equal(a, b)
        assert torch.isfinite(b).all()


def test_observed_samples_do_matter(make_model: Make, make_batch: MakeBatch) -> None:
    model, batch = make_model(), make_batch()
    moved = replace(batch, values={n: v + 1.0 for n, v in batch.values.items()})
    assert not torch.allclose(_posterior(model, batch).mean, _posterior(model, moved).mean)


@pytest.mark.parametrize("name", NAMES)
def test_absent_is_never_there(make_model: Make, make_batch: MakeBatch, name: str) -> None:
    model, batch = make_model(), make_batch()
    sensors = {n: s for n, s in model.spec.sensors.items() if n != name}
    smaller = StateSpaceModel(replace(model.spec, sensors=sensors)).double().eval()
    weights = {k: v for k, v in model.state_dict().items() if f".{name}." not in f".{k}."}
    smaller.load_state_dict(weights)
    masked = _posterior(model, _hidden(batch, name))
    assert _equal(masked, _posterior(model, batch.drop(name)))
    assert _equal(masked, _posterior(smaller, batch))
    assert not _equal(masked, _posterior(model, batch))


def test_the_bound_without_a_sensor_is_the_bound_of_the_others(
    make_model: Make, make_batch: MakeBatch
) -> None:
    # the last modality, so that the others' draws are the same
    model, batch = make_model(), make_batch()
    torch.testing.assert_close(
        _elbo(model, _hidden(batch, "resp")), _elbo(model, batch.drop("resp"))
    )


def test_an_absent_sensor_does_not_reweigh_other_windows(
    make_model: Make, make_batch: MakeBatch
) -> None:
    model, batch = make_model(), make_batch()
    whole, without = _elbo(model, batch), _elbo(model, _hidden(batch, "ppg", slice(0, 1)))
    torch.testing.assert_close(without[1:], whole[1:], rtol=0, atol=1e-9)
    assert not torch.isclose(without[0], whole[0])


def test_evidence_does_not_depend_on_order_of_channels(
    make_model: Make, make_batch: MakeBatch
) -> None:
    model, batch = make_model(), make_batch()
    turned = replace(
        batch,
        values=batch.values | {"ecg": batch.values["ecg"].flip(2)},
        mask=batch.mask | {"ecg": batch.mask["ecg"].flip(2)},
        channels=batch.channels | {"ecg": [("V", "II")] * len(batch)},
    )
    _close(_posterior(model, batch), _posterior(model, turned))
    mislabelled = replace(batch, channels=turned.channels)
    assert not torch.allclose(_posterior(model, batch).mean, _posterior(model, mislabelled).mean)


def test_evidence_of_two_channels_is_the_sum_of_each(
    make_model: Make, make_batch: MakeBatch
) -> None:
    model, batch = make_model(), make_batch()
    encode = model.encoder("ecg")
    with torch.no_grad():
        parts = [
            encode(
                batch.values["ecg"][:, :, k : k + 1],
                batch.mask["ecg"][:, :, k : k + 1],
                batch.offset["ecg"],
                [names[k : k + 1] for names in batch.channels["ecg"]],
            )
            for k in range(2)
        ]
        both = model.evidence(batch).sensors["ecg"]
    torch.testing.assert_close(both.precision, parts[0].precision + parts[1].precision)
    torch.testing.assert_close(both.weighted, parts[0].weighted + parts[1].weighted)


def test_precision_is_positive_where_seen_and_zero_where_not(
    make_model: Make, make_batch: MakeBatch
) -> None:
    model, batch = make_model(), make_batch()
    with torch.no_grad():
        for name, sensor in model.evidence(batch).sensors.items():
            seen = batch.mask[name].any(-1).any(-1)
            assert (sensor.precision[seen] > 0).all()
            assert (sensor.precision[~seen] == 0).all()
            assert (sensor.weighted[~seen] == 0).all()


def test_nuisance_comes_from_its_own_sensor_alone(make_model: Make, make_batch: MakeBatch) -> None:
    model, batch = make_model(), make_batch()
    moved = replace(batch, values=batch.values | {"ppg": batch.values["ppg"] + 3.0})
    with torch.no_grad():
        before, after = model.evidence(batch).sensors, model.evidence(moved).sensors
    for name in ("ecg", "resp"):
        assert torch.equal(before[name].nuisance.loc, after[name].nuisance.loc)
        assert torch.equal(before[name].nuisance.scale, after[name].nuisance.scale)
    assert not torch.allclose(before["ppg"].nuisance.loc, after["ppg"].nuisance.loc)


def test_nuisance_moves_the_emission(make_model: Make, make_batch: MakeBatch) -> None:
    model, batch = make_model(), make_batch()
    z = torch.randn(len(batch), batch.steps, model.spec.latent_dim, dtype=torch.float64)
    arguments = (model.name_index("ppg", batch), batch.offset["ppg"])
    eps = torch.zeros(len(batch), 1, model.spec.nuisance_dim, dtype=torch.float64)
    one = model.emission("ppg").moments(z, eps, *arguments)[0]
    two = model.emission("ppg").moments(z, eps + 1.0, *arguments)[0]
    assert not torch.allclose(one, two)


def test_nuisance_of_an_absent_sensor_is_its_prior(make_model: Make, make_batch: MakeBatch) -> None:
    model, batch = make_model(), _hidden(make_batch(), "ppg", slice(1, 2))
    eps = model.evidence(batch).sensors["ppg"].nuisance
    assert (eps.loc[1] == 0).all()
    assert (eps.scale[1] == 1).all()
    assert (eps.loc[0] != 0).all()


@pytest.mark.parametrize("steps", [1, 2, 5, 33])
def test_any_number_of_steps_runs(make_model: Make, make_batch: MakeBatch, steps: int) -> None:
    model, batch = make_model(), make_batch(steps=steps, holes=0.0)
    assert _posterior(model, batch).mean.shape == (3, steps, 3)
    assert torch.isfinite(_elbo(model, batch)).all()


def test_inputs_drive_the_transition(make_model: Make, make_batch: MakeBatch) -> None:
    model, batch = make_model(inputs=("drug", "tilt")), make_batch(inputs=2)
    noise = torch.zeros(3, batch.steps, 3, dtype=torch.float64)
    assert batch.inputs is not None
    driven = model.prior(batch).path(noise)
    later = replace(batch, inputs=batch.inputs + torch.eye(12, dtype=torch.float64)[6, :, None])
    moved = model.prior(later).path(noise)
    assert torch.equal(driven[:, :6], moved[:, :6])
    assert not torch.isclose(driven[:, 6:], moved[:, 6:]).any()


def test_a_spec_survives_its_plain_values(make_model: Make) -> None:
    spec = make_model().spec
    assert ModelSpec.from_dict(spec.to_dict()) == spec
    with pytest.raises(TypeError, match="surprise"):
        ModelSpec.from_dict({**spec.to_dict(), "surprise": 1})


@pytest.mark.parametrize("name", ["ppg.left", "type", "training", "", "100%", "encoders"])
def test_any_name_is_a_sensors(make_model: Make, name: str) -> None:
    sensors = {name: SensorSpec(2, ("a",)), "ppg%2Eleft": SensorSpec(3, ("a",))}
    model, again = make_model(sensors=sensors), make_model(seed=1, sensors=sensors)
    assert model.encoder(name).basis.size == 2
    assert model.encoder("ppg%2Eleft").basis.size == 3
    again.load_state_dict(model.state_dict())
    weights = model.emission(name).state_dict()
    assert all(torch.equal(v, weights[k]) for k, v in again.emission(name).state_dict().items())


def test_two_models_of_one_process_both_train_under_svi(
    make_model: Make, make_batch: MakeBatch
) -> None:
    batch, before = make_batch(), []
    models = [make_model(seed=seed) for seed in range(3)]
    models[2] = copy.deepcopy(models[1])  # a copy is a model of its own too
    for model in models:
        before.append([w.detach().clone() for w in model.parameters()])
        svi = SVI(model.model, model.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
        svi.step(batch)
    for model, old in zip(models, before, strict=True):
        moved = [(w - o).abs().max() for w, o in zip(model.parameters(), old, strict=True)]
        assert 0.0 < max(moved) < 0.011, "trained, and from its own weights"


def test_a_student_t_sensor_has_a_finite_variance(make_model: Make) -> None:
    emission = make_model(sensors={"x": SensorSpec(2, ("a",), "student_t")}).emission("x")
    scale = torch.tensor([0.5], dtype=torch.float64)
    exact = emission.around(torch.zeros_like(scale), scale).variance
    torch.testing.assert_close(emission.variance(scale), exact)
    with torch.no_grad():
        assert emission.tail is not None
        emission.tail.fill_(-50.0)
    assert torch.isfinite(emission.variance(scale)).all()
