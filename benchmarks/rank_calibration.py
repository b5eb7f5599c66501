"""Simulation-based calibration of a fitted model: is its guide the posterior of its own prior?

    python benchmarks/rank_calibration.py --model models/statespace

A line for each set of sensors given. Of the linear-Gaussian model, whose posterior is exact, ranks
are uniform (`tests/trust/test_rank_calibration.py`).

Measured, models/statespace, --windows 100: not uniform. The guide is too sure of states its own
prior draws: errors of 2.2 to 2.9 predicted SDs, half of all ranks in the outer two tenths, uniform
ranks rejected for 20 (all sensors given) to 32 (ECG or PPG alone) of 32 latent dimensions. Draws
are to be believed after `calibrate`, not before.
"""

from __future__ import annotations

import argparse

from latentphys.api import load
from latentphys.trust.patterns import subsets_of
from latentphys.trust.simulated_ranks import simulated_ranks


def main() -> None:
    """Draw from the prior, infer, rank."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="models/statespace", help="folder of a fitted model")
    parser.add_argument("--windows", type=int, default=200, help="drawn from the prior")
    parser.add_argument("--draws", type=int, default=99, help="of the guide")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    fitted = load(options.model)
    steps = max(1, round(fitted.window_s * fitted.model.spec.state_rate_hz))
    for given in subsets_of(fitted.modalities):
        found = simulated_ranks(
            fitted.model, steps, given, options.windows, options.draws, options.seed
        )
        print(found, flush=True)


if __name__ == "__main__":
    main()
