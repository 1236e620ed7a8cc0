"""Two models on one query, side by side, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect

from page_world import FOUND, MARKS, Open, answers

pytestmark = MARKS


def names(page: Page, side: int) -> list[str]:
    return page.locator(".side").nth(side).locator(".card .name").all_inner_texts()


def compared(page_at: Open, query: str = "a red wall", **settings: object) -> Page:
    page = page_at(f"compare?q={query.replace(' ', '+')}", **settings)
    expect(page.locator("#said")).to_contain_text("in both")
    return page


def test_each_column_shows_its_model_and_its_answers(page_at: Open) -> None:
    page = compared(page_at)
    expect(page.locator(".side h2")).to_have_text(["zero-shot over offline"] * 2)
    expect(page.locator(".side .hint").nth(1)).to_contain_text("other.index")
    for place, side in enumerate(("", "/b")):
        assert names(page, place) == [hit["name"] for hit in answers(page, "a red wall", side)]
    assert len(names(page, 0)) == FOUND


def twin(hit: dict[str, Any], others: list[dict[str, Any]], *, moments: bool = False) -> int | None:
    """Where the other side has a hit's file or a copy of it; among moments, one that overlaps."""
    for place, other in enumerate(others):
        for one in [hit, *hit["alike"]]:
            for two in [other, *other["alike"]]:
                overlap = two["start"] < one["end"] and one["start"] < two["end"]
                if one["id"] == two["id"] and (overlap or not moments):
                    return place
    return None


def test_what_both_found_names_its_rank_on_the_other_side(page_at: Open) -> None:
    page = compared(page_at)
    left, right = (answers(page, "a red wall", side) for side in ("", "/b"))
    expected = []
    for place, hit in enumerate(left):
        there = twin(hit, right)
        assert there is not None
        expected.append("same rank" if there == place else f"{'↓' if there > place else '↑'} {there + 1} right")
    expect(page.locator(".side").first.locator(".twin")).to_have_text(expected)
    page.locator(".side").first.locator(".twin").first.click()
    expect(page.locator(".side").nth(1).locator(".card").nth(twin(left[0], right) or 0)).to_be_focused()


def test_what_one_side_alone_found_says_so(page_at: Open) -> None:
    page = page_at()
    every = page.request.get("/api/search", params={"q": "red"}).json()
    page.route("**/b/api/search*", lambda route: route.fulfill(json={**every, "hits": every["hits"][1:]}))
    page.goto("/compare?q=red")
    expect(page.locator("#said")).to_have_text(f"{FOUND - 1} answers in both")
    expect(page.locator(".side").first.locator(".twin").first).to_have_text("only left")
    expect(page.locator(".side").nth(1).locator(".alone")).to_have_count(0)


@pytest.mark.parametrize("both", [False, True])
def test_a_side_where_nothing_matches_says_so(page_at: Open, both: bool) -> None:
    page = page_at()
    found = page.request.get("/api/search", params={"q": "red"}).json()

    def answering(none: bool) -> Callable[[Route], None]:
        return lambda route: route.fulfill(json={**found, "nothing_matches": none})

    page.route("**/api/search*", answering(both))
    page.route("**/b/api/search*", answering(True))
    page.goto("/compare?q=red")
    expect(page.locator("#said")).to_contain_text("in both")
    for place, none in enumerate((both, True)):
        side = page.locator(".side").nth(place)
        expect(side.locator(".tally")).to_contain_text(f"{FOUND} videos{', none of them matches' if none else ''} ·")
        assert ("faint" in (side.locator(".results").get_attribute("class") or "")) is none
    assert page.locator("#note").is_visible() is both


def test_moments_are_the_same_where_they_overlap(page_at: Open) -> None:
    page = page_at("compare?q=sand&moments=1")
    expect(page.locator("#said")).to_contain_text("in both")
    sides = [answers(page, "sand", side, moments="true") for side in ("", "/b")]
    shared = sum(twin(hit, sides[1], moments=True) is not None for hit in sides[0])
    expect(page.locator(".side").first.locator("button.twin")).to_have_count(shared)


def test_a_hit_of_the_second_side_is_played_judged_and_explained_by_it(page_at: Open) -> None:
    page = compared(page_at)
    card = page.locator(".side").nth(1).locator(".card", has_text="second.mp4")
    with page.expect_response("**/b/api/curve*"):
        card.click()
    with page.expect_response("**/b/api/explain*"):
        page.locator("#whyButton").click()
    for pressed in ("true", "false"):  # the mark, and the mark taken back
        with page.expect_response(lambda answer: "/b/api/feedback" in answer.url and answer.request.method == "POST"):
            page.locator("#judge .up").click()
        expect(page.locator("#judge .up")).to_have_attribute("aria-pressed", pressed)
    page.keyboard.press("Escape")
    expect(card).to_be_focused()


def test_arrows_walk_down_and_across(page_at: Open) -> None:
    page = compared(page_at)
    left, right = (page.locator(".side").nth(side).locator(".card") for side in (0, 1))
    page.locator("#query").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(left.nth(1)).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(right.nth(1)).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(right.nth(0)).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(left.nth(0)).to_be_focused()


def test_a_side_that_fails_leaves_the_other_its_answers(page_at: Open) -> None:
    page = page_at(watched=False)  # the browser itself reports the refusals in the console
    refuse = {"status": 500, "json": {"error": "The index is gone."}}
    page.route("**/b/api/search*", lambda route: route.fulfill(**refuse))
    page.goto("/compare?q=red")
    left, right = page.locator(".side").nth(0), page.locator(".side").nth(1)
    expect(right.locator(".tally")).to_have_text("The index is gone.")
    expect(left.locator(".card")).to_have_count(FOUND)
    expect(page.locator("#said")).to_have_text("The left side alone answered.")
    expect(page.locator("#trouble")).to_be_hidden()
    expect(right.locator(".results > li")).to_have_count(0)
    page.route("**/api/search*", lambda route: route.fulfill(**refuse))
    page.locator("#query").press("Enter")
    expect(page.locator("#trouble p")).to_have_text("The index is gone.")
    expect(page.locator(".tally").nth(0)).to_have_text("")
    expect(page.locator(".card")).to_have_count(0)
    page.unroute("**/api/search*")
    page.unroute("**/b/api/search*")
    page.locator("#trouble button").click()
    expect(page.locator("#said")).to_contain_text("in both")
    expect(page.locator(".card")).to_have_count(2 * FOUND)


def test_the_pages_lead_to_each_other_with_what_was_asked(page_at: Open) -> None:
    page = page_at("?q=red&moments=1")
    page.locator("#toCompare").click()
    expect(page.locator("#said")).to_contain_text("in both")
    expect(page.locator("#query")).to_have_value("red")
    assert page.url.endswith("/compare?q=red&moments=1")
    expect(page.locator("#toCompare")).to_have_attribute("aria-current", "page")


def test_it_fits_a_phone_and_axe_finds_nothing(page_at: Open) -> None:
    page = compared(page_at, viewport={"width": 390, "height": 780}, reduced_motion="reduce", has_touch=True)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]})
    faults = found.response["violations"]
    assert [(fault["id"], [node["html"][:120] for node in fault["nodes"]]) for fault in faults] == []
