"""What a probe must beat: plain figures of each sensor over the same units, without a network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from latentphys.preparation.preprocessing import PreparedRecord, PreparedSignal
from latentphys.preparation.spans import Spans
from latentphys.trust.alignment import sample_times
from latentphys.trust.resampling import mean_of

Array = NDArray[np.float64]

# Half octaves: fine enough to tell one breathing rate, or one band of the EEG, from another.
EDGES_HZ = tuple(0.05 * 2.0 ** (k / 2) for k in range(21))
FIGURES = 2 + len(EDGES_HZ) - 1
TINY = 1e-6

# (modality, channel) -> (unit, FIGURES)
Figures = dict[tuple[str, str], Array]


def raw_features(record: PreparedRecord, spans: Spans, given: Sequence[str]) -> Figures:
    """Mean, log standard deviation and log power in half octaves of each channel over each unit.

    Power is the periodogram's mean in a band, gaps counting as the unit's mean; NaN where the
    unit is too short or the rate too low for the band, or nothing was observed.

    Args:
        record: as the model takes it, so that neither sees more than the other.
        spans: its units.
        given: modalities used.
    """
    figures = {}
    for name in given:
        if name not in record.signals:
            continue
        signal = record.signals[name]
        bounds = np.searchsorted(
            sample_times(signal), np.stack([spans.start_s, spans.stop_s]) - 1e-9
        )
        for k, channel in enumerate(signal.channels):
            parts = [signal.values[k, a:b] for a, b in bounds.T]
            figures[name, channel] = np.array([_figures(part, signal) for part in parts])
    return figures


def _figures(x: NDArray[np.float32], signal: PreparedSignal) -> Array:
    out = np.full(FIGURES, np.nan)
    seen = np.isfinite(x)
    if not seen.any():
        return out
    mean = float(x[seen].mean(dtype=np.float64))
    centred = np.where(seen, x - mean, 0.0).astype(np.float64)
    out[:2] = mean, 0.5 * np.log(np.mean(centred[seen] ** 2) + TINY)
    if signal.time_s is not None:
        return out
    power = np.abs(np.fft.rfft(centred)) ** 2 / len(x)
    hz = np.fft.rfftfreq(len(x), 1.0 / signal.rate_hz)
    for k, (low, high) in enumerate(zip(EDGES_HZ[:-1], EDGES_HZ[1:], strict=True)):
        inside = (hz >= low) & (hz < high)
        if inside.any() and high <= signal.rate_hz / 2:
            out[2 + k] = np.log(power[inside].mean() + TINY)
    return out


def side_by_side(records: Sequence[Figures], sizes: Sequence[int]) -> Array:
    """The figures of all recordings as one matrix, (unit, feature), NaN where there is none.

    Channels that every recording with the modality has stay apart; a modality without such is
    averaged over its channels, as names of leads differ from one recording to the next.

    Args:
        records: of each recording.
        sizes: units of each recording.
    """
    columns = []
    for name in sorted({modality for figures in records for modality, _ in figures}):
        has = [{c for m, c in figures if m == name} for figures in records]
        common = sorted(set.intersection(*(own for own in has if own)))
        # Without channels in common, all that each recording has.
        for chosen in [{channel} for channel in common] or [set().union(*has)]:
            blocks = [
                _block(figures, name, own & chosen, size)
                for figures, own, size in zip(records, has, sizes, strict=True)
            ]
            columns.append(np.concatenate(blocks))
    return np.concatenate(columns, axis=1) if columns else np.zeros((sum(sizes), 0))


def _block(figures: Figures, modality: str, channels: set[str], units: int) -> Array:
    """Mean over channels of what is known, (unit, FIGURES)."""
    if not channels:
        return np.full((units, FIGURES), np.nan)
    stack = np.stack([figures[modality, channel] for channel in sorted(channels)])
    return mean_of(stack, axis=0)
