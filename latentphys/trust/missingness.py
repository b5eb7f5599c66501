"""What is hidden from a model to see how well it puts it back: gaps, bursts, and worse.

Every function takes the sample times of one sensor and gives which samples to hide. All channels
of a sensor are hidden together, as when its cable falls off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from latentphys.preparation.preprocessing import PreparedRecord

Array = NDArray[np.float64]
Hidden = NDArray[np.bool_]
MECHANISMS = ("artefact", "amplitude")
BURST_S = 2.0  # mean length of a burst of lost samples, and of one artefact


def hide(record: PreparedRecord, hidden: Mapping[str, Hidden]) -> PreparedRecord:
    """The record with some samples NaN.

    Args:
        record: what is hidden in.
        hidden: modality -> (time,) or (channel, time), True = hide.
    """
    signals = dict(record.signals)
    for name, where in hidden.items():
        values = np.where(where, np.float32(np.nan), signals[name].values)
        signals[name] = replace(signals[name], values=values)
    return replace(record, signals=signals)


def gap_layout(
    times: Array, lengths_s: Sequence[float], between_s: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Gaps of every length in one pass, far enough apart not to feel one another.

    The lengths come in a new random order each round, `between_s` or the gap's own length of
    record before and after each, until the record is full.

    Args:
        times: (time,) seconds.
        lengths_s: the gaps.
        between_s: least observed stretch between gaps, seconds.
        rng: of the order and the start.

    Returns:
        (time,): index into `lengths_s` of the gap a sample lies in, -1 outside gaps.

    Example:
        >>> layout = gap_layout(np.arange(100.0), [2.0, 5.0], 10.0, np.random.default_rng(0))
        >>> sorted(set(layout.tolist()))
        [-1, 0, 1]
    """
    layout = np.full(len(times), -1)
    if not len(times) or not len(lengths_s):
        return layout
    at, end = float(times[0]) + between_s * rng.uniform(0.5, 1.0), float(times[-1])
    while at < end:
        placed = False
        for k in rng.permutation(len(lengths_s)):
            stop = at + lengths_s[k]
            if stop + 0.5 * between_s > end:
                continue
            layout[(times >= at) & (times < stop)] = k
            at, placed = stop + max(between_s, lengths_s[k]), True
        if not placed:
            break
    return layout


def bursts(times: Array, share: float, rng: np.random.Generator) -> Hidden:
    """Samples lost in bursts: a two-state Markov chain in time, `share` of it lost on average.

    Bursts last 2 s on average; the stretches between are as long as the share asks.

    References:
        Gilbert (1960), Capacity of a burst-noise channel.
    """
    hidden = np.zeros(len(times), dtype=bool)
    if not len(times):
        return hidden
    lost, at, end = bool(rng.random() < share), float(times[0]), float(times[-1])
    mean_s = {True: BURST_S, False: BURST_S * (1.0 - share) / share}
    while at <= end:
        stop = at + rng.exponential(mean_s[lost])
        if lost:
            hidden[(times >= at) & (times < stop)] = True
        at, lost = stop, not lost
    return hidden


def not_at_random(
    times: Array,
    values: NDArray[np.float32],
    mechanism: str,
    share: float,
    rng: np.random.Generator,
) -> Hidden:
    """Samples whose being lost depends on their own values: no model is told so.

    "artefact": 2 s stretches, chosen with a probability that grows as the fourth power of their
    size, as when movement both shakes a sensor and loses it. "amplitude": the largest absolute
    values, as when an amplifier saturates.

    Args:
        times: (time,) seconds.
        values: (channel, time) standardised, NaN = not observed.
        mechanism: one of MECHANISMS.
        share: of the observed samples to hide.
        rng: of the choice.

    Returns:
        (time,).

    Raises:
        ValueError: another mechanism.

    References:
        Little and Rubin (2019), Statistical analysis with missing data, 3rd edition, chapter 15.
    """
    if mechanism not in MECHANISMS:
        raise ValueError(
            f"a mechanism is one of {', '.join(MECHANISMS)}; got {mechanism!r}. Choose one, or "
            "give a share between 0 and 1 to lose samples at random."
        )
    seen = np.isfinite(values).any(axis=0)
    size = np.nanmax(np.abs(np.where(seen, values, 0.0)), axis=0)
    if not seen.any():
        return np.zeros(len(times), dtype=bool)
    if mechanism == "amplitude":
        return np.asarray(seen & (size >= np.quantile(size[seen], 1.0 - share)))
    stretch = np.floor((times - times[0]) / BURST_S).astype(np.int64)
    count = np.maximum(np.bincount(stretch, weights=seen), 1.0)
    weight = (np.bincount(stretch, weights=size * size * seen) / count) ** 2 + 1e-9
    chosen = rng.choice(
        len(weight), max(1, round(share * len(weight))), replace=False, p=weight / weight.sum()
    )
    return np.asarray(np.isin(stretch, chosen))
