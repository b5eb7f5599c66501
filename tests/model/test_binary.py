"""0/1 sensors whose channels are encoded and emitted together, with notes missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli

from latentphys.inference.mixture import mixture_quantiles
from latentphys.learning import terms
from latentphys.learning.objective import Objective, score_batch
from latentphys.model.statespace import SensorSpec, StateSpaceModel
from latentphys.preparation.augmentation import Augmentation
from latentphys.preparation.batch import Batch
from latentphys.preparation.preprocessing import Preprocessing, SignalPlan
from latentphys.recordings.errors import FitError
from latentphys.recordings.record import Record

Make = Callable[..., StateSpaceModel]
NAMES = ("low", "middle", "high", "top")
SENSORS = {
    "notes": SensorSpec(size=1, channels=NAMES, likelihood="bernoulli"),
    "ppg": SensorSpec(size=4, channels=("PLETH",)),
}


@pytest.fixture
def model(make_model: Make) -> StateSpaceModel:
    return make_model(sensors=SENSORS)


def _batch(windows: int = 3, steps: int = 9) -> Batch:
    """Single notes, one note throughout and a whole step of all are missing."""
    rng = torch.Generator().manual_seed(5)
    values, mask = {}, {}
    for name, sensor in SENSORS.items():
        shape = (windows, steps, len(sensor.channels), sensor.size)
        mask[name] = torch.rand(shape, generator=rng) >= 0.25
        mask[name][:, 4] = False
        drawn = torch.rand(shape, generator=rng, dtype=torch.float64)
        values[name] = (drawn < 0.4).double() if name == "notes" else drawn
    mask["notes"][0, :, 1] = False
    return Batch(
        values={n: torch.where(mask[n], v, 0.0) for n, v in values.items()},
        mask=mask,
        offset={
            n: (torch.arange(s.size, dtype=torch.float64) / s.size).expand(windows, steps, -1)
            for n, s in SENSORS.items()
        },
        channels={n: [s.channels] * windows for n, s in SENSORS.items()},
        inputs=None,
        subject=[f"s{k}" for k in range(windows)],
        record=[f"r{k}" for k in range(windows)],
        start_step=torch.zeros(windows, dtype=torch.int64),
        state_rate_hz=4.0,
        steps=steps,
    )


def _loss_and_gradients(model: StateSpaceModel, batch: Batch) -> list[Tensor]:
    torch.manual_seed(1)
    model.zero_grad()
    generator = torch.Generator().manual_seed(2)
    loss = score_batch(model, batch, Objective(mask=1.0, gaps=0.0), generator).loss
    loss.backward()
    return [loss] + [torch.zeros(1) if w.grad is None else w.grad for w in model.parameters()]


@torch.no_grad()
def test_the_bound_holds_the_sum_of_the_observed_notes_log_probabilities(
    model: StateSpaceModel,
) -> None:
    batch = _batch()
    evidence = model.evidence(batch)
    q = model.guide_of(evidence)
    z = q.rsample()
    bound = terms.elbo(model, batch, evidence, q, z)
    emission = model.emission("notes")
    eps = evidence.sensors["notes"].nuisance.rsample()
    rows = model.name_index("notes", batch)
    p, sd = emission.moments(z, eps, rows, batch.offset["notes"])
    for window in range(3):
        total = 0.0
        for t, c in batch.mask["notes"][window, :, :, 0].nonzero().tolist():
            one = Bernoulli(probs=p[window, t, c, 0])
            total += float(one.log_prob(batch.values["notes"][window, t, c, 0]))
        seconds = batch.steps / batch.state_rate_hz
        assert float(bound.log_likelihood["notes"][window]) == pytest.approx(total / seconds)
    torch.testing.assert_close(emission.variance(sd), p * (1.0 - p))
    ppg = evidence.sensors["ppg"].nuisance
    unit = torch.distributions.Normal(torch.zeros_like(ppg.loc), 1.0)
    held = torch.distributions.kl_divergence(ppg, unit).sum((-2, -1)) / seconds
    torch.testing.assert_close(bound.kl_nuisance, held)  # the notes have none


@torch.no_grad()
def test_one_note_asked_alone_is_the_same_as_among_all(model: StateSpaceModel) -> None:
    z = torch.randn(2, 5, 3, dtype=torch.float64)
    emission, offset = model.emission("notes"), torch.zeros(2, 5, 2, dtype=torch.float64)
    every = torch.tensor([[1, 2, 3, 4]] * 2)
    p = emission.moments(z, z.new_zeros(0), every, offset)[0]
    assert p.shape == (2, 5, 4, 2)
    alone = emission.moments(z, z.new_zeros(0), torch.tensor([[3], [1]]), offset)[0]
    torch.testing.assert_close(alone[0, :, 0], p[0, :, 2])
    torch.testing.assert_close(alone[1, :, 0], p[1, :, 0])


@pytest.mark.parametrize("fill", [1.0, 1e6, float("nan")])
def test_what_stands_behind_the_mask_is_not_seen(model: StateSpaceModel, fill: float) -> None:
    batch = _batch()
    other = {n: torch.where(batch.mask[n], v, fill) for n, v in batch.values.items()}
    ours = [x.clone() for x in _loss_and_gradients(model, batch)]
    theirs = _loss_and_gradients(model, replace(batch, values=other))
    for one, two in zip(ours, theirs, strict=True):
        assert torch.equal(one, two)
        assert torch.isfinite(one).all()
    still = [n for n, w in model.named_parameters() if w.grad is None or not w.grad.any()]
    assert not still


@torch.no_grad()
def test_evidence_is_zero_where_nothing_is_observed_and_hears_names_in_any_order(
    model: StateSpaceModel,
) -> None:
    batch = _batch()
    said = model.evidence(batch).sensors["notes"]
    assert not said.precision[:, 4].any()
    assert not said.weighted[:, 4].any()
    assert bool((said.precision[:, :4] > 0).any(-1).all())
    assert not said.nuisance.loc.any()
    assert bool((said.nuisance.scale == 1.0).all())
    order = [2, 0, 3, 1]
    shuffled = replace(
        batch,
        values={**batch.values, "notes": batch.values["notes"][:, :, order]},
        mask={**batch.mask, "notes": batch.mask["notes"][:, :, order]},
        channels={**batch.channels, "notes": [tuple(NAMES[k] for k in order)] * 3},
    )
    again = model.evidence(shuffled).sensors["notes"]
    assert torch.equal(again.weighted, said.weighted)
    strange = replace(batch, channels={**batch.channels, "notes": [("a", "b", "c", "d")] * 3})
    assert not model.evidence(strange).sensors["notes"].precision.any()


def test_blocks_are_of_signals_with_a_level(model: StateSpaceModel) -> None:
    objective = Objective(cross=1.0, mask=1.0, block=1.0, own_gaps=0.0)
    found = score_batch(model, _batch(), objective, torch.Generator().manual_seed(0)).by_window
    assert {name for name in found if "block/" in name} == {"block/ppg", "mask_block/ppg"}
    assert bool((found["mask_block/ppg"] > 0).any())


def test_notes_decoded_together_are_those_decoded_one_by_one(model: StateSpaceModel) -> None:
    orders = [NAMES, NAMES[::-1], (*NAMES[1:], "strange")]
    batch = replace(_batch(), channels={**_batch().channels, "notes": orders})
    scored = torch.rand(6, 9, generator=torch.Generator().manual_seed(2)) < 0.6  # two views
    traces = terms._Traces.of(model, batch, "notes", scored)
    paths = torch.randn(4, 6, 9, 3, dtype=torch.float64)
    eps = torch.zeros(4, len(traces.row), 1, 2, dtype=torch.float64)
    emission = model.emission("notes")
    alone = terms._decoded(emission, paths[:, traces.row], eps, traces, None)
    together = terms._decoded_together(model, batch, "notes", paths, traces)
    assert len(traces.row) < 24  # a note that is absent throughout is not asked
    torch.testing.assert_close(together, alone)


def test_binary_values_are_neither_scaled_nor_varied() -> None:
    roll = np.array([[0.0, 1.0, 1.0, np.nan, 0.0, 1.0], [1.0] * 6])
    record = Record.from_arrays(
        {"notes": (roll, 1.0)}, subject="s", channels={"notes": ["low", "high"]}
    )
    plan = Preprocessing({"notes": SignalPlan(binary=True)})
    made = plan.prepare(record)
    np.testing.assert_array_equal(made.signals["notes"].values, roll.astype(np.float32))
    varied = Augmentation(tempo=0.0, one_channel=0.0)(made, 0, 6, 0.5, np.random.default_rng(0))
    seen = varied.signals["notes"].values
    assert set(seen[np.isfinite(seen)].tolist()) <= {0.0, 1.0}
    assert Preprocessing.from_dict(plan.to_dict()) == plan
    with pytest.raises(FitError, match=r"values 0, 1 and NaN; 'notes' of record 's' has 0\.5"):
        plan.prepare(Record.from_arrays({"notes": (roll * 0.5, 1.0)}, subject="s"))
    with pytest.raises(FitError, match="low_hz too"):
        SignalPlan(binary=True, low_hz=0.5)


def test_the_quantile_of_a_mixture_of_zeros_and_ones() -> None:
    p = torch.tensor([[0.01, 0.2, 0.99], [0.03, 0.6, 0.97]])
    low, high = mixture_quantiles(Bernoulli(probs=p), (0.05, 0.95))
    assert low.tolist() == [0.0, 0.0, 1.0]
    assert high.tolist() == [0.0, 1.0, 1.0]
