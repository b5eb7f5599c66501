"""Views: who speaks, who is scored."""

from __future__ import annotations

import torch

from latentphys.learning.views import full_view, subset_view


def _present(count: int = 4000, modalities: int = 4) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.rand(count, modalities, generator=rng) < 0.7


def test_a_full_view_is_everything_observed() -> None:
    view = full_view(_present())
    assert torch.equal(view.keep, _present())
    assert torch.equal(view.target, _present())


def test_a_subset_is_proper_and_leaves_the_rest_as_target() -> None:
    present = _present()
    view = subset_view(present, torch.Generator().manual_seed(1))
    assert not (view.keep & view.target).any()
    assert torch.equal(view.keep | view.target, present)
    several = present.sum(-1) > 1
    assert view.keep[several].any(-1).all()
    assert view.target[several].any(-1).all()
    assert torch.equal(view.keep[~several], present[~several])
    assert not view.target[~several].any()


def test_every_proper_subset_is_met_and_one_out_as_often_as_asked() -> None:
    present = torch.ones(8000, 4, dtype=torch.bool)
    view = subset_view(present, torch.Generator().manual_seed(1), one_out=0.5)
    assert len({tuple(row) for row in view.keep.tolist()}) == 2**4 - 2
    share = float((view.keep.sum(-1) == 3).double().mean())
    assert abs(share - (0.5 + 0.5 / 3)) < 0.03
    each = view.keep.double().mean(0)
    assert (each - each.mean()).abs().max() < 0.03


def test_a_subset_is_a_function_of_its_generator() -> None:
    one, two, three = (
        subset_view(_present(), torch.Generator().manual_seed(seed)).keep for seed in (1, 1, 2)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
