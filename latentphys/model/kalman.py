"""The linear-Gaussian state-space model, solved exactly: the yardstick of every learned part.

    z_1 ~ N(mu_1, P_1)
    z_t ~ N(A z_{t-1} + b + B u_t, Q)        for t = 2 .. T
    x_t ~ N(C z_t + d, R)                    on the rows of x_t that were observed

Everything is a plain differentiable function of tensors; use float64 when comparing.

References:
    Kalman (1960), A new approach to linear filtering and prediction problems.
    Rauch, Tung and Striebel (1965), Maximum likelihood estimates of linear dynamic systems.
    Durbin and Koopman (2012), Time series analysis by state space methods, 2nd edition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """The parameters of the model at the head of this file.

    Every tensor may carry leading batch dimensions, which broadcast with those of the data.

    Attributes:
        initial_mean: mu_1, (..., latent).
        initial_cov: P_1, (..., latent, latent). A diffuse start is a large multiple of I.
        transition: A, (..., latent, latent).
        transition_cov: Q, (..., latent, latent).
        emission: C, (..., row, latent).
        emission_cov: R, (..., row, row), or its diagonal (..., row) with `diagonal_noise`.
        transition_offset: b, (..., latent); None is zero.
        emission_offset: d, (..., row); None is zero.
        input_matrix: B, (..., latent, input); None when nothing drives the state.
        diagonal_noise: whether `emission_cov` holds the diagonal alone.
    """

    initial_mean: Tensor
    initial_cov: Tensor
    transition: Tensor
    transition_cov: Tensor
    emission: Tensor
    emission_cov: Tensor
    transition_offset: Tensor | None = None
    emission_offset: Tensor | None = None
    input_matrix: Tensor | None = None
    diagonal_noise: bool = False

    @property
    def latent_dim(self) -> int:
        """Size of z."""
        return self.emission.shape[-1]

    @property
    def noise(self) -> Tensor:
        """R as a full matrix, (..., row, row)."""
        return torch.diag_embed(self.emission_cov) if self.diagonal_noise else self.emission_cov


class State(NamedTuple):
    """p(z_t | x_{1:t}) = N(mean, cov): all that a stream must carry from chunk to chunk."""

    mean: Tensor  # (..., latent)
    cov: Tensor  # (..., latent, latent)


class Filtered(NamedTuple):
    """What one pass forward gives, for every step.

    Attributes:
        mean, cov: moments of p(z_t | x_{1:t}), (..., step, latent) and (..., step, latent, latent).
        predicted_mean, predicted_cov: moments of p(z_t | x_{1:t-1}), same shapes.
        log_density: log p(x_t | x_{1:t-1}) in nats, (..., step); 0 where nothing was observed.
    """

    mean: Tensor
    cov: Tensor
    predicted_mean: Tensor
    predicted_cov: Tensor
    log_density: Tensor


class Smoothed(NamedTuple):
    """Moments of p(z_t | x_{1:T}), for every step.

    Attributes:
        mean: (..., step, latent).
        cov: (..., step, latent, latent).
        lag_one_cov: Cov(z_{t+1}, z_t | x_{1:T}), (..., step - 1, latent, latent).
    """

    mean: Tensor
    cov: Tensor
    lag_one_cov: Tensor


class _Observed(NamedTuple):
    """One step's emission with the unobserved rows taken out."""

    residual: Tensor
    emission: Tensor
    noise: Tensor
    rows: Tensor


def _symmetric(matrix: Tensor) -> Tensor:
    """Rounding would otherwise let a covariance drift away from symmetry."""
    return 0.5 * (matrix + matrix.mT)


def _apply(matrix: Tensor, vector: Tensor) -> Tensor:
    """matrix (..., row, column) times vector (..., column)."""
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def _observe(model: LinearGaussian, values: Tensor, mask: Tensor, mean: Tensor) -> _Observed:
    """p(x_t[mask] | z_t): the one place where missingness is handled.

    An unobserved row gets a zero row in C, a zero residual, and a unit of noise that nothing
    else shares. It then adds log 1 to the determinant and 0 to the quadratic form, and its
    row of the gain is zero: exactly as if the row were not there.
    Values under the mask are replaced before they meet arithmetic, so NaN is as good as 0.

    Args:
        values: x_t, (..., row).
        mask: (..., row), True = observed.
        mean: predicted mean of z_t, (..., latent).
    """
    keep = mask.to(model.emission.dtype)
    emission = model.emission * keep.unsqueeze(-1)
    noise = model.noise * (keep.unsqueeze(-1) * keep.unsqueeze(-2)) + torch.diag_embed(1.0 - keep)
    expected = _apply(model.emission, mean)
    if model.emission_offset is not None:
        expected = expected + model.emission_offset
    residual = torch.where(mask, values, torch.zeros_like(values)) - keep * expected
    return _Observed(residual, emission, noise, keep.sum(-1))


def _predict(model: LinearGaussian, state: State, inputs: Tensor | None) -> State:
    """p(z_t | x_{1:t-1}) = N(A m_{t-1} + b + B u_t, A P_{t-1} A' + Q)."""
    mean = _apply(model.transition, state.mean)
    if model.transition_offset is not None:
        mean = mean + model.transition_offset
    if model.input_matrix is not None and inputs is not None:
        mean = mean + _apply(model.input_matrix, inputs)
    cov = model.transition @ state.cov @ model.transition.mT + model.transition_cov
    return State(mean, _symmetric(cov))


def _correct(
    model: LinearGaussian, predicted: State, values: Tensor, mask: Tensor
) -> tuple[State, Tensor]:
    """p(z_t | x_{1:t}) by Bayes' rule, and log p(x_t | x_{1:t-1}).

    With v the residual and S = C P C' + R:  K = P C' S^{-1},  m = m + K v,
    P = (I - K C) P (I - K C)' + K R K'  (Joseph's form: positive even after rounding),
    log p = -1/2 (v' S^{-1} v + log det S + n log 2 pi).
    """
    seen = _observe(model, values, mask, predicted.mean)
    cross = predicted.cov @ seen.emission.mT
    factor = torch.linalg.cholesky(_symmetric(seen.emission @ cross + seen.noise))
    gain = torch.cholesky_solve(cross.mT, factor).mT
    identity = torch.eye(model.latent_dim, dtype=cross.dtype, device=cross.device)
    rest = identity - gain @ seen.emission
    mean = predicted.mean + _apply(gain, seen.residual)
    cov = rest @ predicted.cov @ rest.mT + gain @ seen.noise @ gain.mT
    white = torch.linalg.solve_triangular(factor, seen.residual.unsqueeze(-1), upper=False)
    log_det = 2.0 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    distance = white.square().sum((-2, -1))
    log_density = -0.5 * (distance + log_det + seen.rows * math.log(2.0 * math.pi))
    return State(mean, _symmetric(cov)), log_density


def _check(
    model: LinearGaussian, values: Tensor, mask: Tensor | None, inputs: Tensor | None
) -> Tensor:
    """Validate shapes once; return the mask, broadcast to the values."""
    rows = model.emission.shape[-2]
    if values.dim() < 2 or values.shape[-1] != rows:
        raise ValueError(
            f"values must be (..., step, row) with row = {rows}, the rows of the emission matrix; "
            f"got {tuple(values.shape)}. Reshape them, or give the emission matrix their rows."
        )
    if (model.input_matrix is None) != (inputs is None):
        raise ValueError(
            "inputs u and the input matrix B come together; got "
            f"{'only u' if inputs is not None else 'only B'}. Give both or neither."
        )
    if inputs is not None and inputs.shape[-2] != values.shape[-2]:
        raise ValueError(
            f"inputs must have one row a step; got {inputs.shape[-2]} rows for "
            f"{values.shape[-2]} steps. Cut both to the same span."
        )
    if mask is None:
        return ~torch.isnan(values)
    if mask.dtype != torch.bool:
        raise ValueError(f"mask must be bool, True = observed; got {mask.dtype}. Use mask.bool().")
    return mask.expand(values.shape)


def _stack(states: list[State], batch: torch.Size) -> State:
    """Step by step to one tensor each, every step with the same batch dimensions."""
    means, covs = [s.mean for s in states], [s.cov for s in states]
    return State(
        torch.stack([m.expand(*batch, *m.shape[-1:]) for m in means], dim=-2),
        torch.stack([c.expand(*batch, *c.shape[-2:]) for c in covs], dim=-3),
    )


def kalman_update(
    model: LinearGaussian,
    state: State | None,
    values: Tensor,
    mask: Tensor | None = None,
    inputs: Tensor | None = None,
) -> tuple[Filtered, State]:
    """p(z_t | x_{1:t}) for the steps of one chunk, going on from an earlier chunk's state.

    Chunk by chunk gives what the whole recording at once gives.

    Args:
        state: the state after the chunk before, or None at the start of the recording.
        values: x, (..., step, row). Anything may stand under a False mask, NaN included.
        mask: bool, broadcastable to the values ((step, 1) masks whole rows), True = observed;
            None takes NaN alone as not observed.
        inputs: u, (..., step, input): u_t drives the step into z_t, so u_1 of the very first
            chunk is not used.

    Returns:
        The chunk's `Filtered`, and the `State` to give to the next call.

    Raises:
        ValueError: shapes do not fit, or only one of inputs and input matrix is there.
    """
    mask = _check(model, values, mask, inputs)
    corrected: list[State] = []
    predictions: list[State] = []
    log_densities: list[Tensor] = []
    for t in range(values.shape[-2]):
        if state is None:
            predicted = State(model.initial_mean, model.initial_cov)
        else:
            predicted = _predict(model, state, None if inputs is None else inputs[..., t, :])
        state, log_density = _correct(model, predicted, values[..., t, :], mask[..., t, :])
        corrected.append(state)
        predictions.append(predicted)
        log_densities.append(log_density)
    if state is None or not corrected:
        raise ValueError("values hold no step; got step = 0. Give at least one step.")
    batch = state.mean.shape[:-1]
    mean, cov = _stack(corrected, batch)
    predicted_mean, predicted_cov = _stack(predictions, batch)
    log_density = torch.stack([one.expand(batch) for one in log_densities], dim=-1)
    return Filtered(mean, cov, predicted_mean, predicted_cov, log_density), state


def kalman_filter(
    model: LinearGaussian,
    values: Tensor,
    mask: Tensor | None = None,
    inputs: Tensor | None = None,
) -> Filtered:
    """p(z_t | x_{1:t}) and p(z_t | x_{1:t-1}) for every t (Kalman 1960).

    Args:
        values: (..., step, row).
        mask: bool, broadcastable to the values, True = observed; None: NaN is not.
        inputs: (..., step, input) or None.

    Example:
        >>> one = torch.ones(1, 1)
        >>> walk = LinearGaussian(one[0], one, one, one, one, one)
        >>> kalman_filter(walk, torch.tensor([[1.0], [torch.nan]])).mean
        tensor([[1.],
                [1.]])
    """
    return kalman_update(model, None, values, mask, inputs)[0]


def log_evidence(
    model: LinearGaussian,
    values: Tensor,
    mask: Tensor | None = None,
    inputs: Tensor | None = None,
) -> Tensor:
    """log p(x_{1:T} | u) = sum_t log p(x_t | x_{1:t-1}, u), over the observed entries, in nats.

    This is the prediction error decomposition (Durbin & Koopman 2012, section 7.2).

    Returns:
        (...), one number a series.
    """
    return kalman_filter(model, values, mask, inputs).log_density.sum(-1)


def rts_smoother(model: LinearGaussian, filtered: Filtered) -> Smoothed:
    """p(z_t | x_{1:T}) for every t (Rauch, Tung & Striebel 1965).

    With hats for predictions and J_t = P_t A' hat P_{t+1}^{-1}, from t = T - 1 down to 1:

        m^s_t = m_t + J_t (m^s_{t+1} - hat m_{t+1}),
        P^s_t = (I - J_t A) P_t (I - J_t A)' + J_t (Q + P^s_{t+1}) J_t',
        Cov(z_{t+1}, z_t) = P^s_{t+1} J_t'.

    The covariance is written so that only positive terms are added.

    Warning:
        The predicted covariances must be positive definite: a state with neither noise nor
        initial spread in some direction cannot be smoothed this way. A small Q there helps.

    Args:
        filtered: from `kalman_filter` with the same model, over the whole recording.
    """
    means, covs = [filtered.mean[..., -1, :]], [filtered.cov[..., -1, :, :]]
    lags: list[Tensor] = []
    identity = torch.eye(model.latent_dim, dtype=filtered.cov.dtype, device=filtered.cov.device)
    for t in range(filtered.mean.shape[-2] - 2, -1, -1):
        cov, ahead = filtered.cov[..., t, :, :], filtered.predicted_cov[..., t + 1, :, :]
        factor = torch.linalg.cholesky(ahead)
        gain = torch.cholesky_solve(model.transition @ cov, factor).mT
        rest = identity - gain @ model.transition
        surprise = means[-1] - filtered.predicted_mean[..., t + 1, :]
        lags.append(covs[-1] @ gain.mT)
        means.append(filtered.mean[..., t, :] + _apply(gain, surprise))
        spread = model.transition_cov + covs[-1]
        covs.append(_symmetric(rest @ cov @ rest.mT + gain @ spread @ gain.mT))
    empty = filtered.cov[..., :0, :, :]
    lag_one = torch.stack(lags[::-1], dim=-3) if lags else empty
    return Smoothed(torch.stack(means[::-1], -2), torch.stack(covs[::-1], -3), lag_one)
