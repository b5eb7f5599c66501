"""PhysioOmni: shared and private latents, with codes, against shared ones without, on every subset.

Simulated nights; sleep stage of unseen people by a linear probe trained with every sensor (plain)
or on every subset (resilient), and by the fine-tuned model, its head asked of every subset
(resilient) or of every sensor (plain). The fine-tuned model leaves out windows in which
one of the subset's sensors is silent. Of the middle ten minutes of their nights, too, each of the
signals that all models are given alike, imputed from the others.
"""

from __future__ import annotations

from itertools import combinations

import xarray as xr

import latentphys as lp
from latentphys.fitted import FittedModel
from rows.imputed import impute, impute_plainly
from rows.tally import Rows, Tally, count_confusions, macro_f1, probe_class
from rows.windows import by_window, commonest, embedded, nights_of, pooled, teachings, truths

SENSORS = ("eeg", "eog", "emg", "ecg")
SUBSETS = [s for size in range(len(SENSORS), 0, -1) for s in combinations(SENSORS, size)]
IMPUTED = {t: [name for name in SENSORS if name != t] for t in ("eeg", "eog", "ecg")}
CLOCK_HZ = 4.0
OWN, SHARED = "shared and private", "shared alone, no codes"
WAYS = {
    OWN: lp.recipe("physioomni"),
    SHARED: lp.recipe("physioomni", model={"codes": 0, "private_dim": 0}, objective={"codes": 0.0}),
    "statespace": lp.recipe("statespace", state_rate_hz=CLOCK_HZ, window_s=30.0),
}
TUNED = (OWN, "statespace")
CLAIMS = [(f"{OWN}, resilient {by}", f"{OWN}, plain {by}") for by in ("probe", "fine-tuning")]
CLAIMS += [
    (f"{one}, {what}", f"{other}, {what}")
    for one, other in ((OWN, SHARED), ("statespace", OWN), ("statespace", SHARED))
    for what in ("resilient probe", "imputing")
]
Sides = tuple[lp.Cohort, lp.Cohort]
# Of each side, sensors -> embeddings of its windows by them.
Seen = list[dict[tuple[str, ...], xr.DataArray]]


def run(seeds: int, steps: int, subjects: int = 18, minutes: float = 30.0) -> Rows:
    """Macro-F1 by how many sensors are given, over all their subsets."""
    rows: Rows = {}
    for seed in range(seeds):
        sides = nights_of(300 + seed, SENSORS, subjects, minutes, seed)
        for name, chosen in WAYS.items():
            fit = lp.fit(sides[0], recipe=chosen, steps=steps, seed=seed, progress=False)
            seen = [{s: embedded(fit, side, s) for s in SUBSETS} for side in sides]
            _probe(name, sides, seen, seed, rows)
            if name in TUNED:
                _finetune(fit, name, sides, seen, seed, rows)
            impute(fit, name, _middle(sides[1]), IMPUTED, rows, seed)
        impute_plainly(fit, (_middle(sides[0]), _middle(sides[1])), IMPUTED, rows, seed)
    return rows


def _probe(name: str, sides: Sides, seen: Seen, seed: int, rows: Rows) -> None:
    learned, asked = seen
    y = truths(learned[SENSORS], sides[0], commonest("stage"))
    truth = truths(asked[SENSORS], sides[1], commonest("stage"))
    for probe, taught in teachings(learned, SUBSETS, y).items():
        row = rows.setdefault(f"{name}, {probe} probe", {})
        for size in range(len(SENSORS), 0, -1):
            given = [subset for subset in SUBSETS if len(subset) == size]
            tests = pooled(asked, given, truth).of_split(seed)
            probe_class(taught, tests, _of_size(row, size))


def _finetune(fit: FittedModel, name: str, sides: Sides, seen: Seen, seed: int, rows: Rows) -> None:
    train, test = sides
    learned, asked = (
        by_window(x[SENSORS], side, commonest("stage")) for x, side in zip(seen, sides, strict=True)
    )
    for way, resilient in {"plain": False, "resilient": True}.items():
        own = fit.finetune(
            train,
            learned,
            kind="class",
            resilient=resilient,
            class_weights="balanced",
            seed=seed,
            progress=False,
        )
        told = own.assess(test, asked, subsets=SUBSETS).dataset
        whose = [f"{seed}/{who}" for who in told.subject.values]
        row = rows.setdefault(f"{name}, {way} fine-tuning", {})
        for given in SUBSETS:
            named = "+".join(name for name in fit.modalities if name in given)
            answer = told.predicted.where(told.asked).sel(sensors=named).values
            count_confusions(told.truth.values, answer, whose, _of_size(row, len(given)))


def _middle(nights: lp.Cohort) -> lp.Cohort:
    """Ten minutes of each night."""
    return lp.Cohort(record.middle(600.0) for record in nights)


def _of_size(row: dict[str, Tally], size: int) -> Tally:
    return row.setdefault(f"{size} sensors", Tally(macro_f1))
