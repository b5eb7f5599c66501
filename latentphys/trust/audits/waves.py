"""Waves: a PR or QT made longer by a known time is told as longer by as much, and by itself.

The ECG is edited, the state is inferred anew, the ECG is read off it, and the P (or T) wave of its
median beat is timed against that of the undosed record: the sensors' nuisance stays the undosed
one, so what moves is told by the state. Landmarks are the marks of the record where it has some
(LUDB), else those of `latentphys.preparation.delineation`, with its limits; the same wave timed in
the edited signal itself says whether the edit took.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentphys.preparation.beats import beat_times
from latentphys.preparation.delineation import Landmarks, delineate, median_beat
from latentphys.recordings.errors import LabelError
from latentphys.recordings.intervals import marked_leads
from latentphys.recordings.labels import waves as marked_waves
from latentphys.recordings.record import Record
from latentphys.trust.audits.case import CONTROLS, UNTRAINED, Case
from latentphys.trust.audits.edits import lengthened
from latentphys.trust.audits.finding import Finding, judged, not_tested
from latentphys.trust.audits.readout import GRID_HZ, read_off, with_nuisance_of
from latentphys.trust.resampling import mean_of

Array = NDArray[np.float64]
DOSES_S = (0.02, 0.04)  # beyond 40 ms a fast heart has no room before the next wave
WAVE = {"pr": "p", "qt": "t"}
OTHER = {"pr": "qt", "qt": "pr"}
LEAST_SLOPE, MOST_SLOPE = 0.7, 1.3
LEAST_CHANGED = 0.5  # of a record's beats: fewer were given no dose to speak of
LEAST_PEOPLE = 3
LONGEST_S = 60.0
REACH_S, SEARCH_S = 0.03, 0.09
HYPOTHESIS = "A {name} longer by 20 or 40 ms is told as longer by as much, and {other} is not."


@dataclass(frozen=True)
class _Dosed:
    """A record that can be edited: its R peaks and landmarks."""

    record: Record
    beats: Array
    marks: Landmarks


def waves(case: Case) -> list[Finding]:
    """PR and QT."""
    records = [own for record in case.records if (own := _dosable(case, record)) is not None]
    return [_finding(case, records, name) for name in WAVE]


def _finding(case: Case, records: list[_Dosed], name: str) -> Finding:
    shown, other = name.upper(), OTHER[name].upper()
    hypothesis = HYPOTHESIS.format(name=shown, other=other)
    found = [own for own in records if np.isfinite(_window(own.marks, name)).all()]
    told = _told(case, found, name)
    own = case.by_subject(told) if told else np.full((3, len(DOSES_S), len(case.subjects)), np.nan)
    people = int(np.isfinite(own[0, 0]).sum())
    planted = _slopes(own[0])
    if people < LEAST_PEOPLE or not 0.5 < float(mean_of(planted)) < 1.5:
        why = (
            f"Needs {LEAST_PEOPLE} people or more whose ECG (100 Hz or more) has room for a longer "
            f"{shown}, and waves that can be timed; there are {people}."
        )
        return not_tested(f"dose: {shown}", hypothesis, why)
    slope, low, high = (float(x) for x in case.bootstrap.bounds(_slopes(own[1])))
    astray = float(mean_of(_slopes(own[2])))
    dosed = [one for one in found if one.record.subject in told]
    control = _told(case.untrained, dosed[:CONTROLS], name)
    verdict = judged(low, high, LEAST_SLOPE, MOST_SLOPE)
    words = (
        f"Of 40 ms more {shown} the ECG read off the state shows {40 * slope:.0f}, and "
        f"{40 * astray:+.0f} of {other}. "
    )
    words += {
        "fine": f"{shown} can be read from it.",
        "worry": f"The state does not hold {shown}: do not read it there.",
        "unsure": "People differ too much to say.",
    }[verdict]
    return Finding(
        f"dose: {shown}",
        hypothesis,
        "milliseconds told per millisecond planted",
        slope,
        low,
        high,
        UNTRAINED,
        float(mean_of(_slopes(case.by_subject(control)[1]))),
        verdict,
        words,
        {
            "limits": [LEAST_SLOPE, MOST_SLOPE],
            "other_per_planted": astray,
            "in_the_edited_signal": float(mean_of(planted)),
            "people": people,
            "curves": {
                "x": [0.0, *(1000 * dose for dose in DOSES_S)],
                "series": {
                    "told": [0.0, *(1000 * mean_of(own[1])).tolist()],
                    f"told of {other}": [0.0, *(1000 * mean_of(own[2])).tolist()],
                    "planted": [0.0, *(1000 * dose for dose in DOSES_S)],
                },
                "x_name": "planted, ms",
                "y_name": "told, ms",
            },
        },
    )


def _told(case: Case, records: list[_Dosed], name: str) -> dict[str, list[Array]]:
    """subject -> (3, dose) of each record: longer in the edited signal, told, and told of other."""
    people: dict[str, list[Array]] = {}
    for own in records:
        edits = [lengthened(own.record, name, dose, own.beats, own.marks) for dose in DOSES_S]
        if min(share for _, share in edits) < LEAST_CHANGED:  # the same for trained and untrained
            continue
        before = case.encoded(own.record)
        paths = before.paths(before.names)
        still = read_off(case, before, paths, "ecg")
        shown = _signal(case, own.record)
        rows = []
        for edited, _ in edits:
            after = case.encoded(edited)
            moved = with_nuisance_of(after.paths(after.names), paths)
            told = read_off(case, after, moved, "ecg")
            rows.append(
                [
                    _longer(_signal(case, edited), shown, own, name),
                    _longer(told, still, own, name),
                    _longer(told, still, own, OTHER[name]),
                ]
            )
        people.setdefault(own.record.subject, []).append(np.array(rows).T)
    return people


def _longer(after: Array, before: Array, own: _Dosed, name: str) -> float:
    """By how many seconds the interval is longer: its wave's best shift between median beats."""
    beats = own.beats
    time, x = median_beat(after, GRID_HZ, beats)
    _, still = median_beat(before, GRID_HZ, beats)
    start, stop = _window(own.marks, name)
    fine = np.arange(start, stop, 0.002)
    if not len(time) or len(still) != len(x) or not len(fine):
        return np.nan
    wave = _level(np.interp(fine, time, still))
    shifts = np.arange(-SEARCH_S, SEARCH_S + 1e-9, 0.002)
    missed = [((_level(np.interp(fine + s, time, x)) - wave) ** 2).sum() for s in shifts]
    best = float(shifts[int(np.argmin(missed))]) if wave.std() > 1e-6 else 0.0
    return -best if name == "pr" else best


def _level(x: Array) -> Array:
    """Without its straight line: baselines drift, and an edit stretches them."""
    at = np.linspace(-1.0, 1.0, len(x))
    return np.asarray(x - x.mean() - at * (at @ x) / (at @ at))


def _window(marks: Landmarks, name: str) -> tuple[float, float]:
    """Where the wave is, seconds from R, with a little to either side."""
    wave = WAVE[name]
    return getattr(marks, f"{wave}_onset") - REACH_S, getattr(marks, f"{wave}_offset") + REACH_S


def _slopes(told: Array) -> Array:
    """Least squares through the origin, (subject,)."""
    dose = np.array(DOSES_S)
    return np.asarray(dose @ told / (dose @ dose))


def _signal(case: Case, record: Record) -> Array:
    """The ECG as the model takes it, first channel, on the read-out's grid."""
    signal = case.fitted.prepare(record).signals["ecg"]
    x = signal.values[0].astype(np.float64)
    times = np.arange(len(x)) / signal.rate_hz
    return np.interp(np.arange(0.0, times[-1], 1.0 / GRID_HZ), times, x)


def _dosable(case: Case, record: Record) -> _Dosed | None:
    """The middle minute with its beats and landmarks; None without."""
    if "ecg" not in record.signals or "ecg" not in case.names:
        return None
    if record.duration_s > LONGEST_S:
        start = (record.duration_s - LONGEST_S) / 2.0
        record = record.crop(start, start + LONGEST_S)
    if not record.rate_hz("ecg") > 0:
        return None
    try:
        beats = beat_times(record)
    except LabelError:
        return None
    signal = case.fitted.prepare(record).signals["ecg"]
    found = delineate(signal.values[0].astype(np.float64), signal.rate_hz, beats)
    if marked_leads(record):
        found = _marked(record, beats) or found
    return None if found is None else _Dosed(record, beats, found)


def _marked(record: Record, beats: Array) -> Landmarks | None:
    """Medians over beats of the marks of the first lead that is marked, from the R peak."""
    marked = marked_waves(record, marked_leads(record)[0])
    start = marked["time"].values.astype(np.float64)
    stop = start + marked["duration"].values
    at: list[float] = []
    for name in ("P", "QRS", "T"):
        of = marked.values.astype(str) == name
        # P belongs to the beat after it, T to the one before it, QRS to the one within it.
        when = stop[of] if name == "P" else start[of] if name == "T" else 0.5 * (start + stop)[of]
        side = {"P": 0, "T": -1}.get(name)
        if side is None:
            beat = beats[np.abs(beats - when[:, None]).argmin(1)]
        else:
            k = np.searchsorted(beats, when) + side
            inside = (k >= 0) & (k < len(beats))
            beat, of = beats[k[inside]], np.flatnonzero(of)[inside]
        if not len(beat):
            return None
        at += [float(np.median(start[of] - beat)), float(np.median(stop[of] - beat))]
    return Landmarks(*at)
