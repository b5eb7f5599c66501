"""Findings as a page that opens anywhere: words first, a picture each, no other file needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from latentphys.trust.audits.finding import Finding
from latentphys.trust.audits.pictures import COLOUR, picture

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;"
    "color:#222;background:#fff}h1{margin:0 0 .3rem;font-size:1.7rem}h2{font-size:1.15rem;"
    "margin:2.2rem 0 .6rem;border-bottom:1px solid #ddd;padding-bottom:.2rem}"
    "h3{margin:0 0 .2rem;font-size:1.02rem}p{margin:.3rem 0}small,.aside{color:#666}"
    ".first{font-size:1.2rem;font-weight:600;margin:.6rem 0}"
    ".chip{display:inline-block;border-radius:.8rem;padding:0 .6rem;color:#fff;font-size:.8rem;"
    "white-space:nowrap}.chips .chip{margin-right:.5rem;font-size:.9rem;padding:.1rem .8rem}"
    "article{border-left:4px solid;padding:.1rem 0 .1rem 1rem;margin:1rem 0;display:flex;"
    "gap:1.5rem;align-items:flex-start;flex-wrap:wrap}article .words{flex:1 1 22rem}"
    ".drawn{flex:0 0 380px;max-width:100%}svg{display:block;max-width:100%}"
    "table{border-collapse:collapse;width:100%}"
    "td,th{padding:.25rem .7rem .25rem 0;text-align:left;font-size:.88rem;vertical-align:top;"
    "border-bottom:1px solid #eee}a{color:inherit}ul{margin:.3rem 0 .8rem;padding-left:1.2rem}"
    "@media print{article{break-inside:avoid}}"
)
READING = (
    "A dot is the estimate, the bar its 95 % interval with people drawn again, the triangle the "
    "control; the green band holds the values that are fine. A verdict goes by the whole interval: "
    "fine inside the band, a worry outside it, unsure where it lies across its edge."
)
TITLES = {
    "leakage": "Was anyone of these in training?",
    "collapse": "Does the state say anything?",
    "dominance": "Is every sensor heard?",
    "lag": "Are delays kept?",
    "dose": "Does what should move the state move it, and the rest not?",
    "responsive": "Does the state tell physiology of new people?",
    "identity": "Does it know people and devices, and by what?",
    "pathology": "Does it keep what a cardiologist would look for?",
    "pairing": "Are imputed sensors of this person?",
    "shuffled": "Does order matter?",
}


def page(findings: Sequence[Finding], summary: str, about: Mapping[str, Any]) -> str:
    """The whole report.

    Args:
        findings: what to worry about first.
        summary: its first line.
        about: how it was made.
    """
    made = "; ".join(f"{escape(str(k))}: {escape(str(v))}" for k, v in about.items())
    name = f"Audit of a model of {escape(str(about.get('sensors', 'sensors')))}"
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        f"<title>{name}</title><style>{STYLE}</style><h1>{name}</h1>"
        f"<p class='first'>{escape(summary)}</p><p class='chips'>{_chips(findings)}</p>"
        f"{_list(findings, 'worry', 'What to worry about')}"
        f"{_list(findings, 'unsure', 'What these people are too few to say')}"
        f"<h2>All findings</h2><p class='aside'>{READING}</p>{_rows(findings)}"
        f"{_sections(findings)}"
        f"<p><small>{made}. Intervals: 95 %, people drawn again.</small></p></html>"
    )


def table(findings: Sequence[Finding], summary: str) -> str:
    """One row a finding, for a notebook: without the page's style."""
    return f"<p><b>{escape(summary)}</b></p>{_rows(findings, linked=False)}"


def _rows(findings: Sequence[Finding], linked: bool = True) -> str:
    rows = "".join(
        f"<tr><td>{_chip(f.verdict, f.verdict)}</td><td>{_named(f, linked)}</td>"
        f"<td>{escape(f.figures)}</td><td>{escape(f.statistic)}</td></tr>"
        for f in findings
    )
    head = "<tr><th>verdict</th><th>audit</th><th>value [95 %] (control)</th><th>of</th></tr>"
    return f"<table>{head}{rows}</table>"


def _named(finding: Finding, linked: bool) -> str:
    name = escape(finding.name)
    return f"<a href='#{_anchor(finding)}'>{name}</a>" if linked else name


def _anchor(finding: Finding) -> str:
    return escape(finding.name.replace(": ", "-").replace(" ", "-"))


def _chip(verdict: str, text: str) -> str:
    # With its own colours, so that a notebook shows it too.
    look = f"background:{COLOUR[verdict]};color:#fff;border-radius:.8em;padding:0 .6em"
    return f"<span class='chip' style='{look}'>{escape(text)}</span>"


def _chips(findings: Sequence[Finding]) -> str:
    counts = {verdict: sum(f.verdict == verdict for f in findings) for verdict in COLOUR}
    return "".join(_chip(v, f"{count} {v}") for v, count in counts.items() if count)


def _list(findings: Sequence[Finding], verdict: str, title: str) -> str:
    """Findings of one verdict in words, under a title; nothing where there is none."""
    items = "".join(
        f"<li><b><a href='#{_anchor(f)}'>{escape(f.name)}</a></b>: {escape(f.words)}</li>"
        for f in findings
        if f.verdict == verdict
    )
    return f"<h2>{title}</h2><ul>{items}</ul>" if items else ""


def _sections(findings: Sequence[Finding]) -> str:
    """A section an audit, in the order of its worst finding."""
    parts = []
    for audit in dict.fromkeys(f.audit for f in findings):
        own = "".join(_article(f) for f in findings if f.audit == audit)
        parts.append(f"<h2>{escape(audit)}: {TITLES.get(audit, '')}</h2>{own}")
    return "".join(parts)


def _article(finding: Finding) -> str:
    drawn, figures = picture(finding), ""
    if finding.statistic:
        figures = f"<p><small>{escape(f'{finding.statistic}: {finding.figures}')}</small></p>"
    return (
        f"<article id='{_anchor(finding)}' style='border-color:{COLOUR[finding.verdict]}'>"
        f"<div class='words'><h3>{escape(finding.name)} {_chip(finding.verdict, finding.verdict)}"
        f"</h3><p>{escape(finding.words)}</p>"
        f"<p class='aside'><i>Hypothesis: {escape(finding.hypothesis)}</i></p>"
        f"{figures}</div>"
        f"{drawn}</article>"
    )
