"""Saved models: weights as safetensors, everything else as JSON; reading one never runs code.

A model is a folder. `model.json` names its weights file by digest and is replaced last, in one
rename, so an interrupted save leaves the former model whole.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from latentphys.recordings.beside import beside
from latentphys.recordings.errors import ModelFileError, WriteError


@dataclass(frozen=True)
class FolderKind:
    """What a folder of tensors and JSON is of.

    Attributes:
        card: name of its JSON file.
        weights: beginning of the name of its file of tensors.
        format: number of the format this release reads and writes.
        name: what it is called in messages.
        remedy: what to do about one that cannot be read.
    """

    card: str
    weights: str
    format: int
    name: str
    remedy: str


FORMAT = 1
CARD = "model.json"
MODEL = FolderKind(CARD, "weights", FORMAT, "model", "Save the model again.")


def save_model(path: str | Path, weights: dict[str, Tensor], card: dict[str, Any]) -> None:
    """Write a model folder; the one that stood there survives until the new one is complete.

    Args:
        path: the folder, made if need be.
        weights: name -> tensor.
        card: plain values; `format` and `weights` are added.
    """
    write_folder(Path(path), weights, card, MODEL)


def load_model(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and card of a model folder.

    Raises:
        ModelFileError: no model there, another format, or weights that are not the ones saved.
    """
    folder = Path(path)
    if not (folder / CARD).is_file():
        raise ModelFileError(
            f"a saved model is a folder with {CARD}; {folder} has none. Write one with "
            "fit.save(path)."
        )
    return read_folder(folder, MODEL)


def write_folder(
    folder: Path, tensors: dict[str, Tensor], card: dict[str, Any], kind: FolderKind
) -> None:
    """Write a folder of tensors and JSON; what stood there survives until the new is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    content = save_tensors({name: tensor.contiguous() for name, tensor in tensors.items()})
    digest = hashlib.sha256(content).hexdigest()
    name = f"{kind.weights}-{digest[:16]}.safetensors"
    card = {"format": kind.format, "weights": {"file": name, "sha256": digest}, **card}
    text = json.dumps(card, indent=1, allow_nan=True)
    _write_beside(folder / name, content)
    _write_beside(folder / kind.card, text.encode())
    for old in folder.glob(f"{kind.weights}-*.safetensors"):
        if old.name != name:
            old.unlink()


def read_folder(folder: Path, kind: FolderKind) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and card that `write_folder` wrote.

    Raises:
        ModelFileError: another format, or tensors that are not the ones saved.
    """
    place = folder / kind.card
    try:
        card = json.loads(place.read_text())
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{place} is not JSON ({error}). {kind.remedy}") from error
    if not isinstance(card, dict):
        raise ModelFileError(f"{place} is not a JSON object. {kind.remedy}")
    if card.get("format") != kind.format:
        raise ModelFileError(
            f"this release reads {kind.name} format {kind.format}, {folder} is of format "
            f"{card.get('format')!r}. Load it with the release that wrote it."
        )
    try:
        file, digest = folder / Path(card["weights"]["file"]).name, card["weights"]["sha256"]
    except (KeyError, TypeError) as error:
        raise ModelFileError(
            f"{place} does not name its weights by file and sha256 ({error!r}). {kind.remedy}"
        ) from error
    if not file.is_file():
        raise ModelFileError(f"{folder} lacks its weights {file.name}. Copy the whole folder.")
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise ModelFileError(
            f"{file} is not the file that was saved (its SHA-256 differs). Copy the folder again."
        )
    return load_tensors(content), card


def halved(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights rounded to half precision; whole numbers stay as they are.

    Raises:
        WriteError: a weight beyond the largest number of half precision, 65,504.
    """
    rounded = {k: v.half() if v.is_floating_point() else v for k, v in weights.items()}
    for name, weight in rounded.items():
        if weight.isinf().any() and not weights[name].isinf().any():
            raise WriteError(
                f"half precision holds numbers up to 65,504; {name} has "
                f"{float(weights[name].abs().max()):.3g}. Save with half=False."
            )
    return rounded


def check_weights(expected: dict[str, Tensor], given: dict[str, Tensor]) -> None:
    """Refuse weights that are missing, surplus, or of another shape.

    Raises:
        ModelFileError: names them.
    """
    missing, surplus = (
        sorted(expected.keys() - given.keys()),
        sorted(given.keys() - expected.keys()),
    )
    reshaped = [k for k in expected.keys() & given.keys() if expected[k].shape != given[k].shape]
    if missing or surplus or reshaped:
        raise ModelFileError(
            "saved weights must be exactly the model's: "
            f"missing {missing or 'none'}, surplus {surplus or 'none'}, of another shape "
            f"{sorted(reshaped) or 'none'}. Save the model again with this release."
        )


def _write_beside(target: Path, content: bytes) -> None:
    """Write a temporary file in the same folder, flush it to disk, and rename it onto target."""
    with beside(target) as part, part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
