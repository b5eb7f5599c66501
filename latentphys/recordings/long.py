"""A record from a long table: one value a row, with its time and the variable it is of."""

from typing import TYPE_CHECKING, Any

import numpy as np

from latentphys.recordings.errors import ModalityError, RateError, listed
from latentphys.recordings.modalities import modality_of, normal_units, own_name
from latentphys.recordings.record import Record

if TYPE_CHECKING:
    import pandas as pd


def from_long(
    frame: "pd.DataFrame",
    *,
    subject: str,
    record: str | None = None,
    time: str = "time",
    variable: str = "variable",
    value: str = "value",
    units: str = "units",
) -> Record:
    """A record whose modalities are the variables of a long table, each at its own times.

    Rows without a value are left out. Of several values of a variable at one time the last counts.

    Warning: dates and times of day are counted from the first row's, numbers are taken as seconds
        as they are.

    Args:
        frame: a row a measurement, in any order.
        subject: whose they are.
        record: name of the recording; the subject's when left out.
        time: column of times: numbers (s), timedeltas, dates, or text "HH:MM" or "HH:MM:SS".
        variable: column of what was measured.
        value: column of numbers.
        units: column of units, if there is one.

    Raises:
        ModalityError: a column is not there, a value is no number, or nothing was measured.
        RateError: a time that cannot be understood.

    Example:
        >>> import pandas as pd
        >>> rows = [(0.0, "HR", 71), (60.0, "HR", 73), (30.0, "Temp", 36.6)]
        >>> frame = pd.DataFrame(rows, columns=["time", "variable", "value"])
        >>> from_long(frame, subject="s01").signals["hr"].time.values
        array([ 0., 60.])
    """
    import pandas as pd

    missing = [name for name in (time, variable, value) if name not in frame.columns]
    if missing:
        raise ModalityError(
            f"a long table has columns of times, variables and values; {listed(missing)} is not "
            f"there, it has {listed(frame.columns)}. Name them: from_long(frame, time=...)."
        )
    try:
        numbers = pd.to_numeric(frame[value], errors="raise").to_numpy(dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise ModalityError(
            f"column {value!r} holds numbers ({error}). Leave the other rows out, or code them."
        ) from error
    times = _seconds(frame[time], time)
    kinds = frame[variable].astype(str).to_numpy()
    own = frame[units].astype(str).to_numpy() if units in frame.columns else np.full(len(kinds), "")
    seen = ~np.isnan(numbers)
    names = modality_names(dict.fromkeys(kinds[seen].tolist()))
    signals: dict[str, Any] = {}
    found_units = {}
    for kind, modality in names.items():
        rows = np.flatnonzero(seen & (kinds == kind))
        # np.unique keeps the first of equal times: the last measurement, on reversed rows.
        at, last = np.unique(times[rows][::-1], return_index=True)
        signals[modality] = (numbers[rows[::-1][last]], at)
        found_units[modality] = normal_units(own[rows[0]])
    if not signals:
        raise ModalityError("a long table holds at least one value; all of this one's are absent.")
    return Record.from_arrays(signals, subject=subject, record=record, units=found_units)


def modality_names(variables: "dict[str, None]") -> dict[str, str]:
    """variable -> modality: the known one where only one variable is of it, else its own name.

    Example:
        >>> modality_names(dict.fromkeys(["HR", "SaO2", "SpO2", "pH"]))
        {'HR': 'hr', 'SaO2': 'sao2', 'SpO2': 'spo2', 'pH': 'ph'}
    """
    known = {name: modality_of(name) or own_name(name) for name in variables}
    shared = [modality for modality in known.values() if list(known.values()).count(modality) > 1]
    names = {name: own_name(name) if m in shared else m for name, m in known.items()}
    if len(set(names.values())) < len(names):
        raise ModalityError(
            f"variables {listed(names)} give modalities of one name: {listed(names.values())}. "
            "Rename one in the table."
        )
    return names


def _seconds(column: "pd.Series", name: str) -> np.ndarray:
    import pandas as pd

    try:
        if column.dtype.kind in "iufb":
            seconds = column.to_numpy(dtype=np.float64)
        elif column.dtype.kind == "M":
            seconds = (column - column.iloc[0]).dt.total_seconds().to_numpy()
        elif column.dtype.kind == "m":
            seconds = column.dt.total_seconds().to_numpy()
        else:
            text = column.astype(str)
            # "07:30" is hours and minutes; pandas wants the seconds said.
            text = text.where(text.str.count(":") != 1, text + ":00")
            seconds = pd.to_timedelta(text).dt.total_seconds().to_numpy()
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        raise RateError(
            f"column {name!r} holds times: numbers (s), dates, or HH:MM ({error}). Correct it."
        ) from error
    if not np.isfinite(seconds).all():
        raise RateError(f"column {name!r} has rows without a time. Leave them out.")
    return seconds
