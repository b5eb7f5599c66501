"""A record: what it holds, what it refuses, how it is cut."""

import math
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from latentphys.recordings.errors import CohortError, LatentphysError, ModalityError, RateError
from latentphys.recordings.record import Record, signal_array


def make(**more: object) -> Record:
    rng = np.random.default_rng(0)
    ecg = rng.standard_normal((2, 2500)).astype(np.float32)
    ecg[0, 100:200] = np.nan
    return Record.from_arrays(
        {"ecg": (ecg, 250.0), "spo2": (np.arange(90, 100), 1.0)},
        subject="s01",
        units={"ecg": "mV", "spo2": "%"},
        channels={"ecg": ["II", "V"]},
        **more,  # type: ignore[arg-type]
    )


def test_from_arrays_keeps_rates_units_names_and_holes() -> None:
    record = make(record="r1", study="ours")
    ecg, spo2 = record.signals["ecg"], record.signals["spo2"]
    assert (record.subject, record.record, record.study) == ("s01", "r1", "ours")
    assert record.modalities == ("ecg", "spo2")
    assert ecg.dims == ("channel", "time")
    assert list(ecg.channel.values) == ["II", "V"]
    assert ecg.attrs == {"units": "mV", "rate_hz": 250.0}
    assert ecg.time.values[[0, 1, -1]] == pytest.approx([0.0, 0.004, 9.996])
    assert int(np.isnan(ecg.values).sum()) == 100
    assert list(spo2.channel.values) == ["spo2"]
    assert spo2.dtype == np.float32
    assert record.rate_hz("spo2") == 1.0
    assert record.duration_s == 10.0


def test_irregular_times_have_no_rate() -> None:
    record = Record.from_arrays({"lab": ([1.0, 2.0, 4.0], [0.0, 5.5, 60.0])}, subject="s")
    assert math.isnan(record.rate_hz("lab"))
    assert record.duration_s == 60.0
    assert record.signals["lab"].time.values.tolist() == [0.0, 5.5, 60.0]


def test_a_modality_may_be_all_missing() -> None:
    record = Record.from_arrays({"ppg": (np.full(125, np.nan), 125.0)}, subject="s")
    assert np.isnan(record.signals["ppg"].values).all()


@pytest.mark.parametrize("rate", [0, -1.0, math.nan, math.inf])
def test_impossible_rates_are_refused(rate: float) -> None:
    with pytest.raises(RateError, match=r"rate of 'ecg' is a positive number .* got .*times"):
        Record.from_arrays({"ecg": (np.zeros(10), rate)}, subject="s")


@pytest.mark.parametrize("times", [[0.0, 1.0], [0.0, 2.0, 1.0], [0.0, 1.0, 1.0], [0, math.nan, 2]])
def test_impossible_times_are_refused(times: list[float]) -> None:
    with pytest.raises(RateError, match="times"):
        Record.from_arrays({"lab": ([1.0, 2.0, 3.0], times)}, subject="s")


@pytest.mark.parametrize(
    "samples", [np.zeros(0), np.zeros((2, 3, 4)), np.zeros(4, complex), ["a", "b"]]
)
def test_samples_that_are_no_signal_are_refused(samples: object) -> None:
    with pytest.raises(ModalityError, match=r"'ecg' takes real numbers of shape"):
        Record.from_arrays({"ecg": (samples, 1.0)}, subject="s")  # type: ignore[dict-item]


def test_transposed_samples_are_told() -> None:
    with pytest.raises(ModalityError, match="has 500 channels .* but 2 names .* transpose"):
        Record.from_arrays(
            {"ecg": (np.zeros((500, 2)), 250.0)}, subject="s", channels={"ecg": ["I", "II"]}
        )


def test_channel_names_are_unique() -> None:
    with pytest.raises(ModalityError, match="two channels of one name: II, II"):
        Record.from_arrays(
            {"ecg": (np.zeros((2, 9)), 1.0)}, subject="s", channels={"ecg": ["II", "II"]}
        )


def test_units_of_an_unknown_modality_are_refused() -> None:
    with pytest.raises(ModalityError, match="no modality 'egc'; it has ecg. Did you mean 'ecg'"):
        Record.from_arrays({"ecg": (np.zeros(9), 1.0)}, subject="s", units={"egc": "mV"})


def test_samples_without_a_rate_are_refused() -> None:
    with pytest.raises(ModalityError, match="'ecg' takes a pair"):
        Record.from_arrays({"ecg": np.zeros(9)}, subject="s")  # type: ignore[dict-item]


def test_a_record_needs_signals_and_a_subject() -> None:
    with pytest.raises(ModalityError, match="has no signals"):
        Record.from_arrays({}, subject="s")
    with pytest.raises(CohortError, match="subject is a non-empty string"):
        Record.from_arrays({"ecg": (np.zeros(9), 1.0)}, subject="")


def test_signals_of_other_dims_are_refused() -> None:
    wrong = xr.DataArray(np.zeros((3, 2)), dims=("time", "channel"))
    with pytest.raises(ModalityError, match=r"dims \('channel', 'time'\), got"):
        Record({"ecg": wrong}, "s", "r")


def test_drop_and_keep() -> None:
    record = make()
    assert record.drop("ecg").modalities == ("spo2",)
    assert record.keep("ecg").modalities == ("ecg",)
    assert record.modalities == ("ecg", "spo2")
    assert record.drop("ecg").attrs == record.attrs
    for change in (record.drop, record.keep):
        with pytest.raises(ModalityError, match="no modality 'spo3'; it has ecg, spo2. Did you"):
            change("spo3")
    with pytest.raises(ModalityError, match="no signals"):
        record.drop("ecg", "spo2")


def test_select_takes_channels_in_the_order_asked() -> None:
    record = make()
    assert list(record.select(ecg=["V", "II"]).signals["ecg"].channel.values) == ["V", "II"]
    one = record.select(ecg="ii")
    assert list(one.signals["ecg"].channel.values) == ["II"]
    assert one.modalities == ("ecg", "spo2")
    np.testing.assert_array_equal(one.signals["ecg"].values[0], record.signals["ecg"].values[0])
    with pytest.raises(ModalityError, match="'ecg' of record 's01' has no channel 'V1'; .* II, V"):
        record.select(ecg="V1")
    with pytest.raises(ModalityError, match="no modality 'ppg'"):
        record.select(ppg="PLETH")


def test_crop_cuts_everything_and_counts_time_anew() -> None:
    record = make(inputs=(np.arange(20.0), 2.0))
    events = xr.DataArray(["a", "b"], dims="event", coords={"time": ("event", [1.0, 4.5])})
    truth = xr.Dataset({"phase": ("time", np.arange(10.0))}, coords={"time": np.arange(10.0)})
    record = Record(
        record.signals, "s", "r", inputs=record.inputs, annotations={"b": events}, truth=truth
    )
    part = record.crop(4.0, 6.0)
    ecg = part.signals["ecg"]
    assert ecg.sizes["time"] == 500
    assert ecg.time.values[[0, -1]] == pytest.approx([0.0, 1.996])
    np.testing.assert_array_equal(ecg.values, record.signals["ecg"].values[:, 1000:1500])
    assert part.signals["spo2"].values.tolist() == [[94.0, 95.0]]
    assert part.inputs is not None
    assert part.inputs.values.tolist() == [[8.0, 9.0, 10.0, 11.0]]
    assert part.annotations["b"].time.values.tolist() == [0.5]
    assert part.truth is not None
    assert part.truth.phase.values.tolist() == [4.0, 5.0]
    assert part.duration_s == pytest.approx(2.0)


@pytest.mark.parametrize("span", [(-1, 2), (2, 2), (3, 2), (11, 12)])
def test_crops_outside_are_refused(span: tuple[float, float]) -> None:
    with pytest.raises(RateError, match="0 <= start_s < stop_s .* lasts 10 s"):
        make().crop(*span)


def test_the_middle_is_as_far_from_either_end() -> None:
    record = Record.from_arrays({"ecg": (np.arange(100.0), 10.0)}, subject="s")
    part = record.middle(4.0)
    assert part.duration_s == pytest.approx(4.0)
    np.testing.assert_array_equal(part.signals["ecg"].values[0], np.arange(30.0, 70.0))
    assert record.middle(10.0) is record
    assert record.middle(np.inf) is record
    with pytest.raises(RateError, match="crop takes"):
        record.middle(0.0)


def test_a_crop_that_loses_a_slow_signal_is_refused() -> None:
    with pytest.raises(RateError, match="leaves spo2 of record 's01' without a sample"):
        make().crop(0.1, 0.9)


def test_all_errors_are_one_family() -> None:
    with pytest.raises(LatentphysError):
        make().drop("nothing")
    assert issubclass(ModalityError, ValueError)


def test_repr_tells_channels_and_rates() -> None:
    assert "ecg II|V 250 Hz" in repr(make())


@pytest.mark.parametrize("name", ["p00/r1", "/", "..", "."])
def test_a_record_names_a_node_of_a_tree(name: str) -> None:
    with pytest.raises(CohortError, match="a record's name holds no '/'.*Write '"):
        make(record=name)


def test_no_sample_is_before_the_start() -> None:
    times = np.array([-2.5, 0.0, 1.0])
    with pytest.raises(RateError, match="count from the record's start.*at -2.5 s. Add 2.5 s"):
        Record.from_arrays({"nibp": (np.ones(3), times)}, subject="s")


def test_a_crop_keeps_the_input_that_holds_at_its_start() -> None:
    drive = (np.array([1.0, 2.0, 3.0]), np.array([0.0, 4.0, 8.0]))
    record = Record.from_arrays({"ecg": (np.zeros(100), 10.0)}, subject="s", inputs=drive)
    part = record.crop(5.0, 9.0).inputs
    assert part is not None
    assert part.values.tolist() == [[2.0, 3.0]]
    assert part.time.values.tolist() == [-1.0, 3.0]
    late = record.crop(8.5, 9.0).inputs
    assert late is not None
    assert late.values.tolist() == [[3.0]]
    begun = replace(record, inputs=record.inputs.isel(time=[2]))  # type: ignore[union-attr]
    assert begun.crop(1.0, 7.0).inputs is None


def test_a_rate_that_the_times_belie_is_refused() -> None:
    times = np.arange(1000) / 100.0
    given = signal_array(np.zeros(1000), 100.0, name="ecg")
    for wrong, at in (
        (times + (times >= 4.0) * 0.02, 400),  # two samples are missing
        (times * 1.001, 501),  # a clock that runs slow
        (np.sort(np.random.default_rng(0).uniform(0, 10, 1000)), None),
    ):
        signal = given.assign_coords(time=wrong)
        words = r"'ecg' of record 's' says 100 Hz and sample " + ("" if at is None else f"{at} ")
        with pytest.raises(RateError, match=words):
            Record({"ecg": signal}, "s", "s")
        del signal.attrs["rate_hz"]
        assert np.isnan(Record({"ecg": signal}, "s", "s").rate_hz("ecg"))


def test_times_rounded_to_milliseconds_are_regular() -> None:
    signal = signal_array(np.zeros(5000), 360.0, name="ecg")
    rounded = signal.assign_coords(time=np.round(signal.time.values + 0.25, 3))
    assert Record({"ecg": rounded}, "s", "s").rate_hz("ecg") == 360.0
