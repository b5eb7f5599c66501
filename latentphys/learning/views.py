"""A view says which sensors speak and which are scored; every term of the objective takes one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from latentphys.preparation.batch import Batch
from latentphys.recordings.errors import FitError

USUAL = 3  # sensors of a window in which what is left out weighs 1
NOTHING = "nothing"  # in the place of names of sensors
GAPS_APART = 3.0  # lengths from the middle of one gap to the next: a third is hidden


@dataclass(frozen=True)
class View:
    """One way to look at a batch, or several.

    Attributes:
        keep: (row, modality) bool, the sensors whose evidence is used; or (row, modality, step),
            where it is used. Row k looks at window k % batch.
        target: the same for the sensors whose samples are scored.
        hidden: modality -> (row, channel) bool, channels of it whose evidence is not used and
            which are scored throughout.
        gaps: modality -> (batch, step, 1, patch) bool, samples that the encoder was not shown
            and which are scored in the first row of each window.
        weight: (row, modality), what a score counts for, so that a sensor counts alike however
            many others its windows have; None for 1 throughout.
    """

    keep: Tensor
    target: Tensor
    hidden: Mapping[str, Tensor] = field(default_factory=dict)
    gaps: Mapping[str, Tensor] = field(default_factory=dict)
    weight: Tensor | None = None

    def targets(self, modality: int, steps: int) -> Tensor:
        """Where one modality is scored, (row, step)."""
        target = self.target[:, modality]
        return target if target.dim() == 2 else target.unsqueeze(-1).expand(-1, steps)

    def sources(self, modalities: Sequence[str]) -> list[str]:
        """The sensors that speak in each row, in words: "ecg+resp"; NOTHING for none."""
        keep = self.keep.flatten(2).any(-1) if self.keep.dim() == 3 else self.keep
        return [
            "+".join(name for name, kept in zip(modalities, row, strict=True) if kept) or NOTHING
            for row in keep.tolist()
        ]


def full_view(present: Tensor) -> View:
    """Everything observed speaks, everything observed is scored."""
    return View(keep=present, target=present)


def subset_view(
    present: Tensor, generator: torch.Generator, one_out: float = 0.6, views: int = 1
) -> View:
    """Random proper subsets of each window's sensors speak; the rest are scored.

    A window with n sensors keeps n - 1 of them with probability `one_out`, else a number drawn
    uniformly from 1 to n - 1. A window with one sensor or none keeps it and scores nothing. The
    views of one window leave out its sensors in turn, so that n views score every one.

    A sensor of two is left out half of the time, one of seven 29 times in a hundred. What is left
    out weighs as much more as it is rarer than of three: what else was recorded changes the weight
    of none.

    Args:
        present: (batch, modality) bool, which sensors each window has.
        generator: source of randomness.
        one_out: probability of leaving out just one.
        views: how many subsets of each window.

    Returns:
        A view with `keep` and `target` disjoint, their union `present`, of views * batch rows.
    """
    batch, count = len(present), present.sum(-1)
    order = torch.rand(present.shape, generator=generator).masked_fill(~present, 2.0)
    rank = order.argsort(-1).argsort(-1)
    turn = torch.arange(views).view(-1, 1, 1)
    rank = (rank + turn) % count.clamp_min(1).unsqueeze(-1)
    leave_one = torch.rand(views, batch, generator=generator) < one_out
    uniform = torch.rand(views, batch, generator=generator)
    drawn = 1 + (uniform * (count - 1).clamp_min(1)).long()
    size = torch.where(leave_one, count - 1, drawn)
    size = torch.where(count < 2, count, size)
    keep = (present & (rank < size.unsqueeze(-1))).flatten(0, 1)
    target = present.repeat(views, 1) & ~keep
    rarity = _chance(torch.tensor(USUAL), one_out) / _chance(count.repeat(views), one_out)
    return View(keep, target, weight=torch.where(target, rarity.unsqueeze(-1), 1.0))


def _chance(count: Tensor, one_out: float) -> Tensor:
    """Of a sensor to be left out, of so many."""
    return one_out / count.clamp_min(1) + 0.5 * (1.0 - one_out)


def gap_view(
    view: View,
    present: Tensor,
    steps: int,
    generator: torch.Generator,
    *,
    share: float,
    reach: int,
    shortest: int = 1,
) -> View:
    """Some windows of a view with a gap in which no sensor speaks and every one is scored.

    Without gaps in training the guide takes silence for certainty. The gap's length is
    log-uniform from `shortest` to twice the window, its centre uniform over the window, so that
    some windows are silent throughout. Evidence is dropped up to `reach` steps beyond the gap,
    since a step's evidence has seen samples that far away: what is scored never speaks.

    Args:
        view: whose `keep` and `target` are (row, modality).
        present: (batch, modality) bool, which sensors each window has.
        steps: length of the windows.
        generator: source of randomness.
        share: of the rows that get a gap.
        reach: steps that evidence looks to either side.
        shortest: least length of a gap, steps.

    Returns:
        A view of (row, modality, step).
    """
    rows = len(view.keep)
    present = present.repeat(rows // len(present), 1)
    chosen = torch.rand(rows, generator=generator) < share
    ratio = math.log(max(2 * steps, shortest) / shortest)
    length = shortest * torch.exp(ratio * torch.rand(rows, generator=generator))
    start = steps * torch.rand(rows, generator=generator) - length / 2
    step = torch.arange(steps)
    first, last = start.floor().unsqueeze(-1), (start + length).ceil().unsqueeze(-1)
    chosen = chosen.unsqueeze(-1)
    gap = (chosen & (step >= first) & (step < last)).unsqueeze(1)
    silent = (chosen & (step >= first - reach) & (step < last + reach)).unsqueeze(1)
    return replace(
        view,
        keep=view.keep.unsqueeze(-1) & ~silent,
        target=view.target.unsqueeze(-1) | (present.unsqueeze(-1) & gap),
    )


@dataclass(frozen=True)
class Gaps:
    """Samples of a batch in gaps that each sensor has to itself.

    Attributes:
        hidden: modality -> (batch, step, 1, patch) bool, samples no encoder is shown.
        scored: the same, those of them that nothing shown has seen anything of.
        rows: (batch,) bool, windows in which some sensor has a gap.
    """

    hidden: Mapping[str, Tensor]
    scored: Mapping[str, Tensor]
    rows: Tensor


def draw_gaps(
    batch: Batch,
    generator: torch.Generator,
    *,
    share: Mapping[str, float],
    shortest_s: float,
    reach: Mapping[str, int],
) -> Gaps:
    """Gaps in each sensor of each window, with a probability, while the others may speak.

    Their samples are hidden from the encoder as a loss of the sensor hides them, so that what is
    said beside a gap, where the encoder looks into it, is learned too. The gaps of one sensor in
    one window are of equal length, log-uniform from `shortest_s` to the window's, and come so
    often that a third of the time is hidden: short gaps weigh as much as long ones.

    Args:
        batch: windows.
        generator: source of randomness.
        share: modality -> probability that it has gaps.
        shortest_s: least length, seconds.
        reach: modality that may have gaps -> steps to either side that its preparation has
            looked. So much beside a gap is hidden and not scored.
    """
    windows, steps = len(batch), batch.steps
    shortest = min(shortest_s * batch.state_rate_hz, float(steps))
    hidden, scored = {}, {}
    rows = torch.zeros(windows, dtype=torch.bool)
    for name, looked in reach.items():
        if name not in batch.offset:
            continue
        chosen = torch.rand(windows, generator=generator) < share[name]
        drawn = torch.rand(2, windows, 1, 1, 1, generator=generator)
        length = shortest * (steps / shortest) ** drawn[0]
        apart = GAPS_APART * length
        at = (torch.arange(steps).view(-1, 1) + batch.offset[name]).unsqueeze(2)
        away = at - apart * drawn[1]
        away = (torch.remainder(away, apart) - apart / 2).abs() - length / 2
        away = torch.where(chosen.view(-1, 1, 1, 1), away, math.inf)
        hidden[name], scored[name] = away < looked, away < 0
        rows |= chosen
    return Gaps(hidden, scored, rows)


def with_own_gaps(
    view: View, present: Tensor, gaps: Gaps, generator: torch.Generator, none_out: float
) -> View:
    """A view that also scores the samples in gaps, in the first row of each window.

    Some of those rows leave out no sensor at all. Once scored, a gap has nothing more to say to a
    window's other rows, and they need not pay for it.

    Args:
        view: whose `keep` and `target` are (row, modality).
        present: (batch, modality) bool, which sensors each window has.
        gaps: of the batch.
        generator: source of randomness.
        none_out: probability that a window with a gap leaves out no sensor.
    """
    chosen = torch.rand(len(present), generator=generator) < none_out
    whole = (chosen & gaps.rows).unsqueeze(-1)
    keep, target = view.keep.clone(), view.target.clone()
    keep[: len(present)] |= whole & present
    target[: len(present)] &= ~whole
    weight = None if view.weight is None else torch.where(target, view.weight, 1.0)
    return View(keep, target, gaps=gaps.scored, weight=weight)


def single_view(present: Tensor) -> View:
    """Every sensor by itself, row m * batch + b the m-th of window b; nothing is scored."""
    batch, count = present.shape
    alone = torch.eye(count, dtype=torch.bool).repeat_interleave(batch, 0)
    keep = alone & present.repeat(count, 1)
    return View(keep=keep, target=torch.zeros_like(keep))


def of_modality(share: float | Mapping[str, float], modality: str) -> float:
    """One modality's share: a figure for all, or its own, else that under ""."""
    if isinstance(share, Mapping):
        return float(share.get(modality, share.get("", 0.0)))
    return float(share)


@dataclass(frozen=True)
class Masking:
    """What a masked view hides, each modality for itself.

    Beside a hidden span a sensor is silent for as long as its evidence looks (`model.reach`):
    where a span is not several times longer, far less than 1 - ratio of the time speaks.

    Attributes:
        ratio: share of a modality's time that is hidden; a figure for all, or modality -> share,
            "" -> that of the others.
        span_s: length of a hidden span, seconds.
        modality: probability that a modality is hidden throughout; one always speaks.
        channel: probability that a channel is hidden throughout; of a modality one always speaks.

    Raises:
        FitError: a share or probability outside 0 to 1, or a span that lasts no time.
    """

    ratio: float | Mapping[str, float] = 0.5
    span_s: float = 2.0
    modality: float = 0.0
    channel: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be hidden."""
        ratios = self.ratio.values() if isinstance(self.ratio, Mapping) else (self.ratio,)
        for share in (*ratios, self.modality, self.channel):
            if not 0 <= share <= 1:
                raise FitError(
                    f"what a mask hides are shares from 0 to 1; got {share!r} in {self}. Half is "
                    "0.5."
                )
        if not 0 < self.span_s < math.inf:
            raise FitError(
                f"a hidden span lasts some seconds, got span_s={self.span_s!r}. 2.0 is usual."
            )


def masked_view(
    present: Tensor,
    channels: Mapping[str, Tensor],
    steps: int,
    state_rate_hz: float,
    generator: torch.Generator,
    masking: Masking,
    reach: int,
) -> View:
    """Every sensor with hidden spans, channels, or hidden throughout; what is hidden is scored.

    The window is cut, at a random phase, into spans of equal length, each hidden with probability
    `ratio`. Evidence is dropped up to `reach` steps beyond them: what is scored never speaks.

    Args:
        present: (batch, modality) bool, which sensors each window has.
        channels: modality -> (batch, channel) bool, which channels each window has, in the order
            of `present`.
        steps: length of the windows.
        state_rate_hz: steps a second.
        generator: source of randomness.
        masking: how much is hidden.
        reach: steps that evidence looks to either side.
    """
    ratio = torch.tensor([of_modality(masking.ratio, name) for name in channels]).unsqueeze(-1)
    span = max(1, round(masking.span_s * state_rate_hz))
    phase = torch.randint(span, (*present.shape, 1), generator=generator)
    block = (torch.arange(-reach, steps + reach) + phase + reach) // span
    chance = torch.rand(*present.shape, int(block.max()) + 1, generator=generator)
    hidden = (chance < ratio).gather(-1, block)
    whole = _all_but_one(present, masking.modality, generator).unsqueeze(-1)
    silent = hidden.unfold(-1, 2 * reach + 1, 1).any(-1) | whole
    hidden = hidden[..., reach : reach + steps] | whole
    there = present.unsqueeze(-1)
    return View(
        keep=there & ~silent,
        target=there & hidden,
        hidden={
            name: _all_but_one(seen, masking.channel, generator) for name, seen in channels.items()
        }
        if masking.channel > 0
        else {},
    )


def _all_but_one(present: Tensor, chance: float, generator: torch.Generator) -> Tensor:
    """Each of those present with a probability, but for one at random that is left."""
    order = torch.rand(present.shape, generator=generator).masked_fill(~present, 2.0)
    left = order == order.amin(-1, keepdim=True)
    return (torch.rand(present.shape, generator=generator) < chance) & present & ~left
