"""Marks as a benchmark over one's own library: which videos are right for which query, and how a model ranks them.

A video is a content: files of equal bytes are one. A video is right for a query if any moment of it was marked right;
wrong if it was marked, and never right; everything else is unjudged and, in a rank, counts as not right.
Not here: metrics and intervals (`reelseek.rank`).
Shapes: T queries, V videos of the library in the order of `Loaded.contents_V`, S segments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import torch

from reelseek.embed import join_texts
from reelseek.index.loaded import Loaded
from reelseek.index.marks import Mark, folded
from reelseek.index.search import Searcher
from reelseek.records import Texts

SCORES_AT_ONCE = 1 << 25
"""Scores of texts with segments held at a time: bounds memory at 128 MiB."""
TEXTS_AT_ONCE = 32

Span = tuple[float, float]


class JudgedQuery(NamedTuple):
    """A query and what was said of its answers.

    right: content hash to the spans (start, end) in seconds that were found right. wrong: content hashes.
    """

    text: str
    right: Mapping[str, tuple[Span, ...]]
    wrong: frozenset[str]


class Judged(NamedTuple):
    """The queries that a library can be measured by, and what had to be left out.

    right, wrong: marks of videos of the library. gone: marks of files that have left it. unanswerable: queries without
    a right video in it; they have no rank.
    """

    queries: list[JudgedQuery]
    right: int
    wrong: int
    gone: int
    unanswerable: int


def judged(marks: Iterable[Mark], contents: Iterable[str]) -> Judged:
    """Marks by query, for a library of these contents; in the order of the folded queries, each as it was first put."""
    library = set(contents)
    ordered = sorted(((folded(mark.query), mark) for mark in marks), key=itemgetter(0))
    here = [(key, mark) for key, mark in ordered if mark.content_hash in library]
    queries = []
    for _, group in groupby(here, itemgetter(0)):
        own = [mark for _, mark in group]
        right: dict[str, tuple[Span, ...]] = {}
        for mark in own:
            if mark.good:
                right[mark.content_hash] = (*right.get(mark.content_hash, ()), (mark.start, mark.end))
        wrong = frozenset(mark.content_hash for mark in own) - right.keys()
        queries.append(JudgedQuery(own[0].query, right, wrong))
    answerable = [query for query in queries if query.right]
    good = sum(mark.good for _, mark in here)
    asked = len({key for key, _ in ordered})
    return Judged(answerable, good, len(here) - good, len(ordered) - len(here), asked - len(answerable))


def relevance(queries: Sequence[JudgedQuery], contents_V: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Which videos are right and which wrong for which query: two arrays of bool [T, V]."""
    video_of = {content: video for video, content in enumerate(contents_V)}
    right_TV, wrong_TV = (np.zeros((len(queries), len(contents_V)), bool) for _ in range(2))
    for row, query in enumerate(queries):
        right_TV[row, [video_of[content] for content in query.right if content in video_of]] = True
        wrong_TV[row, [video_of[content] for content in query.wrong if content in video_of]] = True
    return right_TV, wrong_TV


def alike(right_TV: np.ndarray) -> np.ndarray:
    """A number for each query [T], the same for queries whose right videos are the same.

    Such queries succeed and fail together: intervals draw whole groups.
    """
    _, group_T = np.unique(right_TV, axis=0, return_inverse=True)
    return np.asarray(group_T.reshape(-1))


def encode_in_parts(encode: Callable[[list[str]], Texts], texts: Sequence[str]) -> Texts:
    """Any number of texts encoded and projected, some at a time; the tensors may be used in training."""
    with torch.inference_mode():
        parts = [encode(list(texts[low : low + TEXTS_AT_ONCE])) for low in range(0, len(texts), TEXTS_AT_ONCE)]
    return join_texts(parts)  # outside, so that these tensors are new and may have gradients


def video_scores(searcher: Searcher, loaded: Loaded, texts: Texts) -> np.ndarray:
    """The method's own score [T, V] of projected texts with every video: that of its best segment, none left out."""
    order_S = np.argsort(loaded.video_S, kind="stable")
    first_V = np.flatnonzero(np.diff(loaded.video_S[order_S], prepend=-1))
    rows = max(1, SCORES_AT_ONCE // max(1, len(order_S)))
    parts = []
    with torch.inference_mode():
        for low in range(0, len(texts.pooled_TD), rows):
            some = texts.each(itemgetter(slice(low, low + rows)))
            parts.append(np.maximum.reduceat(searcher.score_many(loaded, some, order_S), first_V, axis=1))
    return np.concatenate(parts)
