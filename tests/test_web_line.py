"""The line in front of the searches: who waits too long or goes away does not run, and no turn is lost."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.exceptions import HTTPException

from reelseek.app.line import Line
from reelseek.app.web import create_app
from web_fakes import Camera, Library, running


class Visitor:
    """A request whose client stays until it is told to leave."""

    def __init__(self):
        self.left = asyncio.Event()

    async def receive(self):
        await self.left.wait()
        return {"type": "http.disconnect"}


class Work:
    """Calls that end when they are let go; how many began."""

    def __init__(self):
        self.begun, self.gate = [], threading.Event()

    def __call__(self, name):
        self.begun.append(name)
        assert self.gate.wait(20)
        return name


def test_who_leaves_while_waiting_does_not_run():
    async def play():
        line, work = Line(1, 5), Work()
        visitors = [Visitor() for _ in range(4)]
        asked = [asyncio.ensure_future(line.run(visitor, work, n)) for n, visitor in enumerate(visitors)]
        await asyncio.sleep(0.05)
        assert line.inside == 4
        visitors[1].left.set()
        visitors[2].left.set()
        for task in asked[1:3]:
            with pytest.raises(HTTPException) as left:
                await task
            assert left.value.status_code == 499
        assert line.inside == 2
        work.gate.set()
        assert (await asked[0], await asked[3]) == (0, 3)
        assert work.begun == [0, 3]
        assert line.inside == 0
        assert await line.run(Visitor(), work, 9) == 9

    asyncio.run(play())


def test_who_waits_too_long_is_sent_away_and_the_next_has_its_turn():
    async def play():
        line, work = Line(1, 5, patience=0.1), Work()
        first = asyncio.ensure_future(line.run(Visitor(), work, "first"))
        await asyncio.sleep(0.02)
        with pytest.raises(HTTPException, match="has waited for") as late:
            await line.run(Visitor(), work, "late")
        assert (late.value.status_code, late.value.headers) == (429, {"Retry-After": "1"})
        work.gate.set()
        assert await first == "first"
        assert await line.run(Visitor(), work, "next") == "next"
        assert work.begun == ["first", "next"]

    asyncio.run(play())


@pytest.mark.parametrize("end", ["left", "cancelled", "late"])
def test_no_turn_is_lost_when_it_comes_as_its_owner_goes(end):
    """The turn and the end of the wait fall into the same step of the loop, in every order."""

    async def play(steps):
        line, work = Line(1, 5, patience=0.01 if end == "late" else 20), Work()
        first = asyncio.ensure_future(line.run(Visitor(), work, "first"))
        await asyncio.sleep(0)
        visitor = Visitor()
        second = asyncio.ensure_future(line.run(visitor, work, "second"))
        while not work.begun:
            await asyncio.sleep(0.001)
        work.gate.set()
        for _ in range(steps):
            await asyncio.sleep(0)
        if end == "left":
            visitor.left.set()
        elif end == "cancelled":
            second.cancel()
        else:
            time.sleep(0.012)
        await asyncio.gather(first, second, return_exceptions=True)
        assert line.inside == 0
        assert await asyncio.wait_for(line.run(Visitor(), work, "third"), 5) == "third"

    for steps in range(12):
        asyncio.run(play(steps))


def test_a_work_that_fails_gives_its_turn_back():
    def fail():
        raise OSError("no")

    async def play():
        line = Line(1, 0)
        for _ in range(3):
            with pytest.raises(OSError, match="no"):
                await line.run(Visitor(), fail)
        with pytest.raises(HTTPException):
            await asyncio.gather(*(line.run(Visitor(), time.sleep, 0.05) for _ in range(2)))

    asyncio.run(play())


def ask_and_leave(address: str) -> socket.socket:
    host, port = urlsplit(address).netloc.split(":")
    client = socket.create_connection((host, int(port)))
    client.sendall(f"GET /api/search?q=left HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    return client


def wait_for_line(address: str, length: int) -> None:
    """Until so many searches run or wait."""
    deadline, told = time.monotonic() + 20, b""
    while f"\nreelseek_line {length}.0\n".encode() not in told:
        assert time.monotonic() < deadline, told
        with urllib.request.urlopen(f"{address}/metrics", timeout=20) as answer:
            told = answer.read()


def test_a_browser_that_goes_away_leaves_the_line(tmp_path: Path):
    (tmp_path / "a.mp4").write_bytes(b"")
    library = Library([tmp_path / "a.mp4"])
    library.gate = threading.Event()
    with running(create_app(library, thumbnail=Camera(), waiting=2)) as address:
        answers = []

        def search(word):
            with urllib.request.urlopen(f"{address}/api/search?q={word}", timeout=20) as answer:
                answers.append((word, answer.status))

        first = threading.Thread(target=search, args=["first"])
        first.start()
        wait_for_line(address, 1)
        leaving = [ask_and_leave(address), ask_and_leave(address)]
        wait_for_line(address, 3)
        with pytest.raises(urllib.error.HTTPError, match="429") as full:
            search("full")
        full.value.close()
        for client in leaving:
            client.close()
        wait_for_line(address, 1)
        later = [threading.Thread(target=search, args=[word]) for word in ("second", "third")]
        for thread in later:
            thread.start()
        wait_for_line(address, 3)
        library.gate.set()
        for thread in [first, *later]:
            thread.join(20)
    assert sorted(answers) == [("first", 200), ("second", 200), ("third", 200)]
    assert sorted(query.text for query, _, _ in library.asked) == ["first", "second", "third"]
