"""Pairing: whether a sensor told from others follows those worn together with it.

Controls: the other sensors of another person, and the person's own from another time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from latentphys.recordings.record import Record
from latentphys.trust.audits.case import Case
from latentphys.trust.audits.edits import edited
from latentphys.trust.audits.finding import Finding, Verdict, not_tested
from latentphys.trust.audits.readout import GRID_HZ, read_off
from latentphys.trust.resampling import mean_of

Array = NDArray[np.float64]
LEAST_PEOPLE = 6  # 2^6 signs: the least that can be sure at one in fifty
PERMUTATIONS = 999
SURE = 0.05
LEAST_GAIN = 0.1  # of correlation: an interval below it leaves nothing to impute for
HYPOTHESIS = "What the model makes of an absent {target} needs the other sensors of that person."


def pairing(case: Case) -> list[Finding]:
    """Correlation with the truth, true pairing against shuffled, a sensor each."""
    records = case.complete
    if len(case.names) < 2 or len({r.subject for r in records}) < LEAST_PEOPLE:
        why = f"Needs two sensors or more worn together by {LEAST_PEOPLE} people or more."
        return [not_tested("pairing", HYPOTHESIS.format(target="sensor"), why)]
    return [_finding(case, records, target) for target in case.names]


def _finding(case: Case, records: list[Record], target: str) -> Finding:
    people: dict[str, list[Array]] = {}
    for k, record in enumerate(records):
        after = [*records[k + 1 :], *records[:k]]
        other = next(r for r in after if r.subject != record.subject)
        rest = {name: other.signals[name] for name in case.names if name != target}
        found = [
            _correlation(case, record, target),
            _correlation(case, _with(record, rest), target),
            _correlation(case, _rolled(record, target), target),
        ]
        people.setdefault(record.subject, []).append(np.array(found))
    each = case.by_subject(people)
    gain = each[0] - each[1]
    value, low, high = (float(x) for x in case.bootstrap.bounds(gain))
    p = sign_flips(gain[np.isfinite(gain)], case.seed)
    true, strange, late = (float(x) for x in mean_of(each))
    # Telling something is one question, telling too little another: between them it is unsure.
    verdict: Verdict = "fine" if value > 0 and p < SURE else "unsure"
    verdict = "worry" if verdict == "unsure" and high < LEAST_GAIN else verdict
    words = f"Correlation {true:.2f} with the person's own sensors, {strange:.2f} with "
    words += f"another's, {late:.2f} with their own from another time (p = {p:.3f}). "
    words += {
        "fine": "It follows what is worn together.",
        "worry": f"It does not follow what is worn together: an imputed {target} is of nobody.",
        "unsure": f"Too few people to say whether an imputed {target} is of anybody.",
    }[verdict]
    return Finding(
        f"pairing: {target}",
        HYPOTHESIS.format(target=target),
        "correlation gained by the true pairing",
        value,
        low,
        high,
        "another person's sensors: correlation",
        strange,
        verdict,
        words,
        {"limits": [0.0, None], "own": true, "another": strange, "another_time": late, "p": p},
    )


def sign_flips(gain: Array, seed: int) -> float:
    """p of a mean this far above 0 if every person's sign were as likely the other.

    Example:
        >>> sign_flips(np.ones(12), 0) < 0.01, sign_flips(np.array([1.0, -1.0] * 6), 0) > 0.3
        (True, True)
    """
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (PERMUTATIONS, len(gain)))
    null = (signs * gain).mean(1)
    return float((1 + (null >= gain.mean() - 1e-12).sum()) / (1 + PERMUTATIONS))


def _correlation(case: Case, record: Record, target: str) -> float:
    """Between the target as recorded and as told by the other sensors."""
    encoded = case.encoded(record)
    given = tuple(name for name in encoded.names if name != target)
    told = read_off(case, encoded, encoded.paths(given), target)
    signal = encoded.record.signals[target]
    values = signal.values[0].astype(np.float64)
    times = np.arange(len(values)) / signal.rate_hz if signal.time_s is None else signal.time_s
    truth = np.interp(times[0] + np.arange(len(told)) / GRID_HZ, times, values)
    seen = np.isfinite(truth)
    if told[seen].std() < 1e-9 or truth[seen].std() < 1e-9:
        return 0.0
    return float(np.corrcoef(told[seen], truth[seen])[0, 1])


def _with(record: Record, signals: Mapping[str, object]) -> Record:
    return replace(record, signals={**record.signals, **signals})  # type: ignore[dict-item]


def _rolled(record: Record, target: str) -> Record:
    """Every other sensor half the record later, its end put before its beginning."""
    for name in record.modalities:
        if name != target:
            record = edited(record, name, lambda x, t: np.roll(x, len(x) // 2))
    return record
