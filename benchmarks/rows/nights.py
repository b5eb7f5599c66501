"""SleepFM: leave-one-out against pairwise alignment, on retrieval and staging.

Simulated nights (every sensor), and Sleep-EDF's features (two channels), where leave-one-out and
pairwise are one and the same; there the probe stands beside raw features and a hidden Markov model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

import latentphys as lp
from latentphys.fitted import FittedModel
from latentphys.learning.views import single_view
from latentphys.preparation.loading import in_order
from latentphys.preparation.windows import tile
from rows.tally import (
    STAGES,
    Array,
    Labelled,
    Rows,
    Tally,
    count_confusions,
    macro_f1,
    probe_class,
    share,
)
from rows.windows import commonest, labelled, nights_of

if TYPE_CHECKING:
    from hmmlearn.hmm import GaussianHMM

SENSORS = ("eeg", "eog", "emg", "ecg", "airflow")
WAYS = ("leave_one_out", "pairwise", "posterior")
CHANNELS = {"fpz": "Fpz-Cz", "pz": "Pz-Oz"}
EPOCH_S = 30.0
# A contrast tells its windows apart, and what is staged is an epoch.
OF_FEATURES = {
    "sleepfm": {"window_s": EPOCH_S, "batch_size": 256},
    "statespace": {"window_s": 20 * EPOCH_S, "batch_size": 32},
}
CLAIMS = [("leave_one_out", "pairwise"), ("statespace", "leave_one_out")]


def run(seeds: int, steps: int, subjects: int = 18, minutes: float = 30.0) -> Rows:
    """Retrieval and staging on simulated nights of unseen people."""
    rows: Rows = {}
    for seed in range(seeds):
        train, test = nights_of(200 + seed, SENSORS, subjects, minutes, seed)
        for way in (*WAYS, "statespace"):
            own = lp.recipe("sleepfm", objective={"alignment": way}) if way in WAYS else way
            chosen = (
                lp.recipe("statespace", window_s=30.0, state_rate_hz=4.0) if own == way else own
            )
            fit = lp.fit(train, recipe=chosen, steps=steps, seed=seed, progress=False)
            row = rows.setdefault(way, {})
            if way in WAYS and way != "posterior":
                _retrieve(fit, test, seed, row)
            _stage(fit, train, test, seed, row)
    return rows


def _stage(
    fit: FittedModel, train: lp.Cohort, test: lp.Cohort, seed: int, row: dict[str, Tally]
) -> None:
    for name, given in {
        "all": SENSORS,
        "EEG": ("eeg",),
        "ECG, airflow": ("ecg", "airflow"),
    }.items():
        taught, asked = (labelled(fit, side, commonest("stage"), given) for side in (train, test))
        probe_class(taught, asked.of_split(seed), row.setdefault(f"F1, {name}", Tally(macro_f1)))


@torch.no_grad()
def _retrieve(fit: FittedModel, test: lp.Cohort, seed: int, row: dict[str, Tally]) -> None:
    """Whether a sensor's window is among the 10 nearest to the others' mean, of all windows."""
    spec, records = fit.model.spec, [fit.prepared(record) for record in test]
    index = tile(records, fit.window_s, fit.window_s, spec.state_rate_hz)
    found, people = [], []
    for batch in in_order(records, index, tuple(spec.sensors), 64, spec.inputs):
        evidence = fit.model.evidence(batch)
        q = fit.model.guide_of(evidence, single_view(evidence.present()).keep)
        head = fit.model.alignment
        assert head is not None
        found.append(head(q.mean).view(len(spec.sensors), len(batch), -1))
        people += batch.subject
    e = torch.cat(found, 1)
    hits = []
    for m in range(len(e)):
        rest = (e.sum(0) - e[m]) / (len(e) - 1)
        similar = e[m] @ rest.t()
        rank = (similar > similar.diagonal().unsqueeze(-1)).sum(-1)
        hits.append((rank < 10).double())
    for who, hit in zip(people, torch.stack(hits).mean(0).tolist(), strict=True):
        tally = row.setdefault("recall@10", Tally(share))
        tally.add(f"{seed}/{who}", np.array([hit, 1.0]))
    chance = row.setdefault("chance", Tally(share))
    chance.add(f"{seed}", np.array([10.0 / e.shape[1], 1.0]))


def run_features(folder: Path, seeds: int, steps: int) -> Rows:
    """Staging of Sleep-EDF's epochs by a linear probe, with both channels and with either."""
    cohort = _two_channels(lp.read(folder))
    rows: Rows = {}
    for seed in range(seeds):
        train, test = cohort.split(test=2 / 7, seed=seed)
        for name, sizes in OF_FEATURES.items():
            chosen = lp.recipe(
                name,
                state_rate_hz=1.0 / EPOCH_S,
                **sizes,
                model={"latent_dim": 16, "widths": (64, 64, 64)},
                augmentation={"tempo": 0.0, "lag_s": 0.0, "own_lag_s": {}, "one_channel": 0.0},
            )
            fit = lp.fit(train, recipe=chosen, steps=steps, seed=seed, progress=False)
            _stage_features(fit, name, train, test, rows)
        _raw_features(train, test, rows)
    return rows


def _two_channels(cohort: lp.Cohort) -> lp.Cohort:
    """A modality a channel, its nine features as channels, with the stages beside."""
    records = []
    for record in cohort:
        signal = record.signals["eeg_features"]
        names = [str(name) for name in signal["channel"].values]
        parts = {
            modality: [k for k, name in enumerate(names) if name.startswith(channel)]
            for modality, channel in CHANNELS.items()
        }
        made = lp.Record.from_arrays(
            {m: (signal.values[own], 1.0 / EPOCH_S) for m, own in parts.items()},
            subject=record.subject,
            channels={m: [names[k].split(" ", 1)[1] for k in own] for m, own in parts.items()},
        )
        records.append(replace(record, signals=made.signals))
    return lp.Cohort(records)


def _stages(record: lp.Record) -> Array:
    told = lp.labels.per_epoch(record, "stage", EPOCH_S, label=lp.labels.sleep_stage).values
    return np.array([STAGES.index(s) if s in STAGES else -1 for s in told], np.float64)


def _stage_features(
    fit: FittedModel,
    name: str,
    train: lp.Cohort,
    test: lp.Cohort,
    rows: Rows,
) -> None:
    for subset, given in _subsets():
        sides = []
        for side in (train, test):
            x = [fit.posterior(r, given=given, draws=1)["posterior"]["z_mean"].values for r in side]
            y = [_stages(record) for record in side]
            cut = [min(len(a), len(b)) for a, b in zip(x, y, strict=True)]
            who = [r.subject for r, n in zip(side, cut, strict=True) for _ in range(n)]
            sides.append(
                Labelled(
                    np.concatenate([a[:n] for a, n in zip(x, cut, strict=True)]).astype(float),
                    np.concatenate([b[:n] for b, n in zip(y, cut, strict=True)]),
                    who,
                )
            )
        tally = rows.setdefault(name, {}).setdefault(subset, Tally(macro_f1))
        probe_class(*sides, tally)


def _subsets() -> list[tuple[str, tuple[str, ...]]]:
    return [("both", tuple(CHANNELS)), *((channel, (m,)) for m, channel in CHANNELS.items())]


def _raw_features(train: lp.Cohort, test: lp.Cohort, rows: Rows) -> None:
    """The same probe on the features themselves, and a hidden Markov model of them.

    Standardised by the people to fit, and as the models see them, each record by itself.
    """
    for subset, given in _subsets():
        raw = [
            [np.concatenate([r.signals[m].values for m in given]).T for r in side]
            for side in (train, test)
        ]
        y = [
            [_stages(record)[: len(own)] for record, own in zip(side, x, strict=True)]
            for side, x in zip((train, test), raw, strict=True)
        ]
        fitted = np.concatenate(raw[0])
        alike = [[_standardised(own, fitted) for own in x] for x in raw]
        alone = [[_standardised(own, own) for own in x] for x in raw]
        whose = [
            [r.subject for r, own in zip(side, x, strict=True) for _ in own]
            for side, x in zip((train, test), raw, strict=True)
        ]
        for name, x in {"raw features": alike, "raw features, scaled by record": alone}.items():
            tally = rows.setdefault(name, {}).setdefault(subset, Tally(macro_f1))
            sides = zip(x, y, whose, strict=True)
            taught, asked = (
                Labelled(np.concatenate(a), np.concatenate(b), who) for a, b, who in sides
            )
            probe_class(taught, asked, tally)
        hmm = _hidden_markov(alike[0], y[0])
        told = np.concatenate([hmm.predict(own) for own in alike[1]])
        tally = rows.setdefault("Gaussian HMM", {}).setdefault(subset, Tally(macro_f1))
        count_confusions(np.concatenate(y[1]), told, whose[1], tally)


def _standardised(x: Array, by: Array) -> Array:
    """Features, (epoch, feature), less the mean of others and in their standard deviations."""
    return np.asarray(np.nan_to_num((x - np.nanmean(by, 0)) / np.nanstd(by, 0)))


def _hidden_markov(x: Sequence[Array], y: Sequence[Array]) -> GaussianHMM:
    """The model of the labelled nights: counts of transitions, a Gaussian a stage."""
    from hmmlearn.hmm import GaussianHMM

    size, count = len(STAGES), np.ones((len(STAGES), len(STAGES)))
    for own in y:
        both = (own[:-1] >= 0) & (own[1:] >= 0)
        np.add.at(count, (own[:-1][both].astype(int), own[1:][both].astype(int)), 1.0)
    flat, stage = np.concatenate(x), np.concatenate(y)
    ridge = 1e-2 * np.eye(flat.shape[1])
    hmm = GaussianHMM(n_components=size, covariance_type="full", init_params="")
    hmm.startprob_ = count.sum(0) / count.sum()
    hmm.transmat_ = count / count.sum(1, keepdims=True)
    hmm.means_ = np.stack([flat[stage == k].mean(0) for k in range(size)])
    hmm.covars_ = np.stack([np.cov(flat[stage == k].T) + ridge for k in range(size)])
    return hmm
