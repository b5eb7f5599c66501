"""Reports: taken from headers, split into findings, answered, marked when a machine's."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from latentphys.recordings.errors import ArgumentError, ModalityError
from latentphys.recordings.findings import QUESTIONS, answer_in
from latentphys.recordings.reading import read
from latentphys.recordings.record import Record
from latentphys.recordings.reports import (
    findings_in,
    machine_texts,
    mark_machine,
    report_of,
    with_reports,
)


def test_every_report_of_ludb_is_found_and_its_rhythm_answered(data_root: Path) -> None:
    cohort = with_reports(read(data_root / "ludb" / "data"))
    reports = [record.texts["report"] for record in cohort]
    counted = Counter(answer_in(report, "rhythm") for report in reports)
    # the header lines "Rhythm: ..." counted by grep
    assert counted == {"sinus": 111, "bradycardia": 19, "fibrillation": 7, "other": 13}
    axis = Counter(answer_in(report, "electric axis") for report in reports)
    assert axis == {
        "normal": 57,
        "left": 46,
        "vertical": 23,
        "horizontal": 14,
        "right": 3,
        None: 7,  # paced, the header says nothing of it
    }


def test_findings_end_with_a_sentence_not_within_a_word() -> None:
    told = "Undefined ischemia/scar/supp.NSTEMI: lateral wall. \nI degree  AV block."
    expected = ("undefined ischemia/scar/supp.nstemi: lateral wall", "i degree av block")
    assert findings_in(told) == expected
    assert findings_in("  \n. ") == ()


def test_a_report_is_what_follows_the_diagnoses() -> None:
    attrs = {"comments": "<age>: 5\nRhythm: this is a note.\n<diagnoses>:\nSTEMI: septal.\n"}
    record = Record({}, "s", "r", attrs=attrs, texts={"note": "x"})
    assert report_of(record) == "STEMI: septal."
    assert report_of(Record({}, "s", "r", texts={"note": "x"})) == ""


def test_a_record_keeps_the_report_it_has() -> None:
    from latentphys.recordings.cohort import Cohort

    attrs = {"comments": "<diagnoses>:\nSTEMI: septal."}
    own = Record({}, "s", "a", attrs=attrs, texts={"report": "Normal."})
    none = Record.from_arrays({"ecg": (np.zeros(100), 100.0)}, subject="s", record="b")
    told = with_reports(Cohort([own, none]))
    assert told["a"].texts == {"report": "Normal."}
    assert told["b"].texts == {}


def test_a_report_without_the_answer_has_none() -> None:
    assert answer_in("STEMI: septal.", "rhythm") is None
    assert answer_in("Electric axis of the heart: sideways.", "electric axis") is None
    with pytest.raises(ArgumentError, match="one of rhythm, electric axis; got 'rythm'. Did you"):
        answer_in("", "rythm")


def test_no_phrase_means_two_choices() -> None:
    for question in QUESTIONS.values():
        phrases = [phrase for several in question.choices.values() for phrase in several]
        assert len(set(phrases)) == len(phrases)


def test_a_machines_text_is_marked_and_stays_so_on_disk(tmp_path: Path) -> None:
    texts = {"report": "Sinus rhythm.", "note": "seen"}
    record = mark_machine(Record({}, "s", "r", texts=texts), "report")
    assert machine_texts(record) == ("report",)
    record.write(tmp_path / "r.nc")
    assert machine_texts(read(tmp_path / "r.nc")[0]) == ("report",)
    assert machine_texts(mark_machine(record, "note")) == ("note", "report")
    with pytest.raises(ModalityError, match="no text letter, its texts are report, note"):
        mark_machine(record, "letter")
