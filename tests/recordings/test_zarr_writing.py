"""Our own writing of Zarr v3, read by zarr and by xarray and set beside xarray's own writing."""

import math
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.codecs import BloscCodec

from latentphys.recordings import zarr_writing
from latentphys.recordings.quantised import MISSING
from latentphys.recordings.zarr_writing import Cut, write_datasets

CHUNK, CHUNKS, LENGTH = 64, 4, 1000
CUTS = {
    "/signals/a": Cut(CHUNK, CHUNKS, math.nan),
    "/signals/b": Cut(CHUNK, CHUNKS, MISSING),
    "/images/c": Cut(3, 2, math.nan),
}


def tree() -> xr.DataTree:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, LENGTH)).astype(np.float32)
    x[:, CHUNK : 2 * CHUNK] = np.nan  # a whole chunk
    x[:, 2 * CHUNK * CHUNKS : 3 * CHUNK * CHUNKS] = np.nan  # a whole file
    x[0, :10] = np.nan
    counts = np.where(np.isnan(x), MISSING, 100 * x).astype(np.int16)
    names = np.array(["II", "Ö", ""]).astype(np.dtypes.StringDType())
    data = {
        "/": xr.Dataset(attrs={"subject": "Ö", "count": 3}),
        "/signals/a": xr.Dataset(
            {"values": (("channel", "time"), x, {"units": "mV", "rate_hz": 2.5})},
            {"channel": names[:2], "unit": ("channel", names[1:])},
        ),
        "/signals/b": xr.Dataset({"values": (("channel", "time"), counts, {"scale": [0.1, 2.0]})}),
        "/images/c": xr.Dataset(
            {"values": (("slice", "time", "y", "x"), rng.random((2, 10, 3, 4)).astype(np.float32))}
        ),
        "/annotations/none": xr.Dataset(
            {"values": ("event", names[:0])}, {"time": ("event", np.zeros(0))}
        ),
        "/annotations/some": xr.Dataset(
            {"values": ("event", np.array([True, False, True]))},
            {"time": ("event", np.array([0.5, 1.5, np.nan])), "note": ("event", names)},
        ),
        "/texts/d": xr.Dataset({"values": ((), np.array("Ωx", dtype=np.dtypes.StringDType()))}),
        "/truth": xr.Dataset({"z": (("time", "k"), rng.random((700, 2)).astype(">f8"))}),
    }
    return xr.DataTree.from_dict(data)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_zarr_and_xarray_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zarr_writing, "_PLAIN_ROWS", 300)  # the truth then has a part of a chunk
    given = tree()
    write_datasets(given, tmp_path / "a", CUTS)
    back = xr.open_datatree(
        tmp_path / "a", engine="zarr", consolidated=False, decode_times=False, mask_and_scale=False
    ).load()
    assert {group.path for group in back.subtree} == {group.path for group in given.subtree}
    for group in given.subtree:
        found = back[group.path]
        assert found.attrs == group.attrs
        assert set(found.coords) == set(group.coords)
        for name, variable in group.variables.items():
            np.testing.assert_array_equal(found[name].values, variable.values)
            assert found[name].dims == variable.dims
            if variable.dtype.kind != "T":
                assert found[name].dtype == variable.dtype.newbyteorder("=")
            held = {k: v for k, v in found[name].attrs.items() if k != "_FillValue"}
            assert held == variable.attrs
    stored = zarr.open_array(tmp_path / "a" / "signals" / "a" / "values", mode="r")
    assert (stored.shards, stored.chunks) == ((2, CHUNK * CHUNKS), (2, CHUNK))
    np.testing.assert_array_equal(stored[:, 70:600], given["/signals/a/values"].values[:, 70:600])


def test_nothing_is_written_of_what_is_nowhere_observed(tmp_path: Path) -> None:
    write_datasets(tree(), tmp_path / "a", CUTS)
    for name in "ab":
        folder = tmp_path / "a" / "signals" / name / "values" / "c" / "0"
        assert sorted(file.name for file in folder.iterdir()) == ["0", "1", "3"]


def test_a_damaged_file_is_not_read_as_samples(tmp_path: Path) -> None:
    write_datasets(tree(), tmp_path / "a", CUTS)
    place = tmp_path / "a" / "signals" / "a" / "values"
    file = place / "c" / "0" / "0"
    raw = bytearray(file.read_bytes())
    raw[-10] ^= 1  # in the index at its end
    file.write_bytes(raw)
    with pytest.raises(ValueError, match="checksum"):
        zarr.open_array(place, mode="r")[:]


def test_samples_are_the_bytes_that_zarr_itself_writes(tmp_path: Path) -> None:
    given = tree()
    write_datasets(given, tmp_path / "a", CUTS)
    for name, cut in CUTS.items():
        values = given[name]["values"]
        shape = tuple({**values.sizes, "time": cut.chunk}.values())
        zarr.create_array(
            tmp_path / "b" / name.strip("/") / "values",
            data=values.values,
            chunks=shape,
            shards=tuple({**values.sizes, "time": cut.chunk * cut.chunks}.values()),
            compressors=(BloscCodec(cname="zstd", clevel=3, shuffle="shuffle"),),
            fill_value=cut.missing,
        )
        ours, theirs = (files(tmp_path / side / name.strip("/") / "values") for side in "ab")
        assert {k for k in ours if k != "zarr.json"} == {k for k in theirs if k != "zarr.json"}
        sizes = {k: (len(ours[k]), len(theirs[k])) for k in ours if k != "zarr.json"}
        assert all(one == other for one, other in sizes.values()), sizes
