"""A frozen encoder's features of a signal as one more modality, with their own time and absence.

    e_k = f(x over [k hop, k hop + window))         at the time k hop + window / 2

f is any network, or none: whatever turns a window of samples into numbers. It is not trained here.
Its features are a modality like any other: evidence about the state, an emission with its own
noise, and NaN, so not there, wherever too little of the signal was observed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from latentphys.recordings.arguments import number_between
from latentphys.recordings.errors import ArgumentError, ModalityError, RateError
from latentphys.recordings.record import Record, rate_of, signal_array

# (window, channel, time) and samples a second -> (window, feature)
Encoder = Callable[[np.ndarray, float], Any]

WINDOWS_A_CALL = 256
SOURCE, WINDOW = "embedding_of", "window_s"  # attributes of the signal that the features are


@dataclass(frozen=True)
class Embedding:
    """Which windows of which signal are embedded, and as what.

    Attributes:
        modality: whose windows.
        encoder: (windows (window, channel, time), rate_hz) -> features (window, feature).
        name: of the features as a modality.
        window_s: length of a window, seconds.
        hop_s: from one window to the next, seconds.
        observed: share of each channel's samples that a window needs; what is missing of one that
            has them is interpolated linearly for the encoder.

    Raises:
        ArgumentError: a length or a share that cannot be, or no name of its own.
    """

    modality: str
    encoder: Encoder
    name: str
    window_s: float
    hop_s: float
    observed: float = 1.0

    def __post_init__(self) -> None:
        for name in ("window_s", "hop_s"):
            remedy = "It is in seconds; 10 is usual."
            number_between(name, getattr(self, name), 0.0, math.inf, remedy)
        if not 0.0 < self.observed <= 1.0:
            raise ArgumentError(
                f"observed is a share above 0 and up to 1, got {self.observed!r}. 1 asks for "
                "windows without a hole."
            )
        if not self.name or self.name == self.modality:
            raise ArgumentError(
                f"features are a modality with a name of its own, got {self.name!r} beside "
                f"{self.modality!r}. Call them {self.modality + '_features'!r}, say."
            )

    def added(self, record: Record) -> Record:
        """The record with the features as a modality; as it is where it has no whole window.

        Raises:
            ModalityError: there is a modality of that name already.
            RateError: a signal without a rate, or windows that hold no sample.
            ArgumentError: an encoder that does not give a row of numbers a window.
        """
        if self.modality not in record.signals:
            return record
        if self.name in (*record.signals, *record.images, *record.texts):
            raise ModalityError(
                f"record {record.record!r} has a modality {self.name!r} already. Choose another "
                "name for the features."
            )
        signal = record.signals[self.modality]
        features, times = self._features(record, signal)
        if features is None:
            return record
        labels = [f"{self.name}_{k + 1}" for k in range(features.shape[1])]
        made = signal_array(features.T, times, name=self.name, labels=labels)
        made.attrs |= {SOURCE: self.modality, WINDOW: float(self.window_s)}
        return replace(record, signals={**record.signals, self.name: made})

    def _features(
        self, record: Record, signal: xr.DataArray
    ) -> tuple[np.ndarray | None, np.ndarray]:
        """(window, feature), NaN where not observed, and the windows' middles in seconds."""
        rate = rate_of(signal)
        if not np.isfinite(rate):
            raise RateError(
                f"windows of equal length need a signal with a rate; the times of "
                f"{self.modality!r} of record {record.record!r} are irregular. Resample it first."
            )
        length = round(self.window_s * rate)
        if length < 1:
            raise RateError(
                f"a window of {self.window_s:g} s holds no sample of {self.modality!r} at "
                f"{rate:g} Hz. Make it longer."
            )
        values = np.asarray(signal.values)
        hops = math.floor((values.shape[1] - length) / rate / self.hop_s + 1e-9) + 1
        starts = np.round(np.arange(max(0, hops)) * self.hop_s * rate).astype(np.int64)
        starts = starts[starts + length <= values.shape[1]]
        times = float(signal["time"].values[0]) + starts / rate + self.window_s / 2.0
        seen = np.isfinite(values)
        kept = [k for k, s in enumerate(starts) if self._enough(seen[:, s : s + length])]
        if not kept:
            return None, times
        found: list[np.ndarray] = []
        for first in range(0, len(kept), WINDOWS_A_CALL):
            chosen = starts[kept[first : first + WINDOWS_A_CALL]]
            windows = np.stack([_whole(values[:, s : s + length]) for s in chosen])
            found.append(self._encoded(windows, rate))
        rows = np.concatenate(found)
        features = np.full((len(starts), rows.shape[1]), np.nan)
        features[kept] = rows
        return features, times

    def _enough(self, seen: np.ndarray) -> bool:
        """Whether a window (channel, time) was observed well enough in every channel."""
        return bool((seen.mean(axis=1) >= self.observed).all())

    def _encoded(self, windows: np.ndarray, rate_hz: float) -> np.ndarray:
        """The encoder's rows, checked; a row with a number that is not finite is all NaN."""
        rows = np.asarray(self.encoder(windows, rate_hz), dtype=np.float64)
        if rows.ndim != 2 or len(rows) != len(windows) or not rows.shape[1]:
            raise ArgumentError(
                f"an encoder turns {len(windows)} windows (window, channel, time) into as many "
                f"rows (window, feature), got shape {rows.shape}. Pool over time, and flatten "
                "what is left."
            )
        return np.where(np.isfinite(rows).all(axis=1, keepdims=True), rows, np.nan)


def source_of(signal: xr.DataArray) -> str:
    """The modality whose embedding a signal is; "" for a sensor's own."""
    return str(signal.attrs.get(SOURCE, ""))


def _whole(window: np.ndarray) -> np.ndarray:
    """A window (channel, time) with its holes interpolated linearly, its ends held."""
    seen = np.isfinite(window)
    if seen.all():
        return window
    at = np.arange(window.shape[1])
    return np.stack(
        [np.interp(at, at[ok], x[ok]) for x, ok in zip(window, seen, strict=True)]
    ).astype(window.dtype)
