"""Findings as a page that opens anywhere: words first, a picture each, no other file needed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from latentphys.trust.audits.finding import Finding

COLOUR = {"worry": "#c0392b", "fine": "#2e7d52", "not tested": "#8a8a8a"}
WIDTH, HEIGHT = 340.0, 150.0
SERIES = ("#1f6f8b", "#d1603d", "#7a5195", "#c9a227", "#3b8f5a", "#555555", "#a05195", "#2f4b7c")
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color:#222}article{border-left:5px solid;padding:.2rem 1rem;margin:1.5rem 0}"
    "h2{margin:.2rem 0;font-size:1.1rem}p{margin:.3rem 0}small{color:#666}"
    ".first{font-size:1.25rem;font-weight:600}svg{display:block;margin:.6rem 0;max-width:100%}"
    "table{border-collapse:collapse}td,th{padding:.2rem .7rem;text-align:left;font-size:.9rem;"
    "border-bottom:1px solid #ddd}"
)


def page(findings: Sequence[Finding], summary: str, about: Mapping[str, Any]) -> str:
    """The whole report.

    Args:
        findings: what to worry about first.
        summary: its first line.
        about: how it was made.
    """
    worries = "".join(
        f"<li><b>{escape(f.name)}</b>: {escape(f.words)}</li>"
        for f in findings
        if f.verdict == "worry"
    )
    made = "; ".join(f"{escape(str(k))}: {escape(str(v))}" for k, v in about.items())
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Audit</title>"
        f"<style>{STYLE}</style><h1>Audit</h1><p class='first'>{escape(summary)}</p>"
        f"<ul>{worries}</ul>{table(findings, '')}{''.join(map(_article, findings))}"
        f"<p><small>{made}. Intervals: 95 %, people drawn again.</small></p></html>"
    )


def table(findings: Sequence[Finding], summary: str) -> str:
    """One row a finding."""
    rows = "".join(
        f"<tr><td style='color:{COLOUR[f.verdict]}'><b>{f.verdict}</b></td>"
        f"<td>{escape(f.name)}</td><td>{escape(f.figures)}</td><td>{escape(f.statistic)}</td></tr>"
        for f in findings
    )
    head = "<tr><th>verdict</th><th>audit</th><th>value [95 %] (control)</th><th>of</th></tr>"
    return f"<p><b>{escape(summary)}</b></p><table>{head}{rows}</table>"


def _article(finding: Finding) -> str:
    return (
        f"<article style='border-color:{COLOUR[finding.verdict]}'>"
        f"<h2>{escape(finding.name)}: {finding.verdict}</h2>"
        f"<p>{escape(finding.words)}</p><p><i>{escape(finding.hypothesis)}</i></p>"
        f"{_picture(finding)}"
        f"<p><small>{escape(finding.statistic)}: {escape(finding.figures)}</small></p></article>"
    )


def _picture(finding: Finding) -> str:
    """Curves where the detail holds some (x, series, x_name, y_name), else the interval."""
    curves = finding.detail.get("curves")
    if curves:
        return _lines(curves["x"], curves["series"], curves["x_name"], curves["y_name"])
    return "" if math.isnan(finding.value) else _interval(finding)


def _interval(finding: Finding) -> str:
    """Estimate, interval and control on one line from 0."""
    known = [finding.value, finding.low, finding.high, finding.control_value, 0.0]
    known = [float(v) for v in known if math.isfinite(v)]
    low, span = min(known), (max(known) - min(known)) or 1.0

    def at(value: float) -> float:
        return 20.0 + (WIDTH - 40.0) * (value - low) / span

    colour, parts = COLOUR[finding.verdict], []
    if math.isfinite(finding.low) and math.isfinite(finding.high):
        parts.append(
            f"<line x1='{at(finding.low):.1f}' x2='{at(finding.high):.1f}' y1='20' y2='20' "
            f"stroke='{colour}' stroke-width='5' stroke-opacity='.35'/>"
        )
    parts.append(f"<circle cx='{at(finding.value):.1f}' cy='20' r='5' fill='{colour}'/>")
    if math.isfinite(finding.control_value):
        x = at(finding.control_value)
        parts.append(f"<path d='M{x - 5:.1f} 8h10l-5 9z' fill='#555'/>")
    zero = at(0.0)
    return (
        f"<svg width='{WIDTH:.0f}' height='48' role='img' aria-label='{escape(finding.figures)}'>"
        f"<line x1='15' x2='{WIDTH - 15:.0f}' y1='20' y2='20' stroke='#ccc'/>"
        f"<line x1='{zero:.1f}' x2='{zero:.1f}' y1='13' y2='27' stroke='#999'/>{''.join(parts)}"
        f"<text x='{zero:.1f}' y='42' font-size='11' fill='#777' text-anchor='middle'>0</text>"
        "</svg>"
    )


def _lines(
    x: Sequence[float], series: Mapping[str, Sequence[float]], x_name: str, y_name: str
) -> str:
    """Series over one axis."""
    values = [v for own in series.values() for v in own if v is not None and math.isfinite(v)]
    if not values or len(x) < 2:
        return ""
    low, high = min(0.0, *values), max(values)
    span, wide = (high - low) or 1.0, (max(x) - min(x)) or 1.0
    parts = []
    for k, (name, own) in enumerate(series.items()):
        points = " ".join(
            f"{45 + (WIDTH - 60) * (a - min(x)) / wide:.1f},"
            f"{HEIGHT - 35 - (HEIGHT - 50) * (b - low) / span:.1f}"
            for a, b in zip(x, own, strict=True)
            if b is not None and math.isfinite(b)
        )
        colour = SERIES[k % len(SERIES)]
        dashes = " stroke-dasharray='3 6'" if name == "planted" else ""
        parts.append(
            f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='2'{dashes}/>"
        )
        parts.append(
            f"<text x='{WIDTH + 5:.0f}' y='{20 + 16 * k}' font-size='12' fill='{colour}'>"
            f"{escape(name)}</text>"
        )
    return (
        f"<svg width='{WIDTH + 160:.0f}' height='{HEIGHT:.0f}' role='img' "
        f"aria-label='{escape(y_name)} by {escape(x_name)}'>"
        f"<path d='M45 10V{HEIGHT - 35}H{WIDTH - 15}' fill='none' stroke='#999'/>{''.join(parts)}"
        f"<text x='40' y='18' font-size='11' text-anchor='end'>{high:.3g}</text>"
        f"<text x='40' y='{HEIGHT - 35}' font-size='11' text-anchor='end'>{low:.3g}</text>"
        f"<text x='45' y='{HEIGHT - 20}' font-size='11'>{min(x):.3g}</text>"
        f"<text x='{WIDTH - 15}' y='{HEIGHT - 20}' font-size='11' text-anchor='end'>"
        f"{max(x):.3g}</text><text x='{WIDTH / 2}' y='{HEIGHT - 5}' font-size='12' "
        f"text-anchor='middle'>{escape(x_name)}; up: {escape(y_name)}</text></svg>"
    )
