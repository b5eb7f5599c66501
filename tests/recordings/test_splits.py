"""Splits: by subject, repeatable, stratified, saved; leaks by name, time and shared stretches."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latentphys.recordings import stretches
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import SplitError
from latentphys.recordings.leaks import check_disjoint, check_parts
from latentphys.recordings.reading import read
from latentphys.recordings.record import Record
from latentphys.recordings.regridding import on_grid
from latentphys.recordings.splits import Split, k_fold, leave_one_study_out, train_valid_test


def noise(name: str, count: int) -> np.ndarray:
    return np.random.default_rng([*name.encode()]).standard_normal(count)


def make(subject: str, record: str = "", *, seconds: int = 40, study: str = "") -> Record:
    x = noise(subject + record, 50 * seconds)
    record = record or f"r_{subject}"
    made = Record.from_arrays({"ecg": (x, 50.0)}, subject=subject, record=record, study=study)
    return replace(made, attrs={"sex": "F" if subject.endswith("f") else "M"})


def cohort(count: int = 12, each: int = 2) -> Cohort:
    kinds = ["f" if i % 3 == 0 else "m" for i in range(count)]
    names = [f"s{i:02d}{kind}" for i, kind in enumerate(kinds)]
    return Cohort([make(name, f"{name}{j}") for name in names for j in range(each)])


def sides(split: Split) -> dict[str, set[str]]:
    return {name: set(side.subjects) for name, side in split.parts.items()}


def test_three_sides_are_by_subject_and_repeatable() -> None:
    all_ = cohort()
    split = train_valid_test(all_, valid=0.25, test=0.25, seed=3)
    found = sides(split)
    assert [len(found[name]) for name in ("train", "valid", "test")] == [6, 3, 3]
    assert sorted(set().union(*found.values())) == sorted(all_.subjects)
    assert sum(len(side) for side in split.parts.values()) == len(all_)
    turned = Cohort(list(reversed(all_.entries)))
    assert sides(train_valid_test(turned, valid=0.25, test=0.25, seed=3)) == found
    assert sides(train_valid_test(all_, valid=0.25, test=0.25, seed=4)) != found


def test_no_validation_side_is_none() -> None:
    split = train_valid_test(cohort(4), valid=0.0, test=0.25)
    assert split.valid is None
    assert list(split.parts) == ["train", "test"]


def test_classes_are_shared_out_evenly() -> None:
    for seed in range(4):
        split = train_valid_test(cohort(), valid=0.25, test=0.25, seed=seed, stratify="sex")
        for name, share in (("train", 2), ("valid", 1), ("test", 1)):
            women = [s for s in split.parts[name].subjects if s.endswith("f")]
            assert len(women) == share, name
    for split in k_fold(cohort(), 4, stratify=lambda record: record.attrs["sex"]):
        assert sum(s.endswith("f") for s in split.test.subjects) == 1
    by_name = {name: name[-1] for name in cohort().subjects}
    assert len(k_fold(cohort(), 4, stratify=by_name)) == 4


def test_every_subject_is_tested_once() -> None:
    all_ = cohort()
    splits = k_fold(all_, 5, seed=1)
    tested = Counter(name for split in splits for name in split.test.subjects)
    assert tested == Counter(all_.subjects)
    for split in splits:
        assert not set(split.train.subjects) & set(split.test.subjects)
        assert len(split.train) + len(split.test) == len(all_)
    again = k_fold(Cohort(list(reversed(all_.entries))), 5, seed=1)
    assert [split.digest for split in again] == [split.digest for split in splits]
    assert len({split.digest for split in splits}) == 5


def test_a_study_is_left_out_whole() -> None:
    both = Cohort([make("a", study="x"), make("b", study="y"), make("c", study="y")])
    splits = leave_one_study_out(both)
    assert [split.test.studies for split in splits] == [("x",), ("y",)]
    assert splits[1].train.subjects == ("a",)
    torn = both + make("a", "again", study="y")
    with pytest.raises(SplitError, match="share no subject; these have 1 on both sides: a"):
        leave_one_study_out(torn)
    with pytest.raises(SplitError, match="needs at least two; this cohort has x"):
        leave_one_study_out(Cohort([make("a", study="x")]))


def test_splits_that_cannot_be_are_refused() -> None:
    with pytest.raises(SplitError, match="leave some to train on, got valid=0.5 and test=0.5"):
        train_valid_test(cohort(4), valid=0.5, test=0.5)
    with pytest.raises(SplitError, match="valid=0.05 of 4 subjects is none"):
        train_valid_test(cohort(4), valid=0.05, test=0.25)
    with pytest.raises(SplitError, match="seed is a whole number from 0 up, got -1"):
        train_valid_test(cohort(4), seed=-1)
    with pytest.raises(SplitError, match="seed is a whole number from 0 up, got -1"):
        k_fold(cohort(4), 2, seed=-1)
    with pytest.raises(SplitError, match="folds is from 2 to the number of subjects, 4; got 5"):
        k_fold(cohort(4), 5)
    with pytest.raises(SplitError, match="too few have 'F' \\(2\\)"):
        k_fold(cohort(4), 3, stratify="sex")
    with pytest.raises(SplitError, match="'s00f0' has no 'ward', it has sex"):
        k_fold(cohort(4), 2, stratify="ward")
    with pytest.raises(SplitError, match="one class to stratify by; more have s00f"):
        k_fold(cohort(4), 2, stratify=lambda record: record.record)
    with pytest.raises(SplitError, match="'s01m' has none"):
        k_fold(cohort(4), 2, stratify={"s00f": 1})


def test_a_saved_split_comes_back_and_is_readable(tmp_path: Path) -> None:
    all_ = cohort()
    split = train_valid_test(all_, valid=0.25, test=0.25, stratify="sex")
    split.save(tmp_path / "split.json")
    again = Split.load(tmp_path / "split.json", Cohort(list(reversed(all_.entries))))
    assert sides(again) == sides(split)
    assert again.digest == split.digest
    assert again.made_by == split.made_by
    plain = json.loads((tmp_path / "split.json").read_text())
    assert plain["made_by"]["stratify"] == "sex"
    subject = split.test.subjects[0]
    assert plain["test"][subject] == [f"{subject}0", f"{subject}1"]
    assert (tmp_path / "split.json").stat().st_size < 3000
    assert [path.name for path in tmp_path.iterdir()] == ["split.json"]


def test_a_split_of_another_cohort_is_refused(tmp_path: Path) -> None:
    all_, path = cohort(6), tmp_path / "split.json"
    train_valid_test(all_, test=0.3).save(path)
    with pytest.raises(SplitError, match="records that the cohort lacks: .*s00f1"):
        Split.load(path, Cohort([e for e in all_.entries if e.record != "s00f1"]))
    with pytest.raises(SplitError, match="not these records of the cohort: r_new"):
        Split.load(path, all_ + make("new"))
    moved = [replace(e, subject="x") if e.record == "s00f1" else e for e in all_.entries]
    with pytest.raises(SplitError, match="records of another subject: s00f1 \\(of s00f, here x\\)"):
        Split.load(path, Cohort(moved))


def test_altered_and_foreign_files_are_refused(tmp_path: Path) -> None:
    all_, path = cohort(6), tmp_path / "split.json"
    train_valid_test(all_, test=0.3).save(path)
    plain = json.loads(path.read_text())
    for change, words in (
        ({"digest": "0" * 12}, "says its digest is '000000000000'.*altered"),
        ({"latentphys_split": 2}, "version 2, this release reads version 1"),
        ({"train": {}}, "no train or no test side"),
        ({"train": ["a"]}, "lists subjects and their records"),
    ):
        path.write_text(json.dumps({**plain, **change}))
        with pytest.raises(SplitError, match=words):
            Split.load(path, all_)
    both = {**plain, "train": {**plain["train"], **plain["test"]}}
    path.write_text(json.dumps(both))
    with pytest.raises(SplitError, match="share no subject"):
        Split.load(path, all_)
    path.write_text("no json")
    with pytest.raises(SplitError, match="no split that can be read"):
        Split.load(path, all_)
    with pytest.raises(SplitError, match="no split that can be read"):
        Split.load(tmp_path / "none.json", all_)


def test_sides_carry_the_digest() -> None:
    all_ = cohort(4)
    split = train_valid_test(all_, valid=0.0, test=0.25)
    assert split.train.split_digest == split.test.split_digest == split.digest
    assert len(split.digest) == 12
    train, test = all_.split(test=0.25)
    assert train.split_digest == test.split_digest != ""
    assert all_.split_digest == train[:1].split_digest == ""
    assert Split(train, test).digest == train.split_digest


def test_a_split_by_hand_is_checked_by_name_and_by_samples_when_asked() -> None:
    a, b = make("a"), make("b")
    with pytest.raises(SplitError, match="train and valid share no subject"):
        Split(Cohort([a]), Cohort([b]), Cohort([make("a", "other")]))
    split = Split(Cohort([a]), Cohort([replace(a, subject="x", record="copy")]))
    with pytest.raises(SplitError, match="share no samples; the same ones are in 'r_a' and 'copy'"):
        split.check()


def started(record: Record, start: str) -> Record:
    return replace(record, attrs={"start": start})


def test_one_start_under_two_names_is_found() -> None:
    begins = ["2020-01-01T22:00:03", "2020-02-03T21:10:05", "2020-03-05T23:00:00"]
    night, other, third = (
        started(make(name, study="x"), begin) for name, begin in zip("abc", begins, strict=True)
    )
    again = started(make("pseudonym", study="x"), "2020-01-01T22:00:03.5")
    with pytest.raises(SplitError, match=r"share no time.*'r_a' and 'r_pseudonym' \(2020-01-01T2"):
        check_disjoint(Cohort([night, third]), Cohort([other, again]))
    check_disjoint(Cohort([night]), Cohort([other, third]))
    elsewhere = replace(again, study="y")
    check_disjoint(Cohort([night, third]), Cohort([other, elsewhere]))


def test_starts_that_say_nothing_are_not_used() -> None:
    def side(names: str, start: str) -> list[Record]:
        return [started(make(name, study="x"), start) for name in names]

    # Dates all alike: a placeholder, by which only the time of day is left, which coincides.
    shifted = [
        *side("a", "1985-01-01T22:00:00"),
        *side("c", "1985-01-01T23:10:00"),
        *side("d", "1985-01-01T21:10:00"),
    ]
    check_disjoint(Cohort(shifted), Cohort(side("b", "1985-01-01T22:00:00")))
    far = side("e", "2019-01-01T21:10:00")
    for midnight_or_many in (
        (side("a", "2020-01-01T00:00:00"), side("b", "2020-01-01T00:00:00")),
        (side("ac", "2020-01-01T10:00:00") + far, side("bd", "2020-01-01T10:00:00") + []),
        (side("a", "not known"), side("b", "not known")),
    ):
        check_disjoint(*(Cohort(each) for each in midnight_or_many))


@pytest.mark.parametrize(
    ("gain", "offset", "rate", "dtype"),
    [
        (1.0, 0.0, 50.0, np.float64),
        (-2.5, 10.0, 50.0, np.float32),
        (1.0, 0.0, 125.0, np.float64),
    ],
)
def test_a_cropped_copy_is_found_whatever_its_name_gain_and_rate(
    gain: float, offset: float, rate: float, dtype: type
) -> None:
    whole = make("a", seconds=60)
    part = (gain * whole.signals["ecg"].values[0, 1001:1500] + offset).astype(dtype)
    around = noise("own", 700)
    x = np.concatenate([around[:333], part, around[333:]])
    copy = Record.from_arrays({"heart": (x, rate)}, subject="b", record="copy")
    with pytest.raises(SplitError, match="share no samples") as caught:
        check_disjoint(Cohort([whole, make("c")]), Cohort([make("d"), copy]))
    told = str(caught.value)
    assert "'r_a' and 'copy'" in told
    assert "10.0 s of ecg/ecg, at 20.0 s of one" in told
    assert "r_c" not in told


def test_a_copy_stored_in_steps_and_with_holes_is_found() -> None:
    # Samples as a converter gives them, then kept by another format in finer steps.
    x = np.round(np.cumsum(noise("walk", 6000)) * 20)
    whole = Record.from_arrays({"ecg": (x, 50.0)}, subject="a")
    part = np.round(x[2000:5000] * 37.3 + 11) / 37.3
    part[::500] = np.nan
    copy = Record.from_arrays({"ecg": (part, 50.0)}, subject="b")
    with pytest.raises(SplitError, match=r"'a' and 'b' \(\d+.\d s of ecg/ecg"):
        check_disjoint(Cohort([whole]), Cohort([copy]))


def test_people_alike_are_not_confused() -> None:
    time = np.arange(6000) / 50.0

    def wave(name: str, hertz: float) -> Record:
        x = np.sin(2 * np.pi * hertz * time) + 0.3 * np.sin(4 * np.pi * hertz * time)
        x = x + 0.02 * noise(name, len(x))
        trend = np.round(80 + 2 * np.cumsum(noise(name, 120)) / 10)
        ramp = np.arange(6000.0)
        signals = {"ppg": (x, 50.0), "hr": (trend, 1.0), "clock": (ramp % 997, 50.0)}
        return Record.from_arrays(signals, subject=name).keep("ppg", "hr")

    sides = [Cohort([wave(name, 1.2) for name in names]) for names in ("abc", "def")]
    check_disjoint(*sides)


def test_a_short_stretch_passes_and_a_sawtooth_says_nothing() -> None:
    a, b = make("a"), make("b")
    x = b.signals["ecg"].values[0].copy()
    x[100:120] = a.signals["ecg"].values[0, 500:520]
    check_disjoint(Cohort([a]), Cohort([Record.from_arrays({"ecg": (x, 50.0)}, subject="b")]))
    saw = np.tile(np.arange(50.0), 20)
    one = Record.from_arrays({"marker": (saw, 50.0)}, subject="c")
    other = Record.from_arrays({"marker": (saw[25:], 50.0)}, subject="d")
    check_disjoint(Cohort([one]), Cohort([other]))


def test_steps_of_a_coarsely_stored_signal_that_ring_alike_are_not_a_copy() -> None:
    """A few stored steps, resampled, ring for hundreds of samples with turns that tell nothing."""

    lengths = np.random.default_rng(9).integers(5, 40, size=30)
    alike = np.arange(30.0).repeat(lengths)

    def stored(name: str) -> Record:
        own = np.round(3.0 * np.cumsum(noise(name, 120))).repeat(25)
        own[1000 : 1000 + len(alike)] = alike
        x = on_grid(own, np.arange(3000) / 500.0, 500.0, 200.0, 1200)
        return Record.from_arrays({"ecg": (x, 200.0)}, subject=name)

    one, other = stored("a"), stored("b")
    signals = [record.signals["ecg"] for record in (one, other)]
    found = [set(stretches.fingerprints(x.values[0])[0].tolist()) for x in signals]
    assert found[0] & found[1]
    check_disjoint(Cohort([one]), Cohort([other]))


def test_all_pairs_of_sides_are_compared() -> None:
    a = make("a", seconds=60)
    cut = replace(a.crop(20.0, 40.0), subject="b", record="cut")
    parts = {"train": Cohort([make("x")]), "valid": Cohort([a]), "test": Cohort([cut])}
    with pytest.raises(SplitError, match="valid and test share no samples.*20.0 s of ecg/ecg"):
        check_parts(parts)
    with pytest.raises(SplitError, match="share no samples"):
        k_fold(Cohort([make("x"), a, cut]), 3)


def test_a_cut_of_a_long_recording_is_found() -> None:
    # So long that only the least fingerprints are kept: half an hour of 256 Hz.
    x = noise("night", 30 * 60 * 256)
    whole = Record.from_arrays({"eeg": (x, 256.0)}, subject="a")
    cut = Record.from_arrays({"eeg": (x[200_000 : 200_000 + 60 * 256], 256.0)}, subject="b")
    with pytest.raises(SplitError, match="60.0 s of eeg/eeg, at 781.2 s of one and 0.0 s"):
        check_disjoint(Cohort([whole]), Cohort([cut]))


def test_real_people_are_not_confused_and_a_cut_is_found(data_root: Path) -> None:
    some = read(data_root / "bidmc")[:8]
    splits = k_fold(some, 3)
    assert sum(len(split.test) for split in splits) == len(some)
    cut = replace(some[0].keep("ppg").crop(100.0, 160.0), subject="x", record="cut")
    with pytest.raises(SplitError, match=r"60.0 s of ppg/PLETH, at 100.0 s of one and 0.0 s"):
        check_disjoint(some, Cohort([cut]))


@pytest.mark.parametrize("count", [5, 24, 25, 300])
def test_the_least_of_every_window_is_kept_and_no_other(count: int) -> None:
    rng = np.random.default_rng(count)
    hashes = rng.integers(0, 2**63, count).astype(np.uint64)
    usable = rng.random(count) > 0.2
    order = np.where(usable, hashes, np.iinfo(np.uint64).max)
    starts = range(max(1, count - stretches.WINDOW + 1))
    kept = {i + int(order[i : i + stretches.WINDOW].argmin()) for i in starts}
    assert set(stretches._winnowed(hashes, usable).tolist()) == {i for i in kept if usable[i]}


def test_blocks_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    x = noise("seam", 20_000)
    x[7000:7010] = np.nan
    whole = stretches.fingerprints(x)
    monkeypatch.setattr(stretches, "_BLOCK", 100)
    for one, other in zip(whole, stretches.fingerprints(x), strict=True):
        np.testing.assert_array_equal(one, other)
