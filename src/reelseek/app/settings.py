"""The settings of a run from a recipe's name, a YAML file and dotted overrides; the last one named wins.

Unknown keys and wrong types are refused with the nearest known name (jsonargparse over `reelseek.config`).
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from reelseek.app.terminal import Parser, parser
from reelseek.config import (
    DataConfig,
    EvaluateConfig,
    LossConfig,
    MethodConfig,
    RunConfig,
    SampleConfig,
    TrainConfig,
)
from reelseek.recipes import recipe

SECTIONS = {
    "data": DataConfig,
    "sample": SampleConfig,
    "method": MethodConfig,
    "loss": LossConfig,
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
}


def settings_parser(command: str, description: str) -> Parser:
    """A parser that has every setting of `RunConfig` as a dotted option, `--config FILE` and `--data DIR`."""
    options = parser(command, description)
    options.add_argument("--config", action="config", help="a YAML file of settings, as `train` writes beside a run")
    for name, section in SECTIONS.items():
        options.add_class_arguments(section, name)
    return options


def parse_with_recipe(options: Parser, words: Sequence[str]) -> Namespace:
    """Parse `words`, the first of which names a recipe, over that recipe's settings."""
    if words and not words[0].startswith("-"):
        options.set_defaults(flat(recipe(words[0])))
    return options.parse_args(["--data.root" if word == "--data" else word for word in words])


def flat(config: RunConfig) -> dict[str, object]:
    """Dotted keys and values of a run's settings."""
    return flat_dict(asdict(config))


def flat_dict(sections: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
    """Dotted keys and values of nested settings."""
    return {f"{section}.{key}": value for section, values in sections.items() for key, value in values.items()}


def run_config(arguments: Namespace) -> RunConfig:
    """The frozen settings that were parsed."""
    parts = {name: section(**vars(getattr(arguments, name))) for name, section in SECTIONS.items()}
    return RunConfig(**parts)
