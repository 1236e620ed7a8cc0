"""Every example runs as a user runs it, says what it promises, and writes nowhere but into its folder."""

from __future__ import annotations

import ast
import json
import re
import runpy
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from reelseek.methods.saved import is_run

EXAMPLES = Path(__file__).parent.parent / "examples"
Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs an example with arguments and returns what it printed; fails if it left a file in any usual place."""
    places = [tmp_path / name for name in ("here", "home", "cache", "temporary")]
    for place in places:
        place.mkdir()
    monkeypatch.chdir(places[0])
    monkeypatch.setenv("HOME", str(places[1]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(places[2]))
    monkeypatch.setattr(tempfile, "tempdir", str(places[3]))

    def go(name: str, *arguments: Path | str) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        assert [file for place in places for file in place.rglob("*") if file.is_file()] == []
        return capsys.readouterr().out

    return go


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all that train, as a reader would use it: videos are made and embedded once."""
    return tmp_path_factory.mktemp("new") / "runs"


def test_search_folder_indexes_once_and_names_what_is_broken(run: Run, colours: Path, tmp_path: Path) -> None:
    (colours / "torn.mp4").write_bytes(b"no video")
    first = run("search_folder.py", "something red", colours, tmp_path / "index")
    assert first.startswith("3 videos added, 0 unchanged, 1 set aside\nset aside: ")
    assert "torn.mp4" in first.splitlines()[1]
    rows = re.findall(r"^(-?\d\.\d{3}) +0\.0 s to +2\.0 s  (\w+\.mp4)$", first, re.MULTILINE)
    assert sorted(name for _, name in rows) == ["blue.mp4", "green.mp4", "red.mp4"]
    assert [float(score) for score, _ in rows] == sorted((float(score) for score, _ in rows), reverse=True)
    assert re.search(r"^best moment: \w+\.mp4 at [01]\.\d s$", first, re.MULTILINE)
    again = run("search_folder.py", "something red", colours, tmp_path / "index")
    assert re.match(r"0 videos added, [34] unchanged, 1 set aside\n", again)
    assert again.splitlines()[2:] == first.splitlines()[2:]


def test_search_folder_without_arguments_searches_packaged_clips(run: Run) -> None:
    found = run("search_folder.py")
    assert re.match(r"[1-9]\d* videos added, 0 unchanged, 0 set aside\n", found)
    assert len(found.splitlines()) == 5


def test_train_clip4clip_prints_metrics_with_their_protocol(run: Run, runs: Path) -> None:
    printed = run("train_clip4clip.py", runs)
    assert "clip4clip, trained on motions train: 24 videos, 72 texts" in printed
    for direction in ("text_to_video", "video_to_text"):
        assert re.search(rf"^{direction} R@1 [\d.]+  R@5 [\d.]+  .*MdR [\d.]+  MnR [\d.]+$", printed, re.MULTILINE)
    protocol = printed.splitlines()[-1]
    assert protocol.startswith("protocol: split motions test, texts_found 9, ")
    assert "ties against, rescoring none, " in protocol
    assert "transductive False, relevance strict, " in protocol
    assert is_run(runs / "clip4clip")


def test_train_gare_prints_its_loss_by_parts_and_labels_rescoring(run: Run, runs: Path) -> None:
    printed = run("train_gare.py", runs)
    parts = {name: float(value) for name, value in re.findall(r"loss/(\w+) (-?[\d.]+)", printed)}
    assert parts.keys() == {"total", "info_nce", "kl", "direction", "norm"}
    weighted = parts["info_nce"] + 1e-4 * parts["kl"] + 0.01 * (parts["direction"] + parts["norm"])
    assert parts["total"] == pytest.approx(weighted, abs=2e-4)
    assert re.search(r"^rescoring none \(plain\): R@1 ", printed, re.MULTILINE)
    assert re.search(r"^rescoring dual softmax .*\(transductive: .*\): R@1 ", printed, re.MULTILINE)


def test_compare_runs_takes_finished_runs_up_and_tells_what_could_be_seen(run: Run, runs: Path) -> None:
    printed = run("compare_runs.py", runs)
    row = r"^{}: clip4clip minus gare = [+-][\d.]+ \[[+-][\d.]+, [+-][\d.]+\], p = [01]\.\d+; [\d.]+ could have been"
    for metric in ("R@1", "R@5", "MnR"):
        assert re.search(row.format(metric), printed, re.MULTILINE), printed
    steps = [json.loads(line) for line in (runs / "gare" / "log.jsonl").read_text().splitlines()]
    numbers = [step["step"] for step in steps if step["kind"] == "step"]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_is_short_and_tells_how_it_is_run(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= 80
    assert f"python examples/{path.name} " in (ast.get_docstring(ast.parse(source)) or "")
    assert "._" not in source
    assert not re.search(r"(import|\.) ?_[a-z]", source)
