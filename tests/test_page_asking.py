"""The search page while answers are on their way, cut off or gone: what was asked last is what is shown.

Not here: a server that does not answer at all (`test_web_browser.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from page_world import FOUND, MARKS, Open, answers, look_for, picture_of, wait_for

pytestmark = MARKS


class Halting(NamedTuple):
    """A server that sends half an answer, and ends the connection once `cut` is set."""

    address: str
    cut: threading.Event


@pytest.fixture
def halting() -> Iterator[Halting]:
    cut = threading.Event()

    class Half(BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1 << 16)
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n"
            self.request.sendall(head + b'{"hits": [')
            cut.wait(60)

    with ThreadingTCPServer(("127.0.0.1", 0), Half) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Halting(f"http://127.0.0.1:{server.server_address[1]}/api/search", cut)
        cut.set()
        server.shutdown()


def ask_slowly(page: Page, halting: Halting) -> None:
    """Ask "slow", whose answer halts in its body."""
    page.route("**/api/search?q=slow", lambda route: route.continue_(url=halting.address))
    page.locator("#query").fill("slow")
    with page.expect_response("**/api/search*"):
        page.keyboard.press("Enter")


# ---- answers on their way


def test_an_answer_under_way_does_not_touch_the_next_search(page_at: Open, halting: Halting) -> None:
    page = page_at()
    ask_slowly(page, halting)
    assert len(look_for(page, "red")) == FOUND
    expect(page.locator("#trouble")).to_be_hidden()
    expect(page.locator(".card")).to_have_count(FOUND)


def test_an_answer_under_way_does_not_touch_the_emptied_page(page_at: Open, halting: Halting) -> None:
    page = page_at()
    ask_slowly(page, halting)
    expect(page.locator("#results")).to_have_attribute("aria-busy", "true")
    page.locator("#query").fill("")
    page.keyboard.press("Enter")
    expect(page.locator("#start")).to_be_visible()
    page.wait_for_timeout(200)
    expect(page.locator("#trouble")).to_be_hidden()
    expect(page.locator("#results > li")).to_have_count(0)
    assert page.locator("#results").get_attribute("aria-busy") is None


def test_an_answer_that_breaks_off_is_said_and_asked_again(page_at: Open, halting: Halting) -> None:
    page = page_at(watched=False)  # the browser itself reports the broken answer in the console
    ask_slowly(page, halting)
    halting.cut.set()
    expect(page.locator("#trouble p")).to_have_text("The answer broke off. Is reelseek serve still running?")
    page.unroute("**/api/search?q=slow")
    page.locator("#trouble button").click()
    expect(page.locator(".card")).to_have_count(FOUND)
    expect(page.locator("#trouble")).to_be_hidden()


# ---- while the page loads


def test_what_is_typed_while_the_page_loads_stays(page_at: Open) -> None:
    page = page_at()
    held: list[Route] = []
    page.route("**/api/feedback", lambda route: held.append(route))
    page.reload()
    page.locator("#query").fill("a red wall")
    wait_for(page, lambda: held)
    with page.expect_response("**/api/feedback"):
        held[0].continue_()
    page.wait_for_timeout(200)
    expect(page.locator("#query")).to_have_value("a red wall")


def test_results_do_not_wait_for_the_marks_and_show_them_when_they_come(page_at: Open) -> None:
    page = page_at()
    held: list[Route] = []
    page.route("**/api/feedback", lambda route: held.append(route))
    page.goto("/?q=a+red+wall")
    up = page.locator(".results .up")
    expect(up).to_have_count(FOUND)
    expect(up.nth(1)).to_have_attribute("aria-pressed", "false")
    hit = answers(page, "a red wall")[1]
    mark = {"q": "a red wall", "good": True, **{name: hit[name] for name in ("id", "start", "end", "peak")}}
    wait_for(page, lambda: held)
    held[0].fulfill(json={"kept": [mark]})
    expect(up.nth(1)).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".results .thumb[aria-pressed=true]")).to_have_count(1)


# ---- what an address stands for


def test_back_never_shows_the_picture_of_another_load(page_at: Open, tmp_path: Path) -> None:
    page = page_at()
    page.locator("#file").set_input_files(picture_of(tmp_path, "sand", "sand.png"))
    expect(page.locator("#said")).to_contain_text("best match first")
    page.reload()
    expect(page.locator("#trouble p")).to_contain_text("not here any more")
    page.locator("#query").fill("a wall")
    page.locator("#file").set_input_files(picture_of(tmp_path, "blue", "blue.png"))
    expect(page.locator("#picture bdi")).to_have_text("blue.png")
    expect(page.locator("#said")).to_contain_text("best match first")
    page.go_back()
    expect(page.locator("#query")).to_have_value("")
    expect(page.locator("#picture")).to_be_hidden()
    expect(page.locator("#trouble p")).to_contain_text("not here any more")
    page.go_forward()
    expect(page.locator("#picture")).to_be_visible()
    expect(page.locator("#picture bdi")).to_have_text("blue.png")


def test_more_answers_are_those_of_the_search_that_is_shown(page_at: Open) -> None:
    page = page_at("?q=red&moments=1&duplicates=1&k=3")
    expect(page.locator(".card")).to_have_count(3)
    page.locator("#query").fill("blue")
    with page.expect_request("**/api/search*") as sent:
        page.locator("#showMore").click()
    expected = {"q": ["red"], "moments": ["1"], "duplicates": ["1"], "k": ["27"]}
    assert parse_qs(urlsplit(sent.value.url).query) == expected
    assert parse_qs(urlsplit(page.url).query) == expected
    expect(page.locator("#query")).to_have_value("red")
