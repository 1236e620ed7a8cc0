"""A query of any kind in, answers out: candidates, the method's own score, spans, duplicates, variety.

A plain sentence is answered here as `reelseek.index.search.Searcher.search` answers it, with the same scores.
Not here: what a query is (`query`), how parts become scores (`evidence`), which files may answer (`filters`).

Shapes: N frames of the whole index, S segments, P picked segments, F frames of a video, A parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from heapq import merge
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch

from reelseek.errors import ConfigError
from reelseek.index.alike import diverse, grouped
from reelseek.index.evidence import Evidence, asked_parts, combined
from reelseek.index.filters import Filters
from reelseek.index.loaded import Loaded, candidates, narrowed, rows_of
from reelseek.index.places import Place, best_segments, lines_of, moments_of, one_a_video, pair_in
from reelseek.index.query import Query
from reelseek.index.search import COARSE, Searcher, best_first, hit_of
from reelseek.index.spoken import FUSION, Heard, Ranked, Spoken, fused
from reelseek.records import Hit

POOL = 10
"""Diverse answers are chosen from so many times as many places."""

Moments = Literal["", "one", "all"]
"""What an answer spans: a stored segment, the best moment of a video, or any number of moments a video."""


@dataclass(frozen=True)
class PartScore:
    """How strongly the segment of an answer shows one part of the query, on the answer's scale."""

    role: str
    what: str
    score: float


@dataclass(frozen=True)
class Answer:
    """One place that answers, and all that is known of it.

    start, end, peak: seconds; peak is the best frame's time. probability: of a match, where it is known (see `Hit`):
    for a sentence alone. scale: "cosine", or "deviations" from the library's average for a query of several parts (see
    `reelseek.index.evidence`), or "ranks" where subtitles were searched too (see `reelseek.index.spoken`). heard: what
    is said there, where it was found by that. then: the later moment (start, end, peak) of an ordered query. alike:
    places that show the same footage and were left out for it. duration: of the file, in seconds. changed: its time of
    change, Unix time. metadata: its row of the table that filtered.
    """

    path: str
    start: float
    end: float
    score: float
    peak: float
    probability: float | None
    scale: str
    parts: tuple[PartScore, ...]
    then: tuple[float, float, float] | None
    alike: tuple[Hit, ...]
    duration: float
    changed: float
    metadata: Mapping[str, str]
    heard: Heard | None = None

    def plain(self) -> dict[str, Any]:
        """All of it as values of JSON; numbers to six decimals, the time of change as ISO 8601, local with its offset.

        Its day is the one that `reelseek.index.filters.parse_time` means.
        """
        known = {
            **{name: getattr(self, name) for name in ("path", "start", "end", "score", "peak", "probability", "scale")},
            "parts": [vars(part) for part in self.parts],
            "then": None if self.then is None else dict(zip(("start", "end", "peak"), self.then, strict=True)),
            "alike": [hit._asdict() for hit in self.alike],
            "duration": self.duration,
            "changed": datetime.fromtimestamp(self.changed, UTC).astimezone().isoformat(timespec="seconds"),
            "metadata": dict(self.metadata),
            "heard": None if self.heard is None else self.heard._asdict(),
        }
        return {name: _rounded(value) for name, value in known.items()}


def ask(
    searcher: Searcher,
    query: Query,
    k: int = 10,
    *,
    filters: Filters | None = None,
    moments: Moments = "",
    collapse: bool = True,
    variety: float = 0.0,
    spoken: Spoken | None = None,
    coarse: int = COARSE,
) -> list[Answer]:
    """The `k` best places for a query among the files that pass, best first; [] where none is left.

    moments: see `Moments`; an ordered query answers with one pair of moments a video and takes none. collapse: places
    that show the same footage are one answer (see `reelseek.index.alike`). variety: from 0, in order of score, to 1,
    as different from one another as can be. spoken: subtitles in which the text is looked up too. coarse: segments that
    the method scores itself, as in `Searcher.search`.
    Raises ConfigError for settings that do not fit together and as `Filters.passing`, VideoError for a picture.
    """
    if k < 1 or coarse < 1:
        raise ConfigError(f"k and coarse must be at least 1, not {k} and {coarse}.")
    if not 0 <= variety <= 1:
        raise ConfigError(f"variety {variety:g}: it goes from 0, the best first, to 1, as different as can be.")
    if query.then and moments:
        raise ConfigError("a query with `then` answers with one pair of moments a video; leave moments out.")
    if spoken is not None and (query.then or not query.text.strip()):
        raise ConfigError("subtitles are searched for the words of a text, and without `then`.")
    loaded = searcher.loaded
    if filters is not None and loaded.files:
        loaded = narrowed(loaded, filters.passing(loaded.files))
    videos = np.count_nonzero(np.bincount(loaded.video_S[loaded.passing_S]))
    if not videos:
        return []
    with torch.inference_mode():
        evidence = Evidence(searcher, loaded, asked_parts(searcher, loaded, query))
        said = None if spoken is None else spoken.rank(loaded, query.text)
        find = _ordered if query.then else partial(_unordered, said=said)
        want = most = POOL * k if variety else k
        while True:
            places = find(evidence, want, coarse, moments)
            groups = grouped(places, loaded, most) if collapse else [(place, []) for place in islice(places, most)]
            if len(groups) >= k or want >= videos:
                break
            want *= 4
        if variety:
            groups = [groups[number] for number in diverse([place for place, _ in groups], loaded, k, variety)]
        return _answers(evidence, groups, filters, said)


def _unordered(
    evidence: Evidence, want: int, coarse: int, moments: Moments, said: Ranked | None = None
) -> Iterable[Place]:
    loaded = evidence.loaded
    picks_P = candidates(loaded, evidence.coarse(), want, coarse)
    if said is not None:
        picks_P = np.union1d(picks_P, np.array(said.segments, np.int64))
    score_P = evidence.judge(picks_P).score_P
    kept_P = np.isfinite(score_P)
    ranked = best_first(loaded, picks_P[kept_P], score_P[kept_P])
    frames_N = evidence.frames()
    seen = moments_of(loaded, ranked, frames_N, alike=evidence.alike())
    if said is not None:
        places = _spoken(loaded, ranked, seen, said, frames_N, moments)
    else:
        places = seen if moments else best_segments(loaded, ranked, frames_N)
    return one_a_video(places) if moments == "one" else places


def _spoken(
    loaded: Loaded,
    ranked: Sequence[tuple[int, float]],
    seen: Iterable[Place],
    said: Ranked,
    frames_N: np.ndarray,
    moments: Moments,
) -> Iterable[Place]:
    """Places by the ranks of segments by what they show and by what is said in them; in moments, the lines themselves.

    ranked: segments by what they show; seen: the moments cut from them, which have their own ranks: a line says where
    it is better than the frames around it do.
    """
    shown = {s: rank for rank, (s, _) in enumerate(ranked, 1)}
    words = {s: rank for rank, s in enumerate(said.segments, 1) if s in shown}

    def heard(s: int) -> list[Heard]:
        return [Heard(str(file), *cue, rank=words[s], pictures=shown[s]) for file, cue in said.lines(s)]

    both = fused([list(shown), list(words)])
    if not moments:
        places = best_segments(loaded, both, frames_N)
        return (p._replace(heard=heard(p.segment)[0]) if p.segment in words else p for p in places)
    lines = ((s, score, line) for s, score in both if s in words for line in heard(s))
    by_picture = (place._replace(score=1 / (FUSION + rank)) for rank, place in enumerate(seen, 1))
    return merge(lines_of(loaded, lines, frames_N), by_picture, key=lambda place: -place.score)


def _ordered(evidence: Evidence, want: int, coarse: int, moments: Moments) -> Iterable[Place]:
    """Pairs of moments, one a video. Videos are found by their frames; then every frame counts half by its own cosines
    and half by what the method says of its segment, so that two moments of one segment have an order too.
    """
    loaded = evidence.loaded
    seen = evidence.frames(), evidence.frames(later=True)
    alike = evidence.alike(), evidence.alike(later=True)

    def pairs(videos: Iterable[int], judge: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]) -> list[Place]:
        found = []
        for video in videos:
            rows_F = rows_of(loaded, video)
            place = pair_in(loaded, video, judge(rows_F), (seen[0][rows_F], seen[1][rows_F]), alike)
            if place is not None:
                found.append(place)
        return sorted(found, key=lambda place: (-place.score, loaded.order_S[place.segment]))

    passing = np.unique(loaded.video_S[loaded.passing_S]).tolist()
    chosen: list[int] = []
    segments = 0
    for place in pairs(passing, lambda rows_F: (seen[0][rows_F], seen[1][rows_F])):
        if len(chosen) >= want and segments >= coarse:
            break
        chosen.append(place.video)
        segments += len(loaded.segments_V[place.video])
    if not chosen:
        return []
    parts_AN = _judged_frames(evidence, np.sort(np.concatenate([loaded.segments_V[video] for video in chosen])))
    judged = [combined(evidence.roles, parts_AN, strict=True, later=later) for later in (False, True)]
    return pairs(chosen, lambda rows_F: (judged[0][rows_F], judged[1][rows_F]))


def _judged_frames(evidence: Evidence, picks_P: np.ndarray) -> np.ndarray:
    """Scores [A, N] by part of the frames of picked segments, half the segment's and half their own; 0 elsewhere."""
    stored = evidence.loaded.segments
    parts_AP = evidence.judge(picks_P).parts_AP
    parts_AN = np.zeros_like(evidence.frames_AN)
    for number, s in enumerate(picks_P.tolist()):
        rows = slice(stored.first_S[s], stored.first_S[s] + stored.count_S[s])
        parts_AN[:, rows] = (evidence.frames_AN[:, rows] + parts_AP[:, number, None]) / 2
    return parts_AN


def _answers(
    evidence: Evidence, groups: list[tuple[Place, list[Place]]], filters: Filters | None, said: Ranked | None
) -> list[Answer]:
    loaded = evidence.loaded
    if not groups:
        return []
    here_AP, later_AP = (
        evidence.judge(np.array(segments)).parts_AP
        for segments in (
            [place.segment for place, _ in groups],
            [place.segment if place.then is None else place.later_segment for place, _ in groups],
        )
    )
    # Each part where the query looks for it; what is unwanted is so in both moments.
    shown_AP = np.array(
        [
            np.maximum(here, later) if role == "without" else later if role == "then" else here
            for role, here, later in zip(evidence.roles, here_AP, later_AP, strict=True)
        ]
    )
    table = {} if filters is None or filters.metadata is None else filters.metadata.of_files(loaded.files).rows
    answers = []
    places = [place for place, _ in groups]
    chances = _chances(evidence, places) if said is None else [None] * len(places)
    scale = "ranks" if said is not None else "cosine" if evidence.single else "deviations"
    for number, (place, others) in enumerate(groups):
        file = loaded.files[loaded.paths_V[place.video]]
        parts = tuple(
            PartScore(row.part.role, row.part.what, place.score if evidence.single and said is None else float(score))
            for row, score in zip(evidence.asked, shown_AP[:, number], strict=True)
        )
        answers.append(
            Answer(
                *hit_of(loaded, place)._replace(probability=chances[number]),
                scale=scale,
                parts=parts,
                then=place.then,
                alike=tuple(hit_of(loaded, other) for other in others),
                duration=file.duration,
                changed=file.mtime_ns / 1e9,
                metadata=table.get(file.path, {}),
                heard=place.heard,
            )
        )
    return answers


def _chances(evidence: Evidence, places: list[Place]) -> list[float | None]:
    """How probable each place is as a match: known for a sentence alone."""
    searcher = evidence.searcher
    if not evidence.single or evidence.asked[0].texts is None:
        return [None] * len(places)
    # Filters may give a content another path than the one under which it is known there.
    whole = searcher.loaded
    if whole.segments is not evidence.loaded.segments:
        return [None] * len(places)
    hits = searcher.judge(whole, [hit_of(whole, place) for place in places])
    return [hit.probability for hit in hits]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    return [_rounded(entry) for entry in value] if isinstance(value, list) else value
