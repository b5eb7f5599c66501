"""The store: whole records only, whatever happens, and the samples that were put in."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import latentphys.recordings.store
from latentphys.cli import main
from latentphys.recordings.errors import ExtraError, ReadError, WriteError
from latentphys.recordings.images import image_array
from latentphys.recordings.quantised import dequantised, quantised
from latentphys.recordings.reading import read
from latentphys.recordings.record import Record
from latentphys.recordings.simulation import simulate
from latentphys.recordings.store import prepare
from latentphys.recordings.zarr_format import write_zarr

COUNT = 5


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of five records, one with irregular times, all with holes."""
    folder = tmp_path / "source"
    for k, record in enumerate(simulate(COUNT, 0.25, seed=1)):
        if k == 2:
            lab = Record.from_arrays({"lab": ([1.0, np.nan], [0.5, 7.0])}, subject="x")
            record = replace(record, signals={**record.signals, **lab.signals})
        for each in record.signals.values():
            each.values[:, 2:5] = np.nan
        write_zarr(record, folder / f"{record.record}.zarr")
    return folder


def assert_holds(store: Path, source: Path) -> None:
    """The store has the source's records, in order, as float32."""
    given, kept = read(source), read(store)
    assert kept.names == given.names
    for one, two in zip(given, kept, strict=True):
        assert one.modalities == two.modalities
        for name in one.modalities:
            assert two.signals[name].dtype == np.float32
            assert one.signals[name].astype(np.float32).identical(two.signals[name])
        assert one.truth.identical(two.truth)  # type: ignore[union-attr]
        assert all(one.annotations[n].identical(two.annotations[n]) for n in one.annotations)
        assert (one.subject, one.study, one.attrs) == (two.subject, two.study, two.attrs)


def stamps(store: Path) -> dict[str, int]:
    """When each record that is in place was written."""
    return {p.name: (p / "zarr.json").stat().st_mtime_ns for p in (store / "records").glob("sim*")}


def test_a_store_holds_its_source_and_lists_it_without_opening_a_record(
    source: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    cohort = prepare(source, store, progress=False)
    assert_holds(store, source)
    assert cohort.units == read(source).units
    shutil.rmtree(store / "records")
    assert read(store).subjects == cohort.subjects
    with pytest.raises(ReadError, match=r"sim000 .*Copy or write it again"):
        read(store)[0]


def test_real_recordings_are_kept(data_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    for file in sorted((data_root / "bidmc").glob("bidmc0[1-2]*")):
        shutil.copy(file, folder)
    given = read(folder)
    for dtype in ("float32", "int16"):
        kept = prepare(folder, tmp_path / dtype, dtype=dtype, progress=False)
        assert kept.names == given.names
        for one, two in zip(given, kept, strict=True):
            assert set(one.annotations) == set(two.annotations)
            for name, each in one.signals.items():
                x, y = each.values, two.signals[name].values
                np.testing.assert_array_equal(np.isnan(x), np.isnan(y))
                # Converters made these: also int16 loses nothing but float32's rounding.
                np.testing.assert_allclose(y, x, rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("when", ["writing", "committing", "finishing"])
def test_a_killed_run_leaves_whole_records_and_goes_on(
    source: Path, tmp_path: Path, when: str
) -> None:
    store = tmp_path / "store"
    script = f"""
import os, signal
import latentphys.recordings.store as s
from pathlib import Path
calls = []
def die(*a, **k):
    os.kill(os.getpid(), signal.SIGKILL)
def third(inner):
    def run(record, folder, dtype):
        calls.append(1)
        made = inner(record, folder, dtype)
        if len(calls) == 3:
            next(folder.rglob("c/0/0")).unlink()  # half of it
            die()
        return made
    return run
when = {when!r}
if when == "writing": s.write_tree = third(s.write_tree)
if when == "committing": s._Store._commit = die
if when == "finishing": s._Store.finish = die
s.prepare({str(source)!r}, {str(store)!r}, progress=False)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=Path.cwd(), check=False)
    assert done.returncode == -signal.SIGKILL
    whole = {"writing": 2, "committing": 0, "finishing": COUNT}[when]
    before = stamps(store)
    assert len(before) == whole
    with pytest.raises(ReadError, match="was not finished.* prepare SRC store' again"):
        read(store)
    prepare(source, store, progress=False)
    assert_holds(store, source)
    assert before.items() <= stamps(store).items(), "a complete record was written again"
    assert not (store / ".partial").exists()


def test_a_finished_store_is_left_as_it_is(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    prepare(source, store, progress=False)
    before = stamps(store)
    assert prepare(source, store, progress=False).names == read(source).names
    assert stamps(store) == before


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_images_and_texts_are_kept(dtype: str, tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (2, 300, 24, 24)).astype(np.float64)
    grey[1, 5] = np.nan
    cine = image_array(grey, 25.0, name="cine")
    record = Record({}, "s1", "r1", images={"cine": cine}, texts={"report": "Ö, " * 9})
    write_zarr(record, tmp_path / "source" / "r1.zarr")
    kept = prepare(tmp_path / "source", tmp_path / "store", dtype=dtype, progress=False)[0]
    assert kept.texts == record.texts
    assert kept.images["cine"].identical(cine.astype(np.float32))  # grey values are a grid
    assert kept.images["cine"].dtype == np.float32
    values = tmp_path / "store" / "records" / "r1" / "images" / "cine" / "values"
    meta = json.loads((values / "zarr.json").read_text())
    assert meta["data_type"] == dtype
    inner = meta["codecs"][0]["configuration"]["chunk_shape"]
    assert inner == [2, 2**18 // (2 * 24 * 24), 24, 24]


def test_records_of_an_earlier_schema_are_done_again(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    prepare(source, store, progress=False)
    before = stamps(store)
    file = store / "records" / "sim001" / "zarr.json"
    file.write_text(file.read_text().replace('"latentphys_schema": 2', '"latentphys_schema": 1'))
    assert '"latentphys_schema": 1' in file.read_text()
    prepare(source, store, progress=False)
    after = stamps(store)
    assert {name for name in before if before[name] != after[name]} == {"sim001"}
    assert_holds(store, source)


def test_new_and_changed_records_are_done(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    prepare(source, store, progress=False)
    before = stamps(store)
    other = simulate(COUNT + 1, 0.2, seed=9)[COUNT]
    write_zarr(other, source / "sim005.zarr")
    write_zarr(read(source)["sim001"].drop("ppg"), source / "sim001.zarr")
    prepare(source, store, progress=False)
    assert_holds(store, source)
    after = stamps(store)
    assert {name for name in after if after[name] != before.get(name)} == {"sim001", "sim005"}


def test_a_broken_record_is_named_and_the_others_are_kept(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.rmtree(next((source / "sim003.zarr" / "signals").glob("*/values/c")))
    with pytest.raises(ReadError, match=r"1 of 5 records .*'sim003' .*run prepare again"):
        prepare(source, store, progress=False)
    assert len(stamps(store)) == COUNT - 1
    shutil.rmtree(source / "sim003.zarr")
    prepare(source, store, progress=False)
    assert_holds(store, source)


def test_several_processes_give_the_same_store(source: Path, tmp_path: Path) -> None:
    prepare(source, tmp_path / "one", progress=False)
    prepare(source, tmp_path / "two", workers=2, progress=False)
    assert_holds(tmp_path / "two", source)
    files = [
        {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        for root in (tmp_path / "one", tmp_path / "two")
    ]
    assert files[0] == files[1]


def test_one_process_does_what_no_other_has_begun(source: Path, tmp_path: Path) -> None:
    (tmp_path / "lead.py").write_text(f"""
import latentphys.recordings.store as s
inner, done = s._write, []
def write(job, dtype):
    done.append(job.entry.record)
    return inner(job, dtype)
if __name__ == "__main__":
    s._write = write
    s.prepare({str(source)!r}, {str(tmp_path / "store")!r}, workers=2, progress=False)
    assert done and done == sorted(done, reverse=True), done
    assert "sim000" not in done, done
""")
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    subprocess.run([sys.executable, tmp_path / "lead.py"], env=environment, check=True)
    assert_holds(tmp_path / "store", source)


def test_a_dask_cluster_is_used(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("dask.distributed")
    with distributed.LocalCluster(
        n_workers=1, processes=False, protocol="tcp://", dashboard_address=None
    ) as cluster:
        prepare(source, tmp_path / "store", scheduler=cluster.scheduler_address, progress=False)
        with distributed.Client(cluster) as client:
            assert client.submit(len, "abc").result() == 3, "the user's cluster was shut down"
    assert_holds(tmp_path / "store", source)
    monkeypatch.setattr(latentphys.recordings.store, "CONNECT_S", 0.3)
    with pytest.raises(WriteError, match="no Dask scheduler answers at 'tcp://127.0.0.1:1'"):
        prepare(source, tmp_path / "other", scheduler="tcp://127.0.0.1:1", progress=False)


def test_a_process_that_ends_is_told(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Run in the worker in place of the writing: it ends as if it were killed.
    monkeypatch.setattr(latentphys.recordings.store, "_start_beside_the_leader", os.abort)
    with pytest.raises(WriteError, match=r"has ended, for want of memory .* with fewer workers"):
        prepare(source, tmp_path / "store", workers=2, progress=False)
    prepare(source, tmp_path / "store", progress=False)
    assert_holds(tmp_path / "store", source)


def test_processes_end_with_the_one_that_leads(tmp_path: Path) -> None:
    script = """
import os, signal, time
from concurrent.futures import ProcessPoolExecutor
import multiprocessing
from latentphys.recordings.store import _end_with_the_leader
if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(1, mp_context=spawn, initializer=_end_with_the_leader)
    print(pool.submit(os.getpid).result(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    (tmp_path / "lead.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [sys.executable, tmp_path / "lead.py"], env=environment, capture_output=True, text=True
    )
    worker = int(done.stdout)
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail(f"process {worker} outlived the one that started it")


def test_without_dask_a_scheduler_is_refused_in_words(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    with pytest.raises(ExtraError, match=r"pip install 'latentphys\[cluster\]'"):
        prepare(source, tmp_path / "store", scheduler="tcp://127.0.0.1:1", progress=False)
    prepare(source, tmp_path / "store", progress=False)


def test_targets_that_are_something_else_are_refused(source: Path, tmp_path: Path) -> None:
    store, full = tmp_path / "store", tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("mine")
    with pytest.raises(WriteError, match=r"holds other things: thesis.txt. Give a new folder"):
        prepare(source, full, progress=False)
    assert os.listdir(full) == ["thesis.txt"]
    with pytest.raises(WriteError, match="a store is a folder; .* is a file. Give a new folder"):
        prepare(source, full / "thesis.txt", progress=False)
    with pytest.raises(WriteError, match="a file is written into a folder; .* is a file, or lies"):
        read(source)[0].write(full / "thesis.txt" / "a.nc")
    with pytest.raises(WriteError, match="not a store of version 1"):
        prepare(source, source / "sim000.zarr", progress=False)
    prepare(source, store, progress=False)
    with pytest.raises(WriteError, match="one precision; .* float32, not int16"):
        prepare(source, store, dtype="int16", progress=False)
    with pytest.raises(WriteError, match=r"float32 or int16, got 'int8'. Did you mean 'int16'"):
        prepare(source, store, dtype="int8", progress=False)
    with pytest.raises(WriteError, match="workers is a number of processes"):
        prepare(source, store, workers=0, progress=False)
    shutil.rmtree(source / "sim001.zarr")
    with pytest.raises(WriteError, match="store is of one source; .* lacks: sim001"):
        prepare(source, store, progress=False)


def test_two_runs_at_once_are_refused(source: Path, tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    store = tmp_path / "store"
    prepare(source, store, progress=False)
    with (store / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(WriteError, match="another process is preparing"):
            prepare(source, store, progress=False)


def test_an_index_cannot_lead_outside_or_be_of_another_version(
    source: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    prepare(source, store, progress=False)
    index = json.loads((store / "index.json").read_text())
    for place in ("../source/sim000.zarr", str(source / "sim000.zarr")):
        index["records"][0]["path"] = place
        (store / "index.json").write_text(json.dumps(index))
        with pytest.raises(ReadError, match="a record of a store lies inside its folder"):
            read(store)
    (store / "index.json").write_text("{")
    with pytest.raises(ReadError, match="index.json of store cannot be read .* anew"):
        read(store)
    prepare(source, store, progress=False)
    assert_holds(store, source)
    meta = json.loads((store / "zarr.json").read_text())
    meta["attributes"]["latentphys_store"] = 2
    (store / "zarr.json").write_text(json.dumps(meta))
    with pytest.raises(ReadError, match="store of version 2, this release reads version 1"):
        read(store)


def test_the_command_line_prepares(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", str(source), str(tmp_path / "store"), "--dtype", "int16"]) == 0
    out = capsys.readouterr()
    assert "Cohort of 5 records" in out.out
    assert "5/5" in out.err, "no progress bar"
    with pytest.raises(SystemExit) as stop:
        main(["prepare", str(source), str(tmp_path / "store"), "--dtype", "float32"])
    assert stop.value.code == 2
    assert "latentphys: a store has one precision" in capsys.readouterr().err


def test_int16_keeps_a_converters_grid_exactly() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(-2000, 2047, (2, 5000))
    counts[0, :3] = [2047, -2048, -2047]
    gain, base = np.array([[200.0], [1370.5]]), np.array([[0.0], [-4.25]])
    x = (counts / gain + base).astype(np.float32)
    x[1, 50:70] = np.nan
    stored, scale, offset = quantised(x, "x")
    assert stored.dtype == np.int16
    np.testing.assert_allclose(scale, 1 / gain[:, 0], rtol=1e-6)
    back = dequantised(stored, scale, offset)
    np.testing.assert_array_equal(np.isnan(back), np.isnan(x))
    np.testing.assert_allclose(back, x, rtol=0, atol=1e-6)


def test_int16_rounds_the_rest_to_a_share_of_its_range() -> None:
    x = np.random.default_rng(1).standard_normal((1, 200_000)).astype(np.float32) * 30 + 1e3
    back = dequantised(*quantised(x, "x"))
    assert np.abs(back - x).max() <= (np.ptp(x) / 65534) * 0.51
    assert back.min() == pytest.approx(x.min())
    assert back.max() == pytest.approx(x.max())


def test_int16_of_constant_and_empty_channels_and_of_infinity() -> None:
    x = np.full((3, 10), np.nan)
    x[1] = 97.5
    x[2, :2] = [-1.0, 1.0]
    back = dequantised(*quantised(x, "x"))
    np.testing.assert_array_equal(back, x.astype(np.float32))
    x[0, 0] = np.inf
    with pytest.raises(
        WriteError, match=r"finite values only; modality 'a' .* NaN, or write float32"
    ):
        quantised(x, "modality 'a'")
