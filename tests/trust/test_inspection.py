"""An inspection finds what was planted: rests, turns, memories, rhythms and what a number moves."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn
from torch.distributions import Normal

import latentphys as lp
from latentphys.fitted import FittedModel
from latentphys.model.oscillators import OscillatorTransition
from latentphys.model.statespace import StateSpaceModel
from latentphys.model.transitions import GatedTransition, LinearTransition
from latentphys.recordings.cohort import Cohort
from latentphys.recordings.errors import ArgumentError, CohortError, FitError
from latentphys.recordings.record import Record
from latentphys.trust.inspection.fixed_points import fixed_points, jacobian
from latentphys.trust.inspection.result import Inspection
from latentphys.trust.inspection.rhythms import phases, spectrum, timescale_s, told_by
from latentphys.trust.inspection.traversal import MOVES, effect, imagined, traversed


def starts(latent: int, count: int = 16) -> Tensor:
    return torch.randn(count, latent, generator=torch.Generator().manual_seed(0))


def test_a_linear_transition_rests_where_algebra_says() -> None:
    torch.manual_seed(1)
    transition = LinearTransition(4)
    with torch.no_grad():
        transition.linear.weight.copy_(0.3 * torch.randn(4, 4))
        transition.linear.bias.copy_(torch.randn(4))
    matrix = transition.linear.weight.detach().double().numpy()
    found = fixed_points(transition, starts(4))
    assert found.share.tolist() == [1.0]
    bias = transition.linear.bias.detach().double().numpy()
    np.testing.assert_allclose(found.z[0], np.linalg.solve(np.eye(4) - matrix, bias), atol=1e-6)
    expected = np.sort_complex(np.linalg.eigvals(matrix))
    np.testing.assert_allclose(np.sort_complex(found.eigenvalues[0]), expected, atol=1e-6)


def test_an_oscillator_turns_as_fast_as_it_says() -> None:
    transition = OscillatorTransition(6)
    found = fixed_points(transition, starts(6))
    own = np.sort(transition.oscillation_hz(12.5).detach().numpy())
    np.testing.assert_allclose(np.sort(found.frequency_hz(12.5)[0])[::2], own, rtol=1e-4)
    assert found.stable.tolist() == [True]
    decay = -1.0 / (12.5 * math.log(0.9))
    np.testing.assert_allclose(found.decay_s(12.5), decay, rtol=1e-4)


class Pitchfork(nn.Module):
    """tanh(2 z) in each number: unstable at 0, stable at +-0.9575 (z = tanh 2 z)."""

    def forward(self, z: Tensor, inputs: Tensor | None) -> Normal:
        return Normal(torch.tanh(2.0 * z), 1.0)


class Growing(nn.Module):
    """z + 1: it rests nowhere."""

    def forward(self, z: Tensor, inputs: Tensor | None) -> Normal:
        return Normal(z + 1.0, 1.0)


def test_every_rest_is_found_and_none_where_there_is_none() -> None:
    found = fixed_points(Pitchfork(), torch.linspace(-1.5, 1.5, 31).unsqueeze(1))
    assert np.sort(found.z[:, 0]) == pytest.approx([-0.957504, 0.0, 0.957504], abs=1e-5)
    assert found.stable.sum() == 2
    assert not found.stable[np.abs(found.z[:, 0]).argmin()]
    assert found.share.sum() == pytest.approx(1.0)
    none = fixed_points(Growing(), starts(3))
    assert len(none) == 0
    assert none.z.shape == (0, 3)


def test_the_jacobian_is_that_of_finite_differences() -> None:
    torch.manual_seed(0)
    transition = GatedTransition(5).double()
    z = starts(5, 3).double()
    exact, step = jacobian(transition, z), 1e-6
    for k in range(5):
        e = step * torch.eye(5, dtype=torch.float64)[k]
        slope = (transition(z + e, None).loc - transition(z - e, None).loc) / (2 * step)
        torch.testing.assert_close(exact[:, :, k], slope, atol=1e-7, rtol=1e-5)


def test_a_gated_transition_rests_where_it_says(tiny_fit: FittedModel) -> None:
    found = fixed_points(tiny_fit.model.transition, starts(6))
    assert len(found)
    with torch.no_grad():
        z = torch.from_numpy(found.z).float()
        torch.testing.assert_close(tiny_fit.model.transition(z, None).loc, z, atol=1e-4, rtol=1e-4)


def test_spectra_and_memories_are_those_of_known_processes() -> None:
    rng, rate = np.random.default_rng(0), 12.5
    t = np.arange(3000) / rate
    noise = rng.standard_normal(3000)
    slow = np.zeros(3000)
    for k in range(1, 3000):
        slow[k] = 0.98 * slow[k - 1] + noise[k]
    path = np.stack([np.sin(2 * np.pi * 1.2 * t), noise, slow], axis=1)
    hertz, share = spectrum([path, path], rate)
    assert hertz[share[0].argmax()] == pytest.approx(1.2, abs=0.03)
    np.testing.assert_allclose(share.sum(1), 1.0)
    memory = timescale_s([path], rate)
    assert memory[1] < 0.2
    assert memory[2] == pytest.approx(-1 / (rate * math.log(0.98)), rel=0.5)
    assert memory[0] > 60.0


def test_phases_come_from_marks_and_from_the_signal() -> None:
    record = lp.simulate(1, 1.0, 5, absent=0.0, nuisance=0.0).keep("ecg", "resp")[0]
    prepared = lp.recipe("statespace").preprocessing.prepare(record)
    marked = phases(record, prepared, 12.5)
    assert record.truth is not None
    heart = record.truth["heart_phase"].values
    middle = np.angle(np.exp(1j * (marked["heart"][: len(heart)] - heart - 0.27)))
    assert np.nanmedian(np.abs(middle)) < 0.3
    bare = Record({**record.signals}, record.subject, record.record)
    measured = phases(bare, prepared, 12.5)
    together = np.exp(1j * (measured["breath"][:700] - marked["breath"][:700]))
    # A filter's phase and the marks differ by a constant alone.
    assert abs(together[np.isfinite(together)].mean()) > 0.9
    holed = bare.signals["resp"].copy()
    holed[:, 1000:2000] = np.nan
    gone = Record({"resp": holed}, "a", "a")
    with_hole = phases(gone, lp.recipe("statespace").preprocessing.prepare(gone), 12.5)
    assert "heart" not in with_hole
    assert np.isnan(with_hole["breath"][110:190]).all()
    assert np.isfinite(with_hole["breath"][250:300]).all()


def test_a_share_is_the_phase_s_and_no_more() -> None:
    rng = np.random.default_rng(0)
    turns = np.mod(np.cumsum(rng.uniform(0.2, 0.6, 2000)), 2 * np.pi)
    half = np.cos(2 * turns) + np.sqrt(0.5) * rng.standard_normal(2000)
    path = np.stack([np.cos(turns), half, rng.standard_normal(2000)], axis=1)
    assert told_by(path, turns, 2) == pytest.approx([1.0, 0.5, 0.0], abs=0.05)
    assert told_by(path, turns, 1)[1] == pytest.approx(0.0, abs=0.05)
    assert np.isnan(told_by(path, np.full(2000, np.nan), 2)).all()


@pytest.fixture(scope="module")
def inspection(tiny_fit: FittedModel, tiny_cohort: Cohort) -> Inspection:
    return tiny_fit.inspect(tiny_cohort)


def test_a_number_s_effect_is_what_moving_it_does(
    make_model: Callable[..., StateSpaceModel], inspection: Inspection
) -> None:
    model = make_model().float()
    z = torch.randn(1, 30, model.spec.latent_dim, generator=torch.Generator().manual_seed(0))
    emission = model.emission("ppg")
    with torch.no_grad():
        emission.from_latent.weight[:, 2] = 0.0
        emission.straight.weight[:, 2] = 0.0
    moved = traversed(model, imagined(model, z), np.full(model.spec.latent_dim, 0.5))
    deaf, heard = effect(moved["ppg"]), effect(moved["ecg"])
    assert deaf[2] == pytest.approx(0.0, abs=1e-6)
    assert (np.delete(deaf, 2) > 1e-3).all()
    assert heard[2] > 1e-3
    np.testing.assert_allclose(moved["ppg"][0, 1], moved["ppg"][2, 2], atol=1e-6)
    curve = inspection["traversal/ppg"].curve
    assert curve.move_sd.values.tolist() == list(MOVES)
    assert curve.time.values[-1] < 4.0


def test_the_table_has_a_line_a_number_and_saves(inspection: Inspection, tmp_path: object) -> None:
    lines = repr(inspection).splitlines()
    assert lines[0] == "State of 6 recordings of 6 people."
    assert lines[1].split()[:3] == ["latent", "sd", "memory"]
    assert len(lines) == 2 + 6 + 1
    assert "gated transition: fixed point 0" in lines[-1]
    assert inspection.to_dataframe().shape == (6, len(inspection._rows()[0]))
    assert "<table>" in inspection._repr_html_()
    path = f"{tmp_path}/inspection.nc"
    inspection.tree.to_netcdf(path, engine="h5netcdf")
    with xr.open_datatree(path, engine="h5netcdf") as again:
        np.testing.assert_array_equal(again["latent"].effect, inspection["latent"].effect)
    labels = inspection["latent"].label.values.tolist()
    assert labels == ["heart_rate", "breathing_rate", "transit_time"]
    assert (inspection["latent"].loading_by_chance > 0.2).all()


def test_without_recordings_the_model_s_own_paths_are_looked_at(tiny_fit: FittedModel) -> None:
    own = tiny_fit.inspect()
    assert "pass recordings" in repr(own)
    assert "rhythm_share" not in own["latent"]
    assert set(own["latent"].modality.values) == set(tiny_fit.modalities)
    assert (own["latent"].effect > 0).any()
    same = tiny_fit.inspect()
    np.testing.assert_array_equal(own["latent"].spectrum, same["latent"].spectrum)


def test_the_figure_shows_what_moves_most(inspection: Inspection) -> None:
    top, rows = lp.plot_inspection(inspection, latents=2)
    most = int(inspection["latent"].effect.max("modality").values.argmax())
    assert rows[0, 0].get_ylabel() == f"z{most}"
    assert rows.shape == (2, 4)
    name = str(inspection["latent"].modality.values[0])
    drawn = rows[0, 0].lines[2].get_ydata()
    expected = inspection[f"traversal/{name}"].curve.sel(latent=most, move_sd=1.0)
    np.testing.assert_array_equal(drawn, expected)
    assert "Hz" in top[3].texts[0].get_text() or not len(top[3].texts)
    plt.close("all")


def test_what_cannot_be_inspected_is_refused(tiny_fit: FittedModel, tiny_cohort: Cohort) -> None:
    with pytest.raises(ArgumentError, match="Cohort\\(records\\)"):
        tiny_fit.inspect(tiny_cohort[0])  # type: ignore[arg-type]
    other = Record.from_arrays({"eeg": (np.ones(500), 100.0)}, subject="a")
    with pytest.raises(CohortError, match="ecg, ppg"):
        tiny_fit.inspect(Cohort([other]))


def test_paths_that_run_away_are_said(tiny_fit: FittedModel) -> None:
    away = copy.deepcopy(tiny_fit.model)
    away.transition = LinearTransition(6)
    with torch.no_grad():
        away.transition.linear.weight.copy_(1.02 * torch.eye(6))
    with pytest.warns(UserWarning, match="run away within 60 s.*near 1. Give fit.inspect a cohort"):
        replace(tiny_fit, model=away).inspect()
    with torch.no_grad():
        away.transition.linear.weight.mul_(50.0)
    with pytest.raises(FitError, match="they are not finite, .* Give fit.inspect a cohort"):
        replace(tiny_fit, model=away).inspect()
