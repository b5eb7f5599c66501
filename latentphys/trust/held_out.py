"""The doors of evaluation and calibration: people checked, records prepared, one at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from latentphys.inference.doors import check_cohort
from latentphys.inference.imputation import Question
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.recordings.arguments import seed_number, whole_number
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import ArgumentError, SplitError, listed
from latentphys.recordings.record import Record
from latentphys.trust.asking import answers
from latentphys.trust.calibration import Calibration, Key, key_of
from latentphys.trust.conformal import Guarantee, SubjectConformal, check_guarantee
from latentphys.trust.evaluation import LONGEST_S, Evaluator, assembled
from latentphys.trust.patterns import (
    Ask,
    Pattern,
    Questions,
    Subset,
    check_questions,
    subsets_of,
)
from latentphys.trust.predicting import EncodedRecord, observed, pieces
from latentphys.trust.rates import RESPIRATION, WINDOW_S, breath_times, imputed_rates
from latentphys.trust.result import Evaluation
from latentphys.trust.rivals import rivals_of
from latentphys.trust.sample_scores import SampleScores

OnTrained = Literal["refuse", "warn"]
GAPS_S = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


@dataclass(frozen=True)
class Fitted:
    """What of a fitted model is evaluated."""

    model: StateSpaceModel
    prepare: Callable[[Record], PreparedRecord]
    window_s: float
    trained_on: tuple[str, ...]
    calibration: Calibration | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Its sensors."""
        return tuple(self.model.spec.sensors)

    def untrained(self, seed: int) -> Fitted:
        """The same architecture and preparation with fresh random weights: a control."""
        return replace(self, model=untrained(self.model, seed))


def untrained(model: StateSpaceModel, seed: int) -> StateSpaceModel:
    """The same architecture with fresh random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return StateSpaceModel(model.spec).to(next(model.parameters())).eval()


def check_unseen(subjects: Iterable[str], seen: Iterable[str], use: str, on: OnTrained) -> str:
    """Refuse people the model was made with, or warn; the note that goes with the result.

    Args:
        subjects: of the cohort at hand.
        seen: whom the model has seen.
        use: what the seen ones were used for, as "trained".
        on: "refuse" or "warn".

    Raises:
        SplitError: some were seen, and they are to be refused; names them.
        ArgumentError: `on` is neither.
    """
    if on not in ("refuse", "warn"):
        raise ArgumentError(
            f"trained is 'refuse' or 'warn'; got {on!r}. 'refuse' is the honest choice."
        )
    known = set(seen)
    both = [name for name in dict.fromkeys(subjects) if name in known]
    if not both:
        return ""
    said = (
        f"a model is held to people it never saw; it was {use} on {len(both)} of these subjects: "
        f"{listed(both)}. "
    )
    if on == "refuse":
        raise SplitError(
            said + "Evaluate another part of cohort.split(...); if they are other people of the "
            "same name, pass trained='warn'."
        )
    warnings.warn(said + "The figures are too good.", stacklevel=4)
    return f"Too good: {use} on {listed(both)}."


@dataclass(frozen=True)
class Request:
    """The arguments of `FittedModel.evaluate` beside the cohort."""

    training: Cohort | None = None
    subsets: Sequence[Sequence[str]] | None = None
    gaps_s: Sequence[float] = GAPS_S
    missing: Sequence[str | float] = ()
    draws: int = 32
    seed: int = 0
    trained: OnTrained = "refuse"


def evaluate_cohort(fitted: Fitted, cohort: Cohort, request: Request) -> Evaluation:
    """All patterns of all recordings, scored and compared; see `FittedModel.evaluate`."""
    check_cohort(cohort, "an evaluation is of")
    if request.training is not None:
        check_cohort(request.training, "training, what baselines are fitted to, is")
    check_questions(request.gaps_s, request.missing)
    draws = whole_number("draws", request.draws, 2, "32 is usual.")
    seed = seed_number(request.seed)
    subsets = subsets_of(fitted.names, request.subsets)
    note = check_unseen(cohort.subjects, fitted.trained_on, "trained", request.trained)
    if fitted.calibration is not None:
        used = fitted.calibration.subjects
        note += check_unseen(cohort.subjects, used, "calibrated", request.trained)
    records = [_prepared(fitted, record) for record in cohort]
    training = None
    if request.training is not None:
        shared = set(request.training.subjects) & set(cohort.subjects)
        check_unseen(sorted(shared), shared, "asked to fit its baselines", request.trained)
        training = [_prepared(fitted, record) for record in request.training]
    clock = fitted.model.spec.state_rate_hz
    evaluator = Evaluator(
        fitted.model,
        Questions(
            tuple(subsets),
            tuple(float(length) for length in sorted(request.gaps_s)),
            tuple(request.missing),
            fitted.window_s,
            seed,
            _derived(fitted),
        ),
        fitted.window_s,
        draws,
        rivals_of(records, training, fitted.names, clock),
        fitted.calibration,
    )
    rows = [row for record in records for row in evaluator.rows(record)]
    tree = assembled(rows, fitted.names, seed)
    tree.attrs = {
        "subjects": sorted({record.subject for record in records}),
        "draws": draws,
        "seed": seed,
        "baselines": "the other subjects here, by thirds" if training is None else "`training`",
        "note": note,
        "calibration": "" if fitted.calibration is None else fitted.calibration.statement,
    }
    return Evaluation(tree)


def calibrate_cohort(
    fitted: Fitted,
    cohort: Cohort,
    subsets: Sequence[Sequence[str]] | None,
    guarantee: Guarantee,
    draws: int,
    seed: int,
) -> Calibration:
    """Residuals of every pattern of every calibration recording; see `FittedModel.calibrate`."""
    check_cohort(cohort, "a calibration takes")
    check_guarantee(guarantee)
    check_unseen(cohort.subjects, fitted.trained_on, "trained", "refuse")
    draws = whole_number("draws", draws, 2, "32 is usual.")
    seed = seed_number(seed)
    questions = Questions(
        tuple(subsets_of(fitted.names, subsets)),
        GAPS_S,
        (),
        fitted.window_s,
        seed,
        _derived(fitted),
    )
    residuals: dict[Key, dict[str, list[NDArray[np.float64]]]] = {}
    for subject, pattern, ask, sample in scored(fitted, cohort, questions, draws):
        key = key_of(pattern, ask)
        own = sample.residual[np.isfinite(sample.residual)]
        residuals.setdefault(key, {}).setdefault(subject, []).append(own)
    rates = _rate_errors(fitted, cohort, questions.subsets, draws, seed)
    found = {given: SubjectConformal.of(people, guarantee) for given, people in rates.items()}
    return replace(Calibration.of(residuals, guarantee), rates=found)


def _rate_errors(
    fitted: Fitted, cohort: Cohort, subsets: Sequence[Subset], draws: int, seed: int
) -> dict[frozenset[str], dict[str, NDArray[np.float64]]]:
    """given -> subject -> errors of imputed breathing rates against marked breaths."""
    without = [subset for subset in subsets if RESPIRATION not in subset]
    found: dict[frozenset[str], dict[str, list[NDArray[np.float64]]]] = {}
    if RESPIRATION not in fitted.names:
        return {}
    for record in cohort:
        breaths = breath_times(record)
        if not len(breaths) or record.duration_s < WINDOW_S:
            continue
        prepared = _prepared(fitted, record)
        for subset in without:
            if set(subset) <= set(observed(prepared, fitted.names)):
                question = Question(RESPIRATION, subset, draws, window_s=fitted.window_s, seed=seed)
                rates = imputed_rates(fitted.model, prepared, question, breaths)
                people = found.setdefault(frozenset(subset), {})
                people.setdefault(record.subject, []).append(rates.score)
    whole = {
        given: {name: np.concatenate(parts) for name, parts in people.items()}
        for given, people in found.items()
    }
    return {
        given: people
        for given, people in whole.items()
        if any(np.isfinite(score).any() for score in people.values())
    }


def scored(
    fitted: Fitted, cohort: Cohort, questions: Questions, draws: int
) -> Iterator[tuple[str, Pattern, Ask, SampleScores]]:
    """The model's scores of every sample asked for, and whose they are.

    Args:
        fitted: the model.
        cohort: whose recordings are asked about, one in memory at a time.
        questions: asked of each; its seed is that of the draws too.
        draws: posterior paths.
    """
    for record in cohort:
        for piece in pieces(_prepared(fitted, record), LONGEST_S):
            names = observed(piece, fitted.names)
            if not names:
                continue
            generator = torch.Generator().manual_seed(questions.seed)
            encoded = EncodedRecord(fitted.model, piece, fitted.window_s)
            patterns = questions.patterns(piece, names)
            for pattern, ask, sample in answers(encoded, patterns, draws, generator):
                yield piece.subject, pattern, ask, sample


def _prepared(fitted: Fitted, record: Record) -> PreparedRecord:
    """Prepared, with the sensors the model knows alone."""
    prepared = fitted.prepare(record)
    known = {name: s for name, s in prepared.signals.items() if name in fitted.names}
    return replace(prepared, signals=known)


def _derived(fitted: Fitted) -> dict[str, tuple[str, ...]]:
    """Modality -> those made of the same signal."""
    return {name: fitted.model.spec.derived_from(name) for name in fitted.names}
