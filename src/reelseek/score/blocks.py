"""A big score matrix made of small ones, so that memory is bounded by the block and not by the collection.

Not here: how a method scores a block. Shapes: T texts, V videos, F frames, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import itemgetter
from typing import Protocol

import torch
from torch import Tensor

from reelseek.records import Scores, Texts, Videos


class Scorer(Protocol):
    """A method or a head. One with `prepare(videos) -> (texts -> matrix)` has its videos prepared once a block."""

    def score(self, texts: Texts, videos: Videos) -> Scores:
        """Scores of every pair."""
        ...


def score_in_blocks(scorer: Scorer, texts: Texts, videos: Videos, block: int) -> Tensor:
    """Similarities [T, V], float32, without gradients, from blocks of at most `block` texts and `block` videos.

    Equal to scoring everything at once. The result lies on the device of the texts. Raises ValueError for a block
    below 1, and what the scorer raises, with the place of the block that its numbers count from.
    """
    if block < 1:
        raise ValueError(f"block must be at least 1, not {block}.")
    matrix_TV = texts.pooled_TD.new_empty((len(texts.pooled_TD), len(videos.frames_VFD)), dtype=torch.float32)
    prepare: Callable[[Videos], Callable[[Texts], Tensor]] = getattr(scorer, "prepare", None) or _unprepared(scorer)
    with torch.no_grad():
        for column in range(0, matrix_TV.shape[1], block):
            columns = slice(column, column + block)
            with _numbered_from(0, column):
                score = prepare(videos.each(itemgetter(columns)))
            for row in range(0, matrix_TV.shape[0], block):
                rows = slice(row, row + block)
                with _numbered_from(row, column):
                    matrix_TV[rows, columns] = score(texts.each(itemgetter(rows)))
    return matrix_TV


@contextmanager
def _numbered_from(row: int, column: int) -> Iterator[None]:
    """Say where a block begins in a ValueError about one of its rows: a scorer knows no other numbers than its own."""
    try:
        yield
    except ValueError as error:
        if row == column == 0:
            raise
        raise ValueError(f"{error} (Counted from text {row} and video {column}, where this block begins.)") from error


def _unprepared(scorer: Scorer) -> Callable[[Videos], Callable[[Texts], Tensor]]:
    return lambda videos: lambda texts: scorer.score(texts, videos).matrix_TV
