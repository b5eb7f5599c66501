"""What `FittedModel.audit` returns: findings, worst first, to read, to save, to fail a build on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latentphys.learning.resuming import named_folder
from latentphys.recordings.beside import beside
from latentphys.recordings.errors import ArgumentError, closest, listed
from latentphys.trust.audits.finding import DECIDED, Finding
from latentphys.trust.audits.page import page, table

ORDER = ("worry", "unsure", "not tested", "fine")


@dataclass(frozen=True, eq=False)
class Audit:
    """Findings about a model on people it is held to.

    Attributes:
        findings: in the order the audits ran.
        about: how it was made: model, people, seed.

    Example:
        >>> nan = float("nan")
        >>> one = Finding("lag", "Delays stay.", "slope", 0.1, 0.0, 0.2, "", nan, "worry", "No.")
        >>> Audit((one,)).worries(), Audit((one,)).worries(["leakage"])
        (('lag',), ())
    """

    findings: tuple[Finding, ...]
    about: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Finding:
        """A finding by its name; of an audit with one finding alone, by the audit's."""
        for finding in self.findings:
            if finding.name == name:
                return finding
        names = [finding.name for finding in self.findings]
        raise KeyError(f"this audit found {listed(names, 30)}; got {name!r}.")

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def worries(self, audits: Sequence[str] | None = None) -> tuple[str, ...]:
        """Names of the findings to worry about, of the given audits or of all."""
        return tuple(
            finding.name
            for finding in self.findings
            if finding.verdict == "worry" and (audits is None or finding.audit in audits)
        )

    def untested(self, audits: Sequence[str]) -> tuple[str, ...]:
        """Those of the given audits none of whose findings is decided."""
        tested = {finding.audit for finding in self.findings if finding.verdict in DECIDED}
        return tuple(name for name in audits if name not in tested)

    @property
    def summary(self) -> str:
        """What to worry about, in one sentence."""
        worries, tested = self.worries(), [f for f in self.findings if f.verdict != "not tested"]
        unsure = [f.name for f in self.findings if f.verdict == "unsure"]
        rest = f" Too few people to say: {', '.join(unsure)}." if unsure else ""
        left = len(self.findings) - len(tested)
        rest += f" Not tested: {left}." if left else ""
        if not tested:
            return f"Nothing could be tested.{rest}"
        if not worries:
            return f"Nothing to worry about in {len(tested)} findings.{rest}"
        return f"Worry about {', '.join(worries)} ({len(worries)} of {len(tested)} findings).{rest}"

    def sorted(self) -> list[Finding]:
        """What to worry about first."""
        return sorted(self.findings, key=lambda finding: ORDER.index(finding.verdict))

    def to_json(self) -> str:
        """All of it, for machines."""
        plain = {
            "summary": self.summary,
            "worries": list(self.worries()),
            "about": self.about,
            "findings": [finding.to_dict() for finding in self.findings],
        }
        return json.dumps(plain, indent=1, allow_nan=False)

    def to_html(self) -> str:
        """The report as one page that needs no other file."""
        return page(self.sorted(), self.summary, self.about)

    def save(self, folder: str | Path) -> Path:
        """Write report.html and audit.json, each whole or not at all.

        Args:
            folder: made if need be.

        Returns:
            The report.

        Raises:
            WriteError: no path.
            OSError: it cannot be written.
        """
        folder = named_folder(folder)
        for name, text in {
            "audit.json": self.to_json(),
            "report.html": self.to_html(),
        }.items():
            with beside(folder / name) as part:
                part.write_text(text, encoding="utf-8")
        return folder / "report.html"

    def __repr__(self) -> str:
        width = max((len(finding.name) for finding in self.findings), default=0)
        lines = [
            f"{finding.verdict:10}  {finding.name:{width}}  {finding.figures}\n"
            f"{'':12}{'':{width}}{finding.words}"
            for finding in self.sorted()
        ]
        return "\n".join([self.summary, *lines])

    def _repr_html_(self) -> str:
        return table(self.sorted(), self.summary)


def check_names(what: str, names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The names of audits, each a known one.

    Raises:
        ArgumentError: a string, or an audit that there is not.
    """
    if isinstance(names, str):
        raise ArgumentError(f"{what} is a list of audits, got {names!r}. Write [{names!r}].")
    for name in names:
        if name not in known:
            raise ArgumentError(
                f"the audits are {listed(known, 20)}; {what} names {name!r}.{closest(name, known)}"
            )
    return tuple(names)
