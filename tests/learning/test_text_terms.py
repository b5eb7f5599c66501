"""A text's terms: what is scored never speaks, absence is zero, and signals learn to tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from latentphys.learning.objective import Objective, _Seen, score_batch
from latentphys.learning.text_terms import text_terms, weighed
from latentphys.model.statespace import StateSpaceModel
from latentphys.model.texts import TextSpec
from latentphys.preparation.batch import Batch, Tokens

STOP = 3
SPEC = TextSpec("report", size=8, unknown=2, stops=(STOP,), width=8)
MakeModel = Callable[..., StateSpaceModel]
MakeBatch = Callable[..., Batch]


def told(batch: Batch, reports: list[list[int]]) -> Batch:
    longest = max(map(len, reports))
    ids = torch.tensor([[*report, *[0] * (longest - len(report))] for report in reports])
    mask = torch.arange(longest) < torch.tensor([[len(report)] for report in reports])
    return replace(batch, tokens=Tokens("report", ids, mask))


@pytest.fixture
def batch(make_batch: MakeBatch) -> Batch:
    return told(make_batch(windows=8), [[4, STOP, 5, STOP], [], *[[6, 7, STOP]] * 6])


def terms_of(model: StateSpaceModel, batch: Batch, seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    return dict(text_terms(model, batch, model.evidence(batch), generator))


def test_without_a_text_the_objective_is_as_it_was_bit_for_bit(
    make_model: MakeModel, make_batch: MakeBatch
) -> None:
    plain, own = make_batch(), make_model(text=SPEC)
    model = make_model()
    model.load_state_dict({k: v for k, v in own.state_dict().items() if "text" not in k})
    results = []
    for each, batch in ((model, plain), (own, plain), (model, told(plain, [[4]] * 3))):
        torch.manual_seed(0)
        generator = torch.Generator().manual_seed(0)
        score = score_batch(each, batch, Objective(), generator)
        results.append((score.loss, generator.get_state(), score.by_window))
    for loss, state, terms in results[1:]:
        assert torch.equal(loss, results[0][0])
        assert torch.equal(state, results[0][1])
        assert terms.keys() == results[0][2].keys()
    assert weighed({}, 300.0, 3.0) == 0


def test_a_window_without_a_text_scores_nothing(make_model: MakeModel, batch: Batch) -> None:
    model = make_model(text=SPEC)
    found = [terms_of(model, batch, seed) for seed in range(8)]
    names = {"told/report", "hidden/report", "shown/ecg", "shown/ppg", "shown/resp"}
    assert found[0].keys() == names
    for name in names:
        values = torch.stack([each[name] for each in found])
        assert values.shape == (8, 8)
        assert (values[:, 1] == 0.0).all(), name
        assert (values.abs().sum(0) > 0.0).sum() == 7, name


def moved(module: torch.nn.Module) -> bool:
    return any(w.grad is not None and bool(w.grad.any()) for w in module.parameters())


def test_what_the_signals_say_is_not_moved_by_the_text(make_model: MakeModel, batch: Batch) -> None:
    model = make_model(text=SPEC)
    terms_of(model, batch)["told/report"].sum().backward()
    assert moved(model.text_emission)
    assert not moved(model.text_encoder)
    assert not moved(model.guide_network)
    assert not moved(model.encoders)
    terms_of(model, batch)["hidden/report"].sum().backward()
    assert moved(model.text_encoder)
    assert moved(model.guide_network)
    assert not moved(model.encoders)


def test_text_shows_without_the_signals(make_model: MakeModel, batch: Batch) -> None:
    model = make_model(text=SPEC)
    terms_of(model, batch)["shown/ecg"].sum().backward()
    grads = [w.grad for w in model.encoder("ppg").parameters()]
    assert all(grad is None or not grad.any() for grad in grads)
    assert model.text_encoder.embedding.weight.grad.any()


def test_a_hidden_finding_does_not_speak(make_model: MakeModel, make_batch: MakeBatch) -> None:
    model, plain = make_model(text=SPEC), make_batch(windows=3)
    batch = told(plain, [[4, STOP, 5, STOP]] * 3)
    seen = set()
    for seed in range(12):
        model.zero_grad()
        found = terms_of(model, batch, seed)["hidden/report"][0]
        if found == 0.0:  # nothing hidden
            seen.add("none")
            continue
        found.backward()
        spoken = model.text_encoder.embedding.weight.grad.abs().sum(-1) > 0
        scored = model.text_emission.head.bias.grad
        # what is scored has its own bias pulled up, what is not is pushed down
        for word in (4, 5):
            if scored[word] > 0 and not spoken[word]:
                seen.add(f"{word} hidden")
            assert not (scored[word] > 0 and spoken[word])
    assert seen == {"none", "4 hidden", "5 hidden"}


def test_half_of_the_findings_are_hidden(make_model: MakeModel, make_batch: MakeBatch) -> None:
    from latentphys.learning.text_terms import _hidden

    finding = torch.arange(50).repeat(40, 2).sort(-1).values
    hidden = _hidden(finding, torch.Generator().manual_seed(0))
    assert torch.equal(hidden[:, ::2], hidden[:, 1::2])  # whole findings
    assert hidden.double().mean().item() == pytest.approx(0.5, abs=0.03)


def test_training_teaches_the_signals_to_tell(make_model: MakeModel, make_batch: MakeBatch) -> None:
    """A word that goes with the sign of the signals becomes likely given them, the other not."""
    model, batch = make_model(text=SPEC), make_batch(windows=8, holes=0.0)
    sign = torch.tensor([1.0, -1.0] * 4, dtype=torch.float64).view(-1, 1, 1, 1)
    values = {name: sign + 0.1 * value for name, value in batch.values.items()}
    reports = [[4 if s > 0 else 5, STOP] for s in sign.flatten()]
    batch = told(replace(batch, values=values), reports)
    swapped = told(batch, [[9 - first, stop] for first, stop in reports])
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-2)
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    for _ in range(40):
        optimiser.zero_grad()
        score_batch(model, batch, Objective(), generator).loss.backward()
        optimiser.step()
    with torch.no_grad():
        right, wrong = (terms_of(model, each)["told/report"].mean() for each in (batch, swapped))
    assert right * 3.0 > -0.5  # nats a report of 3 s; two words at random are 1.4
    assert wrong < right - 0.5


def test_a_text_speaks_where_everything_does_and_in_no_partial_view(
    make_model: MakeModel, make_batch: MakeBatch
) -> None:
    """What one sensor tells of another is learned without the report."""
    model = make_model(text=SPEC, align_dim=4)
    batch = told(make_batch(), [[4, STOP, 5, STOP]] * 3)
    objective = Objective(mask=1.0, align=1.0, text=0.0)
    found = []
    for each in (batch, batch.drop("report")):
        torch.manual_seed(0)
        views = _Seen.of(model, each, objective, torch.Generator().manual_seed(0))
        found.append({name: q.mean for name, q in views.q.items()})
    with_text, without = found
    assert not torch.allclose(with_text.pop("full"), without.pop("full"))
    assert with_text.keys() == {"subset", "masked", "single"}
    for name, mean in with_text.items():
        assert torch.equal(mean, without[name]), name
