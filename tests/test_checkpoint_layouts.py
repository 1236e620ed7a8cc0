"""Weights of other projects: after mapping, transformers' and reelseek's modules give what the original networks give.

The original networks are those of original_clip.py.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from original_clip import CONTEXT, JOINT, PATCH, SIDE, TEXT, VISION, WORDS, OriginalClip, OriginalClip4Clip, noisy
from reelseek.checkpoint.convert import convert
from reelseek.checkpoint.layouts import (
    MAPPINGS,
    clip_config_from,
    clip_names,
    detect_layout,
    map_clip4clip,
    map_gare,
    map_openai,
    recognised,
)
from reelseek.checkpoint.vocabulary import VOCABULARY
from reelseek.encoders.temporal import LstmTemporal, TransformerTemporal
from reelseek.errors import ModelError


@pytest.fixture(scope="module")
def original() -> OriginalClip:
    torch.manual_seed(1)
    return noisy(OriginalClip())


IDS = torch.tensor([[28, 3, 5, 29, 0, 0, 0, 0, 0, 0], [28, 4, 7, 8, 9, 12, 1, 2, 3, 29]])


def transformers_outputs(clip: dict[str, Tensor], pixels: Tensor) -> tuple[Tensor, Tensor]:
    from transformers import CLIPConfig, CLIPModel

    config = clip_config_from(clip, Path("x.pt"))
    model = CLIPModel(CLIPConfig(**config)).eval()
    assert clip_names(config) == set(model.state_dict())
    model.load_state_dict(clip, strict=True)
    with torch.no_grad():
        images = model.get_image_features(pixel_values=pixels).pooler_output
        return images, model.get_text_features(input_ids=IDS).pooler_output


def in_layout(original: nn.Module, layout: str) -> dict[str, Tensor]:
    state = original.state_dict()
    if layout == "open_clip":
        text = ("transformer.", "token_", "positional_", "ln_final.", "text_projection")
        return {f"text.{name}" if name.startswith(text) else name: value for name, value in state.items()}
    prefix = "" if layout == "openai" else "clip."
    wrapped = {f"{prefix}{name}": value for name, value in state.items()}
    if layout == "gare":
        wrapped |= {"agent.psi.mean_proj.weight": torch.ones(2, 2), "agent.psi.layers.0.norm1.bias": torch.ones(2)}
    return wrapped


@pytest.mark.parametrize("layout", sorted(MAPPINGS))
def test_every_layout_gives_the_original_s_vectors(original: OriginalClip, layout: str) -> None:
    state = in_layout(original, layout)
    assert detect_layout(state) == layout
    before = {name: value.clone() for name, value in state.items()}
    mapped = MAPPINGS[layout](state)
    assert mapped.unexpected == []
    pixels = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        wanted = original(pixels, IDS)
    for found, vector in zip(transformers_outputs(mapped.clip, pixels), wanted, strict=True):
        torch.testing.assert_close(found, vector, atol=1e-5, rtol=0)
    assert all(torch.equal(state[name], before[name]) for name in before)
    mapped.clip["text_model.encoder.layers.0.self_attn.q_proj.weight"].zero_()
    assert all(torch.equal(state[name], before[name]) for name in before)


def test_config_is_read_from_shapes(original: OriginalClip) -> None:
    config = clip_config_from(map_openai(original.state_dict()).clip, Path("x.pt"))
    text, vision = config["text_config"], config["vision_config"]
    assert (config["projection_dim"], text["hidden_size"], vision["hidden_size"]) == (JOINT, TEXT, VISION)
    assert (text["num_hidden_layers"], vision["num_hidden_layers"]) == (2, 3)
    assert (text["num_attention_heads"], vision["num_attention_heads"]) == (1, 2)
    assert (vision["image_size"], vision["patch_size"]) == (SIDE, PATCH)
    assert (text["vocab_size"], text["max_position_embeddings"], text["eos_token_id"]) == (WORDS, CONTEXT, WORDS - 1)


@pytest.mark.parametrize("frames", [1, 6])
def test_clip4clip_s_transformer_gives_the_original_s_frames(frames: int) -> None:
    original = noisy(OriginalClip4Clip("transformer"))
    mapped = map_clip4clip(original.state_dict())
    assert mapped.unexpected == []
    temporal = TransformerTemporal(TEXT, layers=2, heads=TEXT // 64, max_frames=CONTEXT)
    temporal.load_state_dict(mapped.temporal, strict=True)
    frames_VFD = torch.randn(3, frames, TEXT)
    mask_VF = torch.arange(frames) < torch.tensor([[1], [frames], [max(frames - 2, 1)]])
    with torch.no_grad():
        wanted, found = original.frames(frames_VFD, mask_VF), temporal(frames_VFD, mask_VF)
    torch.testing.assert_close(found[mask_VF], wanted[mask_VF], atol=1e-5, rtol=0)


def test_clip4clip_s_lstm_gives_the_original_s_frames() -> None:
    original = noisy(OriginalClip4Clip("lstm"))
    mapped = map_clip4clip(original.state_dict())
    assert mapped.unexpected == []
    temporal = LstmTemporal(TEXT)
    temporal.load_state_dict(mapped.temporal, strict=True)
    frames_VFD, lengths = torch.randn(3, 5, TEXT), [5, 2, 4]
    mask_VF = torch.arange(5) < torch.tensor(lengths)[:, None]
    with torch.no_grad():
        found = temporal(frames_VFD, mask_VF)
        for number, length in enumerate(lengths):  # alone, without padding
            alone = frames_VFD[number : number + 1, :length]
            wanted = original.lstm_visual(alone)[0] + alone
            torch.testing.assert_close(found[number, :length], wanted[0], atol=1e-6, rtol=0)


def test_gare_s_module_keeps_its_authors_names(original: OriginalClip) -> None:
    for prefix in ("psi.", "agent.psi.", "agent.module.psi."):
        state = in_layout(original, "clip4clip") | {f"{prefix}layers.0.linear1.weight": torch.ones(3, 3)}
        assert detect_layout(state) == "gare"
        assert list(map_gare(state).gare) == ["layers.0.linear1.weight"]


def test_what_no_mapping_knows_is_listed(original: OriginalClip) -> None:
    state = in_layout(original, "clip4clip")
    extra = {"clip.visual.conv2.weight": torch.ones(1), "cross.pooler.dense.bias": torch.ones(1)}
    assert map_clip4clip(state | extra).unexpected == list(extra)


def test_unknown_layouts_and_half_models_are_refused(original: OriginalClip) -> None:
    with pytest.raises(ModelError, match="no known layout"):
        detect_layout({"conv.weight": torch.ones(1)})
    towerless = {name: value for name, value in original.state_dict().items() if "positional" not in name}
    with pytest.raises(ModelError, match=r"x\.pt: not a whole CLIP"):
        clip_config_from(map_openai(towerless).clip, Path("x.pt"))


@pytest.mark.parametrize(("width", "heads"), [(768, 12), (1024, 16), (1280, 16), (1408, 16), (1664, 16)])
def test_heads_of_the_known_vision_widths(original: OriginalClip, width: int, heads: int) -> None:
    clip = map_openai(original.state_dict()).clip
    clip["vision_model.embeddings.patch_embedding.weight"] = torch.zeros(width, 3, PATCH, PATCH)
    assert clip_config_from(clip, Path("x.pt"))["vision_config"]["num_attention_heads"] == heads


# --- whole conversions ---


def list_of_merges(folder: Path) -> None:
    """A vocabulary file of CLIP's size: real merges of small words first, then ones that never apply."""
    merges = ["t h", "th e</w>", "d o", "do g</w>", "c a", "ca t</w>"]
    letters = [chr(number) for number in (*range(0xAE, 0x100), *range(0x100, 0x144))]
    ends = [*letters, *(f"{letter}</w>" for letter in (*letters, *"abcdefghijklmnopqrstuvwxyz"))]
    merges += [f"{left} {right}" for left in letters for right in ends]
    assert len(merges) >= 48894
    merges = merges[:48894]
    with gzip.open(folder / VOCABULARY, "wt", encoding="utf-8") as file:
        file.write("\n".join(['"bpe_simple_vocab"', *merges, "never used"]))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("script", [True, False])
def test_a_converted_file_loads_and_gives_the_original_s_vectors(tmp_path: Path, script: bool) -> None:
    from reelseek.encoders.clip import load_clip

    original = noisy(OriginalClip(words=49408, context=77))
    pixels = torch.randn(2, 3, SIDE, SIDE)
    ids_TL = torch.zeros(2, 77, dtype=torch.long)
    ids_TL[:, 0], ids_TL[:, 5] = 49406, 49407
    if script:
        torch.jit.trace(original, (pixels, ids_TL)).save(str(tmp_path / "weights.pt"))
    else:
        torch.save(original.state_dict(), tmp_path / "weights.pt")
    list_of_merges(tmp_path)
    report = convert(tmp_path / "weights.pt", tmp_path / "model")
    assert (report.layout, report.missing, report.unexpected, report.note) == ("openai", [], [], "")
    assert all(path.is_file() for path in report.written)
    backbone = load_clip(tmp_path / "model")
    texts = backbone.encode_texts(["The dog", "a cat"])
    with torch.no_grad():
        padded_TL = torch.nn.functional.pad(backbone.tokenize(["The dog", "a cat"])[0], (0, 73))
        wanted = original(pixels, padded_TL)
    torch.testing.assert_close(backbone.encode_frames(pixels), wanted[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(texts.pooled_TD, wanted[1], atol=1e-5, rtol=0)


def test_the_converted_tokenizer_applies_the_merges_in_lower_case(tmp_path: Path) -> None:
    from reelseek.encoders.clip import load_clip

    torch.save(OriginalClip(words=49408, context=77).state_dict(), tmp_path / "weights.pt")
    list_of_merges(tmp_path)
    convert(tmp_path / "weights.pt", tmp_path / "model")
    vocabulary = json.loads((tmp_path / "model" / "vocab.json").read_text())
    ids_TL, _ = load_clip(tmp_path / "model").tokenize(["The  dog!"])
    pieces = [vocabulary[piece] for piece in ("the</w>", "dog</w>", "!</w>")]
    assert ids_TL.tolist() == [[49406, *pieces, 49407]]
    assert (vocabulary["!"], vocabulary["!</w>"], vocabulary["th"], len(vocabulary)) == (0, 256, 512, 49408)


@pytest.mark.parametrize("layout", ["clip4clip", "gare"])
def test_whole_methods_are_no_clip(tmp_path: Path, original: OriginalClip, layout: str) -> None:
    torch.save(in_layout(original, layout), tmp_path / "pytorch_model.bin.4")
    with pytest.raises(ModelError, match=f"whole retrieval method in {layout}'s layout"):
        convert(tmp_path / "pytorch_model.bin.4", tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("similarity_dense.weight", "tightTransf"), ("cross.pooler.dense.bias", "tightTransf"),
        ("clip.visual.conv2.weight", "3D patches"), ("text_weight_fc.0.weight", "DRL"), ("pool_frames.x", "X-Pool"),
    ],
)  # fmt: skip
def test_models_that_are_not_implemented_are_recognised(original: OriginalClip, name: str, model: str) -> None:
    state = in_layout(original, "clip4clip") | {name: torch.ones(1)}
    assert model in recognised(state)
    assert recognised(in_layout(original, "clip4clip")) == ""
    with pytest.raises(ModelError, match="X-Pool, which is not implemented"):
        detect_layout({"clip.vision_model.x": torch.ones(1), "pool_frames.x": torch.ones(1)})


def test_gare_s_left_over_weights_are_not_missed(original: OriginalClip) -> None:
    extra = {"weight_fc.0.weight": torch.ones(1), "psi.layers.0.mlp.0.weight": torch.ones(1)}
    assert map_gare(in_layout(original, "gare") | extra).unexpected == []
    assert map_clip4clip(in_layout(original, "clip4clip") | extra).unexpected == list(extra)


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"a b\nc d")])
def test_a_vocabulary_that_is_damaged_or_another_is_refused(tmp_path: Path, content: bytes) -> None:
    torch.save(OriginalClip(words=49408, context=77).state_dict(), tmp_path / "weights.pt")
    (tmp_path / VOCABULARY).write_bytes(content)
    with pytest.raises(ModelError, match=r"is damaged|another list"):
        convert(tmp_path / "weights.pt", tmp_path / "model")


def test_missing_weights_are_reported_and_the_model_refused(tmp_path: Path) -> None:
    from reelseek.encoders.clip import load_clip

    state = OriginalClip(words=49408, context=77).state_dict()
    del state["visual.ln_post.bias"]
    torch.save(state, tmp_path / "weights.pt")
    list_of_merges(tmp_path)
    report = convert(tmp_path / "weights.pt", tmp_path / "model")
    assert report.missing == ["vision_model.post_layernorm.bias"]
    with pytest.raises(ModelError, match="lacks 1 weights"):
        load_clip(tmp_path / "model")


def test_activation_is_as_told(original: OriginalClip, tmp_path: Path) -> None:
    torch.save(original.state_dict(), tmp_path / "weights.pt")
    for activation in ("gelu", "quick_gelu"):
        convert(tmp_path / "weights.pt", tmp_path / "model", activation=activation)
        config = json.loads((tmp_path / "model" / "config.json").read_text())
        assert {config[tower]["hidden_act"] for tower in ("text_config", "vision_config")} == {activation}


def test_a_file_in_transformers_layout_needs_no_conversion(tmp_path: Path) -> None:
    torch.save({"vision_model.x": torch.ones(1)}, tmp_path / "weights.pt")
    with pytest.raises(ModelError, match="layout already"):
        convert(tmp_path / "weights.pt", tmp_path / "model")
