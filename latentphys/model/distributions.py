"""Distributions over whole latent trajectories z_{1:T}: one Pyro site each, parallel over time.

    GaussMarkov    q(z_{1:T}) = prod_t N(z_t ; m_t + r_t * (z_{t-1} - m_{t-1}), s_t^2)
    Trajectory     p(z_{1:T} | u) = p(z_1) prod_t p(z_t | z_{t-1}, u_t)

Both have batch shape (...) and event shape (step, latent).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions import Distribution, TorchDistribution
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions import Normal, constraints, kl_divergence, register_kl

_Shape = torch.Size | list[int] | tuple[int, ...]
Transition = Callable[[Tensor, Tensor | None], Normal]

SCALE_FLOOR = 1e-2  # least scale of any learned Gaussian: below it a likelihood has no bound


def linear_scan(decay: Tensor, drive: Tensor) -> Tensor:
    """Solve d_t = decay_t * d_{t-1} + drive_t with d_0 = 0.

    On a CPU one pass in place, with a hand-written gradient: it touches each number once where a
    parallel scan copies them log2(T) times; that gradient has none of its own, and asking for one
    raises. Elsewhere a doubling scan, log2(T) launches in place
    of T.

    Args:
        decay: (..., step, latent), which may lack leading dimensions that drive has.
        drive: (..., step, latent); both real, or both complex.

    Returns:
        d, (..., step, latent).

    References:
        Hillis and Steele (1986), Data parallel algorithms. Communications of the ACM 29.
        Blelloch (1990), Prefix sums and their applications.
    """
    if drive.device.type == "cpu":
        return _Recurrence.apply(decay, drive)
    return _doubling_scan(decay, drive)


def _doubling_scan(decay: Tensor, drive: Tensor) -> Tensor:
    """`linear_scan` by Hillis and Steele's doubling: each pass composes maps twice as long."""
    steps = drive.shape[-2]
    shift = 1
    while shift < steps:
        tail = drive[..., shift:, :] + decay[..., shift:, :] * drive[..., :-shift, :]
        drive = torch.cat([drive[..., :shift, :], tail], dim=-2)
        if 2 * shift < steps:
            product = decay[..., shift:, :] * decay[..., :-shift, :]
            decay = torch.cat([decay[..., :shift, :], product], dim=-2)
        shift *= 2
    return drive


class _Recurrence(torch.autograd.Function):
    """`linear_scan` step by step; its gradient is the same recurrence run backwards."""

    @staticmethod
    def forward(ctx: Any, decay: Tensor, drive: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(decay.shape, drive.shape)
        path = drive.expand(shape).clone(memory_format=torch.contiguous_format)
        steps, decays = path.unbind(-2), decay.unbind(-2)
        for t in range(1, len(steps)):
            steps[t].addcmul_(decays[t], steps[t - 1])
        ctx.save_for_backward(decay, path)
        ctx.drive_shape = drive.shape
        return path

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        decay, path = ctx.saved_tensors
        adjoint = gradients[0].clone(memory_format=torch.contiguous_format)
        # Of a complex product the gradient takes the conjugate; of a real one it is the same.
        steps, decays = adjoint.unbind(-2), decay.conj().unbind(-2)
        for t in range(len(steps) - 2, -1, -1):
            steps[t].addcmul_(decays[t + 1], steps[t + 1])
        for_decay = (adjoint * _previous(path).conj()).sum_to_size(decay.shape)
        return for_decay, adjoint.sum_to_size(ctx.drive_shape)


def _previous(path: Tensor) -> Tensor:
    """The path one step earlier, with zeros before the first step."""
    return torch.cat([torch.zeros_like(path[..., :1, :]), path[..., :-1, :]], dim=-2)


class GaussMarkov(TorchDistribution):
    """q(z_{1:T}) = prod_t N(z_t ; m_t + r_t * (z_{t-1} - m_{t-1}), s_t^2).

    A Gaussian path with a diagonal first-order Markov structure: sampling is one scan, the
    density and the marginals are closed form.

    Args:
        mean: m, (..., step, latent).
        correlation: r in (-1, 1), (..., step, latent); its first step is not used.
        scale: s > 0, (..., step, latent).
        validate_args: as for every Pyro distribution.
    """

    arg_constraints = {  # noqa: RUF012 (torch's protocol)
        "mean_path": constraints.independent(constraints.real, 2),
        "correlation": constraints.independent(constraints.interval(-1.0, 1.0), 2),
        "scale": constraints.independent(constraints.positive, 2),
    }
    support = constraints.independent(constraints.real, 2)
    has_rsample = True

    def __init__(
        self, mean: Tensor, correlation: Tensor, scale: Tensor, validate_args: bool | None = None
    ) -> None:
        self.mean_path, self.correlation, self.scale = torch.broadcast_tensors(
            mean, correlation, scale
        )
        super().__init__(
            self.mean_path.shape[:-2], self.mean_path.shape[-2:], validate_args=validate_args
        )

    @property
    def mean(self) -> Tensor:
        """E[z_t], (..., step, latent)."""
        return self.mean_path

    @property
    def variance(self) -> Tensor:
        """Var[z_t] = r_t^2 Var[z_{t-1}] + s_t^2, (..., step, latent)."""
        return linear_scan(self.correlation**2, self.scale**2)

    def expand(self, batch_shape: _Shape, _instance: Distribution | None = None) -> GaussMarkov:
        """The same path distribution over a larger batch."""
        shape = torch.Size(batch_shape) + self.event_shape
        return GaussMarkov(
            self.mean_path.expand(shape),
            self.correlation.expand(shape),
            self.scale.expand(shape),
            validate_args=False,
        )

    def window(self, rows: slice | Tensor) -> GaussMarkov:
        """The paths of some rows of the leading batch dimension."""
        return GaussMarkov(
            self.mean_path[rows], self.correlation[rows], self.scale[rows], validate_args=False
        )

    def detach(self) -> GaussMarkov:
        """The same distribution without gradient."""
        return GaussMarkov(
            self.mean_path.detach(),
            self.correlation.detach(),
            self.scale.detach(),
            validate_args=False,
        )

    def path(self, noise: Tensor) -> Tensor:
        """The path that standard normal `noise` (sample..., step, latent) drives."""
        return self.mean_path + linear_scan(self.correlation, self.scale * noise)

    def rsample(self, sample_shape: _Shape = ()) -> Tensor:
        """Draw paths, sample_shape + (..., step, latent), differentiable in m, r and s."""
        shape = torch.Size(sample_shape) + self.batch_shape + self.event_shape
        return self.path(self.mean_path.new_empty(shape).normal_())

    def conditionals(self, z: Tensor) -> Normal:
        """q(z_t | z_{t-1}) for every t along the path z, (..., step, latent)."""
        return Normal(
            self.mean_path + self.correlation * _previous(z - self.mean_path),
            self.scale,
            validate_args=False,
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """log q(z_{1:T}), (...)."""
        return self.conditionals(value).log_prob(value).sum((-2, -1))


class Trajectory(TorchDistribution):
    """p(z_{1:T} | u_{1:T}) = p(z_1) prod_{t>1} p(z_t | z_{t-1}, u_t).

    Args:
        initial: p(z_1), a Normal of shape (latent,) or (batch..., latent).
        transition: (z_{t-1}, u_t) -> Normal over z_t; evaluated for all t in one call.
        steps: T.
        inputs: u, (batch..., step, input), or None.
        batch_shape: of the trajectories.
        validate_args: as for every Pyro distribution.
    """

    arg_constraints = {}  # noqa: RUF012 (torch's protocol)
    support = constraints.independent(constraints.real, 2)
    has_rsample = True

    def __init__(
        self,
        initial: Normal,
        transition: Transition,
        steps: int,
        inputs: Tensor | None = None,
        batch_shape: torch.Size = torch.Size(),  # noqa: B008
        validate_args: bool | None = None,
    ) -> None:
        self.initial, self.transition, self.steps, self.inputs = initial, transition, steps, inputs
        event = torch.Size((steps, initial.loc.shape[-1]))
        super().__init__(torch.Size(batch_shape), event, validate_args=validate_args)

    def expand(self, batch_shape: _Shape, _instance: Distribution | None = None) -> Trajectory:
        """The same prior over a larger batch."""
        return Trajectory(
            self.initial,
            self.transition,
            self.steps,
            self.inputs,
            torch.Size(batch_shape),
            validate_args=False,
        )

    def conditionals(self, z: Tensor) -> Normal:
        """p(z_t | z_{t-1}, u_t) for every t along the path z, (..., step, latent)."""
        inputs = None if self.inputs is None else self.inputs[..., 1:, :]
        later = self.transition(z[..., :-1, :], inputs)
        shape = (*z.shape[:-2], 1, z.shape[-1])
        loc = torch.cat([self.initial.loc.unsqueeze(-2).expand(shape), later.loc], dim=-2)
        first_scale = self.initial.scale.unsqueeze(-2).expand(shape)
        later_scale = later.scale.expand(later.loc.shape)
        return Normal(loc, torch.cat([first_scale, later_scale], dim=-2), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(z_{1:T} | u), (...)."""
        return self.conditionals(value).log_prob(value).sum((-2, -1))

    def path(self, noise: Tensor) -> Tensor:
        """The rollout that standard normal `noise` (sample..., step, latent) drives."""
        z = self.initial.loc + self.initial.scale * noise[..., 0, :]
        rollout = [z]
        for t in range(1, self.steps):
            step = self.transition(z, None if self.inputs is None else self.inputs[..., t, :])
            z = step.loc + step.scale * noise[..., t, :]
            rollout.append(z)
        return torch.stack(rollout, dim=-2)

    def rsample(self, sample_shape: _Shape = ()) -> Tensor:
        """Draw trajectories step by step, sample_shape + (..., step, latent)."""
        shape = torch.Size(sample_shape) + self.batch_shape + self.event_shape
        return self.path(self.initial.loc.new_empty(shape).normal_())


def kl_along(q: GaussMarkov, p: GaussMarkov | Trajectory, z: Tensor) -> Tensor:
    """KL(q(z_t | z_{t-1}) || p(z_t | z_{t-1})) for every step along one path z ~ q.

    Its expectation under q is KL(q || p); each step is closed form, so only z_{t-1} is random.

    Args:
        q: the distribution z was drawn from.
        p: another distribution over the same trajectories.
        z: (..., step, latent).

    Returns:
        (..., step), in nats.
    """
    return kl_divergence(q.conditionals(z), p.conditionals(z)).sum(-1)


@register_kl(GaussMarkov, Trajectory)
@register_kl(GaussMarkov, GaussMarkov)
def _kl_by_one_path(q: GaussMarkov, p: GaussMarkov | Trajectory) -> Tensor:
    """KL(q || p), unbiased: closed form in z_t given z_{t-1}, one draw of the path."""
    return kl_along(q, p, q.rsample()).sum(-1)
