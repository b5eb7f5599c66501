"""The U-Net that the model is compared with learns what can be learnt, and cheats nowhere."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import torch

from latentphys.preparation.preprocessing import PreparedRecord, PreparedSignal, Scale
from latentphys.recordings.errors import FitError
from latentphys.trust.scores import correlation, score_normal

RATE_HZ, SECONDS = 25.0, 40.0


@pytest.fixture(scope="module")
def unet(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("unet")


def _signal(values: np.ndarray, channels: tuple[str, ...]) -> PreparedSignal:
    values = np.atleast_2d(values).astype(np.float32)
    scale = Scale(np.zeros(len(values)), np.ones(len(values)))
    return PreparedSignal(values, None, RATE_HZ, channels, "1", scale)


def _record(index: int) -> PreparedRecord:
    """The goal is the square of the drive 0.2 s before, no linear filter of it."""
    rng = np.random.default_rng(index)
    noise = rng.normal(size=int(SECONDS * RATE_HZ) + 8)
    drive = np.convolve(noise, np.ones(9) / 3.0, mode="valid")
    goal = np.roll(drive, 5) ** 2 - 1.0 + 0.1 * rng.normal(size=drive.shape)
    goal[300:400] = np.nan
    drive[600:620] = np.nan
    signals = {"drive": _signal(drive, ("y",)), "goal": _signal(goal, ("x",))}
    return PreparedRecord(f"s{index}", f"s{index}", signals, None, None, SECONDS)


@pytest.fixture(scope="module")
def train() -> list[PreparedRecord]:
    return [_record(i) for i in range(10)]


def test_it_learns_what_no_filter_can(unet: ModuleType, train: list[PreparedRecord]) -> None:
    fitted = unet.train_unet(train, "goal", ["drive"], 8.0, steps=60)
    record = _record(50)
    mean, sd = fitted.predict(record)
    truth = record.signals["goal"].values
    assert mean.shape == sd.shape == truth.shape
    assert correlation(truth, mean)[0] > 0.7
    assert score_normal(truth, mean, sd)["coverage"] == pytest.approx(0.9, abs=0.1)
    absent = PreparedRecord(
        "s50", "s50", {"drive": record.signals["drive"]}, None, None, record.duration_s
    )
    np.testing.assert_array_equal(fitted.predict(absent)[0], mean)


def test_steps_and_seed_decide_everything(unet: ModuleType, train: list[PreparedRecord]) -> None:
    before = torch.get_rng_state()
    first, again, other = (
        unet.train_unet(train, "goal", ["drive"], 4.0, steps=3, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(before, torch.get_rng_state())
    one, two, three = (fitted.predict(train[0])[0] for fitted in (first, again, other))
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - three).max() > 0


def test_calibration_subjects_are_not_trained_on(
    unet: ModuleType, train: list[PreparedRecord]
) -> None:
    fitting, held = unet._held_out(train, 0.1, np.random.default_rng(0))
    assert len(held) == 1
    assert not {r.subject for r in fitting} & {r.subject for r in held}


def test_the_loss_does_not_see_what_was_not_observed(unet: ModuleType) -> None:
    mean = torch.zeros(1, 1, 4, requires_grad=True)
    log_scale = torch.zeros(1, 1, 4, requires_grad=True)
    unet.loss(mean, log_scale, torch.tensor([[[1.0, torch.nan, -2.0, torch.nan]]])).backward()
    assert mean.grad is not None
    assert mean.grad[0, 0].tolist() == pytest.approx([-0.5, 0.0, 1.0, 0.0])


def test_one_budget_not_two(unet: ModuleType, train: list[PreparedRecord]) -> None:
    with pytest.raises(FitError, match="give minutes or steps"):
        unet.train_unet(train, "goal", ["drive"])
