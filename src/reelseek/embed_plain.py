"""Vectors of a sentence and of a video file, for use outside an index or a benchmark.

Thin: sampling, decoding and the towers are those of `reelseek.embed`, nothing is cached. Shapes: T texts, V videos,
D width of the method's joint space.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from reelseek.config import SampleConfig
from reelseek.embed import embed_files, pad_videos
from reelseek.errors import VideoError
from reelseek.records import BrokenFile, Method, Texts, Videos
from reelseek.video.sample import sample_times

Paths = str | PathLike[str] | Sequence[str | PathLike[str]]


def encode_text(method: Method, texts: str | Sequence[str]) -> Tensor:
    """The vector of a text [D], or of several [T, D]: float32, of length 1, on the processor.

    Raises ValueError for no text at all and for an empty one.
    """
    vectors_TD = normalize(_texts(method, texts).pooled_TD.float(), dim=1).cpu()
    return vectors_TD[0] if isinstance(texts, str) else vectors_TD


def encode_video(method: Method, paths: Paths, *, sample: SampleConfig | None = None) -> Tensor:
    """The vector of a video file [D], or of several [V, D]: float32, of length 1, on the processor.

    It is the mean of the frames as the method takes it, so that its product with `encode_text` is the method's score
    where that is a cosine of two vectors (zero-shot, CLIP4Clip). Methods that look at a text and a video together, such
    as GARE, have no vector of a video alone: what comes is the mean of the frames' directions, and only `similarity`
    gives their score. sample: which frames are looked at; by default as in the method's training, if that is known,
    else 12. Raises VideoError naming a file that cannot be read, ValueError for no path at all.
    """
    pool: Any = getattr(getattr(method, "head", None), "pool", None)
    videos = _videos(method, paths, sample)
    with torch.inference_mode():
        vectors_VD = _mean_direction(videos) if pool is None else pool(videos)
    vectors_VD = normalize(vectors_VD.float(), dim=1).cpu()
    return vectors_VD[0] if isinstance(paths, str | PathLike) else vectors_VD


def similarity(
    method: Method, texts: Sequence[str], paths: Sequence[str | PathLike[str]], *, sample: SampleConfig | None = None
) -> Tensor:
    """The method's own score of every text with every video file [T, V], float32; see `encode_video` for the rest."""
    projected, videos = _texts(method, texts), _videos(method, paths, sample)
    with torch.inference_mode():
        matrix_TV = method.score(projected, videos).matrix_TV.float().cpu()
    return matrix_TV.clone()


def _texts(method: Method, texts: str | Sequence[str]) -> Texts:
    """Projected texts; the grey frame beside them is there because a method projects texts and videos together."""
    captions = [texts] if isinstance(texts, str) else list(texts)
    if not captions or not all(caption.strip() for caption in captions):
        raise ValueError("there is no text: give one sentence or a list of them, none of them empty")
    side = method.preprocess.crop
    with torch.inference_mode():
        frames_11D = method.encode_frames(torch.zeros(1, 3, side, side))[None]
        mask_11 = torch.ones(1, 1, dtype=torch.bool, device=frames_11D.device)
        return method.project(method.encode_texts(captions), Videos(frames_11D, mask_11))[0]


def _videos(method: Method, paths: Paths, sample: SampleConfig | None) -> Videos:
    files = [paths] if isinstance(paths, str | PathLike) else list(paths)
    if not files:
        raise ValueError("there is no video: give one path or a list of them")
    settings = sample or SampleConfig(**getattr(method, "run", {}).get("sample", {}))
    rows = []
    for found in embed_files(
        method,
        [Path(file) for file in files],
        lambda duration: sample_times(duration, settings),
        sampling_key="",
        keyframes=settings.keyframes,
    ):
        if isinstance(found, BrokenFile):
            raise VideoError(found.reason)
        rows.append(found.frames_ND)
    with torch.inference_mode():
        return method.project(method.encode_texts(["a video"]), pad_videos(rows))[1]


def _mean_direction(videos: Videos) -> Tensor:
    frames_VFD = normalize(videos.frames_VFD, dim=2).masked_fill(~videos.mask_VF[:, :, None], 0)
    return frames_VFD.sum(dim=1) / videos.mask_VF.sum(dim=1, keepdim=True)
