"""Which parameter learns how fast: groups, the rate's course, the bound of the logit scale.

Not here: the loop that calls these, and BertAdam's update (`reelseek.training.bert_adam`).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from reelseek.config import TrainConfig
from reelseek.training.bert_adam import BertAdam

DECAYED = (nn.Linear, nn.modules.conv._ConvNd, nn.Bilinear, nn.RNNBase, nn.MultiheadAttention)
"""Modules whose weight matrices decay. Nothing else does: no bias, no norm, no embedding, no bare parameter."""

BETAS = (0.9, 0.98)
EPSILON = 1e-6


def freeze_towers(method: nn.Module, config: TrainConfig) -> None:
    """Take the backbone out of training when its learning rate is 0."""
    backbone = getattr(method, "backbone", None)
    if isinstance(backbone, nn.Module) and config.backbone_learning_rate == 0:
        backbone.requires_grad_(False)


def parameter_groups(method: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Groups over every trainable parameter, each once; "base" is the peak rate, "names" name the parameters.

    A weight decays only where its module's type says that it is a matrix between features (`DECAYED`); names play no
    part, since "LayerNorm.weight" matches nothing in a model that calls its norms ln_1. With "bertadam" everything
    decays that is no bias, as that mistake had it. Parameters of `method.backbone` learn at backbone_learning_rate, and
    so does the logit scale where the backbone learns. Raises ValueError when nothing is trainable.
    """
    backbone = getattr(method, "backbone", None)
    of_backbone = {id(p) for p in backbone.parameters()} if isinstance(backbone, nn.Module) else set()
    if config.backbone_learning_rate > 0:
        of_backbone.add(id(getattr(method, "log_scale", None)))
    decayed = {
        id(parameter)
        for module in method.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if _decays(module, name, parameter, config)
    }
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in method.named_parameters():
        if not parameter.requires_grad:
            continue
        tower, decays = id(parameter) in of_backbone, id(parameter) in decayed
        key = ("backbone" if tower else "head") + ("" if decays else ", no decay")
        rate = config.backbone_learning_rate if tower else config.learning_rate
        decay = config.weight_decay if decays else 0.0
        group = groups.setdefault(
            key, {"name": key, "params": [], "names": [], "lr": rate, "base": rate, "weight_decay": decay}
        )
        group["params"].append(parameter)
        group["names"].append(name)
    if not groups:
        raise ValueError("the method has no trainable parameter: there is nothing to fit")
    return list(groups.values())


def _decays(module: nn.Module, name: str, parameter: nn.Parameter, config: TrainConfig) -> bool:
    if config.optimizer == "bertadam":
        return "bias" not in name
    return isinstance(module, DECAYED) and "weight" in name and parameter.ndim > 1


def make_optimizer(method: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW (arXiv 1711.05101) or `BertAdam` over `parameter_groups`, betas and epsilon of CLIP (arXiv 2103.00020).

    Raises ValueError for another optimiser.
    """
    if config.optimizer not in ("adamw", "bertadam"):
        raise ValueError(f'optimizer must be "adamw" or "bertadam", not {config.optimizer!r}.')
    groups = parameter_groups(method, config)
    if config.optimizer == "bertadam":
        return BertAdam(groups, betas=BETAS, eps=EPSILON)
    return torch.optim.AdamW(groups, betas=BETAS, eps=EPSILON)


def rate_at(step: int, steps_per_epoch: int, config: TrainConfig) -> float:
    """Share of the peak learning rate at a step of the run, counted from 0; a schedule shorter than the run is its own.

    ValueError for such a schedule with "adamw", whose rate is 0 at its end.
    """
    total = (config.schedule_epochs or config.epochs) * steps_per_epoch
    if config.optimizer == "bertadam":
        return released_factor(step, total, config.warmup)
    return rate_factor(step, total, config.warmup)


def rate_factor(step: int, total: int, warmup: float) -> float:
    """Share of the peak learning rate at a step counted from 0: linear warm-up, then cosine to zero.

    With w = floor(warmup * total): (step + 1) / (w + 1) for step < w, so that the first step moves; then
    (1 + cos(pi * (step - w) / (total - w))) / 2, which is 1 at step w and would be 0 at step `total`.
    """
    if not 0 <= step < total or not 0 <= warmup < 1:
        raise ValueError(f"step {step} of {total} with warm-up {warmup}: wanted 0 <= step < total and 0 <= warm-up < 1")
    rising = math.floor(warmup * total)
    if step < rising:
        return (step + 1) / (rising + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / (total - rising)))


def released_factor(step: int, total: int, warmup: float) -> float:
    """The same as CLIP4Clip and GARE were released with: x = step / total; x / warmup below the warm-up's end, then
    (1 + cos(pi x)) / 2.

    So the first step does not move, the rate falls at once when the warm-up ends (to 0.9755 for 0.1), and beyond
    `total` it rises again.
    """
    if step < 0 or total < 1 or not 0 <= warmup < 1:
        raise ValueError(f"step {step} of {total} with warm-up {warmup}: wanted 0 <= step, 0 < total, 0 <= warm-up < 1")
    done = step / total
    return done / warmup if done < warmup else 0.5 * (1 + math.cos(math.pi * done))


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Every group's learning rate, as a share of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["base"] * factor


def clamp_scale(method: nn.Module, max_logit_scale: float) -> None:
    """Bound the learned logit scale (the factor, not its logarithm) from above."""
    log_scale = getattr(method, "log_scale", None)
    if isinstance(log_scale, nn.Parameter):
        with torch.no_grad():
            log_scale.clamp_(max=math.log(max_logit_scale))
