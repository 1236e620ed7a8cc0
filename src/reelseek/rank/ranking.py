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

BLOCK = 1_000_000
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
    *,
    owner_T: Any = None,
) -> np.ndarray:
    """Rank, counted from 1, of the right text for every video that has a text: float64 [at most V].

    "best_caption": every video is stood for by its best-scoring caption, so that V videos compete (CLIP4Clip's way
    with many captions a video). owner_T: number of the video that each text was written for; needed where a text is
    true of several videos. The asking video then competes with the best text that is true of it, and every other video
    with its best text that is not.
    "any_caption": all T texts compete, and the best-placed one that is true of the video counts (collaborative
    experts' way). With one text a video both are the same.
    Videos of which no text is true are left out: they ask nothing, and nothing stands for them.
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
    if convention == "best_caption":
        owner = _owners(relevance) if owner_T is None else _checked_owners(owner_T, relevance)
        return _best_caption_ranks(matrix, relevance, owner, np.flatnonzero(asking), ties)
    if ties == "clip4clip":
        return ranks(matrix.T[asking], relevance.T[asking], ties)
    return _column_ranks(matrix, relevance, ties)[asking]


def _best_caption_ranks(
    matrix: np.ndarray, relevance: np.ndarray, owner_T: np.ndarray, asking: np.ndarray, ties: Ties
) -> np.ndarray:
    """Ranks of the asking videos, where a video competes with its best caption that is not true of the asking one."""
    order_T = np.argsort(owner_T, kind="stable")
    starts = np.flatnonzero(np.diff(owner_T[order_T], prepend=-1))
    one_owner = np.count_nonzero(relevance) == len(relevance)
    if not one_owner and matrix.min() == -np.inf:
        # below, minus infinity stands for no caption at all: one that scores so must not look like that
        matrix = np.maximum(matrix, np.finfo(matrix.dtype).min)
    best_GV = np.empty((len(starts), matrix.shape[1]), dtype=matrix.dtype)
    for best_V, rows in zip(best_GV, np.split(order_T, starts[1:]), strict=True):
        adjoining = rows[-1] - rows[0] == len(rows) - 1
        part = matrix[rows[0] : rows[-1] + 1] if adjoining else matrix[rows]
        if not one_owner:
            part = np.where(relevance[rows], -np.inf, part)
        part.max(axis=0, out=best_V)
    if one_owner:
        return ranks(best_GV[:, asking].T, None, ties)
    if ties == "clip4clip":
        raise ValueError("ties clip4clip needs texts that are true of one video each: use another tie rule")
    own_V = _best_of_columns(matrix, relevance)
    group = np.searchsorted(owner_T[order_T][starts], asking)
    grouped = np.isin(asking, owner_T)
    # A video that no text was written for stands in a column of its own.
    places = np.where(grouped, group, len(starts) + np.cumsum(~grouped) - 1)
    competing = np.full((len(asking), len(starts) + int((~grouped).sum())), -np.inf, dtype=matrix.dtype)
    competing[:, : len(starts)] = best_GV[:, asking].T
    competing[np.arange(len(asking)), places] = own_V[asking]
    right = np.zeros(competing.shape, dtype=bool)
    right[np.arange(len(asking)), places] = True
    return ranks(competing, right, ties)


def _column_ranks(matrix: np.ndarray, relevance: np.ndarray, ties: Ties) -> np.ndarray:
    """What `ranks` finds in the transposed matrix, read along the rows; 0 or less where a column asks nothing."""
    if ties not in get_args(Ties):
        raise ValueError(f"ties must be one of {', '.join(get_args(Ties))}, not {ties!r}")
    best_V = _best_of_columns(matrix, relevance)
    above, tied, own = (np.zeros(len(best_V), dtype=np.int64) for _ in range(3))
    for _, scores, relevant in _blocks(matrix, relevance):
        assert relevant is not None
        level = scores == best_V
        above += np.count_nonzero(scores > best_V, axis=0)
        tied += np.count_nonzero(level, axis=0)
        own += np.count_nonzero(level & relevant, axis=0)
    tied -= own
    return np.asarray(1.0 + above + {"against": tied, "for": 0 * tied, "mean": tied / (own + 1)}[ties])


def _best_of_columns(matrix: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    """The best relevant score of every column [V]; minus infinity where there is none."""
    best_V = np.full(matrix.shape[1], -np.inf, dtype=matrix.dtype)
    for _, scores, relevant in _blocks(matrix, relevance):
        assert relevant is not None
        flat = np.flatnonzero(relevant)
        np.maximum.at(best_V, flat % len(best_V), scores.ravel()[flat])
    return best_V


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
        # Few entries are relevant: reading those alone is much faster than masking the others.
        flat = np.flatnonzero(relevant)
        row_N, value_N = flat // scores.shape[1], scores.ravel()[flat]
        firsts = np.searchsorted(row_N, np.arange(len(scores)))
        empty = np.flatnonzero(np.bincount(row_N, minlength=len(scores)) == 0)
        if len(empty):
            raise ValueError(f"row {start + empty[0]} has no relevant item: a query without a right answer has no rank")
        best = np.maximum.reduceat(value_N, firsts)
        own = np.bincount(row_N, weights=value_N == best[row_N], minlength=len(scores)).astype(np.int64)
    above = np.count_nonzero(scores > best[:, None], axis=1)
    return above, np.count_nonzero(scores == best[:, None], axis=1) - own, own


def _owners(relevance_TV: np.ndarray) -> np.ndarray:
    """Number of the one video that each text belongs to [T]."""
    row, count = _not_one(relevance_TV)
    if count != 1:
        raise ValueError(
            f"text {row} belongs to {count} videos, where each must belong to exactly one: say which by owner_T, or "
            "use the convention any_caption, and another tie rule than clip4clip"
        )
    return np.asarray(relevance_TV.argmax(axis=1))


def _not_one(relevance_TV: np.ndarray) -> tuple[int, int]:
    """The first row without just one relevant item, and how many it has; (0, 1) where there is no such row."""
    counts = np.count_nonzero(relevance_TV, axis=1)
    row = int((counts != 1).argmax())
    return row, int(counts[row])


def _checked_owners(owner_T: Any, relevance_TV: np.ndarray) -> np.ndarray:
    """`owner_T` as integers; ValueError unless it names, for every text, a video that the text is true of."""
    owner = np.asarray(owner_T)
    texts, videos = relevance_TV.shape
    if owner.shape != (texts,) or owner.dtype.kind not in "iu" or owner.min() < 0 or owner.max() >= videos:
        raise ValueError(f"owner_T must name one of {videos} videos for each of {texts} texts")
    untrue = np.flatnonzero(~relevance_TV[np.arange(texts), owner])
    if len(untrue):
        raise ValueError(f"text {untrue[0]} is not relevant to video {owner[untrue[0]]}, which owner_T names for it")
    return owner


def _clip4clip(matrix: np.ndarray, relevance: np.ndarray | None) -> np.ndarray:
    row, count = (0, 1) if relevance is None else _not_one(relevance)
    if count != 1:
        raise ValueError(
            f"query {row} has {count} relevant items: ties clip4clip can rank one a query; use another tie rule"
        )
    owner_T = np.arange(len(matrix)) if relevance is None else relevance.argmax(axis=1)
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
