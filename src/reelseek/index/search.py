"""A sentence in, places in videos out: a coarse scan over every frame in memory, then the method's own score.

Coarse: cosine of the query with every stored frame, exact; a segment counts as its best frame.
Exact: `method.score` on the best segments' stored frames. A video scores its best segment.
Not here: what is stored (`reelseek.index.store`) and held in memory (`reelseek.index.loaded`), the scan
(`reelseek.index.scan`), where hits begin and end (`reelseek.index.places`), and queries of more than a sentence
(`reelseek.index.ask`).

Shapes: T texts, N frames of the whole index, S segments, P picked segments, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import islice

import numpy as np
import torch

from reelseek.index import cards, store
from reelseek.index.calibration import Calibration, calibration_of
from reelseek.index.cards import IndexCard
from reelseek.index.loaded import Loaded, candidates, gather, load
from reelseek.index.places import Place, best_segments, moments_of
from reelseek.index.scan import scan
from reelseek.index.segments import blank_video
from reelseek.records import Hit, Method, Texts, Videos
from reelseek.threads import one_thread, side_by_side

COARSE = 1024
"""Segments that the method scores itself: of 100,000 they hold nine in ten of GARE's own ten best (`two_stages.py`)."""
EXACT_SEGMENTS = 128
"""Segments that one thread scores exactly at a time, four times as many where there are thousands: bounds memory."""
QUERY_BLOCK = 16
"""Queries scanned at a time: bounds memory at 64 bytes a stored frame."""


class Searcher:
    """Searches one index with the method that made it. May be shared by threads, `reload` included.

    Memory: 2 D bytes a frame, mapped from disk and shared by processes where the index is large (see
    `reelseek.index.frames`), and 16 more of its own.
    Raises IndexMismatch for another method, IndexError_ for a damaged index.
    """

    def __init__(self, index: IndexCard, method: Method) -> None:
        cards.check_model(index, method.id, method.name)
        self.index = index
        self.method = method
        with torch.inference_mode():
            self._blank = blank_video(method)
        self._loaded = load(index)
        self._calibration: Calibration | None = None

    @property
    def loaded(self) -> Loaded:
        """What is searched now; a reload replaces it as a whole, so hold on to one."""
        return self._loaded

    @property
    def segment_count(self) -> int:
        """Segments that are searched."""
        return len(self._loaded.order_S)

    def reload(self) -> bool:
        """Load the index again if it has changed on disk; returns whether it had. Raises as the constructor does."""
        if store.versions(self.index) == self._loaded.version:
            return False
        index = cards.open_index(self.index.directory)
        cards.check_model(index, self.method.id, self.method.name)
        self.index, self._loaded = index, load(index)
        if self._calibration is not None:
            self.calibrate()
        return True

    def calibrate(self) -> Searcher:
        """Give every hit of a sentence its probability from now on, after `reload` too; returns itself.

        What that needs is read from the index, or made and kept there (`reelseek.index.calibration`): some seconds the
        first time after the index has changed.
        """
        loaded = self._loaded
        encoded: list[Texts] = []

        def score(queries: Sequence[str], picks_P: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                if not encoded:
                    encoded.append(self.encode(queries))
                return self.score_many(loaded, encoded[0], picks_P)

        self._calibration = calibration_of(self.index, loaded.segments, loaded.paths_V, loaded.video_S, score)
        return self

    def judge(self, loaded: Loaded, hits: list[Hit]) -> list[Hit]:
        """The hits of one sentence with their probabilities, under the paths of `loaded`; as they are without them."""
        calibration = self._calibration
        # Another thread may have loaded the index again meanwhile.
        if calibration is None or calibration.segments is not loaded.segments:
            return hits
        return calibration.judge(hits)

    def search(self, query: str, k: int = 10, *, coarse: int = COARSE, moments: bool = False) -> list[Hit]:
        """The `k` best places for a query in any language the text tower knows, best first; [] from an empty index.

        coarse: segments that the exact score sees, the best k videos' own best always among them; from the number of
        segments on, search is exhaustive. moments: several spans a video, each cut to where its frames match, instead
        of one hit a video with its best segment. Equal scores come in order of path, then start; content that lies
        under several paths is one hit, under the first of them.
        Raises ValueError for an empty query, or k or coarse below 1.
        """
        return self.search_many([query], k, coarse=coarse, moments=moments)[0]

    def search_many(
        self, queries: Sequence[str], k: int = 10, *, coarse: int = COARSE, moments: bool = False
    ) -> list[list[Hit]]:
        """`search` for several queries; the scan reads memory once for up to 16 of them."""
        if k < 1 or coarse < 1:
            raise ValueError(f"k and coarse must be at least 1, not {k} and {coarse}")
        if not all(query.strip() for query in queries):
            raise ValueError("The query is empty: say what to look for.")
        loaded = self._loaded
        if not loaded.paths_V:
            return [[] for _ in queries]
        hits: list[list[Hit]] = []
        for low in range(0, len(queries), QUERY_BLOCK):
            with torch.inference_mode():
                block = [self.encode([query]) for query in queries[low : low + QUERY_BLOCK]]
                queries_TD = torch.cat([texts.pooled_TD for texts in block])
                scores_TN = scan(loaded.frames_ND.pieces, loaded.inverse_norms_N, queries_TD)
                for texts, scores_N in zip(block, scores_TN, strict=True):
                    hits.append(self._rank(loaded, texts, scores_N, k, coarse, moments))
        return hits

    def encode(self, queries: Sequence[str]) -> Texts:
        """Sentences as the method projects them. None is empty."""
        return self.method.project(self.method.encode_texts(queries), self._blank)[0]

    def score(self, loaded: Loaded, texts: Texts, picks_P: np.ndarray) -> np.ndarray:
        """The method's own score [P] of one text with segments, in blocks side by side."""
        # Threads that share the steps of so little work wait for each other; beside an update, a second and more.
        with one_thread() if len(picks_P) <= EXACT_SEGMENTS else nullcontext():
            return np.asarray(self.score_many(loaded, texts, picks_P)[0])

    def score_many(self, loaded: Loaded, texts: Texts, picks_P: np.ndarray) -> np.ndarray:
        """The method's own scores [T, P] of texts with segments, in blocks side by side."""

        # Larger blocks are faster for heads with many steps, and take memory that a usual search should not.
        size = EXACT_SEGMENTS if len(picks_P) <= 16 * EXACT_SEGMENTS else 4 * EXACT_SEGMENTS

        def block(low: int) -> np.ndarray:
            videos = gather(loaded, picks_P[low : low + size], texts.pooled_TD.device)
            return np.asarray(self.method.score(texts, videos).matrix_TV.float().cpu().numpy())

        return np.concatenate(side_by_side(block, range(0, len(picks_P), size)), axis=1)

    def sample(self, loaded: Loaded, count: int) -> Videos:
        """At most `count` segments, evenly spaced over the index in order of path and time."""
        order_S = np.argsort(loaded.order_S)
        picks_P = order_S[np.unique(np.linspace(0, len(order_S) - 1, min(count, len(order_S))).astype(np.int64))]
        return gather(loaded, picks_P, self._blank.frames_VFD.device)

    def _rank(
        self, loaded: Loaded, texts: Texts, scores_N: np.ndarray, k: int, coarse: int, moments: bool
    ) -> list[Hit]:
        coarse_S = np.maximum.reduceat(scores_N, loaded.segments.first_S)
        picks_P = candidates(loaded, coarse_S, k, coarse)
        ranked = best_first(loaded, picks_P, self.score(loaded, texts, picks_P))
        places = moments_of(loaded, ranked, scores_N) if moments else best_segments(loaded, ranked, scores_N)
        return self.judge(loaded, [hit_of(loaded, place) for place in islice(places, k)])


def best_first(loaded: Loaded, picks_P: np.ndarray, scores_P: np.ndarray) -> list[tuple[int, float]]:
    """Segments and their scores, best first; equal ones in order of path, then time."""
    order_P = np.lexsort((loaded.order_S[picks_P], -scores_P))
    return [(int(picks_P[p]), float(scores_P[p])) for p in order_P]


def hit_of(loaded: Loaded, place: Place) -> Hit:
    """A place as a search tells it."""
    return Hit(loaded.paths_V[place.video], place.start, place.end, place.score, place.peak)
