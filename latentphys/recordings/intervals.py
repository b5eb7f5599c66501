"""PR, QRS and QT of every beat whose waves were marked."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from latentphys.recordings.errors import LabelError, listed
from latentphys.recordings.labels import waves
from latentphys.recordings.record import Record
from latentphys.recordings.wfdb_annotations import LEADS

INTERVALS = ("pr_interval", "qrs_duration", "qt_interval")
LONGEST_PR_S, LONGEST_QT_S = 0.45, 0.7  # further away a wave is another beat's

Array = NDArray[np.float64]


def marked_leads(record: Record) -> tuple[str, ...]:
    """Annotations of the record that are the wave marks of a lead, as LUDB has them."""
    return tuple(lead for lead in LEADS if lead in record.annotations)


def intervals(record: Record, lead: str | None = None) -> xr.Dataset:
    """The intervals of each marked beat.

        PR = QRS onset - P onset      QRS = QRS offset - QRS onset      QT = T offset - QRS onset

    Args:
        record: whose annotations hold wave marks, a lead each.
        lead: one of them; all that are marked when left out.

    Returns:
        pr_interval, qrs_duration, qt_interval (beat) in seconds, NaN where the wave was not
        marked, with coordinates time (s, the QRS onset) and lead.

    Raises:
        LabelError: no wave marks.

    Example:
        >>> record = Record.from_arrays({"ecg": (np.zeros(100), 100.0)}, subject="a")
        >>> times = [0.1, 0.15, 0.2, 0.26, 0.3, 0.36, 0.5, 0.6, 0.64]
        >>> record.annotations["ii"] = xr.DataArray(
        ...     list("(p)(N)(t)"), dims="event", coords={"time": ("event", times)})
        >>> found = intervals(record)
        >>> [round(float(found[name][0]), 2) for name in INTERVALS]
        [0.16, 0.1, 0.38]
    """
    leads = marked_leads(record) if lead is None else (lead,)
    if not leads:
        raise LabelError(
            f"intervals are those of marked waves, annotations named {listed(LEADS)}; record "
            f"{record.record!r} has {listed(record.annotations)}. LUDB and QTDB mark them."
        )
    rows = [(name, *row) for name in leads for row in _beats(waves(record, name))]
    table = np.array([row[1:] for row in rows], dtype=np.float64).reshape(-1, 4)
    seconds = {"units": "s"}
    return xr.Dataset(
        {name: ("beat", table[:, k + 1], seconds) for k, name in enumerate(INTERVALS)},
        coords={"time": ("beat", table[:, 0]), "lead": ("beat", [row[0] for row in rows])},
    )


def _beats(marked: xr.DataArray) -> list[tuple[float, float, float, float]]:
    """QRS onset, PR, QRS and QT of each QRS complex of one lead."""
    kind, start = marked.values.astype(str), marked["time"].values.astype(np.float64)
    stop = start + marked["duration"].values
    found, heads = [], start[kind == "QRS"]
    for k in np.flatnonzero(kind == "QRS"):
        later = heads[heads > start[k]]
        onset = start[(kind == "P") & (start < start[k]) & (start >= start[k] - LONGEST_PR_S)]
        end = stop[(kind == "T") & (start > start[k]) & (stop <= start[k] + LONGEST_QT_S)]
        end = end[end < later[0]] if len(later) else end
        pr = float(start[k] - onset[-1]) if len(onset) else np.nan
        qt = float(end[0] - start[k]) if len(end) else np.nan
        found.append((float(start[k]), pr, float(stop[k] - start[k]), qt))
    return found
