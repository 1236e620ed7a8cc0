"""CLIP4Clip's parameter-free head: the mean of a video's frames, compared by cosine.

Luo et al. 2021, arXiv 2104.08860, section 3.3 (meanP). seqLSTM and seqTransf are this head after a temporal module of
`reelseek.encoders.temporal`. Shapes: T texts, V videos, F frames, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reelseek.records import Scores, Texts, Videos
from reelseek.score.parts import Parts, cosine_parts
from reelseek.score.similarity import check_lengths, check_mask, cosine, masked_mean


class MeanPoolHead(nn.Module):
    """Cosine of the text with the mean of the video's frames.

    normalise_frames: scale each frame to length 1 before the mean, as CLIP4Clip does. The untrained ConSE space of the
        offline encoders wants False: there a frame's length says how sure the classifier was.
    """

    def __init__(self, *, normalise_frames: bool = True) -> None:
        super().__init__()
        self.normalise_frames = normalise_frames

    def score(self, texts: Texts, videos: Videos) -> Scores:
        """Cosine similarity [T, V]; padded frames never count.

        Raises ValueError as `pool`, and naming the row for a text or mean of zero or non-finite length.
        """
        return Scores(cosine(texts.pooled_TD, self.pool(videos)))

    def pool(self, videos: Videos) -> Tensor:
        """The mean of every video's frames [V, D], not of length 1.

        Raises ValueError for an all-False mask row, and naming the row for a frame of zero or non-finite length.
        """
        return masked_mean(self._scaled(videos), videos.mask_VF)

    def explain(self, texts: Texts, videos: Videos) -> Parts:
        """The scores taken apart, frame by frame; raises as `score` does."""
        frames_VFD = self._scaled(videos).masked_fill(~videos.mask_VF[:, :, None], 0)
        shares_VF = videos.mask_VF / videos.mask_VF.sum(dim=1, keepdim=True)
        return cosine_parts(texts.pooled_TD[:, None], shares_VF[None], frames_VFD)

    def _scaled(self, videos: Videos) -> Tensor:
        frames_VFD, mask_VF = videos
        check_mask(mask_VF, frames_VFD)
        if self.normalise_frames:
            # A padded frame may hold anything: it counts as zeros of some length, so that no NaN reaches a gradient.
            padded_VF1 = ~mask_VF[:, :, None]
            frames_VFD = frames_VFD.masked_fill(padded_VF1, 0)
            lengths_VF1 = torch.linalg.vector_norm(frames_VFD.masked_fill(padded_VF1, 1), dim=-1, keepdim=True)
            check_lengths(lengths_VF1.detach().squeeze(-1).square(), "video")
            frames_VFD = frames_VFD / lengths_VF1
        return frames_VFD

    def pooled(self, texts: Texts, videos: Videos) -> Tensor:
        """What every text sees of every video [1, V, D]: all the same."""
        return self.pool(videos)[None]
