"""Ranks, tie rules and top-k against definitions written as loops."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise, permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reelseek.rank import ranking
from reelseek.rank.ranking import ranks, top_k, video_to_text_ranks


@st.composite
def matrices(draw, square=False):
    texts = draw(st.integers(1, 6))
    videos = texts if square else draw(st.integers(1, 6))
    values = draw(st.lists(st.integers(0, 3), min_size=texts * videos, max_size=texts * videos))
    return np.array(values, dtype=np.float32).reshape(texts, videos)


@st.composite
def judged(draw):
    matrix = draw(matrices())
    flags = draw(st.lists(st.booleans(), min_size=matrix.size, max_size=matrix.size))
    relevance = np.array(flags).reshape(matrix.shape)
    relevance[~relevance.any(axis=1), draw(st.integers(0, matrix.shape[1] - 1))] = True
    return matrix, relevance


@st.composite
def owned(draw):
    """Several captions a video, each with one owner, in any order; some videos may have none."""
    matrix = draw(matrices())
    owners = draw(st.lists(st.integers(0, matrix.shape[1] - 1), min_size=len(matrix), max_size=len(matrix)))
    return matrix, np.array(owners)[:, None] == np.arange(matrix.shape[1])


def loop_ranks(matrix, relevance, ties):
    """The rank of the best-placed relevant item, by sorting each row in the order that the rule asks for."""
    found = []
    for row, right in zip(matrix, relevance, strict=True):
        items = [
            (-score, not bool(flag) if ties == "for" else bool(flag)) for score, flag in zip(row, right, strict=True)
        ]
        order = sorted(items)
        found.append(1 + [flag if ties != "for" else not flag for _, flag in order].index(True))
    return found


def loop_mean_rank(row, right):
    """The expectation of the rank over every order of the items, those that keep the scores sorted."""
    places = [
        1 + [bool(right[item]) for item in order].index(True)
        for order in permutations(range(len(row)))
        if all(row[a] >= row[b] for a, b in pairwise(order))
    ]
    return Fraction(sum(places), len(places))


def clip4clip_places(matrix):
    """What CLIP4Clip counts: all positions of the sorted row that hold the diagonal's value."""
    found = []
    for number, row in enumerate(matrix):
        for place, value in enumerate(sorted(row, reverse=True)):
            if value == row[number]:
                found.append(1 + place)
    return found


@given(judged(), st.sampled_from(["against", "for"]))
def test_ranks_equal_the_sorted_rows(case, ties):
    matrix, relevance = case
    assert ranks(matrix, relevance, ties).tolist() == loop_ranks(matrix, relevance, ties)


@settings(max_examples=40)
@given(judged())
def test_mean_is_the_expectation_over_orders(case):
    matrix, relevance = case[0][:, :5], case[1][:, :5]
    relevance[~relevance.any(axis=1), 0] = True
    expected = [float(loop_mean_rank(row, right)) for row, right in zip(matrix, relevance, strict=True)]
    assert ranks(matrix, relevance, "mean") == pytest.approx(expected)


@given(matrices(square=True))
def test_clip4clip_counts_every_equal_position(matrix):
    assert ranks(matrix, None, "clip4clip").tolist() == clip4clip_places(matrix.tolist())


@given(owned())
def test_clip4clip_with_many_captions_keeps_one_rank_a_text(case):
    matrix, relevance = case
    if matrix.shape[0] == matrix.shape[1] and (relevance == np.eye(len(matrix))).all():
        return
    owner = relevance.argmax(axis=1)
    order = np.argsort(-matrix, axis=1, kind="stable")
    expected = [1 + row.tolist().index(video) for row, video in zip(order, owner, strict=True)]
    assert ranks(matrix, relevance, "clip4clip").tolist() == expected


@given(matrices(square=True), st.sampled_from(["against", "mean", "for", "clip4clip"]))
def test_no_relevance_is_the_diagonal(matrix, ties):
    diagonal = np.eye(len(matrix), dtype=bool)
    assert ranks(matrix, None, ties).tolist() == ranks(matrix, diagonal, ties).tolist()


@given(judged(), st.sampled_from(["against", "mean", "for"]), st.integers(1, 12))
def test_blocks_change_nothing(case, ties, block):
    whole = ranks(*case, ties)
    best = top_k(case[0], 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "BLOCK", block)
        assert ranks(*case, ties).tolist() == whole.tolist()
        assert [part.tolist() for part in top_k(case[0], 3)] == [part.tolist() for part in best]


@given(st.one_of(matrices(square=True).map(lambda matrix: (matrix, None)), owned()), st.integers(1, 12))
def test_blocks_change_nothing_of_what_clip4clip_counts(case, block):
    whole = ranks(*case, "clip4clip")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "BLOCK", block)
        assert ranks(*case, "clip4clip").tolist() == whole.tolist()


def test_a_row_is_named_by_its_number_in_the_whole_matrix(monkeypatch):
    monkeypatch.setattr(ranking, "BLOCK", 4)
    matrix, relevance = np.zeros((5, 2)), np.ones((5, 2), dtype=bool)
    relevance[3] = False
    with pytest.raises(ValueError, match="row 3 has no relevant item"):
        ranks(matrix, relevance)
    matrix[4, 1] = np.nan
    with pytest.raises(ValueError, match="row 4, column 1 is NaN"):
        top_k(matrix, 1)


@given(matrices(), st.integers(1, 8))
def test_top_k_is_the_front_of_a_stable_sort(matrix, k):
    found = top_k(matrix, k)
    for row, items, scores in zip(matrix, found.items_TK, found.scores_TK, strict=True):
        expected = sorted(range(len(row)), key=lambda item: (-row[item], item))[:k]
        assert items.tolist() == expected
        assert scores.tolist() == [row[item] for item in expected]


@given(owned(), st.sampled_from(["against", "mean", "for", "clip4clip"]), st.integers(1, 40))
def test_video_to_text_by_best_caption(case, ties, block):
    matrix, relevance = case
    videos = [video for video in range(matrix.shape[1]) if relevance[:, video].any()]
    best = [
        [max(matrix[text, asking] for text in range(len(matrix)) if relevance[text, other]) for other in videos]
        for asking in videos
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "BLOCK", block)
        found = video_to_text_ranks(matrix, relevance, "best_caption", ties)
    assert found.tolist() == ranks(best, None, ties).tolist()


@given(judged(), st.sampled_from(["against", "for"]))
def test_video_to_text_by_any_caption(case, ties):
    matrix, relevance = case
    asking = relevance.any(axis=0)
    expected = loop_ranks(matrix.T[asking], relevance.T[asking], ties)
    assert video_to_text_ranks(matrix, relevance, "any_caption", ties).tolist() == expected


def test_the_two_conventions_differ_and_agree_on_single_captions():
    matrix = [[5.0, 4.0], [3.0, 4.5], [2.0, 1.0]]
    relevance = [[1, 0], [0, 1], [1, 0]]
    assert video_to_text_ranks(matrix, relevance, "best_caption").tolist() == [1, 1]
    assert video_to_text_ranks([[3, 9], [5, 1], [4, 2]], [[1, 0], [0, 1], [0, 1]], "any_caption").tolist() == [3, 2]
    assert video_to_text_ranks([[3, 9], [5, 1], [4, 2]], [[1, 0], [0, 1], [0, 1]], "best_caption").tolist() == [2, 2]
    single = np.random.default_rng(0).random((9, 9))
    expected = ranks(single.T).tolist()
    assert video_to_text_ranks(single, None, "any_caption").tolist() == expected
    assert video_to_text_ranks(single, np.eye(9), "best_caption").tolist() == expected


def test_a_tie_of_two_right_answers_costs_nothing():
    for ties in ("against", "mean", "for"):
        assert ranks([[2, 2, 1]], [[1, 1, 0]], ties).tolist() == [1]
    assert ranks([[2, 2, 2, 2]], [[1, 0, 0, 0]], "mean").tolist() == [2.5]


def test_clip4clip_counts_ties_twice_only_where_texts_and_videos_pair_up():
    assert ranks([[2, 2]], [[1, 0]], "clip4clip").tolist() == [1]
    assert ranks([[2, 2], [1, 0]], [[1, 0], [1, 0]], "clip4clip").tolist() == [1, 1]
    assert ranks([[2, 2], [0, 1]], [[1, 0], [0, 1]], "clip4clip").tolist() == [1, 2, 1]


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16, torch.int64])
def test_tensors_lists_and_arrays_rank_alike(kind):
    values = [[1, 3, 2], [0, 2, 2], [7, 5, 6]]
    tensor = torch.tensor(values, dtype=kind)
    if kind.is_floating_point:
        tensor.requires_grad_()
    assert ranks(tensor).tolist() == ranks(values).tolist() == ranks(np.array(values)).tolist() == [3, 2, 2]


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.bool_])
def test_whole_numbers_rank_as_they_are(kind):
    assert ranks(np.array([[0, 1, 1], [0, 1, 0], [0, 0, 0]], dtype=kind)).tolist() == [3, 1, 3]
    assert top_k(np.array([[1, 0, 1]], dtype=kind), 3).items_TK.tolist() == [[0, 2, 1]]


def test_a_tensor_in_double_precision_keeps_it():
    values = [[1.0, 1.0 + 1e-12], [0.0, 1.0]]
    assert ranks(torch.tensor(values, dtype=torch.float64), ties="for").tolist() == ranks(values).tolist() == [2, 1]


def test_a_caption_scored_minus_infinity_competes_and_a_missing_one_does_not():
    rng = np.random.default_rng(0)
    for _ in range(100):
        texts, videos = rng.integers(2, 9), rng.integers(2, 6)
        owner_T = rng.integers(0, videos, texts)
        relevance = rng.random((texts, videos)) < 0.3
        relevance[np.arange(texts), owner_T] = True
        matrix = rng.choice([-np.inf, 0.0, 1.0], (texts, videos))
        expected = {"against": [], "for": [], "mean": []}
        for video in np.flatnonzero(relevance.any(axis=0)):
            own = max(matrix[t, video] for t in range(texts) if relevance[t, video])
            rivals = [
                [matrix[t, video] for t in range(texts) if owner_T[t] == other and not relevance[t, video]]
                for other in range(videos)
                if other != video
            ]
            best = [max(scores) for scores in rivals if scores]
            above, tied = sum(score > own for score in best), sum(score == own for score in best)
            for ties, share in {"against": tied, "for": 0, "mean": tied / 2}.items():
                expected[ties].append(1 + above + share)
        for ties, values in expected.items():
            assert video_to_text_ranks(matrix, relevance, ties=ties, owner_T=owner_T).tolist() == values


def test_infinite_scores_have_their_place():
    assert ranks([[-np.inf, 0.0], [1.0, -np.inf]], [[0, 1], [0, 1]]).tolist() == [1, 2]
    assert ranks([[-np.inf, -np.inf, 1.0]], [[1, 0, 0]]).tolist() == [3]


def test_scores_are_left_alone():
    matrix = np.random.default_rng(0).random((4, 4))
    before = matrix.copy()
    ranks(matrix)
    top_k(matrix, 2)
    video_to_text_ranks(matrix)
    assert (matrix == before).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ranks([[1.0, float("nan")], [0.0, 1.0]]), "row 0, column 1 is NaN"),
        (lambda: top_k([[1.0, float("nan")]], 1), "is NaN"),
        (lambda: ranks([[1, 2], [3, 4]], [[1, 0], [0, 0]]), "row 1 has no relevant item"),
        (lambda: ranks([[1, 2]]), "do not pair up"),
        (lambda: ranks([[1, 2]], [[1], [0]]), "relevance has the shape"),
        (lambda: ranks([1, 2]), "shape"),
        (lambda: ranks(np.zeros((0, 3)), np.zeros((0, 3))), "at least one"),
        (lambda: top_k(np.zeros((3, 0)), 1), "at least one"),
        (lambda: ranks([["a"]]), "real numbers"),
        (lambda: ranks([[1.0]], None, "optimistic"), "ties must be one of against"),
        (lambda: ranks([[1, 2]], [[1, 1]], "clip4clip"), "query 0 has 2 relevant items.*another tie rule"),
        (
            lambda: video_to_text_ranks([[1], [2]], [[1], [1]], "any_caption", "clip4clip"),
            "query 0 has 2 relevant items.*another tie rule",
        ),
        (lambda: video_to_text_ranks([[1, 2]], [[1, 1]]), "text 0 belongs to 2 videos"),
        (lambda: video_to_text_ranks([[1, 2]], [[0, 0]], "any_caption"), "nothing can be ranked"),
        (lambda: video_to_text_ranks([[1]], None, "all"), "best_caption or any_caption"),
        (lambda: top_k([[1, 2]], 0), "at least 1"),
    ],
)
def test_what_cannot_be_ranked_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.soak
def test_the_full_msrvtt_size_stays_small_and_quick():
    import resource
    import time

    matrix = np.random.default_rng(0).random((59_800, 2_990), dtype=np.float32)
    relevance = np.arange(59_800)[:, None] // 20 == np.arange(2_990)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    ranks(matrix, relevance)
    video_to_text_ranks(matrix, relevance, "best_caption")
    video_to_text_ranks(matrix, relevance, "any_caption")
    assert time.perf_counter() - start < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000
