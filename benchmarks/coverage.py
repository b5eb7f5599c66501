"""Do intervals keep their promise for new people, before and after repair?

    python benchmarks/coverage.py --data DIR --seeds 0,1,2

For each seed one model is fitted to part of the subjects. The others are split again and again into
people to calibrate on and people to test on, and coverage of the test people is averaged over the
splits: an interval's promise is about that average, while one split with a handful of test people
wobbles by the points given as "one split". For every missing pattern: sensors absent, gaps, and
sensors shown. Each person weighs the same.

Measured, BIDMC, three fits of 600 steps to 14 people each, 22 unseen, the middle two minutes of
each record (--seeds 0,1,2 --people 10,16 --splits 60 --draws 16 --seconds 120): off by, in points,
at most over the 15 patterns at 50, 80, 90 and 95 %

    raw, absent sensors and gaps  7.7    6.3    3.6    3.7
    raw, sensors that are shown  46.0   19.3    9.7    4.8    too wide
    leave_one_out, 10 people      0.9    0.9    0.7    0.5
    leave_one_out, 16 people      0.4    0.8    0.6    0.4
    finite_sample, 16 people      3.6    5.5    5.7    5.0    too wide, infinite at 95 %
    asymptotic, 16 people         0.5    0.6    0.3    0.3
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentphys.api import fit, load, read
from latentphys.fitted import FittedModel
from latentphys.recordings.cohort import Cohort
from latentphys.trust.calibration import Key, key_of
from latentphys.trust.conformal import GUARANTEES, Guarantee, SubjectConformal
from latentphys.trust.held_out import GAPS_S, Fitted, scored
from latentphys.trust.patterns import Questions, subsets_of
from latentphys.trust.sample_scores import LEVELS

Array = NDArray[np.float64]
SENSORS = ("ecg", "ppg", "resp")


@dataclass
class Person:
    """One subject's samples of one pattern: residuals, and |2 F(x) - 1|."""

    residual: list[Array] = field(default_factory=list)
    depth: list[Array] = field(default_factory=list)


def models_of(options: argparse.Namespace, cohort: Cohort) -> dict[int, tuple[FittedModel, Cohort]]:
    """Seed -> a model and the people it never saw; from --models, if they are there."""
    found = {}
    for seed in options.seeds:
        train, rest = cohort.split(test=options.unseen, seed=seed)
        rest = Cohort([record.middle(options.seconds) for record in rest])
        place = None if options.models is None else options.models / str(seed)
        if place is not None and place.is_dir():
            model = load(place)
        else:
            model = fit(train, steps=options.steps, seed=seed, progress=False)
            if place is not None:
                model.save(place)
        print(
            f"seed {seed}: fitted to {len(train.subjects)} subjects, {len(rest.subjects)} unseen",
            flush=True,
        )
        found[seed] = model, rest
    return found


def people_of(model: FittedModel, rest: Cohort, draws: int) -> dict[Key, dict[str, Person]]:
    """Pattern -> subject -> what its samples say."""
    fitted = Fitted(model.model, model.prepared, model.window_s, model.training_subjects)
    questions = Questions(tuple(subsets_of(SENSORS)), GAPS_S, (), model.window_s)
    found: dict[Key, dict[str, Person]] = {}
    for subject, pattern, ask, sample in scored(fitted, rest, questions, draws):
        person = found.setdefault(key_of(pattern, ask), {}).setdefault(subject, Person())
        seen = np.isfinite(sample.residual)
        person.residual.append(sample.residual[seen])
        person.depth.append(np.abs(2.0 * sample.pit[seen] - 1.0))
    return found


def raw(people: Mapping[str, Person]) -> Array:
    """(level,): the model's own intervals, mean over people."""
    shares = [
        [float((np.concatenate(p.depth) <= level).mean()) for level in LEVELS]
        for p in people.values()
    ]
    return np.array(shares).mean(axis=0)


def resplit(
    people: Mapping[str, Person], count: int, guarantee: Guarantee, splits: int, seed: int
) -> tuple[Array, Array]:
    """Coverage of the test people and the interval's factor, (split, level) each.

    Args:
        people: of one pattern.
        count: of them to calibrate on; the others are tested.
        guarantee: of the repair.
        splits: how many.
        seed: of the splits.
    """
    rng = np.random.default_rng(seed)
    names = sorted(people)
    ordered = {name: np.sort(np.concatenate(people[name].residual)) for name in names}
    curves = SubjectConformal.of(ordered).curves
    covered, factors = [], []
    for _ in range(splits):
        chosen = rng.permutation(names)
        repair = SubjectConformal({name: curves[name] for name in chosen[:count]}, guarantee)
        q = [float(repair.quantile(level)) for level in LEVELS]
        each = [
            np.searchsorted(ordered[name], q, side="right") / len(ordered[name])
            for name in chosen[count:]
        ]
        covered.append(np.mean(each, axis=0))
        factors.append(q)
    return np.array(covered), np.array(factors)


def words(key: Key) -> str:
    """A pattern in words."""
    given, target, shown = key
    kind = "shown" if shown else "gaps" if target in given else "absent"
    return f"{target} {kind}, given {'+'.join(sorted(given))}"


def row(name: str, *parts: Sequence[float]) -> str:
    """One line of percentages."""
    cells = ["  ".join(f"{100 * value:5.1f}" for value in part) for part in parts]
    return f"{name:32}" + "   |  ".join(cells)


def report(
    found: Mapping[int, Mapping[Key, Mapping[str, Person]]], options: argparse.Namespace
) -> None:
    """Every pattern by the chosen repair, then every repair and number of people in one line."""
    keys = sorted({key for one in found.values() for key in one}, key=words)
    before = {key: np.mean([raw(one[key]) for one in found.values()], axis=0) for key in keys}
    main: tuple[Guarantee, int] = (options.guarantee, options.people[-1])
    lines = []
    for guarantee in GUARANTEES:
        for count in options.people:
            results = {
                key: [
                    resplit(one[key], count, guarantee, options.splits, seed)
                    for seed, one in found.items()
                ]
                for key in keys
            }
            after = {
                key: np.mean([c.mean(axis=0) for c, _ in each], axis=0)
                for key, each in results.items()
            }
            if (guarantee, count) == main:
                print_patterns(main, keys, before, after)
            off = np.array([after[key] - LEVELS for key in keys])
            wobble = np.mean([c.std(axis=0) for each in results.values() for c, _ in each], axis=0)
            finite = np.mean(
                [np.isfinite(q).mean(axis=0) for e in results.values() for _, q in e], 0
            )
            worst = np.abs(off).max(axis=0)
            lines.append(
                row(f"{guarantee}, {count} people", off.mean(axis=0), worst, wobble, finite)
            )
    off = np.array([before[key] - LEVELS for key in keys])
    heads = ["mean error", "worst pattern", "one split, SD", "finite"]
    print(f"\nRepaired minus nominal, points at {levels()}, over {len(keys)} patterns")
    print(f"{'':32}" + "   |  ".join(f"{head:26}" for head in heads))
    print(row("raw", off.mean(axis=0), np.abs(off).max(axis=0)))
    print("\n".join(lines))


def levels() -> str:
    """The levels in words."""
    return ", ".join(f"{100 * level:g}" for level in LEVELS) + " %"


def print_patterns(
    main: tuple[Guarantee, int],
    keys: Sequence[Key],
    before: Mapping[Key, Array],
    after: Mapping[Key, Array],
) -> None:
    """Coverage of every pattern before and after one repair."""
    guarantee, count = main
    print(f"\nCoverage at {levels()}: raw | repaired on {count} people ({guarantee}) | off by")
    for key in keys:
        print(row(words(key), before[key], after[key], after[key] - LEVELS))
    print(f"{guarantee}: {GUARANTEES[guarantee]}")


def numbers(text: str) -> list[int]:
    """Numbers parted by commas."""
    return [int(part) for part in text.split(",")]


def main() -> None:
    """Fit or load, score once, split many times."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root = Path(os.environ.get("LATENTPHYS_DATA", "../shared/data"))
    parser.add_argument("--data", default=root / "bidmc", help="a folder of WFDB recordings")
    parser.add_argument("--seeds", type=numbers, default=[0, 1, 2], help="of split and training")
    parser.add_argument("--steps", type=int, default=600, help="of training")
    parser.add_argument("--unseen", type=float, default=0.6, help="share of subjects not fitted to")
    parser.add_argument("--people", type=numbers, default=[6, 10, 14, 19], help="to calibrate on")
    parser.add_argument("--guarantee", choices=list(GUARANTEES), default="leave_one_out")
    parser.add_argument("--splits", type=int, default=200, help="of the unseen people")
    parser.add_argument("--draws", type=int, default=32)
    parser.add_argument(
        "--seconds", type=float, default=math.inf, help="of the middle of each unseen recording"
    )
    parser.add_argument("--models", type=Path, help="folder to keep the fits in")
    options = parser.parse_args()
    cohort = read(options.data).keep(*SENSORS)
    found = {
        seed: people_of(model, rest, options.draws)
        for seed, (model, rest) in models_of(options, cohort).items()
    }
    report(found, options)


if __name__ == "__main__":
    main()
