"""The schema of our own files: a Record as an xarray.DataTree and back (docs/schema.md).

NetCDF and Zarr hold the same tree, so a recording reads the same from either.
"""

import json
import math
import re
import warnings
from collections.abc import Callable, Hashable, Mapping
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import xarray as xr

from latentphys.recordings.errors import ReadError, WriteError, listed
from latentphys.recordings.headers import SignalHeader
from latentphys.recordings.lazy import LazyRecord
from latentphys.recordings.quantised import dequantised, quantised
from latentphys.recordings.record import Record, rate_of

# 1 had no images and texts; what it has reads the same.
SCHEMA = 2
READABLE = (1, 2)
VERSION = "latentphys_schema"
# Groups with one group a name in them, as the header lists them.
_NAMED = ("signals", "images", "texts", "annotations")
_TEXTS = ("subject", "record", "study", "attrs", "summary")
# Halves of letters, left by damage or written as escapes, could not be shown or written again.
_HALVES = re.compile(r"[\ud800-\udfff]")


def to_tree(record: Record, dtype: str | None = None) -> xr.DataTree:
    """The tree that is written to disk.

    Args:
        record: what to write.
        dtype: "float32" or "int16" (with a scale a channel, or for all of a modality's images)
            for signals and images; None keeps each one's own, so that it comes back bit for bit.

    Raises:
        WriteError: an attribute or an array of a kind that the schema does not hold.
    """
    where = f"record {record.record!r}"
    root = {
        VERSION: SCHEMA,
        "subject": record.subject,
        "record": record.record,
        "study": record.study,
        "attrs": _json(record.attrs, where),
        "summary": json.dumps(summary_of(record)),
    }
    groups = {"/": xr.Dataset(attrs=root)}
    for name, signal in record.signals.items():
        what = f"modality {name!r} of {where}"
        groups[f"/signals/{node(name, what)}"] = _sampled(signal, what, dtype)
    for name, frames in record.images.items():
        what = f"images {name!r} of {where}"
        groups[f"/images/{node(name, what)}"] = _sampled(frames, what, dtype)
    for name, text in record.texts.items():
        what = f"text {name!r} of {where}"
        value = xr.Variable((), _storable(np.array(text, dtype=object), what))
        groups[f"/texts/{node(name, what)}"] = xr.Dataset({"values": value})
    if record.inputs is not None:
        groups["/inputs"] = _dataset(record.inputs, f"inputs of {where}")
    for name, events in record.annotations.items():
        what = f"annotations {name!r} of {where}"
        groups[f"/annotations/{node(name, what)}"] = _dataset(events, what)
    if record.truth is not None:
        groups["/truth"] = _truth(record.truth, f"truth of {where}")
    return xr.DataTree.from_dict(groups)


def from_tree(tree: xr.DataTree, where: str) -> Record:
    """The record that `to_tree` made a tree of.

    Args:
        tree: opened without decoding of times and fill values.
        where: the file, for messages.

    Raises:
        ReadError: not this schema, a newer version of it, or samples that are not all there.

    Warns:
        UserWarning: groups that the schema does not know; they are passed over.
    """
    about = header(tree.attrs, where)
    listing = about["summary"]
    _warn_of_strangers(tree, listing, where)
    try:
        signals = {n: _array(_group(tree, "signals", n)) for n in listing["signals"]}
        images = {n: _array(_group(tree, "images", n)) for n in listing["images"]}
        texts = {n: str(_group(tree, "texts", n)["values"].values) for n in listing["texts"]}
        annotations = {
            n: _array(_group(tree, "annotations", n), timed=False) for n in listing["annotations"]
        }
        inputs = _array(tree["inputs"].to_dataset()) if "inputs" in tree else None
        truth = _untruth(tree["truth"].to_dataset()) if "truth" in tree else None
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ReadError(
            f"{where} does not hold what its header lists ({error!r}). It is damaged: write or "
            "copy it again."
        ) from error
    _check_whole(signals | images, {**listing["signals"], **listing["images"]}, where)
    if cut := [name for name, text in texts.items() if len(text) != listing["texts"][name]]:
        raise ReadError(
            f"{where} does not hold the whole of its texts {listed(cut)}, as its header counts "
            "their letters. Write or copy it again."
        )
    return Record(
        signals=signals,
        subject=about["subject"],
        record=about["record"],
        study=about["study"],
        inputs=inputs,
        annotations=annotations,
        truth=truth,
        attrs=about["attrs"],
        images=images,
        texts=texts,
    )


def let_go(tree: xr.DataTree) -> None:
    """Take a tree apart, so that its samples are freed at once.

    Parents and children point at each other; a whole tree would keep its samples until Python
    next sweeps such rings, some hundred megabytes later.
    """
    for group in list(tree.subtree)[1:]:
        group.orphan()


def header(attrs: Mapping[Any, Any], where: str) -> dict[str, Any]:
    """What the root's attributes tell of a record: subject, record, study, attrs, summary.

    Raises:
        ReadError: no recording of ours, or of a newer version of the schema.
    """
    version = attrs.get(VERSION)
    if version is None:
        raise ReadError(
            f"{where} is not a recording of latentphys: it has no attribute {VERSION}. Read "
            "files of other programs with what wrote them, then use Record.from_arrays."
        )
    if version not in READABLE:
        raise ReadError(
            f"{where} is of schema version {version}, this release reads versions "
            f"{listed(map(str, READABLE))}. Update latentphys, or have the record written again by "
            "this release."
        )
    try:
        texts = {name: str(attrs[name]) for name in _TEXTS}
        summary = dict(json.loads(texts["summary"]))
        summary["signals"] = dict(summary["signals"])
        summary["images"] = dict(summary.get("images", {}))
        summary["texts"] = {n: int(size) for n, size in dict(summary.get("texts", {})).items()}
        summary["annotations"] = list(summary["annotations"])
        summary["duration_s"] = float(summary["duration_s"])
        plain = dict(json.loads(texts["attrs"]))
        if _HALVES.search(json.dumps([texts, summary, plain], ensure_ascii=False)):
            raise ValueError("it has half a letter")
    except (KeyError, ValueError, TypeError) as error:
        raise ReadError(
            f"{where} has a header that cannot be read ({error!r}); docs/schema.md says what "
            "belongs in it. Write the record again."
        ) from error
    return {**texts, "attrs": plain, "summary": summary}


def lazy_record(
    about: Mapping[str, Any], load: Callable[[], Record], where: str, study: str = ""
) -> LazyRecord:
    """The lazy form of a record, told from its `header` alone.

    Raises:
        ReadError: a header without names, or without signals, images and texts.
    """
    listing, signals = about["summary"], about["summary"]["signals"]
    something = signals or listing["images"] or listing["texts"]
    if not (something and about["record"] and about["subject"]):
        raise ReadError(f"{where} names no record, subject or signals. Write the record again.")
    try:
        units = tuple((name, str(each["units"])) for name, each in signals.items())
        headers = tuple(_header(name, each) for name, each in signals.items())
    except (KeyError, TypeError, ValueError) as error:
        raise ReadError(
            f"{where} lists signals without units, rate, channels or samples ({error!r}). Write "
            "the record again."
        ) from error
    return LazyRecord(
        record=about["record"],
        subject=about["subject"],
        modalities=tuple(signals),
        duration_s=about["summary"]["duration_s"],
        load=load,
        study=about["study"] or study,
        units=units,
        headers=headers,
        start=str(about["attrs"].get("start", "")),
        images=tuple(listing["images"]),
    )


def _header(name: str, each: Mapping[str, Any]) -> SignalHeader:
    channels, samples = tuple(str(label) for label in each["channels"]), int(each["samples"])
    return SignalHeader(
        modality=name,
        rate_hz=math.nan if each["rate_hz"] is None else float(each["rate_hz"]),
        channels=channels,
        units=str(each["units"]),
        samples=samples,
        observed=int(each["observed"]) / max(1, samples * len(channels)),
    )


def summary_of(record: Record) -> dict[str, Any]:
    """What an index tells of a record without its samples, as plain values for JSON.

    `observed` counts the samples that are not NaN; a reader checks it, so that a lost chunk
    cannot pass for a sensor that was off.
    """
    signals = {
        name: {"channels": [str(label) for label in signal["channel"].values], **_told(signal)}
        for name, signal in record.signals.items()
    }
    images = {
        name: {**_told(each), "sizes": dict(each.sizes)} for name, each in record.images.items()
    }
    return {
        "duration_s": record.duration_s,
        "signals": signals,
        "images": images,
        "texts": {name: len(text) for name, text in record.texts.items()},
        "annotations": list(record.annotations),
    }


def _told(array: xr.DataArray) -> dict[str, Any]:
    rate = rate_of(array)
    return {
        "units": str(array.attrs.get("units", "")),
        "rate_hz": None if math.isnan(rate) else rate,
        "samples": array.sizes["time"],
        "observed": int((~np.isnan(array.values)).sum()),
    }


def node(name: str, what: str = "") -> str:
    """A name as that of a group: letters that a path would trip over are %-encoded.

    Example:
        >>> node("spo2"), node("a/b"), node("..")
        ('spo2', 'a%2Fb', '%2E%2E')
    """
    if not name:
        raise WriteError(f"{what} has an empty name; a file needs one. Rename it.")
    plain = quote(name, safe=" ")
    return plain.replace(".", "%2E") if plain.startswith(".") else plain


def _sampled(array: xr.DataArray, what: str, dtype: str | None) -> xr.Dataset:
    """A signal or images in the precision that is asked for."""
    if dtype == "int16":
        whole = _dataset(array, what)
        stored, scale, offset = quantised(_rows(array.values, array.dims), what)
        grid = {"scale": scale.tolist(), "offset": offset.tolist()}
        values = (array.dims, stored.reshape(array.shape), {**whole["values"].attrs, **grid})
        return whole.assign(values=values)
    return _dataset(array if dtype is None else array.astype(dtype, copy=False), what)


def _rows(values: np.ndarray, dims: tuple[Hashable, ...]) -> np.ndarray:
    """What has a scale of its own: a signal's channel, and all images of a modality together."""
    return values if dims[0] == "channel" else values.reshape(1, -1)


def _group(tree: xr.DataTree, kind: str, name: str) -> xr.Dataset:
    return tree[f"{kind}/{node(name)}"].to_dataset()


def _warn_of_strangers(tree: xr.DataTree, listing: Mapping[str, Any], where: str) -> None:
    """Say what is in a file and not of the schema, so that nobody takes it for read."""
    strange = [name for name in tree.children if name not in (*_NAMED, "inputs", "truth")]
    strange += [str(name) for name in tree.data_vars]
    for kind in _NAMED:
        known = {node(name) for name in listing[kind]}
        groups = tree[kind].children if kind in tree.children else ()
        strange += [f"{kind}/{unquote(name)}" for name in groups if name not in known]
    if strange:
        warnings.warn(
            f"{where} holds more than its header lists and schema version {SCHEMA} knows: "
            f"{listed(sorted(strange))}. It is not read; open the file with xarray to see it.",
            stacklevel=2,
        )


def _dataset(array: xr.DataArray, what: str) -> xr.Dataset:
    """An array and its coordinates as `values` with coordinates; regular times are left out."""
    attrs = {k: v for k, v in array.attrs.items() if k not in ("units", "rate_hz")}
    plain: dict[str, Any] = {"units": str(array.attrs["units"])} if "units" in array.attrs else {}
    rate = rate_of(array)
    if not math.isnan(rate):
        plain["rate_hz"] = rate
    if attrs:
        plain["attrs"] = _json(attrs, what)
    if array.name is not None:
        plain["name"] = str(array.name)
    coords = {
        str(name): _variable(coord.variable, f"coordinate {name!r} of {what}")
        for name, coord in array.coords.items()
        if not (name == "time" and _on_the_grid(array))
    }
    values = xr.Variable(array.dims, _storable(array.values, what), plain)
    return xr.Dataset({"values": values}, coords=coords)


def _array(data: xr.Dataset, timed: bool = True) -> xr.DataArray:
    """The inverse of `_dataset` and `_sampled`; without times it has them from its rate."""
    stored = data["values"]
    values = _loaded(stored.values)
    if values.dtype == np.int16 and "scale" in stored.attrs:
        grid = (np.atleast_1d(stored.attrs[name]).astype(float) for name in ("scale", "offset"))
        values = dequantised(_rows(values, stored.dims), *grid).reshape(values.shape)
    attrs: dict[str, Any] = {}
    if "units" in stored.attrs:
        attrs["units"] = str(stored.attrs["units"])
    if "rate_hz" in stored.attrs:
        attrs["rate_hz"] = float(stored.attrs["rate_hz"])
    attrs |= json.loads(str(stored.attrs.get("attrs", "{}")))
    coords = {
        name: (coord.dims, _loaded(coord.values), _unpacked(coord.attrs))
        for name, coord in data.coords.items()
    }
    if timed and "time" not in coords:
        coords["time"] = ("time", np.arange(stored.sizes["time"]) / attrs["rate_hz"], {})
    name = stored.attrs.get("name")
    return xr.DataArray(values, dims=stored.dims, coords=coords, attrs=attrs, name=name)


def _truth(truth: xr.Dataset, what: str) -> xr.Dataset:
    named = {str(k): _variable(v, f"{k!r} in {what}") for k, v in truth.variables.items()}
    coords = {str(name) for name in truth.coords}
    return xr.Dataset(
        {name: v for name, v in named.items() if name not in coords},
        coords={name: v for name, v in named.items() if name in coords},
        attrs={"attrs": _json(truth.attrs, what)},
    )


def _untruth(stored: xr.Dataset) -> xr.Dataset:
    plain = {
        str(name): (v.dims, _loaded(v.values), _unpacked(v.attrs))
        for name, v in stored.variables.items()
    }
    coords = {str(name) for name in stored.coords}
    return xr.Dataset(
        {name: v for name, v in plain.items() if name not in coords},
        coords={name: v for name, v in plain.items() if name in coords},
        attrs=_unpacked(stored.attrs),
    )


def _variable(variable: xr.Variable, what: str) -> xr.Variable:
    attrs = {"attrs": _json(variable.attrs, what)} if variable.attrs else {}
    return xr.Variable(variable.dims, _storable(variable.values, what), attrs)


def _unpacked(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    return dict(json.loads(str(attrs.get("attrs", "{}"))))


def _storable(values: np.ndarray, what: str) -> np.ndarray:
    """Numbers as they are, text as strings of any length; nothing else, so nothing is pickled."""
    if values.dtype.kind in "iub" or values.dtype in (np.float16, np.float32, np.float64):
        return values
    texts = values.dtype.kind in "UT" or (
        values.dtype == object and all(isinstance(text, str) for text in values.flat)
    )
    if texts:
        _check_letters(values, what)
        return values.astype(np.dtypes.StringDType())
    raise WriteError(
        f"a file holds numbers, true or false, and text; {what} is {values.dtype}. Convert it, "
        "for instance dates to text and times to seconds."
    )


def _check_letters(texts: np.ndarray, what: str) -> None:
    """Refuse what would come back cut (HDF5 ends a text at a NUL) or is no text at all."""
    for text in texts.flat:
        try:
            str(text).encode()
        except UnicodeEncodeError as error:
            raise WriteError(
                f"a file holds text as UTF-8; {what} has half a letter ({error.reason}, at "
                f"{error.start}). Decode it anew, or replace what cannot be decoded."
            ) from error
        if "\0" in str(text):
            raise WriteError(f"text in a file has no NUL; {what} has one. Replace it.")


def _loaded(values: np.ndarray) -> np.ndarray:
    if values.dtype == object or values.dtype.kind == "T":
        return np.array(values.tolist(), dtype=str).reshape(values.shape)
    # Files keep a byte order of their own.
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _on_the_grid(array: xr.DataArray) -> bool:
    """Whether sample i lies at i / rate to the last bit, so that the times need not be kept."""
    rate = rate_of(array)
    if math.isnan(rate) or array["time"].dims != ("time",) or array["time"].attrs:
        return False
    return np.array_equal(array["time"].values, np.arange(array.sizes["time"]) / rate)


def _check_whole(
    arrays: Mapping[str, xr.DataArray], listing: Mapping[str, Any], where: str
) -> None:
    short = [
        name
        for name, array in arrays.items()
        if int((~np.isnan(array.values)).sum()) != listing[name].get("observed")
    ]
    if short:
        raise ReadError(
            f"{where} does not hold all samples its header counts; they differ in "
            f"{listed(short)}. A part of it was lost: write or copy it again."
        )


def _json(attrs: Mapping[Any, Any], what: str) -> str:
    try:
        return json.dumps({str(k): v for k, v in attrs.items()}, default=_plain)
    except (TypeError, ValueError) as error:
        raise WriteError(
            f"attributes are text, numbers, lists and dictionaries of them; {what} has others "
            f"({error}). Convert or drop them, as with dataclasses.replace(record, attrs=...)."
        ) from error


def _plain(value: object) -> object:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} {value!r:.60}")
