"""The linear joint space: what is mapped, what stays, and how it starts."""

from __future__ import annotations

import pytest
import torch

from reelseek.encoders.projection import LinearProjection
from reelseek.records import Texts, Videos


def example() -> tuple[Texts, Videos]:
    mask_TL = torch.tensor([[True, True, False], [True, True, True]])
    stream = Texts(torch.randn(2, 6))
    texts = Texts(torch.randn(2, 6), torch.randn(2, 3, 6), mask_TL, {"nouns": stream})
    return texts, Videos(torch.randn(3, 4, 10), torch.ones(3, 4, dtype=torch.bool))


def test_every_vector_is_mapped_by_its_side_s_matrix() -> None:
    projection = LinearProjection(6, 10, 8)
    texts, videos = example()
    with torch.no_grad():
        made_texts, made_videos = projection(texts, videos)
    weight_text, weight_frame = projection.text.weight.detach(), projection.frame.weight.detach()
    for t in range(2):
        torch.testing.assert_close(made_texts.pooled_TD[t], weight_text @ texts.pooled_TD[t])
        torch.testing.assert_close(
            made_texts.streams["nouns"].pooled_TD[t], weight_text @ texts.streams["nouns"].pooled_TD[t]
        )
        for token in range(3):
            torch.testing.assert_close(made_texts.tokens_TLD[t, token], weight_text @ texts.tokens_TLD[t, token])
    for v in range(3):
        for f in range(4):
            torch.testing.assert_close(made_videos.frames_VFD[v, f], weight_frame @ videos.frames_VFD[v, f])
    assert made_texts.mask_TL is texts.mask_TL
    assert made_videos.mask_VF is videos.mask_VF


def test_texts_without_tokens_stay_without() -> None:
    made, _ = LinearProjection(6, 10, 8)(Texts(torch.randn(2, 6)), example()[1])
    assert made.tokens_TLD is None
    assert made.streams is None


@pytest.mark.parametrize("width", [64, 256])
def test_lengths_are_kept_on_average_for_equal_widths(width: int) -> None:
    torch.manual_seed(0)
    projection = LinearProjection(width, width, width)
    texts, videos = (
        Texts(torch.randn(200, width)),
        Videos(torch.randn(50, 4, width), torch.ones(50, 4, dtype=torch.bool)),
    )
    with torch.no_grad():
        made_texts, made_videos = projection(texts, videos)
    assert made_texts.pooled_TD.norm() / texts.pooled_TD.norm() == pytest.approx(1.0, abs=0.05)
    assert made_videos.frames_VFD.norm() / videos.frames_VFD.norm() == pytest.approx(1.0, abs=0.05)


def test_both_maps_have_gradients_and_nothing_else_has() -> None:
    projection = LinearProjection(6, 10, 8)
    texts, videos = projection(*example())
    (texts.pooled_TD.sum() + videos.frames_VFD.sum()).backward()
    assert {name for name, weight in projection.named_parameters() if weight.grad is not None} == {
        "text.weight",
        "frame.weight",
    }
    assert len(list(projection.parameters())) == 2
