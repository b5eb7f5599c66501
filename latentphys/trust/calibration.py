"""Conformal repair of a model's intervals, by missing pattern, from people it never saw.

For every subset of sensors given and every target the residuals |x - mean| / sd of the calibration
subjects are kept, and an interval at a level becomes mean -+ q sd with q from
`latentphys.trust.conformal`. A pattern without calibration subjects takes the pool of all patterns
of its target, then of all targets; there the bound holds for a pattern drawn like those pooled.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.trust.conformal import ASSUMPTION, GUARANTEES, Guarantee, SubjectConformal
from latentphys.trust.patterns import Ask, Pattern
from latentphys.trust.predicting import observed

Key = tuple[frozenset[str], str, bool]


def key_of(pattern: Pattern, ask: Ask) -> Key:
    """(given, target, whether the target's own sample was shown) of what is asked."""
    return frozenset(pattern.given), ask.target, ask.target in pattern.given and not pattern.hidden


@dataclass(frozen=True)
class Calibration:
    """What a calibrated model remembers.

    Attributes:
        patterns: (given, target, whether the target's own sample was shown) -> residuals.
        guarantee: of `conformal.GUARANTEES`.
        rates: given -> errors of the breathing rate of imputed respiration, in units of its spread.
    """

    patterns: Mapping[Key, SubjectConformal]
    guarantee: Guarantee = "leave_one_out"
    rates: Mapping[frozenset[str], SubjectConformal] = field(default_factory=dict)
    _pools: dict[str, SubjectConformal] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        residuals: Mapping[Key, Mapping[str, Sequence[NDArray[np.float64]]]],
        guarantee: Guarantee = "leave_one_out",
    ) -> Calibration:
        """From key -> subject -> residuals of each of the subject's recordings."""
        patterns = {
            key: SubjectConformal.of(
                {name: np.concatenate(list(parts)) for name, parts in people.items()}, guarantee
            )
            for key, people in residuals.items()
        }
        return cls(patterns, guarantee)

    @property
    def subjects(self) -> tuple[str, ...]:
        """Whom it was calibrated on."""
        return tuple(sorted({name for one in self.patterns.values() for name in one.subjects}))

    @property
    def statement(self) -> str:
        """The guarantee and its assumption, in words."""
        return f"{GUARANTEES[self.guarantee]}; assuming that {ASSUMPTION}"

    def conformal(
        self, given: Sequence[str], target: str, seen: bool = False
    ) -> tuple[SubjectConformal, str]:
        """What repairs a pattern, and where from: "pattern", "target" or "all"."""
        own = self.patterns.get((frozenset(given), target, seen))
        if own is not None:
            return own, "pattern"
        same = [
            one
            for (_, name, shown), one in self.patterns.items()
            if name == target and shown == seen
        ]
        if same:
            return self._pool(f"{target} {seen}", same), "target"
        return self._pool("all", list(self.patterns.values())), "all"

    def _pool(self, name: str, parts: Sequence[SubjectConformal]) -> SubjectConformal:
        if name not in self._pools:
            self._pools[name] = SubjectConformal.pooled(parts)
        return self._pools[name]

    def factor(self, given: Sequence[str], target: str, level: float, seen: bool = False) -> float:
        """q: half the width of the repaired interval in predicted standard deviations."""
        return float(self.conformal(given, target, seen)[0].quantile(level))

    def rate_repair(self, given: Sequence[str]) -> SubjectConformal | None:
        """What repairs a breathing rate from these sensors, or from any; None without marks."""
        own = self.rates.get(frozenset(given))
        if own is None and self.rates:
            return self._pool("rates", list(self.rates.values()))
        return own

    def repair(self, imputed: xr.Dataset, record: PreparedRecord) -> xr.Dataset:
        """`impute`'s Dataset with lower and upper repaired; mean, sd and draws stay.

        Args:
            imputed: of one recording.
            record: as the model saw it; sensors it lacks were not given, whatever was asked.
        """
        target, level = str(imputed.attrs["modality"]), float(imputed.attrs["level"])
        given = observed(record, str(imputed.attrs["given"]).split(", "))
        found, source = self.conformal(given, target)
        factor = np.full(imputed["mean"].shape, found.quantile(level))
        if target in given:
            shown, _ = self.conformal(given, target, seen=True)
            factor = np.where(
                np.isfinite(record.signals[target].values), shown.quantile(level), factor
            )
            found = min((found, shown), key=lambda one: one.highest_level)
        if math.isinf(float(factor.max(initial=0.0))):
            warnings.warn(found.too_few(level), stacklevel=2)
        half = factor * imputed["sd"]
        repaired = imputed.assign(
            lower=(imputed["mean"] - half).assign_attrs(imputed["lower"].attrs),
            upper=(imputed["mean"] + half).assign_attrs(imputed["upper"].attrs),
        )
        return repaired.assign_attrs(
            calibration=self.statement,
            calibration_from=source,
            calibration_subjects=len(found.subjects),
        )

    def table(self, levels: Sequence[float] = (0.5, 0.8, 0.9, 0.95)) -> str:
        """Factors by pattern as aligned text; a calibrated normal has 0.67, 1.28, 1.64, 1.96."""
        rows = [["given", "target", "sample", "subjects", *(f"{level:g}" for level in levels)]]
        for (given, target, seen), one in self.patterns.items():
            factors = [f"{one.quantile(level):.2f}" for level in levels]
            kind = "shown" if seen else "hidden" if target in given else "absent"
            rows.append(["+".join(sorted(given)), target, kind, str(len(one.subjects)), *factors])
        widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
        return "\n".join([*lines, self.statement])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        patterns = [
            {"given": sorted(given), "target": target, "seen": seen, **one.to_dict()}
            for (given, target, seen), one in self.patterns.items()
        ]
        rates = [{"given": sorted(given), **one.to_dict()} for given, one in self.rates.items()]
        return {"guarantee": self.guarantee, "patterns": patterns, "rates": rates}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Calibration:
        """The inverse of `to_dict`."""
        patterns: dict[Key, SubjectConformal] = {}
        for one in plain["patterns"]:
            key = (frozenset(one["given"]), str(one["target"]), bool(one["seen"]))
            patterns[key] = SubjectConformal.from_dict(one)
        rates = {
            frozenset(one["given"]): SubjectConformal.from_dict(one)
            for one in plain.get("rates", ())
        }
        return cls(patterns, plain["guarantee"], rates)
