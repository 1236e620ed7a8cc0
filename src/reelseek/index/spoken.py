"""Words that are said: a query's words looked up in the subtitles, and brought together with what the pictures show.

The words of all cues that overlap a segment are one document, ranked by BM25 (Robertson and Zaragoza, "The
Probabilistic Relevance Framework: BM25 and Beyond", 2009; k1 1.2, b 0.75, and the logarithm of one plus the odds as
weight of a word, which is never negative). A segment counts only if the words found in it carry half of the query's
weight: "a" and "the" are said everywhere and are no evidence. Words are compared as they are written, with their
endings.
The two rankings of segments are merged by reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009; k 60):
neither needs a scale, and a segment that both know comes before one that only one of them knows.
Not here: reading subtitles (`reelseek.index.subtitles`).

Shapes: S segments, D documents, C cues.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reelseek.index.loaded import Loaded
from reelseek.index.subtitles import Cue, Sidecar, load, version

K1, B = 1.2, 0.75
FUSION = 60
LONG = 60.0
"""Seconds from which a cue is no line that is said, but a note over a whole film."""
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
    # an accent of its own, as macOS writes it, would end the word
    for word in re.findall(r"[^\W_]+(?:['’][^\W_]+)*", unicodedata.normalize("NFC", text).casefold()):
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
            self._read = read = loaded.version, *self._documents(loaded)
        _, cues_S, documents = read
        document_S = np.array(list(cues_S), np.int64)
        passes_S = np.zeros(len(loaded.order_S), bool)
        passes_S[loaded.passing_S] = True
        scores_D = documents.scores(query, passes_S[document_S])
        found = np.flatnonzero(scores_D > 0)
        order = found[np.lexsort((loaded.order_S[document_S[found]], -scores_D[found]))]
        return Ranked(query, document_S[order].tolist(), cues_S)

    def _documents(self, loaded: Loaded) -> tuple[dict[int, list[tuple[Path, Cue]]], Documents]:
        """The cues of every segment in which there are some, and their words, in the same order."""
        cues_S: dict[int, list[tuple[Path, Cue]]] = {}
        words_S: dict[int, Counter[str]] = {}
        read_V: dict[int, set[Cue]] = {}
        video_of = {key: video for video, key in enumerate(loaded.contents_V)}
        for sidecar in self.sidecars:
            file = loaded.files.get(str(sidecar.video))
            if file is None or file.content_hash not in video_of:
                continue
            video = video_of[file.content_hash]
            # a backup brings its subtitles along: what stands in both was said once
            cues = [cue for cue in sidecar.cues if cue not in read_V.get(video, ())]
            read_V.setdefault(video, set()).update(cues)
            own_S = loaded.segments_V[video]
            for cue, (low, high) in zip(cues, _spans(loaded, own_S, cues), strict=True):
                words = Counter(words_of(cue.text))
                for s in own_S[low:high].tolist():
                    cues_S.setdefault(s, []).append((sidecar.file, cue))
                    words_S.setdefault(s, Counter()).update(words)
        return cues_S, Documents(words_S.values())


Said = tuple[tuple[int, int], Spoken]
"""What an index's subtitles say, with the version of them that it was read from."""


def said_now(directory: Path, known: Said | None) -> Said:
    """What an index's subtitles say now: `known` where they have not changed since."""
    now = version(directory)
    return known if known is not None and known[0] == now else (now, Spoken(load(directory)))


class Ranked(NamedTuple):
    """Segments in which a query is said, best first, and all cues by segment."""

    query: str
    segments: list[int]
    cues_S: Mapping[int, Sequence[tuple[Path, Cue]]]

    def lines(self, segment: int) -> list[tuple[Path, Cue]]:
        """The cues of a segment that say most of the query: several where they say equally much of it."""
        wanted = set(words_of(self.query))
        said = [len(wanted & set(words_of(cue.text))) for _, cue in self.cues_S[segment]]
        most = max(said)
        return [entry for entry, count in zip(self.cues_S[segment], said, strict=True) if count == most]


def _spans(loaded: Loaded, own_S: np.ndarray, cues: Sequence[Cue]) -> list[tuple[int, int]]:
    """For every cue the first of a video's segments that it overlaps, and the one after the last.

    A cue of more than `LONG` seconds counts for the first alone: filed under all, a small file would fill the memory.
    """
    start_S, end_S = loaded.segments.start_S[own_S], loaded.segments.end_S[own_S]
    begin_C, end_C = np.array([cue[:2] for cue in cues]).reshape(-1, 2).T
    low_C = np.searchsorted(end_S, begin_C, side="right")
    # a cue of no length lies in the segment that begins with it
    high_C = np.maximum(np.searchsorted(start_S, end_C), np.searchsorted(start_S, begin_C, side="right"))
    high_C = np.where(end_C - begin_C > LONG, np.minimum(high_C, low_C + 1), high_C)
    return list(zip(low_C.tolist(), high_C.tolist(), strict=True))
