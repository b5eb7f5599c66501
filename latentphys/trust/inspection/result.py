"""What `FittedModel.inspect` returns: labelled arrays, and a table a line a number of the state."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import xarray as xr


@dataclass(frozen=True, eq=False)
class Inspection:
    """What each number of the state does, and where the transition rests.

    Attributes:
        tree: DataTree with groups
            `latent` (latent): sd, posterior_sd, between_people (share of the variance),
            timescale_s, peak_hz, spectrum (latent, frequency_hz), effect (latent, modality) of
            moving it by one standard deviation, in the sensor's own; of recordings also
            rhythm_share (latent, rhythm), the share of its variance that the phase of heart or
            breath tells, and loading (latent, summary, label), correlations over 16 s with what
            is known, beside loading_by_chance (label): 95 % of the largest of all of them where
            labels are another recording's.
            `traversal` with a group a sensor: curve (latent, move_sd, time).
            `transition` (point, mode): fixed points z, the share of starts that led there,
            whether they are stable, how far from the data they lie (away_sd), and the
            frequency_hz and decay_s of each eigenvalue.
    """

    tree: xr.DataTree

    def __getitem__(self, group: str) -> xr.Dataset:
        """One group as a Dataset: "latent", "transition", "traversal/ecg"."""
        return self.tree[group].to_dataset()

    def to_dataframe(self) -> Any:
        """A pandas table, a row a number of the state."""
        import pandas as pd

        head, *rows = self._rows()
        return pd.DataFrame(rows, columns=head)

    def _rows(self) -> list[list[Any]]:
        data = self["latent"]
        sensors = [str(name) for name in data.modality.values]
        rhythms = [str(name) for name in data.rhythm.values] if "rhythm_share" in data else []
        head = ["latent", "sd", "memory s", "peak Hz", "between people"]
        head += [f"{name} phase" for name in rhythms] + ["goes with"]
        rows: list[list[Any]] = [head + [f"moves {name}" for name in sensors]]
        for k in range(data.sizes["latent"]):
            one = data.isel(latent=k)
            row: list[Any] = [k, float(one.sd), float(one.timescale_s), float(one.peak_hz)]
            row += [float(one.between_people)]
            row += [float(one.rhythm_share.sel(rhythm=name)) for name in rhythms]
            row += [strongest(one)]
            rows.append(row + [float(one.effect.sel(modality=name)) for name in sensors])
        return rows

    @property
    def rests(self) -> str:
        """The transition's fixed points in words."""
        data, about = self["transition"], self.tree.attrs
        if not data.sizes["point"]:
            return f"The {about['transition']} transition: no fixed point was found."
        lines = []
        for k in range(min(data.sizes["point"], 3)):
            one = data.isel(point=k)
            turning = _turning(one)
            kind = "stable" if bool(one.stable) else "unstable"
            lines.append(
                f"fixed point {k} ({kind}, from {float(one.share):.0%} of starts, "
                f"{float(one.away_sd):.2g} sd from the data): {turning}"
            )
        more = data.sizes["point"] - len(lines)
        rest = f"; and {more} more" if more else ""
        return f"The {about['transition']} transition: {'; '.join(lines)}{rest}."

    def _said(self) -> str:
        about = self.tree.attrs
        if about["people"]:
            return f"State of {about['records']} recordings of {about['people']} people."
        return "State of the model's own paths: pass recordings to see what it goes with."

    def __repr__(self) -> str:
        rows = [[_cell(cell) for cell in row] for row in self._rows()]
        widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
        lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) for r in rows]
        return "\n".join([self._said(), *(line.rstrip() for line in lines), self.rests])

    def _repr_html_(self) -> str:
        head, *rows = ([_cell(cell) for cell in row] for row in self._rows())
        top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
        )
        return (
            f"<p>{escape(self._said())}</p><table><tr>{top}</tr>{body}</table>"
            f"<p>{escape(self.rests)}</p>"
        )


def strongest(one: xr.Dataset) -> str:
    """The label one number goes with most, where that is more than chance; "" where none is.

    Args:
        one: group `latent` at one latent number.
    """
    if "loading" not in one:
        return ""
    ahead = np.abs(one.loading.values) - one.loading_by_chance.values
    summary, label = np.unravel_index(int(ahead.argmax()), ahead.shape)
    if not ahead[summary, label] > 0:
        return ""
    size = float(one.loading.values[summary, label])
    named = str(one.label.values[label]).replace("_", " ")
    return f"{named} {size:+.2f} ({one.summary.values[summary]})"


def _turning(one: xr.Dataset) -> str:
    """The modes of a fixed point that turn, slowest to shrink first."""
    hertz, decay = one.frequency_hz.values, one.decay_s.values
    # A conjugate pair is one motion; half the rate is a change of sign each step.
    turning = [(f, d) for f, d in zip(hertz, decay, strict=True) if f > 0][::2]
    if not turning:
        return f"nothing turns, the slowest mode shrinks by e in {decay[0]:.2g} s"
    return "turns at " + ", ".join(f"{f:.2g} Hz (decay {d:.2g} s)" for f, d in turning[:4])


def _cell(cell: Any) -> str:
    if isinstance(cell, float):
        return "-" if np.isnan(cell) else f"{cell:.2f}"
    return str(cell)
