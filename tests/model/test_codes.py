"""Codebooks: moving averages by hand, dead codes, straight-through gradients, one step a token."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from latentphys.model.codes import CODE_DIM, Codebook, Codes, Tokens, others_common
from latentphys.model.statespace import ModelSpec, StateSpaceModel
from latentphys.preparation.batch import Batch

Make = Callable[..., StateSpaceModel]
MakeBatch = Callable[..., Batch]


def codes_of(model: StateSpaceModel) -> Codes:
    assert model.codes is not None
    return model.codes


def tokens_of(model: StateSpaceModel, batch: Batch) -> dict[str, Tokens]:
    return codes_of(model)(signals_of(batch))


def signals_of(batch: Batch) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    return {n: (batch.values[n], batch.mask[n], batch.offset[n]) for n in batch.values}


@pytest.fixture
def make_coded(make_model: Make, make_batch: MakeBatch) -> Callable[..., StateSpaceModel]:
    """A model in evaluation mode whose codebooks have followed one batch."""

    def make(**spec: object) -> StateSpaceModel:
        model = make_model(codes=6, **spec)
        codes_of(model)(signals_of(make_batch(seed=7)), learn=True)
        return model

    return make


def test_vectors_are_moving_averages_of_the_tokens_nearest_to_them() -> None:
    book = Codebook(2, 2)
    book.counts.fill_(10.0)
    book.totals.copy_(torch.tensor([[10.0, 0.0], [0.0, 10.0]]))
    x = torch.tensor([[3.0, 4.0], [4.0, 3.0], [0.0, 0.2]])
    chosen, code, paid = book(x, learn=True)
    assert code.tolist() == [1, 0, 1]
    torch.testing.assert_close(book.counts, torch.tensor([9.91, 9.92]))
    torch.testing.assert_close(
        book.totals, torch.tensor([[9.9 + 0.008, 0.006], [0.006, 9.9 + 0.008 + 0.01]])
    )
    torch.testing.assert_close(chosen, torch.eye(2)[[1, 0, 1]])
    torch.testing.assert_close(paid, torch.tensor([0.4, 0.4, 0.0]))  # |(.6, .8) - (0, 1)|^2


def test_nothing_moves_unless_asked_to_learn() -> None:
    torch.manual_seed(0)
    book = Codebook(4, 3)
    x = torch.randn(30, 3)
    book(x, learn=True)
    before = {k: v.clone() for k, v in book.state_dict().items()}
    codes = [book(own, learn=False)[1] for own in (x, x[:7])]
    assert all(torch.equal(v, before[k]) for k, v in book.state_dict().items())
    assert torch.equal(codes[0][:7], codes[1]), "a token's code does not depend on the others"


def test_dead_codes_begin_anew_at_tokens_and_all_come_to_be_used() -> None:
    torch.manual_seed(0)
    centres = F.normalize(torch.randn(8, 16), dim=-1)
    book = Codebook(32, 16)
    for _ in range(100):
        book(centres[torch.randint(8, (64,))] + 0.05 * torch.randn(64, 16), learn=True)
    used = book(centres, learn=False)[1]
    assert len(used.unique()) == 8
    assert ((book.vectors[used] * centres).sum(-1) > 0.97).all()
    book.counts[3], book.totals[3] = 0.1, -centres.sum(0)
    assert not (book(centres, learn=False)[1] == 3).any(), "no token takes it"
    book(centres, learn=True)
    assert float((book.vectors[3] @ centres.T).max()) > 0.97


def test_the_gradient_is_passed_straight_to_the_token() -> None:
    book = Codebook(2, 2)
    book.counts.fill_(1.0)
    book.totals.copy_(torch.eye(2))
    x = torch.tensor([[0.8, 0.6]], requires_grad=True)
    chosen, _, _ = book(x, learn=False)
    (chosen * torch.tensor([0.0, 2.0])).sum().backward()
    # d/dx of 2 x_2 / |x| at |x| = 1
    torch.testing.assert_close(x.grad, torch.tensor([[-2 * 0.8 * 0.6, 2 * (1 - 0.36)]]))


@torch.no_grad()
def test_a_token_is_one_step_of_one_channel(
    make_coded: Callable[..., StateSpaceModel], make_batch: MakeBatch
) -> None:
    model, batch = make_coded(), make_batch()
    values = {n: v.clone() for n, v in batch.values.items()}
    values["ecg"][0, 5, 1] = torch.tensor([4.0, -4.0, 4.0, -4.0])
    mask = {n: m.clone() for n, m in batch.mask.items()}
    mask["ecg"][0, 5, 1] = True
    batch = replace(batch, mask=mask)
    for token in tokens_of(model, batch).values():
        assert len(token.row) == len(token.patch)
    before, after = (
        tokens_of(model, replace(batch, values=own))["ecg"] for own in (batch.values, values)
    )
    seen = mask["ecg"].any(-1)
    assert len(before.row) == int(seen.sum())
    moved = (before.patch != after.patch).any(-1)
    there = (before.row == 0) & (before.step == 5) & (before.channel == 1)
    assert torch.equal(moved, there)
    for name in ("private", "shared", "own", "common", "commitment", "overlap"):
        a, b = getattr(before, name)[~there], getattr(after, name)[~there]
        assert torch.equal(a, b), name


@torch.no_grad()
def test_codes_do_not_depend_on_what_stands_behind_the_mask(
    make_coded: Callable[..., StateSpaceModel], make_batch: MakeBatch
) -> None:
    model, batch = make_coded(), make_batch()
    results = []
    for fill in (0.0, math.nan):
        values = {n: torch.where(batch.mask[n], batch.values[n], fill) for n in batch.values}
        results.append(tokens_of(model, replace(batch, values=values)))
    for name, own in results[0].items():
        assert torch.equal(own.private, results[1][name].private)
        assert torch.equal(own.own, results[1][name].own)


@torch.no_grad()
def test_others_common_is_the_mean_of_the_other_sensors_at_that_step(
    make_coded: Callable[..., StateSpaceModel], make_batch: MakeBatch
) -> None:
    model, batch = make_coded(), make_batch()
    batch.mask["ecg"][1], batch.mask["resp"][1] = False, False
    tokens = tokens_of(model, batch)
    mean, beside = others_common(tokens, "ppg", (3, batch.steps))
    own = tokens["ppg"]
    assert bool(beside.any())
    assert not bool(beside[own.row == 1].any())
    assert (mean[~beside] == 0).all()
    for k in beside.nonzero().flatten().tolist():
        said: list[Tensor] = []
        for name in ("ecg", "resp"):
            at = (tokens[name].row == own.row[k]) & (tokens[name].step == own.step[k])
            said += list(tokens[name].common[at])
        torch.testing.assert_close(mean[k], torch.stack(said).mean(0))
    assert mean.shape[1] == CODE_DIM


def test_a_spec_with_codes(make_model: Make) -> None:
    spec = make_model(codes=6).spec
    assert ModelSpec.from_dict(spec.to_dict()) == spec
    older = {k: v for k, v in spec.to_dict().items() if k != "codes"}
    assert ModelSpec.from_dict(older).codes == 0
    plain, coded = make_model().state_dict(), make_model(codes=6).state_dict()
    assert {k for k in coded if k.startswith("codes.")} == coded.keys() - plain.keys()
