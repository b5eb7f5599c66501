"""The model's predictive of every sensor under many missing patterns, each window encoded once.

Evidence adds over sensors, so a subset of them is a row of a mask on one sum: only the guide and
the emissions run again. A sensor with hidden samples is encoded anew, the others are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal

from latentphys.inference.paths import WINDOWS_A_BATCH, Paths, pooled_lags
from latentphys.model.distributions import GaussMarkov
from latentphys.model.evidence import Evidence, SensorEvidence
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.batch import collate
from latentphys.preparation.preprocessing import PreparedRecord, PreparedSignal
from latentphys.preparation.windows import any_finite, record_steps, tile
from latentphys.trust.alignment import sample_times
from latentphys.trust.missingness import Hidden, hide

Subset = tuple[str, ...]


def observed(record: PreparedRecord, names: Sequence[str]) -> Subset:
    """Those of the names of which the record has a sample."""
    return tuple(
        name for name in names if name in record.signals and any_finite(record.signals[name].values)
    )


class EncodedRecord:
    """The evidence of every window of one recording, to be asked about many subsets.

    `paths` gives for each subset what `paths_of` gives for it.

    Args:
        model: in evaluation mode.
        record: a prepared recording, minutes long.
        window_s: length of a window; windows overlap by half.
    """

    def __init__(self, model: StateSpaceModel, record: PreparedRecord, window_s: float) -> None:
        self.model, self.record = model, record
        self.names = observed(record, tuple(model.spec.sensors))
        clock = model.spec.state_rate_hz
        self.total = record_steps(record, clock)
        self._index = tile([record], window_s, window_s / 2, clock)
        self._rows = torch.arange(len(self._index)).split(WINDOWS_A_BATCH)
        self._encoded = self._encode(record, self.names)

    @torch.no_grad()
    def _encode(
        self, record: PreparedRecord, names: Sequence[str]
    ) -> list[dict[str, SensorEvidence]]:
        """One dict a batch of windows."""
        encoded = []
        for rows in self._rows:
            batch = collate([record], self._index, rows.numpy(), names, self.model.spec.inputs)
            encoded.append(dict(self.model.evidence(batch).sensors))
        return encoded

    def hiding(self, hidden: Mapping[str, Hidden]) -> EncodedRecord:
        """The same recording with samples hidden; only the sensors named are encoded again."""
        other = object.__new__(EncodedRecord)
        other.__dict__.update(self.__dict__)
        other.record = hide(self.record, hidden)
        anew = other._encode(other.record, tuple(hidden))
        other._encoded = [{**old, **new} for old, new in zip(self._encoded, anew, strict=True)]
        return other

    @torch.no_grad()
    def paths(self, subset: Subset) -> Paths:
        """q(z, eps, tau | subset) of the whole recording.

        Args:
            subset: of `names`, not empty.
        """
        starts = self._index.start_step
        found, lags = [], []
        for rows, sensors in zip(self._rows, self._encoded, strict=True):
            shape = (len(rows), self._index.steps, self.model.spec.evidence_size)
            keep = torch.tensor([[name in subset for name in sensors]]).expand(len(rows), -1)
            found.append(self.model.guide_of(Evidence(sensors, shape), keep))
            lags.append(self.model.lags({n: s for n, s in sensors.items() if n in subset}))
        windows = GaussMarkov(
            torch.cat([q.mean_path for q in found]),
            torch.cat([q.correlation for q in found]),
            torch.cat([q.scale for q in found]),
            validate_args=False,
        )
        at = tuple(int(start) for start in starts)
        nuisance = self._nuisance(subset)
        return Paths(self.model, self.record, self.total, at, windows, nuisance, pooled_lags(lags))

    def _nuisance(self, subset: Subset) -> dict[str, Normal]:
        """q(eps) of the sensors of a subset, averaged over the windows that have them."""
        pooled = {}
        for name in subset:
            seen = [
                (e[name].nuisance.loc[e[name].present], e[name].nuisance.scale[e[name].present])
                for e in self._encoded
                if name in e and bool(e[name].present.any())
            ]
            if seen:
                loc, scale = (torch.cat([pair[k] for pair in seen]).mean(0) for k in (0, 1))
                pooled[name] = Normal(loc, scale)
        return pooled


def pieces(record: PreparedRecord, longest_s: float) -> Iterator[PreparedRecord]:
    """Stretches of a recording that fit in memory, whole seconds long; most come back whole."""
    if record.duration_s <= longest_s:
        yield record
        return
    count = int(np.ceil(record.duration_s / longest_s))
    edges = np.floor(np.linspace(0.0, record.duration_s, count + 1))
    edges[-1] = np.inf
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        signals = {name: _stretch(s, start, stop) for name, s in record.signals.items()}
        length = min(float(stop), record.duration_s) - float(start)
        yield replace(
            record, signals=signals, duration_s=length, **_inputs_between(record, start, stop)
        )


def _inputs_between(record: PreparedRecord, start: float, stop: float) -> dict[str, Any]:
    """The inputs of a stretch, at times from its start; the one that holds at the start too."""
    if record.inputs is None:
        return {}
    times = record.inputs_time_s
    if times is None:
        times = np.arange(record.inputs.shape[1]) / record.inputs_rate_hz
    first = max(0, int(np.searchsorted(times, start + 1e-9, side="right")) - 1)
    kept = slice(first, int(np.searchsorted(times, stop)))
    return {
        "inputs": record.inputs[:, kept],
        "inputs_time_s": np.maximum(times[kept] - start, 0.0),
    }


def _stretch(signal: PreparedSignal, start: float, stop: float) -> PreparedSignal:
    times = sample_times(signal)
    kept = (times >= start - 1e-9) & (times < stop - 1e-9)
    own = times[kept] - start
    regular = signal.time_s is None and (not len(own) or abs(own[0]) < 1e-6)
    return replace(signal, values=signal.values[:, kept], time_s=None if regular else own)


def present(target: PreparedSignal, where: Hidden | None = None) -> Tensor:
    """(channel, time): the observed samples, or those of them in `where`."""
    seen = np.isfinite(target.values)
    return torch.from_numpy(seen if where is None else seen & where)
