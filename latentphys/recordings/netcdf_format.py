"""Recordings of our own schema as NetCDF files, one a record (docs/schema.md)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from latentphys.recordings.beside import beside
from latentphys.recordings.errors import ReadError
from latentphys.recordings.hdf5_files import CheckedFile, attribute, check_datasets, opened_hdf5
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.record import Record
from latentphys.recordings.schema import (
    VERSION,
    from_tree,
    header,
    lazy_record,
    let_go,
    to_tree,
)
from latentphys.recordings.zarr_format import check_no_mapping


def is_netcdf(path: Path) -> bool:
    """Whether the path is a NetCDF file, or a folder with recordings of ours among its own."""
    if path.is_dir():
        return any(_attrs_of_ours(file) for file in sorted(path.glob("*.nc")))
    return path.suffix == ".nc" and path.is_file()


def list_netcdf(path: Path, modalities: Mapping[str, str]) -> list[LazyRecord]:
    """What the headers of the NetCDF recordings at a path tell; no sample is read.

    Args:
        path: a file, or a folder; files of other programs in a folder are passed over.
        modalities: must be empty, for these files know theirs.

    Raises:
        ReadError: a file that is damaged, of another program, or of a newer schema version.
        ModalityError: `modalities` is not empty.
    """
    check_no_mapping(modalities)
    if not path.is_dir():
        told = {path: _attrs(path)}
    else:
        found = {file: _attrs_of_ours(file) for file in sorted(path.glob("*.nc"))}
        told = {file: attrs for file, attrs in found.items() if attrs}
    return [
        lazy_record(header(attrs, file.name), partial(_load, file), file.name)
        for file, attrs in told.items()
    ]


def write_netcdf(record: Record, path: Path) -> None:
    """Write a record as a NetCDF file; it reads back the same to the last bit.

    Args:
        record: what to write.
        path: of the file; one that stands there is replaced once the new one is whole.

    Raises:
        WriteError: an attribute or an array of a kind that the schema does not hold.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from latentphys.recordings.reading import read
        >>> record = Record.from_arrays({"ecg": (np.zeros(500), 250.0)}, subject="s01")
        >>> path = Path(tempfile.mkdtemp()) / "s01.nc"
        >>> write_netcdf(record, path)
        >>> read(path)[0].rate_hz("ecg")
        250.0
    """
    tree = to_tree(record)
    encoding: dict[str, Any] = {}
    for group in tree.subtree:
        # NaN is a value here, not a mark of absence that a reader would have to undo.
        encoding[group.path] = {
            name: {"_FillValue": None} for name, v in group.variables.items() if v.dtype.kind == "f"
        }
        if group.path.startswith(("/signals/", "/images/")):
            encoding[group.path]["values"] |= {"zlib": True, "complevel": 1, "shuffle": True}
    with beside(Path(path)) as part:
        tree.to_netcdf(part, engine="h5netcdf", encoding=encoding)
    let_go(tree)


def _load(path: Path) -> Record:
    import h5py
    import xarray as xr

    with _as_read_error(path), CheckedFile(path) as checked:
        with h5py.File(checked, "r") as file:
            check_datasets(checked, file)
        checked.seek(0)
        with xr.open_datatree(
            checked, engine="h5netcdf", decode_times=False, mask_and_scale=False
        ) as tree:
            tree.load()
    try:
        return from_tree(tree, path.name)
    finally:
        let_go(tree)


def _attrs(path: Path) -> dict[str, Any]:
    """The attributes of a recording of ours; none of another program's file."""
    with _as_read_error(path), opened_hdf5(path) as file:
        names = list(file.attrs) if VERSION in file.attrs else []
        return {name: _plain(attribute(file, name)) for name in names}


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") and value.ndim == 0 else value


def _attrs_of_ours(path: Path) -> dict[str, Any]:
    """The same, and none of a file that is damaged or no HDF5."""
    try:
        return _attrs(path)
    except ReadError:
        return {}


@contextmanager
def _as_read_error(path: Path) -> Iterator[None]:
    try:
        yield
    except ReadError:
        raise
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        if not path.is_file():
            raise ReadError(f"no file {str(path)!r}. Give the path of a recording.") from error
        raise ReadError(
            f"{path.name} is not a whole NetCDF 4 file ({error}). Copy or write it again."
        ) from error
