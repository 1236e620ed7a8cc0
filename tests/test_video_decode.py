from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import av
import numpy as np
import pytest

from reelseek.config import SampleConfig
from reelseek.errors import TruncatedVideo
from reelseek.video.container import last_packet_end, open_video, read_timeline
from reelseek.video.cursor import Cursor
from reelseek.video.decode import decode, probe
from reelseek.video.sample import sample_times
from reelseek.video.transform import CLIP, preprocess
from video_clips import HEIGHT, WIDTH, make_clip, number_of, numbered, plain_read

NTSC = Fraction(30000, 1001)
VARIABLE = [0, 1, 2, 3, 10, 11, 12, 40, 41, 42, 43, 44, 90, 91, 92, 93, 94, 95, 96, 130, 131, 150, 151, 152]
CLIPS = {
    "h264.mp4": {},
    "ntsc.mp4": {"rate": NTSC, "frames": 90},
    "index_first.mp4": {"container_options": {"movflags": "faststart"}},
    "fragments.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "open_gop.mp4": {"options": {"g": "12", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}},
    "open_gop.mkv": {"options": {"g": "12", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}},
    "one_key_frame.mp4": {"options": {"g": "999", "bf": "2", "sc_threshold": "0"}},
    "one_key_frame.mkv": {"options": {"g": "999", "bf": "2", "sc_threshold": "0"}, "rate": 1},
    "variable.mp4": {"ticks": VARIABLE, "frames": len(VARIABLE)},
    "variable.mkv": {"ticks": VARIABLE, "frames": len(VARIABLE)},
    "sound.mp4": {"sound": 2.0},
    "h264.mkv": {},
    "live.mkv": {"container_options": {"live": "1"}},
    "h264.ts": {},
    "slow.ts": {"rate": 1},
    "mpeg2.mpg": {"codec": "mpeg2video"},
    "slow.flv": {"rate": 1, "options": {"g": "6", "bf": "2", "sc_threshold": "0"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "12"}},
    "vp9.webm": {"codec": "libvpx-vp9", "frames": 30, "options": {"g": "10", "deadline": "realtime", "cpu-used": "8"}},
    "animated.gif": {"codec": "gif", "pixel_format": "rgb8", "rate": 10, "frames": 25},
    "one_frame.mp4": {"frames": 1},
    "one_frame.gif": {"codec": "gif", "pixel_format": "rgb8", "rate": 10, "frames": 1},
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return {name: make_clip(folder / name, **settings) for name, settings in CLIPS.items()}


def _wanted_times(duration: float) -> np.ndarray:
    """Unsorted, with repetitions, dense and sparse, up to the end and past it."""
    draw = np.random.default_rng(0).uniform(0, duration, 12)
    return np.concatenate([draw, draw[:2], [duration * 0.9, 0.0, duration, duration + 5.0]])


def _on_screen(read: list[tuple[float, int, bool]], time: float) -> tuple[float, int]:
    """The definition: the last frame that starts at or before `time`, the first one where none does."""
    shown = read[0]
    for frame in read:
        if frame[0] <= time + 1e-6:
            shown = frame
    return shown[:2]


@pytest.mark.parametrize("name", CLIPS)
def test_the_frame_on_screen_is_returned(clips, name):
    read = plain_read(clips[name])
    assert [number for _, number, _ in read] == list(range(CLIPS[name].get("frames", 60)))
    frames = decode(clips[name], _wanted_times)
    expected = [_on_screen(read, time) for time in _wanted_times(frames.duration)]
    assert [number_of(pixels) for pixels in frames.pixels_FHW3] == [number for _, number in expected]
    np.testing.assert_allclose(frames.times_F, [time for time, _ in expected], atol=2e-6)
    assert frames.pixels_FHW3.dtype == np.uint8
    assert frames.pixels_FHW3.shape[1:] == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("name", CLIPS)
def test_a_single_frame_is_the_same_as_in_a_batch(clips, name):
    together = decode(clips[name], _wanted_times)
    for number, time in enumerate(_wanted_times(together.duration)[:4]):
        alone = decode(clips[name], lambda _, time=time: np.array([time]))
        assert alone.times_F[0] == together.times_F[number]
        assert np.array_equal(alone.pixels_FHW3[0], together.pixels_FHW3[number])


@pytest.mark.parametrize("name", CLIPS)
def test_seeking_finds_what_reading_in_order_finds(clips, name):
    seeks = 0
    for gap in (0.01, 0.05, 0.3, 0.6):
        with open_video(clips[name]) as (seeking, stream), open_video(clips[name]) as (reading, plain_stream):
            timeline = read_timeline(clips[name], seeking, stream)
            fast = Cursor(seeking, stream, timeline.tick)
            slow = Cursor(reading, plain_stream, timeline.tick, may_seek=False)
            for time in np.arange(0.0, timeline.duration, gap * timeline.duration) + 0.003:
                fast.move_to(timeline.ticks(time))
                slow.move_to(timeline.ticks(time))
                assert (fast.here is None) == (slow.here is None)
                assert (fast.after is None) == (slow.after is None)
                if fast.here is not None and slow.here is not None:
                    assert fast.here.start == slow.here.start
                    same = [step.content.to_ndarray(format="rgb24") for step in (fast.here, slow.here)]
                    assert np.array_equal(*same)
            seeks += fast.seeks
            assert slow.seeks == 0
    # all the long files with an index, and slow ones without
    jumping = ("h264.mp4", "ntsc.mp4", "index_first.mp4", "fragments.mp4", "open_gop.mp4", "open_gop.mkv", "h264.mkv")
    if name in (*jumping, "mpeg4.avi", "vp9.webm", "slow.ts", "slow.flv"):
        assert seeks > 0


def test_a_file_with_one_key_frame_is_read_once_forward(clips):
    with open_video(clips["one_key_frame.mkv"]) as (container, stream):
        timeline = read_timeline(clips["one_key_frame.mkv"], container, stream)
        cursor = Cursor(container, stream, timeline.tick)
        for time in (1.0, 15.0, 30.0, 45.0, 59.0):
            cursor.move_to(timeline.ticks(time))
        assert cursor.seeks <= 1


@pytest.mark.parametrize("name", [name for name in CLIPS if not name.endswith("gif")])
def test_key_frames_are_the_nearest(clips, name):
    keys = [(time, number) for time, number, key in plain_read(clips[name]) if key]
    frames = decode(clips[name], _wanted_times, keyframes=True)
    for time, shown, pixels in zip(_wanted_times(frames.duration), frames.times_F, frames.pixels_FHW3, strict=True):
        assert abs(time - shown) <= min(abs(time - key) for key, _ in keys) + 1e-5
        assert number_of(pixels) in [number for key, number in keys if abs(key - shown) < 1e-5]


def test_key_frames_that_cannot_stand_alone_fall_back_to_exact_frames(clips, monkeypatch):
    monkeypatch.setattr("reelseek.video.decode.decode_alone", lambda stream, packet: None)
    frames = decode(clips["h264.mp4"], lambda _: np.array([0.5]), keyframes=True)
    assert [number_of(pixels) for pixels in frames.pixels_FHW3] == [15]


def test_frame_numbers_at_a_broadcast_rate(clips):
    frames = decode(
        clips["ntsc.mp4"], lambda duration: sample_times(duration, SampleConfig("fps", 90, fps=float(NTSC)))
    )
    assert [number_of(pixels) for pixels in frames.pixels_FHW3] == list(range(90))


def test_frames_stay_in_order_where_the_container_states_no_order(tmp_path):
    """AVI holds no presentation times: with B-frames a frame may be off by their number, but never out of order."""
    path = make_clip(tmp_path / "b_frames.avi", options={"g": "12", "bf": "2", "sc_threshold": "0"})
    frames = decode(path, lambda _: np.arange(60) / 30)
    numbers = [number_of(pixels) for pixels in frames.pixels_FHW3]
    assert np.abs(np.array(numbers) - np.arange(60)).max() <= 2
    assert (np.diff(numbers) >= 0).all()
    assert (np.diff(frames.times_F) >= 0).all()


@pytest.mark.parametrize("keyframes", [False, True])
def test_a_frames_own_time_finds_it_again(clips, keyframes):
    first = decode(clips["ntsc.mp4"], _wanted_times, keyframes=keyframes)
    again = decode(clips["ntsc.mp4"], lambda _: first.times_F, keyframes=keyframes)
    assert again.times_F.tolist() == first.times_F.tolist()


@pytest.mark.parametrize(("name", "duration", "fps", "codec"), [
    ("h264.mp4", 2.0, 30.0, "h264"),
    ("ntsc.mp4", 90 * 1001 / 30000, 30000 / 1001, "h264"),
    ("live.mkv", 2.0, 30.0, "h264"),
    ("h264.ts", 2.0, 30.0, "h264"),
    ("mpeg4.avi", 2.0, 30.0, "mpeg4"),
    ("vp9.webm", 1.0, 30.0, "vp9"),
    ("animated.gif", 2.5, 10.0, "gif"),
    ("one_frame.mp4", 1 / 30, 30.0, "h264"),
])  # fmt: skip
def test_probe(clips, name, duration, fps, codec):
    info = probe(clips[name])
    assert info.duration == pytest.approx(duration, abs=0.002)
    assert info.fps == pytest.approx(fps)
    assert (info.width, info.height, info.rotation, info.codec) == (WIDTH, HEIGHT, 0, codec)


def test_an_unstated_length_is_read_from_the_packets(clips):
    with av.open(str(clips["live.mkv"])) as container:
        assert container.duration is None
        assert container.streams.video[0].duration is None
    assert last_packet_end(clips["live.mkv"], pictures_only=True) == pytest.approx(2.0, abs=0.002)


@pytest.mark.parametrize("angle", [0, 90, 180, -90])
def test_rotation_is_applied(tmp_path, angle):
    path = make_clip(tmp_path / "turned.mp4", frames=2, rotation=angle)
    frames = decode(path, lambda _: np.array([0.04]))
    upright = np.rot90(numbered(1), angle // 90)
    assert frames.pixels_FHW3.shape[1:] == upright.shape
    assert np.abs(frames.pixels_FHW3[0].astype(int) - upright).mean() < 12
    info = probe(path)
    assert (info.height, info.width) == upright.shape[:2]
    assert info.rotation == angle % 360


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_sound_that_outlasts_the_pictures_is_no_damage(tmp_path, suffix):
    path = make_clip(tmp_path / f"long_sound.{suffix}", sound=6.0)
    frames = decode(path, lambda duration: np.array([0.0, duration]))
    assert [number_of(pixels) for pixels in frames.pixels_FHW3] == [0, 59]
    assert frames.duration == pytest.approx(2.0, abs=0.01)


def test_pictures_that_start_late_keep_the_players_clock(tmp_path):
    path = make_clip(tmp_path / "late.mp4", sound=4.0, ticks=list(range(30, 90)))
    frames = decode(path, lambda _: np.array([0.2, 1.0, 2.0]))
    assert [number_of(pixels) for pixels in frames.pixels_FHW3] == [0, 0, 30]
    np.testing.assert_allclose(frames.times_F, [1.0, 1.0, 2.0], atol=0.01)
    assert frames.duration == pytest.approx(3.0, abs=0.01)


def _stated(path, *, tag: float | None, whole: float):
    """The Matroska file with other lengths: the pictures' tag (none if None) and the file's own, in seconds."""
    data = path.read_bytes()
    value = data.index(b"DURATION\x44\x87") + len("DURATION") + 3
    assert data[value : value + 6] == b"00:00:"
    if tag is None:
        data = data.replace(b"DURATION", b"DURATIOM")
    else:
        data = data[:value] + f"00:00:{tag:012.9f}".encode() + data[value + 18 :]
    # Matroska's Duration element (0x4489), eight bytes long, in milliseconds
    place = data.index(b"\x44\x89\x88") + 3
    path.write_bytes(data[:place] + struct.pack(">d", 1000 * whole) + data[place + 8 :])
    return path


@pytest.mark.parametrize(
    ("tag", "whole"),
    [(4.0, 4.0), (3.0, 3.0), (None, 4.0), (None, 3.0)],
    ids=["as FFmpeg", "as mkvmerge", "as FFmpeg, no tag", "as mkvmerge, no tag"],
)
def test_a_matroska_file_that_starts_late_keeps_its_length(tmp_path, tag, whole):
    """FFmpeg states the end on the clock, mkvmerge the length."""
    path = make_clip(tmp_path / "late.mkv", frames=90, ticks=list(range(30, 120)))
    assert probe(path).duration == pytest.approx(3.0, abs=0.01)
    _stated(path, tag=tag, whole=whole)
    frames = decode(path, lambda duration: np.array([0.0, duration / 2, duration]))
    assert frames.duration == pytest.approx(3.0, abs=0.01)
    assert [number_of(pixels) for pixels in frames.pixels_FHW3] == [0, 45, 89]


def test_pictures_behind_the_sound_keep_their_length_in_a_matroska_file(tmp_path):
    path = make_clip(tmp_path / "behind.mkv", frames=90, ticks=list(range(60, 150)), sound=5.0)
    _stated(path, tag=3.0, whole=5.0)
    frames = decode(path, lambda duration: np.array([duration]))
    assert frames.duration == pytest.approx(5.0, abs=0.1)
    assert number_of(frames.pixels_FHW3[0]) == 89


@pytest.mark.parametrize("tag", [4.0, None])
def test_a_cut_matroska_file_that_starts_late_is_called_so(tmp_path, tag):
    path = make_clip(tmp_path / "cut.mkv", frames=90, ticks=list(range(30, 120)))
    data = _stated(path, tag=tag, whole=4.0).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(TruncatedVideo, match=r"of 3\.0 s; the file is cut off"):
        decode(path, lambda duration: np.array([duration]))


def test_a_cover_image_is_not_taken_for_the_video(tmp_path):
    path = tmp_path / "cover.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        moving = container.add_stream("libx264", rate=10)
        moving.width, moving.height, moving.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        still = av.VideoFrame(64, 64, "yuvj420p")
        still.pts = 0
        container.mux(cover.encode(still))
        for number in range(5):
            picture = av.VideoFrame.from_ndarray(numbered(number), format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, 10)
            container.mux(moving.encode(picture))
        container.mux(cover.encode(None))
        container.mux(moving.encode(None))
    frames = decode(path, lambda _: np.array([0.35]))
    assert number_of(frames.pixels_FHW3[0]) == 3


def test_a_change_of_size_keeps_the_first_size(tmp_path):
    parts = [make_clip(tmp_path / "narrow.h264", frames=10)]
    wide = tmp_path / "wide.h264"
    with av.open(str(wide), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 2 * WIDTH, 2 * HEIGHT, "yuv420p"
        for number in range(10, 20):
            picture = av.VideoFrame.from_ndarray(numbered(number), format="rgb24")
            picture = picture.reformat(2 * WIDTH, 2 * HEIGHT, "yuv420p", interpolation="POINT")
            picture.pts, picture.time_base = number, Fraction(1, 30)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    path = tmp_path / "both.ts"
    with av.open(str(path), "w") as output:
        copy = None
        for position, part in enumerate([*parts, wide]):
            with av.open(str(part)) as source:
                pictures = source.streams.video[0]
                copy = copy or output.add_stream_from_template(pictures)
                for order, packet in enumerate(packet for packet in source.demux(pictures) if packet.size):
                    packet.stream = copy
                    packet.time_base = Fraction(1, 30)
                    packet.pts = packet.dts = 10 * position + order
                    output.mux(packet)
    frames = decode(path, lambda _: np.array([0.1, 0.5]))
    assert frames.pixels_FHW3.shape == (2, HEIGHT, WIDTH, 3)
    assert number_of(frames.pixels_FHW3[1]) >= 10


def test_resizing_while_decoding_changes_nothing(clips):
    spec = CLIP._replace(resize=24, crop=20)
    large = decode(clips["h264.mp4"], _wanted_times)
    small = decode(clips["h264.mp4"], _wanted_times, shape=spec)
    assert small.pixels_FHW3.shape[1:] == (24, 24 * WIDTH // HEIGHT, 3)
    assert bool((preprocess(small.pixels_FHW3, spec) == preprocess(large.pixels_FHW3, spec)).all())


@pytest.mark.parametrize("times", [[], [[0.0]], [-0.1], [float("nan")], [float("inf")]])
def test_times_that_are_none_are_refused(clips, times):
    with pytest.raises(ValueError, match="times must be"):
        decode(clips["h264.mp4"], lambda _: np.array(times))


def test_videos_decode_side_by_side(clips):
    names = ["h264.mp4", "mpeg2.mpg", "h264.mkv", "vp9.webm"] * 3
    alone = {name: decode(clips[name], _wanted_times) for name in set(names)}
    with ThreadPoolExecutor(4) as pool:
        for name, frames in zip(names, pool.map(lambda name: decode(clips[name], _wanted_times), names), strict=True):
            assert np.array_equal(frames.pixels_FHW3, alone[name].pixels_FHW3)


def test_the_error_of_the_choice_passes_through(clips):
    def refuse(duration: float) -> np.ndarray:
        raise KeyError(duration)

    with pytest.raises(KeyError):
        decode(clips["h264.mp4"], refuse)
