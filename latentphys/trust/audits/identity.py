"""Identity: whether people are recognised, and whether by their amplifiers' gain.

People differ, so a state that tells them apart is no fault in itself; one that tells them apart by
how a sensor was set is. Everyone is therefore given gains of their own, drawn anew, and then those
of others: how far a state goes towards the person whose gains it got is the gain's part in who
somebody is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from latentphys.recordings.record import Record
from latentphys.trust.audits.case import FEATURE_S, Case
from latentphys.trust.audits.edits import ABSOLUTE, amplified
from latentphys.trust.audits.finding import Finding, Verdict, judged, not_tested

Array = NDArray[np.float64]
LEAST_PEOPLE = 5
LEAST_ALIKE = 3  # people of a ward or device
MOST_BY_GAIN = 0.1  # of the way: a tenth of what tells two people apart
OTHERS = 3  # whose gains each person is given
MOST_ABOVE_CHANCE = 0.25  # of balanced accuracy: an interval below it rules a good probe out
GAIN_SPREAD = 0.5  # of log gain: about what two wearings of one sensor differ by
PERMUTATIONS = 999
SURE = 0.05
DEVICES = ("device", "ward", "location", "site", "study", "rate")
TOLD = "The state does not tell the {name} of a recording."
HYPOTHESIS = "Whom the state recognises it does not recognise by the gain of sensors."


def identity(case: Case) -> list[Finding]:
    """Recognition across the halves of a record, what gain has in it, and probes of devices."""
    records = [record for record in case.records if record.duration_s >= 2 * FEATURE_S]
    one_each = list({record.subject: record for record in records}.values())
    if len(one_each) < LEAST_PEOPLE:
        why = f"Needs {LEAST_PEOPLE} people or more, recorded for {2 * FEATURE_S:.0f} s."
        return [not_tested("identity", HYPOTHESIS, why), *_devices(case)]
    return [_people(case, one_each), *_devices(case)]


def _people(case: Case, records: Sequence[Record]) -> Finding:
    rng = np.random.default_rng(case.seed)
    halves = [(r.crop(0.0, r.duration_s / 2), r.crop(r.duration_s / 2)) for r in records]
    known = np.stack([case.features(first).mean(0) for first, _ in halves])
    rows = [case.features(second) for _, second in halves]
    spread, who = known.std(0) + 1e-9, np.arange(len(records))
    hits = _nearest(known / spread, rows, spread)
    share = _recognised(hits, who)
    null = np.array([_recognised(hits, rng.permutation(who)).mean() for _ in range(PERMUTATIONS)])
    p = (1 + (null >= share.mean()).sum()) / (1 + PERMUTATIONS)
    led = np.full(len(case.subjects), np.nan)
    for record, own in zip(records, _led_astray(case, halves, rng), strict=True):
        led[case.subjects.index(record.subject)] = own
    value, low, high = (float(x) for x in case.bootstrap.bounds(led))
    verdict = judged(low, high, most=MOST_BY_GAIN)
    words = (
        f"With another person's gains a state moves {value:.0%} of the way to that person. "
        + {
            "fine": "Gain has no part in who somebody is.",
            "worry": "Gain stands for the person: normalise it, or vary it in training.",
            "unsure": "Too few people to say whether gain stands for the person.",
        }[verdict]
        + f" {share.mean():.0%} of stretches are recognised as their person's among "
        f"{len(records)}, {share.mean() / max(null.mean(), 1e-9):.1f} times chance "
        f"(p = {p:.3f}): embeddings are personal data."
    )
    return Finding(
        "identity",
        HYPOTHESIS,
        "share of the way to another person moved by their gains",
        value,
        low,
        high,
        "a state without gain",
        0.0,
        verdict,
        words,
        {
            "limits": [None, MOST_BY_GAIN],
            "recognised": float(share.mean()),
            "null": float(null.mean()),
            "p": float(p),
        },
    )


def _led_astray(
    case: Case, halves: Sequence[tuple[Record, Record]], rng: np.random.Generator
) -> Array:
    """How far the gains of others lead each person towards them, (person,).

        <z(A, g_B) - z(A, g_A), z(B, g_B) - z(A, g_A)> / |z(B, g_B) - z(A, g_A)|^2

    Everyone is known by a first half with gains g of their own, drawn anew, and asked about by a
    second half with their own gains and with those of the next few people.
    """
    sensors = sorted({name for first, _ in halves for name in first.signals} - {*ABSOLUTE})
    gains = [
        {name: float(np.exp(GAIN_SPREAD * rng.standard_normal())) for name in sensors}
        for _ in halves
    ]

    def seen(half: Record, own: dict[str, float]) -> Array:
        worn = {name: gain for name, gain in own.items() if name in half.signals}
        return case.features(amplified(half, worn)).mean(0)

    known = np.stack([seen(first, own) for (first, _), own in zip(halves, gains, strict=True)])
    spread, count = known.std(0) + 1e-9, len(halves)
    found = np.zeros(count)
    for k, (_, second) in enumerate(halves):
        still = seen(second, gains[k])
        shares = []
        for other in [(k + step) % count for step in range(1, min(OTHERS, count - 1) + 1)]:
            moved = (seen(second, gains[other]) - still) / spread
            way = (known[other] - known[k]) / spread
            shares.append(float(moved @ way / max(way @ way, 1e-12)))
        found[k] = np.mean(shares)
    return found


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
    rare: list[Finding] = []
    for name in DEVICES:
        values = [_property(record, name) for record in people]
        counts = Counter(value for value in values if value)
        common = [value for value, count in counts.items() if count >= LEAST_ALIKE]
        if len(common) > 1:
            found[name] = [value if value in common else "" for value in values]
        elif len(counts) > 1:
            told = ", ".join(f"{value} {count}" for value, count in counts.most_common(5))
            why = f"Needs two kinds with {LEAST_ALIKE} people or more each; there are {told}."
            rare.append(not_tested(f"identity: {name}", TOLD.format(name=name), why))
    of = {r.record: own for r, own in zip(case.records, case.state_rows, strict=True)}
    rows = np.stack([of[record.record].mean(0) for record in people])
    return [*(_device(case, name, own, rows, len(found)) for name, own in found.items()), *rare]


def _device(case: Case, name: str, values: list[str], rows: Array, probes: int) -> Finding:
    """Nearest mean of the other people's classes, beside the same with classes dealt anew."""
    rng = np.random.default_rng(case.seed)
    kept = np.array([value != "" for value in values])
    rows = rows[kept]
    rows = (rows - rows.mean(0)) / (rows.std(0) + 1e-9)
    classes = np.unique(np.array(values)[kept], return_inverse=True)[1]
    right = _right(rows, classes)
    score = _balanced(right, classes)
    null = np.array(
        [
            _balanced(_right(rows, dealt), dealt)
            for dealt in (rng.permutation(classes) for _ in range(PERMUTATIONS))
        ]
    )
    p = float((1 + (null >= score).sum()) / (1 + PERMUTATIONS))
    drawn = rng.integers(len(classes), size=(1000, len(classes)))
    low, high = np.nanpercentile([_balanced(right[k], classes[k]) for k in drawn], [2.5, 97.5])
    bottom, top = np.percentile(null, [2.5, 97.5])
    most = float(null.mean()) + MOST_ABOVE_CHANCE
    verdict: Verdict = "worry" if p < SURE / probes else "fine" if high <= most else "unsure"
    words = (
        f"{name} is told with balanced accuracy {score:.2f} (dealt anew: {null.mean():.2f} "
        f"[{bottom:.2f}, {top:.2f}], p = {p:.3f}). "
    )
    words += {
        "worry": "Groups may differ in their patients: compare within one.",
        "fine": "No more than by chance.",
        "unsure": "Not more than by chance, but too few people to rule it out.",
    }[verdict]
    return Finding(
        f"identity: {name}",
        TOLD.format(name=name),
        "balanced accuracy on people the probe never saw",
        score,
        float(low),
        float(high),
        "classes dealt anew",
        float(null.mean()),
        verdict,
        words,
        {"p": p, "limits": [None, most], "people": int(kept.sum())},
    )


def _right(rows: Array, classes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(person,): whether the nearest class mean of the others is the person's own."""
    right = np.zeros(len(rows), dtype=bool)
    sums = np.stack([rows[classes == c].sum(0) for c in range(classes.max() + 1)])
    counts = np.bincount(classes).astype(np.float64)
    for k, own in enumerate(classes):
        s, n = sums.copy(), counts.copy()
        s[own] -= rows[k]
        n[own] -= 1
        right[k] = np.linalg.norm(s / n[:, None] - rows[k], axis=1).argmin() == own
    return right


def _balanced(right: NDArray[np.bool_], classes: NDArray[np.int64]) -> float:
    """Mean over the classes that are there of the share right."""
    return float(np.mean([right[classes == c].mean() for c in np.unique(classes)]))


def _property(record: Record, name: str) -> str:
    if name == "rate":
        return "/".join(f"{record.rate_hz(m):g}" for m in sorted(record.modalities))
    return record.study if name == "study" else str(record.attrs.get(name, ""))
