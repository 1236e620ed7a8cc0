"""The offline towers: fast paths against plain ones, the text tower against transformers, ConSE by its definition."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reelseek.encoders import efficientnet, minilm
from reelseek.encoders.offline import PREPROCESS, ConseProjection, OfflineBackbone, class_texts
from reelseek.records import Texts, Videos

CAPTIONS = ["a dog runs on the beach", "two women cook", "Ünïcode, 漢字 & 🎬!", "", "word " * 300]


@pytest.fixture(scope="module")
def backbone() -> OfflineBackbone:
    return OfflineBackbone()


@pytest.fixture(scope="module")
def conse() -> ConseProjection:
    return ConseProjection()


@pytest.fixture(scope="module")
def pixels_N3HW() -> Tensor:
    """Smooth random pictures: noise alone is nothing that the network has seen."""
    torch.manual_seed(0)
    return F.interpolate(2 * torch.rand(5, 3, 8, 8) - 1, size=224, mode="bicubic", align_corners=False)


# --- frames ---


def plain_same(images: Tensor, weight: Tensor, stride: int, groups: int) -> Tensor:
    """TensorFlow's "same" convolution from its definition: ceil(side / stride) outputs, the odd padding pixel last."""
    side, kernel = images.shape[-1], weight.shape[-1]
    padding = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    before, after = padding // 2, padding - padding // 2
    return F.conv2d(F.pad(images, (before, after, before, after)), weight, stride=stride, groups=groups)


def plain_features(state: dict[str, Tensor], images: Tensor) -> Tensor:
    """EfficientNet-Lite0 layer by layer from the published weights, without the classes under test."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(x, mean, variance, state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-3)

    strides = {0: 1, 1: 2, 3: 2, 5: 2, 11: 2}
    x = F.relu6(norm(plain_same(images, state["_conv_stem.weight"], 2, 1), "_bn0"))
    for number in range(16):
        block, start = f"_blocks.{number}", x
        if number:
            x = F.relu6(norm(F.conv2d(x, state[f"{block}._expand_conv.weight"]), f"{block}._bn0"))
        depthwise = state[f"{block}._depthwise_conv.weight"]
        stride = strides.get(number, 1)
        x = F.relu6(norm(plain_same(x, depthwise, stride, len(depthwise)), f"{block}._bn1"))
        x = norm(F.conv2d(x, state[f"{block}._project_conv.weight"]), f"{block}._bn2")
        x = x + start if x.shape == start.shape else x
    return F.relu6(norm(F.conv2d(x, state["_conv_head.weight"]), "_bn1")).mean((2, 3))


def test_frames_equal_the_published_network(backbone: OfflineBackbone, pixels_N3HW: Tensor) -> None:
    state = torch.load(efficientnet.weights_file(), weights_only=True)
    with torch.no_grad():
        wanted_ND = plain_features(state, pixels_N3HW)
    found_ND = backbone.encode_frames(pixels_N3HW)
    assert found_ND.shape == (5, 1280)
    torch.testing.assert_close(found_ND, wanted_ND, atol=5e-5, rtol=0)


def test_folding_changes_nothing_but_speed(pixels_N3HW: Tensor) -> None:
    plain, folded = efficientnet.load_efficientnet(), efficientnet.fold(efficientnet.load_efficientnet())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    with torch.no_grad():
        torch.testing.assert_close(folded(pixels_N3HW), plain(pixels_N3HW), atol=2e-5, rtol=0)


@pytest.mark.parametrize(("side", "kernel"), [(7, 3), (8, 3), (7, 5), (8, 5), (112, 5)])
def test_same_padding_by_its_definition(side: int, kernel: int) -> None:
    images = torch.randn(1, 2, side, side)
    for stride in (1, 2):
        conv = efficientnet.SameConv(2, 2, kernel, stride, groups=2, bias=False)
        with torch.no_grad():
            torch.testing.assert_close(conv(images), plain_same(images, conv.weight, stride, 2), atol=1e-5, rtol=0)


def test_frames_one_by_one_equal_a_batch(backbone: OfflineBackbone, pixels_N3HW: Tensor) -> None:
    many_N3HW = pixels_N3HW.repeat(4, 1, 1, 1)[:18]  # more than one pass
    together_ND = backbone.encode_frames(many_N3HW)
    alone_ND = torch.cat([backbone.encode_frames(frame[None]) for frame in pixels_N3HW])
    torch.testing.assert_close(together_ND, alone_ND.repeat(4, 1)[:18], atol=2e-5, rtol=0)


def test_half_precision_is_close(pixels_N3HW: Tensor, backbone: OfflineBackbone) -> None:
    half = OfflineBackbone(precision="bfloat16")
    found_ND = half.encode_frames(pixels_N3HW)
    assert found_ND.dtype == torch.float32
    assert F.cosine_similarity(found_ND, backbone.encode_frames(pixels_N3HW)).min() > 0.998
    assert half.id == backbone.id


def test_outputs_may_be_trained_on(backbone: OfflineBackbone, pixels_N3HW: Tensor) -> None:
    texts, frames_ND = backbone.encode_texts(CAPTIONS[:2]), backbone.encode_frames(pixels_N3HW[:1])
    (nn.Linear(384, 2)(texts.tokens_TLD).sum() + nn.Linear(1280, 2)(frames_ND).sum()).backward()
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_it_states_how_it_wants_its_pixels(backbone: OfflineBackbone) -> None:
    assert backbone.preprocess == PREPROCESS
    assert (backbone.name, backbone.text_width, backbone.frame_width) == ("offline", 384, 1280)
    assert (PREPROCESS.crop, PREPROCESS.mean, PREPROCESS.std) == (224, (127.0,) * 3, (128.0,) * 3)


# --- texts ---


def test_texts_equal_transformers_bert(backbone: OfflineBackbone) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(**json.loads((minilm.folder() / "config.json").read_text()))
    reference = BertModel(config).eval()
    from safetensors.torch import load_file

    reference.load_state_dict(load_file(minilm.folder() / "model.safetensors"), strict=False)
    texts = backbone.encode_texts(CAPTIONS)
    for number, caption in enumerate(CAPTIONS):
        ids = torch.tensor([backbone.tokenizer.encode(caption).ids])
        with torch.no_grad():
            tokens_LD = reference(input_ids=ids).last_hidden_state[0]
        count = ids.shape[1]
        assert texts.mask_TL[number].sum() == count == texts.mask_TL[number, :count].sum()
        torch.testing.assert_close(texts.tokens_TLD[number, :count], tokens_LD, atol=2e-5, rtol=0)
        torch.testing.assert_close(texts.pooled_TD[number], F.normalize(tokens_LD.mean(0), dim=0), atol=1e-6, rtol=0)


def test_long_texts_are_cut_at_256_pieces(backbone: OfflineBackbone) -> None:
    assert backbone.encode_texts(["word " * 1000]).mask_TL.shape == (1, 256)


def test_a_text_s_vectors_do_not_depend_on_its_batch(backbone: OfflineBackbone) -> None:
    captions = [f"{'very ' * (number % 9)}long caption {number}" for number in range(40)]
    together = backbone.encode_texts(captions)
    for number in (0, 8, 39):
        alone = backbone.encode_texts([captions[number]])
        torch.testing.assert_close(together.pooled_TD[number], alone.pooled_TD[0], atol=1e-6, rtol=0)


def test_a_query_is_encoded_by_one_thread(backbone: OfflineBackbone, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    monkeypatch.setattr(
        minilm, "batch", lambda rows, batch=minilm.batch: threads.append(torch.get_num_threads()) or batch(rows)
    )
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        backbone.encode_texts(["a cat"])
        backbone.encode_texts(["a cat"] * 5)
        assert threads == [1, 2]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_no_caption_is_an_error(backbone: OfflineBackbone) -> None:
    with pytest.raises(ValueError, match="at least one"):
        backbone.encode_texts([])


# --- ConSE ---


def test_class_texts_never_hold_the_placeholder() -> None:
    texts = class_texts()
    assert len(texts) == 1000
    assert not any("No description" in text for text in texts)
    assert sum(":" in text for text in texts) >= 975
    assert texts[0].startswith("tench: ")


def test_shipped_class_embeddings_are_the_class_texts(backbone: OfflineBackbone, conse: ConseProjection) -> None:
    texts, chosen = class_texts(), range(0, 1000, 83)
    wanted_CD = backbone.encode_texts([texts[number] for number in chosen]).pooled_TD
    torch.testing.assert_close(conse.classes_CD[list(chosen)], wanted_CD, atol=2e-4, rtol=0)


def test_a_frame_is_the_weighted_sum_of_its_classes(conse: ConseProjection) -> None:
    torch.manual_seed(0)
    frames_VFD = torch.rand(2, 3, 1280) * 2
    texts = Texts(torch.randn(2, 384))
    made_texts, videos = conse(texts, Videos(frames_VFD, torch.ones(2, 3, dtype=torch.bool)))
    assert made_texts is texts
    for v in range(2):
        for f in range(3):
            logits_C = (conse.weight_CD.double() @ frames_VFD[v, f].double() + conse.bias_C.double()) / 2
            shares_C = (logits_C - logits_C.max()).exp()
            wanted_D = sum(share * text for share, text in zip(shares_C, conse.classes_CD.double(), strict=True))
            found_D = videos.frames_VFD[v, f].double()
            torch.testing.assert_close(found_D, wanted_D / shares_C.sum(), atol=1e-6, rtol=0)


def test_a_frame_of_one_class_stands_at_its_text(conse: ConseProjection) -> None:
    sure_ND = 500 * conse.weight_CD[[207, 340]]
    found_ND = conse.mixture(sure_ND)
    torch.testing.assert_close(found_ND, conse.classes_CD[[207, 340]], atol=1e-3, rtol=0)


def test_its_state_is_a_hash_alone(conse: ConseProjection) -> None:
    assert [name for name, _ in conse.named_parameters()] == []
    assert {name: value.shape for name, value in conse.state_dict().items()} == {"source_N": (8,)}
