"""The objective's terms: pure functions over views, each ending in its formula.

All return nats per second of signal, one figure a window. `z` and `draws` are latent paths, axis
order sample, batch, step, latent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from latentphys.learning.views import View
from latentphys.model.distributions import GaussMarkov, kl_along
from latentphys.model.evidence import Evidence, SensorEvidence
from latentphys.model.noise import ColouredNoise
from latentphys.model.statespace import Emission, StateSpaceModel
from latentphys.preparation.batch import Batch

TINY = 1e-9  # added to variances of blocks without a sample


@dataclass(frozen=True)
class Elbo:
    """The evidence lower bound and its parts, each (batch,) in nats per second.

    Attributes:
        value: sum of log_likelihood - kl_weight * (kl_state + kl_nuisance + kl_lag).
        log_likelihood: modality -> E_q log p(x^m | z, eps^m).
        kl_state: KL(q(z_{1:T}) || p(z_{1:T} | u)).
        kl_nuisance: sum over modalities of KL(q(eps^m) || N(0, I)).
        kl_lag: sum over modalities with a lag of KL(q(tau^m) || p(tau^m)).
    """

    value: Tensor
    log_likelihood: Mapping[str, Tensor]
    kl_state: Tensor
    kl_nuisance: Tensor
    kl_lag: Tensor


def seconds(batch: Batch) -> float:
    """Length of the batch's windows, in seconds."""
    return batch.steps / batch.state_rate_hz


def observed_log_prob(log_prob: Tensor, mask: Tensor) -> Tensor:
    """Sum of the log density of the observed samples of each window, (..., batch)."""
    return torch.where(mask, log_prob, 0.0).sum((-3, -2, -1))


@dataclass(frozen=True)
class Crossed:
    """What a view's sensors tell of what it scores, modality -> (row,) each.

    Attributes:
        scores: L_cross or L_mask, nats a second of the window.
        blocks: L_block, standard deviations times samples a second of the window; lacks what has
            no blocks.
        scored_s: seconds that are scored, mean over the channels; 0 where a row asks nothing.
    """

    scores: Mapping[str, Tensor]
    blocks: Mapping[str, Tensor]
    scored_s: Mapping[str, Tensor]


@dataclass(frozen=True)
class _Traces:
    """Some channels of one modality, one by one, so that no absent channel is ever decoded.

    Attributes:
        row: (trace,) of the view; it looks at `window`.
        window, channel: (trace,) where they stand in the batch.
        values: (trace, step, 1, patch), 0 where `mask` is False.
        mask: the same shape; the samples to score.
        share: (trace, step), of the observed samples, how many are scored.
        name: (trace, 1) of the name embedding.
        offset: (trace, step, patch).
    """

    row: Tensor
    window: Tensor
    channel: Tensor
    values: Tensor
    mask: Tensor
    share: Tensor
    name: Tensor
    offset: Tensor

    @classmethod
    def of(
        cls,
        model: StateSpaceModel,
        batch: Batch,
        modality: str,
        scored: Tensor,
        view: View | None = None,
    ) -> _Traces:
        """Those observed at some step in `scored`, (row, step) bool.

        A view's hidden channels are scored at every step, its gaps in its first look at a window.
        """
        views = len(scored) // len(batch)
        observed = batch.mask[modality]
        scored = scored.unsqueeze(-1)
        if view is not None and modality in view.hidden:
            scored = scored | view.hidden[modality].unsqueeze(1)
        seen = observed.any(-1).repeat(views, 1, 1)
        scored = scored.expand_as(seen)
        asked = seen & scored
        gaps = None if view is None else view.gaps.get(modality)
        if gaps is not None:
            gaps = gaps & observed
            asked[: len(batch)] |= gaps.any(-1)
        row, channel = asked.any(1).nonzero(as_tuple=True)
        window = row % len(batch)
        there = observed[window, :, channel]
        mask = there & scored[row, :, channel].unsqueeze(-1)
        if gaps is not None:
            first = (row < len(batch)).view(-1, 1, 1)
            mask = mask | (first & gaps[window, :, channel])
        share = mask.sum(-1) / there.sum(-1).clamp_min(1)
        values = torch.where(mask, batch.values[modality][window, :, channel], 0.0)
        name = model.name_index(modality, batch)[window, channel].unsqueeze(-1)
        offset = batch.offset[modality][window]
        return cls(
            row, window, channel, values.unsqueeze(2), mask.unsqueeze(2), share, name, offset
        )

    def by_row(self, log_prob: Tensor, rows: int) -> Tensor:
        """Sum of the samples' log densities of each row of the view, (rows,)."""
        total = observed_log_prob(log_prob, self.mask)
        return total.new_zeros(rows).index_add(0, self.row, total)

    def channels_of(self, rows: int) -> Tensor:
        """How many of the traces each row of the view has, at least 1, (rows,)."""
        return torch.bincount(self.row, minlength=rows).clamp_min(1)


def elbo(
    model: StateSpaceModel,
    batch: Batch,
    evidence: Evidence,
    q: GaussMarkov,
    z: Tensor,
    kl_weight: float = 1.0,
    weights: Mapping[str, float] | None = None,
) -> Elbo:
    """ELBO = E_q log p(x | z, eps) - kl_weight * (KL(q(z) || p(z | u)) + KL(q(eps) || N(0, I))).

    With lags, E_q log p(x | z, eps, tau) and KL(q(tau) || p(tau)) besides.

    Args:
        model: the state-space model.
        batch: windows and their masks.
        evidence: `model.evidence(batch)`.
        q: `model.guide_of(evidence)`.
        z: one path a window drawn from q, (batch, step, latent).
        kl_weight: 1 for the bound itself; less while it is warmed up.
        weights: modality -> factor on its log likelihood, where it is not 1.

    References:
        Krishnan, Shalit and Sontag (2017), equation 6.
    """
    duration = seconds(batch)
    log_likelihood = {}
    kl_nuisance, kl_lag = z.new_zeros(len(batch)), z.new_zeros(len(batch))
    for name, sensor in evidence.sensors.items():
        if model.emission(name).joint:
            log_likelihood[name] = _joint(model, batch, name, z) / duration
            continue
        everywhere = batch.mask[name].new_ones(len(batch), batch.steps)
        seen = _Traces.of(model, batch, name, everywhere)
        eps = sensor.nuisance.rsample()[seen.window, seen.channel].unsqueeze(-2)
        lag = None
        if name in evidence.lags:
            tau = evidence.lags[name].q
            lag = tau.rsample()[seen.window] * batch.state_rate_hz
            kl_lag = kl_lag + lag_divergence(model, evidence, name) / duration
        emission = model.emission(name)(z[seen.window], eps, seen.name, seen.offset, lag)
        log_prob = emission.log_prob(seen.values)
        log_likelihood[name] = seen.by_row(log_prob, len(batch)) / duration
        unit = Normal(torch.zeros_like(sensor.nuisance.loc), 1.0, validate_args=False)
        kl_nuisance = kl_nuisance + kl_divergence(sensor.nuisance, unit).sum((-2, -1)) / duration
    if tokens := model.tokens_of(batch):
        told = model.text_emission.log_prob(z, tokens, shapes=model.shapes_of(batch))
        log_likelihood[tokens.name] = told / duration
    log_likelihood = weighted(log_likelihood, weights)
    kl_state = kl_along(q, model.prior(batch), z).sum(-1) / duration
    reached = torch.stack(list(log_likelihood.values())).sum(0)
    return Elbo(
        value=reached - kl_weight * (kl_state + kl_nuisance + kl_lag),
        log_likelihood=log_likelihood,
        kl_state=kl_state,
        kl_nuisance=kl_nuisance,
        kl_lag=kl_lag,
    )


def lag_divergence(model: StateSpaceModel, evidence: Evidence, modality: str) -> Tensor:
    """KL(q(tau^m | x) || p(tau^m)), (batch,) nats; 0 where nothing tells of the lag."""
    lag, prior = evidence.lags[modality], model.lag_guide(modality).prior()
    return torch.where(lag.told, kl_divergence(lag.q, prior), 0.0)


def weighted(
    scores: Mapping[str, Tensor], weights: Mapping[str, float] | None
) -> dict[str, Tensor]:
    """Each modality's scores times its weight, where it has one."""
    given = weights or {}
    return {name: score * given[name] if name in given else score for name, score in scores.items()}


def _joint(model: StateSpaceModel, batch: Batch, name: str, z: Tensor) -> Tensor:
    """log p(x^m | z) of a modality without nuisance, all channels at once, (batch,)."""
    values = torch.where(batch.mask[name], batch.values[name], 0.0)
    rows = model.name_index(name, batch)
    emission = model.emission(name)(z, z.new_zeros(0), rows, batch.offset[name])
    return observed_log_prob(emission.log_prob(values), batch.mask[name])


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


def total_correlation(bound: Elbo, apart: Tensor, alpha: float, kl_weight: float = 1.0) -> Tensor:
    """(1 - alpha / M) E log p(x | z) - (1 - alpha) KL(q || p) - alpha / M sum_m KL(q || q_m).

    A bound on the total correlation that z explains of the M modalities, mixed with the ELBO
    (alpha = 0): the posterior is held to what each modality says alone, rather than to the prior.
    M is the model's; a modality that is absent holds it to nothing.

    Args:
        bound: the ELBO's parts.
        apart: KL(q(z | all) || q(z | m)), (modality, batch), nats per second.
        alpha: in [0, 1).
        kl_weight: of the divergences, as in `elbo`.

    Returns:
        (batch,), nats per second.

    References:
        Hwang, Kim, Hong and Kim (2021), Multi-view representation learning via total correlation
        objective, equation 8.
    """
    count = len(apart)
    reached = torch.stack(list(bound.log_likelihood.values())).sum(0)
    own = bound.kl_nuisance + bound.kl_lag
    held = (1.0 - alpha) * bound.kl_state + own + alpha / count * apart.sum(0)
    return (1.0 - alpha / count) * reached - kl_weight * held


def cross(
    model: StateSpaceModel,
    batch: Batch,
    evidence: Evidence,
    view: View,
    q_subset: GaussMarkov,
    draws: int = 4,
    beta: float = 0.0,
) -> Mapping[str, Tensor]:
    """L_cross and L_mask: log p_S(x^m) of the samples the view scores, z ~ q_S.

    A sensor outside S has eps^m ~ N(0, I); one that speaks outside what is hidden of it has
    eps^m ~ q(eps^m | those steps).
    p_S(x_i) is of the emission's family with the moments of K decoded draws,

        E x_i = mean_k mu_ik,    Var x_i = mean_k (mu_ik - E x_i)^2 + mean_k Var(x_i | z_k),

    and a modality's score is the mean over its channels, so that twelve leads weigh no more than
    one.

    A lag is a priori independent of z, so that for any q(tau), q(tau^m | all) with it,

        log p_S(x^m) >= E_{q(tau)} log p_S(x^m | tau) - KL(q(tau) || p(tau)),

    which is what is scored: the sensor's own samples tell of one number a window, and pay for it.
    A state that has to tell of a sensor by itself is then not taught to be vague about what it
    cannot know, whose pulse comes when.

    The draws are antithetic pairs: where decoding is linear their mean has no noise, which would
    cost likelihood and so pull q_S narrower than is honest. What is left is the noise of the
    variance (best spread over the honest one, with sensor noise as wide as the spread of the
    mean: 0.94 at K = 4, 1.00 at K = 32; with independent draws 0.69 and 0.97). K = 1 is the
    single-draw log-likelihood.

    The gradient of each sample is weighed by Var(x_i)^beta, held fixed and with mean 1 over the
    modality's samples; the value is not.
    At beta = 0 a hard sample buys a wide spread and its mean stops learning; at beta = 1 the mean
    learns as by squared error.

    Args:
        model: the state-space model.
        batch: windows and their masks.
        evidence: `model.evidence(batch)`.
        view: whose `target` says what is scored.
        q_subset: the guide with the view's sensors, over (row,).
        draws: K.
        beta: of the gradient's weight.

    Returns:
        modality -> (row,); zero where a row does not score it.

    References:
        Seitzer, Tavakoli, Antic and Martius (2022), On the pitfalls of heteroscedastic
        uncertainty estimation with probabilistic neural networks, equation 4.
    """
    return cross_and_blocks(model, batch, evidence, view, q_subset, draws, beta).scores


def cross_and_blocks(
    model: StateSpaceModel,
    batch: Batch,
    evidence: Evidence,
    view: View,
    q_subset: GaussMarkov,
    draws: int = 4,
    beta: float = 0.0,
    blocks_s: Sequence[float] = (),
) -> Crossed:
    """`cross`, and L_block of the same draws: what their means over blocks of samples say.

        L_block = sum_b n_b CRPS_b,   CRPS_b = E|X_b - x_b| - E|X_b - X'_b| / 2

    X_b and X'_b are means over block b of two draws from q_S, x_b that of its n_b scored samples;
    a block of which half is scored counts. L_cross asks every sample by itself, which sensor noise
    that differs from sample to sample answers as well as a state that is not known. Over a block
    such noise averages out: what is left of the spread is the state's and that of noise that
    lasts, and this says whether it is enough. It is a proper score whose estimate from few draws
    is unbiased.

    Args:
        model, batch, evidence, view, q_subset, draws, beta: as in `cross`; draws 4 or more for
            blocks, of which those that are each other's mirror image are not compared.
        blocks_s: lengths of blocks, seconds, each scored; none for L_cross alone. Signals of 0 and
            1 have none: the noise in a mean of few of them is not normal.

    References:
        Gneiting and Raftery (2007), Strictly proper scoring rules, prediction, and estimation,
        equation 21.
    """
    rows = len(view.keep)
    paths = q_subset.path(_mirrored(draws, q_subset.mean))
    scores, blocks, scored_s = {}, {}, {}
    for k, (name, sensor) in enumerate(evidence.sensors.items()):
        scored = view.targets(k, batch.steps)
        traces = _Traces.of(model, batch, name, scored, view)
        score, block, asked_s = (paths.new_zeros(rows) for _ in range(3))
        emission = model.emission(name)
        lengths = () if emission.joint else blocks_s
        if len(traces.row):
            channels = traces.channels_of(rows)
            eps = _nuisance(sensor, traces, view, name, k, draws)
            lag = _lag(batch, evidence, traces, name, draws)
            if emission.joint:
                loc, variance = _decoded_together(model, batch, name, paths, traces)
            else:
                loc, variance = _decoded(emission, paths[:, traces.row], eps, traces, lag)
            for length in lengths:
                steps = max(1, round(length * batch.state_rate_hz))
                away = _block_score(loc, variance, traces, steps, emission.noise)
                block = block.index_add(0, traces.row, away)
            loc, variance = _mixed(loc, variance)
            log_prob = emission.spread(loc, variance).log_prob(traces.values)
            weight = _weight(variance, traces.mask, beta)
            log_prob = weight * log_prob + ((1.0 - weight) * log_prob).detach()
            score = traces.by_row(log_prob, rows) / channels
            block = block / channels
            asked_s = asked_s.index_add(0, traces.row, traces.share.sum(-1).to(asked_s)) / channels
            if lag is not None:
                paid = lag_divergence(model, evidence, name).repeat(rows // len(batch))
                asked = torch.bincount(traces.row, minlength=rows) > 0
                score = score - torch.where(asked, paid, 0.0)
        scores[name] = score / seconds(batch)
        scored_s[name] = asked_s / batch.state_rate_hz
        if lengths:
            blocks[name] = block / seconds(batch)
    return Crossed(scores, blocks, scored_s)


def _nuisance(
    sensor: SensorEvidence, traces: _Traces, view: View, name: str, modality: int, draws: int
) -> Tensor:
    """eps of some traces, (draw, trace, 1, nuisance), from the steps at which each speaks."""
    keep = view.keep[:, modality][traces.row]
    if name in view.hidden:
        spoken = ~view.hidden[name][traces.row, traces.channel]
        keep = keep & (spoken if keep.dim() == 1 else spoken.unsqueeze(-1))
    if keep.dim() == 2 and sensor.traces is not None:
        own = sensor.traces.nuisance(traces.window, traces.channel, keep)
        loc, scale = own.loc, own.scale
    else:
        speaks = keep.view(len(keep), -1).any(-1, keepdim=True)
        at = (traces.window, traces.channel)
        loc = torch.where(speaks, sensor.nuisance.loc[at], 0.0)
        scale = torch.where(speaks, sensor.nuisance.scale[at], 1.0)
    return (loc + scale * _mirrored(draws, loc)).unsqueeze(-2)


def _lag(batch: Batch, evidence: Evidence, traces: _Traces, name: str, draws: int) -> Tensor | None:
    """tau of some traces in steps, (draw, trace), one a window; None of a modality without."""
    if name not in evidence.lags:
        return None
    q = evidence.lags[name].q
    rows = int(traces.row.max()) + 1
    noise = _mirrored(draws, q.loc.new_empty(rows))[:, traces.row]
    return (q.loc[traces.window] + q.scale[traces.window] * noise) * batch.state_rate_hz


def _mirrored(draws: int, like: Tensor) -> Tensor:
    """Standard normal draws in antithetic pairs, e and -e; (draws, *like.shape)."""
    half = like.new_empty(-(-draws // 2), *like.shape).normal_()
    return torch.cat([half, -half])[:draws]


def _weight(variance: Tensor, mask: Tensor, beta: float) -> Tensor:
    """variance^beta over its mean among the samples in `mask`: no modality outweighs another."""
    weight = variance.detach() ** beta
    counted = mask & torch.isfinite(weight)  # one broken sample breaks its own window alone
    return weight * counted.sum() / torch.where(counted, weight, 0.0).sum()


def _decoded(
    emission: Emission, paths: Tensor, eps: Tensor, traces: _Traces, lag: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Mean and variance of each decoded draw of some traces, (draw, trace, step, 1, patch)."""
    loc, scale = emission.moments(paths, eps, traces.name, traces.offset, lag)
    return loc, emission.variance(scale)


def _decoded_together(
    model: StateSpaceModel, batch: Batch, name: str, paths: Tensor, traces: _Traces
) -> tuple[Tensor, Tensor]:
    """`_decoded` of a modality whose channels are emitted together: each row once for all."""
    emission = model.emission(name)
    windows = torch.arange(paths.shape[1]) % len(batch)
    rows, offset = model.name_index(name, batch)[windows], batch.offset[name][windows]
    loc, scale = emission.moments(paths, paths.new_zeros(0), rows, offset)
    loc, variance = (
        x.transpose(2, 3)[:, traces.row, traces.channel].unsqueeze(-2)
        for x in (loc, emission.variance(scale))
    )
    return loc, variance


def _mixed(loc: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the mixture of draws, without the draw."""
    mean, together = loc.mean(0), variance.mean(0)
    if len(loc) > 1:
        together = together + (loc - mean).square().mean(0)
    return mean, together


def _block_score(
    loc: Tensor, variance: Tensor, traces: _Traces, steps: int, noise: ColouredNoise | None = None
) -> Tensor:
    """sum_b n_b CRPS_b over blocks of state steps, (trace,).

    Args:
        loc, variance: (draw, trace, step, 1, patch), the second half of the draws mirrored.
        traces: what is scored.
        steps: a block's length; what is left after the last whole one is not scored.
        noise: how a sensor's is correlated; None where it is white.
    """
    length, patch = traces.mask.shape[1] // steps * steps, traces.mask.shape[-1]

    def blocks(x: Tensor) -> Tensor:
        x = torch.where(traces.mask, x, 0.0)[..., :length, 0, :]
        return x.reshape(*x.shape[:-2], length // steps, steps * patch)

    size = blocks(torch.ones_like(traces.values)).sum(-1)
    count = size.clamp_min(1.0)
    if noise is None:
        summed = blocks(variance).sum(-1)
    else:
        sd = blocks(variance.sqrt())
        # Samples of a step are taken to be evenly spaced, as they are if their rate is a multiple.
        at = torch.arange(steps * patch, dtype=sd.dtype, device=sd.device) / patch
        summed = (sd @ noise.correlation(at - at[:, None]) * sd).sum(-1)
    # The noise of a mean of many samples is nearly normal, whatever theirs.
    spread = (summed + TINY).sqrt() / count
    means = blocks(loc).sum(-1) / count + spread * torch.randn_like(spread)
    away = (means - blocks(traces.values).sum(-1) / count).abs().mean(0)
    halves = means.view(2, -1, *means.shape[1:])
    apart = (halves[:, None, :, None] - halves[None, :, None, :]).abs().mean((0, 1))
    others = apart.shape[0] - 1
    apart = (apart.sum((0, 1)) - apart.diagonal().sum(-1)) / (apart.shape[0] * others)
    enough = size >= steps * patch / 2
    return torch.where(enough, size * (away - apart / 2.0), 0.0).sum(-1)
