"""`read`: a cohort from files, whatever their format."""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from latentphys.recordings.bids_format import is_bids, list_bids
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.csv_format import is_csv, is_recording, list_csv
from latentphys.recordings.edf_format import is_edf, list_edf
from latentphys.recordings.errors import ArgumentError, LatentphysError, ReadError, closest, listed
from latentphys.recordings.hdf5_format import is_hdf5, list_hdf5
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.listing import natural
from latentphys.recordings.matlab_format import is_matlab, list_matlab
from latentphys.recordings.mne_format import is_mne, list_mne
from latentphys.recordings.netcdf_format import is_netcdf, list_netcdf
from latentphys.recordings.nifti_format import is_nifti, list_nifti
from latentphys.recordings.physionet2012_format import is_physionet2012, list_physionet2012
from latentphys.recordings.sleep_features_format import is_sleep_features, list_sleep_features
from latentphys.recordings.wfdb_format import is_wfdb, list_wfdb
from latentphys.recordings.zarr_format import META, is_zarr, list_zarr

Listing = Callable[[Path, Mapping[str, str]], list[LazyRecord]]
Reader = tuple[str, Callable[[Path], bool], Listing]

# (its name, does it know this path?, list what is there): a new format joins by one line here. The
# first that knows a folder reads it, so formats whose files come with tables stand before the
# tables.
READERS: tuple[Reader, ...] = (
    ("Zarr", is_zarr, list_zarr),
    ("WFDB", is_wfdb, list_wfdb),
    ("NetCDF", is_netcdf, list_netcdf),
    ("EDF", is_edf, list_edf),
    ("BIDS physio", is_bids, list_bids),
    ("MNE's formats", is_mne, list_mne),
    ("NIfTI", is_nifti, list_nifti),
    ("PhysioNet 2012", is_physionet2012, list_physionet2012),
    ("sleep features", is_sleep_features, list_sleep_features),
    ("MATLAB", is_matlab, list_matlab),
    ("HDF5", is_hdf5, list_hdf5),
    ("CSV", is_csv, list_csv),
)


def read(path: str | Path, *, modalities: Mapping[str, str] | None = None) -> Cohort:
    """Records under a path: a folder of one format, or one recording (a cohort of one).

    Only headers are read here; samples when a record is taken out of the cohort. Every signal
    keeps its own rate and physical units, NaN stays NaN, nothing is resampled.

    Warning: a channel of unknown name becomes a modality of its own (a warning says so); map it
        with `modalities` if it is one of the others.

    Args:
        path: a folder with recordings (below it, if there are none in it), or one recording.
        modalities: channel name -> modality, for names the library does not know or takes
            otherwise.

    Returns:
        A cohort.

    Raises:
        ReadError: nothing there, or files that are cut short, missing or outside the folder.
        ModalityError: `modalities` names a channel that no record has.
        RateError: one modality at two rates in one record.
        ArgumentError: a path that is none, or modalities that are no mapping of names.

    Warns:
        UserWarning: recordings of other formats in the folder, which are left out.
    """
    place = _checked(path, modalities)
    for name, knows, listing in READERS:
        if knows(place):
            found = listing(place, dict(modalities or {}))
            _warn_of_others(place, name)
            return Cohort(found)
    if not place.exists():
        raise ReadError(
            f"no file or folder {str(place)!r}. Give the path of a recording."
            f"{closest(place.name, _beside(place))}"
        )
    if place.with_suffix(".hea").is_file():
        raise ReadError(
            f"a WFDB record is read by its header; {place.name!r} holds its samples or events "
            f"alone. Read {str(place.with_suffix('.hea'))!r}."
        )
    raise ReadError(
        f"no recording in {str(place)!r}; known are WFDB records (a .hea header with its .dat or "
        ".mat), NetCDF and Zarr of our own schema, EDF and BDF, what MNE reads (.fif, .vhdr, .set, "
        "...), BIDS physio, NIfTI, PhysioNet 2012, .npz of sleep features, MATLAB, HDF5 and CSV. "
        "Give a folder that holds some, or build records with Record.from_arrays."
    )


def _checked(path: str | Path, modalities: Mapping[str, str] | None) -> Path:
    """The path, with both arguments of the kind they must be."""
    if not isinstance(path, str | Path):
        raise ArgumentError(
            f"read takes the path of a folder or a recording, got {type(path).__name__}. "
            "Give text or a pathlib.Path; arrays become records with Record.from_arrays."
        )
    if not str(path).strip():
        raise ArgumentError(
            f"read takes the path of a folder or a recording, got {path!r}. Give one, or '.' for "
            "the folder this runs in."
        )
    given = {} if modalities is None else modalities
    if not isinstance(given, Mapping):
        raise ArgumentError(
            f"modalities says what channels are, got {type(given).__name__}. Write "
            "{'PLETH': 'ppg'}; to choose among modalities, read and then keep or select."
        )
    wrong = {key: name for key, name in given.items() if not (_is_name(key) and _is_name(name))}
    if wrong:
        raise ArgumentError(
            f"modalities maps the name of a channel to that of a modality, got {wrong!r}. Write "
            "{'PLETH': 'ppg'}."
        )
    return Path(path).expanduser()


def _is_name(given: object) -> bool:
    return isinstance(given, str) and bool(given)


def _warn_of_others(place: Path, format_: str) -> None:
    """Says which recordings of a folder are left out because they are of other formats."""
    others: dict[str, Path] = {}
    for file in _files_below(place) if place.is_dir() else ():
        header = file.with_suffix(".hea")
        # What a WFDB header describes may look like a file of another format, and is none.
        if header != file and header.is_file():
            continue
        known = next((reader for reader in READERS if reader[1](file)), None)
        if known is None:
            continue
        name, _, listing = known
        if name != format_ and name not in others and _holds_a_recording(file, listing):
            others[name] = file
    if others:
        found = [f"{name} ({file.relative_to(place)})" for name, file in others.items()]
        warnings.warn(
            f"a folder is read in one format: {str(place)!r} is read as {format_}, and its "
            f"recordings in {listed(found)} are left out. Read them by their own paths, and add "
            f"them: read(...) + read({str(next(iter(others.values())))!r}).",
            stacklevel=3,
        )


def _files_below(place: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(place):
        # A Zarr recording is a folder of very many small files.
        below[:] = sorted(name for name in below if not name.endswith(".zarr") and name[0] != ".")
        if not Path(folder, META).is_file():
            yield from sorted((Path(folder, name) for name in files if name[0] != "."), key=natural)


def _holds_a_recording(file: Path, listing: Listing) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _HOLDS[listing](file) if listing in _HOLDS else bool(listing(file, {}))
    except (LatentphysError, OSError):
        return False


def _in_a_set(file: Path) -> bool:
    return is_physionet2012(file.parent)


# How a file is told to be a recording where listing what it holds says too much or takes long.
_HOLDS: dict[Listing, Callable[[Path], bool]] = {
    list_csv: is_recording,
    list_physionet2012: _in_a_set,
}


def _beside(place: Path) -> list[str]:
    """What there is where nothing of this name is."""
    return [each.name for each in place.parent.iterdir()] if place.parent.is_dir() else []
