"""An image or a clip as one vector among the frames of an index.

An image is what the method makes of it as a video of one frame. A clip is the mean of its frames, each of length 1,
taken as often as the index takes them and at most a segment of them, spread evenly.
Not here: how it is compared (`reelseek.index.evidence`). Shapes: F frames, D width.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from reelseek.config import IndexConfig
from reelseek.errors import UnreadableVideo
from reelseek.index.query import Clip
from reelseek.index.segments import any_text
from reelseek.records import Method, Videos
from reelseek.video.decode import decode
from reelseek.video.image import read_image
from reelseek.video.sample import fixed_fps
from reelseek.video.transform import preprocess


def picture_vector(method: Method, config: IndexConfig, picture: Path | Clip) -> Tensor:
    """One vector [1, D], on the CPU, of an image file or a span of a video file.

    Raises VideoError for what cannot be read, a span that begins behind the end, and what the model sees nothing in.
    """
    if isinstance(picture, Clip):
        frames = decode(
            picture.path, lambda duration: _times(picture, duration, config), shape=method.preprocess
        ).pixels_FHW3
    else:
        frames = read_image(picture)
    towers_FD = method.encode_frames(preprocess(frames, method.preprocess))
    mask_1F = torch.ones(1, len(towers_FD), dtype=torch.bool, device=towers_FD.device)
    _, projected = method.project(any_text(method), Videos(towers_FD[None], mask_1F))
    vector_1D = normalize(projected.frames_VFD[0].float().cpu(), dim=-1).mean(dim=0, keepdim=True)
    if not torch.isfinite(vector_1D).all() or not vector_1D.any():
        raise UnreadableVideo(f"{picture}: the model gives no usable vector for it; take another picture.")
    return vector_1D


def _times(clip: Clip, duration: float, config: IndexConfig) -> np.ndarray:
    if clip.start >= duration:
        raise UnreadableVideo(f"{clip.path}: it is {duration:.1f} s long, the clip begins at {clip.start:.1f} s.")
    least = min(config.min_frames, config.segment_frames)
    length = min(clip.end, duration) - clip.start
    return clip.start + fixed_fps(length, config.fps, config.segment_frames, at_least=least)
