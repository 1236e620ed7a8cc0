"""An index as it is searched: every frame vector, what belongs to what, and which videos may answer.

Not here: the files on disk (`reelseek.index.store`), scores (`reelseek.index.search`).
Shapes: V videos, N frames of the whole index, S segments, P picked segments, F frames of a segment or a video, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reelseek.errors import NotInIndex
from reelseek.index import store
from reelseek.index.cards import IndexCard
from reelseek.index.frames import Frames
from reelseek.index.store import IndexedFile, StoredSegments
from reelseek.records import Videos

SAME_TIME = 1e-3
"""Seconds within which a time names a frame: it may have been rounded on its way."""


class Loaded(NamedTuple):
    """Videos are numbered by their first path.

    mean_D: the mean of all frames, each of length 1. contents_V: content hashes. paths_V: the path under which a video
    answers. order_S: place of a segment among all, by path, then time; it decides between equal scores. segments_V: a
    video's segments in order of time. passing_S: the segments that may answer, in the order in which they are stored.
    files: every readable file by its path.
    """

    version: tuple[str, int, int]
    segments: StoredSegments
    frames_ND: Frames
    inverse_norms_N: Tensor
    mean_D: Tensor
    contents_V: list[str]
    paths_V: list[str]
    video_S: np.ndarray
    order_S: np.ndarray
    passing_S: np.ndarray
    segments_V: list[np.ndarray]
    files: Mapping[str, IndexedFile]


class Located(NamedTuple):
    """Where a hit lies: all stored frames of its video, and the segment that was scored.

    frames_ND: float16, in order of time. times_N: seconds. first, after: the segment's frames. start, end: the
    segment's seconds. duration: where the last segment ends.
    """

    frames_ND: Tensor
    times_N: np.ndarray
    first: int
    after: int
    start: float
    end: float
    duration: float


def load(index: IndexCard) -> Loaded:
    """Read an index. Memory: 16 bytes a frame, and 2 D more for one that is not mapped.

    Raises as `reelseek.index.store.load`.
    """
    # the card's own time: if another model's card came meanwhile, these are not that model's tables
    version = (index.created, *store.versions(index)[1:])
    rows, segments = store.load(index)
    files = [row for row in rows if row.status == "ok"]
    first_path = _first_paths(files)
    contents = sorted(set(segments.content_S), key=lambda key: first_path[key])
    video_of = {key: number for number, key in enumerate(contents)}
    video_S = np.array([video_of[key] for key in segments.content_S], np.int64)
    order = np.lexsort((segments.number_S, video_S))
    return Loaded(
        version=version,
        segments=segments,
        frames_ND=segments.frames_ND,
        inverse_norms_N=segments.frames_ND.inverse_norms_N,
        mean_D=segments.frames_ND.mean_D,
        contents_V=contents,
        paths_V=[first_path[key] for key in contents],
        video_S=video_S,
        order_S=_places(order),
        passing_S=np.arange(len(order)),
        segments_V=np.split(order, np.flatnonzero(np.diff(video_S[order])) + 1),
        files={str(row.path): row for row in files},
    )


def narrowed(loaded: Loaded, files: Sequence[IndexedFile]) -> Loaded:
    """The same index where only these of its files answer. A content under several of them answers under the first."""
    first_path = _first_paths(files)
    videos = sorted(
        (v for v, key in enumerate(loaded.contents_V) if key in first_path),
        key=lambda v: first_path[loaded.contents_V[v]],
    )
    rank_V = np.full(len(loaded.contents_V), len(videos))
    rank_V[videos] = np.arange(len(videos))
    rank_S = rank_V[loaded.video_S]
    return loaded._replace(
        paths_V=[first_path.get(key, path) for key, path in zip(loaded.contents_V, loaded.paths_V, strict=True)],
        order_S=_places(np.lexsort((loaded.segments.number_S, rank_S))),
        passing_S=np.flatnonzero(rank_S < len(videos)),
    )


def candidates(loaded: Loaded, coarse_S: np.ndarray, k: int, coarse: int) -> np.ndarray:
    """The `coarse` best segments, and the best of each of the k best videos, so that one long film hides nothing."""
    passing = loaded.passing_S
    if coarse >= len(passing):
        return passing
    scores_P, most = coarse_S[passing], max(coarse, k)
    while True:
        # Sorting all of a large index would take longer than scanning it: only what may lie at the top is sorted.
        top = passing
        if most < len(passing):
            top = passing[scores_P >= np.partition(scores_P, len(scores_P) - most)[-most]]
        ranked_S = top[np.lexsort((loaded.order_S[top], -coarse_S[top]))]
        _, first_V = np.unique(loaded.video_S[ranked_S], return_index=True)
        if len(first_V) >= k or len(top) == len(passing):
            return np.union1d(ranked_S[:coarse], ranked_S[np.sort(first_V)[:k]])
        most *= 8


def gather(loaded: Loaded, picks_P: np.ndarray, device: torch.device) -> Videos:
    """Stored segments as a padded batch, in float32."""
    first_P, count_P = loaded.segments.first_S[picks_P], loaded.segments.count_S[picks_P]
    # As long as the index's longest: where a method counts padding, no score depends on what else was picked.
    steps_F = np.arange(loaded.segments.count_S.max())
    mask_PF = torch.from_numpy(steps_F < count_P[:, None])
    rows_PF = np.minimum(first_P[:, None] + steps_F, (first_P + count_P - 1)[:, None])
    frames_PFD = loaded.frames_ND[torch.from_numpy(rows_PF)].float()
    return Videos(frames_VFD=frames_PFD.mul_(mask_PF[..., None]).to(device), mask_VF=mask_PF.to(device))


def video_of(loaded: Loaded, path: str) -> int:
    """The number of the video that a path holds. Raises NotInIndex."""
    file = loaded.files.get(path)
    if file is None:
        raise NotInIndex(f"{path}: the index does not hold it any more. Search again.")
    return loaded.contents_V.index(file.content_hash)


def located(loaded: Loaded, path: str, peak: float) -> Located:
    """The segment that holds a file's frame at `peak` seconds.

    Raises NotInIndex where the index holds no such frame (any more).
    """
    if path not in loaded.files:
        raise NotInIndex(f"The index holds no frame of {path} at {peak:g} s any more. Search again.")
    video, stored = video_of(loaded, path), loaded.segments
    own_S, rows_N = loaded.segments_V[video], rows_of(loaded, video)
    times_N, ends_S = stored.times_N[rows_N], np.cumsum(stored.count_S[own_S])
    nearest = int(np.abs(times_N - peak).argmin())
    if abs(times_N[nearest] - peak) >= SAME_TIME:
        raise NotInIndex(f"{path}: the index holds no frame of it at {peak:g} s any more. Search again.")
    at = int(np.searchsorted(ends_S, nearest, side="right"))
    s, after = own_S[at], int(ends_S[at])
    return Located(
        frames_ND=loaded.frames_ND[torch.from_numpy(rows_N)],
        times_N=times_N,
        first=after - int(stored.count_S[s]),
        after=after,
        start=float(stored.start_S[s]),
        end=float(stored.end_S[s]),
        duration=float(stored.end_S[own_S[-1]]),
    )


def rows_of(loaded: Loaded, video: int) -> np.ndarray:
    """The rows [F] of a video's frames in order of time."""
    stored = loaded.segments
    return np.concatenate(
        [np.arange(stored.first_S[s], stored.first_S[s] + stored.count_S[s]) for s in loaded.segments_V[video]]
    )


def edges_of(loaded: Loaded, video: int, rows_F: np.ndarray) -> np.ndarray:
    """Seconds [F + 1]: frame f of a video stands for the time from edge f to edge f + 1."""
    stored = loaded.segments
    return np.concatenate([[0.0], stored.times_N[rows_F][1:], [stored.end_S[loaded.segments_V[video][-1]]]])


def _places(order: np.ndarray) -> np.ndarray:
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    return places


def _first_paths(files: Sequence[IndexedFile]) -> dict[str, str]:
    # Rows are sorted by path, so the first to come stays.
    paths: dict[str, str] = {}
    for row in files:
        paths.setdefault(row.content_hash, str(row.path))
    return paths
