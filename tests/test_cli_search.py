"""Every option of `reelseek search` on drawn clips, by a model that knows colours."""

from __future__ import annotations

import csv
import json
import os
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from cli_world import refused, run
from index_fakes import COLOURS, FakeMethod, clip, update

DAY = datetime(2020, 2, 29, 12).timestamp()


class Colours(FakeMethod):
    """The model of the index, with the name that a table shows."""

    backbone = SimpleNamespace(name="colours")


@pytest.fixture(autouse=True)
def _colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reelseek.app.models.method_of_index", lambda *_: Colours())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("films")
    clip(place / "rb.avi", ["red", "blue"])
    clip(place / "br.avi", ["blue", "red"])
    clip(place / "rb again.avi", ["red", "blue"], seed=1)
    clip(place / "long.avi", ["red", "white", "white", "red"])
    clip(place / "old" / "green.avi", ["green"])
    clip(place / "old" / "white.avi", ["white"])
    os.utime(place / "old" / "white.avi", (DAY, DAY))
    Image.fromarray(np.full((8, 8, 3), COLOURS["green"], np.uint8)).save(place / "green.png")
    (place / "table.csv").write_text("path,camera,rating\nrb,GoPro,5\nbr.avi,GoPro,3\nold/green.avi,Nikon,4\n")
    update(place / "index", place)
    return place


def answers(folder: Path, *words: object) -> list[dict]:
    said = run("search", *words, "--index", folder / "index", "--json")
    assert said.code == 0, said
    return [json.loads(line) for line in said.out.splitlines()]


def stems(rows: list[dict]) -> list[str]:
    return [Path(row["path"]).stem for row in rows]


def test_text_alone_has_no_deviations(folder: Path) -> None:
    rows = answers(folder, "red")
    assert {row["scale"] for row in rows} == {"cosine"}
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    assert rows[0]["parts"] == [{"role": "text", "what": "red", "score": rows[0]["score"]}]


def test_image(folder: Path) -> None:
    assert stems(answers(folder, "--image", folder / "green.png", "-k", 1)) == ["green"]
    assert answers(folder, "green", "--image", folder / "green.png", "-k", 1)[0]["scale"] == "deviations"


def test_clip(folder: Path) -> None:
    (row,) = answers(folder, "--clip", f"{folder / 'long.avi'}@0:01.6-2.9", "--best-moment", "-k", 1)
    assert row["score"] > 0.99
    assert Path(row["path"]).stem in ("long", "white")


def test_but(folder: Path) -> None:
    first = answers(folder, "--clip", folder / "old" / "white.avi", "--but", "red", "--show-duplicates")[0]
    assert Path(first["path"]).stem != "white"
    assert first["score"] == min(part["score"] for part in first["parts"])


def test_then(folder: Path) -> None:
    first = answers(folder, "blue", "--then", "red")[0]
    assert (Path(first["path"]).stem, first["start"], first["then"]["start"]) == ("br", 0.0, 1.5)
    told = run("search", "blue", "--then", "red", "--index", folder / "index", "-k", 1).out.splitlines()
    assert told[0] == "blue, then red   [fake over colours]"
    assert "0:00.0 - 0:01.5, then 0:01.5 - 0:03.0" in told[-1]


def test_tables_hold_what_json_prints(folder: Path, tmp_path: Path) -> None:
    outs = ["--out", tmp_path / "found.jsonl", "--out", tmp_path / "found.csv"]
    table = ["--metadata", folder / "table.csv", "--where", "rating>=3"]
    shown = answers(folder, "blue", "--then", "red", *table, *outs)
    numbered = [{"query": "blue, then red", "rank": rank, **row} for rank, row in enumerate(shown, 1)]
    assert [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()] == numbered
    with (tmp_path / "found.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(shown) > 1
    for row, known in zip(rows, numbered, strict=True):
        assert float(row["then.peak"]) == known["then"]["peak"]
        assert (row["scale"], row["changed"], row["heard"]) == (known["scale"], known["changed"], "")
        assert (row["metadata.camera"], row["metadata.rating"]) == tuple(
            known["metadata"][name] for name in ("camera", "rating")
        )
        assert [json.loads(row[name]) for name in ("parts", "alike")] == [known["parts"], known["alike"]]
        assert float(row["duration"]) == known["duration"]


def test_without(folder: Path) -> None:
    assert "white" in stems(answers(folder, "white", "-k", 9, "--show-duplicates"))
    rows = answers(folder, "red", "--without", "white", "--without", "blue", "-k", 9, "--show-duplicates")
    assert "white" not in stems(rows)
    assert all(row["score"] > 0 for row in rows if any(part["score"] > 0 for part in row["parts"][1:]))


def test_below(folder: Path) -> None:
    assert sorted(stems(answers(folder, "red", "--below", folder / "old"))) == ["green", "white"]
    both = answers(folder, "red", "--below", folder / "old", "--below", folder / "rb.avi", "-k", 9)
    assert sorted(stems(both)) == ["green", "rb", "white"]


def test_since_and_until(folder: Path) -> None:
    for words in (["--until", "2020-02-29"], ["--until", "2020-03-05", "--since", "2020-02-29"]):
        (row,) = answers(folder, "red", *words)
        assert Path(row["path"]).stem == "white"
        assert datetime.fromisoformat(row["changed"]).timestamp() == DAY
    assert answers(folder, "red", "--until", "2020-02-28") == []
    assert "white" not in stems(answers(folder, "red", "--since", "2020-03-01", "-k", 9, "--show-duplicates"))


def test_longer_and_shorter(folder: Path) -> None:
    assert stems(answers(folder, "red", "--longer", "0:05")) == ["long"]
    assert sorted(stems(answers(folder, "red", "--shorter", "1.5"))) == ["green", "white"]


def test_metadata_and_where(folder: Path) -> None:
    table = ["--metadata", folder / "table.csv"]
    assert sorted(stems(answers(folder, "red", *table, "--where", "camera=gopro", "--show-duplicates"))) == ["br", "rb"]
    (row,) = answers(folder, "red", *table, "--where", "camera=GoPro", "--where", "rating>=4")
    assert row["metadata"] == {"path": "rb", "camera": "GoPro", "rating": "5"}
    rows = answers(folder, "red", *table, "-k", 9, "--show-duplicates")
    assert [row["metadata"] for row in rows if Path(row["path"]).stem == "long"] == [{}]


def test_rows_that_name_no_file_are_counted(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text("path,x\nrb,1\nnobody,2\nnothing,3\n")
    words = ["search", "red", "--index", folder / "index", "--metadata", tmp_path / "some.csv"]
    for more in ([], ["--where", "x=1"]):
        assert (
            run(*words, *more).err
            == f"{tmp_path}/some.csv: 2 of 3 rows name no file of the index, the first in line 3.\n"
        )


def test_moments_and_the_best_moment(folder: Path) -> None:
    several = answers(folder, "red", "--moments", "-k", 50, "--show-duplicates")
    assert stems(several).count("long") == 2
    one = answers(folder, "red", "--best-moment", "-k", 50, "--show-duplicates")
    assert sorted(stems(one)) == ["br", "green", "long", "rb", "rb again", "white"]


def test_duplicates(folder: Path) -> None:
    first = next(row for row in answers(folder, "red", "--then", "blue") if row["alike"])
    assert {Path(first["path"]).stem, *stems(first["alike"])} == {"rb", "rb again"}
    assert "(and 1 alike)" in run("search", "red", "--then", "blue", "--index", folder / "index").out
    shown = answers(folder, "red", "--then", "blue", "--show-duplicates")
    assert {"rb", "rb again"} <= set(stems(shown))
    assert all(row["alike"] == [] for row in shown)


def test_diverse_and_variety(folder: Path) -> None:
    plain = stems(answers(folder, "red", "-k", 2, "--show-duplicates"))
    assert stems(answers(folder, "red", "-k", 2, "--show-duplicates", "--diverse", "--variety", 0)) == plain
    varied = stems(answers(folder, "red", "-k", 2, "--show-duplicates", "--diverse", "--variety", "0.9"))
    assert varied[0] == plain[0]
    assert varied[1] in ("green", "white")
    assert stems(answers(folder, "red", "-k", 3, "--diverse")) != []


def test_nothing_is_left(folder: Path) -> None:
    said = run("search", "red", "--longer", "1:00:00", "--index", folder / "index")
    assert (said.code, said.out) == (0, "Nothing that may answer is left: see the filters.\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "the query is empty"),
        (["--then", "blue"], "the query is empty"),
        (["red", "--but", "blue"], "needs an image or a clip"),
        (["--image", "a.png", "--clip", "a.avi"], "not both"),
        (["--clip", "a.avi@5-2"], "its span must begin"),
        (["red", "--without", " "], "without: it is empty"),
        (["red", "--moments", "--best-moment"], "give one of them"),
        (["red", "--then", "blue", "--moments"], "leave moments out"),
        (["red", "--since", "yesterday"], "'yesterday' is no date"),
        (["red", "--since", "2021-01-01", "--until", "2020-01-01"], "exclude every file"),
        (["red", "--longer", "an hour"], "'an hour' is no time"),
        (["red", "--where", "camera=x"], "needs a table with that column, see --metadata"),
        (["red", "--where", "camera"], "write a column, a sign and a value"),
        (["red", "--diverse", "--variety", "2"], "variety 2: it goes from 0"),
        (["red", "--variety", "0.5"], "--variety: it says how much --diverse counts; give that too."),
        (["red", "--cut", "copy"], "--cut: it is about the files of --out; name one."),
        (["red", "--cut", "exact"], "--cut: it is about the files of --out; name one."),
        (["red", "--overwrite"], "--overwrite: it is about the files of --out; name one."),
        (["red", "--below", "/nowhere"], "below /nowhere: the index holds no file there"),
    ],
)
def test_wrong_usage_is_a_sentence(folder: Path, words: list[str], sentence: str) -> None:
    assert sentence in refused(2, "search", *words, "--index", folder / "index")


def test_wrong_files_are_a_sentence(folder: Path) -> None:
    index = ["--index", folder / "index"]
    assert "cannot be read as an image" in refused(1, "search", "--image", folder / "table.csv", *index)
    assert "No such file" in refused(1, "search", "--image", folder / "none.png", *index)
    assert "does not exist" in refused(1, "search", "--clip", folder / "none.avi", *index)
    assert "it is 3.0 s long" in refused(1, "search", "--clip", f"{folder / 'rb.avi'}@9-10", *index)
    assert "cannot be read" in refused(1, "search", "red", "--metadata", folder / "none.csv", *index)
    column = ["--metadata", folder / "table.csv", "--where", "lens=x"]
    assert "has no such column. It has path, camera, rating." in refused(2, "search", "red", *column, *index)
