"""Views: who speaks, who is scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from latentphys.learning.views import (
    Gaps,
    Masking,
    View,
    draw_gaps,
    full_view,
    gap_view,
    masked_view,
    of_modality,
    single_view,
    subset_view,
    with_own_gaps,
)
from latentphys.preparation.batch import Batch


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


@pytest.mark.parametrize("one_out", [0.0, 0.6, 1.0])
def test_what_a_sensor_weighs_does_not_follow_from_what_else_there_is(one_out: float) -> None:
    """Over many draws a sensor that is left out weighs alike in windows of two and of seven."""
    weighs = []
    for count in (2, 3, 5, 7):
        present = torch.zeros(20000, 7, dtype=torch.bool)
        present[:, :count] = True
        view = subset_view(present, torch.Generator().manual_seed(count), one_out)
        assert view.weight is not None
        assert (view.weight[~view.target] == 1).all()
        weighs.append(float((view.weight * view.target)[:, :count].mean()))
    of_three = one_out / 3 + (1 - one_out) / 2
    assert weighs == pytest.approx([of_three] * 4, rel=0.03)


def test_the_views_of_a_window_leave_out_its_sensors_in_turn() -> None:
    present = _present()
    view = subset_view(present, torch.Generator().manual_seed(1), one_out=1.0, views=4)
    target = view.target.view(4, *present.shape)
    count = present.sum(-1)
    for n in (2, 3, 4):  # with as many views as sensors each is scored equally often
        scored = target[:n, count == n].sum(0)
        assert torch.equal(scored, present[count == n].long())
    mixed = subset_view(present, torch.Generator().manual_seed(1), one_out=0.5, views=3)
    assert torch.equal(mixed.keep | mixed.target, present.repeat(3, 1))
    assert not torch.equal(*mixed.keep.view(3, *present.shape)[:2])


def _gaps(share: float = 1.0, steps: int = 100, reach: int = 4) -> tuple[View, View]:
    whole = subset_view(_present(), torch.Generator().manual_seed(1))
    rng = torch.Generator().manual_seed(2)
    return whole, gap_view(whole, _present(), steps, rng, share=share, reach=reach, shortest=5)


def test_in_a_gap_no_sensor_speaks_and_every_one_is_scored() -> None:
    whole, view = _gaps()
    gap = (view.target & whole.keep.unsqueeze(-1)).any(1)
    assert (
        view.target == (whole.target.unsqueeze(-1) | (_present().unsqueeze(-1) & gap.unsqueeze(1)))
    ).all()
    loud = view.keep.any(1)
    near = torch.nn.functional.max_pool1d(gap.double().unsqueeze(1), 9, 1, 4).squeeze(1) > 0
    assert not (loud & near).any()  # four steps to either side of what is scored are silent too
    kept = whole.keep.any(1, keepdim=True) & ~near
    assert torch.equal(loud, kept)


def test_gaps_are_of_every_length_everywhere() -> None:
    whole, view = _gaps()
    length = (view.target & whole.keep.unsqueeze(-1)).any(1).sum(-1)[whole.keep.any(-1)]
    assert length.max() == 100
    assert 0.1 < float((length < 10).double().mean()) < 0.5
    assert 0.1 < float((length > 50).double().mean()) < 0.5
    assert 0.02 < float((length == 100).double().mean()) < 0.3  # silence throughout
    reached = (view.target & whole.keep.unsqueeze(-1)).any(1).double().mean(0)
    assert reached.min() > 0.5 * reached.max()


@pytest.fixture
def windows(make_batch: Callable[..., Batch]) -> Batch:
    """ECG of four samples a step and respiration of two, ten steps a second."""
    return replace(make_batch(windows=2000, steps=100, holes=0.0), state_rate_hz=10.0)


def _own(batch: Batch, share: float = 0.5, reach: int = 0) -> Gaps:
    rng = torch.Generator().manual_seed(3)
    shares = {"ecg": share, "resp": share}
    return draw_gaps(batch, rng, share=shares, shortest_s=0.5, reach={"ecg": reach, "resp": 0})


def test_a_sensor_has_gaps_as_often_as_its_own_share_says(windows: Batch) -> None:
    own = {"": 0.5, "resp": 0.0}
    share = {name: of_modality(own, name) for name in ("ecg", "resp")}
    assert share == {"ecg": 0.5, "resp": 0.0}
    assert of_modality(0.3, "ecg") == 0.3
    rng = torch.Generator().manual_seed(3)
    gaps = draw_gaps(windows, rng, share=share, shortest_s=0.5, reach={"ecg": 0, "resp": 0})
    assert torch.equal(gaps.hidden["ecg"], _own(windows).hidden["ecg"])
    assert not gaps.hidden["resp"].any()


def test_a_sensors_own_gaps_are_alike_and_of_every_length_everywhere(windows: Batch) -> None:
    gaps = _own(windows)
    hidden = gaps.hidden["ecg"][:, :, 0].flatten(1)
    edges = torch.nn.functional.pad(hidden.double(), (1, 1)).diff()
    inner = []
    for row in edges[hidden.any(-1)]:
        lengths = (row == -1).nonzero() - (row == 1).nonzero()
        inner.append(lengths[1:-1].flatten())  # a window may cut its first and its last
        assert len(inner[-1]) == 0 or inner[-1].max() - inner[-1].min() <= 1
    seconds = torch.stack([each.double().mean() for each in inner if len(each)]) / 40.0
    assert 0.45 < seconds.min() < 0.6
    assert seconds.max() > 1.5
    # A third is hidden, whether by many short gaps or by a long one in some of the windows.
    where = hidden.double().mean(0)
    assert abs(float(where.mean()) - 0.5 / 3) < 0.02
    assert where.min() > 0.6 * where.max()
    assert hidden.sum(-1).max() > 7.0 * 40.0


def test_sensors_have_their_gaps_independently_and_as_often_as_asked(windows: Batch) -> None:
    gaps = _own(windows, share=0.4)
    either = {name: hidden.flatten(1).any(-1) for name, hidden in gaps.hidden.items()}
    # A long gap and its neighbours may lie outside the window, a short one between two samples.
    assert 0.25 < float(either["ecg"].double().mean()) < 0.4
    together = float((either["ecg"] & either["resp"]).double().mean())
    assert abs(together - 0.4 * float(either["resp"].double().mean())) < 0.05
    assert not (either["ecg"] & ~gaps.rows).any()
    assert not _own(windows, share=0.0).rows.any()


def test_what_preparation_smeared_beside_a_gap_is_hidden_and_not_scored(windows: Batch) -> None:
    gaps = _own(windows, reach=3)
    hidden, scored = (x["ecg"][:, :, 0].flatten(1) for x in (gaps.hidden, gaps.scored))
    assert not (scored & ~hidden).any()
    near = torch.nn.functional.max_pool1d(scored.double().unsqueeze(1), 23, 1, 11).squeeze(1) > 0
    assert not (near & ~hidden).any()
    assert torch.equal(gaps.hidden["resp"], gaps.scored["resp"])


def test_hidden_samples_are_not_observed_and_the_others_stay(windows: Batch) -> None:
    gaps = _own(windows)
    shown = windows.hide(gaps.hidden)
    for name, hidden in gaps.hidden.items():
        assert torch.equal(shown.mask[name], (~hidden).expand_as(windows.mask[name]))
        assert not shown.values[name][hidden.expand_as(windows.mask[name])].any()
        kept = shown.mask[name]
        assert torch.equal(shown.values[name][kept], windows.values[name][kept])


def test_some_windows_with_a_gap_leave_out_no_sensor(windows: Batch) -> None:
    gaps = _own(windows)
    present = torch.ones(len(windows), 2, dtype=torch.bool)
    whole = subset_view(present, torch.Generator().manual_seed(1), views=2)
    view = with_own_gaps(whole, present, gaps, torch.Generator().manual_seed(2), 0.3)
    first, second = view.keep.all(-1).chunk(2)
    assert abs(float(first[gaps.rows].double().mean()) - 0.3) < 0.03
    assert not first[~gaps.rows].any()
    assert not second.any()  # whose gaps are not scored, and who would have nothing to say
    assert not (view.keep & view.target).any()
    assert torch.equal(view.keep | view.target, present.repeat(2, 1))


def test_a_share_of_the_windows_has_a_gap() -> None:
    whole, view = _gaps(share=0.3)
    spoken = whole.keep.any(-1)
    full = view.keep.any(1).all(-1)[spoken]
    assert abs(float(full.double().mean()) - 0.7) < 0.03
    _, none = _gaps(share=0.0)
    assert torch.equal(none.keep, whole.keep.unsqueeze(-1).expand(-1, -1, 100))


def _masked(masking: Masking, reach: int = 3) -> tuple[torch.Tensor, View]:
    present = _present(2000, 3)
    seen = torch.rand(2000, 4, generator=torch.Generator().manual_seed(3)) < 0.8
    channels = {name: seen for name in ("ecg", "ppg", "resp")}
    rng = torch.Generator().manual_seed(0)
    return present, masked_view(present, channels, 100, 10.0, rng, masking, reach)


def test_a_mask_hides_as_much_as_asked_in_spans_of_the_length_asked() -> None:
    present, view = _masked(Masking({"ecg": 0.75, "": 0.25}, span_s=2.0))
    share = view.target.double().sum((0, 2)) / present.sum(0) / 100
    torch.testing.assert_close(
        share, torch.tensor([0.75, 0.25, 0.25]).double(), atol=0.02, rtol=0.0
    )
    row = view.target[present[:, 1], 1]
    edges = torch.diff(row.int(), dim=-1)
    inner = [
        (b - a) % 20
        for starts, stops in zip(edges == 1, edges == -1, strict=True)
        for a, b in zip(
            starts.nonzero().flatten().tolist(),
            [
                s
                for s in stops.nonzero().flatten().tolist()
                if s > (starts.nonzero().min() if starts.any() else 100)
            ],
            strict=False,
        )
    ]
    assert inner
    assert set(inner) == {0}
    assert not view.target[~present].any()


def test_what_is_hidden_is_silent_and_so_are_the_steps_that_saw_it() -> None:
    present, view = _masked(Masking(0.3, span_s=1.0), reach=3)
    near = torch.nn.functional.max_pool1d(view.target.double(), 7, 1, 3) > 0
    assert not (view.keep & near).any()
    # all else speaks, but next to spans that end just outside the window
    loud = present.unsqueeze(-1) & ~near
    assert torch.equal(view.keep[..., 3:-3], loud[..., 3:-3])


def test_whole_modalities_and_channels_are_hidden_but_one_always_speaks() -> None:
    present, view = _masked(Masking(0.0, modality=0.5, channel=0.5))
    some = present.any(-1)
    assert view.keep.any(-1)[some].any(-1).all()
    several = present.sum(-1) == 3
    hidden = view.target[several].all(-1).double().mean()
    assert abs(float(hidden) - 0.5 * 2 / 3) < 0.03
    assert torch.equal(view.keep | view.target, present.unsqueeze(-1).expand_as(view.keep))
    seen = torch.rand(2000, 4, generator=torch.Generator().manual_seed(3)) < 0.8
    for own in view.hidden.values():
        assert not (own & ~seen).any()
        assert (seen & ~own)[seen.any(-1)].any(-1).all()
        assert 0.3 < float(own[seen].double().mean()) < 0.4
    assert not torch.equal(view.hidden["ecg"], view.hidden["ppg"])


def test_single_views_are_one_sensor_each() -> None:
    present = _present(50, 3)
    view = single_view(present)
    assert torch.equal(view.keep.view(3, 50, 3).sum(0), present.long())
    for m in range(3):
        assert torch.equal(view.keep.view(3, 50, 3)[m, :, m], present[:, m])
    assert not view.target.any()
    names = ["ecg", "ppg", "resp"]
    assert set(view.sources(names)) == {"nothing", *names}
    assert View(present, ~present).sources(names)[:1] == [
        "+".join(n for n, p in zip(names, present[0].tolist(), strict=True) if p)
    ]
