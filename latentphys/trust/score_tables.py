"""Tables of scores with their intervals, as text and as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

Rows = Sequence[Sequence[str]]


def cell(estimate: float, lower: float, upper: float) -> str:
    """A score with its interval, if it has one; a dash for none."""
    if np.isnan(estimate):
        return "-"
    shown = f"{estimate:.3g}"
    return shown if np.isnan(lower) else f"{shown} [{lower:.3g}, {upper:.3g}]"


def as_text(title: str, said: str, rows: Rows) -> str:
    """Aligned columns below a line of words; the first row is the head."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) for r in rows]
    return "\n".join([f"{title}: {said}", *(line.rstrip() for line in lines)])


def as_html(title: str, said: str, rows: Rows) -> str:
    """The same for a notebook."""
    head, *others = rows
    top = "".join(f"<th>{escape(text)}</th>" for text in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in others
    )
    return f"<p><b>{title}</b>: {escape(said)}</p><table><tr>{top}</tr>{body}</table>"
