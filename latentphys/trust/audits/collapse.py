"""Collapse: whether the posterior says more than the prior, and with how many numbers.

    AU = #{k : Var_{people, t}(E[z_k | x]) > 0.01}      KL(q || p) in nats a second

References:
    Burda, Grosse and Salakhutdinov (2016), Importance weighted autoencoders (active units).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from latentphys.model.distributions import kl_along
from latentphys.trust.audits.case import UNTRAINED, Case
from latentphys.trust.audits.finding import Finding, Verdict, judged
from latentphys.trust.resampling import mean_of

HYPOTHESIS = "The posterior state moves with what was recorded, in more than one of its numbers."
ACTIVE = 0.01  # of Burda et al.
LEAST_ACTIVE = 2  # a beat needs two numbers, as a phase does
LEAST_NATS = 1.0  # a second: less than a beat's worth of knowing yes from no


def collapse(case: Case) -> list[Finding]:
    """Active units over people, and the divergence from the prior."""
    first, second, nats = _moments(case)
    counts = _active(case, first, second)
    _, low_n, high_n = case.bootstrap.bounds(nats)
    value, (low, high) = float(counts[0]), np.percentile(counts[1:], [2.5, 97.5]).tolist()
    rate, total = float(mean_of(nats)), case.fitted.model.spec.latent_dim
    ours = case.untrained
    control = float(_active(ours, *_moments(ours)[:2])[0])
    least = min(LEAST_ACTIVE, total)
    both = (judged(low, high, least=least), judged(float(low_n), float(high_n), least=LEAST_NATS))
    verdict: Verdict = "worry" if "worry" in both else "unsure" if "unsure" in both else "fine"
    words = (
        f"{value:.0f} of {total} latent numbers are active and hold {rate:.3g} nats a second "
        f"more than the prior [{float(low_n):.3g}, {float(high_n):.3g}]."
    )
    if verdict != "fine":
        words += " The posterior is the prior" if verdict == "worry" else " It is near the prior"
        words += ": warm the divergence up longer, or fit for longer."
    return [
        Finding(
            "collapse",
            HYPOTHESIS,
            "active latent numbers",
            value,
            float(low),
            float(high),
            UNTRAINED,
            control,
            verdict,
            words,
            {"limits": [least, None], "nats_per_s": rate, "latent_dim": total},
        )
    ]


def _active(
    case: Case, first: NDArray[np.float64], second: NDArray[np.float64]
) -> NDArray[np.int64]:
    """(resample,): active numbers of these people, and of people drawn again."""
    variance = case.bootstrap.means(second) - case.bootstrap.means(first) ** 2
    return (variance > ACTIVE).sum(-1)


@torch.no_grad()
def _moments(
    case: Case,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """E m and E m^2 over time, (latent, subject) each, and nats a second, (subject,)."""
    model = case.fitted.model
    first: dict[str, list[NDArray[np.float32]]] = {}
    second: dict[str, list[NDArray[np.float32]]] = {}
    nats: dict[str, list[float]] = {}
    for record in case.records:
        batch = case.windows(record)
        q = model.guide_of(model.evidence(batch))
        noise = torch.randn(q.mean_path.shape, generator=case.generator())
        along = kl_along(q, model.prior(batch), q.path(noise))
        m = q.mean.flatten(0, 1).numpy()
        first.setdefault(record.subject, []).append(m.mean(0))
        second.setdefault(record.subject, []).append((m**2).mean(0))
        rate = float(along.mean()) * model.spec.state_rate_hz
        nats.setdefault(record.subject, []).append(rate)
    return case.by_subject(first), case.by_subject(second), case.by_subject(nats)
