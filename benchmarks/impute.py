"""Absent sensors of unseen subjects: the state-space model beside the baselines a user would try.

    python benchmarks/impute.py --data DIR --minutes 8 --seeds 0,1,2 [--recipe multimodal_mae]

One model is fitted to all sensors and asked every direction. Beside it, in the same run and on the
same subjects: the mean, ridge regression on lagged samples, and a U-Net trained for that one
direction with the same time budget; for the PPG also the training people's mean beat laid at every
beat of the heart, and, an oracle, what each person's own would give. Signals are standardised;
figures are means over subjects; of several seeds, mean and standard deviation over the splits
follow. Last come gaps in one sensor while the others speak, in two minutes of each recording.

The U-Net differs in more than its purpose: its prediction is one Gaussian a sample, not draws of
whole paths; of each given sensor it reads the commonest channel alone, brought to the target's
rate; training varies gain alike, but its noise is 0.02 of a standard deviation where the model's is
0.05, and it sees no change of tempo, no shifted sensors and no left-out leads.

Of the PPG in windows of 16 s the mean beat of others tells a correlation of 0.711 (0.728, 0.694 and
0.712 on seeds 0, 1 and 2) and a CRPS of 0.430; a person's own mean beat 0.844 and 0.346. What lies
between is the person's own shape and delay, of which 28 other people tell little.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import xarray as xr

sys.path.insert(0, str(Path(__file__).parent))
from mean_beat import MeanBeat
from unet import train_unet

from latentphys.api import fit, read
from latentphys.fitted import FittedModel
from latentphys.inference.imputation import Question, impute_record
from latentphys.preparation.beats import beat_times
from latentphys.preparation.preprocessing import PreparedRecord, default_preprocessing
from latentphys.recipes.catalogue import recipe
from latentphys.recordings.cohort import Cohort
from latentphys.trust.directions import (
    baselines,
    score_breathing,
    score_model,
    score_predictor,
    standardised,
    table,
)
from latentphys.trust.sample_scores import fair_crps

SENSORS = ("ecg", "ppg", "resp")
GAPS_S = (1.0, 4.0, 16.0)
CORRELATED_S = 16.0  # windows in which correlation is taken, however long the model's are
Answers = list[tuple[PreparedRecord, xr.Dataset]]  # recordings with what `impute_record` gives


def marked_breaths(cohort: Cohort) -> dict[str, np.ndarray]:
    """Record name -> times of the first annotator's breaths, of records that have them."""
    return {
        record.record: np.asarray(record.annotations["breath_1"].time)
        for record in cohort
        if "breath_1" in record.annotations
    }


def delay_known(answers: Answers, target: str) -> float:
    """Mean correlation after the one constant shift, up to 0.2 s, that suits each record best.

    An oracle, not a score: it tells how much of the error is the subject's own pulse delay.
    """
    best = []
    for record, imputed in answers:
        truth, mean = record.signals[target].values[0], imputed["mean"].values[0]
        reach = round(0.2 * record.signals[target].rate_hz)
        inner = truth[reach:-reach]
        seen = np.isfinite(inner)
        shifts = [np.roll(mean, k)[reach:-reach][seen] for k in range(-reach, reach + 1)]
        best.append(max(np.corrcoef(inner[seen], shifted)[0, 1] for shifted in shifts))
    return float(np.mean(best))


def beside_mean_beat(
    known: list[PreparedRecord],
    unseen: list[PreparedRecord],
    beats: dict[str, np.ndarray],
    question: Question,
) -> dict[str, dict[str, float]]:
    """Others' mean beat at every beat of the heart; and, an oracle, the person's own."""
    others = MeanBeat.fit(known, beats, question.target)
    unseen = [r for r in unseen if {question.target, "ecg"} <= set(r.signals)]
    own = {record.record: others.own(record) for record in unseen}
    return {
        "mean beat": score_predictor(others.predict, unseen, question),
        "own beat (oracle)": score_predictor(
            lambda record: own[record.record].predict(record), unseen, question
        ),
    }


def as_waveforms(answers: Answers, target: str) -> dict[str, float]:
    """Whether draws are waveforms a sensor could have given; means over records.

    CRPS of their means over half a second and what the central 90 % of those means cover, over
    half seconds without a hole; and how many times as much draws differ from one sample to the
    next as the sensor does.
    """
    found = []
    for record, imputed in answers:
        signal = record.signals[target]
        draws = standardised(imputed["draws"], record, target)[:, 0]
        truth = signal.values[0]
        long = round(0.5 * signal.rate_hz)
        blocks = np.concatenate([truth[None], draws])[:, : len(truth) // long * long]
        blocks = blocks.reshape(len(blocks), -1, long)
        blocks = blocks[:, np.isfinite(blocks[0]).all(-1)]
        means, rough = blocks.mean(-1), np.diff(blocks).std(-1)
        low, high = np.quantile(means[1:], [0.05, 0.95], axis=0)
        crps = fair_crps(torch.from_numpy(means[0]), torch.from_numpy(means[1:]))
        within = (low <= means[0]) & (means[0] <= high)
        found.append((crps.mean(), within.mean(), rough[1:].mean() / rough[0].mean()))
    return dict(zip(("crps", "covers", "rougher by"), np.mean(found, axis=0), strict=True))


def whole_numbers(text: str) -> list[int]:
    """Numbers parted by commas."""
    return [int(part) for part in text.split(",")]


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root = Path(os.environ.get("LATENTPHYS_DATA", "../shared/data"))
    parser.add_argument("--data", default=root / "bidmc", help="a folder of WFDB recordings")
    parser.add_argument("--minutes", type=float, default=8.0, help="training budget of each model")
    parser.add_argument("--steps", type=int, help="of the model's training, in place of minutes")
    parser.add_argument(
        "--seeds", type=whole_numbers, default=[0], help="of split and training: 0 or 0,1,2"
    )
    parser.add_argument("--recipe", default="statespace", help="of the model")
    parser.add_argument("--window-s", type=float, default=16.0, help="that models are trained in")
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument(
        "--unet", nargs="*", default=["ppg", "resp"], help="targets a U-Net is trained for"
    )
    parser.add_argument("--out", type=Path, help="a folder for the fitted models")
    return parser.parse_args()


Scores = dict[str, dict[str, dict[str, float]]]


def run(options: argparse.Namespace, cohort: Cohort, seed: int) -> tuple[Scores, xr.Dataset]:
    """Fit on one split, score and print: target -> method -> scores, and what gaps are filled by.

    A table a direction, and one of gaps.
    """
    train, test = cohort.split(test=0.2, seed=seed)
    print(f"seed {seed}: {len(train.subjects)} subjects to fit, unseen: {test.subjects}")
    budget = {"steps": options.steps} if options.steps else {"minutes": options.minutes}
    chosen = recipe(options.recipe, window_s=options.window_s)
    fitted = fit(train, recipe=chosen, seed=seed, **budget)
    if options.out:
        fitted.save(options.out / f"seed-{seed}")
    print(f"{fitted}, {fitted.history.rows[-1]['step']:.0f} steps")
    prepare = default_preprocessing().prepare
    known, unseen = [prepare(r) for r in train], [prepare(r) for r in test]
    beats = {r.record: beat_times(r) for r in (*train, *test) if "ecg" in r.modalities}
    found: Scores = {}
    for target in SENSORS:
        given = tuple(name for name in SENSORS if name != target)
        question = Question(target, given, options.draws, window_s=options.window_s)
        alike = replace(question, window_s=CORRELATED_S)
        ours = score_model(
            fitted.model,
            unseen,
            question,
            trained_on=fitted.training_subjects,
            correlated_s=CORRELATED_S,
        )
        rows = {options.recipe: ours}
        for name, predict in baselines(known, target, given).items():
            rows[name] = score_predictor(predict, unseen, alike)
        if target in options.unet:
            unet = train_unet(
                known, target, given, options.window_s, minutes=options.minutes, seed=seed
            )
            rows["U-Net"] = score_predictor(unet.predict, unseen, alike)
        if target == "ppg":
            rows |= beside_mean_beat(known, unseen, beats, alike)
        found[target] = rows
        print(f"\n{target} given {' and '.join(given)}\n{table(rows)}", flush=True)
        answers = [(record, impute_record(fitted.model, record, question)) for record in unseen]
        print("means of draws over half a second: " + told(as_waveforms(answers, target)))
        if target == "ppg":
            known_delay = delay_known(answers, target)
            print(f"ppg with each record's best constant shift: correlation {known_delay:.3f}")
    question = Question("resp", ("ecg", "ppg"), options.draws, window_s=options.window_s)
    rates = score_breathing(fitted.model, unseen, marked_breaths(test), question)
    print("\nbreathing rate of the imputed respiration, 32 s windows, 1/min")
    print(told(rates))
    gaps = in_gaps(fitted, train, test)
    print(f"\n{gap_table(gaps)}", flush=True)
    return found, gaps


def told(figures: dict[str, float]) -> str:
    """Named figures on a line."""
    return ", ".join(f"{name} {value:.2f}" for name, value in figures.items())


def in_gaps(fitted: FittedModel, train: Cohort, test: Cohort) -> xr.Dataset:
    """CRPS and what 90 % intervals cover in gaps of single sensors, the middle two minutes."""
    middles = [(record, max(0.0, record.duration_s / 2 - 60.0)) for record in test]
    parts = Cohort(r.crop(at, min(at + 120.0, r.duration_s)) for r, at in middles)
    gaps = fitted.evaluate(parts, training=train, subsets=(), gaps_s=GAPS_S).tree["gap_s"]
    crps, covered = gaps.estimate.sel(score="crps"), gaps.coverage_estimate.sel(level=0.9)
    return xr.Dataset({"crps": crps.drop_vars("score"), "coverage": covered.drop_vars("level")})


def gap_table(gaps: xr.Dataset) -> str:
    """What `in_gaps` gives, a table a score."""
    tables = {
        name: each.to_series().unstack("predictor")[gaps.predictor.values].round(3).to_string()
        for name, each in gaps.items()
    }
    return "\n\n".join(f"gaps, {name}\n{own}" for name, own in tables.items())


def over_splits(found: list[Scores]) -> str:
    """Mean over splits of each score, and below it the standard deviation between them."""
    parts = []
    for target in found[0]:
        rows = {}
        for method in found[0][target]:
            each = [scores[target][method] for scores in found]
            values = {key: np.array([one[key] for one in each]) for key in each[0]}
            rows[method] = {key: float(value.mean()) for key, value in values.items()}
            rows[f"  sd, {method}"] = {k: float(v.std(ddof=1)) for k, v in values.items()}
        parts.append(f"{target}\n{table(rows)}")
    return "\n\n".join(parts)


def main() -> None:
    """Every split asked for, then their mean and spread."""
    options = parse()
    cohort = read(options.data).keep(*SENSORS)
    found = [run(options, cohort, seed) for seed in options.seeds]
    if len(found) > 1:
        print(f"\nmean over {len(found)} splits and standard deviation between them")
        print(over_splits([scores for scores, _ in found]))
        gaps = xr.concat([own for _, own in found], "split").mean("split")
        print(f"\n{gap_table(gaps)}")


if __name__ == "__main__":
    main()
