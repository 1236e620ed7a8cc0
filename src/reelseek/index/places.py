"""From scored segments to places in videos: which frames answer, from when to when.

Not here: the scores (`reelseek.index.search`) and the rule by which a moment is cut (`reelseek.index.moments`).
Shapes: N frames of the whole index, F frames of a place or a video.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from reelseek.index.loaded import Loaded, edges_of, rows_of
from reelseek.index.moments import ALIKE, best_pair, grow, next_peak, take_span
from reelseek.index.spoken import LONG, Heard


class Place(NamedTuple):
    """A span of a video, in seconds, with its score and the time of its best frame.

    segment: the stored segment that was scored. rows_F: rows of its frames in the index, those of `then` included.
    then: the later span (start, end, peak) of an ordered query, and later_segment where its best frame lies.
    heard: what is said there, where it was found by that.
    """

    video: int
    start: float
    end: float
    score: float
    peak: float
    segment: int
    rows_F: np.ndarray
    then: tuple[float, float, float] | None = None
    later_segment: int = -1
    heard: Heard | None = None


def best_segments(loaded: Loaded, ranked: Sequence[tuple[int, float]], scores_N: np.ndarray) -> Iterator[Place]:
    """Every video's best segment as it is stored, from segments and scores best first."""
    seen: set[int] = set()
    stored = loaded.segments
    for s, score in ranked:
        video = int(loaded.video_S[s])
        if video in seen:
            continue
        seen.add(video)
        first, after = stored.first_S[s], stored.first_S[s] + stored.count_S[s]
        peak = float(stored.times_N[first + np.argmax(scores_N[first:after])])
        start, end = float(stored.start_S[s]), float(stored.end_S[s])
        yield Place(video, start, end, score, peak, s, np.arange(first, after))


class _Cut(NamedTuple):
    """A video while moments are cut from it. edges: seconds between its frames. low_of: a segment's first frame."""

    rows_F: np.ndarray
    edges: np.ndarray
    scores_F: np.ndarray
    taken_F: np.ndarray
    low_of: dict[int, int]


def moments_of(
    loaded: Loaded, ranked: Sequence[tuple[int, float]], scores_N: np.ndarray, *, alike: float = ALIKE
) -> Iterator[Place]:
    """All moments around these segments, best first: several a segment, each cut to where its frames match.

    The moment of a segment's best frame has the segment's score, a further one as much less as its own best frame lies
    below that. They are cut as they are asked for; equal scores come in order of path, then start.
    """
    stored = loaded.segments
    begun: dict[int, _Cut] = {}
    # best first, so it is a heap already
    waiting = [(-score, rank) for rank, (_, score) in enumerate(ranked)]
    while waiting:
        worth = waiting[0][0]
        places: list[tuple[int, float, Place]] = []
        while waiting and waiting[0][0] == worth:
            _, rank = heappop(waiting)
            s, score = ranked[rank]
            video = int(loaded.video_S[s])
            if video not in begun:
                begun[video] = _uncut(loaded, video, scores_N)
            cut, low = begun[video], begun[video].low_of[s]
            high = low + int(stored.count_S[s])
            peak = next_peak(cut.scores_F, cut.taken_F, low, high, alike=alike)
            if peak is None:
                continue
            own = score - float(cut.scores_F[low:high].max() - cut.scores_F[peak])
            heappush(waiting, (-own, rank))
            if -own != worth:  # its turn comes later
                continue
            first, last = take_span(cut.scores_F, cut.taken_F, low, high, peak, alike=alike)
            start, end = float(cut.edges[first]), float(cut.edges[last + 1])
            time = float(stored.times_N[cut.rows_F[peak]])
            place = Place(video, start, end, own, time, s, cut.rows_F[first : last + 1])
            places.append((int(loaded.order_S[loaded.segments_V[video][0]]), start, place))
        yield from (place for *_, place in sorted(places, key=itemgetter(0, 1)))


def lines_of(loaded: Loaded, lines: Iterable[tuple[int, float, Heard]], scores_N: np.ndarray) -> Iterator[Place]:
    """A place for every line that is heard, from (segment, score, line), best first: its span, at most `LONG` seconds.

    A line that overlaps an earlier one of its video is left out: it reaches over two segments, or is in two files.
    """
    begun: dict[int, tuple[np.ndarray, np.ndarray, list[tuple[float, float]]]] = {}
    for s, score, heard in lines:
        video = int(loaded.video_S[s])
        if video not in begun:
            rows_F = rows_of(loaded, video)
            begun[video] = rows_F, edges_of(loaded, video, rows_F), []
        rows_F, edges, taken = begun[video]
        start, end = heard.start, min(heard.end, heard.start + LONG, float(edges[-1]))
        if end <= start:
            end = float(edges[1 + np.searchsorted(edges[1:-1], start, side="right")])
        at = bisect(taken, (start, end))
        if (at > 0 and taken[at - 1][1] > start) or (at < len(taken) and taken[at][0] < end):
            continue
        taken.insert(at, (start, end))
        low = int(np.searchsorted(edges[1:-1], start, side="right"))
        # of frames at one time, the last may end at once
        high = max(low + 1, int(np.searchsorted(edges[:-1], end)))
        peak = float(loaded.segments.times_N[rows_F[low + np.argmax(scores_N[rows_F[low:high]])]])
        yield Place(video, start, end, score, peak, s, rows_F[low:high], heard=heard)


def _uncut(loaded: Loaded, video: int, scores_N: np.ndarray) -> _Cut:
    own_S, rows_F = loaded.segments_V[video], rows_of(loaded, video)
    count_S = loaded.segments.count_S[own_S]
    low_of = dict(zip(own_S.tolist(), (np.cumsum(count_S) - count_S).tolist(), strict=True))
    scores_F = scores_N[rows_F]
    return _Cut(rows_F, edges_of(loaded, video, rows_F), scores_F, np.zeros(len(scores_F), bool), low_of)


def one_a_video(places: Iterable[Place]) -> Iterator[Place]:
    """The first place of every video."""
    seen: set[int] = set()
    for place in places:
        if place.video not in seen:
            seen.add(place.video)
            yield place


def pair_in(
    loaded: Loaded,
    video: int,
    judged: tuple[np.ndarray, np.ndarray],
    seen: tuple[np.ndarray, np.ndarray],
    alike: tuple[float, float],
) -> Place | None:
    """The best ordered pair of moments of a video, each cut to where its frames match; None for a video without one.

    judged: for each moment the scores [F] of the video's frames by which the pair is chosen; seen: those by which the
    two spans are cut. They never overlap: the first ends before the second one's best frame, and is kept whole.
    """
    rows_F = rows_of(loaded, video)
    pair = best_pair(*judged)
    if pair is None:
        return None
    first, second, score = pair
    edges, times_F = edges_of(loaded, video, rows_F), loaded.segments.times_N[rows_F]
    low, high = grow(seen[0], first, alike=alike[0])
    high = min(high, second - 1)
    later_low, later_high = grow(seen[1], second, alike=alike[1])
    later_low = max(later_low, high + 1)
    stored = loaded.segments
    own_S = loaded.segments_V[video]
    ends_S = np.cumsum(stored.count_S[own_S])
    at = own_S[np.searchsorted(ends_S, [first, second], side="right")]
    return Place(
        video,
        float(edges[low]),
        float(edges[high + 1]),
        score,
        float(times_F[first]),
        int(at[0]),
        np.concatenate([rows_F[low : high + 1], rows_F[later_low : later_high + 1]]),
        (float(edges[later_low]), float(edges[later_high + 1]), float(times_F[second])),
        int(at[1]),
    )
