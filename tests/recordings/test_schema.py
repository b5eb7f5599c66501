"""NetCDF and Zarr of our own schema: what goes in comes out, and what is damaged is told."""

from __future__ import annotations

import gc
import json
import pickle
import shutil
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from latentphys.recordings.errors import ModalityError, ReadError, WriteError
from latentphys.recordings.images import image_array
from latentphys.recordings.netcdf_format import write_netcdf
from latentphys.recordings.reading import read
from latentphys.recordings.record import Record
from latentphys.recordings.schema import from_tree, node, to_tree
from latentphys.recordings.simulation import simulate
from latentphys.recordings.zarr_format import write_zarr

Write = Callable[[Record, Path], None]
FORMATS = [(write_netcdf, ".nc"), (write_zarr, ".zarr")]


@pytest.fixture(params=FORMATS, ids=["netcdf", "zarr"])
def form(request: pytest.FixtureRequest) -> tuple[Write, str]:
    return request.param


def rich() -> Record:
    """Odd rates, holes, irregular times, two precisions, text, inputs, truth, odd names."""
    rng = np.random.default_rng(0)
    ecg = rng.standard_normal((2, 9001)).astype(np.float32)
    ecg[0, 100:200] = np.nan
    ecg[1] = np.nan
    wide = rng.standard_normal(1875)
    wide[[0, -1]] = -0.0
    record = Record.from_arrays(
        {
            "spo2": ([97.0, np.nan, 95.0], 1.0),
            "ecg": (ecg, 62.5),
            "lab": ([1.5, np.nan, -2.0], [0.1, 17.25, 90.0]),
            "ICP/left side": (wide, 360.0),
            "..": ([np.nan, np.nan], 0.2),
        },
        subject="säubling 1",
        record="a.b 7",
        study="ours",
        units={"ecg": "mV", "lab": "ms", "spo2": "%"},
        channels={"ecg": ["II", "V"]},
        inputs=(np.linspace(0, 1, 40), 4.0),
    )
    ecg_signal = record.signals["ecg"].assign_coords(
        channel_units=("channel", ["mV", "NU"]), place=("channel", [0.5, np.nan])
    )
    ecg_signal.attrs["filter"] = {"low_hz": 0.05, "notes": ["a", None, True]}
    annotations = {
        "beat": xr.DataArray(
            ["N", "", "Ä+"],
            dims="event",
            coords={"time": ("event", [0.1, 0.2, 0.30000001]), "note": ("event", ["x", "", "yy"])},
            attrs={"source": "a.atr"},
        ),
        "none": xr.DataArray(
            np.array([], dtype=str), dims="event", coords={"time": ("event", np.zeros(0))}
        ),
        "stage": xr.DataArray(
            np.array([0, 3], dtype=np.int8),
            dims="event",
            coords={"time": ("event", [0.0, 30.0]), "sure": ("event", [True, False])},
            name="stage",
        ),
        "took": xr.DataArray(
            [0.5], dims="event", coords={"time": ("event", [3.0])}, attrs={"units": "s"}
        ),
    }
    return replace(
        record,
        signals={**record.signals, "ecg": ecg_signal},
        annotations=annotations,
        truth=simulate(1, 0.2, seed=0)[0].truth,
        attrs={
            "age": 63,
            "weight_kg": np.float64(71.5),
            "drugs": ["a", "b"],
            "long": "x" * 100_000,
        },
    )


def with_images_and_texts() -> Record:
    """Cine of both shapes with holes and coordinates of their own, texts of all kinds."""
    rng = np.random.default_rng(1)
    flat = rng.standard_normal((40, 7, 9))
    flat[3, 2:4] = np.nan
    cine = image_array(flat.astype(np.float32), 25.0, name="echo", units="dB")
    cine = cine.assign_coords(x=("x", np.arange(9) * 1.5), y=("y", [f"row {k}" for k in range(7)]))
    stack = image_array(np.stack([flat[:5], flat[5:10]]), 30.0, name="mri")
    stack = stack.assign_coords(time=stack.time.values + 0.001)
    stack = stack.assign_attrs(spacing_xyz=[1.5, 1.5, 8.0])
    texts = {
        "report": "Sinusrhythmus, Ödeme 足 🫀\nzweite Zeile\ttab",
        "none": "",
        "a/b": "x" * 300_000,
        ".": " ",
    }
    return replace(rich(), images={"echo": cine, "MRI/short axis": stack}, texts=texts)


def assert_same(a: Record, b: Record) -> None:
    assert (a.subject, a.record, a.study, a.attrs) == (b.subject, b.record, b.study, b.attrs)
    assert a.modalities == b.modalities
    assert list(a.annotations) == list(b.annotations)
    pairs = [(a.signals[m], b.signals[m]) for m in a.modalities]
    pairs += [(a.annotations[n], b.annotations[n]) for n in a.annotations]
    pairs += [] if a.inputs is None else [(a.inputs, b.inputs)]
    assert list(a.images) == list(b.images)
    assert dict(a.texts) == dict(b.texts)
    pairs += [(a.images[n], b.images[n]) for n in a.images]
    for one, two in pairs:
        assert one.identical(two), f"{one}\n{two}"
        assert one.dtype.kind == two.dtype.kind
        if one.dtype.kind == "f":
            # identical() lets -0.0 pass for 0.0 and float32 for float64.
            assert one.dtype == two.dtype
            assert one.values.tobytes() == two.values.tobytes()
        np.testing.assert_array_equal(one.time.values, two.time.values, strict=True)
    assert (a.truth is None) == (b.truth is None)
    if a.truth is not None:
        assert a.truth.identical(b.truth)


def test_round_trip_is_exact(form: tuple[Write, str], tmp_path: Path) -> None:
    write, suffix = form
    record = rich()
    write(record, tmp_path / f"x{suffix}")
    cohort = read(tmp_path / f"x{suffix}")
    entry = cohort.entries[0]
    assert (entry.record, entry.subject, entry.study) == ("a.b 7", "säubling 1", "ours")
    assert entry.modalities == record.modalities
    assert entry.duration_s == record.duration_s
    assert dict(entry.units) == {
        "spo2": "%",
        "ecg": "mV",
        "lab": "ms",
        "ICP/left side": "",
        "..": "",
    }
    assert_same(record, cohort[0])
    assert_same(record, pickle.loads(pickle.dumps(cohort))[0])


def test_simulated_and_cropped_records_round_trip(form: tuple[Write, str], tmp_path: Path) -> None:
    write, suffix = form
    whole = simulate(1, 0.5, seed=2, absent=0.0)[0]
    # The crop's times are a rounding away from i / rate, and still come back.
    for name, record in (("whole", whole), ("part", whole.crop(3.3, 20.0))):
        write(record, tmp_path / f"{name}{suffix}")
        assert_same(record, read(tmp_path / f"{name}{suffix}")[0])


def test_real_recordings_round_trip(
    form: tuple[Write, str], data_root: Path, tmp_path: Path
) -> None:
    write, suffix = form
    for folder in ("bidmc", "ludb"):
        record = read(data_root / folder)[0]
        write(record, tmp_path / f"{record.record}{suffix}")
        assert_same(record, read(tmp_path / f"{record.record}{suffix}")[0])


def test_a_folder_of_records_is_a_cohort(form: tuple[Write, str], tmp_path: Path) -> None:
    write, suffix = form
    records = list(simulate(3, 0.2, seed=1))
    for record in records:
        write(record, tmp_path / f"{record.record}{suffix}")
    (tmp_path / "other.nc").write_bytes(b"no file of ours")
    cohort = read(tmp_path)
    assert cohort.names == ("sim000", "sim001", "sim002")
    assert_same(records[1], cohort["sim001"])


def test_only_headers_are_read_at_first(form: tuple[Write, str], tmp_path: Path) -> None:
    write, suffix = form
    path = tmp_path / f"x{suffix}"
    write(rich(), path)
    cohort = read(path)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert cohort.entries[0].modalities[0] == "spo2"
    with pytest.raises(ReadError, match=r"no file|No such file"):
        cohort[0]


def test_an_opened_file_is_plain_to_others(form: tuple[Write, str], tmp_path: Path) -> None:
    write, suffix = form
    write(rich(), tmp_path / f"x{suffix}")
    engine = (
        {"engine": "h5netcdf"} if suffix == ".nc" else {"engine": "zarr", "consolidated": False}
    )
    with xr.open_datatree(tmp_path / f"x{suffix}", decode_timedelta=False, **engine) as tree:
        ecg = tree["signals/ecg"]
        assert ecg["values"].dims == ("channel", "time")
        assert ecg["values"].attrs["units"] == "mV"
        assert ecg["values"].attrs["rate_hz"] == 62.5
        assert ecg.channel.values.tolist() == ["II", "V"]
        assert "time" not in ecg.coords, "regular times need no room"
        assert tree["signals/lab"].time.values.tolist() == [0.1, 17.25, 90.0]
        assert np.isnan(ecg["values"].values).sum() == 9101
        assert tree.attrs["latentphys_schema"] == 2


def test_a_newer_schema_is_refused(form: tuple[Write, str], tmp_path: Path) -> None:
    write, suffix = form
    path = tmp_path / f"x{suffix}"
    write(rich(), path)
    if path.is_dir():
        meta = json.loads((path / "zarr.json").read_text())
        meta["attributes"]["latentphys_schema"] = 3
        (path / "zarr.json").write_text(json.dumps(meta))
    else:
        with h5py.File(path, "a") as file:
            file.attrs["latentphys_schema"] = 3
    words = r"schema version 3, .* reads versions 1, 2. Update latentphys"
    with pytest.raises(ReadError, match=words):
        read(path)


def test_files_of_other_programs_are_refused(tmp_path: Path) -> None:
    xr.Dataset({"x": 1}).to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    with pytest.raises(ReadError, match=r"x.nc is not a recording of latentphys: .*from_arrays"):
        read(tmp_path / "x.nc")
    xr.Dataset({"x": 1}).to_zarr(tmp_path / "x.zarr", zarr_format=3, consolidated=False)
    with pytest.raises(ReadError, match=r"x.zarr is not a recording of latentphys"):
        read(tmp_path / "x.zarr")
    with pytest.raises(WriteError, match="is no recording of latentphys; it is not overwritten"):
        write_zarr(rich(), tmp_path / "x.zarr")
    assert (tmp_path / "x.zarr" / "x").is_dir()


def test_a_file_cut_short_is_told(tmp_path: Path) -> None:
    write_netcdf(rich(), tmp_path / "x.nc")
    content = (tmp_path / "x.nc").read_bytes()
    (tmp_path / "x.nc").write_bytes(content[: len(content) // 2])
    with pytest.raises(ReadError, match="x.nc is not a whole NetCDF 4 file"):
        read(tmp_path / "x.nc")


@pytest.mark.parametrize("dtype", [None, "int16"])
def test_a_lost_chunk_is_told(dtype: str | None, tmp_path: Path) -> None:
    from latentphys.recordings.zarr_format import write_tree

    write_tree(rich(), tmp_path / "x.zarr", dtype)
    assert read(tmp_path / "x.zarr")[0].record == "a.b 7"
    chunks = tmp_path / "x.zarr" / "signals" / "ecg" / "values" / "c"
    assert chunks.is_dir()
    shutil.rmtree(chunks)
    with pytest.raises(ReadError, match=r"does not hold all samples .* differ in ecg"):
        read(tmp_path / "x.zarr")[0]


def test_a_lost_group_is_told(tmp_path: Path) -> None:
    write_zarr(rich(), tmp_path / "x.zarr")
    shutil.rmtree(tmp_path / "x.zarr" / "signals" / "ecg")
    with pytest.raises(ReadError, match=r"x.zarr does not hold what its header lists"):
        read(tmp_path / "x.zarr")[0]


def test_writing_over_leaves_one_whole_recording(
    form: tuple[Write, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, suffix = form
    path = tmp_path / "sub" / f"x{suffix}"
    first, second = simulate(2, 0.2, seed=1, absent=0.0)
    write(first, path)
    write(second, path)
    assert_same(second, read(path)[0])
    assert [file.name for file in path.parent.iterdir()] == [path.name]

    def fails(*arguments: object, **options: object) -> None:
        target = Path(str(arguments[1]))
        (target / "half").mkdir(parents=True) if suffix == ".zarr" else target.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(xr.DataTree, "to_zarr" if suffix == ".zarr" else "to_netcdf", fails)
    with pytest.raises(OSError, match="disk full"):
        write(first, path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert_same(second, read(path)[0])


def test_what_a_file_cannot_hold_is_refused(form: tuple[Write, str], tmp_path: Path) -> None:
    write, suffix = form
    record = simulate(1, 0.2)[0]
    path = tmp_path / f"x{suffix}"
    with pytest.raises(WriteError, match=r"attributes are text, .*set.* Convert or drop"):
        write(replace(record, attrs={"bad": {1, 2}}), path)
    times = xr.DataArray(
        np.array(["2020-01-01"], dtype="datetime64[s]"),
        dims="event",
        coords={"time": ("event", [0.0])},
    )
    with pytest.raises(WriteError, match=r"annotations 'when' of record .* datetime64"):
        write(replace(record, annotations={"when": times}), path)
    objects = times.copy(data=np.array([{}], dtype=object))
    with pytest.raises(WriteError, match="object"):
        write(replace(record, annotations={"when": objects}), path)
    with pytest.raises(WriteError, match="empty name"):
        write(replace(record, annotations={"": record.annotations["beat"]}), path)
    assert not list(tmp_path.iterdir())


def test_a_channel_map_is_refused(form: tuple[Write, str], tmp_path: Path) -> None:
    write, suffix = form
    write(simulate(1, 0.2)[0], tmp_path / f"x{suffix}")
    with pytest.raises(ModalityError, match="know the modality of each channel"):
        read(tmp_path / f"x{suffix}", modalities={"II": "ecg"})


def test_images_and_texts_round_trip(form: tuple[Write, str], tmp_path: Path) -> None:
    write, suffix = form
    record = with_images_and_texts()
    write(record, tmp_path / f"x{suffix}")
    assert_same(record, read(tmp_path / f"x{suffix}")[0])
    record.write(tmp_path / f"again{suffix}")
    assert_same(record, read(tmp_path / f"again{suffix}")[0])
    alone = [record.keep("echo"), record.keep("none"), record.keep("a/b", "MRI/short axis")]
    for number, part in enumerate(alone):
        part = replace(part, record=f"part{number}", inputs=None, annotations={}, truth=None)
        write(part, tmp_path / "parts" / f"{number}{suffix}")
        cohort = read(tmp_path / "parts" / f"{number}{suffix}")
        assert_same(part, cohort[0])
        assert cohort.entries[0].modalities == ()
        assert cohort.entries[0].duration_s == part.duration_s
    assert len(read(tmp_path / "parts")) == 3


def test_images_are_frames_to_others(form: tuple[Write, str], tmp_path: Path) -> None:
    write, suffix = form
    record = with_images_and_texts()
    write(record, tmp_path / f"x{suffix}")
    engine = (
        {"engine": "h5netcdf"} if suffix == ".nc" else {"engine": "zarr", "consolidated": False}
    )
    with xr.open_datatree(tmp_path / f"x{suffix}", decode_timedelta=False, **engine) as tree:
        echo = tree["images/echo"]
        assert echo["values"].dims == ("time", "y", "x")
        assert (echo["values"].attrs["units"], echo["values"].attrs["rate_hz"]) == ("dB", 25.0)
        assert "time" not in echo.coords
        assert echo.x.values.tolist() == record.images["echo"].x.values.tolist()
        assert tree["texts/report"]["values"].item() == record.texts["report"]


def test_a_lost_image_or_text_is_told(tmp_path: Path) -> None:
    record = with_images_and_texts()
    for number, (lost, words) in enumerate(
        {
            "images/echo/values/c": "does not hold all samples .* differ in echo",
            "texts/report/values/c": "does not hold the whole of its texts report",
            "images/echo": "does not hold what its header lists",
            "texts": "does not hold what its header lists",
        }.items()
    ):
        place = tmp_path / f"{number}.zarr"
        write_zarr(record, place)
        shutil.rmtree(place / lost) if (place / lost).is_dir() else (place / lost).unlink()
        with pytest.raises(ReadError, match=words):
            read(place)[0]


def test_texts_that_would_not_come_back_are_refused(
    form: tuple[Write, str], tmp_path: Path
) -> None:
    write, suffix = form
    record = rich()
    path = tmp_path / f"x{suffix}"
    with pytest.raises(WriteError, match=r"no NUL; text 'note' of record 'a.b 7' has one"):
        write(replace(record, texts={"note": "a\0b"}), path)
    with pytest.raises(WriteError, match=r"UTF-8; text 'note' .* half a letter"):
        write(replace(record, texts={"note": "a\ud800b"}), path)
    assert not list(tmp_path.iterdir())


def test_what_the_schema_does_not_know_is_told_and_passed_over(
    form: tuple[Write, str], tmp_path: Path
) -> None:
    write, suffix = form
    record = with_images_and_texts()
    path = tmp_path / f"x{suffix}"
    write(record, path)
    more = xr.Dataset({"values": ("k", [1.0, 2.0])})
    engine: dict[str, str] = {"engine": "h5netcdf"}
    if suffix == ".zarr":
        engine = {"engine": "zarr"}
    for group in ("theirs", "signals/pH"):
        if suffix == ".nc":
            more.to_netcdf(path, mode="a", group=group, **engine)  # type: ignore[call-overload]
        else:
            more.to_zarr(path, mode="a", group=group, consolidated=False, zarr_format=3)
    with pytest.warns(UserWarning, match=r"schema version 2 knows: signals/pH, theirs. It is not"):
        found = read(path)[0]
    assert_same(record, found)


def test_files_of_the_first_version_are_read(form: tuple[Write, str], tmp_path: Path) -> None:
    write, suffix = form
    record, path = rich(), tmp_path / f"x{suffix}"
    write(record, path)
    whole = json.loads(to_tree(record).attrs["summary"])
    first = json.dumps({n: v for n, v in whole.items() if n not in ("images", "texts")})
    if path.is_dir():
        meta = json.loads((path / "zarr.json").read_text())
        meta["attributes"] |= {"latentphys_schema": 1, "summary": first}
        (path / "zarr.json").write_text(json.dumps(meta))
    else:
        with h5py.File(path, "a") as file:
            file.attrs["latentphys_schema"] = 1
            file.attrs["summary"] = first
    assert_same(record, read(path)[0])


def test_group_names_stay_inside() -> None:
    names = ["..", ".", "a/b", "/", "../x", "%2E", "ü", "ecg", ".hidden"]
    nodes = [node(name) for name in names]
    assert len(set(nodes)) == len(names)
    assert all("/" not in each and each not in (".", "..") for each in nodes)


def test_the_tree_alone_is_the_record() -> None:
    record = rich()
    assert_same(record, from_tree(to_tree(record), "memory"))


def test_samples_are_freed_without_waiting_for_a_sweep(
    form: tuple[Write, str], tmp_path: Path
) -> None:
    write, suffix = form
    record = rich()
    write(record, tmp_path / f"x{suffix}")
    given = weakref.ref(record.signals["ecg"].values)
    gc.collect()
    gc.disable()
    try:
        del record
        assert given() is None, "a ring of references holds what was written"
        found = read(tmp_path / f"x{suffix}").entries[0].load()
        samples = weakref.ref(found.signals["ecg"].values)
        assert samples() is not None
        del found
        assert samples() is None, "a ring of references holds what was read"
    finally:
        gc.enable()
