"""Time codes against a counter that goes frame by frame and leaves out what drop frame leaves out."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from reelseek.errors import UnreadableVideo
from reelseek.video.timecode import FrameClock, frame_number, read_clock, timecode, usual
from video_clips import make_clip

NTSC = Fraction(30000, 1001)


def counted(base: int, drop: bool, frames: int) -> list[str]:
    """The time codes of the first frames, by counting: hours, minutes, seconds, frames."""
    codes: list[str] = []
    hours = minutes = seconds = frame = 0
    while len(codes) < frames:
        left_out = drop and seconds == 0 and minutes % 10 and frame < (2 if base == 30 else 4)
        if not left_out:
            codes.append(f"{hours:02d}:{minutes:02d}:{seconds:02d}{';' if drop else ':'}{frame:02d}")
        frame += 1
        if frame == base:
            frame, seconds = 0, seconds + 1
        if seconds == 60:
            seconds, minutes = 0, minutes + 1
        if minutes == 60:
            minutes, hours = 0, hours + 1
    return codes


@pytest.mark.parametrize(("base", "drop"), [(24, False), (25, False), (30, False), (30, True), (60, True), (8, False)])
def test_time_codes_equal_a_count(base: int, drop: bool) -> None:
    codes = counted(base, drop, 13 * 60 * base)
    assert [timecode(number, base, drop=drop) for number in range(len(codes))] == codes
    assert [frame_number(code, base, drop) for code in codes] == list(range(len(codes)))


def test_drop_frame_keeps_to_the_clock_and_days_start_anew() -> None:
    assert timecode(107892, 30, drop=True) == "01:00:00;00"
    assert timecode(round(3600 * 59.94005994), 60, drop=True) == "01:00:00;00"
    assert timecode(108000, 30, drop=False) == "01:00:00:00"
    assert timecode(24 * 3600 * 25 + 7, 25, drop=False) == "00:00:00:07"
    assert timecode(24 * 107892 + 7, 30, drop=True) == "00:00:00;07"


def test_what_is_no_time_code_is_refused() -> None:
    for code in ("", "1:2:3:4", "01:02:03", "01:02:03:04:05", "ab:cd:ef:gh"):
        with pytest.raises(ValueError, match="a time code reads"):
            frame_number(code, 25, False)
    with pytest.raises(ValueError, match="drop frame is defined for 30 and 60"):
        timecode(0, 25, drop=True)


@pytest.mark.parametrize(
    ("stated", "rate", "exact"),
    [
        (Fraction(30000, 1001), NTSC, True), (Fraction(2997, 100), NTSC, True), (Fraction(24), Fraction(24), True),
        (Fraction(23976, 1000), Fraction(24000, 1001), True), (Fraction(25, 3), Fraction(8), False),
        (Fraction(1, 10), Fraction(1), False), (Fraction(25001, 1000), Fraction(25), True),
    ],
)  # fmt: skip
def test_rates_are_the_usual_ones_or_said_not_to_be(stated: Fraction, rate: Fraction, exact: bool) -> None:
    assert usual(stated) == (rate, exact)


@pytest.mark.parametrize("rate", [Fraction(24), NTSC, Fraction(25, 2)])
def test_spans_are_the_frames_on_screen(rate: Fraction) -> None:
    clock = FrameClock(rate, 0, 40, False, False, True)
    shown = [(float(n / rate), float((n + 1) / rate)) for n in range(40)]
    for start, end in np.random.default_rng(0).uniform(0, float(39 / rate), (200, 2)):
        start, end = min(start, end), max(start, end)
        if min(abs(time - edge) for time in (start, end) for frame in shown for edge in frame) < 0.001:
            continue
        on = [n for n, (low, high) in enumerate(shown) if high > start and low < end]
        assert clock.span(start, end) == (on[0], on[-1] + 1)
    for number, (low, high) in enumerate(shown):
        for off in (-0.0005, 0.0, 0.0005):
            assert clock.span(max(0, low + off), high + off) == (number, number + 1), "a frame's own time, rounded"
    assert clock.span(99.0, 100.0) == (39, 40)
    assert clock.span(0.0, 0.0) == (0, 1)


def test_a_file_s_clock(tmp_path: Path) -> None:
    plain = read_clock(make_clip(tmp_path / "a.mp4", rate=25, frames=50, sound=1.0))
    assert plain == FrameClock(Fraction(25), 0, 50, False, True, True)
    ntsc = read_clock(make_clip(tmp_path / "b.mkv", rate=NTSC, frames=60))
    assert ntsc == FrameClock(NTSC, 0, 60, True, False, True)
    # frames for one and two thirtieths of a second in turn: 20 a second, whatever rate their times are counted at
    ticks = [3 * number // 2 + number % 2 for number in range(60)]
    assert read_clock(make_clip(tmp_path / "c.mp4", ticks=ticks)).rate == 20
    with pytest.raises(UnreadableVideo):
        read_clock(tmp_path / "gone.mp4")


def stating(path: Path, code: str, rate: Fraction | int) -> Path:
    """A file with a time code."""
    with av.open(str(path), "w") as container:
        container.metadata["timecode"] = code
        stream = container.add_stream("libx264", rate=rate)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("ending", [".mov", ".mkv"])
@pytest.mark.parametrize(
    ("code", "rate", "first", "drop"),
    [
        ("01:00:00;00", NTSC, 107892, True), ("01:00:00:00", NTSC, 108000, False),
        ("01:00:00;04", 2 * NTSC, 215788, True), ("10:00:00:05", 25, 900005, False),
    ],
)  # fmt: skip
def test_a_time_code_that_the_file_states_is_taken(
    tmp_path: Path, code: str, rate: Fraction | int, first: int, drop: bool, ending: str
) -> None:
    clock = read_clock(stating(tmp_path / f"a{ending}", code, rate))
    assert (clock.first, clock.drop) == (first, drop)
    assert timecode(clock.first, clock.base, drop=clock.drop) == code


def test_a_stated_time_code_that_is_none_is_passed_over(tmp_path: Path) -> None:
    assert read_clock(stating(tmp_path / "a.mkv", "soon", 25)).first == 0
