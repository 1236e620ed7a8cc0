"""Files that are damaged, cut off, of another kind or hostile: each one ends in an error with the path and a reason."""

from __future__ import annotations

import errno
import io
import os
import re
import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from reelseek.errors import NoVideoStream, TruncatedVideo, UnreachableVideo, UnreadableVideo, VideoError
from reelseek.video import container
from reelseek.video.decode import decode, probe
from reelseek.video.files import thumbnail
from reelseek.video.sample import middle
from video_clips import HEIGHT, WIDTH, make_clip, make_sound, number_of

BOTH_WAYS = pytest.mark.parametrize("keyframes", [False, True])


def _cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def _twelve(duration):
    return middle(duration, 12)


def _decode(path, keyframes=False):
    return decode(path, _twelve, keyframes=keyframes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.touch(), "is empty"),
        (lambda path: os.mkfifo(path), "is not an ordinary file"),
        (lambda path: path.write_text("a shopping list\n" * 500), "cannot be read as a video"),
        (lambda path: path.write_bytes(np.random.default_rng(0).bytes(50_000)), "cannot be read as a video"),
        (lambda path: path.write_bytes(b"\0" * 50_000), "cannot be read as a video"),
    ],
    ids=["missing", "folder", "empty", "pipe", "text", "noise", "zeros"],
)
def test_no_video(tmp_path, make, message, capfd):
    path = tmp_path / "holiday.mp4"
    make(path)
    for look in (probe, _decode):
        with pytest.raises(UnreadableVideo, match=f"{re.escape(str(path))}: .*{message}"):
            look(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (av.error.OSError(errno.EIO, "Input/output error"), UnreachableVideo),
        (av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory"), UnreachableVideo),
        (av.error.PermissionError(errno.EPERM, "Operation not permitted"), UnreadableVideo),
        (av.error.InvalidDataError(1, "Invalid data found when processing input"), UnreadableVideo),
    ],
)
def test_what_the_system_says_is_no_verdict_on_the_file(tmp_path, monkeypatch, error, kind):
    (tmp_path / "a.avi").write_bytes(b"x")

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(av, "open", fail)
    with pytest.raises(UnreadableVideo, match=error.strerror) as caught:
        _decode(tmp_path / "a.avi")
    assert type(caught.value) is kind


def test_a_path_that_no_file_system_takes():
    with pytest.raises(UnreadableVideo, match=r"cannot be opened|does not exist"):
        _decode("nul\0byte.mp4")
    with pytest.raises(UnreadableVideo):
        _decode("x" * 5000 + ".mp4")


def test_sound_alone(tmp_path):
    with pytest.raises(NoVideoStream, match="holds no pictures, only audio"):
        _decode(make_sound(tmp_path / "song.mp4"))


@pytest.mark.parametrize(
    "playlist",
    ["#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile {}\n"],
    ids=["hls", "concat"],
)
def test_a_playlist_opens_no_other_file(tmp_path, playlist):
    make_clip(tmp_path / "secret.ts")
    path = tmp_path / "harmless.mp4"
    path.write_text(playlist.format("secret.ts"))
    with pytest.raises(UnreadableVideo):
        _decode(path)


@BOTH_WAYS
def test_cut_off_with_the_index_at_the_end(tmp_path, keyframes):
    path = _cut(make_clip(tmp_path / "late_index.mp4", frames=150), 0.6)
    with pytest.raises(UnreadableVideo, match="incomplete"):
        _decode(path, keyframes)


@BOTH_WAYS
@pytest.mark.parametrize("name", ["index_first.mp4", "sound.mp4", "h264.mkv", "sound.mkv", "vp8.webm"])
def test_cut_off_says_how_far_it_is_readable(tmp_path, name, keyframes, capfd):
    webm = {"codec": "libvpx", "options": {"g": "12", "deadline": "realtime", "cpu-used": "8"}}
    path = make_clip(
        tmp_path / name,
        frames=150,
        container_options={"movflags": "faststart"} if name.endswith("mp4") else {},
        sound=5.0 if name.startswith("sound") else 0.0,
        **(webm if name.endswith("webm") else {}),
    )
    whole = _decode(path, keyframes)
    assert whole.duration == pytest.approx(5.0, abs=0.1)
    _cut(path, 0.6)
    with pytest.raises(TruncatedVideo) as caught:
        _decode(path, keyframes)
    readable, stated = map(float, re.search(r"up to ([\d.]+) s of ([\d.]+) s", str(caught.value)).groups())
    assert 0.2 < readable < 4.0
    assert stated == pytest.approx(5.0, abs=0.15)
    assert str(path) in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_cut_video_gives_what_lies_before_the_cut(tmp_path):
    path = _cut(make_clip(tmp_path / "cut.mkv", frames=150), 0.6)
    frames = decode(path, lambda duration: np.array([0.0, 1.0]))
    assert [number_of(pixels) for pixels in frames.pixels_FHW3] == [0, 30]


def test_a_cut_within_the_tolerance_is_let_pass(tmp_path):
    path = make_clip(tmp_path / "nearly.mkv", frames=150)
    with pytest.raises(TruncatedVideo):
        decode(_cut(path, 0.7), lambda duration: np.array([duration]))
    make_clip(path, frames=150)
    frames = decode(_cut(path, 0.95), lambda duration: np.array([duration]))
    assert number_of(frames.pixels_FHW3[0]) > 120


@BOTH_WAYS
@pytest.mark.parametrize("name", ["recording.ts", "fragments.mp4"])
def test_a_cut_file_that_states_no_length_is_a_shorter_video(tmp_path, name, keyframes):
    options = {"movflags": "frag_keyframe+empty_moov"} if name.endswith("mp4") else {}
    path = _cut(make_clip(tmp_path / name, frames=150, container_options=options), 0.6)
    frames = _decode(path, keyframes)
    assert 2.0 < frames.duration < 4.0


def test_scrambled_pictures(tmp_path, capfd):
    path = make_clip(tmp_path / "scrambled.mp4", container_options={"movflags": "faststart"})
    data = path.read_bytes()
    start = data.index(b"mdat") + 4
    path.write_bytes(data[:start] + np.random.default_rng(1).bytes(len(data) - start))
    for keyframes in (False, True):
        with pytest.raises(UnreadableVideo):
            _decode(path, keyframes)
    assert capfd.readouterr() == ("", "")


def test_a_scrambled_middle_is_not_bridged(tmp_path):
    path = make_clip(tmp_path / "hole.mp4", frames=180, container_options={"movflags": "faststart"})
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    low, high = (start + int((len(data) - start) * share) for share in (0.3, 0.8))
    data[low:high] = b"\0" * (high - low)
    path.write_bytes(data)
    with pytest.raises(UnreadableVideo, match=r"damaged: no picture between [\d.]+ s and [\d.]+ s"):
        _decode(path)
    assert number_of(decode(path, lambda _: np.array([0.5])).pixels_FHW3[0]) == 15


def test_an_absurd_length_is_not_believed(tmp_path):
    path = make_clip(tmp_path / "eternal.mkv")
    data = path.read_bytes()
    # Matroska's Duration element (0x4489), eight bytes long, in milliseconds; and its copy in the tags
    place = data.index(b"\x44\x89\x88") + 3
    data = data[:place] + struct.pack(">d", 1e15) + data[place + 8 :]
    path.write_bytes(data.replace(b"DURATION", b"DURATIOM"))
    assert probe(path).duration == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("a.mp4", {}),
        ("a.ts", {}),
        ("a.webm", {"codec": "libvpx-vp9", "options": {}}),
        ("a.mov", {"codec": "png", "pixel_format": "rgb24", "options": {}}),
        ("a.avi", {"codec": "mjpeg", "pixel_format": "yuvj420p", "options": {}}),
    ],
)
@BOTH_WAYS
def test_pictures_of_too_many_pixels_are_not_decoded(tmp_path, monkeypatch, name, settings, keyframes):
    path = make_clip(tmp_path / name, frames=20, **settings)
    monkeypatch.setattr(container, "LARGEST", WIDTH * HEIGHT)
    assert _decode(path, keyframes).pixels_FHW3.shape == (12, HEIGHT, WIDTH, 3)
    monkeypatch.setattr(container, "LARGEST", WIDTH * HEIGHT - 1)
    for look in (probe, lambda path: _decode(path, keyframes)):
        with pytest.raises(UnreadableVideo, match=rf"{re.escape(str(path))}: .* pixels"):
            look(path)


def _black(path, *sides, frames=15):
    """A video of black squares, five a second: the stream changes their size on the way."""
    streams = []
    for side in sides:
        file = io.BytesIO()
        with av.open(file, "w", format="h264") as output:
            stream = output.add_stream("libx264", rate=5, options={"preset": "ultrafast"})
            stream.width, stream.height, stream.pix_fmt = side, side, "yuv420p"
            for _ in range(frames):
                output.mux(stream.encode(av.VideoFrame(side, side, "yuv420p")))
            output.mux(stream.encode(None))
        streams.append(file.getvalue())
    with av.open(io.BytesIO(b"".join(streams)), format="h264") as source, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(packet for packet in source.demux(video=0) if packet.size):
            packet.pts = packet.dts = number
            packet.time_base, packet.stream = Fraction(1, 5), stream
            output.mux(packet)
    return path


@BOTH_WAYS
def test_a_stream_whose_pictures_become_too_large_is_damaged_there(tmp_path, monkeypatch, keyframes):
    path = _black(tmp_path / "grows.ts", 64, 256, 64)
    times_F = np.array([0.4, 4.3, 8.4])
    assert decode(path, lambda _: times_F, keyframes=keyframes).pixels_FHW3.shape == (3, 64, 64, 3)
    monkeypatch.setattr(container, "LARGEST", 64 * 64)
    assert decode(path, lambda _: times_F[[0, 2]], keyframes=keyframes).pixels_FHW3.shape == (2, 64, 64, 3)
    with pytest.raises(UnreadableVideo, match=r"damaged: no picture between 3\.0 s and 4\.3 s"):
        decode(path, lambda _: times_F, keyframes=keyframes)


def test_a_picture_of_a_hundred_million_pixels_in_few_bytes_is_refused_and_8k_is_not(tmp_path):
    path = _black(tmp_path / "bomb.ts", 10_000, frames=1)
    assert path.stat().st_size < 1 << 20
    for look in (probe, lambda path: thumbnail(path, 0.0)):
        with pytest.raises(UnreadableVideo, match="10,000 x 10,000 pixels, more than the 89,478,485 that are decoded"):
            look(path)
    # as many as 8K has
    assert thumbnail(_black(tmp_path / "large.ts", 5760, frames=1), 0.0)[:2] == b"\xff\xd8"


def _damage(data, draw):
    """Overwrite, cut or repeat a stretch of a file."""
    data = bytearray(data)
    for _ in range(draw.integers(1, 6)):
        low = int(draw.integers(0, len(data)))
        high = min(len(data), low + int(draw.integers(1, 400)))
        kind = draw.integers(0, 3)
        if kind == 0:
            data[low:high] = draw.bytes(high - low)
        elif kind == 1 and high - low < len(data):
            del data[low:high]
        else:
            data[low:low] = data[low:high]
    return bytes(data)


def _fuzz(folder, rounds):
    draw = np.random.default_rng(0)
    mpeg2 = {"codec": "mpeg2video"}
    kinds = {"a.mp4": {}, "a.mkv": {}, "a.ts": {}, "a.avi": {"codec": "mpeg4", "options": {"g": "12"}}, "a.mpg": mpeg2}
    sources = [make_clip(folder / name, frames=40, **settings) for name, settings in kinds.items()]
    outcomes = {"frames": 0, "errors": 0}
    for number in range(rounds):
        source = sources[number % len(sources)]
        path = folder / f"damaged{source.suffix}"
        path.write_bytes(_damage(source.read_bytes(), draw))
        try:
            frames = decode(path, lambda duration: middle(duration, 4), keyframes=bool(number // 5 % 2))
        except VideoError:
            outcomes["errors"] += 1
        else:
            assert frames.pixels_FHW3.shape[0] == len(frames.times_F) == 4
            assert np.isfinite(frames.times_F).all()
            outcomes["frames"] += 1
    return outcomes


def test_damage_ends_in_frames_or_in_a_video_error(tmp_path):
    outcomes = _fuzz(tmp_path, 60)
    assert min(outcomes.values()) > 0


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_damage_ends_in_frames_or_in_a_video_error_many_times(tmp_path):
    assert sum(_fuzz(tmp_path, 5000).values()) == 5000


@BOTH_WAYS
def test_files_put_one_after_the_other_are_not_half_a_video(tmp_path, keyframes):
    """A player shows both parts; by its clock the second one lies where the first does."""
    part = make_clip(tmp_path / "part.ts", frames=120)
    both = tmp_path / "both.ts"
    both.write_bytes(part.read_bytes() * 2)
    with pytest.raises(UnreadableVideo, match=r"clock begins anew.* [34]\.\d s of it"):
        _decode(both, keyframes)
    assert _decode(part, keyframes).duration == pytest.approx(4.0, abs=0.1)
    assert number_of(decode(both, lambda duration: np.array([1.01]), keyframes=False).pixels_FHW3[0]) == 30


def test_a_clock_that_steps_back_a_little_costs_no_video(tmp_path):
    parts = []
    for frames, shift in ((300, 0), (420, 8)):  # two of 24 seconds lie behind others
        part = make_clip(tmp_path / f"{frames}.mp4", frames=frames)
        parts.append(tmp_path / f"{frames}.ts")
        with av.open(str(part)) as source, av.open(str(parts[-1]), "w") as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    ticks = round(shift / packet.time_base)
                    packet.pts, packet.dts, packet.stream = packet.pts + ticks, packet.dts + ticks, stream
                    target.mux(packet)
    (tmp_path / "all.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    assert _decode(tmp_path / "all.ts").duration == pytest.approx(22.0, abs=0.2)
