"""Cosine, masked pooling and blocks against loops written from their definitions."""

from __future__ import annotations

import math

import pytest
import torch

from reelseek.methods.clip4clip import MeanPoolHead
from reelseek.records import Scores, Texts, Videos
from reelseek.score.blocks import score_in_blocks
from reelseek.score.similarity import cosine, masked_mean, masked_softmax


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_cosine_is_the_definition():
    a, b = random(3, 5), random(4, 5, seed=1)
    matrix = cosine(a, b)
    for i in range(3):
        for j in range(4):
            dot = sum(float(x * y) for x, y in zip(a[i], b[j], strict=True))
            length = math.sqrt(sum(float(x) ** 2 for x in a[i]) * sum(float(y) ** 2 for y in b[j]))
            assert float(matrix[i, j]) == pytest.approx(dot / length, abs=1e-6)


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_cosine_names_the_row_without_direction(value):
    a = random(4, 5)
    a[2] = value
    with pytest.raises(ValueError, match="text 2 "):
        cosine(a, random(2, 5))
    with pytest.raises(ValueError, match="video 2 "):
        cosine(random(2, 5), a)


def test_masked_mean_counts_real_frames_only():
    frames, mask = random(2, 3, 4), torch.tensor([[True, False, True], [False, True, False]])
    frames[~mask] = math.nan
    mean = masked_mean(frames, mask)
    assert torch.allclose(mean[0], (frames[0, 0] + frames[0, 2]) / 2)
    assert torch.equal(mean[1], frames[1, 1])


def test_masked_softmax_is_the_definition():
    logits, mask = random(2, 3), torch.tensor([[True, True, False], [False, True, False]])
    weights = masked_softmax(logits, mask)
    total = math.exp(logits[0, 0]) + math.exp(logits[0, 1])
    assert weights[0].tolist() == pytest.approx([math.exp(logits[0, 0]) / total, math.exp(logits[0, 1]) / total, 0.0])
    assert weights[1].tolist() == [0.0, 1.0, 0.0]


def test_empty_and_ill_typed_masks_are_refused():
    frames, empty = random(2, 3, 4), torch.tensor([[True, False, True], [False, False, False]])
    with pytest.raises(ValueError, match="video 1 has no real frame"):
        masked_mean(frames, empty)
    with pytest.raises(ValueError, match="all False"):
        masked_softmax(random(2, 3), empty)
    with pytest.raises(ValueError, match="must be bool"):
        masked_mean(frames, torch.ones(2, 3))
    with pytest.raises(ValueError, match="must be bool"):
        masked_softmax(random(2, 3), torch.ones(2, 3))
    with pytest.raises(ValueError, match="shape"):
        masked_mean(frames, torch.ones(2, 4, dtype=torch.bool))


@pytest.mark.parametrize("block", [1, 3, 4, 100])
def test_blocks_equal_the_whole(block):
    texts = Texts(random(7, 5))
    mask = torch.rand(6, 3, generator=torch.Generator().manual_seed(2)) > 0.4
    mask[:, 0] = True
    videos = Videos(random(6, 3, 5, seed=1), mask)
    head = MeanPoolHead()
    assert torch.allclose(score_in_blocks(head, texts, videos, block), head.score(texts, videos).matrix_TV, atol=1e-6)


def test_blocks_carry_tokens_masks_and_streams():
    class TokenScorer:
        def score(self, texts: Texts, videos: Videos) -> Scores:
            assert texts.tokens_TLD is not None
            assert texts.mask_TL is not None
            assert texts.streams is not None
            words = (texts.tokens_TLD * texts.mask_TL[:, :, None]).sum(1) + texts.streams["noun"].pooled_TD
            return Scores(words @ videos.frames_VFD[:, 0].T)

    texts = Texts(random(5, 4), random(5, 2, 4), random(5, 2) > 0, {"noun": Texts(random(5, 4, seed=3))})
    videos = Videos(random(3, 1, 4), torch.ones(3, 1, dtype=torch.bool))
    whole = TokenScorer().score(texts, videos).matrix_TV
    assert torch.allclose(score_in_blocks(TokenScorer(), texts, videos, 2), whole, atol=1e-6)


@pytest.mark.parametrize(("text", "video", "said"), [(5, None, "text 1 .*from text 4"), (None, 4, "video 1.*video 3")])
def test_a_row_without_direction_is_named_with_the_place_of_its_block(text, video, said):
    texts, videos = Texts(random(7, 5)), Videos(random(6, 3, 5, seed=1), torch.ones(6, 3, dtype=torch.bool))
    for row, vectors in ((text, texts.pooled_TD), (video, videos.frames_VFD)):
        if row is not None:
            vectors[row] = 0
    with pytest.raises(ValueError, match=said):
        score_in_blocks(MeanPoolHead(), texts, videos, 4 if text else 3)
    with pytest.raises(ValueError, match=f"{text or video} ?.*embed it again.$"):
        score_in_blocks(MeanPoolHead(), texts, videos, 7)


def test_blocks_of_nothing_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        score_in_blocks(MeanPoolHead(), Texts(random(1, 2)), Videos(random(1, 1, 2), torch.ones(1, 1) > 0), 0)
