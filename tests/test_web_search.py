"""The HTTP interface over a real index of drawn clips: everything that a search can ask, and what it refuses."""

from __future__ import annotations

import asyncio
import io
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fastapi import Request
from fastapi.testclient import TestClient
from PIL import Image
from starlette.exceptions import HTTPException

from index_fakes import CARD, COLOURS, FakeMethod, clip, update
from reelseek.app import upload
from reelseek.app.service import Service
from reelseek.app.web import create_app
from reelseek.index import build
from reelseek.index.ask import ask
from reelseek.index.cards import open_index
from reelseek.index.disk import PROGRESS, locked
from reelseek.index.filters import read_metadata
from reelseek.index.marks import read_marks
from reelseek.index.query import Query
from reelseek.index.search import Searcher
from reelseek.index.subtitles import version
from reelseek.video.files import thumbnail

HERE = "http://127.0.0.1:8765"
FILMS = {"day/rg.avi": ["red", "green"], "day/gb.avi": ["green", "blue"], "night/bw.avi": ["blue", "white", "red"]}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("films")
    for seed, (name, colours) in enumerate(FILMS.items()):
        clip(folder / name, colours, seed=seed)
        os.utime(folder / name, (1.7e9 + 1e6 * seed,) * 2)
    (folder / "day" / "<u>torn.avi").write_bytes(b"no video")
    (folder / "day" / "gb.srt").write_text("1\n00:00:01,600 --> 00:00:02,400\nthe <b>general</b> \u202esleeps\n")
    (folder / "about.csv").write_text("video,camera\nrg,GoPro\ngb,<b>Sony\n")
    update(folder / "index", folder)
    return folder, folder / "index"


@pytest.fixture
def searcher(made: tuple[Path, Path]) -> Searcher:
    return Searcher(open_index(made[1]), FakeMethod())


@pytest.fixture
def client(made: tuple[Path, Path], searcher: Searcher) -> Iterator[TestClient]:
    service = Service(searcher, metadata=read_metadata(made[0] / "about.csv"))
    with TestClient(create_app(service, thumbnail=thumbnail), base_url=HERE) as client:
        yield client


def picture(colour: str, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((16, 16, 3), COLOURS[colour], np.uint8)).save(file, kind)
    return file.getvalue()


def hits(client: TestClient, route: str = "search", **asked: object) -> list[dict]:
    answer = client.get(f"/api/{route}", params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()["hits"]


def names(found: list[dict]) -> list[str]:
    return [hit["name"] for hit in found]


def refused(client: TestClient, status: int, route: str = "search", **asked: object) -> str:
    answer = client.get(f"/api/{route}", params=asked)
    assert answer.status_code == status, answer.text
    (words,) = answer.json().values()
    return words


# ---- searches


def test_an_answer_says_all_that_the_index_knows(client, searcher, made):
    (expected,) = ask(searcher, Query(text="red"), 1, moments="one")
    (hit,) = hits(client, q="red", k=1, best_moment=True)
    plain = expected.plain()
    assert {name: hit[name] for name in ("score", "start", "end", "peak", "scale", "duration", "changed")} == {
        name: pytest.approx(plain[name]) if name == "score" else plain[name]
        for name in ("score", "start", "end", "peak", "scale", "duration", "changed")
    }
    assert os.path.join(hit["folder"], hit["name"]) == expected.path
    assert hit["parts"] == [{"role": "text", "what": "red", "score": pytest.approx(expected.score, abs=1e-6)}]
    assert (hit["probability"], hit["then"]) == (None, None)
    assert [(place["name"], place["start"]) for place in hit["alike"]] == [
        (Path(other.path).name, other.start) for other in expected.alike
    ]
    assert len(expected.alike) == 1


@pytest.mark.parametrize(
    "asked",
    [
        {"q": "red", "moments": True},
        {"q": "red", "then": "green"},
        {"q": "blue", "without": ["white", "green"]},
        {"q": "green", "variety": 0.7, "k": 2},
        {"q": "green", "duplicates": True},
    ],
)
def test_every_option_is_the_one_of_the_command_line(client, searcher, asked):
    query = Query(text=asked["q"], then=asked.get("then", ""), without=tuple(asked.get("without", ())))
    expected = ask(
        searcher,
        query,
        asked.get("k", 24),
        moments="all" if "moments" in asked else "",
        collapse="duplicates" not in asked,
        variety=asked.get("variety", 0.0),
    )
    found = hits(client, **asked)
    assert [(hit["name"], hit["start"], hit["end"], hit["peak"]) for hit in found] == [
        (Path(a.path).name, a.start, a.end, a.peak) for a in expected
    ]
    assert [hit["then"] is None for hit in found] == [answer.then is None for answer in expected]


def test_filters(client, made):
    folder = made[0]
    everything = {"rg.avi", "gb.avi", "bw.avi"}
    assert set(names(hits(client, q="red", duplicates=True))) == everything
    assert set(names(hits(client, q="red", duplicates=True, below=[str(folder / "day")]))) == {"rg.avi", "gb.avi"}
    assert names(hits(client, q="red", duplicates=True, longer="0:04")) == ["bw.avi"]
    assert set(names(hits(client, q="red", duplicates=True, shorter="4"))) == {"rg.avi", "gb.avi"}
    assert names(hits(client, q="red", duplicates=True, where=["camera=gopro"])) == ["rg.avi"]
    (hit,) = hits(client, q="red", duplicates=True, where=["camera!=gopro"])
    assert hit["metadata"] == {"video": "gb", "camera": "<b>Sony"}


def test_rows_that_name_no_file_are_told_where_the_table_filters(searcher, made):
    (made[0] / "more.csv").write_text("video,camera\ngb,Sony\nnobody,Sony\n")
    service = Service(searcher, metadata=read_metadata(made[0] / "more.csv"))
    with TestClient(create_app(service, thumbnail=thumbnail), base_url=HERE) as client:
        said = client.get("/api/search", params={"q": "red", "where": ["camera=sony"]}).json()["note"]
        assert said.endswith("more.csv: 1 of 2 rows name no file of the index, the first in line 3.")
        assert client.get("/api/search", params={"q": "red"}).json()["note"] == ""


def test_dates(client):
    def changed(**bounds: str) -> set[str]:
        return set(names(hits(client, q="red", duplicates=True, **bounds)))

    # the films changed on 14 and 26 November and 8 December 2023, in any zone within a day
    assert changed(since="2023-11-20") == {"gb.avi", "bw.avi"}
    assert changed(until="2023-11-20") == {"rg.avi"}
    assert changed(since="2023-11-20", until="2023-12-01") == {"gb.avi"}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"q": " "}, "Say what to look for."),
        ({"q": "red", "moments": True, "best_moment": True}, "give one of them"),
        ({"q": "red", "then": "blue", "moments": True}, "leave moments out"),
        ({"q": "red", "but": "blue"}, "needs an image or a clip"),
        ({"q": "red", "then": " "}, "then: it is empty"),
        ({"q": "red", "since": "yesterday"}, "is no date"),
        ({"q": "red", "longer": "long"}, "is no time"),
        ({"q": "red", "longer": "9" * 400}, "must be finite"),
        ({"q": "red", "longer": "9", "shorter": "3"}, "exclude every file"),
        ({"q": "red", "below": "/nowhere"}, "holds no file there"),
        ({"q": "red", "below": "\0"}, "holds no file there"),
        ({"q": "red", "where": "lens=wide"}, "no such column. It has video, camera."),
        ({"q": "red", "where": "camera"}, "write a column"),
        ({"q": "red", "variety": 2}, "variety: "),
        ({"q": "red", "without": ["a"] * 9}, "without: "),
        ({"q": "red", "then": "a" * 1001}, "then: "),
        ({"q": "red", "colour": "green"}, "colour: Extra inputs are not permitted"),
    ],
)
def test_what_cannot_be_asked(client, asked, words):
    assert words in refused(client, 400, **asked)


def test_a_server_without_a_table_knows_no_columns(searcher):
    client = TestClient(create_app(Service(searcher), thumbnail=thumbnail), base_url=HERE)
    assert "needs a table" in refused(client, 400, q="red", where="camera=gopro")


# ---- pictures


def post(client: TestClient, body: bytes, kind: str, **asked: object):
    return client.post("/api/search", params=asked, content=body, headers={"content-type": kind})


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_by_an_image(client, kind):
    answer = post(client, picture("white", kind), f"image/{kind.lower()}", k=1)
    assert answer.status_code == 200
    body = answer.json()
    assert body["query"] == "like the image"
    assert names(body["hits"]) == ["bw.avi"]
    (part,) = body["hits"][0]["parts"]
    assert (part["role"], part["what"]) == ("picture", "")


def test_by_a_clip_and_words(client, made):
    film = (made[0] / "night" / "bw.avi").read_bytes()
    whole = post(client, film, "video/x-msvideo", q="blue", without=["green"]).json()
    assert whole["query"] == "blue, like the clip, without green"
    assert names(whole["hits"])[0] == "bw.avi"
    # it shows red from 3 s on
    end = post(client, film, "video/x-msvideo", clip_start=3.2, k=2, duplicates=True).json()
    assert (end["query"], set(names(end["hits"]))) == ("like the clip@3.2-", {"rg.avi", "bw.avi"})


@pytest.mark.parametrize(
    ("body", "kind", "asked", "status", "words"),
    [
        (b"no image", "image/png", {}, 400, "the image: cannot be read as an image"),
        (b"no video", "video/mp4", {}, 400, "the clip: "),
        (b"", "image/png", {}, 400, "the image: "),
        (b"x", "text/html", {}, 415, "Content-Type of image/... or video/..."),
        (b"#EXTM3U\nfile:///etc/passwd", "video/mp4", {}, 400, "the clip: "),
        (b"x", "video/mp4", {"clip_start": 5, "clip_end": 4}, 400, "the clip sent@5-4: its span"),
        (b"x", "image/png", {"since": "soon"}, 400, "is no date"),
    ],
)
def test_pictures_that_cannot_be_used(client, body, kind, asked, status, words):
    answer = post(client, body, kind, **asked)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]
    assert "/tmp" not in answer.text


def test_a_picture_has_a_bounded_size_and_leaves_nothing(client, monkeypatch, tmp_path):
    monkeypatch.setattr(upload, "MOST_BYTES", {"image": 1 << 20, "video": 1 << 20})
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    answer = post(client, b"x" * ((1 << 20) + 1), "image/png")
    assert (answer.status_code, answer.json()["error"]) == (413, "The image has more than 1 MB. Send a smaller one.")
    assert post(client, picture("red"), "image/png").status_code == 200
    assert list(tmp_path.iterdir()) == []


def test_a_slow_picture_is_sent_away(monkeypatch):
    monkeypatch.setattr(upload, "PATIENCE", 0.05)

    async def slowly():
        await asyncio.sleep(20)

    async def send():
        request = Request({"type": "http", "headers": [(b"content-type", b"image/png")]}, slowly)
        async with upload.Uploads().received(request, 0.0, None):
            pass

    with pytest.raises(HTTPException, match="The image did not come") as refusal:
        asyncio.run(send())
    assert refusal.value.status_code == 408


def test_few_pictures_at_a_time():
    async def send():
        uploads = upload.Uploads(1)
        request = Request(
            {"type": "http", "headers": [(b"content-type", b"image/png")]},
            lambda: asyncio.sleep(0, {"type": "http.request"}),
        )
        async with uploads.received(request, 0.0, None):
            with pytest.raises(HTTPException, match="Too many pictures") as refusal:
                async with uploads.received(request, 0.0, None):
                    pass
        assert refusal.value.status_code == 429
        async with uploads.received(Request(request.scope, request._receive), 0.0, None) as path:
            assert path.exists()
        assert not path.exists()

    asyncio.run(send())


# ---- one hit


def test_moments_like_one(client):
    red = hits(client, q="red", k=1)[0]
    asked = {"id": red["id"], "t": red["peak"], "moments": True}
    answer = client.get("/api/similar", params={**asked, "duplicates": True}).json()
    assert answer["query"] == f"like {red['name']}@{red['peak']:g}"
    first = answer["hits"][0]
    assert {first["name"], red["name"]} == {"rg.avi", "bw.avi"}
    assert first["score"] > 0.99
    assert not any(covers(hit, red) for hit in answer["hits"])
    # the other red is the same footage: it leaves with the moment itself
    found = hits(client, "similar", **asked)
    assert found
    assert all(hit["score"] < 0.9 and not covers(hit, red) for hit in found)
    assert len(hits(client, "similar", **asked, k=1)) == 1


def covers(hit: dict, moment: dict) -> bool:
    return hit["id"] == moment["id"] and hit["start"] <= moment["peak"] <= hit["end"]


def test_moments_like_one_but_different(client):
    (red,) = hits(client, q="red", k=1, below=[])
    found = hits(client, "similar", id=red["id"], t=red["peak"], but="green")
    assert [part["role"] for part in found[0]["parts"]] == ["picture", "but"]


def test_a_sentence_along_a_video(client, searcher, made):
    (hit,) = hits(client, q="white", k=1)
    curve = client.get("/api/curve", params={"q": "white", "id": hit["id"]}).json()
    words = FakeMethod().encode_texts(["white"]).pooled_TD @ FakeMethod().projection_WD
    loaded = searcher.loaded
    video = loaded.paths_V.index(str(made[0] / "night" / "bw.avi"))
    expected = []
    for s in loaded.segments_V[video]:
        first = loaded.segments.first_S[s]
        for row in range(first, first + loaded.segments.count_S[s]):
            frame = loaded.frames_ND[row].double()
            cosine = float(frame @ words[0].double() / frame.norm() / words[0].double().norm())
            expected.append((float(loaded.segments.times_N[row]), cosine))
    assert curve["times"] == pytest.approx([time for time, _ in expected], abs=1e-3)
    assert curve["scores"] == pytest.approx([score for _, score in expected], abs=1e-3)
    assert curve["duration"] == pytest.approx(hit["duration"], abs=0.3)
    assert curve["times"][int(np.argmax(curve["scores"]))] == pytest.approx(hit["peak"], abs=0.6)


@pytest.mark.parametrize(
    ("route", "asked"),
    [("similar", {"t": 0.5}), ("curve", {"q": "red"}), ("explain", {"q": "red", "t": 0.5})],
)
def test_hits_that_are_not_there(client, searcher, route, asked):
    assert "Search again" in refused(client, 404, route, id="0" * 24, **asked)


def test_moments_that_are_not_there(client):
    (hit,) = hits(client, q="red", k=1)
    assert "has no moment at 99 s" in refused(client, 404, "similar", id=hit["id"], t=99)
    assert "no frame of it at 99 s" in refused(client, 404, "explain", q="red", id=hit["id"], t=99)


def test_a_hit_is_explained(client):
    (hit,) = hits(client, q="red dog", k=1)
    why = client.get("/api/explain", params={"q": "red dog", "id": hit["id"], "t": hit["peak"]}).json()
    assert why["score"] == pytest.approx(hit["score"], abs=1e-5)
    assert [word["text"] for word in why["words"]] == ["red", "dog"]


def test_every_moment_is_explained_as_its_own(client):
    for hit in hits(client, q="red", k=50, moments=True):
        asked = {"q": "red", "id": hit["id"], "t": hit["peak"], "start": hit["start"], "end": hit["end"]}
        why = client.get("/api/explain", params=asked).json()
        assert why["score"] == pytest.approx(hit["score"], abs=1e-5)
        inside = [frame["time"] for frame in why["frames"] if frame["inside"]]
        assert inside == [f["time"] for f in why["frames"] if hit["start"] - 1e-3 < f["time"] < hit["end"] - 1e-3]
        assert hit["peak"] == pytest.approx(min(inside, key=lambda time: abs(time - hit["peak"])), abs=1e-3)


# ---- feedback


def test_feedback_is_kept_changed_and_taken_back(client):
    (hit,) = hits(client, q="white", k=1)
    said = {"q": "white", "id": hit["id"], "t": hit["peak"]}
    for good in (True, False):
        kept = client.post("/api/feedback", json={**said, "good": good}).json()["kept"]
        assert (kept["q"], kept["id"], kept["peak"], kept["good"]) == ("white", hit["id"], hit["peak"], good)
        assert (kept["start"], kept["end"]) == (hit["peak"], hit["peak"])  # the frame alone
        assert client.get("/api/feedback").json() == {"kept": [kept]}
    assert client.post("/api/feedback", json={**said, "good": None}).json() == {"kept": None}
    assert client.get("/api/feedback").json() == {"kept": []}


def test_what_is_said_of_a_moment_or_a_line_is_about_its_span(client, made):
    def said_of(hit: dict, good: bool | None) -> dict | None:
        place = {"id": hit["id"], "t": hit["peak"], "start": hit["start"], "end": hit["end"]}
        answer = client.post("/api/feedback", json={"q": "general sleeps", **place, "good": good})
        assert answer.status_code == 200, answer.text
        return answer.json()["kept"]

    found = hits(client, q="general sleeps", k=50, moments=True, subtitles=True)
    line = next(hit for hit in found if hit["heard"])
    other = {**line, "start": line["end"], "end": line["end"] + 0.25}  # a second line under the same frame
    for hit, good in ((line, True), (other, False)):
        kept = said_of(hit, good)
        assert [kept[name] for name in ("start", "end", "peak")] == [hit[name] for name in ("start", "end", "peak")]
    marks = read_marks(made[1])
    assert [(mark.start, mark.end, mark.good) for mark in marks] == [(1.6, 2.4, True), (2.4, 2.65, False)]
    assert said_of(line, None) is None
    assert [mark.good for mark in read_marks(made[1])] == [False]
    said_of(line, True)
    frame = {"q": "general sleeps", "id": line["id"], "t": line["peak"], "good": None}
    assert client.post("/api/feedback", json=frame).json() == {"kept": None}
    assert read_marks(made[1]) == []


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"q": " "}, 400),
        ({"start": 0.0}, 400),
        ({"start": 1.0, "end": 0.5}, 400),
        ({"start": -1.0, "end": 0.5}, 400),
        ({"start": 0.0, "end": 99.0}, 400),
        ({"start": 0.0, "end": "soon"}, 400),
        ({"q": "\ud800"}, 400),
        ({"id": "0" * 24}, 404),
        ({"t": 99.0}, 404),
        ({"t": -1}, 400),
        ({"good": "perhaps"}, 400),
        ({"mood": "fine"}, 400),
    ],
)
def test_feedback_that_cannot_be_kept(client, changed, status):
    (hit,) = hits(client, q="white", k=1)
    said = {"q": "white", "id": hit["id"], "t": hit["peak"], "good": True} | changed
    answer = client.post("/api/feedback", content=json.dumps(said), headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    assert client.get("/api/feedback").json() == {"kept": []}


def test_nothing_comes_from_the_pages_of_other_sites(client):
    (hit,) = hits(client, q="white", k=1)
    said = {"q": "white", "id": hit["id"], "t": hit["peak"], "good": True}
    for origin in ("https://evil.example", "http://127.0.0.1:9999", "null"):
        assert client.post("/api/feedback", json=said, headers={"origin": origin}).status_code == 403
    assert client.get("/api/feedback").json() == {"kept": []}
    assert client.post("/api/feedback", json=said | {"good": None}, headers={"origin": HERE}).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pages_of_other_sites_and_ports_cannot_even_ask(client, site):
    """What a browser says of who sends: such a page may lead here, but not make the server work behind one's back."""
    (hit,) = hits(client, q="white", k=1)
    image = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
    frame = {"sec-fetch-site": site, "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}
    for asked in (image, frame):
        for address in ("/api/search?q=red", "/api/status", f"/thumb/{hit['id']}", "/"):
            assert client.get(address, headers=asked).status_code == 403
    link = {"sec-fetch-site": site, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert client.get("/?q=red", headers=link).status_code == 200
    assert client.post("/api/feedback", headers=link).status_code == 403
    for own in ("same-origin", "none"):
        assert client.get("/api/search?q=red", headers={**image, "sec-fetch-site": own}).status_code == 200


def test_a_page_on_another_port_cannot_use_the_cookie(searcher):
    app = create_app(Service(searcher), thumbnail=thumbnail, token="secret")
    client = TestClient(app, base_url=HERE)
    assert client.get(
        "/?token=secret", headers={"sec-fetch-site": "cross-site", "sec-fetch-dest": "document"}
    ).is_success
    assert client.get("/api/status", headers={"sec-fetch-site": "same-origin"}).status_code == 200
    assert client.get("/api/status", headers={"sec-fetch-site": "same-site"}).status_code == 403
    assert client.post("/api/feedback", headers={"sec-fetch-site": "same-site"}).status_code == 403


# ---- the index


def test_status(client, made):
    folder = made[0]
    status = client.get("/api/status").json()
    assert (status["videos"], status["indexing"], status["columns"]) == (3, None, ["video", "camera"])
    assert status["folders"] == [
        {"path": str(folder / "day"), "videos": 2},
        {"path": str(folder / "night"), "videos": 1},
    ]
    assert [file["path"] for file in status["broken"]] == [str(folder / "day" / "<u>torn.avi")]


def test_status_tells_of_a_running_indexing(client, made, tmp_path):
    directory = made[1]
    new = tmp_path / "new"
    for number in range(3):
        clip(new / f"{number}.avi", ["green"], seed=40 + number)
    at, go = threading.Event(), threading.Event()

    class Watched(FakeMethod):
        def encode_frames(self, pixels_N3HW):
            at.set()
            assert go.wait(20)
            return super().encode_frames(pixels_N3HW)

    told = []
    worker = threading.Thread(
        target=lambda: build.update(
            directory,
            [new],
            Watched(),
            model_card=CARD,
            progress=lambda done, total: told.append(client.get("/api/status").json()["indexing"]),
        )
    )
    worker.start()
    assert at.wait(20)
    assert client.get("/api/status").json()["indexing"] == {"done": None, "total": None}
    go.set()
    worker.join(20)
    # the file is written after `progress` was called, so each call sees what was told before it
    assert told[1:] == [{"done": 1, "total": 3}] * 2
    assert client.get("/api/status").json()["indexing"] is None
    assert not (directory / PROGRESS).exists()


def test_what_a_killed_writer_left_counts_for_nothing(client, made):
    (made[1] / PROGRESS).write_text('{"done": 3, "total": 9}')
    assert client.get("/api/status").json()["indexing"] is None
    with locked(made[1]):
        assert client.get("/api/status").json()["indexing"] == {"done": None, "total": None}
        (made[1] / PROGRESS).write_text("[")
        assert client.get("/api/status").json()["indexing"] == {"done": None, "total": None}
    assert not (made[1] / PROGRESS).exists()


def test_probabilities(made):
    service = Service(Searcher(open_index(made[1]), FakeMethod()), probability=True)
    client = TestClient(create_app(service, thumbnail=thumbnail), base_url=HERE)
    found = hits(client, q="red")
    assert all(0 <= hit["probability"] <= 1 for hit in found)
    assert client.get("/api/status").json()["probability"] is True


def test_the_schema_names_every_route(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {
        "/api/search",
        "/api/similar",
        "/api/explain",
        "/api/curve",
        "/api/status",
        "/api/feedback",
        "/thumb/{ident}",
        "/video/{ident}",
        "/healthz",
        "/metrics",
    }
    for route in paths.values():
        for verb in route.values():
            assert verb["description"]
            assert "422" not in verb["responses"]


def test_what_is_said_answers_too(client: TestClient) -> None:
    assert client.get("/api/status").json()["subtitles"] == 1
    words = {"q": "general sleeps", "k": 5}
    assert all(hit["heard"] is None for hit in client.get("/api/search", params=words).json()["hits"])
    hits = client.get("/api/search", params={**words, "subtitles": 1}).json()["hits"]
    assert (hits[0]["name"], hits[0]["scale"], hits[0]["probability"]) == ("gb.avi", "ranks", None)
    assert hits[0]["heard"] == {"text": "the general sleeps", "start": 1.6, "end": 2.4}
    assert hits[-1]["heard"] is None
    like = {"id": hits[0]["id"], "t": hits[0]["peak"], "subtitles": 1}
    assert "leave out subtitles" in client.get("/api/similar", params=like).json()["error"]
    for wrong in ({"q": "red", "then": "blue"}, {"q": "red", "without": ["blue"], "then": "green"}):
        answer = client.get("/api/search", params={**wrong, "subtitles": 1})
        assert answer.status_code == 400
        assert "subtitles" in answer.json()["error"]


def test_only_pictures_need_english_where_subtitles_are_searched(client, searcher, tmp_path):
    searcher.method.backbone = SimpleNamespace(name="offline")
    german = {"q": "der Hund und die Frau", "k": 1}

    def note(client: TestClient, **more: object) -> str:
        said: str = client.get("/api/search", params={**german, **more}).json()["note"]
        return said

    assert note(client).endswith("expect noise, and ask in English.")
    assert "subtitles are searched for its words" in note(client, subtitles=1)
    clip(tmp_path / "films" / "a.avi", ["red"])
    update(tmp_path / "index", tmp_path / "films")
    mute = Service(Searcher(open_index(tmp_path / "index"), searcher.method))
    with TestClient(create_app(mute, thumbnail=thumbnail), base_url=HERE) as client:
        assert note(client, subtitles=1).endswith("expect noise, and ask in English.")


def test_subtitles_without_a_word_count_for_nothing(tmp_path: Path) -> None:
    clip(tmp_path / "films" / "a.avi", ["red"])
    torn = "WEBVTT\n\n00:03.000 --> x\n\n"
    for name, text in (("a.srt", ""), ("a.en.srt", 'no "cues": [] here'), ("a.de.vtt", torn)):
        (tmp_path / "films" / name).write_text(text)
    update(tmp_path / "index", tmp_path / "films")
    service = Service(Searcher(open_index(tmp_path / "index"), FakeMethod()))
    client = TestClient(create_app(service, thumbnail=thumbnail), base_url=HERE)
    assert version(tmp_path / "index")[0] == 3
    assert client.get("/api/status").json()["subtitles"] == 0
    (tmp_path / "films" / "a.de.vtt").write_text('WEBVTT\n\n00:00.000 --> 00:01.000\nsay "cues": []')
    update(tmp_path / "index", tmp_path / "films")
    assert client.get("/api/status").json()["subtitles"] == 1


def test_subtitles_that_come_later_are_heard(tmp_path: Path) -> None:
    clip(tmp_path / "films" / "a.avi", ["red", "green"])
    update(tmp_path / "index", tmp_path / "films")
    service = Service(Searcher(open_index(tmp_path / "index"), FakeMethod()))
    with TestClient(create_app(service, thumbnail=thumbnail), base_url=HERE) as client:
        asked = {"q": "good morning", "subtitles": 1}
        assert client.get("/api/search", params=asked).json()["hits"][0]["heard"] is None
        (tmp_path / "films" / "a.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:02.000\nGood morning\n")
        update(tmp_path / "index", tmp_path / "films")
        assert client.get("/api/search", params=asked).json()["hits"][0]["heard"]["text"] == "Good morning"


def test_a_folder_whose_name_is_no_text_is_asked_for_as_it_is_shown(tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path / "films") + b"/caf\xe9 \xff"
    clip(tmp_path / "films" / "plain" / "a.avi", ["blue"], seed=1)
    os.mkdir(odd)
    clip(tmp_path / "b.avi", ["red", "green"])
    os.rename(tmp_path / "b.avi", odd + b"/b.avi")
    update(tmp_path / "index", tmp_path / "films")
    service = Service(Searcher(open_index(tmp_path / "index"), FakeMethod()))
    with TestClient(create_app(service, thumbnail=thumbnail), base_url=HERE) as client:
        folder = next(f["path"] for f in client.get("/api/status").json()["folders"] if "\\" in f["path"])
        hits = client.get("/api/search", params={"q": "red", "below": folder}).json()["hits"]
        assert [(hit["name"], hit["folder"]) for hit in hits] == [("b.avi", folder)]
        assert len(client.get("/api/search", params={"q": "red"}).json()["hits"]) == 2
