"""What callers hand to a fitted model, checked once at the door."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.preparation.windows import observed
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import (
    ArgumentError,
    LatentphysError,
    closest,
    listed,
)
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.record import Record


def check_cohort(cohort: Any, rule: str) -> None:
    """Refuse anything but a Cohort.

    Args:
        cohort: what was given.
        rule: begins the message, as "a probe takes".

    Raises:
        ArgumentError: something else.
    """
    if not isinstance(cohort, Cohort):
        raise ArgumentError(
            f"{rule} a Cohort, got {type(cohort).__name__}. Put records together as "
            "Cohort(records)."
        )


def check_list(rule: str, values: Any, example: Any, error: type[LatentphysError]) -> None:
    """Refuse one thing where several are due: a text is not the list of its letters.

    Args:
        rule: begins the message, as "given is a list of modalities".
        values: what was given.
        example: a right one, offered where a text does not say what is meant.
        error: what to raise.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        meant = [values] if isinstance(values, str) else example
        raise error(f"{rule}, got {values!r}. Write {meant}.")


def warn_of_unheard(data: Record | Cohort, given: Sequence[str], known: Sequence[str]) -> None:
    """Say whose records have none of the given modalities: their answer is the prior's.

    Args:
        data: a record or a cohort.
        given: modalities used; of none nothing is said.
        known: the model's sensors; where a text is given too, nothing is said.
    """
    if not given or not set(given) <= set(known):
        return
    entries = data.entries if isinstance(data, Cohort) else [LazyRecord.of(data)]
    unheard = [e for e in entries if not set(given) & {*e.modalities, *e.images}]
    if not unheard:
        return
    have = dict.fromkeys(name for e in unheard for name in (*e.modalities, *e.images))
    near = ((name, closest(name, known)) for name in have if name not in known)
    hints = [f" Of {name!r}:{hint}" for name, hint in near if hint]
    warnings.warn(
        f"none of the modalities given ({listed(given)}) is in "
        f"{listed(entry.record for entry in unheard)} (there are {listed(have)}): the answer is "
        f"the prior, what is usual in training. This model knows {listed(known)}."
        f"{''.join(hints)} Name them so in Record.from_arrays, or give others; given=[] asks for "
        "the prior.",
        UserWarning,
        stacklevel=4,
    )


def heard(record: PreparedRecord, given: Iterable[str]) -> list[str]:
    """Those of the given modalities of which a record has a sample, or a text."""
    return [name for name in given if name in record.tokens or observed(record, [name])]
