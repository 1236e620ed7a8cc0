"""Text-video retrieval you can train, trust and use.

load("offline") or load(run)     a method object
Index(directory, method)         videos, searchable
RECIPES, train(config, folder)   a method trained into a run folder
evaluate(method, pairs)          metrics with their protocol
METHODS                          what `config.method.name` can be
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reelseek.evaluation import evaluate
    from reelseek.index.library import Index
    from reelseek.methods import METHODS
    from reelseek.methods.saved import load
    from reelseek.recipes import RECIPES
    from reelseek.recipes.run import train

__version__ = "0.1.0"

__all__ = ["METHODS", "RECIPES", "Index", "evaluate", "load", "train"]

_HOMES = {
    "METHODS": "reelseek.methods",
    "RECIPES": "reelseek.recipes",
    "Index": "reelseek.index.library",
    "evaluate": "reelseek.evaluation",
    "load": "reelseek.methods.saved",
    "train": "reelseek.recipes.run",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'reelseek' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
