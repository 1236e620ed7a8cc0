"""How sure a number is, and whether two runs differ: intervals and tests over queries.

Not here: the metrics themselves (`metrics.py`). Everything starts from ranks, one a query, so that any metric of
ranks can be asked about. The spread over training seeds is another matter: no resampling of queries can show it.
Shapes: T queries, G groups of queries, N any count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from reelseek.rank.metrics import METRICS

Metric = str | Callable[[np.ndarray], float]

DETECTABLE = 2.8
"""Standard errors that a true difference needs for 80 % power at the two-sided 5 % level: 1.96 + 0.84."""


class PairedResult(NamedTuple):
    """A minus B on the same queries.

    difference: metric of A minus metric of B, in the metric's unit. low, high: bootstrap interval of the difference.
    p_value: probability of a difference at least this large, were the two runs exchangeable on every query (or group).
    smallest_detectable: the true difference that this many queries would show in 4 of 5 repetitions.
    queries, groups: what was compared, and how many independent units it held.
    """

    difference: float
    low: float
    high: float
    p_value: float
    smallest_detectable: float
    queries: int
    groups: int


def agreement(low: float | None, high: float | None, p_value: float | None) -> str:
    """ "seen" where all that is recorded shows a difference, "open" where a part does or nothing is there, or "unseen".

    An interval shows one that leaves out zero, a test one by a p below 0.05.
    """
    agreeing = [] if low is None or high is None else [low > 0 or high < 0]
    agreeing += [] if p_value is None else [p_value < 0.05]
    return "unseen" if agreeing and not any(agreeing) else "seen" if agreeing and all(agreeing) else "open"


def bootstrap_interval(
    ranks_T: Any,
    metric: Metric,
    *,
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    groups_T: Sequence[Any] | np.ndarray | None = None,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a metric over queries (Efron 1979).

    metric: a name of `METRICS`, or a function of ranks. groups_T: what each query hangs on, usually its video; whole
    groups are then drawn, because captions of one video succeed and fail together.
    Raises ValueError for no ranks, an unknown metric name, a level outside 0 to 1, or groups of another length.
    """
    measure = _measure(metric)
    rows = _checked(ranks_T, samples, level)
    draws = _bootstrap(lambda queries: measure(rows[queries]), _members(len(rows), groups_T), samples, seed)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_difference(
    ranks_a_T: Any,
    ranks_b_T: Any,
    metric: Metric,
    *,
    samples: int = 1000,
    permutations: int = 5000,
    seed: int = 0,
    level: float = 0.95,
    groups_T: Sequence[Any] | np.ndarray | None = None,
    ids_a: Sequence[str] | None = None,
    ids_b: Sequence[str] | None = None,
) -> PairedResult:
    """Difference A - B of a metric over the same queries: bootstrap interval and randomisation test, both paired.

    The test swaps the two runs' ranks on each query (each group, where given) with probability 1/2 and counts how
    often the difference is at least as large as the one seen (Fisher 1935; Noreen 1989). Where all swaps are at most
    `permutations`, every one is tried and the p value is exact; else the p value is (1 + count) / (1 + permutations).
    Raises ValueError when the runs do not hold the same queries in the same order.
    """
    measure = _measure(metric)
    rows_a, rows_b = _checked(ranks_a_T, samples, level), _checked(ranks_b_T, samples, level)
    _same_queries(rows_a, rows_b, ids_a, ids_b)
    members = _members(len(rows_a), groups_T)
    difference = measure(rows_a) - measure(rows_b)
    draws = _bootstrap(lambda queries: measure(rows_a[queries]) - measure(rows_b[queries]), members, samples, seed)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])

    group_T = np.empty(len(rows_a), dtype=np.int64)
    for number, queries in enumerate(members):
        group_T[queries] = number
    exact = 2 ** len(members) <= permutations
    rng = np.random.default_rng([seed, 1])
    as_large = 0
    for trial in range(2 ** len(members) if exact else permutations):
        if exact:
            swap_G = (trial >> np.arange(len(members))) & 1 == 1
        else:
            swap_G = rng.integers(0, 2, len(members), dtype=np.int8).astype(bool)
        swap_T = swap_G[group_T]
        swapped = measure(np.where(swap_T, rows_b, rows_a)) - measure(np.where(swap_T, rows_a, rows_b))
        # The slack keeps sums of the same terms in another order on the same side.
        as_large += abs(swapped) >= abs(difference) * (1 - 1e-9) - 1e-12
    p_value = as_large / 2 ** len(members) if exact else (1 + as_large) / (1 + permutations)
    detectable = DETECTABLE * float(np.std(draws, ddof=1))
    return PairedResult(difference, float(low), float(high), p_value, detectable, len(rows_a), len(members))


def _measure(metric: Metric) -> Callable[[np.ndarray], float]:
    if not isinstance(metric, str):
        return metric
    if metric not in METRICS:
        raise ValueError(f"no metric is called {metric!r}; there are {', '.join(METRICS)}")
    return METRICS[metric]


def _checked(ranks_T: Any, samples: int, level: float) -> np.ndarray:
    rows = np.asarray(ranks_T, dtype=np.float64)
    if rows.ndim != 1 or len(rows) == 0:
        raise ValueError(f"ranks must be a list with one number a query, not of shape {rows.shape}")
    if not np.isfinite(rows).all() or (rows < 1).any():
        raise ValueError("ranks are counted from 1: there is one below 1, or not a number")
    if samples < 2 or not 0 < level < 1:
        raise ValueError(f"samples must be at least 2 and level between 0 and 1, not {samples} and {level}")
    return rows


def _same_queries(
    rows_a: np.ndarray, rows_b: np.ndarray, ids_a: Sequence[str] | None, ids_b: Sequence[str] | None
) -> None:
    if len(rows_a) != len(rows_b):
        raise ValueError(f"the runs answer {len(rows_a)} and {len(rows_b)} queries: only the same queries compare")
    if (ids_a is None) != (ids_b is None):
        raise ValueError("one run names its queries and the other does not: pass both ids_a and ids_b, or neither")
    if ids_a is None or ids_b is None:
        return
    if len(ids_a) != len(rows_a) or len(ids_b) != len(rows_b):
        raise ValueError(f"{len(ids_a)} and {len(ids_b)} ids for {len(rows_a)} queries")
    for number, (a, b) in enumerate(zip(ids_a, ids_b, strict=True)):
        if a != b:
            raise ValueError(
                f"query {number} is {a!r} in one run and {b!r} in the other: only the same queries compare"
            )


def _members(count: int, groups_T: Sequence[Any] | np.ndarray | None) -> list[np.ndarray]:
    """The numbers of the queries of each group; one group a query without groups."""
    if groups_T is None:
        return list(np.arange(count)[:, None])
    groups = np.asarray(groups_T)
    if groups.shape != (count,):
        raise ValueError(f"groups_T must name a group for each of the {count} queries, not have shape {groups.shape}")
    _, group_T = np.unique(groups, return_inverse=True)
    order = np.argsort(group_T, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(group_T[order])) + 1)


def _bootstrap(value: Callable[[np.ndarray], float], members: list[np.ndarray], samples: int, seed: int) -> np.ndarray:
    """The value [samples] on the queries of groups drawn with replacement."""
    rng = np.random.default_rng([seed, 0])
    sizes_G = np.array([len(queries) for queries in members])
    starts_G = sizes_G.cumsum() - sizes_G
    flat = np.concatenate(members)
    draws = np.empty(samples)
    for sample in range(samples):
        drawn = rng.integers(0, len(members), len(members))
        sizes = sizes_G[drawn]
        within = np.arange(sizes.sum()) - np.repeat(sizes.cumsum() - sizes, sizes)
        draws[sample] = value(flat[np.repeat(starts_G[drawn], sizes) + within])
    return draws
