"""Why hits were found: frames, words and the method's own parts, recomputed from the index for the hits alone.

Frames are exact: the method takes its score apart (`reelseek.score.parts`). Words are measured: each is left out of the
query in turn and the hit is scored again, which any method allows. Token vectors are not compared with frames: only
those that a model was trained to compare would mean something, and of a tower's usual outputs that is the sentence's.
Not here: the search (`reelseek.index.search`), and the values (`reelseek.index.explanation`).

Shapes: T texts (0 the query, or one without some words), V hits, F frames of a segment, N frames of a video, D width.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from reelseek.index.explanation import Explanation, FrameShare, IncrementShare, StreamShare, WordShare
from reelseek.index.loaded import SAME_TIME, Loaded, Located, located
from reelseek.index.scan import scan
from reelseek.index.search import Searcher
from reelseek.records import Hit, Texts, Videos
from reelseek.score.parts import IncrementParts, Parts

MOST_PIECES = 12
"""Times that words are left out: a longer query is cut into so many runs of words."""
MOST_WORDS = 400
"""Words in all the shorter queries together: a very long query is cut into fewer runs, at least two."""
COMPARED = 64
"""Segments of the index that a word's drop is compared with."""
HITS_AT_ONCE = 32
"""Hits explained at a time: bounds memory, at some vectors a pair of piece and hit."""


class Piece(NamedTuple):
    """Words in a row: their characters in the query, and the query without them."""

    start: int
    end: int
    without: str


class _Explains(Protocol):
    """What a method may have besides `records.Method`; `reelseek.methods.method.Method` does."""

    def explain(self, texts: Texts, videos: Videos) -> Parts | None: ...

    def kept_words(self, caption: str) -> Mapping[str, Sequence[tuple[int, int]]]: ...


ROUNDING = 1e-6
"""Cosines of one frame in two scans may lie so far apart."""

_Key = tuple[str, float, tuple[float, float]]
"""A hit: its path, the time of its best frame and its span, in seconds."""


class _Scored(NamedTuple):
    """What the method makes of one set of texts: scores, and the scores taken apart if it can."""

    matrix_TV: Tensor
    parts: Parts | None


class _Without(NamedTuple):
    """The query without each of its pieces, at the hits, and the mean drop [T] over segments of the whole index."""

    pieces: list[Piece]
    scored: _Scored
    usual_T: Tensor


def explain(searcher: Searcher, query: str, hits: Sequence[tuple[str, float]] | Sequence[Hit]) -> list[Explanation]:
    """Why each hit of `searcher.search(query)` has its score.

    hits: hits, or pairs of a path and the time of a hit's best frame in seconds, whose spans are not known. A pass of
    the text tower over the query and at most `MOST_PIECES` shorter ones, and scores of the hits alone.
    Raises ValueError for an empty query, IndexError_ for a hit that is not in the index (any more).
    """
    if not query.strip():
        raise ValueError("The query is empty: say what was looked for.")
    keys = [
        (hit.path, hit.peak, (hit.start, hit.end)) if isinstance(hit, Hit) else (*hit, (0.0, np.inf)) for hit in hits
    ]
    loaded = searcher.loaded
    longest = int(loaded.segments.count_S.max(initial=0))
    with torch.inference_mode():
        pieces = pieces_of(query)
        texts = searcher.encode([query])
        shorter = searcher.encode([piece.without for piece in pieces]) if pieces else texts
        usual_T = _usual_drops(searcher, loaded, texts, shorter) if keys else torch.empty(0)
        words = _kept_words(searcher, query)
        found = []
        for low in range(0, len(keys), HITS_AT_ONCE):
            some = keys[low : low + HITS_AT_ONCE]
            places = [located(loaded, path, peak) for path, peak, _ in some]
            videos = _videos(places, longest, texts.pooled_TD.device)
            whole = _score(searcher, texts, videos)
            without = _Without(pieces, _score(searcher, shorter, videos), usual_T) if pieces else None
            for v, key in enumerate(some):
                found.append(_explanation(query, key, places[v], texts, words, whole, without, v))
    return found


def pieces_of(query: str) -> list[Piece]:
    """The query's words, each with the query left without it; runs of words where there are more than `MOST_PIECES`.

    Words stand between spaces and have a letter or a digit. None for a query of one word: nothing would be left.
    """
    spans = [match.span() for match in re.finditer(r"\S+", query) if any(letter.isalnum() for letter in match[0])]
    if len(spans) < 2:
        return []
    most = max(2, min(MOST_PIECES, MOST_WORDS // len(spans), len(spans)))
    runs = np.array_split(np.array(spans), most)
    bounds = [(int(run[0, 0]), int(run[-1, 1])) for run in runs]
    return [Piece(start, end, " ".join((query[:start] + query[end:]).split())) for start, end in bounds]


def _kept_words(searcher: Searcher, query: str) -> dict[str, tuple[str, ...]]:
    """The words of every further sentence; none where it is the whole query."""
    if not hasattr(searcher.method, "kept_words"):
        return {}
    query = query.encode("utf-8", "replace").decode()
    kept = cast(_Explains, searcher.method).kept_words(query)
    return {
        stream: () if list(spans) == [(0, len(query))] else tuple(query[start:end] for start, end in spans)
        for stream, spans in kept.items()
    }


def _videos(places: Sequence[Located], longest: int, device: torch.device) -> Videos:
    frames_VFD = torch.zeros(len(places), longest, places[0].frames_ND.shape[1])
    mask_VF = torch.zeros(len(places), longest, dtype=torch.bool)
    for v, place in enumerate(places):
        frames_VFD[v, : place.after - place.first] = place.frames_ND[place.first : place.after].float()
        mask_VF[v, : place.after - place.first] = True
    return Videos(frames_VFD.to(device), mask_VF.to(device))


def _score(searcher: Searcher, texts: Texts, videos: Videos) -> _Scored:
    parts = None
    if hasattr(searcher.method, "explain"):
        parts = cast(_Explains, searcher.method).explain(texts, videos)
    matrix_TV = searcher.method.score(texts, videos).matrix_TV if parts is None else parts.matrix_TV
    return _Scored(matrix_TV, parts)


def _explanation(
    query: str,
    key: _Key,
    place: Located,
    texts: Texts,
    kept: Mapping[str, tuple[str, ...]],
    whole: _Scored,
    without: _Without | None,
    v: int,
) -> Explanation:
    path, peak, span = key
    count = place.after - place.first
    cosines_N = _cosines(place.frames_ND, texts.pooled_TD)
    parts, score = whole.parts, float(whole.matrix_TV[0, v])
    weights_F: Sequence[float | None] = [None] * count
    contributions_F: Sequence[float | None] = [None] * count
    if parts is not None:
        weights_F = parts.weights_TVF[0, v, :count].tolist()
        contributions_F = parts.contributions_TVF[0, v, :count].tolist()
    own = slice(place.first, place.after)
    times_F, cosines_F = place.times_N[own], cosines_N[own]
    at_peak = int(np.abs(times_F - peak).argmin())
    # of all cosines in the segment, as `reelseek.index.places.moments_of` ranks a moment
    moment = float(cosines_F[at_peak] - cosines_F.max())
    if moment > -ROUNDING:
        moment = 0.0
    inside_F = _inside(times_F, span, place.duration)
    inside_F[at_peak] = True  # a line that is said may lie between two frames
    rows = zip(times_F.tolist(), cosines_F.tolist(), weights_F, contributions_F, inside_F.tolist(), strict=True)
    return Explanation(
        query=query,
        path=path,
        start=place.start,
        end=place.end,
        duration=place.duration,
        score=score + moment,
        exact=parts is not None,
        rest=0.0 if parts is None else float(parts.rest_TV[0, v]),
        frames=tuple(FrameShare(*row) for row in rows),
        words=() if without is None else _words(query, whole, without, v, count),
        streams=() if parts is None else _streams(parts, kept, score, v, count),
        increment=None if parts is None else _increment(parts.increment, v),
        curve=tuple(zip(place.times_N.tolist(), cosines_N.tolist(), strict=True)),
        moment=moment,
    )


def _inside(times_F: np.ndarray, span: tuple[float, float], duration: float) -> np.ndarray:
    """Which frames a span holds, as bool [F]; its times may be rounded. It ends before the frame that begins there."""
    start, end = span
    inside_F: np.ndarray = times_F > start - SAME_TIME
    return inside_F if end >= duration else inside_F & (times_F < end - SAME_TIME)


def _cosines(frames_ND: Tensor, query_1D: Tensor) -> np.ndarray:
    """Cosine [N] of the query with frames, as the search's scan has it."""
    inverse_norms_N = frames_ND.float().norm(dim=1).reciprocal()
    cosines_N: np.ndarray = scan([frames_ND], inverse_norms_N, query_1D)[0]
    return cosines_N


def _usual_drops(searcher: Searcher, loaded: Loaded, texts: Texts, shorter: Texts) -> Tensor:
    """How much the score falls without each piece [T], in the mean over segments of the whole index.

    Leaving out a word moves the scores of all videos, often by more than it moves one video among them.
    """
    videos = searcher.sample(loaded, COMPARED)
    before_1, after_T = (searcher.method.score(some, videos).matrix_TV.mean(dim=1) for some in (texts, shorter))
    return before_1 - after_T


def _words(query: str, whole: _Scored, without: _Without, v: int, count: int) -> tuple[WordShare, ...]:
    pieces, scored, usual_T = without
    drops_T = whole.matrix_TV[0, v] - scored.matrix_TV[:, v]
    by_frame_TF: Sequence[Sequence[float]] = [()] * len(pieces)
    if whole.parts is not None and scored.parts is not None:
        before_F, after_TF = whole.parts.contributions_TVF[0, v], scored.parts.contributions_TVF[:, v]
        usual_TF = usual_T[:, None] * whole.parts.weights_TVF[0, v]
        by_frame_TF = (before_F - after_TF - usual_TF)[:, :count].tolist()
    numbers = zip(drops_T.tolist(), (drops_T - usual_T).tolist(), by_frame_TF, strict=True)
    return tuple(
        WordShare(query[piece.start : piece.end], piece.start, piece.end, drop, weight, tuple(by_frame))
        for piece, (drop, weight, by_frame) in zip(pieces, numbers, strict=True)
    )


def _streams(
    parts: Parts, kept: Mapping[str, tuple[str, ...]], score: float, v: int, count: int
) -> tuple[StreamShare, ...]:
    found = []
    for name, stream in (parts.streams or {}).items():
        own = float(stream.matrix_TV[0, v])
        experts = (parts.experts or {}).get(name, {})
        found.append(
            StreamShare(
                name=name,
                score=own,
                share=own / len(parts.counted) / score if name in parts.counted and score else 0.0,
                words=kept.get(name, ()),
                experts={expert: float(share_V[v]) for expert, share_V in experts.items()},
                contributions=tuple(stream.contributions_TVF[0, v, :count].tolist()),
                increment=_increment(stream.increment, v),
            )
        )
    return tuple(found)


def _increment(parts: IncrementParts | None, v: int) -> IncrementShare | None:
    if parts is None:
        return None
    side, *numbers = parts
    return IncrementShare(side, *(float(number_TV[0, v]) for number_TV in numbers))
