"""Captions with the decoded frames of their videos, for training towers end to end.

Pixels stay uint8, a quarter of the memory, until they are where the towers are.
Not here: which captions share a batch, and training on stored features (`reelseek.embed`).
Shapes: T texts, V videos, F frames, 3 S S encoder input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from reelseek.config import SampleConfig
from reelseek.data.pairs import Pairs
from reelseek.errors import UnreadableVideo, VideoError
from reelseek.records import BrokenFile, Preprocess
from reelseek.video.decode import decode
from reelseek.video.sample import sample_times
from reelseek.video.transform import cropped


class Clip(NamedTuple):
    """One text with its video's frames [F, 3, S, S] uint8; the numbers are positions in the split."""

    text: int
    video: int
    caption: str
    pixels_F3SS: Tensor


class ClipBatch(NamedTuple):
    """Texts and their videos, row by row, and the files that were set aside.

    pixels_VF3SS: uint8, zero where mask_VF (bool [V, F], True = real frame) is False. texts, videos: positions in
    the split, so that two captions of one video are seen to be so. A batch without a single readable file has V = 0.
    """

    texts: tuple[int, ...]
    videos: tuple[int, ...]
    captions: tuple[str, ...]
    pixels_VF3SS: Tensor
    mask_VF: Tensor
    broken: tuple[BrokenFile, ...]


class ClipDataset(Dataset[Clip | BrokenFile]):
    """Every text of a split with the frames of its video, decoded when asked for.

    Holds nothing but values, so any number of worker processes may read it. A file that cannot be decoded comes back
    as a `BrokenFile` with the reason.
    """

    def __init__(self, pairs: Pairs, *, sample: SampleConfig, spec: Preprocess) -> None:
        self.pairs, self.sample, self.spec = pairs, sample, spec

    def __len__(self) -> int:
        return len(self.pairs.texts)

    def __getitem__(self, text: int) -> Clip | BrokenFile:
        """The text at a position and its video's frames. Raises IndexError beyond the last text."""
        if not 0 <= text < len(self):
            raise IndexError(f"text {text} of {len(self)}")
        video = int(self.pairs.video_of_T[text])
        path = self.pairs.paths[video]
        try:
            frames = decode(
                path,
                lambda duration: self._times(video, duration),
                keyframes=self.sample.keyframes,
                shape=self.spec,
            )
        except VideoError as error:
            return BrokenFile(path, str(error))
        return Clip(text, video, self.pairs.texts[text], cropped(frames.pixels_FHW3, self.spec))

    def _times(self, video: int, duration: float) -> np.ndarray:
        span = self.pairs.spans[video] if self.pairs.spans is not None else None
        start, end = span or (0.0, duration)
        if start >= duration:
            raise UnreadableVideo(
                f"{self.pairs.paths[video]}: is {duration:.1f} s long, but {self.pairs.video_ids[video]!r} "
                f"begins at {start:.1f} s"
            )
        return start + sample_times(min(end, duration) - start, self.sample)


def collate(clips: Sequence[Clip | BrokenFile]) -> ClipBatch:
    """One batch of what a `ClipDataset` gave: frames padded to the longest, broken files listed and left out."""
    good = [clip for clip in clips if isinstance(clip, Clip)]
    broken = tuple(clip for clip in clips if isinstance(clip, BrokenFile))
    if not good:
        return ClipBatch(
            (), (), (), torch.empty(0, 0, 3, 0, 0, dtype=torch.uint8), torch.empty(0, 0, dtype=torch.bool), broken
        )
    longest = max(len(clip.pixels_F3SS) for clip in good)
    pixels_VF3SS = good[0].pixels_F3SS.new_zeros(len(good), longest, *good[0].pixels_F3SS.shape[1:])
    mask_VF = torch.zeros(len(good), longest, dtype=torch.bool)
    for row, clip in enumerate(good):
        pixels_VF3SS[row, : len(clip.pixels_F3SS)] = clip.pixels_F3SS
        mask_VF[row, : len(clip.pixels_F3SS)] = True
    return ClipBatch(
        texts=tuple(clip.text for clip in good),
        videos=tuple(clip.video for clip in good),
        captions=tuple(clip.caption for clip in good),
        pixels_VF3SS=pixels_VF3SS,
        mask_VF=mask_VF,
        broken=broken,
    )
