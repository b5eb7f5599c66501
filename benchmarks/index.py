"""How long reading a folder into an index takes: headers alone, then with the samples counted.

    python benchmarks/index.py ../shared/data/bidmc

The first figure is that of a process of its own, imports included.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

LIMIT_S = 2.0
COLD = """
import sys, time
start = time.perf_counter()
import latentphys as lp
lp.read(sys.argv[1]).table()
print(time.perf_counter() - start)
"""


def cold(path: str) -> float:
    """Seconds from `import latentphys` to the table, in a new process."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COLD, path],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def main() -> None:
    """Measure and print; exits 1 when reading takes longer than it may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", default="../shared/data/bidmc")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    first = [cold(given.path) for _ in range(given.repeats)]
    import latentphys as lp

    again, used = [], []
    for _ in range(given.repeats):
        start, before = time.perf_counter(), time.process_time()
        cohort = lp.read(given.path)
        table = cohort.table()
        again.append(time.perf_counter() - start)
        used.append(time.process_time() - before)
    start = time.perf_counter()
    cohort.table(observed=True)
    counted = time.perf_counter() - start
    print(cohort)
    print(f"{len(cohort)} records, {len(cohort.subjects)} subjects, {len(table)} rows")
    print(f"read and table, imports included: {statistics.median(first):.2f} s (median)")
    print(
        f"read and table, imports done:     {statistics.median(again):.2f} s (median), of which "
        f"{statistics.median(used):.2f} s of the processor"
    )
    print(f"table(observed=True):             {counted:.2f} s")
    within = statistics.median(again) < LIMIT_S
    print(f"under {LIMIT_S:g} s: {'yes' if within else 'NO'}")
    sys.exit(0 if within else 1)


if __name__ == "__main__":
    main()
