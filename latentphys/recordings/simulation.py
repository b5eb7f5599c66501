"""Simulated cohorts with the true state attached."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import CohortError, RateError
from latentphys.recordings.images import image_array
from latentphys.recordings.record import Record, check_rate, signal_array
from latentphys.recordings.simulator import phantom, sensors, sounds
from latentphys.recordings.simulator.cardiac_cycle import (
    Heart,
    Systole,
    simulate_systole,
    with_pulse_after_ejection,
)
from latentphys.recordings.simulator.physiology import (
    GRID_HZ,
    Physiology,
    Subject,
    simulate_physiology,
)
from latentphys.recordings.simulator.ventricle import Beats, Ventricle, beats_of, volume_at

TRUTH_HZ = 12.5
INPUT_HZ = 4.0
LEAST_PCG_HZ, LEAST_CINE_HZ = 200.0, 5.0
UNITS = {"ecg": "mV", "ppg": "NU", "resp": "NU", "spo2": "%", "pcg": "NU"}


def simulate(
    subjects: int = 24,
    minutes: float = 4.0,
    seed: int = 0,
    *,
    ecg_rate_hz: float = 125.0,
    ppg_rate_hz: float = 125.0,
    resp_rate_hz: float = 125.0,
    pcg_rate_hz: float | None = None,
    cine_rate_hz: float | None = None,
    absent: float = 0.1,
    nuisance: float = 1.0,
) -> Cohort:
    """Subjects whose heart, breathing and vessels are coupled, seen through worn sensors.

    Subject k is the same however many are simulated, and so are its ECG, respiration and SpO2
    whether or not its heart is listened to; the pulse then also follows the pre-ejection period.
    With a cine it is a patient in a scanner, whose left ventricle may fail: the ventricle moves
    the systolic intervals and shapes the QRS complex (`latentphys.recordings.simulator.ventricle`).

    Args:
        subjects: how many, one record each.
        minutes: length of a record.
        seed: of everything.
        ecg_rate_hz, ppg_rate_hz, resp_rate_hz: samples a second; SpO2 comes at 1 Hz.
        pcg_rate_hz: samples a second of heart sounds, 1000 say; None for no stethoscope.
        cine_rate_hz: frames a second of a real-time short-axis cine (32 x 32 pixels of 3.5 mm) in
            `images["cine"]`, 12.5 say; None for no scanner.
        absent: probability that a sensor of a record is missing; one always remains.
        nuisance: sensor gain, wander, noise and motion; 0 for clean sensors.

    Returns:
        A cohort whose records carry `truth` (heart_phase, breath_phase, heart_rate,
        breathing_rate, transit_time, blood_pressure, drive at 12.5 Hz), `inputs` (the drive)
        and annotations `beat` and `breath`. With heart sounds also pre_ejection_period (from
        Q, 40 ms before the R peak), ejection_time and systolic_interval (S1 to S2) in seconds,
        contractility and filling, and annotations `s1` and `s2`. With a cine these too, and of
        the left ventricle volume, end_diastolic_volume and end_systolic_volume (mL),
        ejection_fraction of each beat and myocardial_mass (g).

    Raises:
        CohortError: no subjects, no time, or a probability outside [0, 1).
        RateError: a rate that is not positive, heart sounds below 200 Hz or a cine below 5 Hz.

    Example:
        >>> record = simulate(1, 0.1, absent=0.0, pcg_rate_hz=1000.0)[0]
        >>> record.modalities
        ('ecg', 'ppg', 'resp', 'spo2', 'pcg')
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
    rates |= {} if pcg_rate_hz is None else {"pcg": pcg_rate_hz}
    rates |= {} if cine_rate_hz is None else {"cine": cine_rate_hz}
    for name, rate in rates.items():
        check_rate(rate, name)
    if rates.get("pcg", LEAST_PCG_HZ) < LEAST_PCG_HZ:
        raise RateError(
            f"heart sounds reach 100 Hz: pcg_rate_hz is {LEAST_PCG_HZ:g} or more, got "
            f"{pcg_rate_hz!r}. Ask for 1000, or for None to have none."
        )
    if rates.get("cine", LEAST_CINE_HZ) < LEAST_CINE_HZ:
        raise RateError(
            f"an ejection lasts 0.3 s: cine_rate_hz is {LEAST_CINE_HZ:g} or more, got "
            f"{cine_rate_hz!r}. Ask for 12.5, or for None to have none."
        )
    seconds = 60.0 * minutes
    slowest = min(rates, key=lambda name: rates[name])
    if math.floor(seconds * rates[slowest]) < 1:
        raise CohortError(
            f"every sensor gives a sample: with {slowest!r} at {rates[slowest]:g} Hz, minutes is "
            f"{1 / (60 * rates[slowest]):.3g} or more, got {minutes!r}. Ask for 4, say."
        )
    return Cohort([_record(k, seed, seconds, rates, absent, nuisance) for k in range(subjects)])


def _record(
    number: int,
    seed: int,
    seconds: float,
    rates: dict[str, float],
    absent: float,
    nuisance: float,
) -> Record:
    """One subject's recording."""
    rng, of_heart, of_scan = (
        np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
        for key in ((number,), (number, 1), (number, 3))
    )
    attrs = {
        "synthetic": True,
        "age": int(rng.integers(20, 80)),
        "sex": str(rng.choice(["F", "M"])),
    }
    subject, shape = Subject.draw(rng), sensors.Morphology.draw(rng)
    state = simulate_physiology(subject, seconds, rng)
    systole, ventricle = None, None
    if rates.keys() & {"pcg", "cine"}:
        heart = Heart.draw(str(attrs["sex"]), of_heart)
        if "cine" in rates:
            ventricle = Ventricle.draw(str(attrs["sex"]), of_scan)
            heart = ventricle.of_heart(heart)
            shape = ventricle.of_ecg(shape, heart, subject.heart_rate)
        systole = simulate_systole(heart, state, of_heart)
        state = with_pulse_after_ejection(state, systole)
    signals = _worn(state, shape, seconds, rates, (absent, nuisance, rng))
    if systole is not None and "pcg" in rates and of_heart.random() >= absent:
        time = np.arange(math.floor(seconds * rates["pcg"])) / rates["pcg"]
        heard = _heard(state, systole, time, nuisance, of_heart)
        signals["pcg"] = signal_array(
            heard.astype(np.float32), rates["pcg"], name="pcg", units=UNITS["pcg"], labels=["PCG"]
        )
    truth = _truth(state, systole, seconds)
    images: dict[str, xr.DataArray] = {}
    if systole is not None and ventricle is not None:
        time = np.arange(math.floor(seconds * rates["cine"])) / rates["cine"]
        scan = (absent, nuisance, of_scan)
        told, images = _in_scanner(ventricle, state, systole, (truth["time"].values, time), scan)
        truth = truth.assign(told)
    ticks = np.arange(math.floor(seconds * INPUT_HZ)) / INPUT_HZ
    drive = np.interp(ticks, state.time, state.drive)[None]
    return Record(
        signals=signals,
        subject=f"sim{number:03d}",
        record=f"sim{number:03d}",
        study="simulated",
        inputs=signal_array(drive, INPUT_HZ, name="drive", labels=["drive"], axis="input"),
        annotations=_annotations(state, systole, seconds),
        truth=truth,
        attrs=attrs,
        images=images,
    )


def _worn(
    state: Physiology,
    shape: sensors.Morphology,
    seconds: float,
    rates: dict[str, float],
    worn: tuple[float, float, np.random.Generator],
) -> dict[str, xr.DataArray]:
    """ECG, PPG, respiration and SpO2 as worn sensors give them; some are absent."""
    absent, nuisance, rng = worn
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
        seen = x if name == "spo2" else sensors.wear(x, rates[name], nuisance, rng)
        if name not in gone:
            signals[name] = signal_array(
                seen.astype(np.float32),
                rates[name],
                name=name,
                units=UNITS[name],
                labels=channels[name],
            )
    return signals


def _heard(
    state: Physiology, systole: Systole, time: np.ndarray, nuisance: float, rng: np.random.Generator
) -> np.ndarray:
    """Heart sounds through a stethoscope."""
    sound = sounds.pcg(state, systole, sounds.Chest.draw(rng), time, rng)
    return sounds.stethoscope(sound, state, 1.0 / (time[1] - time[0]), nuisance, rng)


def _in_scanner(
    ventricle: Ventricle,
    state: Physiology,
    systole: Systole,
    times: tuple[np.ndarray, np.ndarray],
    scan: tuple[float, float, np.random.Generator],
) -> tuple[dict[str, tuple[str, np.ndarray, dict[str, str]]], dict[str, xr.DataArray]]:
    """What the ventricle adds to the truth, and its cine unless that is absent."""
    absent, nuisance, rng = scan
    beats, (of_truth, of_frames) = beats_of(ventricle, systole), times
    told = _of_ventricle(ventricle, beats, state, systole, of_truth)
    if rng.random() < absent:
        return told, {}
    volume = volume_at(beats, state, systole, of_frames)
    return told, {"cine": _seen(ventricle, state, volume, of_frames, (nuisance, rng))}


def _seen(
    ventricle: Ventricle,
    state: Physiology,
    volume: np.ndarray,
    time: np.ndarray,
    scan: tuple[float, np.random.Generator],
) -> xr.DataArray:
    """A cine through a scanner."""
    nuisance, rng = scan
    rate_hz, view = 1.0 / (time[1] - time[0]), phantom.Slice.draw(nuisance, rng)
    clean = phantom.cine(ventricle, view, state, volume, time)
    frames = phantom.scanned(clean, view, rate_hz, nuisance, rng)
    images = image_array(frames.astype(np.float32), rate_hz, name="cine")
    return images.assign_attrs(spacing_xyz=list(phantom.SPACING_MM), spacing_units="mm")


def _of_ventricle(
    ventricle: Ventricle,
    beats: Beats,
    state: Physiology,
    systole: Systole,
    time: np.ndarray,
) -> dict[str, tuple[str, np.ndarray, dict[str, str]]]:
    """The left ventricle's part of the truth."""
    figures = {
        "volume": (volume_at(beats, state, systole, time), "mL"),
        "end_diastolic_volume": (state.at(beats.end_diastolic, time), "mL"),
        "end_systolic_volume": (state.at(beats.end_systolic, time), "mL"),
        "ejection_fraction": (state.at(beats.ejection_fraction, time), "1"),
        "myocardial_mass": (np.full(len(time), ventricle.mass_g), "g"),
    }
    return {name: ("time", values, {"units": units}) for name, (values, units) in figures.items()}


def _truth(state: Physiology, systole: Systole | None, seconds: float) -> xr.Dataset:
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
    if systole is not None:
        of_beats = {
            "pre_ejection_period": (systole.pre_ejection, "s"),
            "ejection_time": (systole.ejection, "s"),
            "systolic_interval": (systole.interval, "s"),
            "contractility": (systole.contractility, "1"),
            "filling": (systole.filling, "1"),
        }
        figures |= {name: (state.at(x, time), units) for name, (x, units) in of_beats.items()}
    return xr.Dataset(
        {name: ("time", values, {"units": units}) for name, (values, units) in figures.items()},
        coords={"time": ("time", time, {"units": "s"})},
        attrs={"rate_hz": TRUTH_HZ},
    )


def _annotations(
    state: Physiology, systole: Systole | None, seconds: float
) -> dict[str, xr.DataArray]:
    """Times of the R peaks, of the starts of inspiration and of the heart sounds."""
    turns = np.floor(state.breath_phase / (2 * np.pi))
    breaths = state.time[1:][np.diff(turns) > 0] - 0.5 / GRID_HZ
    marks = {"beat": state.beat_time, "breath": breaths}
    if systole is not None:
        marks["s1"] = systole.first_sound(state.beat_time)
        marks["s2"] = systole.second_sound(state.beat_time)
    return {
        name: xr.DataArray(
            np.ones(len(inside)), dims="event", coords={"time": ("event", inside)}, name=name
        )
        for name, times in marks.items()
        for inside in [times[(times >= 0) & (times < seconds)]]
    }
