"""HDF5 files, opened so that damage to them neither holds nor ends the process.

Values of varying length (the text of attributes above all) lie in global heaps: collections of
objects that follow one another, each with its size. The C library (2.0.0)

- steps from object to object by that size, and an object of no size holds it where it is, out of
  reach of any signal;
- makes room for as many bytes as a text says it has, up to four gigabytes, before it looks whether
  there are that many;
- crashes over attributes of some damaged types.

So it reads through a Python file here, `CheckedFile`, which looks at heaps and at the texts of
attributes first; `attribute` reads numbers and text alone; and `check_datasets` has seen every
dataset before xarray reads them. Headers with checksums guard their own lengths and types.

References:
    The HDF Group, HDF5 File Format Specification Version 3.0: II.A (superblock, the lengths of
    addresses and sizes), III.E (global heap), IV.A.2.b and d (dataspace and datatype messages).
"""

import io
import math
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latentphys.recordings.errors import ReadError

if TYPE_CHECKING:
    import h5py

_SUPERBLOCK = b"\x89HDF\r\n\x1a\n"
_HEAP = b"GCOL\x01"  # signature and version of a collection
# Where the message of an attribute may begin: version, flags, and the sizes of its name, type and
# dataspace, which follow.
_MESSAGE = re.compile(rb"(?=[\x01-\x03].[\x02-\xff]\0[\x10-\xff]\0[\x04-\xff]\0)", re.DOTALL)
_VARYING = 9  # the class of types of varying length
_VALUE = np.dtype([("bytes", "<u4"), ("heap", "<u8"), ("object", "<u4")])
# Compression packs some thousand samples' bytes into one; nobody waits for less than a gigabyte.
_MOST_PACKED, _PLENTY = 2000, 2**30
_HEADER_BYTES = 2**16  # no message of a header is longer; what is longer is samples
_REMEDY = "The file is damaged: copy or write it again."


@contextmanager
def opened_hdf5(path: Path) -> "Iterator[h5py.File]":
    """The file, for reading.

    Raises:
        ReadError: where it is read, something that the library would not come back from.
        OSError: no such file, or none of HDF5.
    """
    import h5py

    with CheckedFile(path) as checked, h5py.File(checked, "r") as file:
        yield file


def attribute(held: "h5py.File | h5py.Dataset", name: str) -> Any:
    """The value of an attribute of a file or dataset, as h5py gives it.

    Raises:
        ReadError: it is neither numbers nor text.
    """
    from h5py.h5t import TypeFloatID, TypeIntegerID, TypeStringID

    attrs = held.attrs
    kind = attrs.get_id(name).get_type()
    sound = isinstance(kind, TypeIntegerID | TypeFloatID | TypeStringID)
    if isinstance(kind, TypeStringID) and kind.is_variable_str():
        sound = kind.get_super().get_size() == 1  # bytes a letter
    if not sound:
        raise ReadError(
            f"attributes are numbers or text; {name!r} of {held.name!r} is of HDF5's type "
            f"{type(kind).__name__}. {_REMEDY}"
        )
    return attrs[name]


def lies_inside(group: "h5py.Group", name: str) -> bool:
    """Whether what a group has under a name lies in this very file: no link, no foreign samples."""
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        return False
    held = group[name]
    return not (isinstance(held, h5py.Dataset) and (held.external or held.is_virtual))


def check_room(held: "h5py.Dataset", where: str) -> None:
    """Samples that a dataset has by its shape are there, as far as its bytes on the disk can tell.

    Raises:
        ReadError: they are so many that most of them cannot be.
    """
    shaped, stored = (held.size or 0) * held.dtype.itemsize, held.id.get_storage_size()
    if shaped > max(_PLENTY, _MOST_PACKED * stored):
        raise ReadError(
            f"dataset {held.name!r} of {where} holds what its shape {held.shape} says, which is "
            f"{shaped} bytes; {stored} are there. {_REMEDY}"
        )


def check_datasets(checked: "CheckedFile", file: "h5py.File") -> None:
    """Look at every dataset of a file before another program reads them.

    Raises:
        ReadError: one lies outside the file, or it or a text in it cannot be as large as it says.
    """
    import h5py

    def check(_: str, held: object) -> None:
        if isinstance(held, h5py.Group):
            if outside := [name for name in held if not lies_inside(held, name)]:
                raise ReadError(
                    f"datasets of {checked.path.name} lie in the file itself; {outside[0]!r} is a "
                    "link to another place. Copy it in."
                )
        elif isinstance(held, h5py.Dataset):
            check_room(held, checked.path.name)
            varying = held.dtype.kind == "O" and h5py.check_ref_dtype(held.dtype) is None
            if varying and held.size and (start := held.id.get_offset()) is not None:
                checked.check_texts(checked.at(start, held.size * _VALUE.itemsize), start)

    check("/", file)
    file.visititems(check)


class CheckedFile(io.BufferedReader):
    """A file for h5py (and what is built on it) that refuses what the library does not bear.

    h5py asks for every structure by itself, by `readinto`, so what begins as a heap is one.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.path = path
        self._size = path.stat().st_size
        self._sound: set[int] = set()
        self._objects = 0

    def readinto(self, buffer: Any) -> int:
        """As any file's.

        Raises:
            ReadError: a global heap begins here whose objects do not follow one another, or there
                is an attribute with a text longer than the file.
        """
        start = self.tell()
        count = super().readinto(buffer)
        with memoryview(buffer) as view:
            if view[: len(_HEAP)] == _HEAP:
                self._check_heap(start)
            elif count <= _HEADER_BYTES:
                self._check_attributes(bytes(view[:count]), start)
        self.seek(start + count)
        return count

    def _check_heap(self, start: int) -> None:
        """Go from object to object of the heap at `start`, as the library will."""
        if start in self._sound:
            return
        _, length = self._lengths
        head = 8 * math.ceil((8 + length) / 8)  # bytes before the objects, and before each value
        end = start + self._number(start + 8, length)
        if end > self._size:
            return  # the library says so itself
        place = start + head
        while place + head <= end:
            told = self.at(place, 8 + length)
            index, size = int.from_bytes(told[:2], "little"), int.from_bytes(told[8:], "little")
            # Object 0 is the room that is left, its head counted.
            step = head + -(-size // 8) * 8 if index else size
            self._objects += 1
            # Heaps do not overlap: there are no more objects than the file has room for.
            if step == 0 or place + step > end or self._objects > self._size // head:
                raise ReadError(
                    "objects of a global heap of an HDF5 file follow one another; in "
                    f"{self.path.name} that at byte {place} has {size} bytes. {_REMEDY}"
                )
            place += step
        self._sound.add(start)

    def _check_attributes(self, header: bytes, start: int) -> None:
        for found in _MESSAGE.finditer(header):
            at = found.start()
            version, name, kind, space = struct.unpack_from("<BxHHH", header, at)
            unit = 8 if version == 1 else 1  # later versions do not pad
            kind_at = at + (9 if version == 3 else 8) + math.ceil(name / unit) * unit
            space_at = kind_at + math.ceil(kind / unit) * unit
            first = space_at + math.ceil(space / unit) * unit
            if first >= len(header) or header[kind_at] % 16 != _VARYING:
                continue
            sizes_at, rank = space_at + (8 if header[space_at] == 1 else 4), header[space_at + 1]
            sizes = header[sizes_at : sizes_at + 8 * rank]
            count = math.prod(struct.unpack(f"<{len(sizes) // 8}Q", sizes[: len(sizes) // 8 * 8]))
            self.check_texts(header[first : first + count * _VALUE.itemsize], start + first)

    def check_texts(self, values: bytes, start: int) -> None:
        """No text exceeds the file, of those told of (bytes, heap, object) at byte `start`.

        Raises:
            ReadError: one does.
        """
        if self._lengths != (8, 8):
            return  # of files of another kind than h5py's
        whole = len(values) // _VALUE.itemsize
        told = np.frombuffer(values, _VALUE, whole)["bytes"]
        if whole and told.max() > self._size:
            at = int(told.argmax())
            raise ReadError(
                f"texts of an HDF5 file lie within it; in {self.path.name} that told of at byte "
                f"{start + at * _VALUE.itemsize} has {told[at]} bytes. {_REMEDY}"
            )

    @cached_property
    def _lengths(self) -> tuple[int, int]:
        """Bytes of addresses and of sizes, as the superblock tells (at byte 0, 512, 1024, ...)."""
        place = 0
        while place < self._size and self.at(place, len(_SUPERBLOCK)) != _SUPERBLOCK:
            place = max(512, 2 * place)
        first = place + (13 if self._number(place + 8, 1) < 2 else 9)
        return self._number(first, 1), self._number(first + 1, 1)

    def _number(self, place: int, count: int) -> int:
        return int.from_bytes(self.at(place, count), "little")

    def at(self, place: int, count: int) -> bytes:
        """Bytes of the file from a place on."""
        self.seek(place)
        return self.read(count)
