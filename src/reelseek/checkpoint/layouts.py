"""Pure mappings from the state dicts of other projects to transformers' `CLIPModel` and to reelseek's temporal modules.

Layouts: "openai" (`visual.*`, `transformer.resblocks.*`; also open_clip's classic models), "open_clip" (text under
`text.*`), "clip4clip" (`clip.*` with a temporal module), "gare" (the same with `psi.*`), "transformers" (as it is).
Not here: reading and writing files (`reelseek.checkpoint.read`, `.convert`). No tensor is changed in place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reelseek.errors import ModelError

# Head width where it is not 64, by the width of the vision tower: open_clip's ViT-H, ViT-g and ViT-bigG.
_HEAD_WIDTHS = {1280: 80, 1408: 88, 1664: 104}
# Entries of released files that are no weights.
_NO_WEIGHTS = {"input_resolution", "context_length", "vocab_size", "attn_mask", "text.attn_mask"}
_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_TEMPORAL_BLOCK = {
    "ln_1": "norm_1",
    "ln_2": "norm_2",
    "attn.out_proj": "mixed",
    "attn.in_proj": "qkv",
    "mlp.c_fc": "inner",
    "mlp.c_proj": "outer",
}
_WHOLE = {
    "logit_scale": "logit_scale",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}
# Names of models that share these towers, most telling first. GARE's own weight_fc is left over from DiCoSA and unused.
_OTHERS = {
    "clip.visual.conv2.": "CLIP4Clip with 3D patches",
    "similarity_dense.": "CLIP4Clip's tightTransf",
    "cross.": "CLIP4Clip's tightTransf",
    "text_weight_fc.": "DRL's token-wise interaction",
    "global_mat_weight": "X-CLIP",
    "stochastic.": "T-MASS",
    "pool_frames.": "X-Pool",
    "weight_fc.": "DiCoSA or a relative of it",
}
_LEFT_OVER = "weight_fc."
# x @ projection there, x @ weight.T here.
_TRANSPOSED = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}


class Mapped(NamedTuple):
    """A state dict taken apart.

    clip: under transformers' names. temporal: under those of `reelseek.encoders.temporal`. gare: the increment module
    under its authors' names. unexpected: names that nothing here knows.
    """

    clip: dict[str, Tensor]
    temporal: dict[str, Tensor]
    gare: dict[str, Tensor]
    unexpected: list[str]


def detect_layout(state: Mapping[str, Tensor]) -> str:
    """The layout's name. ModelError for none of them, naming what the file has."""
    names = set(state)
    if "visual.conv1.weight" in names and "token_embedding.weight" in names:
        return "openai"
    if "visual.conv1.weight" in names and "text.token_embedding.weight" in names:
        return "open_clip"
    if "clip.visual.conv1.weight" in names:
        return "gare" if any(".psi." in f".{name}" for name in names) else "clip4clip"
    if any(name.startswith("vision_model.") for name in names):
        return "transformers"
    other = recognised(state)
    raise ModelError(
        f"no known layout of CLIP weights: expected visual.conv1.weight or clip.visual.conv1.weight among "
        f"{len(names)} names such as {', '.join(sorted(names)[:3])}"
        + (f"; this looks like {other}, which is not implemented" if other else "")
    )


def recognised(state: Mapping[str, Tensor]) -> str:
    """The model whose names these are, where it is one that nothing here implements; "" otherwise."""
    return next((model for start, model in _OTHERS.items() if any(name.startswith(start) for name in state)), "")


def map_openai(state: Mapping[str, Tensor]) -> Mapped:
    """OpenAI's and classic open_clip's names to transformers': fused attention maps split, projections transposed."""
    clip: dict[str, Tensor] = {}
    unexpected = []
    for name, value in state.items():
        block = re.fullmatch(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)\.(weight|bias)", name)
        fused = re.fullmatch(r"(visual\.)?transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)", name)
        if name in _WHOLE:
            clip[_WHOLE[name]] = value
        elif name in _TRANSPOSED:
            clip[_TRANSPOSED[name]] = value.T.contiguous()
        elif block and block[3] in _BLOCK:
            clip[f"{_tower(block[1])}.encoder.layers.{block[2]}.{_BLOCK[block[3]]}.{block[4]}"] = value
        elif fused:
            for part, rows in zip("qkv", value.chunk(3), strict=True):
                clip[f"{_tower(fused[1])}.encoder.layers.{fused[2]}.self_attn.{part}_proj.{fused[3]}"] = rows.clone()
        elif name not in _NO_WEIGHTS:
            unexpected.append(name)
    return Mapped(clip, {}, {}, unexpected)


def map_open_clip(state: Mapping[str, Tensor]) -> Mapped:
    """open_clip's names with the text tower under `text.`: as OpenAI's once that prefix is gone."""
    return map_openai({name.removeprefix("text."): value for name, value in state.items() if name not in _NO_WEIGHTS})


def map_clip4clip(state: Mapping[str, Tensor]) -> Mapped:
    """CLIP4Clip's names: `clip.*` as OpenAI's, and the seqTransf or seqLSTM module, if any, as reelseek's."""
    inner = map_openai({name.removeprefix("clip."): value for name, value in state.items() if name.startswith("clip.")})
    temporal: dict[str, Tensor] = {}
    unexpected = [f"clip.{name}" for name in inner.unexpected]
    lstm = any(name.startswith("lstm_visual.") for name in state)
    for name, value in state.items():
        block = re.fullmatch(r"transformerClip\.resblocks\.(\d+)\.(.+)[._](weight|bias)", name)
        if block and block[2] in _TEMPORAL_BLOCK:
            temporal[f"blocks.{block[1]}.{_TEMPORAL_BLOCK[block[2]]}.{block[3]}"] = value
        elif name == "frame_position_embeddings.weight":
            if not lstm:  # CLIP4Clip makes positions for its LSTM too, but never adds them
                temporal["positions.weight"] = value
        elif name.startswith("lstm_visual."):
            temporal[f"lstm.{name.removeprefix('lstm_visual.')}"] = value
        elif not name.startswith("clip."):
            unexpected.append(name)
    return Mapped(inner.clip, temporal, {}, unexpected)


def map_gare(state: Mapping[str, Tensor]) -> Mapped:
    """GARE's names: as CLIP4Clip's, and its increment module (`psi.*`, `agent.psi.*`, equal) without that prefix."""
    gare = {name.split("psi.", 1)[1]: value for name, value in state.items() if ".psi." in f".{name}"}
    others = {name: value for name, value in state.items() if ".psi." not in f".{name}"}
    rest = map_clip4clip({name: value for name, value in others.items() if not name.startswith(_LEFT_OVER)})
    return rest._replace(gare=gare)


METHOD_LAYOUTS = ("clip4clip", "gare")
"""Layouts of whole retrieval methods; the others are CLIP alone."""

MAPPINGS = {"openai": map_openai, "open_clip": map_open_clip, "clip4clip": map_clip4clip, "gare": map_gare}


def clip_config_from(clip: Mapping[str, Tensor], source: Path, *, activation: str = "quick_gelu") -> dict[str, Any]:
    """The config.json of transformers' `CLIPModel` that fits mapped weights.

    Shapes tell all but two things: heads are 64 wide (80, 88 and 104 in open_clip's largest vision towers), and the
    activation is OpenAI's "quick_gelu" unless told otherwise: most open_clip weights want "gelu".
    ModelError where the weights, those of the file `source`, lack a tower.
    """
    try:
        vocabulary, text_width = clip["text_model.embeddings.token_embedding.weight"].shape
        context = clip["text_model.embeddings.position_embedding.weight"].shape[0]
        vision_width, _, patch, _ = clip["vision_model.embeddings.patch_embedding.weight"].shape
        places = clip["vision_model.embeddings.position_embedding.weight"].shape[0]
        width = clip["text_projection.weight"].shape[0]
        inner = {tower: clip[f"{tower}_model.encoder.layers.0.mlp.fc1.weight"].shape[0] for tower in ("text", "vision")}
    except (KeyError, ValueError) as error:
        raise ModelError(
            f"{source}: not a whole CLIP vision transformer and text tower, it lacks {error}. Was it written whole?"
        ) from None
    side = round((places - 1) ** 0.5) * patch
    shared = {"hidden_act": activation, "layer_norm_eps": 1e-5, "projection_dim": width}
    text = {
        "model_type": "clip_text_model",
        "hidden_size": text_width,
        "intermediate_size": inner["text"],
        "num_hidden_layers": _layers(clip, "text"),
        "num_attention_heads": max(text_width // 64, 1),
        "vocab_size": vocabulary,
        "max_position_embeddings": context,
        # The last two entries of the vocabulary are the start and the end of a text.
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": vision_width,
        "intermediate_size": inner["vision"],
        "num_hidden_layers": _layers(clip, "vision"),
        "num_attention_heads": max(vision_width // _HEAD_WIDTHS.get(vision_width, 64), 1),
        "image_size": side,
        "patch_size": patch,
    }
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": width,
        "text_config": shared | text,
        "vision_config": shared | vision,
    }


def clip_names(config: Mapping[str, Any]) -> set[str]:
    """All names that `CLIPModel` of such a configuration has weights for."""
    names = set(_WHOLE.values()) | set(_TRANSPOSED.values())
    inner = [f"self_attn.{part}_proj" for part in "qkv"] + list(_BLOCK.values())
    for tower in ("text", "vision"):
        for number in range(config[f"{tower}_config"]["num_hidden_layers"]):
            layer = f"{tower}_model.encoder.layers.{number}"
            names |= {f"{layer}.{part}.{kind}" for part in inner for kind in ("weight", "bias")}
    return names


def _layers(clip: Mapping[str, Tensor], tower: str) -> int:
    numbers = (re.match(rf"{tower}_model\.encoder\.layers\.(\d+)\.", name) for name in clip)
    return max(int(number[1]) for number in numbers if number) + 1


def _tower(prefix: str | None) -> str:
    return "vision_model" if prefix else "text_model"


def as_float32(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors in float32: released files mix it with float16."""
    return {name: value.to(torch.float32).contiguous() for name, value in tensors.items()}
