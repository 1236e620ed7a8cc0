"""The numbers that papers report, from score matrices: R@K in percent, median rank, mean rank.

Not here: how a rank comes about and what ties do (`ranking.py`), and how sure a number is (`compare.py`).
Shapes: T texts, V videos, N any count.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np

from reelseek.config import Ties
from reelseek.rank.ranking import as_matrix, as_relevance, ranks, video_to_text_ranks


def recall_at(ranks_N: np.ndarray, k: int) -> float:
    """Percent of queries whose best-placed relevant item stands among the first k."""
    return float(100 * np.mean(np.asarray(ranks_N) <= k))


def median_rank(ranks_N: np.ndarray) -> float:
    """Median of the ranks, counted from 1; the mean of the middle two of an even count."""
    return float(np.median(ranks_N))


def mean_rank(ranks_N: np.ndarray) -> float:
    """Mean of the ranks, counted from 1."""
    return float(np.mean(ranks_N))


def mean_reciprocal_rank(ranks_N: np.ndarray) -> float:
    """100 times the mean of one over the rank: 100 where every right answer stands first."""
    return float(100 * np.mean(1 / np.asarray(ranks_N)))


METRICS: dict[str, Callable[[np.ndarray], float]] = {
    "R@1": partial(recall_at, k=1),
    "R@5": partial(recall_at, k=5),
    "R@10": partial(recall_at, k=10),
    "R@50": partial(recall_at, k=50),
    "MdR": median_rank,
    "MnR": mean_rank,
}
"""Every metric as a function of the ranks alone. Recalls are better when higher, MdR and MnR when lower."""


def metrics_of_ranks(ranks_N: np.ndarray) -> dict[str, float]:
    """Every metric of `METRICS`; ValueError when there is no rank."""
    if len(ranks_N) == 0:
        raise ValueError("no ranks were given: no query, no metric")
    return {name: metric(ranks_N) for name, metric in METRICS.items()}


def retrieval_metrics(matrix_TV: Any, relevance_TV: Any = None, ties: Ties = "against") -> dict[str, float]:
    """Text-to-video R@1, R@5, R@10, R@50 (percent), MdR (median rank) and MnR (mean rank), ranks counted from 1.

    matrix_TV: scores, higher is better; a list, an array or a tensor. relevance_TV: true where the video belongs to
    the text; several may, and the best-placed one counts; None is the diagonal of a square matrix.
    ties: see `reelseek.rank.ranking.ranks`. "clip4clip" gives what CLIP4Clip prints: with diagonal relevance its
    `compute_metrics`, in which ties add ranks to the mean; with many captions a video its multi-sentence path, whose
    median of an even count is the lower middle rank.

    Raises ValueError for NaN, for a text without a relevant video (naming the row), and for shapes that do not fit.
    """
    found = ranks(matrix_TV, relevance_TV, ties)
    values = metrics_of_ranks(found)
    if ties == "clip4clip" and not _is_diagonal(matrix_TV, relevance_TV):
        values["MdR"] = float(np.sort(found)[(len(found) - 1) // 2])
    return values


def video_to_text_metrics(
    matrix_TV: Any,
    relevance_TV: Any = None,
    convention: Literal["best_caption", "any_caption"] = "best_caption",
    ties: Ties = "against",
    *,
    owner_T: Any = None,
) -> dict[str, float]:
    """The same metrics for video to text; `convention` decides what competes where videos have many captions.

    owner_T: number of the video that each text was written for, where texts are true of several.
    See `reelseek.rank.ranking.video_to_text_ranks`, which also says what is refused. The two conventions give different
    numbers on the same scores: a table must name the one it used.
    """
    return metrics_of_ranks(video_to_text_ranks(matrix_TV, relevance_TV, convention, ties, owner_T=owner_T))


def _is_diagonal(matrix_TV: Any, relevance_TV: Any) -> bool:
    relevance = as_relevance(relevance_TV, as_matrix(matrix_TV).shape)
    return relevance is None or (
        relevance.shape[0] == relevance.shape[1] and bool((relevance == np.eye(len(relevance), dtype=bool)).all())
    )
