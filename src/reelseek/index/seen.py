"""What the index has already seen of one video: the vector of a moment, and a sentence's score over time.

Nothing is decoded: all comes from stored vectors. Not here: searches by such a moment (`reelseek.index.similar`).
Shapes: F frames of a video, D width.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from reelseek.errors import NotInIndex
from reelseek.index.loaded import Loaded, rows_of, video_of
from reelseek.index.query import Frame
from reelseek.index.scan import scan
from reelseek.index.search import Searcher


class Curve(NamedTuple):
    """The cosine [F] of a query with every stored frame of a video, the frames' times [F] and its end, in seconds."""

    times_F: np.ndarray
    cosines_F: np.ndarray
    duration: float


def stored_vector(loaded: Loaded, frame: Frame) -> Tensor:
    """The vector [1, D] of length 1 of the stored frame nearest to a moment. Raises NotInIndex."""
    video = video_of(loaded, str(frame.path))
    rows_F, end = rows_of(loaded, video), float(loaded.segments.end_S[loaded.segments_V[video][-1]])
    if not 0 <= frame.time <= end:
        raise NotInIndex(f"{frame.path}: has no moment at {frame.time:g} s, it is {end:.1f} s long.")
    nearest = int(np.abs(loaded.segments.times_N[rows_F] - frame.time).argmin())
    return normalize(loaded.frames_ND[torch.tensor([rows_F[nearest]])].float(), dim=-1)


def curve(searcher: Searcher, sentence: str, path: str) -> Curve:
    """A sentence along one video. Reads that video's frames alone. Raises NotInIndex, and as `Searcher.encode`."""
    loaded = searcher.loaded
    video = video_of(loaded, path)
    rows_F = rows_of(loaded, video)
    rows = torch.from_numpy(rows_F)
    with torch.inference_mode():
        words = searcher.encode([sentence])
        cosines_F = scan([loaded.frames_ND[rows]], loaded.inverse_norms_N[rows], words.pooled_TD)[0]
    return Curve(loaded.segments.times_N[rows_F], cosines_F, float(loaded.segments.end_S[loaded.segments_V[video][-1]]))
