"""A reader of one video stream that moves forward to wanted times, and jumps only where that saves decoding.

Its steps are decoded frames, or key-frame packets that are not decoded yet. Whatever way it takes, it ends at the step
that a plain read from the start would end at. All times here are in ticks of the stream's clock.
Not here: files and seconds (`reelseek.video.container`), pixels (`reelseek.video.decode`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

# seconds ahead from which a jump is tried in a file whose index does not reach that far
_FAR = 10.0


class Step(NamedTuple):
    """A frame, or a key frame's packet: when it starts and when it ends."""

    start: int
    end: int
    content: VideoFrame | Packet[VideoStream]


class Cursor:
    """Stands between two steps: `here`, the last one at or before the time moved to, and `after`, the next one.

    `here` is None before the first step, `after` is None behind the last one. packets_end: where the packets read so
    far end. damaged: how many packets or frames had to be left out. behind: ticks of packets that followed others of a
    clock more than a second later. seeks: how often it jumped.
    tick: seconds of one tick. keyframes: steps are key frames' packets. may_seek: False reads everything in order.
    """

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream,
        tick: float,
        *,
        keyframes: bool = False,
        may_seek: bool = True,
    ) -> None:
        self.here: Step | None = None
        self.after: Step | None = None
        self.packets_end = -math.inf
        self.damaged = 0
        self.behind = 0
        self.seeks = 0
        self._container = container
        self._stream = stream
        self._keyframes = keyframes
        self._may_seek = may_seek
        self._second = 1 / tick
        self._far = _FAR * self._second
        self._first = stream.start_time or 0
        # a second below the first frame's time: where seeking goes by decoding times, those are earlier
        self._bottom = self._first - round(self._second)
        self._period = round(self._second / float(stream.average_rate)) if stream.average_rate else 0
        self._clock = -math.inf
        self._steps: Iterator[Step] | None = None
        if may_seek and "matroska" in container.format.name:
            # Matroska reads its index at the first seek
            container.seek(self._bottom, stream=stream)

    def move_to(self, target: int) -> None:
        """Move forward until `here` is the last step that starts at or before `target`."""
        if self._may_seek and self._saves(target):
            self._jump(target)
        elif self._steps is None:
            self._restart()
        while self.after is not None and self.after.start <= target:
            self.here, self.after = self.after, self._next()

    def read_on(self) -> None:
        """Read the packets that are left, decoding none; no step can be taken any more."""
        for _ in self._packets():
            pass

    def _saves(self, target: int) -> bool:
        if self._steps is None:
            position = self._first
        elif self.after is None:
            return False
        else:
            position = self.after.start
        index = self._stream.index_entries
        found = index.search_timestamp(target)
        if found >= 0 and index[found].timestamp > position:
            return True
        beyond_index = len(index) == 0 or index[len(index) - 1].timestamp < target
        return beyond_index and target - position > self._far

    def _jump(self, target: int) -> None:
        """Land on a key frame at or before `target`: a seek may overshoot (its clock is the decoding order's)."""
        position = None if self.after is None else self.after.start
        back = 0
        while True:
            goal = max(self._bottom, target - back)
            try:
                self._container.seek(goal, stream=self._stream)
            except av.FFmpegError:
                if back == 0:
                    # nothing has moved: read on from here, and do not try again
                    self._may_seek = False
                    if self._steps is None:
                        self._restart()
                    return
                if goal == self._bottom:
                    raise
            self._restart()
            self.seeks += 1
            if goal == self._bottom or (self.after is not None and self.after.start <= target):
                break
            back = max(2 * back, round(self._second))
        if position is not None and (self.after is None or self.after.start <= position):
            # this file cannot jump ahead without an index: never again by distance alone
            self._far = math.inf

    def _restart(self) -> None:
        self._clock = -math.inf
        self._steps = self._read_keyframes() if self._keyframes else self._read_frames()
        self.here, self.after = None, self._next()

    def _next(self) -> Step | None:
        assert self._steps is not None
        return next(self._steps, None)

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        try:
            for packet in self._container.demux(self._stream):
                if packet.dts is not None:
                    if packet.dts < self._clock - self._second:
                        self.behind += packet.duration or self._period
                    self._clock = max(self._clock, packet.dts)
                start = packet.pts if packet.pts is not None else packet.dts
                if start is not None and packet.size:
                    self.packets_end = max(self.packets_end, start + (packet.duration or self._period))
                yield packet
        except av.FFmpegError:
            self.damaged += 1

    def _read_keyframes(self) -> Iterator[Step]:
        for packet in self._packets():
            start = packet.pts if packet.pts is not None else packet.dts
            if start is not None and packet.is_keyframe and packet.size and not packet.is_discard:
                yield Step(start, start + (packet.duration or self._period), packet)

    def _read_frames(self) -> Iterator[Step]:
        latest = -math.inf
        for packet in self._packets():
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self.damaged += 1
                continue
            for frame in frames:
                start = frame.pts if frame.pts is not None else frame.dts
                if start is None or frame.is_corrupt:
                    self.damaged += 1
                else:
                    # frames arrive in the order of showing; AVI states none for B-frames, and FFmpeg's guess goes back
                    latest = max(latest, start)
                    yield Step(int(latest), int(latest) + (frame.duration or self._period), frame)


def decode_alone(stream: VideoStream, packet: Packet[VideoStream]) -> VideoFrame | None:
    """The picture of one key frame's packet, None where it cannot be decoded without its neighbours."""
    decoder = stream.codec_context
    try:
        frames = [*decoder.decode(packet), *decoder.decode(None)]
    except av.FFmpegError:
        frames = []
    decoder.flush_buffers()
    return next((frame for frame in frames if not frame.is_corrupt), None)
