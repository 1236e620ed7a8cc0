"""Differences over seeds and queries, against loops that follow the definition, and against what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reelseek.rank.compare import DETECTABLE
from reelseek.study.measures import MEASURES, values_of
from reelseek.study.power import _FOUR_FIFTHS, _QUANTILE, _student, paired_over_seeds, planned_detectable


def drawn(seeds: int, groups: int, *, effect: float = 0.0, over_seeds: float = 0.0, seed: int = 0) -> tuple:
    """Two arms on groups of three queries; each seed of the first arm is off by its own amount."""
    rng = np.random.default_rng(seed)
    hard_T = np.repeat(rng.normal(size=groups), 3)
    shape = (seeds, 3 * groups)
    a_ST = hard_T + effect + over_seeds * rng.normal(size=(seeds, 1)) + rng.normal(size=shape)
    return a_ST, hard_T + rng.normal(size=shape), np.repeat(np.arange(groups), 3)


def oracle(a_ST: np.ndarray, b_ST: np.ndarray, groups_T: np.ndarray, samples: int) -> tuple[float, list[float]]:
    """Every draw by hand: one seed fewer than there are and all groups, with replacement; their mean."""
    seeds, names = len(a_ST), sorted(set(groups_T.tolist()))
    rng = np.random.default_rng(0)
    drawn_seeds = rng.integers(0, seeds, (samples, max(seeds - 1, 1)))
    drawn_groups = rng.integers(0, len(names), (samples, len(names)))
    draws = []
    for sample in range(samples):
        values = []
        for seed in drawn_seeds[sample]:
            for number in drawn_groups[sample]:
                for query, group in enumerate(groups_T):
                    if group == names[number]:
                        values.append(a_ST[seed, query] - b_ST[seed, query])
        draws.append(sum(values) / len(values))
    return float(np.mean([np.mean(a) - np.mean(b) for a, b in zip(a_ST, b_ST, strict=True)])), draws


@pytest.mark.parametrize("seeds", [1, 2, 4])
def test_draws_are_those_of_the_loop(seeds: int) -> None:
    a_ST, b_ST, groups_T = drawn(seeds, 6, effect=0.3, over_seeds=0.2)
    groups_T = groups_T.copy()
    groups_T[1] = 5  # groups of different sizes
    difference, draws = oracle(a_ST, b_ST, groups_T, 40)
    found = paired_over_seeds(a_ST, b_ST, groups_T, samples=40)
    assert found.difference == pytest.approx(difference)
    assert found.standard_error == pytest.approx(np.std(draws, ddof=1))
    if seeds == 1:
        assert found.smallest_detectable == pytest.approx(DETECTABLE * np.std(draws, ddof=1), rel=1e-3)
    assert found.by_seed == pytest.approx((a_ST - b_ST).mean(axis=1))
    assert (found.queries, found.groups) == (18, 6)
    low, high = np.quantile(draws, [0.025, 0.975])
    share = 0.0 if seeds == 1 else (a_ST - b_ST).mean(axis=1).var(ddof=1) / seeds / np.std(draws, ddof=1) ** 2
    if seeds == 1:
        assert (found.low, found.high) == pytest.approx((low, high))
    else:
        widened = (found.high - found.low) / (high - low)
        assert widened >= 1
        most = {2: 12.706, 4: 3.182}[seeds] / 1.960
        assert widened <= most + 1e-9
        if share >= 1:
            assert widened == pytest.approx(most)
    assert found.low < found.difference < found.high


def test_the_table_of_student_is_met_where_seeds_are_all_the_spread() -> None:
    """Three seeds that differ and queries that do not: the interval is the textbook's, with two degrees of freedom."""
    by_seed = np.array([1.0, 2.0, 4.0])
    a_ST = np.repeat(by_seed[:, None], 30, axis=1)
    found = paired_over_seeds(a_ST, np.zeros_like(a_ST), np.arange(30), samples=4000)
    assert found.standard_error == pytest.approx(by_seed.std(ddof=1) / np.sqrt(3), rel=0.03)
    assert found.high - found.difference >= 4.303 / 1.96 * (4.0 - by_seed.mean()) * 0.99


@pytest.mark.parametrize(("seeds", "over_seeds"), [(3, 0.0), (3, 0.15), (5, 0.15), (1, 0.0)])
def test_intervals_hold_the_truth_as_often_as_they_say(seeds: int, over_seeds: float) -> None:
    trials, held = 120, 0
    for trial in range(trials):
        a_ST, b_ST, groups_T = drawn(seeds, 60, effect=0.1, over_seeds=over_seeds, seed=trial)
        found = paired_over_seeds(a_ST, b_ST, groups_T, samples=300)
        held += found.low <= 0.1 <= found.high
    assert held / trials >= 0.89


def test_the_quantiles_are_student_s() -> None:
    """Three seeds that differ and queries that do not: two degrees of freedom, 4.303 and 1.061."""
    a_ST = np.repeat(np.array([[1.0], [2.0], [4.0]]), 30, axis=1)
    found = paired_over_seeds(a_ST, np.zeros_like(a_ST), np.arange(30), samples=4000)
    assert found.smallest_detectable == pytest.approx((4.303 + 1.061) * found.standard_error, rel=0.02)


@pytest.mark.parametrize(("seeds", "over_seeds"), [(1, 0.0), (3, 0.0), (3, 0.15), (5, 0.15), (5, 0.4)])
def test_what_could_have_been_seen_is_seen_in_four_of_five_repetitions(seeds: int, over_seeds: float) -> None:
    def repeated(effect: float, first: int) -> list:
        rows = (drawn(seeds, 60, effect=effect, over_seeds=over_seeds, seed=first + trial) for trial in range(100))
        return [paired_over_seeds(*row, samples=300) for row in rows]

    told = float(np.mean([found.smallest_detectable for found in repeated(0.0, 0)]))
    seen = np.mean([found.low > 0 for found in repeated(told, 1000)])
    assert 0.68 <= seen <= 0.95


def student(share: float, freedom: float) -> float:
    """A quantile of Student's distribution by halving, its density summed up."""
    least, most = 0.0, 20.0
    constant = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    for _ in range(40):
        middle = (least + most) / 2
        points = np.linspace(0, middle, 4001)
        density = constant * (1 + points**2 / freedom) ** (-(freedom + 1) / 2)
        below = 0.5 + (density[1:] + density[:-1]).sum() / 2 * points[1]
        least, most = (middle, most) if below < share else (least, middle)
    return least


@pytest.mark.parametrize(
    "freedom", [1, 1.04, 1.18, 1.35, 1.6, 1.9, 2, 2.4, 3, 4, 5, 6.4, 7, 8, 9.1, 10, 12, 15, 17, 20, 30, 45, 60, 300]
)
def test_both_tables_are_student_s(freedom: float) -> None:
    assert _student(freedom, _QUANTILE) == pytest.approx(student(0.975, freedom), rel=0.02 if freedom < 3 else 0.002)
    assert _student(freedom, _FOUR_FIFTHS) == pytest.approx(student(0.8, freedom), rel=0.002)


@pytest.mark.parametrize(("seeds", "over_seeds"), [(2, 0.05), (3, 0.1), (5, 0.05), (5, 0.2), (4, 1.0)])
def test_interval_and_power_follow_from_the_draws_and_the_seeds_share_of_the_spread(
    seeds: int, over_seeds: float
) -> None:
    a_ST, b_ST, groups_T = drawn(seeds, 12, effect=0.3, over_seeds=over_seeds, seed=4)
    difference, draws = oracle(a_ST, b_ST, groups_T, 100)
    found = paired_over_seeds(a_ST, b_ST, groups_T, samples=100)
    by_seed = [float(np.mean(a) - np.mean(b)) for a, b in zip(a_ST, b_ST, strict=True)]
    of_seeds = sum((value - difference) ** 2 for value in by_seed) / (seeds - 1) / seeds
    error = float(np.std(draws, ddof=1))
    freedom = (seeds - 1) / min(1.0, of_seeds / error**2) ** 2
    quantile = student(0.975, min(freedom, 1e6))
    ends = [difference + quantile / 1.96 * (end - difference) for end in np.quantile(draws, [0.025, 0.975])]
    assert (found.low, found.high) == pytest.approx(ends, rel=0.01)
    power = (quantile + student(0.8, min(freedom, 1e6))) * error
    assert found.smallest_detectable == pytest.approx(power, rel=0.01)


def test_draws_are_two_thousand_unless_asked_for() -> None:
    arms = drawn(2, 8, effect=0.3)
    assert paired_over_seeds(*arms) == paired_over_seeds(*arms, samples=2000)


def test_seeds_that_disagree_widen_the_interval() -> None:
    a_ST, b_ST, groups_T = drawn(3, 200, effect=0.2)
    apart_ST = a_ST + np.array([[0.4], [-0.4], [0.0]])
    agreeing, disagreeing = (paired_over_seeds(values, b_ST, groups_T) for values in (a_ST, apart_ST))
    assert agreeing.low > 0
    assert disagreeing.low < 0
    assert disagreeing.smallest_detectable > 2 * agreeing.smallest_detectable


def test_captions_of_one_video_are_no_independent_queries() -> None:
    rng = np.random.default_rng(1)
    of_video = rng.normal(size=50)
    a_ST = np.repeat(of_video, 6)[None]
    together = paired_over_seeds(a_ST, np.zeros_like(a_ST), np.repeat(np.arange(50), 6))
    apart = paired_over_seeds(a_ST, np.zeros_like(a_ST), np.arange(300))
    assert together.standard_error > 2 * apart.standard_error


def test_equal_arms_show_nothing() -> None:
    a_ST, _, groups_T = drawn(3, 10)
    found = paired_over_seeds(a_ST, a_ST, groups_T)
    assert (found.difference, found.low, found.high, found.smallest_detectable) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("a", "b", "groups", "said"),
    [
        (np.zeros((2, 3)), np.zeros((2, 4)), np.zeros(3), "same seeds and queries"),
        (np.zeros((2, 3)), np.zeros((1, 3)), np.zeros(3), "same seeds and queries"),
        (np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(3), "same seeds and queries"),
        (np.zeros(3), np.zeros(3), np.zeros(3), "same seeds and queries"),
        (np.full((1, 3), np.nan), np.zeros((1, 3)), np.zeros(3), "not a number"),
        (np.zeros((1, 3)), np.zeros((1, 3)), np.zeros(4), "a group for each of the 3 queries"),
    ],
)
def test_what_does_not_fit_is_refused(a: np.ndarray, b: np.ndarray, groups: np.ndarray, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        paired_over_seeds(a, b, groups)


def test_the_plan_is_what_independent_queries_give() -> None:
    rng = np.random.default_rng(3)
    queries = 4000
    decided = rng.random(queries) < 0.3
    a_T = np.where(decided, rng.integers(0, 2, queries), 1)
    difference_ST = 100.0 * np.where(decided, 2 * a_T - 1, 0)[None]
    found = paired_over_seeds(difference_ST, np.zeros_like(difference_ST), np.arange(queries))
    assert found.smallest_detectable == pytest.approx(planned_detectable(queries), rel=0.08)
    assert planned_detectable(4200) == pytest.approx(2.366, abs=0.001)


def test_measures_are_means_over_queries() -> None:
    ranks = np.array([1.0, 2.0, 6.0, 11.0])
    expected = {"R@1": 25.0, "R@5": 50.0, "R@10": 75.0, "MnR": 5.0, "corrected R@1": 25.0, "corrected MnR": 5.0}
    for name, value in expected.items():
        assert values_of(name, ranks).mean() == value
    to_twelve = np.arange(1.0, 13.0)
    assert [round(12 * values_of(f"R@{k}", to_twelve).mean() / 100) for k in (1, 5, 10)] == [1, 5, 10]
    assert {name for name, measure in MEASURES.items() if measure.lower_is_better} == {"MnR", "corrected MnR"}
    assert {measure.table for name, measure in MEASURES.items() if name.startswith("corrected")} == {"corrected"}
    assert {MEASURES[name].table for name in ("R@1", "R@5", "R@10", "MnR")} == {"strict"}
    wins = np.array([1.0, 0.0, 0.0, 1.0])
    for name in set(MEASURES) - set(expected):
        assert values_of(name, wins).mean() == 50
    with pytest.raises(ValueError, match="no measure is called 'R@2'"):
        values_of("R@2", ranks)
