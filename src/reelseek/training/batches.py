"""What the loop is fed: one batch, and which items go together in which epoch.

Not here: where texts and videos come from. Epochs count from 1.
Shapes: T texts, V videos.
"""

from __future__ import annotations

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


def batch_numbers(count: int, batch_size: int, *, seed: int, epoch: int) -> list[np.ndarray]:
    """Numbers 0 to count - 1, shuffled by (seed, epoch) alone, in batches.

    The last, smaller batch is kept when it holds at least two items, and dropped otherwise.
    Raises ValueError when there are fewer than two items, or batches of fewer than two.
    """
    if count < LEAST or batch_size < LEAST:
        raise ValueError(
            f"at least {LEAST} items and batches of at least {LEAST} are needed, not {count}, {batch_size}"
        )
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return [order[start : start + batch_size] for start in range(0, count - LEAST + 1, batch_size)]


def count_batches(count: int, batch_size: int) -> int:
    """How many batches `batch_numbers` makes of `count` items."""
    return len(range(0, count - LEAST + 1, batch_size))
