"""The exact filter and smoother against independent answers, always with holes in the data."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from latentphys.model.kalman import (
    LinearGaussian,
    kalman_filter,
    kalman_update,
    log_evidence,
    rts_smoother,
)

LATENT, ROW, INPUT, STEPS = 3, 4, 2, 12


def _tensor(array: object) -> Tensor:
    return torch.as_tensor(np.array(array, dtype=np.float64))


def _covariance(rng: np.random.Generator, size: int) -> np.ndarray:
    root = rng.normal(size=(size, size))
    return root @ root.T / size + 0.2 * np.eye(size)


def _random_system(seed: int, *, driven: bool = True) -> LinearGaussian:
    rng = np.random.default_rng(seed)
    transition = rng.normal(size=(LATENT, LATENT))
    transition *= 0.9 / np.abs(np.linalg.eigvals(transition)).max()
    return LinearGaussian(
        initial_mean=_tensor(rng.normal(size=LATENT)),
        initial_cov=_tensor(_covariance(rng, LATENT)),
        transition=_tensor(transition),
        transition_cov=_tensor(_covariance(rng, LATENT)),
        emission=_tensor(rng.normal(size=(ROW, LATENT))),
        emission_cov=_tensor(_covariance(rng, ROW)),
        transition_offset=_tensor(rng.normal(size=LATENT)),
        emission_offset=_tensor(rng.normal(size=ROW)),
        input_matrix=_tensor(rng.normal(size=(LATENT, INPUT))) if driven else None,
    )


def _random_data(seed: int, steps: int = STEPS) -> tuple[Tensor, Tensor, Tensor]:
    """Values, a mask with single entries, whole rows and the first row missing, and inputs."""
    rng = np.random.default_rng(seed)
    mask = rng.random((steps, ROW)) > 0.3
    mask[[0, 3, 4]] = False
    return (
        _tensor(rng.normal(size=(steps, ROW)) * 2.0),
        torch.as_tensor(mask),
        _tensor(rng.normal(size=(steps, INPUT))),
    )


def _joint(model: LinearGaussian, inputs: Tensor) -> SimpleNamespace:
    """Mean and covariance of all of z and all of x at once, written out step by step."""
    steps, m = len(inputs), LATENT
    mean = np.zeros((steps, m))
    cov = np.zeros((steps, m, steps, m))
    a, q = model.transition.numpy(), model.transition_cov.numpy()
    mean[0], cov[0, :, 0] = model.initial_mean.numpy(), model.initial_cov.numpy()
    for t in range(1, steps):
        drive = model.input_matrix.numpy() @ inputs[t].numpy()
        mean[t] = a @ mean[t - 1] + model.transition_offset.numpy() + drive
        cov[t, :, t] = a @ cov[t - 1, :, t - 1] @ a.T + q
        for s in range(t):
            cov[t, :, s] = a @ cov[t - 1, :, s]
            cov[s, :, t] = cov[t, :, s].T
    big = np.kron(np.eye(steps), model.emission.numpy())
    z_cov = cov.reshape(steps * m, steps * m)
    x_mean = big @ mean.ravel() + np.tile(model.emission_offset.numpy(), steps)
    x_cov = big @ z_cov @ big.T + np.kron(np.eye(steps), model.noise.numpy())
    return SimpleNamespace(
        z_mean=mean.ravel(), z_cov=z_cov, x_mean=x_mean, x_cov=x_cov, cross=z_cov @ big.T
    )


def _brute_force(
    model: LinearGaussian, values: Tensor, mask: Tensor, inputs: Tensor
) -> SimpleNamespace:
    """Condition the joint Gaussian on the observed entries with one big solve."""
    joint, seen = _joint(model, inputs), mask.numpy().ravel()
    cov, cross = joint.x_cov[np.ix_(seen, seen)], joint.cross[:, seen]
    residual = values.numpy().ravel()[seen] - joint.x_mean[seen]
    gain = np.linalg.solve(cov, cross.T).T
    distance = residual @ np.linalg.solve(cov, residual)
    log_det = np.linalg.slogdet(cov)[1]
    steps = len(inputs)
    return SimpleNamespace(
        mean=(joint.z_mean + gain @ residual).reshape(steps, LATENT),
        cov=(joint.z_cov - gain @ cross.T).reshape(steps, LATENT, steps, LATENT),
        log_evidence=-0.5 * (distance + log_det + seen.sum() * math.log(2 * math.pi)),
    )


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_the_joint_gaussian_of_everything(seed: int) -> None:
    model, (values, mask, inputs) = _random_system(seed), _random_data(seed + 100)
    exact = _brute_force(model, values, mask, inputs)
    filtered = kalman_filter(model, values, mask, inputs)
    smoothed = rts_smoother(model, filtered)
    steps = np.arange(STEPS)
    np.testing.assert_allclose(filtered.log_density.sum(), exact.log_evidence, atol=1e-9)
    np.testing.assert_allclose(smoothed.mean, exact.mean, atol=1e-10)
    np.testing.assert_allclose(smoothed.cov, exact.cov[steps, :, steps], atol=1e-10)
    lag_one = exact.cov[steps[1:], :, steps[:-1]]
    np.testing.assert_allclose(smoothed.lag_one_cov, lag_one, atol=1e-10)
    for t in (0, 3, 4, STEPS - 1):
        past = _brute_force(model, values[: t + 1], mask[: t + 1], inputs[: t + 1])
        np.testing.assert_allclose(filtered.mean[t], past.mean[t], atol=1e-10)
        np.testing.assert_allclose(filtered.cov[t], past.cov[t, :, t], atol=1e-10)


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_statsmodels(seed: int, diagonal: bool) -> None:
    from statsmodels.tsa.statespace.kalman_smoother import KalmanSmoother

    model, (values, mask, _) = _random_system(seed, driven=False), _random_data(seed + 50, 60)
    if diagonal:
        noise = model.emission_cov.diagonal()
        model = LinearGaussian(**{**vars(model), "emission_cov": noise, "diagonal_noise": True})
    endog = torch.where(mask, values, torch.nan).numpy()
    theirs = KalmanSmoother(k_endog=ROW, k_states=LATENT)
    theirs.bind(np.ascontiguousarray(endog))
    for name, value in (
        ("design", model.emission),
        ("obs_cov", model.noise),
        ("transition", model.transition),
        ("state_cov", model.transition_cov),
        ("selection", torch.eye(LATENT, dtype=torch.float64)),
    ):
        theirs[name] = value.numpy()
    theirs["obs_intercept"] = model.emission_offset.numpy()[:, None]
    theirs["state_intercept"] = model.transition_offset.numpy()[:, None]
    theirs.initialize_known(model.initial_mean.numpy(), model.initial_cov.numpy())
    result = theirs.smooth()
    filtered = kalman_filter(model, values, mask)
    smoothed = rts_smoother(model, filtered)
    close = {"atol": 1e-8, "rtol": 0}
    np.testing.assert_allclose(filtered.log_density, result.llf_obs, **close)
    np.testing.assert_allclose(filtered.mean, result.filtered_state.T, **close)
    np.testing.assert_allclose(filtered.cov, result.filtered_state_cov.transpose(2, 0, 1), **close)
    np.testing.assert_allclose(smoothed.mean, result.smoothed_state.T, **close)
    np.testing.assert_allclose(smoothed.cov, result.smoothed_state_cov.transpose(2, 0, 1), **close)


def _nile() -> tuple[LinearGaussian, Tensor]:
    from statsmodels.datasets import nile

    one = torch.ones(1, 1, dtype=torch.float64)
    model = LinearGaussian(0 * one[0], 1e6 * one, one, 1469.1 * one, one, 15099.0 * one)
    return model, _tensor(nile.load_pandas().data["volume"])[:, None]


def test_nile_with_an_approximate_diffuse_start() -> None:
    model, volume = _nile()
    # The published figure leaves the first observation out: it is spent on finding the level.
    assert kalman_filter(model, volume).log_density[1:].sum() == pytest.approx(-632.53770, abs=2e-5)


def test_nile_with_an_exact_diffuse_start() -> None:
    model, volume = _nile()
    # The first observation alone fixes the level: z_1 | x_1 ~ N(x_1, R). In the exact diffuse
    # likelihood it keeps only its constant, -1/2 log 2 pi (Durbin & Koopman 2012, section 7.2.2).
    variance = model.emission_cov + model.transition_cov
    known = LinearGaussian(**{**vars(model), "initial_mean": volume[0], "initial_cov": variance})
    exact = log_evidence(known, volume[1:]) - 0.5 * math.log(2 * math.pi)
    assert exact == pytest.approx(-633.46456, abs=1e-5)


def _results_folder() -> Path:
    import statsmodels

    folder = Path(statsmodels.__file__).parent / "tsa/statespace/tests/results"
    if not folder.is_dir():
        pytest.skip("this statsmodels wheel carries no reference results")
    return folder


def _macro_model(transition: object, state_cov: object, noise: object) -> LinearGaussian:
    eye = np.eye(3)
    return LinearGaussian(
        *(_tensor(p) for p in (np.zeros(3), 1e6 * eye, transition, state_cov, eye, noise))
    )


def _macrodata(log: bool) -> np.ndarray:
    from statsmodels.datasets import macrodata

    frame = macrodata.load_pandas().data[["realgdp", "realcons", "realinv"]].to_numpy()
    return np.diff(np.log(frame) if log else frame, axis=0)


def _check_kfas(model: LinearGaussian, values: np.ndarray, file: str, evidence: float) -> None:
    import pandas as pd

    desired = pd.read_csv(_results_folder() / file)
    filtered = kalman_filter(model, _tensor(values))
    smoothed = rts_smoother(model, filtered)
    assert filtered.log_density.sum() == pytest.approx(evidence, rel=1e-7)
    names = [f"alphahat{i}" for i in (1, 2, 3)]
    np.testing.assert_allclose(smoothed.mean, desired[names], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(torch.linalg.det(smoothed.cov), desired["detV"], rtol=1e-5)
    ahead = desired[["a1", "a2", "a3"]][:-1]
    np.testing.assert_allclose(filtered.predicted_mean[1:], ahead, rtol=1e-6, atol=1e-9)


def test_r_kfas_three_walks_with_missing_spans() -> None:
    values = _macrodata(log=False)
    values[0:50, 0] = values[19:70, 1] = values[39:90, 2] = np.nan
    values[119:130, 0] = values[119:130, 2] = np.nan
    model = _macro_model(np.eye(3), np.eye(3), np.eye(3))
    _check_kfas(model, values, "results_smoothing_R.csv", -205310.9767)


def test_r_kfas_vector_autoregression() -> None:
    transition = [
        [-0.1119908792, 0.8441841604, 0.0238725303],
        [0.2629347724, 0.4996718412, -0.0173023305],
        [-3.2192369082, 4.1536028244, 0.4514379215],
    ]
    state_cov = [
        [0.0000640649, 0.0000388496, 0.0002148769],
        [0.0000388496, 0.0000572802, 0.000001555],
        [0.0002148769, 0.000001555, 0.0017088585],
    ]
    model = _macro_model(transition, state_cov, np.diag([0.0000640649, 0.0000572802, 0.0017088585]))
    _check_kfas(model, _macrodata(log=True), "results_smoothing2_R.csv", 1695.34872)


def test_matlab_autoregression_with_missing_rows() -> None:
    """An AR(3) seen without noise: singular as it stands, so a breath of noise is added."""
    import pandas as pd
    from scipy.linalg import solve_discrete_lyapunov

    folder = _results_folder()
    series = pd.read_csv(folder / "results_wpi1_ar3_stata.csv")["wpi"].diff().to_numpy(copy=True)
    series[10:21] = np.nan
    desired = pd.read_csv(folder / "results_wpi1_missing_ar3_matlab_ssm.csv", header=None)
    transition = np.array([[0.5270715, 0.0952613, 0.2580355], [1, 0, 0], [0, 1, 0]])
    state_cov = np.diag([0.5307459, 0, 0]) + 1e-10 * np.eye(3)
    model = LinearGaussian(
        torch.zeros(3, dtype=torch.float64),
        _tensor(solve_discrete_lyapunov(transition, state_cov)),
        *(_tensor(p) for p in (transition, state_cov, [[1.0, 0, 0]], [[1e-10]])),
    )
    filtered = kalman_filter(model, _tensor(series[1:, None]))
    smoothed = rts_smoother(model, filtered)
    np.testing.assert_allclose(filtered.predicted_mean, desired[[0, 1, 2]], atol=1e-4)
    np.testing.assert_allclose(smoothed.mean, desired[[4, 5, 6]], atol=1e-4)
    np.testing.assert_allclose(torch.linalg.det(smoothed.cov), desired[7], atol=1e-4)


def _robot() -> tuple[LinearGaussian, np.ma.MaskedArray, Tensor, dict[str, np.ndarray]]:
    """The robot of pykalman, read by hand because its own loader leaves a file open."""
    import pykalman.datasets
    from scipy.io import loadmat

    robot = loadmat(Path(pykalman.datasets.__file__).parent / "data" / "robot.mat")
    rows = np.vstack([np.zeros((1, 2)), robot["y"].T])
    observations = np.ma.array(rows, mask=np.zeros(rows.shape, dtype=bool))
    observations[0] = np.ma.masked
    # Their b_t leads from z_t to z_{t+1}; here u_t leads into z_t. B = I makes b an input.
    inputs = np.vstack([np.zeros((1, 5)), robot["b"].T])[: len(rows)]
    model = LinearGaussian(
        initial_mean=_tensor(robot["x0"][:, 0]),
        initial_cov=_tensor(robot["P_0"]),
        transition=_tensor(robot["A"]),
        transition_cov=_tensor(robot["Q"]),
        emission=_tensor(robot["C"]),
        emission_cov=_tensor(robot["R"]),
        emission_offset=_tensor(robot["d"][:, 0]),
        input_matrix=torch.eye(5, dtype=torch.float64),
    )
    return model, observations, _tensor(inputs), robot


@pytest.mark.parametrize("masked", [(), (slice(100, 140), 200, 201, slice(490, 501))])
def test_agrees_with_pykalman_on_the_robot(masked: tuple[slice | int, ...]) -> None:
    from pykalman import KalmanFilter

    model, observations, inputs, robot = _robot()
    for rows in masked:
        observations[rows] = np.ma.masked
    theirs = KalmanFilter(
        transition_matrices=robot["A"],
        observation_matrices=robot["C"],
        transition_covariance=robot["Q"],
        observation_covariance=robot["R"],
        transition_offsets=robot["b"].T,
        observation_offsets=robot["d"][:, 0],
        initial_state_mean=robot["x0"][:, 0],
        initial_state_covariance=robot["P_0"],
    )
    mask = torch.as_tensor(~np.ma.getmaskarray(observations).astype(bool))
    filtered = kalman_filter(model, _tensor(observations.data), mask, inputs)
    smoothed = rts_smoother(model, filtered)
    mean, cov = theirs.filter(observations)
    np.testing.assert_allclose(filtered.mean, mean, atol=1e-7)
    np.testing.assert_allclose(filtered.cov, cov, atol=1e-7)
    mean, cov = theirs.smooth(observations)
    np.testing.assert_allclose(smoothed.mean, mean, atol=1e-7)
    np.testing.assert_allclose(smoothed.cov, cov, atol=1e-7)


def test_what_stands_under_the_mask_changes_no_bit() -> None:
    model, (values, mask, inputs) = _random_system(1), _random_data(2)

    def run(fill: float) -> list[Tensor]:
        leaf = model.transition.clone().requires_grad_()
        own = LinearGaussian(**{**vars(model), "transition": leaf})
        filtered = kalman_filter(own, torch.where(mask, values, fill), mask, inputs)
        smoothed = rts_smoother(own, filtered)
        (filtered.log_density.sum() + smoothed.mean.sum()).backward()
        assert leaf.grad is not None
        return [t.detach() for t in (*filtered, *smoothed)] + [leaf.grad]

    first = run(0.0)
    for fill in (1e6, -3.0, math.nan, math.inf):
        for one, other in zip(first, run(fill), strict=True):
            assert torch.equal(one, other)


def test_a_masked_channel_is_a_channel_that_was_never_there() -> None:
    model, (values, mask, inputs) = _random_system(3), _random_data(4)
    keep = [0, 1, 3]
    without = LinearGaussian(
        **{
            **vars(model),
            "emission": model.emission[keep],
            "emission_cov": model.emission_cov[keep][:, keep],
            "emission_offset": model.emission_offset[keep],
        }
    )
    mask = mask.clone()
    mask[:, 2] = False
    masked = kalman_filter(model, values, mask, inputs)
    absent = kalman_filter(without, values[:, keep], mask[:, keep], inputs)
    for one, other in zip(masked, absent, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_nothing_observed_gives_the_prior_and_no_evidence() -> None:
    model, (values, _, inputs) = _random_system(5), _random_data(6)
    filtered = kalman_filter(model, values, torch.zeros(STEPS, 1, dtype=torch.bool), inputs)
    smoothed = rts_smoother(model, filtered)
    joint = _joint(model, inputs)
    assert torch.equal(filtered.log_density, torch.zeros(STEPS, dtype=torch.float64))
    np.testing.assert_allclose(filtered.mean.reshape(-1), joint.z_mean, atol=1e-12)
    np.testing.assert_allclose(smoothed.mean, filtered.mean, atol=1e-12)
    np.testing.assert_allclose(smoothed.cov, filtered.cov, atol=1e-12)


@pytest.mark.parametrize("cuts", [(1,), (5,), (1, 2, 3, 7), tuple(range(1, STEPS))])
def test_a_stream_agrees_with_the_batch(cuts: tuple[int, ...]) -> None:
    model, (values, mask, inputs) = _random_system(7), _random_data(8)
    whole, state, parts = kalman_filter(model, values, mask, inputs), None, []
    for start, stop in zip((0, *cuts), (*cuts, STEPS), strict=True):
        span = slice(start, stop)
        part, state = kalman_update(model, state, values[span], mask[span], inputs[span])
        parts.append(part)
    for i, whole_part in enumerate(whole):
        joined = torch.cat([part[i] for part in parts], dim=0)
        torch.testing.assert_close(joined, whole_part, atol=1e-10, rtol=0)
    torch.testing.assert_close(whole.mean[..., -1, :], state.mean, atol=1e-10, rtol=0)


def test_batches_of_data_and_of_models_agree_with_one_at_a_time() -> None:
    models = [_random_system(s) for s in range(3)]
    data = [_random_data(s + 10) for s in range(3)]
    fields = {
        name: torch.stack([getattr(m, name) for m in models])
        for name, value in vars(models[0]).items()
        if isinstance(value, Tensor)
    }
    values, mask, inputs = (torch.stack(parts) for parts in zip(*data, strict=True))
    together = kalman_filter(LinearGaussian(**fields), values, mask, inputs)
    smoothed = rts_smoother(LinearGaussian(**fields), together)
    shared = log_evidence(models[0], values, mask, inputs)
    for i, (model, (own_values, own_mask, own_inputs)) in enumerate(zip(models, data, strict=True)):
        alone = kalman_filter(model, own_values, own_mask, own_inputs)
        torch.testing.assert_close(together.mean[i], alone.mean, atol=1e-12, rtol=0)
        torch.testing.assert_close(
            smoothed.lag_one_cov[i], rts_smoother(model, alone).lag_one_cov, atol=1e-12, rtol=0
        )
        one = log_evidence(models[0], own_values, own_mask, own_inputs)
        torch.testing.assert_close(shared[i], one, atol=1e-12, rtol=0)


def test_gradients_agree_with_finite_differences() -> None:
    model, (values, mask, inputs) = _random_system(9), _random_data(10, 5)

    def evidence(transition: Tensor, emission: Tensor, mean: Tensor) -> Tensor:
        changed = {"transition": transition, "emission": emission, "initial_mean": mean}
        return log_evidence(LinearGaussian(**{**vars(model), **changed}), values, mask, inputs)

    leaves = (model.transition, model.emission, model.initial_mean)
    assert torch.autograd.gradcheck(evidence, tuple(p.clone().requires_grad_() for p in leaves))


def test_errors_say_what_to_do() -> None:
    model, (values, mask, inputs) = _random_system(0), _random_data(0)
    with pytest.raises(ValueError, match=r"row = 4.*got \(12, 3\)"):
        kalman_filter(model, values[:, :3], mask[:, :3], inputs)
    with pytest.raises(ValueError, match=r"come together; got only B"):
        kalman_filter(model, values, mask)
    with pytest.raises(ValueError, match=r"one row a step; got 5 rows for 12 steps"):
        kalman_filter(model, values, mask, inputs[:5])
    with pytest.raises(ValueError, match=r"True = observed; got torch.float64"):
        kalman_filter(model, values, mask.double(), inputs)
    with pytest.raises(ValueError, match="at least one step"):
        kalman_filter(model, values[:0], mask[:0], inputs[:0])
