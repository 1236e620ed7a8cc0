"""Settings that would do nothing are refused before anything is loaded: a run must be what its settings say.

Light: settings alone. Not here: settings that do not exist (`reelseek.app.settings`).
"""

from __future__ import annotations

from dataclasses import fields

from reelseek.config import LossConfig, MethodConfig, RunConfig, TrainConfig
from reelseek.errors import ConfigError

_TOWERS = frozenset(["name", "backbone", "width"])
_HEAD = _TOWERS | {"temporal", "layers", "text_layer"}
_INCREMENT = frozenset(
    [
        *(
            "frame_temperature",
            "dropout",
            "dropout_kind",
            "initialisation",
            "side",
            "context",
            "query",
            "sign",
            "heads",
        ),
        *("increment_layers", "padding", "counted_frames"),
    ]
)
_STREAMS = frozenset(
    ["sentences", "gate", "fusion_aggregation", "entity_aggregation", "action_aggregation", "streams", "inference"]
)
METHOD_SETTINGS: dict[str, frozenset[str]] = {
    "zero-shot": _TOWERS,
    "clip4clip": _HEAD,
    "gare-baseline": _HEAD | {"frame_temperature"},
    "gare": _HEAD | _INCREMENT,
    "camoe": _HEAD | _STREAMS,
    "camoe-gare": _HEAD | _STREAMS | _INCREMENT,
}
"""What each method reads of `MethodConfig`."""
_REGULARISERS = frozenset(
    [
        *("kl_weight", "kl_reduction", "prior_sigma", "direction_weight", "direction", "alpha"),
        *("norm_weight", "norm_bound"),
    ]
)


def refuse_unread(config: RunConfig) -> None:
    """Raise ConfigError for a setting that is not at its default and that this run would not read."""
    method, name = config.method, config.method.name
    read = METHOD_SETTINGS.get(name)
    if read is None:  # `reelseek.methods.build` says so better
        return
    read = read - _idle(method)
    lost = [f"method.{entry}" for entry in _changed(method, MethodConfig()) if entry not in read]
    unread = set() if "dropout" in read else set(_REGULARISERS)
    unread |= set() if config.loss.contrastive == "dual_softmax" else {"dual_softmax_temperature"}
    unread |= set() if "streams" in read else {"stream_weight"}
    lost += [f"loss.{entry}" for entry in _changed(config.loss, LossConfig()) if entry in unread]
    if lost:
        raise ConfigError(f"{' and '.join(lost)}: {name} with these settings does not read it. Leave it out.")
    _refuse_without_towers(config.train)


def _idle(method: MethodConfig) -> set[str]:
    """Settings of CAMoE's experts and gate that have nothing to do with these streams and experts."""
    streams = {stream.strip() for stream in method.streams.split(",")}
    kinds = {
        "fusion_aggregation": method.fusion_aggregation,
        "entity_aggregation": method.entity_aggregation,
        "action_aggregation": method.action_aggregation,
    }
    if not {"fusion"} <= streams <= {name.removesuffix("_aggregation") for name in kinds}:
        return set()  # for `build` to refuse
    idle = {name for name in kinds if name.removesuffix("_aggregation") not in streams}
    mixed = [kind for name, kind in kinds.items() if name not in idle]
    # Experts that are all mean pooling are one and the same, and one expert alone has no company.
    return idle | ({"gate"} if len(mixed) == 1 or set(mixed) == {"mean"} else set())


def _changed(config: MethodConfig | LossConfig, usual: MethodConfig | LossConfig) -> list[str]:
    names = [entry.name for entry in fields(config)]
    return [name for name in names if getattr(config, name) != getattr(usual, name)]


def _refuse_without_towers(config: TrainConfig) -> None:
    given = {
        "train.chunk": config.chunk > 0,
        "train.gradient_checkpointing": config.gradient_checkpointing,
        "train.freeze_layers": config.freeze_layers >= 0,
    }
    lost = [name for name, is_given in given.items() if is_given]
    if lost and config.backbone_learning_rate == 0:
        raise ConfigError(
            f"{' and '.join(lost)}: the towers stay frozen here, so there is nothing to save or keep. Leave it out, or "
            "give the towers a train.backbone_learning_rate."
        )
