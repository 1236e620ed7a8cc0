"""Words that are said: a query's words looked up in the subtitles, and brought together with what the pictures show.

The words of all cues that overlap a segment are one document, ranked by BM25 (Robertson and Zaragoza, "The
Probabilistic Relevance Framework: BM25 and Beyond", 2009; k1 1.2, b 0.75, and the logarithm of one plus the odds as
weight of a word, which is never negative). A segment counts only if the words found in it carry half of the query's
weight: "a" and "the" are said everywhere and are no evidence. Words are compared as they are written, with their
endings.
The two rankings of segments are merged by reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009; k 60):
neither needs a scale, and a segment that both know comes before one that only one of them knows.
Not here: reading subtitles (`reelseek.index.subtitles`).

Shapes: S segments, D documents.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reelseek.index.loaded import Loaded
from reelseek.index.subtitles import Cue, Sidecar

K1, B = 1.2, 0.75
FUSION = 60
LEAST = 0.5
"""The share of the query's weight that a segment's words must carry."""

_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0eff]+")


class Heard(NamedTuple):
    """The cue for which an answer was found: its file, its time in seconds, its words, and the segment's rank by words.

    pictures: the segment's rank by what it shows among those that the method scored.
    """

    file: str
    start: float
    end: float
    text: str
    rank: int
    pictures: int


def words_of(text: str) -> list[str]:
    """The words of a text, without regard to case; of scripts without spaces all pairs of neighbouring letters."""
    found: list[str] = []
    for word in re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text.casefold()):
        rest = word.replace("’", "'")
        if _UNSPACED.fullmatch(rest):
            found += [rest[n : n + 2] for n in range(max(1, len(rest) - 1))]
        else:
            found.append(rest)
    return found


class Documents:
    """Documents ready for BM25: where each word occurs. Made once, asked often.

    documents: the words of each and how often they occur.
    """

    def __init__(self, documents: Iterable[Mapping[str, int]]) -> None:
        lengths: list[int] = []
        places: dict[str, tuple[list[int], list[int]]] = {}
        for number, document in enumerate(documents):
            lengths.append(sum(document.values()))
            for word, count in document.items():
                holding, counts = places.setdefault(word, ([], []))
                holding.append(number)
                counts.append(count)
        self.length_D = np.array(lengths, float)
        self._places = {word: (np.array(holding), np.array(counts)) for word, (holding, counts) in places.items()}

    def scores(self, query: str, passing_D: np.ndarray | None = None) -> np.ndarray:
        """Scores [D] by BM25 among the documents that pass (bool; None: all); 0 where one holds too little of it."""
        passing_D = np.ones(len(self.length_D), bool) if passing_D is None else passing_D
        count = int(passing_D.sum())
        score_D, covered_D = np.zeros((2, len(self.length_D)))
        if not count:
            return score_D
        mean = self.length_D[passing_D].mean() or 1.0
        whole = 0.0
        nowhere = (np.zeros(0, int), np.zeros(0, int))
        for word in dict.fromkeys(words_of(query)):
            rows, counts = self._places.get(word, nowhere)
            kept = passing_D[rows]
            rows, counts = rows[kept], counts[kept]
            weight = math.log(1 + (count - len(rows) + 0.5) / (len(rows) + 0.5))
            whole += weight
            covered_D[rows] += weight
            norm = K1 * (1 - B + B * self.length_D[rows] / mean)
            score_D[rows] += weight * counts * (K1 + 1) / (counts + norm)
        # a share that is exactly the least must not be lost to rounding
        score_D[covered_D < LEAST * whole * (1 - 1e-9)] = 0.0
        return score_D


def fused(rankings: Sequence[Sequence[int]]) -> list[tuple[int, float]]:
    """Items and their scores by reciprocal rank fusion, best first; of equal ones that which an earlier ranking has."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            scores[item] = scores.get(item, 0.0) + 1 / (FUSION + rank)
    return sorted(scores.items(), key=lambda entry: -entry[1])


class Spoken:
    """The subtitles of a library, ready to be asked. Keep one for several queries: the first one reads all words."""

    def __init__(self, sidecars: Sequence[Sidecar]) -> None:
        self.sidecars = [sidecar for sidecar in sidecars if sidecar.cues]
        self._read: tuple[object, dict[int, list[tuple[Path, Cue]]], Documents] | None = None

    def rank(self, loaded: Loaded, query: str) -> Ranked:
        """The segments that may answer and in which the query is said, best first."""
        read = self._read
        if read is None or read[0] != loaded.version:  # filters leave it as it is
            every_S = self._by_segment(loaded)
            words = (Counter(word for _, cue in cues for word in words_of(cue.text)) for cues in every_S.values())
            self._read = read = loaded.version, every_S, Documents(words)
        _, cues_S, documents = read
        document_S = np.array(list(cues_S), np.int64)
        passes_S = np.zeros(len(loaded.order_S), bool)
        passes_S[loaded.passing_S] = True
        scores_D = documents.scores(query, passes_S[document_S])
        found = np.flatnonzero(scores_D > 0)
        order = found[np.lexsort((loaded.order_S[document_S[found]], -scores_D[found]))]
        return Ranked(query, document_S[order].tolist(), cues_S, {})

    def _by_segment(self, loaded: Loaded) -> dict[int, list[tuple[Path, Cue]]]:
        cues_S: dict[int, list[tuple[Path, Cue]]] = {}
        video_of = {key: video for video, key in enumerate(loaded.contents_V)}
        for sidecar in self.sidecars:
            file = loaded.files.get(str(sidecar.video))
            if file is None or file.content_hash not in video_of:
                continue
            own_S = loaded.segments_V[video_of[file.content_hash]].tolist()
            for s, cues in _by_segment(loaded, own_S, sidecar.cues).items():
                cues_S.setdefault(s, []).extend((sidecar.file, cue) for cue in cues)
        return cues_S


class Ranked(NamedTuple):
    """Segments in which a query is said, best first, and all cues by segment.

    pictures: the ranks of segments by what they show, from 1; filled in by whoever ranks those.
    """

    query: str
    segments: list[int]
    cues_S: Mapping[int, Sequence[tuple[Path, Cue]]]
    pictures: dict[int, int]

    def heard(self, segment: int) -> Heard | None:
        """The cue of a segment that says most of the query; None where it was not found by its words."""
        if segment not in self.segments:
            return None
        cues = self.cues_S[segment]
        wanted = set(words_of(self.query))
        rank = self.segments.index(segment) + 1
        file, cue = max(cues, key=lambda entry: len(wanted & set(words_of(entry[1].text))))
        return Heard(str(file), cue.start, cue.end, cue.text, rank, self.pictures[segment])


def _by_segment(loaded: Loaded, own_S: Sequence[int], cues: Sequence[Cue]) -> dict[int, list[Cue]]:
    """The cues that overlap each of a video's segments, which lie one after the other, as the cues do."""
    found: dict[int, list[Cue]] = {}
    start_S, end_S = loaded.segments.start_S, loaded.segments.end_S
    first = 0
    for s in own_S:
        while first < len(cues) and cues[first].end <= start_S[s]:
            first += 1
        for cue in cues[first:]:
            if cue.start >= end_S[s]:
                break
            if cue.end > start_S[s] or cue.start >= start_S[s]:
                found.setdefault(s, []).append(cue)
    return found
