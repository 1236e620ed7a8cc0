"""The search page in a real browser: filters, looking through, pictures, marks, the library panel, colours, and axe.

Not here: searching, playing and explaining (`test_web_browser.py`), two models (`test_page_compare.py`).
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Request, Route, expect

from page_world import COLOURS, FOUND, MARKS, Open, World, answers, film, look_for, picture_of, wait_until
from reelseek.video.suffixes import VIDEO_SUFFIXES

pytestmark = MARKS
HARM = "<img src=x onerror=window.harm=1>.png"


def asked_by(page: Page, path: str) -> list[Request]:
    """The requests below a path that the page makes from now on; the list grows."""
    made: list[Request] = []
    page.on("request", lambda request: urlsplit(request.url).path.startswith(path) and made.append(request))
    return made


def bring(page: Page, event: str, path: Path, kind: str, *, text: str = "", into: str = "body") -> bool:
    """Drop or paste a file, as a browser tells the page of it. Returns whether the page took the event for itself."""
    taken: bool = page.evaluate(
        """([event, name, kind, bytes, text, into]) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], name, { type: kind }));
          if (text) data.items.add(text, "text/plain");
          const how = { bubbles: true, cancelable: true };
          const made = event === "paste" ? new ClipboardEvent(event, { clipboardData: data, ...how })
            : new DragEvent(event, { dataTransfer: data, ...how });
          return !document.querySelector(into).dispatchEvent(made);
        }""",
        [event, path.name, kind, list(path.read_bytes()), text, into],
    )
    return taken


def wait_for_thumbnails(page: Page) -> None:
    expect(page.locator(".card")).to_have_count(FOUND)
    wait_until(page, "[...document.querySelectorAll('.shot > img:first-child')].every((i) => i.naturalWidth > 0)")


# ---- filters


def test_filters_narrow_the_search_and_live_in_the_address(page_at: Open, page_server: World) -> None:
    page = page_at("?q=red")
    expect(page.locator(".card")).to_have_count(FOUND)
    expect(page.locator("#more")).to_be_hidden()
    page.locator("#moreButton").click()
    folder = str(page_server.folder / "copies")
    page.locator("#below").fill(folder)
    page.keyboard.press("Tab")
    expect(page.locator(".card .name")).to_have_text(["again.mp4"])
    page.locator("#without").fill("blue; green")
    page.keyboard.press("Enter")
    page.get_by_label("Best moments").check()
    expect(page.locator("#chips .chip")).to_have_count(3)
    expect(page.locator("#moreCount")).to_have_text("3")
    kept = parse_qs(urlsplit(page.url).query)
    assert kept == {"q": ["red"], "below": [folder], "without": ["blue", "green"], "best_moment": ["1"]}
    again = page_at(f"?{urlsplit(page.url).query}")
    expect(again.locator(".card .name")).to_have_text(["again.mp4"])
    expect(again.locator("#chips .chip")).to_have_count(3)
    assert again.locator("#without").input_value() == "blue; green"
    page.get_by_label("Take away: in").click()
    expect(page.locator(".card")).to_have_count(FOUND)
    page.go_back()
    expect(page.locator(".card .name")).to_have_text(["again.mp4"])
    page.locator("#clear").click()
    expect(page.locator("#chips .chip")).to_have_count(0)
    expect(page.locator(".card")).to_have_count(FOUND)


def test_every_field_is_asked_under_its_own_name(page_at: Open) -> None:
    page = page_at("?q=red")
    page.locator("#moreButton").click()
    given = {"then": "blue", "since": "2020-02-03", "until": "2099-01-02", "longer": "0:01", "shorter": "9:00"}
    for name, value in given.items():
        page.locator(f"#{name}").fill(value)
    page.locator("#variety").fill("0.5")
    with page.expect_request(lambda request: "duplicates=1" in request.url) as sent:
        page.locator("#duplicates").check()
    expected = {"q": "red", **given, "variety": "0.5", "duplicates": "1"}
    assert parse_qs(urlsplit(sent.value.url).query) == {name: [value] for name, value in expected.items()}
    expect(page.locator(".card .then").first).to_be_visible()
    page.locator(".card").first.click()
    expect(page.locator("#parts li .kind")).to_have_text(["words", "then"])
    expect(page.locator("#player")).to_be_visible()
    expect(page.locator("#whyButton")).to_be_hidden()  # what is explained is a sentence


def test_a_filter_that_cannot_be_read_is_said_in_a_sentence(page_at: Open) -> None:
    page = page_at("?q=red&longer=soon", watched=False)  # the browser itself reports the refusal in the console
    expect(page.locator("#trouble p")).to_contain_text("soon")
    expect(page.locator("#trouble button")).to_be_hidden()


def test_filters_that_leave_nothing_say_so(page_at: Open) -> None:
    page = page_at("?q=red&longer=5:00")
    expect(page.locator("#nothing")).to_contain_text("Take one of them away")


def test_the_same_footage_is_folded_into_one_answer(page_at: Open) -> None:
    page = page_at("?q=red")
    fold = page.locator(".fold")
    expect(fold).to_have_text("1 more of the same")
    expect(page.locator(".alike")).to_be_hidden()
    fold.click()
    expect(fold).to_have_attribute("aria-expanded", "true")
    names = {page.locator(".results li:has(.fold) .name").inner_text(), page.locator(".same bdi").inner_text()}
    assert names == {"plain.mp4", "again.mp4"}
    page.locator(".same").click()
    expect(page.locator("#playing")).to_have_text(page.locator(".same bdi").inner_text())
    page.keyboard.press("Escape")
    expect(page.locator(".same")).to_be_focused()
    page.locator("#moreButton").click()
    page.get_by_text("Show the same footage more than once").click()
    expect(page.locator(".card")).to_have_count(FOUND + 1)
    expect(page.locator(".fold")).to_have_count(0)


def test_what_is_said_is_looked_up_too(page_at: Open) -> None:
    page = page_at()
    look_for(page, "the general")
    expect(page.locator(".heard")).to_have_count(0)
    page.locator("#moreButton").click()
    with page.expect_response(lambda answer: "subtitles=1" in answer.url):
        page.get_by_label("Look in what is said, too").check()
    first = page.locator("#results > li").first
    expect(first.locator(".name")).to_have_text("second.mp4")
    expect(first.locator(".heard")).to_have_text("0:04“The general & his horse”")
    expect(first.locator(".value")).to_have_text("by words")
    expect(first.locator(".card")).to_have_accessible_name(
        re.compile("said at 0:04: The general & his horse, found by words")
    )
    expect(page.locator(".heard")).to_have_count(1)
    expect(page.locator("#chips")).to_contain_text("what is said")
    first.locator(".card").click()
    expect(page.locator("#place")).to_contain_text("found by words · said at 0:04: “The general & his horse”")
    page.locator("#whyButton").click()
    expect(page.locator("#whySaid")).to_contain_text("By what it shows")
    page.keyboard.press("Escape")
    page.locator("#then").fill("a red square")
    with page.expect_response(lambda answer: "then=" in answer.url and "subtitles" not in answer.url):
        page.keyboard.press("Enter")
    expect(page.locator("#said")).to_contain_text("best match first")
    expect(page.locator("#subtitles")).to_be_disabled()  # it means nothing for two moments
    page.locator("#then").fill("")
    expect(page.locator("#subtitles")).to_be_enabled()


@pytest.mark.parametrize("choice", ["All moments", "Best moments"])
def test_two_moments_in_order_leave_the_span_of_an_answer_out_of_use(page_at: Open, choice: str) -> None:
    page = page_at()
    page.get_by_label(choice).check()
    look_for(page, "red")
    assert "moment" in urlsplit(page.url).query
    page.locator("#moreButton").click()
    page.locator("#then").fill("green")
    expect(page.get_by_label(choice)).to_be_disabled()
    with page.expect_response(lambda answer: "then=green" in answer.url and "moment" not in answer.url):
        page.keyboard.press("Enter")
    expect(page.locator("#said")).to_contain_text("best match first")
    expect(page.locator("#trouble")).to_be_hidden()
    found = answers(page, "red", then="green")
    expect(page.locator(".card .name")).to_have_text([hit["name"] for hit in found])
    with page.expect_response(lambda answer: "moment" in answer.url):
        page.locator("#then").fill("")
        page.locator("#then").press("Enter")
    expect(page.get_by_label(choice)).to_be_enabled()
    expect(page.get_by_label(choice)).to_be_checked()


def test_more_answers_come_when_they_are_asked_for(page_at: Open) -> None:
    page = page_at("?q=red&moments=1&duplicates=1&k=3")
    expect(page.locator(".card")).to_have_count(3)
    page.locator("#showMore").click()
    every = len(answers(page, "red", moments="true", duplicates="true", k="27"))
    assert every > 3
    expect(page.locator(".card")).to_have_count(every)
    assert parse_qs(urlsplit(page.url).query)["k"] == ["27"]
    expect(page.locator(".card").nth(3)).to_be_focused()


# ---- looking through


def test_the_pointer_looks_through_a_video_with_few_requests(page_at: Open, page_server: World) -> None:
    page = page_at("?q=red")
    wait_for_thumbnails(page)
    made = asked_by(page, "/thumb/")
    shot = page.locator(".card", has_text="second.mp4").locator(".shot")
    box = shot.bounding_box()
    assert box is not None
    for _ in range(3):  # across and back, more than once
        for step in [*range(0, 40), *range(39, -1, -1)]:
            page.mouse.move(box["x"] + box["width"] * (step + 0.5) / 40, box["y"] + 40)
        page.wait_for_timeout(200)
    expect(shot.locator(".still")).to_be_visible()
    wait_until(page, "document.querySelector('.scrubbing .still').naturalWidth > 0")
    page.wait_for_timeout(1500)
    hit = next(hit for hit in answers(page, "red") if hit["name"] == "second.mp4")
    stills = {f"/thumb/{hit['id']}?t={time}" for time in range(1, 16, 2)}
    assert {request.url.removeprefix(page_server.address[:-1]) for request in made} <= stills
    assert len({request.url for request in made}) >= 2
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 40)
    expect(shot.locator(".seen")).to_have_text("0:15")
    late = str(page.locator(".scrubbing .still").get_attribute("src"))
    page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + 40)
    expect(shot.locator(".seen")).to_have_text("0:01")
    expect(page.locator(".scrubbing .still")).not_to_have_attribute("src", late)
    page.mouse.move(0, 0)
    expect(shot.locator(".still")).to_be_hidden()


def test_walking_past_a_card_asks_for_nothing(page_at: Open) -> None:
    page = page_at("?q=red")
    wait_for_thumbnails(page)
    page.clock.install()
    page.clock.pause_at(page.evaluate("Date.now()") + 60_000)
    made = asked_by(page, "/thumb/")
    for card in page.locator(".shot").all():
        box = card.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 20, box["y"] + 20)
        page.clock.run_for(100)
        page.mouse.move(0, 0)
        page.clock.run_for(400)
    assert [request.url for request in made] == []
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.clock.run_for(200)
    expect(page.locator(".scrubbing")).to_have_count(1)
    assert made != []


def test_keys_look_through_a_video_too(page_at: Open) -> None:
    page = page_at("?q=red")
    card = page.locator(".card", has_text="second.mp4")
    card.focus()
    page.keyboard.press("Shift+ArrowRight")
    expect(card.locator(".still")).to_be_visible()
    expect(card.locator(".seen")).to_have_text("0:01")
    page.keyboard.press("Shift+ArrowRight")
    expect(card.locator(".seen")).to_have_text("0:03")
    expect(card).to_be_focused()
    page.keyboard.press("Tab")
    expect(card.locator(".still")).to_be_hidden()


# ---- the curve


def test_every_hit_of_a_sentence_has_its_curve_and_says_it(page_at: Open) -> None:
    page = page_at("?q=a+red+wall")
    expect(page.locator("#said")).to_contain_text("best match first")
    place = next(n for n, hit in enumerate(answers(page, "a red wall")) if hit["name"] == "second.mp4")
    hit = answers(page, "a red wall")[place]
    page.locator(".card").nth(place).click()
    expect(page.locator("#curve .line")).to_be_attached()
    curve = page.request.get("/api/curve", params={"q": "a red wall", "id": hit["id"]}).json()
    # a line from the left edge through every stored frame to the right edge
    drawn = page.evaluate("document.querySelector('#curve .line').getAttribute('d').split('L').length - 2")
    assert drawn == len(curve["times"]) == 16
    high = max(range(16), key=lambda frame: curve["scores"][frame])
    said = f"highest {curve['scores'][high]:.3f} at 0:{round(curve['times'][high]):02d}"
    expect(page.locator("#curveSaid")).to_contain_text(said)
    expect(page.locator("#curve")).to_have_attribute("aria-describedby", "curveSaid")
    wide = page.evaluate("Number(document.querySelector('#curve .here').getAttribute('width'))")
    assert wide == pytest.approx(1000 * (hit["end"] - hit["start"]) / 16, abs=12)


def test_a_long_video_s_curve_keeps_what_stands_out(page_at: Open) -> None:
    page = page_at("?q=red")
    scores = [0.1] * 5000
    scores[3210] = 0.9
    kept = page.evaluate(
        "(scores) => import('/static/curve.js').then((m) => m.thinned(scores.map((_, place) => place), scores))", scores
    )
    assert len(kept) == 600
    assert [3210, 0.9] in kept
    assert all(before[0] < after[0] for before, after in pairwise(kept))


def test_keys_of_the_player(page_at: Open) -> None:
    page = page_at("?q=red")
    page.locator(".card", has_text="second.mp4").click()
    wait_until(page, "document.querySelector('video').readyState >= 2 && !document.querySelector('video').paused")
    page.locator("#playing").click()
    page.keyboard.press("k")
    wait_until(page, "document.querySelector('video').paused")
    expect(page.locator("#play")).to_have_attribute("aria-label", "Play")
    page.keyboard.press("m")
    wait_until(page, "document.querySelector('video').muted")
    expect(page.locator("#mute")).to_have_attribute("aria-pressed", "true")
    page.locator("#curve").focus()
    page.keyboard.press("Home")
    page.locator("#play").click()
    wait_until(page, "!document.querySelector('video').paused")
    page.locator("#curve").focus()
    page.keyboard.press("Space")
    assert page.evaluate("document.querySelector('video').paused")  # at once: a film that ends is paused, too


def test_a_dragged_seek_bar_asks_for_one_still_at_a_time(page_at: Open) -> None:
    page = page_at("?q=red")
    page.locator(".card", has_text="old.avi").click()
    wait_until(page, "document.querySelector('.stage img').naturalWidth > 0")
    held: list[Route] = []
    page.route("**/thumb/**", lambda route: held.append(route))
    box = page.locator("#curve").bounding_box()
    assert box is not None
    with page.expect_request("**/thumb/**"):
        page.mouse.move(box["x"] + 1, box["y"] + 20)
        page.mouse.down()
        for step in range(1, 61):
            page.mouse.move(box["x"] + 0.75 * box["width"] * step / 60, box["y"] + 20)
        page.mouse.up()
    page.wait_for_timeout(300)
    assert len(held) == 1
    with page.expect_request("**/thumb/**") as last:
        held[0].continue_()
    assert float(parse_qs(urlsplit(last.value.url).query)["t"][0]) == pytest.approx(6, abs=0.05)
    page.wait_for_timeout(100)
    held[1].continue_()
    still = page.locator(".stage img")
    expect(still).to_have_attribute("alt", "A frame of old.avi at 0:06")
    wait_until(page, "document.querySelector('.stage img').naturalWidth > 0")
    page.wait_for_timeout(200)
    assert len(held) == 2


def test_a_still_that_fails_does_not_hide_the_next(page_at: Open) -> None:
    page = page_at("?q=red", watched=False)  # the browser itself reports the broken request in the console
    page.locator(".card", has_text="old.avi").click()
    still = page.locator(".stage img")
    expect(still).to_be_visible()
    page.route("**/thumb/**", lambda route: route.abort())
    page.locator("#curve").focus()
    page.keyboard.press("Home")
    expect(still).to_be_hidden()
    page.unroute("**/thumb/**")
    page.keyboard.press("End")
    expect(still).to_be_visible()


def test_trouble_in_the_player_goes_with_what_it_was_about(page_at: Open) -> None:
    page = page_at("?q=a+red+wall", watched=False)  # the browser itself reports the broken request in the console
    page.locator(".card").first.click()
    said, up = page.locator("#playerSaid"), page.locator("#judge .up")
    page.route("**/api/feedback", lambda route: route.abort())
    up.click()
    expect(said).to_contain_text("does not answer")
    page.locator("#next").click()
    expect(said).to_have_text("")
    up.click()
    expect(said).to_contain_text("does not answer")
    page.unroute("**/api/feedback")
    for pressed in ("true", "false"):  # the mark, and the mark taken back
        up.click()
        expect(up).to_have_attribute("aria-pressed", pressed)
        expect(said).to_have_text("")


def test_waiting_for_an_explanation_is_said_beside_it(page_at: Open) -> None:
    page = page_at("?q=a+red+wall", watched=False)  # the browser itself reports the refusal in the console
    busy = {"status": 429, "headers": {"Retry-After": "1"}, "json": {"error": "busy"}}
    page.route("**/api/explain*", lambda route: route.fulfill(**busy), times=1)
    expect(page.locator("#said")).to_contain_text("best match first")
    page.locator(".to-why").first.click()
    expect(page.locator("#whySaid")).to_contain_text("busy")
    expect(page.locator("#said")).to_contain_text("best match first")
    expect(page.locator(".carrying li").first).to_be_visible()


# ---- keys and the focus


def test_arrows_outside_the_list_are_the_browser_s(page_at: Open) -> None:
    page = page_at("?q=red")
    cards = page.locator(".card")
    expect(cards).to_have_count(FOUND)
    for leave in ("document.activeElement.blur()", "document.querySelector('#theme').focus()"):
        page.evaluate(leave)
        page.keyboard.press("ArrowDown")
        assert page.evaluate("document.activeElement.matches('body, #theme')")
    page.locator("#query").focus()
    page.keyboard.press("ArrowDown")
    expect(cards.first).to_be_focused()


def test_arrows_inside_a_result_start_from_it(page_at: Open) -> None:
    page = page_at("?q=red")
    page.locator(".results .to-like").nth(1).focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".card").nth(2)).to_be_focused()
    page.locator(".results .up").nth(1).focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".card").nth(0)).to_be_focused()


def test_the_focus_follows_a_search_that_took_it_away(page_at: Open) -> None:
    page = page_at("?q=red&variety=0.5&longer=0:01")
    for press in ("Take away: variety 50 %", "Take away: at least 0:01"):
        page.get_by_label(press).focus()
        page.keyboard.press("Enter")
        expect(page.get_by_label(press)).to_have_count(0)
        expect(page.locator(".card").first).to_be_focused()
    with page.expect_response("**/api/similar*"):
        page.locator(".results .to-like").nth(1).click()
    expect(page.locator(".thumbs")).to_have_count(0)
    expect(page.locator(".card").first).to_be_focused()
    page.keyboard.press("Enter")
    with page.expect_response("**/api/similar*"):
        page.locator("#alike").click()
    expect(page.locator("#player")).to_be_hidden()
    # the closed player gave the focus back to a card that goes with its list
    expect(page.locator("#said")).to_contain_text("best match first")
    expect(page.locator(".card").first).to_be_focused()


def test_the_focus_goes_to_what_is_said_where_nothing_was_found(page_at: Open) -> None:
    page = page_at("?q=red&variety=0.5&longer=5:00")
    expect(page.locator("#nothing")).to_be_visible()
    page.get_by_label("Take away: variety 50 %").click()
    expect(page.locator("#nothing")).to_be_focused()


# ---- pictures


@pytest.mark.parametrize("way", ["choose", "drop", "paste"])
def test_a_picture_is_the_query(page_at: Open, tmp_path: Path, way: str) -> None:
    page = page_at()
    path = picture_of(tmp_path, "sand", "sand.png")
    with page.expect_request(lambda request: request.method == "POST") as sent:
        if way == "choose":
            page.locator("#file").set_input_files(path)
        else:
            bring(page, way, path, "image/png")
    assert sent.value.headers["content-type"] == "image/png"
    expect(page.locator("#said")).to_contain_text("best match first")
    assert (
        page.request.post("/api/search", data=path.read_bytes(), headers={"Content-Type": "image/png"}).json()["hits"][
            0
        ]["name"]
        in page.locator(".card .name").first.inner_text()
    )
    expect(page.locator("#picture bdi")).to_have_text("sand.png")
    expect(page.locator("#picture canvas")).to_be_visible()
    pixel = page.evaluate(
        "[...document.querySelector('#picture canvas').getContext('2d').getImageData(9, 9, 1, 1).data]"
    )
    assert pixel[:3] == pytest.approx(COLOURS["sand"], abs=3)
    expect(page.locator(".thumbs")).to_have_count(0)  # marks are about a sentence
    page.locator(".card").first.click()
    expect(page.locator("#player")).to_be_visible()
    expect(page.locator("#whyButton")).to_be_hidden()
    expect(page.locator("#curve")).to_have_class(re.compile("flat"))
    page.keyboard.press("Escape")
    page.locator("#dropPicture").click()
    expect(page.locator("#picture")).to_be_hidden()
    expect(page.locator(".card")).to_have_count(0)


def test_a_picture_with_words_and_a_change_and_the_way_back(page_at: Open, tmp_path: Path) -> None:
    page = page_at()
    page.locator("#file").set_input_files(picture_of(tmp_path, "blue", "blue.png"))
    expect(page.locator("#said")).to_contain_text("best match first")
    page.locator("#moreButton").click()
    page.locator("#but").fill("red")
    page.locator("#query").fill("a wall")
    # leaving the field of "but" has asked already, without the words
    with page.expect_request(lambda request: "/api/search?q=" in request.url) as sent:
        page.locator("#query").press("Enter")
    assert parse_qs(urlsplit(sent.value.url).query) == {"q": ["a wall"], "but": ["red"]}
    assert sent.value.method == "POST"
    look = page.locator("#said")
    expect(look).to_contain_text("best match first")
    page.locator("#dropPicture").click()
    expect(page.locator("#picture")).to_be_hidden()
    page.go_back()
    expect(page.locator("#picture")).to_be_visible()
    expect(page.locator("#picture bdi")).to_have_text("blue.png")
    page.reload()
    expect(page.locator("#trouble p")).to_contain_text("not here any more")


def test_a_clip_is_the_query(page_at: Open, tmp_path: Path) -> None:
    film(tmp_path / "short.mp4", ["green"], seed=30)
    page = page_at()
    with page.expect_request(lambda request: request.method == "POST") as sent:
        page.locator("#file").set_input_files(tmp_path / "short.mp4")
    assert sent.value.headers["content-type"] == "video/mp4"
    expect(page.locator("#said")).to_contain_text("best match first")
    expect(page.locator("#picture .preview svg")).to_be_visible()


def test_what_is_no_picture_is_refused_here(page_at: Open, tmp_path: Path) -> None:
    page = page_at()
    (tmp_path / "notes.txt").write_text("words")
    made = asked_by(page, "/api/search")
    page.locator("#file").set_input_files(tmp_path / "notes.txt")
    expect(page.locator("#trouble p")).to_have_text("notes.txt is no picture and no video.")
    assert [request.url for request in made] == []


@pytest.mark.parametrize(("name", "kind"), [("a.ts", "text/vnd.trolltech.linguist"), ("00001.MTS", "")])
def test_a_video_that_the_browser_does_not_know_is_known_by_its_name(
    page_at: Open, tmp_path: Path, name: str, kind: str
) -> None:
    film(tmp_path / "short.ts", ["green"], seed=30)
    page = page_at()
    with page.expect_request(lambda request: request.method == "POST") as sent:
        bring(page, "drop", (tmp_path / "short.ts").rename(tmp_path / name), kind)
    assert sent.value.headers["content-type"] == "video/*"
    expect(page.locator("#said")).to_contain_text("best match first")
    expect(page.locator("#picture bdi")).to_have_text(name)


def test_the_page_and_the_client_know_the_same_videos(page_at: Open) -> None:
    page = page_at()
    known = page.evaluate("import('/static/picture.js').then((module) => [...module.VIDEO_SUFFIXES])")
    assert sorted(known) == sorted(VIDEO_SUFFIXES)
    assert page.locator("#file").get_attribute("accept") == ",".join(["image/*", "video/*", *known])


def test_words_that_come_with_a_picture_are_pasted_as_words(page_at: Open, tmp_path: Path) -> None:
    page = page_at()
    path = picture_of(tmp_path, "sand", "image.png")
    made = asked_by(page, "/api/search")
    assert not bring(page, "paste", path, "image/png", text="a sand wall", into="#query")
    page.wait_for_timeout(200)
    assert [request.url for request in made] == []
    # a file manager gives the name of the file that was copied
    assert bring(page, "paste", path, "image/png", text=str(path), into="#query")
    expect(page.locator("#picture bdi")).to_have_text("image.png")
    page.locator("#dropPicture").click()
    expect(page.locator("#picture")).to_be_hidden()
    assert bring(page, "paste", path, "image/png", text="a sand wall")
    expect(page.locator("#picture")).to_be_visible()
    expect(page.locator("#picture bdi")).to_have_text("image.png")


def test_a_picture_s_hostile_name_stays_text(page_at: Open, tmp_path: Path) -> None:
    page = page_at()
    page.locator("#file").set_input_files(picture_of(tmp_path, "red", HARM))
    expect(page.locator("#said")).to_contain_text("best match first")
    expect(page.locator("#picture")).to_have_attribute("title", HARM)
    assert page.evaluate("window.harm") is None
    assert page.locator("img[src=x]").count() == 0


def test_more_like_a_hit(page_at: Open) -> None:
    page = page_at("?q=red")
    hostile = page.locator(".results li", has_text="onerror")
    with page.expect_request("**/api/similar*") as sent:
        hostile.locator(".to-like").click()
    hit = next(hit for hit in answers(page, "red") if "onerror" in hit["name"])
    assert parse_qs(urlsplit(sent.value.url).query) == {"id": [hit["id"]], "t": [f"{hit['peak']:g}"]}
    expect(page.locator("#said")).to_contain_text("best match first")
    expect(page.locator("#picture")).to_be_visible()
    wait_until(page, "document.querySelector('#picture img').naturalWidth > 0")
    again = page_at(f"?{urlsplit(page.url).query}")
    expect(again.locator(".card .name")).to_have_text(page.locator(".card .name").all_inner_texts())
    assert again.evaluate("window.harm") is None
    page.go_back()
    expect(page.locator("#query")).to_have_value("red")
    expect(page.locator("#picture")).to_be_hidden()


# ---- marks


def test_thumbs_are_kept_and_taken_back(page_at: Open) -> None:
    page = page_at("?q=a+green+field")
    up, down = page.locator(".results .up"), page.locator(".results .down")
    expect(up.first).to_have_attribute("aria-pressed", "false")
    up.first.click()
    expect(up.first).to_have_attribute("aria-pressed", "true")
    down.nth(1).click()
    expect(down.nth(1)).to_have_attribute("aria-pressed", "true")
    hits = answers(page, "a green field")
    kept = [mark for mark in page.request.get("/api/feedback").json()["kept"] if mark["q"] == "a green field"]
    assert [(mark["id"], mark["good"]) for mark in kept] == [(hits[0]["id"], True), (hits[1]["id"], False)]
    for mark, hit in zip(kept, hits, strict=False):
        assert [mark[name] for name in ("start", "end", "peak")] == [hit[name] for name in ("start", "end", "peak")]
    again = page_at("?q=a+green+field")
    expect(again.locator(".results .up").first).to_have_attribute("aria-pressed", "true")
    expect(again.locator(".results .down").nth(1)).to_have_attribute("aria-pressed", "true")
    louder = page_at("?q=A+green++FIELD")  # case and spaces make no other query
    expect(louder.locator(".results .up").first).to_have_attribute("aria-pressed", "true")
    look_for(louder, "another field")  # where the marks are known already
    expect(louder.locator(".results .up")).to_have_count(FOUND)
    expect(louder.locator(".results .thumb[aria-pressed=true]")).to_have_count(0)
    again.locator(".card").first.click()
    expect(again.locator("#judge .up")).to_have_attribute("aria-pressed", "true")
    for press in (again.locator("#judge .up"), again.locator(".results .down").nth(1)):
        press.click()
        expect(press).to_have_attribute("aria-pressed", "false")
        if again.locator("#player").is_visible():
            again.keyboard.press("Escape")
    expect(again.locator(".results .up").first).to_have_attribute("aria-pressed", "false")
    assert not [mark for mark in page.request.get("/api/feedback").json()["kept"] if mark["q"] == "a green field"]


def test_a_mark_of_the_segment_is_shown_on_the_moment_and_taken_back_there(page_at: Open) -> None:
    page = page_at("?q=a+sandy+place")
    number, hit = next(
        (number, hit) for number, hit in enumerate(answers(page, "a sandy place")) if hit["start"] < hit["peak"]
    )
    wider = {"q": "a sandy place", "id": hit["id"], "t": hit["peak"], "start": 0.0, "end": hit["end"]}
    frame = {**wider, "start": hit["peak"], "end": hit["peak"]}
    line = {**wider, "start": hit["peak"], "end": hit["end"] + 0.25}  # neither holds the other
    other = answers(page, "a sandy place")[number - 1]
    known = {**wider, "id": other["id"], "t": other["peak"], "start": other["start"], "end": other["end"]}
    page.request.post("/api/feedback", data={**known, "good": False})  # shows that the marks are there
    for said, lit in ((wider, 1), (frame, 1), (line, 0)):
        page.request.post("/api/feedback", data={**said, "good": True})
        page.reload()
        up = page.locator(".results .up").nth(number)
        expect(page.locator(".results .down[aria-pressed=true]")).to_have_count(1)
        expect(page.locator(".results .up[aria-pressed=true]")).to_have_count(lit)
        if lit:
            expect(up).to_have_attribute("aria-pressed", "true")
            up.click()
            expect(up).to_have_attribute("aria-pressed", "false")
            kept = page.request.get("/api/feedback").json()["kept"]
            assert [mark["id"] for mark in kept if mark["q"] == "a sandy place"] == [other["id"]]
    for said in (line, known):
        page.request.post("/api/feedback", data={**said, "good": None})


# ---- the library


def test_the_library_panel_tells_what_is_here_and_what_could_not_be_read(page_at: Open, page_server: World) -> None:
    page = page_at()
    page.locator("#libraryButton").click()
    panel = page.locator("#library")
    expect(panel.locator("#about")).to_contain_text("zero-shot over offline")
    expect(panel.locator("#about")).to_contain_text("nothing: zero-shot")
    expect(panel.locator("#broken h3")).to_have_text("1 file could not be read")
    expect(panel.locator("#broken li b")).to_contain_text("<u>torn.mp4")
    assert panel.locator("#broken li span").inner_text() != ""
    assert page.locator("#broken u").count() == 0
    expect(panel.locator("#indexing")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(page.locator("#libraryButton")).to_be_focused()
    page.locator("#query").fill("red")
    page.locator("#libraryButton").click()
    panel.get_by_label(f"Search in {page_server.folder / 'copies'} only").click()
    expect(panel).to_be_hidden()
    expect(page.locator(".card .name")).to_have_text(["again.mp4"])


def test_a_running_index_is_followed_gently(page_at: Open) -> None:
    page = page_at(watched=False)
    known = page.request.get("/api/status").json()
    told: list[dict[str, Any] | None] = [{"done": None, "total": None}, {"done": 30, "total": 120}, None]

    def answer(route: Any) -> None:
        route.fulfill(json={**known, "indexing": told[0] if len(told) == 1 else told.pop(0)})

    page.clock.install()
    page.clock.pause_at(page.evaluate("Date.now()") + 60_000)
    page.route("**/api/status", answer)
    page.reload()
    expect(page.locator("#librarySaid")).to_have_text("Indexing…")
    page.clock.run_for(2000)
    page.wait_for_timeout(200)
    assert len(told) == 2
    page.clock.run_for(1500)
    expect(page.locator("#librarySaid")).to_have_text("Indexing 25 %")
    expect(page.locator("#indexing p")).to_contain_text("30 of 120 files")
    page.clock.run_for(3500)
    expect(page.locator("#librarySaid")).to_have_text("6 videos")
    made = asked_by(page, "/api/status")
    page.clock.run_for(25_000)
    page.wait_for_timeout(200)
    assert len(made) == 0


NONE = "Nothing here matches; these are the nearest."


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"nothing_matches": True}, NONE),
        ({"nothing_matches": True, "note": "<b>Une requête</b>"}, f"<b>Une requête</b> {NONE}"),
        ({"note": "<b>Une requête</b>"}, "<b>Une requête</b>"),
    ],
)
def test_what_the_answer_notes_is_shown(page_at: Open, more: dict[str, Any], words: str) -> None:
    page = page_at()
    found = page.request.get("/api/search", params={"q": "red"}).json()
    page.route("**/api/search*", lambda route: route.fulfill(json={**found, **more}))
    look_for(page, "red")
    expect(page.locator("#note")).to_have_text(words)


# ---- colours, and who cannot see them


def test_light_and_dark_can_be_chosen_and_are_kept(page_at: Open) -> None:
    page = page_at(color_scheme="light")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.locator("#theme").click()
    dark = page.evaluate(paper)
    assert dark != light
    page.reload()
    assert page.evaluate(paper) == dark
    page.locator("#theme").click()
    assert page.evaluate(paper) == light


def test_nothing_moves_where_less_motion_is_asked_for(page_at: Open) -> None:
    page = page_at("?q=red", reduced_motion="reduce")
    expect(page.locator(".card").first).to_be_visible()
    moving = "[...document.querySelectorAll('*')].filter((e) => getComputedStyle(e).animationName !== 'none').length"
    assert page.evaluate(moving) == 0
    assert page_at("?q=red").locator(".card").first.evaluate(f"() => {moving}") > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page_at: Open, scheme: str) -> None:
    page = page_at(color_scheme=scheme, reduced_motion="reduce")

    def check(what: str) -> None:
        found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]})
        told = [
            (fault["id"], [node["html"][:120] for node in fault["nodes"]]) for fault in found.response["violations"]
        ]
        assert told == [], what

    expect(page.locator("#facts")).to_contain_text("6")
    check("start")
    look_for(page, "a red wall")
    check("results")
    page.locator("#moreButton").click()
    page.locator("#then").fill("blue")
    page.keyboard.press("Enter")
    expect(page.locator("#chips .chip")).to_have_count(1)
    page.locator("#clear").click()
    expect(page.locator("#said")).to_contain_text("best match first")
    page.locator("#libraryButton").click()
    expect(page.locator("#broken li")).to_be_visible()
    check("library")
    page.keyboard.press("Escape")
    page.locator(".to-why").first.click()
    expect(page.locator(".carrying li").first).to_be_visible()
    check("player")
