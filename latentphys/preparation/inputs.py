"""What an exogenous input was at given times: its last observed value holds until the next.

Before the first one nothing is known (NaN), which a batch counts as no drive (0).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.recordings.errors import InputError, closest, listed


def names_of_inputs(records: Iterable[PreparedRecord]) -> tuple[str, ...]:
    """Names of the inputs that some of these records have, sorted."""
    return tuple(sorted({name for record in records for name in record.input_names}))


def inputs_at(
    record: PreparedRecord, names: Sequence[str], time_s: NDArray[np.floating]
) -> NDArray[np.float32]:
    """The values of some inputs at some times.

    Args:
        record: a prepared recording.
        names: of the inputs; one that the record does not have is NaN throughout.
        time_s: (time,) seconds from the record's start.

    Returns:
        (input, time), NaN before the first observed value of an input.
    """
    values = np.full((len(names), len(time_s)), np.nan, dtype=np.float32)
    if record.inputs is None:
        return values
    if record.inputs_time_s is None:
        at = np.floor(np.asarray(time_s) * record.inputs_rate_hz).astype(np.int64)
    else:
        at = np.searchsorted(record.inputs_time_s, np.asarray(time_s) + 1e-9, side="right") - 1
    begun = at >= 0
    at = np.clip(at, 0, record.inputs.shape[1] - 1)
    own = {name: row for row, name in enumerate(record.input_names)}
    for row, name in enumerate(names):
        if name in own:
            values[row] = np.where(begun, record.inputs[own[name], at], np.nan)
    return values


def check_inputs(record: PreparedRecord, names: Sequence[str]) -> None:
    """Refuse a driven record none of whose inputs the model knows.

    One that the model knows and the record lacks does not drive; one that the model does not
    know is not used.

    Raises:
        InputError: names both sides.
    """
    if not names or record.inputs is None or set(names) & set(record.input_names):
        return
    raise InputError(
        f"inputs are matched by name; this model was fitted with {listed(names)}, record "
        f"{record.record!r} has {listed(record.input_names)}."
        f"{closest(record.input_names[0], names)} Rename them, as in "
        'record.inputs.assign_coords(input=["..."]), or leave them out with inputs=None.'
    )
