"""What a score means in one library: how far a hit stands above the best hits of queries that ask for other things.

A bank of background queries is scored with the library once. Two steps turn a hit's score into its excess: the mean
that the bank gives its video is taken off (some videos are near to every query); the rest is told in units of the
bank's best hits, 0 their median, -1 their 10th percentile (the lower half, because some background queries will be
answered). A fixed curve makes it a probability. Excess does not change when all scores are multiplied by a positive
factor or shifted, nor with the videos' order.

Taking off what a query gives to all videos as well (some queries are near to every video) told queries with an answer
from others no better.

The probability is for a query that has an answer here as likely as not. `SLOPE` and `EVEN` were fitted on other
pictures and models than those they are reported on (`benchmarks/calibration_settings.py`).
Not here: which queries make the bank and where the result is kept (`reelseek.index.calibration`).

Shapes: B queries of the bank, V videos, H hits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SLOPE, EVEN = 1.5, 0.5
"""The curve's steepness, and the excess at which a match is as likely as not."""
BEST = 10
"""Of each background query the best so many videos are looked at for its greatest excess."""
LEAST_QUERIES = 20
PRECISION = 1e-6
"""Differences below this share of the scores are rounding."""


class Background(NamedTuple):
    """What a bank of background queries said of one library.

    mean_V: the mean score of each video. middle, spread: of the bank's greatest excesses, in scores.
    """

    mean_V: np.ndarray
    middle: float
    spread: float


def fit(best_BV: np.ndarray) -> Background | None:
    """Learn from the bank's scores with every video, its best segment's.

    None if the scores cannot tell anything: all alike, or not numbers. Raises ValueError for a bank of fewer than
    `LEAST_QUERIES` queries, and for no video.
    """
    if best_BV.ndim != 2 or len(best_BV) < LEAST_QUERIES or best_BV.shape[1] == 0:
        raise ValueError(
            f"a background needs scores [B, V] of at least {LEAST_QUERIES} queries with at least one video, "
            f"not {best_BV.shape}"
        )
    if not np.isfinite(best_BV).all():
        return None
    mean_V = best_BV.mean(axis=0, dtype=np.float64)
    kept = min(BEST, len(mean_V))
    top_BK = np.argpartition(-best_BV, kept - 1, axis=1)[:, :kept]
    greatest_B = np.take_along_axis(best_BV - mean_V, top_BK, axis=1).max(axis=1)
    middle, low = np.quantile(greatest_B, [0.5, 0.1])
    if not middle - low > PRECISION * np.abs(best_BV).max():
        return None
    return Background(mean_V, float(middle), float(middle - low))


def excess(background: Background, scores_H: np.ndarray, video_H: np.ndarray) -> np.ndarray:
    """How far hits [H] of these scores and videos stand above the background's best; 0 is the median of those."""
    above_H = scores_H - background.mean_V[video_H]
    return np.asarray((above_H - background.middle) / background.spread)


def probability(excess_H: np.ndarray) -> np.ndarray:
    """The probability [H] that a hit of this excess is a match, if a match was as likely as not beforehand."""
    return np.asarray(1 / (1 + np.exp(-np.clip(SLOPE * (excess_H - EVEN), -50, 50))))
