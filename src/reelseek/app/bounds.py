"""How long an answer may become, however long the library: what HTTP and MCP cut, and how they say so.

`--json` of the command line cuts nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

MOST_TEXT = 300
"""Characters of a part of the query, a line that is said and a cell of the metadata: each comes with every hit."""


def shortened(text: str) -> str:
    """A text of at most `MOST_TEXT` characters."""
    return text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 1]}…"


def bounded(plain: dict[str, Any], alike: int) -> dict[str, Any]:
    """An answer (`reelseek.index.ask.Answer.plain`) with at most `alike` places under that name, `alike_count` beside.

    In a library of much the same footage all of it may be one answer.
    """
    return {
        **plain,
        "parts": [{**part, "what": shortened(part["what"])} for part in plain["parts"]],
        "heard": plain["heard"] and {**plain["heard"], "text": shortened(plain["heard"]["text"])},
        "metadata": {name: shortened(value) for name, value in plain["metadata"].items()},
        "alike": plain["alike"][:alike],
        "alike_count": len(plain["alike"]),
    }


def thinned(curve: Sequence[Sequence[float]], most: int) -> list[Sequence[float]]:
    """At most `most` of the points (time, cosine) of a curve: the highest of each run of neighbours."""
    runs = np.array_split(np.arange(len(curve)), min(most, len(curve))) if curve else []
    return [max((curve[number] for number in run), key=lambda point: point[1]) for run in runs]
