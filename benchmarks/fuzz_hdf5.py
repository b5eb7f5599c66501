"""Fields of HDF5 files altered: only our own errors, no hang, no crash, no gigabytes.

    python benchmarks/fuzz_hdf5.py --minutes 5
    python benchmarks/fuzz_hdf5.py --minutes 1 --only nc

HDF5 is read by a library of C, whose lines tell a coverage-guided fuzzer nothing and whose loops no
signal ends. So numbers in small recordings (NetCDF and MATLAB 7.3 too) are set to what is likely to
harm: 0, the greatest, the same a little more or less, or an address of the file; and they are read
in processes that are watched. Kept in a folder, and told of, are inputs that take over five seconds
or end the process (two gigabytes do), or that raise an error which is not of
`recordings/errors.py`. Exits 1 when there are any.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import random
import resource
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import xarray as xr

from latentphys.recordings.errors import LatentphysError
from latentphys.recordings.reading import read
from latentphys.recordings.record import Record

SLOW_S = 5.0
MORE_MEMORY = 2 * 2**30
INPUTS = 400  # that a process reads before the next takes over


def recordings(folder: Path) -> dict[str, bytes]:
    """Suffix -> a small recording."""
    x = np.sin(np.arange(200.0)).reshape(1, -1)
    x[:, 20:30] = np.nan
    beats = xr.DataArray(["N", "V"], dims="event", coords={"time": ("event", [0.1, 0.5])})
    plain = Record.from_arrays({"ecg": (x, 100.0), "spo2": (np.full(2, 97.0), 1.0)}, subject="s1")
    Record(plain.signals, "s1", "a", annotations={"qrs": beats}).write(folder / "a.nc")
    matlab = bytearray(_hdf5(userblock_size=512))
    matlab[:128] = b"MATLAB 7.3 MAT-file".ljust(116) + bytes(8) + b"\x00\x02IM"
    return {
        "nc": (folder / "a.nc").read_bytes(),
        "h5": _hdf5(),
        "hdf5": _hdf5(libver="latest"),
        "mat": bytes(matlab),
    }


def _hdf5(**how: object) -> bytes:
    with h5py.File(held := io.BytesIO(), "w", **how) as file:
        file.attrs["subject"] = "s1"
        file["ecg"] = np.zeros((2, 30))
        file["ecg"].attrs.update({"rate_hz": 10.0, "units": "mV", "channels": ["I", "II"]})
        packed = {"chunks": (1, 100), "compression": "gzip", "shuffle": True}
        file.create_dataset("ppg", data=np.arange(3000.0)[None], **packed).attrs["rate_hz"] = 10.0
        if "userblock_size" in how:
            file["fs"] = np.full((1, 1), 10.0)
            file["ecg"].attrs["MATLAB_class"] = "double"
    return held.getvalue()


def altered(raw: bytes, rng: random.Random) -> bytes:
    """One to three numbers of the file set to others."""
    made = bytearray(raw)
    words = struct.unpack(f"<{len(raw) // 8}Q", raw[: len(raw) // 8 * 8])
    addresses = [word for word in words if 0 < word < len(raw)]
    used = [place for place, byte in enumerate(raw) if byte]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        size = rng.choice((1, 1, 2, 4, 8))
        place = rng.choice(used) + rng.choice((0, 0, 0, 1, -1, 2, 4, 8))
        place = min(max(place - (place % size) * (rng.random() < 0.6), 0), len(raw) - size)
        whole, now = 2 ** (8 * size), int.from_bytes(made[place : place + size], "little")
        value = rng.choice(
            (
                rng.choice((0, 1, 8, 16, 24, 255, whole - 1, whole // 2, whole - 16, whole - 8)),
                rng.choice(addresses),
                now + rng.choice((-16, -8, -1, 1, 8, 16, 64)),
                rng.getrandbits(8 * size),
            )
        )
        made[place : place + size] = (value % whole).to_bytes(size, "little")
    return bytes(made)


def read_many(
    suffix: str, raw: bytes, seed: int, folder: Path, begun: object, done: object
) -> None:
    """Read altered files; what this process does not come back from, the other one sees."""
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MORE_MEMORY, held + MORE_MEMORY))
    rng, file = random.Random(seed), folder / f"a.{suffix}"
    for number in range(INPUTS):
        file.write_bytes(altered(raw, rng))
        begun.value = time.monotonic()
        try:
            for record in read(file):
                assert record.duration_s >= 0
        except LatentphysError:
            pass
        except BaseException as error:
            line = traceback.extract_tb(error.__traceback__)[-1]
            print(f"{type(error).__name__} at {line.filename}:{line.lineno} ({error})", flush=True)
            file.rename(folder / f"error{number}.{suffix}")
        done.value += 1


def watched(suffix: str, raw: bytes, seed: int, folder: Path) -> tuple[int, int]:
    """How many inputs a process has read, and how it ended: 0 when by itself."""
    context = multiprocessing.get_context("fork")
    begun, done = context.Value("d", time.monotonic()), context.Value("i", 0)
    process = context.Process(target=read_many, args=(suffix, raw, seed, folder, begun, done))
    process.start()
    while process.is_alive():
        process.join(0.5)
        if time.monotonic() - begun.value > SLOW_S:
            process.kill()
    return done.value, process.exitcode or 0


def main() -> None:
    """Alter, read, print, and exit 1 when something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--only", choices=["nc", "h5", "hdf5", "mat"])
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp())
    chosen = recordings(root)
    if options.only:
        chosen = {options.only: chosen[options.only]}
    for suffix, raw in chosen.items():
        (root / f"whole.{suffix}").write_bytes(raw)
        assert len(list(read(root / f"whole.{suffix}"))) == 1  # also: everything is imported
    inputs: Counter[str] = Counter()
    ended = 0
    end, seed = time.monotonic() + 60 * options.minutes, random.SystemRandom().randrange(2**31)
    while time.monotonic() < end:
        seed += 1
        suffix, folder = sorted(chosen)[seed % len(chosen)], root / str(seed)
        folder.mkdir()
        count, how = watched(suffix, chosen[suffix], seed, folder)
        inputs[suffix] += count
        if how:
            ended += 1
            print(f"{folder}/a.{suffix}: the process that read it ended with {how}", flush=True)
    errors = len(list(root.rglob("error*")))
    print(f"{sum(inputs.values())} inputs in {options.minutes:g} minutes: {dict(inputs)}")
    print(f"{ended} ended the process, {errors} raised errors that are not ours; kept in {root}")
    sys.exit(bool(ended or errors))


if __name__ == "__main__":
    main()
