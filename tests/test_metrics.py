"""Metrics against loops, against CLIP4Clip's printed values, and against ir-measures."""

from __future__ import annotations

from pathlib import Path

import ir_measures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ir_measures import RR, Success

from reelseek.rank.metrics import (
    METRICS,
    mean_reciprocal_rank,
    metrics_of_ranks,
    retrieval_metrics,
    video_to_text_metrics,
)
from reelseek.rank.ranking import ranks

GOLDEN = np.load(Path(__file__).parent / "golden" / "metrics_200.npz")
PRINTED = {"R@1": "R1", "R@5": "R5", "R@10": "R10", "R@50": "R50", "MdR": "MedianR", "MnR": "MeanR"}


@pytest.mark.parametrize("ties", ["against", "mean", "for", "clip4clip"])
def test_without_ties_every_rule_gives_the_printed_values(ties):
    forth = retrieval_metrics(GOLDEN["similarity"], ties=ties)
    back = video_to_text_metrics(GOLDEN["similarity"], ties=ties)
    for name, printed in PRINTED.items():
        assert forth[name] == pytest.approx(float(GOLDEN[f"t2v_{printed}"]), abs=1e-9)
        assert back[name] == pytest.approx(float(GOLDEN[f"v2t_{printed}"]), abs=1e-9)


@given(st.lists(st.integers(1, 70), min_size=1, max_size=12))
def test_metrics_equal_their_definitions(places):
    found = metrics_of_ranks(np.array(places))
    for k in (1, 5, 10, 50):
        hits = 0
        for place in places:
            if place <= k:
                hits += 1
        assert found[f"R@{k}"] == pytest.approx(100 * hits / len(places))
    ordered, half = sorted(places), len(places) // 2
    middle = ordered[half] if len(places) % 2 else (ordered[half - 1] + ordered[half]) / 2
    assert found["MdR"] == middle
    assert found["MnR"] == pytest.approx(sum(places) / len(places))
    assert list(found) == list(METRICS)


def test_ties_make_clip4clip_count_queries_twice():
    """Two of three queries share a score: four ranks for three queries."""
    matrix = [[2, 2, 0], [0, 3, 1], [0, 1, 2]]
    assert retrieval_metrics(matrix, ties="clip4clip")["R@1"] == 75.0
    assert retrieval_metrics(matrix, ties="for")["R@1"] == 100.0
    assert retrieval_metrics(matrix)["R@1"] == pytest.approx(200 / 3)


def test_clip4clip_takes_the_lower_median_with_many_captions():
    matrix = [[2, 1], [1, 2], [1, 2], [2, 1]]
    relevance = [[1, 0], [1, 0], [1, 0], [0, 1]]
    assert retrieval_metrics(matrix, relevance)["MdR"] == 2.0
    assert retrieval_metrics(matrix[:2], relevance[:2])["MdR"] == 1.5
    assert retrieval_metrics(matrix[:2], relevance[:2], ties="clip4clip")["MdR"] == 1.0
    assert retrieval_metrics([[2, 1], [1, 2], [2, 1]], relevance[:3], ties="clip4clip")["MdR"] == 1.0
    for diagonal in (None, np.eye(2)):
        assert retrieval_metrics([[1, 2], [0, 1]], diagonal, ties="clip4clip")["MdR"] == 1.5


def test_a_constant_scorer_is_not_praised():
    assert retrieval_metrics(np.zeros((20, 20)))["R@1"] == 0.0
    assert retrieval_metrics(np.zeros((20, 20)), ties="for")["R@1"] == 100.0


def test_recall_and_reciprocal_rank_equal_ir_measures():
    rng = np.random.default_rng(3)
    matrix = rng.permuted(np.linspace(0, 1, 40 * 30).reshape(40, 30))
    relevance = rng.random((40, 30)) < 0.1
    relevance[np.arange(40), rng.integers(0, 30, 40)] = True
    run = [ir_measures.ScoredDoc(str(t), str(v), float(matrix[t, v])) for t in range(40) for v in range(30)]
    qrels = [ir_measures.Qrel(str(t), str(v), 1) for t, v in zip(*np.nonzero(relevance), strict=True)]
    theirs = ir_measures.calc_aggregate([Success @ 1, Success @ 5, Success @ 10, RR], qrels, run)
    ours = retrieval_metrics(matrix, relevance)
    for k in (1, 5, 10):
        assert ours[f"R@{k}"] == pytest.approx(100 * theirs[Success @ k])
    assert np.mean(1 / ranks(matrix, relevance)) == pytest.approx(theirs[RR])


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="row 1 has no relevant"):
        retrieval_metrics([[1, 2], [3, 4]], [[1, 0], [0, 0]])
    with pytest.raises(ValueError, match="NaN"):
        retrieval_metrics([[float("nan")]])
    with pytest.raises(ValueError, match="pair up"):
        retrieval_metrics(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="no ranks"):
        metrics_of_ranks(np.array([]))


@given(st.lists(st.integers(1, 70), min_size=1, max_size=12))
def test_the_mean_reciprocal_rank_equals_its_definition(places):
    assert mean_reciprocal_rank(np.array(places)) == pytest.approx(sum(100 / place for place in places) / len(places))
