"""Simulated cohorts with the true state attached."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import CohortError
from latentphys.recordings.record import Record, check_rate, signal_array
from latentphys.recordings.simulator import sensors
from latentphys.recordings.simulator.physiology import (
    GRID_HZ,
    Physiology,
    Subject,
    simulate_physiology,
)

TRUTH_HZ = 12.5
INPUT_HZ = 4.0
UNITS = {"ecg": "mV", "ppg": "NU", "resp": "NU", "spo2": "%"}


def simulate(
    subjects: int = 24,
    minutes: float = 4.0,
    seed: int = 0,
    *,
    ecg_rate_hz: float = 125.0,
    ppg_rate_hz: float = 125.0,
    resp_rate_hz: float = 125.0,
    absent: float = 0.1,
    nuisance: float = 1.0,
) -> Cohort:
    """Subjects whose heart, breathing and vessels are coupled, seen through worn sensors.

    Subject k is the same however many are simulated.

    Args:
        subjects: how many, one record each.
        minutes: length of a record.
        seed: of everything.
        ecg_rate_hz, ppg_rate_hz, resp_rate_hz: samples a second; SpO2 comes at 1 Hz.
        absent: probability that a sensor of a record is missing; one always remains.
        nuisance: sensor gain, wander, noise and motion; 0 for clean sensors.

    Returns:
        A cohort whose records carry `truth` (heart_phase, breath_phase, heart_rate,
        breathing_rate, transit_time, blood_pressure, drive at 12.5 Hz), `inputs` (the drive)
        and annotations `beat` and `breath`.

    Raises:
        CohortError: no subjects, no time, or a probability outside [0, 1).
        RateError: a rate that is not positive.
    """
    if subjects < 1 or int(subjects) != subjects:
        raise CohortError(f"subjects is a whole number from 1 up, got {subjects!r}.")
    if not (minutes > 0 and math.isfinite(minutes)):
        raise CohortError(f"minutes must be positive, got {minutes!r}. Ask for 4, say.")
    if not 0 <= absent < 1:
        raise CohortError(f"absent is a probability in [0, 1), got {absent!r}.")
    if not nuisance >= 0:
        raise CohortError(f"nuisance is 0 (clean) or more, got {nuisance!r}.")
    rates = {"ecg": ecg_rate_hz, "ppg": ppg_rate_hz, "resp": resp_rate_hz, "spo2": 1.0}
    for name, rate in rates.items():
        check_rate(rate, name)
    seeds = [np.random.SeedSequence(seed, spawn_key=(k,)) for k in range(subjects)]
    return Cohort(
        [
            _record(k, np.random.default_rng(own), 60.0 * minutes, rates, absent, nuisance)
            for k, own in enumerate(seeds)
        ]
    )


def _record(
    number: int,
    rng: np.random.Generator,
    seconds: float,
    rates: dict[str, float],
    absent: float,
    nuisance: float,
) -> Record:
    """One subject's recording."""
    attrs = {
        "synthetic": True,
        "age": int(rng.integers(20, 80)),
        "sex": str(rng.choice(["F", "M"])),
    }
    subject, shape = Subject.draw(rng), sensors.Morphology.draw(rng)
    state = simulate_physiology(subject, seconds, rng)
    leads = ["II", "V"] if rng.random() < 0.5 else ["II"]
    clock = {name: np.arange(math.floor(seconds * rate)) / rate for name, rate in rates.items()}
    clean = {
        "ecg": np.stack([sensors.ecg(state, shape, lead, clock["ecg"]) for lead in leads]),
        "ppg": sensors.ppg(state, shape, clock["ppg"])[None],
        "resp": sensors.resp(state, clock["resp"])[None],
        "spo2": sensors.spo2(state, clock["spo2"])[None],
    }
    gone = {name for name in clean if rng.random() < absent}
    if len(gone) == len(clean):
        gone.discard("ecg")
    channels = {"ecg": leads, "ppg": ["PLETH"], "resp": ["RESP"], "spo2": ["SpO2"]}
    signals = {}
    for name, x in clean.items():
        worn = x if name == "spo2" else sensors.wear(x, rates[name], nuisance, rng)
        if name not in gone:
            signals[name] = signal_array(
                worn.astype(np.float32),
                rates[name],
                name=name,
                units=UNITS[name],
                labels=channels[name],
            )
    ticks = np.arange(math.floor(seconds * INPUT_HZ)) / INPUT_HZ
    drive = np.interp(ticks, state.time, state.drive)[None]
    return Record(
        signals=signals,
        subject=f"sim{number:03d}",
        record=f"sim{number:03d}",
        study="simulated",
        inputs=signal_array(drive, INPUT_HZ, name="drive", labels=["drive"], axis="input"),
        annotations=_annotations(state, seconds),
        truth=_truth(state, seconds),
        attrs=attrs,
    )


def _truth(state: Physiology, seconds: float) -> xr.Dataset:
    """The true state on its own regular grid."""
    time = np.arange(math.floor(seconds * TRUTH_HZ)) / TRUTH_HZ

    def grid(values: np.ndarray) -> np.ndarray:
        return np.interp(time, state.time, values)

    figures = {
        "heart_phase": (np.mod(state.heart_phase(time), 2 * np.pi), "rad"),
        "breath_phase": (np.mod(grid(state.breath_phase), 2 * np.pi), "rad"),
        "heart_rate": (state.heart_rate(time), "1/min"),
        "breathing_rate": (grid(state.breathing_rate), "1/min"),
        "transit_time": (state.at(state.transit, time), "s"),
        "blood_pressure": (state.at(state.systolic, time), "mmHg"),
        "drive": (grid(state.drive), "1"),
    }
    return xr.Dataset(
        {name: ("time", values, {"units": units}) for name, (values, units) in figures.items()},
        coords={"time": ("time", time, {"units": "s"})},
        attrs={"rate_hz": TRUTH_HZ},
    )


def _annotations(state: Physiology, seconds: float) -> dict[str, xr.DataArray]:
    """Times of the R peaks and of the starts of inspiration."""
    turns = np.floor(state.breath_phase / (2 * np.pi))
    breaths = state.time[1:][np.diff(turns) > 0] - 0.5 / GRID_HZ
    return {
        name: xr.DataArray(
            np.ones(len(inside)), dims="event", coords={"time": ("event", inside)}, name=name
        )
        for name, times in {"beat": state.beat_time, "breath": breaths}.items()
        for inside in [times[(times >= 0) & (times < seconds)]]
    }
