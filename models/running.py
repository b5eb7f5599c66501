"""What every train.py here does: train, save small weights, score them on unseen people, check.

    python models/NAME/train.py [--data DIR]             train, save and score; rewrites this folder
    python models/NAME/train.py [--data DIR] --check     score the weights that are there

Figures go to expected.json and into the card's table. A check scores the weights again and fails
where a figure is further from the expected one than `TOLERANCE`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from rows.tally import Tally, explained, macro_f1, probe_class, probe_number
from rows.windows import Truth, commonest, embedded, nights_of, with_truth
from rows.windows import mean_of as mean_of
from rows.windows import observed_mean as observed_mean

import latentphys as lp
from latentphys.fitted import FittedModel
from latentphys.recordings.beside import beside
from latentphys.trust.held_out import untrained

TOLERANCE = 0.03
MOST_BYTES = 2_000_000
HERE = Path(__file__).parent
START, STOP = "<!-- figures: written by train.py -->\n", "<!-- end of figures -->\n"
DATA = "LATENTPHYS_DATA"
SCORES = {
    "window_correlation": "correlation in 16 s",
    "crps": "CRPS",
    "coverage 0.9": "90 % covers",
}

# figure -> predictor -> estimate and its 95 % interval over people
Figures = dict[str, dict[str, tuple[float, float, float]]]


def run(
    name: str, fitted: Callable[[], FittedModel], scored: Callable[[FittedModel], Figures]
) -> None:
    """The command of one model's folder.

    Args:
        name: of the folder.
        fitted: trains the model.
        scored: its figures on people it has not seen, beside baselines.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help=f"folder of the public recordings; else {DATA}")
    parser.add_argument("--check", action="store_true", help="score what is there, train nothing")
    options = parser.parse_args()
    os.environ[DATA] = options.data or os.environ.get(DATA, str(HERE.parents[1] / "shared/data"))
    warnings.simplefilter("ignore", UserWarning)
    folder = HERE / name
    if not options.check:
        started = time.process_time()
        fit = fitted()
        fit.save(folder, half=True)
        print(f"trained in {(time.process_time() - started) / 60.0:.1f} min of a processor")
    size = sum(file.stat().st_size for file in folder.glob("weights-*"))
    assert size < MOST_BYTES, f"weights are to stay below 2 MB, got {size / 1e6:.2f}"
    figures = scored(lp.load(folder))
    print(table(figures))
    if options.check:
        raise SystemExit(compare(json.loads((folder / "expected.json").read_text()), figures))
    told = {"tolerance": TOLERANCE, "figures": _plain(figures)}
    _write(folder / "expected.json", json.dumps(told, indent=1, allow_nan=False) + "\n")
    card = (folder / "card.md").read_text()
    before, after = card.split(START)[0], card.split(STOP)[1]
    _write(folder / "card.md", before + START + table(figures) + STOP + after)


def run_on_nights(
    name: str, recipe: lp.Recipe, given: Mapping[str, Sequence[str]], seed: int
) -> None:
    """The command of a model of simulated nights, probed for sleep stages.

    Args:
        name: of the folder.
        recipe: what is fitted.
        given: sensors the probe is given; those of "every sensor" are fitted.
        seed: of the nights.
    """

    @cache
    def people() -> tuple[lp.Cohort, lp.Cohort]:
        return nights_of(seed, given["every sensor"], subjects=36, minutes=30.0, split_seed=0)

    def fitted() -> FittedModel:
        return lp.fit(people()[0], recipe=recipe, steps=300, seed=0)

    def scored(fit: FittedModel) -> Figures:
        truths = {"sleep stage, macro-F1": commonest("stage")}
        return probed(fit, *people(), truths, given, classes=True)

    run(name, fitted, scored)


def recordings_of(dataset: str) -> Path:
    """The folder of a public dataset."""
    return Path(os.environ[DATA]) / dataset


def table(figures: Figures) -> str:
    """A Markdown table: a row a figure, a column a predictor."""
    columns = list(dict.fromkeys(who for row in figures.values() for who in row))
    lines = ["", "| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in figures.items():
        cells = [_cell(*row[who]) if who in row else "" for who in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\n"


def compare(expected: Mapping[str, Any], figures: Figures) -> str | None:
    """What differs from the expected figures, if anything does."""
    wrong = [
        f"{name}, {who}: expected {value[0]:.3f}, got {figures[name][who][0]:.3f}"
        for name, row in expected["figures"].items()
        for who, value in row.items()
        if not abs(value[0] - figures[name][who][0]) <= expected["tolerance"]
    ]
    return "\n".join(wrong) or None


def imputed(
    fit: FittedModel, train: lp.Cohort, test: lp.Cohort, asked: Mapping[str, Sequence[str]]
) -> Figures:
    """Scores of an absent sensor imputed from others, {target: given}, beside baselines."""
    subsets = list(asked.values())
    result = fit.evaluate(test, training=train, subsets=subsets, gaps_s=()).to_dataframe()
    figures: Figures = {}
    for row in result.to_dict("records"):
        target, score = row["target"], SCORES.get(row["score"])
        given = asked.get(target)
        if given is None or score is None or row["label"] != "+".join(given):
            continue
        if not np.isnan(row["estimate"]):
            said = f"{target} from {', '.join(given)}: {score}"
            own = row["estimate"], row["lower"], row["upper"]
            figures.setdefault(said, {})[row["predictor"]] = own
    return figures


def probed(
    fit: FittedModel,
    train: lp.Cohort,
    test: lp.Cohort,
    truths: Mapping[str, Truth],
    subsets: Mapping[str, Sequence[str] | None],
    *,
    classes: bool = False,
) -> Figures:
    """R2 (macro-F1 of classes) of linear probes of windows, learned on the training people.

    Beside them the same probe on the network before training.
    """
    ways = {"latentphys": fit, "untrained": replace(fit, model=untrained(fit.model, seed=0))}
    figures: Figures = {f"{what}, {name}": {} for what in truths for name in subsets}
    for (name, given), (who, own) in product(subsets.items(), ways.items()):
        sides = [(embedded(own, side, given), side) for side in (train, test)]
        for what, truth in truths.items():
            tally = Tally(macro_f1 if classes else explained)
            taught, asked = (with_truth(*side, truth) for side in sides)
            (probe_class if classes else probe_number)(taught, asked, tally)
            figures[f"{what}, {name}"][who] = tally.estimate()
    return figures


def _plain(figures: Figures) -> dict[str, dict[str, list[float | None]]]:
    """Four digits; null where there is no interval."""
    return {
        name: {
            who: [None if np.isnan(x) else float(f"{x:.4g}") for x in own]
            for who, own in row.items()
        }
        for name, row in figures.items()
    }


def _cell(value: float, low: float, high: float) -> str:
    return f"{value:.2f}" if np.isnan(low) else f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _write(file: Path, text: str) -> None:
    with beside(file) as part:
        part.write_text(text)
