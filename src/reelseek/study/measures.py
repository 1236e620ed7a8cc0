"""What a study measures: numbers a query, whose mean is the metric. A mean can be resampled over seeds and queries.

Not here: ranks (`reelseek.rank.ranking`), intervals (`reelseek.study.power`). Shapes: S seeds, T queries, N any count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

STRICT, CORRECTED, BY_LOT = "strict", "corrected", "by lot"
"""Tables of queries: ranks where only the video that a text was written for is right; where every true match is right;
the chance that the former comes first if ties, and what rounding makes of them, are broken by lot."""


class Measure(NamedTuple):
    """table: which recorded numbers it reads. of: those numbers [N] to values [N] whose mean is the metric."""

    table: str
    of: Callable[[np.ndarray], np.ndarray]
    unit: str = "points"
    lower_is_better: bool = False


def _within(k: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda ranks_N: 100.0 * (ranks_N <= k)


def _same(values_N: np.ndarray) -> np.ndarray:
    return np.asarray(values_N, dtype=np.float64)


def _percent(wins_N: np.ndarray) -> np.ndarray:
    return 100.0 * wins_N


MEASURES: dict[str, Measure] = {
    "R@1": Measure(STRICT, _within(1)),
    "R@5": Measure(STRICT, _within(5)),
    "R@10": Measure(STRICT, _within(10)),
    "MnR": Measure(STRICT, _same, "ranks", lower_is_better=True),
    "R@1 by lot": Measure(BY_LOT, _percent),
    "corrected R@1": Measure(CORRECTED, _within(1)),
    "corrected MnR": Measure(CORRECTED, _same, "ranks", lower_is_better=True),
    "swap": Measure("swap", _percent),
    "binding": Measure("binding", _percent),
}
"""R@k: percent of queries with a right video among the first k. MnR: mean rank. "R@1 by lot": what R@1 would be on
average if ties were broken by lot, for methods that cannot tell a video from its twin beside those that do by chance.
swap, binding: percent of captions that score their video above its twin with clauses swapped, or roles exchanged; a tie
is a failure."""


def values_of(measure: str, numbers_SN: np.ndarray) -> np.ndarray:
    """Values a query, float64, of recorded numbers of any shape. Raises ValueError for an unknown measure."""
    if measure not in MEASURES:
        raise ValueError(f"no measure is called {measure!r}; there are {', '.join(MEASURES)}")
    return np.asarray(MEASURES[measure].of(np.asarray(numbers_SN)), dtype=np.float64)
