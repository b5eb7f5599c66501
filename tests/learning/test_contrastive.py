"""Contrastive terms: the published formulas on fixed numbers, and what is absent."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from latentphys.learning import contrastive
from latentphys.learning.objective import Objective, score_batch
from latentphys.model.alignment import HASTE, AlignmentHead
from latentphys.model.statespace import StateSpaceModel
from latentphys.preparation.batch import Batch
from latentphys.recordings.errors import FitError

Make = Callable[..., StateSpaceModel]
MakeBatch = Callable[..., Batch]


def _vectors(modalities: int = 3, rows: int = 5, size: int = 4) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    drawn = torch.randn(modalities, rows, size, generator=rng, dtype=torch.float64)
    return F.normalize(drawn, dim=-1)


def test_info_nce_on_numbers_written_out() -> None:
    similarity = torch.tensor([[1.0, 0.0], [0.5, 2.0]], dtype=torch.float64)
    loss = contrastive.info_nce(similarity, torch.tensor([True, True]))
    across = [-1.0 + math.log(math.e + 1.0), -2.0 + math.log(math.exp(0.5) + math.exp(2.0))]
    down = [-1.0 + math.log(math.e + math.exp(0.5)), -2.0 + math.log(1.0 + math.exp(2.0))]
    want = [(a + b) / 2.0 for a, b in zip(across, down, strict=True)]
    torch.testing.assert_close(loss, torch.tensor(want, dtype=torch.float64))


def test_leave_one_out_is_sleepfms_formula() -> None:
    # (1 / 2M) sum_m [CE(e_m . o_{-m} e^tau) + CE(transposed)], o_{-m} not made a unit vector
    e = _vectors()
    tau = torch.tensor(0.7, dtype=torch.float64)
    want, right = torch.zeros((), dtype=torch.float64), torch.arange(5)
    for m in range(3):
        others = [e[k] for k in range(3) if k != m]
        logits = e[m] @ ((others[0] + others[1]) / 2.0).t() * tau.exp()
        want += F.cross_entropy(logits, right) + F.cross_entropy(logits.t(), right)
    present = torch.ones(5, 3, dtype=torch.bool)
    got = contrastive.leave_one_out(e, present, tau.exp())
    torch.testing.assert_close(got.mean(), want / 6.0)


def test_leave_one_out_on_numbers_written_out() -> None:
    """Three modalities of two windows, e^tau = 2; what each is compared with is worked by hand."""
    e = torch.tensor(
        [[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.6, 0.8]], [[0.0, 1.0], [0.8, 0.6]]],
        dtype=torch.float64,
    )
    # 2 e_m . o_{-m}, where o_{-1} = (.5, .5), (.7, .7); o_{-2} = (.5, .5), (.4, .8); and
    # o_{-3} = (1, 0), (.3, .9)
    logits = [[[1.0, 1.4], [1.0, 1.4]], [[1.0, 0.8], [1.4, 1.76]], [[0.0, 1.8], [1.6, 1.56]]]
    want = 0.0
    for (a, b), (c, d) in logits:
        across = math.log(math.exp(a) + math.exp(b)) - a + math.log(math.exp(c) + math.exp(d)) - d
        down = math.log(math.exp(a) + math.exp(c)) - a + math.log(math.exp(b) + math.exp(d)) - d
        want += (across + down) / 2.0
    got = contrastive.leave_one_out(e, torch.ones(2, 3, dtype=torch.bool), torch.tensor(2.0))
    assert float(got.mean()) == pytest.approx(want / 6.0, rel=1e-12)


def test_pairwise_is_the_mean_over_pairs() -> None:
    e, right = _vectors(), torch.arange(5)
    want = [
        0.5 * (F.cross_entropy(2.0 * a @ b.t(), right) + F.cross_entropy(2.0 * b @ a.t(), right))
        for a, b in ((e[0], e[1]), (e[0], e[2]), (e[1], e[2]))
    ]
    got = contrastive.pairwise(e, torch.ones(5, 3, dtype=torch.bool), torch.tensor(2.0))
    torch.testing.assert_close(got.mean(), torch.stack(want).mean())


def test_posteriors_are_compared_by_the_integral_of_their_product() -> None:
    # three dimensions; the integral of each by quadrature, their logarithms' mean
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(2, 2, 3, generator=generator, dtype=torch.float64)
    variance = 0.1 + torch.rand(2, 2, 3, generator=generator, dtype=torch.float64)
    grid = torch.linspace(-12, 12, 40001, dtype=torch.float64)

    def density(m: Tensor, v: Tensor) -> Tensor:
        return torch.distributions.Normal(m, v.sqrt()).log_prob(grid).exp()

    def overlap_of(i: int, j: int, d: int) -> Tensor:
        one, other = (
            density(mean[0, i, d], variance[0, i, d]),
            density(mean[1, j, d], variance[1, j, d]),
        )
        return torch.trapezoid(one * other, grid).log()

    overlap = torch.tensor(
        [[sum(overlap_of(i, j, d) for d in range(3)) / 3.0 for j in range(2)] for i in range(2)],
        dtype=torch.float64,
    )
    both = torch.ones(2, 2, dtype=torch.bool)
    want = contrastive.info_nce(overlap, both[:, 0])
    got = contrastive.between_posteriors(mean, variance, both)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("term", [contrastive.leave_one_out, contrastive.pairwise])
def test_an_absent_sensor_is_neither_query_nor_candidate(term: Callable[..., Tensor]) -> None:
    e, scale = _vectors(), torch.tensor(3.0)
    present = torch.ones(5, 3, dtype=torch.bool)
    present[3] = False  # a window with nothing changes nothing for the others
    rest = [0, 1, 2, 4]
    got = term(e, present, scale)
    assert got[3] == 0
    torch.testing.assert_close(got[rest], term(e[:, rest], present[rest], scale))
    garbled = e.clone()
    garbled[:, 3] = math.nan
    torch.testing.assert_close(term(garbled, present, scale), got)
    # without the third sensor anywhere: the pair of the other two, at unchanged weight
    present[:, 2] = False
    two = term(e[:2], present[:, :2], scale)
    share = 2.0 / 3.0 if term is contrastive.leave_one_out else 1.0 / 3.0
    torch.testing.assert_close(term(e, present, scale), share * two)


@pytest.mark.parametrize("kind", ["leave_one_out", "pairwise", "posterior"])
def test_alignment_reaches_the_encoders_and_brings_the_sensors_together(
    make_model: Make, make_batch: MakeBatch, kind: str
) -> None:
    model, batch = make_model(align_dim=4), make_batch(windows=6)
    objective = Objective(elbo=0.0, cross=0.0, miss=0.0, align=1.0, alignment=kind)  # type: ignore[arg-type]
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(80):
        score = score_batch(model, batch, objective, torch.Generator())
        optimiser.zero_grad()
        score.loss.backward()
        optimiser.step()
        losses.append(float(score.loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    for name in batch.values:
        gradient = model.encoder(name).to_evidence.weight.grad
        assert gradient is not None
        assert gradient.abs().max() > 0
    assert set(score.by_window) == {"align"}


def test_the_scale_of_similarities_is_learned_both_ways_from_anywhere() -> None:
    present, own = torch.ones(3, 2, dtype=torch.bool), torch.eye(3)
    for other, start, rises in ((own, -4.0, True), (own.roll(1, 0), 4.0, False)):
        head = AlignmentHead(latent_dim=4, size=3)
        with torch.no_grad():
            head.scale_logit.fill_(start / HASTE)
        before = float(head.scale.detach())
        assert 1.0 < before < 100.0
        optimiser = torch.optim.Adam(head.parameters(), lr=0.05)
        for _ in range(20):
            optimiser.zero_grad()
            contrastive.pairwise(torch.stack([own, other]), present, head.scale).sum().backward()
            optimiser.step()
        assert (float(head.scale.detach()) > before) == rises


def test_unit_vectors_are_of_what_tells_windows_apart() -> None:
    torch.manual_seed(0)
    head, steps = AlignmentHead(latent_dim=2, size=3), 40
    # A large common part, small differences, and windows of which nothing was observed.
    path = 50.0 + 0.01 * torch.randn(6, steps, 2) * torch.rand(6, 1, 2)
    path[4:] = 1000.0
    present = torch.tensor([True, True, True, True, False, False])
    e = head(path, present)
    torch.testing.assert_close(e.norm(dim=-1), torch.ones(6))
    assert float((e[:4] @ e[:4].t()).detach().min()) < 0.5
    assert float(head.centre[:2].max()) < 51.0
    head.eval()
    torch.testing.assert_close(head(path[:1]), head(path)[:1])  # whoever is in the batch


def test_alignment_needs_a_head(make_model: Make, make_batch: MakeBatch) -> None:
    objective = Objective(align=1.0)
    with pytest.raises(FitError, match="align_dim"):
        score_batch(make_model(), make_batch(), objective, torch.Generator())


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ({"mask": -1.0}, "0 or more"),
        ({"own_gaps": 1.5}, "own_gaps is a share of windows, from 0 to 1; got 1.5"),
        ({"own_gaps": {"ecg": 0.5, "": 2.0}}, "own_gaps is a share"),
        ({"one_out": -0.1}, "one_out is a share"),
        ({"total_correlation": 1.0}, "up to"),
        ({"alignment": "x"}, "one of"),
        ({"elbo": 0.0, "cross": 0.0}, "has a term that teaches"),
    ],
)
def test_an_objective_that_cannot_be(kind: dict[str, object], words: str) -> None:
    with pytest.raises(FitError, match=words):
        Objective(**kind)  # type: ignore[arg-type]
