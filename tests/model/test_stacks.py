"""Networks over steps: scans against loops, and no window or silent step that moves another."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentphys.model.distributions import _doubling_scan, linear_scan
from latentphys.model.guides import make_guide
from latentphys.model.stacks import LinearRecurrentLayer, StepAttention, _turned

KINDS = ("lru", "attention")


def _complex(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.complex128)


def test_a_complex_scan_is_the_recurrence_and_so_is_its_gradient() -> None:
    torch.manual_seed(0)
    decay, drive = 0.5 * _complex(7, 2), _complex(3, 7, 2)
    h, path = torch.zeros(3, 2, dtype=torch.complex128), []
    for t in range(7):
        h = decay[t] * h + drive[:, t]
        path.append(h)
    torch.testing.assert_close(linear_scan(decay, drive), torch.stack(path, 1))
    torch.testing.assert_close(_doubling_scan(decay, drive), torch.stack(path, 1))
    decay.requires_grad_(), drive.requires_grad_()
    assert torch.autograd.gradcheck(linear_scan, (decay, drive))


def test_the_recurrent_layer_is_its_formula() -> None:
    torch.manual_seed(0)
    layer = LinearRecurrentLayer(3, 2).double()
    x, seen = torch.randn(1, 6, 3, dtype=torch.float64), torch.ones(1, 6, 1, dtype=torch.bool)
    size, phase = torch.exp(-torch.exp(layer.log_decay)), torch.exp(layer.log_phase)
    assert ((size > 0.49) & (size < 0.991)).all()
    real, imaginary = layer.to_state(x[0]).chunk(2, dim=-1)
    drive = (1 - size**2).sqrt() * (real + 1j * imaginary)
    power = size * torch.exp(1j * phase)
    ahead = [sum(power[:2] ** (t - s) * drive[s, :2] for s in range(t + 1)) for t in range(6)]
    back = [sum(power[2:] ** (s - t) * drive[s, 2:] for s in range(t, 6)) for t in range(6)]
    h = torch.cat([torch.stack(ahead), torch.stack(back)], dim=-1)
    y = layer.from_state(torch.cat([h.real, h.imag], dim=-1))
    torch.testing.assert_close(layer(x, seen)[0], y)


def test_rotary_products_depend_on_the_distance_alone() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 32, dtype=torch.float64)
    products = _turned(q.expand(9, -1)) @ _turned(k.expand(9, -1)).T
    for lag in range(-4, 5):
        diagonal = products.diagonal(lag)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    assert not torch.isclose(products[0, 1], products[0, 2])


def test_attention_is_its_formula() -> None:
    torch.manual_seed(0)
    layer = StepAttention(5).double()
    x = torch.randn(1, 4, 5, dtype=torch.float64)
    seen = torch.tensor([True, False, True, True]).view(1, 4, 1)
    q, k, v = layer.to_qkv(x[0]).chunk(3, dim=-1)
    logits = _turned(q) @ _turned(k).T / 32**0.5
    logits = logits.masked_fill(~(seen[0].T | torch.eye(4, dtype=torch.bool)), -torch.inf)
    torch.testing.assert_close(layer(x, seen)[0], layer.mix(logits.softmax(-1) @ v))


def _guide(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    guide = make_guide(kind, 4, 3, (6, 8), 0.0).double().eval()
    with torch.no_grad():
        for weight in guide.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return guide


def _evidence(steps: int, windows: int = 3) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    precision = torch.rand(windows, steps, 4, dtype=torch.float64)
    return precision, torch.randn(windows, steps, 4, dtype=torch.float64) * precision


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_window_alone_is_a_window_in_a_batch(kind: str) -> None:
    guide, (precision, weighted) = _guide(kind), _evidence(11)
    together, alone = guide(precision, weighted), guide(precision[1:2], weighted[1:2])
    for name in ("mean_path", "correlation", "scale"):
        a, b = getattr(together, name)[1:2], getattr(alone, name)
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_silent_steps_at_the_end_change_nothing_before_them(kind: str) -> None:
    guide, (precision, weighted) = _guide(kind), _evidence(11)
    pad = (0, 0, 0, 6)
    padded = guide(
        torch.nn.functional.pad(precision, pad), torch.nn.functional.pad(weighted, pad)
    ).mean
    whole = guide(precision, weighted).mean
    torch.testing.assert_close(padded[:, :11], whole, rtol=0, atol=1e-12)
    assert torch.isfinite(padded).all()
    # Evidence there is looked at, from the far end of the window.
    precision[:, -1], weighted[:, -1] = 2.0, 5.0
    assert not torch.isclose(guide(precision, weighted).mean[:, 0], whole[:, 0]).any()


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 2, 7, 300])
def test_any_length_runs_and_no_evidence_is_finite(kind: str, steps: int) -> None:
    guide, (precision, weighted) = _guide(kind), _evidence(steps)
    assert guide(precision, weighted).mean.shape == (3, steps, 3)
    silent = guide(0.0 * precision, 0.0 * weighted)
    assert torch.isfinite(silent.mean).all()
    assert torch.isfinite(silent.variance).all()


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_has_a_gradient(kind: str) -> None:
    guide, evidence = _guide(kind), _evidence(9)
    guide(*evidence).rsample().square().sum().backward()
    for name, weight in guide.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name
        assert torch.isfinite(weight.grad).all(), name
