"""The command line: `latentphys demo`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from latentphys.demo import run_demo
from latentphys.recordings.errors import LatentphysError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 2 for an input that is refused, with its message."""
    parser = argparse.ArgumentParser(prog="latentphys", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="fit, impute and draw, in a few minutes")
    demo.add_argument("--data", help="a folder of recordings; else LATENTPHYS_DATA, else simulated")
    demo.add_argument("--out", default="demo_output", help="where figures and results go")
    demo.add_argument("--minutes", type=float, default=5.0, help="training budget")
    demo.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        run_demo(options.data, options.out, options.minutes, options.seed)
    except LatentphysError as error:
        parser.exit(2, f"latentphys: {error}\n")
    return 0
