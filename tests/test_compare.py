"""Intervals cover, tests are exact where they can be, and different queries are refused."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelseek.rank.compare import agreement, bootstrap_interval, paired_difference
from reelseek.rank.metrics import METRICS


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        places = np.where(rng.random(150) < 0.4, 1, 2)
        low, high = bootstrap_interval(places, "R@1", samples=200, seed=trial)
        covered += low <= 40 <= high
    assert 178 <= covered <= 200


def test_groups_widen_the_interval_of_captions_that_fail_together():
    rng = np.random.default_rng(1)
    hit_V = rng.random(40) < 0.5
    places, groups = np.repeat(np.where(hit_V, 1, 9), 20), np.repeat(np.arange(40), 20)
    naive = bootstrap_interval(places, "R@1")
    honest = bootstrap_interval(places, "R@1", groups_T=groups)
    assert honest[1] - honest[0] > 3 * (naive[1] - naive[0])
    of_videos = bootstrap_interval(places[::20], "R@1")
    assert honest == pytest.approx(of_videos)


def test_groups_may_come_in_any_order():
    rng = np.random.default_rng(2)
    places, groups = rng.integers(1, 9, 60), np.array([f"video{n}" for n in rng.integers(0, 9, 60)])
    order = np.argsort(groups, kind="stable")
    assert bootstrap_interval(places, "MnR", groups_T=groups) == pytest.approx(
        bootstrap_interval(places[order], "MnR", groups_T=groups[order])
    )


def test_the_same_seed_gives_the_same_interval_and_a_higher_level_a_wider_one():
    places = np.random.default_rng(3).integers(1, 30, 100)
    assert bootstrap_interval(places, "MdR", seed=4) == bootstrap_interval(places, METRICS["MdR"], seed=4)
    assert bootstrap_interval(places, "MnR", seed=4) != bootstrap_interval(places, "MnR", seed=5)
    low, high = bootstrap_interval(places, "MnR")
    lower, higher = bootstrap_interval(places, "MnR", level=0.999)
    assert lower < low < high < higher


@pytest.mark.parametrize(("level", "errors"), [(0.95, 1.960), (0.8, 1.282)])
def test_an_interval_ends_where_the_textbook_says(level, errors):
    places = np.random.default_rng(9).integers(1, 30, 900)
    ends = bootstrap_interval(places, "MnR", samples=4000, level=level)
    error = places.std() / 30
    assert (np.array(ends) - places.mean()) / error == pytest.approx([-errors, errors], abs=0.12)
    paired = paired_difference(places, np.ones(900), "MnR", samples=4000, permutations=2, level=level)
    assert (paired.low + 1, paired.high + 1) == pytest.approx(ends)


def every_swap(a, b, metric, groups):
    """The p value by trying all swaps of groups, from the definition."""
    names = sorted(set(groups))
    seen = abs(metric(a) - metric(b))
    as_large = 0
    for choice in product([False, True], repeat=len(names)):
        swap = dict(zip(names, choice, strict=True))
        left = [y if swap[g] else x for x, y, g in zip(a, b, groups, strict=True)]
        right = [x if swap[g] else y for x, y, g in zip(a, b, groups, strict=True)]
        as_large += abs(metric(np.array(left)) - metric(np.array(right))) >= seen - 1e-9
    return as_large / 2 ** len(names)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(0, 4)), min_size=1, max_size=6))
def test_small_comparisons_are_exact(rows):
    a, b, groups = (np.array(column) for column in zip(*rows, strict=True))
    for name in ("R@1", "R@5", "MdR", "MnR"):
        metric = METRICS[name]
        alone = paired_difference(a, b, metric, samples=2)
        assert alone.p_value == pytest.approx(every_swap(a, b, metric, list(range(len(a)))))
        grouped = paired_difference(a, b, name, samples=2, groups_T=groups)
        assert grouped.p_value == pytest.approx(every_swap(a, b, metric, groups.tolist()))
        assert grouped.difference == pytest.approx(metric(a) - metric(b))
        assert (grouped.queries, grouped.groups) == (len(a), len(set(groups.tolist())))


def test_random_swaps_approach_full_enumeration():
    rng = np.random.default_rng(5)
    a, b = rng.integers(1, 8, 12), rng.integers(1, 9, 12)
    exact = paired_difference(a, b, "MnR", permutations=4096)
    drawn = paired_difference(a, b, "MnR", permutations=4095)
    assert exact.p_value == pytest.approx(every_swap(a, b, METRICS["MnR"], list(range(12))))
    assert drawn.p_value != exact.p_value
    others = {paired_difference(a, b, "MnR", permutations=99, samples=2, seed=seed).p_value for seed in range(5)}
    assert len(others) > 1
    assert drawn.p_value == pytest.approx(exact.p_value, abs=0.04)


def test_equal_runs_show_nothing_and_a_clear_gain_shows():
    rng = np.random.default_rng(6)
    places = rng.integers(1, 20, 200)
    same = paired_difference(places, places, "R@1", permutations=200)
    assert (same.difference, same.low, same.high, same.p_value, same.smallest_detectable) == (0, 0, 0, 1, 0)
    gain = paired_difference(np.where(rng.random(200) < 0.3, 1, places), places, "R@1", permutations=999)
    assert gain.low > 0
    assert gain.p_value == 1 / 1000
    assert gain.difference > gain.smallest_detectable > 0


def test_p_values_are_uniform_where_nothing_differs():
    rng = np.random.default_rng(7)
    values = []
    for trial in range(150):
        a, b = rng.exponential(10, 40) + 1, rng.exponential(10, 40) + 1
        values.append(paired_difference(a, b, "MnR", samples=2, permutations=99, seed=trial).p_value)
    assert 0.005 <= np.mean(np.array(values) <= 0.05) <= 0.11
    assert 0.4 < np.mean(values) < 0.6


def test_smallest_detectable_is_shown_in_four_of_five_repetitions():
    """For recall, 2.8 standard errors of the paired differences by the textbook formula."""
    rng = np.random.default_rng(8)
    a, b = rng.integers(1, 4, 900), rng.integers(1, 4, 900)
    gaps = 100.0 * ((a <= 1).astype(float) - (b <= 1))
    found = paired_difference(a, b, "R@1", samples=4000, permutations=10).smallest_detectable
    assert found == pytest.approx(2.8 * gaps.std() / 30, rel=0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: paired_difference([1, 2], [1], "R@1"), "answer 2 and 1 queries"),
        (lambda: paired_difference([1, 2], [1, 2], "R@1", ids_a=["a", "b"]), "both ids_a and ids_b"),
        (lambda: paired_difference([1], [2], "R@1", ids_a=["a"], ids_b=["b"]), "query 0 is 'a'"),
        (lambda: paired_difference([1], [2], "R@1", ids_a=["a"], ids_b=["a", "b"]), "1 and 2 ids for 1"),
        (lambda: bootstrap_interval([1, 2], "R@7"), "no metric is called 'R@7'"),
        (lambda: bootstrap_interval([], "R@1"), "one number a query"),
        (lambda: bootstrap_interval([[1, 2]], "R@1"), "one number a query"),
        (lambda: bootstrap_interval([1, 2], "R@1", samples=1), "samples must be at least 2"),
        (lambda: bootstrap_interval([0, 1], "R@1"), "counted from 1"),
        (lambda: bootstrap_interval([1, float("nan")], "R@1"), "not a number"),
        (lambda: bootstrap_interval([1, float("inf")], "R@1"), "not a number"),
        (lambda: bootstrap_interval([1, 2], "R@1", level=1.0), "between 0 and 1"),
        (lambda: bootstrap_interval([1, 2], "R@1", level=0.0), "between 0 and 1"),
        (lambda: bootstrap_interval([1, 2], "R@1", groups_T=[0]), "for each of the 2 queries"),
    ],
)
def test_what_cannot_be_compared_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("low", "high", "p_value", "state"),
    [
        (0.1, 2.0, 0.01, "seen"),
        (-2.0, -0.1, 0.01, "seen"),
        (0.0, 2.0, 0.01, "open"),
        (-2.0, 0.0, 0.2, "unseen"),
        (0.1, 2.0, 0.05, "open"),
        (None, None, 0.01, "seen"),
        (-1.0, 1.0, None, "unseen"),
        (None, 1.0, None, "open"),
    ],
)
def test_a_difference_is_seen_where_all_that_is_recorded_shows_it(low, high, p_value, state):
    assert agreement(low, high, p_value) == state
