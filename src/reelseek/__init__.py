"""Text-video retrieval you can train, trust and use.

load("offline") or load(RUN)    a method object
train(config, out=...)          a run folder
evaluate(method, pairs, ...)    metrics with their protocol
Index                           a folder of videos, searchable
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reelseek.evaluate import evaluate
    from reelseek.index.search import Searcher
    from reelseek.methods import METHODS
    from reelseek.methods.saved import load
    from reelseek.recipes import RECIPES
    from reelseek.recipes.run import train

__version__ = "0.1.0"

__all__ = ["METHODS", "RECIPES", "Searcher", "evaluate", "load", "train"]

_HOMES = {
    "METHODS": "reelseek.methods",
    "RECIPES": "reelseek.recipes",
    "Searcher": "reelseek.index.search",
    "evaluate": "reelseek.evaluate",
    "load": "reelseek.methods.saved",
    "train": "reelseek.recipes.run",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'reelseek' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
