"""Text as a modality: evidence from a report's findings, and p(report | z).

    Lambda_t += sum_i lambda_i      H_t += sum_i lambda_i v_i      at every step t, over tokens i
    log p(w | z, x) = sum_i log p(w_i | the earlier tokens of i's own finding, zbar)
    zbar = mean_t phi(z_t) + A log S(z) + (1 + n)^(-1/2) sum_c B_c s(x_c)

S is the power spectrum of the path, by which a rhythm is told: a mean over steps has no order in
time. s is how lopsided and how large each of the n observed channels is: a report is written by
someone who sees the recording, and which way up its leads are (the heart's axis) is no state that
changes in time. A channel that is not observed adds nothing.

Findings are what sentences end: a token sees its own finding alone, both where it speaks and where
it is emitted, so that findings are independent given z, their order means nothing, and one that is
hidden leaves out its terms exactly. An absent text adds zero. The number of tokens is given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro.distributions import Categorical
from torch import Tensor, nn
from torch.nn import functional as F

from latentphys.model.keys import key_of
from latentphys.model.networks import ByteDropout
from latentphys.preparation.batch import Tokens

PLACES = 32  # of a token in its finding; later ones share the last
HEADS = 2
LAGS = 50  # steps over which a path's autocovariance is taken: four seconds at 12.5 Hz
FREQUENCIES = 30  # of its spectrum, evenly up to nearly half a cycle a step
LEAST_POWER = 1e-3  # of the path's variance, so that no logarithm is of nothing
SHAPES = 2  # figures of a channel: see `channel_shapes`
# A mean over steps knows every person apart, and so learns a hundred people's reports by heart.
MEAN_DROPOUT = 0.8


@dataclass(frozen=True)
class TextSpec:
    """What the model knows of its text.

    Attributes:
        name: of the text in a record.
        size: tokens of the vocabulary.
        unknown: the id of [UNK]; it is read, and never scored.
        stops: ids that end a finding.
        vocabulary: digest of it: other words would give the ids other meanings.
        width: features of encoder and emission.
    """

    name: str
    size: int
    unknown: int
    stops: tuple[int, ...]
    vocabulary: str = ""
    width: int = 64

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> TextSpec:
        """The inverse of `dataclasses.asdict`, after JSON too."""
        return cls(**{**plain, "stops": tuple(plain["stops"])})


@dataclass(frozen=True)
class TextEvidence:
    """What a text says, token by token.

    Attributes:
        precision: lambda >= 0, (batch, token, evidence); 0 where there is no token.
        weighted: eta, the same shape.
        finding: (batch, token), which finding of its text a token is of.
    """

    precision: Tensor
    weighted: Tensor
    finding: Tensor

    def total(self, speaks: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Lambda and H of one step, (batch, 1, evidence) each; `speaks` (batch, token) bool."""
        spoken = torch.ones_like(self.finding, dtype=torch.bool) if speaks is None else speaks
        at = spoken.unsqueeze(-1)
        precision = torch.where(at, self.precision, 0.0).sum(1, keepdim=True)
        return precision, torch.where(at, self.weighted, 0.0).sum(1, keepdim=True)


@dataclass(frozen=True)
class ChannelShapes:
    """What each observed channel of a modality looks like, whenever.

    Attributes:
        shape: (batch, channel, SHAPES), 0 where the channel is not observed.
        name: (batch, channel), rows of the modality's channel names.
    """

    shape: Tensor
    name: Tensor

    @property
    def seen(self) -> Tensor:
        """(batch, channel) bool."""
        return self.shape.ne(0.0).any(-1)


def channel_shapes(values: Tensor, mask: Tensor) -> Tensor:
    """asinh of the skewness, and the log standard deviation, of each channel's observed samples.

    A QRS complex stands out of its lead, so that the skewness has its sign.

    Args:
        values: (batch, step, channel, patch).
        mask: the same shape, True = observed.

    Returns:
        (batch, channel, SHAPES); 0 of a channel without a sample or without any variation.
    """
    count = mask.sum((1, 3)).clamp_min(1)
    mean = torch.where(mask, values, 0.0).sum((1, 3)) / count
    centred = torch.where(mask, values - mean[:, None, :, None], 0.0)
    variance = centred.square().sum((1, 3)) / count
    varies = variance > 1e-8
    scale = torch.where(varies, variance, 1.0).sqrt()
    skewness = centred.pow(3).sum((1, 3)) / count / scale.pow(3)
    return torch.stack([skewness.asinh(), scale.log()], dim=-1) * varies.unsqueeze(-1)


def log_spectrum(z: Tensor, weight: Tensor) -> Tensor:
    """log S(f) / R(0) of paths, from their autocovariances weighed and summed over dimensions.

        R(l) = sum_k a_k mean_t z_k(t) z_k(t + l),     S(f) = sum_l w(l) R(l) cos(2 pi f l)

    with w a Hann window over LAGS lags, so that the answer is as smooth for a path of any length.

    Args:
        z: (..., step, latent).
        weight: a, (latent,), 0 or more.

    Returns:
        (..., FREQUENCIES).

    References:
        Blackman and Tukey (1958), The measurement of power spectra.
    """
    steps = z.shape[-2]
    centred = z - z.mean(-2, keepdim=True)
    power = torch.fft.rfft(centred, n=2 * steps, dim=-2).abs().square()
    covariance = torch.fft.irfft((power * weight).sum(-1), n=2 * steps)[..., :steps] / steps
    covariance = F.pad(covariance[..., : LAGS + 1], (0, max(0, LAGS + 1 - steps)))
    lag = torch.arange(LAGS + 1, dtype=z.dtype, device=z.device)
    hertz = 0.48 * torch.arange(1, FREQUENCIES + 1, dtype=z.dtype, device=z.device) / FREQUENCIES
    window = 1.0 + torch.cos(math.pi * lag / (LAGS + 1))
    window = torch.cat([window[:1] / 2.0, window[1:]])  # of both sides
    cosines = window.unsqueeze(-1) * torch.cos(2.0 * math.pi * lag.unsqueeze(-1) * hertz)
    share = (covariance @ cosines) / covariance[..., :1].clamp_min(1e-6)
    return share.clamp_min(LEAST_POWER).log()


def findings_of(tokens: Tokens, stops: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Which finding a token is of, and its place in it, (batch, token) each."""
    ends = torch.isin(tokens.ids, tokens.ids.new_tensor(stops)) & tokens.mask
    finding = ends.cumsum(-1) - ends.long()
    at = torch.arange(finding.shape[-1], device=finding.device).expand_as(finding)
    begins = F.pad(finding[:, 1:] != finding[:, :-1], (1, 0), value=True)
    first = torch.where(begins, at, 0).cummax(-1).values
    return finding, at - first


class FindingBlock(nn.Module):
    """Attention of tokens to those of their own finding, then a small network; both residual.

    Args:
        width: features of a token.
        causal: whether a token sees no later one.
        dropout: inside the network.
    """

    def __init__(self, width: int, causal: bool, dropout: float) -> None:
        super().__init__()
        self.causal = causal
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_qkv = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.drop = ByteDropout(dropout)

    def forward(self, x: Tensor, finding: Tensor, mask: Tensor) -> Tensor:
        """Features (row, token, width); finding and mask (row, token)."""
        tokens = x.shape[1]
        sees = (finding.unsqueeze(-1) == finding.unsqueeze(-2)) & mask.unsqueeze(-2)
        if self.causal:
            sees = sees & torch.ones_like(sees[0]).tril()
        sees = sees | torch.eye(tokens, dtype=torch.bool, device=x.device)  # padding sees itself
        qkv = self.to_qkv(self.first(x)).unflatten(-1, (3, HEADS, -1)).transpose(1, 3)
        q, k, v = qkv.unbind(2)  # (row, head, token, feature)
        said = F.scaled_dot_product_attention(q, k, v, attn_mask=sees.unsqueeze(1))
        x = x + self.mix(said.transpose(1, 2).flatten(2))
        return x + self.outer(self.drop(F.silu(self.inner(self.second(x)))))


class TextEncoder(nn.Module):
    """(lambda_i, eta_i) of every token of a text.

    Args:
        spec: of the text.
        evidence_dim: size of lambda and eta.
        dropout: inside the network.
    """

    def __init__(self, spec: TextSpec, evidence_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.stops = spec.stops
        self.embedding = nn.Embedding(spec.size, spec.width)
        self.place = nn.Embedding(PLACES, spec.width)
        self.block = FindingBlock(spec.width, False, dropout)
        self.to_evidence = nn.Linear(spec.width, 2 * evidence_dim)

    def forward(self, tokens: Tokens) -> TextEvidence:
        """Evidence of each window's text; what `ids` holds outside `mask` is not looked at."""
        finding, place = findings_of(tokens, self.stops)
        ids = torch.where(tokens.mask, tokens.ids, 0)
        x = self.embedding(ids) + self.place(place.clamp_max(PLACES - 1))
        x = self.block(x, finding, tokens.mask)
        value, log_precision = self.to_evidence(x).chunk(2, dim=-1)
        precision = torch.where(tokens.mask.unsqueeze(-1), F.softplus(log_precision), 0.0)
        return TextEvidence(precision, precision * value, finding)


class TextEmission(nn.Module):
    """p(w | z, x): each finding left to right, given zbar.

    Args:
        spec: of the text.
        latent_dim: size of the part of z it is emitted from, its first numbers.
        dropout: inside the network.
        channels: modality -> how many channel names it was trained on.
    """

    def __init__(
        self,
        spec: TextSpec,
        latent_dim: int,
        dropout: float = 0.0,
        channels: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.latent_dim, self.unknown, self.stops = latent_dim, spec.unknown, spec.stops
        width = spec.width
        self.look = nn.Sequential(nn.Linear(latent_dim, width), nn.SiLU(), nn.Linear(width, width))
        self.drop_mean = ByteDropout(MEAN_DROPOUT if dropout else 0.0)
        self.drop = ByteDropout(dropout)
        self.spread = nn.Parameter(torch.zeros(latent_dim))
        self.from_spectrum = nn.Linear(FREQUENCIES, width)
        self.spectrum_loc: Tensor
        self.spectrum_scale: Tensor
        self.register_buffer("spectrum_loc", torch.zeros(FREQUENCIES))
        self.register_buffer("spectrum_scale", torch.ones(FREQUENCIES))
        self.from_shapes = nn.ModuleDict(
            {
                key_of(name): nn.Embedding(n + 1, SHAPES * width)
                for name, n in (channels or {}).items()
            }
        )
        self.embedding = nn.Embedding(spec.size + 1, width)  # the last: nothing comes before
        self.place = nn.Embedding(PLACES, width)
        # small, so that the state is heard beside them
        for part in (self.embedding, self.place, *self.from_shapes.values()):
            for weight in part.parameters():
                nn.init.normal_(weight, std=0.1)
        self.block = FindingBlock(width, True, dropout)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, spec.size)

    def pool(self, z: Tensor, shapes: Mapping[str, ChannelShapes] | None = None) -> Tensor:
        """zbar, (..., batch, width).

        Args:
            z: paths (..., batch, step, latent).
            shapes: modality -> of each window's channels; those it was not trained on, and
                those left out, add nothing.
        """
        pooled = self.drop_mean(self.look(z[..., : self.latent_dim]).mean(-2))
        spectrum = (self.spectrum_of(z) - self.spectrum_loc) / self.spectrum_scale
        pooled = pooled + self.from_spectrum(self.drop(spectrum))
        count = z.new_ones(())
        seen = z.new_zeros(())
        for name, own in (shapes or {}).items():
            if key_of(name) not in self.from_shapes:
                continue
            matrix = self.from_shapes[key_of(name)](own.name).unflatten(-1, (SHAPES, -1))
            seen = seen + (self.drop(own.shape).unsqueeze(-1) * matrix).sum((-3, -2))
            count = count + own.seen.sum(-1, keepdim=True)
        return pooled + seen / count.sqrt()

    def spectrum_of(self, z: Tensor) -> Tensor:
        """The log spectrum of paths (..., step, latent), (..., FREQUENCIES)."""
        return log_spectrum(z[..., : self.latent_dim], F.softplus(self.spread))

    @torch.no_grad()
    def standardise(self, spectra: Tensor) -> None:
        """Take the log spectrum's mean and spread from some, (row, FREQUENCIES).

        It says the same as before: what reads the spectrum is changed along with it.
        """
        linear, scale = self.from_spectrum, spectra.std(0).clamp_min(0.05)
        raw = linear.weight / self.spectrum_scale
        bias = linear.bias - raw @ self.spectrum_loc
        self.spectrum_loc, self.spectrum_scale = spectra.mean(0), scale
        linear.weight.copy_(raw * scale)
        linear.bias.copy_(bias + raw @ self.spectrum_loc)

    def forward(self, pooled: Tensor, tokens: Tokens) -> Categorical:
        """p(w_i | earlier tokens of its finding, zbar) over (..., batch, token).

        Args:
            pooled: zbar, (..., batch, width), or one that broadcasts to it.
            tokens: (batch, token).
        """
        finding, place = findings_of(tokens, self.stops)
        ids = torch.where(tokens.mask, tokens.ids, 0)
        before = torch.where(
            place > 0, F.pad(ids[:, :-1], (1, 0)), self.embedding.num_embeddings - 1
        )
        x = self.embedding(before) + self.place(place.clamp_max(PLACES - 1))
        x = x + pooled.unsqueeze(-2)
        copies = x.shape[:-3].numel()
        x = self.block(
            x.flatten(0, -3), finding.repeat(copies, 1), tokens.mask.repeat(copies, 1)
        ).view(x.shape)
        return Categorical(logits=self.head(self.norm(x)), validate_args=False)

    def scored(self, tokens: Tokens) -> Tensor:
        """Which tokens have a probability, (batch, token): those there and known."""
        return tokens.mask & (tokens.ids != self.unknown)

    def log_prob(
        self,
        z: Tensor,
        tokens: Tokens,
        where: Tensor | None = None,
        shapes: Mapping[str, ChannelShapes] | None = None,
    ) -> Tensor:
        """log p(w | z, x), (..., batch) in nats; `where` (batch, token) scores those alone."""
        scored = self.scored(tokens) if where is None else self.scored(tokens) & where
        ids = torch.where(scored, tokens.ids, 0)
        log_prob = self(self.pool(z, shapes), tokens).log_prob(ids)
        return torch.where(scored, log_prob, 0.0).sum(-1)
