"""Opening a media file, and the time axis of its pictures.

Turns every way in which FFmpeg can refuse a file into an error of `reelseek.errors` with the path and a sentence.
Only ordinary media formats of local files are opened: a playlist that names other files or addresses is refused. So are
pictures too large to be decoded.
Not here: decoding (`reelseek.video.decode`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EPERM
from pathlib import Path
from typing import NamedTuple

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from reelseek.errors import NoVideoStream, TruncatedVideo, UnreachableVideo, UnreadableVideo
from reelseek.video.image import LARGEST

TOLERANCE = 1.0
"""Seconds by which pictures may end before their stated length (see `Timeline.tolerance`)."""

# a week in seconds: a header that states more is damaged, and a caller who believed it would ask for millions of frames
_LONGEST = 7 * 24 * 3600.0

# seconds after which a Matroska file that starts so late has its stated length checked; below, tolerances cover it
_LATE = 0.2

# FFmpeg's demuxers for files that hold their own media; the audio ones are here to be named as such
_FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,gif,apng,flv,asf,ogg,ivf,nut,mxf,dv,rm,wtv,swf,yuv4mpegpipe,webp_pipe,"
    "mp3,wav,flac,aac,aiff,ac3,amr,caf,w64,ape"
)


class Timeline(NamedTuple):
    """Where a video's seconds lie on its stream's clock.

    zero: the clock in seconds when the file starts. tick: seconds of one unit of the clock. duration: of the pictures,
    in seconds. period: seconds from frame to frame, on average. stated_by_file: the length is the whole file's, which
    sound alone may fill to the end.
    """

    zero: float
    tick: float
    duration: float
    period: float
    stated_by_file: bool

    def seconds(self, pts: int) -> float:
        """Seconds from the start of the file."""
        return pts * self.tick - self.zero

    def ticks(self, seconds: float) -> int:
        """The clock at `seconds`, rounded down; a microsecond is added, so that a frame's own time finds that frame."""
        return math.floor((seconds + self.zero + 1e-6) / self.tick)

    @property
    def tolerance(self) -> float:
        """Seconds by which pictures may end early: 1, or a quarter of a video under 4 s, but 3 frames at the least."""
        return max(3 * self.period, min(TOLERANCE, self.duration / 4))


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The opened file and its first stream of moving pictures (a cover image is none), set to one thread.

    Raises UnreadableVideo, also for pictures of more than `reelseek.video.image.LARGEST` pixels and for what FFmpeg
    reports while the file is in use, and NoVideoStream; UnreachableVideo for what the system reports.
    """
    path = Path(path)
    _check_file(path)
    try:
        with _opened(path) as container:
            stream = _pictures(path, container)
            decoder = stream.codec_context
            _check_size(path, decoder.width, decoder.height)
            # a stream can change its size, and some state none: FFmpeg then refuses to decode the picture
            decoder.options = _bounded()
            decoder.thread_count = 1
            yield container, stream
    except av.FFmpegError as error:
        reason = error.strerror or type(error).__name__
        # FFmpeg's -1, which reads as EPERM, is what it says of damaged files. It says EIO of some, too: reading those
        # again costs less than losing a whole one.
        if isinstance(error, (OSError, MemoryError)) and error.errno != EPERM:
            raise UnreachableVideo(f"{path}: cannot be read ({reason}); if it stays so, it is damaged") from error
        raise UnreadableVideo(
            f"{path}: cannot be read as a video ({reason}); it is damaged, incomplete or of another kind"
        ) from error


def read_timeline(path: Path, container: InputContainer, stream: VideoStream) -> Timeline:
    """The video's time axis, from its headers, or from its packets where headers state no length.

    Raises TruncatedVideo where the file's index points past the end of the file, UnreadableVideo without any packet.
    """
    if not stream.time_base:
        raise UnreadableVideo(f"{path}: its pictures carry no clock")
    tick = float(stream.time_base)
    if container.start_time is not None:
        zero = container.start_time / av.time_base
    else:
        zero = (stream.start_time or 0) * tick
    by_stream = _stated_end(stream, tick)
    by_file = None if container.duration is None else zero + container.duration / av.time_base
    end = by_stream if by_stream is not None else by_file
    if "matroska" in container.format.name and max(zero, (stream.start_time or 0) * tick) > _LATE:
        end = _matroska_end(path, container, by_stream)
    if end is None or not 0 < end - zero <= _LONGEST:
        end = last_packet_end(path, pictures_only=True)
    if end is None or end - zero > _LONGEST:
        raise UnreadableVideo(f"{path}: holds no pictures with a usable time; it is damaged or incomplete")
    period = 1 / float(stream.average_rate or 25)
    timeline = Timeline(zero, tick, end - zero if end - zero > 0 else period, period, by_stream is None)
    _check_index(path, container, stream, timeline)
    return timeline


def last_packet_end(path: Path, *, pictures_only: bool) -> float | None:
    """The clock in seconds at which the last packet ends, read from the packets themselves; None without any."""
    latest = None
    with open_video(path) as (container, stream):
        wanted = [stream] if pictures_only else list(container.streams)
        try:
            for packet in container.demux(wanted):
                start = packet.pts if packet.pts is not None else packet.dts
                if start is not None and packet.size:
                    end = float((start + (packet.duration or 0)) * packet.time_base)
                    latest = end if latest is None else max(latest, end)
        except av.FFmpegError:
            # what can be read ends here, which is what was asked
            return latest
    return latest


def truncated(path: Path, readable: float, timeline: Timeline) -> TruncatedVideo:
    """The error for pictures that end at `readable` seconds."""
    return TruncatedVideo(
        f"{path}: readable up to {max(0.0, readable):.1f} s of {timeline.duration:.1f} s; "
        "the file is cut off: copy or download it again"
    )


def _opened(path: Path) -> InputContainer:
    # FFmpeg decodes the first pictures of some files as it opens them
    options = {"protocol_whitelist": "file", "format_whitelist": _FORMATS, **_bounded()}
    # an absolute path never reads as a protocol ("concat:a|b")
    name = str(path.absolute())
    try:
        return av.open(name, options=options)
    except UnicodeDecodeError:
        # titles in other encodings than UTF-8, which PyAV takes as they come from version 19 on
        return av.open(name, options=options, metadata_errors="replace")


def _bounded() -> dict[str, str]:
    return {"max_pixels": str(LARGEST)}


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > LARGEST:
        raise UnreadableVideo(
            f"{path}: its pictures have {width:,} x {height:,} pixels, more than the {LARGEST:,} that are decoded; "
            "make it smaller"
        )


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise UnreadableVideo(f"{path}: is a folder, not a video file")
        if not path.exists():
            raise UnreachableVideo(f"{path}: does not exist")
        if not path.is_file():
            raise UnreadableVideo(f"{path}: is not an ordinary file")
        if path.stat().st_size == 0:
            raise UnreadableVideo(f"{path}: is empty (0 bytes)")
    except OSError as error:
        raise UnreachableVideo(f"{path}: cannot be opened ({error})") from error
    except ValueError as error:
        raise UnreadableVideo(f"{path}: cannot be opened ({error})") from error


def _pictures(path: Path, container: InputContainer) -> VideoStream:
    moving = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not moving:
        raise NoVideoStream(f"{path}: holds no pictures, only {_kinds(container)}")
    usable = [stream for stream in moving if stream.codec_context is not None]
    if not usable:
        raise UnreadableVideo(f"{path}: its pictures are in a format that this FFmpeg build cannot decode")
    return usable[0]


def _kinds(container: InputContainer) -> str:
    kinds = sorted({str(stream.type) for stream in container.streams} - {"video"})
    return " and ".join(kinds) if kinds else "a cover image"


def _stated_end(stream: VideoStream, tick: float) -> float | None:
    if stream.duration is not None:
        return ((stream.start_time or 0) + stream.duration) * tick
    # Matroska states a stream's end as a tag, "00:01:02.345000000"
    parts = stream.metadata.get("DURATION", "").split(":")
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds


def _matroska_end(path: Path, container: InputContainer, by_stream: float | None) -> float | None:
    """The end on the clock of a file that starts late; what it states is that for FFmpeg, and a length for mkvmerge."""
    stated = container.duration / av.time_base if by_stream is None and container.duration is not None else by_stream
    # A length ends before the last picture, which the packets tell; an end that they do not reach is where a cut file
    # ended when it was whole.
    return max((end for end in (stated, last_packet_end(path, pictures_only=True)) if end is not None), default=None)


def _check_index(path: Path, container: InputContainer, stream: VideoStream, timeline: Timeline) -> None:
    index = stream.index_entries
    size = container.size
    if len(index) == 0 or index[len(index) - 1].pos + index[len(index) - 1].size <= size:
        return
    missing = next(entry for entry in index if entry.pos + entry.size > size)
    readable = timeline.seconds(missing.timestamp)
    if timeline.duration - readable > timeline.tolerance:
        raise truncated(path, readable, timeline)
