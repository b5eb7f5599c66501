"""Fingerprints of stretches of a signal: the same samples are found though cropped or renamed.

A channel is written as the lengths of its runs: how many samples it rises, stays or falls before
it turns. That is the same after a change of gain, offset, polarity, stored precision, name or
start, and says more the more a signal turns. Every `SHINGLE` runs in a row are hashed, and of
every `WINDOW` hashes in a row the least is kept (winnowing), so that two channels that share
`SHINGLE + WINDOW - 1` whole runs share a fingerprint. A fingerprint only suggests: the samples
themselves are then compared.

References:
    Schleimer, Wilkerson and Aiken (2003), Winnowing: local algorithms for document fingerprinting.
    Broder (1997), On the resemblance and containment of documents.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from latentphys.recordings.record import Record

SHINGLE = 24
WINDOW = 24
# Of a long channel the least hashes: a night keeps one in ten, and minutes of it still have some.
MOST = 8192
# Fewer samples, or fewer values among them, may agree by chance.
LEAST_SAMPLES = 64
LEAST_VALUES = 16
LEAST_TURNS = 8
# Of the spread: samples stored in other steps differ by rounding, other samples by far more.
TOLERANCE = 0.02
# A shingle of fewer kinds of runs repeats itself.
_LEAST_KINDS = 4
_BLOCK = 1 << 18
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, its bits well mixed (the golden ratio)


@dataclass(frozen=True)
class Prints:
    """Fingerprints of one channel.

    Attributes:
        modality, channel: whose.
        values: (print,) hashes, ascending.
        places: (print,) the sample each begins at.
    """

    modality: str
    channel: str
    values: NDArray[np.uint64]
    places: NDArray[np.int64]


@dataclass(frozen=True)
class Shared:
    """A stretch of samples that two channels share.

    Attributes:
        seconds: how long it is, by the first one's clock; NaN where its times are irregular.
        samples: how many.
        starts: first sample in either.
    """

    seconds: float
    samples: int
    starts: tuple[int, int]


def prints_of(record: Record) -> Iterator[Prints]:
    """The fingerprints of each channel of a record that turns often enough to have some."""
    for modality, signal in record.signals.items():
        for label, row in zip(signal["channel"].values, signal.values, strict=True):
            values, places = fingerprints(row)
            if len(values):
                yield Prints(modality, str(label), values, places)


def fingerprints(x: NDArray[np.floating]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """(hashes, sample each begins at) of one channel, sorted by hash.

    Args:
        x: (time,), NaN = not observed; no fingerprint reaches across a gap.

    Example:
        >>> x = np.random.default_rng(0).standard_normal(2000)
        >>> whole, part = fingerprints(x)[0], fingerprints(5.0 - 2.0 * x[700:1500])[0]
        >>> bool(np.isin(part, whole).mean() > 0.9)
        True
    """
    begins, tokens, whole = _runs(x)
    count = len(tokens) - SHINGLE + 1
    found = []
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        # Which hash is least is told by its neighbours on either side.
        low, high = max(start - WINDOW + 1, 0), min(stop + WINDOW - 1, count)
        part = slice(low, high + SHINGLE - 1)
        hashes, usable = _hashed(tokens[part], whole[part])
        chosen = _winnowed(hashes, usable)
        chosen = chosen[(chosen >= start - low) & (chosen < stop - low)]
        found.append((hashes[chosen], begins[low + chosen]))
    if not found:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    values, places = (np.concatenate(each) for each in zip(*found, strict=True))
    order = np.argsort(values, kind="stable")[:MOST]
    return values[order], places[order]


def shared_stretch(
    one: xr.DataArray, other: xr.DataArray, labels: tuple[str, str], starts: tuple[int, int]
) -> Shared | None:
    """The stretch around two places over which two channels are the same samples, if they are.

    The same means: equal up to gain, offset and polarity, within 2 % of their spread.

    Args:
        one, other: signals (channel, time).
        labels: which channel of either.
        starts: a sample of either at which a fingerprint agreed.
    """
    x, y = (
        np.asarray(signal.values[[str(c) for c in signal["channel"].values].index(label)])
        for signal, label in zip((one, other), labels, strict=True)
    )
    before = min(starts)
    a, b = starts[0] - before, starts[1] - before
    length = min(len(x) - a, len(y) - b)
    begin, stop = _same_turns(x[a : a + length], y[b : b + length], before)
    p, q = (v.astype(np.float64) for v in (x[a + begin : a + stop], y[b + begin : b + stop]))
    # Beyond its ends a stretch may turn alike for some samples more.
    first, last = _same_values(p, q, before - begin)
    p, q, begin = p[first:last], q[first:last], begin + first
    if not _same_samples(p, q):
        return None
    rate = float(one.attrs.get("rate_hz", np.nan))
    return Shared(len(p) / rate, len(p), (a + begin, b + begin))


def _runs(
    x: NDArray[np.floating],
) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.bool_]]:
    """(first sample, token, is it whole) of every run; one that a gap cuts is not whole."""
    course = _course(x)
    if not len(course):
        return np.empty(0, np.int64), np.empty(0, np.uint64), np.empty(0, bool)
    begins = np.concatenate([[0], np.flatnonzero(np.diff(course)) + 1])
    lengths = np.diff(np.concatenate([begins, [len(course)]]))
    kind = course[begins]
    seen = kind != _GAP
    beside = np.concatenate([[False], seen, [False]])
    whole = seen & beside[:-2] & beside[2:]
    # Up and down are alike, so that an inverted copy is found too.
    tokens = (2 * lengths + (kind == 0)).astype(np.uint64)
    return begins.astype(np.int64), tokens, whole


_GAP = 2


def _course(x: NDArray[np.floating]) -> NDArray[np.int8]:
    """-1, 0 or 1 for each step from one sample to the next; `_GAP` where either is missing."""
    with np.errstate(invalid="ignore"):
        step = np.diff(x)
        course = np.sign(step)
    return np.where(np.isfinite(step), course, _GAP).astype(np.int8)


def _hashed(
    tokens: NDArray[np.uint64], whole: NDArray[np.bool_]
) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """(hash, does it tell) of every SHINGLE runs in a row."""
    count = len(tokens) - SHINGLE + 1
    hashes, kinds = np.zeros(count, np.uint64), np.zeros(count, np.uint64)
    bits = np.uint64(1) << np.minimum(tokens, np.uint64(63))
    for i in range(SHINGLE):
        hashes = hashes * _FACTOR + tokens[i : i + count]
        kinds |= bits[i : i + count]
    broken = np.concatenate([[0], np.cumsum(~whole)])
    unbroken = broken[SHINGLE:] == broken[:count]
    # A stretch that only repeats itself, as a calibration does, is in every recording of a device.
    return _mixed(hashes), unbroken & (np.bitwise_count(kinds) >= _LEAST_KINDS)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Bits spread evenly, so that the least hash is as good as a random one."""
    values = (values ^ (values >> np.uint64(32))) * _FACTOR
    return values ^ (values >> np.uint64(29))


def _winnowed(hashes: NDArray[np.uint64], usable: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Positions of the least hash of every WINDOW in a row; of all, if there are fewer."""
    order = np.where(usable, hashes, np.iinfo(np.uint64).max)
    if len(order) <= WINDOW:
        return np.flatnonzero(usable & (order == order.min()))
    least = _slid(order, np.minimum)
    nothing = np.zeros(WINDOW - 1, np.uint64)
    # A hash is one window's least when the greatest of the leasts around it is itself.
    around = _slid(np.concatenate([nothing, least, nothing]), np.maximum)
    return np.flatnonzero(usable & (order == around))


def _slid(values: NDArray[np.uint64], reduce: np.ufunc) -> NDArray[np.uint64]:
    """`reduce` of every WINDOW values in a row, by doubling."""
    width = 1
    while 2 * width <= WINDOW:
        values = reduce(values[:-width], values[width:])
        width *= 2
    rest = WINDOW - width
    return reduce(values[:-rest], values[rest:]) if rest else values


def _same_turns(x: NDArray[np.floating], y: NDArray[np.floating], at: int) -> tuple[int, int]:
    """[begin, stop) around sample `at` where both rise and fall alike, or exactly opposite."""
    one, other = _course(x), _course(y)
    reach = slice(at, at + SHINGLE)
    if (one[reach] == other[reach]).mean() < 0.5:
        other = np.where(other == _GAP, _GAP, -other).astype(np.int8)
    same = (one == other) & (one != _GAP)
    after = np.flatnonzero(~same[at:])
    stop = at + int(after[0]) if len(after) else len(same)
    before = np.flatnonzero(~same[:at])
    begin = int(before[-1]) + 1 if len(before) else 0
    return begin, stop + 1


def _same_values(x: NDArray[np.float64], y: NDArray[np.float64], at: int) -> tuple[int, int]:
    """[begin, stop) around sample `at` where y is near gain x + offset, these being medians."""
    step, other = np.diff(x), np.diff(y)
    if not (step != 0).any():
        return 0, 0
    rest = y - np.median(other[step != 0] / step[step != 0]) * x
    far = np.flatnonzero(np.abs(rest - np.median(rest)) > 5 * TOLERANCE * y.std())
    return int(far[far < at].max(initial=-1)) + 1, int(far[far >= at].min(initial=len(x)))


def _same_samples(x: NDArray[np.float64], y: NDArray[np.float64]) -> bool:
    """Whether y = gain x + offset over at least a few dozen samples of enough values."""
    few = len(x) < LEAST_SAMPLES or min(len(np.unique(x)), len(np.unique(y))) < LEAST_VALUES
    if few or not (np.isfinite(x).all() and np.isfinite(y).all()):
        return False
    # The steps of a coarsely stored signal, resampled, ring with many turns that tell nothing.
    if _wide_turns(x, 2 * TOLERANCE * x.std()) < LEAST_TURNS:
        return False
    x, y = x - x.mean(), y - y.mean()
    gain = (x @ y) / (x @ x)
    return bool(np.sqrt(np.mean((y - gain * x) ** 2)) <= TOLERANCE * y.std())


def _wide_turns(x: NDArray[np.float64], least: float) -> int:
    """How often x turns, not counting turns back by less than `least`."""
    turns, direction, furthest = 0, 0, float(x[0])
    for value in x.tolist():
        if direction * (value - furthest) > 0:
            furthest = value
        elif abs(value - furthest) >= least:
            turns += direction != 0
            direction, furthest = (1 if value > furthest else -1), value
    return turns
