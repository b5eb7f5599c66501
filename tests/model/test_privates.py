"""Shared and private latents: who writes, who reads, and what absence leaves to the prior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from latentphys.learning.terms import elbo
from latentphys.model.distributions import kl_along
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.batch import Batch
from latentphys.recordings.errors import FitError

Make = Callable[..., StateSpaceModel]
MakeBatch = Callable[..., Batch]
SIZES = {"latent_dim": 8, "private_dim": 2}  # 2 shared, 2 each of ecg, ppg and resp


def _hidden(batch: Batch, name: str, rows: slice) -> Batch:
    mask = {n: m.clone() for n, m in batch.mask.items()}
    mask[name][rows] = False
    return replace(batch, mask=mask)


def test_where_the_private_parts_stand(make_model: Make) -> None:
    spec = make_model(**SIZES).spec
    assert spec.shared_dim == 2
    assert [list(spec.private_of(name)) for name in spec.sensors] == [[2, 3], [4, 5], [6, 7]]


def test_an_emission_reads_the_shared_and_its_own_part(
    make_model: Make, make_batch: MakeBatch
) -> None:
    model, batch = make_model(**SIZES), make_batch()
    z = torch.randn(3, batch.steps, 8, dtype=torch.float64, requires_grad=True)
    eps = torch.zeros(3, 1, 2, dtype=torch.float64)
    names = model.name_index("ppg", batch)
    model.emission("ppg")(z, eps, names, batch.offset["ppg"]).mean.sum().backward()
    assert z.grad is not None
    read = z.grad.abs().sum((0, 1)) > 0
    assert read.tolist() == [True, True, False, False, True, True, False, False]


@torch.no_grad()
def test_private_evidence_is_written_by_its_own_modality_alone(
    make_model: Make, make_batch: MakeBatch
) -> None:
    model, batch = make_model(**SIZES), make_batch(holes=0.0)
    evidence = model.evidence(batch)
    for name, sensor in evidence.sensors.items():
        written = (sensor.precision[..., 4:] > 0).all(0).all(0)
        own = [column + 2 in model.spec.private_of(name) for column in range(6)]
        assert written.tolist() == own
        assert (sensor.precision[..., :4] > 0).all()


@torch.no_grad()
def test_the_private_part_of_an_absent_modality_is_its_prior_at_no_divergence(
    make_model: Make, make_batch: MakeBatch
) -> None:
    model, batch = make_model(**SIZES), _hidden(make_batch(), "ppg", slice(0, 2))
    q, prior = model.guide_of(model.evidence(batch)), model.prior(batch)
    z = q.rsample()
    ours, theirs = q.conditionals(z), prior.conditionals(z)
    own = list(model.spec.private_of("ppg"))
    torch.testing.assert_close(ours.loc[:2, :, own], theirs.loc[:2, :, own], rtol=0, atol=1e-12)
    torch.testing.assert_close(ours.scale[:2, :, own], theirs.scale[:2, :, own])
    assert not torch.isclose(ours.loc[2, :, own], theirs.loc[2, :, own]).any()
    torch.testing.assert_close(q.variance[:2, :, own], torch.ones(2, batch.steps, 2).double())
    other = list(model.spec.private_of("resp"))
    assert not torch.isclose(ours.loc[:2, 1:, other], theirs.loc[:2, 1:, other]).any()
    assert (kl_along(q, prior, z) > 0).all()


@torch.no_grad()
def test_a_subset_leaves_the_others_privates_to_the_prior(
    make_model: Make, make_batch: MakeBatch
) -> None:
    model, batch = make_model(**SIZES), make_batch()
    keep = torch.tensor([[True, False, True]] * 3)
    evidence = model.evidence(batch)
    subset, absent = model.guide_of(evidence, keep), model.evidence(batch.drop("ppg"))
    assert torch.equal(subset.mean, model.guide_of(absent).mean)
    assert (subset.mean[..., list(model.spec.private_of("ppg"))] == 0).all()


def test_the_privates_prior_is_stationary(make_model: Make, make_batch: MakeBatch) -> None:
    torch.manual_seed(0)
    model = make_model(**SIZES)
    with torch.no_grad():
        draws = model.prior_over(40, None, torch.Size()).rsample((4000,))[..., 2:]
    assert (draws.mean(0).abs() < 0.1).all()
    assert ((draws.var(0) - 1.0).abs() < 0.15).all()


def test_the_privates_prior_learns(make_model: Make, make_batch: MakeBatch) -> None:
    model, batch = make_model(**SIZES), make_batch()
    evidence = model.evidence(batch)
    q = model.guide_of(evidence)
    elbo(model, batch, evidence, q, q.rsample()).value.sum().backward()
    carries = [w for name, w in model.named_parameters() if name.endswith("privates.carry")]
    assert len(carries) == 1  # the guide's is the transition's
    assert carries[0].grad is not None
    assert (carries[0].grad != 0).all()


def test_nothing_left_shared_is_refused(make_model: Make) -> None:
    with pytest.raises(FitError, match=r"private_dim=2 against latent_dim=6.*larger latent_dim"):
        make_model(latent_dim=6, private_dim=2)
