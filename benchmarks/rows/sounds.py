"""Digital stethoscope: heart sounds and ECG learned together against one of them alone.

The claim: a joint representation knows more of the heart's mechanics than that of either signal.
Asked of it: systolic interval and pre-ejection period, whose truth the simulator knows. What the
same network tells untrained comes free, and is the least a pretraining has to beat. Each of the two
is imputed from the other besides.
"""

from __future__ import annotations

from dataclasses import replace

import latentphys as lp
from latentphys.fitted import FittedModel
from latentphys.trust.held_out import untrained
from rows.imputed import impute, impute_plainly
from rows.tally import Rows, Tally, explained, probe_number
from rows.windows import embedded, mean_of, with_truth

SUBJECTS, MINUTES = 36, 1.5
ASKED = ("systolic_interval", "pre_ejection_period", "heart_rate")
BOTH = ("ecg", "pcg")
IMPUTED = {"ecg": ("pcg",), "pcg": ("ecg",)}
STETHOSCOPE = lp.recipe("stethoscope")
STATESPACE = lp.recipe(
    "statespace",
    state_rate_hz=STETHOSCOPE.state_rate_hz,
    window_s=STETHOSCOPE.window_s,
    plans=STETHOSCOPE.plans,
)
WAYS = {
    "joint": (STETHOSCOPE, BOTH),
    "ECG alone": (STETHOSCOPE, ("ecg",)),
    "heart sounds alone": (STETHOSCOPE, ("pcg",)),
    "statespace": (STATESPACE, BOTH),
}
CLAIMS = [
    ("joint", "ECG alone"),
    ("joint", "heart sounds alone"),
    ("joint", "joint, untrained"),
    ("statespace", "joint"),
    ("statespace, imputing", "joint, imputing"),
]


def run(seeds: int, steps: int) -> Rows:
    """R2 of linear probes on unseen subjects, a row a way of pretraining, and imputed sensors."""
    rows: Rows = {}
    for seed in range(seeds):
        cohort = lp.simulate(SUBJECTS, MINUTES, seed=100 + seed, absent=0.0, pcg_rate_hz=1000.0)
        sides = cohort.keep(*BOTH).split(test=1 / 3, seed=seed)
        for name, (chosen, sensors) in WAYS.items():
            train = sides[0].keep(*sensors)
            fit = lp.fit(train, recipe=chosen, steps=steps, seed=seed, progress=False)
            _probe(fit, sides, sensors, seed, rows.setdefault(name, {}))
            if sensors == BOTH:
                impute(fit, name, sides[1], IMPUTED, rows, seed)
            if name == "joint":
                impute_plainly(fit, sides, IMPUTED, rows, seed)
                same = replace(fit, model=untrained(fit.model, seed))
                _probe(same, sides, sensors, seed, rows.setdefault("joint, untrained", {}))
    return rows


def _probe(
    fit: FittedModel,
    sides: tuple[lp.Cohort, lp.Cohort],
    sensors: tuple[str, ...],
    seed: int,
    row: dict[str, Tally],
) -> None:
    kept = [side.keep(*sensors) for side in sides]
    rows = [embedded(fit, side) for side in kept]
    for what in ASKED:
        taught, asked = (with_truth(*side, mean_of(what)) for side in zip(rows, kept, strict=True))
        probe_number(taught, asked.of_split(seed), row.setdefault(what, Tally(explained)))
