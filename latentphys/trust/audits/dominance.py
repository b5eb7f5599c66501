"""Dominance: how much of the state each sensor speaks for, in nats a step.

    V(S) = -1/2 sum_k log E_t[(z_k - E[z_k | S])^2],  z ~ q(z | all)      phi_m = Shapley value of V

V(S) - V(0) is what S saves in telling the full posterior's state, step by step, with an error of
the best size: a guide too sure of itself when sensors are absent costs no more than its error.
V(0) is what the guide tells without any sensor. The phi_m add up to all that is saved. The
cooperation term V(M) - V(0) - sum_m (V(m) - V(0)) is above 0 where sensors say more together than
apart, below where they repeat one another. The perceptual score P_m is the share of what is saved
that is lost when sensor m is another person's.

References:
    Shapley (1953), A value for n-person games.
    Hu, Li and Zhou (2022), SHAPE: an unified approach to evaluate the contribution and
        cooperation of individual modalities.
    Gat, Schwartz and Schwing (2021), Perceptual score: what data modalities does your model
        perceive?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import factorial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentphys.model.distributions import GaussMarkov
from latentphys.model.evidence import Evidence
from latentphys.recordings.errors import listed
from latentphys.recordings.record import Record
from latentphys.trust.audits.case import Case
from latentphys.trust.audits.finding import Finding, Verdict, judged, not_tested
from latentphys.trust.resampling import SubjectBootstrap, mean_of

Array = NDArray[np.float64]
HYPOTHESIS = "Every sensor moves the state, and no single one speaks for all."
IGNORED = 0.01  # of the nats: below it a sensor could be left at home
ALONE = 0.95  # of the nats: above it the others are there for show
MOST_SENSORS = 8  # 2^8 subsets of every window


def dominance(case: Case) -> list[Finding]:
    """Shares of the nats, least first; a model that goes by one sensor is called so."""
    records, names = case.complete, case.names
    people = {record.subject for record in records}
    if not 2 <= len(names) <= MOST_SENSORS or len(people) < 2:
        return [
            not_tested(
                "dominance",
                HYPOTHESIS,
                f"Needs 2 to {MOST_SENSORS} sensors, all observed in two people or more; there "
                f"are {len(names)} and {len(people)}. Audit people who wore {listed(names)}.",
            )
        ]
    said = _said(case, records)
    share = said.share()
    return [_finding(said, share, names)]


def _finding(said: _Said, share: tuple[Array, Array, Array], names: Sequence[str]) -> Finding:
    least, most = int(share[0].argmin()), int(share[0].argmax())
    value, low, high = (float(own[least]) for own in share)
    heard = judged(low, high, least=IGNORED)
    shared = judged(float(share[1][most]), float(share[2][most]), most=ALONE)
    ignored = [name for name, top in zip(names, share[2], strict=True) if top < IGNORED]
    if shared == "worry":
        words = (
            f"Pseudo-unimodal: {names[most]} alone holds {share[0][most]:.0%} of what the state "
            f"knows. "
        )
    elif ignored:
        words = f"The state ignores {listed(ignored)}. "
    elif "unsure" in (heard, shared):
        words = f"Whether {names[least]} is heard is not sure: audit more people. "
    else:
        words = "Every sensor is heard. "
    verdict: Verdict = "worry" if "worry" in (heard, shared) else "fine"
    verdict = "unsure" if verdict == "fine" and "unsure" in (heard, shared) else verdict
    told = ", ".join(
        f"{name} {own:.0%} ({nats:.3g} nats, perceptual score {p:.2f})"
        for name, own, nats, p in zip(names, share[0], said.nats(), said.perceptual, strict=True)
    )
    together = "say more together than apart" if said.cooperation > 0 else "repeat one another"
    words += f"Shares: {told}. They {together} ({said.cooperation:+.3g} nats)."
    return Finding(
        "dominance",
        HYPOTHESIS,
        f"share of the state's nats of the least heard sensor ({names[least]})",
        value,
        low,
        high,
        "equal shares",
        1.0 / len(names),
        verdict,
        words,
        {
            "limits": [IGNORED, None],
            "share": dict(zip(names, share[0].tolist(), strict=True)),
            "nats_per_step": dict(zip(names, said.nats().tolist(), strict=True)),
            "perceptual": dict(zip(names, said.perceptual.tolist(), strict=True)),
            "cooperation_nats_per_step": said.cooperation,
            "curves": {
                "x": said.times.tolist(),
                "series": dict(zip(names, said.over_time.tolist(), strict=True)),
                "x_name": f"seconds of record {said.record}",
                "y_name": "nats a step",
            },
        },
    )


@dataclass(frozen=True)
class _Said:
    """Shapley values phi (modality, subject), and what else the same pass tells."""

    phi: Array
    bootstrap: SubjectBootstrap
    perceptual: Array
    cooperation: float
    record: str
    times: Array
    over_time: Array

    def nats(self) -> Array:
        """(modality,), a step."""
        return mean_of(self.phi)

    def share(self) -> tuple[Array, Array, Array]:
        """Estimate, low and high of phi_m / sum phi, (modality,) each."""
        drawn = self.bootstrap.means(self.phi)
        total = np.maximum(np.abs(drawn.sum(-1, keepdims=True)), 1e-9)
        shares = drawn / total
        low, high = np.nanpercentile(shares[1:], [2.5, 97.5], axis=0)
        return shares[0], low, high


@torch.no_grad()
def _said(case: Case, records: Sequence[Record]) -> _Said:
    names, model = case.names, case.fitted.model
    values: dict[str, list[Array]] = {}
    perceived: dict[str, list[Array]] = {}
    evidence = [model.evidence(case.windows(record)) for record in records]
    for k, record in enumerate(records):
        v = _told(case, evidence[k]).numpy()
        values.setdefault(record.subject, []).append(v.mean(-1))
        swapped = _swapped(case, evidence[k], evidence[_other(records, k)])
        perceived.setdefault(record.subject, []).append(swapped)
        if k == 0:
            times = (np.arange(v.shape[-1], dtype=np.float64) + 0.5) * case.fitted.window_s
            first = (record.record, times, shapley(v, len(names)))
    v = case.by_subject(values)
    perceptual = case.by_subject(perceived)
    alone = [v[1 << m] - v[0] for m in range(len(names))]
    whole = float(mean_of(v[-1] - v[0]))
    perceptual_score = mean_of(perceptual) / max(whole, 1e-9)
    together = float(mean_of(v[-1] - v[0] - np.sum(alone, axis=0)))
    phi = shapley(v, len(names))
    return _Said(phi, case.bootstrap, perceptual_score, together, *first)


def shapley(values: Array, players: int) -> Array:
    """Shapley values of a game.

        phi_m = sum_{S without m} |S|! (M - |S| - 1)! / M! * (V(S + m) - V(S))

    Args:
        values: V, (subset, ...); bit m of a subset's number says whether m is in it.
        players: M.

    Returns:
        (player, ...).

    Example:
        >>> shapley(np.array([0.0, 1.0, 2.0, 5.0]), 2).tolist()
        [2.0, 3.0]
    """
    phi = np.zeros((players, *values.shape[1:]))
    for m in range(players):
        others = [k for k in range(players) if k != m]
        for size in range(players):
            weight = factorial(size) * factorial(players - size - 1) / factorial(players)
            for chosen in combinations(others, size):
                subset = sum(1 << k for k in chosen)
                phi[m] += weight * (values[subset | 1 << m] - values[subset])
    return phi


def _told(case: Case, evidence: Evidence) -> Tensor:
    """V of every subset and window, (subset, window), nats a step; the first is of no sensor."""
    model, names = case.fitted.model, list(evidence.sensors)
    q, found = model.guide_of(evidence), []
    for subset in range(2 ** len(names)):
        keep = torch.tensor([[bool(subset >> k & 1) for k in range(len(names))]])
        part = model.guide_of(evidence, keep.expand(evidence.shape[0], -1))
        found.append(_value(q, part.mean))
    return torch.stack(found)


def _swapped(case: Case, evidence: Evidence, other: Evidence) -> Array:
    """V(all) - V(all, m of another person), (modality,), nats a step."""
    model = case.fitted.model
    rows = torch.arange(evidence.shape[0]) % other.shape[0]
    q, found = model.guide_of(evidence), []
    for name, own in evidence.sensors.items():
        theirs = other.sensors[name]
        strange = replace(
            own, precision=theirs.precision[rows], weighted=theirs.weighted[rows], traces=None
        )
        mixed = Evidence({**evidence.sensors, name: strange}, evidence.shape)
        lost = _value(q, q.mean) - _value(q, model.guide_of(mixed).mean)
        found.append(float(lost.mean()))
    return np.array(found)


def _value(q: GaussMarkov, mean: Tensor) -> Tensor:
    """-1/2 sum_k log E_t[(z_k - mean_k)^2] of every window, (window,)."""
    return -0.5 * ((q.mean - mean) ** 2 + q.variance).mean(1).log().sum(-1)


def _other(records: Sequence[Record], k: int) -> int:
    """The next record of another person."""
    after = [*range(k + 1, len(records)), *range(k)]
    return next(j for j in after if records[j].subject != records[k].subject)
