"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

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
