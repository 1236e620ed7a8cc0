"""Which settings of a head are good: cross-validation among the examples to learn from, without a look at the others.

Shapes: T texts, V videos.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import torch

from reelseek.adapt.examples import folds
from reelseek.adapt.learn import Material, Setting, learn
from reelseek.index.judged import video_scores
from reelseek.methods.text_head import TextHead
from reelseek.rank.metrics import mean_reciprocal_rank
from reelseek.rank.ranking import ranks

SETTINGS = (Setting(8, 3.0), Setting(64, 3.0), Setting(64, 0.0))
STOPS = (25, 50, 100, 200)
"""Steps after which a head is looked at: one training gives the heads of all of them."""

Progress = Callable[[int, int], None]


class Choice(NamedTuple):
    """The best settings and what they reached on examples that each head had not learnt from.

    before, after: mean reciprocal rank without and with a head, over all folds. steps is 0 where no setting was better
    than none.
    """

    setting: Setting
    steps: int
    before: float
    after: float


def choose(data: Material, rows: Sequence[int], progress: Progress = lambda done, total: None) -> Choice:
    """Try every setting on every fold of these examples, which hang together in two groups at least."""
    parts = [[rows[at] for at in part] for part in folds([data.examples[row] for row in rows])]
    best = Choice(SETTINGS[0], 0, *[mean_reciprocal_rank(ranks_of(data, None, rows))] * 2)
    done, total = 0, len(SETTINGS) * len(parts)
    for setting in SETTINGS:
        found: dict[int, list[np.ndarray]] = {stop: [] for stop in STOPS}
        for part in parts:
            rest = sorted(set(rows).difference(part))
            for stop, head in zip(STOPS, learn(data, rest, setting, STOPS), strict=True):
                found[stop].append(ranks_of(data, head, part))
            done += 1
            progress(done, total)
        for stop in STOPS:
            reached = mean_reciprocal_rank(np.concatenate(found[stop]))
            if reached > best.after:
                best = Choice(setting, stop, best.before, reached)
    return best


def ranks_of(data: Material, head: TextHead | None, rows: Sequence[int]) -> np.ndarray:
    """Ranks [T] of the best-placed right video of these examples over the whole library, ties against it."""
    texts = data.texts.each(itemgetter(list(rows)))
    with torch.inference_mode():
        moved = texts if head is None else head(texts)
        return ranks(video_scores(data.searcher, data.loaded, moved), data.right_TV[list(rows)])
