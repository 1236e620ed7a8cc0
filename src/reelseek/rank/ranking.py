"""From a score matrix to ranks: where each query's right answer stands, and what stands on top.

Not here: percentages and medians (`metrics.py`), intervals and tests (`compare.py`). Nothing here knows a model:
a list of lists will do. No full sort is made: a rank is one plus the number of items that score higher, plus the tie
rule, and rows are read in blocks, so memory stays near one block whatever the size of the matrix.
Shapes: T texts, V videos, K results a query, N any count.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args

import numpy as np

from reelseek.config import Ties
from reelseek.records import Ranking

BLOCK = 4_000_000
"""Scores read at a time."""


def as_matrix(matrix_TV: Any) -> np.ndarray:
    """Floats [T, V] of a list, an array or a tensor on any device, without a copy where possible.

    Raises ValueError when there are not two dimensions, no rows or no columns, or when the values are no real numbers.
    """
    array = _as_array(matrix_TV)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"scores must have the shape [texts, videos] with at least one of each, not {array.shape}")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"scores must be real numbers, not {array.dtype}")
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def as_relevance(relevance_TV: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """Booleans [T, V], or None for the diagonal; ValueError when the shape is wrong or the diagonal needs a square."""
    if relevance_TV is None:
        if shape[0] != shape[1]:
            raise ValueError(
                f"{shape[0]} texts and {shape[1]} videos do not pair up one to one: pass relevance_TV, "
                "which says which video belongs to which text"
            )
        return None
    relevance = _as_array(relevance_TV)
    if relevance.shape != shape:
        raise ValueError(f"relevance has the shape {relevance.shape}, the scores have {shape}")
    return relevance.astype(bool, copy=False)


def ranks(matrix_TV: Any, relevance_TV: Any = None, ties: Ties = "against") -> np.ndarray:
    """Rank, counted from 1, of the best-placed relevant video of every text: float64 [T].

    ties says where a relevant item stands among irrelevant ones of exactly the same score: "against" after all of
    them, "for" before all of them, "mean" at the expectation over all their orders (n irrelevant and r relevant ones
    put the first relevant one at n / (r + 1) places down). "clip4clip" reproduces what CLIP4Clip's code counts: for
    diagonal relevance every position that holds the diagonal's value, so that one query with m equal scores gives
    m ranks and N >= T come back; for captions that own one video each, one rank a text, equal scores in the order
    of their numbers. It refuses any other relevance.

    Raises ValueError for NaN, for a row without a relevant video, and as `as_matrix` and `as_relevance` do.
    """
    if ties not in get_args(Ties):
        raise ValueError(f"ties must be one of {', '.join(get_args(Ties))}, not {ties!r}")
    matrix = as_matrix(matrix_TV)
    relevance = as_relevance(relevance_TV, matrix.shape)
    if ties == "clip4clip":
        return _clip4clip(matrix, relevance)
    found = np.empty(len(matrix))
    for start, scores, relevant in _blocks(matrix, relevance):
        above, tied, own = _count(start, scores, relevant)
        share = {"against": tied, "for": 0 * tied, "mean": tied / (own + 1)}[ties]
        found[start : start + len(scores)] = 1 + above + share
    return found


def video_to_text_ranks(
    matrix_TV: Any,
    relevance_TV: Any = None,
    convention: Literal["best_caption", "any_caption"] = "best_caption",
    ties: Ties = "against",
) -> np.ndarray:
    """Rank, counted from 1, of the right text for every video that has a text: float64 [at most V].

    "best_caption": every video is stood for by its best-scoring caption, so that V videos compete (CLIP4Clip's way
    with many captions a video); every text must then belong to exactly one video.
    "any_caption": all T texts compete, and the best-placed one that belongs to the video counts (collaborative
    experts' way). With one text a video both are the same.
    Videos without a text are left out: they ask nothing, and nothing stands for them.
    """
    matrix = as_matrix(matrix_TV)
    relevance = as_relevance(relevance_TV, matrix.shape)
    if convention not in ("best_caption", "any_caption"):
        raise ValueError(f"convention must be best_caption or any_caption, not {convention!r}")
    if relevance is None:
        return ranks(matrix.T, None, ties)
    asking = relevance.any(axis=0)
    if not asking.any():
        raise ValueError("no video has a text: nothing can be ranked")
    if convention == "any_caption":
        if not asking.all():
            matrix, relevance = matrix[:, asking], relevance[:, asking]
        return ranks(matrix.T, relevance.T, ties)
    owner_T = _owners(relevance)
    order_T = np.argsort(owner_T, kind="stable")
    starts = np.flatnonzero(np.diff(owner_T[order_T], prepend=-1))
    columns = np.flatnonzero(asking)
    best_VV = np.empty((len(columns), len(columns)), dtype=matrix.dtype)
    width = max(1, BLOCK // len(matrix))
    for start in range(0, len(columns), width):
        part = columns[start : start + width]
        best_VV[start : start + len(part)] = np.maximum.reduceat(matrix[:, part][order_T], starts, axis=0).T
    return ranks(best_VV, None, ties)


def top_k(matrix_TV: Any, k: int) -> Ranking:
    """The k best videos of every text, best first; equal scores in the order of their numbers.

    With fewer than k videos, all of them. Raises ValueError for NaN and for k under 1.
    """
    matrix = as_matrix(matrix_TV)
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    videos = matrix.shape[1]
    k = min(k, videos)
    items_TK = np.empty((len(matrix), k), dtype=np.int64)
    scores_TK = np.empty((len(matrix), k), dtype=matrix.dtype)
    for start, scores, _ in _blocks(matrix, None):
        least = np.partition(scores, videos - k, axis=1)[:, videos - k, None]
        above, level = scores > least, scores == least
        # A partition keeps any of the items that tie for the last place; these are the ones with the lowest numbers.
        level &= level.cumsum(axis=1) <= k - above.sum(axis=1, keepdims=True)
        items = np.nonzero(above | level)[1].reshape(-1, k)
        found = np.take_along_axis(scores, items, axis=1)
        order = np.argsort(-found, axis=1, kind="stable")
        items_TK[start : start + len(scores)] = np.take_along_axis(items, order, axis=1)
        scores_TK[start : start + len(scores)] = np.take_along_axis(found, order, axis=1)
    return Ranking(items_TK, scores_TK)


def _as_array(values: Any) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":
            values = values.float()
        return np.asarray(values.numpy())
    return np.asarray(values)


def _blocks(matrix: np.ndarray, relevance: np.ndarray | None) -> Iterator[tuple[int, np.ndarray, np.ndarray | None]]:
    """First row, scores and relevance of a few rows at a time; refuses NaN."""
    height = max(1, BLOCK // matrix.shape[1])
    for start in range(0, len(matrix), height):
        scores = np.ascontiguousarray(matrix[start : start + height])
        if np.isnan(scores).any():
            row, column = np.argwhere(np.isnan(scores))[0]
            raise ValueError(f"the score in row {start + row}, column {column} is NaN: it cannot be ranked")
        yield start, scores, None if relevance is None else relevance[start : start + height]


def _count(
    start: int, scores: np.ndarray, relevant: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | int]:
    """Items above the best relevant one, irrelevant ones level with it, relevant ones level with it (itself too)."""
    if relevant is None:
        best = np.diagonal(scores, offset=start)
        own: np.ndarray | int = 1
    else:
        empty = np.flatnonzero(~relevant.any(axis=1))
        if len(empty):
            raise ValueError(f"row {start + empty[0]} has no relevant item: a query without a right answer has no rank")
        best = np.where(relevant, scores, -np.inf).max(axis=1)
        own = np.count_nonzero((scores == best[:, None]) & relevant, axis=1)
    above = np.count_nonzero(scores > best[:, None], axis=1)
    return above, np.count_nonzero(scores == best[:, None], axis=1) - own, own


def _owners(relevance_TV: np.ndarray) -> np.ndarray:
    """Number of the one video that each text belongs to [T]."""
    counts = relevance_TV.sum(axis=1)
    if (counts != 1).any():
        row = int(np.flatnonzero(counts != 1)[0])
        raise ValueError(
            f"text {row} belongs to {counts[row]} videos, where each must belong to exactly one: "
            "use the convention any_caption and another tie rule than clip4clip"
        )
    return np.asarray(relevance_TV.argmax(axis=1))


def _clip4clip(matrix: np.ndarray, relevance: np.ndarray | None) -> np.ndarray:
    owner_T = np.arange(len(matrix)) if relevance is None else _owners(relevance)
    diagonal = matrix.shape[0] == matrix.shape[1] and bool((owner_T == np.arange(len(matrix))).all())
    found = []
    for start, scores, _ in _blocks(matrix, None):
        owner = owner_T[start : start + len(scores)]
        best = scores[np.arange(len(scores)), owner][:, None]
        above, level = (scores > best).sum(axis=1), scores == best
        if diagonal:
            counts = level.sum(axis=1)
            within = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
            found.append(1.0 + np.repeat(above, counts) + within)
        else:
            earlier = (level & (np.arange(matrix.shape[1]) < owner[:, None])).sum(axis=1)
            found.append(1.0 + above + earlier)
    return np.concatenate(found)
