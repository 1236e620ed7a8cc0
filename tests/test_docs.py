"""README and docs against the program: what exists is mentioned, what is mentioned exists, command lines parse."""

from __future__ import annotations

import importlib
import re
import shlex
import tomllib
from functools import cache
from pathlib import Path

import pytest

import reelseek
from cli_world import run
from reelseek.app.cli import COMMANDS
from reelseek.app.commands.index import VERBS
from reelseek.app.settings import SECTIONS
from reelseek.data import DATASETS
from reelseek.index.frames import MAPPED_FRAMES
from reelseek.index.scan import LARGE
from reelseek.methods import METHODS
from reelseek.recipes import RECIPES
from reelseek.recipes.parts import BENCHMARK_PARTS, METHOD_PARTS
from reelseek.study.plan import SHORT, Study
from reelseek.study.studies import STUDIES
from test_layers import ALLOWED, FREE

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
TOUR_MOST = 7
ORDER = (
    *("records", "errors", "config", "video", "data", "encoders", "checkpoint", "recipes", "methods", "embed", "score"),
    *("losses", "training", "evaluation", "rank", "index", "report", "app"),
)
"""Units in the order in which data meets them; a recipe's settings come before all that they name."""


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@cache
def everything() -> str:
    return "\n".join(map(text_of, PAGES))


def named(name: str) -> bool:
    """Whether a page has the name in code, alone or as a part of a longer piece of code."""
    code = re.findall(r"```.*?```|`[^`]+`", everything(), re.DOTALL)
    return any(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", piece.replace("\n", " ")) for piece in code)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_shown(command: str) -> None:
    assert named(f"reelseek {command}") or named(f"make {command}")


@pytest.mark.parametrize("name", [*METHOD_PARTS, *BENCHMARK_PARTS, *METHODS, *DATASETS])
def test_every_part_of_a_recipe_method_and_dataset_is_named(name: str) -> None:
    assert named(name)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_of_settings_is_named(section: str) -> None:
    assert re.search(rf"`(--)?{section}\.\w+|--{section}\.\w+|`{section}`", everything())


@pytest.mark.parametrize("name", reelseek.__all__)
def test_every_export_is_named(name: str) -> None:
    assert named(f"reelseek.{name}") or named(name)


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_a_page_leads_to_every_example(example: Path) -> None:
    assert f"(../examples/{example.name})" in everything()


def commands_in(text: str) -> list[str]:
    """Command lines after a `$`, cut where a shell cuts them; a trailing backslash joins lines."""
    found = []
    for line in re.findall(r"^\$ (.+)$", text.replace("\\\n", " "), re.MULTILINE):
        for part in re.split(r"&&|\||;", re.sub(r"\s#.*", "", line)):
            found += re.findall(r"(?:^|-m )reelseek (.+)", part.strip())
    return found


LINES = sorted({line for page in PAGES for line in commands_in(text_of(page))})


@pytest.mark.parametrize("line", LINES)
def test_command_lines_can_be_parsed(line: str) -> None:
    command, *words = shlex.split(line)
    assert command in COMMANDS
    importlib.import_module(f"reelseek.app.commands.{command}").parse(words)


def test_command_lines_are_found() -> None:
    text = "$ a && reelseek search x \\\n  -k 2 | head  # reelseek zzz\n$ torchrun -m reelseek train r\nreelseek no\n"
    assert commands_in(text) == ["search x    -k 2", "train r"]
    assert len(LINES) > 8


@cache
def options_of(command: str) -> set[str]:
    return set(re.findall(r"--[\w.]+(?:-[\w.]+)*", run(command, "--help").out))


def test_commands_and_options_inside_sentences_exist() -> None:
    pieces = re.findall(r"`reelseek (\w+)([^`]*)`", everything().replace("\n", " "))
    assert pieces
    for command, rest in pieces:
        assert command in COMMANDS
        for option in re.findall(r"--[\w.]+(?:-[\w.]+)*", rest):
            assert option in options_of(command), f"reelseek {command} has no {option}"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_is_named(command: str) -> None:
    options = {name for name in options_of(command) if "." not in name} - {"--help"}
    assert not {name for name in options if not named(name)}


def test_the_list_of_commands_names_every_verb_of_an_index() -> None:
    assert {verb for verb in VERBS if not re.search(rf"\b{verb}\b", COMMANDS["index"])} == set()


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_the_python_that_is_needed_is_told(page: str) -> None:
    needed = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]["requires-python"]
    assert f"Python {needed.removeprefix('>=')} or later" in text_of(ROOT / page)


@pytest.mark.parametrize("command", ["evaluate", "diagnose"])
def test_the_sections_that_a_command_takes_are_told(command: str) -> None:
    taken = {option[2:].partition(".")[0] for option in options_of(command) if "." in option}
    *most, last = [f"`{section}`" for section in SECTIONS if section in taken]
    told = f"`{command}` takes the sections {', '.join(most)} and {last}"
    assert told in " ".join(text_of(ROOT / "docs" / "settings.md").split())


def test_rates_and_temperatures_over_frozen_towers_are_told() -> None:
    page = " ".join(text_of(ROOT / "docs" / "train.md").split())
    frozen = [config for make in RECIPES.values() if (config := make()).train.backbone_learning_rate == 0]
    assert {config.train.learning_rate for config in frozen} == {1e-3}
    assert "(over frozen offline towers 1e-3)" in page
    assert {config.method.frame_temperature for config in frozen if "gare" in config.method.name} == {10}
    assert "a frame temperature of 10 instead of 3" in page


@pytest.mark.parametrize("study", STUDIES.values(), ids=lambda study: study.name)
def test_what_a_study_has_of_its_own_is_told(study: Study) -> None:
    page = " ".join(text_of(ROOT / "docs" / "studies.md").split())
    usual = study.base.get("train.epochs", SHORT["train.epochs"])
    epochs = {settings.get("train.epochs", usual) for settings in study.arms.values()}
    told = {int(count) for count in re.findall(rf"`{study.name}` takes (\d+) epochs", page)}
    assert epochs - {10} == told
    assert f"the study's own, which is {study.seeds}," in page
    longer = re.search(r"two hours, of (.*?) three", page)
    assert longer is not None
    assert study.minutes == (180 if f"`{study.name}`" in longer[1] else 120)


def test_the_sizes_from_which_an_index_is_mapped_and_scanned_in_one_pass_are_told() -> None:
    page = " ".join(text_of(ROOT / "docs" / "searching.md").split())
    assert f"From {MAPPED_FRAMES:,} frames in a data file on" in page
    assert f"scans {LARGE:,} frames and more in one compiled pass" in page


def test_settings_in_sentences_exist() -> None:
    sections = "|".join(SECTIONS)
    known = options_of("train")
    found = re.findall(rf"`(?:--)?((?:{sections})\.\w+)[^`]*`", everything())
    assert len(found) > 5
    for setting in found:
        # `data.root` is a setting; `data.py` would be a file
        assert f"--{setting}" in known or setting.endswith((".py", ".md", ".yaml", ".txt")), setting


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_inside_the_project_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text_of(page)):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), target


def test_the_table_of_contents_is_whole() -> None:
    listed = re.search(r"```\{toctree\}.*?\n\n(.*?)```", text_of(ROOT / "docs" / "index.md"), re.DOTALL)
    assert listed is not None
    pages = {page.stem for page in PAGES if page.parent == ROOT / "docs"} - {"index"}
    assert set(listed[1].split()) == pages


def test_the_table_of_units_is_whole() -> None:
    table = "".join(re.findall(r"^\| `.*", text_of(ROOT / "docs" / "develop.md"), re.MULTILINE))
    assert {unit for unit in ALLOWED.keys() | FREE if f"`{unit}`" not in table} == set()


def tour() -> list[str]:
    section = re.search(r"^## Tour\n(.*?)(?=^## |\Z)", text_of(ROOT / "README.md"), re.DOTALL | re.MULTILINE)
    assert section is not None
    return re.findall(r"`(src/reelseek/[\w/]+\.py)`", section[1])


def test_the_tour_is_short_and_its_files_stand_in_the_order_of_the_data() -> None:
    files = tour()
    assert 1 <= len(files) <= TOUR_MOST
    assert all((ROOT / file).is_file() for file in files)
    assert len(set(files)) == len(files)
    places = [ORDER.index(Path(file).parts[2].removesuffix(".py")) for file in files]
    units = [ORDER[place] for place in places]
    # ranks are taken after scores are turned into numbers by `evaluate`, which calls them
    assert places == sorted(places), units
