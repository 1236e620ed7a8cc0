"""Which texts of a training batch truly match which of its videos. Shapes: T texts, V videos; T = V."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from reelseek.data.pairs import Pairs


def batch_relevance(pairs: Pairs, texts: np.ndarray) -> Tensor:
    """Known matches between captions `texts` (positions in the split) and their videos, in batch order: bool [T, V].

    The diagonal, other captions of the same video, and the split's `extra_relevance`.
    """
    videos = pairs.video_of_T[texts]
    relevance_TV = videos[:, None] == videos[None, :]
    if pairs.extra_relevance:
        chosen = set(texts.tolist())
        for text, video in pairs.extra_relevance:
            if text in chosen:
                relevance_TV[np.ix_(texts == text, videos == video)] = True
    return torch.from_numpy(relevance_TV)
