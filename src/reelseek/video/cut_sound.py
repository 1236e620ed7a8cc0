"""The sound of a piece of a video: its packets as they are, or encoded as AAC to the sample.

Copied sound begins with the first packet that starts inside the piece, some hundredths of a second after its start.
Not here: pictures, files (`reelseek.video.cut`).
Shapes: C channels, N samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet

from reelseek.video.container import open_video

COPIED = frozenset(["aac", "mp3", "ac3", "eac3", "opus", "alac", "flac"])
"""Codecs of sound that MP4 holds and its players know."""
_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1"}
_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
# seconds by which a frame's stated time may differ from the count of samples before it, by rounding alone
_JITTER = 0.05


class Sound(NamedTuple):
    """Sound of a piece. start, end: on the source's clock, in seconds. rate: samples a second. layout: of channels."""

    start: float
    end: float
    copied: bool
    rate: int
    layout: str


def find_sound(path: Path, start: float, end: float, zero: float) -> Sound | None:
    """The first track's sound from `start` to `end` seconds, None where there is none in the piece.

    zero: the clock in seconds when the file starts.
    """
    with open_video(path) as (container, _):
        stream = next((stream for stream in container.streams.audio if stream.codec_context is not None), None)
        if stream is None or not stream.rate:
            return None
        # a decoder's own name may be another ("mp3float")
        copied = stream.codec_context.codec.canonical_name in COPIED
        rate = stream.rate if stream.rate in _RATES else 48000
        layout = _LAYOUTS.get(stream.channels, "stereo")
    sound = Sound(start + zero, end + zero, copied, rate, layout)
    return None if next(_packets(path, sound, early=0.0), None) is None else sound


def add_sound(output: OutputContainer, path: Path, sound: Sound) -> AudioStream:
    """The track that `sound_packets` fills."""
    if not sound.copied:
        return output.add_stream("aac", rate=sound.rate, layout=sound.layout)
    with open_video(path) as (container, _):
        return output.add_stream_from_template(_track(container.streams.audio))


def sound_packets(path: Path, sound: Sound, track: AudioStream) -> Iterator[Packet[AudioStream]]:
    """The packets of the piece in order, their times counted from its start."""
    if not sound.copied:
        yield from _encoded(path, sound, track)
        return
    # samples, for the source's own unit may be as long as a packet (AVI)
    unit = Fraction(1, sound.rate)
    for packet in _packets(path, sound, early=0.0):
        time, length = cast(int, packet.pts) * packet.time_base, (packet.duration or 0) * packet.time_base
        packet.pts = packet.dts = round((time - Fraction(sound.start)) / unit)
        packet.duration, packet.time_base = round(length / unit), unit
        packet.stream = track
        yield packet


def _track(streams: tuple[AudioStream, ...]) -> AudioStream:
    return next(stream for stream in streams if stream.codec_context is not None)


def _packets(path: Path, sound: Sound, *, early: float) -> Iterator[Packet[AudioStream]]:
    """Packets that start inside the piece, or up to `early` seconds before it; up to any damage."""
    low = sound.start - early
    for back in (1.0, 30.0, None):
        with open_video(path) as (container, _):
            stream = _track(container.streams.audio)
            begun = False
            try:
                if back is not None:
                    container.seek(int((low - back) / cast(Fraction, stream.time_base)), stream=stream)
                for number, packet in enumerate(container.demux(stream)):
                    if packet.pts is None or not packet.size:
                        continue
                    time = float(packet.pts * packet.time_base)
                    if number == 0 and time > low and back is not None:
                        # the seek went too far, or this is where the sound begins: the next try knows
                        break
                    begun = True
                    if time >= sound.end:
                        return
                    if time >= low - 1e-6:
                        yield packet
            except av.FFmpegError:
                pass
            if begun:
                return


def _encoded(path: Path, sound: Sound, track: AudioStream) -> Iterator[Packet[AudioStream]]:
    wanted = round((sound.end - sound.start) * sound.rate)
    done = 0
    for position, samples_CN in _samples(path, sound):
        if abs(position - done) > (_JITTER * sound.rate if done else 0):
            if position > done:
                samples_CN = np.pad(samples_CN, ((0, 0), (position - done, 0)))
            else:
                samples_CN = samples_CN[:, done - position :]
        samples_CN = samples_CN[:, : wanted - done]
        if samples_CN.shape[1]:
            frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples_CN), format="fltp", layout=sound.layout)
            frame.sample_rate, frame.pts, frame.time_base = sound.rate, done, Fraction(1, sound.rate)
            done += samples_CN.shape[1]
            yield from track.encode(frame)
    yield from track.encode(None)


def _samples(path: Path, sound: Sound) -> Iterator[tuple[int, np.ndarray]]:
    """Decoded sound [C, N] float32, and the place of its first sample, counted from the piece's start."""
    resampler = AudioResampler("fltp", sound.layout, sound.rate)
    # decoders need the packet before, and a long one may reach into the piece
    for packet in _packets(path, sound, early=0.5):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            continue
        for frame in frames:
            if frame.pts is None:
                continue
            position = round((float(frame.pts * cast(Fraction, frame.time_base)) - sound.start) * sound.rate)
            for piece in resampler.resample(frame):
                yield position, piece.to_ndarray()
                position += piece.samples
