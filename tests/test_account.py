"""Explanations as lines of a terminal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reelseek.app.account import account, bars
from reelseek.index.explanation import Explanation, FrameShare, IncrementShare, StreamShare, WordShare

INCREMENT = IncrementShare("video", 2.0, 0.5, -0.25, 0.1)
WHY = Explanation(
    query="a \x1b[31mred dog",
    path="/v/a.mp4",
    start=0.0,
    end=4.0,
    duration=4.0,
    score=0.3,
    exact=True,
    rest=0.0,
    frames=tuple(FrameShare(float(n), 0.1 * n, 0.25, share) for n, share in enumerate((0.0, 0.05, 0.2, -0.05))),
    words=(WordShare("a", 0, 1, 0.0, 0.0, ()), WordShare("\x1b[31mred " + "x" * 50, 2, 9, 0.2, -0.125, ())),
    streams=(),
    increment=None,
    curve=(),
)


def test_bars_are_as_high_as_what_they_stand_for() -> None:
    assert bars([0, 1, 2, 3, 4, 5, 6, 7, 8]) == "▁▂▃▄▅▆▇██"
    assert bars([-1, 0.5]) == "▁█"
    assert bars([0.0, -2.0]) == "▁▁"


def test_frames_and_words() -> None:
    frames, words = account(WHY)
    assert frames == (
        "    frames    ▁▃█▁  0:02.0 +0.2000 (cosine 0.200, weight 25%)  0:01.0 +0.0500 (cosine 0.100, weight 25%)  "
        "0:00.0 +0.0000 (cosine 0.000, weight 25%)"
    )
    assert words == "    words     a +0.000  \\x1b[31mred xxxxxxxxxxxxxxxxxxxxxxxxx... -0.125"


def test_a_method_that_cannot_say() -> None:
    bare = tuple(replace(frame, weight=None, contribution=None) for frame in WHY.frames)
    (frames,) = account(replace(WHY, exact=False, frames=bare, words=()))
    assert frames == "    frames    ▁▃▆█  0:03.0 (cosine 0.300)  0:02.0 (cosine 0.200)  0:01.0 (cosine 0.100)"


def test_a_moment_names_its_own_frames_first_and_what_it_lacks() -> None:
    frames = tuple(replace(frame, inside=frame.time < 1) for frame in WHY.frames)
    told, moment = account(replace(WHY, frames=frames, moment=-0.05, words=()))
    assert told == (
        "    frames    ▁▃█▁  0:00.0 +0.0000 (cosine 0.000, weight 25%)  "
        "0:02.0 +0.2000 (cosine 0.200, weight 25%, outside the span)  "
        "0:01.0 +0.0500 (cosine 0.100, weight 25%, outside the span)"
    )
    assert moment == "    moment    -0.0500 since its segment has a better one"


def test_rest_increment_and_streams() -> None:
    streams = (
        StreamShare("fusion", 0.25, 0.75, (), {"fusion": 0.6, "entity": 0.4}, (), None),
        StreamShare("entity", 0.1, 0.0, ("red", "\x07dog"), {}, (), INCREMENT),
    )
    lines = account(replace(WHY, rest=-0.02, words=(), increment=INCREMENT, streams=streams))[1:]
    told = "of the video: length 2, 50% of the video's; cosine with the gap -0.25; score without it 0.100"
    assert lines == [
        "    rest      -0.0200 from no single frame",
        f"    increment {told} (+0.200 with it)",
        "    fusion    score 0.250, 75% of the total, the whole query, experts fusion 60% entity 40%",
        f"    entity    score 0.100, not counted, words: red \\x07dog, increment {told} (+0.000 with it)",
    ]


@pytest.mark.parametrize("line", account(WHY))
def test_no_line_can_harm_a_terminal(line: str) -> None:
    assert line.isprintable()
