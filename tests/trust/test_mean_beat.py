"""The mean beat that imputed pulses are held to: planted beats are found, gaps and all."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from latentphys.preparation.preprocessing import PreparedRecord, PreparedSignal, Scale
from latentphys.recordings.errors import FitError

RATE_HZ, SECONDS, DELAY_S = 50.0, 60.0, 0.25
Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def module(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("mean_beat")


def wave(number: Array) -> Array:
    """The same beat for everyone, by beats passed."""
    return np.cos(2 * np.pi * number) + 0.5 * np.sin(4 * np.pi * number)


def person(name: str, period_s: float, gain: float = 1.0) -> tuple[PreparedRecord, Array]:
    """A steady heart, its pulse DELAY_S later however fast it beats; and its beats."""
    at = np.arange(round(RATE_HZ * SECONDS)) / RATE_HZ
    values = gain * wave((at - DELAY_S) / period_s)[None].astype(np.float32)
    scale = Scale(np.zeros(1), np.ones(1))
    ppg = PreparedSignal(values, None, RATE_HZ, ("PLETH",), "1", scale)
    record = PreparedRecord(name, name, {"ppg": ppg}, None, np.nan, SECONDS)
    return record, np.arange(0.0, SECONDS, period_s)


def test_a_planted_beat_is_found_and_laid_at_a_new_heart_rate(module: ModuleType) -> None:
    people = [person(f"p{k}", period) for k, period in enumerate((0.6, 0.75, 0.9))]
    beats = {record.record: own for record, own in people}
    new, beats["new"] = person("new", 0.7)
    made = module.MeanBeat.fit([record for record, _ in people], beats, "ppg")
    assert made.delay_s == pytest.approx(DELAY_S)
    mean, sd = made.predict(new)
    np.testing.assert_allclose(mean, new.signals["ppg"].values, atol=0.05)
    assert sd.max() < 0.05


def test_the_oracle_is_of_the_person_alone(module: ModuleType) -> None:
    (one, own), (two, others) = person("one", 0.6), person("two", 0.8)
    loud, beats = person("loud", 0.7, gain=3.0)
    made = module.MeanBeat.fit([one, two], {"one": own, "two": others, "loud": beats}, "ppg")
    values = loud.signals["ppg"].values
    values[:, 500:900] = np.nan
    told = made.own(loud).predict(loud)[0]
    seen = np.isfinite(values)
    np.testing.assert_allclose(told[seen], values[seen], atol=0.15)
    assert np.abs(made.predict(loud)[0][seen] - values[seen]).max() > 1.0


def test_one_recording_has_no_others(module: ModuleType) -> None:
    one, own = person("one", 0.6)
    with pytest.raises(FitError, match="takes two recordings of ppg; got 1"):
        module.MeanBeat.fit([one], {"one": own}, "ppg")
