"""A cohort ten times larger than the memory cap: preparing it, training on it, reading windows.

    python benchmarks/store.py                     # all three
    python benchmarks/store.py --only rss --cap-gb 1

- rss: a process prepares a store, another trains on one whose prepared signals are ten times the
  cap, told that an eighth of it is for signals. The cap is of resident memory above what the
  interpreter has once its libraries are imported; mapped files count.
- windows: reading a 10 s window from mapped records against a slice of an array in memory, and
  from Zarr.
- prepare: two processes against one, on simulated patients' WFDB recordings of an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from latentphys.preparation.mapped import MappedRecords, size_bytes
from latentphys.preparation.preprocessing import default_preprocessing
from latentphys.recordings.reading import read
from latentphys.recordings.record import Record
from latentphys.recordings.simulation import simulate
from latentphys.recordings.store import prepare
from latentphys.recordings.zarr_format import write_zarr

RATE_HZ = 250.0
MEASURED = """
import resource, sys, time
import latentphys as lp
lp.fit, lp.prepare
import zarr.codecs
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
base, start = peak(), time.perf_counter()
{work}
print(base, peak(), time.perf_counter() - start)
"""
PREPARE = "lp.prepare(sys.argv[1], sys.argv[2], progress=False)"
TRAIN = (
    "lp.fit(lp.read(sys.argv[1]), steps=int(sys.argv[2]), window_s=2.0, held_out=0.0, "
    "progress=False)"
)
# Memory does not grow with the number of records prepared; this many show it.
PREPARED = 30


def recording(name: str, minutes: float, channels: int, seed: int) -> Record:
    """Noise with holes: its content does not matter here, its size does."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((channels, round(60 * minutes * RATE_HZ)), dtype=np.float32)
    x = np.round(x, 3)
    x[:, 1000:1500] = np.nan
    names = {"eeg": [f"C{k}" for k in range(channels)]}
    return Record.from_arrays({"eeg": (x, RATE_HZ)}, subject=name, record=name, channels=names)


def many(folder: Path, count: int, minutes: float, channels: int) -> Path:
    """A folder of recordings; all but the first few are copies under names of their own."""
    for number in range(count):
        place = folder / f"r{number:04d}.zarr"
        if number < 3:
            write_zarr(recording(place.stem, minutes, channels, number), place)
            continue
        under_another_name(folder / f"r{number % 3:04d}.zarr", place)
    return folder


def under_another_name(given: Path, place: Path) -> None:
    """A recording once more; its samples are the same files on the disk."""
    shutil.copytree(given, place, copy_function=os.link)
    meta = json.loads((place / "zarr.json").read_text())
    meta["attributes"] |= {"record": place.stem, "subject": place.stem}
    (place / "zarr.json").unlink()
    (place / "zarr.json").write_text(json.dumps(meta))


def measured(what: str, *arguments: str, **environment: str) -> tuple[float, float, float]:
    """Peak of resident memory above that after the imports, that (GB), and seconds of a process."""
    command = [sys.executable, "-c", MEASURED.format(work=what), *arguments]
    own = {**os.environ, **environment}
    done = subprocess.run(command, env=own, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{what} failed:\n{done.stderr[-2000:]}")
    base, peak, seconds = (float(text) for text in done.stdout.split())
    return (peak - base) / 1e9, base / 1e9, seconds


def flat_memory(work: Path, cap_gb: float, steps: int) -> None:
    """Prepare, and train on, ten times the cap, and print the peaks."""
    minutes, channels = 20.0, 8
    one = round(60 * minutes * RATE_HZ) * channels * 4
    count = -(-round(10 * cap_gb * 1e9) // one)
    store = work / "large"
    few = many(work / "few", PREPARED, minutes, channels)
    above, base, seconds = measured(PREPARE, str(few), str(store))
    print(
        f"prepare, {PREPARED} records of {one / 1e6:.0f} MB: peak {above:.2f} GB above the "
        f"{base:.2f} GB of the imports, {seconds:.0f} s"
    )
    for number in range(PREPARED, count):
        given = store / "records" / f"r{number % 3:04d}"
        under_another_name(given, given.with_name(f"r{number:04d}"))
    prepare(many(work / "source", count, minutes, channels), store, progress=False)  # the index
    above, base, seconds = measured(
        TRAIN, str(store), str(steps), TMPDIR=str(work), LATENTPHYS_MEMORY_GB=f"{cap_gb / 8}"
    )
    print(
        f"train, prepared signals {count * one / 1e9:.1f} GB, cap {cap_gb:g} GB: peak {above:.2f} "
        f"GB above the {base:.2f} GB of the imports, {above / cap_gb:.2f} of the cap; {count} "
        f"records, {steps} steps, {seconds:.0f} s"
    )
    shutil.rmtree(store)


def microseconds(call: Callable[[int], object], count: int) -> float:
    """Median over five rounds of the mean time of a call."""
    rounds = []
    for _ in range(5):
        start = time.perf_counter()
        for number in range(count):
            call(number)
        rounds.append((time.perf_counter() - start) / count * 1e6)
    return median(rounds)


def windows(work: Path) -> None:
    """A 10 s window from memory, from mapped files, and from Zarr."""
    import zarr

    store = work / "windows"
    prepare(many(work / "few", 10, 30.0, 8), store, progress=False)
    held = [default_preprocessing().prepare(record) for record in read(store)]
    total = sum(size_bytes(record) for record in held)
    rng = np.random.default_rng(0)
    length = round(10 * RATE_HZ)
    which = rng.integers(0, len(held), 5000)
    start = rng.integers(0, held[0].signals["eeg"].values.shape[1] - length, 5000)
    arrays = [record.signals["eeg"].values for record in held]
    memory = microseconds(lambda k: arrays[which[k]][:, start[k] : start[k] + length].copy(), 5000)
    print(f"10 s of 8 channels at 250 Hz: NumPy slice {memory:.1f} us")
    for name, budget in (("all mapped", total * 2), ("a tenth mapped at a time", total // 10)):
        folder = work / name.replace(" ", "_")
        folder.mkdir()
        mapped = MappedRecords(folder, budget)
        for record in held:
            mapped.append(record)

        def look(k: int, records: MappedRecords = mapped) -> object:
            values = records[int(which[k])].signals["eeg"].values
            return values[:, start[k] : start[k] + length].copy()

        for k in range(5000):
            look(k)
        found = microseconds(look, 5000)
        print(f"  {name}: {found:.1f} us, {found / memory:.2f} times")
    chunked = [
        zarr.open_array(store / "records" / record.record / "signals" / "eeg" / "values", mode="r")
        for record in held
    ]
    found = microseconds(lambda k: chunked[which[k]][:, start[k] : start[k] + length], 100)
    print(f"  Zarr: {found:.0f} us")


def processor_seconds() -> float:
    """What this process and those it waited for have used."""
    both = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(use.ru_utime + use.ru_stime for use in map(resource.getrusage, both))


def monitored(folder: Path, count: int, minutes: float) -> Path:
    """WFDB recordings of simulated patients; all but the first few under names of their own."""
    made = simulate(3, minutes, seed=0)
    folder.mkdir()
    for number, record in enumerate(made):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the simulator's truth has no place in WFDB
            record.write(folder / f"r{number:04d}.hea")
    for number in range(len(made), count):
        old, new = f"r{number % len(made):04d}", f"r{number:04d}"
        for file in folder.glob(f"{old}*"):
            place = file.with_name(file.name.replace(old, new, 1))
            if file.suffix == ".hea":
                place.write_text(file.read_text().replace(old, new))
            else:
                os.link(file, place)
    return folder


def two_against_one(work: Path, count: int, repeats: int) -> None:
    """Wall and processor time of `prepare` by one and by two processes, in turns."""
    source = monitored(work / "recordings", count, 60.0)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    used: dict[int, list[float]] = {1: [], 2: []}
    for number in range(2 * repeats):
        workers, target = 1 + number % 2, work / f"run{number}"
        start, before = time.perf_counter(), processor_seconds()
        prepare(source, target, dtype="int16", workers=workers, progress=False)
        seconds[workers].append(time.perf_counter() - start)
        used[workers].append(processor_seconds() - before)
        shutil.rmtree(target)
    one, two = (median(seconds[workers]) for workers in (1, 2))
    work_one, work_two = (median(used[workers]) for workers in (1, 2))
    print(
        f"prepare, {count} WFDB records of an hour, medians of {repeats}: one process {one:.1f} s, "
        f"two {two:.1f} s, {one / two:.2f} times as fast (load average {os.getloadavg()[1]:.1f}); "
        f"processor time {work_one:.1f} s and {work_two:.1f} s, so at most "
        f"{2 * work_one / work_two:.2f} times on two idle cores"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["rss", "windows", "prepare"])
    parser.add_argument("--cap-gb", type=float, default=0.5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--records", type=int, default=90, help="for prepare")
    parser.add_argument("--repeats", type=int, default=3, help="for prepare")
    parser.add_argument("--work", help="folder for temporary files, on a disk with room")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        work = Path(folder)
        if options.only in (None, "windows"):
            windows(work)
        if options.only in (None, "prepare"):
            two_against_one(work, options.records, options.repeats)
        if options.only in (None, "rss"):
            flat_memory(work, options.cap_gb, options.steps)


if __name__ == "__main__":
    main()
