"""Fixtures shared by all tests."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pyro
import pytest
import torch

from latentphys.model.statespace import ModelSpec, SensorSpec, StateSpaceModel
from latentphys.preparation.batch import Batch

if TYPE_CHECKING:
    from latentphys.fitted import FittedModel
    from latentphys.recordings.cohort import Cohort

_DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "data"
_BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the public recordings; LATENTPHYS_DATA names it, else ../shared/data.

    A test that needs it is skipped where there are none.
    """
    root = Path(os.environ.get("LATENTPHYS_DATA", _DEFAULT))
    if not (root / "bidmc").is_dir():
        pytest.skip(f"no recordings at {root}; set LATENTPHYS_DATA to their folder")
    return root


@pytest.fixture(scope="session")
def benchmark() -> Callable[[str], ModuleType]:
    """Name -> the module of a benchmark, which sees its neighbours as when it is run."""

    def module(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(
            f"{name}_benchmark", _BENCHMARKS / f"{name}.py"
        )
        assert spec is not None
        assert spec.loader is not None
        found = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(_BENCHMARKS))
            spec.loader.exec_module(found)
        return found

    return module


@pytest.fixture(scope="session")
def tiny_cohort() -> Cohort:
    """Six simulated subjects, one minute each, every sensor present."""
    from latentphys.recordings.simulation import simulate

    return simulate(subjects=6, minutes=1.0, seed=3, absent=0.0)


@pytest.fixture(scope="session")
def tiny_fit(tiny_cohort: Cohort) -> FittedModel:
    """A model a few steps old: its answers are poor, their shapes, units and laws are not."""
    from latentphys.api import fit

    return fit(tiny_cohort, steps=8, seed=0, latent_dim=6, window_s=8.0, progress=False)


SENSORS = {
    "ecg": SensorSpec(size=4, channels=("II", "V"), likelihood="student_t"),
    "ppg": SensorSpec(size=4, channels=("PLETH",)),
    "resp": SensorSpec(size=2, channels=("RESP",)),
}


@pytest.fixture(autouse=True)
def _fresh_store() -> Iterator[None]:
    """Pyro keeps parameters by name for the whole process."""
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


@pytest.fixture
def make_model() -> Callable[..., StateSpaceModel]:
    """Random weights everywhere, also where training starts from zero."""

    def make(seed: int = 0, sensors: dict[str, SensorSpec] = SENSORS, **spec: object) -> object:
        torch.manual_seed(seed)
        sizes = {"latent_dim": 3, "evidence_dim": 4, "nuisance_dim": 2, "width": 8}
        plain = {"state_rate_hz": 4.0, "widths": (6, 8), "dropout": 0.0, **sizes, **spec}
        model = StateSpaceModel(ModelSpec(sensors, **plain)).double().eval()  # type: ignore[arg-type]
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(0.1 * torch.randn_like(weight))
        return model

    return make  # type: ignore[return-value]


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """Windows on the model's own grids: single samples, whole steps and one lead missing."""

    def make(
        seed: int = 0, windows: int = 3, steps: int = 12, holes: float = 0.2, inputs: int = 0
    ) -> Batch:
        rng = torch.Generator().manual_seed(seed)
        values, mask, offset, channels = {}, {}, {}, {}
        for name, sensor in SENSORS.items():
            shape = (windows, steps, len(sensor.channels), sensor.size)
            mask[name] = torch.rand(shape, generator=rng) >= holes
            if holes and steps > 3:
                mask[name][:, 2:4] = False
            drawn = torch.randn(shape, generator=rng, dtype=torch.float64)
            values[name] = torch.where(mask[name], drawn, 0.0)
            grid = torch.arange(sensor.size, dtype=torch.float64) / sensor.size
            offset[name] = grid.expand(windows, steps, -1).clone()
            channels[name] = [sensor.channels] * windows
        drive = torch.randn(windows, steps, inputs, generator=rng, dtype=torch.float64)
        return Batch(
            values=values,
            mask=mask,
            offset=offset,
            channels=channels,
            inputs=drive if inputs else None,
            subject=[f"s{k}" for k in range(windows)],
            record=[f"r{k}" for k in range(windows)],
            start_step=torch.zeros(windows, dtype=torch.int64),
            state_rate_hz=4.0,
            steps=steps,
        )

    return make
