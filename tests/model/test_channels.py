"""Attention among channels: a set of any size, in which an absent one is nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from latentphys.model.channels import ChannelAttention
from latentphys.model.evidence import SensorEvidence
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.batch import Batch

Make = Callable[..., StateSpaceModel]
MakeBatch = Callable[..., Batch]


def _ecg(model: StateSpaceModel, batch: Batch) -> SensorEvidence:
    with torch.no_grad():
        return model.evidence(batch).sensors["ecg"]


def _widened(batch: Batch) -> Batch:
    """A third place in front of the channels of one modality, empty in every window."""

    def pad(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(x[:, :, :1]), x], dim=2)

    return replace(
        batch,
        values=batch.values | {"ecg": pad(batch.values["ecg"])},
        mask=batch.mask | {"ecg": pad(batch.mask["ecg"])},
        channels=batch.channels | {"ecg": [("", "II", "V")] * len(batch)},
    )


def test_it_is_its_formula() -> None:
    torch.manual_seed(0)
    attention = ChannelAttention(4).double()
    x = torch.randn(5, 2, 4, dtype=torch.float64)
    seen = torch.ones(5, 2, 1, dtype=torch.float64)
    seen[1, 0] = 0.0
    window = torch.tensor([0, 0, 0, 1, 1])
    q, k, v = attention.to_qkv(attention.norm(x)).chunk(3, dim=-1)
    unit_q, unit_k = q / q.norm(dim=-1, keepdim=True), k / k.norm(dim=-1, keepdim=True)
    for rows in ([0, 1, 2], [3, 4]):
        for step in range(2):
            logits = 4.0 * unit_q[rows, step] @ unit_k[rows, step].T
            logits = logits.masked_fill(seen[rows, step].T == 0, -torch.inf)
            y = x[rows, step] + attention.mix(logits.softmax(-1) @ v[rows, step])
            torch.testing.assert_close(attention(x, seen, window)[rows, step], y)


def test_a_step_none_saw_is_finite_with_its_gradient() -> None:
    attention = ChannelAttention(4)
    x = torch.randn(3, 2, 4, requires_grad=True)
    y = attention(x, torch.zeros(3, 2, 1), torch.zeros(3, dtype=torch.long))
    y.sum().backward()
    assert x.grad is not None
    assert torch.isfinite(y).all()
    assert torch.isfinite(x.grad).all()


def test_an_absent_channel_is_bit_for_bit_nothing(make_model: Make, make_batch: MakeBatch) -> None:
    model, batch = make_model(channels="attention"), make_batch()
    one, other = _ecg(model, batch), _ecg(model, _widened(batch))
    assert torch.equal(one.precision, other.precision)
    assert torch.equal(one.weighted, other.weighted)
    assert torch.equal(one.nuisance.loc, other.nuisance.loc[:, 1:])


def test_their_order_does_not_matter(make_model: Make, make_batch: MakeBatch) -> None:
    model, batch = make_model(channels="attention"), make_batch()
    turned = replace(
        batch,
        values=batch.values | {"ecg": batch.values["ecg"].flip(2)},
        mask=batch.mask | {"ecg": batch.mask["ecg"].flip(2)},
        channels=batch.channels | {"ecg": [("V", "II")] * len(batch)},
    )
    one, other = _ecg(model, batch), _ecg(model, turned)
    torch.testing.assert_close(one.precision, other.precision, rtol=0, atol=1e-12)
    torch.testing.assert_close(one.weighted, other.weighted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("channels", ["sum", "attention"])
def test_channels_look_at_each_other_only_by_attention(
    make_model: Make, make_batch: MakeBatch, channels: str
) -> None:
    model, batch = make_model(channels=channels), make_batch(holes=0.0)
    both = _ecg(model, batch).precision
    parts = []
    for k in range(2):
        mask = batch.mask["ecg"].clone()
        mask[:, :, 1 - k] = False
        parts.append(_ecg(model, replace(batch, mask=batch.mask | {"ecg": mask})).precision)
    assert torch.allclose(both, parts[0] + parts[1]) == (channels == "sum")
