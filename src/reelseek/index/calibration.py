"""What a score means in one index: fitted to background queries, kept beside the tables, never used when stale.

calibration.npz holds the fit (`reelseek.score.calibrate`) and a fingerprint of all that it follows from: the model, the
background queries, the stored contents. Another fingerprint, or a damaged file, and it is made again. It is no part of
the index: it may be deleted at any time, and where it cannot be written it is kept in memory alone.
Cost: `QUERIES` texts encoded, and a score for each of them with every segment, of fewer queries where the index is
large (`CELLS`).
Not here: the statistics (`reelseek.score.calibrate`), and the scores (`reelseek.index.search`).

Shapes: B background queries, S segments, V videos, P picked segments.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import zipfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from reelseek.index.cards import IndexCard
from reelseek.index.store import StoredSegments
from reelseek.records import Hit
from reelseek.score import calibrate
from reelseek.score.calibrate import Background

FILE = "calibration.npz"
VERSION = 2
"""Raise it with every change of what is fitted: a kept fit of another version is made again."""
QUERIES = Path(__file__).with_name("background_queries.txt")
LEAST_VIDEOS = 3
"""In smaller libraries no probability is given: it was never measured there."""
CELLS, LEAST_QUERIES = 8_000_000, 64
"""Background queries times segments that are scored, as far as at least so many queries are left."""
BLOCK = 256
"""Segments scored at a time with all background queries."""
DOUBT = 1 / 3
"""Nothing matches when every hit is less probable than this.

Of queries with an answer that was said of none to 28 % in the sets it was chosen on, of about half of the others; with
the offline model on real clips, of half of both (`benchmarks/results/calibration.json`).
"""

Score = Callable[[Sequence[str], np.ndarray], np.ndarray]
"""Scores [B, P] of queries with picked segments [P]."""


class Calibration(NamedTuple):
    """A fit, or None where none can be made, for segments as they were loaded.

    video_of: a video's number by path.
    """

    segments: StoredSegments
    background: Background | None
    video_of: dict[str, int]

    def judge(self, hits: Sequence[Hit]) -> list[Hit]:
        """The hits of one query, each with its probability; as they are without a fit."""
        if self.background is None or not hits:
            return list(hits)
        video_H = np.array([self.video_of[hit.path] for hit in hits])
        scores_H = np.array([hit.score for hit in hits], np.float64)
        excess_H = calibrate.excess(self.background, scores_H, video_H)
        pairs = zip(hits, calibrate.probability(excess_H).tolist(), strict=True)
        return [hit._replace(probability=chance) for hit, chance in pairs]


class Judged(Protocol):
    """A hit or an answer."""

    @property
    def probability(self) -> float | None:
        """Of a match; None where nothing is known of that."""
        ...


def nothing_matches(hits: Sequence[Judged]) -> bool:
    """Whether probabilities were given and every one of them is below `DOUBT`."""
    chances = [hit.probability for hit in hits if hit.probability is not None]
    return bool(chances) and len(chances) == len(hits) and max(chances) < DOUBT


@cache
def background_queries() -> tuple[str, ...]:
    """What people may look for in any library, one short query a line: things, scenes, actions, places."""
    return tuple(QUERIES.read_text(encoding="utf-8").splitlines())


def calibration_of(
    index: IndexCard, segments: StoredSegments, paths_V: Sequence[str], video_S: np.ndarray, score: Score
) -> Calibration:
    """The kept fit if it still holds, else a new one, which is kept. paths_V: the path of each video's hits."""
    first_V = [""] * len(paths_V)
    for number, key in zip(video_S.tolist(), segments.content_S, strict=True):
        first_V[number] = key
    # Numbers follow content, not path: a file that moves changes nothing.
    order_V = sorted(range(len(paths_V)), key=first_V.__getitem__)
    rank_V = np.empty(len(paths_V), np.int64)
    rank_V[order_V] = np.arange(len(paths_V))
    rank_S = rank_V[video_S]
    video_of = {path: int(rank) for path, rank in zip(paths_V, rank_V, strict=True)}
    if len(paths_V) < LEAST_VIDEOS:
        return Calibration(segments, None, video_of)
    mark = _fingerprint(index, segments)
    known, background = _read(index.directory / FILE, mark, len(paths_V))
    if not known:
        background = _fit(score, rank_S)
        _write(index.directory / FILE, mark, background)
    return Calibration(segments, background, video_of)


def _fit(score: Score, rank_S: np.ndarray) -> Background | None:
    whole = background_queries()
    count = min(len(whole), max(LEAST_QUERIES, CELLS // len(rank_S)))
    # The file goes from subject to subject, so evenly spaced lines keep all of them.
    queries = [whole[line] for line in np.linspace(0, len(whole) - 1, count).round().astype(int)]
    order_S = np.argsort(rank_S, kind="stable")
    starts_V = np.flatnonzero(np.diff(rank_S[order_S], prepend=-1))
    best_BV = np.full((count, len(starts_V)), -np.inf, np.float32)
    for low in range(0, len(order_S), BLOCK):
        picks_P = order_S[low : low + BLOCK]
        scores_BP = score(queries, picks_P)
        video_P = rank_S[picks_P]
        edges = np.flatnonzero(np.diff(video_P, prepend=-1))
        part_BV = np.maximum.reduceat(scores_BP, edges, axis=1)
        best_BV[:, video_P[edges]] = np.maximum(best_BV[:, video_P[edges]], part_BV)
    return calibrate.fit(best_BV)


def _fingerprint(index: IndexCard, segments: StoredSegments) -> str:
    counts: dict[str, list[int]] = {}
    for key, count in zip(segments.content_S, segments.count_S.tolist(), strict=True):
        counts.setdefault(key, []).append(count)
    told = (VERSION, index.model["id"], index.created, CELLS, background_queries(), sorted(counts.items()))
    return hashlib.blake2b(repr(told).encode(), digest_size=16).hexdigest()


def _read(path: Path, mark: str, videos: int) -> tuple[bool, Background | None]:
    """Whether a sound fit of this fingerprint is there, and the fit."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            if str(kept["fingerprint"]) != mark:
                return False, None
            if not kept["fitted"]:
                return True, None
            mean_V = kept["mean_V"].astype(np.float64)
            middle, spread = float(kept["middle"]), float(kept["spread"])
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile):
        return False, None
    sound = np.isfinite(np.append(mean_V, [middle, spread])).all()
    if mean_V.shape != (videos,) or not sound or spread <= 0:
        return False, None
    return True, Background(mean_V, middle, spread)


def _write(path: Path, mark: str, background: Background | None) -> None:
    part = path.with_name(f"{path.name}.part")
    kept = {} if background is None else background._asdict()
    try:
        with part.open("wb") as file:
            np.savez(file, fingerprint=np.array(mark), fitted=np.array(background is not None), **kept)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        # An index that can only be read is searched all the same; of two that write at once one may find its part gone.
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
