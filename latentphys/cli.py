"""The command line: `latentphys demo`, `latentphys prepare`, `latentphys audit`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from latentphys.api import load, read
from latentphys.demo import run_demo
from latentphys.recordings.errors import LatentphysError, listed
from latentphys.recordings.store import DTYPES, prepare
from latentphys.trust.audits.audit import check_names
from latentphys.trust.audits.running import AUDITS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 2 for an input that is refused, with its message, 1 for a failed audit."""
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
    audit = commands.add_parser("audit", help="what a saved model follows and what it ignores")
    audit.add_argument("model", help="a folder that FittedModel.save wrote")
    audit.add_argument("data", help="anything latentphys.read takes: people it never saw")
    audit.add_argument("--training", help="its training data, to find copies under other names")
    audit.add_argument("--out", help="folder for report.html and audit.json")
    audit.add_argument("--only", default="", help=f"some of {','.join(AUDITS)}")
    audit.add_argument("--fail-on", default="", help="audits whose worry makes the exit code 1")
    audit.add_argument(
        "--allow-untested", action="store_true", help="let pass what these data cannot test"
    )
    audit.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        if options.command == "audit":
            return _audit(options)
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


def _audit(options: argparse.Namespace) -> int:
    """Audit a saved model; names are checked before anything is read."""
    only = check_names("--only", _names(options.only), [*AUDITS])
    fatal = check_names("--fail-on", _names(options.fail_on), [*AUDITS])
    found = load(options.model).audit(
        read(options.data),
        only=tuple(dict.fromkeys((*only, *fatal))) if only else None,
        training=read(options.training) if options.training else None,
        seed=options.seed,
    )
    print(found)
    if options.out:
        print(f"report: {found.save(options.out)}")
    untested = () if options.allow_untested else found.untested(fatal)
    if untested:
        print(
            f"--fail-on asks for {listed(untested)}, which these recordings cannot test; the "
            "report says why. Audit others, or pass --allow-untested."
        )
    return 1 if untested or found.worries(fatal) else 0


def _names(given: str) -> list[str]:
    return [name.strip() for name in given.split(",") if name.strip()]
