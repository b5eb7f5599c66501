"""How good the samples are: flags and indices for each window of each channel."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from latentphys.recordings.errors import ArgumentError, ModalityError, RateError, listed
from latentphys.recordings.record import Record

Array = NDArray[np.float64]

# What a body can do, in these units; a channel in other units is not judged by them.
POSSIBLE: Mapping[str, tuple[str, float, float]] = {
    "ecg": ("mV", -10.0, 10.0),
    "eeg": ("uV", -1000.0, 1000.0),
    "eog": ("uV", -2000.0, 2000.0),
    "abp": ("mmHg", -20.0, 350.0),
    "cvp": ("mmHg", -30.0, 100.0),
    "hr": ("1/min", 15.0, 350.0),
    "pulse": ("1/min", 15.0, 350.0),
    "resp_rate": ("1/min", 1.0, 120.0),
    "spo2": ("%", 30.0, 100.0),
    "temperature": ("degC", 20.0, 45.0),
}
# modality -> (band of its own, band it is compared with), Hz
BANDS: Mapping[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "ecg": ((5.0, 15.0), (5.0, 40.0)),
    "ppg": ((1.0, 2.25), (0.0, 8.0)),
}


@dataclass(frozen=True)
class QualityRules:
    """When a window is called poor.

    Attributes:
        flat_s: a stretch of equal samples this long is flat; in signals of under 10 Hz, where
            numbers on a display rest, nothing is.
        clipped_samples: so many equal samples at the channel's own end are clipped.
        most: share of a window that may be missing, flat, clipped or out of range.
        least_kurtosis: modality -> least kurtosis; noise alone has 3, and in an ECG under 3.4 QRS
            complexes do not stand out (5, as published, would call leads with a large T wave poor).
        least_ratio: modality -> least share of power in its own band.
    """

    flat_s: float = 1.0
    clipped_samples: int = 3
    most: float = 0.1
    least_kurtosis: Mapping[str, float] = field(default_factory=lambda: {"ecg": 3.4})
    least_ratio: Mapping[str, float] = field(default_factory=lambda: {"ecg": 0.3})


def quality(
    record: Record, *, window_s: float = 10.0, rules: QualityRules | None = None
) -> xr.Dataset:
    """Flags and indices of every channel in windows one after another.

        kurtosis       = E (x - m)^4 / (E (x - m)^2)^2               3 for Gaussian noise
        skewness       = E (x - m)^3 / (E (x - m)^2)^(3/2)
        spectral_ratio = power in the modality's own band / power in the wider one

    The bands are those of the published indices: 5-15 Hz of 5-40 Hz for the ECG (pSQI), 1-2.25 Hz
    of 0-8 Hz for the PPG; other modalities have none. An ECG of good quality has a kurtosis above
    5 (kSQI) and, in most leads, a ratio of 0.5 to 0.8.

    Window k is [k window_s, (k + 1) window_s); the last one is shorter when the record ends in
    it. Shares are of the samples due in the window (`missing`) or of those observed (the others).

    Warning:
        A gauge for choosing what to look at, not a diagnosis: arrhythmia is poor by some of it,
        and limits are judged only in the units `POSSIBLE` names.

    Args:
        record: its signals are looked at one channel at a time.
        window_s: length of a window, seconds.
        rules: when a window is poor; `QualityRules()` when left out.

    Returns:
        Dataset with dims (channel, window): missing, flat, clipped, out_of_range (shares, 0 to
        1), kurtosis, skewness, spectral_ratio (NaN where they cannot be told) and poor (bool).
        Coordinates: channel ("ecg/II"), modality, time (s, the window's start).

    Raises:
        RateError: a window of no length.
        ModalityError: a record without signals.
        ArgumentError: no record.

    References:
        Clifford, Behar, Li and Rezek (2012), Signal quality indices and data fusion for
        determining clinical acceptability of electrocardiograms.
        Elgendi (2016), Optimal signal quality index for photoplethysmogram signals.

    Example:
        >>> x = np.random.default_rng(0).standard_normal(2500)
        >>> x[1000:1500] = np.nan
        >>> record = Record.from_arrays({"eeg": (x, 100.0)}, subject="a")
        >>> found = quality(record, window_s=5.0)
        >>> found.missing.values.tolist(), found.poor.values.tolist()
        ([[0.0, 0.0, 1.0, 0.0, 0.0]], [[False, False, True, False, False]])
    """
    if not isinstance(record, Record):
        raise ArgumentError(
            f"quality is of one record, got {type(record).__name__}. Take one out of a cohort, "
            "quality(cohort[0]), or ask for each."
        )
    if not window_s > 0:
        raise RateError(f"a window lasts more than 0 s, got window_s={window_s!r}.")
    if not record.signals:
        raise ModalityError(
            f"quality is of signals, and record {record.record!r} has none; it holds "
            f"{listed((*record.images, *record.texts))}. Read one that has."
        )
    rules = rules or QualityRules()
    count = max(1, int(np.ceil(round(record.duration_s / window_s, 6))))
    names, modalities, rows = [], [], []
    for modality, signal in record.signals.items():
        for label, x in zip(signal["channel"].values, signal.values, strict=True):
            names.append(f"{modality}/{label}")
            modalities.append(modality)
            rows.append(_channel(modality, signal, str(label), x, window_s, count, rules))
    figures = {
        name: (("channel", "window"), np.stack([row[name] for row in rows])) for name in rows[0]
    }
    return xr.Dataset(
        figures,
        coords={
            "channel": np.array(names),
            "modality": ("channel", np.array(modalities)),
            "time": ("window", np.arange(count) * window_s),
        },
        attrs={"window_s": window_s, "record": record.record},
    )


def _channel(
    modality: str,
    signal: xr.DataArray,
    label: str,
    samples: NDArray[np.floating],
    window_s: float,
    count: int,
    rules: QualityRules,
) -> dict[str, NDArray]:
    """Every figure of one channel, (window,) each."""
    x: Array = np.where(np.isfinite(samples), samples, np.nan).astype(np.float64)
    times = signal["time"].values
    rate = float(signal.attrs.get("rate_hz", np.nan))
    bounds = np.searchsorted(times, np.arange(count + 1) * window_s - 1e-9)
    seen = np.isfinite(x)
    flat_samples = round(rules.flat_s * rate) if rate >= 10.0 else 0
    marks = {
        "flat": flat_runs(x, max(2, flat_samples)) if flat_samples else np.zeros(len(x), bool),
        "clipped": clipped_runs(x, rules.clipped_samples) if rate >= 10.0 else np.zeros_like(seen),
        "out_of_range": _impossible(modality, signal, label, x),
    }
    due = np.diff(bounds).astype(float)
    if not np.isnan(rate):
        # A signal that ends early is missing from then on.
        last = np.minimum((np.arange(count) + 1) * window_s, _end_s(signal, rate))
        due = np.maximum(due, np.floor((last - np.arange(count) * window_s) * rate + 1e-6))
    observed = _per_window(seen, bounds)
    figures: dict[str, NDArray] = {
        "missing": 1.0 - np.divide(observed, due, out=np.zeros(count), where=due > 0)
    }
    for name, mark in marks.items():
        figures[name] = np.divide(
            _per_window(mark, bounds), observed, out=np.zeros(count), where=observed > 0
        )
    for name, index in _indices(modality).items():
        values = [index(x[i:j], rate) for i, j in zip(bounds[:-1], bounds[1:], strict=True)]
        figures[name] = np.array(values)
    figures["poor"] = _poor(modality, figures, rules)
    return figures


def _end_s(signal: xr.DataArray, rate: float) -> float:
    return float(signal["time"].values[-1]) + 1.0 / rate


def _poor(modality: str, figures: Mapping[str, NDArray], rules: QualityRules) -> NDArray:
    shares = ("missing", "flat", "clipped", "out_of_range")
    poor = np.any([figures[name] > rules.most for name in shares], axis=0)
    # A comparison with NaN is False: what cannot be told is not held against a window.
    if modality in rules.least_kurtosis:
        poor |= figures["kurtosis"] < rules.least_kurtosis[modality]
    if modality in rules.least_ratio:
        poor |= figures["spectral_ratio"] < rules.least_ratio[modality]
    return poor


def flat_runs(x: Array, samples: int) -> NDArray[np.bool_]:
    """True on every stretch of at least `samples` equal samples, (time,).

    Example:
        >>> flat_runs(np.array([0.0, 1.0, 1.0, 1.0, 2.0]), 3).tolist()
        [False, True, True, True, False]
    """
    return _runs_of(np.diff(x) == 0.0, samples, len(x))


def clipped_runs(x: Array, samples: int) -> NDArray[np.bool_]:
    """True on stretches of at least `samples` samples at the channel's least or greatest value.

    Example:
        >>> clipped_runs(np.array([0.0, 5.0, 5.0, 5.0, 2.0, 5.0]), 3).tolist()
        [False, True, True, True, False, False]
    """
    if not np.isfinite(x).any() or np.nanmin(x) == np.nanmax(x):
        return np.zeros(len(x), dtype=bool)
    ends = (x == np.nanmin(x)) | (x == np.nanmax(x))
    return _runs_of((np.diff(x) == 0.0) & ends[1:], samples, len(x))


def _runs_of(same: NDArray[np.bool_], samples: int, length: int) -> NDArray[np.bool_]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(np.int8)))
    marked = np.zeros(length, dtype=bool)
    for start, stop in edges.reshape(-1, 2).tolist():
        if stop - start + 1 >= samples:
            marked[start : stop + 1] = True
    return marked


def _impossible(modality: str, signal: xr.DataArray, label: str, x: Array) -> NDArray[np.bool_]:
    units = str(signal.attrs.get("units", ""))
    if "channel_units" in signal.coords:
        position = [str(name) for name in signal["channel"].values].index(label)
        units = str(signal["channel_units"].values[position])
    wanted, least, most = POSSIBLE.get(modality, ("", -np.inf, np.inf))
    if units != wanted:
        return np.zeros(len(x), dtype=bool)
    return (x < least) | (x > most)


def _per_window(mark: NDArray[np.bool_], bounds: NDArray[np.int64]) -> Array:
    total = np.concatenate([[0], np.cumsum(mark)])
    return np.diff(total[bounds]).astype(np.float64)


def _indices(modality: str) -> dict[str, Callable[[Array, float], float]]:
    def ratio(x: Array, rate: float) -> float:
        return _ratio(x, rate, *BANDS[modality]) if modality in BANDS else float("nan")

    return {
        "kurtosis": lambda x, _: _moment(x, 4),
        "skewness": lambda x, _: _moment(x, 3),
        "spectral_ratio": ratio,
    }


def _moment(x: Array, order: int) -> float:
    seen = x[np.isfinite(x)]
    if len(seen) < 8:
        return float("nan")
    centred = seen - seen.mean()
    spread = centred.std()
    if not spread > 1e-9 * max(1e-300, np.abs(seen).max()):
        return float("nan")
    return float(np.mean((centred / spread) ** order))


def _ratio(x: Array, rate: float, own: tuple[float, float], wide: tuple[float, float]) -> float:
    from scipy.signal import periodogram

    seen = np.isfinite(x)
    if np.isnan(rate) or rate <= 2 * own[1] or len(x) < 2 * rate or seen.mean() < 0.9:
        return float("nan")
    bridged = np.interp(np.arange(len(x)), np.flatnonzero(seen), x[seen])
    frequency, power = periodogram(bridged, rate, window="hann", detrend="constant")
    total = power[(frequency >= wide[0]) & (frequency <= wide[1])].sum()
    inside = power[(frequency >= own[0]) & (frequency <= own[1])].sum()
    return float(inside / total) if total > 0 else float("nan")
