"""The settings of a run from a recipe's name, a YAML file and dotted overrides; the last one named wins.

Unknown keys and wrong types are refused with the nearest known name (jsonargparse over `reelseek.config`).
"""

from __future__ import annotations

import inspect
import re
from argparse import SUPPRESS, Namespace
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

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
from reelseek.config_check import check
from reelseek.errors import ConfigError
from reelseek.methods import check_name
from reelseek.recipes import recipe

SECTIONS = {
    "data": DataConfig,
    "sample": SampleConfig,
    "method": MethodConfig,
    "loss": LossConfig,
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
}

SHORT = {"--data": "--data.root", "--device": "--train.device"}
"""What may be said in the place of a setting's dotted option."""


def settings_parser(command: str, description: str, sections: Collection[str] = tuple(SECTIONS)) -> Parser:
    """A parser that has the settings of `RunConfig` as dotted options, and `--config FILE`.

    `--data` is short for data.root, `--device` for train.device in a command with that section.
    """
    options = parser(command, description)
    options.add_argument(
        "--config", action="config", metavar="FILE", help="a YAML file of settings by section, as a run folder has one"
    )
    for name in sections:
        section = SECTIONS[name]
        options.add_class_arguments(section, name, help=f"{name}: {heading(section)}")
        _forget(options, f"--{name}")
        for setting, text in help_texts(section).items():
            options._option_string_actions[f"--{name}.{setting}"].help = text
    for short, option in SHORT.items():
        if option in options._option_string_actions:
            action = options._option_string_actions[option]
            action.help = f"{action.help}; {short} for short"
    return options


def heading(section: type) -> str:
    """The first sentence of a section of settings, without its full stop."""
    return (inspect.getdoc(section) or "").partition("\n")[0].rstrip(".")


def help_texts(section: type) -> dict[str, str]:
    """What every setting of a section means, by its name, from the lines `name: text` of the section's docstring."""
    lines = re.findall(r"^(\w+): (.+(?:\n +.+)*)", inspect.getdoc(section) or "", re.MULTILINE)
    return {name: " ".join(text.split()).rstrip(".") for name, text in lines}


def add_cache(options: Parser) -> None:
    """The option that names the cache of tower outputs."""
    options.add_argument(
        "--cache",
        default="",
        metavar="DIR",
        help="folder of tower outputs instead of $REELSEEK_CACHE or the user's cache",
    )


def _forget(options: Parser, option: str) -> None:
    """Take away an option that the parsing library adds for every section: a file for that section alone."""
    options._option_string_actions.pop(option).help = SUPPRESS


def parse_over(
    options: Parser, words: Sequence[str], name: str, settings: Callable[[str], dict[str, object]]
) -> Namespace:
    """Parse `words` over the settings that belong to their positional argument `name`, a recipe or a model."""
    words = _own_sections_only(options, words)
    for short, option in SHORT.items():
        if option in options.option_names():
            words = [re.sub(rf"^{short}(?==|$)", option, word) for word in words]
    first = words[0] if words and not words[0].startswith("-") else getattr(options.parse_args(words), name)
    options.set_defaults(settings(first))
    return options.parse_args(words)


def _own_sections_only(options: Parser, words: Sequence[str]) -> list[str]:
    """Words whose --config files, such as a run's settings.yaml, come without the sections that a command has not.

    A file that cannot be read stays as it is: the parser says what is wrong with it.
    """
    own = {name.removeprefix("--").split(".")[0] for name in options.option_names() if "." in name}
    shown = [piece for word in words for piece in (word.split("=", 1) if word.startswith("--config=") else [word])]
    for at, word in enumerate(shown[1:], start=1):
        if shown[at - 1] != "--config":
            continue
        try:
            settings = yaml.safe_load(Path(word).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            continue
        if isinstance(settings, dict) and settings.keys() & (SECTIONS.keys() - own):
            kept = {name: values for name, values in settings.items() if name in own or name not in SECTIONS}
            shown[at] = yaml.safe_dump(kept)
    return shown


def parse_with_recipe(options: Parser, words: Sequence[str]) -> Namespace:
    """Parse `words` over the settings of the recipe that one of them names, in the form and preset that they name."""
    form, preset = _last(words, "--form") or "clean", _last(words, "--preset")

    def settings(name: str) -> dict[str, object]:
        found = flat(recipe(name, form=form, preset=preset))
        # Counted padding goes to the run's frames: where words change those, or the padding, it follows.
        counted = (_last(words, "--method.padding") or found["method.padding"]) == "counted"
        frames = _last(words, "--sample.frames")
        frames_asked = int(frames) if frames.isdecimal() else found["sample.frames"]
        return found | {"method.counted_frames": frames_asked if counted else 0}

    return parse_over(options, words, "recipe", settings)


def _last(words: Sequence[str], option: str) -> str:
    """The value that an option was given last; empty without one."""
    found = ""
    for at, word in enumerate(words):
        if word == option:
            found = "".join(words[at + 1 : at + 2])
        elif word.startswith(f"{option}="):
            found = word.partition("=")[2]
    return found


def flat(config: RunConfig) -> dict[str, object]:
    """Dotted keys and values of a run's settings."""
    return flat_dict(asdict(config))


def flat_dict(sections: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
    """Dotted keys and values of nested settings."""
    return {f"{section}.{key}": value for section, values in sections.items() for key, value in values.items()}


def run_config(arguments: Namespace) -> RunConfig:
    """The frozen settings that were parsed; sections without options keep their defaults.

    Raises ConfigError for values out of range and unknown methods, before anything is read or computed.
    """
    parts: dict[str, Any] = {}
    for name, section in SECTIONS.items():
        values = getattr(arguments, name, None)
        if values is not None and not hasattr(values, "__dict__"):
            raise ConfigError(f"{name} must hold settings by name, not {values!r}.")
        parts[name] = section(**({} if values is None else vars(values)))
    config = RunConfig(**parts)
    check(config)
    check_name(config.method.name)
    return config
