"""Text as a modality: absence is exact, findings stand alone, p(report | z) is a distribution."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from scipy.stats import skew
from torch import Tensor

from latentphys.learning import terms
from latentphys.model.statespace import ModelSpec, StateSpaceModel
from latentphys.model.texts import TextSpec, channel_shapes, findings_of, log_spectrum
from latentphys.preparation.batch import Batch, Tokens

STOP, UNKNOWN = 3, 2
SPEC = TextSpec("report", size=7, unknown=UNKNOWN, stops=(STOP,), width=8)
MakeModel = Callable[..., StateSpaceModel]
MakeBatch = Callable[..., Batch]


def tokens(*reports: list[int], fill: int = 0) -> Tokens:
    longest = max(len(report) for report in reports)
    ids = torch.tensor([[*report, *[fill] * (longest - len(report))] for report in reports])
    lengths = torch.tensor([len(report) for report in reports]).unsqueeze(-1)
    return Tokens("report", ids, torch.arange(longest) < lengths)


REPORTS = tokens([4, 5, STOP, 6, STOP], [], [6, 4])


def path_of(model: StateSpaceModel, batch: Batch) -> tuple[Tensor, ...]:
    q = model.guide_of(model.evidence(batch))
    return q.mean_path, q.correlation, q.scale


def same(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_model_with_text_has_the_weights_of_one_without_and_answers_alike(
    make_model: MakeModel, make_batch: MakeBatch
) -> None:
    sensors = make_model().spec.sensors
    batch = make_batch(inputs=0)
    models = []
    for text in (None, SPEC):
        torch.manual_seed(0)
        spec = ModelSpec(sensors, 4.0, latent_dim=3, widths=(6, 8), width=8, text=text)
        models.append(StateSpaceModel(spec).double().eval())
    plain, reading = models
    assert not [name for name in plain.state_dict() if "text" in name]
    for name, weight in plain.state_dict().items():
        assert torch.equal(weight, reading.state_dict()[name]), name
    assert same(path_of(plain, batch), path_of(reading, batch))
    told = replace(batch, tokens=REPORTS)
    assert same(path_of(plain, batch), path_of(plain, told))


def test_an_absent_text_changes_nothing_bit_for_bit(
    make_model: MakeModel, make_batch: MakeBatch
) -> None:
    model, batch = make_model(text=SPEC), make_batch()
    told = replace(batch, tokens=REPORTS)
    without, with_text = path_of(model, batch), path_of(model, told)
    for a, b in zip(without, with_text, strict=True):
        assert torch.equal(a[1], b[1])
        assert not torch.equal(a[0], b[0])
        assert not torch.equal(a[2], b[2])
    evidence = model.evidence(told)
    z = model.guide_of(evidence).mean
    assert model.text_emission.log_prob(z, REPORTS)[1] == 0.0


def test_what_stands_outside_the_mask_is_not_looked_at(
    make_model: MakeModel, make_batch: MakeBatch
) -> None:
    model, batch = make_model(text=SPEC), make_batch()
    results = []
    for fill in (0, STOP, 10**6):
        own = tokens([4, 5, STOP, 6, STOP], [], [6, 4], fill=fill)
        evidence = model.evidence(replace(batch, tokens=own))
        q = model.guide_of(evidence)
        log_prob = model.text_emission.log_prob(q.mean, own)
        model.zero_grad()
        (log_prob.sum() + q.mean.sum()).backward()
        gradient = [w.grad.clone() for w in model.parameters() if w.grad is not None]
        results.append((q.mean_path.detach(), log_prob.detach(), *gradient))
    assert same(results[0], results[1])
    assert same(results[0], results[2])


def test_findings_are_told_apart_and_their_order_means_nothing(make_model: MakeModel) -> None:
    finding, place = findings_of(tokens([4, 5, STOP, 6, STOP, STOP]), (STOP,))
    assert finding.tolist() == [[0, 0, 0, 1, 1, 2]]
    assert place.tolist() == [[0, 1, 2, 0, 1, 0]]
    model = make_model(text=SPEC)
    z = torch.randn(1, 12, 3, dtype=torch.float64)
    there, back = tokens([4, 5, STOP, 6, STOP]), tokens([6, STOP, 4, 5, STOP])
    said, said_back = model.text_encoder(there).total(), model.text_encoder(back).total()
    torch.testing.assert_close(said, said_back)
    a, b = (model.text_emission.log_prob(z, each) for each in (there, back))
    torch.testing.assert_close(a, b)
    # within a finding it does
    assert not torch.isclose(a, model.text_emission.log_prob(z, tokens([5, 4, STOP, 6, STOP])))


def test_a_hidden_finding_is_as_one_that_is_not_there(make_model: MakeModel) -> None:
    model = make_model(text=SPEC)
    whole = model.text_encoder(tokens([4, 5, STOP, 6, STOP]))
    speaks = torch.tensor([[True, True, True, False, False]])
    torch.testing.assert_close(
        whole.total(speaks), model.text_encoder(tokens([4, 5, STOP])).total()
    )


def test_longer_texts_beside_it_change_nothing(make_model: MakeModel) -> None:
    model, alone = make_model(text=SPEC), tokens([6, 4])
    z = torch.randn(3, 12, 3, dtype=torch.float64)
    beside = torch.stack(model.text_encoder(REPORTS).total())[:, 2:]
    torch.testing.assert_close(beside, torch.stack(model.text_encoder(alone).total()))
    scored = model.text_emission.log_prob(z, REPORTS)[2:]
    torch.testing.assert_close(scored, model.text_emission.log_prob(z[2:], alone))


def test_the_likelihood_sums_to_one_over_all_findings_of_a_length(make_model: MakeModel) -> None:
    """Left to right, no token sees itself or a later one: else the sum would not be 1."""
    model = make_model(text=replace(SPEC, unknown=-1, stops=()))
    z = torch.randn(1, 12, 3, dtype=torch.float64)
    every = tokens(*[list(ids) for ids in product(range(SPEC.size), repeat=3)])
    log_prob = model.text_emission.log_prob(z.expand(len(every.ids), -1, -1), every)
    assert log_prob.exp().sum().item() == pytest.approx(1.0, abs=1e-12)


def test_unknown_words_are_read_but_not_scored(make_model: MakeModel) -> None:
    model = make_model(text=SPEC)
    z = torch.randn(1, 12, 3, dtype=torch.float64)
    assert model.text_emission.log_prob(z, tokens([UNKNOWN, UNKNOWN])) == 0.0
    assert model.text_encoder(tokens([UNKNOWN])).total()[0].min() > 0.0


def test_paths_are_scored_together_as_one_by_one(make_model: MakeModel) -> None:
    model = make_model(text=SPEC)
    z = torch.randn(4, 3, 12, 3, dtype=torch.float64)
    together = model.text_emission.log_prob(z, REPORTS)
    apart = torch.stack([model.text_emission.log_prob(each, REPORTS) for each in z])
    torch.testing.assert_close(together, apart)


def test_text_speaks_of_the_shared_part_alone(make_model: MakeModel, make_batch: MakeBatch) -> None:
    model = make_model(text=SPEC, latent_dim=6, private_dim=1)
    batch = make_batch()
    private = model.evidence(batch).total()[0][..., -3:]
    told = model.evidence(replace(batch, tokens=REPORTS)).total()[0][..., -3:]
    assert torch.equal(private, told)
    z = torch.randn(3, 12, 6, dtype=torch.float64)
    moved = torch.cat([z[..., :3], z[..., 3:] + 1.0], dim=-1)
    emission = model.text_emission
    assert torch.equal(emission.log_prob(z, REPORTS), emission.log_prob(moved, REPORTS))


def test_a_text_alone_gives_a_posterior(make_model: MakeModel, make_batch: MakeBatch) -> None:
    model = make_model(text=SPEC)
    batch = replace(make_batch(), tokens=REPORTS).drop("ecg", "ppg", "resp")
    q = model.guide_of(model.evidence(batch))
    assert q.mean.shape == (3, 12, 3)
    assert not torch.allclose(q.mean[0], q.mean[2])


def test_the_joint_has_the_text_in_pyro_and_in_the_elbo(
    make_model: MakeModel, make_batch: MakeBatch
) -> None:
    model = make_model(text=SPEC)
    batch = replace(make_batch(), tokens=REPORTS)
    pyro.set_rng_seed(0)
    guide = poutine.trace(model.guide).get_trace(batch)
    trace = poutine.trace(poutine.replay(model.model, guide)).get_trace(batch)
    trace.compute_log_prob()
    z = trace.nodes["z"]["value"]
    expected = model.text_emission.log_prob(z, REPORTS, shapes=model.shapes_of(batch))
    torch.testing.assert_close(trace.nodes["w_report"]["log_prob"], expected)
    evidence = model.evidence(batch)
    assert torch.equal(guide.nodes["z"]["fn"].mean_path, model.guide_of(evidence).mean_path)
    bound = terms.elbo(model, batch, evidence, model.guide_of(evidence), z)
    torch.testing.assert_close(bound.log_likelihood["report"] * terms.seconds(batch), expected)
    reached = torch.stack(list(bound.log_likelihood.values())).sum(0)
    torch.testing.assert_close(bound.value, reached - bound.kl_state - bound.kl_nuisance)


def test_the_specification_comes_back_from_json(make_model: MakeModel) -> None:
    sensors = make_model().spec.sensors
    for text in (SPEC, None):
        spec = ModelSpec(sensors, text=text)
        assert ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    plain = ModelSpec(sensors).to_dict()
    del plain["text"]  # as an earlier release wrote it
    assert ModelSpec.from_dict(plain).text is None


def test_a_channels_shape_is_that_of_its_observed_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, 30, 3, 4, generator=generator, dtype=torch.float64).exp()
    values[:, :, 1] *= -3.0
    mask = torch.rand(values.shape, generator=generator) > 0.2
    mask[1, :, 2] = False
    found = channel_shapes(values, mask)
    for row, channel in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1)):
        x = values[row, :, channel][mask[row, :, channel]].numpy()
        expected = [np.arcsinh(skew(x)), np.log(x.std())]
        np.testing.assert_allclose(found[row, channel], expected, rtol=1e-9)
    assert (found[:, 0, 0] > 0.5).all()
    assert (found[:, 1, 0] < -0.5).all()
    assert (found[1, 2] == 0.0).all()
    filled = torch.where(mask, values, float("nan"))
    assert torch.equal(channel_shapes(filled, mask), found)
    flat = channel_shapes(torch.ones_like(values), mask)
    assert (flat == 0.0).all()


def test_a_spectrum_peaks_where_the_path_swings_at_any_length() -> None:
    weight = torch.ones(2, dtype=torch.float64)
    for steps in (60, 125, 400):
        t = torch.arange(steps, dtype=torch.float64)
        for k in (5, 12):  # of 30 frequencies up to 0.48 cycles a step
            z = torch.stack([torch.cos(2 * torch.pi * 0.016 * k * t), 0.1 * torch.ones_like(t)], -1)
            found = log_spectrum(z, weight)
            assert found.shape == (30,)
            assert int(found.argmax()) == k - 1
    assert torch.isfinite(log_spectrum(z[:1], weight)).all()
    # a dimension without weight is not heard
    loud = torch.stack([z[:, 0], torch.cos(2 * torch.pi * 0.4 * t)], -1)
    heard = log_spectrum(loud, torch.tensor([1.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(heard, log_spectrum(z, weight))


def test_a_spectrum_is_the_sum_of_its_formula() -> None:
    z = torch.randn(3, 70, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight = torch.tensor([0.5, 2.0], dtype=torch.float64)
    centred = (z - z.mean(1, keepdim=True)).numpy()
    lags = np.arange(-50, 51)
    by_lag = np.array(
        [
            (centred[:, : 70 - abs(lag)] * centred[:, abs(lag) :] * weight.numpy()).sum((1, 2))
            for lag in lags
        ]
    )
    window = 0.5 * (1 + np.cos(np.pi * lags / 51))
    hertz = 0.016 * np.arange(1, 31)
    power = 2 * np.einsum("l,lb,lf->bf", window, by_lag, np.cos(2 * np.pi * np.outer(lags, hertz)))
    expected = np.log(np.maximum(power / 2 / by_lag[50][:, None], 1e-3))
    np.testing.assert_allclose(log_spectrum(z, weight), expected, atol=1e-9)


def test_a_rhythm_and_a_lead_turned_over_are_told(
    make_model: MakeModel, make_batch: MakeBatch
) -> None:
    model, batch = make_model(text=SPEC), make_batch()
    emission = model.text_emission
    z = torch.randn(3, 12, 3, dtype=torch.float64)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    mixed = emission.pool(z[:, order])
    assert not torch.allclose(emission.pool(z), mixed)  # a mean over steps has no order
    shapes = model.shapes_of(batch)
    over = replace(batch, values={name: -x for name, x in batch.values.items()})
    turned = emission.pool(z, model.shapes_of(over))
    assert not torch.allclose(emission.pool(z, shapes), turned)


def test_a_channel_that_is_not_observed_adds_nothing(
    make_model: MakeModel, make_batch: MakeBatch
) -> None:
    model, batch = make_model(text=SPEC), make_batch()
    z = torch.randn(3, 12, 3, dtype=torch.float64)
    bare = model.text_emission.pool(z)
    silent = replace(batch, mask={name: torch.zeros_like(x) for name, x in batch.mask.items()})
    assert torch.equal(model.text_emission.pool(z, model.shapes_of(silent)), bare)
    without = {name: own for name, own in model.shapes_of(batch).items() if name != "ecg"}
    mask = {**batch.mask, "ecg": torch.zeros_like(batch.mask["ecg"])}
    hidden = model.shapes_of(replace(batch, mask=mask))
    assert torch.equal(model.text_emission.pool(z, hidden), model.text_emission.pool(z, without))
