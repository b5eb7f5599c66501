"""Recordings of our own schema in Zarr v3: one folder a record, or a store of many.

docs/schema.md describes both. `store.py` makes the stores.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from latentphys.recordings.beside import beside
from latentphys.recordings.errors import ModalityError, ReadError, WriteError
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.quantised import MISSING
from latentphys.recordings.record import Record
from latentphys.recordings.schema import (
    VERSION,
    from_tree,
    header,
    lazy_record,
    let_go,
    to_tree,
)

STORE = "latentphys_store"
STORE_VERSION = 1
INDEX = "index.json"
META = "zarr.json"

# A minute a chunk serves windows of seconds; an hour a file keeps nights from becoming thousands.
_CHUNK_S = 60.0
_LEAST_CHUNK = 4096
_CHUNKS_A_FILE = 60
# A megabyte of float32 images a chunk.
_PIXELS = 2**18
_BROKEN = (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError)


def is_zarr(path: Path) -> bool:
    """Whether the path is a Zarr recording or store of ours, or a folder with some."""
    if path.is_dir() and (path / META).is_file():
        return True
    return path.is_dir() and any(_is_ours(folder) for folder in sorted(path.glob("*.zarr")))


def list_zarr(path: Path, modalities: Mapping[str, str]) -> list[LazyRecord]:
    """What a store's index, or the headers of single recordings, tell; no sample is read.

    Args:
        path: a store, a recording, or a folder with recordings (`*.zarr`).
        modalities: must be empty, for these files know theirs.

    Raises:
        ReadError: a store that is not finished or damaged, or of a newer version.
        ModalityError: `modalities` is not empty.
    """
    check_no_mapping(modalities)
    if not (path / META).is_file():
        folders = [folder for folder in sorted(path.glob("*.zarr")) if _is_ours(folder)]
        return [_lazy(folder, group_attrs(folder)) for folder in folders]
    attrs = group_attrs(path)
    if STORE in attrs:
        return _listed_store(path, attrs)
    return [_lazy(path, attrs)]


def write_zarr(record: Record, path: Path) -> None:
    """Write a record as a Zarr v3 folder; it reads back the same to the last bit.

    Args:
        record: what to write.
        path: of the folder; a recording that stands there is replaced once the new one is whole.

    Raises:
        WriteError: something else stands there, or an attribute or an array of a kind that the
            schema does not hold.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from latentphys.recordings.reading import read
        >>> record = Record.from_arrays({"ecg": (np.zeros(500), 250.0)}, subject="s01")
        >>> path = Path(tempfile.mkdtemp()) / "s01.zarr"
        >>> write_zarr(record, path)
        >>> read(path)[0].rate_hz("ecg")
        250.0
    """
    path = Path(path)
    if path.exists() and not _is_ours(path):
        raise WriteError(
            f"{str(path)!r} is there and is no recording of latentphys; it is not overwritten. "
            "Give another path, or remove it."
        )
    with beside(path) as part:
        write_tree(record, part)


def write_tree(record: Record, folder: Path, dtype: str | None = None) -> dict[str, Any]:
    """Write a record into a folder that is not there yet, as it goes; gives its header back.

    Args:
        record: what to write.
        folder: where; only what stands beside the final place may be given.
        dtype: see `to_tree`.
    """
    import zarr
    from zarr.codecs import BloscCodec

    tree = to_tree(record, dtype)
    encoding: dict[str, Any] = {}
    for group in tree.subtree:
        own: dict[Any, dict[str, Any]]
        own = {n: {"_FillValue": None} for n, v in group.variables.items() if v.dtype.kind == "f"}
        if group.path.startswith(("/signals/", "/images/")):
            values = group.to_dataset()["values"]
            length = values.sizes["time"]
            chunk = _chunk(values) if "channel" in values.dims else _frames(values)
            pieces = min(_CHUNKS_A_FILE, -(-length // chunk))
            own.setdefault("values", {}).update(
                # A chunk that gets lost then reads as not observed, and never as zeros.
                fill_value=MISSING if values.dtype == "int16" else float("nan"),
                chunks=tuple({**values.sizes, "time": chunk}.values()),
                shards=tuple({**values.sizes, "time": chunk * pieces}.values()),
                compressors=(BloscCodec(cname="zstd", clevel=3, shuffle="shuffle"),),
            )
        encoding[group.path] = own
    # One file at a time: records are shared among processes, and a process is a core.
    with zarr.config.set({"async.concurrency": 1}):
        tree.to_zarr(folder, zarr_format=3, consolidated=False, mode="w-", encoding=encoding)
    let_go(tree)
    return {str(name): value for name, value in tree.attrs.items()}


def group_attrs(folder: Path) -> dict[str, Any]:
    """Attributes of a Zarr v3 group, read from its own JSON.

    Raises:
        ReadError: no group there, or not one that can be read.
    """
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        if meta["zarr_format"] != 3 or meta["node_type"] != "group":
            raise ValueError("not a group of Zarr version 3")
        return dict(meta.get("attributes", {}))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReadError(
            f"{folder.name} is not a Zarr v3 group that can be read ({error}). Copy or write it "
            "again."
        ) from error


def check_no_mapping(modalities: Mapping[str, str]) -> None:
    """Refuse a channel map for files that say which modality a channel is of.

    Raises:
        ModalityError: there is one.
    """
    if modalities:
        raise ModalityError(
            "recordings of our own schema know the modality of each channel; got a map of "
            f"{len(modalities)} channels. Map them where they are first read, as in "
            "latentphys.prepare(source, target, modalities=...)."
        )


def _chunk(signal: xr.DataArray) -> int:
    """Samples a chunk of a signal."""
    rate_hz = signal.attrs.get("rate_hz")
    wanted = max(_LEAST_CHUNK, round(_CHUNK_S * float(rate_hz))) if rate_hz else _LEAST_CHUNK
    return min(wanted, signal.sizes["time"])


def _frames(images: xr.DataArray) -> int:
    """Frames a chunk of images, whole ones."""
    one = images.size // images.sizes["time"]
    return min(max(1, _PIXELS // one), images.sizes["time"])


def _listed_store(path: Path, attrs: Mapping[str, Any]) -> list[LazyRecord]:
    if attrs[STORE] != STORE_VERSION:
        raise ReadError(
            f"{path.name} is a store of version {attrs[STORE]}, this release reads version "
            f"{STORE_VERSION}. Update latentphys, or prepare it again with this release."
        )
    file = path / INDEX
    if not file.is_file():
        raise ReadError(
            f"{path.name} is a store that was not finished: it has no {INDEX}. Run 'latentphys "
            f"prepare SRC {path.name}' again; what is complete in it is kept."
        )
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))["records"]
        rows = [(str(entry["path"]), dict(entry["header"])) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReadError(
            f"{INDEX} of {path.name} cannot be read ({error!r}). Run prepare again: it makes the "
            "index anew."
        ) from error
    root = path.resolve()
    for place, _ in rows:
        if not (root / place).resolve().is_relative_to(root):
            raise ReadError(
                f"a record of a store lies inside its folder; {INDEX} of {path.name} names "
                f"{place!r}. Do not trust this store."
            )
    return [_lazy(path / place, about) for place, about in rows]


def _lazy(folder: Path, attrs: Mapping[str, Any]) -> LazyRecord:
    return lazy_record(header(attrs, folder.name), partial(_load, folder), folder.name)


def _load(folder: Path) -> Record:
    group_attrs(folder)  # says it plainly when the folder is gone
    try:
        tree = xr.open_datatree(
            folder,
            engine="zarr",
            zarr_format=3,
            consolidated=False,
            chunks=None,
            decode_times=False,
            mask_and_scale=False,
        )
        tree.load()
    except _BROKEN as error:
        raise ReadError(
            f"{folder.name} cannot be read as Zarr ({error}). Copy or write it again."
        ) from error
    try:
        return from_tree(tree, folder.name)
    finally:
        let_go(tree)


def _is_ours(folder: Path) -> bool:
    try:
        return VERSION in group_attrs(folder)
    except ReadError:
        return False
