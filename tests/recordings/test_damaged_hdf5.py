"""Damaged HDF5 that the C library does not come back from: refused, and quickly.

Each file is read in a process of its own, with a limit of time and memory: a test that fails here
would otherwise hang or end the run.
"""

import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from latentphys.recordings.errors import RateError, ReadError
from latentphys.recordings.hdf5_files import CheckedFile
from latentphys.recordings.netcdf_format import write_netcdf
from latentphys.recordings.reading import read
from latentphys.recordings.record import Record

READ = """
import resource, sys, warnings
from latentphys.recordings.errors import LatentphysError
from latentphys.recordings.reading import read
warnings.simplefilter("ignore")
resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))
for path in sys.argv[1:]:
    try:
        print("read", [record.subject for record in read(path)])
    except LatentphysError as error:
        print(type(error).__name__, str(error).splitlines()[0])
"""
SECONDS = 30


def answers(*paths: Path) -> list[str]:
    """What reading each path says, in a process that ends."""
    command = [sys.executable, "-c", READ, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def netcdf(path: Path) -> None:
    x = np.sin(np.arange(300.0)).reshape(1, -1)
    beats = xr.DataArray(["N", "V"], dims="event", coords={"time": ("event", [0.1, 0.5])})
    record = Record.from_arrays({"ecg": (x, 100.0)}, subject="s01", units={"ecg": "mV"})
    write_netcdf(Record(record.signals, "s01", "a", annotations={"qrs": beats}), path)


def hdf5(path: Path, **about: object) -> None:
    with h5py.File(path, "w", **about) as file:
        file.attrs["subject"] = "s01"
        file["ecg"] = np.zeros((2, 50))
        file["ecg"].attrs.update({"rate_hz": 10.0, "units": "mV", "channels": ["I", "II"]})


def latest(path: Path) -> None:
    hdf5(path, libver="latest")


def matlab(path: Path) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        file["ecg"], file["fs"] = np.zeros((50, 2)), np.full((1, 1), 10.0)
        file["ecg"].attrs["MATLAB_class"] = "double"  # of varying length, as others write it
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(116))


KINDS = {"a.nc": netcdf, "a.h5": hdf5, "b.hdf5": latest, "a.mat": matlab}
each_kind = pytest.mark.parametrize(("name", "write"), KINDS.items(), ids=KINDS)


def objects(raw: bytes) -> list[tuple[int, int]]:
    """(place, index) of all objects of the first global heap, the room that is left last."""
    start = raw.index(b"GCOL\x01")
    end = start + struct.unpack_from("<Q", raw, start + 8)[0]
    found, place = [], start + 16
    while place < end:
        index, _, _, size = struct.unpack_from("<HHIQ", raw, place)
        found.append((place, index))
        place += size if index == 0 else 16 + -(-size // 8) * 8
    return found


@each_kind
def test_objects_of_a_heap_that_do_not_move_on(
    tmp_path: Path, name: str, write: Callable[[Path], None]
) -> None:
    write(tmp_path / name)
    assert len(read(tmp_path / name)) == 1
    whole = (tmp_path / name).read_bytes()
    # Object 0 says how many bytes it has with its head, the others without: this wraps to none.
    rest, first = objects(whole)[-1][0], objects(whole)[0][0]
    damage = {tmp_path / name: (rest, 0), tmp_path / f"wraps.{name}": (first, 2**64 - 16)}
    for path, (place, size) in damage.items():
        raw = bytearray(whole)
        struct.pack_into("<Q", raw, place + 8, size)
        path.write_bytes(raw)
    said = answers(*damage)
    for (path, (place, size)), each in zip(damage.items(), said, strict=True):
        rule = "ReadError objects of a global heap of an HDF5 file follow one another; in "
        assert each.startswith(f"{rule}{path.name} that at byte {place} has {size} bytes.")
        assert each.endswith("The file is damaged: copy or write it again.")


@each_kind
def test_texts_that_say_they_have_gigabytes(
    tmp_path: Path, name: str, write: Callable[[Path], None]
) -> None:
    write(tmp_path / name)
    raw = (tmp_path / name).read_bytes()
    # A text is told of by its bytes, its heap (counted from the block before HDF5) and its object.
    heap = struct.pack("<Q", raw.index(b"GCOL\x01") - (512 if name == "a.mat" else 0))
    places = [m.start() - 4 for m in re.finditer(re.escape(heap), raw)]
    paths = []
    for place in places:
        if struct.unpack_from("<I", raw, place)[0] < 1000:
            paths.append(tmp_path / f"{place}.{name}")
            paths[-1].write_bytes(raw[:place] + b"\xff" * 4 + raw[place + 4 :])
    said = answers(*paths)
    refused = [each for each in said if each.startswith("ReadError")]
    assert refused
    assert all(each.startswith("read") for each in set(said) - set(refused))
    # Some headers have checksums, by which the library knows of the damage itself.
    assert any("has 4294967295 bytes" in each for each in refused) or name == "b.hdf5"


def test_names_of_channels_that_say_they_have_gigabytes(tmp_path: Path) -> None:
    netcdf(tmp_path / "a.nc")
    with h5py.File(tmp_path / "a.nc") as file:
        place = file["signals/ecg/channel"].id.get_offset()
    raw = bytearray((tmp_path / "a.nc").read_bytes())
    raw[place : place + 4] = b"\xff" * 4
    (tmp_path / "a.nc").write_bytes(raw)
    with pytest.raises(ReadError, match=f"a.nc that told of at byte {place} has 4294967295 bytes"):
        read(tmp_path)[0]


def test_heaps_that_overlap_take_no_longer_than_the_file(tmp_path: Path) -> None:
    """Each value of a heap is the head of the next: with no bound, the square of their number."""
    count = 1000
    end = 64 + 32 * count
    raw = bytearray(b"\x89HDF\r\n\x1a\n" + bytes(5) + b"\x08\x08" + bytes(49))
    for place in range(64, end, 32):
        raw += struct.pack("<HHIQ", 1, 1, 0, 16) + b"GCOL\x01\0\0\0"
        raw += struct.pack("<Q", end - place - 16)
    (tmp_path / "a.h5").write_bytes(raw)
    with CheckedFile(tmp_path / "a.h5") as file:
        for sound in (80, 112):
            file.seek(sound)
            file.readinto(bytearray(16))
        file.seek(144)
        with pytest.raises(ReadError, match="a global heap"):
            file.readinto(bytearray(16))


def damaged_type(path: Path, changes: dict[int, int]) -> None:
    """The attribute `units`, with some bytes of its type altered."""
    hdf5(path)
    raw = bytearray(path.read_bytes())
    start = raw.index(b"\x19\x01\x01\x00\x10", raw.index(b"units\x00"))
    for place, value in changes.items():
        raw[start + place] = value
    path.write_bytes(raw)


def test_bytes_that_the_library_passes_over_hide_no_text(tmp_path: Path) -> None:
    hdf5(tmp_path / "a.h5")
    raw = bytearray((tmp_path / "a.h5").read_bytes())
    name = raw.index(b"channels\0")
    raw[name - 7] = 9  # reserved
    raw[name + 37 : name + 40] = raw[name + 44 : name + 48] = b"\x07" * 4  # to fill up; reserved
    # The dataspace (8), the number of names and the most there may be (8 each) stand before them.
    raw[name + 64 : name + 68] = b"\xff" * 4
    (tmp_path / "a.h5").write_bytes(raw)
    with pytest.raises(ReadError, match=f"told of at byte {name + 64} has 4294967295 bytes"):
        read(tmp_path)


@pytest.mark.parametrize("cut", [0, 1, 9])
def test_bytes_that_look_like_an_attribute(tmp_path: Path, cut: int) -> None:
    """Three sizes are announced, and they or the values do not come."""
    message = b"\x01\0\x06\0\x14\0\x20\0" + b"units\0\0\0" + b"\x19" + bytes(23) + b"\x01\x03"
    message += bytes(30)
    (tmp_path / "a.h5").write_bytes(message[: len(message) - cut])
    with CheckedFile(tmp_path / "a.h5") as file:
        assert file.readinto(bytearray(100)) == len(message) - cut


def test_attributes_of_types_that_are_no_text(tmp_path: Path) -> None:
    damaged_type(tmp_path / "a.h5", {1: 0})  # a sequence of bytes: h5py crashes
    damaged_type(tmp_path / "b.h5", {8: 0x13, 15: 0x80})  # letters of two gigabytes
    for each in answers(tmp_path / "a.h5", tmp_path / "b.h5"):
        assert each.startswith("ReadError attributes are numbers or text; 'units' of '/ecg' is of ")


def test_shapes_without_samples(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("ecg", (2, 2**40), "f4", chunks=(1, 100)).attrs["rate_hz"] = 10.0
    with pytest.raises(ReadError, match=r"'/ecg' of a.h5 .* 8796093022208 bytes; 0 are there"):
        read(tmp_path)


def test_samples_that_look_like_a_damaged_heap_are_read(tmp_path: Path) -> None:
    looks = np.frombuffer(b"GCOL\x01\0\0\0" + struct.pack("<Q", 4096) + bytes(4080), "<f4")
    samples = np.tile(np.concatenate([np.ones(7, "<f4"), looks]), 20)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["ecg"] = samples
        file["ecg"].attrs.update({"rate_hz": 10.0, "units": "mV"})
    assert (tmp_path / "a.h5").read_bytes().count(b"GCOL\x01") >= 20
    np.testing.assert_array_equal(read(tmp_path)[0].signals["ecg"].values[0], samples)


def test_netcdf_that_points_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(np.ones(300, "<f8").tobytes())
    netcdf(tmp_path / "a.nc")
    with h5py.File(tmp_path / "a.nc", "a") as file:
        del file["signals/ecg/values"]
        file["signals/ecg"].create_dataset(
            "values", (1, 300), "<f8", external=[(tmp_path / "secret", 0, 2400)]
        )
    cohort = read(tmp_path / "a.nc")
    with pytest.raises(ReadError, match="datasets of a.nc lie in the file itself; 'values' is"):
        cohort[0]


def test_netcdf_of_others_is_told_as_such_whatever_its_attributes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.nc", "w") as file:
        file.attrs["made"] = np.array([file.ref], h5py.ref_dtype)
    with pytest.raises(ReadError, match="a.nc is not a recording of latentphys"):
        read(tmp_path / "a.nc")


def test_names_with_half_a_letter(tmp_path: Path) -> None:
    netcdf(tmp_path / "a.nc")
    with h5py.File(tmp_path / "a.nc", "a") as file:
        summary = file.attrs["summary"]
        file.attrs["summary"] = summary.replace('"qrs"', '"q\\udce4"')
    with pytest.raises(ReadError, match="a.nc has a header that cannot be read .*half a letter"):
        read(tmp_path / "a.nc")
    hdf5(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file.attrs["subject"] = b"s\xe401"
    assert read(tmp_path / "a.h5")[0].subject == "s\ufffd01"


def test_a_rate_that_gives_no_duration(tmp_path: Path) -> None:
    hdf5(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["ecg"].attrs["rate_hz"] = 1e-310
    with pytest.raises(RateError, match="positive number of samples a second, 1e-12 at least"):
        read(tmp_path)
