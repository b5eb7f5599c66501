"""An absent sensor of unseen people from the sensors that are there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from latentphys.fitted import FittedModel
from latentphys.recordings.record import Record
from rows.tally import Tally, share

SCORES = {"window_correlation": "correlation", "crps": "crps", "coverage": "coverage"}
DRAWS = 50


def impute(
    fit: FittedModel,
    records: Iterable[Record],
    target: str,
    given: Sequence[str],
    row: dict[str, Tally],
    split: int | None = None,
) -> None:
    """Correlation in windows, CRPS and what 90 % intervals cover, of records with all of these.

    `split` tells people apart from those of other splits who have the same names.
    """
    for record in records:
        if not {target, *given} <= set(record.modalities):
            continue
        scores = fit.score(record, target, given=tuple(given), draws=DRAWS)
        whose = record.subject if split is None else f"{split}/{record.subject}"
        for score, name in SCORES.items():
            tally = row.setdefault(f"{target.upper()} {name}", Tally(share))
            tally.add(whose, np.array([scores[score], 1.0]))
