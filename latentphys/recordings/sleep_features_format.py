"""Reading nights of sleep features: `.npz` with `features` (epoch, 18) and `stage` (epoch,).

Nine features of EEG Fpz-Cz, then the same nine of Pz-Oz, one row each 30 s of a Sleep-EDF night.
"""

import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from latentphys.recordings.errors import ReadError
from latentphys.recordings.headers import SignalHeader
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.listing import files_of, folder_of, names_of, subject_in
from latentphys.recordings.record import Record
from latentphys.recordings.traces import check_given

SUFFIXES = (".npz",)
EPOCH_S = 30.0
MODALITY = "eeg_features"
_DERIVATIONS = ("Fpz-Cz", "Pz-Oz")
_FEATURES = (
    "log delta",
    "log theta",
    "log alpha",
    "log beta",
    "log gamma",
    "theta/alpha",
    "alpha/delta",
    "log variance",
    "mobility",
)
CHANNELS = tuple(f"{place} {feature}" for place in _DERIVATIONS for feature in _FEATURES)
_STAGES = ("W", "N1", "N2", "N3", "REM")
_BROKEN = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError)


def is_sleep_features(path: Path) -> bool:
    """Whether the path is an `.npz` file, or a folder with some in or below it."""
    return bool(files_of(path, SUFFIXES))


def list_sleep_features(path: Path, modalities: Mapping[str, str]) -> list[LazyRecord]:
    """What the shapes in the files tell.

    Args:
        path: file or folder.
        modalities: channel -> modality; only names of `CHANNELS` are known, and they stay.

    Raises:
        ReadError: a file that is damaged or holds something else.
        ModalityError: `modalities` is not empty.
    """
    check_given(modalities, ())
    folder = folder_of(path)
    names = names_of(files_of(path, SUFFIXES), folder, SUFFIXES)
    made = []
    for file, name in names.items():
        subject = subject_in(name) or name
        made.append(
            LazyRecord(
                record=name,
                subject=subject,
                modalities=(MODALITY,),
                duration_s=EPOCH_S * _epochs(file),
                load=partial(_load, file, name, subject, folder.name),
                study=folder.name,
                units=((MODALITY, ""),),
                headers=(SignalHeader(MODALITY, 1.0 / EPOCH_S, CHANNELS, "", _epochs(file)),),
            )
        )
    return made


def _epochs(file: Path) -> int:
    """Number of epochs, from the head of the array alone."""
    try:
        with zipfile.ZipFile(file) as packed, packed.open("features.npy") as stream:
            version = np.lib.format.read_magic(stream)
            if version != (1, 0):
                raise ValueError(f"an array of version {version}")
            shape, _, _ = np.lib.format.read_array_header_1_0(stream)
    except _BROKEN as error:
        raise _other(file, error) from error
    if len(shape) != 2 or shape[1] != len(CHANNELS) or shape[0] == 0:
        raise _other(file, f"features of shape {shape}")
    return int(shape[0])


def _load(file: Path, name: str, subject: str, study: str) -> Record:
    try:
        with np.load(file, allow_pickle=False) as held:
            features, stage = held["features"], held["stage"]
    except _BROKEN as error:
        raise _other(file, error) from error
    if features.ndim != 2 or features.shape[1] != len(CHANNELS) or features.dtype.kind != "f":
        raise _other(file, f"features of shape {features.shape}")
    if stage.shape != features.shape[:1] or stage.dtype.kind not in "iu":
        raise _other(file, f"stage of shape {stage.shape}")
    record = Record.from_arrays(
        {MODALITY: (features.T, 1.0 / EPOCH_S)},
        subject=subject,
        record=name,
        study=study,
        channels={MODALITY: CHANNELS},
    )
    return Record(record.signals, subject, name, study, annotations={"stage": _stages(stage)})


def _stages(stage: np.ndarray) -> xr.DataArray:
    start = EPOCH_S * np.arange(stage.size)
    names = [_STAGES[s] if 0 <= s < len(_STAGES) else "?" for s in stage.tolist()]
    return xr.DataArray(
        stage.astype(np.int64),
        dims="event",
        coords={
            "time": ("event", start),
            "duration": ("event", np.full(stage.size, EPOCH_S)),
            "note": ("event", np.array(names)),
        },
        attrs={"stages": "0 W, 1 N1, 2 N2, 3 N3, 4 REM"},
    )


def _other(file: Path, what: object) -> ReadError:
    return ReadError(
        f"an .npz file read here holds features (epoch, {len(CHANNELS)}) and stage (epoch,); "
        f"{file.name} does not ({what}). Load it with numpy and use Record.from_arrays."
    )
