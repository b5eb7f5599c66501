"""One objective over views, as a weighted sum of its terms.

loss = -lambda_elbo * ELBO - lambda_cross * L_cross - lambda_mask * L_mask
       + lambda_align * L_align + lambda_miss * L_miss + lambda_codes * (L_token, then -L_code)

in nats per second, with L_cross and L_mask less lambda_block * L_block.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from latentphys.learning import contrastive, terms
from latentphys.learning.code_terms import code_terms, token_terms
from latentphys.learning.text_terms import text_terms, weighed
from latentphys.learning.views import (
    Gaps,
    Masking,
    View,
    draw_gaps,
    full_view,
    gap_view,
    masked_view,
    of_modality,
    single_view,
    subset_view,
    with_own_gaps,
)
from latentphys.model.alignment import pooled
from latentphys.model.distributions import GaussMarkov
from latentphys.model.evidence import Evidence
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.batch import Batch
from latentphys.recordings.errors import FitError

SHORTEST_GAP_S = 0.5
SHORTEST_OWN_GAP_S = 0.25
BLOCKS_S = (0.25, 1.0)
# Terms that teach what the sensors record; without them there is a representation alone.
RECONSTRUCTING = ("elbo", "cross", "mask")
Alignment = Literal["leave_one_out", "pairwise", "posterior"]
ALIGNMENTS: tuple[str, ...] = get_args(Alignment)


@dataclass(frozen=True)
class Objective:
    """Weights of the objective's terms.

    Attributes:
        elbo: weight of the ELBO; 0 for a representation by the other terms alone.
        cross: lambda_cross, of a sensor left out of three; it weighs alike in windows with more or
            fewer (`subset_view`).
        miss: lambda_miss.
        mask: lambda_mask.
        align: lambda_align; the model needs an `align_dim`, but for "posterior".
        views: random subsets of each window's sensors that are looked at; sensors' own gaps are
            scored beside the first.
        draws: latent paths a view in L_cross and L_mask; even, or 1.
        beta: these two weigh each sample's gradient by its predictive variance to this power.
        block: how much of L_block, the score of draws' means over `BLOCKS_S`, is taken off
            L_cross and L_mask. With it draws vary as whole waveforms do, not sample by sample;
            `draws` is then an even number from 4.
        one_out: how often a subset view leaves out just one sensor.
        gaps: share of the subset views that have a gap in all sensors.
        own_gaps: probability that a sensor of a window has gaps of its own: its encoder is not
            shown those samples, L_cross scores them, and the ELBO is of the others. A figure for
            all, or modality -> probability, "" -> that of the others.
        none_out: how often a window with such gaps leaves out no whole sensor besides.
        teach_only: whether L_miss moves only q_S (the full posterior is then its fixed target).
        masking: what L_mask hides.
        alignment: "leave_one_out", "pairwise", or between whole "posterior" distributions.
        total_correlation: alpha in [0, 1), how far the ELBO gives way to the total correlation of
            the modalities (`terms.total_correlation`).
        codes: lambda_codes, of learning codes and telling hidden ones (`code_terms`); the model
            needs `codes`. What is hidden is what `masking` hides.
        text: weight of what is said of a text (L_told, L_hidden), where the model reads one; a
            report is tens of nats, ten seconds of ECG are thousands, and neither is to drown the
            other.
        weights: modality -> factor on its log likelihoods in every term, where it is not 1. A
            second of cine is ten thousand pixels, each taken to be independent given the state:
            with a factor of a hundredth it weighs as much as a second of ECG, and is as sure.

    Raises:
        FitError: a weight below 0, none above it, a share outside 0 to 1, an alpha or an alignment
            that cannot be.
    """

    cross: float = 4.0
    miss: float = 0.003
    views: int = 1
    draws: int = 4
    one_out: float = 0.6
    gaps: float = 0.1
    own_gaps: float | Mapping[str, float] = 0.6
    none_out: float = 0.4
    teach_only: bool = True
    beta: float = 0.5
    block: float = 0.0
    elbo: float = 1.0
    mask: float = 0.0
    masking: Masking = field(default_factory=Masking)
    align: float = 0.0
    alignment: Alignment = "leave_one_out"
    total_correlation: float = 0.0
    text: float = 30.0
    codes: float = 0.0
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse weights that cannot be."""
        terms = ("elbo", "cross", "miss", "mask", "align", "text", "codes", "block")
        own = {name: getattr(self, name) for name in terms}
        for name, value in {**own, **self.weights}.items():
            if not value >= 0:
                raise FitError(
                    f"the weight of a term is 0 or more, got {name}={value!r}. Leave it out with 0."
                )
        for name in ("one_out", "gaps", "own_gaps", "none_out"):
            given = getattr(self, name)
            for share in given.values() if isinstance(given, Mapping) else (given,):
                if not 0 <= share <= 1:
                    raise FitError(
                        f"{name} is a share of windows, from 0 to 1; got {given!r}. Half is 0.5."
                    )
        if not any(own[name] > 0 for name in (*RECONSTRUCTING, "align", "codes")):
            raise FitError(
                "an objective has a term that teaches; elbo, cross, mask, align and codes are all "
                "0. Give one of them a weight, 1 say."
            )
        if self.block > 0 and (self.draws < 4 or self.draws % 2):
            raise FitError(
                f"block compares draws of two kinds, an even number from 4; got {self.draws!r} "
                "draws. Take draws=4, or block=0."
            )
        if not 0 <= self.total_correlation < 1:
            raise FitError(
                "total_correlation is from 0 (the plain ELBO) up to, but not, 1; got "
                f"{self.total_correlation!r}. A half is usual."
            )
        if self.alignment not in ALIGNMENTS:
            raise FitError(f"alignment is one of {', '.join(ALIGNMENTS)}; got {self.alignment!r}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Score:
    """The loss of a batch and what it is made of.

    Attributes:
        loss: scalar.
        by_window: term -> (batch,), nats per second; keys such as "elbo", "x/ecg", "cross/ppg",
            "mask/ecg", "align", "kl_state", "kl_nuisance", "kl_lag", "miss".
        by_direction: such as "cross/ecg+resp>ppg" and "mask/ecg>ppg" -> nats per second of what
            is scored, of each window that asked it; "miss/ecg+resp" -> L_miss of each window of
            which those spoke. A sensor of which a part is hidden is a source of itself too.
        active_units: latent dimensions whose posterior mean varies by more than 0.01.
    """

    loss: Tensor
    by_window: dict[str, Tensor]
    active_units: int
    by_direction: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Seen:
    """A batch encoded once and looked at several times."""

    model: StateSpaceModel
    batch: Batch
    shown: Batch
    objective: Objective
    evidence: Evidence
    views: dict[str, View]
    q: dict[str, GaussMarkov]

    @classmethod
    def of(
        cls,
        model: StateSpaceModel,
        batch: Batch,
        objective: Objective,
        generator: torch.Generator,
    ) -> _Seen:
        """The views that the objective's terms ask for, all through the guide in one pass."""
        gaps = _own_gaps(model, batch, objective, generator)
        shown = batch.hide(gaps.hidden) if gaps else batch
        evidence = model.evidence(shown)
        present = evidence.present()
        views = {"full": full_view(present)}
        if objective.cross > 0 or objective.miss > 0:
            views["subset"] = _partial_view(model, batch, present, objective, generator, gaps)
        if objective.mask > 0 or objective.codes > 0:
            views["masked"] = masked_view(
                present,
                {name: shown.mask[name].any(-1).any(1) for name in evidence.sensors},
                batch.steps,
                batch.state_rate_hz,
                generator,
                objective.masking,
                model.reach,
            )
        if objective.align > 0 or objective.total_correlation > 0:
            views["single"] = single_view(present)
        # A text speaks where all do; the other views are of what signals tell without one.
        said = [evidence.total(v.keep, v.hidden, name == "full") for name, v in views.items()]
        precision, weighted = zip(*said, strict=True)
        q = model.guide_network(torch.cat(precision), torch.cat(weighted))
        stops = torch.tensor([len(view.keep) for view in views.values()]).cumsum(0).tolist()
        starts = [0, *stops[:-1]]
        parts = {
            name: q.window(slice(a, b)) for name, a, b in zip(views, starts, stops, strict=True)
        }
        return cls(model, batch, shown, objective, evidence, views, parts)

    def scored(self, view: str) -> terms.Crossed:
        """Log density of what a view scores, and L_block of it."""
        crossed = terms.cross_and_blocks(
            self.model,
            self.batch,
            self.evidence,
            self.views[view],
            self.q[view],
            self.objective.draws,
            self.objective.beta,
            BLOCKS_S if self.objective.block > 0 else (),
        )
        weights = self.objective.weights
        return replace(
            crossed,
            scores=terms.weighted(crossed.scores, weights),
            blocks=terms.weighted(crossed.blocks, weights),
        )


def score_batch(
    model: StateSpaceModel,
    batch: Batch,
    objective: Objective,
    generator: torch.Generator,
    kl_weight: float = 1.0,
    learn_codes: bool = False,
) -> Score:
    """Encode once, look several times (all sensors, subsets, masks), and weigh the terms.

    Args:
        model: the state-space model.
        batch: windows and their masks.
        objective: the terms' weights.
        generator: of views, masks and gaps.
        kl_weight: of the divergences inside the ELBO, less than 1 while they are warmed up.
        learn_codes: whether codes are learned, L_token, rather than told, L_code.
    """
    seen = _Seen.of(model, batch, objective, generator)
    z = seen.q["full"].rsample()
    by_window: dict[str, Tensor] = {}
    directions: dict[str, list[float]] = {}
    total = z.new_zeros(len(batch))
    if objective.elbo > 0:
        total = total - objective.elbo * _bound(seen, z, kl_weight, by_window)
    if objective.cross > 0:
        crossed = seen.scored("subset")
        directions |= _directions(seen, "subset", "cross", crossed)
        by_window |= _over_views(crossed.scores, "cross", objective.views)
        by_window |= _over_views(crossed.blocks, "block", objective.views)
        told = _told(seen, "subset", crossed).view(objective.views, -1).mean(0)
        total = total - objective.cross * told
    if objective.miss > 0:
        missed = _miss(seen, z)
        directions |= _by_source(seen, missed)
        by_window["miss"] = missed.view(objective.views, -1).mean(0)
        total = total + objective.miss * by_window["miss"]
    if objective.mask > 0:
        masked = seen.scored("masked")
        directions |= _directions(seen, "masked", "mask", masked)
        by_window |= _over_views(masked.scores, "mask", 1)
        by_window |= _over_views(masked.blocks, "mask_block", 1)
        total = total - objective.mask * _told(seen, "masked", masked)
    if objective.codes > 0:
        total = total + objective.codes * _codes(seen, by_window, learn_codes)
    if objective.align > 0:
        by_window["align"] = _align(seen)
        total = total + objective.align * by_window["align"]
    draws = max(1, objective.draws // 2)
    read = text_terms(model, batch, seen.evidence, generator, draws, objective.beta)
    by_window |= read
    total = total + weighed(read, objective.text, objective.cross)
    active = int((seen.q["full"].mean.detach().flatten(0, 1).var(0) > 0.01).sum())
    detached = {name: value.detach() for name, value in by_window.items()}
    return Score(total.mean(), detached, active, directions)


def _told(seen: _Seen, looked: str, crossed: terms.Crossed) -> Tensor:
    """L_cross or L_mask less L_block, over all modalities, (row,)."""
    weight, told = seen.views[looked].weight, []
    for k, (name, score) in enumerate(crossed.scores.items()):
        if name in crossed.blocks:
            score = score - seen.objective.block * crossed.blocks[name]
        told.append(score if weight is None else score * weight[:, k])
    return torch.stack(told).sum(0)


def _over_views(scores: Mapping[str, Tensor], term: str, views: int) -> dict[str, Tensor]:
    """term/modality -> mean over a window's views, (batch,)."""
    return {f"{term}/{name}": value.view(views, -1).mean(0) for name, value in scores.items()}


def _bound(seen: _Seen, z: Tensor, kl_weight: float, by_window: dict[str, Tensor]) -> Tensor:
    """The ELBO, or what total correlation makes of it, (batch,); logs its parts."""
    weights = seen.objective.weights
    bound = terms.elbo(seen.model, seen.shown, seen.evidence, seen.q["full"], z, kl_weight, weights)
    by_window |= {
        "elbo": bound.value,
        "kl_state": bound.kl_state,
        "kl_nuisance": bound.kl_nuisance,
        **({"kl_lag": bound.kl_lag} if seen.evidence.lags else {}),
        **{f"x/{name}": value for name, value in bound.log_likelihood.items()},
    }
    alpha = seen.objective.total_correlation
    if alpha == 0:
        return bound.value
    count = len(seen.evidence.sensors)
    repeated = torch.arange(len(z)).repeat(count)
    apart = terms.missing(
        seen.q["full"].window(repeated), seen.q["single"], z[repeated], seen.batch
    )
    present = seen.views["single"].keep.any(-1)
    apart = torch.where(present, apart, 0.0).view(count, -1)
    by_window["kl_single"] = apart.sum(0)
    return terms.total_correlation(bound, apart, alpha, kl_weight)


def _miss(seen: _Seen, z: Tensor) -> Tensor:
    """L_miss of every subset view, (row,)."""
    q_all, path, views = seen.q["full"], z, seen.objective.views
    if seen.objective.teach_only:
        q_all, path = q_all.detach(), z.detach()
    repeated = torch.arange(len(z)).repeat(views)
    return terms.missing(q_all.window(repeated), seen.q["subset"], path[repeated], seen.batch)


def _codes(seen: _Seen, by_window: dict[str, Tensor], learn: bool) -> Tensor:
    """L_token or -L_code over all modalities, (batch,); logs each."""
    codes = seen.model.codes
    if codes is None:
        raise FitError(
            "codes are told by a model that has codebooks, this one has none. Give it their size, "
            "codes=256 say, or take codes=0 in the objective."
        )
    if learn:
        learned = token_terms(seen.model, codes, seen.batch)
        by_window |= {f"token/{name}": value for name, value in learned.items()}
        return sum(learned.values(), torch.zeros(()))
    told = code_terms(seen.model, codes, seen.batch, seen.views["masked"], seen.q["masked"])
    by_window |= {f"code/{name}": value for name, value in told.items()}
    return -sum(told.values(), torch.zeros(()))


def _align(seen: _Seen) -> Tensor:
    """L_align per second, (batch,)."""
    head, q, present = seen.model.alignment, seen.q["single"], seen.views["full"].keep
    shape = (present.shape[1], len(present), -1)
    if seen.objective.alignment == "posterior":
        mean, variance = (x.view(shape) for x in pooled(q))
        loss = contrastive.between_posteriors(mean, variance, present)
        return loss / terms.seconds(seen.batch)
    if head is None:
        raise FitError(
            f"alignment {seen.objective.alignment!r} compares unit vectors, for which this model "
            "has none. Give it an align_dim, 128 say, or take alignment='posterior'."
        )
    compare = {"leave_one_out": contrastive.leave_one_out, "pairwise": contrastive.pairwise}
    embedded = head(q.mean, seen.views["single"].keep.any(-1)).view(shape)
    loss = compare[seen.objective.alignment](embedded, present, head.scale)
    return loss / terms.seconds(seen.batch)


def _own_gaps(
    model: StateSpaceModel, batch: Batch, objective: Objective, generator: torch.Generator
) -> Gaps | None:
    """Gaps in some sensors of some windows; None of an objective without them."""
    if objective.cross <= 0:
        return None
    sensors = model.spec.sensors.items()
    # An embedding of a sensor would tell what the sensor's own gap hides.
    alone = {name: one.reach for name, one in sensors if not model.spec.derived_from(name)}
    share = {name: of_modality(objective.own_gaps, name) for name in alone}
    if not any(share.values()):
        return None
    return draw_gaps(batch, generator, share=share, shortest_s=SHORTEST_OWN_GAP_S, reach=alone)


def _partial_view(
    model: StateSpaceModel,
    batch: Batch,
    present: Tensor,
    objective: Objective,
    generator: torch.Generator,
    gaps: Gaps | None,
) -> View:
    """Random subsets of the sensors, some with gaps of their own or in all of them."""
    view = subset_view(present, generator, objective.one_out, objective.views)
    if gaps is not None:
        view = with_own_gaps(view, present, gaps, generator, objective.none_out)
    if objective.gaps <= 0:
        return view
    return gap_view(
        view,
        present,
        batch.steps,
        generator,
        share=objective.gaps,
        reach=model.reach,
        shortest=max(1, round(SHORTEST_GAP_S * batch.state_rate_hz)),
    )


def _directions(
    seen: _Seen, looked: str, term: str, crossed: terms.Crossed
) -> dict[str, list[float]]:
    """ "term/sources>target" -> nats a second of what is scored, of a view's rows that ask it."""
    sources = seen.views[looked].sources(list(seen.evidence.sensors))
    directions: dict[str, list[float]] = defaultdict(list)
    for target, score in crossed.scores.items():
        told = score.detach() * terms.seconds(seen.batch)
        asked_s = crossed.scored_s[target].tolist()
        for source, nats, length_s in zip(sources, told.tolist(), asked_s, strict=True):
            if length_s > 0:
                directions[f"{term}/{source}>{target}"].append(nats / length_s)
    return dict(directions)


def _by_source(seen: _Seen, missed: Tensor) -> dict[str, list[float]]:
    """ "miss/sources" -> L_miss of the subset views with those sources."""
    directions: dict[str, list[float]] = defaultdict(list)
    sources = seen.views["subset"].sources(list(seen.evidence.sensors))
    for source, value in zip(sources, missed.tolist(), strict=True):
        directions[f"miss/{source}"].append(value)
    return dict(directions)
