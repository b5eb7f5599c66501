"""What the signals say to a closed set of questions about reports. No text is ever made.

    P(c | x) = softmax_c (log p(c | prompt, x) - [prior = "uniform"] log p(c | prompt)) / T
    p(c | prompt, x) = E_q(z | x) sum_{phrases of c} p(phrase, end | prompt, z, x)
    logit P(f in the report | x) = logit share(f) + (log p(f | x) - log p(f)) / T

p(c | prompt) and p(f) are means of the same over training records, so that the second summand is
the pointwise mutual information of finding and signals; share(f) is how many training reports have
f. T is a temperature, fitted on held-out training subjects.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
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
LEAST_REPORTS = 2  # a finding of one report is that subject's
TEMPERATURES = np.geomspace(0.25, 8.0, 61)
FINDINGS = "findings"


@dataclass(frozen=True)
class Finding:
    """A candidate finding.

    Attributes:
        share: of the training reports that have it.
        marginal: log p(f), the mean over training records of p(f | x).
    """

    share: float
    marginal: float


@dataclass(frozen=True)
class Answers:
    """What is needed beside the model to answer questions.

    Attributes:
        reader: of the text.
        findings: candidates, the commonest first.
        marginals: question -> choice -> log p(c | prompt), of choices that training reports name.
        temperature: question -> T; "findings" -> that of the ranking.
        held_out: how many held-out reports the temperatures are fitted on; with 0 they are 1.
    """

    reader: TextReader
    findings: Mapping[str, Finding]
    marginals: Mapping[str, Mapping[str, float]]
    temperature: Mapping[str, float]
    held_out: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with what the answers are not for."""
        return {
            "not_for": NOT_FOR,
            "reader": self.reader.to_dict(),
            "findings": {name: asdict(each) for name, each in self.findings.items()},
            "marginals": {name: dict(each) for name, each in self.marginals.items()},
            "temperature": dict(self.temperature),
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
            {name: Finding(**each) for name, each in plain["findings"].items()},
            {name: dict(each) for name, each in plain["marginals"].items()},
            {name: float(value) for name, value in plain["temperature"].items()},
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
    known = answers.marginals[question]
    wanted = list(known) if choices is None else list(choices)
    _check_choices(question, wanted, known, prior)
    pooled = _pooled(model, record, given, window_s)
    score = _choice_scores(model, answers.reader, pooled, question, wanted)
    if prior == "uniform":
        score = score - np.array([known[choice] for choice in wanted])
    return xr.DataArray(
        _softmax(score / answers.temperature[question]),
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
    names = list(answers.findings)
    pooled = _pooled(model, record, given, window_s)
    score = _finding_scores(model, answers.reader, pooled, names)
    share = np.array([answers.findings[name].share for name in names])
    marginal = np.array([answers.findings[name].marginal for name in names])
    probability = _present(share, score - marginal, answers.temperature[FINDINGS])
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
    own = [record for record in training if reader.name in record.texts]
    counted = Counter(f for r in own for f in dict.fromkeys(findings_in(r.texts[reader.name])))
    names = [
        name
        for name, count in counted.most_common(MOST_FINDINGS)
        if count >= LEAST_REPORTS and _sayable(reader, name)
    ]
    told = {question: _choices_told(reader, own, question) for question in QUESTIONS}
    sensors = tuple(model.spec.sensors)

    def scores(records: Sequence[PreparedRecord]) -> tuple[Array, dict[str, Array]]:
        paths = [_pooled(model, record, sensors, window_s) for record in records]
        found = [_finding_scores(model, reader, p, names) for p in paths]
        chosen = {
            question: np.array([_choice_scores(model, reader, p, question, c) for p in paths])
            for question, c in told.items()
        }
        return np.array(found).reshape(len(records), len(names)), chosen

    every = max(1, -(-len(own) // MOST_RECORDS))
    found, chosen = scores(own[::every])
    marginal = _log_mean(found)
    share = np.array([counted[name] / max(1, len(own)) for name in names])
    answers = Answers(
        reader,
        {n: Finding(float(s), float(m)) for n, s, m in zip(names, share, marginal, strict=True)},
        {
            q: dict(zip(told[q], _log_mean(own_q).tolist(), strict=True))
            for q, own_q in chosen.items()
        },
        {},
        0,
    )
    checks = [record for record in held_out if reader.name in record.texts]
    return _calibrated(answers, checks, *scores(checks))


def _calibrated(
    answers: Answers, records: Sequence[PreparedRecord], found: Array, chosen: Mapping[str, Array]
) -> Answers:
    """The same with temperatures that suit some records' reports."""
    texts = [record.texts[answers.reader.name] for record in records]
    temperature = {}
    for question, scores in chosen.items():
        known = list(answers.marginals[question])
        said = [answer_in(text, question) for text in texts]
        rows = [k for k, choice in enumerate(said) if choice in known]
        column = [known.index(str(said[k])) for k in rows]

        def loss(t: float, scores: Array = scores[rows], column: Any = column) -> float:
            return -float(np.log(_softmax(scores / t)[np.arange(len(column)), column]).sum())

        temperature[question] = _temperature(loss) if rows else 1.0
    share = np.array([each.share for each in answers.findings.values()])
    marginal = np.array([each.marginal for each in answers.findings.values()])
    there = np.array([[name in findings_in(t) for name in answers.findings] for t in texts])

    def ranking_loss(t: float) -> float:
        p = _present(share, found - marginal, t)
        return -float(np.log(np.where(there, p, 1.0 - p)).sum())

    temperature[FINDINGS] = _temperature(ranking_loss) if there.size else 1.0
    return Answers(answers.reader, answers.findings, answers.marginals, temperature, len(texts))


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
    reader: TextReader, records: Sequence[PreparedRecord], question: str
) -> tuple[str, ...]:
    """The choices of a question that some report names, in the table's order."""
    said = {answer_in(record.texts[reader.name], question) for record in records}
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


def _softmax(scores: Array) -> Array:
    return np.exp(scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True))


def _present(share: Array, information: Array, temperature: float) -> Array:
    """sigmoid(logit(share) + information / T), within what numbers can hold."""
    share = np.clip(share, 1e-6, 1.0 - 1e-6)
    logit = np.log(share) - np.log1p(-share) + information / temperature
    return 1.0 / (1.0 + np.exp(-np.clip(logit, -30.0, 30.0)))
