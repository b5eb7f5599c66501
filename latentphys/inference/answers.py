"""What the signals say to a closed set of questions about reports. No text is ever made.

    P(c | x) = softmax_c [prior = "training"] log share(c)
                         + (log p(c | prompt, x) - log p(c | prompt)) / T
    p(c | prompt, x) = E_q(z | x) sum_{phrases of c} p(phrase, end | prompt, z, x)
    logit P(f in the report | x) = logit share(f) + (log p(f | x) - log p(f)) / T

p(c | prompt) and p(f) are means of the same over training records, so that what T divides is the
pointwise mutual information of answer and signals; share(c) and share(f) are how common they are in
training reports. T is a temperature, fitted on held-out training subjects: signals that tell
nothing leave the shares. Fewer channels tell less, so that p(c | prompt), p(f) and T are learned
from records that show one channel, some, and all, and the nearest of these is used.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from latentphys.inference.paths import infer_path
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.batch import Tokens, collate
from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.preparation.tokens import UNK, Ids, TextReader
from latentphys.preparation.windows import tile
from latentphys.recordings.errors import ArgumentError, closest, listed
from latentphys.recordings.findings import QUESTIONS, answer_in, question_named
from latentphys.recordings.reports import findings_in

Prior = Literal["training", "uniform"]
Array = NDArray[np.float64]

# Goes with every answer, and into the file of every model that gives them.
NOT_FOR = (
    "What a report of the training kind would say of such signals, its authors' habits and errors "
    "included. It is not a diagnosis, and not for decisions on a person's care."
)
_ABOUT = {"not_for": NOT_FOR}

DRAWS = 16
MOST_RECORDS = 256  # of the training records that the marginals are means over
MOST_FINDINGS = 64
REFERENCES = 3  # numbers of channels that marginals and temperatures are learned at
LEAST_REPORTS = 2  # a finding of one report is that subject's
TEMPERATURES = np.geomspace(0.25, 8.0, 61)
FINDINGS = "findings"


@dataclass(frozen=True)
class Reference:
    """What the scores of records that show so many channels are held against.

    Attributes:
        marginals: question -> choice -> log p(c | prompt), the mean over training records of
            p(c | prompt, x); "findings" -> finding -> log p(f).
        temperature: question or "findings" -> T.
    """

    marginals: Mapping[str, Mapping[str, float]]
    temperature: Mapping[str, float]


@dataclass(frozen=True)
class Answers:
    """What is needed beside the model to answer questions.

    Attributes:
        reader: of the text.
        shares: question -> choice that training reports name -> how common it is among their
            answers; "findings" -> candidate, the commonest first -> share of the training reports.
        references: number of channels -> what is learned from records that show so many.
        held_out: how many held-out reports the temperatures are fitted on; with 0 they are 1.
    """

    reader: TextReader
    shares: Mapping[str, Mapping[str, float]]
    references: Mapping[int, Reference]
    held_out: int

    @property
    def choices(self) -> dict[str, list[str]]:
        """Question -> its choices."""
        return {
            question: list(own) for question, own in self.shares.items() if question in QUESTIONS
        }

    def reference(self, channels: int) -> Reference:
        """The reference of the nearest number of channels, by their ratio."""
        away = {count: abs(math.log(max(1, channels) / count)) for count in self.references}
        return self.references[min(away, key=lambda count: away[count])]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with what the answers are not for."""
        return {
            "not_for": NOT_FOR,
            "reader": self.reader.to_dict(),
            "shares": {name: dict(each) for name, each in self.shares.items()},
            "references": {str(count): asdict(own) for count, own in self.references.items()},
            "held_out": self.held_out,
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Answers:
        """The inverse of `to_dict`.

        Raises:
            ModelFileError: a vocabulary that is not the one written.
        """
        return cls(
            TextReader.from_dict(plain["reader"]),
            plain["shares"],
            {int(count): Reference(**own) for count, own in plain["references"].items()},
            int(plain["held_out"]),
        )


def answer_record(
    model: StateSpaceModel,
    answers: Answers,
    record: PreparedRecord,
    question: str,
    choices: Sequence[str] | None,
    prior: Prior,
    given: Sequence[str],
    window_s: float,
) -> xr.DataArray:
    """P(choice | the given modalities) of one record.

    Args:
        model: in evaluation mode.
        answers: what `learn_answers` found.
        record: a prepared recording.
        question: one of `recordings.findings.QUESTIONS`.
        choices: some of the question's; all that training reports name when left out.
        prior: "training": choices are as common as in training; "uniform": equally common.
        given: modalities used.
        window_s: length of the windows it is read in, seconds.

    Returns:
        (choice,), summing to 1.

    Raises:
        ArgumentError: a question, choice or prior that there is not.
    """
    question_named(question)
    shares = answers.shares[question]
    wanted = list(shares) if choices is None else list(choices)
    _check_choices(question, wanted, shares, prior)
    held = answers.reference(len(_channels(record, given)))
    pooled = _pooled(model, record, given, window_s)
    score = _choice_scores(model, answers.reader, pooled, question, wanted)
    marginal = np.array([held.marginals[question][choice] for choice in wanted])
    before = np.array([shares[choice] if prior == "training" else 1.0 for choice in wanted])
    return xr.DataArray(
        _chosen(before, score - marginal, held.temperature[question]),
        dims="choice",
        coords={"choice": wanted},
        name="probability",
        attrs={"question": question, "prior": prior, "record": record.record, **_ABOUT},
    )


def describe_record(
    model: StateSpaceModel,
    answers: Answers,
    record: PreparedRecord,
    top: int,
    given: Sequence[str],
    window_s: float,
) -> xr.DataArray:
    """Candidate findings by P(f in the report | the given modalities), the likeliest first.

    Args:
        model: in evaluation mode.
        answers: what `learn_answers` found.
        record: a prepared recording.
        top: how many.
        given: modalities used.
        window_s: length of the windows it is read in, seconds.

    Returns:
        (finding,), with coordinate `share`, that of the training reports which have it.
    """
    names = list(answers.shares[FINDINGS])
    held = answers.reference(len(_channels(record, given)))
    pooled = _pooled(model, record, given, window_s)
    score = _finding_scores(model, answers.reader, pooled, names)
    share = np.array([answers.shares[FINDINGS][name] for name in names])
    marginal = np.array([held.marginals[FINDINGS][name] for name in names])
    probability = _present(share, score - marginal, held.temperature[FINDINGS])
    order = np.argsort(-probability, kind="stable")[:top]
    return xr.DataArray(
        probability[order],
        dims="finding",
        coords={
            "finding": [names[k] for k in order],
            "share": ("finding", share[order]),
        },
        name="probability",
        attrs={"record": record.record, **_ABOUT},
    )


def report_log_prob(
    model: StateSpaceModel,
    reader: TextReader,
    record: PreparedRecord,
    reports: Sequence[str],
    given: Sequence[str],
    window_s: float,
) -> Array:
    """log E_q p(report | z) of whole reports, (report,), in nats; what is unknown is not scored.

    Args:
        model: in evaluation mode.
        reader: of the text.
        record: a prepared recording.
        reports: its own, or others' for comparison.
        given: modalities used.
        window_s: length of the windows it is read in, seconds.
    """
    pooled = _pooled(model, record, given, window_s)
    ids = [reader.encode(report)[: reader.longest] for report in reports]
    return _scores(model, reader, pooled, ids)


def learn_answers(
    model: StateSpaceModel,
    reader: TextReader,
    training: Sequence[PreparedRecord],
    held_out: Sequence[PreparedRecord],
    window_s: float,
) -> Answers:
    """Marginals on training records, temperatures on held-out ones; from signals alone.

    Args:
        model: fitted, in evaluation mode.
        reader: of the text it was fitted with.
        training: records it was fitted to.
        held_out: records of other subjects; those its best state was chosen on will do.
        window_s: length of the windows they are read in, seconds.
    """
    own, checks = (
        [record for record in side if reader.name in record.texts] for side in (training, held_out)
    )
    shares = _shares(reader, own)
    sensors = tuple(model.spec.sensors)
    every = max(1, -(-len(own) // MOST_RECORDS))
    looked_at = [
        [(record, _channels(record, sensors)) for record in side] for side in (own[::every], checks)
    ]
    texts = [record.texts[reader.name] for record in checks]
    references = {}
    for count in _counts([len(channels) for _, channels in looked_at[0]]):
        shown, asked = (
            _all_scores(model, reader, _showing(side, count), shares, window_s)
            for side in looked_at
        )
        marginals = {about: _log_mean(found) for about, found in shown.items()}
        references[count] = Reference(
            {
                about: dict(zip(shares[about], found.tolist(), strict=True))
                for about, found in marginals.items()
            },
            {
                about: _temperature_of(about, shares[about], found - marginals[about], texts)
                for about, found in asked.items()
            },
        )
    return Answers(reader, shares, references, len(checks))


def _shares(reader: TextReader, records: Sequence[PreparedRecord]) -> dict[str, dict[str, float]]:
    """How common every choice and candidate finding is in some records' reports."""
    texts = [record.texts[reader.name] for record in records]
    shares = {}
    for question in QUESTIONS:
        said = Counter(answer_in(text, question) for text in texts)
        told = _choices_told(reader, said, question)
        total = sum(said[choice] for choice in told)
        shares[question] = {choice: said[choice] / total for choice in told}
    counted = Counter(f for text in texts for f in dict.fromkeys(findings_in(text)))
    shares[FINDINGS] = {
        name: count / len(texts)
        for name, count in counted.most_common(MOST_FINDINGS)
        if count >= LEAST_REPORTS and _sayable(reader, name)
    }
    return shares


def _channels(record: PreparedRecord, given: Sequence[str]) -> list[tuple[str, int]]:
    """The channels of some sensors that a record shows, each by its sensor and place."""
    found = []
    for name in given:
        if name in record.signals:
            values = record.signals[name].values
            seen = np.isfinite(values).any(axis=1)
            found += [(name, k) for k in np.flatnonzero(seen).tolist()]
    return found


def _counts(channels: Sequence[int]) -> list[int]:
    """One channel, some, and as many as the record with the most of them has."""
    most = max([1, *channels])
    return sorted({round(x) for x in np.geomspace(1, most, REFERENCES).tolist()})


def _showing(
    records: Sequence[tuple[PreparedRecord, list[tuple[str, int]]]], count: int
) -> list[PreparedRecord]:
    """Records with so many of their channels, chosen at random, and the others not observed."""
    rng = np.random.default_rng(count)
    found = []
    for record, channels in records:
        kept = {channels[k] for k in rng.permutation(len(channels))[:count]}
        signals = dict(record.signals)
        for name, k in channels:
            if (name, k) not in kept:
                values = signals[name].values.copy()
                values[k] = np.nan
                signals[name] = replace(signals[name], values=values)
        found.append(replace(record, signals=signals))
    return found


def _all_scores(
    model: StateSpaceModel,
    reader: TextReader,
    records: Sequence[PreparedRecord],
    shares: Mapping[str, Mapping[str, float]],
    window_s: float,
) -> dict[str, Array]:
    """Question or "findings" -> (record, choice or finding)."""
    found: dict[str, list[Array]] = {about: [] for about in shares}
    for record in records:
        pooled = _pooled(model, record, tuple(model.spec.sensors), window_s)
        for about, own in shares.items():
            found[about].append(
                _finding_scores(model, reader, pooled, list(own))
                if about == FINDINGS
                else _choice_scores(model, reader, pooled, about, list(own))
            )
    return {
        about: np.array(rows).reshape(len(records), len(shares[about]))
        for about, rows in found.items()
    }


def _temperature_of(
    about: str, share: Mapping[str, float], information: Array, texts: Sequence[str]
) -> float:
    """That which suits some records' reports; 1 without any.

    Args:
        about: a question, or "findings".
        share: of its choices or candidates.
        information: (record, choice or candidate), log p(. | x) - log p(.).
        texts: the records' reports.
    """
    if not texts:
        return 1.0
    before = np.array(list(share.values()))
    said = [findings_in(t) if about == FINDINGS else [answer_in(t, about)] for t in texts]
    there = np.array([[name in each for name in share] for each in said], dtype=bool)

    def ranking_loss(t: float) -> float:
        p = _present(before, information, t)
        return -float(np.log(np.where(there, p, 1.0 - p)).sum())

    def answer_loss(t: float) -> float:
        # A report that names none of the choices picks no probability.
        return -float(np.log(_chosen(before, information, t)[there]).sum())

    return _temperature(ranking_loss if about == FINDINGS else answer_loss)


def _temperature(loss: Any) -> float:
    """The temperature of least loss; few reports leave it near 1 (log T ~ N(0, 1) before them)."""
    losses = [loss(float(t)) + 0.5 * math.log(t) ** 2 for t in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def _check_choices(
    question: str, wanted: Sequence[str], known: Mapping[str, float], prior: str
) -> None:
    if prior not in ("training", "uniform"):
        raise ArgumentError(f"prior is 'training' or 'uniform', got {prior!r}. Choose one of them.")
    for choice in wanted:
        if choice not in known:
            raise ArgumentError(
                f"{question!r} is answered by {listed(known)}, which training reports named; got "
                f"{choice!r}.{closest(str(choice), known)} Choose among them."
            )
    if len(set(wanted)) < 2 or len(set(wanted)) < len(wanted):
        raise ArgumentError(
            f"an answer is chosen among two choices or more, each given once; got "
            f"{listed(wanted)}. Leave choices out for all of {listed(known)}."
        )


def _choices_told(
    reader: TextReader, said: Collection[str | None], question: str
) -> tuple[str, ...]:
    """The choices of a question that some report names, in the table's order."""
    asked = QUESTIONS[question]
    return tuple(
        choice
        for choice, phrases in asked.choices.items()
        if choice in said and any(_sayable(reader, f"{asked.prompt} {p}") for p in phrases)
    )


def _sayable(reader: TextReader, finding: str) -> bool:
    """Whether the vocabulary has every word of it."""
    return not (reader.encode(finding) == reader.known.id_of(UNK)).any()


@torch.no_grad()
def _pooled(
    model: StateSpaceModel, record: PreparedRecord, given: Sequence[str], window_s: float
) -> Tensor:
    """zbar of posterior paths, (draw, width), the same at every call.

    It is the mean over windows, as long as those that the emission has learned from.
    """
    generator = torch.Generator().manual_seed(0)
    paths = infer_path(model, record, given, window_s, DRAWS, generator).draws
    kept = [n for n in model.spec.sensors if n in given and n in record.signals]
    index = tile([record], window_s, window_s, model.spec.state_rate_hz)
    pooled = []
    for row, start in enumerate(index.start_step.tolist()):
        batch = collate([record], index, [row], kept, model.spec.inputs)
        z = paths[:, start : start + index.steps]
        pooled.append(model.text_emission.pool(z.unsqueeze(1), model.shapes_of(batch)))
    return torch.cat(pooled, dim=1).mean(1)


def _finding_scores(
    model: StateSpaceModel, reader: TextReader, pooled: Tensor, findings: Sequence[str]
) -> Array:
    """log E_q p(f | z) of each finding."""
    return _phrase_scores(model, reader, pooled, "", findings)


def _choice_scores(
    model: StateSpaceModel,
    reader: TextReader,
    pooled: Tensor,
    question: str,
    choices: Sequence[str],
) -> Array:
    """log p(c | prompt, x) of each choice: its phrases' probabilities added."""
    asked = QUESTIONS[question]
    scores = []
    for choice in choices:
        phrases = [p for p in asked.choices[choice] if _sayable(reader, f"{asked.prompt} {p}")]
        found = _phrase_scores(model, reader, pooled, asked.prompt, phrases)
        scores.append(float(np.logaddexp.reduce(found)))
    return np.array(scores)


def _phrase_scores(
    model: StateSpaceModel, reader: TextReader, pooled: Tensor, prompt: str, phrases: Sequence[str]
) -> Array:
    """log mean over draws of p(phrase, end | prompt, z), (phrase,)."""
    if not phrases:
        return np.zeros(0)
    ids = [reader.encode(f"{prompt} {phrase}") for phrase in phrases]
    return _scores(model, reader, pooled, ids, len(reader.known.encode(prompt)))


@torch.no_grad()
def _scores(
    model: StateSpaceModel, reader: TextReader, pooled: Tensor, ids: Sequence[Ids], before: int = 0
) -> Array:
    """log mean over draws of p(tokens from `before` on | z), (text,)."""
    longest = max(map(len, ids))
    mask = np.arange(longest) < np.array([len(each) for each in ids])[:, None]
    padded = np.zeros(mask.shape, np.int64)
    padded[mask] = np.concatenate(ids)
    tokens = Tokens(reader.name, torch.from_numpy(padded), torch.from_numpy(mask))
    emission = model.text_emission
    log_prob = emission(pooled.unsqueeze(1).expand(-1, len(ids), -1), tokens).log_prob(tokens.ids)
    where = emission.scored(tokens) & (torch.arange(longest) >= before)
    total = torch.where(where, log_prob, 0.0).sum(-1)
    return (torch.logsumexp(total, 0) - math.log(len(total))).double().numpy()


def _log_mean(log_values: Array) -> Array:
    """log of the mean over rows."""
    if not log_values.size:
        return np.zeros(log_values.shape[1:])
    return np.logaddexp.reduce(log_values, axis=0) - math.log(len(log_values))


def _chosen(share: Array, information: Array, temperature: float) -> Array:
    """softmax(log(share) + information / T) over the last axis."""
    scores = np.log(share) + information / temperature
    return np.asarray(np.exp(scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)))


def _present(share: Array, information: Array, temperature: float) -> Array:
    """sigmoid(logit(share) + information / T), within what numbers can hold."""
    share = np.clip(share, 1e-6, 1.0 - 1e-6)
    logit = np.log(share) - np.log1p(-share) + information / temperature
    return 1.0 / (1.0 + np.exp(-np.clip(logit, -30.0, 30.0)))
