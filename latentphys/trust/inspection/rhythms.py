"""How each number of the state moves: its spectrum, its memory, and whose rhythm it keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from latentphys.preparation.beats import beat_times
from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.recordings.errors import LabelError
from latentphys.recordings.labels import phase
from latentphys.recordings.record import Record
from latentphys.trust.breathing import BAND_HZ
from latentphys.trust.targets import BREATHS

Array = NDArray[np.float64]
SEGMENT_S = 40.0  # of a periodogram: it tells 12 breaths a minute from 13
LONGEST_BEAT_S, LONGEST_BREATH_S = 3.0, 15.0
HARMONICS = {"heart": 4, "breath": 2}  # of each rhythm: a QRS has many, a state at 12.5 Hz a few
RHYTHMS = tuple(HARMONICS)


def spectrum(paths: Sequence[Array], rate_hz: float) -> tuple[Array, Array]:
    """Share of power by frequency, a mean over recordings of Welch's periodograms.

    Args:
        paths: (step, latent) each.
        rate_hz: steps a second.

    Returns:
        Frequencies (frequency,) without 0, and shares (latent, frequency) that sum to 1.

    Example:
        >>> t = np.arange(1000) / 12.5
        >>> hertz, share = spectrum([np.sin(2 * np.pi * 1.25 * t)[:, None]], 12.5)
        >>> round(float(hertz[share[0].argmax()]), 2)
        1.25
    """
    from scipy.signal import welch

    size = min(min(len(path) for path in paths), round(SEGMENT_S * rate_hz))
    total = np.zeros(0)
    for path in paths:
        hertz, power = welch(path, rate_hz, nperseg=size, axis=0)
        own = power[1:].T / np.maximum(power[1:].sum(0)[:, None], 1e-12)
        total = own if not len(total) else total + own
    return hertz[1:], total / len(paths)


def timescale_s(paths: Sequence[Array], rate_hz: float) -> Array:
    """Seconds after which the autocorrelation stays within 1/e, a mean over recordings, (latent,).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = np.zeros((20000, 1))
        >>> for k in range(1, len(x)): x[k] = 0.9 * x[k - 1] + rng.standard_normal()
        >>> bool(abs(timescale_s([x], 10.0)[0] - 0.95) < 0.15)
        True
    """
    found = []
    for path in paths:
        x = path - path.mean(0)
        power = np.abs(np.fft.rfft(x, 2 * len(x), axis=0)) ** 2
        memory = np.fft.irfft(power, axis=0)[: len(x) // 2]
        high = np.abs(memory) >= np.maximum(memory[0], 1e-12) / np.e
        # The last lag at which it is remembered, counted from the far end.
        found.append((len(high) - 1 - high[::-1].argmax(0)) / rate_hz)
    return np.asarray(np.mean(found, axis=0))


def phases(record: Record, prepared: PreparedRecord, rate_hz: float) -> dict[str, Array]:
    """Phase of heart and breath at each state step, NaN where it is not known.

    Beats as marked or found in the ECG; breaths as marked, else the phase of the respiration
    signal in the breathing band.
    """
    found = {}
    try:
        beats = beat_times(record)
        found["heart"] = _between(record, beats, rate_hz, LONGEST_BEAT_S)
    except LabelError:
        pass
    marked = next((name for name in BREATHS if name in record.annotations), None)
    if marked is not None:
        times = np.unique(record.annotations[marked]["time"].values)
        found["breath"] = _between(record, times, rate_hz, LONGEST_BREATH_S)
    elif "resp" in prepared.signals and prepared.signals["resp"].time_s is None:
        signal = prepared.signals["resp"]
        found["breath"] = _of_signal(signal.values[0].astype(np.float64), signal.rate_hz, rate_hz)
    return found


def told_by(path: Array, turns: Array, harmonics: int) -> Array:
    """Share of each number's variance that a rhythm's phase tells, (latent,).

        R^2 of z_k on cos(h phase), sin(h phase), h = 1 .. harmonics

    Args:
        path: (step, latent).
        turns: (step,) radians, NaN where not known.
        harmonics: of the phase.

    Example:
        >>> turns = np.linspace(0, 60, 500)
        >>> z = np.stack([np.cos(turns), np.random.default_rng(0).standard_normal(500)], 1)
        >>> told_by(z, turns, 1).round(1).tolist()
        [1.0, 0.0]
    """
    count = min(len(path), len(turns))
    seen = np.isfinite(turns[:count])
    if seen.sum() < 8 * harmonics:
        return np.full(path.shape[1], np.nan)
    z, at = path[:count][seen], turns[:count][seen]
    waves = [f(h * at) for h in range(1, harmonics + 1) for f in (np.cos, np.sin)]
    x = np.stack([np.ones(len(at)), *waves], axis=1)
    left = z - x @ np.linalg.lstsq(x, z, rcond=None)[0]
    return np.asarray(1.0 - left.var(0) / np.maximum(z.var(0), 1e-12))


def _between(record: Record, times: Array, rate_hz: float, longest_s: float) -> Array:
    events = xr.DataArray(np.ones(len(times)), dims="event", coords={"time": ("event", times)})
    return np.asarray(phase(record, events, rate_hz, longest_s=longest_s).values)


def _of_signal(x: Array, rate_hz: float, wanted_hz: float) -> Array:
    """Phase of the analytic signal in the breathing band, at the middle of each step."""
    from scipy.signal import butter, hilbert, sosfiltfilt

    seen = np.isfinite(x)
    middle = (np.arange(int(len(x) * wanted_hz / rate_hz)) + 0.5) / wanted_hz
    if seen.sum() < 20.0 * rate_hz:
        return np.full(len(middle), np.nan)
    times = np.arange(len(x)) / rate_hz
    bridged = np.interp(times, times[seen], x[seen])
    band = sosfiltfilt(butter(2, BAND_HZ, "bandpass", fs=rate_hz, output="sos"), bridged)
    turns = np.interp(middle, times, np.unwrap(np.angle(hilbert(band))))
    holes = np.interp(middle, times, (~seen).astype(np.float64)) > 0
    return np.where(holes, np.nan, turns)
