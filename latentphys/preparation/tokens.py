"""A report's tokens: a vocabulary trained on reports at hand, and a record's text read with it.

A text that is empty, that holds no known word, or that a machine wrote, is absent: None, never a
token that stands for nothing.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from latentphys.preparation.mapped import Prepares
from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.recordings.beside import beside
from latentphys.recordings.errors import ArgumentError, FitError, ModelFileError, listed
from latentphys.recordings.record import Record
from latentphys.recordings.reports import REPORT, findings_in, machine_texts

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, MASK, UNK = "[PAD]", "[MASK]", "[UNK]"
SPECIAL = (PAD, MASK, UNK)
STOP = ";"  # ends a finding; a dot stands in abbreviations too
LONGEST = 128
Kind = Literal["words", "bpe"]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Vocabulary:
    """The tokens a model knows, kept as the JSON of a tokeniser of the `tokenizers` library.

    A clinical vocabulary is plugged in by `Vocabulary.from_file("tokenizer.json")`: any tokeniser
    of that library which has [PAD], [MASK] and [UNK], as those of BERT's family do.

    Attributes:
        text: the tokeniser, JSON.

    Raises:
        ModelFileError: not a tokeniser, or one that lacks [PAD], [MASK] or [UNK].

    Example:
        >>> words = Vocabulary.train(["Rhythm: sinus rhythm.", "Rhythm: atrial fibrillation."])
        >>> words.decode(words.encode("Rhythm: SINUS tango."))
        'rhythm : sinus [UNK] .'
    """

    text: str = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", _compact(self.text))  # one vocabulary, one digest
        if missing := [name for name in SPECIAL if self._tokenizer.token_to_id(name) is None]:
            raise ModelFileError(
                f"a vocabulary has {listed(SPECIAL)}; this one lacks {listed(missing)}. Add them "
                "to the tokeniser, or train one with Vocabulary.train(reports)."
            )

    @classmethod
    def train(cls, reports: Iterable[str], *, kind: Kind = "words", size: int = 2000) -> Vocabulary:
        """A vocabulary of the words, or pieces of words, that reports use; small letters.

        Args:
            reports: of training subjects alone.
            kind: "words", or "bpe" for pieces of words, where spelling varies.
            size: most tokens, the commonest are kept.

        Raises:
            ArgumentError: another kind, or a size that leaves no word.
            FitError: no report has a word.
        """
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

        if kind not in ("words", "bpe"):
            raise ArgumentError(f"kind is 'words' or 'bpe', got {kind!r}. Choose one of them.")
        if size <= len(SPECIAL):
            raise ArgumentError(f"size is at least {len(SPECIAL) + 1}, got {size}. 2000 is usual.")
        told = [report for report in reports if report.strip()]
        if not told:
            raise FitError(
                "a vocabulary needs at least one report with a word, got none. Give records a "
                "text, or fit without text=."
            )
        model = models.WordLevel if kind == "words" else models.BPE
        trainer = trainers.WordLevelTrainer if kind == "words" else trainers.BpeTrainer
        tokenizer = Tokenizer(model(unk_token=UNK))
        tokenizer.normalizer = normalizers.Lowercase()
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.train_from_iterator(
            told, trainer(vocab_size=size, special_tokens=list(SPECIAL), show_progress=False)
        )
        return cls(tokenizer.to_str())

    @classmethod
    def from_file(cls, path: str | Path) -> Vocabulary:
        """A vocabulary that `save` wrote, or another tokeniser's `tokenizer.json`.

        Raises:
            ModelFileError: no such file, or not a tokeniser with the three special tokens.
        """
        try:
            return cls(Path(path).read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ModelFileError(f"{path} is no readable vocabulary ({error}).") from error

    def save(self, path: str | Path) -> None:
        """Write it as JSON, whole or not at all."""
        with beside(Path(path)) as part:
            part.write_text(self.text, "utf-8")

    def encode(self, report: str) -> Ids:
        """Token ids, (token,); what is not known is [UNK].

        "[PAD]" or "[MASK]" written out in a report is not known either.
        """
        ids = np.asarray(self._tokenizer.encode(report, add_special_tokens=False).ids, np.int64)
        return np.where(np.isin(ids, [self.id_of(PAD), self.id_of(MASK)]), self.id_of(UNK), ids)

    def decode(self, ids: Iterable[int]) -> str:
        """The tokens in words."""
        return " ".join(str(self._tokenizer.id_to_token(int(k))) for k in ids)

    def id_of(self, token: str) -> int:
        """Its id; that of [UNK] for a token it has not."""
        known = self._tokenizer.token_to_id(token)
        return self.id_of(UNK) if known is None else known

    @property
    def digest(self) -> str:
        """SHA-256 of the JSON, hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_str(self.text)
        except Exception as error:  # the library raises nothing narrower
            raise _no_tokeniser(error) from error
        # Another tokeniser's own cutting and padding would be silent.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer


def ended(text: str) -> str:
    """A text with STOP, and nothing else, between its findings and after the last.

    Example:
        >>> ended("Rhythm: sinus rhythm.\\nSTEMI: septal.")
        'rhythm: sinus rhythm ; stemi: septal ;'
    """
    return " ".join(f"{finding} {STOP}" for finding in findings_in(text))


@dataclass(frozen=True)
class TextReader:
    """Which text of a record is read, and how.

    Attributes:
        name: of the text in `Record.texts`.
        vocabulary: None until it is trained on the training subjects' texts.
        longest: tokens after which a text is cut.
        machine: whether texts marked as a machine's are read; if not they are absent.

    Raises:
        ArgumentError: a length below 1.
    """

    name: str = REPORT
    vocabulary: Vocabulary | None = None
    longest: int = LONGEST
    machine: bool = False

    def __post_init__(self) -> None:
        if self.longest < 1:
            raise ArgumentError(f"longest is at least 1 token, got {self.longest}. 128 is usual.")

    def text_of(self, record: Record) -> str:
        """The record's text; "" where it has none that is read."""
        if not self.machine and self.name in machine_texts(record):
            return ""
        return record.texts.get(self.name, "")

    def trained(self, records: Iterable[Record]) -> TextReader:
        """The reader with a vocabulary of these records' words, unless it has one.

        Raises:
            FitError: none of them has a text.
        """
        if self.vocabulary is not None:
            return self
        return replace(self, vocabulary=Vocabulary.train(ended(self.text_of(r)) for r in records))

    def read(self, record: Record) -> dict[str, Ids]:
        """{name: token ids (token,)}; {} where the text is absent.

        Warns:
            UserWarning: a text longer than `longest`, which is cut.
        """
        ids = self.encode(self.text_of(record))
        if len(ids) > self.longest:
            warnings.warn(
                f"the first {self.longest} tokens of a text are read; {self.name!r} of record "
                f"{record.record!r} has {len(ids)}, of which {len(ids) - self.longest} are left "
                "out. Shorten it, or fit with TextReader(longest=...).",
                UserWarning,
                stacklevel=2,
            )
            ids = ids[: self.longest]
        # Of unknown words alone nothing is known.
        nothing = [self.known.id_of(token) for token in (UNK, STOP)]
        return {} if np.isin(ids, nothing).all() else {self.name: ids}

    def encode(self, text: str) -> Ids:
        """Token ids of any text, not cut, each finding ended by STOP."""
        return self.known.encode(ended(text))

    @property
    def known(self) -> Vocabulary:
        """Its vocabulary.

        Raises:
            FitError: it has none yet.
        """
        if self.vocabulary is None:
            raise FitError("this reader has no vocabulary yet; get one with reader.trained(...).")
        return self.vocabulary

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the vocabulary's digest."""
        return {
            "name": self.name,
            "vocabulary": json.loads(self.known.text),
            "sha256": self.known.digest,
            "longest": self.longest,
            "machine": self.machine,
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> TextReader:
        """The inverse of `to_dict`.

        Raises:
            ModelFileError: a vocabulary that is not the one written.
        """
        vocabulary = Vocabulary(json.dumps(plain["vocabulary"]))
        if vocabulary.digest != plain["sha256"]:
            raise ModelFileError(
                "the vocabulary is not the one that was saved (its SHA-256 differs); token ids "
                "would mean other words. Save the model again."
            )
        return cls(plain["name"], vocabulary, int(plain["longest"]), bool(plain["machine"]))


@dataclass(frozen=True)
class ReadingPreparation:
    """Preprocessing that reads the record's text too.

    Attributes:
        preprocessing: of the signals.
        reader: of the text.
    """

    preprocessing: Prepares
    reader: TextReader

    def prepare(self, record: Record) -> PreparedRecord:
        """`Preprocessing.prepare`, with tokens."""
        tokens = self.reader.read(record)
        texts = {name: self.reader.text_of(record) for name in tokens}
        return replace(self.preprocessing.prepare(record), tokens=tokens, texts=texts)


def _compact(text: str) -> str:
    """The same JSON in one spelling."""
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
    except ValueError as error:
        raise _no_tokeniser(error) from error


def _no_tokeniser(error: Exception) -> ModelFileError:
    return ModelFileError(
        f"this is no tokeniser of the tokenizers library ({error}). Give its tokenizer.json, or "
        "train one with Vocabulary.train(reports)."
    )
