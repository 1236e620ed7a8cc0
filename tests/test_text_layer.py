"""A trained layer over the text tower's tokens: its mean stands for the text, whatever the padding."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from reelseek.config import MethodConfig
from reelseek.encoders.offline import OfflineBackbone
from reelseek.encoders.temporal import LstmTemporal, TransformerTemporal
from reelseek.errors import ConfigError
from reelseek.methods import build
from reelseek.methods.method import Method
from reelseek.records import Texts, Videos

CAPTIONS = ("a red ball rises and then falls", "a ball", "the ball falls and then a red ball rises slowly to the right")


@pytest.fixture(scope="module")
def backbone() -> OfflineBackbone:
    return OfflineBackbone()


def method_with(backbone: OfflineBackbone, layer: str, name: str = "clip4clip") -> Method:
    torch.manual_seed(0)
    method = build(MethodConfig(name=name, width=64, text_layer=layer, frame_temperature=10.0), backbone).eval()
    for parameter in method.text_layer.parameters() if method.text_layer is not None else ():
        nn.init.normal_(parameter, std=0.2)
    return method


def one_video(backbone: OfflineBackbone) -> Videos:
    return Videos(torch.rand(1, 2, backbone.frame_width), torch.ones(1, 2, dtype=torch.bool))


@pytest.mark.parametrize(("layer", "kind"), [("lstm", LstmTemporal), ("transformer", TransformerTemporal)])
def test_a_text_is_the_mean_of_its_read_tokens(backbone: OfflineBackbone, layer: str, kind: type) -> None:
    method = method_with(backbone, layer)
    assert isinstance(method.text_layer, kind)
    texts = method.encode_texts(CAPTIONS)
    assert texts.tokens_TLD is not None
    assert texts.mask_TL is not None
    with torch.no_grad():
        read, _ = method.project(texts, one_video(backbone))
        projected, _ = method.projection(texts, one_video(backbone))
        for number, mask_L in enumerate(texts.mask_TL):
            length = int(mask_L.sum())
            alone = projected.tokens_TLD[number : number + 1, :length]
            tokens_LD = method.text_layer(alone, torch.ones(1, length, dtype=torch.bool))[0]
            expected_D = sum(tokens_LD[place] for place in range(length)) / length
            torch.testing.assert_close(read.pooled_TD[number], expected_D, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("layer", ["lstm", "transformer"])
def test_texts_alone_and_in_a_batch_are_the_same(backbone: OfflineBackbone, layer: str) -> None:
    method = method_with(backbone, layer)
    with torch.no_grad():
        together = method.project(method.encode_texts(CAPTIONS), one_video(backbone))[0].pooled_TD
        for number, caption in enumerate(CAPTIONS):
            alone = method.project(method.encode_texts([caption]), one_video(backbone))[0].pooled_TD[0]
            torch.testing.assert_close(together[number], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("layer", ["lstm", "transformer"])
def test_it_reads_order_and_learns(backbone: OfflineBackbone, layer: str) -> None:
    method = method_with(backbone, layer)
    texts = method.encode_texts(CAPTIONS[:1])
    turned = texts._replace(tokens_TLD=texts.tokens_TLD.flip(1))
    one, other = (method.project(each, one_video(backbone))[0].pooled_TD for each in (texts, turned))
    assert not torch.allclose(one, other, atol=1e-3)
    one.sum().backward()
    gradients = [parameter.grad for parameter in method.text_layer.parameters()]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)
    assert any(bool(gradient.abs().max() > 0) for gradient in gradients)


def test_without_it_a_text_is_the_towers_sentence_vector(backbone: OfflineBackbone) -> None:
    method = method_with(backbone, "none")
    assert method.text_layer is None
    assert method.encode_texts(CAPTIONS).tokens_TLD is None


def test_it_goes_with_words_as_the_increments_context(backbone: OfflineBackbone) -> None:
    torch.manual_seed(0)
    config = MethodConfig(name="gare", width=64, text_layer="lstm", context="words", frame_temperature=10.0)
    method = build(config, backbone).eval()
    with torch.no_grad():
        texts, videos = method.project(method.encode_texts(CAPTIONS), one_video(backbone))
        assert torch.isfinite(method.score(texts, videos).matrix_TV).all()


def test_texts_without_words_are_refused(backbone: OfflineBackbone) -> None:
    method = method_with(backbone, "lstm")
    with pytest.raises(ValueError, match="embedded without them"):
        method.project(Texts(torch.rand(2, backbone.text_width)), one_video(backbone))


def test_a_width_without_heads_is_refused(backbone: OfflineBackbone) -> None:
    with pytest.raises(ConfigError, match="multiple"):
        build(MethodConfig(name="clip4clip", width=48, text_layer="transformer"), backbone)
