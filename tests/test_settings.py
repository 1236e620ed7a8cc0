"""Settings and what is said of them: every one has a text in its command's help and a row in docs/settings.md."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

from cli_world import run
from reelseek import config
from reelseek.app.settings import SECTIONS, heading, help_texts
from reelseek.config_check import ABOVE_ZERO, BELOW_ONE, LEAST
from reelseek.data import DATASETS
from reelseek.methods import METHODS

PAGE = (Path(__file__).parent.parent / "docs" / "settings.md").read_text(encoding="utf-8")
WORDS = {int: "whole number", float: "number", bool: "`true`, `false`", str: "text"}
NAMES = {"data.name": DATASETS, "method.name": METHODS}


def row(name: str, section: type) -> str:
    """The line of docs/settings.md about one setting; name: "train.epochs", or "fps" for one of an index."""
    field = name.rpartition(".")[2]
    default = getattr(section(), field)
    told = {None: "null", True: "true", False: "false"}.get(default) if isinstance(default, bool | None) else default
    told = f"{told:g}" if isinstance(told, float) else told
    shown = "" if told == "" else f"`{told}`"
    return f"| `{name}` | {shown} | {values(name, get_type_hints(section)[field])} | {help_texts(section)[field]} |"


def values(name: str, kind: object) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if name in NAMES:
        return ", ".join(f"`{value}`" for value in NAMES[name])
    optional = type(None) in get_args(kind)
    words = [WORDS[next(one for one in get_args(kind) or (kind,) if one is not type(None))]]
    words += ["or `null`"] if optional else []
    words += [f"at least {LEAST[name]}"] if name in LEAST else []
    words += ["above 0"] if name in ABOVE_ZERO else []
    words += ["below 1"] if name in BELOW_ONE else []
    return ", ".join(words)


SETTINGS = [(f"{name}.{field.name}", section) for name, section in SECTIONS.items() for field in fields(section)]
OF_AN_INDEX = [(field.name, config.IndexConfig) for field in fields(config.IndexConfig)]


def test_the_sections_are_all_that_config_has() -> None:
    classes = {value for value in vars(config).values() if isinstance(value, type)}
    assert classes == {*SECTIONS.values(), config.IndexConfig, config.RunConfig}


@pytest.mark.parametrize("section", [*SECTIONS.values(), config.IndexConfig])
def test_every_setting_has_a_text_and_every_text_a_setting(section: type) -> None:
    texts = help_texts(section)
    assert list(texts) == [field.name for field in fields(section)]
    assert all(len(text) > 10 and "\n" not in text and not text.endswith(".") for text in texts.values())
    assert heading(section)


def test_texts_are_read_over_several_lines() -> None:
    @dataclass
    class Section:
        """A heading.

        one: the first: with a colon, and
            a second line.
        two: the second.
        """

    assert heading(Section) == "A heading"
    assert help_texts(Section) == {"one": "the first: with a colon, and a second line", "two": "the second"}


@pytest.mark.parametrize(("command", "sections"), [
    ("train", SECTIONS), ("embed", SECTIONS), ("evaluate", ("data", "sample", "evaluate")),
    ("diagnose", ("data", "sample")),
])  # fmt: skip
def test_help_has_a_heading_a_section_and_a_text_a_setting(command: str, sections: tuple[str, ...]) -> None:
    said = " ".join(run(command, "--help").out.split())
    assert "<class" not in said
    for name in sections:
        assert f"{name}: {heading(SECTIONS[name])}:" in said
        for text in help_texts(SECTIONS[name]).values():
            # argparse may break a line after a hyphen
            assert text.replace(" ", "").replace("-", "") in said.replace(" ", "").replace("-", "")
    assert "--data for short" in said
    assert re.search(r"--device (for short|\{auto)", said)


def test_help_tells_a_default_of_0() -> None:
    said = " ".join(run("train", "--help").out.split())
    assert "order and dropout (default: 0)" in said
    assert "(default: 0" not in " ".join(run("study", "--help").out.split())


@pytest.mark.parametrize(("name", "section"), [*SETTINGS, *OF_AN_INDEX])
def test_the_page_has_the_row_of_every_setting(name: str, section: type) -> None:
    assert row(name, section) in PAGE.splitlines()


def test_the_page_has_no_other_rows() -> None:
    named = re.findall(r"^\| `([\w.]+)` \|", PAGE, re.MULTILINE)
    assert named == [name for name, _ in [*SETTINGS, *OF_AN_INDEX]]
