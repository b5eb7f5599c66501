"""Lag: whether a pulse that comes later is told as later, to the millisecond, by the state."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latentphys.recordings.record import Record
from latentphys.trust.audits.case import CONTROLS, UNTRAINED, Case
from latentphys.trust.audits.edits import shifted
from latentphys.trust.audits.finding import Finding, judged, not_tested
from latentphys.trust.audits.readout import delay_s, read_off, with_nuisance_of
from latentphys.trust.resampling import mean_of

Array = NDArray[np.float64]
DOSES_S = (0.0, 0.02, 0.04, 0.06, 0.08)  # 80 ms: a transit time's range in one person
REFERENCE, PULSES = "ecg", ("ppg", "abp", "pcg")
LEAST_SLOPE = 0.7  # at it 80 ms are told as 56: the 24 lost are what 25 mmHg or so would do
HYPOTHESIS = (
    "A {pulse} delayed by 20 to 80 ms behind the ECG is told as delayed by as much when both are "
    "read off the state."
)


def lag(case: Case) -> list[Finding]:
    """Slope of the delay read off the state on the delay planted, a pulse sensor each."""
    found = []
    for pulse in (name for name in PULSES if name in case.names):
        records = [r for r in case.records if {pulse, REFERENCE} <= set(r.modalities)]
        if REFERENCE in case.names and len({r.subject for r in records}) > 1:
            found.append(_finding(case, records, pulse))
    why = "Needs two people or more with an ECG and a pulse (ppg, abp or pcg)."
    return found or [not_tested("lag", HYPOTHESIS.format(pulse="pulse"), why)]


def _finding(case: Case, records: list[Record], pulse: str) -> Finding:
    told = _told(case, records, pulse)
    slope, low, high = (float(x) for x in case.bootstrap.bounds(_slopes(told)))
    control = float(mean_of(_slopes(_told(case.untrained, records[:CONTROLS], pulse))))
    verdict = judged(low, high, least=LEAST_SLOPE)
    words = f"Of a delay of 80 ms in the {pulse} the state keeps {80 * slope:.0f} ms. "
    words += {
        "fine": "Transit times can be read from it.",
        "worry": "Fusion erases delays: do not read transit times from it. Fit for longer, at a "
        "higher state rate, or with less averaging in its encoders.",
        "unsure": "In some people it keeps less: audit more before reading transit times.",
    }[verdict]
    return Finding(
        "lag" if pulse == "ppg" else f"lag: {pulse}",
        HYPOTHESIS.format(pulse=pulse),
        "milliseconds told per millisecond planted",
        slope,
        low,
        high,
        UNTRAINED,
        control,
        verdict,
        words,
        {
            "limits": [LEAST_SLOPE, None],
            "curves": {
                "x": [1000 * dose for dose in DOSES_S],
                "series": {
                    "told": (1000 * mean_of(told)).tolist(),
                    "planted": [1000 * dose for dose in DOSES_S],
                },
                "x_name": "planted, ms",
                "y_name": "told, ms",
            },
        },
    )


def _told(case: Case, records: list[Record], pulse: str) -> Array:
    """Delay of the pulse behind the ECG against that of the undosed record, (dose, subject), s.

    The sensors' nuisance stays that of the undosed record: what moves is told by the state.
    """
    people: dict[str, list[Array]] = {}
    for record in records:
        before = case.encoded(record)
        paths = before.paths(before.names)
        still = {name: read_off(case, before, paths, name) for name in (pulse, REFERENCE)}
        told = [0.0]
        for dose in DOSES_S[1:]:
            after = case.encoded(shifted(record, pulse, dose))
            moved = with_nuisance_of(after.paths(after.names), paths)
            of_pulse, of_heart = (
                delay_s(read_off(case, after, moved, name), still[name])
                for name in (pulse, REFERENCE)
            )
            told.append(of_pulse - of_heart)
        people.setdefault(record.subject, []).append(np.array(told))
    return case.by_subject(people)


def _slopes(told: Array) -> Array:
    """Least squares through the origin, (subject,)."""
    dose = np.array(DOSES_S)
    return np.asarray(dose @ told / (dose @ dose))
