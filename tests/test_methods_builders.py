"""Methods put together over CLIP as it is released: 77 positions, temporal modules that start from the text tower."""

from __future__ import annotations

import copy
import hashlib
import json

import pytest
import torch
from torch import nn

from reelseek.config import MethodConfig
from reelseek.encoders.clip import ClipBackbone
from reelseek.encoders.temporal import TransformerTemporal
from reelseek.errors import ConfigError
from reelseek.methods import build
from reelseek.methods.method import Method
from reelseek.recipes import RECIPES, recipe
from reelseek.records import Preprocess, Texts, Videos

WIDTH, POSITIONS = 64, 77


class Words:
    """Stands in for a tokenizer that is never asked."""

    def get_vocab(self) -> dict[str, int]:
        return {"a": 0}


@pytest.fixture(scope="module")
def towers() -> ClipBackbone:
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    shared = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_attention_heads": 1}
    text = {"num_hidden_layers": 5, "vocab_size": 8, "max_position_embeddings": POSITIONS, "eos_token_id": 7}
    text |= {"bos_token_id": 6, "pad_token_id": 7}
    vision = {"num_hidden_layers": 1, "image_size": 16, "patch_size": 8}
    model = CLIPModel(CLIPConfig(text_config=shared | text, vision_config=shared | vision, projection_dim=WIDTH))
    spec = Preprocess(16, 16, (127.5,) * 3, (127.5,) * 3)
    return ClipBackbone(model.eval(), Words(), spec)


def inputs(frames: int) -> tuple[Texts, Videos]:
    """Two texts with tokens and CAMoE's streams, and two videos."""
    mask_VF = torch.ones(2, frames, dtype=torch.bool)
    texts = Texts(torch.randn(2, WIDTH), torch.randn(2, 3, WIDTH), torch.ones(2, 3, dtype=torch.bool))
    texts = texts._replace(streams={"entity": texts, "action": texts})
    return texts, Videos(torch.randn(2, frames, WIDTH), mask_VF)


@pytest.mark.parametrize("name", [name for name in RECIPES if "msrvtt" in name])
def test_every_recipe_over_clip_can_be_built_and_scores(name: str, towers: ClipBackbone) -> None:
    method = build(recipe(name).method, towers).eval()
    assert method.score(*method.project(*inputs(12))).matrix_TV.shape == (2, 2)


@pytest.mark.parametrize("name", [name for name in RECIPES if "msrvtt" in name])
def test_every_recipe_over_clip_takes_its_scores_apart(name: str, towers: ClipBackbone) -> None:
    method = build(recipe(name).method, towers).eval()
    texts, videos = method.project(*inputs(12))
    parts = method.explain(texts, videos)
    assert parts is not None
    torch.testing.assert_close(parts.matrix_TV, method.score(texts, videos).matrix_TV.detach(), atol=1e-5, rtol=0)


class Apart:
    """Stands in for towers without a joint space."""

    name, id, text_width, frame_width = "offline", "apart", 24, 20


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"temporal": "transformer"}, "temporal transformer has"),
        ({"text_layer": "transformer"}, "transformer over words has"),
        ({"name": "camoe", "action_aggregation": "attention"}, "self-attention has"),
    ],
)
def test_a_width_that_heads_of_64_do_not_divide_is_refused(settings: dict[str, str], what: str) -> None:
    with pytest.raises(ConfigError, match=f"{what} heads of 64: method.width 100"):
        build(MethodConfig(width=100, **settings), Apart())


def test_settings_reach_the_baseline_and_the_layer_over_words(towers: ClipBackbone) -> None:
    method = build(MethodConfig(name="gare-baseline", frame_temperature=7.0, text_layer="transformer"), towers)
    assert method.head.temperature == 7.0
    assert isinstance(method.text_layer, TransformerTemporal)
    assert len(method.text_layer.blocks) == 1


def test_a_head_that_cannot_say_takes_nothing_apart(towers: ClipBackbone) -> None:
    method = Method(name="bare", backbone=towers, head=nn.Identity())
    assert method.explain(*inputs(2)) is None
    assert method.kept_words("a dog runs") == {}


def test_frame_positions_are_all_that_the_text_tower_has(towers: ClipBackbone) -> None:
    temporal = build(recipe("gare-msrvtt").method, towers).temporal
    assert temporal is not None
    wanted = towers.model.text_model.embeddings.position_embedding.weight
    torch.testing.assert_close(temporal.positions.weight, wanted, rtol=0, atol=0)


def test_more_frames_than_positions_name_the_setting(towers: ClipBackbone) -> None:
    method = build(recipe("gare-msrvtt").method, towers)
    with pytest.raises(ConfigError, match=r"up to 77 frames, not 78: lower sample\.frames"):
        method.project(*inputs(78))


def test_more_layers_than_the_text_tower_has_are_refused(towers: ClipBackbone) -> None:
    with pytest.raises(ConfigError, match=r"method\.layers 6.*has 5"):
        build(MethodConfig(name="clip4clip", temporal="transformer", layers=6), towers)


def test_an_id_names_what_the_towers_are_and_not_where_they_lie(towers: ClipBackbone) -> None:
    ids = {build(MethodConfig(name="zero-shot", backbone=place), towers).id for place in ("./clip", "/models/clip")}
    assert len(ids) == 1


@pytest.mark.parametrize("name", ["clip4clip", "gare-baseline", "gare"])
def test_mixed_precision_ends_before_the_score(name: str, towers: ClipBackbone) -> None:
    torch.manual_seed(0)
    method = build(MethodConfig(name=name), towers).eval()
    texts, videos = inputs(4)
    plain_TV = method.score(texts, videos).matrix_TV
    with torch.autocast("cpu", torch.bfloat16):
        mixed_TV = method.score(texts, videos).matrix_TV
        halved_TV = method.score(Texts(texts.pooled_TD.bfloat16()), videos).matrix_TV
    assert torch.equal(mixed_TV, plain_TV)
    assert halved_TV.dtype == torch.float32


SCORED = {
    "clip4clip": {},
    "gare-baseline": {},
    "gare": {},
    "gare of words": {"context": "words"},
    "camoe": {"fusion_aggregation": "attention", "entity_aggregation": "se", "gate": "full", "inference": "sum"},
    "camoe-gare": {"fusion_aggregation": "attention", "action_aggregation": "se", "gate": "multi"},
}


@pytest.mark.parametrize("mixed", [False, True], ids=["whole", "autocast"])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", SCORED)
def test_prepared_videos_are_scored_as_score_does(
    name: str, kind: torch.dtype, mixed: bool, towers: ClipBackbone
) -> None:
    torch.manual_seed(0)
    method = build(MethodConfig(name=name.split()[0], **SCORED[name]), towers).eval()
    for parameter in method.head.parameters():
        nn.init.normal_(parameter, std=0.1)
    texts, videos = inputs(4)
    texts, videos = (side.each(lambda x: x if x.dtype == torch.bool else x.to(kind)) for side in (texts, videos))
    texts.pooled_TD.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        found_TV, wanted_TV = method.prepare(videos)(texts), method.score(texts, videos).matrix_TV
    assert found_TV.dtype == wanted_TV.dtype == torch.float32
    assert not found_TV.requires_grad
    torch.testing.assert_close(found_TV, wanted_TV, atol=1e-6, rtol=0)


@pytest.mark.parametrize("stuff", [float("nan"), 3e38])
@pytest.mark.parametrize("layer", ["none", "lstm", "transformer"])
@pytest.mark.parametrize("temporal", ["mean", "lstm", "transformer"])
@pytest.mark.parametrize("name", ["clip4clip", "gare"])
def test_what_stands_in_padding_reaches_neither_scores_nor_gradients(
    name: str, temporal: str, layer: str, stuff: float, towers: ClipBackbone
) -> None:
    torch.manual_seed(0)
    method = build(MethodConfig(name=name, temporal=temporal, text_layer=layer, layers=2), towers).eval()
    texts, videos = inputs(4)
    mask_TL, mask_VF = (torch.arange(count) < torch.tensor([[count], [2]]) for count in (3, 4))
    found = []
    for value in (0.0, stuff):
        method.zero_grad()
        tokens_TLD = texts.tokens_TLD.masked_fill(~mask_TL[..., None], value)
        frames_VFD = videos.frames_VFD.masked_fill(~mask_VF[..., None], value)
        batch = method.project(Texts(texts.pooled_TD, tokens_TLD, mask_TL), Videos(frames_VFD, mask_VF))
        matrix_TV = method.score(*batch).matrix_TV
        (matrix_TV.square().sum() * method.logit_scale).backward()
        trained = [weight.grad.clone() for weight in method.parameters() if weight.grad is not None]
        found.append([matrix_TV.detach(), *trained])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", SCORED)
def test_weights_in_half_precision_are_refused_in_words(name: str, kind: torch.dtype, towers: ClipBackbone) -> None:
    method = build(MethodConfig(name=name.split()[0], **SCORED[name]), copy.deepcopy(towers)).to(kind).eval()
    batch = inputs(4)
    for score in (method.project, method.score, lambda texts, videos: method.prepare(videos)(texts), method.explain):
        with pytest.raises(ValueError, match=r"the weights are torch\.b?float16, .* call float\(\) on the method"):
            score(*batch)
    scores = method.float().score(*method.project(*batch))
    assert torch.isfinite(scores.matrix_TV).all()


def test_an_id_is_of_the_weights_bytes_in_any_precision(towers: ClipBackbone) -> None:
    torch.manual_seed(0)
    method = build(MethodConfig(name="gare"), copy.deepcopy(towers))
    digest = hashlib.blake2b(digest_size=8)
    config = {key: value for key, value in method.config.items() if key != "backbone"}
    digest.update(json.dumps([method.name, method.backbone.id, config], sort_keys=True).encode())
    for key, value in sorted(method.state_dict().items()):
        if not key.startswith("backbone."):
            digest.update(key.encode() + value.numpy().tobytes())
    whole = method.id
    assert whole == digest.hexdigest()
    assert len({whole, method.bfloat16().id, method.half().id}) == 3


def test_the_temporal_transformer_of_other_towers_keeps_its_own_positions() -> None:
    class Towers(nn.Module):
        id = name = "towers"
        preprocess = Preprocess(16, 16, (127.5,) * 3, (127.5,) * 3)
        text_width, frame_width = 5, 7

    method = build(MethodConfig(name="clip4clip", temporal="transformer", width=64), Towers())
    assert isinstance(method, Method)
    assert method.temporal is not None
    assert method.temporal.max_frames == 128
