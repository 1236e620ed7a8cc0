"""Text-video retrieval you can train, trust and use.

load("offline") or load(run)     a method object, also from trained weights of CLIP4Clip and GARE
encode_text, encode_video        vectors of sentences and files; similarity(method, texts, files) scores them
save_pretrained, from_pretrained a method as a folder that needs nothing beside it
Index(directory, method)         videos, searchable
recipe(name), train(it, folder)  settings by a name of RECIPES, and a method trained by them into a run folder
evaluate(method, pairs)          metrics with their protocol
METHODS                          what `config.method.name` can be
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reelseek.embed_plain import encode_text, encode_video, similarity
    from reelseek.evaluation import evaluate
    from reelseek.index.library import Index
    from reelseek.methods import METHODS
    from reelseek.methods.pretrained import from_pretrained, save_pretrained
    from reelseek.methods.saved import load
    from reelseek.recipes import RECIPES, recipe
    from reelseek.recipes.run import train

__version__ = "0.1.0"

__all__ = [
    "METHODS",
    "RECIPES",
    "Index",
    "encode_text",
    "encode_video",
    "evaluate",
    "from_pretrained",
    "load",
    "recipe",
    "save_pretrained",
    "similarity",
    "train",
]

_HOMES = {
    "METHODS": "reelseek.methods",
    "RECIPES": "reelseek.recipes",
    "Index": "reelseek.index.library",
    "encode_text": "reelseek.embed_plain",
    "encode_video": "reelseek.embed_plain",
    "evaluate": "reelseek.evaluation",
    "from_pretrained": "reelseek.methods.pretrained",
    "load": "reelseek.methods.saved",
    "recipe": "reelseek.recipes",
    "save_pretrained": "reelseek.methods.pretrained",
    "similarity": "reelseek.embed_plain",
    "train": "reelseek.recipes.run",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'reelseek' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
