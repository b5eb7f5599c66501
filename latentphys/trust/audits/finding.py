"""One finding of an audit: a hypothesis, a figure beside its control, and a verdict in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["fine", "worry", "unsure", "not tested"]
DECIDED = ("fine", "worry")


@dataclass(frozen=True)
class Finding:
    """What one audit found.

    Attributes:
        name: the audit's, and after a colon what of it: "dose: gain".
        hypothesis: what holds of a model one can trust, as a sentence.
        statistic: what `value` is, with its unit.
        value, low, high: estimate and 95 % interval over people; NaN where there is none.
        control: what `control_value` was taken from.
        control_value: the same statistic of the control.
        verdict: "fine", "worry", "unsure" where the interval holds both, or "not tested".
        words: the verdict as a sentence, with what to do.
        detail: plain numbers behind it, for JSON and pictures: "limits" [least, most] of a value
            that is fine, None where there is none; "curves"; "bars".
    """

    name: str
    hypothesis: str
    statistic: str
    value: float
    low: float
    high: float
    control: str
    control_value: float
    verdict: Verdict
    words: str
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def audit(self) -> str:
        """Name of the audit it belongs to."""
        return self.name.split(":")[0]

    @property
    def figures(self) -> str:
        """Value, interval and control in one line.

        Example:
            >>> Finding("lag", "", "", 0.9, 0.8, 1.0, "none", 0.0, "fine", "").figures
            '0.9 [0.8, 1] (none: 0)'
        """
        if math.isnan(self.value):
            return "-"
        bounds = "" if math.isnan(self.low) else f" [{short(self.low)}, {short(self.high)}]"
        control = short(self.control_value)
        beside = "" if math.isnan(self.control_value) else f" ({self.control}: {control})"
        return f"{short(self.value)}{bounds}{beside}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; a figure that is not finite is None."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: _plain(value) for name, value in plain.items()}


def short(value: float) -> str:
    """Three digits; what is 0 but for rounding is 0.

    Example:
        >>> short(0.12345), short(-2.5e-15), short(1234.5)
        ('0.123', '0', '1.23e+03')
    """
    return "0" if abs(value) < 1e-6 else f"{value:.3g}"


def judged(
    low: float, high: float, least: float = -math.inf, most: float = math.inf
) -> Literal["fine", "worry", "unsure"]:
    """The verdict by an interval: fine within the limits, a worry beyond one, else unsure.

    Args:
        low, high: of the interval; NaN, as of one person, decides nothing.
        least, most: a value between them is fine.

    Example:
        >>> judged(0.8, 1.0, least=0.7), judged(0.1, 0.3, least=0.7), judged(0.6, 0.9, least=0.7)
        ('fine', 'worry', 'unsure')
    """
    if least <= low and high <= most:
        return "fine"
    return "worry" if high < least or low > most else "unsure"


def not_tested(name: str, hypothesis: str, why: str) -> Finding:
    """A finding that says why there is none."""
    nan = math.nan
    return Finding(name, hypothesis, "", nan, nan, nan, "", nan, "not tested", why)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
