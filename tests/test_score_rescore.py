"""Rescorers against loops written from their definitions, and what must hold for all of them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reelseek.score import rescore
from reelseek.score.rescore import (
    csls,
    dual_dynamic_inverted_softmax,
    dual_inverted_softmax,
    dual_softmax,
    dynamic_inverted_softmax,
    inverted_softmax,
    nearest_neighbour_normalisation,
    sinkhorn,
    sinkhorn_bias,
)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 1.6 - 0.8


MATRIX, BANK, GALLERY = random(6, 4), random(7, 4, seed=1), random(5, 4, seed=2)
ALL = {
    "dual_softmax": lambda m, b, g: dual_softmax(m, scale=100.0, bank_NV=b),
    "inverted_softmax": lambda m, b, g: inverted_softmax(m, scale=20.0, bank_NV=b),
    "qb_norm": lambda m, b, g: dynamic_inverted_softmax(m, scale=20.0, k=1, bank_NV=b),
    "csls": lambda m, b, g: csls(m, k=3, bank_NV=b),
    "dual_is": lambda m, b, g: dual_inverted_softmax(m, scale=20.0, gallery_scale=3.0, bank_NV=b, gallery_MV=g),
    "dual_dis": lambda m, b, g: dual_dynamic_inverted_softmax(
        m, scale=20.0, gallery_scale=3.0, k=1, bank_NV=b, gallery_MV=g
    ),
    "nnn": lambda m, b, g: nearest_neighbour_normalisation(m, alpha=0.75, k=2, bank_NV=b),
    "sinkhorn_bias": lambda m, b, g: sinkhorn_bias(m, scale=10.0, iterations=4, bank_NV=b),
}
OWN_ROWS = {name: ALL[name] for name in ("dual_softmax", "inverted_softmax", "qb_norm", "csls", "nnn")}
OWN_ROWS["sinkhorn"] = lambda m, b, g: sinkhorn(m, scale=10.0, iterations=4)
every = pytest.mark.parametrize("call", ALL.values(), ids=ALL)
every_own = pytest.mark.parametrize("call", OWN_ROWS.values(), ids=OWN_ROWS)
own_or_bank = pytest.mark.parametrize("bank", [None, BANK], ids=["own", "bank"])


def entries(matrix: Tensor) -> list[list[float]]:
    return [[float(value) for value in row] for row in matrix]


def best_of(values: list[float], k: int) -> list[float]:
    return sorted(values, reverse=True)[:k]


def assert_equals(found: Tensor, expected: list[list[float]]) -> None:
    torch.testing.assert_close(found.double(), torch.tensor(expected, dtype=torch.float64), atol=2e-6, rtol=2e-5)


@own_or_bank
@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_dual_softmax_is_the_definition(bank, scale):
    scores, queries = entries(MATRIX), entries(MATRIX if bank is None else bank)
    expected = [[0.0] * 4 for _ in scores]
    for i, row in enumerate(scores):
        for j, score in enumerate(row):
            total = sum(math.exp(scale * query[j]) for query in queries)
            total += math.exp(scale * score) if bank is not None else 0
            expected[i][j] = score * math.exp(scale * score) / total
    assert_equals(dual_softmax(MATRIX, scale=scale, bank_NV=bank), expected)


@own_or_bank
def test_inverted_softmax_is_the_logarithm_of_its_definition(bank):
    scores, queries = entries(MATRIX), entries(MATRIX if bank is None else bank)
    found = inverted_softmax(MATRIX, scale=20.0, bank_NV=bank)
    expected = [
        [
            math.exp(20 * score) / (sum(math.exp(20 * query[j]) for query in queries) / len(queries))
            for j, score in enumerate(row)
        ]
        for row in scores
    ]
    assert_equals((20 * found.double()).exp(), expected)


@own_or_bank
@pytest.mark.parametrize("k", [1, 2, 9])
def test_qb_norm_divides_only_rows_whose_best_video_the_bank_retrieves(bank, k):
    scores, queries = entries(MATRIX), entries(MATRIX if bank is None else bank)
    activated = set()
    for query in queries:
        activated |= {j for j, value in enumerate(query) if value in best_of(query, k)}
    expected = []
    for row in scores:
        if row.index(max(row)) in activated:
            sums = [sum(math.exp(20 * query[j]) for query in queries) / len(queries) for j in range(4)]
            row = [math.log(math.exp(20 * score) / sums[j]) / 20 for j, score in enumerate(row)]
        expected.append(row)
    assert_equals(dynamic_inverted_softmax(MATRIX, scale=20.0, k=k, bank_NV=bank), expected)


def test_qb_norm_leaves_the_other_rows_as_they_were():
    bank = torch.tensor([[0.9, 0.1, 0.0], [0.8, 0.2, 0.1]])
    matrix = torch.tensor([[0.3, 0.2, 0.1], [0.1, 0.3, 0.2]])
    found = dynamic_inverted_softmax(matrix, scale=20.0, k=1, bank_NV=bank)
    assert torch.equal(found[1], matrix[1])
    assert found[0].argmax() != matrix[0].argmax()


@own_or_bank
@pytest.mark.parametrize("k", [1, 3, 50])
def test_csls_is_the_definition(bank, k):
    scores, queries = entries(MATRIX), entries(MATRIX if bank is None else bank)
    expected = []
    for row in scores:
        own = best_of(row, k)
        made = []
        for j, score in enumerate(row):
            near = best_of([query[j] for query in queries], k)
            made.append(2 * score - sum(own) / len(own) - sum(near) / len(near))
        expected.append(made)
    assert_equals(csls(MATRIX, k=k, bank_NV=bank), expected)


@own_or_bank
@pytest.mark.parametrize("k", [1, 2, 50])
def test_nnn_is_the_definition(bank, k):
    scores, queries = entries(MATRIX), entries(MATRIX if bank is None else bank)
    expected = []
    for row in scores:
        made = []
        for j, score in enumerate(row):
            near = best_of([query[j] for query in queries], k)
            made.append(score - 0.5 * sum(near) / len(near))
        expected.append(made)
    assert_equals(nearest_neighbour_normalisation(MATRIX, alpha=0.5, k=k, bank_NV=bank), expected)


def factor(score: float, column: list[float], scale: float) -> float:
    return math.exp(scale * score) / (sum(math.exp(scale * value) for value in column) / len(column))


def test_dual_is_is_the_product_of_two_inverted_softmaxes():
    columns = [list(column) for column in zip(*entries(BANK), strict=True)]
    others = [list(column) for column in zip(*entries(GALLERY), strict=True)]
    expected = [
        [factor(score, columns[j], 20) * factor(score, others[j], 3) for j, score in enumerate(row)]
        for row in entries(MATRIX)
    ]
    found = dual_inverted_softmax(MATRIX, scale=20.0, gallery_scale=3.0, bank_NV=BANK, gallery_MV=GALLERY)
    assert_equals((23 * found.double()).exp(), expected)


def test_dual_dis_divides_by_a_bank_only_where_it_retrieves_the_best_video():
    bank = torch.tensor([[0.9, 0.1, 0.0, -0.2], [0.8, 0.2, 0.1, 0.0]])
    gallery = torch.tensor([[0.1, 0.5, 0.2, 0.3], [0.6, 0.1, 0.0, 0.1]])
    matrix = torch.tensor([[0.5, 0.2, 0.1, 0.0], [0.1, 0.5, 0.2, 0.3], [0.0, 0.1, 0.5, 0.3]])
    expected = []
    for row in entries(matrix):
        best, made = row.index(max(row)), []
        for j, score in enumerate(row):
            value = math.exp(20 * score) * math.exp(3 * score)
            if best in {0}:
                value /= sum(math.exp(20 * query[j]) for query in entries(bank)) / 2
            if best in {0, 1}:
                value /= sum(math.exp(3 * item[j]) for item in entries(gallery)) / 2
            made.append(math.log(value) / 23)
        expected.append(made)
    found = dual_dynamic_inverted_softmax(matrix, scale=20.0, gallery_scale=3.0, k=1, bank_NV=bank, gallery_MV=gallery)
    assert_equals(found, expected)
    assert torch.equal(found[2], matrix[2])


@own_or_bank
@pytest.mark.parametrize("iterations", [1, 2, 4])
def test_sinkhorn_is_the_definition(bank, iterations):
    plan = [[math.exp(10 * value) for value in row] for row in entries(MATRIX if bank is None else bank)]
    columns, rows = [1.0] * 4, [1.0] * len(plan)
    for _ in range(iterations):
        for j in range(4):
            columns[j] = 1 / (sum(row[j] * rows[i] for i, row in enumerate(plan)) / len(plan))
        for i, row in enumerate(plan):
            rows[i] = 1 / (sum(value * columns[j] for j, value in enumerate(row)) / 4)
    expected = [
        [
            math.log(math.exp(10 * score) * columns[j] * (rows[i] if bank is None else 1)) / 10
            for j, score in enumerate(row)
        ]
        for i, row in enumerate(entries(MATRIX))
    ]
    if bank is None:
        assert_equals(sinkhorn(MATRIX, scale=10.0, iterations=iterations), expected)
    else:
        assert_equals(sinkhorn_bias(MATRIX, scale=10.0, iterations=iterations, bank_NV=bank), expected)


def test_sinkhorn_balances_rows_and_columns():
    plan = (10 * sinkhorn(random(6, 4), scale=10.0, iterations=200).double()).exp()
    torch.testing.assert_close(plan.mean(dim=1), torch.ones(6, dtype=torch.float64), atol=1e-5, rtol=0)
    torch.testing.assert_close(plan.mean(dim=0), torch.ones(4, dtype=torch.float64), atol=1e-5, rtol=0)


def test_one_iteration_of_sinkhorn_from_a_bank_is_the_inverted_softmax():
    found = sinkhorn_bias(MATRIX, scale=20.0, iterations=1, bank_NV=BANK)
    torch.testing.assert_close(found, inverted_softmax(MATRIX, scale=20.0, bank_NV=BANK))


BY_BANK_OR_OWN = {f"{name}, bank": (call, BANK) for name, call in ALL.items()}
BY_BANK_OR_OWN |= {f"{name}, own": (call, None) for name, call in OWN_ROWS.items()}


@pytest.mark.parametrize(("call", "bank"), BY_BANK_OR_OWN.values(), ids=BY_BANK_OR_OWN)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_input_is_left_alone_in_either_precision(call, bank, dtype):
    before = [None if part is None else part.to(dtype) for part in (MATRIX, bank, GALLERY)]
    inputs = [None if part is None else part.clone() for part in before]
    out = call(*inputs)
    for now, then in zip(inputs, before, strict=True):
        assert (now is None and then is None) or torch.equal(now, then)
    assert out.dtype == dtype
    assert_equals(call(MATRIX, bank, GALLERY), out.tolist())
    out.fill_(0)
    assert torch.equal(inputs[0], before[0])


@every
@settings(max_examples=25, deadline=None)
@given(texts=st.integers(1, 6), videos=st.integers(1, 5), queries=st.integers(1, 7), seed=st.integers(0, 99))
def test_order_of_texts_videos_and_bank_changes_nothing(call, texts, videos, queries, seed):
    chance = torch.Generator().manual_seed(seed)
    matrix, bank, gallery = (random(rows, videos, seed=seed + rows) for rows in (texts, queries, 3))
    order_T, order_V, order_N = (torch.randperm(n, generator=chance) for n in (texts, videos, queries))
    found = call(matrix[order_T][:, order_V], bank[order_N][:, order_V], gallery[:, order_V])
    torch.testing.assert_close(found, call(matrix, bank, gallery)[order_T][:, order_V], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("call", list(ALL.values())[1:], ids=list(ALL)[1:])  # dual softmax multiplies by the score
@settings(max_examples=25, deadline=None)
@given(shift=st.floats(-3, 3, width=32), own=st.booleans())
def test_a_constant_added_to_all_scores_changes_no_order(call, shift, own):
    bank = None if own and call in OWN_ROWS.values() else BANK
    moved = None if bank is None else bank + shift
    found, plain = call(MATRIX + shift, moved, GALLERY + shift), call(MATRIX, bank, GALLERY)
    gap = found - plain
    torch.testing.assert_close(gap, gap[:, :1].expand_as(gap), atol=1e-5, rtol=0)


@every_own
def test_one_text_with_itself_as_prior_has_a_result_for_every_video(call):
    assert torch.isfinite(call(random(1, 4), None, None)).all()
    assert torch.isfinite(call(random(4, 1), None, None)).all()


@every
def test_equal_rows_stay_equal_and_equal_columns_too(call):
    matrix = MATRIX[:1].expand(5, 4)
    found = call(matrix, BANK, GALLERY)
    assert torch.equal(found, found[:1].expand(5, 4))
    alike = torch.full((3, 4), 0.25)
    found = call(alike, alike, alike)
    assert torch.equal(found, found[:1, :1].expand(3, 4))


@pytest.mark.parametrize("bank", [True, False], ids=["bank", "own"])
@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e4, 1e8, 1e30])
def test_softmaxes_survive_any_scale(scale, bank):
    prior = BANK if bank else None
    for found in (
        dual_softmax(MATRIX, scale=scale, bank_NV=prior),
        inverted_softmax(MATRIX, scale=scale, bank_NV=prior),
        sinkhorn_bias(MATRIX, scale=scale, iterations=4, bank_NV=BANK if bank else MATRIX),
        sinkhorn(MATRIX, scale=scale, iterations=4),
    ):
        assert torch.isfinite(found).all()
    if scale >= 1e8 and not bank:
        best = MATRIX.amax(dim=0) == MATRIX
        torch.testing.assert_close(dual_softmax(MATRIX, scale=scale), torch.where(best, MATRIX, 0.0))
    if scale <= 1e-3:
        queries = BANK if bank else MATRIX
        mean_V = queries.double().mean(dim=0)
        found = inverted_softmax(MATRIX, scale=scale, bank_NV=prior).double()
        torch.testing.assert_close(found, MATRIX - mean_V, atol=1e-3, rtol=0)


@every
def test_scores_of_any_usable_size_give_numbers(call):
    huge = torch.tensor([[9e29, -9e29, 0.0, 1e-38], [-9e29, 9e29, 1e-45, -0.0]])
    assert torch.isfinite(call(huge, huge.flip(0), huge)).all()


@every
def test_what_cannot_be_rescored_is_refused(call):
    for wrong in (math.nan, math.inf, -math.inf, 3e38):
        spoilt = MATRIX.clone()
        spoilt[1, 2] = wrong
        with pytest.raises(ValueError, match="score matrix holds NaN"):
            call(spoilt, BANK, GALLERY)
        spoilt = BANK.clone()
        spoilt[6, 0] = wrong
        with pytest.raises(ValueError, match="bank holds NaN"):
            call(MATRIX, spoilt, GALLERY)
    with pytest.raises(ValueError, match="has 3 columns"):
        call(MATRIX, BANK[:, :3], GALLERY)
    with pytest.raises(ValueError, match="must be floats"):
        call(MATRIX.long(), BANK, GALLERY)
    for shapeless in (MATRIX[:0], MATRIX[None]):
        with pytest.raises(ValueError, match="must be floats"):
            call(shapeless, BANK, GALLERY)


OWN: dict[str, Tensor] = {}
BANKED = {"bank_NV": BANK}
BOTH = {"bank_NV": BANK, "gallery_MV": GALLERY}
PARAMETERS = [
    (dual_softmax, OWN, {"scale": 1.0}),
    (inverted_softmax, OWN, {"scale": 1.0}),
    (dynamic_inverted_softmax, OWN, {"scale": 1.0, "k": 1}),
    (dual_inverted_softmax, BOTH, {"scale": 1.0, "gallery_scale": 1.0}),
    (dual_dynamic_inverted_softmax, BOTH, {"scale": 1.0, "gallery_scale": 1.0, "k": 1}),
    (csls, OWN, {"k": 1}),
    (nearest_neighbour_normalisation, OWN, {"alpha": 1.0, "k": 1}),
    (sinkhorn, OWN, {"scale": 1.0, "iterations": 1}),
    (sinkhorn_bias, BANKED, {"scale": 1.0, "iterations": 1}),
]


@pytest.mark.parametrize("wrong", [0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize(("call", "banks", "right"), PARAMETERS, ids=[row[0].__name__ for row in PARAMETERS])
def test_parameters_that_are_not_positive_are_refused_by_name(call, banks, right, wrong):
    assert call(MATRIX, **banks, **right).shape == MATRIX.shape
    for name in right:
        with pytest.raises(ValueError, match=f"^{name} must be positive"):
            call(MATRIX, **banks, **right | {name: wrong})


@every
def test_blocks_change_nothing(call, monkeypatch):
    whole = call(MATRIX, BANK, GALLERY)
    monkeypatch.setattr(rescore, "BLOCK", 1)
    torch.testing.assert_close(call(MATRIX, BANK, GALLERY), whole)


@every
def test_a_transposed_view_is_scored_like_a_copy(call):
    view = MATRIX.T.contiguous().T
    torch.testing.assert_close(call(view, BANK, GALLERY), call(MATRIX, BANK, GALLERY))


def test_no_block_holds_more_scores_than_its_bound(monkeypatch):
    monkeypatch.setattr(rescore, "BLOCK", 13)
    blocks = [MATRIX[:, columns] for columns in rescore._blocks(MATRIX)]
    assert [block.shape for block in blocks] == [(6, 2), (6, 2)]
