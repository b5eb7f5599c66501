"""A tree of datasets as a folder of Zarr v3: every file written once, in this thread.

xarray's own writer takes each of a recording's many small files through Zarr's event loop and its
threads several times over, which costs more than compressing the samples. The layout is the
standard's: https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html and, for the files of
samples, https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/index.html .
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

META = "zarr.json"
_BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
_TEXT = {"name": "vlen-utf8", "configuration": {}}
_ZSTD = {"name": "zstd", "configuration": {"level": 0, "checksum": False}}
_ABSENT = 2**64 - 1  # in a file's index: no such chunk
_PLAIN_ROWS = 2**18  # a chunk, of what is not cut along time


@dataclass(frozen=True)
class Cut:
    """How samples are cut along time.

    Args:
        chunk: samples a chunk.
        chunks: chunks a file.
        missing: what a chunk reads as that is not there.
    """

    chunk: int
    chunks: int
    missing: float


def write_group(folder: Path, attrs: Mapping[Any, Any]) -> None:
    """Make a folder a group with these attributes."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_meta(folder, {"node_type": "group", "attributes": dict(attrs)})


def write_datasets(tree: xr.DataTree, folder: Path, cuts: Mapping[str, Cut]) -> None:
    """Write a tree into a folder that is not there yet.

    Args:
        tree: holds numbers, true and false, and text of `numpy.dtypes.StringDType`.
        folder: where.
        cuts: group -> how its variable `values` is cut along its dimension `time`.
    """
    for group in tree.subtree:
        place = folder / group.path.lstrip("/")
        # Which coordinates belong to which variable, as xarray looks for them.
        variables, attrs = xr.conventions.encode_dataset_coordinates(group.to_dataset())
        write_group(place, attrs)
        for name, variable in variables.items():
            if name == "values" and group.path in cuts:
                _write_samples(variable, place / str(name), cuts[group.path])
            else:
                _write_plain(variable, place / str(name))


def _write_plain(variable: xr.Variable, place: Path) -> None:
    """An array in chunks of whole rows, each a file."""
    from numcodecs import VLenUTF8, Zstd

    values = np.asarray(variable.values)
    text = values.dtype.kind == "T"
    missing: Any = {"T": "", "f": np.nan}.get(values.dtype.kind, 0)
    # Even an array of length 0 has chunks of a length.
    shape = [max(1, side) for side in values.shape]
    shape[:1] = [min(side, _PLAIN_ROWS) for side in shape[:1]]
    codecs = [_TEXT if text else _BYTES, _ZSTD]
    _write_array_meta(place, variable, shape, codecs, missing)
    for number, chunk in enumerate(_chunks(values, 0, shape, missing)):
        raw = VLenUTF8().encode(chunk.astype(object)) if text else _little(chunk)
        _write_file(place, values.ndim, 0, number, Zstd(level=0).encode(raw))


def _write_samples(variable: xr.Variable, place: Path, cut: Cut) -> None:
    """An array in chunks along time, many of them a file with an index at its end."""
    from numcodecs import Blosc

    values, axis = np.asarray(variable.values), variable.dims.index("time")
    inner = [cut.chunk if i == axis else side for i, side in enumerate(values.shape)]
    outer = [cut.chunk * cut.chunks if i == axis else side for i, side in enumerate(values.shape)]
    blosc = Blosc(cname="zstd", clevel=3, shuffle=Blosc.SHUFFLE)
    _write_array_meta(place, variable, outer, [_sharding(inner, values.itemsize)], cut.missing)
    chunks = _chunks(values, axis, inner, cut.missing)
    bodies = (b"" if _empty(chunk, cut) else blosc.encode(_little(chunk)) for chunk in chunks)
    for number in range(-(-values.shape[axis] // outer[axis])):
        own = list(islice(bodies, cut.chunks))
        if any(own):
            _write_file(place, values.ndim, axis, number, _shard(own, cut.chunks))


def _empty(chunk: np.ndarray, cut: Cut) -> bool:
    """Whether a chunk holds nothing but what it reads as when it is not there."""
    return bool((np.isnan(chunk) if math.isnan(cut.missing) else chunk == cut.missing).all())


def _sharding(chunk: Sequence[int], itemsize: int) -> dict[str, Any]:
    """The codec of a file that holds many chunks, each compressed by itself."""
    blosc = {"cname": "zstd", "clevel": 3, "shuffle": "shuffle", "blocksize": 0}
    return {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": list(chunk),
            "codecs": [
                _BYTES,
                {"name": "blosc", "configuration": {"typesize": itemsize, **blosc}},
            ],
            "index_codecs": [_BYTES, {"name": "crc32c"}],
            "index_location": "end",
        },
    }


def _shard(bodies: Sequence[bytes], chunks: int) -> bytes:
    """Compressed chunks, where each lies (offset, length), and the checksum of that."""
    import google_crc32c

    index = np.full((chunks, 2), _ABSENT, dtype="<u8")
    offset = 0
    for i, body in enumerate(bodies):
        if body:
            index[i] = offset, len(body)
            offset += len(body)
    raw = index.tobytes()
    return b"".join(bodies) + raw + google_crc32c.value(raw).to_bytes(4, "little")


def _chunks(
    values: np.ndarray, axis: int, shape: Sequence[int], missing: Any
) -> Iterator[np.ndarray]:
    """The array cut along an axis; the last piece is filled up, for all are of one shape."""
    if values.ndim == 0:
        yield values
        return
    length = shape[axis]
    for start in range(0, values.shape[axis] if values.size else 0, length):
        part = values[(slice(None),) * axis + (slice(start, start + length),)]
        if part.shape[axis] < length:
            whole = np.full(shape, missing, dtype=values.dtype)
            whole[(slice(None),) * axis + (slice(part.shape[axis]),)] = part
            part = whole
        yield part


def _little(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))


def _write_array_meta(
    place: Path,
    variable: xr.Variable,
    chunk: Sequence[int],
    codecs: Sequence[Mapping[str, Any]],
    missing: Any,
) -> None:
    kind = variable.dtype.kind
    fill = {"f": "NaN", "T": "", "b": False}.get(kind, missing)
    place.mkdir()
    _write_meta(
        place,
        {
            "node_type": "array",
            "shape": list(variable.shape),
            "data_type": "string" if kind == "T" else variable.dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": fill,
            "codecs": list(codecs),
            "attributes": dict(variable.attrs),
            "dimension_names": list(variable.dims),
            "storage_transformers": [],
        },
    )


def _write_meta(place: Path, meta: Mapping[str, Any]) -> None:
    text = json.dumps({"zarr_format": 3, **meta})
    (place / META).write_text(text, encoding="utf-8")


def _write_file(place: Path, dims: int, axis: int, number: int, content: bytes) -> None:
    """A chunk's file, named by its position on the grid of chunks."""
    parts = [str(number) if i == axis else "0" for i in range(dims)]
    file = place.joinpath("c", *parts)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
