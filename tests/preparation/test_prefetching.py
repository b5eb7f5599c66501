"""Batches ahead of time, sharded, in buckets and resumed: always the batches of the one stream."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from latentphys.preparation.augmentation import Augmentation
from latentphys.preparation.batch import Batch
from latentphys.preparation.loading import WindowLoader, in_order
from latentphys.preparation.prefetching import Batches
from latentphys.preparation.preprocessing import PreparedRecord, PreparedSignal, Scale
from latentphys.preparation.windows import tile
from latentphys.recordings.errors import FitError

CLOCK, STEPS, RATE = 12.5, 50, 125.0


def record(seconds: float, name: str) -> PreparedRecord:
    rng = np.random.default_rng(len(name))
    x = rng.standard_normal((2, int(seconds * RATE))).astype(np.float32)
    x[:, 20:30] = np.nan
    unit = Scale(np.zeros(2), np.ones(2))
    signal = PreparedSignal(x, None, RATE, ("a", "b"), "", unit)
    return PreparedRecord(name, name, {"ecg": signal}, None, float("nan"), seconds)


def loader(seconds: tuple[float, ...] = (20.0, 40.0), **changes: object) -> WindowLoader:
    records = [record(length, f"r{k}") for k, length in enumerate(seconds)]
    plain = {"batch_size": 6, "seed": 3, "augmentation": Augmentation(), **changes}
    return WindowLoader(records, ("ecg",), STEPS, CLOCK, **plain)  # type: ignore[arg-type]


def equal(a: Batch, b: Batch) -> bool:
    return (
        a.record == b.record
        and a.steps == b.steps
        and torch.equal(a.values["ecg"], b.values["ecg"])
        and torch.equal(a.mask["ecg"], b.mask["ecg"])
    )


@pytest.mark.parametrize("ahead", [0, 1, 2, 5])
def test_batches_made_ahead_are_the_same_bit_for_bit(ahead: int) -> None:
    own = loader()
    with Batches(own, ahead) as batches:
        made = list(islice(batches, 7))
    assert all(equal(one, own.batch(number)) for number, one in enumerate(made))


@pytest.mark.parametrize("ahead", [0, 3])
def test_a_stream_goes_on_where_its_state_was_taken(ahead: int) -> None:
    own = loader(start=2)
    with Batches(own, ahead) as batches:
        list(islice(batches, 3))
        if ahead:
            time.sleep(0.05)  # the thread is further by now
        state = json.loads(json.dumps(batches.state_dict()))
        following = list(islice(batches, 3))
    assert state["next"] == 5
    with Batches(loader(), ahead) as again:
        next(again)
        again.load_state_dict(state)
        assert again.state_dict() == state
        assert all(equal(a, b) for a, b in zip(again, following, strict=False))
        assert equal(following[0], own.batch(5))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"seed": 4}, r"seed \(3 there, 4 here\)"),
        ({"batch_size": 5}, "batch_size"),
        ({"augmentation": None}, "augmentation"),
        ({"bucketed": True}, "bucketed"),
        ({"seconds": (20.0, 41.0)}, "records"),
    ],
)
def test_a_state_of_another_stream_is_refused(changes: dict[str, object], word: str) -> None:
    state = Batches(loader()).state_dict()
    with pytest.raises(FitError, match=word):
        Batches(loader(**changes)).load_state_dict(state)  # type: ignore[arg-type]


@pytest.mark.parametrize("state", [{}, {"next": "3"}, {"next": -1}, {"loader": 5}])
def test_a_state_that_is_none_is_refused(state: dict[str, object]) -> None:
    if "next" in state:
        state["loader"] = loader().identity
    with pytest.raises(FitError, match="goes on from a state of its own"):
        Batches(loader()).load_state_dict(state)


def test_shards_are_the_whole_stream_without_overlap() -> None:
    own = loader()
    shards = [list(islice(own.shard(rank, 3), 4)) for rank in range(3)]
    for number in range(12):
        assert equal(shards[number % 3][number // 3], own.batch(number))
    for rank, world in ((3, 3), (-1, 2), (0, 0)):
        with pytest.raises(FitError, match="a rank is from 0 to world - 1"):
            own.shard(rank, world)


def test_a_run_may_go_on_with_another_number_of_processes() -> None:
    own = loader()
    states = []
    for rank in range(2):
        with Batches(own.shard(rank, 2)) as batches:
            list(islice(batches, 3))
            states.append(batches.state_dict())
    assert states[0] == states[1]
    with Batches(own) as alone:
        alone.load_state_dict(states[0])
        assert equal(next(alone), own.batch(6))


def test_windows_in_order_are_shared_out_without_overlap() -> None:
    records = [record(20.0, "a"), record(41.0, "b")]
    index = tile(records, 4.0, 3.0, CLOCK)
    whole = list(zip(index.record_index.tolist(), index.start_step.tolist(), strict=True))
    shares = [index.shard(rank, 3) for rank in range(3)]
    parts = [list(zip(s.record_index.tolist(), s.start_step.tolist(), strict=True)) for s in shares]
    assert sorted(pair for part in parts for pair in part) == sorted(whole)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert sum(len(b) for s in shares for b in in_order(records, s, ["ecg"], 4)) == len(whole)


def test_short_records_come_with_their_like_as_long_as_the_shortest() -> None:
    seconds = (8.0, 5.0, 3.9, 3.3, 3.0, 2.0, 1.9, 0.3)
    own = loader(seconds, bucketed=True, augmentation=None, batch_size=16)
    drawn = dict.fromkeys((f"r{k}" for k in range(len(seconds))), 0)
    lengths = set()
    for batch in islice(own, 400):
        lengths.add(batch.steps)
        for row, name in enumerate(batch.record):
            drawn[name] += 1
            length = seconds[int(name[1:])]
            own_steps = min(STEPS, int(np.ceil(round(length * CLOCK, 6))))
            if length > 0.3:
                assert batch.steps <= own_steps < 1.25 * batch.steps
            last_seen = batch.mask["ecg"][row].any(-1).any(-1).nonzero().max()
            assert int(last_seen) == min(own_steps, batch.steps) - 1
    assert max(lengths) == STEPS
    assert len(lengths) > 2
    assert min(lengths) == STEPS // 8
    share = np.array(list(drawn.values())) / (400 * 16)
    steps = np.array([np.ceil(round(s * CLOCK, 6)) for s in seconds])
    np.testing.assert_allclose(share, steps / steps.sum(), atol=0.05)


def test_buckets_change_nothing_where_all_records_are_long() -> None:
    plain, bucketed = loader(), loader(bucketed=True)
    assert all(equal(plain.batch(n), bucketed.batch(n)) for n in range(4))


@pytest.mark.parametrize("ahead", [0, 2])
def test_an_error_in_making_a_batch_reaches_who_asks_for_it(ahead: int) -> None:
    broken = replace(loader(), modalities=("ecg",), augmentation=Broken())
    with Batches(broken, ahead) as batches, pytest.raises(ZeroDivisionError):
        next(batches)


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_who_asks_again_after_an_error_has_the_batch_tried_again(
    ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes: list[object] = []

    def ask(batches: Batches) -> None:
        try:
            outcomes.append(next(batches))
        except ZeroDivisionError as error:
            outcomes.append(error)

    with Batches(replace(loader(), augmentation=Flaky()), ahead) as batches:
        for broken in (True, True, False):
            monkeypatch.setattr(Flaky, "broken", broken)
            asking = threading.Thread(target=ask, args=(batches,), daemon=True)
            asking.start()
            asking.join(30.0)
            assert not asking.is_alive(), "it waits for a thread that has ended"
    assert [type(outcome) for outcome in outcomes[:2]] == [ZeroDivisionError] * 2
    assert isinstance(outcomes[2], Batch)
    assert equal(outcomes[2], replace(loader(), augmentation=Augmentation()).batch(0))


class Flaky(Augmentation):
    """Fails while it is broken."""

    broken = False

    def __call__(self, *arguments: Any) -> PreparedRecord:
        if self.broken:
            raise ZeroDivisionError
        return super().__call__(*arguments)


class Broken(Augmentation):
    """Fails at its first window."""

    def __call__(self, *arguments: object) -> PreparedRecord:
        raise ZeroDivisionError


def test_the_thread_ends_with_the_block() -> None:
    def alive() -> int:
        return sum(thread.name == "latentphys-batches" for thread in threading.enumerate())

    before = alive()
    with Batches(loader(), 3) as batches:
        next(batches)
        assert alive() == before + 1
    assert alive() == before
    assert next(batches).record, "a closed stream goes on when it is asked"
    batches.close()
    assert alive() == before
