"""Channels as a file lists them, and how they become the modalities of a record."""

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from latentphys.recordings.errors import ModalityError, RateError, closest, listed
from latentphys.recordings.headers import SignalHeader
from latentphys.recordings.modalities import UNCALIBRATED, modality_of, normal_units, own_name
from latentphys.recordings.record import signal_array
from latentphys.recordings.units import USUAL, is_voltage, usual_units


@dataclass(frozen=True)
class Trace:
    """One channel of a file.

    Args:
        name: its name, unique in the file.
        rate_hz: samples a second; NaN when its times are irregular.
        units: as the file gives them, in any spelling.
        modality: what it is, if the file itself says so; empty otherwise.
        label: its name in the record; `name` when empty.
    """

    name: str
    rate_hz: float
    units: str = ""
    modality: str = ""
    label: str = ""


Groups = dict[str, tuple[Trace, ...]]


def grouped(
    traces: Iterable[Trace], given: Mapping[str, str], unknown: dict[str, str], where: str
) -> Groups:
    """modality -> its channels, in the file's order.

    Args:
        traces: channels of one recording.
        given: channel name -> modality, as the user says.
        unknown: channels whose kind nobody knows are noted here, with the modality they become.
        where: the recording, for messages.

    Raises:
        RateError: channels of one modality have different rates.
    """
    found: dict[str, list[Trace]] = {}
    for trace in traces:
        modality = given.get(trace.name) or trace.modality or modality_of(trace.name, trace.units)
        if not modality:
            modality = unknown[trace.name] = own_name(trace.name)
        found.setdefault(modality, []).append(trace)
    for modality, members in found.items():
        if len({repr(trace.rate_hz) for trace in members}) > 1:
            detail = listed(f"{trace.name} at {trace.rate_hz:g} Hz" for trace in members)
            raise RateError(
                f"a modality has one rate in a record; {modality!r} of {where!r} has {detail}. "
                "Tell them apart, for instance with "
                f"read(path, modalities={{{members[-1].name!r}: '{modality}_2'}})."
            )
    return {modality: tuple(members) for modality, members in sorted(found.items())}


def check_given(given: Mapping[str, str], have: Iterable[str]) -> None:
    """Refuses a mapping of channels that no record has.

    Raises:
        ModalityError: a key is no channel.
    """
    names = sorted(set(have))
    for name in given:
        if name not in names:
            raise ModalityError(
                f"modalities maps channel {name!r}, which no record has; the channels are "
                f"{listed(names, 20)}.{closest(name, names)}"
            )


def warn_unknown(unknown: Mapping[str, str]) -> None:
    """Says which channels became modalities of their own."""
    if unknown:
        pairs = [f"{channel!r} as {modality!r}" for channel, modality in sorted(unknown.items())]
        warnings.warn(
            f"channels of unknown kind are read as modalities of their own: {listed(pairs)}. "
            "Say what they are with read(path, modalities={channel: modality}).",
            stacklevel=4,
        )


def units_of(modality: str, traces: tuple[Trace, ...]) -> str:
    """Units the modality will have: the calibrated ones among its channels, if there are any."""
    own = [usual_units(modality, normal_units(trace.units))[0] for trace in traces]
    return next((unit for unit in own if unit not in UNCALIBRATED), own[0])


def headers_of_groups(groups: Groups, duration_s: float = math.nan) -> tuple[SignalHeader, ...]:
    """What is known of each modality before its samples are read.

    Args:
        groups: modality -> its channels.
        duration_s: how long all of them last; NaN when only their samples tell.

    Warns:
        UserWarning: a voltage's units are neither a voltage's nor none.
    """
    _warn_of_odd_units(groups)
    return tuple(
        SignalHeader(
            modality=modality,
            rate_hz=traces[0].rate_hz,
            channels=tuple(unique([trace.label or trace.name for trace in traces])),
            units=units_of(modality, traces),
            samples=None
            if math.isnan(duration_s * traces[0].rate_hz)
            else round(duration_s * traces[0].rate_hz),
        )
        for modality, traces in groups.items()
    )


def _warn_of_odd_units(groups: Groups) -> None:
    """Say which channels of a voltage cannot be brought to its usual units."""
    odd = [
        f"{trace.name!r} ({modality}) in {trace.units!r}"
        for modality, traces in groups.items()
        for trace in traces
        if modality in USUAL
        and not is_voltage(units := normal_units(trace.units))
        and units not in UNCALIBRATED
    ]
    if odd:
        warnings.warn(
            f"voltages in units that are no known voltage are read as they are: {listed(odd)}. "
            "Records in mV or uV cannot be put beside them; scale the samples yourself with "
            "Record.from_arrays, or say with read(path, modalities=...) that they are no voltage.",
            stacklevel=4,
        )


def signal_of(
    modality: str,
    traces: tuple[Trace, ...],
    samples: Mapping[str, np.ndarray],
    times: np.ndarray | None = None,
) -> xr.DataArray:
    """The modality's signal, in its usual units.

    Args:
        modality: its name.
        traces: its channels.
        samples: channel name -> samples (time,) in the file's units, NaN where not observed.
        times: seconds (time,) of all its samples, where they are irregular.
    """
    own, rows = [], []
    for trace in traces:
        units, factor = usual_units(modality, normal_units(trace.units))
        own.append(units)
        row = np.asarray(samples[trace.name])
        rows.append(row if factor == 1.0 else row * np.float32(factor))
    longest = max(row.size for row in rows)
    block = np.full((len(rows), longest), np.nan, dtype=np.result_type(np.float32, *rows))
    for i, row in enumerate(rows):
        block[i, : row.size] = row
    labels = unique([trace.label or trace.name for trace in traces])
    units = units_of(modality, traces)
    rate = traces[0].rate_hz if times is None else times
    signal = signal_array(block, rate, name=modality, units=units, labels=labels)
    if len(set(own)) > 1:
        # An uncalibrated lead beside calibrated ones: keep what each is.
        signal = signal.assign_coords(channel_units=("channel", own))
    return signal


def unique(names: Iterable[str]) -> list[str]:
    """Names with "_2", "_3", ... after a repeated one; an empty one is "channel_<position>".

    Example:
        >>> unique(["II", "II", ""])
        ['II', 'II_2', 'channel_3']
    """
    made: dict[str, None] = {}
    for i, name in enumerate(names):
        base = name or f"channel_{i + 1}"
        again, count = base, 1
        while again in made:
            count += 1
            again = f"{base}_{count}"
        made[again] = None
    return list(made)
