"""`Record.from_arrays` of what other libraries hold: named dims, masks, times of day."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from latentphys.recordings.errors import CohortError, ModalityError, RateError
from latentphys.recordings.record import Record

COUNT = 500
X = np.random.default_rng(0).standard_normal((2, COUNT))


def signal_of(samples: Any, rate: Any = 250.0, **more: Any) -> xr.DataArray:
    return Record.from_arrays({"eeg": (samples, rate)}, subject="a", **more).signals["eeg"]


@pytest.mark.parametrize(
    "samples",
    [
        xr.DataArray(X.T, {"channel": ["Fz", "Cz"]}, ("time", "channel")),
        xr.DataArray(X, {"channel": ["Fz", "Cz"]}, ("channel", "time")),
        xr.DataArray(X.T, {"lead": ["Fz", "Cz"]}, ("time", "lead")),
        pd.DataFrame({"Fz": X[0], "Cz": X[1]}),
    ],
)
def test_dims_and_channels_that_have_names_keep_them(samples: Any) -> None:
    signal = signal_of(samples)
    np.testing.assert_array_equal(signal.values, X)
    assert signal.channel.values.tolist() == ["Fz", "Cz"]
    given = signal_of(samples, channels={"eeg": ["a", "b"]})
    assert given.channel.values.tolist() == ["a", "b"]


def test_dims_without_channel_names_are_numbered() -> None:
    for samples in (xr.DataArray(X.T, dims=("time", "channel")), pd.DataFrame(X.T)):
        signal = signal_of(samples)
        np.testing.assert_array_equal(signal.values, X)
        assert signal.channel.values.tolist() == ["eeg_1", "eeg_2"]
    assert signal_of(pd.Series(X[0])).shape == (1, COUNT)


def test_inputs_may_be_tables_too() -> None:
    table = pd.DataFrame({"dose": X[0], "speed": X[1]})
    made = Record.from_arrays({"ecg": (X[0], 250.0)}, subject="a", inputs=(table, 250.0)).inputs
    assert made is not None
    np.testing.assert_array_equal(made.values, X.astype(made.dtype))
    assert made.input.values.tolist() == ["dose", "speed"]


def test_a_table_with_text_is_refused() -> None:
    table = pd.DataFrame({"Fz": X[0], "note": ["x"] * COUNT})
    with pytest.raises(ModalityError, match=r"takes real numbers .* got object .* array of floats"):
        signal_of(table)


def test_more_channels_than_samples_are_told() -> None:
    with pytest.warns(UserWarning, match=r"500 channels of 2 samples. Transpose .* samples.T"):
        signal_of(X.T)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        signal_of(np.zeros((256, 256)))  # a dense net for a second
        signal_of(np.zeros((12, 1)))  # a panel of laboratory values
        signal_of(np.zeros((64, 20)), channels={"eeg": [str(i) for i in range(64)]})


def test_what_is_masked_is_not_observed() -> None:
    mask = X > 1.0
    np.testing.assert_array_equal(
        signal_of(np.ma.array(X, mask=mask)).values, np.where(mask, np.nan, X)
    )
    counts = signal_of(np.ma.masked_equal([1, 2, 3], 2))
    assert counts.dtype == np.float32
    np.testing.assert_array_equal(counts.values, [[1.0, np.nan, 3.0]])


DATES = pd.date_range("2024-03-01 08:00", periods=COUNT, freq="4ms")


@pytest.mark.parametrize(
    "times",
    [DATES, DATES.tz_localize("UTC"), DATES.to_numpy(), DATES - DATES[0], list(DATES)],
)
def test_dates_are_no_times(times: Any) -> None:
    with pytest.raises(RateError, match=r"numbers, seconds from .* those of 'eeg' are .* Write"):
        signal_of(X, times)
    with pytest.raises(RateError, match="those of 'input' are"):
        Record.from_arrays({"ecg": (X, 250.0)}, subject="a", inputs=(X, times))


def test_the_remedy_for_dates_works() -> None:
    signal = signal_of(X, (DATES - DATES[0]) / np.timedelta64(1, "s"))
    assert signal.attrs["rate_hz"] == 250.0


def test_times_that_count_from_a_date_are_refused() -> None:
    times = 1.7e9 + np.sort(np.random.default_rng(0).uniform(0, 100, COUNT))
    with pytest.raises(RateError, match=r"record's start, .* 'eeg' is 170000000.* times\[0\]"):
        signal_of(X, times)
    with pytest.raises(RateError, match=r"'eeg' is 1700000000 s"):
        signal_of(X[:, :1], [1.7e9])
    late = signal_of(X[:, :1], [1.1e6])  # one value in the third week of a stay
    assert late.time.values.tolist() == [1.1e6]


@pytest.mark.parametrize("rate_hz", [125.0, 100 / 3, 1 / 3600, 1000.0])
def test_even_times_from_the_start_are_a_rate(rate_hz: float) -> None:
    times = np.arange(COUNT) / rate_hz
    record = Record.from_arrays({"eeg": (X, times)}, subject="a")
    assert record.rate_hz("eeg") == pytest.approx(rate_hz, rel=1e-12)
    assert record.duration_s == pytest.approx(COUNT / rate_hz)
    assert signal_of(X, times.round(5)).attrs["rate_hz"] == pytest.approx(rate_hz, rel=1e-5)


def moved(times: np.ndarray) -> np.ndarray:
    times = times.copy()
    times[COUNT // 2] += 0.02 / 125
    return times


@pytest.mark.parametrize(
    "change",
    [
        moved,
        lambda times: times + 0.5,  # it starts later
        lambda times: times + 0.001 * np.sin(times),
        lambda times: np.delete(np.append(times, times[-1] + 1 / 125), 100),  # one is missing
    ],
)
def test_times_that_are_not_even_stay(change: Callable[[np.ndarray], np.ndarray]) -> None:
    times = change(np.arange(COUNT) / 125)
    signal = signal_of(X, times)
    assert "rate_hz" not in signal.attrs
    np.testing.assert_array_equal(signal.time.values, times)


def test_a_few_even_values_are_no_rate() -> None:
    assert "rate_hz" not in signal_of([7.3, 7.4, 7.4], [0.0, 3600.0, 7200.0]).attrs


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"signals": X}, ModalityError, r'mapping by modality, got ndarray. Write signals=\{"ecg'),
        ({"units": "mV"}, ModalityError, r'units .* got str. Write units=\{"ecg": "mV"\}'),
        ({"channels": "II"}, ModalityError, r'channels .* got str. Write channels=\{"ecg'),
        ({"channels": {"ecg": "II"}}, ModalityError, r"'ecg' are a list .* got 'II'.*\[\"II\"\]"),
        ({"channels": {"ecg": 3}}, ModalityError, r"a list of names, got 3"),
        ({"subject": 3}, CohortError, "subject is a non-empty string, got 3. Write '3'"),
        ({"record": ""}, CohortError, "record is a non-empty string, got ''. Write 's01', say"),
        ({"signals": {"ecg": (X, None)}}, RateError, "positive number .* got None"),
        ({"signals": {"ecg": (X, "fast")}}, RateError, "positive number .* got 'fast'"),
    ],
)
def test_arguments_of_another_kind_are_refused(
    change: dict[str, Any], error: type[Exception], words: str
) -> None:
    given: dict[str, Any] = {"signals": {"ecg": (X[0], 250.0)}, "subject": "a", **change}
    with pytest.raises(error, match=words):
        Record.from_arrays(given.pop("signals"), **given)
