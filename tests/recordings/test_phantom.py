"""The phantom: its volumes, its wall and its ECG, found again in the images and the signals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label

from latentphys.recordings.errors import RateError
from latentphys.recordings.record import Record
from latentphys.recordings.simulation import simulate
from latentphys.recordings.simulator.phantom import SPACING_MM
from latentphys.recordings.simulator.physiology import Subject, simulate_physiology
from latentphys.recordings.simulator.sensors import QRS_S, Morphology, ecg
from latentphys.recordings.simulator.ventricle import DENSITY, Ventricle, walls

HZ = 25.0


@pytest.fixture(scope="module")
def clean() -> list[Record]:
    return list(simulate(6, 0.25, seed=4, absent=0.0, nuisance=0.0, cine_rate_hz=HZ))


def cavity_cm2(frame: np.ndarray) -> float:
    """Area of the blood that the ventricle's dark wall surrounds, by partial volume."""
    blood, muscle = frame.max(), 0.4 * frame.max()
    inside, _ = label(frame > 0.5 * (blood + muscle))
    middle = frame.shape[0] // 2
    own = inside == inside[middle, middle]
    return float(own.sum()) * (SPACING_MM[0] / 10.0) ** 2


def test_the_wall_keeps_its_mass_however_full_the_ventricle_is() -> None:
    rng = np.random.default_rng(0)
    for sex in ("F", "M"):
        ventricle = Ventricle.draw(sex, rng)
        volume = np.linspace(0.3, 1.1, 9) * ventricle.end_diastolic_ml
        radius, length, thickness = walls(ventricle, volume)
        cavity = 2.0 / 3.0 * np.pi * radius**2 * length
        whole = 2.0 / 3.0 * np.pi * (radius + thickness) ** 2 * (length + thickness)
        np.testing.assert_allclose(cavity, volume, rtol=1e-9)
        np.testing.assert_allclose((whole - cavity) * DENSITY, ventricle.mass_g, rtol=1e-9)
        assert (np.diff(thickness) < 0).all()  # it thickens as it empties


def test_the_volume_says_the_ejection_fraction_that_the_intervals_ask(clean: list[Record]) -> None:
    shares = []
    for record in clean:
        truth, shut = record.truth, record.annotations["s2"].time.values[1:-1]
        assert truth is not None
        least = np.interp(shut, truth.time, truth["volume"])
        full = np.interp(shut, truth.time, truth["end_diastolic_volume"])
        share = np.interp(shut, truth.time, truth["ejection_fraction"])
        # at the aortic valve's closing all that is ejected has left; the grid is 80 ms wide
        np.testing.assert_allclose(1.0 - least / full, share, atol=0.05)
        ratio = (truth["pre_ejection_period"] / truth["ejection_time"]).mean()
        shares.append((float(share.mean()), 1.125 - 1.25 * float(ratio)))
        low, high = float(truth["volume"].min()), float(truth["volume"].max())
        assert high == pytest.approx(float(truth["end_diastolic_volume"].max()), rel=0.03)
        assert low == pytest.approx(float(truth["end_systolic_volume"].min()), rel=0.15)
    own, regression = np.array(shares).T
    assert np.abs(own - regression).max() < 0.1  # three of its scatters
    assert np.ptp(own) > 0.1


def test_the_images_show_the_volume_at_its_own_time(clean: list[Record]) -> None:
    for record in clean:
        frames, truth = record.images["cine"], record.truth
        assert truth is not None
        assert frames.sizes == {"time": 375, "y": 32, "x": 32}
        assert frames.attrs["spacing_xyz"][:2] == [3.5, 3.5]
        area = np.array([cavity_cm2(frame) for frame in frames.values])
        # of a cavity whose length shortens with it, the cut grows as volume ** 0.8
        volume = np.interp(frames.time, truth.time, truth["volume"])
        assert np.corrcoef(area, volume**0.8)[0, 1] > 0.95
        late = np.interp(frames.time + 0.2, truth.time, truth["volume"])
        assert np.corrcoef(area, late**0.8)[0, 1] < np.corrcoef(area, volume**0.8)[0, 1] - 0.2


def test_breathing_moves_the_heart_and_the_scanner_adds_its_own() -> None:
    still, moving = (
        simulate(1, 0.3, seed=9, absent=0.0, nuisance=amount, cine_rate_hz=HZ)[0]
        for amount in (0.0, 1.0)
    )
    frames, truth = still.images["cine"].values, still.truth
    assert truth is not None
    rows, time = frames.sum(2), still.images["cine"].time
    height = (rows * np.arange(32)).sum(1) / rows.sum(1)
    breath = np.sin(np.interp(time, truth.time, np.unwrap(truth.breath_phase)))
    volume = np.interp(time, truth.time, truth["volume"])
    known = np.stack([np.ones_like(breath), breath, volume], 1)
    moved = np.linalg.lstsq(known, height, rcond=None)[0]
    by_breath = np.corrcoef(height - known[:, ::2] @ moved[::2], breath)[0, 1]
    assert by_breath > 0.9  # the diaphragm pushes it down the image
    seen = moving.images["cine"].values
    assert (seen[np.isfinite(seen)] >= 0).all()  # a magnitude
    lost = np.isnan(seen).all((1, 2))
    assert (np.isnan(seen).any((1, 2)) == lost).all()


def test_mass_and_conduction_show_in_the_ecg() -> None:
    rng = np.random.default_rng(0)
    state = simulate_physiology(Subject.draw(rng), 10.0, rng)
    time = np.arange(1000) / 500.0 + 2.0
    plain = Morphology(np.ones(5), 0.3, 0.6)

    def qrs(width_s: float | None, tall: float = 1.0) -> tuple[float, float]:
        heights = np.array([1.0, tall, tall, tall, 1.0])
        wave = ecg(state, Morphology(heights, 0.3, 0.6, qrs_s=width_s), "II", time)
        peak = int(wave.argmax())
        around = wave[max(0, peak - 30) : peak + 30]
        above = np.flatnonzero(around > 0.5 * (around.max() + np.median(wave)))
        return float(wave.max() - np.median(wave)), float(np.ptp(above)) / 500.0

    height, width = qrs(QRS_S)
    assert qrs(QRS_S, 1.5)[0] == pytest.approx(1.5 * height, rel=0.15)
    assert qrs(1.5 * QRS_S)[1] == pytest.approx(1.5 * width, rel=0.15)
    assert qrs(1.5 * QRS_S)[0] == pytest.approx(height, rel=0.15)
    unchanged = Morphology(np.ones(5), 0.3, 0.6, qrs_s=None, repolarisation=1.0)
    np.testing.assert_array_equal(ecg(state, plain, "II", time), ecg(state, unchanged, "II", time))


def test_a_scanner_changes_nothing_of_who_is_not_in_it() -> None:
    both = [simulate(2, 0.1, seed=2, absent=0.3, cine_rate_hz=hz)[1] for hz in (None, 12.5)]
    assert not both[0].images
    for name in ("resp", "spo2"):
        assert (name in both[0].signals) == (name in both[1].signals)
        if name in both[0].signals:
            np.testing.assert_array_equal(both[0].signals[name], both[1].signals[name])
    with pytest.raises(RateError, match="5 or more.*12.5"):
        simulate(1, 0.1, cine_rate_hz=2.0)
