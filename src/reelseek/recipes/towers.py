"""Towers that train only in part, or in less memory. Here alone is it known how transformers' CLIP is built inside."""

from __future__ import annotations

from typing import Any

from torch import nn

from reelseek.config import TrainConfig
from reelseek.errors import ConfigError


def prepare_towers(backbone: Any, config: TrainConfig) -> None:
    """Freeze and checkpoint towers as `train.freeze_layers` and `train.gradient_checkpointing` say.

    backbone: one that trains. Raises ConfigError for more layers than a tower has, and for either setting with towers
    other than CLIP's and SigLIP's.
    """
    model = getattr(backbone, "model", None)
    if model is None:
        if config.freeze_layers >= 0 or config.gradient_checkpointing:
            raise ConfigError(
                f"train.freeze_layers and train.gradient_checkpointing are for CLIP and SigLIP; {backbone.name} towers "
                "train whole: leave both out."
            )
        return
    if config.freeze_layers >= 0:
        freeze_lower(model, config.freeze_layers)
    if config.gradient_checkpointing:
        # The first name since transformers 5.23, the second before.
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})


def freeze_lower(model: Any, layers: int) -> None:
    """Keep the first `layers` layers of both towers as they are, and what lies below them: embeddings and first norm.

    With 0 it is what CLIP4Clip's --freeze_layer_num 0, its default, keeps. Final norms and projections always train.
    Raises ConfigError for more layers than a tower has.
    """
    for tower in (model.text_model, model.vision_model):
        have = len(tower.encoder.layers)
        if layers > have:
            raise ConfigError(f"train.freeze_layers {layers}: a tower of this model has {have} layers.")
        first_norm: nn.Module = getattr(tower, "pre_layrnorm", nn.Identity())
        for module in (tower.embeddings, first_norm, *tower.encoder.layers[:layers]):
            module.requires_grad_(False)
