"""The published systems, each with the effect its paper claims, beside latentphys' own recipe.

    python benchmarks/systems.py [--data DIR] [--only sounds,nights,...] [--seeds 3] [--steps N]

Every figure is of people the model has not seen, with a 95 % interval over resampled people; below
a table come the differences that are claimed, of the same people. Rows sounds, nights and privates
are of simulated people; features, drops, arithmetic and chords need --data, and features needs
hmmlearn (`pip install ".[benchmarks]"`).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from rows import arithmetic, chords, drops, nights, privates, sounds
from rows.tally import differences, table

STEPS = {
    "sounds": 300,
    "nights": 150,
    "features": 300,
    "drops": 400,
    "privates": 600,
    "arithmetic": 60,
    "chords": 33_000,
}
REAL = ("features", "drops", "arithmetic", "chords")
ROWS = {
    "sounds": sounds,
    "nights": nights,
    "features": nights,
    "drops": drops,
    "privates": privates,
    "arithmetic": arithmetic,
    "chords": chords,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the public recordings")
    parser.add_argument("--only", default=",".join(STEPS), help=f"of {', '.join(STEPS)}")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="updates a model, in place of each row's own")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.data is not None:
        os.environ["LATENTPHYS_DATA"] = str(options.data)
    for name in options.only.split(","):
        steps, started = options.steps or STEPS[name], time.monotonic()
        if name in REAL and options.data is None:
            print(f"{name}: needs --data")
            continue
        if name == "features":
            rows = nights.run_features(options.data / "sleep_edf_features", options.seeds, steps)
        elif name == "drops":
            rows = drops.run(options.data / "bidmc", options.seeds, steps)
        elif name == "arithmetic":
            rows = arithmetic.run(options.data / "eegmat", options.seeds, steps)
        elif name == "chords":
            rows = chords.run(options.seeds, steps)
        else:
            rows = ROWS[name].run(options.seeds, steps)
        minutes = (time.monotonic() - started) / 60.0
        title = f"{name}: {options.seeds} seeds, {steps} steps a model, {minutes:.1f} min"
        print(f"\n{table(title, rows)}", flush=True)
        if claimed := differences(rows, ROWS[name].CLAIMS):
            print(table("", claimed), flush=True)


if __name__ == "__main__":
    main()
