"""Identity: whether people are recognised, and whether by their amplifiers' gain.

People differ, so a state that tells them apart is no fault in itself; one that tells them apart by
how a sensor was set is. The gains of each second half are therefore drawn anew: what recognition
is lost then was the gain's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from latentphys.recordings.record import Record
from latentphys.trust.audits.case import FEATURE_S, Case
from latentphys.trust.audits.edits import ABSOLUTE, amplified
from latentphys.trust.audits.finding import Finding, not_tested

Array = NDArray[np.float64]
LEAST_PEOPLE = 5
MOST_BY_GAIN = 0.1  # of people: one in ten known by an amplifier is no longer chance
GAIN_SPREAD = 0.5  # of log gain: about what two wearings of one sensor differ by
PERMUTATIONS = 999
SURE = 0.05
DEVICES = ("device", "ward", "location", "site", "study", "rate")
HYPOTHESIS = "Whom the state recognises it does not recognise by the gain of sensors."


def identity(case: Case) -> list[Finding]:
    """Recognition across the halves of a record, what gain has in it, and probes of devices."""
    records = [record for record in case.records if record.duration_s >= 2 * FEATURE_S]
    one_each = list({record.subject: record for record in records}.values())
    if len(one_each) < LEAST_PEOPLE:
        why = f"Needs {LEAST_PEOPLE} people or more, recorded for {2 * FEATURE_S:.0f} s."
        return [not_tested("identity", HYPOTHESIS, why)]
    return [_people(case, one_each), *_devices(case)]


def _people(case: Case, records: Sequence[Record]) -> Finding:
    rng = np.random.default_rng(case.seed)
    halves = [(r.crop(0.0, r.duration_s / 2), r.crop(r.duration_s / 2)) for r in records]
    known = np.stack([case.features(first).mean(0) for first, _ in halves])
    rows = [case.features(second) for _, second in halves]
    other = []
    for _, second in halves:
        gains = {
            name: float(np.exp(GAIN_SPREAD * rng.standard_normal()))
            for name in second.signals
            if name not in ABSOLUTE
        }
        other.append(case.features(amplified(second, gains)))
    spread = known.std(0) + 1e-9
    hits, changed = _nearest(known / spread, rows, spread), _nearest(known / spread, other, spread)
    who = np.arange(len(records))
    share = _recognised(hits, who)
    null = np.array([_recognised(hits, rng.permutation(who)).mean() for _ in range(PERMUTATIONS)])
    p = (1 + (null >= share.mean()).sum()) / (1 + PERMUTATIONS)
    lost = np.full(len(case.subjects), np.nan)
    for k, record in enumerate(records):
        lost[case.subjects.index(record.subject)] = share[k] - _recognised(changed, who)[k]
    value, low, high = (float(x) for x in case.bootstrap.bounds(lost))
    worry = value > MOST_BY_GAIN
    words = (
        f"{share.mean():.0%} of stretches are recognised as their person's among {len(records)}, "
        f"{share.mean() / max(null.mean(), 1e-9):.1f} times chance (p = {p:.3f}): embeddings are "
        f"personal data. With other gains {value:.0%} fewer are. "
    )
    words += "Gain stands for the person: normalise it." if worry else "Gain has no part in it."
    return Finding(
        "identity",
        HYPOTHESIS,
        "share of recognitions lost when gains change",
        value,
        low,
        high,
        "chance of recognition",
        float(null.mean()),
        "worry" if worry else "fine",
        words,
        {"recognised": float(share.mean()), "null": float(null.mean()), "p": float(p)},
    )


def _nearest(known: Array, rows: Sequence[Array], spread: Array) -> list[NDArray[np.int64]]:
    """Number of the nearest known person for every row of every second half."""
    return [
        np.linalg.norm(known[None] - (own / spread)[:, None], axis=-1).argmin(1) for own in rows
    ]


def _recognised(hits: Sequence[NDArray[np.int64]], who: NDArray[np.int64]) -> Array:
    """(person,): share of rows whose nearest is `who` of the person."""
    return np.array([(own == who[k]).mean() for k, own in enumerate(hits)])


def _devices(case: Case) -> list[Finding]:
    """A probe of each property of the recording that people share: device, ward, rate."""
    people = list({record.subject: record for record in case.records}.values())
    found: dict[str, list[str]] = {}
    for name in DEVICES:
        values = [_property(record, name) for record in people]
        counts = [values.count(v) for v in set(values)]
        if "" not in values and len(counts) > 1 and min(counts) >= 3:
            found[name] = values
    if not found:
        return []
    of = {r.record: own for r, own in zip(case.records, case.state_rows, strict=True)}
    rows = np.stack([of[record.record].mean(0) for record in people])
    return [_device(case, name, values, rows, len(found)) for name, values in found.items()]


def _device(case: Case, name: str, values: list[str], rows: Array, probes: int) -> Finding:
    """Nearest mean of the other people's classes, beside the same with classes dealt anew."""
    rng = np.random.default_rng(case.seed)
    rows = (rows - rows.mean(0)) / (rows.std(0) + 1e-9)
    classes = np.unique(values, return_inverse=True)[1]
    score = _balanced(rows, classes)
    null = np.array([_balanced(rows, rng.permutation(classes)) for _ in range(PERMUTATIONS)])
    p = (1 + (null >= score).sum()) / (1 + PERMUTATIONS)
    worry = p < SURE / probes
    low, high = np.percentile(null, [2.5, 97.5])
    words = (
        f"{name} is told with balanced accuracy {score:.2f} (dealt anew: {null.mean():.2f} "
        f"[{low:.2f}, {high:.2f}], p = {p:.3f}). "
    )
    words += (
        "Groups may differ in their patients: compare within one."
        if worry
        else "No more than by chance."
    )
    return Finding(
        f"identity: {name}",
        f"The state does not tell the {name} of a recording.",
        "balanced accuracy on people the probe never saw",
        float(score),
        np.nan,
        np.nan,
        "classes dealt anew",
        float(null.mean()),
        "worry" if worry else "fine",
        words,
        {"p": float(p)},
    )


def _balanced(rows: Array, classes: NDArray[np.int64]) -> float:
    """Leave one person out, nearest class mean; mean over classes of the share right."""
    right = np.zeros(len(rows))
    sums = np.stack([rows[classes == c].sum(0) for c in range(classes.max() + 1)])
    counts = np.bincount(classes).astype(np.float64)
    for k, own in enumerate(classes):
        s, n = sums.copy(), counts.copy()
        s[own] -= rows[k]
        n[own] -= 1
        right[k] = np.linalg.norm(s / n[:, None] - rows[k], axis=1).argmin() == own
    return float(np.mean([right[classes == c].mean() for c in range(len(counts))]))


def _property(record: Record, name: str) -> str:
    if name == "rate":
        return "/".join(f"{record.rate_hz(m):g}" for m in sorted(record.modalities))
    return record.study if name == "study" else str(record.attrs.get(name, ""))
