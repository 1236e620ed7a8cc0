"""The search page as a browser shows it: a server over an index of drawn films, and watched pages.

Every page that a test opens is watched: no error in its console, no request to any other address than the server's.
The fixtures over it are in conftest.py.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import av
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MARKS = [
    pytest.mark.soak,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: `apt-get install chromium`"),
]
HOSTILE = "<img src=x onerror=window.harm=1>\N{RIGHT-TO-LEFT OVERRIDE}4pm.exe & \"'.mp4"
LONG = f"{'a-very-long-name-without-a-single-space' * 4}.mp4"
COLOURS = {"red": (200, 30, 30), "green": (30, 180, 60), "blue": (40, 60, 200), "sand": (210, 190, 140)}
FOUND = 5
"""Films that a search finds: six are indexed, two of which show the same."""
Open = Callable[..., Page]


class World(NamedTuple):
    """The server's address, the folder of its films, and its index."""

    address: str
    folder: Path
    index: Path


def film(path: Path, colours: list[str], *, codec: str = "libx264", seed: int = 0) -> None:
    """Four seconds of each colour under the film's own pattern, with a moving square and noise: no two are alike."""
    noise = np.random.default_rng(seed)
    down, across = np.mgrid[:96, :160]
    pattern = [across * 0, across // 9 % 2, down // 13 % 2, (across // 24 + down // 24) % 2, (across + down) // 16 % 2]
    dark = 1 - 0.85 * pattern[seed % 5][..., None]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=8)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for number, colour in enumerate(c for c in colours for _ in range(32)):
            pixels = np.clip(np.array(COLOURS[colour]) * dark + noise.integers(-20, 20, (96, 160, 3)), 0, 255)
            at = number * 3 % 120
            pixels[30:60, at : at + 30] = 255 - np.array(COLOURS[colour])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels.astype(np.uint8), format="rgb24")))
        container.mux(stream.encode())


def picture_of(folder: Path, colour: str, name: str) -> Path:
    """A picture of one colour, as large as the films."""
    Image.fromarray(np.full((96, 160, 3), COLOURS[colour], np.uint8)).save(folder / name)
    return folder / name


@contextmanager
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server over five films, one of them in a container that no browser plays, one once more in a folder of its own,
    and a torn file; beside an index of the same films in longer segments.
    """
    folder = tmp_path_factory.mktemp("films")
    names = list(COLOURS)
    for number, name in enumerate(["plain.mp4", HOSTILE, LONG, "second.mp4"]):
        film(folder / name, [names[(number + step) % 4] for step in range(4)], seed=number)
    film(folder / "old.avi", ["sand", "red"], codec="mpeg4", seed=9)
    (folder / "copies").mkdir()
    film(folder / "copies" / "again.mp4", names, seed=5)
    (folder / "<u>torn.mp4").write_bytes(b"no video")
    (folder / "second.en.srt").write_text(
        "1\n00:00:04,000 --> 00:00:07,000\nThe <img src=x> general & his \u202ehorse\n"
    )
    index = tmp_path_factory.mktemp("index")
    reelseek = [sys.executable, "-m", "reelseek"]
    here = {"cwd": index, "env": os.environ | {"HF_HUB_OFFLINE": "1"}, "text": True}
    for name, frames in (("films.index", "4"), ("other.index", "16")):
        made = [*reelseek, "index", str(folder), "--index", name, "--segment_frames", frames, "--json"]
        report = json.loads(subprocess.run(made, check=True, capture_output=True, timeout=240, **here).stdout)
        assert (report["added"], len(report["broken"])) == (6, 1)
    serve = [*reelseek, "serve", "--index", "films.index", "--against", "other.index", "--port", "0"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, **here) as server:
        try:
            assert server.stdout is not None
            yield World(server.stdout.readline().split()[5], folder, index / "films.index")
        finally:
            server.terminate()


@contextmanager
def chromium() -> Iterator[Browser]:
    """The distribution's Chromium."""
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--disable-quic", "--autoplay-policy=no-user-gesture-required"]
        )
        yield browser
        browser.close()


@contextmanager
def opener(browser: Browser, world: World) -> Iterator[Open]:
    """Opens the page at a path in a window of its own, and fails at the end if anything went wrong in it."""
    contexts, wrong = [], []

    def watch(page: Page) -> None:
        page.on("console", lambda said: said.type in ("error", "warning") and wrong.append(said.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: urlsplit(request.url).hostname == "127.0.0.1" or wrong.append(request.url))

    def open_page(path: str = "", *, watched: bool = True, **settings: object) -> Page:
        contexts.append(browser.new_context(base_url=world.address, **settings))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        if watched:
            watch(page)
        page.goto(world.address + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def look_for(page: Page, words: str) -> list[str]:
    """Type a query, press Enter, and return the names on the cards."""
    page.locator("#query").fill(words)
    with page.expect_response("**/api/search*"):
        page.keyboard.press("Enter")
    expect(page.locator("#said")).to_contain_text("best match first")
    return page.locator(".card .name").all_inner_texts()


def wait_until(page: Page, condition: str) -> None:
    """Ask again and again from outside: the page's own security policy forbids a condition that it would evaluate."""
    deadline = time.monotonic() + 20
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, f"never came true: {condition}"
        page.wait_for_timeout(50)


def wait_for(page: Page, happened: Callable[[], object]) -> None:
    """Wait for what the test itself is told of, such as a request that it holds."""
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline
        page.wait_for_timeout(20)


def answers(page: Page, words: str, side: str = "", **more: str) -> list[dict[str, Any]]:
    """What the server itself says to a query."""
    found: list[dict[str, Any]] = page.request.get(f"{side}/api/search", params={"q": words, **more}).json()["hits"]
    return found
