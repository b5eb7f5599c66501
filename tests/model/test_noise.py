"""Noise that lasts against the Matern kernel, and each of its samples against its own law."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm, t
from sklearn.gaussian_process.kernels import Matern

from latentphys.model.noise import ColouredNoise
from latentphys.model.statespace import ModelSpec, StateSpaceModel
from latentphys.recordings.errors import FitError


@pytest.mark.parametrize("time_constant", [0.05, 1.0, 30.0])
def test_the_correlation_is_a_matern_kernel(time_constant: float) -> None:
    steps = np.linspace(-5.0, 5.0, 41)
    kernel = Matern(length_scale=math.sqrt(3.0) * time_constant, nu=1.5)
    expected = kernel(steps[:, None], np.zeros((1, 1)))[:, 0]
    found = ColouredNoise(time_constant).correlation(torch.from_numpy(steps)).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize(("time_constant", "spacing"), [(0.02, 0.1), (0.5, 0.1), (2.0, 0.7)])
def test_drawn_noise_has_that_correlation_from_its_first_sample(
    time_constant: float, spacing: float
) -> None:
    noise = ColouredNoise(time_constant)
    drawn = noise.draw((4000, 2, 12), spacing, np.random.default_rng(0))
    assert drawn.dtype == np.float32
    found = np.einsum("dci,dcj->ij", drawn, drawn) / 8000
    at = torch.arange(12) * spacing
    expected = noise.correlation(at - at[:, None]).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=0.06)
    assert abs(float(np.mean(drawn[:, 0] * drawn[:, 1]))) < 0.02  # channels have their own


@pytest.mark.parametrize("time_constant", [50.0, 1e9])  # poles as near 1 as rounding lets, nearer
def test_long_noise_stays_as_wide(time_constant: float) -> None:
    drawn = ColouredNoise(time_constant).draw((300, 1, 3), 0.01, np.random.default_rng(0))
    assert float(drawn.std()) == pytest.approx(1.0, abs=0.1)
    assert float(np.abs(np.diff(drawn)).max()) < 0.002


@pytest.mark.parametrize("modality", ["ecg", "ppg"])  # Student's t and normal
def test_each_sample_has_its_familys_law(
    make_model: Callable[..., StateSpaceModel], modality: str
) -> None:
    emission = make_model(noise="coloured").emission(modality)
    heavy = emission.tail is not None
    assert heavy == (modality == "ecg")
    normal = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    loc, scale = torch.tensor(0.4), torch.tensor(1.7)
    drawn = emission.driven(loc, scale, normal).detach().numpy()
    law = t(float(emission.degrees_of_freedom().detach()), 0.4, 1.7) if heavy else norm(0.4, 1.7)
    assert kstest(drawn, law.cdf).pvalue > 0.01
    assert bool((np.diff(drawn[normal.argsort().numpy()]) >= 0).all())


def test_a_noise_that_there_is_not_is_refused() -> None:
    with pytest.raises(FitError, match="white, coloured"):
        ModelSpec(sensors={}, noise="pink")
