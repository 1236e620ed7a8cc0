"""A text head trained on examples over the vectors that an index stores, by InfoNCE through the method's own score.

A video's score is that of its best segment, as in a search; the right videos of a text are looked at where they were
found right. Videos without a judgement are negatives as in any batch; those marked wrong are among them at every step.
Not here: which settings are good (`reelseek.adapt.choose`).
Shapes: T texts, V videos, S segments of the index, P picked segments, B texts of a batch, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from operator import itemgetter
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from reelseek.adapt.examples import Example
from reelseek.index.judged import JudgedQuery, Span, relevance
from reelseek.index.loaded import Loaded, gather
from reelseek.index.search import Searcher
from reelseek.losses.contrastive import judged_info_nce
from reelseek.methods.method import Method
from reelseek.methods.text_head import TextHead
from reelseek.records import Texts

TEXTS = 128
"""Texts of a step."""
VIDEOS = 256
"""Videos of a step, unless more are judged."""
SEGMENTS = 4
"""Segments of a video that a step looks at, drawn anew each time, besides as many of those found right."""
JUDGED = 4
"""Right videos, and as many wrong ones, of a text that a step looks at."""
LEARNING_RATE = 3e-3
_NONE = np.empty(0, np.int64)


class Setting(NamedTuple):
    """What is chosen by cross-validation. rank: of the head. pull: weight of the squared share by which texts move."""

    rank: int
    pull: float


class Material(NamedTuple):
    """Examples over a library. texts: projected without a head, a row an example.

    meant: the segments that were found right, by row and video, where those are not all segments of the video.
    """

    searcher: Searcher
    loaded: Loaded
    examples: Sequence[Example]
    texts: Texts
    right_TV: np.ndarray
    wrong_TV: np.ndarray
    meant: Mapping[tuple[int, int], np.ndarray]


def material(searcher: Searcher, examples: Sequence[Example], texts: Texts) -> Material:
    """What training reads of a library."""
    loaded = searcher.loaded
    judged = [JudgedQuery(example.text, example.right, example.wrong) for example in examples]
    right_TV, wrong_TV = relevance(judged, loaded.contents_V)
    meant = {}
    for row, video in np.argwhere(right_TV).tolist():
        own_S = loaded.segments_V[video]
        found_S = found_right(loaded, video, examples[row].right[loaded.contents_V[video]])
        if len(found_S) < len(own_S):
            meant[row, video] = found_S
    return Material(searcher, loaded, examples, texts, right_TV, wrong_TV, meant)


def found_right(loaded: Loaded, video: int, spans: Sequence[Span]) -> np.ndarray:
    """The segments of a video that overlap one of these spans (start, end) in seconds; the last one where none does."""
    own_S = loaded.segments_V[video]
    start_S, end_S = loaded.segments.start_S[own_S], loaded.segments.end_S[own_S]
    found_S = np.zeros(len(own_S), bool)
    for start, end in spans:
        found_S |= (start_S <= start) & (start < end_S) | (start_S < end) & (end_S > start)
    if not found_S.any():
        found_S[-1] = True  # a moment at the very end
    return own_S[found_S]


def learn(
    data: Material, rows: Sequence[int], setting: Setting, stops: Sequence[int], *, seed: int = 0
) -> Iterator[TextHead]:
    """Heads trained on these examples for so many steps, one for every entry of `stops`, which rise.

    Reproducible: equal seeds give equal heads on one machine.
    """
    rng = np.random.default_rng(seed)
    device = data.texts.pooled_TD.device
    head = TextHead(data.texts.pooled_TD.shape[1], setting.rank, seed=seed).to(device)
    optimiser = torch.optim.Adam(head.parameters(), lr=LEARNING_RATE)
    method = cast(Method, data.searcher.method)
    scale = method.logit_scale.detach()
    for step in range(1, stops[-1] + 1):
        batch_B = np.sort(rng.choice(rows, min(TEXTS, len(rows)), replace=False))
        picks_P = pick(data, batch_B, rng)
        texts = data.texts.each(itemgetter(batch_B))
        moved = head(texts)
        scores_BP = method.score(moved, gather(data.loaded, picks_P, device)).matrix_TV
        matrix_BV, right_BV = by_video(data, batch_B, picks_P, scores_BP)
        shift_B = (moved.pooled_TD - texts.pooled_TD).square().sum(dim=1)
        shift = (shift_B / texts.pooled_TD.square().sum(dim=1)).mean()
        loss = judged_info_nce(matrix_BV, right_BV, scale) + setting.pull * shift
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step in stops:
            yield deepcopy(head).eval().requires_grad_(False)


def pick(data: Material, batch_B: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The segments [P] of a step, in rising order: of judged videos of the batch, and of others drawn by chance."""
    judged: set[int] = set()
    picked: set[int] = set()
    for row in batch_B.tolist():
        for judged_TV in (data.right_TV, data.wrong_TV):
            some = _some(np.flatnonzero(judged_TV[row]), JUDGED, rng)
            judged.update(some)
            for video in some:
                picked.update(_some(data.meant.get((row, video), _NONE), SEGMENTS, rng))
    others = np.setdiff1d(np.arange(len(data.loaded.contents_V)), sorted(judged))
    for video in [*sorted(judged), *_some(others, max(0, VIDEOS - len(judged)), rng)]:
        picked.update(_some(data.loaded.segments_V[video], SEGMENTS, rng))
    return np.array(sorted(picked))


def _some(numbers: np.ndarray, most: int, rng: np.random.Generator) -> list[int]:
    few = numbers if len(numbers) <= most else rng.choice(numbers, most, replace=False)
    return [int(number) for number in few]


def by_video(data: Material, batch_B: np.ndarray, picks_P: np.ndarray, scores_BP: Tensor) -> tuple[Tensor, Tensor]:
    """Scores of texts with videos [B, V], each its best picked segment's, and which pairs are right; V videos in rising
    order of their numbers. A right video counts by its segments that were found right, where any is picked.
    """
    numbers, video_P = np.unique(data.loaded.video_S[picks_P], return_inverse=True)
    right_BV = data.right_TV[np.ix_(batch_B, numbers)]
    out_BP = np.zeros(scores_BP.shape, bool)
    for b, column in np.argwhere(right_BV).tolist():
        meant_S = data.meant.get((int(batch_B[b]), int(numbers[column])))
        if meant_S is not None:
            other_P = (video_P == column) & ~np.isin(picks_P, meant_S)
            if other_P.sum() < (video_P == column).sum():
                out_BP[b, other_P] = True
    device = scores_BP.device
    kept_BP = scores_BP.masked_fill(torch.from_numpy(out_BP).to(device), float("-inf"))
    index_BP = torch.from_numpy(video_P).to(device).expand(len(batch_B), -1)
    empty_BV = torch.full((len(batch_B), len(numbers)), float("-inf"), dtype=kept_BP.dtype, device=device)
    return empty_BV.scatter_reduce(1, index_BP, kept_BP, "amax"), torch.from_numpy(right_BV).to(device)
