"""Probabilities of hits against loops, and what they promise not to depend on."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reelseek.score.calibrate import BEST, DAMPING, EVEN, LEAST_QUERIES, SLOPE, Background, excess, fit, probability


def bank(videos: int, anchors: int, queries: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with hubs and with queries that every video likes; anchors are the first videos' own scores, or lower."""
    draw = np.random.default_rng(seed)
    best_BV = 0.2 + 0.05 * draw.normal(size=(queries, videos)) + 0.1 * draw.normal(size=(queries, 1))
    best_BV += 0.1 * draw.normal(size=videos)
    owner_A = np.arange(anchors)
    return best_BV, best_BV[:, :anchors] - 0.02 * draw.random((queries, anchors)), owner_A


def level_by_loops(above_A: list[float], owner_A: list[int], video: int) -> float:
    others = [above for above, owner in zip(above_A, owner_A, strict=True) if owner != video]
    return sum(others) / len(others) if others else 0.0


def fit_by_loops(best_BV: np.ndarray, anchors_BA: np.ndarray, owner_A: np.ndarray) -> tuple:
    queries, videos = best_BV.shape
    mean_V = [sum(best_BV[b, v] for b in range(queries)) / queries for v in range(videos)]
    mean_A = [sum(anchors_BA[b, a] for b in range(queries)) / queries for a in range(len(owner_A))]
    rest, level = {}, {}
    for b in range(queries):
        above_A = [anchors_BA[b, a] - mean_A[a] for a in range(len(owner_A))]
        for v in range(videos):
            rest[b, v] = best_BV[b, v] - mean_V[v]
            level[b, v] = level_by_loops(above_A, owner_A.tolist(), v)
    slope = sum(rest[key] * level[key] for key in rest) / sum(level[key] ** 2 for key in rest)
    left = sum((rest[key] - slope * level[key]) ** 2 for key in rest)
    share = 1 - left / sum(rest[key] ** 2 for key in rest)
    pull = DAMPING * share * slope if slope > 0 else 0.0
    greatest = []
    for b in range(queries):
        first = sorted(range(videos), key=lambda v: -best_BV[b, v])[:BEST]
        greatest.append(max(rest[b, v] - pull * level[b, v] for v in first))
    middle, low = np.quantile(greatest, 0.5), np.quantile(greatest, 0.1)
    return mean_V, mean_A, pull, middle, middle - low


@pytest.mark.parametrize(("videos", "anchors"), [(2, 2), (3, 3), (15, 15), (30, 7)])
def test_fit_equals_loops(videos: int, anchors: int) -> None:
    best_BV, anchors_BA, owner_A = bank(videos, anchors)
    found = fit(best_BV, anchors_BA, owner_A)
    mean_V, mean_A, pull, middle, spread = fit_by_loops(best_BV, anchors_BA, owner_A)
    assert found is not None
    assert pull > 0.1
    assert found.mean_V == pytest.approx(mean_V)
    assert found.mean_A == pytest.approx(mean_A)
    assert (found.pull, found.middle, found.spread) == pytest.approx((pull, middle, spread))


def test_a_level_that_tells_nothing_is_not_taken_off() -> None:
    best_BV = np.tile([[1.0, -1.0], [-1.0, 1.0]], (20, 1)) + np.random.default_rng(0).normal(size=(40, 2)) / 10
    found = fit(best_BV, best_BV, np.arange(2))
    assert found is not None
    assert found.pull == 0


def test_one_video_has_no_level() -> None:
    best_BV = np.random.default_rng(0).normal(size=(40, 1))
    found = fit(best_BV, best_BV, np.zeros(1, int))
    assert found is not None
    assert found.pull == 0
    assert excess(found, np.array([9.0]), np.array([0]), np.array([9.0]))[0] > 3


def test_excess_equals_loops() -> None:
    background = Background(
        np.array([0.1, 0.2, 0.3]), np.array([0.1, 0.15, 0.2]), np.array([0, 2, 2]), pull=0.4, middle=0.05, spread=0.1
    )
    scores_H, video_H, anchors_A = np.array([0.5, 0.4, 0.1, 0.2]), np.array([2, 0, 1, 2]), np.array([0.3, 0.1, 0.4])
    above_A = [anchors_A[a] - background.mean_A[a] for a in range(3)]
    for h, found in enumerate(excess(background, scores_H, video_H, anchors_A)):
        level = level_by_loops(above_A, [0, 2, 2], int(video_H[h]))
        above = scores_H[h] - background.mean_V[video_H[h]] - 0.4 * level
        assert found == pytest.approx((above - 0.05) / 0.1)


def test_excess_keeps_under_scale_shift_and_order() -> None:
    best_BV, anchors_BA, owner_A = bank(9, 5)
    query_V, hits = np.linspace(0, 1, 9), np.array([8, 4, 0])
    plain = fit(best_BV, anchors_BA, owner_A)
    assert plain is not None
    expected = excess(plain, query_V[hits], hits, query_V[owner_A])
    for factor, shift in ((100.0, 0.0), (1e-3, 0.0), (1.0, -7.0), (30.0, 5.0)):
        moved = fit(factor * best_BV + shift, factor * anchors_BA + shift, owner_A)
        assert moved is not None
        scores_V = factor * query_V + shift
        assert excess(moved, scores_V[hits], hits, scores_V[owner_A]) == pytest.approx(expected)
    order = np.random.default_rng(1).permutation(9)
    place = np.argsort(order)
    turned = fit(best_BV[:, order], anchors_BA[:, ::-1], place[owner_A][::-1])
    assert turned is not None
    assert excess(turned, query_V[hits], place[hits], query_V[owner_A][::-1]) == pytest.approx(expected)


def test_a_hub_gains_nothing() -> None:
    best_BV, anchors_BA, owner_A = bank(6, 6)
    hub_V = np.array([0, 0, 3.0, 0, 0, 0])
    plain, hub = fit(best_BV, anchors_BA, owner_A), fit(best_BV + hub_V, anchors_BA + hub_V, owner_A)
    query_V = np.full(6, 0.5)
    assert plain is not None
    assert hub is not None
    first = excess(plain, query_V, np.arange(6), query_V)
    query_V = query_V + hub_V
    assert excess(hub, query_V, np.arange(6), query_V) == pytest.approx(first)


def test_probability_is_the_logistic_curve() -> None:
    for value in (-200.0, -1.0, 0.0, EVEN, 2.5, 200.0):
        told = float(probability(np.array([value]))[0])
        assert 0 <= told <= 1
        if abs(value) < 10:
            assert told == pytest.approx(1 / (1 + math.exp(-SLOPE * (value - EVEN))))
    assert float(probability(np.array([EVEN]))[0]) == 0.5
    assert (np.diff(probability(np.linspace(-9, 9, 50))) > 0).all()


@pytest.mark.parametrize("value", [0.0, 0.3, 1e9])
def test_scores_that_are_all_alike_tell_nothing(value: float) -> None:
    best_BV = np.full((30, 4), value)
    assert fit(best_BV, best_BV[:, :2], np.arange(2)) is None


def test_scores_that_are_no_numbers_tell_nothing() -> None:
    best_BV, anchors_BA, owner_A = bank(4, 2)
    best_BV[3, 1] = np.nan
    assert fit(best_BV, anchors_BA, owner_A) is None
    anchors_BA[0, 0] = np.inf
    assert fit(np.nan_to_num(best_BV), anchors_BA, owner_A) is None


def test_wrong_shapes_are_refused() -> None:
    best_BV, anchors_BA, owner_A = bank(4, 2)
    with pytest.raises(ValueError, match="at least 20 queries"):
        fit(best_BV[: LEAST_QUERIES - 1], anchors_BA[: LEAST_QUERIES - 1], owner_A)
    with pytest.raises(ValueError, match="equal B"):
        fit(best_BV, anchors_BA[1:], owner_A)
    with pytest.raises(ValueError, match="owners"):
        fit(best_BV, anchors_BA, owner_A[1:])
    with pytest.raises(ValueError, match="at least one video"):
        fit(best_BV[:, :0], anchors_BA[:, :0], owner_A[:0])
