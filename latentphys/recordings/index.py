"""A cohort's table: one row a record and modality, from headers alone where they tell."""

import html
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from latentphys.recordings.errors import listed
from latentphys.recordings.headers import (
    SignalHeader,
    headers_of,
    html_table,
    rate_text,
    text_table,
)
from latentphys.recordings.lazy import LazyRecord

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "subject",
    "study",
    "record",
    "start",
    "duration_s",
    "modality",
    "rate_hz",
    "channels",
    "units",
    "samples",
    "observed",
)
_MODALITIES = ("modality", "records", "rate", "units", "channels")
_SHOWN = 10
_SHOWN_HTML = 50


def table_of(entries: Iterable[LazyRecord], *, observed: bool = False) -> "pd.DataFrame":
    """One row a record and modality, as `COLUMNS` names them.

    Args:
        entries: what is known of each record.
        observed: whether to read the samples and count them, where the header does not tell.

    Returns:
        A DataFrame. start: date and time, NaT when not known; duration_s: of the record; rate_hz:
        NaN when irregular; channels: a tuple of names; samples: a channel, NA when not known;
        observed: share of samples that are not NaN, NaN when not known.
    """
    import pandas as pd

    rows = [
        (
            entry.subject,
            entry.study,
            entry.record,
            entry.start,
            entry.duration_s,
            each.modality,
            each.rate_hz,
            each.channels,
            each.units,
            each.samples,
            each.observed,
        )
        for entry in (with_headers(entry, observed=observed) for entry in entries)
        # A record of images or texts alone has its row too.
        for each in entry.headers or (SignalHeader("", math.nan, (), ""),)
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table["start"] = pd.to_datetime(table["start"], errors="coerce", format="ISO8601")
    table["samples"] = table["samples"].astype("Int64")
    return table


def with_headers(entry: LazyRecord, *, observed: bool = False) -> LazyRecord:
    """The entry with the header of every modality; its record is read only if it must be."""
    known = {each.modality for each in entry.headers}
    counted = not observed or all(each.observed == each.observed for each in entry.headers)
    if known == set(entry.modalities) and counted:
        return entry
    return replace(entry, headers=headers_of(entry.load().signals, observed=observed))


def cohort_text(entries: Sequence[LazyRecord]) -> str:
    """A cohort for the terminal: what it holds, then its first records."""
    rows = [("record", "subject", "minutes", "modalities"), *_records(entries)]
    if len(entries) > _SHOWN + 2:
        rows = [*rows[: _SHOWN + 1], ("...", "...", "...", "...")]
    kinds = _kinds(entries)
    top = [*text_table([_MODALITIES, *kinds]), ""] if kinds else []
    return "\n".join([_title(entries), *top, *text_table(rows)])


def cohort_html(entries: Sequence[LazyRecord]) -> str:
    """A cohort for a notebook."""
    head = ("record", "subject", "study", "start", "min", "modalities")
    rows = [
        (name, subject, entry.study, entry.start.replace("T", " "), minutes, modalities)
        for entry, (name, subject, minutes, modalities) in zip(
            entries[:_SHOWN_HTML], _records(entries[:_SHOWN_HTML]), strict=True
        )
    ]
    # A column that nobody fills is not shown.
    kept = [i for i in range(len(head)) if i in (0, 1) or any(row[i] for row in rows)]
    kinds = _kinds(entries)
    more = f"<p>and {len(entries) - _SHOWN_HTML} more</p>" if len(entries) > _SHOWN_HTML else ""
    return (
        f"<p>{html.escape(_title(entries))}</p>"
        + (html_table(_MODALITIES, kinds) if kinds else "")
        + html_table([head[i] for i in kept], [[row[i] for i in kept] for row in rows])
        + more
    )


def _title(entries: Sequence[LazyRecord]) -> str:
    minutes = sum(entry.duration_s for entry in entries) / 60
    people = len({entry.subject for entry in entries})
    names = sorted({name for entry in entries for name in entry.modalities})
    return (
        f"Cohort of {len(entries)} records, {people} subjects, {minutes:.0f} min: "
        f"{', '.join(names)}"
    )


def _records(entries: Sequence[LazyRecord]) -> list[tuple[str, str, str, str]]:
    return [
        (e.record, e.subject, f"{e.duration_s / 60:.1f}", ", ".join(e.modalities)) for e in entries
    ]


def _kinds(entries: Sequence[LazyRecord]) -> list[tuple[str, ...]]:
    """A row a modality whose headers are known: in how many records, at which rates, ..."""
    headers = [each for entry in entries for each in entry.headers]
    rows: list[tuple[str, ...]] = []
    for name in sorted({each.modality for each in headers}):
        own = [each for each in headers if each.modality == name]
        rates = Counter(rate_text(each.rate_hz) for each in own)
        units = Counter(each.units for each in own if each.units)
        channels = Counter(channel for each in own for channel in each.channels)
        rows.append(
            (
                name,
                str(len(own)),
                listed((rate for rate, _ in rates.most_common()), 3),
                listed((unit for unit, _ in units.most_common()), 3) if units else "",
                listed((channel for channel, _ in channels.most_common()), 8),
            )
        )
    return rows
