"""Settings that cannot be: words that are none of a setting's, values of another type, numbers out of range.

The words and types are those of `reelseek.config`'s annotations. Not here: settings that do nothing beside others
(`reelseek.recipes.refuse`), and the names of methods and data, which their own units know.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from reelseek.config import DataConfig, EvaluateConfig, RunConfig, TrainConfig
from reelseek.errors import ConfigError

LEAST: dict[str, float] = {
    **{"data.size": 0, "data.objects": 0, "data.noise_rate": 0},
    **{"sample.frames": 1, "method.width": 1, "method.layers": 1, "method.dropout": 0},
    **{"method.heads": 1, "method.increment_layers": 1, "loss.kl_weight": 0, "loss.direction_weight": 0},
    **{"loss.norm_weight": 0, "loss.stream_weight": 0},
    **{"train.epochs": 1, "train.batch_size": 2, "train.backbone_learning_rate": 0, "train.weight_decay": 0},
    **{
        "train.schedule_epochs": 0,
        "train.freeze_layers": -1,
        "train.chunk": 0,
        "train.workers": -1,
        "train.seed": 0,
        "data.seed": 0,
    },
    **{"train.warmup": 0, "train.clip_norm": 0, "evaluate.block": 1, "evaluate.bootstrap": 0},
    **{"evaluate.prior_batch": 2, "evaluate.bank_size": 1, "evaluate.bank_seed": 0, "evaluate.rescoring_scale": 0},
    **{"evaluate.rescoring_gallery_scale": 0, "evaluate.rescoring_k": 0, "evaluate.rescoring_alpha": 0},
    **{"evaluate.rescoring_iterations": 0},
}
ABOVE_ZERO = (
    *("sample.fps", "method.frame_temperature", "loss.dual_softmax_temperature", "loss.prior_sigma", "loss.alpha"),
    *("loss.norm_bound", "train.learning_rate", "train.max_logit_scale"),
)
BELOW_ONE = ("method.dropout", "train.warmup")
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}


def check(config: RunConfig) -> None:
    """Raise ConfigError for a setting of a run that cannot be, before anything is read or computed."""
    for entry in fields(config):
        check_section(entry.name, getattr(config, entry.name))


def check_section(section: str, settings: Any) -> None:
    """The same for one section of `RunConfig` by its name, such as "train"; settings: its dataclass."""
    kinds = get_type_hints(type(settings))
    for name, value in asdict(settings).items():
        dotted = f"{section}.{name}"
        wanted = _wanted(kinds[name], value) or _range(dotted, value)
        if wanted:
            raise ConfigError(f"{dotted} must be {wanted}, not {value!r}.")
    _refuse_together(settings)


def _wanted(kind: Any, value: object) -> str:
    """What a value of this annotation would have to be; empty where it is that."""
    if get_origin(kind) is Literal:
        words = [str(word) for word in get_args(kind)]
        return "" if value in get_args(kind) else f"{', '.join(words[:-1])} or {words[-1]}"
    kinds = get_args(kind) or (kind,)
    fits = any(isinstance(value, int | float if one is float else one) for one in kinds)
    if fits and (bool in kinds or not isinstance(value, bool)):
        return ""
    return " or ".join(WORDS[one] for one in kinds)


def _range(dotted: str, value: Any) -> str:
    """The bound that a number breaks, in words; empty where it keeps all."""
    if dotted in LEAST and not value >= LEAST[dotted]:
        return f"at least {LEAST[dotted]}"
    if dotted in ABOVE_ZERO and not value > 0:
        return "above 0"
    return "below 1" if dotted in BELOW_ONE and not value < 1 else ""


def _refuse_together(settings: Any) -> None:
    """Refuse values of one section that cannot go together."""
    match settings:
        case TrainConfig(optimizer="adamw", schedule_epochs=planned, epochs=epochs) if 0 < planned < epochs:
            raise ConfigError(
                f"train.schedule_epochs {planned} of {epochs} epochs: the rate of adamw is 0 at its schedule's end. "
                "Set it to 0, or train.optimizer to bertadam."
            )
        case EvaluateConfig(bootstrap=1):
            raise ConfigError("evaluate.bootstrap must be at least 2, or 0 for no intervals, not 1.")
        case DataConfig(noise=noise, noise_rate=0) if noise != "none":
            raise ConfigError(f"data.noise is {noise} but data.noise_rate is 0: no caption would be spoilt.")
