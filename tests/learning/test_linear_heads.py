"""Linear heads fitted in full: scikit-learn's answer, looks that weigh alike, a chosen penalty."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from latentphys.learning.linear_heads import (
    PENALTIES,
    USUAL,
    Figures,
    _looks,
    fit_linear,
)
from latentphys.learning.task_terms import Resilience, held_out_loss, task_loss
from latentphys.model.heads import HeadSpec, TaskHead, TaskKind
from latentphys.recordings.errors import FitError


def head_of(kind: TaskKind, classes: int = 0, rate_hz: float = 0.0) -> TaskHead:
    return TaskHead(HeadSpec(kind, classes, 2, rate_hz=rate_hz)).double()


def told_by_line(rows: int, noise: float, seed: int = 0, patterns: int = 1) -> Figures:
    """A number that eight figures tell, all but the last pattern with some of them missing."""
    rng = torch.Generator().manual_seed(seed)
    h = torch.randn(patterns, rows, 8, generator=rng, dtype=torch.float64)
    h[:] = h[-1]
    h[:-1, :, :4] = 0.0
    y = h[-1] @ torch.linspace(-1.0, 1.0, 8, dtype=torch.float64)
    return Figures(h, y + noise * torch.randn(rows, generator=rng, dtype=torch.float64))


def test_classes_are_told_as_by_scikit_learn() -> None:
    figures = told_by_line(300, 0.5)
    y = torch.bucketize(figures.y, torch.tensor([-0.8, 0.8], dtype=torch.float64))
    head, balanced = head_of("class", 3), 100.0 / torch.bincount(y).double()
    fit_linear(head, Figures(figures.h, y), None, None, balanced, 500, 4, False)
    theirs = LogisticRegression(C=1.0 / (USUAL * 300), class_weight="balanced", tol=1e-8)
    theirs.fit(figures.h[0].numpy(), y.numpy())
    ours = head.out(figures.h[0]).softmax(-1).detach()
    np.testing.assert_allclose(ours, theirs.predict_proba(figures.h[0].numpy()), atol=2e-4)


@pytest.mark.parametrize(("kind", "classes"), [("number", 0), ("ordinal", 3), ("class", 3)])
def test_nothing_is_left_to_learn_of_the_resilient_loss(kind: TaskKind, classes: int) -> None:
    """At the least loss its gradient is that of the penalty, by the formula written out."""
    figures = told_by_line(200, 0.3, patterns=3)
    h, y = figures.h.clone(), figures.y
    h[0, :50] = torch.nan
    if classes:
        y = torch.bucketize(y, torch.tensor([-0.8, 0.8], dtype=torch.float64))
    head, weights = head_of(kind, classes), Resilience(together=1.0, parts=2.0)
    fit_linear(head, Figures(h, y), None, weights, None, 2000, 4, False)
    each = []
    for unit in range(200):
        own = [h[k, unit : unit + 1] for k in range(3)]
        losses = [
            task_loss(head, head.out(x), y[unit : unit + 1]) for x in own if x.isfinite().all()
        ]
        parts = torch.cat(losses[:-1]).mean()
        each.append(losses[-1].squeeze() + 2.0 * parts)
    torch.stack(each).mean().backward()
    assert head.out.weight.grad is not None
    slope = head.out.weight.grad + USUAL * head.out.weight.detach()
    assert float(slope.abs().max()) < 2e-4
    assert float(head.out.weight.detach().abs().max()) > 0.05


def test_a_unit_weighs_the_same_however_many_sets_its_sensors_have() -> None:
    h = torch.zeros(4, 3, 8)
    h[1:3, 1] = torch.nan
    h[:3, 2] = torch.nan  # one sensor alone: no other set
    _, shares = _looks(Figures(h, torch.zeros(3)), Resilience(together=1.0, parts=3.0))
    torch.testing.assert_close(3.0 * shares.sum(0), torch.tensor([4.0, 4.0, 4.0]))
    torch.testing.assert_close(3.0 * shares[:, 1], torch.tensor([3.0, 0.0, 0.0, 1.0]))
    looks, alone = _looks(Figures(h, torch.zeros(3)), None)
    assert looks.shape == (1, 3, 8)
    torch.testing.assert_close(3.0 * alone, torch.ones(1, 3))


def test_held_out_people_choose_the_penalty() -> None:
    few, many = told_by_line(12, 3.0), told_by_line(400, 0.1)
    other = told_by_line(400, 0.1, seed=1)
    chosen = []
    for training in (few, many):
        head = head_of("number")
        rows = fit_linear(head, training, other, None, None, 900, len(PENALTIES), False)
        losses = [row["held_out_loss"] for row in rows]
        chosen.append(PENALTIES[int(np.argmin(losses))])
        told = head.out(other.h)
        assert held_out_loss(head, told, other.y) == pytest.approx(min(losses))
        assert [row["penalty"] for row in rows] == list(PENALTIES)
        assert rows[-1]["step"] == 900
    assert chosen[0] >= 1.0 > chosen[1]
    # Told the opposite they have had enough of it after `patience` penalties.
    against = Figures(other.h, -other.y)
    rows = fit_linear(head_of("number"), many, against, None, None, 900, 2, False)
    assert len(rows) == 3


def test_rhythms_are_spared() -> None:
    """Of two figures that tell the same, the one of a rhythm is believed."""
    rng = torch.Generator().manual_seed(0)
    h = torch.randn(1, 200, 14, generator=rng, dtype=torch.float64)
    h[..., 8] = h[..., 0]
    head = head_of("number", rate_hz=12.5)
    fit_linear(head, Figures(h, h[0, :, 0]), None, None, None, 500, 4, False)
    of_dimension, of_rhythm = head.out.weight[0, [0, 8]].detach().abs()
    assert float(of_rhythm) > 20.0 * float(of_dimension)


def test_labels_without_an_end_are_refused() -> None:
    figures = told_by_line(20, 0.1)
    broken = Figures(figures.h, figures.y.clone().index_fill(0, torch.tensor([3]), torch.inf))
    with pytest.raises(FitError, match="no finite loss"):
        fit_linear(head_of("number"), broken, None, None, None, 10, 4, False)
