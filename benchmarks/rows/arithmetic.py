"""Rest or mental arithmetic, of a person left out, by EEG and ECG: EEGMAT.

PhysioOmni's claims (shared and private latents against shared ones, subsets of sensors, a resilient
probe against a plain one) on recordings of a few people, beside the same network untrained and
plain figures of the signals as the model takes them. Every person is left out once a seed; a minute
of each sensor, too, is imputed from the other.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

import latentphys as lp
from latentphys.fitted import FittedModel
from latentphys.preparation.spans import spans_of
from latentphys.recordings.splits import k_fold
from latentphys.trust.held_out import untrained
from latentphys.trust.raw_features import raw_features, side_by_side
from rows import privates
from rows.imputed import impute, impute_plainly
from rows.privates import OWN, SHARED, Sides
from rows.tally import Labelled, Rows, Tally, macro_f1, probe_class
from rows.windows import embedded, pooled, teachings, truths

SENSORS = ("eeg", "ecg")
SUBSETS = (SENSORS, ("eeg",), ("ecg",))
WINDOW_S = 10.0
WAYS = {
    name: replace(privates.WAYS[name], window_s=WINDOW_S) for name in (OWN, SHARED, "statespace")
}
IMPUTES = (OWN, "statespace")
IMPUTED = {"eeg": ("ecg",), "ecg": ("eeg",)}
CLAIMS = [
    (f"{OWN}, resilient probe", f"{OWN}, plain probe"),
    (f"{OWN}, resilient probe", f"{SHARED}, resilient probe"),
    ("statespace, imputing", f"{OWN}, imputing"),
]


def run(folder: Path, seeds: int, steps: int) -> Rows:
    """Macro-F1 of rest and arithmetic by both sensors and by either, and imputed sensors."""
    whole = lp.read(folder)
    rows: Rows = {}
    for seed in range(seeds):
        for split in k_fold(whole, len(whole.subjects)):
            sides = split.train, split.test
            for name, chosen in WAYS.items():
                fit = lp.fit(sides[0], recipe=chosen, steps=steps, seed=seed, progress=False)
                _probe(fit, name, sides, rows)
                if name in IMPUTES:
                    impute(fit, name, _minutes(sides[1]), IMPUTED, rows)
                if name == OWN:
                    same = replace(fit, model=untrained(fit.model, seed))
                    _probe(same, "untrained", sides, rows)
                if name == OWN and seed == 0:
                    _raw_features(fit, sides, rows)
                    impute_plainly(fit, (sides[0], _minutes(sides[1])), IMPUTED, rows)
    return rows


def _arithmetic(record: lp.Record, start_s: float, stop_s: float) -> float:
    """1 where numbers were subtracted, 0 at rest, as EEGMAT names its files."""
    return float(record.record.endswith("_2"))


def _probe(fit: FittedModel, name: str, sides: Sides, rows: Rows) -> None:
    learned, asked = ({s: embedded(fit, side, s) for s in SUBSETS} for side in sides)
    y, truth = (
        truths(x[SENSORS], side, _arithmetic)
        for x, side in zip((learned, asked), sides, strict=True)
    )
    for probe, taught in teachings(learned, SUBSETS, y).items():
        row = rows.setdefault(f"{name}, {probe} probe", {})
        for given in SUBSETS:
            tally = row.setdefault("+".join(given), Tally(macro_f1))
            probe_class(taught, pooled(asked, [given], truth), tally)


def _minutes(left_out: lp.Cohort) -> lp.Cohort:
    """The first minute of each recording."""
    return lp.Cohort(record.crop(0.0, 60.0) for record in left_out)


def _raw_features(fit: FittedModel, sides: Sides, rows: Rows) -> None:
    """A probe on mean, spread and power in half octaves of each channel, a probe a subset."""
    for given in SUBSETS:
        taught, asked = (_figures(fit, side, given) for side in sides)
        known = np.isfinite(taught.x).all(0) & np.isfinite(asked.x).all(0)
        tally = rows.setdefault("raw features", {}).setdefault("+".join(given), Tally(macro_f1))
        probe_class(*(own._replace(x=own.x[:, known]) for own in (taught, asked)), tally)


def _figures(fit: FittedModel, side: lp.Cohort, given: tuple[str, ...]) -> Labelled:
    prepared = [fit.prepared(record) for record in side]
    rate_hz = fit.model.spec.state_rate_hz
    spans = [
        spans_of(*both, "window", WINDOW_S, rate_hz) for both in zip(side, prepared, strict=True)
    ]
    each = [raw_features(record, own, given) for record, own in zip(prepared, spans, strict=True)]
    sizes = [len(own) for own in spans]
    y = np.repeat([_arithmetic(record, 0.0, WINDOW_S) for record in side], sizes)
    who = np.repeat([record.subject for record in side], sizes).tolist()
    return Labelled(side_by_side(each, sizes), y, who)
