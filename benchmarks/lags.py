"""Is a pulse's lag a parameter that can be read? Simulated subjects, whose transit time is known.

    python benchmarks/lags.py --steps 600 --seeds 0,1,2 [--data DIR]

One model has a lag of the PPG, its rival none; both are fitted alike. The posterior mean lag of
unseen people is held against their true mean transit time, after the one constant that all people
share, taken from the training people; beside it the delay that cross-correlation measures
(`latentphys.preparation.delays`), treated alike. Coverage is of the 90 % interval about the truth.
Then the PPG is imputed from ECG and respiration by both models. With --data, the same imputation
on BIDMC.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))
from impute import delay_known, whole_numbers

import latentphys as lp
from latentphys.fitted import FittedModel
from latentphys.inference.imputation import Question
from latentphys.preparation.delays import pulse_delays
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.record import Record
from latentphys.trust.directions import score_model, table

Array = NDArray[np.float64]
SENSORS = ("ecg", "ppg", "resp")
GIVEN = ("ecg", "resp")
Z90 = 1.6449
WAYS = {"with a lag": {"lags": ("ppg",)}, "without": {}}


def true_transit(record: Record, start_s: float, stop_s: float) -> float:
    """Mean transit time between two times, seconds."""
    assert record.truth is not None
    return float(record.truth.transit_time.sel(time=slice(start_s, stop_s - 1e-6)).mean())


def transits(cohort: Cohort, rows: xr.Dataset, window_s: float) -> Array:
    """The truth of each row of `FittedModel.lag`."""
    records = {record.record: record for record in cohort}
    if "start_s" not in rows.coords:
        return np.array([true_transit(records[n], 0.0, 1e9) for n in rows.record.values.tolist()])
    each = zip(rows.record.values.tolist(), rows.start_s.values.tolist(), strict=True)
    return np.array([true_transit(records[n], s, s + window_s) for n, s in each])


def measured(fitted: FittedModel, cohort: Cohort) -> Array:
    """Delay of each record's pulse by cross-correlation, seconds."""
    return np.array([pulse_delays([fitted.prepared(record)])["ppg"] for record in cohort])


def agreement(told: Array, truth: Array, constant: float, sd: Array | None = None) -> list[str]:
    """Correlation, R2 and error of told + constant, and how many truths the intervals hold."""
    error = told + constant - truth
    explained = 1.0 - (error**2).mean() / truth.var()
    row = [f"{np.corrcoef(told, truth)[0, 1]:.3f}", f"{explained:.3f}"]
    row.append(f"{1000 * np.sqrt((error**2).mean()):.1f}")
    row.append("" if sd is None else f"{(np.abs(error) < Z90 * sd).mean():.2f}")
    return row + ["" if sd is None else f"{1000 * sd.mean():.1f}"]


def lags(fitted: FittedModel, train: Cohort, test: Cohort) -> None:
    """Print what is read of transit times in unseen people."""
    print(f"{'':34} correlation   R2   rmse, ms   90 % covers   mean sd, ms")
    for unit in ("record", "window"):
        known, asked = (fitted.lag(side, unit=unit).sel(modality="ppg") for side in (train, test))
        truth = transits(test, asked, fitted.window_s)
        constant = float((transits(train, known, fitted.window_s) - known["mean"]).mean())
        row = agreement(asked["mean"].values, truth, constant, asked["sd"].values)
        print(f"{'posterior, by ' + unit:34} " + "   ".join(f"{x:>8}" for x in row))
        if unit == "record":
            delay = measured(fitted, train), measured(fitted, test)
            constant = float((transits(train, known, fitted.window_s) - delay[0]).mean())
            row = agreement(delay[1], truth, constant)
            print(f"{'cross-correlation, by record':34} " + "   ".join(f"{x:>8}" for x in row))
    prior = fitted.model.lag_guide("ppg").prior()
    print(f"prior sd {1000 * float(prior.scale.detach()):.1f} ms", flush=True)


def imputed(fits: dict[str, FittedModel], test: Cohort) -> None:
    """Print how well the PPG is imputed, and with each record's best constant shift."""
    question = Question("ppg", GIVEN, 100)
    rows = {}
    for name, fitted in fits.items():
        unseen = [fitted.prepared(record) for record in test]
        rows[name] = score_model(fitted.model, unseen, question)
        known = delay_known(fitted, unseen, question)
        print(f"{name}: correlation with each record's best constant shift {known:.3f}")
    print(table(rows), flush=True)


def fit_both(train: Cohort, options: argparse.Namespace, seed: int) -> dict[str, FittedModel]:
    """The same fit with a lag and without."""
    fits = {}
    for name, model in WAYS.items():
        recipe = lp.recipe("statespace", model=model)
        fits[name] = lp.fit(train, recipe=recipe, steps=options.steps, seed=seed, progress=False)
        print(
            f"{name}: held-out loss {fits[name].history.rows[-1].get('held_out_loss', np.nan):.1f}"
        )
    return fits


def main() -> None:
    """Fit, read, impute and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--subjects", type=int, default=60)
    parser.add_argument("--minutes", type=float, default=4.0, help="length of a simulated record")
    parser.add_argument("--seeds", type=whole_numbers, default=[0])
    parser.add_argument("--data", help="folder of the public recordings, for BIDMC")
    options = parser.parse_args()
    for seed in options.seeds:
        if options.data is None:
            cohort = lp.simulate(options.subjects, options.minutes, seed, absent=0.0)
        else:
            cohort = lp.read(os.path.join(options.data, "bidmc"))
        train, test = cohort.keep(*SENSORS).split(test=0.25, seed=seed)
        print(f"seed {seed}: {len(train.subjects)} people to fit, {len(test.subjects)} unseen")
        fits = fit_both(train, options, seed)
        if options.data is None:
            lags(fits["with a lag"], train, test)
        imputed(fits, test)


if __name__ == "__main__":
    main()
