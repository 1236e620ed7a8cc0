"""How each method is put together: projection, temporal module and head over a backbone.

A backbone with a joint space of its own (CLIP, SigLIP: equal widths) keeps it; towers that were never trained together
get a linear projection into one width.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from torch import nn

from reelseek.config import MethodConfig
from reelseek.encoders.projection import LinearProjection
from reelseek.encoders.temporal import LstmTemporal, TransformerTemporal, initialise_from_text_tower
from reelseek.errors import ConfigError
from reelseek.language.sentences import Sentences
from reelseek.methods.clip4clip import MeanPoolHead
from reelseek.methods.gare import BaselineHead, GareHead
from reelseek.methods.method import Method
from reelseek.records import Backbone

MAX_FRAMES = 128
"""Longest video, in frames, that a temporal transformer takes; fewer where it starts from a tower of fewer."""


MAX_TOKENS = 256
"""Longest text, in tokens, that a transformer over words takes: no text tower gives more."""


def zero_shot(config: MethodConfig, backbone: Backbone) -> Method:
    """The backbone alone: cosine of the text with the mean frame; nothing is trained.

    The offline towers meet by ConSE (see `reelseek.encoders.offline`), whose frames must not be normalised one by one.
    """
    if not has_joint_space(backbone):
        from reelseek.encoders.offline import ConseProjection

        return _method(config, backbone, MeanPoolHead(normalise_frames=False), projection=ConseProjection())
    return _method(config, backbone, MeanPoolHead())


def clip4clip(config: MethodConfig, backbone: Backbone) -> Method:
    """CLIP4Clip (arXiv 2104.08860): mean pooling after no temporal module, an LSTM or a transformer."""
    return assemble(config, backbone, MeanPoolHead())


def gare_baseline(config: MethodConfig, backbone: Backbone) -> Method:
    """GARE's own baseline: frames weighted by their product with the text, no increment."""
    return assemble(config, backbone, BaselineHead(temperature=config.frame_temperature))


def gare(config: MethodConfig, backbone: Backbone) -> Method:
    """GARE (arXiv 2505.12499): the baseline plus a learned increment for each pair, on the side that `config` names."""
    head = gare_head(config, joint_width(config, backbone))
    return assemble(config, backbone, head, words=config.context == "words")


def gare_head(config: MethodConfig, width: int) -> GareHead:
    """GARE's head as the settings describe it, for vectors of `width`.

    Raises ConfigError for settings that do not go together.
    """
    try:
        return GareHead(
            width,
            temperature=config.frame_temperature,
            dropout=config.dropout,
            dropout_kind=config.dropout_kind,
            initialisation=config.initialisation,
            side=config.side,
            context=config.context,
            query=config.query,
            sign=config.sign,
            heads=config.heads,
            layers=config.increment_layers,
            padding=config.padding,
            counted_frames=config.counted_frames,
        )
    except ValueError as error:
        raise ConfigError(f"GARE's head cannot be built from these settings of the method: {error}") from None


def has_joint_space(backbone: Backbone) -> bool:
    """Whether the two towers were trained together."""
    return backbone.text_width == backbone.frame_width


def joint_width(config: MethodConfig, backbone: Backbone) -> int:
    """D of the projected space: the backbone's own if it has one, else `config.width`."""
    return backbone.text_width if has_joint_space(backbone) else config.width


def assemble(
    config: MethodConfig,
    backbone: Backbone,
    head: nn.Module,
    *,
    words: bool = False,
    sentences: Sentences | None = None,
) -> Method:
    """A head with the projection and the temporal module of the settings. words, sentences: see `Method`."""
    width = joint_width(config, backbone)
    projection = None
    if not has_joint_space(backbone):
        projection = LinearProjection(backbone.text_width, backbone.frame_width, width)
    return _method(
        config,
        backbone,
        head,
        projection=projection,
        temporal=_temporal(config, backbone, width),
        words=words,
        text_layer=_text_layer(config, width),
        sentences=sentences,
    )


def _text_layer(config: MethodConfig, width: int) -> nn.Module | None:
    if config.text_layer == "none":
        return None
    if config.text_layer == "lstm":
        return LstmTemporal(width)
    if width % 64:
        raise ConfigError(f"a transformer over words has heads of 64: method.width {width} is not a multiple of it.")
    return TransformerTemporal(width, layers=1, heads=width // 64, max_frames=MAX_TOKENS)


def _temporal(config: MethodConfig, backbone: Backbone, width: int) -> nn.Module | None:
    if config.temporal == "mean":
        return None
    if config.temporal == "lstm":
        return LstmTemporal(width)
    if width % 64:
        raise ConfigError(f"a temporal transformer has heads of 64: method.width {width} is not a multiple of it.")
    clip_model: Any = getattr(backbone, "model", None)
    if clip_model is None or not has_text_transformer(clip_model, width):
        return TransformerTemporal(width, layers=config.layers, heads=width // 64, max_frames=MAX_FRAMES)
    tower = clip_model.config.text_config
    if config.layers > tower.num_hidden_layers:
        raise ConfigError(
            f"method.layers {config.layers}: the temporal transformer starts from the text tower's, and that has "
            f"{tower.num_hidden_layers}."
        )
    most = min(MAX_FRAMES, tower.max_position_embeddings)
    temporal = TransformerTemporal(width, layers=config.layers, heads=width // 64, max_frames=most)
    initialise_from_text_tower(temporal, clip_model)
    return temporal


def has_text_transformer(model: nn.Module, width: int) -> bool:
    """Whether CLIP4Clip's initialisation applies: a CLIP text tower of this width, fourfold inside."""
    text = getattr(getattr(model, "config", None), "text_config", None)
    sizes = (getattr(text, "hidden_size", 0), getattr(text, "intermediate_size", 0))
    return getattr(text, "model_type", "") == "clip_text_model" and sizes == (width, 4 * width)


def _method(
    config: MethodConfig,
    backbone: Backbone,
    head: nn.Module,
    *,
    projection: nn.Module | None = None,
    temporal: nn.Module | None = None,
    words: bool = False,
    text_layer: nn.Module | None = None,
    sentences: Sentences | None = None,
) -> Method:
    return Method(
        name=config.name,
        backbone=backbone,
        head=head,
        projection=projection,
        temporal=temporal,
        words=words,
        text_layer=text_layer,
        sentences=sentences,
        config=asdict(config),
    )
