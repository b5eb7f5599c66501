"""Multimodal masked autoencoder: sensors dropped in training or not, for sensors missing at test.

The claim: dropping sensors in training helps when sensors are missing, up to the rate of the drop,
and naive late-fusion contrast, of the same network, is worse. BIDMC, unseen subjects: heart rate
and breathing rate by a linear probe on the embedding, taught with every sensor (plain) or on every
subset (resilient) and asked with some; each sensor imputed from the other two. One sensor missing
of three is about the rate dropped in training, two are beyond it.
"""

from __future__ import annotations

from pathlib import Path

import latentphys as lp
from latentphys.fitted import FittedModel
from rows.imputed import impute, impute_plainly
from rows.tally import Rows, Tally, explained, probe_number
from rows.windows import embedded, observed_mean, pooled, teachings, truths

SENSORS = ("ecg", "ppg", "resp")
ASKED = {"heart rate": "hr", "breathing rate": "resp_rate"}
IMPUTED = {target: [name for name in SENSORS if name != target] for target in SENSORS}
GIVEN = {
    "complete": (SENSORS,),
    "one missing": (("ecg", "ppg"), ("ecg", "resp"), ("ppg", "resp")),
    "two missing": (("ecg",), ("ppg",), ("resp",)),
}
WAYS = {
    "drop 0.3": lp.recipe("multimodal_mae", window_s=32.0),
    "no drop": lp.recipe(
        "multimodal_mae",
        window_s=32.0,
        objective={"masking": lp.Masking(ratio=0.5, span_s=2.0, modality=0.0)},
    ),
    "late-fusion contrast": lp.recipe(
        "multimodal_mae",
        window_s=32.0,
        batch_size=16,
        objective={"mask": 0.0, "align": 1.0, "alignment": "pairwise"},
        model={"align_dim": 128},
    ),
    "statespace": lp.recipe("statespace", window_s=32.0),
}
CLAIMS = [
    (f"drop 0.3, {probe} probe", f"{other}, {probe} probe")
    for other in ("no drop", "late-fusion contrast", "statespace")
    for probe in ("plain", "resilient")
]
CLAIMS += [("statespace, imputing", f"{way}, imputing") for way in ("drop 0.3", "no drop")]


def run(folder: Path, seeds: int, steps: int) -> Rows:
    """R2 of probes by how many sensors are missing, and scores of imputed sensors."""
    whole = lp.read(folder)
    rows: Rows = {}
    for seed in range(seeds):
        train, test = whole.split(test=0.25, seed=seed)
        sensors = train.keep(*SENSORS)
        for name, chosen in WAYS.items():
            fit = lp.fit(sensors, recipe=chosen, steps=steps, seed=seed, progress=False)
            _probe(fit, name, (train, test), rows)
            if name != "late-fusion contrast":
                impute(fit, name, test, IMPUTED, rows)
        impute_plainly(fit, (sensors, test), IMPUTED, rows)
    return rows


def _probe(
    fit: FittedModel,
    name: str,
    sides: tuple[lp.Cohort, lp.Cohort],
    rows: Rows,
) -> None:
    subsets = [given for asked in GIVEN.values() for given in asked]
    learned, asked = ({s: embedded(fit, side, s) for s in subsets} for side in sides)
    for label, modality in ASKED.items():
        y = truths(learned[SENSORS], sides[0], observed_mean(modality))
        truth = truths(asked[SENSORS], sides[1], observed_mean(modality))
        for probe, taught in teachings(learned, subsets, y).items():
            row = rows.setdefault(f"{name}, {probe} probe", {})
            for missing, given in GIVEN.items():
                tally = row.setdefault(f"{label}, {missing}", Tally(explained))
                probe_number(taught, pooled(asked, given, truth), tally)
