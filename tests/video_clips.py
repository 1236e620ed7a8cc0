"""Small generated clips whose pixels say which frame they are, for the tests of reelseek.video."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer

BITS = 8
SIDE = 16
WIDTH, HEIGHT = BITS * SIDE, 2 * SIDE


def numbered(number: int) -> np.ndarray:
    """RGB [HEIGHT, WIDTH, 3]: one column a bit of `number`, lowest first; the lower half is always dark."""
    pixels = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    for bit in range(BITS):
        if number >> bit & 1:
            pixels[:SIDE, bit * SIDE : (bit + 1) * SIDE] = 220
    return pixels


def number_of(pixels: np.ndarray) -> int:
    """The number that `numbered` drew, through lossy compression and any size."""
    height, width = pixels.shape[:2]
    row = pixels[height // 4].mean(axis=-1)
    return sum(1 << bit for bit in range(BITS) if row[int((bit + 0.5) * width / BITS)] > 130)


def make_clip(
    path: Path,
    *,
    frames: int = 60,
    rate: Fraction | int = 30,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    ticks: list[int] | None = None,
    rotation: int | None = None,
    sound: float = 0.0,
) -> Path:
    """Write a clip of `frames` numbered frames; `ticks` are their times in units of 1 / rate (0, 1, 2, ... by default).

    sound: seconds of silence beside the pictures.
    """
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixel_format
        stream.options = {"g": "12", "bf": "2", "sc_threshold": "0"} if options is None else options
        if rotation is not None:
            stream.set_display_rotation(rotation)
        voice = container.add_stream("aac", rate=16000, layout="mono") if sound else None
        for number in range(frames):
            picture = av.VideoFrame.from_ndarray(numbered(number), format="rgb24").reformat(format=pixel_format)
            picture.pts = number if ticks is None else ticks[number]
            picture.time_base = 1 / Fraction(rate)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        if voice is not None:
            _silence(container, voice, sound)
    return path


def make_sound(path: Path, seconds: float = 1.0) -> Path:
    """Write a file with silence and no pictures."""
    with av.open(str(path), "w") as container:
        _silence(container, container.add_stream("aac", rate=16000, layout="mono"), seconds)
    return path


def _silence(container: OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    for block in range(int(seconds * 16000 / 1024)):
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = 16000, block * 1024, Fraction(1, 16000)
        container.mux(stream.encode(sound))
    container.mux(stream.encode(None))


def plain_read(path: Path) -> list[tuple[float, int, bool]]:
    """Every frame in order, by PyAV's own loop: time in seconds from the file's start, number, whether a key frame."""
    with av.open(str(path)) as container:
        zero = (container.start_time or 0) / av.time_base
        return [
            (float(frame.pts * frame.time_base) - zero, number_of(frame.to_ndarray(format="rgb24")), frame.key_frame)
            for frame in container.decode(video=0)
        ]
