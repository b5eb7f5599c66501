"""A report's tokens: one vocabulary back from JSON, clear behaviour at every length, absence."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from latentphys.preparation.batch import collate
from latentphys.preparation.preprocessing import default_preprocessing
from latentphys.preparation.tokens import (
    MASK,
    PAD,
    UNK,
    ReadingPreparation,
    TextReader,
    Vocabulary,
)
from latentphys.preparation.windows import tile
from latentphys.recordings.errors import ArgumentError, FitError, ModelFileError
from latentphys.recordings.record import Record
from latentphys.recordings.reports import mark_machine

REPORTS = ["Rhythm: sinus rhythm.", "Rhythm: atrial fibrillation.", "STEMI: septal."]


def told(report: str, record: str = "r") -> Record:
    made = Record.from_arrays({"ecg": (np.ones(400), 100.0)}, subject=record, record=record)
    return Record(made.signals, record, record, texts={"report": report})


@pytest.fixture
def reader() -> TextReader:
    return TextReader(longest=8).trained([told(report) for report in REPORTS])


@pytest.mark.parametrize("kind", ["words", "bpe"])
def test_a_vocabulary_is_the_same_again_and_back_from_json(kind: str, tmp_path: Path) -> None:
    first = Vocabulary.train(REPORTS, kind=kind)  # type: ignore[arg-type]
    again = Vocabulary.train(list(REPORTS), kind=kind)  # type: ignore[arg-type]
    assert again == first
    first.save(tmp_path / "words.json")
    back = Vocabulary.from_file(tmp_path / "words.json")
    assert (back, back.digest, len(back)) == (first, first.digest, len(first))
    assert back.encode(REPORTS[1]).tolist() == first.encode(REPORTS[1]).tolist()
    plain = json.loads(json.dumps(TextReader("note", first, 64, True).to_dict()))
    assert TextReader.from_dict(plain) == TextReader("note", first, 64, True)


def test_words_in_small_letters_and_what_is_unknown(reader: TextReader) -> None:
    words = reader.known
    assert words.decode(words.encode("RHYTHM: Sinus\U0001f600 rhythm;")) == (
        "rhythm : sinus [UNK] rhythm ;"
    )


def test_special_tokens_written_out_in_a_report_are_unknown(reader: TextReader) -> None:
    ids = reader.known.encode("rhythm [MASK] [PAD] sinus").tolist()
    assert reader.known.id_of(MASK) not in ids
    assert reader.known.id_of(PAD) not in ids
    assert reader.known.id_of(UNK) in ids


@pytest.mark.parametrize("report", ["", "   \n", "qqq zzz \U0001f600 \x00"])
def test_a_report_that_says_nothing_known_is_absent(reader: TextReader, report: str) -> None:
    assert reader.read(told(report)) == {}


def test_a_long_report_is_cut_with_a_count(reader: TextReader) -> None:
    with pytest.warns(UserWarning, match="first 8 tokens .* 'r' has 10001, of which 9993"):
        ids = reader.read(told("sinus " * 10_000))["report"]
    assert len(ids) == 8
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(reader.read(told("sinus " * 7))["report"]) == 8


def test_a_machines_report_is_absent_unless_asked_for(reader: TextReader) -> None:
    from dataclasses import replace

    record = mark_machine(told(REPORTS[0]))
    assert reader.read(record) == {}
    assert len(replace(reader, machine=True).read(record)["report"]) == 5
    with pytest.raises(FitError, match="at least one report with a word, got none"):
        TextReader().trained([record])


def test_a_clinical_vocabulary_is_plugged_in_by_its_file(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    place = tmp_path / "tokenizer.json"
    words = {"[CLS]": 0, "[PAD]": 1, "[UNK]": 2, "[MASK]": 3, "stemi": 4}
    foreign = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    foreign.pre_tokenizer = pre_tokenizers.Whitespace()
    foreign.enable_truncation(2)
    foreign.enable_padding(length=9)
    foreign.save(str(place))
    clinical = Vocabulary.from_file(place)
    assert clinical.encode("stemi stemi stemi").tolist() == [4, 4, 4]
    assert TextReader(vocabulary=clinical).trained([]).known == clinical
    del words["[MASK]"]
    Tokenizer(models.WordPiece(words, unk_token="[UNK]")).save(str(place))
    with pytest.raises(ModelFileError, match=r"has \[PAD\], \[MASK\], \[UNK\]; .* lacks \[MASK\]"):
        Vocabulary.from_file(place)


def test_what_is_no_vocabulary_is_refused(tmp_path: Path, reader: TextReader) -> None:
    for text in ("{", "{}", '{"model": 3}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ModelFileError, match="no tokeniser of the tokenizers library"):
            Vocabulary.from_file(tmp_path / "bad.json")
    with pytest.raises(ModelFileError, match="no readable vocabulary"):
        Vocabulary.from_file(tmp_path / "none.json")
    plain = reader.to_dict()
    plain["vocabulary"]["model"]["vocab"] |= {"extra": 99}
    with pytest.raises(ModelFileError, match="SHA-256 differs"):
        TextReader.from_dict(plain)
    with pytest.raises(ArgumentError, match="'words' or 'bpe', got 'letters'"):
        Vocabulary.train(REPORTS, kind="letters")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="size is at least 4, got 3"):
        Vocabulary.train(REPORTS, size=3)
    with pytest.raises(ArgumentError, match="longest is at least 1 token, got 0"):
        TextReader(longest=0)


def test_a_batch_holds_the_texts_of_its_windows(reader: TextReader) -> None:
    prepare = ReadingPreparation(default_preprocessing(), reader).prepare
    records = [prepare(told(REPORTS[0], "a")), prepare(told("", "b")), prepare(told("sinus", "c"))]
    index = tile(records, 2.0, 2.0, 4.0)
    batch = collate(records, index, range(len(index)), ("ecg", "report"))
    assert batch.tokens is not None
    assert batch.record == ["a", "a", "b", "b", "c", "c"]
    assert batch.tokens.mask.sum(-1).tolist() == [5, 5, 0, 0, 2, 2]
    assert batch.tokens.ids[0].tolist() == reader.encode(REPORTS[0]).tolist()
    assert not batch.tokens.ids[~batch.tokens.mask].any()
    assert batch.drop("report").tokens is None
    assert batch.drop("ecg").tokens is batch.tokens
    assert collate(records, index, range(len(index)), ("ecg",)).tokens is None
    assert collate(records, index, [2, 3], ("ecg", "report")).tokens is None
