"""L_align: windows of one moment, seen by different sensors, against all other windows.

All take similarities or unit vectors and give nats a window, one figure a row. A window that lacks
a sensor is neither a query nor a candidate for it, and the weights of the others do not change.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor


def info_nce(similarity: Tensor, valid: Tensor) -> Tensor:
    """-1/2 [log softmax_j s_ij + log softmax_i s_ij] at i = j, (row,).

    Args:
        similarity: (row, row) logits, queries down, candidates across; the diagonal is right.
        valid: (row,) bool; others are no candidates and score 0.

    References:
        van den Oord, Li and Vinyals (2018), Representation learning with contrastive predictive
        coding, equation 4.
    """
    pairs = valid.unsqueeze(0) & valid.unsqueeze(1)
    own = similarity.diagonal()
    # The diagonal stands in for what is no candidate, so that no row is empty.
    least = torch.finfo(similarity.dtype).min
    logits = torch.where(pairs, similarity, torch.full_like(similarity, least))
    logits = torch.where(torch.eye(len(own), dtype=torch.bool), own.unsqueeze(-1), logits)
    loss = 0.5 * (logits.logsumexp(-1) + logits.logsumexp(-2)) - own
    return torch.where(valid, loss, 0.0)


def leave_one_out(embedded: Tensor, present: Tensor, scale: Tensor) -> Tensor:
    """(1 / M) sum_m InfoNCE(e^tau e_m . o_{-m}), o_{-m} the mean of the others' unit vectors.

    The mean is not made a unit vector again: sensors that disagree say less.

    Args:
        embedded: unit vectors, (modality, row, size).
        present: (row, modality) bool.
        scale: e^tau.

    Returns:
        (row,), nats a window.

    References:
        Thapa et al. (2024), SleepFM: multi-modal representation learning for sleep, section 3.2.
    """
    there = present.t().unsqueeze(-1)
    known = torch.where(there, embedded, 0.0)
    total, count = known.sum(0), there.sum(0)
    loss = embedded.new_zeros(embedded.shape[1])
    for m in range(len(embedded)):
        others = count - there[m].to(count)
        rest = (total - known[m]) / others.clamp_min(1)
        valid = present[:, m] & (others.squeeze(-1) > 0)
        loss = loss + info_nce(scale * known[m] @ rest.t(), valid)
    return loss / len(embedded)


def pairwise(embedded: Tensor, present: Tensor, scale: Tensor) -> Tensor:
    """Mean over the pairs of modalities of InfoNCE(e^tau e_m . e_n), (row,); as `leave_one_out`.

    References:
        Radford et al. (2021), Learning transferable visual models from natural language
        supervision, figure 3.
    """
    known = torch.where(present.t().unsqueeze(-1), embedded, 0.0)

    def pair(m: int, n: int) -> Tensor:
        return info_nce(scale * known[m] @ known[n].t(), present[:, m] & present[:, n])

    return _mean_over_pairs(pair, known)


def between_posteriors(mean: Tensor, variance: Tensor, present: Tensor) -> Tensor:
    """Mean over the pairs of modalities of InfoNCE of their posteriors' likelihood, (row,).

        s(i, j) = 1/D log int N(z; m_i, v_i) N(z; m_j, v_j) dz
                = -1/2D sum_d [(m_id - m_jd)^2 / (v_id + v_jd) + log 2 pi (v_id + v_jd)]

    of D dimensions: of their sum a single pair would decide the gradient. A sensor that knows
    little has a wide posterior, and is not pulled where it cannot know. A log likelihood has its
    own scale: none is learned.

    Args:
        mean, variance: (modality, row, latent).
        present: (row, modality) bool.

    References:
        Shi and Jain (2019), Probabilistic face embeddings, equation 3.
    """

    def pair(m: int, n: int) -> Tensor:
        both = variance[m].unsqueeze(1) + variance[n].unsqueeze(0)
        apart = mean[m].unsqueeze(1) - mean[n].unsqueeze(0)
        score = -0.5 * (apart**2 / both + torch.log(2.0 * torch.pi * both)).mean(-1)
        return info_nce(score, present[:, m] & present[:, n])

    return _mean_over_pairs(pair, mean)


def _mean_over_pairs(pair: Callable[[int, int], Tensor], embedded: Tensor) -> Tensor:
    pairs = list(combinations(range(len(embedded)), 2))
    zero = embedded.new_zeros(embedded.shape[1])
    return torch.stack([pair(m, n) for m, n in pairs]).mean(0) if pairs else zero
