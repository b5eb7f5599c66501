"""What MNE reads, as records, and records as MNE's Raw, in SI units with channel types.

A Raw has one rate and unique channel names. What it cannot hold (modality, channel name and units
of each channel) stands in its `info["description"]`, so that a record comes back as it was.
"""

import json
import math
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latentphys.recordings.errors import LatentphysError, RateError, ReadError, listed
from latentphys.recordings.events import Line, from_lines, to_lines
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.listing import files_of, folder_of, names_of, subject_in
from latentphys.recordings.modalities import UNCALIBRATED, modality_of, normal_units
from latentphys.recordings.record import Record, check_rate, rate_of
from latentphys.recordings.regridding import on_grid
from latentphys.recordings.traces import (
    Groups,
    Trace,
    check_given,
    grouped,
    headers_of_groups,
    signal_of,
    unique,
    units_of,
    warn_unknown,
)
from latentphys.recordings.units import conversion, is_voltage

if TYPE_CHECKING:
    import mne

# Formats of one file (or header) by suffix; EDF, BDF and NIfTI have readers of their own.
SUFFIXES = (".fif", ".fif.gz", ".vhdr", ".set", ".cnt", ".gdf", ".cdt", ".nxe", ".lay", ".mef")
OURS = "latentphys "
NOT_OBSERVED = "BAD_not_observed"
_GAP = "BAD_ACQ_SKIP"  # what MNE puts over gaps that it filled with zeros
# MNE channel type -> modality; "" where the channel's name tells more.
_OF_TYPE = {
    **dict.fromkeys(["eeg", "eog", "emg", "ecg", "resp", "seeg", "ecog", "dbs", "mag", "grad"], ""),
    "gsr": "eda",
    "temperature": "temperature",
    "stim": "stim",
}
_TYPES = {
    **{kind: kind for kind in ("eeg", "eog", "emg", "ecg", "resp", "seeg", "ecog", "dbs", "stim")},
    "temperature": "temperature",
    "eda": "gsr",
    "fetal_ecg": "ecg",
}
_IN_VOLTS = ("eeg", "eog", "emg", "ecg", "seeg", "ecog", "dbs")
# MNE types a channel "eeg" when its file does not say: then a name that is known decides.
_VAGUE = ("eeg", "misc", "bio")
_SIEMENS = {"S": 1.0, "mS": 1e-3, "uS": 1e-6, "µS": 1e-6, "μS": 1e-6}


def is_mne(path: Path) -> bool:
    """Whether the path is a file that MNE reads by its suffix, or a folder with some."""
    return bool(_files(path))


def list_mne(path: Path, modalities: Mapping[str, str]) -> list[LazyRecord]:
    """What the headers tell of files that MNE reads.

    Args:
        path: file or folder.
        modalities: channel name -> modality, before types and the table of known names.

    Raises:
        ReadError: a file that MNE cannot read.
        ModalityError: `modalities` names a channel that no record has.
    """
    folder = folder_of(path)
    names = names_of(_files(path), folder, SUFFIXES)
    raws = {file: _open(file) for file in names}
    traces = {file: _traces(raw) for file, raw in raws.items()}
    check_given(modalities, (trace.name for each in traces.values() for trace in each))
    unknown: dict[str, str] = {}
    made = []
    for file, name in names.items():
        groups = grouped(traces[file], modalities, unknown, name)
        about = raws[file].info["subject_info"] or {}
        subject = subject_in(name) or str(about.get("his_id") or "") or name
        made.append(
            LazyRecord(
                record=name,
                subject=subject,
                modalities=tuple(groups),
                duration_s=raws[file].n_times / raws[file].info["sfreq"],
                load=partial(_load, file, dict(modalities), name, subject, folder.name),
                study=folder.name,
                units=tuple((m, units_of(m, members)) for m, members in groups.items()),
                headers=headers_of_groups(groups, raws[file].n_times / raws[file].info["sfreq"]),
            )
        )
    warn_unknown(unknown)
    return made


def from_mne(raw: "mne.io.BaseRaw", *, subject: str, record: str) -> Record:
    """A record of an MNE Raw: modalities by channel type and name, in their usual units.

    Channels that MNE calls bad are named in `attrs["bad_channels"]` and keep their samples; gaps
    of the acquisition (`BAD_ACQ_SKIP`) are NaN.

    Args:
        raw: read or lazy; its samples are read here.
        subject: whose recording it is.
        record: its name.

    Raises:
        ModalityError: there is no channel.

    Example:
        >>> import mne
        >>> info = mne.create_info(["Fp1", "EKG"], 100.0, ["eeg", "ecg"])
        >>> raw = mne.io.RawArray(np.full((2, 50), 1e-6), info, verbose="error")
        >>> {m: s.attrs["units"] for m, s in from_mne(raw, subject="a", record="a").signals.items()}
        {'ecg': 'mV', 'eeg': 'uV'}
    """
    unknown: dict[str, str] = {}
    traces = _traces(raw)
    groups = grouped(traces, {}, unknown, record)
    warn_unknown(unknown)
    return _record(raw, groups, subject, record, "")


def to_mne(record: Record, rate_hz: float | None = None) -> "mne.io.RawArray":
    """The signals and annotations of a record as an MNE Raw.

    Voltages are in V, skin conductance in S; other units stay as they are, under type `misc`.
    NaN stays NaN under an annotation `BAD_not_observed`, which from_mne drops again: MNE's
    filters spread NaN, so leave those spans out.

    Args:
        record: its signals at one rate, or any when `rate_hz` is given.
        rate_hz: rate of all channels, for a record of several rates; within each observed run
            signals are low-passed where it is lower and interpolated by cubics where it is higher.

    Raises:
        RateError: several rates and no `rate_hz`, or irregular times.
        WriteError: annotations that would not come back.

    Example:
        >>> ones = {"ecg": (np.ones(50), 100.0)}
        >>> raw = to_mne(Record.from_arrays(ones, subject="a", units={"ecg": "mV"}))
        >>> raw.get_channel_types(), float(raw.get_data()[0, 0])
        (['ecg'], 0.001)
    """
    import mne
    from mne.io import get_channel_type_constants

    rate = _one_rate(record, rate_hz)
    count = max(1, math.ceil(round(record.duration_s * rate, 6)))
    rows, kinds, about = [], [], []
    for modality, signal in record.signals.items():
        own = signal["channel_units"].values if "channel_units" in signal.coords else None
        for i, label in enumerate(signal["channel"].values):
            units = str(signal.attrs.get("units", "") if own is None else own[i])
            kind, factor = _type_and_factor(modality, units, record.record)
            times = signal["time"].values
            rows.append(on_grid(signal.values[i], times, rate_of(signal), rate, count) * factor)
            kinds.append(kind)
            about.append([modality, str(label), units])
    # MNE takes a channel called "ecg" for all channels of that type, and refuses to pick it.
    types = get_channel_type_constants()
    names = unique([label.upper() if label in types else label for _, label, _ in about])
    info = mne.create_info(names, rate, kinds)
    info["description"] = OURS + json.dumps(dict(zip(names, about, strict=True)))
    info["subject_info"] = {"his_id": record.subject}
    raw = mne.io.RawArray(np.stack(rows), info, verbose="error")
    lines = to_lines(record.annotations, f"record {record.record!r}")
    raw.set_annotations(_annotations(lines, np.stack(rows), names, rate))
    return raw


def _files(path: Path) -> list[Path]:
    return files_of(path, SUFFIXES)


def _open(file: Path) -> "mne.io.BaseRaw":
    import mne

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on file names, dates and montages
            return mne.io.read_raw(file, preload=False, verbose="error")
    except LatentphysError:
        raise
    except Exception as error:  # readers of a dozen formats: they raise anything
        raise ReadError(
            f"{file.name} cannot be read by MNE ({error}). Open it with mne.io.read_raw and use "
            "Record.from_mne(raw, subject=..., record=...)."
        ) from error


def _load(file: Path, given: dict[str, str], name: str, subject: str, study: str) -> Record:
    raw = _open(file)
    return _record(raw, grouped(_traces(raw), given, {}, name), subject, name, study)


def _traces(raw: "mne.io.BaseRaw") -> list[Trace]:
    rate_hz, known = float(raw.info["sfreq"]), _about(raw)
    made = []
    for name, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True):
        if name in known:
            modality, label, units = known[name]
            made.append(Trace(name, rate_hz, units, modality, label))
            continue
        told = modality_of(name)
        modality = _OF_TYPE.get(kind, "") or (told if kind in _VAGUE and told else kind)
        if kind in ("misc", "bio") and not told:
            modality = ""
        made.append(Trace(name, rate_hz, _units(raw, name, kind), modality))
    return made


def _units(raw: "mne.io.BaseRaw", name: str, kind: str) -> str:
    from mne.io.constants import FIFF

    of_unit = {
        int(FIFF.FIFF_UNIT_V): "V",
        int(FIFF.FIFF_UNIT_T): "T",
        int(FIFF.FIFF_UNIT_T_M): "T/m",
        int(FIFF.FIFF_UNIT_S): "S",
        int(FIFF.FIFF_UNIT_CEL): "degC",
    }
    unit = of_unit.get(int(raw.info["chs"][raw.ch_names.index(name)]["unit"]), "")
    # MNE says volts of everything it has no better word for.
    return "" if unit == "V" and kind in ("misc", "stim", "resp") else unit


def _about(raw: "mne.io.BaseRaw") -> dict[str, tuple[str, str, str]]:
    """channel -> (modality, name, units), where `to_mne` made the Raw."""
    text = raw.info["description"] or ""
    if not text.startswith(OURS):
        return {}
    try:
        found = {
            str(key): tuple(map(str, value)) for key, value in json.loads(text[len(OURS) :]).items()
        }
    except (ValueError, AttributeError, TypeError):
        return {}
    return {key: value for key, value in found.items() if len(value) == 3}


def _record(raw: "mne.io.BaseRaw", groups: Groups, subject: str, name: str, study: str) -> Record:
    known = _about(raw)
    try:
        data = raw.get_data(verbose="error").astype(np.float64)
    except (ValueError, OSError, RuntimeError, EOFError) as error:
        raise ReadError(f"samples of {name!r} cannot be read by MNE ({error}).") from error
    rate_hz = float(raw.info["sfreq"])
    for gap in raw.annotations:
        if gap["description"] == _GAP:
            start = round((gap["onset"] - raw.first_time) * rate_hz)
            data[:, max(start, 0) : max(start + round(gap["duration"] * rate_hz), 0)] = np.nan
    samples = {}
    for i, channel in enumerate(raw.ch_names):
        modality, _, units = known.get(channel, ("", "", ""))
        factor = _type_and_factor(modality, units, name)[1] if channel in known else 1.0
        samples[channel] = (data[i] / factor).astype(np.float32)
    lines = [
        Line(
            float(a["onset"] - raw.first_time),
            float(a["duration"]) or math.nan,
            str(a["description"]),
        )
        for a in raw.annotations
        if a["description"] not in (NOT_OBSERVED, _GAP)
    ]
    return Record(
        {m: signal_of(m, members, samples) for m, members in groups.items()},
        subject,
        name,
        study,
        annotations=from_lines(lines, ours=bool(known)),
        attrs={"bad_channels": ", ".join(raw.info["bads"])} if raw.info["bads"] else {},
    )


def _one_rate(record: Record, rate_hz: float | None) -> float:
    rates = {modality: rate_of(signal) for modality, signal in record.signals.items()}
    irregular = [modality for modality, rate in rates.items() if math.isnan(rate)]
    if irregular or not rates:
        raise RateError(
            f"an MNE Raw holds regular samples; {listed(irregular)} of record {record.record!r} "
            "have irregular times. Leave them out with record.drop(...)."
        )
    if rate_hz is not None:
        return check_rate(rate_hz, f"record {record.record}")
    if len(set(rates.values())) > 1:
        raise RateError(
            "an MNE Raw has one rate; record "
            f"{record.record!r} has {listed(f'{m} {r:g} Hz' for m, r in rates.items())}. Keep the "
            "modalities of one rate with record.keep(...), or give to_mne(rate_hz=...)."
        )
    return next(iter(rates.values()))


def _type_and_factor(modality: str, units: str, where: str) -> tuple[str, float]:
    """MNE's type of a channel, and the factor that takes its samples to MNE's units."""
    kind = _TYPES.get(modality, "misc")
    if kind in _IN_VOLTS:
        if is_voltage(normal_units(units)):
            return kind, conversion(normal_units(units), "V")
        if normal_units(units) not in UNCALIBRATED:
            return "misc", 1.0  # a number that is no voltage must not pass for one
        warnings.warn(
            f"units of {modality!r} of {where!r} are not known; MNE takes its samples as volts.",
            stacklevel=4,
        )
    if kind == "gsr":
        return (kind, _SIEMENS[units]) if units in _SIEMENS else ("misc", 1.0)
    return kind, 1.0


def _annotations(
    lines: list[Line], rows: np.ndarray, names: list[str], rate_hz: float
) -> "mne.Annotations":
    import mne

    onset = [line.onset_s for line in lines]
    lasting = [0.0 if math.isnan(line.duration_s) else line.duration_s for line in lines]
    text = [line.text for line in lines]
    channels: list[tuple[str, ...]] = [()] * len(lines)
    for name, row in zip(names, rows, strict=True):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], np.isnan(row), [False]])))
        for start, stop in edges.reshape(-1, 2).tolist():
            onset.append(start / rate_hz)
            lasting.append((stop - start) / rate_hz)
            text.append(NOT_OBSERVED)
            channels.append((name,))
    return mne.Annotations(onset, lasting, text, ch_names=channels)
