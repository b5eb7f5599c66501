"""The pulse's delay behind the heart: found on simulated subjects, kept under a change of tempo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import latentphys as lp
from latentphys.preparation.augmentation import Augmentation
from latentphys.preparation.delays import pulse_delays
from latentphys.preparation.preprocessing import PreparedRecord, default_preprocessing


@pytest.fixture(scope="module")
def simulated() -> tuple[list[PreparedRecord], float]:
    """Prepared records and their mean true transit time, seconds."""
    cohort = lp.simulate(6, 1.5, seed=2, absent=0.0)
    transit = [float(record.truth.transit_time.mean()) for record in cohort if record.truth]
    return [default_preprocessing().prepare(record) for record in cohort], float(np.mean(transit))


def later(record: PreparedRecord, seconds: float) -> PreparedRecord:
    """The record with its PPG moved to later times."""
    ppg = record.signals["ppg"]
    moved = np.roll(ppg.values, round(seconds * ppg.rate_hz), axis=1)
    return replace(record, signals={**record.signals, "ppg": replace(ppg, values=moved)})


def test_a_planted_delay_is_found(simulated: tuple[list[PreparedRecord], float]) -> None:
    records, transit = simulated
    own = pulse_delays(records)["ppg"]
    # The steepest rise of the pulse comes a little after its foot.
    assert transit < own < transit + 0.12
    moved = pulse_delays([later(record, 0.2) for record in records])["ppg"]
    assert moved - own == pytest.approx(0.2, abs=0.021)


def test_gaps_and_silent_sensors_do_not_move_it(
    simulated: tuple[list[PreparedRecord], float],
) -> None:
    records, _ = simulated
    own = pulse_delays(records)["ppg"]
    holed = []
    for k, record in enumerate(records):
        ecg = record.signals["ecg"]
        values = ecg.values.copy()
        values[:, 500:1500] = np.nan
        values[0, :] = np.nan if k == 0 else values[0, :]
        holed.append(
            replace(record, signals={**record.signals, "ecg": replace(ecg, values=values)})
        )
    assert pulse_delays(holed)["ppg"] == pytest.approx(own, abs=0.021)
    silent = replace(holed[0].signals["ppg"], values=holed[0].signals["ppg"].values * np.nan)
    nothing = replace(holed[0], signals={**holed[0].signals, "ppg": silent})
    assert pulse_delays([nothing]) == {}
    assert pulse_delays([*holed, nothing])["ppg"] == pulse_delays(holed)["ppg"]


def test_without_a_heart_there_is_no_delay(simulated: tuple[list[PreparedRecord], float]) -> None:
    records, _ = simulated
    without = [
        replace(r, signals={n: s for n, s in r.signals.items() if n != "ecg"}) for r in records
    ]
    assert pulse_delays(without) == {}


def test_a_change_of_tempo_keeps_the_delay(simulated: tuple[list[PreparedRecord], float]) -> None:
    records, _ = simulated
    records = [later(record, 0.3) for record in records]
    own = pulse_delays(records)
    quiet = {"gain": 0.0, "noise": 0.0, "lag_s": 0.0, "one_channel": 0.0}
    steps = round(60 * 12.5)

    def delay_at(tempo: float, known: dict[str, float]) -> float:
        varied = Augmentation(tempo=tempo, delay_s=known, **quiet)

        class Fastest(np.random.Generator):
            def uniform(self, low: float, high: float) -> float:  # type: ignore[override]
                return high

        rng = Fastest(np.random.PCG64(0))
        windows = [varied(record, 25, steps, 12.5, rng) for record in records]
        return pulse_delays(windows)["ppg"]

    assert delay_at(0.3, own) == pytest.approx(own["ppg"], abs=0.021)
    # What it guards against: all sensors stretched alike carry the delay with them.
    assert delay_at(0.3, {}) == pytest.approx(own["ppg"] / np.exp(0.3), abs=0.021)


def test_a_sensor_of_one_sample_tells_no_delay(
    simulated: tuple[list[PreparedRecord], float],
) -> None:
    records, _ = simulated
    ecg = records[0].signals["ecg"]
    for count in (0, 1, 2):
        short = replace(ecg, values=ecg.values[:, :count])
        one = replace(records[0], signals={**records[0].signals, "ecg": short})
        assert pulse_delays([one]) == {}
        assert pulse_delays([one, *records[1:]]) == pulse_delays(records[1:])
