"""What one should know of a dataset before using it."""

import textwrap
from dataclasses import dataclass


@dataclass(frozen=True, repr=False)
class Card:
    """What a dataset holds, under which licence, and whom to cite.

    Args:
        name: what the library calls it.
        title: its own name.
        version: the published version that is fetched.
        licence: under which it is published.
        subjects: number of people; None where the archive does not tell.
        records: number of recordings.
        rates: signals and their rates.
        labels: what is known beside the signals.
        size: of the files that the library takes.
        url: its page.
        citation: what to cite.
        note: what else decides how it can be used.
        registry_sha256: digest of the archive's own list of checksums, where it is known; a list
            that differs is refused. Empty: the first list that the archive serves is trusted.

    Example:
        >>> card = Card("demo", "A demonstration", "1.0.0", "CC0 1.0", 2, 3, "ECG 250 Hz",
        ...             "beats", "1 MB", "https://example.org/demo", "Nobody (2020). Nothing.")
        >>> print(card)
        demo 1.0.0: A demonstration
          subjects  2, in 3 records
          signals   ECG 250 Hz
          labels    beats
          size      1 MB
          licence   CC0 1.0
          url       https://example.org/demo
          cite      Nobody (2020). Nothing.
    """

    name: str
    title: str
    version: str
    licence: str
    subjects: int | None
    records: int
    rates: str
    labels: str
    size: str
    url: str
    citation: str
    note: str = ""
    registry_sha256: str = ""

    def __repr__(self) -> str:
        people = "not told" if self.subjects is None else f"{self.subjects:,}"
        rows = {
            "subjects": f"{people}, in {self.records:,} records",
            "signals": self.rates,
            "labels": self.labels,
            "size": self.size,
            "licence": self.licence,
            "url": self.url,
            "cite": self.citation,
            "note": self.note,
        }
        lines = [f"{self.name} {self.version}: {self.title}"]
        for key, value in rows.items():
            if value:
                lines += textwrap.wrap(
                    value,
                    width=96,
                    initial_indent=f"  {key:<10}",
                    subsequent_indent=" " * 12,
                    break_long_words=False,
                    break_on_hyphens=False,
                )
        return "\n".join(lines)
