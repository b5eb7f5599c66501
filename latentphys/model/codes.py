"""Discrete tokens of a sensor: what of a state step is its own, and what is said in a common code.

    e_private, e_shared = encode_m(patch of step t)
    c = argmax_k <e, v_k>,  v_k a unit vector of the modality's own codebook, or of the common one
    patch ~ N(decode_m(v_private, v_shared), 1)
    p(c_private, c_shared | z) = Cat(c_private ; predict_m(z_t)) Cat(c_shared ; predict_m(shared_t))
    predict_m = softmax(f_m(z) + log s_m),    s_m the shares of m's tokens that take each code

The codes learn from the samples alone, and first: no gradient joins them with z, which is taught to
tell the codes of steps that were hidden once they stay as they are. A step's code has seen the
samples of that step and no other.

References:
    van den Oord, Vinyals and Kavukcuoglu (2017), Neural discrete representation learning.
    Jiang et al. (2025), Towards robust multimodal physiological foundation models (PhysioOmni).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from pyro.distributions import Categorical
from torch import Tensor, nn
from torch.nn import functional as F

from latentphys.model.keys import key_of
from latentphys.model.tokenisers import LocalBasis

DECAY = 0.99
RECENT = 0.95  # the same of the shares, which follow codes that stay
DEAD = 0.5  # tokens a batch, on average, below which a code is given to another token
CODE_DIM = 16
WIDTH = 64
HASTE = 10.0  # how many times faster than another weight's what z tells of codes is learned


class Codebook(nn.Module):
    """Unit vectors that follow the tokens nearest to them, by exponential moving averages.

        N_k <- .99 N_k + .01 n_k    M_k <- .99 M_k + .01 sum of the tokens of k    v_k = M_k / |M_k|

    While learning, a code that few tokens take (a dead one, and each at the start) begins anew at
    a token of the batch, the likelier the worse it is served.

    Args:
        size: number of codes.
        dim: of a vector.
    """

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.counts: Tensor
        self.totals: Tensor
        self.register_buffer("counts", torch.zeros(size))
        self.register_buffer("totals", torch.zeros(size, dim))

    @property
    def vectors(self) -> Tensor:
        """v, (code, dim)."""
        return F.normalize(self.totals, dim=-1)

    def forward(self, x: Tensor, learn: bool) -> tuple[Tensor, Tensor, Tensor]:
        """The nearest code of each token, and what the token is to pay for being far from it.

        Args:
            x: (token, dim).
            learn: whether the codes follow them.

        Returns:
            Its vector (token, dim), whose gradient is passed straight to x; its number (token,);
            and the commitment |x / |x| - v|^2, (token,).
        """
        x = F.normalize(x, dim=-1)
        if learn and len(x):
            self._revive(x.detach())
        code = (x.detach() @ self.vectors.T).argmax(-1)
        chosen = self.vectors[code]
        if learn and len(x):
            self._follow(x.detach(), code)
        return x + (chosen - x).detach(), code, (x - chosen).square().sum(-1)

    @torch.no_grad()
    def _revive(self, x: Tensor) -> None:
        dead = self.counts < DEAD
        if bool(dead.any()):
            served = (x @ self.vectors.T).amax(-1)
            badly = torch.nan_to_num(1.0 - served).clamp_min(1e-6)
            self.totals[dead] = x[torch.multinomial(badly, int(dead.sum()), replacement=True)]
            self.counts[dead] = 1.0

    @torch.no_grad()
    def _follow(self, x: Tensor, code: Tensor) -> None:
        counted = torch.zeros_like(self.counts).index_add(0, code, x.new_ones(len(x)))
        self.counts.lerp_(counted, 1.0 - DECAY)
        self.totals.lerp_(torch.zeros_like(self.totals).index_add(0, code, x), 1.0 - DECAY)


@dataclass(frozen=True)
class Tokens:
    """Every observed token of one modality: a state step of a channel.

    Attributes:
        row, step, channel: (token,) where it stands in the batch.
        patch: its samples on the modality's grid, (token, size).
        private, shared: its codes, (token,).
        own, common: vectors of its codes, (token, dim).
        commitment: of both codes together, (token,).
        overlap: squared cosine of what is private and what is shared before they are coded.
    """

    row: Tensor
    step: Tensor
    channel: Tensor
    patch: Tensor
    private: Tensor
    shared: Tensor
    own: Tensor
    common: Tensor
    commitment: Tensor
    overlap: Tensor

    def at(self, which: Tensor) -> Tokens:
        """Those of them for which `which`, (token,) bool, holds."""
        return Tokens(*(getattr(self, each.name)[which] for each in fields(self)))


class SensorCodes(nn.Module):
    """The private codebook of one modality, and how it is coded, decoded and told from z.

    Args:
        basis: the modality's tokeniser.
        size: codes of a codebook.
        channels: rows of the modality's channel-name embedding.
        reads: which of z its private code is told from.
        shared_dim: the first numbers of z, from which its shared code is told.
    """

    def __init__(
        self,
        basis: LocalBasis,
        size: int,
        channels: int,
        reads: tuple[int, ...],
        shared_dim: int,
    ) -> None:
        super().__init__()
        self.basis, self.shared_dim = basis, shared_dim
        self.reads = list(reads)
        self.encode = _network(basis.size, 2 * CODE_DIM)
        self.codebook = Codebook(size, CODE_DIM)
        self.decode = _network(2 * CODE_DIM, basis.size)
        self.name_embedding = nn.Embedding(channels, WIDTH)
        nn.init.zeros_(self.name_embedding.weight)
        self.from_own, self.from_shared = nn.Linear(len(reads), WIDTH), nn.Linear(shared_dim, WIDTH)
        self.to_private, self.to_shared = _from_nothing(WIDTH, size), _from_nothing(WIDTH, size)
        self.shares: Tensor
        self.register_buffer("shares", torch.full((2, size), 1.0 / size))

    def patches(
        self, values: Tensor, mask: Tensor, offset: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Observed tokens: row, step and channel (token,), and their patches (token, size).

        Args:
            values: (batch, step, channel, patch).
            mask: the same shape, True = observed.
            offset: (batch, step, patch).
        """
        row, step, channel = mask.any(-1).nonzero(as_tuple=True)
        values, mask = values[row, step, channel], mask[row, step, channel]
        patch = self.basis.to_patch(
            values.unsqueeze(1), mask.unsqueeze(1), offset[row, step].unsqueeze(1)
        )
        return row, step, channel, patch.squeeze(1)

    @torch.no_grad()
    def follow(self, tokens: Tokens) -> None:
        """Move the shares of private and shared codes towards those of some tokens."""
        if not len(tokens.private):
            return
        size = self.shares.shape[1]
        both = (torch.bincount(codes, minlength=size) for codes in (tokens.private, tokens.shared))
        counted = torch.stack(list(both)).to(self.shares) + 1.0 / size
        self.shares.lerp_(counted / counted.sum(-1, keepdim=True), 1.0 - RECENT)

    def told(self, z: Tensor, name: Tensor) -> tuple[Categorical, Categorical]:
        """p(c_private | z) and p(c_shared | the shared part of z).

        Args:
            z: (..., token, latent).
            name: (token,) rows of the channel-name embedding.
        """
        called = self.name_embedding(name)
        private = self.to_private(F.silu(self.from_own(z[..., self.reads]) + called))
        shared = self.to_shared(F.silu(self.from_shared(z[..., : self.shared_dim]) + called))
        usual = self.shares.log()
        return (
            Categorical(logits=HASTE * private + usual[0], validate_args=False),
            Categorical(logits=HASTE * shared + usual[1], validate_args=False),
        )


class Codes(nn.Module):
    """Every modality's codes, and the codebook they have in common.

    Args:
        sensors: modality -> its codes.
        size: codes of the common codebook.
    """

    def __init__(self, sensors: Mapping[str, SensorCodes], size: int) -> None:
        super().__init__()
        self.sensors = nn.ModuleDict({key_of(name): own for name, own in sensors.items()})
        self.common = Codebook(size, CODE_DIM)

    def of(self, modality: str) -> SensorCodes:
        """The codes of one modality."""
        own = self.sensors[key_of(modality)]
        assert isinstance(own, SensorCodes)
        return own

    def tokenisers(self) -> list[nn.Parameter]:
        """What codes are made and decoded by, which learns first."""
        weights: list[nn.Parameter] = []
        for own in self.sensors.values():
            assert isinstance(own, SensorCodes)
            weights += [*own.encode.parameters(), *own.decode.parameters()]
        return weights

    def forward(
        self, signals: Mapping[str, tuple[Tensor, Tensor, Tensor]], learn: bool = False
    ) -> dict[str, Tokens]:
        """Tokens of some modalities.

        Args:
            signals: modality -> values, mask and offset as a batch has them.
            learn: whether the codebooks follow them.
        """
        found = {name: self.of(name).patches(*signal) for name, signal in signals.items()}
        if not found:
            return {}
        split = {name: self.of(name).encode(at[3]).chunk(2, dim=-1) for name, at in found.items()}
        # One call for all: the common codebook follows everyone's tokens alike.
        common = self.common(torch.cat([shared for _, shared in split.values()]), learn)
        counts = [len(shared) for _, shared in split.values()]
        each = zip(*(part.split(counts) for part in common), strict=True)
        tokens = {}
        for (name, at), shared in zip(found.items(), each, strict=True):
            own = self.of(name).codebook(split[name][0], learn)
            tokens[name] = Tokens(
                *at,
                private=own[1],
                shared=shared[1],
                own=own[0],
                common=shared[0],
                commitment=own[2] + shared[2],
                overlap=F.cosine_similarity(split[name][0], split[name][1], dim=-1).square(),
            )
        return tokens


def others_common(
    tokens: Mapping[str, Tokens], modality: str, shape: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """The other modalities' shared vectors at the step of each token, their mean.

    Args:
        tokens: of every modality.
        modality: whose tokens are asked for.
        shape: (batch, step).

    Returns:
        The mean (token, dim), 0 where no other modality has a token, and whether one has (token,).
    """
    own = tokens[modality]
    total = own.common.new_zeros(shape[0] * shape[1], own.common.shape[-1] + 1)
    for name, other in tokens.items():
        if name != modality:
            counted = torch.cat([other.common, torch.ones_like(other.common[:, :1])], dim=-1)
            total = total.index_add(0, other.row * shape[1] + other.step, counted)
    here = total[own.row * shape[1] + own.step]
    return here[:, :-1] / here[:, -1:].clamp_min(1.0), here[:, -1] > 0


def _from_nothing(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _network(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, WIDTH), nn.SiLU(), nn.Linear(WIDTH, outputs))
