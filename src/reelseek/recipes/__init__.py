"""Recipes: a name, and a function that returns the frozen settings of a run. Light: imports settings alone.

Here method, loss and data meet as values; `reelseek.recipes.run` turns them into a trained run.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial

from reelseek.config import RunConfig
from reelseek.errors import ConfigError
from reelseek.recipes.forms import FORMS, paper
from reelseek.recipes.parts import BENCHMARK_PARTS, METHOD_PARTS

RECIPES: dict[str, Callable[[], RunConfig]] = {
    f"{method}-{benchmark}": partial(make, part)
    for method, part in METHOD_PARTS.items()
    for benchmark, make in BENCHMARK_PARTS.items()
}
"""Every method on every benchmark, in the clean form."""


def recipe(name: str, *, form: str = "clean", preset: str = "") -> RunConfig:
    """The settings of a recipe, in a form and with one of GARE's presets over it.

    Raises ConfigError with a suggestion for an unknown name, form or preset, and for a form that the recipe has not.
    """
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Known are METHOD-BENCHMARK, with {parts_in_words()}."
        raise ConfigError(f"there is no recipe {name!r}. {hint}")
    if form not in FORMS:
        raise ConfigError(f"there is no form {form!r} of a recipe. The forms are {' and '.join(FORMS)}.")
    found = RECIPES[name]()
    if form == "paper":
        found = paper(found)
    if preset:
        from reelseek.recipes import presets

        found = presets.preset(preset, found)
    return found


def parts_in_words() -> str:
    """The methods and benchmarks of which a recipe's name is made."""
    return f"METHOD one of {', '.join(METHOD_PARTS)}; BENCHMARK one of {', '.join(BENCHMARK_PARTS)}"
