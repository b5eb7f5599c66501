"""Numbers and names given by a caller, checked once at the public door."""

import math
from collections.abc import Iterable
from typing import Any

from latentphys.recordings.errors import ArgumentError, LatentphysError


def whole_number(
    name: str,
    value: Any,
    least: int,
    remedy: str,
    error: type[LatentphysError] = ArgumentError,
) -> int:
    """The value as an int; 1e3 is the whole number 1000.

    Args:
        name: of the argument, for the message.
        value: what was given.
        least: the smallest allowed.
        remedy: a sentence on what to give instead.
        error: what to raise.

    Raises:
        LatentphysError: not a whole number of at least `least`; of the class `error`.

    Example:
        >>> whole_number("draws", 100, 2, "100 is usual."), whole_number("steps", 1e3, 1, "")
        (100, 1000)
    """
    number = _number(value)
    if not (math.isfinite(number) and number == int(number) and number >= least):
        raise error(f"{name} is a whole number from {least} up, got {value!r}. {remedy}")
    return int(number)


def seed_number(
    seed: Any,
    error: type[LatentphysError] = ArgumentError,
    *,
    bits: int = 63,
    remedy: str = "Choose 0, say.",
) -> int:
    """The seed as an int.

    Args:
        seed: what was given.
        error: what to raise.
        bits: those that a generator takes: torch's 63, NumPy's older one 32.
        remedy: a sentence on what to give instead.

    Raises:
        LatentphysError: not a whole number from 0 up of so many bits; of the class `error`.
    """
    seed = whole_number("seed", seed, 0, remedy, error)
    if seed >= 2**bits:
        raise error(f"seed is a whole number below 2**{bits}, got {seed}. {remedy}")
    return seed


def number_between(
    name: str,
    value: Any,
    least: float,
    most: float,
    remedy: str,
    *,
    inclusive: bool = False,
    error: type[LatentphysError] = ArgumentError,
) -> float:
    """The value as a float between two bounds; an infinite upper bound allows any finite number.

    Args:
        name: of the argument, for the message.
        value: what was given.
        least, most: the bounds; neither is allowed itself.
        remedy: a sentence on what to give instead.
        inclusive: whether `least` itself is allowed.
        error: what to raise.

    Raises:
        LatentphysError: outside the bounds, or no number; of the class `error`.

    Example:
        >>> number_between("level", 0.9, 0.0, 1.0, "0.9 is usual.")
        0.9
    """
    number = _number(value)
    above = number >= least if inclusive else number > least
    if not (above and number < most):
        if math.isinf(most):
            rule = f"a finite number {'from' if inclusive else 'above'} {least:g}"
            rule += " up" if inclusive else ""
        elif inclusive:
            rule = f"from {least:g} up to, but not, {most:g}"
        else:
            rule = f"between {least:g} and {most:g}"
        raise error(f"{name} is {rule}, got {value!r}. {remedy}")
    return number


def names_in(wanted: str | Iterable[str]) -> list[str]:
    """One name or several, as a list; what is neither stays, to be refused as no name there is.

    Example:
        >>> names_in("ecg"), names_in(("ecg", "ppg"))
        (['ecg'], ['ecg', 'ppg'])
    """
    return [wanted] if isinstance(wanted, str) or not isinstance(wanted, Iterable) else [*wanted]


def _number(value: Any) -> float:
    """NaN for what is no number; True and False are none."""
    if isinstance(value, bool | str | bytes):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
