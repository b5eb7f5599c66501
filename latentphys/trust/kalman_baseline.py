"""The exact Kalman smoother as a baseline: all sensors as one vector autoregression.

    x_t ~ N(sum_k A_k x_{t-k}, Q)   on a common clock, x_t the sensors' averages over a tick,

fitted by least squares; what is hidden is marginalised exactly (`latentphys.model.kalman`). It is
what linear dynamics can do with any set of sensors and gaps. What a tick's average leaves of a
fast sensor is noise to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from latentphys.model.kalman import LinearGaussian, kalman_filter, rts_smoother
from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.recordings.errors import FitError
from latentphys.trust.alignment import aligned, reference_channels, sample_times

Array = NDArray[np.float64]
STRETCH = 400  # ticks smoothed at once


@dataclass(frozen=True)
class _Readout:
    """x ~ N(offset + slope y, sd^2): a channel's samples from its sensor's average."""

    offset: float
    slope: float
    sd: float


class KalmanBaseline:
    """A vector autoregression of every sensor, smoothed exactly around what is missing.

    Args:
        clock_hz: ticks a second.
        order: ticks it looks back.
    """

    def __init__(self, clock_hz: float = 12.5, order: int = 8) -> None:
        self._clock_hz, self._order = clock_hz, order
        self._names: tuple[str, ...] = ()
        self._reference: dict[str, str] = {}
        self._readouts: dict[tuple[str, str], _Readout] = {}
        self._model: LinearGaussian | None = None

    def fit(self, records: Sequence[PreparedRecord], names: Sequence[str]) -> KalmanBaseline:
        """Learn from training records; returns itself.

        Raises:
            FitError: no stretch in which every sensor was observed.
        """
        self._names = tuple(names)
        self._reference = reference_channels(records, names)
        grids = [self._grid(record) for record in records]
        lagged = [_windows(grid, self._order + 1) for grid in grids]
        rows = np.concatenate(lagged)
        rows = rows[np.isfinite(rows).all(axis=(1, 2))]
        if len(rows) < 10 * rows.shape[1] * rows.shape[2]:
            raise FitError(
                "a vector autoregression needs stretches with every sensor observed; got "
                f"{len(rows)} of {self._order + 1} ticks. Give longer records, or fewer sensors."
            )
        rows -= rows.mean(axis=(0, 1))
        past = rows[:, :-1][:, ::-1].reshape(len(rows), -1)  # the latest tick first
        gram = past.T @ past + 1e-3 * len(rows) * np.eye(past.shape[1])
        weights = np.linalg.solve(gram, past.T @ rows[:, -1]).T
        noise = np.atleast_2d(np.cov((rows[:, -1] - past @ weights.T).T))
        self._model = _companion(weights, noise, np.cov(past.T))
        self._fit_readouts(records, grids)
        return self

    def _grid(self, record: PreparedRecord) -> Array:
        """(tick, sensor) averages."""
        ticks = max(1, round(record.duration_s * self._clock_hz))
        times: Array = (np.arange(ticks, dtype=np.float64) + 0.5) / self._clock_hz
        return aligned(record, self._reference, times).T.astype(np.float64)

    def _fit_readouts(self, records: Sequence[PreparedRecord], grids: Sequence[Array]) -> None:
        pairs: dict[tuple[str, str], list[tuple[Array, Array]]] = {}
        for record, grid in zip(records, grids, strict=True):
            for k, name in enumerate(self._names):
                if name not in record.signals:
                    continue
                signal = record.signals[name]
                at = self._to_times(grid[:, k], sample_times(signal))
                for channel, values in zip(signal.channels, signal.values, strict=True):
                    seen = np.isfinite(values) & np.isfinite(at)
                    for key in ((name, channel), (name, "")):
                        pairs.setdefault(key, []).append((at[seen], values[seen].astype(float)))
        for key, parts in pairs.items():
            x, y = (np.concatenate([pair[k] for pair in parts]) for k in (0, 1))
            if len(x) > 2 and x.std() > 0:
                slope = float(np.cov(x, y)[0, 1] / x.var(ddof=1))
                offset = float(y.mean() - slope * x.mean())
                sd = float((y - offset - slope * x).std())
                self._readouts[key] = _Readout(offset, slope, max(sd, 1e-3))

    def _to_times(self, grid: Array, times: Array) -> Array:
        ticks = (np.arange(len(grid)) + 0.5) / self._clock_hz
        return np.interp(times, ticks, grid)

    @torch.no_grad()
    def smooth(
        self, record: PreparedRecord, hidden: Sequence[PreparedRecord], given: Sequence[set[str]]
    ) -> list[tuple[Array, Array]]:
        """Smoothed mean and SD, (tick, sensor) each, of many versions of one record at once.

        Args:
            record: for its length.
            hidden: versions of it with samples hidden.
            given: for each, the sensors used.
        """
        if self._model is None:
            raise FitError("KalmanBaseline predicts only after fitting; got none. Call fit first.")
        grids = []
        for version, names in zip(hidden, given, strict=True):
            grid = self._grid(version)
            grid[:, [name not in names for name in self._names]] = np.nan
            grids.append(grid)
        ticks = len(grids[0])
        count = -(-ticks // STRETCH)
        padded = np.full((len(grids), count * STRETCH, len(self._names)), np.nan)
        padded[:, :ticks] = np.stack(grids)
        values = torch.from_numpy(padded.reshape(-1, STRETCH, len(self._names)))
        smoothed = rts_smoother(self._model, kalman_filter(self._model, values))
        size = len(self._names)
        mean = smoothed.mean[..., :size].reshape(len(grids), -1, size)[:, :ticks]
        variance = smoothed.cov.diagonal(dim1=-2, dim2=-1)[..., :size]
        variance = variance.reshape(len(grids), -1, size)[:, :ticks].clamp_min(0.0)
        return list(zip(mean.numpy(), variance.sqrt().numpy(), strict=True))

    def predict(
        self, record: PreparedRecord, target: str, smoothed: tuple[Array, Array]
    ) -> tuple[Array, Array]:
        """Mean and SD of a target at its own sample times, (channel, time) each."""
        signal, k = record.signals[target], self._names.index(target)
        times = sample_times(signal)
        mean, sd = (self._to_times(part[:, k], times) for part in smoothed)
        rows = []
        for channel in signal.channels:
            own = self._readouts.get((target, channel), self._readouts[target, ""])
            spread = np.sqrt((own.slope * sd) ** 2 + own.sd**2)
            rows.append((own.offset + own.slope * mean, spread))
        return np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows])


def _windows(grid: Array, length: int) -> Array:
    """(window, tick, sensor) views of every start."""
    if len(grid) < length:
        return np.zeros((0, length, grid.shape[1]))
    views = np.lib.stride_tricks.sliding_window_view(grid, length, axis=0)
    return views.transpose(0, 2, 1)


def _companion(
    weights: NDArray[Any], noise: NDArray[Any], stacked_cov: NDArray[Any]
) -> LinearGaussian:
    """The state (x_t, ..., x_{t-p+1}) of a vector autoregression."""
    size, width = weights.shape
    transition = np.zeros((width, width))
    transition[:size] = weights
    transition[size:, :-size] = np.eye(width - size)
    cov = np.zeros((width, width))
    cov[:size, :size] = noise
    # A little noise everywhere keeps the covariances of copied blocks invertible.
    cov += 1e-6 * np.eye(width)
    return LinearGaussian(
        initial_mean=torch.zeros(width, dtype=torch.float64),
        initial_cov=torch.from_numpy(stacked_cov + 1e-6 * np.eye(width)),
        transition=torch.from_numpy(transition),
        transition_cov=torch.from_numpy(cov),
        emission=torch.eye(size, width, dtype=torch.float64),
        emission_cov=torch.full((size,), 1e-4, dtype=torch.float64),
        diagonal_noise=True,
    )
