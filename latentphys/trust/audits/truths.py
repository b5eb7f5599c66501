"""What is known of a recording beside the model: numbers, one a row of features.

In this order: the simulator's truth, waves that were marked, rates measured in the signals
themselves, and what the caller's own functions give.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from latentphys.recordings.intervals import INTERVALS, intervals, marked_leads
from latentphys.recordings.record import Record
from latentphys.trust.audits.case import FEATURE_S, Case
from latentphys.trust.audits.readout import rates_of
from latentphys.trust.breathing import breathing_rate

Array = NDArray[np.float64]
TRUTHS = ("heart_rate", "breathing_rate", "transit_time")
LEAST_ROWS = 6  # with a number: fewer tell nothing of a label


def truths(case: Case) -> dict[str, list[Array]]:
    """name -> a series a record, NaN where nothing is known; names known of too little left out."""
    known = [truths_of(case, record) for record in case.records]
    names = list(dict.fromkeys(name for own in known for name in own))
    rows = [max(1, int(record.duration_s // FEATURE_S)) for record in case.records]
    found = {
        name: [own.get(name, np.full(n, np.nan)) for own, n in zip(known, rows, strict=True)]
        for name in names
    }
    return {
        name: own
        for name, own in found.items()
        if np.isfinite(np.concatenate(own)).sum() > LEAST_ROWS
    }


def truths_of(case: Case, record: Record) -> dict[str, Array]:
    """name -> (row,) of one recording."""
    if record.truth is not None:
        time = record.truth["time"].values
        found = {
            name: _per_row(record.truth[name].values, time, record.duration_s)
            for name in TRUTHS
            if name in record.truth
        }
    else:
        found = _measured(case, record)
    if marked_leads(record):
        found |= _marked(intervals(record), record.duration_s)
    for name, label in case.labels.items():
        series = label(record)
        found[name] = _per_row(
            series.values.astype(np.float64), series["time"].values, record.duration_s
        )
    return found


def _marked(beats: xr.Dataset, duration_s: float) -> dict[str, Array]:
    """Means of the marked intervals, over beats and leads."""
    time = beats["time"].values
    return {name: _per_row(beats[name].values, time, duration_s) for name in INTERVALS}


def _measured(case: Case, record: Record) -> dict[str, Array]:
    """Rates of the recorded signals themselves, where they are regular."""
    prepared, found = case.fitted.prepare(record), {}
    beating = next((s for s in ("ppg", "abp", "ecg") if s in prepared.signals), None)
    rows = max(1, int(record.duration_s // FEATURE_S))
    if beating is not None:
        signal = prepared.signals[beating]
        x = np.nan_to_num(signal.values[0].astype(np.float64))
        found["heart_rate"] = rates_of(x, signal.rate_hz, FEATURE_S)
    if "resp" in prepared.signals:
        signal = prepared.signals["resp"]
        size = round(FEATURE_S * signal.rate_hz)
        x = signal.values[0, : rows * size].astype(np.float64)
        if len(x) >= size:
            found["breathing_rate"] = breathing_rate(x.reshape(-1, size), signal.rate_hz)
    return found


def _per_row(values: Array, time: Array, duration_s: float) -> Array:
    """Means over each row's time; NaN where nothing was labelled."""
    found = []
    for k in range(max(1, int(duration_s // FEATURE_S))):
        own = values[(time >= k * FEATURE_S) & (time < (k + 1) * FEATURE_S)]
        own = own[np.isfinite(own)]
        found.append(own.mean() if len(own) else np.nan)
    return np.array(found)
