"""Where in a video a query is answered: spans of time around the frames that match best.

Not here: which segments are candidates and what they score (`reelseek.index.search`).
Shape legend: F frames of one video, in order of time.
"""

from __future__ import annotations

import numpy as np

ALIKE = 0.01
"""Frames whose cosines lie this close show the same thing: the noise within one still shot. Scores on another scale
need it on theirs."""


def grow(scores_F: np.ndarray, peak: int, *, alike: float = ALIKE) -> tuple[int, int]:
    """First and last frame of the moment around frame `peak`.

    It reaches as far on both sides as scores stay at or above half height: midway between the video's mean and the
    peak, or at least within `alike` of the peak. A still shot is one moment.
    """
    below = np.flatnonzero(scores_F < _half_height(scores_F, peak, alike))
    after = int(np.searchsorted(below, peak))
    first = int(below[after - 1]) + 1 if after > 0 else 0
    last = int(below[after]) - 1 if after < len(below) else len(scores_F) - 1
    return first, last


def next_peak(scores_F: np.ndarray, taken_F: np.ndarray, low: int, high: int, *, alike: float = ALIKE) -> int | None:
    """The frame whose moment comes next of the segment from frame `low` to before `high`; None where there is none.

    taken_F: frames of the video's earlier moments. First comes the segment's best frame, unless it is below the video's
    mean and the video has a moment already. Once that is taken, by whichever moment, the best frame that is left comes,
    as long as it reaches the half height of the video's best frame.
    """
    best = low + int(np.argmax(scores_F[low:high]))
    if not taken_F[best]:
        return best if scores_F[best] + alike >= scores_F.mean() or not taken_F.any() else None
    left = int(np.argmax(np.where(taken_F[low:high], -np.inf, scores_F[low:high]))) + low
    level = _half_height(scores_F, int(np.argmax(scores_F)), alike)
    return left if not taken_F[left] and scores_F[left] >= level else None


def take_span(
    scores_F: np.ndarray, taken_F: np.ndarray, low: int, high: int, peak: int, *, alike: float = ALIKE
) -> tuple[int, int]:
    """First and last frame of the moment of `peak`, which `next_peak` gave; they join taken_F.

    It may reach into the neighbours of the segment from `low` to before `high`. Where the peak is below the video's
    mean, it is the segment as it stands. Moments of one video never overlap; a later one is cut short.
    """
    first, last = low, high - 1
    if scores_F[peak] + alike >= scores_F.mean():
        first, last = grow(scores_F, peak, alike=alike)
    taken = np.flatnonzero(taken_F)
    after = int(np.searchsorted(taken, peak))
    if after > 0:
        first = max(first, int(taken[after - 1]) + 1)
    if after < len(taken):
        last = min(last, int(taken[after]) - 1)
    taken_F[first : last + 1] = True
    return first, last


def _half_height(scores_F: np.ndarray, peak: int, alike: float) -> float:
    return float(min((scores_F.mean() + scores_F[peak]) / 2, scores_F[peak] - alike))


def best_pair(first_F: np.ndarray, second_F: np.ndarray) -> tuple[int, int, float] | None:
    """Frames i < j of one video, i for the first moment and j for the second, and their score; None if there are none.

    The score is the lower of the two: both must be there. Among pairs with the same lower score the one with the higher
    sum wins, then the earliest second frame, then the earliest first. Frames of score -inf take no part.
    """
    if len(first_F) < 2:
        return None
    # For every second frame the best first one before it serves the lower score and the sum alike.
    before_F = np.maximum.accumulate(first_F)[:-1]
    after_F = second_F[1:]
    low_F, sum_F = np.minimum(before_F, after_F), before_F + after_F
    best = int(np.lexsort((-sum_F, -low_F))[0])
    if not np.isfinite(low_F[best]):
        return None
    return int(np.argmax(first_F[: best + 1])), best + 1, float(low_F[best])
