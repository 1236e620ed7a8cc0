"""CAMoE's experts over the frames of a video: mean pooling, SE-attention and self-attention.

Cheng et al. 2021, arXiv 2109.04290, compare these three; how each is built is reconstructed here, since neither the
paper's text nor code was at hand. An expert maps frames to frames, and its video vector is their mean: so experts mix
frame by frame, and a head that weighs frames by the text (GARE) can stand behind any of them. Padded frames never
count, and are zeros in the output.
Shapes: V videos, F frames, P places of the longest video, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from reelseek.encoders.temporal import TransformerBlock

MAX_FRAMES = 128
"""Places that SE-attention has for frames."""
REDUCTION = 4
"""How much narrower the bottleneck of SE-attention is than its places."""


class MeanExpert(nn.Module):
    """Mean pooling: frames as they are. No parameters, so two of these are one expert."""

    def forward(self, frames_VFD: Tensor, mask_VF: Tensor) -> Tensor:
        """[V, F, D] -> [V, F, D]."""
        return frames_VFD.masked_fill(~mask_VF[:, :, None], 0)


class SqueezeExpert(nn.Module):
    """SE-attention: squeeze-and-excitation (Hu et al., CVPR 2018) over frames in the place of channels.

    Each frame is squeezed to a number, by a linear map that starts as the mean over its width. A two-layer bottleneck
    over all places, ReLU inside, and a sigmoid give each frame its weight; the frames are scaled by weight times number
    of frames over sum of weights, so that their mean is the weighted mean. Places of padding, up to `max_frames`, are
    zeros going in and weigh nothing coming out: a video of any length up to that scores alike however it is padded at
    the end. The weight of a frame depends on its place.
    """

    def __init__(self, width: int, *, max_frames: int = MAX_FRAMES) -> None:
        super().__init__()
        self.max_frames = max_frames
        self.squeeze = nn.Linear(width, 1)
        self.inner = nn.Linear(max_frames, max_frames // REDUCTION)
        self.outer = nn.Linear(max_frames // REDUCTION, max_frames)
        nn.init.constant_(self.squeeze.weight, 1 / width)
        nn.init.zeros_(self.squeeze.bias)

    def forward(self, frames_VFD: Tensor, mask_VF: Tensor) -> Tensor:
        """[V, F, D] -> [V, F, D]. ValueError for more than `max_frames` frames."""
        count = frames_VFD.shape[1]
        if count > self.max_frames:
            raise ValueError(f"{count} frames, but SE-attention has places for {self.max_frames}")
        frames_VFD = frames_VFD.masked_fill(~mask_VF[:, :, None], 0)
        squeezed_VF = self.squeeze(frames_VFD)[:, :, 0].masked_fill(~mask_VF, 0)
        hidden = torch.relu(self.inner(pad(squeezed_VF, (0, self.max_frames - count))))
        weights_VF = torch.sigmoid(self.outer(hidden))[:, :count] * mask_VF
        scale_VF = weights_VF * mask_VF.sum(dim=1, keepdim=True) / weights_VF.sum(dim=1, keepdim=True)
        return frames_VFD * scale_VF[:, :, None]


class AttentionExpert(nn.Module):
    """Self-attention: one pre-norm transformer layer over the frames, without positions, then their mean.

    It starts from N(0, 0.02), near the mean alone. heads must divide width.
    """

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        self.block = TransformerBlock(width, heads)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, frames_VFD: Tensor, mask_VF: Tensor) -> Tensor:
        """[V, F, D] -> [V, F, D]."""
        padded_VF1 = ~mask_VF[:, :, None]
        read_VFD: Tensor = self.block(frames_VFD.masked_fill(padded_VF1, 0), mask_VF)
        return read_VFD.masked_fill(padded_VF1, 0)
