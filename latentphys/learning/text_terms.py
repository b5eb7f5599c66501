"""The objective's terms of a text beside signals: each asked of the other, and of its own half.

    L_told   = log p(w | z),           z ~ q(. | signals)
    L_hidden = log p(w_hidden | z),    z ~ q(. | signals, the other findings of w)
    L_shown  = log p(x^m | z),         z ~ q(. | w),    eps^m ~ N(0, I)

The ELBO has log p(w | z), z ~ q(. | signals, w), beside them (`terms.elbo`). All in nats per second
of signal, one figure a window; windows without a text have 0.

Neither L_told nor L_hidden moves what the signals say: L_told moves the emission of the text alone,
L_hidden what the text says too. Encoders that are asked for the reports of a hundred people learn
those by heart.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from latentphys.learning import terms
from latentphys.learning.views import View
from latentphys.model.evidence import Evidence
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.batch import Batch

SHOWN = 0.25  # share of windows L_shown decodes: with all, it is half of a step's cost
HIDDEN = 0.5  # share of a text's findings hidden in L_hidden, as CSFM hides half of its tokens


def text_terms(
    model: StateSpaceModel,
    batch: Batch,
    evidence: Evidence,
    generator: torch.Generator,
    draws: int = 2,
    beta: float = 0.5,
) -> Mapping[str, Tensor]:
    """L_told, L_hidden and L_shown of a batch; nothing where the model reads no text of it.

    Whole findings are hidden, each with probability HIDDEN: a finding of which half is shown
    mostly tells the other half.

    Args:
        model: the state-space model.
        batch: windows.
        evidence: `model.evidence(batch)`.
        generator: source of randomness.
        draws, beta: of L_shown, as in `terms.cross`.

    Returns:
        "told/<text>", "hidden/<text>", and "shown/<modality>" for each: (batch,).

    References:
        CSFM (2026): masked modelling of waveform patches (75 %) and text tokens (50 %).
    """
    tokens = model.tokens_of(batch)
    if tokens is None or evidence.text is None:
        return {}
    speaks = ~_hidden(evidence.text.finding, generator)
    signals = tuple(own.detach() for own in Evidence(evidence.sensors, evidence.shape).total())
    half, whole = evidence.text.total(speaks), evidence.text.total()
    precision, weighted = (
        torch.cat([own, own + own_half, own_whole.expand_as(own)])
        for own, own_half, own_whole in zip(signals, half, whole, strict=True)
    )
    q = model.guide_network(precision, weighted)
    size, duration = len(batch), terms.seconds(batch)
    z = q.window(slice(0, 2 * size)).rsample()
    emission, shapes = model.text_emission, model.shapes_of(batch)
    present = evidence.present() & tokens.mask.any(-1, keepdim=True)
    present = present & (torch.rand(size, 1, generator=generator) < SHOWN)
    view = View(keep=torch.zeros_like(present), target=present)
    shown = terms.cross(model, batch, evidence, view, q.window(slice(2 * size, None)), draws, beta)
    return {
        f"told/{tokens.name}": emission.log_prob(z[:size].detach(), tokens, shapes=shapes)
        / duration,
        f"hidden/{tokens.name}": emission.log_prob(z[size:], tokens, ~speaks, shapes) / duration,
        **{f"shown/{name}": value for name, value in shown.items()},
    }


def weighed(found: Mapping[str, Tensor], text: float, shown: float) -> Tensor | float:
    """-(text * (L_told + L_hidden) + shown * sum_m L_shown^m), what the loss gains; 0 without."""
    own = [shown if name.startswith("shown/") else text for name in found]
    return -sum(weight * value for weight, value in zip(own, found.values(), strict=True))


def _hidden(finding: Tensor, generator: torch.Generator) -> Tensor:
    """(batch, token): True for the tokens of findings that are hidden."""
    count = int(finding.max()) + 1
    drawn = torch.rand(len(finding), count, generator=generator) < HIDDEN
    return drawn.to(finding.device).gather(-1, finding)
