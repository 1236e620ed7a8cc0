"""The search page over a library of thousands of files, hundreds of them unreadable and none of them there any more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

import long_library
from index_fakes import FakeMethod
from page_world import MARKS, World, opener
from reelseek.app.service import Service
from reelseek.app.web import create_app
from reelseek.index.cards import open_index
from reelseek.index.search import Searcher
from reelseek.video.files import thumbnail
from web_fakes import running

pytestmark = MARKS
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def long_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    index = long_library.write(tmp_path_factory.mktemp("long"))
    service = Service(Searcher(open_index(index), FakeMethod()))
    with running(create_app(service, thumbnail=thumbnail)) as address:
        yield World(f"{address}/", index.parent / "videos", index)


@pytest.fixture
def page(browser: Browser, long_server: World) -> Iterator[Page]:
    with opener(browser, long_server) as open_page:
        yield open_page(watched=False, viewport=PHONE, color_scheme="dark")


def test_the_library_panel_leads_to_the_folders_past_hundreds_of_unreadable_files(page: Page) -> None:
    expect(page.locator("#librarySaid")).to_have_text("3,000 videos")
    page.locator("#libraryButton").click()
    panel = page.locator("#library")
    expect(panel.locator("#broken h3")).to_have_text("900 files could not be read")
    expect(panel.locator("#broken li")).to_have_count(5)
    expect(panel.locator("#brokenRest")).to_contain_text("Only the first 200")
    expect(panel.locator("#folders li")).to_have_count(500)
    expect(panel.locator("#foldersRest")).to_contain_text("The 500 with the most videos, of 1,200.")
    # not more than three screens down
    assert panel.locator("#folders").evaluate("(list) => list.offsetTop") < 3 * PHONE["height"]
    assert page.evaluate("document.querySelectorAll('*').length") < 4000
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]})
    assert [fault["id"] for fault in found.response["violations"]] == []
    page.keyboard.press("Tab")
    expect(panel.locator("#brokenAll")).to_be_focused()
    page.keyboard.press("Enter")
    expect(panel.locator("#broken li")).to_have_count(200)
    expect(panel.locator("#brokenAll")).to_be_focused()
    expect(panel.locator("#brokenAll")).to_have_text("Show fewer")
    page.keyboard.press("Enter")
    expect(panel.locator("#broken li")).to_have_count(5)


def test_a_look_at_the_status_leaves_what_is_selected_in_the_panel(page: Page) -> None:
    page.locator("#libraryButton").click()
    expect(page.locator("#broken li")).to_have_count(5)
    page.locator("#broken li b").first.evaluate("(name) => getSelection().selectAllChildren(name)")
    with page.expect_response("**/api/status"):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_timeout(200)
    assert page.evaluate("getSelection().toString()").endswith("00000.mp4")


def test_hundreds_of_the_same_footage_are_a_list_of_their_own(page: Page) -> None:
    page.goto(f"{page.url}?q=white")
    fold = page.locator(".fold").first
    expect(fold).to_have_text("699 more of the same")
    fold.click()
    same = page.locator(".alike").first
    expect(same.locator("li")).to_have_count(51)
    expect(same.locator("li").last).to_have_text("and 649 more")
    assert same.evaluate("(list) => list.offsetHeight") < PHONE["height"] / 2


def test_more_and_more_answers_come_up_to_the_most(page: Page) -> None:
    page.goto(f"{page.url}?q=red")
    for count in [*range(24, 200, 24), 200]:
        expect(page.locator(".card")).to_have_count(count)
        if count < 200:
            page.locator("#showMore").click()
    expect(page.locator("#showMore")).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_a_picture_of_a_file_that_is_gone_is_not_asked_for_again_and_again(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: "/thumb/" in request.url and asked.append(urlsplit(request.url).path))
    page.goto(f"{page.url}?q=red")
    expect(page.locator(".card")).to_have_count(24)
    page.wait_for_timeout(3000)
    expect(page.locator(".results > li.bare").first).to_contain_text("no picture")
    assert asked
    assert max(map(asked.count, asked)) == 2


def test_a_busy_server_is_asked_for_a_picture_again(page: Page) -> None:
    told = [429, 429]

    def answer(route: object) -> None:
        if told:
            route.fulfill(status=told.pop(), json={"error": "busy"})
        else:
            route.fulfill(path=Path(__file__).parent.parent / "docs" / "page.png")

    page.route(re.compile("/thumb/"), answer)
    # "bare" is absent before the first refusal too, so the picture itself is waited for
    with page.expect_response(lambda answer: "/thumb/" in answer.url and answer.ok):
        page.goto(f"{page.url}?q=red&k=1")
    assert told == []
    expect(page.locator(".card")).to_have_count(1)
    expect(page.locator(".results > li")).not_to_have_class(re.compile("bare"))


def test_the_player_says_that_a_file_is_gone(page: Page) -> None:
    page.goto(f"{page.url}?q=red&k=3")
    page.locator(".card").first.click()
    expect(page.locator("#player .still p")).to_contain_text("The file is gone or cannot be reached.")


def test_half_an_emoji_is_never_shown(page: Page) -> None:
    page.goto(f"{page.url}?q={'a' * 58}{'🎬' * 40}")
    expect(page.locator(".card").first).to_be_visible()
    title = page.title()
    assert title.startswith("a" * 58)
    assert "\ufffd" not in title
    assert title.removesuffix(" · reelseek") == f"{'a' * 58}…"
