"""`read`: a cohort from files, whatever their format."""

from collections.abc import Callable, Mapping
from pathlib import Path

from latentphys.recordings.bids_format import is_bids, list_bids
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.csv_format import is_csv, list_csv
from latentphys.recordings.edf_format import is_edf, list_edf
from latentphys.recordings.errors import ArgumentError, ReadError, closest
from latentphys.recordings.hdf5_format import is_hdf5, list_hdf5
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.matlab_format import is_matlab, list_matlab
from latentphys.recordings.mne_format import is_mne, list_mne
from latentphys.recordings.netcdf_format import is_netcdf, list_netcdf
from latentphys.recordings.nifti_format import is_nifti, list_nifti
from latentphys.recordings.physionet2012_format import is_physionet2012, list_physionet2012
from latentphys.recordings.sleep_features_format import is_sleep_features, list_sleep_features
from latentphys.recordings.wfdb_format import is_wfdb, list_wfdb
from latentphys.recordings.zarr_format import is_zarr, list_zarr

Reader = tuple[
    Callable[[Path], bool],
    Callable[[Path, Mapping[str, str]], list[LazyRecord]],
]

# (does it know this path?, list what is there): a new format joins by one line here. The first
# that knows a folder reads it, so formats whose files come with tables stand before the tables.
READERS: tuple[Reader, ...] = (
    (is_zarr, list_zarr),
    (is_wfdb, list_wfdb),
    (is_netcdf, list_netcdf),
    (is_edf, list_edf),
    (is_bids, list_bids),
    (is_mne, list_mne),
    (is_nifti, list_nifti),
    (is_physionet2012, list_physionet2012),
    (is_sleep_features, list_sleep_features),
    (is_matlab, list_matlab),
    (is_hdf5, list_hdf5),
    (is_csv, list_csv),
)


def read(path: str | Path, *, modalities: Mapping[str, str] | None = None) -> Cohort:
    """Records under a path: a folder, or one recording (a cohort of one).

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
        ArgumentError: a path that is none, or modalities that are no mapping.
    """
    place = _checked(path, modalities)
    for knows, listing in READERS:
        if knows(place):
            return Cohort(listing(place, dict(modalities or {})))
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
    if modalities is not None and not isinstance(modalities, Mapping):
        raise ArgumentError(
            f"modalities says what channels are, got {type(modalities).__name__}. Write "
            "{'PLETH': 'ppg'}; to choose among modalities, read and then keep or select."
        )
    return Path(path).expanduser()


def _beside(place: Path) -> list[str]:
    """What there is where nothing of this name is."""
    return [each.name for each in place.parent.iterdir()] if place.parent.is_dir() else []
