"""A pulse wave by the mean beat of others, laid at each beat of the heart: one curve, no network.

    x(t) = Re sum_k c_k exp(2 pi i k phi(t - d)) + e,    phi(t) = beats before t, in between linear

c, the Fourier coefficients over a beat, is the mean over the training people; d, about which a
beat stretches with its length, is the delay by which one training person's beat best gives the
others'; the spread of e is measured on them too. The heart's beats are found in the ECG.

What a person's own mean beat would give instead is an oracle: nobody knows it without the sensor.
It tells how much of the pulse is the person's own shape and delay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.recordings.errors import FitError

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]
ORDERS = np.arange(1, 9)
DELAYS_S = np.arange(0.0, 0.8, 0.05)


def phase(at_s: Array, beats: Array) -> Array:
    """Beats before each time, linear in between and beyond the first and last."""
    number = np.arange(len(beats), dtype=float)
    typical = float(np.median(np.diff(beats)))
    found = np.interp(at_s, beats, number)
    found = np.where(at_s < beats[0], (at_s - beats[0]) / typical, found)
    return np.where(at_s > beats[-1], number[-1] + (at_s - beats[-1]) / typical, found)


def coefficients(
    values: NDArray[np.float32], rate_hz: float, beats: Array, delay_s: float
) -> Complex:
    """c of one recording (time,), NaN = not observed."""
    seen = np.isfinite(values)
    at = np.arange(len(values)) / rate_hz
    turns = np.exp(-2j * np.pi * np.outer(ORDERS, phase(at[seen] - delay_s, beats)))
    return np.asarray(2.0 * (turns * values[seen]).mean(axis=1))


@dataclass(frozen=True)
class MeanBeat:
    """The mean beat of some people.

    Attributes:
        beats: record name -> times of the heart's beats, seconds, of everyone it is asked about.
        target: the pulse wave.
        c: its coefficients.
        delay_s: d.
        sd: of e.
        rate_hz: of the answer.
    """

    beats: Mapping[str, Array]
    target: str
    c: Complex
    delay_s: float
    sd: float
    rate_hz: float

    @classmethod
    def fit(
        cls, records: Sequence[PreparedRecord], beats: Mapping[str, Array], target: str
    ) -> MeanBeat:
        """Of training records with the target; the first channel is taken.

        Raises:
            FitError: no two of them have it.
        """
        known = [r for r in records if target in r.signals and len(beats.get(r.record, ())) > 1]
        if len(known) < 2:
            raise FitError(f"a mean beat takes two recordings of {target}; got {len(known)}.")
        by_delay = [_beats_of(known, beats, target, float(delay)) for delay in DELAYS_S]
        best = int(np.argmax([_alike(each) for each in by_delay]))
        rate_hz = float(np.median([record.signals[target].rate_hz for record in known]))
        made = cls(beats, target, by_delay[best].mean(axis=0), float(DELAYS_S[best]), 1.0, rate_hz)
        squares = []
        for record in known:
            values = record.signals[target].values[0]
            mean = made.predict(record)[0][0, : len(values)]
            squares.append(np.nanmean((values[: len(mean)] - mean) ** 2))
        return replace(made, sd=float(np.sqrt(np.mean(squares))))

    def predict(self, record: PreparedRecord) -> tuple[Array, Array]:
        """Mean and SD, (1, time) each, standardised; the target is not looked at."""
        at = np.arange(round(record.duration_s * self.rate_hz)) / self.rate_hz
        number = phase(at - self.delay_s, self.beats[record.record])
        mean = (self.c @ np.exp(2j * np.pi * np.outer(ORDERS, number))).real[None]
        return mean, np.full_like(mean, self.sd)

    def own(self, record: PreparedRecord) -> MeanBeat:
        """The oracle: the record's own mean beat in place of others'."""
        return replace(self, c=_beats_of([record], self.beats, self.target, self.delay_s)[0])


def _beats_of(
    records: Sequence[PreparedRecord], beats: Mapping[str, Array], target: str, delay_s: float
) -> Complex:
    """c of each recording, (record, order)."""
    rows = []
    for record in records:
        signal = record.signals[target]
        rows.append(coefficients(signal.values[0], signal.rate_hz, beats[record.record], delay_s))
    return np.array(rows)


def _alike(c: Complex) -> float:
    """Mean correlation of every recording's beat with the mean of the others'."""
    others = (c.sum(axis=0) - c) / max(1, len(c) - 1)
    norms = np.linalg.norm(c, axis=1) * np.linalg.norm(others, axis=1)
    return float(np.mean((c.conj() * others).sum(axis=1).real / np.maximum(norms, 1e-12)))
