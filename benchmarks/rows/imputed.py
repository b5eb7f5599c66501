"""An absent sensor of unseen people from the sensors that are there, beside what needs no model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

import latentphys as lp
from latentphys.fitted import FittedModel
from latentphys.inference.imputation import Question
from latentphys.trust.directions import score_predictor
from latentphys.trust.patterns import Ask, Pattern
from latentphys.trust.rivals import Rivals
from rows.tally import Rows, Tally, share

SCORES = {"window_correlation": "correlation", "crps": "CRPS", "coverage": "coverage"}
DRAWS = 50
Asked = Mapping[str, Sequence[str]]  # sensor -> those it is imputed from


def impute(
    fit: FittedModel,
    name: str,
    records: Iterable[lp.Record],
    asked: Asked,
    rows: Rows,
    split: int | None = None,
) -> None:
    """Correlation in windows, CRPS and what 90 % intervals cover, of records with all of these.

    `split` tells people apart from those of other splits who have the same names.
    """
    for record in records:
        for target, given in _within(asked, record).items():
            scores = fit.score(record, target, given=given, draws=DRAWS)
            _count(scores, name, target, record.subject, rows, split)


def impute_plainly(
    fit: FittedModel,
    sides: tuple[lp.Cohort, Iterable[lp.Record]],
    asked: Asked,
    rows: Rows,
    split: int | None = None,
) -> None:
    """The same of the mean, ridge regression and a Kalman smoother fitted to the first side."""
    names = list(dict.fromkeys(name for t, given in asked.items() for name in (t, *given)))
    known = [fit.prepared(record) for record in sides[0]]
    rivals = Rivals(known, names, fit.model.spec.state_rate_hz)
    for record in sides[1]:
        prepared, own = fit.prepared(record), _within(asked, record)
        patterns = [
            Pattern("subset", tuple(given), {}, (Ask("", target),)) for target, given in own.items()
        ]
        answers = rivals.predict(prepared, patterns)
        for (target, given), answer in zip(own.items(), answers, strict=True):
            question = Question(target, tuple(given), DRAWS, window_s=fit.window_s)
            for (method, _), moments in answer.items():
                scores = score_predictor(lambda _, own=moments: own, [prepared], question)
                _count(scores, method, target, record.subject, rows, split)


def _within(asked: Asked, record: lp.Record) -> Asked:
    """What a record can be asked: it has the sensor, and all it is imputed from."""
    return {t: given for t, given in asked.items() if {t, *given} <= set(record.modalities)}


def _count(
    scores: Mapping[str, float], name: str, target: str, subject: str, rows: Rows, split: int | None
) -> None:
    whose = subject if split is None else f"{split}/{subject}"
    row = rows.setdefault(f"{name}, imputing", {})
    for score, column in SCORES.items():
        if np.isfinite(scores[score]):
            tally = row.setdefault(f"{target.upper()} {column}", Tally(share))
            tally.add(whose, np.array([scores[score], 1.0]))
