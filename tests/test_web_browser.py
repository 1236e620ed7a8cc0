"""The search page in a real browser: searching, playing, explaining, and what goes wrong.

Not here: filters, pictures, marks and the library panel (`test_page.py`), two models (`test_page_compare.py`).
"""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Error, expect

from page_world import FOUND, HOSTILE, MARKS, Open, World, answers, look_for, wait_until

pytestmark = MARKS


def test_the_first_page_tells_what_is_here(page_at: Open) -> None:
    page = page_at()
    expect(page.locator("#query")).to_be_focused()
    expect(page.locator("#model")).to_contain_text("zero-shot over offline")
    expect(page.locator("#facts")).to_contain_text("6")
    expect(page.locator("#results li")).to_have_count(0)
    expect(page.locator("#libraryBroken")).to_have_text("1 unread")


def test_a_search_shows_every_hit_with_its_picture_and_keeps_its_address(page_at: Open) -> None:
    page = page_at()
    names = look_for(page, "a red wall")
    assert len(names) == FOUND
    assert names == [hit["name"] for hit in answers(page, "a red wall")]
    wait_until(page, "[...document.querySelectorAll('.shot > img:first-child')].every((i) => i.naturalWidth > 0)")
    assert page.title().startswith("a red wall")
    look_for(page, "something blue")
    page.go_back()
    expect(page.locator("#query")).to_have_value("a red wall")
    expect(page.locator(".card .name")).to_have_text(names)
    again = page_at(f"?{urlsplit(page.url).query}")
    expect(again.locator(".card .name")).to_have_text(names)


def test_a_film_plays_from_the_moment(page_at: Open) -> None:
    page = page_at()
    page.get_by_label("All moments").check()
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
    expect(page.locator("#curve .here").first).to_be_attached()
    page.locator("#again").click()
    assert page.evaluate("document.querySelector('video').currentTime") < hits[place]["start"] + 1
    page.locator("#close").click()
    expect(page.locator("#player")).to_be_hidden()
    # a dialog tells that it was closed a moment after it is hidden
    wait_until(page, "document.querySelector('video').currentSrc === '' || document.querySelector('video').paused")


def test_a_film_that_no_browser_plays_is_shown_as_a_picture_with_a_download(page_at: Open) -> None:
    page = page_at("?q=red")
    page.locator(".card", has_text="old.avi").click()
    expect(page.locator(".still p")).to_contain_text("A browser cannot play .avi files")
    expect(page.locator("#player video")).to_be_hidden()
    wait_until(page, "document.querySelector('.still img').naturalWidth > 0")
    with page.expect_download() as download:
        page.locator("#download").click()
    assert download.value.suggested_filename == "old.avi"


@pytest.mark.parametrize("width", [390, 1280])
def test_the_sentence_over_a_still_lies_within_the_picture(page_at: Open, width: int) -> None:
    page = page_at("?q=red", viewport={"width": width, "height": 720})
    page.locator(".card", has_text="old.avi").click()
    expect(page.locator("#player .still img")).to_be_visible()
    stage, words = (page.locator(f"#player .still{part}").bounding_box() for part in ("", " p"))
    assert stage is not None
    assert words is not None
    assert stage["y"] <= words["y"]
    assert words["y"] + words["height"] <= stage["y"] + stage["height"]


def test_a_film_that_changed_since_it_was_indexed_is_not_played_and_the_player_says_why(
    page_at: Open, page_server: World
) -> None:
    page = page_at("?q=red", watched=False)  # the browser itself reports the refused video in the console
    expect(page.locator("#said")).to_contain_text("best match first")
    film = page_server.folder / "plain.mp4"
    before = film.stat()
    os.utime(film, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    try:
        page.locator(".card", has_text="plain.mp4").click()
        expect(page.locator(".still p")).to_contain_text("has changed since it was indexed. Update the index")
        expect(page.locator("#player video")).to_be_hidden()
    finally:
        os.utime(film, ns=(before.st_atime_ns, before.st_mtime_ns))


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


def test_a_player_that_closes_takes_the_focus_from_nobody(page_at: Open) -> None:
    page = page_at()
    look_for(page, "green")
    page.locator(".card").nth(1).press("Enter")
    expect(page.locator("#player")).to_be_visible()
    page.evaluate("new Promise((done) => { player.addEventListener('close', done); player.close(); query.focus(); })")
    expect(page.locator("#query")).to_be_focused()


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_scrolls_one_way_only(page_at: Open, width: int) -> None:
    page = page_at(viewport={"width": width, "height": 720}, is_mobile=True, has_touch=True)

    def assert_it_fits() -> None:
        assert page.evaluate("document.scrollingElement.scrollWidth") <= width
        wide = (
            "[...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1)"
        )
        visible = ".filter((e) => e.checkVisibility() && !e.closest('.curve, .name, .folder, h2, .sr, .symbols'))"
        assert page.evaluate(f"{wide}{visible}.map((e) => e.outerHTML.slice(0, 90))") == []

    expect(page.locator("#facts")).to_contain_text("6")
    assert_it_fits()
    page.locator("#libraryButton").tap()
    expect(page.locator("#broken li")).to_be_visible()
    assert_it_fits()
    page.locator("#libraryClose").tap()
    page.locator("#moreButton").tap()
    assert_it_fits()
    page.locator("#moreButton").tap()
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
    page.locator(".to-why").nth(place).click()
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
    page.locator("#next").click()
    expect(page.locator("#whySaid")).to_contain_text(f"The score {hits[place + 1]['score']:.3f}")
    page.locator("#whyButton").click()
    expect(page.locator("#why")).to_be_hidden()
    page.locator("#close").click()
    page.locator(".card").first.click()
    expect(page.locator("#player")).to_be_visible()
    expect(page.locator("#why")).to_be_hidden()


def test_the_curve_and_the_frames_lead_to_their_moments(page_at: Open) -> None:
    page = page_at("?q=blue")
    expect(page.locator("#said")).to_contain_text("best match first")
    place = next(n for n, hit in enumerate(answers(page, "blue")) if hit["playable"])
    page.locator(".to-why").nth(place).click()
    wait_until(page, "document.querySelector('video').readyState >= 2")
    expect(page.locator(".carrying li").first).to_be_visible()
    expect(page.locator("#curve .line")).to_be_attached()  # without it the keys go by parts of the video
    page.evaluate("document.querySelector('video').pause()")
    at = "document.querySelector('video').currentTime"
    curve = page.locator("#curve")
    box = curve.bounding_box()
    assert box is not None
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
    page.locator(".to-why").nth(place).click()
    expect(page.locator("#curve")).to_be_visible()
    frame = page.locator(".carrying button").first
    expect(frame).to_be_visible()
    expect(page.locator(".words")).to_have_count(0)  # a query of one word
    frame.click()
    told = re.match(r"Go to 0:(\d+): ", str(frame.get_attribute("aria-label")))
    assert told is not None
    wait_until(page, f"document.querySelector('.still img').src.endsWith('?t={int(told[1])}.000')")
    wait_until(page, "document.querySelector('.still img').naturalWidth > 0")


def test_a_hostile_query_is_explained_as_text(page_at: Open) -> None:
    page = page_at("?q=%3Cimg%20src%3Dx%20onerror%3Dwindow.harm%3D1%3E%20red")
    page.locator(".to-why").first.click()
    expect(page.locator(".words bdi")).to_have_text(["<img", "src=x", "onerror=window.harm=1>", "red"])
    assert page.locator("img[src=x]").count() == 0
    assert page.evaluate("window.harm") is None


def test_an_explanation_that_fails_is_said_in_a_sentence(page_at: Open) -> None:
    page = page_at("?q=red", watched=False)  # the browser itself reports the broken request in the console
    page.route("**/api/explain*", lambda route: route.abort())
    page.locator(".to-why").first.click()
    expect(page.locator("#whySaid")).to_have_text("The server does not answer. Is reelseek serve still running?")


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
    page.locator(".to-why").first.click()
    expect(page.locator(".carrying li").first).to_be_visible()
    seen = ("#said", ".name", ".folder", ".value", "#librarySaid", ".unread", ".box .main", ".small", ".segments span")
    for selector in (*seen, ".to-why", "#whySaid", "#why h3", ".carrying .what", ".carrying .hint"):
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
    expect(page.locator(".card")).to_have_count(FOUND)
    expect(page.locator("#trouble")).to_be_hidden()


def test_no_other_page_may_frame_or_read_it(browser: Browser, page_server: World) -> None:
    address = page_server.address
    stranger = browser.new_page()
    stranger.set_content("<h1>another site</h1>")
    with pytest.raises(Error, match="Failed to fetch"):
        stranger.evaluate("(address) => fetch(address + 'api/status').then((answer) => answer.text())", address)
    stranger.set_content(f"<iframe src='{address}'></iframe>")
    stranger.wait_for_timeout(300)
    assert [frame.url for frame in stranger.frames[1:]] == ["chrome-error://chromewebdata/"]
    stranger.close()
