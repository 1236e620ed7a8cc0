"""The mean-pooling head against a loop, and the properties that masks and scales promise."""

from __future__ import annotations

import math

import pytest
import torch

from reelseek.methods.clip4clip import MeanPoolHead
from reelseek.records import Texts, Videos


def inputs(texts: int = 4, videos: int = 3, frames: int = 5, width: int = 6) -> tuple[Texts, Videos]:
    generator = torch.Generator().manual_seed(7)
    mask = torch.rand(videos, frames, generator=generator) > 0.4
    mask[:, 0] = True
    batch = Videos(torch.randn(videos, frames, width, generator=generator), mask)
    return Texts(torch.randn(texts, width, generator=generator)), batch


def length(vector: list[float]) -> float:
    return math.sqrt(sum(x * x for x in vector))


@pytest.mark.parametrize("normalise", [True, False])
def test_head_is_the_definition(normalise):
    texts, videos = inputs()
    matrix = MeanPoolHead(normalise_frames=normalise).score(texts, videos).matrix_TV
    for j in range(3):
        mean = [0.0] * 6
        for f in range(5):
            if videos.mask_VF[j, f]:
                frame = videos.frames_VFD[j, f].tolist()
                size = length(frame) if normalise else 1.0
                mean = [m + x / size for m, x in zip(mean, frame, strict=True)]
        for i in range(4):
            text = texts.pooled_TD[i].tolist()
            dot = sum(x * y for x, y in zip(text, mean, strict=True))
            assert float(matrix[i, j]) == pytest.approx(dot / length(text) / length(mean), abs=1e-6)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("filler", [0.0, 1e6, math.nan])
def test_padding_never_changes_a_score_or_a_gradient(normalise, filler):
    texts, videos = inputs()
    head = MeanPoolHead(normalise_frames=normalise)
    frames = videos.frames_VFD.masked_fill(~videos.mask_VF[:, :, None], filler)
    longer = torch.cat([frames, torch.full((3, 2, 6), filler)], dim=1).requires_grad_()
    mask = torch.cat([videos.mask_VF, torch.zeros(3, 2, dtype=torch.bool)], dim=1)
    matrix = head.score(texts, Videos(longer, mask)).matrix_TV
    assert torch.allclose(matrix, head.score(texts, videos).matrix_TV, atol=1e-6)
    matrix.square().sum().backward()
    assert longer.grad is not None
    assert torch.isfinite(longer.grad).all()
    assert (longer.grad[~mask] == 0).all()


def test_normalised_frames_forget_their_length_and_raw_ones_do_not():
    texts, videos = inputs()
    scaled = videos._replace(frames_VFD=videos.frames_VFD * torch.arange(1.0, 6.0)[:, None])
    same, other = (MeanPoolHead(normalise_frames=flag) for flag in (True, False))
    assert torch.allclose(same.score(texts, scaled).matrix_TV, same.score(texts, videos).matrix_TV, atol=1e-6)
    assert not torch.allclose(other.score(texts, scaled).matrix_TV, other.score(texts, videos).matrix_TV, atol=1e-3)


def test_a_real_frame_without_direction_is_named():
    texts, videos = inputs()
    frames = videos.frames_VFD.clone()
    frames[1, 0] = 0
    with pytest.raises(ValueError, match="video 1, frame 0"):
        MeanPoolHead().score(texts, videos._replace(frames_VFD=frames))


def test_head_has_no_parameters():
    assert not list(MeanPoolHead().parameters())
