"""What a stranger's files, names and requests must not do to the server: over a real index, beside `test_web`."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from index_fakes import FakeMethod, clip, update
from reelseek.app import held
from reelseek.app.service import Service
from reelseek.app.web import create_app
from reelseek.index.cards import open_index
from reelseek.index.marks import read_marks
from reelseek.index.search import Searcher
from reelseek.index.upkeep import remove
from reelseek.video.files import thumbnail

SHOWN = "<script>alert(1)<\N{DIVISION SLASH}script>\\u202e4pm.avi"
HERE = "http://127.0.0.1:8765"
SCRIPT = "<script>alert(1)<\N{DIVISION SLASH}script>\N{RIGHT-TO-LEFT OVERRIDE}4pm.avi"


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    clip(folder / "a.avi", ["red", "green"])
    clip(folder / "deep" / SCRIPT, ["blue", "white"], seed=1)
    secret = tmp_path / "secret"
    clip(secret / "deep" / SCRIPT, ["white"], seed=2)
    (secret / "a.avi").write_bytes(b"secret")
    update(tmp_path / "index", folder)
    return folder


@pytest.fixture
def client(films: Path) -> TestClient:
    service = Service(Searcher(open_index(films.parent / "index"), FakeMethod()))
    return TestClient(create_app(service, thumbnail=thumbnail), base_url=HERE)


def hits(client: TestClient, **asked: object) -> list[dict]:
    return client.get("/api/search", params={"q": "red", "duplicates": True, **asked}).json()["hits"]


def test_a_file_swapped_for_a_link_is_not_served(client: TestClient, films: Path) -> None:
    hit = next(hit for hit in hits(client) if hit["name"] == "a.avi")
    for address in (f"/video/{hit['id']}", f"/thumb/{hit['id']}?t=0.2"):
        assert client.get(address).status_code == 200
    (films / "a.avi").unlink()
    (films / "a.avi").symlink_to(films.parent / "secret" / "a.avi")
    for address in (f"/video/{hit['id']}", f"/thumb/{hit['id']}?t=0.2"):
        answer = client.get(address)
        assert answer.status_code == 404
        assert b"secret" not in answer.content


def test_a_folder_swapped_for_a_link_is_not_served(client: TestClient, films: Path) -> None:
    hit = next(hit for hit in hits(client) if hit["name"] != "a.avi")
    assert client.get(f"/video/{hit['id']}").status_code == 200
    shutil.rmtree(films / "deep")
    (films / "deep").symlink_to(films.parent / "secret" / "deep")
    assert client.get(f"/video/{hit['id']}").status_code == 404
    # a new search looks at the index again, not at where the link leads now
    hits(client)
    assert client.get(f"/video/{hit['id']}").status_code == 404


@pytest.fixture
def restarted(films: Path) -> Callable[[], TestClient]:
    """A client of a server that starts now."""

    def start() -> TestClient:
        service = Service(Searcher(open_index(films.parent / "index"), FakeMethod()))
        return TestClient(create_app(service, thumbnail=thumbnail), base_url=HERE)

    return start


def refusals(client: TestClient, name: str) -> set[str]:
    """The sentences with which the video and its picture are refused."""
    hit = next(hit for hit in hits(client) if hit["name"] == name)
    answers = [client.get(address) for address in (f"/video/{hit['id']}", f"/thumb/{hit['id']}?t=0.2")]
    assert {answer.status_code for answer in answers} == {404}
    return {answer.json()["error"] for answer in answers}


@pytest.mark.parametrize("deep", [False, True])
def test_a_file_or_folder_swapped_for_a_link_before_the_start_is_not_served(
    films: Path, restarted: Callable[[], TestClient], deep: bool
) -> None:
    name = "deep" if deep else "a.avi"
    (films / name).rename(films.parent / "aside")
    (films / name).symlink_to(films.parent / "secret" / name)
    said = refusals(restarted(), SHOWN if deep else name)
    assert said == {"The file has changed since it was indexed. Update the index, and search again."}


@pytest.mark.parametrize("same", ["size", "time"])
def test_other_content_in_a_file_s_place_is_not_served_until_it_is_indexed(
    films: Path, restarted: Callable[[], TestClient], same: str
) -> None:
    before = (films / "a.avi").stat()
    if same == "size":
        (films / "a.avi").write_bytes(b"s" * before.st_size)
    else:
        clip(films / "a.avi", ["red", "green", "blue"], seed=7)
        os.utime(films / "a.avi", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "changed since it was indexed" in refusals(restarted(), "a.avi").pop()
    clip(films / "a.avi", ["red", "blue"], seed=8)
    client = restarted()
    refusals(client, "a.avi")
    update(films.parent / "index", films)
    hit = next(hit for hit in hits(client) if hit["name"] == "a.avi")
    assert client.get(f"/video/{hit['id']}").content == (films / "a.avi").read_bytes()


def test_files_that_were_indexed_through_a_link_are_served(films: Path, restarted: Callable[[], TestClient]) -> None:
    store = films.parent / "store"
    clip(store / "b.avi", ["blue"], seed=5)
    clip(store / "c" / "c.avi", ["green"], seed=6)
    (films / "b.avi").symlink_to(store / "b.avi")
    (films / "c").symlink_to(store / "c")
    # a second way to a file that is known
    (films / "d.avi").symlink_to(films / "a.avi")
    update(films.parent / "index", films)
    client = restarted()
    found = {hit["name"]: hit for hit in hits(client)}
    assert {"a.avi", "b.avi", "c.avi"} <= found.keys()
    for hit in found.values():
        assert client.get(f"/video/{hit['id']}").status_code == 200
        assert client.get(f"/thumb/{hit['id']}?t=0.2").status_code == 200


def test_what_leaves_the_index_is_not_served_any_more(client: TestClient, films: Path) -> None:
    hit = next(hit for hit in hits(client) if hit["name"] == "a.avi")
    shutil.move(films / "a.avi", films.parent / "elsewhere.avi")
    update(films.parent / "index", films)
    (films / "a.avi").write_bytes(b"secret")
    assert {found["name"] for found in hits(client)} != {"a.avi"}
    assert client.get(f"/video/{hit['id']}").status_code == 404


def test_what_is_removed_is_not_served_though_nobody_searches(
    client: TestClient, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held, "LOOK_EVERY", 0.0)
    gone, kept = sorted(hits(client), key=lambda hit: hit["name"] != "a.avi")
    remove(films.parent / "index", [films / "a.avi"])
    for route in ("video", "thumb"):
        assert client.get(f"/{route}/{gone['id']}").status_code == 404
        assert client.get(f"/{route}/{kept['id']}").status_code == 200


def test_links_of_files_that_did_not_change_are_resolved_once(
    client: TestClient, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved, real = [], os.path.realpath
    monkeypatch.setattr(held.os.path, "realpath", lambda path, **how: resolved.append(path) or real(path, **how))
    clip(films / "new.avi", ["white"], seed=3)
    update(films.parent / "index", films)
    resolved.clear()
    found = {hit["name"]: hit for hit in hits(client)}
    assert [path for path in resolved if path.endswith(".avi")] == [str(films / "new.avi")]
    (films / "a.avi").rename(films / "b.avi")
    (films / "a.avi").symlink_to(films.parent / "secret" / "a.avi")
    clip(films.parent / "more" / "c.avi", ["white"], seed=4)
    update(films.parent / "index", films.parent / "more")
    assert len(hits(client)) > len(found)
    assert client.get(f"/video/{found['a.avi']['id']}").status_code == 404


def test_a_video_that_takes_another_s_place_is_not_taken_for_it(client: TestClient, films: Path) -> None:
    index, (a, b) = films.parent / "index", (films / "a.avi", films / "deep" / SCRIPT)
    shown = {hit["name"]: hit for hit in hits(client)}
    old = shown["a.avi"]
    said = {"q": "red", "id": old["id"], "t": old["peak"]}
    assert client.post("/api/feedback", json={**said, "good": False}).status_code == 200
    (before,) = read_marks(index)
    a.rename(films / "aside.avi")
    b.rename(a)
    (films / "aside.avi").rename(b)
    update(index, films)
    # not looked at yet: what is said is about what was shown
    assert client.post("/api/feedback", json={**said, "good": True}).status_code == 200
    (mark,) = read_marks(index)
    assert (mark.content_hash, mark.good) == (before.content_hash, True)
    new = next(hit for hit in hits(client) if hit["name"] == "a.avi")
    assert new["id"] != old["id"]
    answers = [
        client.post("/api/feedback", json={**said, "good": False}),
        client.get("/api/explain", params=said),
        client.get("/api/curve", params={"q": "red", "id": old["id"]}),
        client.get("/api/similar", params={"id": old["id"], "t": old["peak"]}),
        client.get(f"/video/{old['id']}"),
        client.get(f"/thumb/{old['id']}?t=0.2"),
    ]
    for answer in answers:
        assert (answer.status_code, answer.json()["error"].endswith("Search again.")) == (404, True)
    assert read_marks(index) == [mark]
    assert client.get("/api/curve", params={"q": "red", "id": new["id"]}).status_code == 200
    # what was said of the old card is known, wherever its video is now
    assert client.post("/api/feedback", json={**said, "good": None}).json() == {"kept": None}
    assert read_marks(index) == []


def test_names_are_text_wherever_they_appear(client: TestClient, films: Path) -> None:
    hit = next(hit for hit in hits(client) if hit["name"] != "a.avi")
    assert hit["name"].startswith("<script>")
    assert "\\u202e4pm.avi" in hit["name"]
    answers = [
        client.get("/api/status"),
        client.get("/api/similar", params={"id": hit["id"], "t": hit["peak"]}),
        client.get("/api/similar", params={"id": hit["id"], "t": 99}),
        client.get("/api/search", params={"q": "red", "below": SCRIPT}),
        client.get("/api/search", params={"q": "red", SCRIPT: "1"}),
        client.get(f"/{SCRIPT}"),
        client.post("/api/feedback", json={"q": SCRIPT, "id": hit["id"], "t": hit["peak"], "good": True}),
        client.get("/api/feedback"),
    ]
    for answer in answers:
        # read as JSON alone, and never guessed to be a page
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in str(answer.json().get("error", ""))


def test_many_ranges_are_answered_at_once(client: TestClient) -> None:
    hit = hits(client)[0]
    ranges = ",".join(f"{at}-{at}" for at in range(0, 6000, 2))
    begun = time.perf_counter()
    answer = client.get(f"/video/{hit['id']}", headers={"Range": f"bytes={ranges}"})
    assert answer.status_code in (200, 206)
    assert time.perf_counter() - begun < 5
    answer = client.get(f"/video/{hit['id']}", headers={"Range": "bytes=" + "0-0," * 5000})
    assert answer.status_code in (200, 206)


def test_ids_cannot_be_made_elsewhere(client: TestClient, films: Path) -> None:
    other = TestClient(
        create_app(Service(Searcher(open_index(films.parent / "index"), FakeMethod())), thumbnail=thumbnail),
        base_url=HERE,
    )
    for hit in hits(other):
        assert client.get(f"/video/{hit['id']}").status_code == 404
    for guess in (os.fspath(films / "a.avi"), "a.avi", "%2e%2e%2fa.avi"):
        assert client.get(f"/video/{guess}").status_code == 404


def test_bodies_are_bounded(client: TestClient) -> None:
    hit = hits(client)[0]
    said = {"id": hit["id"], "t": hit["peak"], "good": None}
    long = client.post("/api/feedback", json={**said, "q": "\N{GRINNING FACE}" * 20_000})
    assert long.status_code == 200
    much = client.post("/api/feedback", json={**said, "q": "a" * (600 << 10)})
    assert (much.status_code, much.json()["error"]) == (413, "The body has more than 512 KB.")
    endless = client.post("/api/feedback", content=iter([b"{}"]), headers={"content-type": "application/json"})
    assert (endless.status_code, endless.json()["error"]) == (411, "State the length of the body.")
