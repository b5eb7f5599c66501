"""What can be told of a signal without its samples, and tables of it for eyes."""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr


@dataclass(frozen=True)
class SignalHeader:
    """One modality of a record, as its file's header tells it.

    Args:
        modality: its name.
        rate_hz: samples a second; NaN when the times are irregular.
        channels: names, in order.
        units: physical units.
        samples: samples a channel; None when only reading them tells.
        observed: share of the samples that are not NaN; NaN when that is not known.
    """

    modality: str
    rate_hz: float
    channels: tuple[str, ...]
    units: str
    samples: int | None = None
    observed: float = math.nan

    @classmethod
    def of(cls, modality: str, signal: xr.DataArray, *, observed: bool = False) -> "SignalHeader":
        """The header of a signal (channel, time); its samples are counted if `observed`.

        Example:
            >>> from latentphys.recordings.record import signal_array
            >>> x = signal_array([1.0, np.nan], 2.0, name="ecg", units="mV")
            >>> SignalHeader.of("ecg", x, observed=True).observed
            0.5
        """
        share = float(np.mean(~np.isnan(signal.values))) if observed else math.nan
        return cls(
            modality=modality,
            rate_hz=float(signal.attrs.get("rate_hz", math.nan)),
            channels=tuple(str(name) for name in signal["channel"].values),
            units=str(signal.attrs.get("units", "")),
            samples=int(signal.sizes["time"]),
            observed=share,
        )

    def renamed(self, names: Mapping[str, str]) -> "SignalHeader":
        """With other names for some channels."""
        return replace(self, channels=tuple(names.get(name, name) for name in self.channels))


def headers_of(
    signals: Mapping[str, xr.DataArray], *, observed: bool = False
) -> tuple[SignalHeader, ...]:
    """The header of each signal of a record that is read."""
    return tuple(SignalHeader.of(n, s, observed=observed) for n, s in signals.items())


def rate_text(rate_hz: float) -> str:
    """A rate for eyes.

    Example:
        >>> rate_text(125.0), rate_text(math.nan)
        ('125 Hz', 'irregular')
    """
    return "irregular" if math.isnan(rate_hz) else f"{rate_hz:g} Hz"


def text_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines whose columns stand below one another.

    Example:
        >>> text_table([("a", "bb"), ("ccc", "d")])
        ['a    bb', 'ccc  d']
    """
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows as an HTML table; whatever the files' names hold stays text.

    Example:
        >>> html_table(["a"], [["<b>"]])
        '<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>&lt;b&gt;</td></tr></tbody></table>'
    """
    top = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
