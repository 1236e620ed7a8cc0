"""A piece of a video as an MP4 of its own: packets as they are where that gives the piece, else encoded anew.

Packets can be copied from a key frame on, and up to where no later picture is needed to show an earlier one. Times are
seconds from the start of the file, as in `reelseek.video.decode`, and the first picture is the one on screen at the
start. Sound is the first track of sound, copied where MP4 takes its codec, else AAC. Subtitles, chapters and tags stay
behind. Pictures that are encoded are scaled by a pixel where a side is odd, and lose colours finer than 8 bits.
Not here: which pieces and where they go (`reelseek.index.export`), the sound's own work (`reelseek.video.cut_sound`).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, cast

import av
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from reelseek.errors import ExportError, UnreadableVideo
from reelseek.video.container import open_video, read_timeline
from reelseek.video.cursor import Cursor
from reelseek.video.cut_sound import Sound, add_sound, find_sound, sound_packets

MODES = ("exact", "copy")
"""exact: copied only where that gives the span, to a frame. copy: from the key frame before the start if need be."""
COPIED = frozenset(["h264", "hevc", "av1", "vp9", "mpeg4"])
"""Codecs of pictures that MP4 holds and its players know."""

# more packets than any decoder reorders: behind so many later ones in a row, no earlier picture follows
_REORDER = 40


class Cut(NamedTuple):
    """What became of a piece.

    start, end: seconds of the source that it shows. copied: its pictures are the source's own packets. sound: "copied",
    "encoded" or "none". why: the reason for encoding in a few words, "" where pictures were copied.
    """

    start: float
    end: float
    copied: bool
    sound: str
    why: str


class _Span(NamedTuple):
    """A piece in ticks of the source's clock.

    low, high: the first tick, and the one after the last. key: the key frame at or before `low`. period: of a frame, on
    average. tick: seconds. zero: the clock in seconds when the file starts. codec: of the pictures. guessed: whether
    the file leaves open when its packets are shown.
    """

    low: int
    high: int
    key: int
    period: int
    tick: Fraction
    zero: float
    codec: str
    guessed: bool

    def seconds(self, ticks: int) -> float:
        """Seconds from the start of the file."""
        return max(0.0, float(ticks * self.tick) - self.zero)


def cut(path: Path, start: float, end: float, target: Path, *, mode: str = "exact") -> Cut:
    """Write the part of a video from `start` to `end` seconds to `target`, an MP4; an existing file is overwritten.

    A span of less than a frame is made a frame long; one past the end shows the last picture.
    Raises UnreadableVideo, NoVideoStream and TruncatedVideo for the source, ExportError where `target` cannot be
    written (it may then hold a part), ValueError for times that are not 0 <= start <= end or an unknown mode.
    """
    if not 0 <= start <= end < float("inf"):
        raise ValueError(f"a cut goes from 0 or later to a later time, not from {start} to {end}")
    if mode not in MODES:
        raise ValueError(f"unknown mode {mode!r}; known: {', '.join(MODES)}")
    span = _span(path, start, end)
    shown_N, last_end, why = _copyable(path, span, mode)
    if not why:
        try:
            return _copy(path, span, shown_N, last_end, target)
        except UnreadableVideo:
            why = "MP4 does not take its packets"
    return _encode(path, span, target, why)


def _span(path: Path, start: float, end: float) -> _Span:
    with open_video(path) as (container, stream):
        timeline = read_timeline(path, container, stream)
        cursor = Cursor(container, stream, timeline.tick)
        low = timeline.ticks(start)
        cursor.move_to(low)
        first = cursor.here or cursor.after
        if first is None:
            raise UnreadableVideo(f"{path}: no picture can be decoded at {start:.1f} s; the file is damaged")
        period = max(1, round(timeline.period / timeline.tick))
        # whole pictures; but a still that is on screen for long is cut into
        if low - first.start <= period or (cursor.after is None and low >= first.end):
            low = first.start
        high = timeline.ticks(end)
        high = max(high + (timeline.seconds(high) < end - 1e-5), low + period)
        key = first.start
        tick, codec = cast(Fraction, stream.time_base), stream.codec_context.codec.canonical_name
        guessed = container.format.name == "avi" and bool(stream.codec_context.has_b_frames)
        if low != first.start or not cast(VideoFrame, first.content).key_frame:
            key = _key_before(path, timeline.tick, low)
    return _Span(low, high, key, period, tick, timeline.zero, codec, guessed)


def _key_before(path: Path, tick: float, low: int) -> int:
    with open_video(path) as (container, stream):
        cursor = Cursor(container, stream, tick, keyframes=True)
        cursor.move_to(low)
        step = cursor.here or cursor.after
        return low if step is None else step.start


def _copyable(path: Path, span: _Span, mode: str) -> tuple[list[int], int, str]:
    """Showing times of the packets to copy, in decoding order, and the tick at which the last picture's time ends; or
    the reason that they cannot be copied.
    """
    if span.guessed:
        return [], 0, "AVI states no times for pictures that are stored out of order"
    if span.codec not in COPIED:
        return [], 0, f"players of MP4 know no {span.codec}"
    if mode == "exact" and span.key != span.low:
        return [], 0, "the start lies between key frames"
    shown_N: list[int] = []
    lengths: dict[int, int] = {}
    kept = 0
    for packet in _packets_from(path, span.key):
        if packet.pts is None:
            return [], 0, "its packets state no times"
        shown_N.append(packet.pts)
        lengths[packet.pts] = packet.duration or span.period
        if packet.pts < span.high:
            kept = len(shown_N)
        elif len(shown_N) - kept > _REORDER:
            break
    later_N, shown_N = shown_N[kept:], shown_N[:kept]
    if not shown_N or len(set(shown_N)) < kept:
        return [], 0, "its packets state no times of their own"
    last = max(shown_N)
    if mode == "exact" and last >= span.high:
        return [], 0, "pictures before the end need later ones"
    # until the next one is shown, whatever length the packet states: a still is often said to last a frame
    end = min((shown for shown in later_N if shown > last), default=last + lengths[last])
    return shown_N, min(end, max(span.high, last + span.period)), ""


def _packets_from(path: Path, key: int) -> Iterator[Packet[VideoStream]]:
    """Packets in decoding order from the key frame at tick `key`, less those shown before it; up to any damage."""
    for back in (0, 10, None):
        with open_video(path) as (container, stream):
            second = round(1 / cast(Fraction, stream.time_base))
            begun = False
            try:
                if back is not None:
                    container.seek(key - back * second, stream=stream)
                for packet in container.demux(stream):
                    begun = begun or (packet.is_keyframe and packet.pts == key)
                    if begun and packet.size and (packet.pts is None or packet.pts >= key):
                        yield packet
                    elif not begun and packet.pts is not None and packet.pts > key + 60 * second:
                        # the seek went too far
                        break
            except av.FFmpegError:
                pass
            if begun:
                return


def _copy(path: Path, span: _Span, shown_N: list[int], end: int, target: Path) -> Cut:
    sound = find_sound(path, span.seconds(span.key), span.seconds(min(span.high, end)), span.zero)
    order_N = sorted(shown_N)
    # a picture is decoded no later than it is shown
    delay = max(later - shown for later, shown in zip(order_N, shown_N, strict=True))
    with _output(path, target) as output:
        with open_video(path) as (_, template):
            # "opaque" takes the decoder as it is: an encoder of its name, which is looked for else, AV1's has none
            pictures = output.add_stream_from_template(template, opaque=True)
        if span.codec == "hevc":
            # the tag that Apple's players ask for
            pictures.codec_context.codec_tag = "hvc1"

        def packets() -> Iterator[Packet[VideoStream]]:
            for packet, decoded in zip(_packets_from(path, span.key), order_N, strict=False):
                shown = cast(int, packet.pts)
                packet.duration = end - shown if shown == order_N[-1] else packet.duration or span.period
                packet.pts, packet.dts = shown - span.key, decoded - delay - span.key
                packet.stream = pictures
                yield packet

        _write(output, _lasting(packets(), lambda: end - span.key), path, sound)
    kind = "none" if sound is None else "copied" if sound.copied else "encoded"
    return Cut(span.seconds(span.key), span.seconds(end), True, kind, "")


def _encode(path: Path, span: _Span, target: Path, why: str) -> Cut:
    sound = find_sound(path, span.seconds(span.low), span.seconds(span.high), span.zero)
    frames = _frames(path, span)
    first, length = next(frames)
    end = span.low
    with _output(path, target) as output:
        pictures = _add_pictures(output, path, first, span)
        lengths: dict[int, int] = {}

        def packets() -> Iterator[Packet[VideoStream]]:
            nonlocal end
            for frame, ticks in itertools.chain([(first, length)], frames):
                shown = cast(int, frame.pts)
                lengths[shown] = ticks
                end = span.low + shown + ticks
                yield from map(timed, pictures.encode(frame))
            yield from map(timed, pictures.encode(None))

        def timed(packet: Packet[VideoStream]) -> Packet[VideoStream]:
            packet.duration = lengths.pop(cast(int, packet.pts), packet.duration or 0)
            return packet

        _write(output, _lasting(packets(), lambda: end - span.low), path, sound)
    kind = "none" if sound is None else "copied" if sound.copied else "encoded"
    return Cut(span.seconds(span.low), span.seconds(end), False, kind, why)


def _frames(path: Path, span: _Span) -> Iterator[tuple[VideoFrame, int]]:
    """Frames of one size and format, their times counted from the first one, and how many ticks each is on screen."""
    converter = VideoReformatter()
    size: tuple[int, int] | None = None
    with open_video(path) as (container, stream):
        cursor = Cursor(container, stream, float(span.tick))
        cursor.move_to(span.low)
        step = cursor.here or cursor.after
        while step is not None and step.start < span.high:
            if cursor.here is not step:
                cursor.move_to(step.start)
            after = cursor.after
            frame = cast(VideoFrame, step.content)
            size = size or (max(2, frame.width - frame.width % 2), max(2, frame.height - frame.height % 2))
            picture = converter.reformat(frame, *size, "yuv420p", threads=1)
            # what the source's encoder chose is no order for this one
            picture.pict_type = PictureType.NONE
            shown = max(step.start, span.low)
            end = step.end if after is None else after.start
            picture.pts, picture.time_base = shown - span.low, span.tick
            yield picture, max(1, min(end, max(span.high, shown + span.period)) - shown)
            step = after


def _add_pictures(output: OutputContainer, path: Path, first: VideoFrame, span: _Span) -> VideoStream:
    with open_video(path) as (_, source):
        shape, rate = source.sample_aspect_ratio, source.average_rate
    pictures = output.add_stream("libx264", rate=rate or Fraction(25), options={"crf": "18", "preset": "veryfast"})
    encoder = pictures.codec_context
    pictures.width, pictures.height, pictures.pix_fmt = first.width, first.height, "yuv420p"
    encoder.time_base = span.tick
    if shape:
        encoder.sample_aspect_ratio = shape
    encoder.color_range, encoder.colorspace = first.color_range, first.colorspace
    encoder.color_primaries, encoder.color_trc = first.color_primaries, first.color_trc
    if first.rotation:
        pictures.set_display_rotation(first.rotation)
    return pictures


def _lasting(packets: Iterator[Packet[VideoStream]], length: Callable[[], int]) -> Iterator[Packet[VideoStream]]:
    """The packets, of which the last one is decoded until the piece ends: MP4 tells its length by decoding times.

    length: of the piece in ticks, asked once all packets are there.
    """
    first, before = 0, None
    for packet in packets:
        if before is None:
            first = cast(int, packet.dts)
        else:
            yield before
        before = packet
    if before is not None:
        before.duration = max(1, length() - (cast(int, before.dts) - first))
        yield before


def _write(output: OutputContainer, pictures: Iterator[Packet[Any]], path: Path, sound: Sound | None) -> None:
    voice = None if sound is None else add_sound(output, path, sound)
    sounds: Iterator[Packet[Any]] = iter(()) if sound is None or voice is None else sound_packets(path, sound, voice)
    for packet in heapq.merge(pictures, sounds, key=_decoded):
        output.mux(packet)


def _decoded(packet: Packet[Any]) -> Fraction:
    return cast(int, packet.dts) * packet.time_base


@contextmanager
def _output(path: Path, target: Path) -> Iterator[OutputContainer]:
    try:
        with av.open(str(target.absolute()), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            yield container
    except av.FFmpegError as error:
        reason = error.strerror or type(error).__name__
        if isinstance(error, OSError):
            raise ExportError(f"{target.parent}: the clip cannot be written there ({reason})") from error
        raise UnreadableVideo(f"{path}: cannot be made a clip ({reason})") from error
