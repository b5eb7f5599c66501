"""Every missing pattern of held-out people, scored beside baselines in the same run.

Everything is on the standardised signal (each recording's own median and spread), so that CRPS is
in standard deviations and a log score in nats a sample of it. Hidden samples are hidden from the
filtered signal. The model and the baselines share every recording, gap and resampled person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.recordings.errors import CohortError
from latentphys.trust.asking import answers, window_samples
from latentphys.trust.calibration import Calibration
from latentphys.trust.patterns import GROUPS, Ask, Pattern, Questions
from latentphys.trust.predicting import EncodedRecord, observed, pieces
from latentphys.trust.resampling import SubjectBootstrap, ahead_from, ahead_until
from latentphys.trust.rivals import METHODS, Moments, Rivals
from latentphys.trust.sample_scores import LEVELS, PIT_BINS, SCORES, Summary, score_gaussian

Array = NDArray[np.float64]
MODEL = "latentphys"
LONGEST_S = 600.0  # a night is scored in stretches that fit in memory
BOUNDS = ("", "_lower", "_upper")
BELOW_IS_BETTER = ("crps", "nrmse")  # scores with a zero, of which a ratio means something


@dataclass(frozen=True)
class Row:
    """What one recording says of one label, target and method."""

    group: str
    label: str | float
    target: str
    method: str
    subject: str
    summary: Summary
    repaired: Array | None = None


@dataclass
class Evaluator:
    """A model, what it is asked, and what it is compared with.

    Attributes:
        model: in evaluation mode.
        questions: asked of every recording.
        window_s: of the model's windows.
        draws: posterior paths.
        rivals: subject -> baselines that never saw it.
        calibration: of the model, if any.
    """

    model: StateSpaceModel
    questions: Questions
    window_s: float
    draws: int
    rivals: Mapping[str, Rivals] = field(default_factory=dict)
    calibration: Calibration | None = None

    def rows(self, record: PreparedRecord) -> list[Row]:
        """All rows of one recording."""
        found = []
        for piece in pieces(record, LONGEST_S):
            names = observed(piece, tuple(self.model.spec.sensors))
            if not names:
                continue
            patterns = self.questions.patterns(piece, names)
            generator = torch.Generator().manual_seed(self.questions.seed)
            encoded = EncodedRecord(self.model, piece, self.window_s)
            for pattern, ask, sample in answers(encoded, patterns, self.draws, generator):
                summary = Summary.of(sample, window_samples(piece, ask.target, self.window_s))
                if summary is not None:
                    repaired = self._repaired(pattern, ask, summary)
                    found.append(self._row(pattern, ask, MODEL, piece, summary, repaired))
            found += self._rival_rows(piece, patterns)
        return found

    def _repaired(self, pattern: Pattern, ask: Ask, summary: Summary) -> Array | None:
        if self.calibration is None:
            return None
        seen = ask.target in pattern.given and not pattern.hidden
        factors = [
            self.calibration.factor(pattern.given, ask.target, level, seen) for level in LEVELS
        ]
        return np.array([(summary.residual <= factor).mean() for factor in factors])

    def _rival_rows(self, piece: PreparedRecord, patterns: Sequence[Pattern]) -> list[Row]:
        rivals, found = self.rivals.get(piece.subject), []
        # What a sensor says of itself needs no rival: only what is hidden or absent does.
        patterns = [p for p in patterns if p.hidden or not set(p.targets) & set(p.given)]
        if rivals is None or not patterns:
            return []
        for pattern, moments in zip(patterns, rivals.predict(piece, patterns), strict=True):
            for ask in pattern.asks:
                for method in METHODS:
                    if (method, ask.target) not in moments:
                        continue
                    summary = self._gaussian(piece, ask, moments[method, ask.target])
                    if summary is not None:
                        found.append(self._row(pattern, ask, method, piece, summary))
        return found

    def _gaussian(self, piece: PreparedRecord, ask: Ask, moments: Moments) -> Summary | None:
        values = piece.signals[ask.target].values
        scored = np.isfinite(values) if ask.where is None else np.isfinite(values) & ask.where
        sample = score_gaussian(values, torch.from_numpy(scored), *moments)
        return Summary.of(sample, window_samples(piece, ask.target, self.window_s))

    @staticmethod
    def _row(
        pattern: Pattern,
        ask: Ask,
        method: str,
        piece: PreparedRecord,
        summary: Summary,
        repaired: Array | None = None,
    ) -> Row:
        return Row(pattern.group, ask.label, ask.target, method, piece.subject, summary, repaired)


def assembled(rows: Sequence[Row], targets: Sequence[str], seed: int) -> xr.DataTree:
    """Rows as labelled arrays: one group a kind of missingness, and `break_even`.

    Raises:
        CohortError: nothing was scored.
    """
    if not rows:
        raise CohortError(
            "an evaluation needs recordings with samples of the model's sensors; nothing could be "
            f"scored for {', '.join(targets)}. Look at cohort.table()."
        )
    subjects = sorted({row.subject for row in rows})
    bootstrap = SubjectBootstrap(len(subjects), seed=seed)
    groups: dict[str, xr.Dataset] = {}
    for group in GROUPS:
        own = [row for row in rows if row.group == group]
        if own:
            groups[group] = _dataset(own, group, targets, subjects, bootstrap)
    if "gap_s" in groups:
        groups["break_even"] = _break_even(groups["gap_s"], bootstrap)
    return xr.DataTree.from_dict(groups)


def _dataset(
    rows: Sequence[Row],
    group: str,
    targets: Sequence[str],
    subjects: Sequence[str],
    bootstrap: SubjectBootstrap,
) -> xr.Dataset:
    """Means over a subject's recordings, then estimates over subjects."""
    labels = list(dict.fromkeys(row.label for row in rows))
    labels = sorted(labels) if group == "gap_s" else labels
    methods = [m for m in (MODEL, *METHODS) if any(row.method == m for row in rows)]
    cells: dict[tuple[int, ...], list[Row]] = {}
    for row in rows:
        at = (
            labels.index(row.label),
            list(targets).index(row.target),
            methods.index(row.method),
            list(subjects).index(row.subject),
        )
        cells.setdefault(at, []).append(row)
    shape = (len(labels), len(targets), len(methods), len(subjects))
    sizes = {"score": len(SCORES), "coverage": len(LEVELS), "pit": PIT_BINS, "repaired": 0}
    arrays = {name: np.full((*shape[:3], n, shape[3]), np.nan) for name, n in sizes.items()}
    arrays["repaired"] = np.full((*shape[:3], len(LEVELS), shape[3]), np.nan)
    for (i, j, k, s), own in cells.items():
        arrays["score"][i, j, k, :, s] = np.mean([r.summary.scores for r in own], axis=0)
        arrays["coverage"][i, j, k, :, s] = np.mean([r.summary.coverage for r in own], axis=0)
        arrays["pit"][i, j, k, :, s] = np.mean([r.summary.pit for r in own], axis=0)
        repaired = [r.repaired for r in own if r.repaired is not None]
        if repaired:
            arrays["repaired"][i, j, k, :, s] = np.mean(repaired, axis=0)
    coords = {
        group: labels,
        "target": list(targets),
        "predictor": methods,
        "score": list(SCORES),
        "level": list(LEVELS),
        "bin": (np.arange(PIT_BINS) + 0.5) / PIT_BINS,
        "subject": list(subjects),
    }
    return xr.Dataset(_variables(arrays, group, methods, bootstrap), coords=coords)


def _variables(
    arrays: Mapping[str, Array], group: str, methods: Sequence[str], bootstrap: SubjectBootstrap
) -> dict[str, tuple[tuple[str, ...], Array]]:
    """Values by subject, estimates with bounds, and skills."""
    cell = (group, "target", "predictor")
    found: dict[str, tuple[tuple[str, ...], Array]] = {
        "value": ((*cell, "score", "subject"), arrays["score"]),
        "coverage": ((*cell, "level", "subject"), arrays["coverage"]),
        "pit": ((*cell, "bin", "subject"), arrays["pit"]),
    }
    kinds = [("estimate", "score", "score"), ("coverage_estimate", "coverage", "level")]
    if np.isfinite(arrays["repaired"]).any():
        found["coverage_repaired"] = ((*cell, "level", "subject"), arrays["repaired"])
        kinds.append(("repaired_estimate", "repaired", "level"))
    for name, source, last in kinds:
        for suffix, part in zip(BOUNDS, bootstrap.bounds(arrays[source]), strict=True):
            found[name + suffix] = ((*cell, last), part)
    if MODEL in methods:
        own = arrays["score"][:, :, [methods.index(MODEL)]]
        ratio = bootstrap.skill(np.broadcast_to(own, arrays["score"].shape), arrays["score"])
        gain = bootstrap.gain(np.broadcast_to(own, arrays["score"].shape), arrays["score"])
        meaningful = np.array([name in BELOW_IS_BETTER for name in SCORES])
        for suffix, skill, more in zip(BOUNDS, ratio, gain, strict=True):
            found["skill" + suffix] = ((*cell, "score"), np.where(meaningful, skill, np.nan))
            found["gain" + suffix] = ((*cell, "score"), np.where(meaningful, np.nan, more))
    return found


def _break_even(gaps: xr.Dataset, bootstrap: SubjectBootstrap) -> xr.Dataset:
    """Gap lengths between which the model is ahead of linear interpolation, with bounds."""
    scores, lengths = list(BELOW_IS_BETTER), gaps.gap_s.values.astype(np.float64)
    targets = gaps.target.values
    dims = ("target", "score")
    names = [f"{w}{s}" for w in ("ahead_from_s", "ahead_until_s") for s in BOUNDS]
    arrays = {name: np.full((len(targets), len(scores)), np.nan) for name in names}
    if "linear" in gaps.predictor.values and MODEL in gaps.predictor.values:
        for j, target in enumerate(targets):
            for k, score in enumerate(scores):
                one = gaps.value.sel(target=target, score=score)
                each = bootstrap.skills(
                    one.sel(predictor=MODEL).values, one.sel(predictor="linear").values
                )
                for where, rule in (("ahead_from_s", ahead_from), ("ahead_until_s", ahead_until)):
                    found = np.array([rule(lengths, row) for row in each])
                    arrays[where][j, k] = found[0]
                    # nearest rank: infinity is a bound here, and lines through it are not
                    ranked = np.sort(found[1:][~np.isnan(found[1:])])
                    if len(ranked):
                        low, high = np.floor(np.array([0.025, 0.975]) * (len(ranked) - 1))
                        arrays[f"{where}_lower"][j, k] = ranked[int(low)]
                        arrays[f"{where}_upper"][j, k] = ranked[int(high)]
    data = {name: (dims, values, {"units": "s"}) for name, values in arrays.items()}
    return xr.Dataset(data, coords={"target": targets, "score": scores})
