"""Do audits find what is wrong, and keep quiet where nothing is?

    python benchmarks/audit_power.py --seeds 20

Each seed simulates new people and takes a model fitted to others (`--fits` of them in turn), as it
is and with one violation planted. Power is the share of seeds in which the audit that should worry
does; false alarms are the share in which an audit worries about the model as it is.
"""

from __future__ import annotations

import argparse
import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from latentphys.api import fit, load, simulate
from latentphys.fitted import FittedModel
from latentphys.model.encoders import SensorEncoder
from latentphys.model.evidence import SensorEvidence
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.record import Record

SENSORS = ("ecg", "ppg", "resp")


def people(count: int, minutes: float, seed: int) -> Cohort:
    """Simulated people who wear every sensor."""
    return simulate(count, minutes, seed, absent=0.0).keep(*SENSORS)


def fitted(number: int, folder: Path | None, steps: int) -> tuple[FittedModel, Cohort]:
    """A model and those it was fitted on; kept in the folder, if one is given."""
    training = people(24, 2.0, 1000 + number)
    place = None if folder is None else folder / str(number)
    if place is not None and place.is_dir():
        return load(place), training
    made = fit(training, steps=steps, seed=number, latent_dim=12, window_s=8.0, progress=False)
    if place is not None:
        made.save(place)
    return made, training


def edited(model: FittedModel, change: Callable[[Any], None]) -> FittedModel:
    """A copy whose networks were changed in place."""
    network = copy.deepcopy(model.model)
    with torch.no_grad():
        change(network)
    return replace(model, model=network)


def gain_as_identity(model: FittedModel) -> FittedModel:
    """Signals in fixed units: an amplifier's gain reaches the state."""
    plans = dict(model.preprocessing.plans)
    for name, sensor in model.model.spec.sensors.items():
        plans[name] = replace(plans[name], location=sensor.location, scale=sensor.scale)
    return replace(model, preprocessing=replace(model.preprocessing, plans=plans))


def ignores_ppg(model: FittedModel) -> FittedModel:
    """The pulse's evidence has no precision."""

    def change(network: Any) -> None:
        encoder: SensorEncoder = network.encoder("ppg")
        encoder.to_evidence.weight.zero_()
        encoder.to_evidence.bias.fill_(-30.0)

    return edited(model, change)


def erases_lag(model: FittedModel) -> FittedModel:
    """The pulse's evidence is averaged over the window: how strong, not when."""

    def averaged(_: nn.Module, __: Any, said: SensorEvidence) -> SensorEvidence:
        precision, weighted = (
            x.mean(1, keepdim=True).expand(x.shape) for x in (said.precision, said.weighted)
        )
        return replace(said, precision=precision, weighted=weighted)

    def change(network: Any) -> None:
        network.encoder("ppg").register_forward_hook(averaged)

    return edited(model, change)


def collapsed(model: FittedModel) -> FittedModel:
    """The guide answers the same whatever it is shown."""

    def change(network: Any) -> None:
        network.guide_network.head.weight.zero_()

    return edited(model, change)


def with_copies(test: Cohort, training: Cohort, count: int = 2) -> Cohort:
    """Some training recordings under new names, cropped and amplified."""
    return Cohort([*test, *(_renamed(training[k], k) for k in range(count))])


def _renamed(record: Record, number: int) -> Record:
    part = record.crop(10.0, record.duration_s - 10.0)
    signals = {name: signal.copy(data=1.5 * signal.values) for name, signal in part.signals.items()}
    return replace(part, signals=signals, subject=f"copy{number}", record=f"copy{number}")


PLANTED: dict[str, tuple[Callable[[FittedModel], FittedModel], tuple[str, ...]]] = {
    "gain as identity": (gain_as_identity, ("identity", "dose: gain")),
    "ignores ppg": (ignores_ppg, ("dominance",)),
    "erases lag": (erases_lag, ("lag",)),
    "collapsed": (collapsed, ("collapse",)),
}


def main() -> None:
    """Audit, plant, audit again, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--fits", type=int, default=5, help="models, each for several seeds")
    parser.add_argument("--steps", type=int, default=400, help="of each fit")
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--models", type=Path, help="folder to keep the fits in")
    options = parser.parse_args()
    alarms, tested, found = Counter[str](), Counter[str](), Counter[str]()
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        model, training = fitted(seed % options.fits, options.models, options.steps)
        test = people(options.people, options.minutes, 5000 + seed).prefixed("new_")
        clean = model.audit(test, training=training, draws=4, seed=seed)
        for finding in clean:
            tested[finding.name] += finding.verdict != "not tested"
            alarms[finding.name] += finding.verdict == "worry"
        for name, (plant, wanted) in PLANTED.items():
            only = [audit.split(":")[0] for audit in wanted]
            worries = plant(model).audit(test, only=only, draws=4, seed=seed).worries()
            found.update(f"{name}: {audit}" for audit in wanted if audit in worries)
        leaky = model.audit(with_copies(test, training), only=["leakage"], training=training)
        found["leaky split: leakage"] += bool(leaky.worries())
        worried = [f"{f.name} {f.figures}" for f in clean if f.verdict == "worry"]
        print(f"seed {seed}: false alarms {worried}; found so far {dict(found)}", flush=True)
    print(f"\n{'audit':28} false alarms / tested")
    for name, count in tested.items():
        print(f"{name:28} {alarms[name]:3d} / {count}")
    print(f"\n{'planted: audit':38} found / seeds")
    for name in [f"{n}: {a}" for n, (_, w) in PLANTED.items() for a in w] + [
        "leaky split: leakage"
    ]:
        print(f"{name:38} {found[name]:3d} / {options.seeds}")


if __name__ == "__main__":
    main()
