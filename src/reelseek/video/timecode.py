"""A video's pictures counted as editors count them: frame numbers and SMPTE time codes.

Rates are fractions and never rounded; a time code's seconds hold a whole number of frames (30 at 29.97 a second). Drop
frame leaves out the numbers 00 and 01 (00 to 03 at 59.94) at the start of every minute but each tenth, so that the
time code keeps to the clock; no picture is left out.
Not here: pixels (`reelseek.video.decode`).
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from av.container import InputContainer

from reelseek.video.container import open_video, read_timeline

DAY = 24 * 3600
ROUNDED = 0.001
"""Seconds by which a frame's time may be off and still be that frame's: some containers round to a millisecond."""


class FrameClock(NamedTuple):
    """How a video's frames are counted.

    rate: frames a second. first: number of the first frame, other than 0 where the file states a time code. frames:
    frames in all, at least 1. drop: whether time codes are drop frame. sound: whether there is any. exact: False where
    frames come at no rate that time codes know (8.3 a second); `rate` is then the nearest whole number.
    """

    rate: Fraction
    first: int
    frames: int
    drop: bool
    sound: bool
    exact: bool

    @property
    def base(self) -> int:
        """Frames of a time code's second."""
        return nominal(self.rate)

    def span(self, start: float, end: float) -> tuple[int, int]:
        """Frames on screen from `start` to `end` seconds, counted from 0: the first, and the one after the last.

        At least one frame, never behind the last one.
        """
        low = min(max(0, math.floor((start + ROUNDED) * self.rate)), self.frames - 1)
        high = min(max(low + 1, math.ceil((end - ROUNDED) * self.rate)), self.frames)
        return low, high


def read_clock(path: Path) -> FrameClock:
    """How a file's frames are counted, from its headers.

    Raises UnreadableVideo, NoVideoStream, TruncatedVideo.
    """
    with open_video(path) as (container, stream):
        timeline = read_timeline(path, container, stream)
        stated = Fraction(stream.average_rate or stream.guessed_rate or 25)
        rate, exact = usual(stated)
        drop = droppable(rate)
        first = 0
        code = _stated_code(container)
        if code is not None:
            drop = drop and code[-3] in ";."
            first = frame_number(code, nominal(rate), drop)
        frames = max(1, round(timeline.duration * rate))
        return FrameClock(rate, first, frames, drop, bool(container.streams.audio), exact)


def usual(rate: Fraction) -> tuple[Fraction, bool]:
    """The rate n or 1000 n / 1001 within 0.01 % of `rate`, and True; else the nearest whole number, and False."""
    whole = max(1, round(rate))
    for known in (Fraction(whole), Fraction(whole * 1000, 1001)):
        if abs(rate / known - 1) < Fraction(1, 10_000):
            return known, True
    return Fraction(whole), False


def nominal(rate: Fraction) -> int:
    """Frames of a time code's second: 30 for 29.97."""
    return max(1, round(rate))


def droppable(rate: Fraction) -> bool:
    """Whether drop frame is defined for a rate: 29.97 and 59.94."""
    return rate in (Fraction(30000, 1001), Fraction(60000, 1001))


def timecode(number: int, base: int, *, drop: bool) -> str:
    """The time code of a frame number from 0 up, "01:00:00:00" or "01:00:00;00" with drop frame; days start anew.

    base: frames of a time code's second. Raises ValueError for drop frame with another base than 30 or 60.
    """
    if drop:
        left_out = _left_out(base)
        minute, ten = 60 * base - left_out, 600 * base - 9 * left_out
        tens, rest = divmod(number, ten)
        # the first minute of ten is whole
        minutes = max(0, rest - left_out) // minute
        number += left_out * (9 * tens + minutes)
    number %= DAY * base
    seconds, frame = divmod(number, base)
    sign = ";" if drop else ":"
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{sign}{frame:02d}"


def frame_number(code: str, base: int, drop: bool) -> int:
    """The frame that a time code names; the way back from `timecode`. Raises ValueError for anything else."""
    found = re.fullmatch(r"(\d\d):(\d\d):(\d\d)[:;.](\d\d)", code)
    if found is None:
        raise ValueError(f"a time code reads 01:02:03:04, not {code!r}")
    hours, minutes, seconds, frames = map(int, found.groups())
    number = ((hours * 60 + minutes) * 60 + seconds) * base + frames
    if drop:
        whole = hours * 60 + minutes
        number -= _left_out(base) * (whole - whole // 10)
    return number


def _left_out(base: int) -> int:
    if base not in (30, 60):
        raise ValueError(f"drop frame is defined for 30 and 60 frames a second, not {base}")
    return base // 15


def _stated_code(container: InputContainer) -> str | None:
    """The time code of the first frame where the file states one, in any of its streams or for itself."""
    stated = [container.metadata, *(stream.metadata for stream in container.streams)]
    # Matroska writes its tags in capitals
    codes = [tag.strip() for tags in stated for name, tag in tags.items() if name.lower() == "timecode"]
    return next((code for code in codes if re.fullmatch(r"\d\d:\d\d:\d\d[:;.]\d\d", code)), None)
