"""Reports beside recordings: taken from a header, split into findings, marked when a machine's."""

import re
from dataclasses import replace
from functools import partial

from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import ModalityError, listed
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.record import Record

REPORT = "report"
# attrs that name the texts no person wrote; an attribute, so that every file format keeps it
MACHINE = "machine_texts"
_BEGIN = "<diagnoses>:"
# A dot inside a word ("supp.NSTEMI") ends nothing.
_END = re.compile(r"\.(?=\s|$)|\n")


def report_of(record: Record) -> str:
    """The findings in a WFDB header's comments, as LUDB writes them; "" without any.

    They are the lines after `<diagnoses>:`, one finding a line.

    Args:
        record: with `attrs["comments"]`.

    Example:
        >>> from latentphys.recordings.record import Record
        >>> notes = {"comments": "<age>: 51\\n<diagnoses>:\\nRhythm: Sinus bradycardia."}
        >>> report_of(Record({}, "s01", "r01", attrs=notes, texts={"note": ""}))
        'Rhythm: Sinus bradycardia.'
    """
    lines = [line.strip() for line in str(record.attrs.get("comments", "")).split("\n")]
    if _BEGIN not in lines:
        return ""
    return "\n".join(line for line in lines[lines.index(_BEGIN) + 1 :] if line)


def with_reports(cohort: Cohort) -> Cohort:
    """The cohort with `report_of` each record as its text "report"; read when asked for.

    A record that has a report keeps its own; one whose header tells of none gets none.

    Args:
        cohort: recordings as read.
    """
    told = [replace(entry, load=partial(_load_told, entry)) for entry in cohort.entries]
    return Cohort(told, split=cohort.split_digest)


def findings_in(report: str) -> tuple[str, ...]:
    """The findings of a report, one a sentence or line, in small letters.

    Example:
        >>> findings_in("Rhythm: Sinus rhythm.\\nElectric axis of the heart: normal. ")
        ('rhythm: sinus rhythm', 'electric axis of the heart: normal')
    """
    parts = (" ".join(part.split()).lower() for part in _END.split(report))
    return tuple(part for part in parts if part)


def machine_texts(record: Record) -> tuple[str, ...]:
    """Names of the record's texts that are marked as written by a machine."""
    marked = record.attrs.get(MACHINE, ())
    names = (marked,) if isinstance(marked, str) else tuple(str(name) for name in marked)
    return tuple(name for name in names if name in record.texts)


def mark_machine(record: Record, *names: str) -> Record:
    """The record with some of its texts marked as written by a machine.

    A device's text was made from the very signal it stands beside. A model that reads it learns
    the device, and its scores on such texts say nothing of a person's judgement.

    Args:
        record: that has the texts.
        names: of the texts; all when left out.

    Raises:
        ModalityError: a text the record has not.

    Example:
        >>> record = Record({}, "s01", "r01", texts={"report": "Sinus rhythm."})
        >>> machine_texts(mark_machine(record))
        ('report',)
    """
    names = names or tuple(record.texts)
    if missing := [name for name in names if name not in record.texts]:
        raise ModalityError(
            f"only a text is marked as a machine's; record {record.record!r} has no text "
            f"{listed(missing)}, its texts are {listed(record.texts)}. Choose one of them."
        )
    marked = sorted({*machine_texts(record), *names})
    return replace(record, attrs={**record.attrs, MACHINE: marked})


def _load_told(entry: LazyRecord) -> Record:
    record = entry.load()
    report = report_of(record)
    if REPORT in record.texts or not report:
        return record
    return replace(record, texts={**record.texts, REPORT: report})
