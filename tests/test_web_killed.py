"""`reelseek serve` killed at any moment, by the signal that nothing can catch: what it has confirmed is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import cli_world
from reelseek.client import Client
from reelseek.errors import ServerError
from reelseek.index.marks import MARKS, read_marks

pytestmark = pytest.mark.soak
KILLS = 6


@contextmanager
def server(index: Path) -> Iterator[tuple[subprocess.Popen[str], Client]]:
    """A server in a process of its own, killed at the end if it still runs."""
    words = [sys.executable, "-m", "reelseek", "serve", "--index", str(index), "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        try:
            assert process.stdout is not None
            yield process, Client(process.stdout.readline().split()[5], timeout=20, retries=0)
        finally:
            process.kill()


def test_a_killed_server_has_lost_nothing_that_it_confirmed(tmp_path: Path) -> None:
    films = cli_world.films(tmp_path / "films")
    index = tmp_path / "index"
    assert cli_world.run("index", films, "--index", index).code == 0
    confirmed: list[str] = []

    def judge(client: Client, worker: int, round_: int) -> None:
        with suppress(ServerError):
            place = client.search("red", k=1).hits[0]
            for number in range(10_000):
                query = f"red {round_} {worker} {number}"
                assert client.feedback(query, place, good=number % 2 == 0) is not None
                confirmed.append(query)

    for round_ in range(KILLS):
        before = len(confirmed)
        with server(index) as (process, client):
            workers = [threading.Thread(target=judge, args=(client, worker, round_)) for worker in range(4)]
            for worker in workers:
                worker.start()
            until = time.monotonic() + 20
            while len(confirmed) < before + 5 + 7 * round_ and time.monotonic() < until:
                time.sleep(0.003)
            process.kill()
            for worker in workers:
                worker.join()
        kept = [mark.query for mark in read_marks(index)]
        assert set(confirmed) <= set(kept)
        assert len(kept) - len(confirmed) <= 4 * (round_ + 1)  # written, and killed before the answer
    assert len(confirmed) >= KILLS * 5
    # half a line, as a power cut may leave it
    with (index / MARKS).open("ab") as file:
        file.write(b'{"query": "cut sho')
    with server(index) as (_, client):
        assert len(client.judged()) == len(kept)
        place = client.search("red", k=1).hits[0]
        assert client.feedback("afterwards", place, good=True) is not None
        assert len(client.judged()) == len(kept) + 1
    report = cli_world.run("index", films, "--index", index, "--json")
    assert report.code == 0
    told = json.loads(report.out)
    assert (told["unchanged"], told["added"], told["broken"]) == (len(cli_world.COLOURS), 0, [])
