"""Settings that would do nothing are refused before anything is loaded: a run must be what its settings say.

Light: settings alone. Not here: settings that cannot be (`reelseek.config_check`).
"""

from __future__ import annotations

from dataclasses import fields

from reelseek.config import LossConfig, MethodConfig, RunConfig, SampleConfig, TrainConfig
from reelseek.errors import ConfigError
from reelseek.recipes.parts import SEQTRANSF

_TOWERS = frozenset(["name", "backbone"])
_HEAD = _TOWERS | {"width", "temporal", "layers", "text_layer"}
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
    name = config.method.name
    if name not in METHOD_SETTINGS:  # `reelseek.methods.build` says so better
        return
    unread = {
        "method": {entry.name for entry in fields(MethodConfig)} - METHOD_SETTINGS[name] | _idle(config.method),
        "loss": _idle_losses(config.loss, config.method),
        "sample": _idle_samples(config.sample),
    }
    usual = RunConfig()
    lost = {
        f"{section}.{entry.name}": entry.default
        for section, names in unread.items()
        for entry in fields(getattr(usual, section))
        if entry.name in names and getattr(getattr(config, section), entry.name) != entry.default
    }
    if lost:
        defaults = ", ".join(f"{setting} {value}" for setting, value in lost.items())
        raise ConfigError(
            f"{' and '.join(lost)}: {name} with these settings does not read it. Leave it at its default ({defaults})."
        )
    _refuse_other_padding(config)
    _refuse_without_towers(config.train)


def _idle(method: MethodConfig) -> set[str]:
    """Settings of a method that others of its settings leave without effect."""
    idle = _idle_streams(method)
    if method.backbone != "offline":  # all others have a joint space of their own
        idle.add("width")
    # The depth that most recipes set may stay where a run takes their temporal transformer away.
    if method.temporal != "transformer" and method.layers != SEQTRANSF.layers:
        idle.add("layers")
    if method.dropout == 0:
        idle.add("dropout_kind")
    if method.padding == "masked":
        idle.add("counted_frames")
    # With no frame in the query or the context, padding only shortens the pooled frames, and a cosine sees no length.
    if (method.side, method.context, method.query) == ("text", "words", "text"):
        idle |= {"padding", "counted_frames"}
    return idle


def _idle_streams(method: MethodConfig) -> set[str]:
    """Settings of CAMoE's experts, gate and streams that have nothing to do with these streams and experts."""
    streams, known = _streams(method), ("fusion", "entity", "action")
    if not {"fusion"} <= streams <= set(known):
        return set()  # for `build` to refuse
    idle = {f"{stream}_aggregation" for stream in known if stream not in streams}
    mixed = [getattr(method, f"{stream}_aggregation") for stream in streams]
    # Experts that are all mean pooling are one and the same, and one expert alone has no company.
    if len(mixed) == 1 or set(mixed) == {"mean"}:
        idle.add("gate")
    return idle | ({"sentences", "inference"} if len(streams) == 1 else set())


def _idle_losses(loss: LossConfig, method: MethodConfig) -> set[str]:
    """Settings of the objective that the method has nothing for, or that have weight 0."""
    read = METHOD_SETTINGS[method.name]
    idle = set() if "dropout" in read else set(_REGULARISERS)
    if loss.contrastive != "dual_softmax":
        idle.add("dual_softmax_temperature")
    if "streams" not in read or _streams(method) == {"fusion"}:
        idle.add("stream_weight")
    if loss.kl_weight == 0:
        idle |= {"kl_reduction", "prior_sigma"}
    if loss.direction_weight == 0:
        idle |= {"direction", "alpha"}
    if loss.direction == "orthogonality":
        idle.add("alpha")
    if loss.norm_weight == 0:
        idle.add("norm_bound")
    return idle


def _idle_samples(sample: SampleConfig) -> set[str]:
    return set() if sample.policy == "fps" else {"fps"}


def _streams(method: MethodConfig) -> set[str]:
    return {stream.strip() for stream in method.streams.split(",")}


def _refuse_other_padding(config: RunConfig) -> None:
    method, frames = config.method, config.sample.frames
    if method.padding == "masked" or method.counted_frames == frames:
        return
    raise ConfigError(
        f"method.counted_frames is {method.counted_frames} and sample.frames {frames}: with counted padding a score "
        "would hang on the longest video at hand. Give both the same number."
    )


def _refuse_without_towers(config: TrainConfig) -> None:
    given = {
        "train.chunk": config.chunk > 0,
        "train.workers": config.workers >= 0,
        "train.gradient_checkpointing": config.gradient_checkpointing,
        "train.freeze_layers": config.freeze_layers >= 0,
    }
    lost = [name for name, is_given in given.items() if is_given]
    if lost and config.backbone_learning_rate == 0:
        raise ConfigError(
            f"{' and '.join(lost)}: the towers stay frozen here, so there is nothing to save, keep or decode. Leave it "
            "out, or give the towers a train.backbone_learning_rate."
        )
