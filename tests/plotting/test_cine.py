"""Strips of frames show the frames they say, in one brightness."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

import latentphys as lp
from latentphys.recordings.images import image_array

RNG = np.random.default_rng(0)
TRUTH = image_array(RNG.random((50, 6, 5)).astype(np.float32), 25.0, name="cine")


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    plt.close("all")


def imputed() -> xr.Dataset:
    attrs = {"record": "r1", "modality": "cine", "given": "ecg", "level": 0.9}
    spread = abs(TRUTH - 0.5)
    return xr.Dataset({"mean": TRUTH * 0.5, "sd": spread}, attrs=attrs)


def test_each_frame_is_drawn_at_its_time() -> None:
    axes = lp.plot_cine(imputed(), TRUTH, 0.4, 1.2, frames=5)
    assert axes.shape == (3, 5)
    times = [float(ax.get_xlabel().removesuffix(" s")) for ax in axes[-1]]
    assert times == pytest.approx([0.40, 0.60, 0.80, 0.96, 1.16], abs=0.021)
    for row, frames in zip(axes, (TRUTH, imputed()["mean"], imputed()["sd"]), strict=True):
        for ax, time in zip(row, times, strict=True):
            own = frames.sel(time=time, method="nearest")
            np.testing.assert_array_equal(ax.images[0].get_array(), own)
    assert [row[0].get_ylabel() for row in axes] == ["recorded", "mean", "sd"]
    limits = {ax.images[0].get_clim() for ax in axes[:2].flat}
    assert len(limits) == 1  # one brightness for what is compared
    assert "cine given ecg" in axes[0, 0].figure.get_suptitle()


def test_images_alone_and_a_stack() -> None:
    assert lp.plot_cine(TRUTH, frames=4).shape == (1, 4)
    stack = TRUTH.expand_dims(slice=3).copy()
    stack.values[1] += 1.0
    (row,) = lp.plot_cine(stack, frames=3)
    assert row[0].images[0].get_array().min() >= 1.0  # the middle slice


def test_an_imputation_of_images_is_drawn_as_a_strip() -> None:
    assert lp.plot_imputation(imputed(), None, 0.0, 1.0).shape == (2, 8)
