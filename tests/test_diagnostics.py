"""Diagnostics against loops from their definitions, and the ideal increment against finite differences."""

from __future__ import annotations

import math

import matplotlib.image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reelseek.diagnostics.ideal import ideal_increments, ideal_scores, pair_gradients
from reelseek.diagnostics.plots import diagnostics_figure, figure_bytes
from reelseek.diagnostics.values import (
    Samples,
    alignment,
    geometry,
    gradient_conflict,
    length_values,
    mean_pairwise_cosine,
    modality_gap,
    samples,
    summary,
    uniformity,
)
from reelseek.score.increments import FactorisedIncrements, TextIncrements

SCALE = 20.0


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(first @ second / first.norm() / second.norm())


def loss_loop(anchors: torch.Tensor, pooled: torch.Tensor, own: int) -> float:
    logits = [SCALE * cosine(anchors[j], pooled[j]) for j in range(len(anchors))]
    return math.log(sum(map(math.exp, logits))) - logits[own]


def anchor_loss(anchors, pooled, *, target):
    """InfoNCE from text to video [T], with a vector of its own for every pair of text and video."""
    logits = SCALE * torch.nn.functional.cosine_similarity(anchors, pooled, dim=-1)
    return torch.nn.functional.cross_entropy(logits, target, reduction="none")


def test_gradients_are_those_of_finite_differences():
    anchors, pooled, target = random(3, 4, 5), random(3, 4, 5, seed=1), torch.tensor([0, 3, 1])
    found = pair_gradients(anchors, pooled, logit_scale=SCALE, target_T=target)
    losses = anchor_loss(anchors, pooled, target=target)
    for i in range(3):
        assert float(losses[i]) == pytest.approx(loss_loop(anchors[i], pooled[i], int(target[i])), rel=1e-9)
        for j in range(4):
            for d in range(5):
                step = torch.zeros_like(anchors[i])
                step[j, d] = 1e-5
                up, down = (loss_loop(anchors[i] + sign * step, pooled[i], int(target[i])) for sign in (1, -1))
                assert float(found[i, j, d]) == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-6)


def test_one_vector_for_all_pairs_gets_the_sum_of_the_pairs_gradients():
    texts, pooled, target = random(3, 5).requires_grad_(), random(3, 4, 5, seed=1), torch.tensor([0, 3, 1])
    anchors = texts[:, None].expand(3, 4, 5)
    (shared,) = torch.autograd.grad(anchor_loss(anchors, pooled, target=target).sum(), texts)
    parts = pair_gradients(anchors.detach(), pooled, logit_scale=SCALE, target_T=target)
    assert torch.allclose(parts.sum(dim=1), shared, atol=1e-10)


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("radius", [0.05, 0.2, 0.5, 3.0])
def test_ideal_increments_lie_on_the_sphere_and_lower_the_loss(radius, steps):
    texts, pooled = random(5, 6), random(5, 5, 6, seed=1)
    made = ideal_increments(texts, pooled, radius=radius, steps=steps)
    assert torch.allclose(made.norm(dim=2), torch.full((5, 5), radius).double(), atol=1e-9)
    target = torch.arange(5)
    before = anchor_loss(texts[:, None].expand_as(made), pooled, target=target)
    after = anchor_loss(texts[:, None] + made, pooled, target=target)
    assert (after < before).all()


def test_one_step_is_the_closed_form():
    texts, pooled, target = random(4, 6), random(4, 5, 6, seed=1), torch.tensor([4, 0, 2, 2])
    anchors = texts[:, None].expand(4, 5, 6)
    gradients = pair_gradients(anchors, pooled, logit_scale=SCALE, target_T=target)
    expected = -0.3 * gradients / gradients.norm(dim=2, keepdim=True)
    assert torch.allclose(ideal_increments(texts, pooled, radius=0.3, target_T=target), expected, atol=1e-9)


def test_first_order_no_direction_of_the_same_length_is_better():
    texts, pooled, target = random(3, 6), random(3, 3, 6, seed=1), torch.arange(3)
    anchors = texts[:, None].expand(3, 3, 6)
    gradients = pair_gradients(anchors, pooled, logit_scale=SCALE, target_T=target)
    best = (gradients * ideal_increments(texts, pooled, radius=0.1)).sum(dim=2)
    for seed in range(50):
        other = torch.nn.functional.normalize(random(3, 3, 6, seed=seed), dim=2) * 0.1
        assert ((gradients * other).sum(dim=2) >= best).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), steps=st.integers(1, 5), radius=st.floats(0.01, 5.0))
def test_more_steps_end_where_the_largest_step_ends(seed, steps, radius):
    """The last step is the positive root of |D - a u|^2 = radius^2, so one more of it goes nowhere new."""
    made = ideal_increments(random(3, 4, seed=seed), random(3, 3, 4, seed=seed + 1), radius=radius, steps=steps)
    assert torch.allclose(made.norm(dim=2), torch.full((3, 3), radius).double(), rtol=1e-7)


@pytest.mark.parametrize("steps", [2, 3])
def test_steps_follow_the_gradient_as_it_turns_and_the_last_one_ends_on_the_sphere(steps):
    texts, pooled, radius = random(2, 5), random(2, 2, 5, seed=1), 0.6
    made = ideal_increments(texts, pooled, radius=radius, steps=steps)
    for i in range(2):
        for j in range(2):
            moved = torch.zeros(5).double()
            for step in range(steps):
                at = (texts[i] + moved).requires_grad_()
                (slope,) = torch.autograd.grad(torch.cosine_similarity(at, pooled[i, j], dim=0), at)
                unit = (slope if i != j else -slope) / slope.norm()
                along = moved @ unit
                longest = along + torch.sqrt(along**2 + radius**2 - moved @ moved)
                moved = moved - (longest if step == steps - 1 else radius / steps) * unit
            assert torch.allclose(made[i, j], moved, atol=1e-9)


def test_scores_in_blocks_are_cosines_of_the_moved_texts_and_a_shared_video_side_is_enough(monkeypatch):
    texts, shared = random(5, 6), random(1, 5, 6, seed=1)
    moved = ideal_increments(texts, shared, radius=0.2, steps=3)
    monkeypatch.setattr("reelseek.diagnostics.ideal.TEXTS", 2)
    found = ideal_scores(texts, shared, radius=0.2, steps=3)
    whole = ideal_scores(texts, shared.expand(5, -1, -1), radius=0.2, steps=3)
    for i in range(5):
        for j in range(5):
            assert float(found[i, j]) == pytest.approx(cosine(texts[i] + moved[i, j], shared[0, j]), abs=1e-9)
    assert torch.allclose(found, whole)


def test_texts_that_point_at_their_video_keep_still_and_saturated_softmaxes_still_have_directions():
    texts = torch.eye(3).double()
    pooled = texts[None] * 2
    made = ideal_increments(texts, pooled, radius=0.5)
    assert torch.allclose(made[0, 0], torch.zeros(3).double())
    far = texts + 0.01 * random(3, 3)
    assert (ideal_increments(far, pooled * 1e3, radius=0.5).norm(dim=2) > 0.49).all()


@pytest.mark.parametrize(("radius", "steps"), [(0.0, 1), (-1.0, 1), (math.nan, 1), (1.0, 0)])
def test_wrong_radii_and_steps_are_refused(radius, steps):
    with pytest.raises(ValueError, match="positive radius"):
        ideal_increments(random(2, 3), random(2, 2, 3), radius=radius, steps=steps)


def test_conflict_and_pairwise_cosine_are_their_definitions():
    gradients = random(3, 4, 5)
    gradients[1, 2] = 0
    conflict, cosines = gradient_conflict(gradients), mean_pairwise_cosine(gradients)
    for i in range(3):
        total, lengths, pairs = torch.zeros(5).double(), 0.0, []
        for j in range(4):
            total += gradients[i, j]
            lengths += float(gradients[i, j].norm())
            for k in range(4):
                if j != k and gradients[i, j].norm() > 0 and gradients[i, k].norm() > 0:
                    pairs.append(cosine(gradients[i, j], gradients[i, k]))
        assert float(conflict[i]) == pytest.approx(1 - float(total.norm()) / lengths)
        assert float(cosines[i]) == pytest.approx(sum(pairs) / len(pairs))


@pytest.mark.parametrize("size", [1e-38, 1e-22, 1e20])
def test_gradients_of_a_saturated_softmax_have_directions_too(size):
    gradients = random(3, 4, 5).float()
    mixed = gradients * torch.tensor([size, 1.0, size, 1.0])[:, None]
    assert torch.allclose(mean_pairwise_cosine(mixed), mean_pairwise_cosine(gradients), atol=1e-4)
    assert torch.allclose(gradient_conflict(gradients * size), gradient_conflict(gradients), atol=1e-4)


def test_conflict_is_zero_for_one_direction_one_for_opposites_and_zero_for_nothing():
    one = torch.tensor([[[1.0, 0.0], [3.0, 0.0]], [[1.0, 0.0], [-1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    assert gradient_conflict(one).tolist() == [0.0, 1.0, 0.0]
    assert mean_pairwise_cosine(one).tolist() == [1.0, -1.0, 0.0]


def test_gap_alignment_and_uniformity_are_their_definitions():
    texts, videos = random(5, 4), random(5, 4, seed=1)
    units = [[row / row.norm() for row in side] for side in (texts, videos)]
    centres = [sum(side) / 5 for side in units]
    assert modality_gap(texts, videos) == pytest.approx(float((centres[0] - centres[1]).norm()))
    squares = [float((a - b) @ (a - b)) for a, b in zip(*units, strict=True)]
    assert alignment(texts, videos) == pytest.approx(sum(squares) / 5)
    spread = [
        math.exp(-2 * float((units[0][i] - units[0][j]).square().sum())) for i in range(5) for j in range(5) if i != j
    ]
    assert uniformity(texts) == pytest.approx(math.log(sum(spread) / len(spread)))
    assert geometry(texts, videos) == {
        "modality_gap": modality_gap(texts, videos),
        "alignment": alignment(texts, videos),
        "uniformity_text": uniformity(texts),
        "uniformity_video": uniformity(videos),
    }


def test_vectors_without_a_direction_and_too_few_of_them_are_refused():
    with pytest.raises(ValueError, match="text 1 "):
        modality_gap(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.ones(2, 2))
    with pytest.raises(ValueError, match="video 0 "):
        alignment(torch.ones(2, 2), torch.tensor([[math.nan, 0.0], [1.0, 0.0]]))
    with pytest.raises(ValueError, match="at least 2"):
        uniformity(torch.ones(1, 3))


FORMS = {
    "video-owned": FactorisedIncrements(random(4, 3, 5), random(4, 3, 6, seed=1), random(6, seed=2)),
    "text-owned": TextIncrements(random(5, 3, 4), random(5, 3, 6, seed=1), random(6, seed=2)),
}


@pytest.mark.parametrize("form", [*FORMS, "dense", "none"])
@pytest.mark.parametrize("side", ["text", "video"])
def test_samples_are_those_of_the_whole_in_every_form_and_block(form, side, monkeypatch):
    increments = FORMS.get(form, FORMS["video-owned"].dense() if form == "dense" else None)
    dense = torch.zeros(5, 4, 6).double() if increments is None else getattr(increments, "dense", lambda: increments)()
    texts, pooled, target = random(5, 6), random(5, 4, 6, seed=3), torch.tensor([0, 1, 2, 3, 0])
    anchors = texts[:, None] + (dense if side == "text" else 0 * dense)
    seen = pooled + (dense if side == "video" else 0 * dense)
    gradients = pair_gradients(anchors, seen, logit_scale=SCALE, target_T=target)
    monkeypatch.setattr("reelseek.score.increments.BLOCK_ELEMENTS", 2 * 4 * 6)
    found = samples(texts, pooled, increments, logit_scale=SCALE, target_T=target, side=side)
    assert torch.allclose(found.conflict_T, gradient_conflict(gradients))
    assert torch.allclose(found.gradient_cosine_T, mean_pairwise_cosine(gradients))
    values = summary(found)
    assert values["conflict"] == pytest.approx(float(gradient_conflict(gradients).mean()))
    if increments is None:
        assert set(values) == {"conflict", "gradient_cosine"}
        return
    assert torch.allclose(found.direction_cosine_T, mean_pairwise_cosine(dense))
    assert torch.allclose(found.lengths_TV, dense.norm(dim=2))
    lengths = sorted(float(length) for length in dense.norm(dim=2).flatten())
    mean = sum(lengths) / len(lengths)
    assert values["length_mean"] == pytest.approx(mean)
    assert values["length_std"] == pytest.approx(math.sqrt(sum((x - mean) ** 2 for x in lengths) / (len(lengths) - 1)))
    assert values["length_50"] == pytest.approx((lengths[9] + lengths[10]) / 2)
    assert lengths[0] < values["length_05"] < values["length_50"] < values["length_95"] < lengths[-1]


def test_lengths_of_one_increment_have_no_deviation():
    assert length_values(torch.tensor([[2.0]]))["length_std"] == 0.0


def history(epochs: int) -> list[dict[str, float]]:
    names = ["conflict", "gradient_cosine", "direction_cosine", "modality_gap", "corrected_modality_gap", "alignment"]
    names += ["corrected_alignment", "uniformity_text", "uniformity_video", "length_mean", "length_05", "length_95"]
    return [{"epoch": e, **{name: e * 0.1 + n for n, name in enumerate(names)}} for e in range(1, epochs + 1)]


def test_pictures_hold_a_panel_for_all_that_is_given(tmp_path):
    found = Samples(random(9).abs(), random(9), random(9), random(9, 9).abs())
    bound = [{"radius": 0.0, "R@1": 30.0, "method_R@1": 40.0}, {"radius": 0.1, "R@1": 90.0}]
    figure = diagnostics_figure(found, bound, history(3))
    titles = {axes.get_title(loc="left") for axes in figure.axes} - {""}
    assert len(titles) == 4 + 1 + 6
    assert len(diagnostics_figure(found._replace(direction_cosine_T=None, lengths_TV=None)).axes) == 2
    assert len([axes for axes in diagnostics_figure(history=history(1)).axes if axes.has_data()]) == 6
    (tmp_path / "x.png").write_bytes(figure_bytes(figure))
    assert matplotlib.image.imread(tmp_path / "x.png").shape[2] == 4
    assert figure_bytes(figure, "svg").startswith(b"<?xml")
    with pytest.raises(ValueError, match="nothing to draw"):
        diagnostics_figure()
