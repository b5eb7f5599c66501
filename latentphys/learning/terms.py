"""The objective's terms: pure functions over views, each ending in its formula.

All return nats per second of signal, one figure a window. `z` and `draws` are latent paths, axis
order sample, batch, step, latent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from latentphys.learning.views import View
from latentphys.model.distributions import GaussMarkov, kl_along
from latentphys.model.evidence import Evidence
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.batch import Batch


@dataclass(frozen=True)
class Elbo:
    """The evidence lower bound and its parts, each (batch,) in nats per second.

    Attributes:
        value: sum of log_likelihood - kl_weight * (kl_state + kl_nuisance).
        log_likelihood: modality -> E_q log p(x^m | z, eps^m).
        kl_state: KL(q(z_{1:T}) || p(z_{1:T} | u)).
        kl_nuisance: sum over modalities of KL(q(eps^m) || N(0, I)).
    """

    value: Tensor
    log_likelihood: Mapping[str, Tensor]
    kl_state: Tensor
    kl_nuisance: Tensor


def seconds(batch: Batch) -> float:
    """Length of the batch's windows, in seconds."""
    return batch.steps / batch.state_rate_hz


def observed_log_prob(log_prob: Tensor, mask: Tensor) -> Tensor:
    """Sum of the log density of the observed samples of each window, (..., batch)."""
    return torch.where(mask, log_prob, 0.0).sum((-3, -2, -1))


def elbo(
    model: StateSpaceModel,
    batch: Batch,
    evidence: Evidence,
    q: GaussMarkov,
    z: Tensor,
    kl_weight: float = 1.0,
) -> Elbo:
    """ELBO = E_q log p(x | z, eps) - kl_weight * (KL(q(z) || p(z | u)) + KL(q(eps) || N(0, I))).

    Args:
        model: the state-space model.
        batch: windows and their masks.
        evidence: `model.evidence(batch)`.
        q: `model.guide_of(evidence)`.
        z: one path a window drawn from q, (batch, step, latent).
        kl_weight: 1 for the bound itself; less while it is warmed up.

    References:
        Krishnan, Shalit and Sontag (2017), equation 6.
    """
    duration = seconds(batch)
    log_likelihood = {}
    kl_nuisance = z.new_zeros(len(batch))
    for name, sensor in evidence.sensors.items():
        mask = batch.mask[name]
        values = torch.where(mask, batch.values[name], 0.0)
        emission = model.emission(name)(
            z, sensor.nuisance.rsample(), model.name_index(name, batch), batch.offset[name]
        )
        log_likelihood[name] = observed_log_prob(emission.log_prob(values), mask) / duration
        unit = Normal(torch.zeros_like(sensor.nuisance.loc), 1.0, validate_args=False)
        kl_nuisance = kl_nuisance + kl_divergence(sensor.nuisance, unit).sum((-2, -1)) / duration
    kl_state = kl_along(q, model.prior(batch), z).sum(-1) / duration
    reached = torch.stack(list(log_likelihood.values())).sum(0)
    return Elbo(
        value=reached - kl_weight * (kl_state + kl_nuisance),
        log_likelihood=log_likelihood,
        kl_state=kl_state,
        kl_nuisance=kl_nuisance,
    )


def missing(q_full: GaussMarkov, q_subset: GaussMarkov, z: Tensor, batch: Batch) -> Tensor:
    """L_miss = KL(q(z_{1:T} | all) || q(z_{1:T} | S)) along a path z ~ q(. | all).

    Minimised over q(. | S) it is the moment-matched mixture of every full-sensor posterior
    compatible with S, which is what makes the subset's uncertainty honest.

    Args:
        q_full: the guide with all sensors.
        q_subset: the guide with a subset S.
        z: a path a window drawn from q_full, (batch, step, latent).
        batch: for its length in seconds.
    """
    return kl_along(q_full, q_subset, z).sum(-1) / seconds(batch)


def cross(
    model: StateSpaceModel, batch: Batch, view: View, q_subset: GaussMarkov, draws: int = 4
) -> Mapping[str, Tensor]:
    """L_cross = log p_S(x^m) for each sensor m not in S, z ~ q_S, eps^m ~ N(0, I).

    p_S(x_i) is the normal with the moments of K decoded draws,

        N(x_i ; mean_k mu_ik, (1 + 1/K) var_k mu_ik + mean_k sigma_ik^2),

    where (1 + 1/K) is the price of a mean of K exchangeable draws. K = 1 is the single-draw
    log-likelihood.

    Warning:
        An honest spread is best only as K grows: the noise in the mean of K draws costs too, and
        pulls q_S narrower by O(1/K) (with sensor noise as wide as the spread of the mean, the
        best spread is 0.7 of the honest one at K = 4, 0.96 at K = 32).

    Args:
        model: the state-space model.
        batch: windows and their masks.
        view: whose `target` says which sensors are scored.
        q_subset: the guide with the view's sensors.
        draws: K.

    Returns:
        modality -> (batch,); zero where a window does not score it.
    """
    paths = q_subset.rsample(torch.Size((draws,)))
    scores = {}
    for k, name in enumerate(model.spec.sensors):
        if name not in batch.values:
            continue
        scored = view.target[:, _column(model, batch, k)]
        rows = scored.nonzero().squeeze(-1)
        score = paths.new_zeros(len(batch))
        if len(rows):
            log_prob = _predictive_log_prob(model, batch, name, paths[:, rows], rows)
            score = score.index_add(0, rows, log_prob)
        scores[name] = score / seconds(batch)
    return scores


def _column(model: StateSpaceModel, batch: Batch, k: int) -> int:
    """Column of the model's k-th modality among those of the batch."""
    return sum(name in batch.values for name in list(model.spec.sensors)[:k])


def _predictive_log_prob(
    model: StateSpaceModel, batch: Batch, name: str, paths: Tensor, rows: Tensor
) -> Tensor:
    """log of the moment-matched predictive of one sensor on some windows, (row,)."""
    mask = batch.mask[name][rows]
    values = torch.where(mask, batch.values[name][rows], 0.0)
    draws, _, _, _ = paths.shape
    shape = (draws, len(rows), values.shape[2], model.spec.nuisance_dim)
    nuisance = paths.new_empty(shape).normal_()
    emission = model.emission(name)
    loc, scale = emission.moments(
        paths, nuisance, model.name_index(name, batch)[rows], batch.offset[name][rows]
    )
    variance = emission.variance(scale).mean(0)
    if draws > 1:
        variance = variance + (1.0 + 1.0 / draws) * loc.var(0)
    predictive = Normal(loc.mean(0), variance.sqrt(), validate_args=False)
    return observed_log_prob(predictive.log_prob(values), mask)
