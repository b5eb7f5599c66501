"""Writing WFDB: one record of several rates, 16 bits a sample, with its annotations beside it.

A frame is the longest time in which every signal has whole samples; faster signals have several
samples a frame. WFDB has no field for a channel's modality nor for an event's duration, so header
comments `modality of II: ecg` say what a channel's name does not, and every set of annotations
stands in one file, `.events`, as notes that our reader takes apart.
"""

import math
import os
import re
import secrets
import shutil
import warnings
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import numpy as np

from latentphys.recordings.errors import WriteError, listed
from latentphys.recordings.events import to_lines
from latentphys.recordings.modalities import modality_of
from latentphys.recordings.record import Record, rate_of
from latentphys.recordings.wfdb_annotations import EVENTS, KINDS, LASTING

_MOST = 2**15 - 1  # the largest level of 16 bits, and one below the least
_INVALID = -(2**15)  # WFDB's level of what was not observed
_LONGEST_FRAME_S = 60
_FINEST_EVENTS_HZ = 10_000
_LONGEST_NOTE = 250  # bytes; WFDB keeps the length in one


def write_wfdb(record: Record, path: Path) -> None:
    """Write a record as WFDB: `path` is its header (.hea), samples and annotations go beside it.

    Samples come back to half a step of the channel's range / 65534, event times to 0.05 ms; rates,
    NaN, channel names, units, modalities, annotations, subject, comments and start exactly. A
    signal that ends before the longest is NaN from there on. Without units a channel is "NU".

    Warning: WFDB holds no inputs, truth, images or texts; a warning says which are left out.

    Args:
        record: what to write.
        path: of the header; a record that stands there is replaced once the new one is whole,
            its header last.

    Raises:
        WriteError: irregular sample times, or names, rates or notes that WFDB does not hold.

    Example:
        >>> import tempfile
        >>> from latentphys.recordings.reading import read
        >>> x = np.sin(np.arange(500.0))
        >>> x[10:20] = np.nan
        >>> path = Path(tempfile.mkdtemp()) / "a.hea"
        >>> write_wfdb(Record.from_arrays({"ppg": (x, 62.5)}, subject="s01"), path)
        >>> int(np.isnan(read(path)[0].signals["ppg"]).sum())
        10
    """
    import wfdb

    stem = path.stem
    if not re.fullmatch(r"[A-Za-z0-9_-]+", stem):
        raise WriteError(
            f"a WFDB record is named by letters, digits, - and _; got {stem!r}. Choose another."
        )
    _warn_left_out(record)
    frame_hz = _frame_rate(record)
    channels = _channels(record, frame_hz)
    digital = [_digital(samples) for *_, samples in channels]
    folder = path.parent / f".{stem}.{secrets.token_hex(4)}"
    folder.mkdir(parents=True)
    try:
        wfdb.wrsamp(
            stem,
            fs=float(frame_hz),
            units=[units for _, units, _ in channels],
            sig_name=[name for name, _, _ in channels],
            e_d_signal=[levels for levels, _, _ in digital],
            adc_gain=[gain for _, gain, _ in digital],
            baseline=[baseline for _, _, baseline in digital],
            samps_per_frame=[len(samples) // _frames(record, frame_hz) for *_, samples in channels],
            fmt=["16"] * len(channels),
            comments=_comments(record),
            write_dir=str(folder),
            **_start(record),
        )
        _write_events(record, stem, folder)
        _move(folder, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _frame_rate(record: Record) -> Fraction:
    """Frames a second: the greatest rate of which every signal's is a whole multiple."""
    if not record.signals:
        raise WriteError(f"record {record.record!r} has no signals; WFDB holds nothing else.")
    rates = []
    for modality, signal in record.signals.items():
        rate = rate_of(signal)
        if math.isnan(rate):
            raise WriteError(
                f"WFDB holds regular samples; {modality!r} of record {record.record!r} has "
                f"irregular times. Leave it out with record.drop({modality!r}), or write .nc."
            )
        rates.append(Fraction(rate).limit_denominator(_LONGEST_FRAME_S))
        if abs(float(rates[-1]) - rate) > 1e-9 * rate:
            if len(record.signals) > 1:
                raise WriteError(
                    f"the signals of a WFDB record share frames of up to {_LONGEST_FRAME_S} s; "
                    f"{modality!r} at {rate!r} Hz has no whole number of samples in one. Write "
                    "it apart, or write .nc."
                )
            return Fraction(rate)
    below = math.lcm(*(rate.denominator for rate in rates))
    return Fraction(math.gcd(*(int(rate * below) for rate in rates)), below)


def _frames(record: Record, frame_hz: Fraction) -> int:
    return math.ceil(round(record.duration_s * float(frame_hz), 6))


def _channels(record: Record, frame_hz: Fraction) -> list[tuple[str, str, np.ndarray]]:
    """(name, units, samples over all frames) of every channel."""
    frames = _frames(record, frame_hz)
    made: list[tuple[str, str, np.ndarray]] = []
    for modality, signal in record.signals.items():
        rate = rate_of(signal)
        first = float(signal["time"].values[0]) * rate
        if first < -1e-3 or abs(first - round(first)) > 1e-3:
            raise WriteError(
                f"WFDB samples start with the record; {modality!r} of {record.record!r} starts at "
                f"{signal['time'].values[0]:g} s, between two of its samples. Write .nc instead."
            )
        whole = np.full((signal.sizes["channel"], frames * round(rate / float(frame_hz))), np.nan)
        whole[:, round(first) : round(first) + signal.sizes["time"]] = signal.values
        units = _units(record, modality)
        names = [str(name) for name in signal["channel"].values]
        made += list(zip(names, units, whole, strict=True))
    _check_names(record, [name for name, *_ in made])
    return made


def _digital(samples: np.ndarray) -> tuple[np.ndarray, float, int]:
    """Levels, gain and baseline of a channel: sample = (level - baseline) / gain."""
    seen = samples[np.isfinite(samples)]
    low, high = (float(seen.min()), float(seen.max())) if seen.size else (0.0, 1.0)
    span = max(high - low, 1e-6 * max(abs(low), abs(high), 1e-3))
    # As many digits as the header keeps; its baseline is of 32 bits.
    gain = min(2 * _MOST / span, 2**30 / max(abs(low), abs(high), 1e-9))
    gain = float(f"{gain:.9g}")
    baseline = round(-gain * (low + high) / 2)
    levels = np.clip(np.rint(samples * gain + baseline), -_MOST, _MOST)
    return np.where(np.isfinite(samples), levels, _INVALID).astype(np.int64), gain, baseline


def _units(record: Record, modality: str) -> list[str]:
    """Units of each channel of a modality, as one word each."""
    signal = record.signals[modality]
    if "channel_units" in signal.coords:
        units = [str(unit) for unit in signal["channel_units"].values]
    else:
        units = [str(signal.attrs.get("units", ""))] * signal.sizes["channel"]
    strange = [unit for unit in units if re.search(r"\s", unit)]
    if strange:
        raise WriteError(
            f"units in a WFDB header are one word; {modality!r} of {record.record!r} has "
            f"{listed(map(repr, strange))}. Rename them, or write .nc."
        )
    return [unit or "NU" for unit in units]


def _check_names(record: Record, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    strange = [name for name in names if not name.isprintable() or name != name.strip(" ,")]
    if wrong := [repr(name) for name in twice or strange]:
        raise WriteError(
            "channels of a WFDB record have names of their own, printable, without a space or "
            f"comma at an end; record {record.record!r} has {listed(wrong)}. Rename "
            "them, or write .nc."
        )


def _comments(record: Record) -> list[str]:
    """The record's own comments, its subject, and what channel names do not say."""
    kept = [line for line in str(record.attrs.get("comments", "")).splitlines() if line.strip()]
    known = {line.split(":")[0].strip(" <>").lower().replace(" ", "_") for line in kept}
    if f"subject: {record.subject}" not in kept:
        kept = [line for line in kept if not line.lower().startswith("subject:")]
        kept.append(f"subject: {record.subject}")
    for key, value in record.attrs.items():
        if key in known or key in ("comments", "start", "source"):
            continue
        if isinstance(value, str | int | float) and "\n" not in str(value):
            kept.append(f"{key}: {value}")
    for modality, signal in record.signals.items():
        for name, units in zip(signal["channel"].values, _units(record, modality), strict=True):
            if modality_of(str(name), units) != modality:
                kept.append(f"modality of {name}: {modality}")
    return kept


def _start(record: Record) -> dict[str, datetime]:
    """Date and time of the first sample, as wfdb takes it; nothing where it is not known."""
    try:
        return {"base_datetime": datetime.fromisoformat(str(record.attrs["start"]))}
    except (KeyError, ValueError):
        return {}


def _write_events(record: Record, stem: str, folder: Path) -> None:
    """All annotations in one file, each a note: its line and how long it lasts (nan: not said)."""
    import wfdb

    lines = to_lines(record.annotations, f"record {record.record!r}")
    if not lines:
        return
    notes = [f"{line.text}{LASTING}{line.duration_s!r}" for line in lines]
    long = [note for note in notes if len(note.encode()) > _LONGEST_NOTE or not note.isascii()]
    early = [line.text for line in lines if line.onset_s < 0]
    if long or early:
        raise WriteError(
            f"WFDB events begin with the record and their texts are ASCII of at most "
            f"{_LONGEST_NOTE} letters; record {record.record!r} has {listed(long or early)}. "
            "Shorten or drop them, or write .nc."
        )
    onset = np.array([line.onset_s for line in lines])
    fastest = max(rate_of(signal) for signal in record.signals.values())
    on_grid = np.abs(onset * fastest - np.rint(onset * fastest)).max() < 1e-6
    rate = fastest if on_grid else _FINEST_EVENTS_HZ
    sample = np.rint(onset * rate).astype(np.int64)
    wfdb.wrann(
        stem,
        EVENTS,
        sample,
        symbol=['"'] * len(lines),
        aux_note=notes,
        fs=rate,
        write_dir=str(folder),
    )


def _move(folder: Path, path: Path) -> None:
    """Put a whole record where it belongs, its header last; annotations of an older one go."""
    new = {file.name for file in folder.iterdir()}
    for kind in (*KINDS, EVENTS):
        old = path.with_suffix(f".{kind}")
        if old.name not in new:
            old.unlink(missing_ok=True)
    for name in sorted(new, key=lambda name: name.endswith(".hea")):
        os.replace(folder / name, path.parent / name)


def _warn_left_out(record: Record) -> None:
    held = {"inputs": record.inputs, "truth": record.truth}
    lost = [name for name, value in held.items() if value is not None]
    lost += [name for name in ("images", "texts") if getattr(record, name)]
    if lost:
        warnings.warn(
            f"WFDB does not hold {listed(lost)}; record {record.record!r} is written without. "
            "NetCDF (.nc) and Zarr (.zarr) hold all of it.",
            stacklevel=4,
        )
