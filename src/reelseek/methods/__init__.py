"""The retrieval methods, and how one is built, saved and loaded."""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING

from reelseek.config import MethodConfig
from reelseek.config_check import check_section
from reelseek.errors import ConfigError

if TYPE_CHECKING:
    from reelseek.methods.method import Method
    from reelseek.records import Backbone

METHODS: dict[str, str] = {
    "zero-shot": "reelseek.methods.builders:zero_shot",
    "clip4clip": "reelseek.methods.builders:clip4clip",
    "gare-baseline": "reelseek.methods.builders:gare_baseline",
    "gare": "reelseek.methods.builders:gare",
    "camoe": "reelseek.methods.camoe:camoe",
    "camoe-gare": "reelseek.methods.camoe:camoe_gare",
}


def check_name(name: str) -> None:
    """Raise ConfigError, with the nearest known one, for a name that no method has."""
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"The methods are {', '.join(METHODS)}."
        raise ConfigError(f"there is no method {name!r}. {hint}")


def build(config: MethodConfig, backbone: Backbone) -> Method:
    """The method that `config.name` names, with untrained heads, over a backbone.

    Raises ConfigError for unknown names and for settings that cannot be, alone or together.
    """
    check_name(config.name)
    check_section("method", config)
    module, function = METHODS[config.name].split(":")
    made: Method = getattr(importlib.import_module(module), function)(config, backbone)
    return made
