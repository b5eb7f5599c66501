"""Prepared records in files: the same values as in memory, and never more mapped than allowed."""

from __future__ import annotations

import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from latentphys.api import fit
from latentphys.learning.specification import sensors_of
from latentphys.preparation.augmentation import Augmentation
from latentphys.preparation.loading import WindowLoader
from latentphys.preparation.mapped import MappedRecords, memory_budget, prepared, size_bytes
from latentphys.preparation.preprocessing import PreparedRecord, default_preprocessing
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import FitError
from latentphys.recordings.record import Record
from latentphys.recordings.simulation import simulate


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    """Four simulated records and one with irregular times alone."""
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.5, 3.0, 40))
    lab = Record.from_arrays({"lab": (rng.standard_normal((2, 40)), times)}, subject="lab")
    lab.signals["lab"].values[0, 3:9] = np.nan
    return Cohort([*simulate(4, 0.4, seed=2), lab])


@pytest.fixture
def held(cohort: Cohort) -> list[PreparedRecord]:
    return [default_preprocessing().prepare(record) for record in cohort]


def mapped(held: list[PreparedRecord], folder: Path, budget_bytes: int) -> MappedRecords:
    records = MappedRecords(folder, budget_bytes)
    for record in held:
        records.append(record)
    return records


def test_mapped_records_are_the_records(held: list[PreparedRecord], tmp_path: Path) -> None:
    records = mapped(held, tmp_path, 10**9)
    assert len(records) == len(held)
    for one, two in zip(held, records, strict=True):
        assert (one.record, one.subject, one.duration_s) == (
            two.record,
            two.subject,
            two.duration_s,
        )
        assert list(one.signals) == list(two.signals)
        for name, signal in one.signals.items():
            other = two.signals[name]
            np.testing.assert_array_equal(signal.values, other.values, strict=True)
            assert (signal.time_s is None) == (other.time_s is None)
            if signal.time_s is not None:
                np.testing.assert_array_equal(signal.time_s, other.time_s, strict=True)
            assert (signal.channels, signal.units) == (other.channels, other.units)
            assert not other.values.flags.writeable
        assert (one.inputs is None) == (two.inputs is None)
        if one.inputs is not None:
            np.testing.assert_array_equal(one.inputs, two.inputs, strict=True)
    assert records[-1].record == held[-1].record
    assert [r.record for r in records[1:3]] == [r.record for r in held[1:3]]
    with pytest.raises(IndexError):
        records[len(held)]
    assert sensors_of(records, 12.5) == sensors_of(held, 12.5)


def test_no_more_is_mapped_than_allowed(held: list[PreparedRecord], tmp_path: Path) -> None:
    budget = 2 * max(size_bytes(record) for record in held) + 1000
    records = mapped(held, tmp_path, budget)
    # A plain array cannot be referenced weakly; the record that holds it goes with it.
    alive = []
    rng = np.random.default_rng(0)
    for number in rng.integers(0, len(held), 200):
        alive.append(weakref.ref(records[int(number)]))
        living = {id(r()): r() for r in alive if r() is not None}
        assert sum(size_bytes(record) for record in living.values() if record) <= budget
        del living
    assert records[1] is records[1], "a mapped record was mapped again"


def test_one_record_is_mapped_even_if_it_exceeds_the_budget(
    held: list[PreparedRecord], tmp_path: Path
) -> None:
    records = mapped(held, tmp_path, 1)
    assert [record.record for record in records] == [record.record for record in held]


def test_threads_may_ask_at_once(held: list[PreparedRecord], tmp_path: Path) -> None:
    records = mapped(held, tmp_path, max(size_bytes(record) for record in held))
    wrong: list[object] = []

    def look(seed: int) -> None:
        for k in np.random.default_rng(seed).integers(0, len(held), 300):
            found = records[int(k)]
            name = next(iter(found.signals))
            if found.signals[name].values[0, -1] != held[k].signals[name].values[0, -1]:
                wrong.append(k)

    threads = [threading.Thread(target=look, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_small_cohort_stays_in_memory_and_a_large_one_does_not(cohort: Cohort) -> None:
    plan = default_preprocessing()
    with prepared(cohort.entries, plan, 10**9) as records:
        assert isinstance(records, list)
        total = sum(size_bytes(record) for record in records)
    for budget in (1, total // 2, total - 1):
        with prepared(cohort.entries, plan, budget) as records:
            assert isinstance(records, MappedRecords)
            assert records.budget_bytes == budget
            assert [record.record for record in records] == list(cohort.names)
            folder = records.folder
            assert folder.is_dir()
        assert not folder.exists()


def test_batches_are_the_same_from_files(held: list[PreparedRecord], tmp_path: Path) -> None:
    names = ("ecg", "lab", "ppg", "resp", "spo2")
    records = mapped(held, tmp_path, 1)
    for variation in (None, Augmentation()):
        loaders = [
            WindowLoader(each, names, 50, 12.5, 6, seed=1, augmentation=variation)
            for each in (held, records)
        ]
        for number in range(4):
            one, two = (loader.batch(number) for loader in loaders)
            assert one.modalities == two.modalities
            for name in one.modalities:
                assert torch.equal(one.values[name], two.values[name])
                assert torch.equal(one.mask[name], two.mask[name])


def test_a_fit_from_files_is_the_fit_from_memory(
    tiny_cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    def weights() -> dict[str, torch.Tensor]:
        made = fit(tiny_cohort, steps=3, latent_dim=4, window_s=8.0, progress=False)
        return made.model.state_dict()

    memory = weights()
    monkeypatch.setenv("LATENTPHYS_MEMORY_GB", "0.0001")
    files = weights()
    assert all(torch.equal(memory[name], files[name]) for name in memory)


def test_the_budget_follows_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.delenv("LATENTPHYS_MEMORY_GB", raising=False)
    free = memory_budget()
    assert free > 10**7
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (8 * 10**6, 10**9))
    assert memory_budget() == 2 * 10**6
    monkeypatch.setenv("LATENTPHYS_MEMORY_GB", "1.5")
    assert memory_budget() == 1_500_000_000
    monkeypatch.setenv("LATENTPHYS_MEMORY_GB", "much")
    with pytest.raises(FitError, match=r"MEMORY_GB is a number of gigabytes, got 'much'"):
        memory_budget()
