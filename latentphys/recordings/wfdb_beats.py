"""Records of which the beats are here and the waveforms are not: beat-to-beat intervals."""

from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from latentphys.recordings.errors import ReadError
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.listing import subject_in
from latentphys.recordings.record import Record, signal_array
from latentphys.recordings.wfdb_annotations import read_annotations
from latentphys.recordings.wfdb_files import read_header, signal_files

BEAT_FILES = ("atr", "ecg", "qrs", "wqrs")
# What the annotator's symbols of the MIT format call a beat (wfdb.io.annotation, is_qrs).
BEATS = frozenset("NLRBAaJSVrFejnE/fQ?")
LONGEST_S = 3.0  # beyond it beats were missed, not late


def beats_alone(stem: Path) -> bool:
    """Whether beats are annotated beside a header none of whose signal files is there."""
    if _beat_file(stem) is None:
        return False
    names = signal_files(stem)
    return bool(names) and not any(stem.with_name(name).is_file() for name in names)


def list_beats(stem: Path, name: str, study: str) -> LazyRecord:
    """The record's beat intervals as its one modality, `rr`, sampled at the beats.

    Raises:
        ReadError: the header cannot be read, or does not say how long the record is.
    """
    header = read_header(stem)
    if not header.sig_len:
        raise ReadError(
            f"header {stem.name}.hea says how many samples there are; it gives none. Add the "
            "number to its first line."
        )
    rate_hz, subject = float(header.fs), subject_in(name) or name
    return LazyRecord(
        record=name,
        subject=subject,
        modalities=("rr",),
        duration_s=header.sig_len / rate_hz,
        load=partial(_load, stem, rate_hz, name, subject, study, tuple(header.comments or ())),
        study=study,
        units=(("rr", "s"),),
    )


def _load(
    stem: Path, rate_hz: float, name: str, subject: str, study: str, comments: tuple[str, ...]
) -> Record:
    annotations = read_annotations(stem, rate_hz)
    kind = _beat_file(stem)
    assert kind is not None
    return Record(
        {"rr": intervals(annotations[kind])},
        subject,
        name,
        study,
        annotations=annotations,
        attrs={"comments": "\n".join(comments)} if comments else {},
    )


def intervals(beats: xr.DataArray) -> xr.DataArray:
    """Time since the beat before, at each beat but the first, in seconds.

    Intervals over `LONGEST_S` are NaN.

    Args:
        beats: symbols (event) with coordinate time (s); those that are no beats are left out.

    Raises:
        ReadError: fewer than two beats.
    """
    is_beat = np.isin(beats.values.astype(str), list(BEATS))
    time = np.unique(beats.time.values[is_beat])
    if len(time) < 2:
        raise ReadError(
            f"beat intervals need two beats; {beats.attrs.get('source', 'the annotation')} has "
            f"{len(time)}. Leave the record out."
        )
    rr = np.diff(time)
    rr = np.where(rr <= LONGEST_S, rr, np.nan)
    return signal_array(rr, time[1:], name="rr", units="s", labels=["RR"])


def _beat_file(stem: Path) -> str | None:
    here = (kind for kind in BEAT_FILES if stem.with_name(f"{stem.name}.{kind}").is_file())
    return next(here, None)
