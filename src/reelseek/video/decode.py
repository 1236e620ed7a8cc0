"""Frames of a video file at given times.

Opens a file once, reads only what the times ask for, and raises where a picture is missing: nothing ever stands in for
a frame. Times are seconds from the start of the file as a player counts them (the earliest stream starts at 0), so
pictures that start late show their first frame until then. Pixels are taken as square (the sample aspect ratio is
ignored), mirroring is ignored, and colours follow the file's own tags without tone mapping. One thread a video: callers
decode many at once.
Not here: which times to ask for (`reelseek.video.sample`), an encoder's preprocessing (`reelseek.video.transform`).
Shape legend: F frames, H W 3 pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from reelseek.errors import UnreadableVideo
from reelseek.records import Frames, Preprocess
from reelseek.video.container import TOLERANCE, Timeline, last_packet_end, open_video, read_timeline, truncated
from reelseek.video.cursor import Cursor, Step, decode_alone
from reelseek.video.image import LARGEST
from reelseek.video.transform import resize

RESTARTING = ("mpegts", "mpeg")
"""Formats whose clock may begin anew within a file."""


class VideoInfo(NamedTuple):
    """Length in seconds, average frames a second (0 where unknown), size in pixels as shown, and how it is stored.

    rotation: degrees counterclockwise, a multiple of 90, already applied to width and height. codec: FFmpeg's name.
    """

    duration: float
    fps: float
    width: int
    height: int
    rotation: int
    codec: str


def probe(path: Path) -> VideoInfo:
    """What a video file is, from its headers and its first picture.

    Raises UnreadableVideo, NoVideoStream, and TruncatedVideo where the file's own index shows that its end is missing.
    """
    with open_video(path) as (container, stream):
        timeline = read_timeline(path, container, stream)
        cursor = Cursor(container, stream, timeline.tick, may_seek=False)
        cursor.move_to(timeline.ticks(0.0))
        step = cursor.here or cursor.after
        if step is None:
            raise _no_picture(path)
        frame = cast(VideoFrame, step.content)
        turns = _quarter_turns(frame)
        width, height = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        return VideoInfo(timeline.duration, rate, width, height, turns * 90, stream.codec_context.name)


def decode(
    path: Path,
    choose: Callable[[float], np.ndarray],
    *,
    keyframes: bool = False,
    shape: Preprocess | None = None,
    also: Callable[[int, np.ndarray], None] | None = None,
) -> Frames:
    """The frames of a video that are on screen at the times `choose(duration)` names, in the order it names them.

    The frame at time t is the last one that starts at or before t (the first one if none does; past the end the last
    one). `times_F` are the frames' own start times in seconds. Where a video changes its picture size, all frames are
    scaled to the first one's size.

    keyframes: take the key frame nearest to each time instead, each decoded alone: much faster, as far off as key
    frames are apart, and repeating frames where times are closer than that. shape: resize every frame as it is read
    as `reelseek.video.transform.preprocess` with this record does, which changes nothing in that function's result and
    keeps large frames from piling up. also: called with the number of every time and its picture, RGB [H, W, 3], before
    that; where key frames alone do not do, a second time for some.
    Raises UnreadableVideo, NoVideoStream, TruncatedVideo (a frame is asked for more than
    `reelseek.video.container.TOLERANCE` seconds behind the last picture, or the index points past the end of the file),
    UnreadableVideo too for an MPEG file that is read to its end and whose clock begins anew, and ValueError for times
    that are not a non-empty list of numbers from 0 up.
    """
    if keyframes:
        frames = _collect(path, choose, shape, also, keyframes=True)
        if frames is not None:
            return frames
    frames = _collect(path, choose, shape, also, keyframes=False)
    if frames is None:
        raise _no_picture(path)
    return frames


def _collect(
    path: Path,
    choose: Callable[[float], np.ndarray],
    shape: Preprocess | None,
    also: Callable[[int, np.ndarray], None] | None,
    *,
    keyframes: bool,
) -> Frames | None:
    """The chosen frames; None where there is no picture, or a key frame that cannot be decoded alone."""
    with open_video(path) as (container, stream):
        timeline = read_timeline(path, container, stream)
        times_F = _checked(choose(timeline.duration))
        cursor = Cursor(container, stream, timeline.tick, keyframes=keyframes)
        paint = _painter()
        shown_F = np.empty(len(times_F))
        pixels_FHW3 = np.empty(0, np.uint8)
        painted: Step | None = None
        for number in np.argsort(times_F, kind="stable"):
            wanted = min(float(times_F[number]), timeline.duration)
            target = timeline.ticks(float(times_F[number]))
            cursor.move_to(target)
            step = _nearest(cursor, target) if keyframes else cursor.here or cursor.after
            if step is None:
                return None
            _check_reached(path, cursor, timeline, step, wanted, keyframes=keyframes)
            if step is not painted:
                frame = decode_alone(stream, step.content) if isinstance(step.content, Packet) else step.content
                if frame is None:
                    return None
                upright_HW3 = paint(frame)
                picture_HW3 = upright_HW3 if shape is None else resize(upright_HW3[None], shape)[0]
                painted = step
            if also is not None:
                also(int(number), upright_HW3)
            if pixels_FHW3.size == 0:
                pixels_FHW3 = np.empty((len(times_F), *picture_HW3.shape), np.uint8)
            pixels_FHW3[number] = picture_HW3
            shown_F[number] = max(0.0, timeline.seconds(step.start))
        left = timeline.duration - float(times_F.max())
        if container.format.name in RESTARTING and left <= max(TOLERANCE, timeline.duration / 10):
            _check_clock(path, cursor, timeline)
    return Frames(pixels_FHW3, shown_F, timeline.duration)


def _no_picture(path: Path) -> UnreadableVideo:
    return UnreadableVideo(
        f"{path}: not one picture can be decoded; the file is damaged, or they have more than {LARGEST:,} pixels"
    )


def _checked(times_F: np.ndarray) -> np.ndarray:
    times_F = np.asarray(times_F, dtype=np.float64)
    if times_F.ndim != 1 or len(times_F) == 0 or not np.isfinite(times_F).all() or (times_F < 0).any():
        raise ValueError(f"times must be a non-empty list of seconds from 0 up, not {times_F}")
    return times_F


def _nearest(cursor: Cursor, target: int) -> Step | None:
    here, after = cursor.here, cursor.after
    if here is None or after is None:
        return here or after
    return here if target - here.start <= after.start - target else after


def _check_reached(
    path: Path, cursor: Cursor, timeline: Timeline, step: Step, wanted: float, *, keyframes: bool
) -> None:
    """Raise where `step` is on screen at `wanted` seconds only because the pictures that should follow are missing."""
    missing_after = timeline.seconds(step.end)
    if wanted - missing_after <= timeline.tolerance:
        return
    if cursor.after is None:
        readable = max(missing_after, cursor.packets_end * timeline.tick - timeline.zero)
        if timeline.stated_by_file and wanted - readable > timeline.tolerance:
            end = last_packet_end(path, pictures_only=False)
            readable = readable if end is None else max(readable, end - timeline.zero)
        if wanted - readable > timeline.tolerance:
            raise truncated(path, readable, timeline)
    if cursor.damaged and not keyframes:
        raise UnreadableVideo(f"{path}: damaged: no picture between {missing_after:.1f} s and {wanted:.1f} s")


def _check_clock(path: Path, cursor: Cursor, timeline: Timeline) -> None:
    """Raise where a tenth of the length and more is hidden behind a clock that has begun anew: no time finds it."""
    cursor.read_on()
    hidden = cursor.behind * timeline.tick
    if hidden > max(timeline.tolerance, timeline.duration / 10):
        raise UnreadableVideo(
            f"{path}: its clock begins anew behind some pictures, as where files were put one after the other: "
            f"{hidden:.1f} s of it have no time of their own. Give them one, for instance by `ffmpeg -i OLD -c copy "
            "NEW.mkv`, and take that file"
        )


def _painter() -> Callable[[VideoFrame], np.ndarray]:
    """A function from frames to RGB [H, W, 3], upright and of the first frame's size."""
    # FFmpeg could resize on the way: measured no faster, and up to 70 of 255 steps off the encoders' own resize
    converter = VideoReformatter()
    size: tuple[int, int] | None = None

    def paint(frame: VideoFrame) -> np.ndarray:
        nonlocal size
        size = size or (frame.width, frame.height)
        rgb_HW3 = converter.reformat(frame, *size, "rgb24", threads=1).to_ndarray()
        return np.rot90(rgb_HW3, _quarter_turns(frame))

    return paint


def _quarter_turns(frame: VideoFrame) -> int:
    """How many quarter turns counterclockwise set a frame upright, by its display matrix."""
    return round(frame.rotation / 90) % 4
