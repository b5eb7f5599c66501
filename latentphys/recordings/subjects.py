"""Whose record it is, where only an archive's naming tells: one person must never be two."""

from __future__ import annotations

import re

# A name that matches whole is a record of the subject its first group names.
_NAMED = (
    re.compile(r"(slp\d\d)[abx]?"),  # MIT-BIH Polysomnographic: slp01a and slp01b are one night
)


def subject_of(record: str) -> str:
    """The subject of a record whose header names none: by its archive's naming, else its own.

    Example:
        >>> subject_of("slp01b"), subject_of("slp37"), subject_of("bidmc01")
        ('slp01', 'slp37', 'bidmc01')
    """
    found = (pattern.fullmatch(record) for pattern in _NAMED)
    return next((match.group(1) for match in found if match), record)
