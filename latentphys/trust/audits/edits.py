"""Recordings changed by a known amount, samples alone: what an audit doses a model with.

Every edit but `resampled` gives a new record on the same sample times; holes stay holes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from latentphys.preparation.delineation import Landmarks
from latentphys.preparation.preprocessing import DEFAULT_PLANS, filter_runs
from latentphys.recordings.record import Record, signal_array

Array = NDArray[np.float64]
# Figures of absolute size, which no amplifier changes.
ABSOLUTE = tuple(name for name, plan in DEFAULT_PLANS.items() if plan.location is not None)


def edited(record: Record, modality: str, change: Callable[[Array, Array], Array]) -> Record:
    """The record with `change(samples (time,), times (time,))` for every channel of a modality."""
    signal = record.signals[modality]
    times = signal["time"].values.astype(np.float64)
    rows = [change(row.astype(np.float64), times) for row in signal.values]
    changed = signal.copy(data=np.stack(rows).astype(signal.dtype))
    return replace(record, signals={**record.signals, modality: changed})


def shifted(record: Record, modality: str, delay_s: float) -> Record:
    """x(t - delay): one sensor later than the others, by straight lines between samples.

    Example:
        >>> one = Record.from_arrays({"ppg": (np.arange(5.0), 1.0)}, subject="s01")
        >>> shifted(one, "ppg", 0.5).signals["ppg"].values.tolist()
        [[nan, 0.5, 1.5, 2.5, 3.5]]
    """
    return edited(record, modality, lambda x, t: _at(x, t, t - delay_s))


def all_shifted(record: Record, delay_s: float) -> Record:
    """Every sensor later by the same time: a recorder whose clock is off."""
    for name in record.modalities:
        record = shifted(record, name, delay_s)
    return record


def at_tempo(record: Record, factor: float) -> Record:
    """x(factor * t) of every sensor: all of the body faster by a factor, holes at the end."""
    for name in record.modalities:
        record = edited(record, name, lambda x, t: _at(x, t, t * factor))
    return record


def amplified(record: Record, gains: Mapping[str, float]) -> Record:
    """Modalities times a gain each."""
    for name, gain in gains.items():
        record = edited(record, name, lambda x, t, gain=gain: x * gain)  # type: ignore[misc]
    return record


def noisy(record: Record, modality: str, share: float, rng: np.random.Generator) -> Record:
    """White noise added, of `share` of each channel's standard deviation."""

    def louder(x: Array, _: Array) -> Array:
        seen = x[np.isfinite(x)]
        return x + share * (seen.std() if len(seen) else 0.0) * rng.standard_normal(len(x))

    return edited(record, modality, louder)


def filtered(record: Record, high_hz: Mapping[str, float]) -> Record:
    """Modalities through a low pass each, zero phase: a monitor set to a narrower band."""

    def through(x: Array, times: Array, corner: float) -> Array:
        rate_hz = 1.0 / float(np.median(np.diff(times)))
        return filter_runs(x, rate_hz, None, corner)

    for name, corner in high_hz.items():
        record = edited(record, name, lambda x, t, corner=corner: through(x, t, corner))  # type: ignore[misc]
    return record


def resampled(record: Record, modality: str, factor: float) -> Record:
    """One sensor at `factor` times its rate, band-limited first where that is lower.

    Example:
        >>> one = Record.from_arrays({"ppg": (np.arange(8.0), 2.0)}, subject="s01")
        >>> resampled(one, "ppg", 2.0).signals["ppg"].values[0, :4].tolist()
        [0.0, 0.5, 1.0, 1.5]
    """
    signal = record.signals[modality]
    times = signal["time"].values.astype(np.float64)
    rate_hz = factor / float(np.median(np.diff(times)))
    if factor < 1.0:
        signal = filtered(record, {modality: 0.4 * rate_hz}).signals[modality]
    wanted = times[0] + np.arange(int((times[-1] - times[0]) * rate_hz + 1e-6) + 1) / rate_hz
    rows = np.stack([_at(row.astype(np.float64), times, wanted) for row in signal.values])
    made = signal_array(
        rows.astype(np.float32),
        rate_hz,
        name=modality,
        units=str(signal.attrs.get("units", "")),
        labels=[str(name) for name in signal.channel.values],
    )
    made = made.assign_coords(time=wanted)
    return replace(record, signals={**record.signals, modality: made})


def electrodes_moved(record: Record, share: float) -> Record:
    """Each ECG lead with a share of the next one: electrodes a little off their places.

    A lead is linear in the heart's dipole, so a lead measured elsewhere is a mix of leads.

        x_k' = (x_k + share * x_{k+1}) / (1 + share)
    """
    signal = record.signals["ecg"]
    values = signal.values.astype(np.float64)
    mixed = (values + share * np.roll(values, -1, axis=0)) / (1.0 + share)
    moved = signal.copy(data=np.where(np.isfinite(mixed), mixed, values).astype(signal.dtype))
    return replace(record, signals={**record.signals, "ecg": moved})


def lengthened(
    record: Record, interval: str, by_s: float, beats: Array, marks: Landmarks
) -> tuple[Record, float]:
    """The ECG with a longer PR or QT in every beat: time stretched where nothing is written.

    PR: P comes earlier, the line between P and QRS is stretched. QT: T comes later, the line
    between QRS and T is stretched. Either way the line between T and the next P gives the time,
    and waves keep their shapes. Beats whose neighbours leave no room stay as they are.

    Args:
        record: whose ECG is changed, all its leads alike.
        interval: "pr" or "qt".
        by_s: seconds, above 0.
        beats: R peaks, seconds.
        marks: of the median beat.

    Returns:
        The record, and the share of beats that were changed.
    """
    place: list[float] = []  # in the new record
    taken: list[float] = []  # from the old one
    changed = 0
    for k in range(1, len(beats) - 1):
        if interval == "pr":
            still = (beats[k - 1] + marks.t_offset, beats[k] + marks.qrs_onset)
            wave = (beats[k] + marks.p_onset, beats[k] + marks.p_offset)
            moved = (wave[0] - by_s, wave[1] - by_s)
        else:
            still = (beats[k] + marks.qrs_offset, beats[k + 1] + marks.p_onset)
            wave = (beats[k] + marks.t_onset, beats[k] + marks.t_offset)
            moved = (wave[0] + by_s, wave[1] + by_s)
        roomy = still[0] < min(wave[0], moved[0]) and max(wave[1], moved[1]) < still[1]
        if roomy and (not place or place[-1] < still[0]):
            place += [still[0], *moved, still[1]]
            taken += [still[0], *wave, still[1]]
            changed += 1
    if not changed:
        return record, 0.0

    def warped(x: Array, times: Array) -> Array:
        source = np.interp(times, place, taken)
        outside = (times < place[0]) | (times > place[-1])
        return _at(x, times, np.where(outside, times, source))

    return edited(record, "ecg", warped), changed / max(len(beats) - 2, 1)


def shuffled(record: Record, rng: np.random.Generator) -> Record:
    """Every sensor's samples in another order, holes left where they are: no beat, no breath."""

    def dealt(x: Array, _: Array) -> Array:
        seen = np.isfinite(x)
        mixed = x.copy()
        mixed[seen] = rng.permutation(x[seen])
        return mixed

    for name in record.modalities:
        record = edited(record, name, dealt)
    return record


def _at(x: Array, times: Array, wanted: Array) -> Array:
    """Straight lines between samples; NaN beyond the ends and next to holes."""
    return np.interp(wanted, times, x, left=np.nan, right=np.nan)
