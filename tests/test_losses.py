"""Every loss against a loop written from its definition, in both forms of the increments."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from reelseek.losses import increments as increments_module
from reelseek.losses.contrastive import dual_softmax_loss, info_nce, judged_info_nce
from reelseek.losses.increments import gare_regularisers
from reelseek.score import increments as forms_module
from reelseek.score.increments import (
    FactorisedIncrements,
    TextIncrements,
    count_pairs,
    dense_increments,
    moments_over_texts,
    over_texts,
    squared_norms,
)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def factorised(texts: int = 5, videos: int = 4, vectors: int = 3, width: int = 6) -> FactorisedIncrements:
    return FactorisedIncrements(random(videos, vectors, texts), random(videos, vectors, width, seed=1), random(width))


def text_owned(texts: int = 5, videos: int = 4, vectors: int = 3, width: int = 6) -> TextIncrements:
    return TextIncrements(random(texts, vectors, videos), random(texts, vectors, width, seed=1), random(width))


def both() -> list:
    made = factorised()
    owned = text_owned()
    return [
        pytest.param(made, id="factorised"),
        pytest.param(made.dense(), id="dense"),
        pytest.param(owned, id="text-owned"),
        pytest.param(owned.dense(), id="dense-of-text-owned"),
    ]


def cross_entropy_loop(logits: list[list[float]]) -> float:
    return sum(math.log(sum(map(math.exp, row))) - row[i] for i, row in enumerate(logits)) / len(logits)


def test_info_nce_is_the_definition():
    matrix, scale = random(4, 4), 3.0
    logits = [[scale * float(x) for x in row] for row in matrix]
    columns = [list(column) for column in zip(*logits, strict=True)]
    expected = (cross_entropy_loop(logits) + cross_entropy_loop(columns)) / 2
    assert float(info_nce(matrix, scale)) == pytest.approx(expected, rel=1e-9)
    assert float(info_nce(matrix, torch.tensor(scale))) == pytest.approx(expected, rel=1e-9)


def dual_softmax_loop(logits: list[list[float]], temperature: float) -> float:
    """A logit of -inf is a pair that is left out: of the softmax over the column and of the sum over the row."""
    size = len(logits)
    weighed = [[-math.inf] * size for _ in logits]
    for j in range(size):
        total = sum(math.exp(logits[i][j] / temperature) for i in range(size))
        for i in range(size):
            if logits[i][j] > -math.inf:
                weighed[i][j] = logits[i][j] * math.exp(logits[i][j] / temperature) / total * size
    return cross_entropy_loop(weighed)


@pytest.mark.parametrize("temperature", [1.0, 1000.0])
def test_dual_softmax_loss_is_the_definition(temperature):
    matrix, scale = random(4, 4) / 3, 10.0
    logits = [[scale * float(x) for x in row] for row in matrix]
    columns = [list(column) for column in zip(*logits, strict=True)]
    expected = (dual_softmax_loop(logits, temperature) + dual_softmax_loop(columns, temperature)) / 2
    assert float(dual_softmax_loss(matrix, scale, temperature=temperature)) == pytest.approx(expected, rel=1e-9)


def test_a_high_temperature_is_nearly_info_nce():
    matrix = random(6, 6) / 10
    assert float(dual_softmax_loss(matrix, 10.0, temperature=1e9)) == pytest.approx(float(info_nce(matrix, 10.0)))


@pytest.mark.parametrize("temperature", [None, 2.0, 1000.0])
def test_pairs_at_minus_infinity_leave_the_negatives(temperature):
    loss = partial(dual_softmax_loss, temperature=temperature) if temperature else info_nce
    matrix = random(4, 4).requires_grad_()
    scale = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    hole = torch.zeros(4, 4, dtype=torch.bool)
    hole[0, 2] = hole[3, 1] = True
    value = loss(matrix.masked_fill(hole, -math.inf), scale)
    logits = (5 * matrix.detach()).masked_fill(hole, -math.inf).tolist()
    columns = [list(column) for column in zip(*logits, strict=True)]
    if temperature:
        expected = (dual_softmax_loop(logits, temperature) + dual_softmax_loop(columns, temperature)) / 2
    else:
        expected = (cross_entropy_loop(logits) + cross_entropy_loop(columns)) / 2
    assert float(value.detach()) == pytest.approx(expected, rel=1e-9)
    value.backward()
    assert torch.isfinite(matrix.grad).all()
    assert torch.isfinite(scale.grad)
    assert (matrix.grad[hole] == 0).all()


@pytest.mark.parametrize(
    "loss", [info_nce, partial(dual_softmax_loss, temperature=1.0), partial(dual_softmax_loss, temperature=30.0)]
)
def test_contrastive_losses_have_the_gradients_of_their_values(loss):
    """In the dual softmax loss the prior has a gradient too, as in the released code."""
    matrix, scale = random(4, 4).requires_grad_(), torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (matrix, scale))


@pytest.mark.parametrize("loss", [info_nce, dual_softmax_loss])
def test_contrastive_losses_want_a_square_matrix(loss):
    with pytest.raises(ValueError, match="square"):
        loss(random(3, 4), 100.0)
    with pytest.raises(ValueError, match="square"):
        loss(random(0, 0), 100.0)


def test_dual_softmax_loss_wants_a_positive_temperature():
    with pytest.raises(ValueError, match="temperature"):
        dual_softmax_loss(random(2, 2), 100.0, temperature=0.0)


def test_increments_are_their_definition():
    made = factorised()
    dense = made.dense()
    for i in range(5):
        for j in range(4):
            expected = made.offset_D.clone()
            for k in range(3):
                expected += made.coefficients_VKT[j, k, i] * made.basis_VKD[j, k]
            assert torch.allclose(dense[i, j], expected)


def kl_loop(dense: torch.Tensor, prior: float) -> list[list[float]]:
    texts, videos, width = dense.shape
    out = []
    for j in range(videos):
        row = []
        for d in range(width):
            values = [float(dense[i, j, d]) for i in range(texts)]
            mean = sum(values) / texts
            sigma = math.sqrt(sum((x - mean) ** 2 for x in values) / (texts - 1)) + 1e-6
            row.append(math.log(prior / sigma) + (sigma**2 + mean**2) / (2 * prior**2) - 0.5)
        out.append(row)
    return out


@pytest.mark.parametrize("form", both())
@pytest.mark.parametrize("prior", [1.0, 0.5])
def test_kl_is_the_definition(form, prior):
    table = kl_loop(dense_increments(form), prior)
    summed = sum(sum(row) for row in table) / 4
    assert float(gare_regularisers(form, prior_sigma=prior)["kl"]) == pytest.approx(summed, rel=1e-6)
    mean = gare_regularisers(form, prior_sigma=prior, kl_reduction="mean")["kl"]
    assert float(mean) == pytest.approx(summed / 6, rel=1e-6)


@pytest.mark.parametrize("form", both())
def test_norm_term_is_the_definition_and_stops_at_its_bound(form):
    dense = dense_increments(form)
    total = 0.0
    for i in range(5):
        lengths = [math.sqrt(sum(float(x) ** 2 for x in dense[i, j])) for j in range(4)]
        mean = sum(lengths) / 4
        total += sum((x - mean) ** 2 for x in lengths) / 3
    assert float(gare_regularisers(form, norm_bound=1e9)["norm"]) == pytest.approx(-total / 5, rel=1e-6)
    bounded = gare_regularisers(form, norm_bound=1e-3)["norm"]
    assert isinstance(bounded, torch.Tensor)
    assert float(bounded) == pytest.approx(-1e-3)


@pytest.mark.parametrize("form", both())
@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_direction_term_is_the_definition(form, alpha):
    dense = dense_increments(form)
    total = 0.0
    for i in range(5):
        mean = 0.0
        for j in range(4):
            for k in range(4):
                cosine = float(dense[i, j] @ dense[i, k] / dense[i, j].norm() / dense[i, k].norm())
                mean += math.exp(-alpha * (1 - cosine)) / 16
        total += math.log(mean + 1e-8) / 5
    assert float(gare_regularisers(form, alpha=alpha)["direction"]) == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize("form", both())
def test_orthogonality_is_the_definition(form):
    dense = dense_increments(form)
    total = 0.0
    for i in range(5):
        squares = []
        for j in range(4):
            for k in range(4):
                cosine = float(dense[i, j] @ dense[i, k] / dense[i, j].norm() / dense[i, k].norm())
                squares += [cosine**2] if j != k else []
        total += sum(squares) / len(squares) / 5
    found = gare_regularisers(form, direction="orthogonality")["direction"]
    assert float(found) == pytest.approx(total, rel=1e-9)


def test_orthogonality_is_zero_for_orthogonal_and_one_for_opposite_increments():
    orthogonal, opposite = torch.eye(4).expand(3, 4, 4), torch.tensor([[1.0], [-2.0], [3.0]]).expand(2, 3, 1)
    assert float(gare_regularisers(orthogonal, direction="orthogonality")["direction"]) == pytest.approx(0.0)
    assert float(gare_regularisers(opposite, direction="orthogonality")["direction"]) == pytest.approx(1.0)


def test_direction_is_zero_when_all_point_alike_and_low_when_orthogonal():
    alike = torch.ones(3, 4, 8)
    assert float(gare_regularisers(alike)["direction"]) == pytest.approx(0.0, abs=1e-6)
    orthogonal = torch.eye(4).expand(3, 4, 4)
    expected = math.log(0.25 + 0.75 * math.exp(-2.0))
    assert float(gare_regularisers(orthogonal, alpha=2.0)["direction"]) == pytest.approx(expected, rel=1e-5)


def test_defaults_are_the_released_settings():
    made = factorised()
    explicit = gare_regularisers(made, alpha=2.0, norm_bound=0.5, kl_reduction="sum", prior_sigma=1.0)
    assert {name: float(value) for name, value in gare_regularisers(made).items()} == {
        name: float(value) for name, value in explicit.items()
    }


@pytest.mark.parametrize("form", [factorised(), text_owned()], ids=["factorised", "text-owned"])
@pytest.mark.parametrize("part", ["kl", "direction", "norm", "orthogonality"])
@pytest.mark.parametrize("elements", [1, 60, 1 << 18])
def test_gradients_of_all_forms_agree_in_every_block_size(form, part, elements, monkeypatch):
    made = type(form)(*(tensor.clone().requires_grad_() for tensor in form))

    def gradients(increments):
        direction = "orthogonality" if part == "orthogonality" else "diversity"
        parts = gare_regularisers(increments, norm_bound=1e9, direction=direction)
        return torch.autograd.grad(3 * parts[part if part in parts else "direction"], made, allow_unused=True)

    slow = gradients(made.dense())
    for module in (increments_module, forms_module):
        monkeypatch.setattr(module, "BLOCK_ELEMENTS", elements)
    for value, expected in zip(gradients(made), slow, strict=True):
        assert torch.allclose(value, expected, atol=1e-10)


@pytest.mark.parametrize("direction", ["diversity", "orthogonality"])
def test_regularisers_have_the_gradients_of_their_values(direction):
    def parts(dense):
        return tuple(gare_regularisers(dense, norm_bound=1e9, direction=direction).values())

    assert torch.autograd.gradcheck(parts, random(3, 4, 5).requires_grad_())


def test_text_owned_blocks_keep_no_dense_increments_for_the_backward_pass(monkeypatch):
    monkeypatch.setattr(forms_module, "BLOCK_ELEMENTS", 4 * 6)
    made = TextIncrements(*(tensor.clone().requires_grad_() for tensor in text_owned(texts=9)))
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda x: x):
        parts = gare_regularisers(made)
        orthogonal = gare_regularisers(made, direction="orthogonality")["direction"]
    assert max(kept) < 9 * 4 * 6
    (sum(parts.values()) + orthogonal).backward()
    assert torch.isfinite(made.coefficients_TKV.grad).all()


def test_only_the_wanted_gradients_of_the_direction_term_are_given():
    made = factorised()
    basis = made.basis_VKD.clone().requires_grad_()
    gare_regularisers(made._replace(basis_VKD=basis))["direction"].backward()
    assert basis.grad is not None
    assert not gare_regularisers(made)["direction"].requires_grad


@pytest.mark.parametrize("direction", ["diversity", "orthogonality"])
def test_increments_of_length_zero_give_finite_gradients(direction):
    basis = torch.zeros(4, 3, 6, dtype=torch.float64, requires_grad=True)
    made = FactorisedIncrements(random(4, 3, 5), basis, torch.zeros(6, dtype=torch.float64))
    for form in (made, made.dense()):
        (gradient,) = torch.autograd.grad(sum(gare_regularisers(form, direction=direction).values()), basis)
        assert torch.isfinite(gradient).all()


def test_texts_that_agree_and_a_reached_bound_give_finite_gradients():
    coefficients = random(4, 3, 1).expand(4, 3, 5).clone().requires_grad_()
    parts = gare_regularisers(factorised()._replace(coefficients_VKT=coefficients), norm_bound=1e-6)
    sum(parts.values()).backward()
    assert torch.isfinite(coefficients.grad).all()
    table = kl_loop(factorised()._replace(coefficients_VKT=coefficients.detach()).dense(), 1.0)
    assert float(parts["kl"].detach()) == pytest.approx(sum(map(sum, table)) / 4, rel=1e-4)
    one = TextIncrements(*(random(1, *part.shape[1:]).expand(5, -1, -1) for part in text_owned()[:2]), random(6))
    coefficients = one.coefficients_TKV.clone().requires_grad_()
    sum(gare_regularisers(one._replace(coefficients_TKV=coefficients), norm_bound=1e-6).values()).backward()
    assert torch.isfinite(coefficients.grad).all()


@pytest.mark.parametrize("made", [factorised(), text_owned()], ids=["factorised", "text-owned"])
def test_statistics_of_all_forms_agree(made):
    for fast, slow in zip(moments_over_texts(made), moments_over_texts(made.dense()), strict=True):
        assert torch.allclose(fast, slow)
    assert torch.allclose(squared_norms(made), squared_norms(made.dense()))
    assert count_pairs(made) == count_pairs(made.dense()) == (5, 4)


@pytest.mark.parametrize("made", [factorised(), text_owned()], ids=["factorised", "text-owned"])
def test_blocks_of_texts_follow_one_another_and_hold_no_more_than_their_bound(made, monkeypatch):
    monkeypatch.setattr(forms_module, "BLOCK_ELEMENTS", 3 * 4 * 6 - 1)
    for form in (made, made.dense()):
        blocks = list(over_texts(form, lambda dense_BVD: dense_BVD))
        assert [len(block) for block in blocks] == [2, 2, 1]
        assert torch.allclose(torch.cat(blocks), made.dense())


@pytest.mark.parametrize("kind", [FactorisedIncrements, TextIncrements])
def test_increments_that_cancel_have_no_negative_square(kind):
    offset_D = torch.randn(64, generator=torch.Generator().manual_seed(0))
    scales_O = torch.linspace(0.1, 3, 200)
    made = kind((-1 / scales_O)[:, None, None], (scales_O[:, None] * offset_D)[:, None], offset_D)
    assert made.dense().abs().max() < 1e-5
    assert squared_norms(made).min() >= 0


def test_text_owned_increments_are_their_definition():
    made = text_owned()
    for i in range(5):
        for j in range(4):
            expected = made.offset_D + sum(made.coefficients_TKV[i, k, j] * made.basis_TKD[i, k] for k in range(3))
            assert torch.allclose(made.dense()[i, j], expected)


def test_the_two_conventions_of_the_kl_weight():
    made = factorised(width=512)
    found = {kind: float(gare_regularisers(made, kl_reduction=kind)["kl"]) for kind in ("sum", "mean")}
    assert 1e-4 * found["sum"] == pytest.approx(0.0512 * found["mean"])


@pytest.mark.parametrize(("texts", "videos"), [(1, 4), (5, 1)])
def test_a_batch_of_one_is_refused(texts, videos):
    made = factorised(texts, videos)
    for form in (made, made.dense(), text_owned(texts, videos)):
        with pytest.raises(ValueError, match="at least 2 texts and 2 videos"):
            gare_regularisers(form)


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="reduction"):
        gare_regularisers(factorised(), kl_reduction="max")
    with pytest.raises(ValueError, match="direction term"):
        gare_regularisers(factorised(), direction="none")
    with pytest.raises(ValueError, match="prior_sigma"):
        gare_regularisers(factorised(), prior_sigma=0.0)


def judged_loop(logits: list[list[float]], right: list[list[bool]]) -> float:
    texts = []
    for row, own in zip(logits, right, strict=True):
        losses = []
        for v, is_right in enumerate(own):
            if is_right:
                others = sum(math.exp(x) for x, r in zip(row, own, strict=True) if not r)
                losses.append(math.log(math.exp(row[v]) + others) - row[v])
        if losses:
            texts.append(sum(losses) / len(losses))
    return sum(texts) / len(texts)


RIGHT = [[1, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 0]]


def test_judged_info_nce_is_the_definition():
    matrix, scale, right = random(4, 5), 3.0, torch.tensor(RIGHT, dtype=torch.bool)
    logits = [[scale * float(x) for x in row] for row in matrix]
    columns = [list(column) for column in zip(*logits, strict=True)]
    turned = [list(column) for column in zip(*right.tolist(), strict=True)]
    expected = (judged_loop(logits, right.tolist()) + judged_loop(columns, turned)) / 2
    assert float(judged_info_nce(matrix, right, scale)) == pytest.approx(expected, rel=1e-9)


def test_judged_info_nce_of_a_diagonal_is_info_nce():
    matrix = random(4, 4).requires_grad_()
    ours, theirs = judged_info_nce(matrix, torch.eye(4, dtype=torch.bool), 3.0), info_nce(matrix, 3.0)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-9)
    gradients = [torch.autograd.grad(loss, matrix)[0] for loss in (ours, theirs)]
    assert torch.allclose(*gradients, rtol=1e-9)


def test_judged_info_nce_has_gradients_where_everything_is_right():
    matrix = random(2, 2).requires_grad_()
    judged_info_nce(matrix, torch.ones(2, 2, dtype=torch.bool), 100.0).backward()
    assert float(matrix.grad.abs().max()) == 0
    right = torch.tensor(RIGHT, dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda x: judged_info_nce(x, right, 3.0), random(4, 5).requires_grad_())


def test_judged_info_nce_needs_a_right_pair():
    with pytest.raises(ValueError, match="marks no pair"):
        judged_info_nce(random(2, 3), torch.zeros(2, 3, dtype=torch.bool), 1.0)
    with pytest.raises(ValueError, match="marks no pair"):
        judged_info_nce(random(2, 3), torch.ones(3, 2, dtype=torch.bool), 1.0)
