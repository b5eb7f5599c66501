"""Headers altered at random: only our own errors, no hang, no file made or opened elsewhere.

LATENTPHYS_FUZZ=1000 asks for a thousand cases of each instead of a few.
"""

import gzip
import json
import os
import tempfile
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import edfio
import numpy as np
import pytest
import wfdb
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latentphys.recordings.errors import LatentphysError, ReadError
from latentphys.recordings.reading import read
from latentphys.recordings.record import Record

settings.register_profile(
    "formats",
    max_examples=int(os.environ.get("LATENTPHYS_FUZZ", "40")),
    deadline=None,
    derandomize="LATENTPHYS_FUZZ" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)
fuzzed = settings.get_profile("formats")


def try_to_read(name: str, *contents: tuple[str, bytes]) -> None:
    """Read files of these contents; anything but a record or our own error fails the test."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for file, content in contents:
            (Path(folder) / file).write_bytes(content)
        before = sorted(os.listdir(folder))
        with suppress(LatentphysError):
            for record in read(Path(folder) / name):
                assert record.duration_s >= 0
                assert all(s.size < 10**8 for s in record.signals.values())
        assert sorted(os.listdir(folder)) == before


def plain_edf(*, bdf: bool = False, gaps: bool = False) -> bytes:
    kind, file = (edfio.BdfSignal, edfio.Bdf) if bdf else (edfio.EdfSignal, edfio.Edf)
    x = np.sin(np.arange(30.0))
    signals = [
        kind(x, 10, label="ECG", physical_dimension="mV", transducer_type="latentphys ecg/II"),
        kind(x[:3], 1, label="SpO2", physical_dimension="%", transducer_type="latentphys spo2/a"),
    ]
    notes = [
        edfio.EdfAnnotation(0.5, 0.5, "not observed: ecg/II"),
        edfio.EdfAnnotation(1.0, None, "[stage#] 2"),
        edfio.EdfAnnotation(2.9, None, "end of signal: ecg/II"),
    ]
    made = file(signals, annotations=notes, recording=edfio.Recording(equipment_code="latentphys"))
    raw = made.to_bytes()
    return raw.replace(b"EDF+C", b"EDF+D").replace(b"BDF+C", b"BDF+D") if gaps else raw


WHOLE = [plain_edf(bdf=bdf, gaps=gaps) for bdf in (False, True) for gaps in (False, True)]
HEADER = 256 * 4
# (place in the header, length) of each field
FIELDS = [(0, 8), (8, 80), (88, 80), (168, 8), (176, 8), (184, 8), (192, 44), (236, 8), (244, 8)]
FIELDS += [(252, 4), *((256 + 8 * i, 8) for i in range(96))]
NUMBERS = [
    "0",
    "-1",
    "1",
    "3",
    "9999",
    "99999999",
    "-9999999",
    "1e308",
    "nan",
    "inf",
    "0.5",
    "x",
    "",
]


@fuzzed
@given(
    which=st.sampled_from(WHOLE),
    changes=st.lists(
        st.tuples(st.sampled_from(FIELDS), st.sampled_from(NUMBERS) | st.text(max_size=8)),
        min_size=1,
        max_size=3,
    ),
)
def test_edf_with_other_fields(which: bytes, changes: list) -> None:
    raw = bytearray(which)
    for (place, length), text in changes:
        raw[place : place + length] = text.encode("utf-8")[:length].ljust(length)
    try_to_read("a.edf", ("a.edf", bytes(raw)))


@fuzzed
@given(which=st.sampled_from(WHOLE), data=st.data())
def test_edf_with_other_bytes(which: bytes, data: st.DataObject) -> None:
    raw = bytearray(which)
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)) | st.just(len(raw)))
    try_to_read("a.edf", ("a.edf", bytes(raw[:cut])))


@fuzzed
@given(
    st.lists(
        st.sampled_from(
            [b"+0", b"+1", b"-5", b"+1e9", b"+99999999999999", b"\x14", b"\x15", b"\x00"]
        )
        | st.binary(max_size=6),
        max_size=12,
    )
)
def test_annotations_of_edf(parts: list[bytes]) -> None:
    for whole in WHOLE:
        start = whole.index(b"+0\x14\x14", HEADER)
        text = b"".join(parts)[: len(whole) - start]
        raw = whole[:start] + text + whole[start + len(text) :]
        try_to_read("a.edf", ("a.edf", raw))


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
described = st.fixed_dictionaries(
    {},
    optional={
        "SamplingFrequency": anything | st.floats(1, 1000),
        "StartTime": anything | st.floats(-10, 10),
        "Columns": anything | st.lists(st.sampled_from(["cardiac", "respiratory", "x", ""])),
        "cardiac": anything,
    },
)
TABLE = "1\t2\n3\tn/a\n5\t6\n"


@fuzzed
@given(about=described | anything, table=st.just(TABLE) | st.text(alphabet="0123456789.en/a\t\n-x"))
def test_bids(about: object, table: str) -> None:
    name = "sub-1_task-a_physio"
    packed = gzip.compress(table.encode())
    contents = json.dumps(about).encode()
    try_to_read(f"{name}.tsv.gz", (f"{name}.tsv.gz", packed), (f"{name}.json", contents))


@fuzzed
@given(
    text=st.text(alphabet='0123456789.e,-\n:" Tx', max_size=200) | st.text(max_size=60),
    head=st.sampled_from(["time,ECG\n", "date,ECG\n", "ECG,PPG\n", "t\n", "ECG,ECG\n", ""]),
    name=st.sampled_from(["a_250hz", "a", "a_1e9hz", "a_0.000001hz"]),
)
def test_csv(text: str, head: str, name: str) -> None:
    try_to_read(f"{name}.csv", (f"{name}.csv", (head + text).encode("utf-8")))


@fuzzed
@given(data=st.binary(max_size=400))
@pytest.mark.parametrize(
    "suffix", [".edf", ".bdf", ".csv.gz", ".npz", ".mat", ".h5", ".nii", ".nii.gz"]
)
def test_junk(suffix: str, data: bytes) -> None:
    try_to_read(f"a{suffix}", (f"a{suffix}", data))


def plain_wfdb() -> dict[str, bytes]:
    """Two rates, a hole, comments, beats in WFDB's own form and events in ours."""
    x = np.sin(np.arange(200.0))
    x[20:30] = np.nan
    time = ("event", np.array([0.1, 0.5, 1.2]))
    made = Record.from_arrays(
        {"ecg": (x, 100.0), "spo2": (np.full(2, 97.0), 1.0)}, subject="s1", units={"ecg": "mV"}
    )
    beats = xr.DataArray(["N", "V", "N"], dims="event", coords={"time": time})
    with tempfile.TemporaryDirectory() as folder:
        replace(made, annotations={"qrs": beats}).write(Path(folder) / "a.hea")
        wfdb.wrann("a", "atr", np.array([10, 50, 120]), ["N", "V", "("], write_dir=folder)
        return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


WFDB = plain_wfdb()
LAYOUT = b"a/3 1 100 300\na_1 100\n~ 100\na_2 100\n"
WORDS = [*NUMBERS, "1e12", "999999999999", "16x99999999", "16+9999999", "508", "524", "212"]
WORDS += ["../b.dat", "/etc/passwd", "~", "a", "a/2", "100/1e9", "100(7)", "1/mV", "5(x)/", "-1(2)"]


def wfdb_files(**changed: bytes) -> list[tuple[str, bytes]]:
    return list({**WFDB, **{f"a.{kind}": content for kind, content in changed.items()}}.items())


@fuzzed
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 40), st.sampled_from(WORDS) | st.text(max_size=6)),
        min_size=1,
        max_size=3,
    )
)
def test_wfdb_headers_with_other_words(changes: list) -> None:
    lines = [line.split(" ") for line in WFDB["a.hea"].decode().splitlines()]
    places = [(i, k) for i, line in enumerate(lines) for k in range(len(line))]
    for at, word in changes:
        i, k = places[at % len(places)]
        lines[i][k] = word
    header = "\n".join(" ".join(line) for line in lines).encode("utf-8", "surrogatepass")
    try_to_read("a.hea", *wfdb_files(hea=header))


@fuzzed
@given(kind=st.sampled_from(["hea", "atr", "events", "dat"]), data=st.data())
def test_wfdb_with_other_bytes(kind: str, data: st.DataObject) -> None:
    raw = bytearray(WFDB[f"a.{kind}"])
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)) | st.just(len(raw)))
    try_to_read("a.hea", *wfdb_files(**{kind: bytes(raw[:cut])}))


@fuzzed
@given(
    changes=st.lists(st.tuples(st.integers(0, 30), st.sampled_from(WORDS)), min_size=1, max_size=3)
)
def test_wfdb_layouts_with_other_words(changes: list) -> None:
    words = LAYOUT.decode().replace("\n", " \n ").split(" ")
    for at, word in changes:
        words[at % len(words)] = word
    part = WFDB["a.hea"].replace(b"a ", b"a_1 ", 1)
    files = [("a.hea", " ".join(words).encode()), ("a.dat", WFDB["a.dat"]), ("a_1.hea", part)]
    try_to_read("a.hea", *files, ("a_2.hea", part.replace(b"a_1 ", b"a_2 ", 1)))


def test_wfdb_files_are_read_as_they_are() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in WFDB.items():
            (Path(folder) / name).write_bytes(content)
        (record,) = read(folder)
    assert set(record.annotations) == {"atr", "qrs"}
    assert set(record.modalities) == {"ecg", "spo2"}


def test_an_event_with_two_notes() -> None:
    note = bytes([2, 63 << 2])  # its length, and the mark of a note
    events = bytes([10, 1 << 2]) + note + b"ab" + note + b"cd" + bytes([5, 1 << 2, 0, 0])
    with tempfile.TemporaryDirectory() as folder:
        for name, content in wfdb_files(atr=events):
            (Path(folder) / name).write_bytes(content)
        with pytest.raises(ReadError, match=r"one note; annotations 'a.atr' have 2 events and 3"):
            read(folder)[0]


@pytest.mark.parametrize("name", ["x" * 300, "\x82" * 125], ids=["letters", "bytes"])
def test_names_longer_than_a_file_can_have(tmp_path: Path, name: str) -> None:
    for file, content in wfdb_files():
        (tmp_path / file).write_bytes(content)
    (tmp_path / "a.hea").write_text(
        f"a 1 100 200\n{name} 16 200 16 0 0 0 0 ecg\n", encoding="utf-8"
    )
    with pytest.raises(ReadError, match="names a file by .* letters, .*more than a file's name"):
        read(tmp_path / "a.hea")
    (tmp_path / "a.hea").unlink()
    (tmp_path / "b.hea").write_bytes(WFDB["a.hea"])
    (tmp_path / "RECORDS").write_text(f"{name}\n", encoding="utf-8")
    with pytest.raises(ReadError, match="lists 1 records whose header is not there"):
        read(tmp_path)


@pytest.mark.parametrize("name", [".", ".."])
def test_names_that_are_folders(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.hea").write_text(f"a 1 100 200\n{name} 16 200 16 0 0 0 0 ecg\n")
    (tmp_path / "a.atr").write_bytes(WFDB["a.atr"])
    with pytest.raises(ReadError, match="may name files in its own folder only"):
        read(tmp_path / "a.hea")
