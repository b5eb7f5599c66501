"""What `FittedModel.evaluate` returns: labelled arrays, and tables to read and compute with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import xarray as xr

MODEL = "latentphys"
HEADS = {
    "subset": "whole sensors missing: imputed from",
    "gap_s": "gaps in one sensor of an otherwise complete recording, seconds",
    "missing": "other kinds of missingness",
}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of a model on people it never saw, beside baselines.

    Attributes:
        tree: DataTree. Groups `subset`, `gap_s` and `missing` hold, along the dimension of the
            same name, target and predictor:
            value (score, subject), coverage (level, subject), pit (bin, subject) of each person;
            estimate, coverage_estimate (and repaired_estimate of a calibrated model) over people
            with _lower and _upper; skill, 1 - score / score of the baseline `predictor` (crps,
            nrmse), and gain, the model's score minus the baseline's (the other scores).
            Group `break_even` holds, by target and score, the gap lengths from which and until
            which the model is ahead of linear interpolation.
        attrs: how it was made: subjects, draws, seed, what the baselines were fitted to.
    """

    tree: xr.DataTree

    @property
    def attrs(self) -> dict[Any, Any]:
        """How it was made."""
        return dict(self.tree.attrs)

    @property
    def groups(self) -> tuple[str, ...]:
        """The kinds of missingness it holds."""
        return tuple(name for name in HEADS if name in self.tree.children)

    def __getitem__(self, group: str) -> xr.Dataset:
        """One group as a Dataset: "subset", "gap_s", "missing" or "break_even"."""
        if group not in self.tree.children:
            raise KeyError(
                f"this evaluation holds {', '.join(self.tree.children)}; got {group!r}. Evaluate "
                "with gaps_s or missing to have more."
            )
        return self.tree[group].to_dataset()

    def to_dataframe(self) -> Any:
        """A long pandas table: group, label, target, predictor, score, estimate, lower, upper.

        Coverage is among the scores as "coverage 0.9"; for baselines, `skill` is the model's
        over them.
        """
        import pandas as pd

        return pd.DataFrame(list(self._long()))

    def _long(self) -> Iterator[dict[str, Any]]:
        for group in self.groups:
            data = self[group]
            for label, target, method in _cells(data, group):
                at = {group: label, "target": target, "predictor": method}
                one = data.sel(at)
                head = {"group": group, "label": label, "target": target, "predictor": method}
                for score in data.score.values:
                    row = one.sel(score=score)
                    yield {
                        **head,
                        "score": str(score),
                        "estimate": float(row.estimate),
                        "lower": float(row.estimate_lower),
                        "upper": float(row.estimate_upper),
                        "skill": float(row.skill) if "skill" in row else np.nan,
                    }
                for kind in ("coverage", "repaired"):
                    name = f"{kind}_estimate"
                    if name not in data or np.isnan(one[name].values).all():
                        continue
                    for level in data.level.values:
                        row = one.sel(level=level)
                        yield {
                            **head,
                            "score": f"{kind} {level:g}",
                            "estimate": float(row[name]),
                            "lower": float(row[f"{name}_lower"]),
                            "upper": float(row[f"{name}_upper"]),
                            "skill": np.nan,
                        }

    def _wide(self, group: str) -> list[list[str]]:
        """Head and rows: the model's scores, and its skill in CRPS over each baseline."""
        data = self[group]
        rivals = [m for m in data.predictor.values if m != MODEL]
        head = [group, "target", "log score", "CRPS", "r", "r in windows", "NRMSE", "90 % covers"]
        repaired = "repaired_estimate" in data
        head += ["repaired"] * repaired + [f"skill / {name}" for name in rivals]
        rows = [head]
        for label, target, method in _cells(data, group):
            if method != MODEL:
                continue
            one = data.sel({group: label, "target": target})
            own = one.sel(predictor=MODEL)
            row = [f"{label:g}" if isinstance(label, float) else str(label), str(target)]
            row += [_with_bounds(own, "estimate", score=s) for s in data.score.values]
            row.append(_with_bounds(own, "coverage_estimate", level=0.9))
            if repaired:
                row.append(_with_bounds(own, "repaired_estimate", level=0.9))
            for name in rivals:
                row.append(_with_bounds(one.sel(predictor=name), "skill", score="crps"))
            rows.append(row)
        return rows

    def _break_even(self) -> list[str]:
        if "break_even" not in self.tree.children:
            return []
        lines = []
        for target in self["break_even"].target.values:
            one = self["break_even"].sel(target=target, score="crps")
            start, stop = float(one.ahead_from_s), float(one.ahead_until_s)
            if np.isnan(start):
                continue
            if start == 0:
                said = "ahead of linear interpolation at every gap length tried"
            elif np.isfinite(start):
                low, high = float(one.ahead_from_s_lower), float(one.ahead_from_s_upper)
                said = f"ahead of linear interpolation from gaps of {start:.2g} s ({low:.2g} to "
                said += f"{high:.2g})"
            elif stop > 0:
                said = f"ahead of linear interpolation until gaps of {stop:.2g} s"
            else:
                said = "behind linear interpolation at the shortest and the longest gap tried"
            lines.append(f"{target}: {said}.")
        return lines

    def _said(self) -> str:
        about = self.tree.attrs
        text = f"{len(about['subjects'])} subjects, {about['draws']} draws. "
        text += "Brackets: 95 % over subjects. Skill: 1 - CRPS / CRPS of the baseline. "
        return text + f"Baselines were fitted to {about['baselines']}. {about['note']}".rstrip()

    def __repr__(self) -> str:
        lines = [f"Evaluation: {self._said()}"]
        for group in self.groups:
            rows = self._wide(group)
            widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
            lines += ["", HEADS[group]]
            for row in rows:
                cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
                lines.append("  ".join(cells).rstrip())
        return "\n".join([*lines, "", *self._break_even()]).rstrip()

    def _repr_html_(self) -> str:
        parts = [f"<p><b>Evaluation</b>: {escape(self._said())}</p>"]
        for group in self.groups:
            head, *rows = self._wide(group)
            cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
            body = "".join(
                "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
                for row in rows
            )
            parts.append(f"<h4>{escape(HEADS[group])}</h4>")
            parts.append(f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>")
        parts += [f"<p>{escape(line)}</p>" for line in self._break_even()]
        return "".join(parts)


def _cells(data: xr.Dataset, group: str) -> Iterator[tuple[Any, str, str]]:
    """Labels, targets and methods of which there is a score."""
    for label in data[group].values.tolist():
        for target in data.target.values.tolist():
            for method in data.predictor.values.tolist():
                one = data.estimate.sel({group: label, "target": target, "predictor": method})
                if not np.isnan(one.values).all():
                    yield label, target, method


def _with_bounds(one: xr.Dataset, name: str, **at: Any) -> str:
    row = one.sel(at)
    middle, low, high = (float(row[name + end]) for end in ("", "_lower", "_upper"))
    if np.isnan(middle):
        return "-"
    return f"{middle:.2f}" if np.isnan(low) else f"{middle:.2f} [{low:.2f}, {high:.2f}]"
