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
    mask_VF = torch.ones(3, 4, dtype=torch.bool)
    mask_VF[1, 3] = False
    return texts, Videos(torch.randn(3, 4, 10), mask_VF)


def standardised(vector_D: torch.Tensor) -> torch.Tensor:
    centred_D = vector_D - vector_D.sum() / len(vector_D)
    return centred_D / ((centred_D * centred_D).sum() / len(vector_D) + 1e-5).sqrt()


def test_every_vector_is_mapped_by_its_side_s_matrix() -> None:
    projection = LinearProjection(6, 10, 8)
    texts, videos = example()
    with torch.no_grad():
        made_texts, made_videos = projection(texts, videos)
    weight_text, weight_frame = projection.text.weight.detach(), projection.frame.weight.detach()
    for t in range(2):
        torch.testing.assert_close(made_texts.pooled_TD[t], weight_text @ standardised(texts.pooled_TD[t]))
        torch.testing.assert_close(
            made_texts.streams["nouns"].pooled_TD[t], weight_text @ standardised(texts.streams["nouns"].pooled_TD[t])
        )
        for token in range(3):
            expected = weight_text @ standardised(texts.tokens_TLD[t, token]) * texts.mask_TL[t, token]
            torch.testing.assert_close(made_texts.tokens_TLD[t, token], expected)
    for v in range(3):
        for f in range(4):
            expected = weight_frame @ standardised(videos.frames_VFD[v, f]) * videos.mask_VF[v, f]
            torch.testing.assert_close(made_videos.frames_VFD[v, f], expected)
    assert made_texts.mask_TL is texts.mask_TL
    assert made_videos.mask_VF is videos.mask_VF


def test_texts_without_tokens_stay_without() -> None:
    made, _ = LinearProjection(6, 10, 8)(Texts(torch.randn(2, 6)), example()[1])
    assert made.tokens_TLD is None
    assert made.streams is None


@pytest.mark.parametrize("scale", [0.1, 10.0])
def test_vectors_of_any_scale_start_at_the_stated_length(scale: float) -> None:
    torch.manual_seed(0)
    projection = LinearProjection(64, 256, 128)
    texts = Texts(scale * torch.randn(200, 64))
    videos = Videos(torch.randn(50, 4, 256) / scale, torch.ones(50, 4, dtype=torch.bool))
    with torch.no_grad():
        made_texts, made_videos = projection(texts, videos)
    assert made_texts.pooled_TD.norm(dim=-1).mean() == pytest.approx(10, rel=0.05)
    assert made_videos.frames_VFD.norm(dim=-1).mean() == pytest.approx(10, rel=0.05)


def test_both_maps_have_gradients_and_nothing_else_has() -> None:
    projection = LinearProjection(6, 10, 8)
    texts, videos = projection(*example())
    (texts.pooled_TD.sum() + videos.frames_VFD.sum()).backward()
    assert {name for name, weight in projection.named_parameters() if weight.grad is not None} == {
        "text.weight",
        "frame.weight",
    }
    assert len(list(projection.parameters())) == 2


def test_what_stands_in_padding_reaches_no_weight() -> None:
    def gradients(filled: float) -> list[torch.Tensor]:
        torch.manual_seed(0)
        projection = LinearProjection(6, 10, 8)
        texts, videos = example()
        assert texts.tokens_TLD is not None
        assert texts.mask_TL is not None
        texts = texts._replace(tokens_TLD=texts.tokens_TLD.masked_fill(~texts.mask_TL[..., None], filled))
        videos = videos._replace(frames_VFD=videos.frames_VFD.masked_fill(~videos.mask_VF[..., None], filled))
        made, seen = projection(texts, videos)
        real = made.tokens_TLD[made.mask_TL].square().sum() + seen.frames_VFD[seen.mask_VF].square().sum()
        return list(torch.autograd.grad(real, list(projection.parameters())))

    for plain, strange in zip(gradients(0.0), gradients(float("nan")), strict=True):
        assert torch.equal(plain, strange)
