"""What `import reelseek` promises: names that are there, loaded when they are used, and one version."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import reelseek


def test_all_is_sorted_and_true() -> None:
    """Constants first, then classes, then functions, each by name: the order that the linter keeps."""
    assert reelseek.__all__ == sorted(reelseek.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name))
    assert len(set(reelseek.__all__)) == len(reelseek.__all__)
    for name in reelseek.__all__:
        assert getattr(reelseek, name) is not None


@pytest.mark.parametrize("name", reelseek.__all__)
def test_a_name_is_the_one_of_its_home(name: str) -> None:
    value = getattr(reelseek, name)
    if callable(value):
        assert value.__module__.startswith("reelseek.")
        assert getattr(sys.modules[value.__module__], value.__name__) is value
        assert value.__doc__


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(reelseek.__file__).read_text(encoding="utf-8"))
    branch = next(node for node in tree.body if isinstance(node, ast.If))
    seen = [
        (alias.name, node.module) for node in branch.body if isinstance(node, ast.ImportFrom) for alias in node.names
    ]
    assert {name for name, _ in seen} == set(reelseek.__all__)
    assert dict(seen) == reelseek._HOMES


def test_dir_lists_what_can_be_had() -> None:
    assert dir(reelseek) == sorted([*reelseek.__all__, "__version__"])


def test_names_load_when_they_are_used() -> None:
    code = """
import sys, reelseek
assert not {"torch", "numpy", "lance"} & sys.modules.keys()
from reelseek import RECIPES
assert "torch" not in sys.modules
assert "gare-motions" in RECIPES
assert reelseek.recipe("gare-motions").method.name == "gare"
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_any_other_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'reelseek' has no attribute 'trian'"):
        reelseek.trian  # noqa: B018
    assert not hasattr(reelseek, "Searcher2")


def test_the_version_is_the_one_that_was_installed() -> None:
    assert reelseek.__version__ == importlib.metadata.version("reelseek")


def test_no_submodule_takes_the_place_of_a_name() -> None:
    modules = {path.stem for path in Path(reelseek.__file__).parent.iterdir()}
    assert not modules & set(reelseek.__all__)
