"""What the loop is fed: one batch, and which items go together in which epoch.

Not here: where texts and videos come from. Epochs count from 1.
Shapes: T texts, V videos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reelseek.records import Texts, Videos

if TYPE_CHECKING:
    from torch import Tensor

LEAST = 2
"""Fewest texts and videos of a batch: one pair alone has nothing to be told apart from."""


class Batch(NamedTuple):
    """Tower outputs of T texts and V videos, and which belong together (bool [T, V]; None: the diagonal)."""

    texts: Texts
    videos: Videos
    relevance_TV: Tensor | None = None


def batch_numbers(
    count: int, batch_size: int, *, seed: int, epoch: int, rivals: Mapping[int, Sequence[int]] | None = None
) -> list[np.ndarray]:
    """Numbers 0 to count - 1, shuffled by (seed, epoch) alone, in batches.

    rivals: items that should meet. Behind an item comes one of its rivals, drawn among those that have not come yet, as
    its negative in the batch; then the next item of the shuffle. A batch's edge may part two.
    The last, smaller batch is kept when it holds at least two items, and dropped otherwise.
    Raises ValueError when there are fewer than two items, or batches of fewer than two.
    """
    if count < LEAST or batch_size < LEAST:
        raise ValueError(
            f"at least {LEAST} items and batches of at least {LEAST} are needed, not {count}, {batch_size}"
        )
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(count)
    if rivals:
        order = np.array(_with_rivals(order.tolist(), rivals, rng))
    return [order[start : start + batch_size] for start in range(0, count - LEAST + 1, batch_size)]


def _with_rivals(order: list[int], rivals: Mapping[int, Sequence[int]], rng: np.random.Generator) -> list[int]:
    paired: dict[int, None] = {}  # in the order of insertion
    for item in order:
        if item in paired:
            continue
        paired[item] = None
        left = [rival for rival in rivals.get(item, ()) if rival not in paired]
        if left:
            paired[left[rng.integers(len(left))]] = None
    return list(paired)


def count_batches(count: int, batch_size: int) -> int:
    """How many batches `batch_numbers` makes of `count` items."""
    return len(range(0, count - LEAST + 1, batch_size))
