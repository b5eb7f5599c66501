"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from latentphys.fitted import FittedModel
    from latentphys.recordings.cohort import Cohort

_DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "data"


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
def tiny_cohort() -> Cohort:
    """Six simulated subjects, one minute each, every sensor present."""
    from latentphys.recordings.simulation import simulate

    return simulate(subjects=6, minutes=1.0, seed=3, absent=0.0)


@pytest.fixture(scope="session")
def tiny_fit(tiny_cohort: Cohort) -> FittedModel:
    """A model a few steps old: its answers are poor, their shapes, units and laws are not."""
    from latentphys.api import fit

    return fit(tiny_cohort, steps=8, seed=0, latent_dim=6, window_s=8.0, progress=False)
