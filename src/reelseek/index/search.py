"""A sentence in, places in videos out: a coarse scan over every frame in memory, then the method's own score.

Coarse: cosine of the query with every stored frame, exact, float16 in memory and float32 in the sum; a segment counts
as its best frame. Exact: `method.score` on the best segments' stored frames. A video scores its best segment.
Not here: what is stored (`reelseek.index.store`) and how spans are cut (`reelseek.index.moments`).

Shapes: T texts, N frames of the whole index, S segments, F frames of a segment, D width.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reelseek.index import store
from reelseek.index.calibration import Calibration, calibration_of
from reelseek.index.moments import spans
from reelseek.index.segments import blank_video
from reelseek.index.store import IndexCard, IndexedFile, StoredSegments
from reelseek.records import Hit, Method, Texts, Videos

SCAN_ROWS = 2048
"""Frames turned to float32 at a time: a block that stays in the processor's cache (1024 to 4096 are as fast)."""
EXACT_SEGMENTS = 512
"""Segments scored exactly at a time: bounds memory when `coarse` is large."""
QUERY_BLOCK = 16
"""Queries scanned at a time: bounds memory at 64 bytes a stored frame."""

_SCANNING = threading.Lock()


class _Loaded(NamedTuple):
    version: tuple[str, int, int]
    segments: StoredSegments
    frames_ND: Tensor
    inverse_norms_N: Tensor
    paths_V: list[str]
    video_S: np.ndarray
    order_S: np.ndarray
    segments_V: list[np.ndarray]


class Searcher:
    """Searches one index with the method that made it. May be shared by threads, `reload` included.

    Memory: 2 D + 16 bytes a frame. Raises IndexMismatch for another method, IndexError_ for a damaged index.
    """

    def __init__(self, index: IndexCard, method: Method) -> None:
        store.check_model(index, method.id, method.name)
        self.index = index
        self.method = method
        with torch.inference_mode():
            self._blank = blank_video(method)
        self._loaded = _load(index)
        self._calibration: Calibration | None = None

    @property
    def segment_count(self) -> int:
        """Segments that are searched."""
        return len(self._loaded.order_S)

    def reload(self) -> bool:
        """Load the index again if it has changed on disk; returns whether it had. Raises as the constructor does."""
        if store.versions(self.index) == self._loaded.version:
            return False
        index = store.open_index(self.index.directory)
        store.check_model(index, self.method.id, self.method.name)
        self.index, self._loaded = index, _load(index)
        if self._calibration is not None:
            self.calibrate()
        return True

    def calibrate(self) -> Searcher:
        """Give every hit its probability from now on, after `reload` too; returns itself.

        What that needs is read from the index, or made and kept there (`reelseek.index.calibration`): some seconds the
        first time after the index has changed.
        """
        loaded = self._loaded
        encoded: list[Texts] = []

        def score(queries: Sequence[str], picks_P: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                if not encoded:
                    encoded.append(self.method.project(self.method.encode_texts(queries), self._blank)[0])
                return self._score(loaded, encoded[0], picks_P)

        self._calibration = calibration_of(self.index, loaded.segments, loaded.paths_V, loaded.video_S, score)
        return self

    def search(self, query: str, k: int = 10, *, coarse: int = 256, moments: bool = False) -> list[Hit]:
        """The `k` best places for a query in any language the text tower knows, best first; [] from an empty index.

        coarse: segments that the exact score sees, the best k videos' own best always among them; from the number of
        segments on, search is exhaustive. moments: several spans a video, each cut to where its frames match, instead
        of one hit a video with its best segment. Equal scores come in order of path, then start; content that lies
        under several paths is one hit, under the first of them.
        Raises ValueError for an empty query, or k or coarse below 1.
        """
        return self.search_many([query], k, coarse=coarse, moments=moments)[0]

    def search_many(
        self, queries: Sequence[str], k: int = 10, *, coarse: int = 256, moments: bool = False
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
                block = [self._encode(query) for query in queries[low : low + QUERY_BLOCK]]
                with _one_thread():
                    scores_TN = scan(loaded.frames_ND, loaded.inverse_norms_N, torch.cat([t.pooled_TD for t in block]))
                for texts, scores_N in zip(block, scores_TN, strict=True):
                    hits.append(self._rank(loaded, texts, scores_N, k, coarse, moments))
        return hits

    def _encode(self, query: str) -> Texts:
        # A lone surrogate, from a terminal that sent bytes, is no character that a tokenizer takes.
        texts = self.method.encode_texts([query.encode("utf-8", "replace").decode()])
        return self.method.project(texts, self._blank)[0]

    def _rank(
        self, loaded: _Loaded, texts: Texts, scores_N: np.ndarray, k: int, coarse: int, moments: bool
    ) -> list[Hit]:
        coarse_S = np.maximum.reduceat(scores_N, loaded.segments.first_S)
        picks_P = _candidates(loaded, coarse_S, k, coarse)
        calibration = self._calibration
        if calibration is not None and calibration.segments is not loaded.segments:
            calibration = None  # `reload` by another thread
        anchors_A = picks_P[:0] if calibration is None else calibration.anchors_A
        scored_Q = np.union1d(picks_P, anchors_A)
        exact_Q = self._score(loaded, texts, scored_Q)[0]
        exact_P, exact_A = (exact_Q[np.searchsorted(scored_Q, part)] for part in (picks_P, anchors_A))
        best_first = np.lexsort((loaded.order_S[picks_P], -exact_P))
        ranked = [(int(picks_P[p]), float(exact_P[p])) for p in best_first]
        hits = _moments(loaded, ranked, scores_N, k) if moments else _videos(loaded, ranked, scores_N, k)
        return hits if calibration is None else calibration.judge(hits, exact_A)

    def _score(self, loaded: _Loaded, texts: Texts, picks_P: np.ndarray) -> np.ndarray:
        parts = []
        for low in range(0, len(picks_P), EXACT_SEGMENTS):
            videos = _gather(loaded, picks_P[low : low + EXACT_SEGMENTS], texts.pooled_TD.device)
            parts.append(self.method.score(texts, videos).matrix_TV.float().cpu().numpy())
        return np.concatenate(parts, axis=1)


def scan(frames_ND: Tensor, inverse_norms_N: Tensor, queries_TD: Tensor) -> np.ndarray:
    """Cosine [T, N] float32 of every query with every float16 frame, in blocks. Summed in float32."""
    queries_DT = torch.nn.functional.normalize(queries_TD.float().cpu(), dim=-1).T.contiguous()
    scores_NT = torch.empty(len(frames_ND), queries_DT.shape[1])
    block_ND = torch.empty(min(SCAN_ROWS, len(frames_ND)), frames_ND.shape[1])
    for low in range(0, len(frames_ND), SCAN_ROWS):
        half_ND = frames_ND[low : low + SCAN_ROWS]
        torch.mm(block_ND[: len(half_ND)].copy_(half_ND), queries_DT, out=scores_NT[low : low + SCAN_ROWS])
    return scores_NT.mul_(inverse_norms_N[:, None]).T.contiguous().numpy()


@contextmanager
def _one_thread() -> Iterator[None]:
    """One processor thread for many small steps, one scan at a time.

    Two threads share steps of some microseconds: little is gained on an idle machine, and on a busy one each step waits
    for the slower of them (measured there: 17 ms a scan with one thread, 150 ms with two).
    """
    with _SCANNING:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _load(index: IndexCard) -> _Loaded:
    version = store.versions(index)
    files, segments = store.load(index)
    first_path = _first_paths(files)
    contents = sorted(set(segments.content_S), key=lambda key: first_path[key])
    video_of = {key: number for number, key in enumerate(contents)}
    video_S = np.array([video_of[key] for key in segments.content_S], np.int64)
    order = np.lexsort((segments.number_S, video_S))
    order_S = np.empty_like(order)
    order_S[order] = np.arange(len(order))
    frames_ND = torch.from_numpy(segments.frames_ND)
    norms = [part.float().norm(dim=1) for part in torch.split(frames_ND, SCAN_ROWS)]
    return _Loaded(
        version=version,
        segments=segments,
        frames_ND=frames_ND,
        inverse_norms_N=torch.cat(norms).reciprocal() if norms else torch.empty(0),
        paths_V=[first_path[key] for key in contents],
        video_S=video_S,
        order_S=order_S,
        segments_V=np.split(order, np.flatnonzero(np.diff(video_S[order])) + 1),
    )


def _first_paths(files: Sequence[IndexedFile]) -> dict[str, str]:
    # Rows are sorted by path, so the first to come stays.
    paths: dict[str, str] = {}
    for row in files:
        if row.status == "ok":
            paths.setdefault(row.content_hash, str(row.path))
    return paths


def _candidates(loaded: _Loaded, coarse_S: np.ndarray, k: int, coarse: int) -> np.ndarray:
    """The `coarse` best segments, and the best of each of the k best videos, so that one long film hides nothing."""
    if coarse >= len(coarse_S):
        return np.arange(len(coarse_S))
    ranked_S = np.lexsort((loaded.order_S, -coarse_S))
    _, first_V = np.unique(loaded.video_S[ranked_S], return_index=True)
    return np.union1d(ranked_S[:coarse], ranked_S[np.sort(first_V)[:k]])


def _gather(loaded: _Loaded, picks_P: np.ndarray, device: torch.device) -> Videos:
    first_P, count_P = loaded.segments.first_S[picks_P], loaded.segments.count_S[picks_P]
    steps_F = np.arange(count_P.max())
    mask_PF = torch.from_numpy(steps_F < count_P[:, None])
    rows_PF = np.minimum(first_P[:, None] + steps_F, (first_P + count_P - 1)[:, None])
    frames_PFD = loaded.frames_ND[torch.from_numpy(rows_PF)].float()
    return Videos(frames_VFD=(frames_PFD * mask_PF[..., None]).to(device), mask_VF=mask_PF.to(device))


def _videos(loaded: _Loaded, ranked: list[tuple[int, float]], scores_N: np.ndarray, k: int) -> list[Hit]:
    hits: dict[int, Hit] = {}
    stored = loaded.segments
    for s, score in ranked:
        video = int(loaded.video_S[s])
        if video not in hits:
            first, after = stored.first_S[s], stored.first_S[s] + stored.count_S[s]
            peak = float(stored.times_N[first + np.argmax(scores_N[first:after])])
            hits[video] = Hit(loaded.paths_V[video], float(stored.start_S[s]), float(stored.end_S[s]), score, peak)
        if len(hits) == k:
            break
    return list(hits.values())


def _moments(loaded: _Loaded, ranked: list[tuple[int, float]], scores_N: np.ndarray, k: int) -> list[Hit]:
    hits: list[tuple[float, int, float, Hit]] = []
    by_video: dict[int, list[tuple[int, float]]] = {}
    for s, score in ranked:
        by_video.setdefault(int(loaded.video_S[s]), []).append((s, score))
    stored = loaded.segments
    for video, candidates in by_video.items():
        own_S = loaded.segments_V[video]
        rows_F = np.concatenate([np.arange(stored.first_S[s], stored.first_S[s] + stored.count_S[s]) for s in own_S])
        times_F = stored.times_N[rows_F]
        edges = np.concatenate([[0.0], times_F[1:], [stored.end_S[own_S[-1]]]])
        low_of = dict(
            zip(own_S.tolist(), (np.cumsum(stored.count_S[own_S]) - stored.count_S[own_S]).tolist(), strict=True)
        )
        inside = [(low_of[s], low_of[s] + int(stored.count_S[s])) for s, _ in candidates]
        for (_, score), span in zip(candidates, spans(scores_N[rows_F], inside), strict=True):
            if span is not None:
                first, last, peak = span
                start, end = float(edges[first]), float(edges[last + 1])
                hit = Hit(loaded.paths_V[video], start, end, score, float(times_F[peak]))
                hits.append((-score, video, start, hit))
    return [hit for *_, hit in sorted(hits)[:k]]
