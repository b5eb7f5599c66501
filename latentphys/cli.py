"""The command line: `latentphys demo`, `latentphys prepare`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from latentphys.demo import run_demo
from latentphys.recordings.errors import LatentphysError
from latentphys.recordings.store import DTYPES, prepare


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 2 for an input that is refused, with its message."""
    parser = argparse.ArgumentParser(prog="latentphys", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="fit, impute and draw, in a few minutes")
    demo.add_argument(
        "--data", help="a folder of recordings; else LATENTPHYS_DATA's, else simulated"
    )
    demo.add_argument("--out", default="demo_output", help="where figures and results go")
    demo.add_argument("--minutes", type=float, default=5.0, help="training budget")
    demo.add_argument("--seed", type=int, default=0)
    store = commands.add_parser("prepare", help="a folder of recordings as one Zarr store")
    store.add_argument("source", help="anything latentphys.read takes")
    store.add_argument("target", help="folder of the store; run again to go on after a kill")
    store.add_argument("--dtype", choices=DTYPES, default="float32", help="precision of samples")
    store.add_argument("--workers", type=int, default=1, help="processes on this machine")
    store.add_argument("--scheduler", help="address of a Dask scheduler, instead of --workers")
    options = parser.parse_args(arguments)
    try:
        if options.command == "prepare":
            print(
                prepare(
                    options.source,
                    options.target,
                    dtype=options.dtype,
                    workers=options.workers,
                    scheduler=options.scheduler,
                )
            )
        else:
            run_demo(options.data, options.out, options.minutes, options.seed)
    except LatentphysError as error:
        parser.exit(2, f"latentphys: {error}\n")
    return 0
