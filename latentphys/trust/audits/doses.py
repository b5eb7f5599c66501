"""Dose and response: what should move the state does, by as much; what should not does not.

Nuisances are in `nuisances`, waves of the ECG in `waves`; here is the heart's rate.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from latentphys.recordings.record import Record
from latentphys.trust.audits.case import CONTROLS, UNTRAINED, Case
from latentphys.trust.audits.edits import at_tempo
from latentphys.trust.audits.finding import Finding, judged, not_tested
from latentphys.trust.audits.nuisances import nuisances
from latentphys.trust.audits.readout import beats_a_minute, read_off
from latentphys.trust.audits.waves import waves
from latentphys.trust.resampling import mean_of

Array = NDArray[np.float64]
TEMPOS = (0.85, 0.93, 1.07, 1.15)
BEATING = ("ppg", "abp", "ecg")
LEAST_SLOPE, MOST_SLOPE = 0.8, 1.2  # 10 beats a minute more are told as 8 to 12


def dose(case: Case) -> list[Finding]:
    """Nuisances leave the state where it is; a faster heart and longer waves are told as such."""
    if len(case.subjects) < 3:
        why = "What is far is judged by how people differ: needs three people or more."
        return [not_tested("dose", "Nuisances leave the state where it is.", why)]
    return [*nuisances(case), _tempo(case), *waves(case)]


def _tempo(case: Case) -> Finding:
    hypothesis = "A heart that beats faster is told as beating as much faster."
    worn = {name: [r for r in case.records if name in r.modalities] for name in BEATING}
    sensor = max(worn, key=lambda name: len(worn[name]))  # the first of those worn most
    records = worn[sensor]
    if len({r.subject for r in records}) < 2:
        return not_tested("dose: heart rate", hypothesis, "Needs an ECG or a pulse of two people.")
    told, planted = _rates(case, records, sensor)
    slope, low, high = (float(x) for x in case.bootstrap.bounds(_slope(told, planted)))
    control = float(mean_of(_slope(*_rates(case.untrained, records[:CONTROLS], sensor))))
    verdict = judged(low, high, LEAST_SLOPE, MOST_SLOPE)
    words = f"10 beats a minute more are told as {10 * slope:.1f}, read off the {sensor}. "
    words += {
        "fine": "",
        "worry": "The state does not follow the heart: fit for longer.",
        "unsure": "People differ: in some of them the state does not follow the heart.",
    }[verdict]
    return Finding(
        "dose: heart rate",
        hypothesis,
        "beats a minute told per beat a minute planted",
        slope,
        low,
        high,
        UNTRAINED,
        control,
        verdict,
        words.strip(),
        {
            "limits": [LEAST_SLOPE, MOST_SLOPE],
            "curves": {
                "x": [100 * (tempo - 1) for tempo in TEMPOS],
                "series": {
                    "told": mean_of(told).tolist(),
                    "planted": mean_of(planted).tolist(),
                },
                "x_name": "tempo changed, %",
                "y_name": "beats a minute",
            },
        },
    )


def _rates(case: Case, records: list[Record], sensor: str) -> tuple[Array, Array]:
    """Rise of the rate told and of the rate planted, (tempo, subject), beats a minute."""
    told: dict[str, list[Array]] = {}
    planted: dict[str, list[Array]] = {}
    for record in records:
        after = np.array([_rate(case, at_tempo(record, tempo), sensor) for tempo in TEMPOS])
        before = _rate(case, record, sensor)
        told.setdefault(record.subject, []).append(after - before)
        rise = _true_rate(case, record, sensor) * (np.array(TEMPOS) - 1.0)
        planted.setdefault(record.subject, []).append(rise)
    return case.by_subject(told), case.by_subject(planted)


def _rate(case: Case, record: Record, sensor: str) -> float:
    encoded = case.encoded(record)
    whole = read_off(case, encoded, encoded.paths(encoded.names), sensor)
    # The end of a record played faster holds nothing.
    return beats_a_minute(whole[: int(len(whole) / max(TEMPOS))])


def _true_rate(case: Case, record: Record, sensor: str) -> float:
    """The rate of the recorded signal itself."""
    signal = case.fitted.prepare(record).signals[sensor]
    values = np.nan_to_num(signal.values[0].astype(np.float64))
    return beats_a_minute(values, signal.rate_hz)


def _slope(told: Array, planted: Array) -> Array:
    """Least squares through the origin, (subject,); NaN where no rate could be read."""
    with np.errstate(invalid="ignore"):
        slope = (told * planted).sum(0) / (planted**2).sum(0)
    return np.where(np.isfinite(slope), slope, 0.0 if told.size else math.nan)
