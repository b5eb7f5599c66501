"""Learning codes and telling hidden ones: formulas, what moves what, and what cannot be seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from latentphys.learning import code_terms as own_terms
from latentphys.learning.code_terms import code_terms, token_terms
from latentphys.learning.objective import Objective, Score, score_batch
from latentphys.learning.training import TrainingPlan, train
from latentphys.learning.views import Masking, View, masked_view
from latentphys.model.codes import Codebook, Codes, others_common
from latentphys.model.distributions import GaussMarkov
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.batch import Batch
from latentphys.recordings.errors import FitError

Make = Callable[..., StateSpaceModel]
MakeBatch = Callable[..., Batch]
SIZES = {"codes": 6, "latent_dim": 8, "private_dim": 2}


def _coded(make_model: Make, make_batch: MakeBatch) -> tuple[StateSpaceModel, Codes]:
    """Codebooks that have followed one batch, in evaluation mode."""
    model = make_model(**SIZES)
    codes = model.codes
    assert codes is not None
    batch = make_batch(seed=7)
    codes({n: (batch.values[n], batch.mask[n], batch.offset[n]) for n in batch.values}, learn=True)
    return model.eval(), codes


def _masked(model: StateSpaceModel, batch: Batch, masking: Masking, reach: int) -> View:
    present = model.evidence(batch).present()
    channels = {n: batch.mask[n].any(-1).any(1) for n in batch.values}
    generator = torch.Generator().manual_seed(3)
    return masked_view(present, channels, batch.steps, 4.0, generator, masking, reach)


def _asked(model: StateSpaceModel, batch: Batch, view: View) -> GaussMarkov:
    evidence = model.evidence(batch)
    return model.guide_network(*evidence.total(view.keep, view.hidden))


@torch.no_grad()
def test_the_terms_are_their_formulas(
    make_model: Make, make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, codes = _coded(make_model, make_batch)
    batch = make_batch()
    view = _masked(model, batch, Masking(ratio=0.5, span_s=0.5), reach=0)
    q = _asked(model, batch, view)
    signals = {n: (batch.values[n], batch.mask[n], batch.offset[n]) for n in batch.values}
    tokens = codes(signals)
    for each in tokens:
        codes.of(each).follow(tokens[each])
    torch.manual_seed(0)
    told = code_terms(model, codes, batch, view, q)
    torch.manual_seed(0)
    paths = q.rsample(torch.Size((2,)))
    name, own, part = "ecg", tokens["ecg"], codes.of("ecg")
    others, beside = others_common(tokens, name, (3, batch.steps))
    rows = model.name_index(name, batch)
    lost, log_prob = torch.zeros(3).double(), torch.zeros(3).double()
    asked: list[set[int]] = [set(), set(), set()]
    hidden = view.targets(0, batch.steps)
    for k in range(len(own.row)):
        row, step, channel = int(own.row[k]), int(own.step[k]), int(own.channel[k])
        alone = part.decode(torch.cat([own.own[k], own.common[k]]))
        helped = part.decode(torch.cat([own.own[k], others[k]]))
        lost[row] += 0.5 * ((own.patch[k] - alone) ** 2).sum()
        lost[row] += 0.5 * ((own.patch[k] - helped) ** 2).sum() * beside[k]
        lost[row] += 0.25 * own.commitment[k] + 0.1 * own.overlap[k]
        if hidden[row, step]:
            asked[row].add(channel)
            private, shared = part.told(paths[:, row, step], rows[row, channel])
            each = private.probs[:, own.private[k]].log() + shared.probs[:, own.shared[k]].log()
            log_prob[row] += each.mean()
    monkeypatch.setattr(Codebook, "_follow", lambda *_: None)
    monkeypatch.setattr(Codebook, "_revive", lambda *_: None)
    learned = token_terms(model, codes, batch)
    torch.testing.assert_close(learned[name], lost / 2 / 3.0)  # two channels, three seconds
    count = torch.tensor([max(1, len(each)) for each in asked])
    torch.testing.assert_close(told[name], log_prob / count / 3.0)
    assert (told[name] < 0).all()


def test_what_is_hidden_cannot_be_seen(make_model: Make, make_batch: MakeBatch) -> None:
    """Bit for bit: other samples behind what is hidden, other codes, the same probabilities."""
    model, codes = _coded(make_model, make_batch)
    batch = make_batch(steps=40, holes=0.0)
    masking = Masking(ratio=0.3, span_s=1.0, modality=0.3)
    view = _masked(model, batch, masking, model.reach)
    assert view.keep.any()
    values = {}
    for k, name in enumerate(batch.values):
        target = view.targets(k, batch.steps)[:, :, None, None]
        values[name] = torch.where(target, torch.randn_like(batch.values[name]), batch.values[name])
    other = replace(batch, values=values)
    with torch.no_grad():
        one, two = (_asked(model, own, view) for own in (batch, other))
        assert torch.equal(one.mean_path, two.mean_path)
        assert torch.equal(one.scale, two.scale)
        for name in batch.values:
            at = torch.zeros(40, dtype=torch.int64)
            a, b = (codes.of(name).told(q.mean_path[0], at) for q in (one, two))
            assert torch.equal(a[0].logits, b[0].logits)
            assert torch.equal(a[1].logits, b[1].logits)
        signals = (
            {n: (own.values[n], own.mask[n], own.offset[n]) for n in own.values}
            for own in (batch, other)
        )
        changed = [codes(own)["ppg"].private for own in signals]
    assert not torch.equal(*changed), "the samples behind it do matter to the codes"


def test_codes_and_state_do_not_teach_each_other(make_model: Make, make_batch: MakeBatch) -> None:
    model, codes = _coded(make_model, make_batch)
    batch = make_batch()
    view = _masked(model, batch, Masking(ratio=0.5, span_s=0.5), reach=0)
    learned = token_terms(model, codes, batch)
    told = code_terms(model, codes, batch, view, _asked(model, batch, view))

    def moved(loss: Tensor) -> set[str]:
        model.zero_grad()
        loss.backward(retain_graph=True)
        return {n for n, w in model.named_parameters() if w.grad is not None and w.grad.any()}

    of_tokens, of_codes = moved(sum(learned.values()).sum()), moved(-sum(told.values()).sum())
    assert of_tokens
    assert all(".encode." in name or ".decode." in name for name in of_tokens)
    assert not of_tokens & of_codes
    assert any(name.startswith("guide_network") for name in of_codes)
    assert any(name.startswith("encoders.ecg") for name in of_codes)


@torch.no_grad()
def test_an_absent_sensor_changes_the_weight_of_none(
    make_model: Make, make_batch: MakeBatch
) -> None:
    model, codes = _coded(make_model, make_batch)
    batch = make_batch()
    view = _masked(model, batch, Masking(ratio=0.5, span_s=0.5), reach=0)
    q = _asked(model, batch, view)
    mask = {n: m.clone() for n, m in batch.mask.items()}
    mask["ppg"][0] = False
    torch.manual_seed(0)
    whole = code_terms(model, codes, batch, view, q)
    torch.manual_seed(0)
    without = code_terms(model, codes, replace(batch, mask=mask), view, q)
    assert torch.equal(whole["ecg"], without["ecg"])
    assert torch.equal(whole["resp"], without["resp"])
    assert torch.equal(whole["ppg"][1:], without["ppg"][1:])
    assert without["ppg"][0] == 0


def test_the_objective_adds_them_and_refuses_a_model_without(
    make_model: Make, make_batch: MakeBatch
) -> None:
    model, _ = _coded(make_model, make_batch)
    batch = make_batch()

    def score(codes: float, learn: bool = False) -> Score:
        torch.manual_seed(0)
        objective = Objective(cross=0.0, miss=0.0, mask=1.0, codes=codes)
        return score_batch(model, batch, objective, torch.Generator().manual_seed(1), 1.0, learn)

    for learn, term, sign in ((False, "code", -1.0), (True, "token", 1.0)):
        scored = score(2.0, learn)
        parts = scored.by_window
        own = torch.stack([parts[f"{term}/{n}"] for n in batch.values]).sum(0)
        expected = -parts["elbo"] - sum(parts[f"mask/{n}"] for n in batch.values)
        torch.testing.assert_close(scored.loss, (expected + 2.0 * sign * own).mean())
        other = {"code": "token", "token": "code"}[term]
        assert not any(name.startswith(other) for name in parts)
    assert not any("code" in name for name in score(0.0).by_window)
    with pytest.raises(FitError, match="codes=256"):
        score_batch(make_model(), batch, Objective(codes=1.0), torch.Generator())
    with pytest.raises(FitError, match="codes=-1"):
        Objective(codes=-1)


def test_codes_tell_signals_apart_after_a_few_steps(
    make_model: Make, make_batch: MakeBatch
) -> None:
    """Patches of six kinds: learned, the codes lose little of them and are all in use."""
    torch.manual_seed(0)
    model = make_model(codes=6).float().train()
    codes = model.codes
    assert codes is not None
    kinds = 2.0 * torch.randn(6, 4)
    optimiser = torch.optim.Adam(codes.parameters(), 1e-2)
    for _ in range(200):
        kind = torch.randint(6, (8, 20))
        values = (kinds[kind] + 0.05 * torch.randn(8, 20, 4)).unsqueeze(2)
        offset = (torch.arange(4) / 4.0).expand(8, 20, 4)
        signals = {"ppg": (values, torch.ones_like(values, dtype=torch.bool), offset)}
        tokens = codes(signals, learn=True)
        own = tokens["ppg"]
        nobody = torch.zeros_like(own.common), torch.zeros(len(own.row), dtype=torch.bool)
        loss = own_terms.token_loss(codes.of("ppg"), own, *nobody).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    both = own.private * 6 + own.shared
    told = torch.stack([both[kind.flatten() == k].mode().values for k in range(6)])
    assert len(told.unique()) == 6, "each kind has a pair of codes of its own"
    missed = codes.of("ppg").decode(torch.cat([own.own, own.common], dim=-1)) - own.patch
    assert missed.square().mean() < 0.1 * own.patch.var()


def test_hidden_codes_are_told_better_than_by_how_often_each_is_taken(
    make_model: Make, make_batch: MakeBatch
) -> None:
    """What every sensor shows at a step is of one of four kinds: one sensor tells the others."""
    rng = torch.Generator().manual_seed(0)
    empty = make_batch(windows=8, steps=24, holes=0.0)
    kinds = {n: torch.randn(4, *v.shape[2:], generator=rng) for n, v in empty.values.items()}

    def batches() -> Iterator[Batch]:
        while True:
            kind = torch.randint(4, (8, 24), generator=rng)
            values = {n: 2.0 * own[kind] for n, own in kinds.items()}
            noisy = {n: v + 0.1 * torch.randn(v.shape, generator=rng) for n, v in values.items()}
            offset = {n: at.float() for n, at in empty.offset.items()}
            yield replace(empty, values=noisy, offset=offset)

    model = make_model(codes=6, latent_dim=8, width=16, widths=(16, 16)).float()
    codes = model.codes
    assert codes is not None
    objective = Objective(cross=0.0, miss=0.0, codes=1.0, masking=Masking(0.0, 1.0, 0.5))
    plan = TrainingPlan(steps=240, learning_rate=1e-2)
    history = train(model, batches(), [], objective, plan, progress=False)
    assert "token/ppg" in history.rows[0]
    assert "code/ppg" not in history.rows[0], "codes are learned before they are told"
    assert "token/ppg" not in history.rows[-1]
    batch = next(batches())
    view = _masked(model, batch, objective.masking, model.reach)
    with torch.no_grad():
        q = _asked(model, batch, view)
        told = code_terms(model, codes, batch, view, q)
        for name in batch.values:
            for head in (codes.of(name).to_private, codes.of(name).to_shared):
                head.weight.zero_()
                head.bias.zero_()
        by_share = code_terms(model, codes, batch, view, q)
    for name in batch.values:
        assert told[name].sum() > 0.5 * by_share[name].sum()
