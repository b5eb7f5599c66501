"""Public datasets: fetched, verified, resumed, read; against a server that misbehaves."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import wfdb

from latentphys.recordings import datasets
from latentphys.recordings.archives import checksums
from latentphys.recordings.archives.dataset import OpenDataset
from latentphys.recordings.errors import DatasetError

if TYPE_CHECKING:
    from tests.recordings.conftest import ArchiveServer

SUBJECTS = {"bidmc01": "s01182", "bidmc02": "s01241", "bidmc03": "s01241"}
BIDMC = "bidmc/1.0.0"
DAT = f"{BIDMC}/bidmc01.dat"
ROOT = Path(__file__).resolve().parents[2]
PIECE = 8192  # what a cut may lose


def write_wfdb(
    stem: Path, channels: list[str], rate: float, seconds: int, comments: list[str]
) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(len(stem.name)).normal(
        size=(int(rate * seconds), len(channels))
    )
    wfdb.wrsamp(
        stem.name,
        fs=rate,
        units=["mV"] * len(channels),
        sig_name=channels,
        p_signal=samples,
        fmt=["16"] * len(channels),
        comments=comments,
        write_dir=str(stem.parent),
    )


def write_registry(folder: Path) -> None:
    """The list of checksums of all files below a folder, as PhysioNet writes it."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "SHA256SUMS.txt")
    lines = (
        f"{hashlib.sha256(p.read_bytes()).hexdigest()} {p.relative_to(folder).as_posix()}\n"
        for p in files
    )
    (folder / "SHA256SUMS.txt").write_text("".join(lines))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three records of two people, laid out and labelled as the archive has them."""
    root = tmp_path_factory.mktemp("archive")
    for name, subject in SUBJECTS.items():
        source = f"<source>: http://physionet.org/mimic2wdb/matched/{subject}/{subject}-2525"
        write_wfdb(root / BIDMC / name, ["RESP,", "PLETH,", "II,"], 125, 80, [source])
        write_wfdb(root / BIDMC / f"{name}n", ["HR,"], 1, 80, [])
    write_registry(root / BIDMC)
    return root


@pytest.fixture
def server(
    archive: Path, archive_server: type[ArchiveServer], monkeypatch: pytest.MonkeyPatch
) -> Iterator[ArchiveServer]:
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with archive_server(archive) as running:
        monkeypatch.setenv("LATENTPHYS_MIRROR", running.url)
        yield running


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LATENTPHYS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LATENTPHYS_MIRROR", raising=False)
    return tmp_path / "cache"


def data_files(cache: Path) -> set[str]:
    """Everything in the cache but its locks and the ledger of what is verified."""
    files = (p.relative_to(cache).as_posix() for p in cache.rglob("*") if p.is_file())
    return {f for f in files if not f.endswith(".lock") and not f.startswith(".verified/")}


def assert_same(cache: Path, archive: Path) -> None:
    """Every file in the cache is the archive's, bit for bit."""
    for name in data_files(cache):
        assert (cache / name).read_bytes() == (archive / name).read_bytes(), name


def bidmc(**arguments: object) -> object:
    return datasets.bidmc(progress=False, **arguments)  # type: ignore[arg-type]


def test_a_dataset_is_fetched_verified_and_read(
    cache: Path, server: ArchiveServer, archive: Path
) -> None:
    cohort = datasets.bidmc(progress=False)
    assert cohort.names == tuple(SUBJECTS)
    assert cohort.subjects == ("s01182", "s01241")
    record = cohort["bidmc02"]
    assert (record.subject, record.study) == ("s01241", "bidmc")
    assert set(record.modalities) == {"ecg", "ppg", "resp", "hr"}
    assert record.signals["ecg"].channel.values.tolist() == ["II"]
    expected = wfdb.rdrecord(str(archive / BIDMC / "bidmc02")).p_signal[:, 2]
    np.testing.assert_allclose(record.signals["ecg"].values[0], expected, atol=1e-6)
    assert len(data_files(cache)) == 13
    assert_same(cache, archive)
    assert pickle.loads(pickle.dumps(cohort))["bidmc02"].subject == "s01241"


def test_the_progress_bar_tells_the_dataset(
    cache: Path, server: ArchiveServer, capsys: pytest.CaptureFixture[str]
) -> None:
    datasets.bidmc("bidmc01")
    shown = capsys.readouterr().err
    assert "bidmc" in shown
    assert "4/4" in shown
    assert "Downloading" not in shown


def test_only_the_records_asked_for_are_fetched(
    cache: Path, server: ArchiveServer, archive: Path
) -> None:
    assert datasets.bidmc("bidmc01", progress=False).names == ("bidmc01",)
    assert not any("bidmc02" in path or "bidmc03" in path for path, _ in server.requests)
    before = len(server.requests)
    assert datasets.bidmc(["bidmc03", "bidmc01"], progress=False).names == ("bidmc03", "bidmc01")
    again = [path for path, _ in server.requests[before:]]
    assert sorted(again) == sorted(
        f"{BIDMC}/bidmc03{end}" for end in (".dat", ".hea", "n.dat", "n.hea")
    )
    assert_same(cache, archive)


def test_a_file_that_comes_corrupt_once_is_asked_for_again(
    cache: Path, server: ArchiveServer, archive: Path
) -> None:
    server.faults[DAT] = ["corrupt"]
    bidmc()
    assert server.asked(DAT) == ["", ""]
    assert_same(cache, archive)


def test_a_cut_download_goes_on_where_it_was_cut(
    cache: Path, server: ArchiveServer, archive: Path
) -> None:
    server.faults[DAT] = ["cut", 503, "cut"]
    bidmc()
    size = (archive / DAT).stat().st_size
    first, *starts = server.asked(DAT)
    assert first == ""
    where = [int(start.removeprefix("bytes=").rstrip("-")) for start in starts]
    assert size // 2 - PIECE < where[0] == where[1] <= size // 2
    assert where[1] + (size - where[1]) // 2 - PIECE < where[2] < size
    assert len(where) == 3
    assert_same(cache, archive)


def test_a_server_without_ranges_starts_again(
    cache: Path, server: ArchiveServer, archive: Path
) -> None:
    server.ranges = False
    server.faults[DAT] = ["cut"]
    bidmc()
    assert len(server.asked(DAT)) == 2
    assert_same(cache, archive)


def test_a_cut_that_stays_is_told_and_the_next_call_goes_on(
    cache: Path, server: ArchiveServer, archive: Path
) -> None:
    server.faults[DAT] = ["cut"] * 5
    with pytest.raises(DatasetError, match=r"'bidmc01.dat' does not come .* call again to go on"):
        bidmc(records="bidmc01")
    assert not (cache / DAT).exists()
    bidmc(records="bidmc01")
    last = server.asked(DAT)[-1]
    assert int(last.removeprefix("bytes=").rstrip("-")) > 0.5 * (archive / DAT).stat().st_size
    assert_same(cache, archive)


def test_a_part_that_is_already_whole_is_used(
    cache: Path, server: ArchiveServer, archive: Path
) -> None:
    bidmc(records="bidmc02")
    url, digest = f"{server.url}/{DAT}", hashlib.sha256((archive / DAT).read_bytes()).hexdigest()
    key = hashlib.sha256(f"{url} {digest}".encode()).hexdigest()[:32]
    part = cache / ".partial" / BIDMC / ".parts" / key
    part.parent.mkdir(parents=True)
    part.write_bytes((archive / DAT).read_bytes())
    bidmc(records="bidmc01")
    assert len(server.asked(DAT)) == 1
    assert_same(cache, archive)


def parts_bytes(cache: Path) -> int:
    total = 0
    for part in cache.glob(".partial/**/.parts/*"):
        with suppress(FileNotFoundError):  # a part that is complete moves on at any moment
            total += part.stat().st_size
    return total


def whole_files(cache: Path) -> list[str]:
    return [name for name in data_files(cache) if name.startswith("bidmc/")]


def test_a_killed_download_leaves_nothing_half_written(
    cache: Path, server: ArchiveServer, archive: Path
) -> None:
    server.faults[DAT] = ["stall"]
    code = "import latentphys as lp; lp.datasets.bidmc.fetch(progress=False)"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    try:
        assert server.stalled.wait(30)
        files = (p.relative_to(archive).as_posix() for p in archive.rglob("*") if p.is_file())
        others = {name for name in files if name.startswith("bidmc/")} - {DAT}
        deadline = time.monotonic() + 10
        # Once the others are whole, what is left in parts is the file that stalls.
        while not (parts_bytes(cache) and others <= set(whole_files(cache))):
            if time.monotonic() > deadline:
                break
            threading.Event().wait(0.05)
    finally:
        process.kill()
        process.wait()
    assert not (cache / DAT).exists()
    kept = whole_files(cache)
    assert kept
    assert all((cache / name).read_bytes() == (archive / name).read_bytes() for name in kept)
    bidmc()
    assert server.asked(DAT)[-1].startswith("bytes=")
    assert_same(cache, archive)


def test_corruption_that_stays_is_refused_by_name(
    cache: Path, server: ArchiveServer, archive: Path
) -> None:
    server.faults[DAT] = ["corrupt"] * 5
    with pytest.raises(DatasetError, match=r"'bidmc01.dat' .* does not match its SHA-256") as told:
        bidmc()
    assert "mirror= or LATENTPHYS_MIRROR" in str(told.value)
    assert not (cache / DAT).exists()
    assert not any(name.startswith(".partial") and "bidmc01" in name for name in data_files(cache))
    for name in data_files(cache):
        if not name.startswith(".partial"):
            assert (cache / name).read_bytes() == (archive / name).read_bytes()
    bidmc()
    assert_same(cache, archive)


@pytest.mark.parametrize("status", [403, 404])
def test_a_file_that_is_not_there_is_told_at_once(
    cache: Path, server: ArchiveServer, status: int
) -> None:
    server.faults[DAT] = [status] * 5
    with pytest.raises(DatasetError, match=f"bidmc01.dat cannot be .* the server answers {status}"):
        bidmc(records="bidmc01")
    assert len(server.asked(DAT)) == 1


def test_a_full_cache_needs_no_network(cache: Path, server: ArchiveServer) -> None:
    bidmc(records=["bidmc01", "bidmc02"])
    server.close()
    before = len(server.requests)
    assert datasets.bidmc(["bidmc01", "bidmc02"], progress=False)["bidmc01"].duration_s == 80.0
    assert len(server.requests) == before
    with pytest.raises(DatasetError, match=r"'bidmc03.* does not come from"):
        bidmc()


def test_files_are_hashed_once_and_again_when_they_change(
    cache: Path, server: ArchiveServer, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bidmc()
    hashed = []

    def counted(path: Path) -> str:
        hashed.append(path.name)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    monkeypatch.setattr(checksums, "sha256", counted)
    bidmc()
    assert hashed == ["SHA256SUMS.txt"]
    content = bytearray((cache / DAT).read_bytes())
    content[100] ^= 1
    (cache / DAT).write_bytes(content)
    bidmc()
    assert "bidmc01.dat" in hashed
    assert_same(cache, archive)


def test_calls_at_the_same_time_fetch_once(
    cache: Path, server: ArchiveServer, archive: Path
) -> None:
    errors: list[BaseException] = []

    def call() -> None:
        try:
            bidmc()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert server.asked(DAT) == [""]
    assert_same(cache, archive)


def pinned(digest: str) -> OpenDataset:
    return replace(datasets.bidmc, card=replace(datasets.bidmc.card, registry_sha256=digest))


def test_a_pinned_list_of_checksums_is_checked(
    cache: Path, server: ArchiveServer, archive: Path
) -> None:
    right = hashlib.sha256((archive / BIDMC / "SHA256SUMS.txt").read_bytes()).hexdigest()
    with pytest.raises(DatasetError, match=r"'SHA256SUMS.txt' .* does not match its SHA-256"):
        pinned("0" * 64)(progress=False)
    assert not (cache / BIDMC).exists()
    pinned(right.upper())(progress=False)
    with pytest.raises(DatasetError, match="is not the published list of checksums: its SHA-256"):
        pinned("0" * 64)(progress=False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<html>Please log in</html>\n", "line 1 of .* is '<html>Please log in"),
        (f"{'0' * 64} ../../.bashrc\n", "inside its folder, .* names '../../.bashrc'"),
        (f"{'0' * 64} /etc/passwd\n", "inside its folder"),
        (f"{'0' * 64} C:\\a.dat\n", "inside its folder"),
        (f"{'0' * 64} a.dat\n{'1' * 64} a.dat\n", "each once; line 2"),
        ("\n", "lists no file"),
    ],
)
def test_a_bad_list_of_checksums_is_refused(text: str, words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        checksums.parse_checksums(text, "a list")


def test_a_list_of_checksums_is_read_in_all_its_spellings() -> None:
    text = f"{'A' * 64}  ./data/1.dat\r\n\n{'b' * 64} *two words.csv\n"
    expected = {"data/1.dat": "a" * 64, "two words.csv": "b" * 64}
    assert checksums.parse_checksums(text, "a list") == expected


def test_a_folder_mirror_is_verified_and_read_where_it_is(
    cache: Path, archive: Path, tmp_path: Path
) -> None:
    for file in (archive / BIDMC).iterdir():
        place = tmp_path / "mirror" / BIDMC / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes())
    mirror = tmp_path / "mirror"
    assert datasets.bidmc.fetch(mirror=mirror) == mirror.resolve() / BIDMC
    assert datasets.bidmc(mirror=str(mirror)).subjects == ("s01182", "s01241")
    assert not data_files(cache)
    (mirror / DAT).write_bytes(b"other")
    (mirror / BIDMC / "bidmc02n.dat").unlink()
    with pytest.raises(DatasetError, match=r"2 files of the mirror") as told:
        datasets.bidmc(mirror=mirror)
    assert "bidmc01.dat (different), bidmc02n.dat (missing)" in str(told.value)
    assert datasets.bidmc("bidmc03", mirror=mirror).names == ("bidmc03",)
    (mirror / BIDMC / "SHA256SUMS.txt").unlink()
    with pytest.raises(DatasetError, match=r"no SHA256SUMS.txt in .*path="):
        datasets.bidmc(mirror=mirror)
    with pytest.raises(DatasetError, match="a folder, or an http or https address; got 'ftp://a'"):
        datasets.bidmc(mirror="ftp://a")


def test_a_cache_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match=r"cache .* cannot be made .* LATENTPHYS_CACHE"):
        datasets.bidmc(cache=tmp_path / "file" / "below")


def test_a_copy_is_read_as_it_is(archive: Path) -> None:
    cohort = datasets.bidmc(["bidmc03", "bidmc02"], path=archive / BIDMC)
    assert (cohort.names, cohort.subjects) == (("bidmc03", "bidmc02"), ("s01241",))
    with pytest.raises(DatasetError, match=r"no record 'bidmc2' .*Did you mean 'bidmc0\d'"):
        datasets.bidmc("bidmc2", path=archive / BIDMC)
    with pytest.raises(DatasetError, match="no subset 'all'; its subsets are none"):
        datasets.bidmc(subset="all", path=archive / BIDMC)
    with pytest.raises(DatasetError, match="has no record of ludb; .* named like"):
        datasets.ludb(path=archive / BIDMC)
    with pytest.raises(DatasetError, match="no folder"):
        datasets.bidmc(path=archive / "nowhere")


def test_a_record_of_unknown_subject_is_told(tmp_path: Path) -> None:
    write_wfdb(tmp_path / "bidmc07", ["II,"], 125, 5, ["age: 60"])
    with pytest.warns(UserWarning, match="bidmc07 does not tell its subject"):
        assert datasets.bidmc(path=tmp_path).subjects == ("bidmc07",)
    (tmp_path / "bidmc_csv").mkdir()
    (tmp_path / "bidmc_csv" / "bidmc_07_Fix.txt").write_text("Source: matched/s02639/s02639-26")
    assert datasets.bidmc(path=tmp_path).subjects == ("s02639",)


def test_those_behind_agreements_tell_the_steps(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as told:
        datasets.mesa()
    words = str(told.value)
    assert "1. Make an account at https://sleepdata.org" in words
    assert "nsrr download mesa/polysomnography/edfs" in words
    assert words.endswith("lp.datasets.mesa(path='...').")
    with pytest.raises(DatasetError, match="data use agreement"):
        datasets.mimic()
    stem = tmp_path / "p00" / "p000020" / "p000020-2183-04-28-17-47"
    write_wfdb(stem, ["II"], 125, 5, [])
    write_wfdb(stem.with_name(stem.name + "n"), ["HR"], 1, 5, [])
    cohort = datasets.mimic(path=tmp_path)
    assert (cohort.names, cohort.subjects) == ((stem.name,), ("p000020",))
    assert cohort.modalities == ("ecg", "hr")


def test_heart_sounds_have_labels_and_unknown_subjects(tmp_path: Path) -> None:
    for name in ("training-a/a0001", "training-a/a0002", "validation/a0001"):
        write_wfdb(tmp_path / name, ["PCG", "ECG"], 2000, 2, [])
    (tmp_path / "training-a" / "REFERENCE.csv").write_text("a0001,1\na0002,-1\n")
    with pytest.warns(UserWarning, match="does not tell which records are of one person"):
        cohort = datasets.cinc2016(path=tmp_path)
    assert [record.attrs["abnormal"] for record in cohort] == [True, False]
    with pytest.raises(DatasetError, match="several records 'a0001': training-a/a0001, validation"):
        datasets.cinc2016("a0001", subset=["training-a", "validation"], path=tmp_path)


PTBXL = """ecg_id,patient_id,age,sex,report,scp_codes,strat_fold,filename_lr,filename_hr
1,15709.0,56.0,1,sinusrhythmus,"{'NORM': 100.0, 'SR': 0.0}",3,\
records100/00000/00001_lr,records500/00000/00001_hr
2,15709.0,300.0,0,normales ekg,{},3,records100/00000/00002_lr,records500/00000/00002_hr
"""


def test_ptbxl_takes_patients_and_statements_from_its_table(tmp_path: Path) -> None:
    for number in (1, 2):
        write_wfdb(tmp_path / f"records500/00000/0000{number}_hr", ["II"], 500, 2, [])
        write_wfdb(tmp_path / f"records100/00000/0000{number}_lr", ["II"], 100, 2, [])
    (tmp_path / "ptbxl_database.csv").write_text(PTBXL)
    cohort = datasets.ptbxl(path=tmp_path)
    assert (cohort.names, cohort.subjects) == (("00001_hr", "00002_hr"), ("15709",))
    attrs = cohort[0].attrs
    assert (attrs["age"], attrs["sex"], attrs["fold"]) == (56.0, "F", 3)
    assert attrs["scp_codes"] == {"NORM": 100.0, "SR": 0.0}
    assert cohort[1].attrs["age"] == "90+"
    assert datasets.ptbxl(subset="100hz", path=tmp_path).names == ("00001_lr", "00002_lr")
    (tmp_path / "ptbxl_database.csv").write_text(PTBXL.replace("{}", "exit()"))
    with pytest.raises(DatasetError, match="has not the columns and values it should"):
        datasets.ptbxl(path=tmp_path)
    (tmp_path / "ptbxl_database.csv").unlink()
    with pytest.raises(DatasetError, match="no ptbxl_database.csv in .*; it names the subjects"):
        datasets.ptbxl(path=tmp_path)


def subjects_of(dataset: OpenDataset, folder: Path) -> dict[str, str]:
    return {entry.record: entry.subject for entry in dataset(path=folder).entries}


def test_nights_and_segments_of_one_person_are_one_subject(tmp_path: Path) -> None:
    for name in ("slp01a", "slp01b", "slp67x"):
        write_wfdb(tmp_path / "slpdb" / name, ["ECG"], 250, 2, [])
    expected = {"slp01a": "slp01", "slp01b": "slp01", "slp67x": "slp67"}
    assert subjects_of(datasets.slpdb, tmp_path / "slpdb") == expected
    for name in ("201", "202", "203"):
        write_wfdb(tmp_path / "mitdb" / name, ["MLII"], 360, 2, [])
    expected = {"201": "201", "202": "201", "203": "203"}
    assert subjects_of(datasets.mitdb, tmp_path / "mitdb") == expected


@pytest.mark.parametrize(
    ("layout", "names", "expected"),
    [
        (
            datasets.sleep_edf.layout,
            [
                "SC-subjects.xls",
                "sleep-cassette/SC4001E0-PSG.edf",
                "sleep-cassette/SC4001EC-Hypnogram.edf",
                "sleep-telemetry/ST7011J0-PSG.edf",
                "sleep-telemetry/ST7011JP-Hypnogram.edf",
            ],
            {"sleep-cassette/SC4001E": 2, "sleep-telemetry/ST7011J": 2},
        ),
        (
            datasets.cinc2018.layout,
            [
                "training/tr03-0005/tr03-0005-arousal.mat",
                "training/tr03-0005/tr03-0005.arousal",
                "training/tr03-0005/tr03-0005.mat",
                "training/tr03-0005/tr03-0005.hea",
                "test/te06-0293/te06-0293.hea",
                "test/te06-0293/te06-0293.mat",
            ],
            {"training/tr03-0005/tr03-0005": 3, "test/te06-0293/te06-0293": 2},
        ),
        (
            datasets.eegmat.layout,
            ["Subject00_1.edf", "Subject00_2.edf", "subject-info.csv"],
            {"Subject00_1": 1, "Subject00_2": 1},
        ),
        (
            datasets.physionet2012.layout,
            ["set-a.tar.gz", "set-a.zip", "Outcomes-a.txt", "set-a/132539.txt"],
            {"set-a": 1},
        ),
        (
            datasets.shhs.layout,
            ["polysomnography/edfs/shhs1/shhs1-200001.edf", "shhs2-200001.edf", "other.edf"],
            {"polysomnography/edfs/shhs1/shhs1-200001": 1, "shhs2-200001": 1},
        ),
    ],
)
def test_the_files_of_a_record_are_found(
    layout: datasets.Layout, names: list[str], expected: dict[str, int]
) -> None:
    assert {key: len(files) for key, files in layout.records(names).items()} == expected


def test_subsets_of_sleep_edf() -> None:
    keys = ["sleep-telemetry/ST7011J", "sleep-cassette/SC4001E"]
    assert datasets.sleep_edf.layout.choose(keys, None, None, "x") == sorted(keys)
    assert datasets.sleep_edf.layout.choose(keys, None, "telemetry", "x") == keys[:1]
    with pytest.raises(DatasetError, match=r"no subset 'casette'; .* Did you mean 'cassette'"):
        datasets.sleep_edf.layout.choose(keys, None, "casette", "x")


def test_cards_and_their_table() -> None:
    table = datasets.cards()
    assert table.loc["ptbxl", "subjects"] == 18869
    assert table["access"].value_counts().to_dict() == {"open": 10, "by hand": 3}
    for name in table.index:
        card = getattr(datasets, name).card
        assert card.name == name
        assert str(card).startswith(f"{name} {card.version}: ")
        assert card.url.startswith("https://")
        assert all(len(line) <= 110 for line in str(card).splitlines())


@pytest.mark.parametrize(("name", "folder"), [("ludb", "ludb"), ("slpdb", "slpdb_annotations")])
def test_published_lists_are_the_pinned_ones(data_root: Path, name: str, folder: str) -> None:
    dataset = getattr(datasets, name)
    sums = checksums.read_registry(
        data_root / folder / "SHA256SUMS.txt", dataset.card.registry_sha256
    )
    assert len(dataset.layout.records(sums)) == dataset.card.records


def test_real_copies(data_root: Path) -> None:
    cohort = datasets.bidmc(path=data_root / "bidmc")
    assert (len(cohort), len(cohort.subjects)) == (39, 36)
    assert cohort["bidmc01"].subject == "s01182"
    cohort = datasets.ludb(path=data_root / "ludb")
    assert (len(cohort), cohort.names[1], cohort[0].study) == (150, "2", "ludb")
    sums = checksums.read_registry(data_root / "ludb" / "SHA256SUMS.txt")
    for end in (".hea", ".dat", ".i"):
        assert checksums.sha256(data_root / "ludb" / f"data/1{end}") == sums[f"data/1{end}"]
