"""Coverage-guided fuzzing of the readers: only our own errors, no hang, no file made or opened.

    pip install atheris
    python benchmarks/fuzz_formats.py --minutes 10
    python benchmarks/fuzz_formats.py --minutes 1 --only wfdb_header

Each input alters one file of a small recording: a header, a table or annotations. Inputs that
reach new lines of the readers (ours, wfdb's and edfio's) are altered further. Reported are errors
that are not of `recordings/errors.py`, inputs that take over ten seconds of processor time or two
gigabytes of memory, files opened outside the recording's folder, and files made. Exits 1 when
there are any; at once, with the input left in its folder, when a library of C does not come back.
tests/recordings/test_fuzzed_formats.py does the like with hypothesis, and fuzz_hdf5.py alters the
fields of HDF5, whose lines are of C and tell nothing here.
"""

from __future__ import annotations

import argparse
import faulthandler
import gzip
import io
import json
import math
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["latentphys.recordings", "wfdb", "edfio"]):
    import edfio
    import numpy as np
    import wfdb
    import xarray as xr

    from latentphys.recordings.errors import LatentphysError
    from latentphys.recordings.reading import read
    from latentphys.recordings.record import Record

SLOW_S = 10.0
STUCK_S = 120.0  # of the clock: a signal does not reach a loop of C
MORE_MEMORY = 2 * 2**30
SHOWN = 3


class Slow(BaseException):
    """An input took too long; no reader catches this."""


Target = tuple[str, str, dict[str, bytes]]  # what is read, the file that is altered, all files


def targets() -> dict[str, Target]:
    """Small whole recordings in each format."""
    with tempfile.TemporaryDirectory() as folder:
        return {**_wfdb(Path(folder)), **_edf(), **_tables(), **_containers(Path(folder))}


def _record() -> Record:
    x = np.sin(np.arange(200.0))
    x[20:30] = np.nan
    return Record.from_arrays(
        {"ecg": (x, 100.0), "spo2": (np.full(2, 97.0), 1.0)},
        subject="s1",
        units={"ecg": "mV", "spo2": "%"},
    )


def _marked() -> Record:
    record = _record()
    beats = xr.DataArray(["N", "V"], dims="event", coords={"time": ("event", [0.1, 0.5])})
    return Record(record.signals, "s1", "a", annotations={"qrs": beats})


def _wfdb(folder: Path) -> dict[str, Target]:
    _marked().write(folder / "a.hea")
    wfdb.wrann("a", "atr", np.array([10, 50, 120]), ["N", "V", "("], write_dir=str(folder))
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    part = {name.replace("a.", "p1.", 1): content for name, content in files.items()}
    part["p1.hea"] = files["a.hea"].replace(b"a ", b"p1 ", 1)
    part["a.dat"] = files["a.dat"]
    part["m.hea"] = b"m/3 1 1 6\np1 2\n~ 2\np1 2\n"
    return {
        "wfdb_header": ("a.hea", "a.hea", files),
        "wfdb_segments": ("m.hea", "m.hea", part),
        "wfdb_annotations": ("a.hea", "a.atr", files),
        "wfdb_events": ("a.hea", "a.events", files),
    }


def _edf() -> dict[str, Target]:
    made: dict[str, Target] = {}
    x = np.sin(np.arange(30.0))
    for suffix, kind, file in (
        ("edf", edfio.EdfSignal, edfio.Edf),
        ("bdf", edfio.BdfSignal, edfio.Bdf),
    ):
        signals = [
            kind(x, 10, label="ECG", physical_dimension="mV"),
            kind(x[:3], 1, label="SpO2", physical_dimension="%"),
        ]
        notes = [edfio.EdfAnnotation(0.5, 0.5, "a"), edfio.EdfAnnotation(1.0, None, "b")]
        raw = file(signals, annotations=notes).to_bytes()
        made[suffix] = (f"a.{suffix}", f"a.{suffix}", {f"a.{suffix}": raw})
        parted = raw.replace(b"EDF+C", b"EDF+D").replace(b"BDF+C", b"BDF+D")
        made[f"{suffix}_gaps"] = (f"a.{suffix}", f"a.{suffix}", {f"a.{suffix}": parted})
    return made


def _tables() -> dict[str, Target]:
    name = "sub-1_task-a_physio"
    about = {"SamplingFrequency": 10, "StartTime": -1, "Columns": ["cardiac", "respiratory"]}
    bids = {
        f"{name}.tsv.gz": gzip.compress(b"1\t2\n3\tn/a\n5\t6\n"),
        f"{name}.json": json.dumps(about).encode(),
    }
    csv = {"a.csv": b"time,ECG (mV),PPG\n0.0,1,2\n0.1,,3\n0.2,5,6\n"}
    stays = {
        "1.txt": b"Time,Parameter,Value\n00:00,RecordID,1\n00:00,Age,54\n00:07,HR,73\n",
        "Outcomes-a.txt": b"RecordID,In-hospital_death\n1,0\n",
    }
    return {
        "bids_header": (f"{name}.tsv.gz", f"{name}.json", bids),
        "bids_table": (f"{name}.tsv.gz", f"{name}.tsv.gz", bids),
        "csv": ("a.csv", "a.csv", csv),
        "physionet2012": ("1.txt", "1.txt", stays),
    }


def _containers(folder: Path) -> dict[str, Target]:
    import h5py
    import scipy.io

    _marked().write(folder / "z.zarr")
    zarr = {
        str(file.relative_to(folder)): file.read_bytes()
        for file in (folder / "z.zarr").rglob("*")
        if file.is_file()
    }
    _marked().write(folder / "z.nc")
    scipy.io.savemat(mat := io.BytesIO(), {"ecg": np.zeros((2, 30)), "fs": 10.0})
    with h5py.File(hdf5 := io.BytesIO(), "w") as file:
        file["ecg"] = np.zeros((2, 30))
        file["ecg"].attrs.update({"rate_hz": 10.0, "units": "mV", "channels": ["I", "II"]})
    np.savez(npz := io.BytesIO(), features=np.zeros((4, 18)), stage=np.zeros(4, dtype=int))
    vhdr = b"Brain Vision Data Exchange Header File Version 1.0\n[Common Infos]\nDataFile=a.eeg\n"
    vhdr += b"MarkerFile=a.vmrk\nDataFormat=BINARY\nDataOrientation=MULTIPLEXED\n"
    vhdr += b"NumberOfChannels=1\nSamplingInterval=2000\n[Binary Infos]\nBinaryFormat=INT_16\n"
    vhdr += b"[Channel Infos]\nCh1=Fp1,,0.5,uV\n"
    vmrk = b"Brain Vision Data Exchange Marker File, Version 1.0\n[Common Infos]\nDataFile=a.eeg\n"
    vmrk += b"[Marker Infos]\nMk1=Stimulus,S  1,3,1,0\n"
    brain = {"a.vhdr": vhdr, "a.vmrk": vmrk, "a.eeg": bytes(100)}
    single = {"mat": mat.getvalue(), "h5": hdf5.getvalue(), "npz": npz.getvalue()}
    single["nc"] = (folder / "z.nc").read_bytes()
    return {
        "zarr_root": ("z.zarr", "z.zarr/zarr.json", zarr),
        "zarr_array": ("z.zarr", "z.zarr/signals/ecg/values/zarr.json", zarr),
        "brainvision_header": ("a.vhdr", "a.vhdr", brain),
        "brainvision_markers": ("a.vhdr", "a.vmrk", brain),
        **{kind: (f"a.{kind}", f"a.{kind}", {f"a.{kind}": raw}) for kind, raw in single.items()},
    }


class Watch:
    """Runs inputs and remembers what went wrong, each kind of it once."""

    def __init__(self, chosen: dict[str, Target], seconds: float) -> None:
        self.names = sorted(chosen)
        self.chosen = chosen
        self.seconds = seconds
        self.end = math.inf
        self.runs: Counter[str] = Counter()
        self.whole: Counter[str] = Counter()
        self.found: dict[str, tuple[int, bytes, str]] = {}
        self.root = Path(tempfile.mkdtemp()).resolve()
        print(f"inputs are written below {self.root}", flush=True)
        self.folder = ""
        self.base = math.inf
        for name, (_, _, files) in chosen.items():
            for file, content in files.items():
                place = self.root / name / file
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
        self.allowed = tuple({sys.prefix, sys.base_prefix, os.getcwd(), "/usr", "/proc", "/sys"})
        self.strange = ""
        sys.addaudithook(self.opened)
        signal.signal(signal.SIGPROF, self.slow)

    def opened(self, event: str, arguments: tuple) -> None:
        """Note a file opened where a reader has no business."""
        if event != "open" or not self.folder or not isinstance(arguments[0], str | bytes):
            return
        path = os.path.realpath(os.fsdecode(arguments[0]))
        writes = (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        inside = path.startswith(self.folder + "/") or path == self.folder
        library = path.startswith(self.allowed) and not path.startswith(str(self.root))
        # Zarr's threads may still be about what an input before this one asked for.
        late = threading.current_thread() is not threading.main_thread()
        late &= path.startswith(f"{self.root}/")
        if writes or not (inside or library or late):
            self.strange = f"opened {path}, flags {arguments[2]}"

    def begin(self, seeds: list[bytes]) -> None:
        """Read the whole recordings, so that everything is imported, and start the clock."""
        for data in seeds:
            self(data)
        assert not self.found, self.report()
        unread = set(self.names) - set(self.whole)
        assert not unread, f"{unread} cannot be read as they are"
        self.base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        self.end = time.monotonic() + self.seconds

    def slow(self, *_: object) -> None:
        """An input's time is up."""
        raise Slow

    def __call__(self, data: bytes) -> None:
        """Alter one file of one recording by what the fuzzer gives, and read."""
        if time.monotonic() > self.end:
            self.report()
        if not data:
            return
        name = self.names[data[0] % len(self.names)]
        target, altered, files = self.chosen[name]
        folder = self.root / name
        content = data[1:]
        if altered.endswith(".gz"):
            content = gzip.compress(content)
        (folder / altered).write_bytes(content)
        before = {file for file in folder.rglob("*")}
        self.folder, self.strange = str(folder), ""
        signal.setitimer(signal.ITIMER_PROF, SLOW_S)
        faulthandler.dump_traceback_later(STUCK_S, exit=True)
        self.runs[name] += 1
        try:
            for record in read(folder / target):
                assert record.duration_s >= 0
            self.whole[name] += 1
        except LatentphysError:
            pass
        except (Exception, Slow) as error:
            line = traceback.extract_tb(error.__traceback__)[-1]
            self.note(name, data, f"{type(error).__name__} at {line.filename}:{line.lineno}")
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            faulthandler.cancel_dump_traceback_later()
            self.folder = ""
        if self.strange:
            self.note(name, data, self.strange)
        if made := {file for file in folder.rglob("*")} - before:
            self.note(name, data, f"made {sorted(map(str, made))[:2]}")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if peak - self.base > MORE_MEMORY:
            self.note(name, data, f"memory grew by {(peak - self.base) / 2**30:.1f} GB")
            self.base = peak

    def note(self, name: str, data: bytes, what: str) -> None:
        """Keep the first input of each kind of failure."""
        count, first, trace = self.found.get(f"{name}: {what}", (0, data, traceback.format_exc()))
        self.found[f"{name}: {what}"] = (count + 1, first, trace)

    def report(self) -> None:
        """Print and end the process."""
        print(f"\n{sum(self.runs.values())} inputs in {self.seconds / 60:.1f} minutes")
        for name in self.names:
            print(f"  {name:20} {self.runs[name]:7} inputs, {self.whole[name]:6} of them read")
        print(f"{len(self.found)} kinds of failure")
        for what, (count, data, trace) in self.found.items():
            print(f"--- {what} ({count} times), for instance on\n{data!r:.600}\n{trace[-1500:]}")
        shutil.rmtree(self.root)
        sys.stdout.flush()
        os._exit(bool(self.found))


def main() -> None:
    """Fuzz, print, and exit 1 when something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--only", help="one kind of file")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    chosen = targets()
    if options.only:
        chosen = {options.only: chosen[options.only]}
    corpus = Path(tempfile.mkdtemp())
    watch = Watch(chosen, 60 * options.minutes)
    seeds = []
    for number, name in enumerate(watch.names):
        _, altered, files = chosen[name]
        raw = files[altered]
        raw = gzip.decompress(raw) if altered.endswith(".gz") else raw
        seeds.append(bytes([number]) + raw)
        (corpus / name).write_bytes(seeds[-1])
    watch.begin(seeds)
    seed = random.SystemRandom().randrange(1, 2**31)
    # Time and memory are watched here: theirs would end the run at the first input that is slow.
    flags = ["-timeout=100000", "-rss_limit_mb=0", "-max_len=20000", f"-seed={seed}"]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], watch)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
