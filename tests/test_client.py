"""The client against a server that really listens."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from index_fakes import COLOURS, FakeMethod, clip, update
from reelseek.app.pictures import MOST_BYTES, kind_of
from reelseek.app.service import Service
from reelseek.app.web import create_app
from reelseek.client import Client
from reelseek.errors import ConfigError, ServerError
from reelseek.index.cards import open_index
from reelseek.index.search import Searcher
from reelseek.video.files import thumbnail
from reelseek.video.suffixes import VIDEO_SUFFIXES
from web_fakes import Camera, Library, running

TOKEN = "open sesame"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("films")
    clip(folder / "red & green.avi", ["red", "green"])
    clip(folder / "blue?.avi", ["blue", "white"], seed=1)
    update(folder / "index", folder)
    service = Service(Searcher(open_index(folder / "index"), FakeMethod()))
    with running(create_app(service, thumbnail=thumbnail, token=TOKEN)) as address:
        yield address


@pytest.fixture
def client(address: str) -> Client:
    return Client(address, TOKEN)


def test_every_verb(client: Client, tmp_path: Path) -> None:
    answer = client.search("blue", k=1)
    (hit,) = answer.hits
    assert (hit.name, answer.query, answer.moments) == ("blue?.avi", "blue", False)
    ordered = client.search("red", then="green", without=["blue", "white"], below=[hit.folder])
    assert ordered.query == "red, then green, without blue, without white"
    assert [found.then is not None for found in ordered.hits if found.name == "red & green.avi"] == [True]
    assert client.explain("blue dog", hit).score == pytest.approx(client.search("blue dog").hits[0].score, abs=1e-5)
    curve = client.curve("blue", hit)
    assert curve.times[int(np.argmax(curve.scores))] == pytest.approx(hit.peak, abs=1e-3)
    assert [found.name for found in client.similar(hit, best_moment=True).hits] == ["red & green.avi"]
    assert client.status().videos == 2
    assert client.thumbnail(hit)[:2] == b"\xff\xd8"
    kept = client.feedback("blue", hit, good=True)
    assert kept is not None
    assert (kept.start, kept.end, kept.peak) == (hit.start, hit.end, hit.peak)
    assert client.judged() == [kept]
    assert client.feedback("blue", hit, good=None) is None
    assert client.judged() == []


def test_pictures(client: Client, tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8, 3), COLOURS["green"], np.uint8)).save(tmp_path / "green.png")
    assert client.search(picture=tmp_path / "green.png", k=1).hits[0].name == "red & green.avi"
    film = clip(tmp_path / "film.avi", ["red", "white"])
    assert client.search(picture=film, clip_start=2.0, k=1).hits[0].name == "blue?.avi"
    with pytest.raises(ConfigError, match=r"nowhere\.png: cannot be read \(No such file"):
        client.search(picture=tmp_path / "nowhere.png")
    (tmp_path / "text.txt").write_text("a dog")
    with pytest.raises(ConfigError, match=r"text\.txt: by its name it is neither an image nor a video"):
        client.search(picture=tmp_path / "text.txt")


def test_every_video_that_is_indexed_can_be_sent(client: Client, tmp_path: Path) -> None:
    assert [suffix for suffix in VIDEO_SUFFIXES if kind_of(Path(f"a{suffix}")).split("/")[0] not in MOST_BYTES] == []
    film = clip(tmp_path / "film.avi", ["red", "white"])
    for name in ("film.mts", "film.3GP", "film.divx"):
        assert client.search(picture=film.rename(tmp_path / name), clip_start=2.0, k=1).hits[0].name == "blue?.avi"
        film = tmp_path / name


def test_a_picture_that_is_too_large_is_not_sent(tmp_path: Path) -> None:
    for name, most in (("large.png", 32), ("large.mp4", 256)):
        with (tmp_path / name).open("wb") as file:
            file.truncate((most << 20) + 1)
        with pytest.raises(ConfigError, match=rf"{name}: the \w+ has more than {most} MB\. Send a smaller one\."):
            Client("http://127.0.0.1:1").search(picture=tmp_path / name)


def test_a_server_that_hangs_up_on_a_picture_may_have_refused_it(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(bytes(20 << 20))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            connection, _ = listener.accept()
            connection.recv(1000)
            connection.close()  # with bytes unread: a reset

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(ServerError, match=r"while 20,971,520 bytes were sent .*may have refused them"):
            Client(f"http://127.0.0.1:{listener.getsockname()[1]}").search(picture=tmp_path / "a.png")
        thread.join(20)


def test_a_proxy_hears_nothing_of_this_machine(client: Client, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(20)
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        assert Client(address, TOKEN).status().videos == 2
        with pytest.raises(ServerError, match="timed out"):
            Client("http://films.example", timeout=0.2).status()
        connection, _ = proxy.accept()
        with connection:
            assert connection.recv(1000).startswith(b"GET http://films.example/api/status")


def test_refusals_are_the_servers_sentences(client: Client, address: str) -> None:
    with pytest.raises(ServerError, match=r"^Say what to look for\.$"):
        client.search(" ")
    with pytest.raises(ServerError, match="colour: Extra inputs are not permitted"):
        client.search("red", colour="green")
    with pytest.raises(ServerError, match="A token is needed"):
        Client(address).status()


def test_servers_that_do_not_answer(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ServerError, match=r"does not answer .*refused.* Is `reelseek serve` running\?"):
        Client(f"http://127.0.0.1:{port}").status()
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(ServerError, match=r"does not answer .*timed out"),
    ):
        Client(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.2).status()
    for address in ("127.0.0.1:8765", "ftp://x", "http://"):
        with pytest.raises(ConfigError, match="is no address of a server"):
            Client(address)


def test_a_server_of_another_kind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            for body in (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>"):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(10_000)
                    connection.sendall(body)

        thread = threading.Thread(target=answer)
        thread.start()
        client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        with pytest.raises(ServerError, match="answers in another way"):
            client.status()
        with pytest.raises(ServerError, match=r"The server answered 502 Bad Gateway\."):
            client.status()
        thread.join(20)


def test_a_busy_server_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    library = Library([tmp_path / "a.mp4"])
    library.gate = threading.Event()
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        library.gate.set()
        first.join(20)

    with running(create_app(library, thumbnail=Camera(), waiting=0)) as address:
        first = threading.Thread(target=lambda: Client(address).search("first"))
        first.start()
        deadline = time.monotonic() + 20
        while not library.asked:
            assert time.monotonic() < deadline
        with pytest.raises(ServerError, match="Too many requests are waiting"):
            Client(address, retries=0).search("second")
        monkeypatch.setattr("reelseek.client.time.sleep", sleep)
        assert Client(address).search("second").query == "second"
        first.join(20)
    assert slept == [1.0]


def test_the_client_needs_no_torch() -> None:
    program = "import sys, reelseek.client; print(sorted({'torch', 'lance', 'av', 'fastapi'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == "[]"
