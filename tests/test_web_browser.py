"""The search page in a real browser, served by `reelseek serve` over an index of drawn clips.

Every page that a test opens is watched: no error in its console, no request to any other address than the server's.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
import numpy as np
import pytest
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HOSTILE = "<img src=x onerror=window.harm=1>\N{RIGHT-TO-LEFT OVERRIDE}4pm.exe & \"'.mp4"
LONG = f"{'a-very-long-name-without-a-single-space' * 4}.mp4"
COLOURS = {"red": (200, 30, 30), "green": (30, 180, 60), "blue": (40, 60, 200), "sand": (210, 190, 140)}

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: `apt-get install chromium`"),
]
Open = Callable[..., Page]


def film(path: Path, colours: list[str], *, codec: str = "libx264", seed: int = 0) -> None:
    """Four seconds of each colour, with a moving square and noise, so that no two shots and no two films are alike."""
    noise = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=8)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for number, colour in enumerate(c for c in colours for _ in range(32)):
            pixels = np.clip(np.array(COLOURS[colour]) + noise.integers(-20, 20, (96, 160, 3)), 0, 255)
            at = number * 3 % 120
            pixels[30:60, at : at + 30] = 255 - np.array(COLOURS[colour])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels.astype(np.uint8), format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server over five films, one of them in a container that no browser plays, and a torn file."""
    folder = tmp_path_factory.mktemp("films")
    names = list(COLOURS)
    for number, name in enumerate(["plain.mp4", HOSTILE, LONG, "second.mp4"]):
        film(folder / name, [names[(number + step) % 4] for step in range(4)], seed=number)
    film(folder / "old.avi", ["sand", "red"], codec="mpeg4", seed=9)
    (folder / "<u>torn.mp4").write_bytes(b"no video")
    index = tmp_path_factory.mktemp("index")
    reelseek = [sys.executable, "-m", "reelseek"]
    here = {"cwd": index, "env": os.environ | {"HF_HUB_OFFLINE": "1"}, "text": True}
    made = [*reelseek, "index", str(folder), "--index", "films.index", "--segment_frames", "4", "--json"]
    report = json.loads(subprocess.run(made, check=True, capture_output=True, timeout=240, **here).stdout)
    assert (report["added"], len(report["broken"])) == (5, 1)
    serve = [*reelseek, "serve", "--index", "films.index", "--port", "0"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, **here) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().split()[5]
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--disable-quic", "--autoplay-policy=no-user-gesture-required"]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def page_at(browser: Browser, address: str) -> Iterator[Open]:
    """Opens the page at a path in a window of its own, and fails at the end if anything went wrong in it."""
    contexts, wrong = [], []

    def watch(page: Page) -> None:
        page.on("console", lambda said: said.type in ("error", "warning") and wrong.append(said.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: urlsplit(request.url).hostname == "127.0.0.1" or wrong.append(request.url))

    def open_page(path: str = "", *, watched: bool = True, **settings: object) -> Page:
        contexts.append(browser.new_context(base_url=address, **settings))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        if watched:
            watch(page)
        page.goto(address + path)
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


def answers(page: Page, words: str, **more: str) -> list[dict[str, Any]]:
    """What the server itself says to a query."""
    found: list[dict[str, Any]] = page.request.get("/api/search", params={"q": words, **more}).json()["hits"]
    return found


def test_the_first_page_tells_what_is_here(page_at: Open) -> None:
    page = page_at()
    expect(page.locator("#query")).to_be_focused()
    expect(page.locator("#model")).to_contain_text("zero-shot over offline")
    expect(page.locator("#facts")).to_contain_text("5")
    expect(page.locator("#results li")).to_have_count(0)
    page.locator("#broken summary").click()
    expect(page.locator("#broken li b")).to_contain_text("<u>torn.mp4")
    assert page.locator("#broken u").count() == 0


def test_a_search_shows_every_hit_with_its_picture_and_keeps_its_address(page_at: Open) -> None:
    page = page_at()
    names = look_for(page, "a red wall")
    assert len(names) == 5
    assert names == [hit["name"] for hit in answers(page, "a red wall")]
    wait_until(page, "[...document.querySelectorAll('.card img')].every((i) => i.complete && i.naturalWidth > 0)")
    assert page.title().startswith("a red wall")
    look_for(page, "something blue")
    page.go_back()
    expect(page.locator("#query")).to_have_value("a red wall")
    expect(page.locator(".card .name")).to_have_text(names)
    again = page_at(f"?{urlsplit(page.url).query}")
    expect(again.locator(".card .name")).to_have_text(names)


def test_a_film_plays_from_the_moment(page_at: Open) -> None:
    page = page_at()
    page.locator(".switch").click()
    look_for(page, "sand")
    hits = answers(page, "sand", moments="true")
    expect(page.locator(".card")).to_have_count(len(hits))
    place = next(n for n, hit in enumerate(hits) if hit["start"] > 2 and hit["playable"])
    page.locator(".card").nth(place).click()
    wait_until(page, "document.querySelector('video').readyState >= 2")
    wait_until(page, f"document.querySelector('video').currentTime > {hits[place]['start'] + 0.2}")
    played = page.evaluate("document.querySelector('video').played.start(0)")
    assert played == pytest.approx(hits[place]["start"], abs=0.1)
    assert page.evaluate("document.querySelector('video').paused") is False
    assert page.evaluate("document.querySelector('video').duration") == pytest.approx(16, abs=0.2)
    expect(page.locator(".strip .here")).to_be_visible()
    page.locator("#again").click()
    assert page.evaluate("document.querySelector('video').currentTime") < hits[place]["start"] + 1
    page.locator("#close").click()
    expect(page.locator("#player")).to_be_hidden()
    assert page.evaluate("document.querySelector('video').currentSrc === '' || document.querySelector('video').paused")


def test_a_film_that_no_browser_plays_is_shown_as_a_picture_with_a_download(page_at: Open) -> None:
    page = page_at("?q=red")
    page.locator(".card", has_text="old.avi").click()
    expect(page.locator(".still p")).to_contain_text("A browser cannot play .avi files")
    expect(page.locator("#player video")).to_be_hidden()
    wait_until(page, "document.querySelector('.still img').naturalWidth > 0")
    with page.expect_download() as download:
        page.locator("#download").click()
    assert download.value.suggested_filename == "old.avi"


def test_a_hostile_file_name_stays_text(page_at: Open) -> None:
    page = page_at("?q=red")
    shown = HOSTILE.replace("\N{RIGHT-TO-LEFT OVERRIDE}", "\\u202e")
    hostile = page.locator(".card", has_text="onerror")
    expect(hostile.locator(".name")).to_have_text(shown)
    hostile.click()
    expect(page.locator("#playing")).to_have_text(shown)
    wait_until(page, "document.querySelector('video').readyState >= 2")
    assert page.locator("img[src=x]").count() == 0
    assert page.evaluate("window.harm") is None
    query = page_at("?q=%3Cimg%20src%3Dx%20onerror%3Dwindow.harm%3D1%3E")
    expect(query.locator("#said")).to_contain_text("best match first")
    assert query.evaluate("window.harm") is None


def test_all_of_it_works_with_the_keyboard(page_at: Open) -> None:
    page = page_at()
    look_for(page, "green")
    cards = page.locator(".card")
    page.keyboard.press("ArrowDown")
    expect(cards.nth(0)).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(cards.nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#player")).to_be_visible()
    for _ in range(12):  # the focus stays inside the player
        page.keyboard.press("Tab")
        assert page.evaluate(
            "document.activeElement === document.body || document.activeElement.closest('#player') !== null"
        )
    page.keyboard.press("Escape")
    expect(page.locator("#player")).to_be_hidden()
    expect(cards.nth(1)).to_be_focused()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowUp")
    expect(page.locator("#query")).to_be_focused()
    cards.nth(2).focus()
    page.keyboard.press("/")
    expect(page.locator("#query")).to_be_focused()
    expect(page.locator("#query")).to_have_value("green")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_scrolls_one_way_only(page_at: Open, width: int) -> None:
    page = page_at(viewport={"width": width, "height": 720}, is_mobile=True, has_touch=True)

    def assert_it_fits() -> None:
        assert page.evaluate("document.scrollingElement.scrollWidth") <= width
        wide = (
            "[...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1)"
        )
        visible = ".filter((e) => e.checkVisibility() && !e.closest('.strip, .name, .folder, h2'))"
        assert page.evaluate(f"{wide}{visible}.map((e) => e.outerHTML.slice(0, 90))") == []

    assert_it_fits()
    page.locator("#broken summary").tap()
    assert_it_fits()
    look_for(page, "blue")
    assert_it_fits()
    page.locator(".card", has_text="a-very-long-name").tap()
    expect(page.locator("#player")).to_be_visible()
    assert_it_fits()
    page.locator("#whyButton").tap()
    expect(page.locator(".carrying li").first).to_be_visible()
    assert_it_fits()
    box = page.locator("#close").bounding_box()
    assert box is not None
    assert 0 <= box["x"] <= width - box["width"]


def test_why_a_film_was_found(page_at: Open) -> None:
    page = page_at()
    look_for(page, "a red wall")
    hits = answers(page, "a red wall")
    place = next(n for n, hit in enumerate(hits) if hit["playable"] and n < len(hits) - 1)
    page.locator(".ask").nth(place).click()
    expect(page.locator("#player")).to_be_visible()
    expect(page.locator("#whyButton")).to_have_attribute("aria-expanded", "true")
    asked = {"q": "a red wall", "id": hits[place]["id"], "t": str(hits[place]["peak"])}
    why = page.request.get("/api/explain", params=asked).json()
    assert why["score"] == pytest.approx(hits[place]["score"], abs=1e-6)
    assert "path" not in why
    expect(page.locator("#whySaid")).to_contain_text(f"The score {hits[place]['score']:.3f}")
    expect(page.locator(".carrying li")).to_have_count(len(why["frames"]))
    expect(page.locator(".words bdi")).to_have_text(["a", "red", "wall"])
    wait_until(page, "[...document.querySelectorAll('.carrying img')].every((i) => i.complete && i.naturalWidth > 0)")
    expect(page.locator(".map")).to_be_hidden()
    page.locator("#why summary").click()
    expect(page.locator(".map tbody td")).to_have_count(3 * len(why["frames"]))
    # a line from the left edge through every stored frame to the right edge
    drawn = page.evaluate("document.querySelector('#curve .line').getAttribute('d').split('L').length - 2")
    assert drawn == len(why["curve"]) == 16
    page.locator("#next").click()
    expect(page.locator("#whySaid")).to_contain_text(f"The score {hits[place + 1]['score']:.3f}")
    page.locator("#whyButton").click()
    expect(page.locator("#why")).to_be_hidden()
    expect(page.locator("#curve")).to_be_hidden()
    page.locator("#whyButton").click()
    expect(page.locator("#curve")).to_be_visible()
    page.locator("#close").click()
    page.locator(".card").first.click()
    expect(page.locator("#player")).to_be_visible()
    expect(page.locator("#why")).to_be_hidden()


def test_the_curve_and_the_frames_lead_to_their_moments(page_at: Open) -> None:
    page = page_at("?q=blue")
    expect(page.locator("#said")).to_contain_text("best match first")
    place = next(n for n, hit in enumerate(answers(page, "blue")) if hit["playable"])
    page.locator(".ask").nth(place).click()
    wait_until(page, "document.querySelector('video').readyState >= 2")
    expect(page.locator(".carrying li").first).to_be_visible()
    page.evaluate("document.querySelector('video').pause()")
    at = "document.querySelector('video').currentTime"
    curve = page.locator("#curve")
    box, strip = curve.bounding_box(), page.locator("#player .strip").bounding_box()
    assert box is not None
    assert strip is not None
    assert (box["x"], box["width"]) == (strip["x"], strip["width"])
    page.mouse.click(box["x"] + box["width"] / 4, box["y"] + 20)
    assert page.evaluate(at) == pytest.approx(4, abs=0.1)
    curve.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate(at) == pytest.approx(5, abs=0.1)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(at) == pytest.approx(3, abs=0.1)
    assert str(curve.get_attribute("aria-valuetext")).startswith("0:03, match ")
    page.keyboard.press("Home")
    assert page.evaluate(at) == 0
    page.keyboard.press("End")
    assert page.evaluate(at) == pytest.approx(15, abs=0.1)
    frame = page.locator(".carrying button").last
    frame.focus()
    page.keyboard.press("Enter")
    told = re.match(r"Go to 0:(\d+): ", str(frame.get_attribute("aria-label")))
    assert told is not None
    assert page.evaluate(at) == pytest.approx(int(told[1]), abs=0.1)


def test_a_film_that_no_browser_plays_is_explained_with_pictures(page_at: Open) -> None:
    page = page_at("?q=red")
    expect(page.locator("#said")).to_contain_text("best match first")
    place = [hit["name"] for hit in answers(page, "red")].index("old.avi")
    page.locator(".ask").nth(place).click()
    expect(page.locator("#curve")).to_be_visible()
    expect(page.locator(".words")).to_have_count(0)  # a query of one word
    frame = page.locator(".carrying button").first
    frame.click()
    told = re.match(r"Go to 0:(\d+): ", str(frame.get_attribute("aria-label")))
    assert told is not None
    wait_until(page, f"document.querySelector('.still img').src.endsWith('?t={int(told[1])}.000')")
    wait_until(page, "document.querySelector('.still img').naturalWidth > 0")


def test_a_hostile_query_is_explained_as_text(page_at: Open) -> None:
    page = page_at("?q=%3Cimg%20src%3Dx%20onerror%3Dwindow.harm%3D1%3E%20red")
    page.locator(".ask").first.click()
    expect(page.locator(".words bdi")).to_have_text(["<img", "src=x", "onerror=window.harm=1>", "red"])
    assert page.locator("img[src=x]").count() == 0
    assert page.evaluate("window.harm") is None


def test_an_explanation_that_fails_is_said_in_a_sentence(page_at: Open) -> None:
    page = page_at("?q=red", watched=False)  # the browser itself reports the broken request in the console
    page.route("**/api/explain*", lambda route: route.abort())
    page.locator(".ask").first.click()
    expect(page.locator("#whySaid")).to_have_text("The server does not answer. Is reelseek serve still running?")
    expect(page.locator("#curve")).to_be_hidden()


LUMINANCE = """
(selector) => {
  const linear = (part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map((part) => linear(part / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const element = document.querySelector(selector);
  let ground = element;
  while (/^rgba\\(.*, 0\\)$/.test(getComputedStyle(ground).backgroundColor)) ground = ground.parentElement;
  return [light(getComputedStyle(element).color), light(getComputedStyle(ground).backgroundColor)];
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_colour_schemes(page_at: Open, scheme: str) -> None:
    page = page_at("?q=red", color_scheme=scheme)
    expect(page.locator("#said")).to_contain_text("best match first")
    _, ground = page.evaluate(LUMINANCE, "body")
    assert ground < 0.05 if scheme == "dark" else ground > 0.8
    page.locator(".ask").first.click()
    expect(page.locator(".carrying li").first).to_be_visible()
    seen = ("#said", ".name", ".folder", ".value", "#model", ".switch small", ".box button", "summary")
    for selector in (*seen, ".ask", "#whySaid", "#why h3", ".carrying .what", ".carrying .hint"):
        ink, paper = page.evaluate(LUMINANCE, selector)
        contrast = (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05)
        assert contrast >= 4.5, f"{selector}: {contrast:.1f}"


def test_a_server_that_goes_away_is_said_in_a_sentence_and_asked_again(page_at: Open) -> None:
    page = page_at(watched=False)  # the browser itself reports the broken request in the console
    page.route("**/api/search*", lambda route: route.abort())
    page.locator("#query").fill("red")
    page.keyboard.press("Enter")
    expect(page.locator("#trouble p")).to_have_text("The server does not answer. Is reelseek serve still running?")
    page.unroute("**/api/search*")
    page.locator("#trouble button").click()
    expect(page.locator(".card")).to_have_count(5)
    expect(page.locator("#trouble")).to_be_hidden()


def test_no_other_page_may_frame_or_read_it(browser: Browser, address: str) -> None:
    stranger = browser.new_page()
    stranger.set_content("<h1>another site</h1>")
    with pytest.raises(Error, match="Failed to fetch"):
        stranger.evaluate("(address) => fetch(address + 'api/status').then((answer) => answer.text())", address)
    stranger.set_content(f"<iframe src='{address}'></iframe>")
    stranger.wait_for_timeout(300)
    assert [frame.url for frame in stranger.frames[1:]] == ["chrome-error://chromewebdata/"]
    stranger.close()
