"""Which samples a model is shown and which it is asked for: the questions of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from latentphys.inference.doors import check_list
from latentphys.preparation.preprocessing import PreparedRecord
from latentphys.recordings.errors import ArgumentError, ModalityError, closest
from latentphys.trust.alignment import sample_times
from latentphys.trust.missingness import (
    MECHANISMS,
    Hidden,
    bursts,
    gap_layout,
    hide,
    not_at_random,
)

Subset = tuple[str, ...]
GROUPS = ("subset", "gap_s", "missing")
SHARE_NOT_AT_RANDOM = 0.1


@dataclass(frozen=True)
class Ask:
    """One thing scored: a target's samples `where` (time,), or all of them, under a label."""

    label: str | float
    target: str
    where: Hidden | None = None


@dataclass(frozen=True)
class Pattern:
    """One way for a recording's samples to be missing.

    Attributes:
        group: one of GROUPS, the dimension of the results its labels lie along.
        given: the sensors used.
        hidden: modality -> (time,), samples of them that are hidden.
        asks: what is scored.
    """

    group: str
    given: Subset
    hidden: Mapping[str, Hidden]
    asks: tuple[Ask, ...]

    @property
    def targets(self) -> tuple[str, ...]:
        """The sensors asked for, each once."""
        return tuple(dict.fromkeys(ask.target for ask in self.asks))

    def applied(self, record: PreparedRecord) -> PreparedRecord:
        """The record as the model and the baselines see it."""
        version = hide(record, self.hidden)
        return replace(version, signals={name: version.signals[name] for name in self.given})


@dataclass(frozen=True)
class Questions:
    """What an evaluation asks of every recording.

    Attributes:
        subsets: sensors given while the others are absent.
        gaps_s: lengths of gaps in one sensor of an otherwise complete recording.
        missing: shares of all sensors lost in bursts, and mechanisms of loss by value.
        between_s: observed stretch between gaps.
        seed: of where gaps lie.
        derived: modality -> those made of it, or of what it was made of: not told where it is
            asked for.
    """

    subsets: tuple[Subset, ...]
    gaps_s: tuple[float, ...]
    missing: tuple[str | float, ...] = field(default=())
    between_s: float = 16.0
    seed: int = 0
    derived: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def patterns(self, record: PreparedRecord, names: Subset) -> list[Pattern]:
        """The patterns one recording allows.

        Args:
            record: prepared.
            names: the sensors it has, in the model's order.
        """
        # Where gaps lie follows from the record's own name: other records change nothing.
        rng = np.random.default_rng([self.seed, *record.record.encode()])
        found = [self._whole(s, names) for s in self.subsets if set(s) <= set(names)]
        if self.gaps_s:
            found += [self._gaps(record, names, target, rng) for target in names]
        for kind in self.missing:
            if isinstance(kind, str):
                found += [self._by_value(record, names, kind, name, rng) for name in names]
            else:
                found.append(self._dropped(record, names, kind, rng))
        return [pattern for pattern in found if pattern.asks]

    def _whole(self, subset: Subset, names: Subset) -> Pattern:
        """Absent sensors; with none absent, what the model makes of each sensor it is shown."""
        absent = [name for name in names if name not in subset] or list(subset)
        absent = [m for m in absent if m in subset or not set(subset) & set(self._derived(m))]
        return Pattern("subset", subset, {}, tuple(Ask("+".join(subset), m) for m in absent))

    def _gaps(
        self, record: PreparedRecord, names: Subset, target: str, rng: np.random.Generator
    ) -> Pattern:
        times = sample_times(record.signals[target])
        layout = gap_layout(times, self.gaps_s, self.between_s, rng)
        asks = [
            Ask(length, target, layout == k)
            for k, length in enumerate(self.gaps_s)
            if (layout == k).any()
        ]
        return Pattern("gap_s", self._without(names, target), {target: layout >= 0}, tuple(asks))

    def _dropped(
        self, record: PreparedRecord, names: Subset, share: float, rng: np.random.Generator
    ) -> Pattern:
        told: list[str] = []  # an embedding of a sensor that is told would tell its lost samples
        for name in names:
            if not set(told) & set(self._derived(name)):
                told.append(name)
        hidden = {name: bursts(sample_times(record.signals[name]), share, rng) for name in told}
        asks = [Ask(f"drop {share:g}", name, hidden[name]) for name in told if hidden[name].any()]
        left = [name for name in told if not hidden[name].all()]
        return Pattern("missing", tuple(left), hidden, tuple(asks) if left else ())

    def _by_value(
        self,
        record: PreparedRecord,
        names: Subset,
        mechanism: str,
        target: str,
        rng: np.random.Generator,
    ) -> Pattern:
        signal = record.signals[target]
        where = not_at_random(
            sample_times(signal), signal.values, mechanism, SHARE_NOT_AT_RANDOM, rng
        )
        asks = (Ask(mechanism, target, where),) if where.any() else ()
        return Pattern("missing", self._without(names, target), {target: where}, asks)

    def _derived(self, target: str) -> tuple[str, ...]:
        return self.derived.get(target, ())

    def _without(self, names: Subset, target: str) -> Subset:
        """The sensors without those that were made of the target's hidden samples."""
        return tuple(name for name in names if name not in self._derived(target))


def subsets_of(names: Sequence[str], chosen: Sequence[Sequence[str]] | None = None) -> list[Subset]:
    """The chosen subsets in the model's order, or all 2^M - 1 that are not empty, small first.

    Raises:
        ModalityError: no list, an empty subset, or a sensor the model does not know.

    Example:
        >>> subsets_of(["ecg", "ppg"])
        [('ecg',), ('ppg',), ('ecg', 'ppg')]
    """
    if chosen is None:
        sizes = range(1, len(names) + 1)
        return [subset for size in sizes for subset in combinations(names, size)]
    example = [list(names[:1]), list(names)]
    check_list("subsets is a list of sets of sensors", chosen, example, ModalityError)
    found = []
    for subset in chosen:
        if not isinstance(subset, str):
            check_list("each of subsets is a list of sensors", subset, example[0], ModalityError)
        own = [subset] if isinstance(subset, str) else list(subset)
        for name in own:
            if name not in names:
                raise ModalityError(
                    f"subsets: this model was fitted with {', '.join(names)}; got {name!r}."
                    f"{closest(name, names)} Choose among its sensors."
                )
        if not own:
            raise ModalityError("a subset names at least one sensor; got an empty one. Drop it.")
        found.append(tuple(name for name in names if name in own))
    return list(dict.fromkeys(found))


def check_questions(gaps_s: Sequence[float], missing: Sequence[str | float]) -> None:
    """Refuse what is no list, gaps without a length, shares outside (0, 1), unknown mechanisms.

    Raises:
        ArgumentError: names what was got.
    """
    check_list("gaps_s is a list of lengths in seconds", gaps_s, [gaps_s], ArgumentError)
    check_list("missing is a list of kinds of loss", missing, [missing], ArgumentError)
    for length in gaps_s:
        if not length > 0:
            raise ArgumentError(f"a gap's length is above 0 s; got {length}. Give seconds.")
    for kind in missing:
        known = kind in MECHANISMS if isinstance(kind, str) else 0.0 < kind < 1.0
        if not known:
            raise ArgumentError(
                f"missing takes {', '.join(map(repr, MECHANISMS))}, or a share between 0 and 1 to "
                f"lose in bursts; got {kind!r}. Choose among them."
            )
