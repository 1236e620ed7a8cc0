"""What can be asked, and what is refused in a sentence."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from reelseek.errors import ConfigError
from reelseek.index.query import Clip, Frame, Part, Query, parse_clip, parse_seconds


def test_parts_come_in_one_order_and_the_query_reads_as_a_sentence():
    query = Query("a dog", image=Path("x/dog.jpg"), but="at night", then="a cat", without=("people", "cars"))
    assert query.parts() == [
        Part("text", "a dog"),
        Part("picture", "x/dog.jpg"),
        Part("but", "at night"),
        Part("then", "a cat"),
        Part("without", "people"),
        Part("without", "cars"),
    ]
    assert str(query) == "a dog, like x/dog.jpg, but at night, then a cat, without people, without cars"
    assert Query("a dog").parts() == [Part("text", "a dog")]
    assert Query(clip=Clip(Path("a.mp4"), 1, 2.5)).parts() == [Part("picture", "a.mp4@1-2.5")]
    assert Query(" ", clip=Clip(Path("a.mp4"))).parts() == [Part("picture", "a.mp4")]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({}, "the query is empty"),
        ({"text": " \n"}, "the query is empty"),
        ({"then": "a cat"}, "the query is empty"),
        ({"without": ("a cat",)}, "the query is empty"),
        ({"text": "a dog", "but": "at night"}, "needs an image or a clip"),
        ({"image": Path("a.png"), "clip": Clip(Path("a.mp4"))}, "an image or a clip, not both"),
        ({"image": Path("a.png"), "frame": Frame(Path("a.mp4"), 1.5)}, "a picture of its own, not both"),
        ({"text": "a dog", "then": " "}, "then: it is empty"),
        ({"image": Path("a.png"), "but": "\t"}, "but: it is empty"),
        ({"text": "a dog", "without": ("a cat", "")}, "without: it is empty"),
        ({"text": "a dog", "without": (" ",)}, "without: it is empty"),
    ],
)
def test_what_means_nothing_is_refused(wrong, words):
    with pytest.raises(ConfigError, match=words):
        Query(**wrong)


@pytest.mark.parametrize(
    ("text", "clip"),
    [
        ("a.mp4", Clip(Path("a.mp4"))),
        ("me@home.mp4", Clip(Path("me@home.mp4"))),
        ("me@home.mp4@1-2", Clip(Path("me@home.mp4"), 1, 2)),
        ("a.mp4@1:02-1:10.5", Clip(Path("a.mp4"), 62, 70.5)),
        ("a.mp4@90-", Clip(Path("a.mp4"), 90, math.inf)),
        ("a.mp4@-3", Clip(Path("a.mp4@-3"))),
    ],
)
def test_clips_are_read_as_they_are_written(text, clip):
    assert parse_clip(text) == clip


@pytest.mark.parametrize("text", ["a.mp4@5-5", "a.mp4@7-5", "a.mp4@1:2:3:4-9", "a.mp4@1..2-3", "a.mp4@:-3"])
def test_empty_spans_and_wrong_times_are_refused(text):
    with pytest.raises(ConfigError, match=r"\.$"):
        parse_clip(text)


@pytest.mark.parametrize("start", [-1.0, math.nan, math.inf])
def test_a_span_begins_inside_the_file(start):
    with pytest.raises(ConfigError, match="must begin at 0 s or later"):
        Clip(Path("a.mp4"), start)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("0.5", 0.5), ("1:30", 90), ("1:02:03.5", 3723.5), (" 7 ", 7)]
)
def test_seconds(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "1h", "-3", "1:2:3:4", "1:", ":3", "nan", "1e3"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ConfigError, match="is no time"):
        parse_seconds(text)


def test_a_moment_of_the_index_is_a_picture():
    query = Query(frame=Frame(Path("a.mp4"), 1.5), but="at night")
    assert str(query) == "like a.mp4@1.5, but at night"
    assert [part.role for part in query.parts()] == ["picture", "but"]
