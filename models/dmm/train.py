"""A deep Markov model of Bach's chorales; twenty-five minutes of one processor."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import chorales
from running import Figures, run

from latentphys.fitted import FittedModel


def fitted() -> FittedModel:
    return chorales.learn(minutes=None, steps=33_000, seed=0)


def scored(fit: FittedModel) -> Figures:
    """Nats a step of the test chorales, lower is better; one figure for all, no interval."""
    heard, test = chorales.chorales("train"), chorales.chorales("test")
    bound, _, weighted = chorales.bounds(fit.model, chorales.whole(fit, "test"))
    rivals = {"notes alone": chorales.unigram, "chains of notes": chorales.markov}
    beside = {name: _alone(score(heard, test)) for name, score in rivals.items()}
    return {
        "-ELBO, nats a step": {"latentphys": _alone(bound), **beside},
        "importance-weighted, 50 draws": {"latentphys": _alone(weighted), **beside},
    }


def _alone(value: float) -> tuple[float, float, float]:
    return value, float("nan"), float("nan")


if __name__ == "__main__":
    run("dmm", fitted, scored)
