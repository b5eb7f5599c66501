"""An unfinished training on disk: all it needs to go on as if it had never been interrupted.

A checkpoint is a folder. `training.json` (position, history, what it is a training of) names a file
of tensors (weights, averaged and best weights, optimiser, generators) and is replaced last, so an
interrupted write leaves the former checkpoint whole. Nothing in it is pickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from latentphys.learning.checkpoints import FolderKind, read_folder, write_folder
from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.recordings.beside import check_folder
from latentphys.recordings.errors import FitError, WriteError, listed

KIND = FolderKind(
    card="training.json",
    weights="training",
    format=1,
    name="checkpoint",
    remedy="Give fit another folder, or remove this one and begin anew.",
)


@dataclass(frozen=True)
class Checkpoint:
    """Where an unfinished training is kept, and how often it is written.

    Attributes:
        path: a folder; it may be the one the model is saved in later.
        every_minutes: of wall time.
        every_steps: of updates, instead of minutes.

    Raises:
        FitError: an interval that is not positive.

    Example:
        >>> Checkpoint("runs/night", every_minutes=10.0).every_steps is None
        True
    """

    path: str | Path
    every_minutes: float = 5.0
    every_steps: int | None = None

    def __post_init__(self) -> None:
        """Refuse an interval that never ends."""
        for name in ("every_minutes", "every_steps"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise FitError(f"{name} of a checkpoint must be positive, got {value}.")


def named_folder(path: Any) -> Path:
    """The path of a folder that is named: "" would fill the working directory unasked.

    Raises:
        WriteError: "", or no path.
    """
    if not isinstance(path, str | os.PathLike) or path == "":
        raise WriteError(
            f"results are written into a folder, given by its path; got {path!r}. Write "
            "'runs/night', say, or '.' for the working directory."
        )
    return Path(path)


def _check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be made or written to, before hours of training.

    Raises:
        WriteError: names the part of the path that is shut.
    """
    place = next(place for place in (folder, *folder.parents) if place.exists())
    if not os.access(place, os.W_OK | os.X_OK):
        raise WriteError(
            f"a checkpoint is written into its folder as training goes on; {str(place)!r} cannot "
            "be written to. Give another path, or change its permissions."
        )


class Kept:
    """A checkpoint in use: what was found there, and what is written as training goes on.

    Args:
        checkpoint: where and how often.
        identity: what this is a training of, plain values for JSON; see `agree`.

    Raises:
        FitError: the checkpoint there is of another training.
        ModelFileError: it is damaged, or of another release.
        WriteError: a path that cannot be a folder, or be written to.
    """

    def __init__(self, checkpoint: Checkpoint, identity: Mapping[str, Any]) -> None:
        self.checkpoint = checkpoint
        self.folder = check_folder(named_folder(checkpoint.path).expanduser())
        _check_writable(self.folder)
        self.found: tuple[dict[str, Tensor], dict[str, Any]] | None = None
        if (self.folder / KIND.card).is_file():
            self.found = read_folder(self.folder, KIND)
        self._identity: dict[str, Any] = {}
        self._written_step, self._written_at = 0, time.monotonic()
        self.agree(identity)

    def agree(self, identity: Mapping[str, Any]) -> None:
        """Say more of what this is a training of; it must be what the one on disk is of.

        Raises:
            FitError: names what differs.
        """
        self._identity |= identity
        if self.found is None:
            return
        there = dict(_flat(self.found[1].get("identity", {})))
        here = dict(_flat(identity))
        ours = [name for name in there if name.split(".")[0] in identity]
        differing = [n for n in {**here, **dict.fromkeys(ours)} if here.get(n) != there.get(n)]
        if differing:
            pairs = ((n, there.get(n, "none"), here.get(n, "none")) for n in differing)
            told = (f"{n} ({old:.60} there, {new:.60} here)" for n, old, new in pairs)
            raise FitError(
                "a training goes on with the recordings and arguments it began with; the one in "
                f"{str(self.folder)!r} differs in {listed(told, 4)}. Pass the same again, or give "
                "another folder to begin anew."
            )

    def due(self, step: int) -> bool:
        """Whether it is time to write."""
        if self.checkpoint.every_steps is not None:
            return step - self._written_step >= self.checkpoint.every_steps
        return time.monotonic() - self._written_at >= 60.0 * self.checkpoint.every_minutes

    def went_on(self, step: int) -> None:
        """Count from this step and from now."""
        self._written_step, self._written_at = step, time.monotonic()

    def write(self, step: int, tensors: dict[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Replace what is on disk, once it is whole."""
        write_folder(self.folder, tensors, {"identity": self._identity, **plain}, KIND)
        self.went_on(step)


def content_of(*sides: Sequence[PreparedRecord]) -> str:
    """Digest of all that training sees of prepared records: names, rates, units and samples."""
    digest = hashlib.blake2b(digest_size=16)
    for side in sides:
        digest.update(f"{len(side)} records".encode())
        for record in side:
            told = [record.record, record.subject, record.duration_s, record.inputs_rate_hz]
            for name, signal in record.signals.items():
                told += [name, signal.rate_hz, signal.channels, signal.units, signal.values.shape]
                for array in (signal.values, signal.time_s, signal.scale.location):
                    _add(digest, array)
                _add(digest, signal.scale.scale)
            told += record.input_names
            told += [(name, ids.tolist()) for name, ids in record.tokens.items()]
            _add(digest, record.inputs)
            _add(digest, record.inputs_time_s)
            digest.update(repr(told).encode())
    return digest.hexdigest()


def _add(digest: hashlib.blake2b, array: np.ndarray | None) -> None:
    if array is not None:
        digest.update(np.ascontiguousarray(array).data)


def _flat(plain: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Nested values as (dotted name, JSON), so that a difference can be named."""
    for name, value in plain.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", json.dumps(value)
