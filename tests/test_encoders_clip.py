"""CLIP and SigLIP backbones, on tiny random models that are built here without a network."""

from __future__ import annotations

import json
import shutil
import socket
import time
from pathlib import Path

import pytest
import torch

from reelseek.encoders import clip, hub
from reelseek.encoders.clip import ClipBackbone, load_clip, probe_bf16
from reelseek.encoders.processor import computes_bf16
from reelseek.errors import HubUnreachable, ModelError
from reelseek.records import Preprocess

WORDS = ["<pad>", "<unk>", "a", "dog", "runs", "cat", "sleeps", "the", "red", "ball", "<start>", "<end>"]
CAPTIONS = ["a dog runs", "the red cat sleeps", "ball"]


def tiny_tokenizer(folder: Path, kind: str) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    start, end = WORDS.index("<start>"), WORDS.index("<end>")
    if kind == "siglip":
        words.post_processor = processors.TemplateProcessing(single="$A <end>", special_tokens=[("<end>", end)])
    else:
        words.post_processor = processors.TemplateProcessing(
            single="<start> $A <end>", special_tokens=[("<start>", start), ("<end>", end)]
        )
    names = {"bos_token": "<start>", "eos_token": "<end>", "unk_token": "<unk>"}
    # As in the real ones: CLIP and SigLIP pad with their end token.
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<end>", **names).save_pretrained(folder)


def tiny_folder(folder: Path, kind: str, *, eos: int = 11, width: int = 16) -> Path:
    from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

    torch.manual_seed(0)
    shared = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = shared | {"vocab_size": 12, "max_position_embeddings": 12, "bos_token_id": 10, "eos_token_id": eos}
    vision = shared | {"image_size": 32, "patch_size": 8}
    if kind == "clip":
        text |= {"pad_token_id": eos}
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=width))
    else:
        text |= {"max_position_embeddings": 64, "projection_size": 32, "pad_token_id": 11}
        model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter.data, std=0.1)
    model.save_pretrained(folder)
    tiny_tokenizer(folder, kind)
    return folder


@pytest.fixture(scope="module", params=["clip", "siglip"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def backbone(folder: Path) -> ClipBackbone:
    return load_clip(folder)


def test_vectors_equal_the_model_s_own_features(backbone: ClipBackbone) -> None:
    pixels_N3HW = torch.randn(3, 3, 32, 32)
    padded = {"padding": "max_length", "max_length": 64} if backbone.name == "siglip" else {"padding": True}
    ids_TL = backbone.tokenizer(CAPTIONS, return_tensors="pt", **padded)["input_ids"]
    with torch.no_grad():
        wanted = backbone.model(input_ids=ids_TL, pixel_values=pixels_N3HW)
    unit = torch.nn.functional.normalize
    texts, frames_ND = backbone.encode_texts(CAPTIONS), backbone.encode_frames(pixels_N3HW)
    torch.testing.assert_close(unit(texts.pooled_TD, dim=-1), wanted.text_embeds, atol=1e-6, rtol=0)
    torch.testing.assert_close(unit(frames_ND, dim=-1), wanted.image_embeds, atol=1e-6, rtol=0)
    assert texts.pooled_TD.shape[1] == backbone.text_width == backbone.frame_width == frames_ND.shape[1]


def test_the_pooled_vector_is_one_of_the_token_vectors(backbone: ClipBackbone) -> None:
    texts = backbone.encode_texts(CAPTIONS)
    ends = texts.mask_TL.sum(1) - 1 if backbone.name == "clip" else torch.full((3,), 63)  # SigLIP pools the last place
    torch.testing.assert_close(texts.tokens_TLD[torch.arange(3), ends], texts.pooled_TD, atol=1e-6, rtol=0)


def test_mask_counts_a_caption_s_tokens_with_its_special_ones(backbone: ClipBackbone) -> None:
    special = 2 if backbone.name == "clip" else 1
    _, mask_TL = backbone.tokenize(CAPTIONS)
    assert mask_TL.sum(1).tolist() == [len(caption.split()) + special for caption in CAPTIONS]
    assert not (mask_TL[:, 1:] & ~mask_TL[:, :-1]).any()


def test_a_text_s_vectors_do_not_depend_on_its_batch(backbone: ClipBackbone) -> None:
    together = backbone.encode_texts(CAPTIONS)
    for number, caption in enumerate(CAPTIONS):
        alone = backbone.encode_texts([caption])
        torch.testing.assert_close(together.pooled_TD[number], alone.pooled_TD[0], atol=1e-6, rtol=0)
        count = int(alone.mask_TL.sum())
        torch.testing.assert_close(together.tokens_TLD[number, :count], alone.tokens_TLD[0, :count], atol=1e-6, rtol=0)


def test_siglip_pads_to_its_context_and_clip_to_the_longest(backbone: ClipBackbone) -> None:
    ids_TL, _ = backbone.tokenize(CAPTIONS)
    assert ids_TL.shape[1] == (64 if backbone.name == "siglip" else 6)


def test_long_texts_are_cut_and_keep_their_end(backbone: ClipBackbone) -> None:
    ids_TL, mask_TL = backbone.tokenize(["dog " * 200])
    assert ids_TL.shape[1] == backbone.context
    assert mask_TL.all()
    assert ids_TL[0, -1] == WORDS.index("<end>")


def test_chunked_equals_whole(backbone: ClipBackbone) -> None:
    pixels_N3HW = torch.randn(35, 3, 32, 32)
    with torch.no_grad():
        whole_ND = backbone.forward_frames(pixels_N3HW)
    torch.testing.assert_close(backbone.encode_frames(pixels_N3HW), whole_ND, atol=1e-5, rtol=0)
    captions = CAPTIONS * 22
    repeated = backbone.encode_texts(captions).pooled_TD
    torch.testing.assert_close(repeated, backbone.encode_texts(CAPTIONS).pooled_TD.repeat(22, 1), atol=1e-5, rtol=0)


def test_the_trainable_path_has_gradients_and_the_encoding_path_none(backbone: ClipBackbone) -> None:
    texts = backbone.forward_texts(*backbone.tokenize(CAPTIONS))
    frames_ND = backbone.forward_frames(torch.randn(2, 3, 32, 32))
    (texts.pooled_TD.sum() + texts.tokens_TLD.sum() + frames_ND.sum()).backward()
    lacking = {name for name, weight in backbone.model.named_parameters() if weight.grad is None}
    assert lacking <= {"logit_scale", "logit_bias"}
    backbone.model.zero_grad()
    encoded = backbone.encode_texts(CAPTIONS)
    assert not encoded.pooled_TD.requires_grad
    head = torch.nn.Linear(backbone.text_width, 4)
    head(encoded.pooled_TD).sum().backward()  # an inference tensor would raise here


def test_legacy_end_token_in_the_configuration(tmp_path: Path) -> None:
    modern = load_clip(tiny_folder(tmp_path / "modern", "clip"))
    legacy = load_clip(tiny_folder(tmp_path / "legacy", "clip", eos=2))
    assert legacy.model.text_model.eos_token_id == 2
    ids = (modern.encode_texts(CAPTIONS).pooled_TD, legacy.encode_texts(CAPTIONS).pooled_TD)
    torch.testing.assert_close(*ids, atol=1e-6, rtol=0)


def test_id_follows_the_weights(folder: Path) -> None:
    first, second = load_clip(folder), load_clip(folder)
    assert first.id == second.id
    assert first.id.startswith(first.name)
    before = first.id
    with torch.no_grad():
        next(first.model.parameters()).mul_(1.001)
    assert first.id != before
    first.load_state_dict(second.state_dict())
    assert first.id == before


def test_id_follows_the_preprocessing(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert load_clip(copy).id == load_clip(folder).id
    settings = {"size": {"height": 32, "width": 32}, "do_center_crop": False, "image_mean": [0.1, 0.2, 0.3]}
    (copy / "preprocessor_config.json").write_text(json.dumps(settings))
    assert load_clip(copy).id != load_clip(folder).id


def test_bfloat16_is_close_and_probing_keeps_the_precision(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip, "computes_bf16", lambda: True)
    backbone = load_clip(folder)
    pixels_N3HW = torch.randn(4, 3, 32, 32)
    plain_ND = backbone.encode_frames(pixels_N3HW)
    assert isinstance(probe_bf16(backbone, pixels_N3HW), bool)
    assert backbone.precision == "float32"
    half = load_clip(folder, precision="bfloat16")
    assert half.encode_frames(pixels_N3HW).dtype == torch.float32
    assert torch.cosine_similarity(plain_ND, half.encode_frames(pixels_N3HW)).min() > 0.99
    auto = load_clip(folder, precision="auto")
    auto.encode_texts(["a"])
    assert auto.precision == "auto"
    auto.encode_frames(pixels_N3HW)
    assert auto.precision in ("float32", "bfloat16")


class Rounding:
    """A backbone whose bfloat16 is as far off as told."""

    precision = "float32"

    def __init__(self, error: float) -> None:
        self.error = error

    def frames_in_torch(self, pixels_N3HW: torch.Tensor) -> torch.Tensor:
        return torch.eye(len(pixels_N3HW)) + self.error * (self.precision == "bfloat16")


@pytest.mark.parametrize(
    ("error", "native", "wanted"), [(0.0, True, True), (0.0, False, False), (0.01, True, True), (0.1, True, False)]
)
def test_probe_wants_both_the_processor_and_closeness(
    error: float, native: bool, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip, "computes_bf16", lambda: native)
    assert probe_bf16(Rounding(error), torch.zeros(4, 3, 2, 2)) is wanted


def test_the_processor_says_whether_it_computes_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, wanted in (({"avx2": True}, False), ({"avx512_bf16": False}, False), ({"amx_bf16": True}, True)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=found: found, raising=False)
        assert computes_bf16() is wanted
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    for found in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda found=found: found, raising=False)
        assert computes_bf16() is found
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert computes_bf16() is False


# --- preprocessing ---


def test_preprocess_of_openai_s_file() -> None:
    mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    for size, crop in ((224, 224), ({"shortest_edge": 224}, {"height": 224, "width": 224})):
        settings = {"size": size, "crop_size": crop, "do_center_crop": True, "image_mean": mean, "image_std": std}
        made = hub.preprocess_from(settings | {"resample": 3}, side=224, kind="clip")
        assert made == hub.preprocess_from(None, side=224, kind="clip")
        assert (made.resize, made.crop, made.interpolation, made.squash) == (224, 224, "bicubic", False)
        assert made.mean == pytest.approx([255 * value for value in mean])


def test_clip_constants_agree_with_the_transform_s() -> None:
    from reelseek.video.transform import CLIP

    made = hub.preprocess_from(None, side=224, kind="clip")
    assert (made.resize, made.crop, made.interpolation, made.squash) == tuple(CLIP)[:2] + tuple(CLIP)[4:]
    assert made.mean == pytest.approx(CLIP.mean)
    assert made.std == pytest.approx(CLIP.std)


def test_preprocess_of_siglip_s_file_squashes() -> None:
    half = [0.5, 0.5, 0.5]
    settings = {"size": {"height": 384, "width": 384}, "image_mean": half, "image_std": half, "resample": 3}
    wanted = Preprocess(384, 384, (127.5,) * 3, (127.5,) * 3, squash=True)
    assert hub.preprocess_from(settings, side=384, kind="siglip") == wanted
    assert hub.preprocess_from(None, side=384, kind="siglip") == wanted


@pytest.mark.parametrize(
    "settings", [{"size": {"longest_edge": 224}}, {"size": 224, "crop_size": 192}, {"size": 224, "resample": 0}]
)
def test_preprocess_refuses_what_it_does_not_know(settings: dict) -> None:
    with pytest.raises(ModelError, match="preprocessor_config"):
        hub.preprocess_from(settings, side=224, kind="clip")


# --- finding and refusing ---


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise socket.gaierror("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.usefixtures("no_network")
def test_an_unknown_hub_name_fails_fast_in_one_sentence() -> None:
    start = time.perf_counter()
    with pytest.raises(HubUnreachable, match="the model 'offline' needs no download") as caught:
        load_clip("nobody/no-such-clip-model")
    assert time.perf_counter() - start < 10
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_offline_switch_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "urlopen", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(HubUnreachable, match="HF_HUB_OFFLINE"):
        load_clip("nobody/no-such-clip-model")


@pytest.mark.usefixtures("no_network")
def test_a_cached_name_loads_without_a_network(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "0" * 40
    repository = tmp_path / "models--somebody--tiny"
    shutil.copytree(folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert load_clip("somebody/tiny").id == load_clip(folder).id
    (tmp_path / "somebody").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_clip("somebody/tiny").id == load_clip(folder).id, "a folder of its owner's name hides it"


def test_a_name_below_a_folder_that_is_here_is_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "urlopen", lambda *_, **__: pytest.fail("asked the hub"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for ask in (load_clip, hub.find_tokenizer, lambda name: hub.find_snapshot(name, ["config.json"])):
        with pytest.raises(ModelError, match=r"runs/nope.*folder") as caught:
            ask("runs/nope")
        assert not isinstance(caught.value, HubUnreachable)


@pytest.mark.parametrize("name", ["./no-such-folder", "/no/such/folder", "a/b/c", "weights.pt", "no such name"])
def test_what_cannot_be_a_hub_name_is_no_hub_error(name: str) -> None:
    with pytest.raises(ModelError, match="folder") as caught:
        load_clip(name)
    assert not isinstance(caught.value, HubUnreachable)


def damage(folder: Path, kind: str) -> None:
    if kind == "no config":
        (folder / "config.json").unlink()
    elif kind == "no weights":
        (folder / "model.safetensors").unlink()
    elif kind == "no tokenizer":
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer_config.json").unlink()
    elif kind == "cut tokenizer":
        (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text()[:200])
    elif kind == "cut weights":
        (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:500])
    elif kind == "cut config":
        (folder / "config.json").write_text('{"model_type": "cl')
    elif kind == "another kind":
        (folder / "config.json").write_text('{"model_type": "bert"}')
    elif kind == "fewer weights":
        from safetensors.torch import load_file, save_file

        state = load_file(folder / "model.safetensors")
        state.pop("text_model.final_layer_norm.weight")
        save_file(state, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    "kind",
    [
        "no config",
        "no weights",
        "no tokenizer",
        "cut tokenizer",
        "cut weights",
        "cut config",
        "another kind",
        "fewer weights",
    ],
)
def test_a_damaged_folder_is_named(folder: Path, tmp_path: Path, kind: str) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    damage(copy, kind)
    with pytest.raises(ModelError, match="copy") as caught:
        load_clip(copy)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_mixed_precision_around_the_towers_reaches_them(backbone: ClipBackbone) -> None:
    seen: list[torch.dtype] = []
    layer = backbone.model.vision_model.encoder.layers[0].mlp.fc1
    handle = layer.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    try:
        with torch.autocast("cpu", torch.bfloat16):
            backbone.forward_frames(torch.randn(1, 3, 32, 32))
        backbone.forward_frames(torch.randn(1, 3, 32, 32))
    finally:
        handle.remove()
    assert seen == [torch.bfloat16, torch.float32]


def test_every_parameter_that_can_be_trained_gets_a_gradient(folder: Path) -> None:
    towers = load_clip(folder).train()
    texts = towers.forward_texts(*towers.tokenize(CAPTIONS))
    (texts.pooled_TD.square().sum() + towers.forward_frames(torch.randn(2, 3, 32, 32)).square().sum()).backward()
    idle = [name for name, parameter in towers.named_parameters() if parameter.requires_grad and parameter.grad is None]
    assert not idle
