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
_BENCHMARK_OF = {make(METHOD_PARTS["gare"]).data.name: benchmark for benchmark, make in BENCHMARK_PARTS.items()}
"""From what `data.name` says, which a recipe's name may end with too."""


def recipe(name: str, *, form: str = "clean", preset: str = "") -> RunConfig:
    """The settings of a recipe, in a form and with one of GARE's presets over it.

    A benchmark may be called by its `data.name` too. Raises ConfigError with a suggestion for an unknown name, form or
    preset, and for a form that the recipe has not.
    """
    known = _known(name)
    if known not in RECIPES:
        raise ConfigError(f"there is no recipe {name!r}. {_hint(name)}")
    if form not in FORMS:
        raise ConfigError(f"there is no form {form!r} of a recipe. The forms are {' and '.join(FORMS)}.")
    found = RECIPES[known]()
    if form == "paper":
        found = paper(found)
    if preset:
        from reelseek.recipes import presets

        found = presets.preset(preset, found)
    return found


def parts_in_words() -> str:
    """The methods and benchmarks of which a recipe's name is made."""
    return f"METHOD one of {', '.join(METHOD_PARTS)}; BENCHMARK one of {', '.join(BENCHMARK_PARTS)}"


def _known(name: str) -> str:
    """The name in `RECIPES` of one that ends with the name of its data."""
    method, data = _parts(name)
    return f"{method}-{_BENCHMARK_OF[data]}" if method and data in _BENCHMARK_OF else name


def _parts(name: str) -> tuple[str, str]:
    """The longest method that a name begins with, and what follows it; empty where there is none."""
    methods = [method for method in METHOD_PARTS if name == method or name.startswith(f"{method}-")]
    method = max(methods, key=len, default="")
    return method, name[len(method) :].removeprefix("-")


def _hint(name: str) -> str:
    from reelseek.data import DATASETS

    method, benchmark = _parts(name)
    corpus = benchmark.split("-")[0]
    if method and benchmark in DATASETS:
        over = corpus if corpus in BENCHMARK_PARTS else "folder"
        return f"That data has no recipe of its own: take another one's, {method}-{over} --data.name {benchmark}."
    alike = [f"{method}-{part}" for part in BENCHMARK_PARTS if method and part.split("-")[0] == corpus]
    if len(alike) > 1:
        return f"Those of that corpus are {', '.join(alike)}."
    # A looser look would lead from a benchmark that is not there to another one.
    near = alike or difflib.get_close_matches(name, RECIPES, n=1, cutoff=0.8)
    return f"Did you mean {near[0]}?" if near else f"Known are METHOD-BENCHMARK, with {parts_in_words()}."
