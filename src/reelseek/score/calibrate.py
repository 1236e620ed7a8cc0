"""What a score means in one library: how far a hit stands above the best hits of queries that ask for other things.

A bank of background queries is scored with the library once. Three steps turn a hit's score into its excess: the mean
that the bank gives its video is taken off (some videos are near to every query); part of what the query gives to a few
other videos, its level, is taken off (some queries are near to every video), the more the better the levels explain
the bank's own scores; the rest is told in units of the bank's best hits, 0 their median, -1 their 10th percentile (the
lower half, because some background queries will be answered). A fixed curve makes it a probability.
Excess does not change when all scores are multiplied by a positive factor or shifted, nor with the videos' order.

The probability is for a query that has an answer here as likely as not. `DAMPING`, `SLOPE` and `EVEN` were fitted on
other pictures and models than those they are reported on (`benchmarks/calibration_settings.py`).
Not here: which queries make the bank and where the result is kept (`reelseek.index.calibration`).

Shapes: B queries of the bank, V videos, A anchors, H hits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

DAMPING = 0.7
"""Of the level's share, how much is taken off: all of it would hide queries that many videos answer."""
SLOPE, EVEN = 1.4, 0.6
"""The curve's steepness, and the excess at which a match is as likely as not."""
BEST = 10
"""Of each background query the best so many videos are looked at for its greatest excess."""
LEAST_QUERIES = 20
PRECISION = 1e-6
"""Differences below this share of the scores are rounding."""


class Background(NamedTuple):
    """What a bank of background queries said of one library.

    mean_V: the mean score of each video; mean_A: of each anchor, a segment that stands for others; owner_A: the video
    that an anchor belongs to. pull: the share of a query's level that is taken off. middle, spread: of the bank's
    greatest excesses, in scores.
    """

    mean_V: np.ndarray
    mean_A: np.ndarray
    owner_A: np.ndarray
    pull: float
    middle: float
    spread: float


def fit(best_BV: np.ndarray, anchors_BA: np.ndarray, owner_A: np.ndarray) -> Background | None:
    """Learn from the bank's scores with every video (its best segment's) and every anchor.

    None if the scores cannot tell anything: all alike, or not numbers. Raises ValueError for a bank of fewer than
    `LEAST_QUERIES` queries, no video, or shapes that do not fit.
    """
    if best_BV.ndim != 2 or anchors_BA.shape != (len(best_BV), len(owner_A)) or len(best_BV) < LEAST_QUERIES:
        raise ValueError(
            f"a background needs at least {LEAST_QUERIES} queries and scores [B, V] and [B, A] of equal B, "
            f"not {best_BV.shape} and {anchors_BA.shape} with {len(owner_A)} owners"
        )
    if best_BV.shape[1] == 0:
        raise ValueError("a background needs at least one video")
    if not (np.isfinite(best_BV).all() and np.isfinite(anchors_BA).all()):
        return None
    mean_V, mean_A = best_BV.mean(axis=0, dtype=np.float64), anchors_BA.mean(axis=0, dtype=np.float64)
    rest_BV = best_BV - mean_V
    videos_V = np.arange(len(mean_V))
    level_BV = np.stack([levels(row_A, owner_A, videos_V) for row_A in anchors_BA - mean_A])
    product, size, own = (rest_BV * level_BV).sum(), (level_BV**2).sum(), (rest_BV**2).sum()
    pull = DAMPING * product**2 / (size * own) * product / size if product > 0 else 0.0
    found = Background(mean_V, mean_A, owner_A, float(pull), 0.0, 1.0)
    kept = min(BEST, len(mean_V))
    top_BK = np.argpartition(-best_BV, kept - 1, axis=1)[:, :kept]
    greatest_B = np.take_along_axis(rest_BV - pull * level_BV, top_BK, axis=1).max(axis=1)
    middle, low = np.quantile(greatest_B, [0.5, 0.1])
    if not middle - low > PRECISION * np.abs(best_BV).max():
        return None
    return found._replace(middle=float(middle), spread=float(middle - low))


def excess(background: Background, scores_H: np.ndarray, video_H: np.ndarray, anchors_A: np.ndarray) -> np.ndarray:
    """How far hits of one query stand above the background's best hits [H]; 0 is the median of those.

    scores_H: the hits' scores. video_H: their videos. anchors_A: the query's scores with the anchors.
    """
    level_H = levels(anchors_A - background.mean_A, background.owner_A, video_H)
    above_H = scores_H - background.mean_V[video_H] - background.pull * level_H
    return np.asarray((above_H - background.middle) / background.spread)


def levels(above_A: np.ndarray, owner_A: np.ndarray, video_H: np.ndarray) -> np.ndarray:
    """The mean of the anchors that do not belong to each hit's own video [H]; 0 where no anchor is left."""
    count = 1 + max(int(owner_A.max(initial=0)), int(video_H.max(initial=0)))
    left_H = len(owner_A) - np.bincount(owner_A, minlength=count)[video_H]
    sum_H = above_A.sum() - np.bincount(owner_A, weights=above_A, minlength=count)[video_H]
    return np.asarray(np.where(left_H > 0, sum_H / np.maximum(left_H, 1), 0.0))


def probability(excess_H: np.ndarray) -> np.ndarray:
    """The probability [H] that a hit of this excess is a match, if a match was as likely as not beforehand."""
    return np.asarray(1 / (1 + np.exp(-np.clip(SLOPE * (excess_H - EVEN), -50, 50))))
