"""Two indexes behind one server: the second one's routes below /b, and the page that compares them."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from reelseek.app.web import create_app
from reelseek.client import Client
from web_fakes import Camera, Library, running

HERE = "http://127.0.0.1:8765"
Sides = tuple[TestClient, Library, Library]


@pytest.fixture
def sides(tmp_path) -> Sides:
    """A client, the first index with a film of its own, and the second with another film of its own."""
    paths = [tmp_path / name for name in ("both.mp4", "left.mp4", "right.mp4")]
    for path in paths:
        path.write_bytes(path.name.encode())
    left, right = Library([paths[0], paths[1]]), Library([paths[2], paths[0]])
    return TestClient(create_app(left, against=right, thumbnail=Camera(), token="key"), base_url=HERE), left, right


def ask(client, address, **more):
    return client.get(address, headers={"Authorization": "Bearer key"}, **more)


def test_each_side_answers_for_itself_and_a_file_has_one_id(sides):
    client, left, right = sides
    found = [ask(client, f"{side}/api/search?q=dog&k=7&moments=1").json()["hits"] for side in ("", "/b")]
    assert [[hit["name"] for hit in hits] for hits in found] == [["both.mp4", "left.mp4"], ["right.mp4", "both.mp4"]]
    assert found[0][0]["id"] == found[1][1]["id"]
    assert left.asked[0][1:] == right.asked[0][1:]
    similar = ask(client, f"/b/api/similar?id={found[0][1]['id']}&t=1")
    assert similar.status_code == 200
    assert len(right.asked) == 2


def test_files_of_either_side_are_served_and_no_others(sides, tmp_path):
    client, _, right = sides
    ids = {
        hit["name"]: hit["id"] for side in ("", "/b") for hit in ask(client, f"{side}/api/search?q=a").json()["hits"]
    }
    for name, ident in ids.items():
        assert ask(client, f"/video/{ident}").content == name.encode()
    right.held.clear()
    assert ask(client, f"/video/{ids['right.mp4']}").status_code == 404
    assert ask(client, f"/video/{ids['both.mp4']}").status_code == 200


def test_the_second_side_has_routes_of_files_too(sides):
    client, _, _ = sides
    for hit in ask(client, "/b/api/search?q=dog").json()["hits"]:
        assert ask(client, f"/b/video/{hit['id']}").content == hit["name"].encode()
        assert ask(client, f"/b/thumb/{hit['id']}?t=1").content == b"\xff\xd8 a picture"
    assert client.get(f"/b/video/{hit['id']}").status_code == 401
    assert list(ask(client, "/b/video/0").json()) == ["error"]
    for single in ("healthz", "metrics", "openapi.json"):
        assert ask(client, f"/{single}").status_code == 200
        assert ask(client, f"/b/{single}").status_code == 404


def test_a_client_of_the_second_side(sides):
    client, _, _ = sides
    with running(client.app) as address:
        library = Client(f"{address}/b", token="key")
        hits = library.search("a dog").hits
        assert [hit.name for hit in hits] == ["right.mp4", "both.mp4"]
        assert library.thumbnail(hits[0]) == b"\xff\xd8 a picture"


def test_marks_stay_with_their_side(sides):
    client, left, right = sides
    ident = ask(client, "/api/search?q=dog").json()["hits"][0]["id"]
    said = {"q": "dog", "id": ident, "t": 2.25, "good": True}
    assert client.post("/b/api/feedback", json=said, headers={"Authorization": "Bearer key"}).status_code == 200
    assert (len(left.marks), len(right.marks)) == (0, 1)


def test_the_second_side_is_guarded_and_errs_in_sentences_too(sides):
    client, _, _ = sides
    refused = client.get("/b/api/search?q=dog")
    assert (refused.status_code, list(refused.json())) == (401, ["error"])
    wrong = ask(client, "/b/api/search?q=dog&k=0")
    assert (wrong.status_code, list(wrong.json())) == (400, ["error"])
    assert ask(client, "/b/api/nowhere").json() == {"error": "There is nothing at this address."}
    assert "frame-ancestors 'none'" in wrong.headers["content-security-policy"]


def test_a_failure_of_the_second_side_tells_nothing_of_the_inside(sides):
    client, _, right = sides
    right.error = RuntimeError("a secret")
    failed = TestClient(client.app, base_url=HERE, raise_server_exceptions=False)
    answer = ask(failed, "/b/api/search?q=dog")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_the_page_of_both_is_there_only_with_both(sides, tmp_path):
    client, left, _ = sides
    assert "text/html" in ask(client, "/compare").headers["content-type"]
    assert ask(client, "/api/status").json()["against"] is True
    alone = TestClient(create_app(left, thumbnail=Camera()), base_url=HERE)
    assert alone.get("/compare").status_code == 404
    assert alone.get("/b/api/status").status_code == 404
    assert alone.get("/api/status").json()["against"] is False


def test_the_page_s_own_files_are_asked_about_each_time(sides):
    client, _, _ = sides
    first = ask(client, "/static/page.js")
    assert first.headers["cache-control"] == "no-cache"
    again = client.get(
        "/static/page.js", headers={"Authorization": "Bearer key", "If-None-Match": first.headers["etag"]}
    )
    assert (again.status_code, again.headers["cache-control"]) == (304, "no-cache")
