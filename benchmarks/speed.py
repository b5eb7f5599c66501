"""How long a user waits: importing, the posterior of an 8-minute record, an imputation.

    python benchmarks/speed.py

Medians of several calls on one simulated record with ECG, pulse and respiration at 125 Hz, by a
model of the usual size (its weights do not matter here).
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

from latentphys.api import fit, simulate

TORCH_STACK = "import torch, pyro, xarray"
REPEATS = 3


def seconds(call: Callable[[], object]) -> float:
    """Median wall time of a call."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return median(times)


def import_seconds(statement: str) -> float:
    """Median wall time of an import in a fresh interpreter, beyond the interpreter's own."""
    code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"

    def once() -> float:
        run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True)
        return float(run.stdout)

    return median(once() for _ in range(REPEATS))


def main() -> None:
    """Measure and print."""
    base = import_seconds(TORCH_STACK)
    light = import_seconds("import latentphys")
    whole = import_seconds(f"{TORCH_STACK}; import latentphys as lp; lp.fit, lp.load, lp.simulate")
    print(f"import torch, pyro, xarray {base:.2f} s; latentphys alone {light:.3f} s")
    print(f"with latentphys's verbs {whole:.2f} s: {whole - base:+.2f} s, {whole / base:.2f} times")
    record = simulate(subjects=1, minutes=8.0, absent=0.0)
    fitted = fit(record.drop("spo2"), steps=1, progress=False)
    posterior = seconds(lambda: fitted.posterior(record[0]))
    print(f"posterior of 8 minutes, 100 draws: {posterior:.2f} s")
    impute = seconds(lambda: fitted.impute(record[0], "ppg", given=["ecg", "resp"], draws=100))
    print(f"imputation of 8 minutes at 125 Hz, 100 draws: {impute:.2f} s")


if __name__ == "__main__":
    main()
