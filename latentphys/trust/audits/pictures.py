"""Pictures of findings as SVG text: an interval, bars, or curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from latentphys.trust.audits.finding import Finding, short

COLOUR = {"worry": "#c0392b", "unsure": "#b8860b", "fine": "#2e7d52", "not tested": "#8a8a8a"}
SERIES = ("#1f6f8b", "#d1603d", "#7a5195", "#c9a227", "#3b8f5a", "#555555", "#a05195", "#2f4b7c")
WIDTH, HEIGHT, LEFT = 380.0, 170.0, 46.0
BAND = "#e4f2ea"  # of values that are fine


def picture(finding: Finding) -> str:
    """The finding's interval, over its curves or bars where it has some."""
    if math.isnan(finding.value):
        return ""
    curves, bars = finding.detail.get("curves"), finding.detail.get("bars")
    below = ""
    if curves:
        below = _lines(curves["x"], curves["series"], curves["x_name"], curves["y_name"])
    elif bars and len(bars) > 1:
        below = _bars(bars, str(finding.detail.get("bars_name", finding.statistic)))
    return f"<div class='drawn'>{_interval(finding)}{below}</div>"


def _text(x: float, y: float, words: str, anchor: str = "middle", colour: str = "#666") -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='11' fill='{colour}' "
        f"text-anchor='{anchor}'>{escape(words)}</text>"
    )


def _svg(height: float, label: str, parts: Sequence[str]) -> str:
    return (
        f"<svg width='{WIDTH:.0f}' height='{height:.0f}' viewBox='0 0 {WIDTH:.0f} {height:.0f}' "
        f"role='img' aria-label='{escape(label)}' font-family='system-ui,sans-serif'>"
        f"{''.join(parts)}</svg>"
    )


def _interval(finding: Finding) -> str:
    """Estimate, interval and control on one axis, over the band of what is fine."""
    least, most = finding.detail.get("limits", (None, None))
    known = [finding.value, finding.low, finding.high, finding.control_value, least, most]
    seen = [float(v) for v in known if v is not None and math.isfinite(v)]
    ticks = _ticks(min(*seen, 0.0), max(*seen, 0.0))
    low, span = ticks[0], (ticks[-1] - ticks[0]) or 1.0

    def at(value: float) -> float:
        return 20.0 + (WIDTH - 40.0) * (min(max(value, low), low + span) - low) / span

    colour, y = COLOUR[finding.verdict], 26.0
    parts = []
    if least is not None or most is not None:
        start = at(low if least is None else least)
        stop = at(low + span if most is None else most)
        parts.append(
            f"<rect x='{start:.1f}' y='8' width='{stop - start:.1f}' height='36' fill='{BAND}'/>"
        )
    parts.append(f"<path d='M20 {y + 18}H{WIDTH - 20:.0f}' stroke='#bbb'/>")
    for tick in ticks:
        parts.append(f"<path d='M{at(tick):.1f} {y + 18}v4' stroke='#bbb'/>")
        parts.append(_text(at(tick), y + 34, f"{tick:g}"))
    if math.isfinite(finding.low) and math.isfinite(finding.high):
        parts.append(
            f"<path d='M{at(finding.low):.1f} {y}H{at(finding.high):.1f}' stroke='{colour}' "
            "stroke-width='6' stroke-opacity='.4' stroke-linecap='round'/>"
        )
    parts.append(f"<circle cx='{at(finding.value):.1f}' cy='{y}' r='5' fill='{colour}'/>")
    height = y + 40
    if math.isfinite(finding.control_value):
        x = at(finding.control_value)
        parts.append(f"<path d='M{x - 5:.1f} 10h10l-5 9z' fill='#555'/>")
        height += 14
        parts.append(f"<path d='M20 {y + 43}h10l-5 9z' fill='#555'/>")
        parts.append(
            _text(35, y + 52, f"{finding.control}: {short(finding.control_value)}", "start")
        )
    return _svg(height, finding.figures, parts)


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers that hold both.

    Example:
        >>> _ticks(0.0, 0.93)
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = (high - low) or 1.0
    size = 10.0 ** math.floor(math.log10(span))
    step = next(size * k for k in (0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 2.5) if span / (size * k) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 10) for k in range(first, last + 1)]


def _bars(bars: Mapping[str, float], label: str) -> str:
    """A row a name, from 0."""
    known = {k: float(v) for k, v in bars.items() if v is not None and math.isfinite(v)}
    if not known:
        return ""
    low, high = min(0.0, *known.values()), max(0.0, *known.values())
    span, start = (high - low) or 1.0, 178.0

    def at(value: float) -> float:
        return start + (WIDTH - start - 50.0) * (value - low) / span

    parts = [_text(WIDTH / 2, 12, label)]
    for k, (name, value) in enumerate(known.items()):
        y, x = 22.0 + 17.0 * k, min(at(value), at(0.0))
        parts.append(
            f"<rect x='{x:.1f}' y='{y:.1f}' width='{max(abs(at(value) - at(0.0)), 1.0):.1f}' "
            f"height='11' fill='{SERIES[0]}'/>"
        )
        parts.append(_text(start - 8, y + 10, name[:30], "end", "#333"))
        parts.append(_text(max(at(value), at(0.0)) + 4, y + 10, f"{value:.2g}", "start"))
    height = 26.0 + 17.0 * len(known)
    parts.append(f"<path d='M{at(0.0):.1f} 18V{height - 4:.1f}' stroke='#bbb'/>")
    return _svg(height, label, parts)


def _lines(
    x: Sequence[float], series: Mapping[str, Sequence[float]], x_name: str, y_name: str
) -> str:
    """Series over one axis, named below."""
    values = [v for own in series.values() for v in own if v is not None and math.isfinite(v)]
    if not values or len(x) < 2:
        return ""
    ticks = _ticks(min(0.0, *values), max(values))
    low, span = ticks[0], (ticks[-1] - ticks[0]) or 1.0
    wide, bottom = (max(x) - min(x)) or 1.0, HEIGHT - 34.0

    def place(a: float, b: float) -> tuple[float, float]:
        across = LEFT + (WIDTH - LEFT - 20.0) * (a - min(x)) / wide
        return across, bottom - (bottom - 22.0) * (b - low) / span

    parts = [_text(LEFT - 36, 12, y_name, "start")]
    for tick in ticks:
        y = place(min(x), tick)[1]
        parts.append(f"<path d='M{LEFT} {y:.1f}H{WIDTH - 20:.0f}' stroke='#eee'/>")
        parts.append(_text(LEFT - 5, y + 4, f"{tick:g}", "end"))
    for k, (name, own) in enumerate(series.items()):
        points = " ".join(
            "{:.1f},{:.1f}".format(*place(a, b))
            for a, b in zip(x, own, strict=True)
            if b is not None and math.isfinite(b)
        )
        # What was planted lies over what was told of it, which must be seen through it.
        dashes = " stroke-dasharray='3 6'" if name == "planted" else ""
        colour = SERIES[k % len(SERIES)]
        parts.append(
            f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='2'{dashes}/>"
        )
        parts.append(_text(LEFT + 110 * k, HEIGHT - 2, f"\u2014 {name}", "start", colour))
    for edge, anchor in ((min(x), "start"), (max(x), "end")):
        parts.append(_text(place(edge, low)[0], bottom + 14, f"{edge:.3g}", anchor))
    parts.append(_text((LEFT + WIDTH - 20) / 2, bottom + 14, x_name))
    return _svg(HEIGHT, f"{y_name} by {x_name}", parts)
