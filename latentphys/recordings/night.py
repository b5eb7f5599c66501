"""Simulated nights of polysomnography with the true state attached."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import CohortError, RateError
from latentphys.recordings.labels import STAGES
from latentphys.recordings.record import Record, check_rate, signal_array
from latentphys.recordings.simulator import apnoea, electrodes, night_heart
from latentphys.recordings.simulator.bedside import FLAWS, probe_overnight, worn_overnight
from latentphys.recordings.simulator.hypnogram import CYCLE_MINUTES, EPOCH_S, stage_at
from latentphys.recordings.simulator.physiology import phase_through
from latentphys.recordings.simulator.sleep import Night, Person, simulate_sleep

TRUTH_HZ = 12.5
ECG_HZ, BREATH_HZ = 125.0, 25.0
LEAST_EEG_HZ = 64.0
CYCLES = 4.5  # a night shorter than as many has shorter cycles
CHANNELS = {
    "eeg": electrodes.CHANNELS,
    "eog": ("E1-M2", "E2-M2"),
    "emg": ("EMG chin",),
    "ecg": ("II",),
    "airflow": ("AIRFLOW",),
    "effort": ("THOR", "ABD"),
    "spo2": ("SpO2",),
}
UNITS = {
    **dict.fromkeys(["eeg", "eog", "emg"], "uV"),
    **dict.fromkeys(["airflow", "effort"], "NU"),
    "ecg": "mV",
    "spo2": "%",
}


def simulate_night(
    subjects: int = 8,
    minutes: float = 480.0,
    seed: int = 0,
    *,
    cycle_minutes: float | None = None,
    events_per_hour: float | None = None,
    eeg_rate_hz: float = 100.0,
    absent: float = 0.1,
    nuisance: float = 1.0,
) -> Cohort:
    """Nights of sleep: stages, brain, eyes, chin, heart, breath and oxygen, coupled.

    A night shorter than 4.5 cycles of 90 minutes is a whole night sped up: its cycles, and the
    bouts of its stages, are shorter in proportion, though no bout is under 30 s. Breaths, beats,
    waves and apnoeas keep their own time. Subject k is the same however many are simulated.
    Eight hours are about 200 MB a subject.

    Args:
        subjects: how many, one night each.
        minutes: from lights off to the end.
        seed: of everything.
        cycle_minutes: length of a sleep cycle; 90, or minutes / 4.5 where that is less, when
            left out.
        events_per_hour: apnoeas and hypopnoeas an hour of sleep, about; drawn for each subject
            when left out (two in five have next to none).
        eeg_rate_hz: samples a second of EEG, EOG and EMG. ECG comes at 125 Hz, airflow and
            effort at 25 Hz, SpO2 at 1 Hz.
        absent: probability that a sensor of a record is missing; one always remains.
        nuisance: gains, noise, movement, mains hum and loose electrodes; 0 for clean sensors.

    Returns:
        A cohort whose records carry annotations `stage` (W, N1, N2, N3, REM, each 30 s),
        `apnoea` (obstructive, central, hypopnoea) and `arousal`, with durations, and `beat`,
        `breath`, `spindle` and `k_complex`; and `truth` at 12.5 Hz: stage and apnoea as numbers
        (attribute `classes`), arousal, heart_phase, heart_rate, breath_phase, breathing_rate,
        drive, airway, ventilation, oxygen_saturation (at the lung) and circulation_delay (s).

    Raises:
        CohortError: no subjects, no time, or a figure outside its limits.
        RateError: EEG below 64 Hz.

    Example:
        >>> from latentphys.recordings.labels import per_epoch
        >>> night = simulate_night(1, minutes=10, absent=0.0)[0]
        >>> night.modalities
        ('eeg', 'eog', 'emg', 'ecg', 'airflow', 'effort', 'spo2')
        >>> per_epoch(night, "stage").sizes["epoch"]
        20
    """
    _check(subjects, minutes, cycle_minutes, events_per_hour, absent, nuisance)
    rates = {**dict.fromkeys(["eeg", "eog", "emg"], eeg_rate_hz), "ecg": ECG_HZ}
    rates |= {"airflow": BREATH_HZ, "effort": BREATH_HZ, "spo2": 1.0}
    for name, rate in rates.items():
        check_rate(rate, name)
    if eeg_rate_hz < LEAST_EEG_HZ:
        raise RateError(
            f"EEG and EMG are sampled at {LEAST_EEG_HZ:g} Hz or more, got {eeg_rate_hz!r}. Ask "
            "for 100, as in Sleep-EDF."
        )
    cycle = min(CYCLE_MINUTES, minutes / CYCLES) if cycle_minutes is None else cycle_minutes
    made = []
    for k in range(subjects):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(k, 2)))
        person = Person.draw(events_per_hour, rng)
        night = simulate_sleep(person, 60.0 * minutes, cycle, rng)
        worn = (absent, nuisance, rng)
        made.append(_record(f"night{k:03d}", person, night, rates, 60.0 * minutes, worn))
    return Cohort(made)


def _check(
    subjects: int,
    minutes: float,
    cycle_minutes: float | None,
    events_per_hour: float | None,
    absent: float,
    nuisance: float,
) -> None:
    """Refuse what cannot be a cohort."""
    if subjects < 1 or int(subjects) != subjects:
        raise CohortError(f"subjects is a whole number from 1 up, got {subjects!r}.")
    for name, value in (("minutes", minutes), ("cycle_minutes", cycle_minutes)):
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise CohortError(f"{name} must be positive, got {value!r}. Ask for 90, say.")
    if minutes * 60.0 < EPOCH_S:
        raise CohortError(f"a night has at least one epoch of 30 s, got {minutes!r} minutes.")
    if events_per_hour is not None and not 0 <= events_per_hour <= 120:
        raise CohortError(
            f"events_per_hour is from 0 (no apnoeas) to 120, got {events_per_hour!r}."
        )
    if not 0 <= absent < 1:
        raise CohortError(f"absent is a probability in [0, 1), got {absent!r}.")
    if not nuisance >= 0:
        raise CohortError(f"nuisance is 0 (clean) or more, got {nuisance!r}.")


def _record(
    name: str,
    person: Person,
    night: Night,
    rates: dict[str, float],
    seconds: float,
    worn: tuple[float, float, np.random.Generator],
) -> Record:
    """One subject's night."""
    absent, nuisance, rng = worn
    clock = {each: np.arange(math.floor(seconds * rate)) / rate for each, rate in rates.items()}
    clean = _clean(person, night, clock, rng)
    gone = {each for each in clean if rng.random() < absent}
    if len(gone) == len(clean):
        gone.discard("eeg")
    signals = {}
    for each, x in clean.items():
        if each == "spo2":
            seen = probe_overnight(x, rates[each], night.movements, nuisance, rng)
        else:
            seen = worn_overnight(x, rates[each], FLAWS[each], night.movements, nuisance, rng)
        if each not in gone:
            signals[each] = signal_array(
                seen.astype(np.float32),
                rates[each],
                name=each,
                units=UNITS[each],
                labels=CHANNELS[each],
            )
    return Record(
        signals=signals,
        subject=name,
        record=name,
        study="simulated",
        annotations=_annotations(night, seconds),
        truth=_truth(person, night, seconds),
        attrs={"synthetic": True, "age": person.age, "sex": person.sex},
    )


def _clean(
    person: Person, night: Night, clock: dict[str, np.ndarray], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Every sensor without its flaws, (channel, time)."""
    scalp, stages, breathing = person.scalp, night.micro, night.breathing
    brain = electrodes.eeg(scalp, stages, night.arousals, night.waves, clock["eeg"], rng)
    return {
        "eeg": brain,
        "eog": electrodes.eog(scalp, stages, brain[0], clock["eog"], rng),
        "emg": electrodes.emg(scalp, stages, night.arousals, clock["emg"], rng),
        "ecg": night_heart.ecg(night.beats, person.shape, breathing, clock["ecg"])[None],
        "airflow": apnoea.airflow(breathing, clock["airflow"])[None],
        "effort": apnoea.effort(breathing, clock["effort"]),
        "spo2": apnoea.spo2(person.breather, breathing, clock["spo2"])[None],
    }


def _truth(person: Person, night: Night, seconds: float) -> xr.Dataset:
    """The true state on its own regular grid, float32 for the sake of a night's size."""
    time = np.arange(math.floor(seconds * TRUTH_HZ)) / TRUTH_HZ
    breathing, events = night.breathing, night.events

    def grid(values: np.ndarray) -> np.ndarray:
        return np.interp(time, breathing.time, values)

    happening = np.zeros(len(time), dtype=np.int8)
    for start, stop, kind in zip(events.start, events.stop, events.kind, strict=True):
        happening[np.searchsorted(time, start) : np.searchsorted(time, stop)] = kind + 1
    figures = {
        "heart_phase": (np.mod(phase_through(night.beats, time), 2 * np.pi), "rad"),
        "heart_rate": (30.0 / np.pi * phase_through(night.beats, time, slope=True), "1/min"),
        "breath_phase": (np.mod(grid(breathing.phase), 2 * np.pi), "rad"),
        "breathing_rate": (grid(breathing.rate), "1/min"),
        "drive": (grid(breathing.drive), "1"),
        "airway": (grid(breathing.airway), "1"),
        "ventilation": (grid(breathing.ventilation), "1"),
        "oxygen_saturation": (grid(breathing.saturation), "%"),
        "circulation_delay": (np.full(len(time), person.breather.circulation_s), "s"),
    }
    variables = {
        "stage": ("time", stage_at(night.stages, time), {"classes": list(STAGES)}),
        "apnoea": ("time", happening, {"classes": ["none", *apnoea.KINDS]}),
        "arousal": ("time", electrodes.during(night.arousals, time).astype(np.int8), {}),
    }
    return xr.Dataset(
        variables
        | {
            name: ("time", values.astype(np.float32), {"units": units})
            for name, (values, units) in figures.items()
        },
        coords={"time": ("time", time, {"units": "s"})},
        attrs={"rate_hz": TRUTH_HZ},
    )


def _annotations(night: Night, seconds: float) -> dict[str, xr.DataArray]:
    """Stages, events and single waves, by their onsets."""
    epochs, events, breathing = np.arange(len(night.stages)), night.events, night.breathing
    turns = np.floor(breathing.phase / (2 * np.pi))
    breaths = breathing.time[1:][np.diff(turns) > 0]
    unsaid, waves = np.ones(1), night.waves
    marks = {
        "stage": (EPOCH_S * epochs, EPOCH_S * (1.0 + epochs), np.array(STAGES)[night.stages]),
        "apnoea": (events.start, events.stop, np.array(apnoea.KINDS)[events.kind]),
        "arousal": (night.arousals[:, 0], night.arousals[:, 1], unsaid),
        "spindle": (waves.spindle, waves.spindle + waves.spindle_s, unsaid),
        "k_complex": (waves.k_complex, None, unsaid),
        "beat": (night.beats, None, unsaid),
        "breath": (breaths, None, unsaid),
    }
    made = {}
    for name, (start, stop, value) in marks.items():
        inside = (start >= 0) & (start < seconds)
        coords = {"time": ("event", start[inside])}
        if stop is not None:
            lasting = np.minimum(stop, seconds)[inside] - start[inside]
            coords["duration"] = ("event", lasting)
        values = np.broadcast_to(value, start.shape)[inside]
        made[name] = xr.DataArray(values, dims="event", coords=coords, name=name)
    return made
