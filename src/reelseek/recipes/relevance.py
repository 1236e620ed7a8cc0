"""Which texts of a training batch truly match which of its videos, and which texts should meet in one.

Shapes: T texts, V videos; T = V in a batch.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from torch import Tensor

from reelseek.data.pairs import Pairs
from reelseek.errors import ConfigError


def batch_relevance(pairs: Pairs, texts: np.ndarray) -> Tensor:
    """Known matches between captions `texts` (positions in the split) and their videos, in batch order: bool [T, V].

    The diagonal, other captions of the same video, and the split's `extra_relevance`.
    """
    videos = pairs.video_of_T[texts]
    relevance_TV = videos[:, None] == videos[None, :]
    for row_V, text in zip(relevance_TV, texts.tolist(), strict=True):
        if text in pairs.extra_videos:
            row_V |= np.isin(videos, pairs.extra_videos[text])
    return torch.from_numpy(relevance_TV)


def rivals_of(pairs: Pairs) -> dict[int, tuple[int, ...]]:
    """For every text of a contrast, the texts of the contrast's wrong video that are set against videos themselves.

    Raises ConfigError for a split without contrasts.
    """
    rows = {row for contrast in pairs.contrasts.values() for row in contrast}
    if not rows:
        raise ConfigError(
            f"train.batches contrasts: {pairs.name} says of no video which other one differs from it in little. "
            "Leave it at shuffled."
        )
    texts_of: dict[int, set[int]] = defaultdict(set)
    for text, right, _ in rows:
        texts_of[right].add(text)
    found: dict[int, set[int]] = defaultdict(set)
    for text, _, wrong in rows:
        found[text] |= texts_of[wrong]
    return {text: tuple(sorted(rivals)) for text, rivals in found.items()}
