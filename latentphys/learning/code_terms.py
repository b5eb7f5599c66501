"""The objective's terms of discrete codes: learned from the samples, told of what is hidden.

    L_token = 1/2 |x - dec(own, common)|^2 + 1/2 |x - dec(own, others')|^2
              + 1/4 (|e - v|^2, private and shared) + 1/10 cos^2(e_private, e_shared)
    L_code  = log p(c_private | z) + log p(c_shared | z),    z ~ q(. | what is not hidden)

A modality's term is the sum over its tokens and the mean over its channels, in nats per second of
signal, one figure a window: that another is absent changes the weight of none. Codes are numbers,
so that no gradient of L_code moves them, and z has no part in L_token.

The first `LEARNED_BY` of a training learns the codes, the rest tells them. Told while they still
move, they are told worse than by how often each is taken.

References:
    van den Oord, Vinyals and Kavukcuoglu (2017), Neural discrete representation learning,
        equation 3, its codebook loss by moving averages.
    Jiang et al. (2025), Towards robust multimodal physiological foundation models.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from latentphys.learning.terms import seconds
from latentphys.learning.views import View
from latentphys.model.codes import Codes, SensorCodes, Tokens, others_common
from latentphys.model.distributions import GaussMarkov
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.batch import Batch

DRAWS = 2
LEARNED_BY = 1.0 / 3.0
COMMITMENT, OVERLAP = 0.25, 0.1

ByModality = Mapping[str, Tensor]


def token_terms(model: StateSpaceModel, codes: Codes, batch: Batch) -> ByModality:
    """L_token of every modality, (batch,); the codebooks follow the batch.

    Args:
        model: the state-space model.
        codes: its codes.
        batch: windows.
    """
    tokens, shape = codes(_signals(model, batch), learn=True), (len(batch), batch.steps)
    learned = {}
    for name, own in tokens.items():
        cost = token_loss(codes.of(name), own, *others_common(tokens, name, shape))
        learned[name] = _by_window(cost, own, batch)
    return learned


def code_terms(
    model: StateSpaceModel, codes: Codes, batch: Batch, view: View, q: GaussMarkov
) -> ByModality:
    """L_code of every modality, (batch,); in training, how often each code is taken is counted.

    Args:
        model: the state-space model.
        codes: its codes.
        batch: windows.
        view: one row a window, whose `target` says what is hidden.
        q: the guide with what the view keeps.
    """
    names = [name for name in model.spec.sensors if name in batch.values]
    paths, told = q.rsample(torch.Size((DRAWS,))), {}
    with torch.no_grad():
        tokens = codes(_signals(model, batch))
    for name, own in tokens.items():
        if model.training:
            codes.of(name).follow(own)
        hidden = view.targets(names.index(name), batch.steps)[own.row, own.step]
        if name in view.hidden:
            hidden = hidden | view.hidden[name][own.row, own.channel]
        asked = own.at(hidden)
        rows = model.name_index(name, batch)[asked.row, asked.channel]
        log_prob = code_log_prob(codes.of(name), asked, paths[:, asked.row, asked.step], rows)
        told[name] = _by_window(log_prob.mean(0), asked, batch)
    return told


def _signals(model: StateSpaceModel, batch: Batch) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Modality -> values, mask and offset, of those that have codes, in the model's order."""
    return {
        name: (batch.values[name], batch.mask[name], batch.offset[name])
        for name, sensor in model.spec.sensors.items()
        if sensor.waveform and name in batch.values
    }


def token_loss(codes: SensorCodes, own: Tokens, others: Tensor, beside: Tensor) -> Tensor:
    """What the codes of some tokens lose, (token,) nats.

    Args:
        codes: of the modality.
        own: its tokens.
        others: shared vectors of the other modalities at the same steps, (token, dim).
        beside: (token,), whether there are any.
    """
    alone = codes.decode(torch.cat([own.own, own.common], dim=-1))
    helped = codes.decode(torch.cat([own.own, others], dim=-1))
    missed = 0.5 * (own.patch - alone).square().sum(-1)
    missed_helped = torch.where(beside, 0.5 * (own.patch - helped).square().sum(-1), 0.0)
    return missed + missed_helped + COMMITMENT * own.commitment + OVERLAP * own.overlap


def code_log_prob(codes: SensorCodes, tokens: Tokens, z: Tensor, name: Tensor) -> Tensor:
    """log p(c_private | z) + log p(c_shared | z) of some tokens, (..., token).

    Args:
        codes: of the modality.
        tokens: whose codes are told.
        z: the state at each, (..., token, latent).
        name: (token,) rows of the channel-name embedding.
    """
    private, shared = codes.told(z, name)
    return private.log_prob(tokens.private) + shared.log_prob(tokens.shared)


def _by_window(value: Tensor, tokens: Tokens, batch: Batch) -> Tensor:
    """Sum over steps and mean over the channels that have a token, per second, (batch,)."""
    windows = len(batch)
    count = int(tokens.channel.max()) + 1 if len(tokens.channel) else 1
    heard = torch.zeros(windows, count, dtype=torch.bool, device=value.device)
    heard[tokens.row, tokens.channel] = True
    total = value.new_zeros(windows).index_add(0, tokens.row, value)
    return total / heard.sum(-1).clamp_min(1) / seconds(batch)
