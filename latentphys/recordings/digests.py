"""A short name for a split that two people can compare."""

import hashlib
import json
from collections.abc import Iterable, Mapping

from latentphys.recordings.lazy import LazyRecord


def digest_of(parts: Mapping[str, Iterable[LazyRecord]]) -> str:
    """Twelve hexadecimal digits of the SHA-256 of who is on which side.

    It depends on the sides' names and on the names of their records and subjects, not on their
    order nor on any sample; an empty side counts as none.

    Args:
        parts: side ("train", "test", ...) -> its records.

    Example:
        >>> from latentphys.recordings.simulation import simulate
        >>> digest_of({"train": simulate(2, minutes=0.1).entries})
        'aa63bd057e18'
    """
    named = {
        side: sorted([entry.subject, entry.record] for entry in entries)
        for side, entries in parts.items()
    }
    text = json.dumps({side: names for side, names in sorted(named.items()) if names})
    return hashlib.sha256(text.encode()).hexdigest()[:12]
