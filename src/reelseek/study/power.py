"""Whether two arms differ when both seeds and queries are a sample, and what difference could have been seen.

Not here: one run against another (`reelseek.rank.compare`). Shapes: S seeds, T queries, G groups of queries, B draws.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from reelseek.rank.compare import DETECTABLE

_FREEDOM = np.array([1, 1.1, 1.25, 1.5, 1.75, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 30, 60, np.inf])
_QUANTILE = np.array([
    12.706, 10.277, 8.028, 6.017, 4.949, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.228, 2.179, 2.131, 2.086,
    2.042, 2.000, 1.960,
])  # fmt: skip
_FOUR_FIFTHS = np.array([
    1.376, 1.310, 1.236, 1.153, 1.099, 1.061, 0.978, 0.941, 0.920, 0.906, 0.896, 0.889, 0.879, 0.873, 0.866, 0.860,
    0.854, 0.848, 0.842,
])  # fmt: skip
"""Student's 97.5 % and 80 % quantiles."""
_ASSUMED_SHARE = 0.3


class SeededDifference(NamedTuple):
    """A minus B over the same seeds and queries.

    low, high: 95 % interval over seeds and queries (over queries alone where there is one seed). standard_error: of the
    difference, over both. smallest_detectable: the true difference that 4 of 5 repetitions would show: standard errors
    times the sum of Student's 97.5 % and 80 % quantiles, 2.8 for many seeds, 3.7 for 5 whose differences are all the
    spread, 14 for 2.
    by_seed: the difference of every seed.
    """

    difference: float
    low: float
    high: float
    standard_error: float
    smallest_detectable: float
    by_seed: tuple[float, ...]
    queries: int
    groups: int


def paired_over_seeds(
    values_a_ST: Any, values_b_ST: Any, groups_T: Any, *, samples: int = 2000, seed: int = 0
) -> SeededDifference:
    """Difference of two arms' means, with an interval that covers another choice of seeds and of queries.

    values: one number a seed and query, the same seeds and queries in both arms. groups_T: what a query hangs on (its
    video); whole groups are drawn. Both levels are resampled with replacement: all groups, and S - 1 of the S seeds,
    which makes the variance over seeds unbiased (Rao and Wu 1988). The percentile interval is widened from the normal
    to Student's quantile at Satterthwaite's degrees of freedom: a spread known from a few seeds is itself uncertain.
    Raises ValueError for shapes that do not fit and values that are not finite.
    """
    differences_ST = _difference(values_a_ST, values_b_ST)
    seeds, queries = differences_ST.shape
    groups = np.asarray(groups_T)
    if groups.shape != (queries,):
        raise ValueError(f"groups_T must name a group for each of the {queries} queries, not have shape {groups.shape}")
    _, group_T = np.unique(groups, return_inverse=True)
    sizes_G = np.bincount(group_T)
    sums_SG = np.stack([np.bincount(group_T, weights=row) for row in differences_ST])
    rng = np.random.default_rng(seed)
    seeds_BS = _counts(rng.integers(0, seeds, (samples, max(seeds - 1, 1))), seeds)
    groups_BG = _counts(rng.integers(0, len(sizes_G), (samples, len(sizes_G))), len(sizes_G))
    draws_B = np.einsum("bs,sg,bg->b", seeds_BS, sums_SG, groups_BG, optimize=True)
    draws_B = draws_B / (seeds_BS.sum(axis=1) * (groups_BG @ sizes_G))
    by_seed_S = differences_ST.mean(axis=1)
    difference, error = float(by_seed_S.mean()), float(draws_B.std(ddof=1))
    freedom = _freedom(by_seed_S, error)
    ends, power = _student(freedom, _QUANTILE), _student(freedom, _FOUR_FIFTHS)
    widened = ends / _QUANTILE[-1]
    low, high = difference + widened * (np.quantile(draws_B, [0.025, 0.975]) - difference)
    return SeededDifference(
        difference,
        float(low),
        float(high),
        error,
        (ends + power) * error,
        tuple(by_seed_S.tolist()),
        queries,
        len(sizes_G),
    )


def planned_detectable(queries: int) -> float:
    """Points of R@1 that so many queries can show before anything is run, seeds left aside.

    Assumes that two arms decide 30 % of the queries differently, each query by itself.
    """
    return float(DETECTABLE * 100 * np.sqrt(_ASSUMED_SHARE / queries))


def _difference(values_a_ST: Any, values_b_ST: Any) -> np.ndarray:
    a_ST, b_ST = np.asarray(values_a_ST, dtype=np.float64), np.asarray(values_b_ST, dtype=np.float64)
    if a_ST.ndim != 2 or a_ST.shape != b_ST.shape or a_ST.size == 0:
        raise ValueError(f"both arms need the same seeds and queries, not shapes {a_ST.shape} and {b_ST.shape}")
    if not (np.isfinite(a_ST).all() and np.isfinite(b_ST).all()):
        raise ValueError("a value is not a number")
    return a_ST - b_ST


def _counts(drawn_BN: np.ndarray, width: int) -> np.ndarray:
    """How often each of `width` numbers was drawn, row by row."""
    rows = np.arange(len(drawn_BN))[:, None] * width
    return np.bincount((rows + drawn_BN).ravel(), minlength=len(drawn_BN) * width).reshape(-1, width)


def _freedom(by_seed_S: np.ndarray, error: float) -> float:
    """Satterthwaite's degrees of freedom: the seeds' share of the variance is known from S values, the rest well."""
    if len(by_seed_S) < 2:
        return float("inf")
    over_seeds = float(by_seed_S.var(ddof=1)) / len(by_seed_S)
    share = min(1.0, over_seeds / error**2) if error else 0.0
    return float((len(by_seed_S) - 1) / share**2) if share else float("inf")


def _student(freedom: float, table: np.ndarray) -> float:
    """A quantile of Student's distribution, read from its table in steps of 1 / degrees of freedom."""
    return float(np.interp(-1 / freedom, -1 / _FREEDOM, table))
