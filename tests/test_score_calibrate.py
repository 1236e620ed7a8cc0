"""Probabilities of hits against loops, and what they promise not to depend on."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reelseek.score.calibrate import LEAST_QUERIES, Background, excess, fit, probability


def bank(videos: int, queries: int = 40, seed: int = 0) -> np.ndarray:
    """Scores [B, V] with hubs and with queries that every video likes."""
    draw = np.random.default_rng(seed)
    best_BV = 0.2 + 0.05 * draw.normal(size=(queries, videos)) + 0.1 * draw.normal(size=(queries, 1))
    return best_BV + 0.1 * draw.normal(size=videos)


def fit_by_loops(best_BV: np.ndarray) -> tuple:
    queries, videos = best_BV.shape
    mean_V = [sum(best_BV[b, v] for b in range(queries)) / queries for v in range(videos)]
    greatest = []
    for b in range(queries):
        first = sorted(range(videos), key=lambda v: -best_BV[b, v])[:10]
        greatest.append(max(best_BV[b, v] - mean_V[v] for v in first))
    middle, low = np.quantile(greatest, 0.5), np.quantile(greatest, 0.1)
    return mean_V, middle, middle - low


@pytest.mark.parametrize("videos", [1, 2, 3, 15, 30])
def test_fit_equals_loops(videos: int) -> None:
    best_BV = bank(videos)
    found = fit(best_BV)
    mean_V, middle, spread = fit_by_loops(best_BV)
    assert found is not None
    assert found.mean_V == pytest.approx(mean_V)
    assert (found.middle, found.spread) == pytest.approx((middle, spread))


def test_excess_equals_loops() -> None:
    background = Background(np.array([0.1, 0.2, 0.3]), middle=0.05, spread=0.1)
    scores_H, video_H = np.array([0.5, 0.4, 0.1, 0.2]), np.array([2, 0, 1, 2])
    for h, found in enumerate(excess(background, scores_H, video_H)):
        assert found == pytest.approx((scores_H[h] - background.mean_V[video_H[h]] - 0.05) / 0.1)


def test_excess_keeps_under_scale_shift_and_order() -> None:
    best_BV = bank(9)
    query_V, hits = np.linspace(0, 1, 9), np.array([8, 4, 0])
    plain = fit(best_BV)
    assert plain is not None
    expected = excess(plain, query_V[hits], hits)
    for factor, shift in ((100.0, 0.0), (1e-9, 0.0), (1.0, -7.0), (30.0, 5.0), (1.0, 5e3)):
        moved = fit(factor * best_BV + shift)
        assert moved is not None
        assert excess(moved, (factor * query_V + shift)[hits], hits) == pytest.approx(expected)
    order = np.random.default_rng(1).permutation(9)
    turned = fit(best_BV[:, order])
    assert turned is not None
    assert excess(turned, query_V[hits], np.argsort(order)[hits]) == pytest.approx(expected)


def test_a_hub_gains_nothing() -> None:
    best_BV, query_V = bank(6), np.full(6, 0.5)
    hub_V = np.array([0, 0, 3.0, 0, 0, 0])
    plain, hub = fit(best_BV), fit(best_BV + hub_V)
    assert plain is not None
    assert hub is not None
    assert excess(hub, query_V + hub_V, np.arange(6)) == pytest.approx(excess(plain, query_V, np.arange(6)))


def test_probability_is_the_logistic_curve() -> None:
    told = probability(np.array([-200.0, -1.0, 0.5, 2.5, 200.0]))
    assert told.tolist() == pytest.approx([0.0, 1 / (1 + math.exp(2.25)), 0.5, 1 / (1 + math.exp(-3.0)), 1.0])
    assert (np.diff(probability(np.linspace(-9, 9, 50))) > 0).all()


@pytest.mark.parametrize("value", [0.0, 0.3, 1e9])
def test_scores_that_are_all_alike_tell_nothing(value: float) -> None:
    assert fit(np.full((30, 4), value)) is None


def test_rounding_beside_a_score_of_zero_tells_nothing() -> None:
    best_BV = 0.3 + 1e-8 * np.random.default_rng(0).random((30, 4))
    best_BV[:, 2] = 0
    assert fit(best_BV) is None


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_no_numbers_tell_nothing(value: float) -> None:
    best_BV = bank(4)
    best_BV[3, 1] = value
    assert fit(best_BV) is None


def test_wrong_shapes_are_refused() -> None:
    best_BV = bank(4)
    assert fit(best_BV[:LEAST_QUERIES]) is not None
    for wrong in (best_BV[: LEAST_QUERIES - 1], best_BV[:, :0], best_BV[0]):
        with pytest.raises(ValueError, match="at least 20 queries with at least one video"):
            fit(wrong)
