"""An audit in pictures: each finding with its interval and control, or its dose and response."""

from __future__ import annotations

from typing import Any

import numpy as np

from latentphys.plotting.style import MODEL, TRUTH
from latentphys.trust.audits.audit import Audit
from latentphys.trust.audits.finding import Finding

COLOUR = {"worry": "#c0392b", "unsure": "#b8860b", "fine": MODEL}


def plot_audit(audit: Audit, columns: int = 3) -> Any:
    """A panel a finding that was tested, what to worry about first and in red, unsure in ochre.

    Args:
        audit: from `FittedModel.audit`.
        columns: of panels.

    Returns:
        Matplotlib Axes, (row, column).
    """
    import matplotlib.pyplot as plt

    findings = [f for f in audit.sorted() if f.verdict != "not tested"]
    rows = max(1, -(-len(findings) // columns))
    figure, axes = plt.subplots(
        rows, columns, squeeze=False, figsize=(3.6 * columns, 2.3 * rows), layout="constrained"
    )
    figure.suptitle(audit.summary, fontsize=11)
    for ax in axes.flat[len(findings) :]:
        ax.set_axis_off()
    for ax, finding in zip(axes.flat, findings, strict=False):
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_title(finding.name, fontsize=10, color=COLOUR[finding.verdict])
        curves = finding.detail.get("curves")
        if curves:
            _lines(ax, curves)
        else:
            _interval(ax, finding)
    return axes


def _lines(ax: Any, curves: Any) -> None:
    for name, values in curves["series"].items():
        # What was planted lies over what was told of it, which must be seen through it.
        style = "--" if name == "planted" else "-"
        ax.plot(curves["x"], values, style, marker="o", ms=3, lw=1.2, label=name)
    ax.set_xlabel(curves["x_name"], fontsize=8)
    ax.set_ylabel(curves["y_name"], fontsize=8)
    ax.legend(frameon=False, fontsize=7)


def _interval(ax: Any, finding: Finding) -> None:
    colour = COLOUR[finding.verdict]
    if np.isfinite(finding.low) and np.isfinite(finding.high):
        ax.plot([finding.low, finding.high], [0, 0], color=colour, lw=4, alpha=0.4)
    ax.plot(finding.value, 0, "o", color=colour, label="model")
    if np.isfinite(finding.control_value):
        ax.plot(finding.control_value, 0, "v", color=TRUTH, label=finding.control)
    least, most = finding.detail.get("limits", (None, None))
    ax.axvline(0, color="0.8", lw=0.8, zorder=0)
    left, right = ax.get_xlim()
    if least is not None or most is not None:  # what is fine
        start, stop = left if least is None else least, right if most is None else most
        ax.axvspan(max(start, left), min(stop, right), color="#e4f2ea", zorder=-1)
    ax.set_xlim(left, right)
    ax.set_yticks([])
    ax.set_xlabel(finding.statistic, fontsize=7)
    ax.legend(frameon=False, fontsize=7)
