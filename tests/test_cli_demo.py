"""The demo, whole, at a size of seconds: over the offline towers on a user's folder, and over a CLIP model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import write_clip
from reelseek.app.cli import main
from reelseek.app.commands.demo import index_real_clips, parse
from reelseek.app.models import load_method, model_card
from reelseek.data.motions import VERSION
from reelseek.index.build import update
from reelseek.index.cards import open_index
from reelseek.index.marks import Mark, keep_mark, read_marks
from reelseek.index.store import list_files
from reelseek.index.switch import roll_back
from reelseek.methods.saved import save
from test_encoders_clip import tiny_folder

# Decoding workers are forks of a process that has opened an index, which they never touch.
pytestmark = pytest.mark.filterwarnings("ignore:lance is not fork-safe:UserWarning")


def demo(out: Path, *words: str) -> int:
    return main(["demo", "--size", "24", "--out", str(out), *words])


def test_the_whole_tour_and_again(colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (colours / "broken.mp4").write_bytes(b"")
    words = ("--videos", str(colours), "--query", "a red wall")
    assert demo(tmp_path / "out", *words) == 0
    said = capsys.readouterr()
    assert "3 videos added, 0 unchanged, 1 set aside" in said.out
    assert "is empty (0 bytes)" in said.err
    assert "a red wall" in said.out
    assert "no test query saw another" in said.out
    assert "gare, trained on: motions train: 24 videos" in said.out
    assert f"serve --index {tmp_path / 'out' / 'clips.index'}" in said.out
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [run["name"] for run in results["runs"]] == ["zero-shot", "clip4clip", "gare-baseline", "gare"]
    for run in results["runs"][1:]:
        assert run["curves"]["validation R@1"]
        assert run["gap"]["before"]["distance"] != run["gap"]["after"]["distance"]
        assert run["parameters"] > 0
    assert {row["metric"] for row in results["comparisons"]} == {"R@1", "R@5", "MnR"}
    assert results["searches"][0]["hits"][0]["thumbnail"].startswith("data:image/jpeg")
    assert results["broken"][0]["path"].endswith("broken.mp4")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "a red wall" in page
    assert demo(tmp_path / "out", *words) == 0
    again = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [run["metrics"] for run in again["runs"]] == [run["metrics"] for run in results["runs"]]
    assert "0 videos added, 3 unchanged" in capsys.readouterr().out


def test_over_models_with_a_joint_space_something_is_trained(colours: Path, tmp_path: Path) -> None:
    counts = []
    for width in (64, 128):  # one after the other in the same folder
        model = tiny_folder(tmp_path / f"clip{width}", "clip", width=width)
        assert demo(tmp_path / "out", "--videos", str(colours), "--model", str(model)) == 0
        runs = json.loads((tmp_path / "out" / "results.json").read_text())["runs"]
        counts.append([run["parameters"] for run in runs[1:]])
    assert all(1 < first < second for first, second in zip(*counts, strict=True))


def test_another_model_keeps_marks_and_what_else_was_indexed(
    colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, index = tmp_path / "out", tmp_path / "out" / "clips.index"
    models = [tiny_folder(tmp_path / f"clip{width}", "clip", width=width) for width in (32, 64)]
    methods = [load_method(str(model), "cpu") for model in models]
    asked = [parse(["--out", str(out), "--videos", str(colours), "--model", str(model)]) for model in models]
    index_real_clips(out, asked[0], methods[0], {"broken": []})
    other = write_clip(tmp_path / "elsewhere" / "grey.mp4", (90, 90, 90))
    update(index, [other], methods[0], model_card=model_card(methods[0], str(models[0])))
    red = next(row for row in list_files(index) if row.path.name == "red.mp4")
    mark = Mark("a red wall", str(red.path), red.content_hash, 0.0, red.duration, 0.5, good=True, at=1.0)
    keep_mark(index, mark)
    capsys.readouterr()
    index_real_clips(out, asked[1], methods[1], {"broken": []})
    assert f"`reelseek index rollback --index {index}`" in capsys.readouterr().out
    assert open_index(index).model["id"] == methods[1].id
    assert read_marks(index) == [mark]
    assert {row.path.name for row in list_files(index)} == {"red.mp4", "green.mp4", "blue.mp4", "grey.mp4"}
    roll_back(index)
    assert open_index(index).model["id"] == methods[0].id


def test_wrong_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo(tmp_path / "out", "--videos", str(tmp_path / "nowhere")) == 1
    assert "there is no such folder" in capsys.readouterr().err
    assert main(["demo", "--sise", "3"]) == 2
    assert "Did you mean --size" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert demo(tmp_path / "file") == 2
    assert "it is a file, not a folder" in capsys.readouterr().err


@pytest.mark.parametrize("finished", [True, False])
def test_another_size_over_the_same_folder_is_refused_at_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], finished: bool
) -> None:
    settings = {"version": VERSION, "train": 500}
    (tmp_path / "motions").mkdir()
    if finished:
        (tmp_path / "motions" / "motions.json").write_text(json.dumps({"settings": settings}))
    else:
        (tmp_path / "motions" / "settings.json").write_text(json.dumps(settings))
    assert demo(tmp_path) == 1
    said = capsys.readouterr()
    assert "holds a benchmark of 500 training videos, not 24. Give --size 500, or another folder by --out." in said.err
    assert said.out == ""


def test_the_default_s_name_is_kept_beside_a_folder_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`train --out offline` makes such a folder; only where it holds a run is it what the name means."""
    tiny = tiny_folder(tmp_path / "tiny", "clip", width=32)
    method = load_method(str(tiny), "cpu")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "offline").mkdir()
    assert model_card(method, "offline")["source"] == "offline"
    save(method, tmp_path / "offline", run={})
    assert model_card(method, "offline")["source"] == str(tmp_path / "offline")
    assert model_card(method, "tiny")["source"] == str(tiny)
