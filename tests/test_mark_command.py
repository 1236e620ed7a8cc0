"""`reelseek mark`: what it keeps, lists and takes back, and what it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cli_world import refused, run
from index_fakes import clip, update
from reelseek.index.marks import read_marks


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    clip(folder / "red.avi", ["red"])
    clip(folder / "blue.avi", ["blue"], seed=1)
    clip(Path(os.fsdecode(os.fsencode(folder) + b"/gr\xfcn.avi")), ["green"], seed=2)
    (folder / "broken.avi").write_bytes(b"no video")
    update(folder / "index", folder)
    return folder


@pytest.fixture
def films(made: Path) -> Path:
    (made / "index" / "marks.jsonl").unlink(missing_ok=True)
    return made


def test_marking_listing_and_taking_back(films: Path) -> None:
    index = films / "index"
    assert run("mark", "--index", index, "--list").out.startswith(f"{index}: marks 0, queries 0\n")
    said = run("mark", "--index", index, " something red ", films / "red.avi", "--good")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("right: 'something red', ")
    assert run("mark", "--index", index, "something red", films / "blue.avi", "--at", "0:01.2", "--bad").code == 0
    whole, moment = read_marks(index)
    assert (whole.query, whole.start, whole.end, whole.peak, whole.good) == ("something red", 0.0, 1.5, 0.0, True)
    assert (moment.start, moment.end, moment.peak, moment.good) == (1.2, 1.2, 1.2, False)
    listed = run("mark", "--index", index, "--list").out
    assert listed.startswith(f"{index}: marks 2, queries 1\n")
    assert [line.split()[0] for line in listed.splitlines()[-2:]] == ["right", "wrong"]
    rows = [json.loads(line) for line in run("mark", "--index", index, "--list", "--json").out.splitlines()]
    assert [(Path(row["path"]).name, row["good"], row["in_library"]) for row in rows] == [
        ("red.avi", True, True),
        ("blue.avi", False, True),
    ]
    assert "taken back" in run("mark", "--index", index, "something red", films / "red.avi", "--undo").out
    assert read_marks(index) == [moment]
    assert "no such mark" in refused(1, "mark", "--index", index, "something red", films / "red.avi", "--undo")


def test_a_whole_file_and_its_beginning_are_marked_apart(films: Path) -> None:
    words = ["mark", "--index", films / "index", "something red", films / "red.avi"]
    assert run(*words, "--good").code == 0
    assert run(*words, "--at", "0:00", "--bad").code == 0
    whole, first = read_marks(films / "index")
    assert (whole.end, whole.good, first.end, first.good) == (1.5, True, 0.0, False)
    lines = run("mark", "--index", films / "index", "--list").out.splitlines()
    assert [line.split()[-2] for line in lines[-2:]] == ["whole", "0:00.0"]
    assert run(*words, "--at", "0", "--undo").code == 0
    assert read_marks(films / "index") == [whole]
    assert "no such mark" in refused(1, *words, "--at", "0", "--undo")
    assert run(*words, "--at", "0", "--good").code == 0
    assert run(*words, "--undo").code == 0
    assert read_marks(films / "index") == []


def test_what_is_kept_and_taken_back_is_told_as_json_too(films: Path) -> None:
    words = ["mark", "--index", films / "index", "something red", films / "red.avi", "--json"]
    kept = json.loads(run(*words, "--bad").out)
    assert kept == read_marks(films / "index")[0]._asdict()
    assert json.loads(run(*words, "--undo").out) == {**kept, "taken_back": True}
    assert read_marks(films / "index") == []


def test_a_moved_file_is_listed_where_it_is_and_a_gone_one_as_gone(tmp_path: Path) -> None:
    films, index = tmp_path / "films", tmp_path / "index"
    for number, name in enumerate(("red", "blue", "green")):
        clip(films / f"{name}.avi", [name], seed=number)
    update(index, films)
    for name in ("red", "blue"):
        assert run("mark", "--index", index, name, films / f"{name}.avi", "--good").code == 0
    (films / "red.avi").rename(films / "rot.avi")
    (films / "blue.avi").unlink()
    update(index, films)
    rows = [json.loads(line) for line in run("mark", "--index", index, "--list", "--json").out.splitlines()]
    assert [(Path(row["path"]).name, row["in_library"]) for row in rows] == [("rot.avi", True), ("blue.avi", False)]
    assert run("mark", "--index", index, "--list").out.count("(not in the index now)") == 1
    assert run("mark", "--index", index, "red", films / "rot.avi", "--undo").code == 0


def test_taking_back_spares_the_mark_of_a_file_that_lay_there_before(tmp_path: Path) -> None:
    films, index = tmp_path / "films", tmp_path / "index"
    clip(films / "a.avi", ["red"])
    update(index, films)
    assert run("mark", "--index", index, "dog", films / "a.avi", "--good").code == 0
    (films / "a.avi").rename(films / "c.avi")
    clip(films / "a.avi", ["blue"], seed=1)
    update(index, films)
    assert run("mark", "--index", index, "Dog", films / "a.avi", "--bad").code == 0
    assert run("mark", "--index", index, "dog", films / "a.avi", "--undo").code == 0
    rows = [json.loads(line) for line in run("mark", "--index", index, "--list", "--json").out.splitlines()]
    assert [(Path(row["path"]).name, row["good"]) for row in rows] == [("c.avi", True)]


def test_names_of_any_bytes(films: Path) -> None:
    odd = next(path for path in films.glob("gr*"))
    assert run("mark", "--index", films / "index", "green", odd, "--good").code == 0
    assert os.fsencode(read_marks(films / "index")[0].path) == os.fsencode(odd)
    assert "gr\\udcfcn.avi" in run("mark", "--index", films / "index", "--list").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["red", "FILE"], "give one of --good, --bad, --undo and --list"),
        (["red", "FILE", "--good", "--bad"], "give one of --good, --bad, --undo and --list"),
        (["red", "--good"], "it takes a query and a file"),
        ([" ", "FILE", "--good"], "it takes a query and a file"),
        (["red", "FILE", "more", "--good"], "it takes a query and a file"),
        (["red", "FILE", "--list"], "it takes no query, file or time"),
        (["red", "FILE", "--at", "2", "--good"], "red.avi lasts 0:01.5"),
        (["red", "FILE", "--at", "soon", "--good"], "soon"),
        (["red", "FILE", "--at", "-1", "--good"], "-1"),
        (["red", "FILE", "--at", "nan", "--good"], "nan"),
    ],
)
def test_wrong_usage(films: Path, words: list[str], said: str) -> None:
    given = [films / "red.avi" if word == "FILE" else word for word in words]
    assert said in refused(2, "mark", "--index", films / "index", *given)
    assert read_marks(films / "index") == []


def test_what_the_index_does_not_hold_is_refused(films: Path, tmp_path: Path) -> None:
    for name in ("absent.avi", "broken.avi"):
        said = refused(1, "mark", "--index", films / "index", "red", films / name, "--good")
        assert "holds no such video" in said
    assert "there is no index here" in refused(1, "mark", "--index", tmp_path, "red", films / "red.avi", "--good")
    assert "there is no index here" in refused(1, "mark", "--index", tmp_path, "--list")
