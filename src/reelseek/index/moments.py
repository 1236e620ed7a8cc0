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
    level = min((scores_F.mean() + scores_F[peak]) / 2, scores_F[peak] - alike)
    below = np.flatnonzero(scores_F < level)
    after = int(np.searchsorted(below, peak))
    first = int(below[after - 1]) + 1 if after > 0 else 0
    last = int(below[after]) - 1 if after < len(below) else len(scores_F) - 1
    return first, last


def take_span(
    scores_F: np.ndarray, taken_F: np.ndarray, low: int, high: int, *, alike: float = ALIKE
) -> tuple[int, int, int] | None:
    """The moment (first, last, peak) of the segment from frame `low` to before `high`, or None. Best segments first.

    taken_F: frames of the video's earlier moments; those of this one join them. A moment starts from the segment's best
    frame and may reach into the neighbours. A segment whose best frame lies in an earlier moment gives None: it is the
    same moment. So does one whose best frame is below the video's mean, unless it comes first: then it is a moment as
    it stands. Moments of one video never overlap; a later one is cut short.
    """
    mean = scores_F.mean()
    peak = low + int(np.argmax(scores_F[low:high]))
    if taken_F[peak] or (scores_F[peak] + alike < mean and taken_F.any()):
        return None
    first, last = grow(scores_F, peak, alike=alike) if scores_F[peak] + alike >= mean else (low, high - 1)
    taken = np.flatnonzero(taken_F)
    first = max([first, *(taken[taken < peak] + 1)])
    last = min([last, *(taken[taken > peak] - 1)])
    taken_F[first : last + 1] = True
    return int(first), int(last), peak


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
    best = int(np.lexsort((np.arange(len(low_F)), -sum_F, -low_F))[0])
    if not np.isfinite(low_F[best]):
        return None
    return int(np.argmax(first_F[: best + 1])), best + 1, float(low_F[best])
