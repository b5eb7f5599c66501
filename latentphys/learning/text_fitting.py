"""The emission of a text, fitted by itself once the signals are learned.

    max over the text's emission of E_q(z | some sensors and channels) log p(w | z, x)

Reports are few: a person's is read some dozen times while their signals are still being learned,
and the state that is best for a hundred signals a second is not that which is best for thirty words
a record. Here the state is done with, so that a step is cheap; the emission goes on from where it
is, on windows of every record as all, some and one of their channels show them, and is left as it
was best on subjects not trained on.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from latentphys.learning.views import subset_view
from latentphys.model.distributions import GaussMarkov
from latentphys.model.evidence import Evidence
from latentphys.model.statespace import StateSpaceModel
from latentphys.model.texts import ChannelShapes, TextEmission
from latentphys.preparation.batch import Batch, Tokens, collate
from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.preparation.windows import tile

STEPS = 240
# A fit of a few updates, to see it run, is to stay one.
STEPS_AN_UPDATE = 10
BATCH = 32
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.3
CHECK_EVERY = 20
VIEWS = 4  # of each window: all it has, then random sensors and channels
MOST_WINDOWS = 1024
CHECK_DRAWS = 4


@dataclass(frozen=True)
class _Rows:
    """q(z | what a view shows) of windows, their channels as it shows them, and their texts."""

    q: GaussMarkov
    shapes: dict[str, ChannelShapes]
    tokens: Tokens

    def __len__(self) -> int:
        return len(self.tokens.ids)

    def log_prob(self, emission: TextEmission, rows: Tensor) -> Tensor:
        """log p(w | z, x) with one draw of z, of some rows, nats a token."""
        tokens = Tokens(self.tokens.name, self.tokens.ids[rows], self.tokens.mask[rows])
        shapes = {
            name: ChannelShapes(own.shape[rows], own.name[rows])
            for name, own in self.shapes.items()
        }
        z = self.q.window(rows).rsample()
        found = emission.log_prob(z, tokens, shapes=shapes)
        return found.sum() / tokens.mask.sum()


def fit_text_emission(
    model: StateSpaceModel,
    training: Sequence[PreparedRecord],
    held_out: Sequence[PreparedRecord],
    window_s: float,
    seed: int,
    steps: int = STEPS,
) -> list[float]:
    """Fit the model's text emission in place and leave it in evaluation mode.

    Args:
        model: fitted, with text.
        training: records it was fitted to.
        held_out: records of other subjects, on which the best state is chosen; where none has a
            text, it is the last.
        window_s: length of the windows, seconds.
        seed: of views, draws and order.
        steps: of fitting.

    Returns:
        The loss on the held-out texts at each check, nats a token, the first before any step.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        own, checks = (_rows_of(model, side, window_s, seed) for side in (training, held_out))
        if own is None:
            return []
        with torch.no_grad():
            model.text_emission.standardise(model.text_emission.spectrum_of(own.q.rsample()))
        return _fitted(model.text_emission, own, checks, seed, steps)


def _fitted(
    emission: TextEmission, own: _Rows, checks: _Rows | None, seed: int, steps: int
) -> list[float]:
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(
        emission.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY
    )
    losses: list[float] = []
    best = copy.deepcopy(emission.state_dict())
    for step in range(steps + 1):
        if checks is not None and (step % CHECK_EVERY == 0 or step == steps):
            losses.append(_held_out_loss(emission, checks))
            if losses[-1] == min(losses):
                best = copy.deepcopy(emission.state_dict())
        if step == steps:
            break
        emission.train()
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * 0.5 * (1.0 + np.cos(np.pi * step / steps))
        rows = torch.randint(len(own), (BATCH,), generator=generator)
        optimiser.zero_grad(set_to_none=True)
        (-own.log_prob(emission, rows)).backward()
        nn.utils.clip_grad_norm_(emission.parameters(), 1.0)
        optimiser.step()
    if checks is not None:
        emission.load_state_dict(best)
    emission.eval()
    return losses


@torch.no_grad()
def _held_out_loss(emission: TextEmission, checks: _Rows) -> float:
    """Nats a token, with the same draws at every call."""
    emission.eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        every = torch.arange(len(checks)).repeat(CHECK_DRAWS)
        return -float(checks.log_prob(emission, every))


@torch.no_grad()
def _rows_of(
    model: StateSpaceModel, records: Sequence[PreparedRecord], window_s: float, seed: int
) -> _Rows | None:
    """Every view of evenly spread windows of the records that have the text; None without any."""
    (name,) = model.spec.texts
    told = [record for record in records if name in record.tokens]
    if not told:
        return None
    index = tile(told, window_s, window_s, model.spec.state_rate_hz)
    chosen = np.arange(len(index))[:: -(-len(index) // MOST_WINDOWS)]
    generator = torch.Generator().manual_seed(seed)
    parts = [
        _seen(model, collate(told, index, rows, (*model.spec.sensors, name)), generator)
        for rows in np.array_split(chosen, max(1, len(chosen) // 16))
    ]
    return _together(parts, name)


def _seen(model: StateSpaceModel, batch: Batch, generator: torch.Generator) -> _Rows:
    """VIEWS rows a window of one batch."""
    evidence = model.evidence(batch)
    present = evidence.present()
    keep = torch.cat([present, subset_view(present, generator, one_out=0.0, views=VIEWS - 1).keep])
    hidden = {}
    for name, sensor in evidence.sensors.items():
        there = batch.mask[name].any(-1).any(1).repeat(VIEWS, 1)
        if sensor.traces is not None and not sensor.traces.mixed:
            hidden[name] = _some(there, len(batch), generator)
    total = Evidence(evidence.sensors, evidence.shape).total(keep, hidden)
    shapes = {}
    for name, own in model.shapes_of(batch).items():
        silent = ~keep[:, list(evidence.sensors).index(name), None]
        gone = silent | hidden[name] if name in hidden else silent
        shape = torch.where(gone.unsqueeze(-1), 0.0, own.shape.repeat(VIEWS, 1, 1))
        shapes[name] = ChannelShapes(shape, own.name.repeat(VIEWS, 1))
    tokens = model.tokens_of(batch)
    assert tokens is not None
    again = Tokens(tokens.name, tokens.ids.repeat(VIEWS, 1), tokens.mask.repeat(VIEWS, 1))
    return _Rows(model.guide_network(*total), shapes, again)


def _some(there: Tensor, windows: int, generator: torch.Generator) -> Tensor:
    """(row, channel): hidden ones; none of the first view, and in every other one is left."""
    order = torch.rand(there.shape, generator=generator).masked_fill(~there, 2.0)
    rank = order.argsort(-1).argsort(-1)
    # One channel as often as all: log-uniform in between.
    share = torch.rand(len(there), 1, generator=generator)
    left = there.sum(-1, keepdim=True).clamp_min(1).double().pow(share).round()
    hidden = there & (rank >= left)
    hidden[:windows] = False
    return hidden


def _together(parts: Sequence[_Rows], name: str) -> _Rows:
    """Rows of several batches, texts and channels padded to the longest."""
    q = GaussMarkov(
        torch.cat([part.q.mean_path for part in parts]),
        torch.cat([part.q.correlation for part in parts]),
        torch.cat([part.q.scale for part in parts]),
        validate_args=False,
    )
    longest = max(part.tokens.ids.shape[1] for part in parts)

    def padded(x: Tensor, to: int) -> Tensor:
        return nn.functional.pad(x, (0, to - x.shape[1]))

    ids, mask = (
        torch.cat([padded(getattr(part.tokens, each), longest) for part in parts])
        for each in ("ids", "mask")
    )
    return _Rows(q, _shapes_together(parts), Tokens(name, ids, mask))


def _shapes_together(parts: Sequence[_Rows]) -> dict[str, ChannelShapes]:
    names = dict.fromkeys(name for part in parts for name in part.shapes)
    found = {}
    for name in names:
        widest = max(p.shapes[name].name.shape[1] for p in parts if name in p.shapes)
        shape, rows = [], []
        for part in parts:
            own = part.shapes.get(name)
            count = len(part)
            have = 0 if own is None else own.name.shape[1]
            left = torch.zeros(count, widest - have, 2)
            shape.append(left if own is None else torch.cat([own.shape, left.to(own.shape)], 1))
            empty = torch.zeros(count, widest - have, dtype=torch.int64)
            rows.append(empty if own is None else torch.cat([own.name, empty], 1))
        found[name] = ChannelShapes(torch.cat(shape), torch.cat(rows))
    return found
