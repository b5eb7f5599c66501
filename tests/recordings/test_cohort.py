"""A cohort: listing, choosing, splitting by subject, refusing leaks."""

import pickle
from functools import partial

import numpy as np
import pytest

from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import CohortError, ModalityError, SplitError, UnitError
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.leaks import check_disjoint
from latentphys.recordings.record import Record


def make(subject: str, record: str | None = None, *, seconds: int = 60, seed: int = 0) -> Record:
    # A string's hash differs from run to run; its bytes do not.
    rng = np.random.default_rng([seed, *f"{subject}/{record}".encode()])
    ecg = rng.standard_normal(seconds * 50)
    signals = {"ecg": (ecg, 50.0), "spo2": (np.full(seconds, 97.0), 1.0)}
    return Record.from_arrays(signals, subject=subject, record=record)


def cohort(count: int = 10, each: int = 2) -> Cohort:
    return Cohort([make(f"s{i:02d}", f"r{i:02d}{j}") for i in range(count) for j in range(each)])


def test_names_subjects_and_indexing() -> None:
    all_ = cohort(3)
    assert len(all_) == 6
    assert all_.subjects == ("s00", "s01", "s02")
    assert all_.names[:2] == ("r000", "r001")
    assert all_[0].record == all_["r000"].record == "r000"
    assert all_[-1].record == "r021"
    assert all_[1:3].names == ("r001", "r010")
    assert [record.record for record in all_] == list(all_.names)
    with pytest.raises(IndexError):
        all_[6]
    with pytest.raises(
        CohortError, match="no record 'r00' in this cohort; it has r000, .* Did you mean"
    ):
        all_["r00"]


def test_an_empty_cohort_is_refused() -> None:
    with pytest.raises(CohortError, match="at least one record, got none"):
        Cohort([])
    with pytest.raises(CohortError, match="holds records, got str"):
        Cohort(["bidmc"])  # type: ignore[list-item]
    with pytest.raises(CohortError, match=r"got one Record. Put it in a list: Cohort\(\[record"):
        Cohort(make("a"))  # type: ignore[arg-type]


def test_two_records_of_one_name_are_refused() -> None:
    with pytest.raises(CohortError, match="more than once: a.*prefixed"):
        Cohort([make("s1", "a"), make("s2", "a")])
    with pytest.raises(CohortError, match="more than once"):
        cohort(2) + cohort(1)


def test_adding_and_prefixing() -> None:
    both = cohort(1) + cohort(1).prefixed("b_") + make("new")
    assert both.names == ("r000", "r001", "b_r000", "b_r001", "new")
    assert both.subjects == ("b_s00", "new", "s00")
    assert both["b_r000"].subject == "b_s00"


def test_drop_keep_and_their_errors() -> None:
    some = Cohort([make("a"), make("b").drop("spo2"), make("c").drop("ecg")])
    assert some.modalities == ("ecg", "spo2")
    without = some.drop("spo2")
    assert without.names == ("a", "b")
    assert all(record.modalities == ("ecg",) for record in without)
    assert without.modalities == some.keep("ecg").modalities == ("ecg",)
    for change in (some.drop, some.keep, lambda name: some.select(modality=name)):
        with pytest.raises(ModalityError, match="modality 'egc'; they have ecg, spo2. Did you"):
            change("egc")
    with pytest.raises(CohortError, match="no modality is left"):
        some.drop("ecg", "spo2")


def test_names_of_another_kind_are_refused() -> None:
    some, record = cohort(2), make("a")
    for change in (some.keep, some.drop, record.keep, record.drop):
        with pytest.raises(ModalityError, match=r"\['ecg'\].* not of type list; .* one by one"):
            change(["ecg"])  # type: ignore[arg-type]
    with pytest.raises(CohortError, match="no subject 3 in .* it has s00, s01. A name is a string"):
        some.select(subject=3)  # type: ignore[arg-type]
    with pytest.raises(ModalityError, match="modality 3; they have .* A name is a string"):
        some.select(modality=3)  # type: ignore[arg-type]
    with pytest.raises(CohortError, match="min_minutes is a finite number from 0 up, got '2'"):
        some.select(min_minutes="2")  # type: ignore[arg-type]
    for wrong in (3, [3]):
        with pytest.raises(ModalityError, match="no channel 3; it has ecg. A name is a string"):
            record.select(ecg=wrong)  # type: ignore[arg-type]


def test_two_spellings_of_a_sensor_are_told() -> None:
    capitals = Record.from_arrays({"ECG": (np.zeros(9), 1.0)}, subject="b")
    with pytest.warns(UserWarning, match="one name; ECG, ecg of this cohort .* Spell them alike"):
        Cohort([make("a"), capitals])


def test_select_chooses_records() -> None:
    some = Cohort([make("a"), make("b", seconds=120), make("c").drop("spo2")])
    assert some.select(modality=["ecg", "spo2"]).names == ("a", "b")
    assert some.select(subject=["b", "c"]).names == ("b", "c")
    assert some.select(min_minutes=2).names == ("b",)
    assert some.select(modality="spo2", subject="b")["b"].modalities == ("ecg", "spo2")
    with pytest.raises(CohortError, match="no subject 'd'"):
        some.select(subject="d")
    with pytest.raises(CohortError, match="no record is left.*the longest lasts 2.0 min"):
        some.select(min_minutes=3)


def test_split_is_by_subject_and_repeatable() -> None:
    all_ = cohort(10)
    train, test = all_.split(test=0.2, seed=0)
    assert len(test.subjects) == 2
    assert not set(train.subjects) & set(test.subjects)
    assert sorted(train.names + test.names) == sorted(all_.names)
    assert all_.split(test=0.2, seed=0)[1].names == test.names
    assert len({all_.split(seed=seed)[1].subjects for seed in range(5)}) > 1
    turned = Cohort(list(reversed(all_.entries)))
    assert turned.split(test=0.2, seed=0)[1].subjects == test.subjects


@pytest.mark.parametrize("test", [0.0, 1.0, -0.1, 5, "0.2"])
def test_shares_outside_are_refused(test: float) -> None:
    with pytest.raises(SplitError, match="between 0 and 1"):
        cohort(4).split(test=test)


def test_splits_that_cannot_be_are_refused() -> None:
    with pytest.raises(SplitError, match="at least two; this cohort has 1 \\(s00\\)"):
        cohort(1).split()
    with pytest.raises(SplitError, match="leaves one side without any"):
        cohort(2).split(test=0.9)
    for seed in (-1, 0.5, "1", None, 2**32):
        with pytest.raises(SplitError, match=f"seed is .*got {seed!r}. It says which split"):
            cohort(4).split(seed=seed)  # type: ignore[arg-type]


def test_leaks_are_named() -> None:
    one, two = make("a", "r1"), make("b", "r2")
    with pytest.raises(SplitError, match="share no subject; these have 1 on both sides: a"):
        check_disjoint(Cohort([one]), Cohort([make("a", "r3"), two]))
    with pytest.raises(SplitError, match="share no record; r2"):
        check_disjoint(Cohort([make("c", "r2")]), Cohort([two]))
    check_disjoint(Cohort([one]), Cohort([two]))


def test_a_copy_under_another_name_is_found() -> None:
    original = make("a", "r1")
    samples = original.signals["ecg"].values.astype(np.float64)
    samples = np.concatenate([samples, np.full((1, 50), np.nan)], axis=1)
    copy = Record.from_arrays({"heart": (samples, 25.0)}, subject="b", record="r2")
    with pytest.raises(SplitError, match=r"same ones are in 'r1' and 'r2' \(ecg/ecg\)"):
        check_disjoint(Cohort([original]), Cohort([copy]))
    check_disjoint(Cohort([original]), Cohort([copy]), samples=False)
    with pytest.raises(SplitError, match="share no samples"):
        Cohort([original, copy]).split(test=0.5)


def test_equal_coarse_numerics_are_no_copy() -> None:
    check_disjoint(Cohort([make("a")]), Cohort([make("b")]))  # both have SpO2 97 throughout


def test_units_agree_or_are_refused() -> None:
    def ecg(name: str, unit: str) -> Record:
        return Record.from_arrays({"ecg": (np.zeros(9), 1.0)}, subject=name, units={"ecg": unit})

    assert Cohort([ecg("a", "NU"), ecg("b", "mV"), ecg("c", "")]).units == {"ecg": "mV"}
    mixed = Cohort([ecg("a", "NU"), ecg("b", "mV"), ecg("c", "uV")])
    with pytest.raises(UnitError, match="ecg is mV in 'b' and uV in 'c'. Convert"):
        mixed.units  # noqa: B018


def test_nothing_is_read_before_it_is_asked_for() -> None:
    read: list[str] = []

    def load(name: str) -> Record:
        read.append(name)
        return make(name)

    lazy = Cohort([LazyRecord(n, n, ("ecg", "spo2"), 60.0, partial(load, n)) for n in "abc"])
    chosen = lazy.drop("spo2").select(subject=["b", "c"])
    assert chosen.names == ("b", "c")
    assert chosen.modalities == ("ecg",)
    assert "a       a        1.0      ecg, spo2" in repr(lazy)
    assert read == []
    assert chosen["b"].modalities == ("ecg",)
    chosen["b"]
    assert read == ["b"]


def test_few_records_are_held() -> None:
    all_ = cohort(20, 1)
    for _ in all_:
        pass
    assert len(all_._held) < 10


def test_pickled_and_shown() -> None:
    all_ = cohort(8)
    again = pickle.loads(pickle.dumps(all_.drop("spo2")))
    assert again.names == all_.names
    assert again[0].modalities == ("ecg",)
    assert repr(all_).splitlines()[0] == "Cohort of 16 records, 8 subjects, 16 min: ecg, spo2"
    assert "<td>r000</td>" in all_._repr_html_()
