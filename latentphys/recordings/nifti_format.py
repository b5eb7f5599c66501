"""Reading NIfTI cine volumes as image sequences (nibabel, the extra `images`).

A file (x, y, slice, time) becomes `record.images["cine"]` of dims (slice, time, y, x), or
(time, y, x) where there is one slice.
"""

import zlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latentphys.recordings.errors import ExtraError, RateError, ReadError, read_error
from latentphys.recordings.images import image_array
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.listing import files_of, folder_of, names_of, subject_in
from latentphys.recordings.record import Record
from latentphys.recordings.traces import check_given

if TYPE_CHECKING:
    import nibabel

SUFFIXES = (".nii", ".nii.gz")
MODALITY = "cine"
_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6, "unknown": 1.0}
# What gzip can make of a byte at most.
_DEFLATED = 1032


def is_nifti(path: Path) -> bool:
    """Whether the path is a NIfTI file, or a folder with some in or below it."""
    return bool(files_of(path, SUFFIXES))


def list_nifti(path: Path, modalities: Mapping[str, str]) -> list[LazyRecord]:
    """What the headers of NIfTI volumes tell; no frame is read.

    Args:
        path: file or folder.
        modalities: must be empty, for volumes have no channels.

    Raises:
        ReadError: a damaged file, or one that is no sequence of volumes.
        RateError: no time between its frames.
        ExtraError: nibabel is not installed.
        ModalityError: `modalities` is not empty.
    """
    check_given(modalities, ())
    folder = folder_of(path)
    names = names_of(files_of(path, SUFFIXES), folder, SUFFIXES)
    made = []
    for file, name in names.items():
        below = file.relative_to(folder).parent / name
        subject = subject_in(below.as_posix()) or name
        volume = _volume(file)
        made.append(
            LazyRecord(
                record=name,
                subject=subject,
                modalities=(),
                duration_s=volume.shape[3] / _rate_hz(volume, file),
                load=partial(_load, file, name, subject, folder.name),
                study=folder.name,
                images=(MODALITY,),
            )
        )
    return made


def _volume(file: Path) -> "nibabel.nifti1.Nifti1Image":
    nibabel = _nibabel()
    with _as_read_error(file):
        volume = nibabel.load(file)
        shape = volume.shape
        if len(shape) != 4 or 0 in shape or volume.get_data_dtype().kind not in "fiu":
            raise ReadError(
                f"a cine volume is real numbers (x, y, slice, time); {file.name} is "
                f"{volume.get_data_dtype()} of shape {shape}. Load it with nibabel and put it in a "
                "record as images=."
            )
        size = float(np.prod(shape, dtype=float)) * volume.get_data_dtype().itemsize
        most = file.stat().st_size * (_DEFLATED if file.name.lower().endswith(".gz") else 1)
        if size > most:
            raise ReadError(
                f"{file.name} is cut short: its header tells of {size:.0f} bytes. Download it "
                "again."
            )
        return volume


def _rate_hz(volume: "nibabel.nifti1.Nifti1Image", file: Path) -> float:
    step = float(volume.header.get_zooms()[3])
    seconds = step * _SECONDS.get(volume.header.get_xyzt_units()[1], np.nan)
    if not (np.isfinite(seconds) and seconds > 0):
        raise RateError(
            f"the time between frames is a positive number of seconds; the header of {file.name} "
            f"has {step} {volume.header.get_xyzt_units()[1]}. Set pixdim[4] with nibabel."
        )
    return 1.0 / seconds


def _load(file: Path, name: str, subject: str, study: str) -> Record:
    volume = _volume(file)
    with _as_read_error(file):
        frames = volume.get_fdata(dtype=np.float32).transpose(2, 3, 1, 0)  # slice, time, y, x
    rate_hz = _rate_hz(volume, file)
    images = image_array(frames if len(frames) > 1 else frames[0], rate_hz, name=MODALITY)
    spacing = [float(step) for step in volume.header.get_zooms()[:3]]
    images = images.assign_attrs(spacing_xyz=spacing, spacing_units=_space(volume))
    return Record({}, subject, name, study, images={MODALITY: images})


def _space(volume: "nibabel.nifti1.Nifti1Image") -> str:
    return str(volume.header.get_xyzt_units()[0])


def _nibabel() -> Any:
    try:
        import nibabel
    except ImportError as error:
        raise ExtraError(
            "NIfTI is read by nibabel, which is not installed. pip install 'latentphys[images]'."
        ) from error
    return nibabel


def _as_read_error(file: Path) -> AbstractContextManager[None]:
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    errors = (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error)
    return read_error(file, "NIfTI", errors)
