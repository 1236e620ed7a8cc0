"""The search page's server: every endpoint, what it refuses, and what it does under load."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from reelseek.app.commands.serve import _greeting
from reelseek.app.guard import shown
from reelseek.app.loopback import is_loopback
from reelseek.app.schema import MOST_CHARACTERS
from reelseek.app.web import STATIC, create_app, serve
from reelseek.client import Client
from reelseek.errors import ConfigError, IndexError_, IndexMismatch, NotInIndex
from reelseek.index.query import Query
from web_fakes import Camera, Library, stamp

HERE = "http://127.0.0.1:8765"
SVG = "http://www.w3.org/2000/svg"  # the name of a language: nothing is fetched from there
CONTENT = bytes(range(256)) * 40
NAMES = ["walk.mp4", "tape.AVI", "a b & <i>'\"\N{GRINNING FACE}\nline.webm", "bytes \udcff.mkv"]


@pytest.fixture
def library(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes(CONTENT)
    return Library([folder / name for name in NAMES])


@pytest.fixture
def camera():
    return Camera()


@pytest.fixture
def client(library, camera):
    return TestClient(create_app(library, thumbnail=camera), base_url=HERE)


def hits_of(client, **more):
    answer = client.get("/api/search", params={"q": "a dog", **more})
    assert answer.status_code == 200
    return answer.json()["hits"]


def sentence_of(answer, status):
    """The sentence of an error answer, which must be JSON with nothing else in it."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    (words,) = answer.json().values()
    assert words.endswith(".")
    return words


# ---- the page


def test_page_and_its_files(client):
    page = client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    addresses = set(re.findall(r'(?:src|href)="(/[^"]+)"', page.text))
    # the link to the comparison is shown where a second index is served
    for address in addresses - {"/compare"}:
        assert client.get(address).status_code == 200, address
    assert client.head("/").status_code == 200
    assert client.get("/healthz").json() == {"ok": True}


@pytest.mark.parametrize("address", ["/", "/api/status", "/static/page.js", "/api/search", "/nowhere", "/healthz"])
def test_every_answer_carries_the_security_headers(client, address):
    headers = client.get(address).headers
    assert headers["content-security-policy"].startswith("default-src 'self';")
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_page_has_no_inline_code_and_loads_nothing_from_outside():
    html = (STATIC / "index.html").read_text()
    css = (STATIC / "page.css").read_text() + (STATIC / "why.css").read_text()
    script = (STATIC / "page.js").read_text() + (STATIC / "why.js").read_text().replace(SVG, "")
    assert re.findall(r"<script\b[^>]*>(.*?)</script>", html, re.DOTALL) == ["", ""]
    assert not re.search(r"<style|\bstyle=|\bon\w+=", html)
    assert not re.search(r"//[a-z]", html + script.replace("// ", ""))
    assert "url(" not in css
    assert "@import" not in css
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", script)


def test_script_names_only_elements_that_the_page_has():
    html = (STATIC / "index.html").read_text()
    script = (STATIC / "page.js").read_text() + (STATIC / "why.js").read_text()
    named = set(re.findall(r'byId\("(\w+)"\)', script))
    assert len(named) > 15
    assert named <= set(re.findall(r'\bid="(\w+)"', html))


# ---- searches


def test_search_answers_hits_in_order(client, library):
    answer = client.get("/api/search", params={"q": "  a dog  ", "k": 3, "moments": "true"})
    body = answer.json()
    ((query, k, how),) = library.asked
    assert (query, k, how["moments"], how["collapse"], how["variety"]) == (Query(text="a dog"), 3, "all", True, 0.0)
    assert (body["query"], body["moments"]) == ("a dog", True)
    assert body["seconds"] >= 0
    assert [hit["name"] for hit in body["hits"]] == ["walk.mp4", "tape.AVI", shown(NAMES[2])]
    first = body["hits"][0]
    assert (first["start"], first["end"], first["peak"], first["score"]) == (1.5, 4.0, 2.25, 0.9)
    assert first["folder"] == str(Path(library.paths[0]).parent)
    assert answer.headers["cache-control"] == "no-store"


def test_search_says_what_a_browser_can_try_to_play(client):
    assert [hit["playable"] for hit in hits_of(client)] == [True, False, True, True]


def test_ids_are_opaque_and_steady(client, library, camera):
    first, again = hits_of(client), hits_of(client)
    assert [hit["id"] for hit in first] == [hit["id"] for hit in again]
    assert all(re.fullmatch(r"[0-9a-f]{24}", hit["id"]) for hit in first)
    assert len({hit["id"] for hit in first}) == len(NAMES)
    other = TestClient(create_app(library, thumbnail=camera), base_url=HERE)
    assert hits_of(other)[0]["id"] != first[0]["id"]


def test_hostile_names_travel_as_text(client):
    names = [hit["name"] for hit in hits_of(client)]
    assert names[2] == "a b & <i>'\"\N{GRINNING FACE}\\nline.webm"
    assert names[3] == "bytes \\udcff.mkv"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain \N{GRINNING FACE} \u5b57 \u05d0\u05d1", "plain \N{GRINNING FACE} \u5b57 \u05d0\u05d1"),
        ("in\u202evoice.mp4", "in\\u202evoice.mp4"),
        ("\u2066a\u2069", "\\u2066a\\u2069"),
        ("tab\tnul\0", "tab\\tnul\\x00"),
        # joined emoji and Persian need their joiners
        ("\u200d\u200c", "\u200d\u200c"),
    ],
)
def test_names_that_would_mislead_are_escaped(text, seen):
    assert shown(text) == seen


@pytest.mark.parametrize("query", ["", "   ", "\n\t"])
def test_empty_query(client, library, query):
    assert sentence_of(client.get("/api/search", params={"q": query}), 400) == "Say what to look for."
    assert library.asked == []


def test_long_queries(client, library):
    longest = "d" * MOST_CHARACTERS
    assert client.get("/api/search", params={"q": longest}).status_code == 200
    assert "20,001 characters" in sentence_of(client.get("/api/search", params={"q": longest + "d"}), 413)
    assert len(library.asked) == 1


@pytest.mark.parametrize(("field", "value"), [("k", "0"), ("k", "201"), ("k", "many"), ("moments", "perhaps")])
def test_wrong_parameters(client, field, value):
    assert sentence_of(client.get("/api/search", params={"q": "dog", field: value}), 400).startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (ValueError("No word of the query is known."), 400, "No word of the query is known."),
        (IndexMismatch("The index was made by another model."), 503, "The index was made by another model."),
        (RuntimeError("secret detail"), 500, "The server failed at this; its terminal shows why."),
    ],
)
def test_failing_searches_answer_a_sentence(library, camera, error, status, words):
    client = TestClient(create_app(library, thumbnail=camera), base_url=HERE, raise_server_exceptions=False)
    library.error = error
    answer = client.get("/api/search", params={"q": "dog"})
    assert sentence_of(answer, status) == words
    assert answer.headers["x-content-type-options"] == "nosniff"
    library.error = None
    assert len(hits_of(client)) == len(NAMES)


# ---- explanations


def test_a_hit_is_explained_by_its_id_and_peak(client, library):
    hit = hits_of(client)[1]
    answer = client.get("/api/explain", params={"q": " a dog ", "id": hit["id"], "t": hit["peak"]})
    assert answer.status_code == 200
    body = answer.json()
    assert library.explained == [("a dog", library.paths[1], 2.25)]
    assert body.pop("seconds") >= 0
    assert (body["id"], body["query"], body["score"], body["words"][0]["text"]) == (hit["id"], "a dog", 0.9, "<b>dog")
    assert "path" not in body
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("changed", "status", "words"),
    [
        ({"q": "  "}, 400, "Say what to look for."),
        ({"q": "d" * (MOST_CHARACTERS + 1)}, 413, "The query has 20,001 characters"),
        ({"id": "0" * 24}, 404, "This result is from an earlier start of the server. Search again."),
        ({"id": "../../etc/passwd"}, 404, "This result is from an earlier start"),
        ({"t": "nan"}, 400, "t: "),
        ({"t": "-1"}, 400, "t: "),
        ({"t": None}, 400, "t: "),
        ({"start": 1.5}, 400, "start and end: give both"),
        ({"start": 2, "end": 1}, 400, "start and end: give both"),
        ({"start": "nan", "end": 1}, 400, "start: "),
        ({"q": None}, 400, "q: "),
    ],
)
def test_explanations_that_cannot_be_asked_for(client, library, changed, status, words):
    asked = {"q": "a dog", "id": hits_of(client)[0]["id"], "t": 2.25} | changed
    asked = {name: value for name, value in asked.items() if value is not None}
    assert sentence_of(client.get("/api/explain", params=asked), status).startswith(words)
    assert library.explained == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("No."), 400),
        (NotInIndex("It holds no such frame any more."), 404),
        (IndexError_("The index cannot be read."), 503),
    ],
)
def test_failing_explanations_answer_a_sentence(client, library, error, status):
    ident = hits_of(client)[0]["id"]
    library.error = error
    answer = client.get("/api/explain", params={"q": "a dog", "id": ident, "t": 1})
    assert sentence_of(answer, status) == str(error)


def test_an_answer_says_what_to_mind_of_the_query(client):
    assert client.get("/api/search", params={"q": "ein hund"}).json()["note"] == "Ask in English."
    assert client.get("/api/search", params={"q": "a dog"}).json()["note"] == ""


def test_unknown_addresses_and_verbs(client):
    assert sentence_of(client.get("/nowhere"), 404) == "There is nothing at this address."
    assert client.put("/api/search").status_code == 405
    for address in ("/docs", "/redoc"):
        assert client.get(address).status_code == 404


def test_status(client, library):
    library.broken = [{"path": Path("/v/\udcff <b>.mp4"), "reason": "It ends early."}]
    assert client.get("/api/status").json() == {
        "model": "gare-offline",
        "trained_on": "motions",
        "directory": "/index \\udcff",
        "videos": 4,
        "segments": 9,
        "seconds": 81.5,
        "broken": [{"path": "/v/\\udcff <b>.mp4", "reason": "It ends early."}],
        "broken_count": 1,
        "folders": [{"path": "/v\\udcff", "videos": 4}],
        "folder_count": 1,
        "columns": [],
        "probability": False,
        "subtitles": 2,
        "indexing": None,
        "against": False,
    }


# ---- pictures and videos


def test_thumbnails_are_made_once_a_moment(client, library, camera):
    ident = hits_of(client)[0]["id"]
    for seconds in (2.25, 2.25, 3):
        answer = client.get(f"/thumb/{ident}", params={"t": seconds})
        assert (answer.status_code, answer.content) == (200, b"\xff\xd8 a picture")
        assert answer.headers["content-type"] == "image/jpeg"
    path = Path(library.paths[0]).resolve()
    assert camera.taken == [(path, 2.25), (path, 3.0)]
    os.utime(path, ns=(1, 1))
    assert "changed since it was indexed" in sentence_of(client.get(f"/thumb/{ident}", params={"t": 3}), 404)
    library.held[str(path)] = stamp(path)
    assert client.get(f"/thumb/{ident}", params={"t": 3}).status_code == 200
    assert len(camera.taken) == 3


def test_thumbnails_of_damaged_files(client):
    ident = hits_of(client)[3]["id"]
    words = sentence_of(client.get(f"/thumb/{ident}"), 404)
    assert "damaged: copy it again." in words
    assert "\\udcff" in words


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf", "soon"])
def test_thumbnails_of_no_moment(client, camera, seconds):
    ident = hits_of(client)[0]["id"]
    assert sentence_of(client.get(f"/thumb/{ident}", params={"t": seconds}), 400).startswith("t: ")
    assert camera.taken == []


@pytest.mark.parametrize("place", range(len(NAMES)))
def test_video_in_full(client, place):
    answer = client.get(f"/video/{hits_of(client)[place]['id']}")
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-type"].startswith(("video/", "application/octet-stream"))


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-99", 0, 99),
        ("bytes=5000-", 5000, 10239),
        ("bytes=-40", 10200, 10239),
        ("bytes=10000-99999", 10000, 10239),
    ],
)
def test_video_in_ranges(client, asked, first, last):
    address = f"/video/{hits_of(client)[0]['id']}"
    answer = client.get(address, headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes {first}-{last}/10240"
    assert answer.content == CONTENT[first : last + 1]


@pytest.mark.parametrize(
    "asked",
    [
        *("bytes=5-2", "bytes=a-b", "bytes=", "bytes=-", "bytes=,", "bytes", "bytes=1", "bytes=0-1,b", "bytes=+1-2"),
        *("lines=1-2", "=0-1", "bytes=0x1-2", "bytes=1_0-20", "bytes=\u0661-2", "bytes=" + "9" * 5000 + "-"),
    ],
)
def test_a_range_header_that_is_none_of_bytes_is_ignored(client, asked):
    address = f"/video/{hits_of(client)[0]['id']}"
    answer = client.get(address, headers={"Range": asked.encode()})
    assert (answer.status_code, answer.content) == (200, CONTENT)


@pytest.mark.parametrize("asked", ["Bytes=3-4", "bytes=3-4,", "bytes= 3-4 ", "bytes=,3-4"])
def test_ranges_in_other_spellings(client, asked):
    answer = client.get(f"/video/{hits_of(client)[0]['id']}", headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206, CONTENT[3:5])


def test_video_ranges_beyond_the_end_and_head(client):
    address = f"/video/{hits_of(client)[0]['id']}"
    assert client.get(address, headers={"Range": "bytes=99999-"}).status_code == 416
    head = client.head(address)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "10240")


def test_a_file_that_is_no_video_is_only_a_download(tmp_path, camera):
    page = tmp_path / "page.html"
    page.write_text("<script>alert(1)</script>")
    client = TestClient(create_app(Library([page]), thumbnail=camera), base_url=HERE)
    answer = client.get(f"/video/{hits_of(client)[0]['id']}")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "address",
    [
        "/video/" + "0" * 24,
        "/video/../../etc/passwd",
        "/video/..%2f..%2f..%2fetc%2fpasswd",
        "/video/%2fetc%2fpasswd",
        "/thumb/..%2f..%2fetc%2fpasswd",
        "/thumb/%00",
        "/static/../web.py",
        "/static/..%2fweb.py",
        "/static/%2e%2e/%2e%2e/errors.py",
        "/static//etc/passwd",
    ],
)
def test_traversal(client, address):
    hits_of(client)
    assert client.get(address).status_code == 404


def test_files_that_vanish_change_or_leave_the_index(client, library, tmp_path):
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(b"secret")
    walk, tape, odd, _ = (Path(path) for path in library.paths)
    addresses = [f"{kind}/{hit['id']}" for hit in hits_of(client) for kind in ("/video", "/thumb")]
    walk.unlink()
    tape.unlink()
    tape.symlink_to(secret)
    odd.unlink()
    odd.mkdir()
    del library.held[os.path.realpath(library.paths[3])]
    for address in addresses:
        words = sentence_of(client.get(address), 404)
        assert "secret" not in words
    assert "gone" in client.get(addresses[0]).json()["error"]
    assert "does not hold this video" in client.get(addresses[2]).json()["error"]


def test_symlink_loops_and_linked_folders(library, camera, tmp_path):
    (tmp_path / "linked").symlink_to(tmp_path / "videos")
    loop = tmp_path / "loop.mp4"
    loop.symlink_to(loop)
    linked = Library([tmp_path / "linked" / "walk.mp4", loop])
    client = TestClient(create_app(linked, thumbnail=camera), base_url=HERE)
    good, endless = hits_of(client)
    assert client.get(f"/video/{good['id']}").content == CONTENT
    assert client.get(f"/video/{endless['id']}").status_code == 404


# ---- who may ask


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "", "[", "192.168.1.4"]
)
def test_other_host_names_are_refused(client, host):
    for address in ("/", "/api/search?q=dog", "/static/page.js"):
        assert "localhost only" in sentence_of(client.get(address, headers={"host": host}), 403)


@pytest.mark.parametrize("host", ["localhost:8765", "127.0.0.1", "127.3.4.5:80", "[::1]:8765"])
def test_own_host_names_are_served(client, host):
    assert client.get("/api/status", headers={"host": host}).status_code == 200


def test_token(library, camera):
    app = create_app(library, thumbnail=camera, token="open sesame")
    stranger = TestClient(app, base_url="http://box.lan:8765", follow_redirects=False)
    for address in (
        *("/", "/api/search?q=dog", "/api/status", "/static/page.js", "/video/0", "/nowhere"),
        *("/metrics", "/openapi.json", "/api/feedback", "/api/similar?id=0&t=0", "/api/curve?q=dog&id=0"),
    ):
        assert "token is needed" in sentence_of(stranger.get(address), 401)
    assert stranger.get("/healthz").status_code == 200
    for wrong in ("/?token=open", "/?token=", "/api/status?token=open%20sesame"):
        assert stranger.get(wrong).status_code == 401
    for wrong in ("Bearer open", "Bearer", "Basic open sesame", "Bearer \xe9"):
        assert stranger.get("/api/status", headers={"authorization": wrong.encode("latin-1")}).status_code == 401
    assert library.asked == []

    assert stranger.get("/api/status", headers={"authorization": "bearer open sesame"}).status_code == 200
    entry = stranger.get("/?token=open%20sesame")
    assert (entry.status_code, entry.headers["location"]) == (303, "/")
    assert "HttpOnly" in entry.headers["set-cookie"]
    assert "SameSite=lax" in entry.headers["set-cookie"]
    assert stranger.get("/").status_code == 200
    assert stranger.get(f"/video/{hits_of(stranger)[0]['id']}").status_code == 200


@pytest.mark.parametrize("token", ["a+b/c=", "a&b", "a#b", "open sesame", "100%25", "?=;,"])
def test_the_printed_link_opens_the_page(library, camera, token):
    link = re.search(r"at (\S+) ", _greeting(f"{HERE}/", token))[1]
    client = TestClient(create_app(library, thumbnail=camera, token=token), base_url=HERE)
    assert client.get(link).url == f"{HERE}/"
    assert client.get("/api/status").status_code == 200


def test_two_servers_of_one_machine_leave_each_other_s_visitors_in(library, camera):
    # a browser sends its cookies to every port of a host
    both = {}
    for token in ("first one", "second one"):
        app = create_app(library, thumbnail=camera, token=token)
        client = TestClient(app, base_url=HERE, cookies=both)
        assert client.get("/", params={"token": token}).status_code == 200
        both |= dict(client.cookies)
        assert token not in "".join([*both, *both.values()])
    assert len(both) == 2
    for token in ("first one", "second one"):
        app = create_app(library, thumbnail=camera, token=token)
        assert TestClient(app, base_url=HERE, cookies=both).get("/api/status").status_code == 200
        # what a cookie holds is no token
        for value in both.values():
            assert TestClient(app, base_url=HERE).get("/", params={"token": value}).status_code == 401
    third = create_app(library, thumbnail=camera, token="third one")
    assert TestClient(third, base_url=HERE, cookies=both).get("/api/status").status_code == 401


@pytest.mark.parametrize("token", ["caf\xe9", "tab\tbed", "line\n", "\N{GRINNING FACE}", " open", "sesame ", "\udcff"])
def test_a_token_that_no_header_carries_is_refused(library, camera, token):
    for start in (lambda: create_app(library, thumbnail=camera, token=token), lambda: Client(HERE, token)):
        with pytest.raises(ConfigError, match="holds a character that a header cannot carry, or begins"):
            start()


@pytest.mark.parametrize("token", ["", "  "])
def test_empty_token(library, camera, token):
    with pytest.raises(ConfigError, match="token is empty"):
        create_app(library, thumbnail=camera, token=token)


# ---- load


def test_searches_wait_in_a_short_line_and_the_next_is_sent_away(library, camera):
    library.gate = threading.Event()
    answers = []
    with TestClient(create_app(library, thumbnail=camera, waiting=2), base_url=HERE) as client:
        # one runs, two wait, so exactly one of four is refused, and it alone is answered before the gate opens
        asking = [
            threading.Thread(target=lambda: answers.append(client.get("/api/search", params={"q": "dog"})))
            for _ in range(4)
        ]
        for thread in asking:
            thread.start()
        deadline = time.monotonic() + 20
        while not answers:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert sentence_of(answers[0], 429).startswith("Too many requests")
        assert answers[0].headers["retry-after"] == "1"
        # the loop is free while searches run and wait
        assert client.get("/healthz").status_code == 200
        assert client.get("/api/status").status_code == 200
        library.gate.set()
        for thread in asking:
            thread.join(20)
        assert [answer.status_code for answer in answers] == [429, 200, 200, 200]
        assert library.most_inside == 1
        assert len(hits_of(client)) == len(NAMES)


def test_metrics(library, camera):
    app = create_app(library, thumbnail=camera)
    client = TestClient(app, base_url=HERE, raise_server_exceptions=False)
    ident = hits_of(client)[0]["id"]
    client.get("/api/search", params={"q": ""})
    client.get(f"/thumb/{ident}")
    client.get("/secret/of/mine")
    client.get("/api/search?q=dog", headers={"host": "evil.example"})
    client.get("/static/page.js")
    library.error = RuntimeError("secret")
    client.get("/api/search?q=dog")
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    counted = {tuple(line.rsplit(" ", 1)) for line in answer.text.splitlines()}
    for route, status, count in [
        ("/api/search", 200, 1), ("/api/search", 400, 1), ("/api/search", 500, 1), ("/thumb/{ident}", 200, 1),
        ("other", 403, 1), ("other", 404, 1), ("other", 200, 1),
    ]:  # fmt: skip
        assert (f'reelseek_requests_total{{route="{route}",status="{status}"}}', f"{count}.0") in counted
    assert ('reelseek_request_seconds_count{route="/api/search"}', "3.0") in counted
    for name, value in (("line", "0.0"), ("videos", "4.0"), ("segments", "9.0")):
        assert (f"reelseek_{name}", value) in counted
    if sys.platform == "linux":
        assert "process_resident_memory_bytes " in answer.text
    assert "secret" not in answer.text
    assert ident not in answer.text


# ---- the server itself


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::", "example.org"])
def test_other_machines_need_a_token(library, camera, host):
    with pytest.raises(ConfigError, match="Give a token"):
        serve(create_app(library, thumbnail=camera), host, 0)


def test_port_in_use(library, camera):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"Port {port} of 127.0.0.1 cannot be used: Address already in use"):
            serve(create_app(library, thumbnail=camera), "127.0.0.1", port)


@pytest.mark.parametrize("port", [-1, 70000])
def test_ports_that_cannot_be(library, camera, port):
    with pytest.raises(ConfigError, match="is no port: give a number"):
        serve(create_app(library, thumbnail=camera), "127.0.0.1", port)


def test_loopback_names():
    assert all(map(is_loopback, ["localhost", "127.0.0.1", "127.9.9.9", "::1"]))
    assert not any(map(is_loopback, ["0.0.0.0", "10.0.0.1", "", "localhost.example", "example.org"]))


SERVER = (
    "import sys; sys.path.insert(0, sys.argv[1])\n"
    "from web_fakes import Camera, Library\n"
    "from reelseek.app.web import create_app, serve\n"
    "app = create_app(Library([sys.argv[2]]), thumbnail=Camera())\n"
    "serve(app, port=0, announce=lambda address: print(address, flush=True))\n"
)


def test_real_server_takes_long_queries_and_stops_when_interrupted(library):
    command = [sys.executable, "-W", "ignore", "-c", SERVER, str(Path(__file__).parent), library.paths[0]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            address = server.stdout.readline().strip()
            # the longest query, in characters that take twelve bytes each in an address
            query = urllib.parse.quote("\N{GRINNING FACE}" * MOST_CHARACTERS)
            with urllib.request.urlopen(f"{address}api/search?q={query}", timeout=60) as answer:
                assert answer.status == 200
                assert b"walk.mp4" in answer.read()
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"{address}api/search?q=", timeout=60)
            refused.value.close()
            assert refused.value.code == 400
            server.send_signal(signal.SIGINT)
            _, complaints = server.communicate(timeout=60)
        finally:
            server.kill()
    assert "ERROR" not in complaints
    assert "INFO" not in complaints


def test_a_server_that_is_stopped_while_a_video_is_paused_says_nothing_of_it(library):
    os.truncate(library.paths[0], 64 << 20)
    command = [sys.executable, "-W", "ignore", "-c", SERVER, str(Path(__file__).parent), library.paths[0]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            address = server.stdout.readline().strip()
            with urllib.request.urlopen(f"{address}api/search?q=a", timeout=60) as answer:
                ident = re.search(r'"id":"([0-9a-f]+)"', answer.read().decode())[1]
            with urllib.request.urlopen(f"{address}video/{ident}", timeout=60) as film:
                assert len(film.read(1000)) == 1000
                server.send_signal(signal.SIGINT)
                _, complaints = server.communicate(timeout=60)
        finally:
            server.kill()
    # the caller is told; `reelseek serve` makes one line of it
    assert complaints.splitlines()[-1] == "KeyboardInterrupt"
    assert "ERROR" not in complaints
