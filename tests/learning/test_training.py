"""The training loop: reproducible, useful, and clear about what broke it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch

from latentphys.learning import training
from latentphys.learning.objective import Objective, Score, score_batch
from latentphys.learning.specification import sensors_of
from latentphys.learning.tracking import Progress
from latentphys.learning.training import TrainingPlan, held_out_loss, train
from latentphys.model.statespace import ModelSpec, StateSpaceModel
from latentphys.preparation.batch import Batch
from latentphys.preparation.loading import WindowLoader
from latentphys.preparation.preprocessing import PreparedRecord, default_preprocessing
from latentphys.recordings.errors import FitError
from latentphys.recordings.simulation import simulate

MakeBatch = Callable[..., Batch]
STEPS = 32


@pytest.fixture(scope="module")
def records() -> list[PreparedRecord]:
    """Three short simulated recordings."""
    cohort = simulate(subjects=3, minutes=0.2, seed=1, absent=0.0)
    return [default_preprocessing().prepare(record.keep("ecg", "ppg")) for record in cohort]


def _model(records: Sequence[PreparedRecord], dropout: float = 0.1, **more: int) -> StateSpaceModel:
    torch.manual_seed(0)
    sensors = sensors_of(records, 12.5)
    sizes = {"latent_dim": 4, "evidence_dim": 6, "nuisance_dim": 2, "width": 8, **more}
    return StateSpaceModel(ModelSpec(sensors, widths=(8, 8), dropout=dropout, **sizes))  # type: ignore[arg-type]


def _loader(records: Sequence[PreparedRecord], seed: int = 0) -> WindowLoader:
    return WindowLoader(records, ("ecg", "ppg"), STEPS, 12.5, batch_size=4, seed=seed)


def _weights(
    records: Sequence[PreparedRecord], steps: int = 3, seed: int = 0
) -> dict[str, torch.Tensor]:
    model = _model(records)
    train(model, _loader(records), [], Objective(), TrainingPlan(steps=steps, seed=seed), False)
    return model.state_dict()


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


def test_same_seed_same_weights_bit_for_bit(records: list[PreparedRecord]) -> None:
    assert _same(_weights(records), _weights(records))


def test_another_seed_or_number_of_steps_differs(records: list[PreparedRecord]) -> None:
    first = _weights(records)
    assert not _same(first, _weights(records, seed=1))
    assert not _same(first, _weights(records, steps=4))


def test_training_lowers_the_held_out_loss(records: list[PreparedRecord]) -> None:
    model = _model(records).eval()
    held_out = [_loader(records[2:], seed=9).batch(0)]
    before = held_out_loss(model, held_out, Objective())
    plan = TrainingPlan(steps=24, learning_rate=1e-2, checks=4)
    history = train(model, _loader(records[:2]), held_out, Objective(), plan, False)
    after = held_out_loss(model, held_out, Objective())
    assert after < before - 0.1 * abs(before)
    checks = [row["held_out_loss"] for row in history.rows]
    assert len(checks) == 4
    # the state kept is the best after the KL warm-up, and the model is left ready for use
    assert after == pytest.approx(min(checks[1:]), rel=1e-5)
    assert not model.training


def test_the_divergences_come_in_over_their_share_of_the_budget(
    records: list[PreparedRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[float] = []

    def spied(*args: Any) -> Score:
        drawn.append(args[4])
        return score_batch(*args)

    monkeypatch.setattr(training, "score_batch", spied)
    plan = TrainingPlan(steps=4, warm_up=0.5)
    train(_model(records), _loader(records), [], Objective(), plan, False)
    assert drawn == pytest.approx([0.01, 0.51, 1.0, 1.0])


def test_the_weight_of_the_elbo_scales_it_alone(records: list[PreparedRecord]) -> None:
    model, batch = _model(records).eval(), _loader(records).batch(0)

    def score(weight: float) -> Score:
        torch.manual_seed(0)
        generator = torch.Generator().manual_seed(0)
        return score_batch(model, batch, Objective(elbo=weight), generator)

    bound = float(score(1.0).by_window["elbo"].mean())
    difference = float((score(0.25).loss - score(1.0).loss).detach())
    assert difference == pytest.approx(0.75 * bound, rel=1e-4)


def test_held_out_loss_is_the_same_at_every_call(records: list[PreparedRecord]) -> None:
    model, held_out = _model(records).eval(), [_loader(records).batch(0)]
    state = torch.get_rng_state()
    losses = [held_out_loss(model, held_out, Objective()) for _ in range(2)]
    assert losses[0] == losses[1]
    assert torch.equal(torch.get_rng_state(), state)  # training goes on undisturbed


def _broken(batch: Batch, name: str, row: int, value: float) -> Batch:
    batch.values[name] = batch.values[name].clone()
    at = tuple(batch.mask[name][row].nonzero()[0].tolist())
    batch.values[name][(row, *at)] = value
    return batch


def _stream(
    records: Sequence[PreparedRecord], broken: Callable[[int], bool], value: float
) -> Iterator[Batch]:
    for number, batch in enumerate(_loader(records)):
        yield _broken(batch, "ppg", 2, value) if broken(number) else batch


@pytest.mark.parametrize("value", [math.nan, 1e30])
@pytest.mark.parametrize("moving", ["nothing", "codes", "align"])
@pytest.mark.parametrize("which", [0, 2])
def test_one_broken_batch_is_left_out(
    records: list[PreparedRecord], value: float, moving: str, which: int
) -> None:
    """Neither the weights nor averages that follow the batches keep anything of it."""
    sizes = {"nothing": {}, "codes": {"codes": 16}, "align": {"align_dim": 8}}[moving]
    model = _model(records, **sizes)
    stream = _stream(records, lambda number: number == which, value)
    objective = Objective(**{} if moving == "nothing" else {moving: 1.0})
    history = train(model, stream, [], objective, TrainingPlan(steps=9), False)
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())
    assert all(math.isfinite(x) for row in history.rows for x in row.values())


@pytest.mark.parametrize("value", [math.nan, 1e30])
def test_many_broken_batches_stop_and_say_where(
    records: list[PreparedRecord], value: float
) -> None:
    stream = _stream(records, lambda number: number >= 1, value)
    last = _loader(records).batch(3)
    with pytest.raises(FitError) as caught:
        train(_model(records), stream, [], Objective(), TrainingPlan(steps=9, patience=3), False)
    message = str(caught.value)
    assert "3 batches in a row" in message
    assert "term 'x/ppg' of modality 'ppg'" in message
    assert f"record '{last.record[2]}'" in message
    assert f"window starting at {float(last.start_step[2]) / 12.5:.1f} s" in message
    assert "mark artefacts as NaN" in message


def test_broken_batches_apart_do_not_stop(records: list[PreparedRecord]) -> None:
    stream = _stream(records, lambda number: number % 2 == 0, math.nan)
    train(_model(records), stream, [], Objective(), TrainingPlan(steps=7, patience=2), False)


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ({}, "one budget, got none"),
        ({"minutes": 1.0, "steps": 10}, "one budget, got .'minutes', 'steps'"),
        ({"steps": 0}, "steps must be positive, got 0"),
        ({"minutes": math.nan}, "minutes must be positive, got nan"),
    ],
)
def test_a_plan_needs_exactly_one_budget(budget: dict[str, float], words: str) -> None:
    with pytest.raises(FitError, match=words):
        TrainingPlan(**budget)  # type: ignore[arg-type]


def test_a_time_budget_ends(records: list[PreparedRecord]) -> None:
    plan = TrainingPlan(minutes=0.3 / 60, checks=2)
    history = train(_model(records), _loader(records), [], Objective(), plan, False)
    assert history.rows[-1]["step"] >= 1
    assert history.rows[-1]["seconds"] < 5.0


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"elbo": [-2.0, -4.0], "kl_state": [1.0]}, "elbo -3, KL 1 nats/s, active units 3"),
        ({"mask/ecg": [1.0, 3.0], "mask/ppg": [2.0]}, "hidden 4 nats/s, active units 3"),
        ({"align": [0.5]}, "align 0.5 nats/s, active units 3"),
    ],
)
def test_the_bar_tells_what_is_trained(terms: dict[str, list[float]], words: str) -> None:
    progress = Progress(True)
    by_window = {name: torch.tensor(values) for name, values in terms.items()}
    progress.update(0.5, Score(torch.zeros(()), by_window, active_units=3))
    progress.close()
    assert progress.bar.postfix == words
