"""Log band powers of a fast signal as a modality of its own, a frame each state step.

A sensor at 1000-2000 Hz becomes a few bands a step, which the emission scores as it scores any
modality; the bands are its channels. It is a step before the model rather than a tokeniser inside
it, because a frame is longer than a step: samples are then never both hidden and seen through a
neighbouring frame without it being known how far (`reach_frames`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentphys.recordings.errors import FitError
from latentphys.recordings.record import Record, rate_of

LEAST_OBSERVED = 0.5  # of a frame's taper, by energy; below it the frame is not observed
FLOOR = 1e-12  # of the power, in the signal's units squared: silence is -120 dB


def mel_edges(least_hz: float, most_hz: float, bands: int) -> NDArray[np.float64]:
    """Corners of bands as wide as each other on the mel scale, (bands + 1,) Hz.

    mel = 2595 log10(1 + f / 700)

    References:
        O'Shaughnessy (1987), Speech communication: human and machine.

    Example:
        >>> mel_edges(0.0, 1000.0, 2).round().tolist()
        [0.0, 391.0, 1000.0]
    """
    least, most = (2595.0 * math.log10(1.0 + hz / 700.0) for hz in (least_hz, most_hz))
    mel = np.linspace(least, most, bands + 1)
    return np.asarray(700.0 * (10.0 ** (mel / 2595.0) - 1.0))


def reach_frames(window_s: float, frame_rate_hz: float) -> int:
    """How many frames to either side share samples with a frame.

    Hiding a frame hides these too, or it could be read off them.
    """
    return max(0, math.ceil(window_s * frame_rate_hz - 1e-9) - 1)


def log_band_power(
    x: NDArray[Any],
    rate_hz: float,
    frame_rate_hz: float,
    edges_hz: Sequence[float] | NDArray[np.float64],
    window_s: float,
) -> NDArray[np.float64]:
    """10 log10 of the power in each band, in frames centred on the middle of each step.

        P(f) = |sum_i m_i w_i (x_i - mean) e^(-2 pi i f t)|^2 / (rate * sum_i (m_i w_i)^2)

    with w Hann's taper and m = 1 on observed samples: of white noise the expected power is the
    same however many samples are missing. A band's power is the integral of 2 P over it.

    Args:
        x: (channel, time), NaN = not observed.
        rate_hz: its samples a second.
        frame_rate_hz: frames a second, the model's clock.
        edges_hz: (band + 1,) corners, ascending, up to rate_hz / 2.
        window_s: length of a frame; longer than 1 / frame_rate_hz for frames that overlap.

    Returns:
        (channel, band, frame) in dB; NaN where a frame was not observed enough.

    Raises:
        FitError: corners that do not ascend or lie beyond rate_hz / 2, or a band so narrow that
            no frequency of the frame lies in it.

    References:
        Welch (1967), The use of fast Fourier transform for the estimation of power spectra.
    """
    x, edges = np.asarray(x, np.float64), np.asarray(edges_hz, np.float64)
    size = max(2, round(window_s * rate_hz))
    frequency = np.fft.rfftfreq(size, 1.0 / rate_hz)
    inside = (frequency >= edges[:-1, None]) & (frequency < edges[1:, None])
    inside[-1] |= frequency == edges[-1]
    if (np.diff(edges) <= 0).any() or edges[-1] > rate_hz / 2 or not inside.any(1).all():
        raise FitError(
            f"bands must ascend to at most half the rate ({rate_hz / 2:g} Hz) and be no narrower "
            f"than 1 / window_s ({rate_hz / size:g} Hz); got corners {edges.tolist()}. Pass fewer "
            "or wider bands, or a longer window_s."
        )
    frames = int(np.floor(x.shape[1] / rate_hz * frame_rate_hz + 1e-9))
    first = np.round((np.arange(frames) + 0.5) / frame_rate_hz * rate_hz - size / 2).astype(int)
    taper = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2
    powers = np.full((len(x), len(inside), frames), np.nan)
    padded = np.pad(x, ((0, 0), (size, size)), constant_values=np.nan)
    for k, start in enumerate(first + size):
        cut = padded[:, start : start + size]
        weight = taper * np.isfinite(cut)
        energy = (weight**2).sum(1)
        enough = energy >= LEAST_OBSERVED * (taper**2).sum()
        kept, filled = weight[enough], np.nan_to_num(cut[enough])
        mean = (kept * filled).sum(1, keepdims=True) / kept.sum(1, keepdims=True)
        spectrum = np.abs(np.fft.rfft(kept * (filled - mean))) ** 2
        density = 2.0 * spectrum / (rate_hz * energy[enough, None])
        powers[enough, :, k] = density @ inside.T * (rate_hz / size)
    return 10.0 * np.log10(np.maximum(powers, FLOOR))


def with_spectrogram(
    record: Record,
    modality: str,
    edges_hz: Sequence[float] | NDArray[np.float64],
    frame_rate_hz: float = 12.5,
    window_s: float = 0.16,
) -> Record:
    """The record with a modality's log band powers in its place.

    The wave itself is left out: a model that saw both would read hidden bands off it.

    Args:
        record: its modality must be regularly sampled, from 0 s.
        modality: the fast one.
        edges_hz: (band + 1,) corners, as `mel_edges` gives them.
        frame_rate_hz: the model's clock.
        window_s: length of a frame.

    Returns:
        A record whose channels of it are "<channel> <low>-<high> Hz", in dB.

    Raises:
        FitError: as `log_band_power`, or a modality of irregular times.
    """
    signal = record.signals[modality]
    rate, time = rate_of(signal), signal["time"].values
    if not np.isfinite(rate) or (len(time) and abs(float(time[0])) > 1e-9):
        raise FitError(
            f"a spectrogram needs a regular rate from 0 s; modality {modality!r} of record "
            f"{record.record!r} has irregular times or starts later. Resample it first."
        )
    powers = log_band_power(signal.values, rate, frame_rate_hz, edges_hz, window_s)
    bands = [f"{low:g}-{high:g} Hz" for low, high in zip(edges_hz, edges_hz[1:], strict=False)]
    names = [f"{channel} {band}" for channel in signal["channel"].values for band in bands]
    made = Record.from_arrays(
        {modality: (powers.reshape(len(names), -1), frame_rate_hz)},
        subject=record.subject,
        units={modality: "dB"},
        channels={modality: names},
    )
    return replace(record, signals={**record.signals, modality: made.signals[modality]})
