"""`write`: a record to a file, in the format of its suffix."""

from collections.abc import Callable
from pathlib import Path

from latentphys.recordings.edf_writing import write_edf
from latentphys.recordings.errors import WriteError, closest, listed
from latentphys.recordings.netcdf_format import write_netcdf
from latentphys.recordings.record import Record
from latentphys.recordings.wfdb_writing import write_wfdb
from latentphys.recordings.zarr_format import write_zarr

# suffix -> what writes it; a new format joins by one line here.
WRITERS: dict[str, Callable[[Record, Path], None]] = {
    ".edf": write_edf,
    ".hea": write_wfdb,
    ".nc": write_netcdf,
    ".zarr": write_zarr,
}


def write(record: Record, path: Path) -> None:
    """Write a record; a file that stands there is replaced once the new one is whole.

    Args:
        record: what to write.
        path: its suffix says the format.

    Raises:
        WriteError: no such format, or a record that it does not hold.
    """
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        raise WriteError(
            f"the suffix says the format, one of {listed(WRITERS)}; got {path.name!r}."
            f"{closest(path.suffix, WRITERS)}"
        )
    writer(record, path)
