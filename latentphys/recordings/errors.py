"""The errors of latentphys: one family, so that a caller can catch all of it at once.

Every message says the rule, what was found, what is allowed, and what to do about it.
"""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class LatentphysError(Exception):
    """What every error raised on purpose by latentphys is."""


class ModalityError(LatentphysError, ValueError):
    """A modality or channel that is not there, or that does not fit what is asked of it."""


class RateError(LatentphysError, ValueError):
    """A rate or a set of sample times that cannot be a sensor's."""


class UnitError(LatentphysError, ValueError):
    """One modality given in different units."""


class ReadError(LatentphysError, OSError):
    """A file or folder that cannot be read as a recording."""


class DatasetError(LatentphysError, OSError):
    """A public dataset that cannot be fetched, found or verified."""


class WriteError(LatentphysError, OSError):
    """A recording that cannot be written as asked."""


class ExtraError(LatentphysError, ImportError):
    """An optional package that is needed and not installed."""


class SplitError(LatentphysError, ValueError):
    """A split whose sides are not disjoint, or that cannot be made."""


class CohortError(LatentphysError, ValueError):
    """A collection of records that cannot be a cohort."""


class LabelError(LatentphysError, ValueError):
    """Annotations that are not there, or cannot be made into targets."""


class ModelFileError(LatentphysError, ValueError):
    """A saved model that is incomplete, altered, or of another version."""


class FitError(LatentphysError, ValueError):
    """A fit that cannot start or cannot go on."""


class InputError(LatentphysError, ValueError):
    """Exogenous inputs that do not fit the model."""


class ArgumentError(LatentphysError, ValueError):
    """An argument outside what is allowed."""


@contextmanager
def read_error(file: Path, kind: str, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """A format's own errors about the bytes of a file as a ReadError; ours go through.

    Args:
        file: that is read.
        kind: the format.
        errors: what its library raises.
    """
    try:
        yield
    except LatentphysError:
        raise
    except errors as error:
        raise ReadError(
            f"{file.name} cannot be read as {kind} ({error}). Copy it again."
        ) from error


def closest(name: object, allowed: Iterable[str]) -> str:
    """Sentence that offers the allowed name nearest to `name`; empty when none is near.

    What is no name at all is told so.

    Example:
        >>> closest("pgp", ["ppg", "ecg"])
        " Did you mean 'ppg'?"
    """
    if not isinstance(name, str):
        return f" A name is a string, not of type {type(name).__name__}; give names one by one."
    options = list(allowed)
    folded = {option.lower(): option for option in options}
    match = difflib.get_close_matches(name.lower(), folded, n=1)
    return f" Did you mean {folded[match[0]]!r}?" if match else ""


def listed(names: Iterable[str], limit: int = 8) -> str:
    """Names joined by commas, cut after `limit` of them so that a message stays readable.

    Example:
        >>> listed(["a", "b", "c"], limit=2)
        'a, b and 1 more'
    """
    items = [str(name) for name in names]
    if len(items) <= limit:
        return ", ".join(items) if items else "none"
    return f"{', '.join(items[:limit])} and {len(items) - limit} more"
