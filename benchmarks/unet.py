"""A one-dimensional U-Net for one direction: the specialist that the general model is held to.

    x_t ~ N(m_t(y), s_t(y)^2),      (m, s) = U-Net(y),     y the given sensors, x the target

Same standardised data, same augmentation (gain, a little noise) and same kind of time
budget as the model; but trained for these inputs and this output and nothing else.

    python benchmarks/unet.py ../shared/data/bidmc --target ppg --given ecg resp --minutes 5

References:
    Ronneberger, Fischer and Brox (2015), U-Net: convolutional networks for biomedical image
    segmentation.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.recordings.errors import FitError
from latentphys.trust.alignment import (
    aligned,
    reference_channels,
    sample_times,
    target_times,
    with_target,
)

Array = NDArray[np.float64]
WIDTHS = (24, 48, 64, 96, 128, 128)  # features at 125, 62.5, 31, 16, 8 and 4 Hz
STRIDE = 2 ** (len(WIDTHS) - 1)
GAIN, NOISE = 0.2, 0.02  # as the model's augmentation
# Stretching aligned sensors stretches the pulse's delay with them: without it the PPG of unseen
# subjects correlates at 0.75 instead of 0.64.
TEMPO = 0.0
SCALE_FLOOR = 1e-2


class Block(nn.Module):
    """Two convolutions with a short cut."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        same = 2 * dilation
        self.first = nn.Conv1d(inputs, outputs, 5, padding=same, dilation=dilation)
        self.second = nn.Conv1d(outputs, outputs, 5, padding=same, dilation=dilation)
        self.norms = nn.ModuleList([nn.GroupNorm(8, outputs), nn.GroupNorm(8, outputs)])
        self.short = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.dropout = nn.Dropout1d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.gelu(self.norms[0](self.first(x)))
        hidden = self.norms[1](self.second(self.dropout(hidden)))
        return F.gelu(hidden + self.short(x))


class Network(nn.Module):
    """(batch, input, time) -> mean and log-scale, (batch, channel, time) each.

    Five halvings, dilated convolutions over the whole window at the bottom, five doublings.
    """

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        pairs = list(zip(WIDTHS[:-1], WIDTHS[1:], strict=True))
        self.stem = Block(inputs, WIDTHS[0])
        self.down = nn.ModuleList([Block(a, b, dropout=dropout) for a, b in pairs])
        self.bottom = nn.Sequential(
            *(Block(WIDTHS[-1], WIDTHS[-1], dilation, dropout) for dilation in (1, 2, 4))
        )
        self.up = nn.ModuleList([Block(a + b, a, dropout=dropout) for a, b in reversed(pairs)])
        self.head = nn.Conv1d(WIDTHS[0], 2 * outputs, 1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)  # start from the mean, at unit scale

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        kept = []
        for block in self.down:
            kept.append(x)
            x = block(F.avg_pool1d(x, 2))
        x = self.bottom(x)
        for block in self.up:
            skip = kept.pop()
            x = block(torch.cat([skip, F.interpolate(x, scale_factor=2.0, mode="linear")], dim=1))
        mean, log_scale = self.head(x).chunk(2, dim=1)
        return mean, log_scale.clamp(-6.0, 3.0)


@dataclass(frozen=True)
class Sampler:
    """Random augmented windows from aligned records.

    Attributes:
        given: (modality, time) a record, NaN = not observed.
        goal: (channel, time) a record.
        samples: samples a window.
    """

    given: list[NDArray[np.float32]]
    goal: list[NDArray[np.float32]]
    samples: int

    def batch(self, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Inputs (batch, 2 modality, time) and goals (batch, channel, time), NaN in the latter."""
        lengths = np.array([x.shape[1] for x in self.given], dtype=float)
        chosen = rng.choice(len(lengths), size=size, p=lengths / lengths.sum())
        pairs = [self._window(int(i), rng) for i in chosen]
        inputs = torch.stack([with_mask(torch.from_numpy(given)) for given, _ in pairs])
        return inputs, torch.stack([torch.from_numpy(goal) for _, goal in pairs])

    def _window(
        self, index: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """One window at a random tempo, its sensors at random gains with a little noise."""
        both = np.concatenate([self.given[index], self.goal[index]])
        tempo = math.exp(rng.uniform(-TEMPO, TEMPO))
        reach = math.ceil(self.samples * tempo) + 2
        if both.shape[1] < reach:
            both = np.pad(both, ((0, 0), (0, reach - both.shape[1])), constant_values=np.nan)
        start = rng.integers(both.shape[1] - reach + 1)
        place = np.arange(self.samples) * tempo
        left = place.astype(int)
        share = (place - left).astype(np.float32)
        own = both[:, start : start + reach]
        window = (1 - share) * own[:, left] + share * own[:, left + 1]
        count = len(self.given[index])
        given = window[:count] * np.exp(GAIN * rng.standard_normal((count, 1), dtype=np.float32))
        given += NOISE * rng.standard_normal(given.shape, dtype=np.float32)
        return given.astype(np.float32), window[count:].astype(np.float32)


def with_mask(given: Tensor) -> Tensor:
    """(modality, time) with NaN -> (2 modality, time): zeros for NaN, then what was observed."""
    seen = torch.isfinite(given)
    return torch.cat([torch.where(seen, given, 0.0), seen.to(given.dtype)])


def loss(mean: Tensor, log_scale: Tensor, goal: Tensor) -> Tensor:
    """1/2 (x - m)^2 + [1/2 ((x - sg m) / s)^2 + log s], averaged over observed samples.

    The mean learns by squared error, and the scale by likelihood around a mean it cannot move:
    plain likelihood lets the network buy a large scale where the mean is hard.
    """
    seen = torch.isfinite(goal)
    goal = torch.where(seen, goal, 0.0)
    scale = log_scale.exp() + SCALE_FLOOR
    error = 0.5 * (goal - mean) ** 2
    surprise = 0.5 * ((goal - mean.detach()) / scale) ** 2 + scale.log()
    return torch.where(seen, error + surprise, 0.0).sum() / seen.sum().clamp(min=1)


@dataclass
class UNet:
    """A trained network with what it needs to predict a record.

    Attributes:
        shrink, widen: factors of mean and SD, measured on training subjects left out of training.
    """

    network: Network
    target: str
    reference: dict[str, str]
    channels: tuple[str, ...]
    fallback: str
    rate_hz: float
    samples: int
    steps: int = 0
    shrink: float = 1.0
    widen: float = 1.0
    history: list[dict[str, float]] = field(default_factory=list)

    def predict(self, record: PreparedRecord) -> tuple[Array, Array]:
        """Mean and SD of the target, (channel, time) each, at its own times, standardised.

        Windows overlap by half and are blended; the given sensors alone are read.
        """
        times = target_times(record, self.target, self.rate_hz)
        count = max(1, round(record.duration_s * self.rate_hz))
        grid = np.arange(count) / self.rate_hz
        moments = self._blend(aligned(record, self.reference, grid))
        signal = record.signals.get(self.target)
        names = (self.fallback,) if signal is None else signal.channels
        rows = [self.channels.index(n if n in self.channels else self.fallback) for n in names]
        mean, sd = (
            np.stack([np.interp(times, grid, values[row]) for row in rows]) for values in moments
        )
        return self.shrink * mean, self.widen * sd

    @torch.no_grad()
    def _blend(self, given: NDArray[np.float32]) -> tuple[Array, Array]:
        count, hop = given.shape[1], self.samples // 2
        starts = range(0, max(count - hop, 1), hop)
        length = starts[-1] + self.samples
        padded = np.pad(given, ((0, 0), (0, length - count)), constant_values=np.nan)
        windows = torch.stack(
            [with_mask(torch.from_numpy(padded[:, s : s + self.samples])) for s in starts]
        )
        self.network.eval()
        pieces = [self.network(part) for part in windows.split(16)]
        mean = torch.cat([m for m, _ in pieces]).numpy()
        sd = torch.cat([s.exp() + SCALE_FLOOR for _, s in pieces]).numpy()
        weight = np.hanning(self.samples + 2)[1:-1]
        total = np.zeros((2, len(self.channels), length))
        norm = np.zeros(length)
        for i, start in enumerate(starts):
            span = slice(start, start + self.samples)
            total[:, :, span] += weight * np.stack([mean[i], sd[i]])
            norm[span] += weight
        blended = (total / norm)[..., :count]
        return blended[0], blended[1]


def _sampler(records: Sequence[PreparedRecord], unet: UNet) -> Sampler:
    """Given and target of every record on the common grid, channels in the network's order."""
    given, goal = [], []
    for record in records:
        grid = np.arange(round(record.duration_s * unet.rate_hz)) / unet.rate_hz
        given.append(aligned(record, unet.reference, grid))
        signal = record.signals[unet.target]
        rows = np.full((len(unet.channels), len(grid)), np.nan, dtype=np.float32)
        own = sample_times(signal)
        for name, values in zip(signal.channels, signal.values, strict=True):
            rows[unet.channels.index(name)] = np.interp(
                grid, own, values, left=np.nan, right=np.nan
            )
        goal.append(rows)
    return Sampler(given, goal, unet.samples)


def _held_out(
    records: list[PreparedRecord], share: float, rng: np.random.Generator
) -> tuple[list[PreparedRecord], list[PreparedRecord]]:
    """Records to train on, and records of other subjects to measure shrink and widen on."""
    subjects = sorted({r.subject for r in records})
    count = round(share * len(subjects))
    chosen = set(rng.permutation(subjects)[:count].tolist())
    return (
        [r for r in records if r.subject not in chosen],
        [r for r in records if r.subject in chosen],
    )


def _progress(minutes: float | None, steps: int | None) -> Iterator[tuple[int, float]]:
    """(step, share of the budget used), until the budget is used up."""
    start, step = time.perf_counter(), 0
    while True:
        if steps is not None:
            used = step / steps
        else:
            used = (time.perf_counter() - start) / (60.0 * (minutes or 1.0))
        if used >= 1.0:
            return
        yield step, used
        step += 1


def _calibrate(unet: UNet, records: Sequence[PreparedRecord]) -> None:
    """shrink = least squares of x on m, widen = RMS of (x - shrink m) / s, on new subjects."""
    if not records:
        return
    triples = []
    for record in records:
        mean, sd = unet.predict(record)
        truth = record.signals[unet.target].values
        seen = np.isfinite(truth)
        triples.append(np.stack([truth[seen], mean[seen], sd[seen]]))
    truth, mean, sd = np.concatenate(triples, axis=1)
    unet.shrink = float(np.clip((truth * mean).sum() / max((mean**2).sum(), 1e-9), 0.0, 1.0))
    unet.widen = float(np.sqrt(np.mean(((truth - unet.shrink * mean) / sd) ** 2)))


def train_unet(
    records: Sequence[PreparedRecord],
    target: str,
    given: Sequence[str],
    window_s: float = 16.0,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    log: Callable[[dict[str, float]], None] | None = None,
) -> UNet:
    """Train for one direction: AdamW, warm-up, cosine to zero over the budget, averaged weights.

    One subject in ten is left out of the training and used to measure two numbers, `shrink` and
    `widen`; without them the intervals of a network this size are far too narrow for a new person.

    Args:
        records: standardised training records.
        target: modality to predict; its channels become the network's outputs.
        given: modalities to read, one channel of each.
        window_s: length of a training window.
        minutes: time to train, of this process's wall clock; or
        steps: batches to train, for a repeatable run. Exactly one of the two.
        seed: of weights, windows and augmentation.
        log: called every 50 steps with step, used and loss.

    Raises:
        FitError: not exactly one of minutes and steps, or no record carries the target.
    """
    if (minutes is None) == (steps is None):
        raise FitError(f"give minutes or steps; got minutes={minutes}, steps={steps}. Give one.")
    records = with_target(records, target)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            rng = np.random.default_rng(seed)
            fitting, held = _held_out(records, 0.1, rng)
            unet = _untrained(records, target, given, window_s)
            _optimise(unet, _sampler(fitting, unet), _progress(minutes, steps), rng, log)
            _calibrate(unet, held)
    finally:
        torch.set_num_threads(threads)
    return unet


def _untrained(
    records: Sequence[PreparedRecord], target: str, given: Sequence[str], window_s: float
) -> UNet:
    channels = sorted({c for r in records for c in r.signals[target].channels})
    rate_hz = float(np.median([r.signals[target].rate_hz for r in records]))
    return UNet(
        network=Network(2 * len(given), len(channels), dropout=0.1),
        target=target,
        reference=reference_channels(records, given),
        channels=tuple(channels),
        fallback=reference_channels(records, [target])[target],
        rate_hz=rate_hz,
        samples=max(1, math.ceil(window_s * rate_hz / STRIDE)) * STRIDE,
    )


def _optimise(
    unet: UNet,
    sampler: Sampler,
    progress: Iterator[tuple[int, float]],
    rng: np.random.Generator,
    log: Callable[[dict[str, float]], None] | None,
    batch_size: int = 16,
    rate: float = 2e-3,
) -> None:
    """Train in place; the network that remains is the running average of the weights."""
    network, average = unet.network, copy.deepcopy(unet.network)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-2)
    network.train()
    for step, used in progress:
        share = min(1.0, (step + 1) / 50) * 0.5 * (1.0 + math.cos(math.pi * used))
        optimiser.param_groups[0]["lr"] = rate * share
        inputs, goal = sampler.batch(batch_size, rng)
        mean, log_scale = network(inputs)
        objective = loss(mean, log_scale, goal)
        optimiser.zero_grad(set_to_none=True)
        objective.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        decay = min(0.99, (step + 1) / (step + 10))
        with torch.no_grad():
            for kept, new in zip(average.parameters(), network.parameters(), strict=True):
                kept.lerp_(new, 1.0 - decay)
        unet.steps = step + 1
        if step % 50 == 0:
            entry = {"step": float(step), "used": used, "loss": float(objective.detach())}
            unet.history.append(entry)
            if log is not None:
                log(entry)
    unet.network = average.eval()


def main() -> None:
    """Train on four subjects in five, score on the fifth."""
    from latentphys.preparation.preprocessing import default_preprocessing
    from latentphys.recordings.reading import read
    from latentphys.trust.scores import bootstrap_subjects, score_normal

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--target", default="ppg")
    parser.add_argument("--given", nargs="+", default=["ecg", "resp"])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--window-s", type=float, default=16.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    prepare = default_preprocessing().prepare
    train, test = read(options.data).split(test=0.2, seed=options.seed)
    unet = train_unet(
        [prepare(record) for record in train],
        options.target,
        options.given,
        options.window_s,
        minutes=options.minutes,
        seed=options.seed,
        log=print,
    )
    scored, subjects = [], []
    for record in (prepare(record) for record in test):
        truth = record.signals[options.target].values
        window = round(options.window_s * unet.rate_hz)
        scored.append(score_normal(truth, *unet.predict(record), window_samples=window))
        subjects.append(record.subject)
    for name in ("window_correlation", "correlation", "nrmse", "ncrps", "coverage"):
        print(name, bootstrap_subjects([s[name] for s in scored], subjects))


if __name__ == "__main__":
    main()
