"""The model's answers to every pattern of a recording, as mixtures over the scored samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from latentphys.inference.bridging import Bridge
from latentphys.inference.imputation import decode
from latentphys.inference.paths import Paths
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.preprocessing import PreparedRecord, PreparedSignal
from latentphys.trust.patterns import Ask, Pattern
from latentphys.trust.predicting import EncodedRecord, present
from latentphys.trust.sample_scores import Mixture, SampleScores, score_mixture


def answers(
    encoded: EncodedRecord, patterns: Sequence[Pattern], draws: int, generator: torch.Generator
) -> Iterator[tuple[Pattern, Ask, SampleScores]]:
    """Scores of every sample asked for.

    Args:
        encoded: the recording.
        patterns: of it.
        draws: posterior paths.
        generator: source of randomness.
    """
    for pattern in patterns:
        hidden = {name: h for name, h in pattern.hidden.items() if name in pattern.given}
        asked = encoded.hiding(hidden) if hidden else encoded
        paths = asked.paths(pattern.given)
        for target in pattern.targets:
            asks = [ask for ask in pattern.asks if ask.target == target]
            shown = asked.record.signals[target] if target in pattern.given else None
            yield from _scored(encoded, pattern, asks, paths, shown, draws, generator)


def _scored(
    encoded: EncodedRecord,
    pattern: Pattern,
    asks: Sequence[Ask],
    paths: Paths,
    shown: PreparedSignal | None,
    draws: int,
    generator: torch.Generator,
) -> Iterator[tuple[Pattern, Ask, SampleScores]]:
    """All asks of one target from one decoding; only what is asked for is kept of it.

    `shown` is the target with its hidden samples NaN, where it is given.
    """
    model, target = encoded.model, asks[0].target
    signal = encoded.record.signals[target]
    masks = [present(signal, ask.where) for ask in asks]
    wanted = torch.stack(masks).any(0)
    bridge = None
    # What is made of a sample that was seen does not depend on its neighbours.
    if shown is not None and bool((wanted & ~present(shown)).any()):
        bridge = Bridge.over(model.emission(target).noise, shown, model.spec.state_rate_hz)
    locs, scales, places = [], [], []
    number = torch.arange(wanted.numel()).view(wanted.shape)
    asked = wanted.any(0).numpy()
    decoded = decode(paths, target, signal, draws, generator, wanted=asked, bridge=bridge)
    for sample, loc, scale in decoded:
        kept = wanted[:, sample]
        locs.append(loc[:, kept])
        scales.append(scale[:, kept])
        places.append(number[:, sample][kept])
    # Stretch by stretch is not channel by channel: back to the order of a mask.
    order = torch.cat(places).argsort()
    loc, scale = torch.cat(locs, 1)[:, order], torch.cat(scales, 1)[:, order]
    for ask, mask in zip(asks, masks, strict=True):
        if bool(mask.any()):
            own = mask[wanted]
            mixture = Mixture(loc[:, own], scale[:, own], freedom_of(model, target))
            yield pattern, ask, score_mixture(signal.values, mask, mixture, generator)


def freedom_of(model: StateSpaceModel, modality: str) -> float | None:
    """Degrees of freedom of a sensor's noise; None of a normal."""
    emission = model.emission(modality)
    return None if emission.tail is None else float(emission.degrees_of_freedom().detach())


def window_samples(record: PreparedRecord, target: str, window_s: float) -> int:
    """Samples of a target in one window."""
    return round(window_s * record.signals[target].rate_hz)
