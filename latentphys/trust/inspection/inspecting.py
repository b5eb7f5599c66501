"""The door of inspection: states gathered, looked at from every side, and laid out with labels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from latentphys.inference.doors import check_cohort
from latentphys.recordings.arguments import seed_number
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import CohortError, FitError, listed
from latentphys.trust.audits.case import Case
from latentphys.trust.audits.truths import truths
from latentphys.trust.held_out import Fitted
from latentphys.trust.inspection.fixed_points import FixedPoints, fixed_points
from latentphys.trust.inspection.result import Inspection
from latentphys.trust.inspection.rhythms import (
    HARMONICS,
    RHYTHMS,
    phases,
    spectrum,
    timescale_s,
    told_by,
)
from latentphys.trust.inspection.traversal import (
    MOVES,
    SHOWN_S,
    effect,
    imagined,
    stretch_of,
    traversed,
)
from latentphys.trust.resampling import mean_of

Array = NDArray[np.float64]
SUMMARIES = ("mean", "swing", "speed")  # of each number over 16 s, as `Case.features` has them
DEALT = 200  # times labels are given to other recordings
STARTS = 64  # states from which rests are looked for
MOVED = 4  # recordings whose state is moved
OWN_S, OWN_PATHS = 60.0, 8  # of the model's own paths, where no recordings are given
RUNAWAY_SD = 1e3  # the prior's spread is near 1


@dataclass(frozen=True)
class _States:
    """Posterior means of recordings or paths of the prior, with whose they are."""

    paths: list[Array]  # (step, latent) each
    sd: Array  # (latent,) mean posterior standard deviation
    people: list[str]

    @property
    def spread(self) -> Array:
        """Standard deviation of each number over all steps, (latent,)."""
        return np.asarray(np.concatenate(self.paths).std(0))

    @property
    def between(self) -> Array:
        """Share of its variance that lies between people, (latent,)."""
        names = sorted(set(self.people))
        own = [
            np.concatenate([p for p, who in zip(self.paths, self.people, strict=True) if who == s])
            for s in names
        ]
        within = np.mean([part.var(0) for part in own], axis=0)
        apart = np.var([part.mean(0) for part in own], axis=0)
        return np.asarray(apart / np.maximum(apart + within, 1e-12))


def inspect_model(fitted: Fitted, cohort: Cohort | None, seed: int) -> Inspection:
    """Everything at once; see `FittedModel.inspect`."""
    seed = seed_number(seed)
    if cohort is None:
        return _laid_out(fitted, None, _own(fitted, seed), seed)
    check_cohort(cohort, "an inspection is of")
    case = Case(fitted, cohort, seed=seed)
    if not case.records:
        raise CohortError(
            f"an inspection needs records with a sensor of the model, {listed(fitted.names)}; "
            f"these have {listed(cohort.modalities)}. Look at cohort.table()."
        )
    return _laid_out(fitted, case, _seen(case), seed)


def _laid_out(fitted: Fitted, case: Case | None, states: _States, seed: int) -> Inspection:
    model, rate = fitted.model, fitted.model.spec.state_rate_hz
    hertz, share = spectrum(states.paths, rate)
    data = {
        "sd": ("latent", states.spread),
        "posterior_sd": ("latent", states.sd),
        "between_people": ("latent", states.between),
        "timescale_s": ("latent", timescale_s(states.paths, rate)),
        "peak_hz": ("latent", hertz[share.argmax(1)]),
        "spectrum": (("latent", "frequency_hz"), share),
    }
    coords = {"latent": np.arange(model.spec.latent_dim), "frequency_hz": hertz}
    moved = _moved(fitted, case, states, seed)
    names = list(moved)
    effects = [np.mean([effect(own) for own in each], axis=0) for each in moved.values()]
    data["effect"] = (("latent", "modality"), np.stack(effects, axis=1))
    groups = {"latent": xr.Dataset(data, {**coords, "modality": names})}
    if case is not None:
        groups["latent"] = groups["latent"].merge(_rhythms(case, states))
        if (loadings := _loadings(case, seed)) is not None:
            groups["latent"] = groups["latent"].merge(loadings)
    for name, each in moved.items():
        groups[f"traversal/{name}"] = _curves(each[0], rate)
    groups["transition"] = _rests(_found(fitted, states, seed), states, rate)
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {
        "of": "the model's own paths" if case is None else "recordings",
        "people": 0 if case is None else len(case.subjects),
        "records": len(states.paths),
        "state_rate_hz": rate,
        "transition": model.spec.transition,
        "seed": seed,
    }
    return Inspection(tree)


def _seen(case: Case) -> _States:
    paths, sds = [], []
    for record in case.records:
        encoded = case.encoded(record)
        mean, sd = encoded.paths(encoded.names).moments()
        paths.append(mean.numpy().astype(np.float64))
        sds.append(sd.numpy().astype(np.float64).mean(0))
    return _States(paths, np.mean(sds, axis=0), [record.subject for record in case.records])


@torch.no_grad()
def _own(fitted: Fitted, seed: int) -> _States:
    """Paths of the prior, without inputs.

    Raises:
        FitError: they are not finite.
    """
    model = fitted.model
    steps = round(OWN_S * model.spec.state_rate_hz)
    noise = torch.randn(
        OWN_PATHS, steps, model.spec.latent_dim, generator=torch.Generator().manual_seed(seed)
    )
    paths = model.prior_over(steps, None, torch.Size()).path(noise).numpy().astype(np.float64)
    states = _States(list(paths), np.zeros(model.spec.latent_dim), ["model"] * OWN_PATHS)
    said = f"the model's own paths run away within {OWN_S:g} s{{}}. Give fit.inspect a cohort."
    if not np.isfinite(paths).all():
        raise FitError(said.format(": they are not finite, and cannot be looked at"))
    if (largest := states.spread.max()) > RUNAWAY_SD:
        told = f", to a standard deviation of {largest:.2g} where a state's is near 1"
        warnings.warn(said.format(told), UserWarning, stacklevel=4)
    return states


def _moved(fitted: Fitted, case: Case | None, states: _States, seed: int) -> dict[str, list[Array]]:
    """modality -> curves of some recordings; see `traversed`."""
    model = fitted.model
    found: dict[str, list[Array]] = {}
    if case is None:
        steps = round(fitted.window_s * model.spec.state_rate_hz)
        z = [torch.from_numpy(path[-steps:]).float()[None] for path in states.paths[:MOVED]]
        stretches = [imagined(model, own) for own in z]
    else:
        fullest = sorted(case.records, key=lambda record: -len(record.modalities))
        stretches = [stretch_of(model, case.windows(record)) for record in fullest[:MOVED]]
    for stretch in stretches:
        for name, curves in traversed(model, stretch, states.spread).items():
            found.setdefault(name, []).append(curves)
    return {name: found[name] for name in fitted.names if name in found}


def _curves(curves: Array, rate: float) -> xr.Dataset:
    """The first seconds of one recording's curves over time."""
    steps = min(curves.shape[2], round(SHOWN_S * rate))
    flat = curves[:, :, :steps].reshape(*curves.shape[:2], -1)
    time = np.arange(flat.shape[-1]) / (rate * curves.shape[3])
    return xr.Dataset(
        {"curve": (("latent", "move_sd", "time"), flat)},
        {"latent": np.arange(len(flat)), "move_sd": list(MOVES), "time": time},
    )


def _rhythms(case: Case, states: _States) -> xr.Dataset:
    """Share of each number told by the phase of heart and breath, a mean over people."""
    found: dict[str, dict[str, list[Array]]] = {name: {} for name in RHYTHMS}
    rate = case.fitted.model.spec.state_rate_hz
    for record, path in zip(case.records, states.paths, strict=True):
        for name, turns in phases(record, case.fitted.prepare(record), rate).items():
            share = told_by(path, turns, HARMONICS[name])
            found[name].setdefault(record.subject, []).append(share)
    none = np.full(case.fitted.model.spec.latent_dim, np.nan)
    shares = [mean_of(case.by_subject(own)) if own else none for own in found.values()]
    return xr.Dataset(
        {"rhythm_share": (("latent", "rhythm"), np.stack(shares, axis=1))},
        {"rhythm": list(RHYTHMS)},
    )


def _loadings(case: Case, seed: int) -> xr.Dataset | None:
    """Correlations of each number's summaries with what is known, and the largest by chance."""
    known = truths(case)
    if not known:
        return None
    rng, latent = np.random.default_rng(seed), case.fitted.model.spec.latent_dim
    found, chance = [], []
    for own in known.values():
        counts = [min(len(x), len(y)) for x, y in zip(case.state_rows, own, strict=True)]
        x = np.concatenate([row[:n] for row, n in zip(case.state_rows, counts, strict=True)])
        series = [y[:n] for y, n in zip(own, counts, strict=True)]
        found.append(_correlations(x, np.concatenate(series)).reshape(len(SUMMARIES), latent).T)
        dealt = [np.abs(_correlations(x, _dealt(series, rng))).max() for _ in range(DEALT)]
        chance.append(float(np.percentile(dealt, 95.0)))
    return xr.Dataset(
        {
            "loading": (("latent", "summary", "label"), np.stack(found, axis=-1)),
            "loading_by_chance": ("label", chance),
        },
        {"summary": list(SUMMARIES), "label": list(known)},
    )


def _dealt(series: Sequence[Array], rng: np.random.Generator) -> Array:
    """Each recording's series taken from another recording, repeated or cut to its length."""
    order = rng.permutation(len(series))
    return np.concatenate(
        [np.resize(series[k], len(own)) for k, own in zip(order, series, strict=True)]
    )


def _correlations(x: Array, y: Array) -> Array:
    """Of each column of x with y, over rows where y is known, (column,)."""
    seen = np.isfinite(y)
    if seen.sum() < 3:
        return np.zeros(x.shape[1])
    a, b = x[seen] - x[seen].mean(0), y[seen] - y[seen].mean()
    size = np.sqrt((a**2).sum(0) * (b**2).sum())
    return np.asarray(np.where(size > 1e-12, a.T @ b / np.maximum(size, 1e-12), 0.0))


def _found(fitted: Fitted, states: _States, seed: int) -> FixedPoints:
    every = np.concatenate(states.paths)
    chosen = np.random.default_rng(seed).choice(len(every), min(STARTS, len(every)), replace=False)
    return fixed_points(fitted.model.transition, torch.from_numpy(every[chosen]))


def _rests(points: FixedPoints, states: _States, rate: float) -> xr.Dataset:
    """The fixed points, laid out."""
    every = np.concatenate(states.paths)
    away = (points.z - every.mean(0)) / np.maximum(states.spread, 1e-9)
    modes = ("point", "mode")
    return xr.Dataset(
        {
            "z": (("point", "latent"), points.z),
            "share": ("point", points.share),
            "stable": ("point", points.stable),
            "away_sd": ("point", np.sqrt((away**2).mean(-1))),
            "frequency_hz": (modes, points.frequency_hz(rate)),
            "decay_s": (modes, points.decay_s(rate)),
            "eigenvalue_real": (modes, points.eigenvalues.real),
            "eigenvalue_imaginary": (modes, points.eigenvalues.imag),
        },
        {"latent": np.arange(every.shape[1])},
    )
