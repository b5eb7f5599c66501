"""MATLAB, HDF5, sleep features and NIfTI files made here: rules and refusals."""

from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import scipy.io

from latentphys.recordings.errors import LatentphysError, RateError, ReadError
from latentphys.recordings.reading import read

# MATLAB

ECG = np.random.default_rng(0).normal(size=(2, 300))


def test_matlab_of_version_5(tmp_path: Path) -> None:
    held = {"ecg": ECG, "ppg": ECG[0, :100], "ppg_rate_hz": 62.5, "fs": 250.0, "name": "x"}
    scipy.io.savemat(tmp_path / "a.mat", held)
    record = read(tmp_path)[0]
    assert {m: record.rate_hz(m) for m in record.modalities} == {"ecg": 250.0, "ppg": 62.5}
    np.testing.assert_allclose(record.signals["ecg"].values, ECG, rtol=1e-6)
    assert list(record.signals["ecg"].channel.values) == ["ecg_1", "ecg_2"]


def matlab_73(path: Path, held: dict[str, np.ndarray]) -> None:
    """As MATLAB writes it: HDF5 behind a block of text, matrices transposed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in held.items():
            file[name] = np.atleast_2d(value).T
            file[name].attrs["MATLAB_class"] = np.bytes_("double")
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(116))


def test_matlab_of_version_73(tmp_path: Path) -> None:
    matlab_73(tmp_path / "a.mat", {"ecg": ECG, "rate_hz": np.array(250.0)})
    cohort = read(tmp_path)
    assert cohort.entries[0].duration_s == 1.2
    np.testing.assert_allclose(cohort[0].signals["ecg"].values, ECG, rtol=1e-6)


@pytest.mark.parametrize(
    ("held", "error", "words"),
    [
        ({"ecg": ECG}, ReadError, "'ecg' without a rate. Known are.*loadmat"),
        ({"ecg": ECG, "fs": 0.0}, RateError, "positive number of samples"),
        ({"fs": 250.0}, ReadError, "no signal among fs"),
        ({"x": np.zeros((2, 3, 4)), "fs": 1.0}, ReadError, r"'x' of shape \(2, 3, 4\)"),
    ],
)
def test_matlab_that_tells_too_little(
    tmp_path: Path, held: dict, error: type[LatentphysError], words: str
) -> None:
    scipy.io.savemat(tmp_path / "a.mat", held)
    with pytest.raises(error, match=words):
        read(tmp_path)


def test_cells_that_are_no_rolls(tmp_path: Path) -> None:
    cells = np.empty(2, dtype=object)
    cells[:] = [np.zeros((3, 88)), np.zeros((3, 87))]
    scipy.io.savemat(tmp_path / "a.mat", {"rolls": cells})
    with pytest.raises(ReadError, match="'rolls' whose cell 2 is no piano roll"):
        read(tmp_path)
    (tmp_path / "a.mat").write_bytes(b"junk" * 100)
    with pytest.raises(ReadError, match="a.mat cannot be read as MATLAB"):
        read(tmp_path)


# HDF5


def hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["subject"] = "s9"
        ecg = ECG.copy()
        ecg[0, 5:9] = np.nan
        file["ecg"] = ecg
        file["ecg"].attrs.update({"rate_hz": 360.0, "units": "uV", "channels": ["II", "V1"]})
        file["spo2"] = np.arange(7)
        file["spo2"].attrs["rate_hz"] = 1.0


def test_hdf5(tmp_path: Path) -> None:
    hdf5(tmp_path / "a.h5")
    record = read(tmp_path)[0]
    assert (record.subject, record.record) == ("s9", "a")
    assert {m: record.rate_hz(m) for m in record.modalities} == {"ecg": 360.0, "spo2": 1.0}
    ecg = record.signals["ecg"]
    assert list(ecg.channel.values) == ["II", "V1"]
    assert ecg.attrs["units"] == "mV"
    assert np.flatnonzero(np.isnan(ecg.values[0])).tolist() == [5, 6, 7, 8]
    np.testing.assert_allclose(ecg.values[1], ECG[1] / 1000, rtol=1e-6)


def test_hdf5_without_rate_is_refused(tmp_path: Path) -> None:
    hdf5(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["spo2"].attrs["rate_hz"]
    with pytest.raises(ReadError, match="'spo2' of a.h5 has no attribute rate_hz.*from_arrays"):
        read(tmp_path)


@pytest.mark.parametrize("kind", ["external link", "soft link", "external storage", "virtual"])
def test_hdf5_that_points_outside_is_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "in").mkdir()
    hdf5(tmp_path / "secret.h5")
    (tmp_path / "raw.bin").write_bytes(bytes(80))
    with h5py.File(tmp_path / "in" / "a.h5", "w") as file:
        if kind == "external link":
            file["ecg"] = h5py.ExternalLink("../secret.h5", "/ecg")
        elif kind == "soft link":
            file["ecg"] = h5py.SoftLink("/elsewhere")
        elif kind == "external storage":
            file.create_dataset("ecg", (10,), "f8", external=[(str(tmp_path / "raw.bin"), 0, 80)])
        else:
            layout = h5py.VirtualLayout((2, 300), "f8")
            layout[:] = h5py.VirtualSource("../secret.h5", "ecg", (2, 300))
            file.create_virtual_dataset("ecg", layout)
        if kind in ("external storage", "virtual"):
            file["ecg"].attrs["rate_hz"] = 1.0
    with pytest.raises(ReadError, match="'ecg' is a link to another place"):
        read(tmp_path / "in")


# Sleep features


@pytest.mark.parametrize(
    "held",
    [
        {"features": np.zeros((5, 18), np.float32)},
        {"features": np.zeros((5, 17), np.float32), "stage": np.zeros(5, np.int8)},
        {"features": np.zeros((5, 18), np.float32), "stage": np.zeros(4, np.int8)},
        {"features": np.array([[{}] * 18]), "stage": np.zeros(1, np.int8)},
        {"x": np.zeros(3)},
    ],
)
def test_other_npz_files_are_refused(tmp_path: Path, held: dict) -> None:
    np.savez(tmp_path / "a.npz", **held)
    with pytest.raises(ReadError, match=r"holds features \(epoch, 18\) and stage.*a.npz does not"):
        read(tmp_path)[0]


# NIfTI


def nifti(path: Path, shape: tuple[int, ...], step: float = 40.0, unit: str = "msec") -> np.ndarray:
    values = np.random.default_rng(0).integers(0, 400, shape).astype(np.int16)
    volume = nibabel.Nifti1Image(values, np.diag([1.5, 1.25, 8.0, 1.0]))
    if len(shape) == 4:
        volume.header.set_zooms((1.5, 1.25, 8.0, step))
    volume.header.set_xyzt_units("mm", unit)
    nibabel.save(volume, path)
    return values


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_cine_volumes(tmp_path: Path, suffix: str) -> None:
    values = nifti(tmp_path / f"patient001_4d{suffix}", (4, 5, 3, 6))
    cohort = read(tmp_path)
    record = cohort[0]
    assert (record.record, record.modalities) == ("patient001_4d", ())
    cine = record.images["cine"]
    assert cine.dims == ("slice", "time", "y", "x")
    assert cine.attrs["rate_hz"] == pytest.approx(25.0)
    assert cine.attrs["spacing_xyz"] == [1.5, 1.25, 8.0]
    assert cine.values[2, 4, 1, 3] == values[3, 1, 2, 4]
    assert record.duration_s == pytest.approx(0.24)
    assert cohort.entries[0].duration_s == pytest.approx(0.24)


def test_one_slice_has_no_axis(tmp_path: Path) -> None:
    nifti(tmp_path / "a.nii", (4, 5, 1, 6))
    assert read(tmp_path)[0].images["cine"].dims == ("time", "y", "x")


def test_volumes_that_are_no_cine(tmp_path: Path) -> None:
    nifti(tmp_path / "a.nii", (4, 5, 3))
    with pytest.raises(ReadError, match=r"\(x, y, slice, time\); a.nii is .* \(4, 5, 3\)"):
        read(tmp_path)
    nifti(tmp_path / "a.nii", (4, 5, 3, 6), step=0.0)
    with pytest.raises(RateError, match="time between frames"):
        read(tmp_path)
    nifti(tmp_path / "a.nii", (4, 5, 3, 6))
    (tmp_path / "a.nii").write_bytes((tmp_path / "a.nii").read_bytes()[:400])
    with pytest.raises(ReadError, match="a.nii is cut short"):
        read(tmp_path)
