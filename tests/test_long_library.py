"""What the server and the tools answer over a library of thousands of files: at once, and of a size that is bounded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from mcp import Client

import long_library
from index_fakes import FakeMethod
from reelseek.app.bounds import MOST_TEXT, bounded, thinned
from reelseek.app.mcp import create_server
from reelseek.app.schema import MOST_ALIKE, MOST_BROKEN, MOST_CHARACTERS, MOST_FOLDERS, MOST_HITS
from reelseek.app.service import Service
from reelseek.app.web import create_app
from reelseek.index.cards import open_index
from reelseek.index.filters import Filters
from reelseek.index.query import Query
from reelseek.index.search import Searcher
from reelseek.video.files import thumbnail

KB = 1000


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    return Service(Searcher(open_index(long_library.write(tmp_path_factory.mktemp("long"))), FakeMethod()))


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(create_app(service, thumbnail=thumbnail), base_url="http://127.0.0.1:8765") as client:
        yield client


def said(service: Service, tool: str, **asked: Any) -> tuple[dict[str, Any], int]:
    """What a tool answers, and how many characters an assistant has to read."""

    async def run() -> Any:
        async with Client(create_server(service)) as client:
            return await client.call_tool(tool, asked)

    answer = asyncio.run(run())
    assert not answer.is_error, answer.content[0].text
    return answer.structured_content, len(answer.content[0].text)


def test_the_status_names_the_first_and_counts_all(client: TestClient) -> None:
    answer = client.get("/api/status")
    known = answer.json()
    assert (known["videos"], known["broken_count"], known["folder_count"]) == (
        long_library.VIDEOS,
        long_library.BROKEN,
        long_library.FOLDERS,
    )
    assert (len(known["broken"]), len(known["folders"])) == (MOST_BROKEN, MOST_FOLDERS)
    assert [Path(file["path"]).stem for file in known["broken"]] == [f"{n:05d}" for n in range(MOST_BROKEN)]
    assert [folder["path"] for folder in known["folders"]] == sorted(folder["path"] for folder in known["folders"])
    # the fullest folders hold three videos each, the others two
    assert {folder["videos"] for folder in known["folders"]} == {3}
    assert len(answer.content) < (MOST_BROKEN + MOST_FOLDERS) * 300


def test_much_of_the_same_footage_is_one_short_answer(client: TestClient) -> None:
    answer = client.get("/api/search", params={"q": "white", "k": 5})
    first = answer.json()["hits"][0]
    assert first["alike_count"] == long_library.SAME - 1
    assert len(first["alike"]) == MOST_ALIKE
    scores = [place["score"] for place in first["alike"]]
    assert scores == sorted(scores, reverse=True)
    assert len(answer.content) < 30 * KB


def test_the_longest_query_does_not_come_back_with_every_hit(client: TestClient, service: Service) -> None:
    words = ("red " * MOST_CHARACTERS)[:MOST_CHARACTERS].strip()
    answer = client.get("/api/search", params={"q": words, "k": MOST_HITS})
    known = answer.json()
    assert (known["query"], len(known["hits"])) == (words, MOST_HITS)
    assert {len(hit["parts"][0]["what"]) for hit in known["hits"]} == {MOST_TEXT}
    assert len(answer.content) < MOST_CHARACTERS + MOST_HITS * 1.5 * KB
    _, size = said(service, "search", text=words, k=10)
    assert size < MOST_CHARACTERS + 20 * KB


def test_an_assistant_reads_little(client: TestClient, service: Service) -> None:
    status, size = said(service, "index_status")
    assert (len(status["broken"]), status["broken_count"], size < 8 * KB) == (20, long_library.BROKEN, True)
    found, size = said(service, "search", text="white")
    assert (len(found["hits"][0]["alike"]), found["hits"][0]["alike_count"]) == (3, long_library.SAME - 1)
    assert size < 20 * KB
    first = found["hits"][0]
    _, size = said(service, "similar", path=first["path"], peak=first["peak"])
    assert size < 20 * KB


def test_a_long_video_is_explained_in_few_points(client: TestClient, service: Service) -> None:
    found = service.ask(Query(text="red"), 200, filters=Filters(), moments="", collapse=False, variety=0.0)
    longest = next(answer for answer in found if answer.duration == long_library.LONGEST)
    known, size = said(service, "explain", query="red", path=longest.path, peak=longest.peak)
    assert (len(known["curve"]), size < 20 * KB) == (100, True)
    whole = service.explain("red", longest.path, longest.peak).curve
    assert max(cosine for _, cosine in known["curve"]) == pytest.approx(max(cosine for _, cosine in whole), abs=1e-6)


def test_every_answer_comes_at_once(client: TestClient) -> None:
    """Within what a person takes for at once; a busy machine is given time."""
    (hit,) = client.get("/api/search", params={"q": "red", "k": 1}).json()["hits"]
    for address in ("/api/status", "/api/search?q=red&k=200", "/api/feedback", "/metrics", f"/thumb/{hit['id']}"):
        begun = time.process_time()
        assert client.get(address).status_code in (200, 404)
        assert time.process_time() - begun < 1.0, address


def test_curves_are_thinned_by_their_peaks() -> None:
    assert thinned([], 3) == []
    assert thinned([(0.0, 0.1), (1.0, 0.2)], 3) == [(0.0, 0.1), (1.0, 0.2)]
    points = [(0.0, 0.1), (1.0, 0.9), (2.0, 0.3), (3.0, 0.2), (4.0, 0.8), (5.0, 0.7)]
    assert thinned(points, 3) == [(1.0, 0.9), (2.0, 0.3), (4.0, 0.8)]
    assert thinned(points, 2) == [(1.0, 0.9), (4.0, 0.8)]


def test_long_words_end_in_an_ellipsis() -> None:
    plain = {
        "parts": [{"role": "text", "what": "a" * 301, "score": 0.1}],
        "heard": {"text": "b" * 300, "start": 0.0},
        "metadata": {"notes": "c" * 9000},
        "alike": [1, 2, 3],
    }
    cut = bounded(plain, 2)
    assert cut["parts"][0]["what"] == "a" * 299 + "…"
    assert cut["heard"]["text"] == "b" * 300
    assert cut["metadata"]["notes"] == "c" * 299 + "…"
    assert (cut["alike"], cut["alike_count"]) == ([1, 2], 3)
    assert bounded({**plain, "heard": None}, 2)["heard"] is None
