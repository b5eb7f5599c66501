"""Frozen encoders: features with a time of their own, absent where the signal is, made lazily."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from latentphys.recordings.cohort import Cohort
from latentphys.recordings.embeddings import Embedding
from latentphys.recordings.errors import ArgumentError, ModalityError, RateError
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.reading import read
from latentphys.recordings.record import Record

Array = NDArray[np.float64]


def projection(windows: Array, rate_hz: float) -> Array:
    """A random projection, the same at every call."""
    flat = windows.reshape(len(windows), -1)
    return flat @ np.random.default_rng(0).standard_normal((flat.shape[1], 3))


def record_of(ppg: Array, rate_hz: float = 50.0, name: str = "a") -> Record:
    return Record.from_arrays({"ppg": (ppg, rate_hz)}, subject=name)


def embedded(record: Record, **changes: object) -> Record:
    setting = {"window_s": 4.0, "hop_s": 2.0, "name": "features", **changes}
    return Cohort([record]).with_embedding("ppg", projection, **setting)[0]  # type: ignore[arg-type]


def test_features_are_of_their_windows_and_stand_in_their_middle() -> None:
    x = np.random.default_rng(1).standard_normal((2, 1000))
    features = embedded(record_of(x)).signals["features"]
    assert features.dims == ("channel", "time")
    assert features.channel.values.tolist() == ["features_1", "features_2", "features_3"]
    np.testing.assert_allclose(features.time, np.arange(2.0, 19.0, 2.0))
    for k in (0, 3, 8):
        by_hand = projection(x[None, :, 100 * k : 100 * k + 200], 50.0)[0]
        np.testing.assert_allclose(features.values[:, k], by_hand)
    assert features.attrs["embedding_of"] == "ppg"


def test_a_window_with_a_hole_is_absent_and_no_other_is() -> None:
    x = np.random.default_rng(1).standard_normal((2, 1000))
    whole = embedded(record_of(x)).signals["features"].values
    x[1, 450:460] = np.nan  # one channel, in the windows that begin at 6 and 8 s
    holed = embedded(record_of(x)).signals["features"].values
    gone = np.isnan(holed)
    assert gone.all(axis=0).tolist() == [k in (3, 4) for k in range(9)]
    np.testing.assert_allclose(holed[~gone], whole[~gone], rtol=1e-12, atol=1e-12)


def test_a_window_that_has_enough_is_interpolated_for_the_encoder() -> None:
    x = np.tile(np.arange(200.0), (2, 1))
    straight = embedded(record_of(x)).signals["features"].values
    x[0, 50:60] = np.nan
    np.testing.assert_allclose(
        embedded(record_of(x), observed=0.9).signals["features"].values, straight
    )
    assert "features" not in embedded(record_of(x), observed=0.96).signals


def test_an_encoder_that_fails_on_a_window_says_nothing_of_it() -> None:
    def broken(windows: Array, rate_hz: float) -> Array:
        rows = windows.mean(axis=2)
        rows[0, 0] = np.inf
        return rows

    x = np.random.default_rng(1).standard_normal((2, 1000))
    more = Cohort([record_of(x)]).with_embedding("ppg", broken, window_s=4.0)
    features = more[0].signals["ppg_features"].values
    assert np.isnan(features[:, 0]).all()
    assert np.isfinite(features[:, 1:]).all()


def test_a_record_without_the_signal_or_a_whole_window_is_left_as_it_is() -> None:
    other = Record.from_arrays({"ecg": (np.zeros(500), 50.0)}, subject="b")
    short, silent = record_of(np.zeros(150), name="c"), record_of(np.full(1000, np.nan), name="d")
    cohort = Cohort([record_of(np.zeros(1000)), other, short, silent])
    more = cohort.with_embedding("ppg", projection, window_s=4.0, name="features")
    assert [("features" in record.signals) for record in more] == [True, False, False, False]
    assert more["b"].modalities == ("ecg",)
    assert more.modalities == ("ecg", "features", "ppg")


def test_nothing_is_read_or_embedded_until_a_record_is_asked_for(tmp_path: Path) -> None:
    calls = []

    def counted(windows: Array, rate_hz: float) -> Array:
        calls.append(len(windows))
        return projection(windows, rate_hz)

    for name in ("a", "b"):
        record_of(np.random.default_rng(2).standard_normal(1000), name=name).write(
            tmp_path / f"{name}.nc"
        )
    cohort = read(tmp_path)
    more = cohort.with_embedding("ppg", counted, window_s=4.0, name="features")
    assert more.names == cohort.names
    assert calls == []
    assert "features" in more["b"].signals
    assert calls == [5]
    table = more.table().set_index(["record", "modality"])
    assert table.loc[("a", "features"), "channels"] == (
        "features_1",
        "features_2",
        "features_3",
    )


def test_the_same_twice_and_after_a_pickle() -> None:
    cohort = Cohort([record_of(np.random.default_rng(3).standard_normal(1000))])
    more = cohort.with_embedding("ppg", projection, window_s=4.0, name="features")
    again = pickle.loads(pickle.dumps(more))
    assert more[0].signals["features"].identical(again[0].signals["features"])
    assert isinstance(more.entries[0], LazyRecord)


def test_an_embedding_is_kept_on_disk(tmp_path: Path) -> None:
    record = embedded(record_of(np.random.default_rng(4).standard_normal(1000)))
    record.write(tmp_path / "r.nc")
    back = read(tmp_path / "r.nc")[0].signals["features"]
    assert back.attrs["embedding_of"] == "ppg"
    assert back.attrs["window_s"] == 4.0
    np.testing.assert_array_equal(back.values, record.signals["features"].values)


def test_what_cannot_be_embedded() -> None:
    cohort = Cohort([record_of(np.zeros(1000))])
    with pytest.raises(ModalityError, match="no record of this cohort has modality 'ecg'"):
        cohort.with_embedding("ecg", projection, window_s=4.0)
    with pytest.raises(ModalityError, match="have a modality 'ppg' already"):
        cohort.with_embedding("ppg", projection, window_s=4.0, name="ppg")
    with pytest.raises(ArgumentError, match="window_s is a finite number above 0, got 0"):
        cohort.with_embedding("ppg", projection, window_s=0)
    with pytest.raises(ArgumentError, match="observed is a share above 0 and up to 1, got 1.5"):
        cohort.with_embedding("ppg", projection, window_s=4.0, observed=1.5)
    with pytest.raises(ArgumentError, match="a name of its own, got '' beside 'ppg'"):
        Embedding("ppg", projection, "", 4.0, 4.0)
    with pytest.raises(RateError, match="a window of 0.001 s holds no sample of 'ppg' at 50 Hz"):
        cohort.with_embedding("ppg", projection, window_s=1e-3)[0]
    with pytest.raises(ArgumentError, match=r"turns 5 windows .* got shape \(5, 1, 200\)"):
        cohort.with_embedding("ppg", lambda windows, rate_hz: windows, window_s=4.0)[0]
    irregular = Record.from_arrays({"ppg": (np.zeros(3), [0.0, 1.0, 3.0])}, subject="a")
    with pytest.raises(RateError, match="a signal with a rate; .* are irregular"):
        Cohort([irregular]).with_embedding("ppg", projection, window_s=1.0)[0]
