"""Writes docs/audit-bidmc.html: the audit of the weights in this folder on people they never saw.

    python models/statespace/audit.py [--data DIR] [--out FOLDER]

The middle 96 seconds of each of eight people; a minute and a half of one processor.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from train import people

import latentphys as lp
from latentphys.recordings.beside import beside
from latentphys.trust.audits.audit import Audit

HERE = Path(__file__).parent
SHOWN_S = 96.0


def audited() -> Audit:
    """Of eight people, against the 28 it was fitted on."""
    train, test = people()
    middles = [(record.duration_s - SHOWN_S) / 2.0 for record in test]
    parts = [r.crop(start, start + SHOWN_S) for r, start in zip(test, middles, strict=True)]
    return lp.load(HERE).audit(lp.Cohort(parts), training=train, draws=4)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder of the public recordings; else LATENTPHYS_DATA")
    parser.add_argument("--out", type=Path, default=HERE.parents[1] / "docs")
    options = parser.parse_args()
    os.environ["LATENTPHYS_DATA"] = options.data or os.environ["LATENTPHYS_DATA"]
    found = audited()
    print(found)
    with beside(options.out / "audit-bidmc.html") as part:
        part.write_text(found.to_html(), encoding="utf-8")
