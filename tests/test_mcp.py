"""The index as tools: a client in the process asks as an assistant would, another over standard pipes."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from PIL import Image

import cli_world
from index_fakes import FakeMethod, clip, update
from reelseek.app.mcp import create_server
from reelseek.app.service import Service
from reelseek.index.calibration import DOUBT
from reelseek.index.cards import open_index
from reelseek.index.filters import read_metadata
from reelseek.index.marks import read_marks
from reelseek.index.search import Searcher


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("mcp")
    for number, colours in enumerate((["red"], ["green"], ["red", "blue"])):
        clip(place / "videos" / f"{'-'.join(colours)}.mp4", colours, seed=number)
    (place / "videos" / "broken.mp4").write_bytes(b"no video")
    update(place / "index", place / "videos")
    Image.new("RGB", (32, 32), (30, 200, 40)).save(place / "green.png")
    (place / "elsewhere").mkdir()
    Image.new("RGB", (32, 32), (30, 200, 40)).save(place / "elsewhere" / "green.png")
    return place / "index"


def asked(index: Path, work: Callable[[Client], Awaitable[Any]], **options: Any) -> Any:
    service = options.pop("service", None) or Service(Searcher(open_index(index), FakeMethod()))

    async def run() -> Any:
        async with Client(create_server(service, **options)) as client:
            return await work(client)

    return asyncio.run(run())


def call(index: Path, tool: str, arguments: dict[str, Any], **options: Any) -> Any:
    found = asked(index, lambda client: client.call_tool(tool, arguments), **options)
    return found.content[0].text if found.is_error else found.structured_content


def names(answer: Any) -> list[str]:
    return [Path(hit["path"]).name for hit in answer["hits"]]


def test_the_tools_say_what_they_take(index: Path) -> None:
    tools = {tool.name: tool for tool in asked(index, lambda client: client.list_tools()).tools}
    assert tools.keys() == {"search", "similar", "explain", "feedback", "index_status"}
    assert {"text", "image", "clip", "then", "without", "k"} <= set(tools["search"].input_schema["properties"])
    assert all(tool.description for tool in tools.values())


def test_searching(index: Path) -> None:
    assert names(call(index, "search", {"text": "green", "k": 1})) == ["green.mp4"]
    answer = call(index, "search", {"text": "red", "then": "blue"})
    assert names(answer)[0] == "red-blue.mp4"
    assert answer["hits"][0]["then"]["end"] == pytest.approx(3.0, abs=0.1)
    assert "red-blue.mp4" not in names(call(index, "search", {"text": "red", "without": ["blue"], "k": 1}))
    assert names(call(index, "search", {"text": "red", "since": "2999-01-01"})) == []


def test_filters_and_variety(index: Path, tmp_path: Path) -> None:
    (tmp_path / "about.csv").write_text("video,camera\nred,GoPro\ngreen,Sony\n")
    service = Service(Searcher(open_index(index), FakeMethod()), metadata=read_metadata(tmp_path / "about.csv"))

    def found(**more: Any) -> list[str]:
        return names(call(index, "search", {"text": "red", **more}, service=service))

    assert call(index, "index_status", {}, service=service)["columns"] == ["video", "camera"]
    assert found(where=["camera=Sony"]) == ["green.mp4"]
    assert found(longer="0:02") == ["red-blue.mp4"]
    assert sorted(found(shorter="2")) == ["green.mp4", "red.mp4"]
    assert found(k=2) == ["red.mp4", "green.mp4"]
    assert set(found(k=2, duplicates=True)) == {"red.mp4", "red-blue.mp4"}
    assert found(k=2, duplicates=True, variety=1.0)[1] == "green.mp4"
    assert "has no such column" in call(index, "search", {"text": "red", "where": ["lens=x"]}, service=service)
    assert "metadata" in call(index, "search", {"text": "red", "where": ["camera=Sony"]})
    assert "variety" in call(index, "search", {"text": "red", "variety": 2})


def test_pictures_that_may_be_read(index: Path) -> None:
    image = str(index.parent / "green.png")
    assert "may not read it" in call(index, "search", {"image": image})
    assert names(call(index, "search", {"image": image, "k": 1}, readable=[index.parent])) == ["green.mp4"]
    inside = [str(file) for file in Searcher(open_index(index), FakeMethod()).loaded.files]
    assert len(names(call(index, "search", {"clip": f"{inside[0]}@0-1"}))) >= 1
    link = index.parent / "videos" / "link.png"
    if not link.exists():
        link.symlink_to(index.parent / "elsewhere" / "green.png")
    for outside in (str(link), str(index.parent / "videos" / ".." / "elsewhere" / "green.png"), "/etc/passwd"):
        assert "may not read it" in call(index, "search", {"image": outside}, readable=[index.parent / "videos"])


def test_an_indexed_file_may_be_read_only_as_it_was_indexed(tmp_path: Path) -> None:
    film = clip(tmp_path / "videos" / "a.avi", ["red", "green"])
    clip(tmp_path / "secret.avi", ["blue"], seed=1)
    update(tmp_path / "index", film.parent)
    assert names(call(tmp_path / "index", "search", {"clip": str(film), "k": 1})) == ["a.avi"]
    film.rename(tmp_path / "aside.avi")
    film.symlink_to(tmp_path / "secret.avi")
    assert "may not read it" in call(tmp_path / "index", "search", {"clip": str(film)})
    assert names(call(tmp_path / "index", "search", {"clip": str(film)}, readable=[tmp_path])) == ["a.avi"]
    film.unlink()
    (tmp_path / "aside.avi").rename(film)
    assert names(call(tmp_path / "index", "search", {"clip": f"{film}@0-1", "k": 1})) == ["a.avi"]


def test_refusals_are_sentences(index: Path) -> None:
    assert "the query is empty" in call(index, "search", {})
    assert "'soon' is no date" in call(index, "search", {"text": "red", "since": "soon"})
    assert "does not hold it any more" in call(index, "explain", {"query": "red", "path": "/nowhere.mp4", "peak": 0.0})
    assert "200" in call(index, "search", {"text": "red", "k": 1000})
    assert "20000" in call(index, "search", {"text": "x" * 50_000})


def test_it_tells_whether_nothing_matches(index: Path) -> None:
    plain = call(index, "search", {"text": "red"})
    assert (plain["nothing_matches"], plain["hits"][0]["probability"]) == (False, None)
    for query, none in (("red", False), ("white", True)):
        service = Service(Searcher(open_index(index), FakeMethod()), probability=True)
        told = call(index, "search", {"text": query}, service=service)
        assert (max(hit["probability"] for hit in told["hits"]) < DOUBT) is none
        assert told["nothing_matches"] is none


def test_why_and_what_there_is(index: Path) -> None:
    hit = call(index, "search", {"text": "green", "k": 1})["hits"][0]
    why = call(index, "explain", {"query": "green", "path": hit["path"], "peak": hit["peak"]})
    assert why["score"] == pytest.approx(hit["score"], abs=1e-5)
    status = call(index, "index_status", {})
    assert (status["videos"], len(status["broken"])) == (3, 1)
    assert "broken.mp4" in status["broken"][0]["path"]


def test_more_like_a_hit(index: Path) -> None:
    hit = call(index, "search", {"text": "red", "k": 1})["hits"][0]
    found = call(index, "similar", {"path": hit["path"], "peak": hit["peak"], "k": 2})
    assert len(found["hits"]) >= 1
    assert hit["path"] not in [other["path"] for other in found["hits"]]
    assert found["query"].startswith(f"like {hit['path']}")
    assert "does not hold it any more" in call(index, "similar", {"path": "/nowhere.mp4", "peak": 1.0})


def test_feedback_is_kept_with_the_index(index: Path) -> None:
    hit = call(index, "search", {"text": "green", "k": 1})["hits"][0]
    said = {"query": "green", "path": hit["path"], "peak": hit["peak"]}
    kept = call(index, "feedback", {**said, "good": True})["kept"]
    assert (kept["query"], kept["path"], kept["good"]) == ("green", hit["path"], True)
    assert [(mark.query, mark.path, mark.good) for mark in read_marks(index)] == [("green", hit["path"], True)]
    assert call(index, "feedback", {**said, "good": None})["kept"] is None
    assert read_marks(index) == []
    span = {"start": hit["start"], "end": hit["end"]}
    kept = call(index, "feedback", {**said, **span, "good": False})["kept"]
    assert (kept["start"], kept["end"], kept["good"]) == (hit["start"], hit["end"], False)
    assert call(index, "feedback", {**said, "start": 0.0, "end": 0.1, "good": None})["kept"] is None
    assert len(read_marks(index)) == 1
    assert call(index, "feedback", {**said, **span, "good": None})["kept"] is None
    assert read_marks(index) == []
    assert "lasts" in call(index, "feedback", {**said, "start": 0.0, "end": 99.0, "good": True})
    assert "give both" in call(index, "feedback", {**said, "start": 0.0, "good": True})
    assert "which query" in call(index, "feedback", {**said, "query": " ", "good": True})
    assert "does not hold it any more" in call(index, "feedback", {**said, "path": "/nowhere.mp4", "good": True})


def test_names_that_are_no_text_travel_and_come_back(tmp_path: Path) -> None:
    clip(tmp_path / "a.avi", ["red", "green"])
    odd = os.fsencode(tmp_path) + b"/odd\xff"
    os.mkdir(odd)
    os.rename(tmp_path / "a.avi", odd + b"/\xe9.avi")
    update(tmp_path / "index", Path(os.fsdecode(odd)))
    hit = call(tmp_path / "index", "search", {"text": "red"})["hits"][0]
    assert hit["path"].endswith("odd\\udcff/\\udce9.avi")
    place = {"path": hit["path"], "peak": hit["peak"]}
    assert call(tmp_path / "index", "explain", {"query": "red", **place})["path"] == hit["path"]
    assert call(tmp_path / "index", "feedback", {"query": "red", **place, "good": False})["kept"]["path"] == hit["path"]
    assert len(names(call(tmp_path / "index", "search", {"clip": f"{hit['path']}@0-1"}))) == 1
    assert (
        len(names(call(tmp_path / "index", "search", {"text": "red", "below": [str(Path(hit["path"]).parent)]}))) == 1
    )


def test_what_is_indexed_meanwhile_may_be_named_at_once(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    clip(videos / "a.avi", ["red"])
    update(tmp_path / "index", videos)

    async def work(client: Client) -> Any:
        clip(videos / "b.avi", ["green", "blue"], seed=1)
        update(tmp_path / "index", videos)
        found = await client.call_tool("search", {"clip": f"{videos / 'b.avi'}@0-1"})
        clip(videos / "c.avi", ["blue"], seed=2)
        update(tmp_path / "index", videos)
        why = await client.call_tool("explain", {"query": "red", "path": str(videos / "c.avi"), "peak": 0.5})
        return found, why

    found, why = asked(tmp_path / "index", work)
    assert names(found.structured_content)[0] == "b.avi"
    assert why.structured_content["path"].endswith("c.avi")


@pytest.mark.parametrize("peak", [-1.0, 1e300, float("inf")])
def test_times_that_are_none_are_refused(index: Path, peak: float) -> None:
    said = call(index, "feedback", {"query": "red", "path": "/a", "peak": peak, "good": None})
    assert "peak" in said


def test_over_standard_pipes(tmp_path: Path) -> None:
    films = cli_world.films(tmp_path / "films")
    assert cli_world.run("index", films, "--index", tmp_path / "index").code == 0
    (tmp_path / "about.csv").write_text("video,camera\nred,GoPro\n")
    words = ["-m", "reelseek", "mcp", "--index", str(tmp_path / "index"), "--metadata", str(tmp_path / "about.csv")]
    server = StdioServerParameters(command=sys.executable, args=words, env=dict(os.environ))

    async def run() -> Any:
        async with Client(server) as client:
            found = await client.call_tool("search", {"text": "red", "k": 2})
            return found, await client.call_tool("search", {"text": "blue", "where": ["camera=GoPro"]})

    found, filtered = asyncio.run(run())
    assert len(found.structured_content["hits"]) == 2
    assert names(filtered.structured_content) == ["red.mp4"]


def test_a_folder_to_read_must_be_there(index: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    for place in (tmp_path / "nofolder", tmp_path / "a.png"):
        sentence = cli_world.refused(2, "mcp", "--index", index, "--read", tmp_path, "--read", place)
        assert f"--read {place}: there is no such folder." in sentence


def test_without_the_package(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp.server", None)
    monkeypatch.delitem(sys.modules, "reelseek.app.mcp", raising=False)
    assert 'pip install "reelseek[mcp]"' in cli_world.refused(2, "mcp", "--index", index)
