"""Files that appear under their names only when they are whole, for data sets that reelseek makes itself.

Not here: what the files hold. Shapes: F frames, H W 3 pixels.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.stream import VideoStream


def replace_text(path: Path, text: str) -> None:
    """Write a text file at once: readers see the old content or the new."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, "utf-8")
    os.replace(part, path)


def remove_leftovers(folder: Path) -> None:
    """Remove the unfinished files of a killed run; a younger one may belong to a run that is under way."""
    for part in folder.glob(".*.part"):
        if time.time() - part.stat().st_mtime > 600:
            part.unlink(missing_ok=True)


def write_video(frames_FHW3: Iterable[np.ndarray], path: Path, *, fps: int, group: int) -> None:
    """Encode RGB frames of one even size as H.264 in an mp4, in closed groups of `group` at a constant quantiser."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with av.open(str(part), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=fps)
            stream.pix_fmt = "yuv420p"
            stream.codec_context.gop_size = group
            stream.codec_context.thread_count = 1
            stream.options = {"preset": "ultrafast", "qp": "22", "bf": "0", "sc_threshold": "0"}
            for number, pixels_HW3 in enumerate(frames_FHW3):
                if number == 0:
                    stream.height, stream.width = pixels_HW3.shape[:2]
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels_HW3, format="rgb24")))
            container.mux(stream.encode(None))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def join_pictures(pictures: Iterable[Path], path: Path) -> None:
    """A Matroska file of photos, each on screen for a second: the files' own bytes, so nothing is encoded anew.

    Raises av.error.FFmpegError for a picture that cannot be read, ValueError for pictures of different formats.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with av.open(str(part), "w", format="matroska") as container:
            stream = None
            for number, picture in enumerate(pictures):
                with av.open(str(picture)) as source:
                    codec = source.streams.video[0].codec_context
                    if stream is None:
                        stream = container.add_mux_stream(codec.name, rate=1, width=codec.width, height=codec.height)
                        first = codec.name
                    if codec.name != first:
                        raise ValueError(f"{picture} is {codec.name}, the picture before it {first}")
                    packet = next(source.demux(video=0))
                    packet.stream = cast(VideoStream, stream)
                    packet.time_base = Fraction(1)
                    packet.pts = packet.dts = number
                    packet.duration = 1
                    container.mux(packet)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
