"""Clips are read back by PyAV: which frames they hold, how long they last, whether sound keeps to the pictures."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest

from reelseek.errors import ExportError, NoVideoStream, UnreadableVideo, VideoError
from reelseek.video.cut import Cut, cut
from reelseek.video.decode import probe
from video_clips import HEIGHT, WIDTH, make_clip, make_sound, numbered, plain_read

RATE = 16000
NO_REORDER = {"g": "12", "bf": "0", "sc_threshold": "0"}


class Read(NamedTuple):
    """What another reader finds in a clip: frame numbers, their times, and the length of the pictures in seconds."""

    numbers: list[int]
    times: list[float]
    seconds: float
    codec: str


def read(path: Path) -> Read:
    frames = plain_read(path)
    with av.open(str(path)) as container:
        assert "mp4" in container.format.name
        stream = container.streams.video[0]
        seconds = float(stream.duration * stream.time_base)
        return Read([f[1] for f in frames], [f[0] for f in frames], seconds, stream.codec_context.name)


def sound(path: Path) -> np.ndarray:
    """Samples [N] of the first second and more, each at its time from the file's start; silence where there is none."""
    samples_N = np.zeros(RATE * 4)
    with av.open(str(path)) as container:
        zero = (container.start_time or 0) / av.time_base
        resampler = av.AudioResampler("flt", "mono", RATE)
        for frame in container.decode(audio=0):
            place = round((frame.time - zero) * RATE)
            for piece in resampler.resample(frame):
                new_N = piece.to_ndarray()[0]
                skipped = max(0, -place)
                place = max(0, place)
                new_N = new_N[skipped : skipped + len(samples_N) - place]
                samples_N[place : place + len(new_N)] = new_N
                place += len(new_N)
    return samples_N


def noise(seconds: float) -> np.ndarray:
    """Low noise [N]: whichever way it is shifted, it is not like itself."""
    rough_N = np.random.default_rng(0).standard_normal(round(seconds * RATE))
    return np.convolve(rough_N, np.ones(8) / 8, "same").clip(-1, 1).astype(np.float32) * 0.5


def talking(path: Path, voice: str, *, video: str = "libx264", options: dict[str, str] | None = None) -> Path:
    """Three seconds of numbered frames at 20 a second with noise beside them."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(video, rate=20)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = NO_REORDER if options is None else options
        heard = container.add_stream(voice, rate=RATE if voice != "libopus" else 48000, layout="mono")
        for number in range(60):
            picture = av.VideoFrame.from_ndarray(numbered(number), format="rgb24").reformat(format="yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, 20)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        samples_N = noise(3.0)
        for low in range(0, len(samples_N), 800):
            block = av.AudioFrame.from_ndarray(samples_N[None, low : low + 800], format="flt", layout="mono")
            block.sample_rate, block.pts, block.time_base = RATE, low, Fraction(1, RATE)
            container.mux(heard.encode(block))
        container.mux(heard.encode(None))
    return path


def lag(clip: Path, source: Path, start: float, seconds: float) -> float:
    """Seconds by which the clip's sound comes late, and a proof that it is the same sound at all."""
    from_, until = round(0.15 * RATE), round((seconds - 0.15) * RATE)
    mine_N, theirs_N = sound(clip)[from_:until], sound(source)
    alike = {
        shift: np.corrcoef(mine_N, theirs_N[round(start * RATE) + from_ - shift :][: len(mine_N)])[0, 1]
        for shift in range(-800, 801, 4)
    }
    best = max(alike, key=lambda shift: alike[shift])
    assert alike[best] > 0.8
    return best / RATE


@pytest.fixture
def still(tmp_path: Path) -> Path:
    """60 frames at 30 a second, a key frame every 12, none out of order."""
    return make_clip(tmp_path / "still.mp4", options=NO_REORDER)


@pytest.mark.parametrize(
    ("start", "end", "frames"), [(0.4, 1.2, range(12, 36)), (0.0, 9.0, range(60)), (1.6, 2.0, range(48, 60))]
)
def test_from_a_key_frame_packets_are_copied(
    still: Path, tmp_path: Path, start: float, end: float, frames: range
) -> None:
    done = cut(still, start, end, tmp_path / "clip.mp4")
    assert done == Cut(pytest.approx(start), pytest.approx(min(end, 2.0), abs=1e-6), True, "none", "")
    found = read(tmp_path / "clip.mp4")
    assert found.numbers == list(frames)
    assert found.times == pytest.approx([n / 30 for n in range(len(frames))], abs=1e-3)
    assert found.seconds == pytest.approx(len(frames) / 30, abs=1e-3)
    assert packets(still)[frames[0] : frames[-1] + 1] == packets(tmp_path / "clip.mp4")


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def every_way(source: Path, start: float, end: float) -> list[int]:
    """The frames on screen from start to end, by looking at each frame of a plain read."""
    frames = plain_read(source)
    ends = [*(frame[0] for frame in frames[1:]), frames[-1][0] + 1 / 30]
    return [
        number
        for (shown, number, _), after in zip(frames, ends, strict=True)
        if after > start + 1e-6 and shown < end - 1e-6
    ]


@pytest.mark.parametrize(("start", "end"), [(0.1, 0.5), (0.41, 0.93), (1.0, 1.0), (0.99, 2.0), (1.97, 5.0)])
@pytest.mark.parametrize(
    "options", [NO_REORDER, {"g": "12", "bf": "2", "sc_threshold": "0"}], ids=["plain", "reordered"]
)
def test_between_key_frames_pictures_are_encoded(
    tmp_path: Path, options: dict[str, str], start: float, end: float
) -> None:
    source = make_clip(tmp_path / "source.mp4", options=options)
    done = cut(source, start, end, tmp_path / "clip.mp4")
    wanted = every_way(source, start, max(end, start + 1e-3))
    found = read(tmp_path / "clip.mp4")
    assert found.numbers == wanted
    assert found.codec == "h264"
    assert abs(found.seconds - len(wanted) / 30) < 1e-3
    assert abs(found.seconds - (done.end - done.start)) < 1e-3
    assert done.start <= start + 1e-6 < done.start + 1 / 30 + 1e-6
    if done.copied:
        assert plain_read(source)[wanted[0]][2], "copied from a key frame"
    else:
        assert done.why in ("the start lies between key frames", "pictures before the end need later ones")


def test_behind_the_end_is_the_last_picture(still: Path, tmp_path: Path) -> None:
    assert not cut(still, 7.0, 8.0, tmp_path / "clip.mp4").copied
    assert read(tmp_path / "clip.mp4").numbers == [59]


def test_copy_starts_at_the_key_frame_before(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "source.mp4")
    done = cut(source, 0.9, 1.3, tmp_path / "clip.mp4", mode="copy")
    assert done.copied
    assert done.start == pytest.approx(0.8)
    found = read(tmp_path / "clip.mp4")
    assert found.numbers[:15] == list(range(24, 39))
    assert found.times == pytest.approx([(n - 24) / 30 for n in found.numbers], abs=1e-3)
    assert len(found.numbers) <= 15 + 2, "at most the pictures that earlier ones need"
    assert done.end - done.start == pytest.approx(found.seconds, abs=0.04)


@pytest.mark.parametrize("mode", ["exact", "copy"])
@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts", "mov", "flv", "avi", "mpg", "wmv", "webm", "nut"])
def test_every_container(tmp_path: Path, ending: str, mode: str) -> None:
    codec = {"avi": "mpeg4", "mpg": "mpeg2video", "wmv": "wmv2", "webm": "libvpx"}.get(ending, "libx264")
    options = {"g": "12", "bf": "0", "sc_threshold": "0"} if codec == "libx264" else {"g": "12", "b": "2M"}
    source = make_clip(tmp_path / f"source.{ending}", codec=codec, options=options)
    key = plain_read(source)[12][0]
    for start, end in ((key, key + 0.4), (key + 0.13, 1.52)):
        done = cut(source, start, end, tmp_path / "clip.mp4", mode=mode)
        found = read(tmp_path / "clip.mp4")
        wanted = every_way(source, done.start, end)
        assert wanted[0] == every_way(source, start, end)[0] or (mode == "copy" and done.copied and wanted[0] == 12)
        assert found.numbers == wanted
        assert abs(found.seconds - len(wanted) / 30) < 0.034
        assert done.copied == (codec in ("libx264", "mpeg4") and (mode == "copy" or start == key)), done


@pytest.mark.parametrize("start", [0.6, 0.75])
@pytest.mark.parametrize(
    ("name", "voice", "kept"),
    [
        ("a.mp4", "aac", "copied"), ("a.mkv", "flac", "copied"), ("a.ts", "aac", "copied"),
        ("a.mkv", "libopus", "copied"),
        ("a.mov", "pcm_s16le", "encoded"), ("a.avi", "libmp3lame", "copied"), ("a.mpg", "mp2", "encoded"),
    ],
)  # fmt: skip
def test_sound_keeps_to_the_pictures(tmp_path: Path, name: str, voice: str, kept: str, start: float) -> None:
    video = {".mpg": "mpeg2video", ".avi": "mpeg4"}.get(Path(name).suffix, "libx264")
    source = talking(tmp_path / name, voice, video=video, options=NO_REORDER if video == "libx264" else {"g": "12"})
    done = cut(source, start, 2.0, tmp_path / "clip.mp4")
    assert done.sound == kept
    seconds = done.end - done.start
    assert abs(lag(tmp_path / "clip.mp4", source, done.start, seconds)) <= 0.002
    with av.open(str(tmp_path / "clip.mp4")) as container:
        heard = container.streams.audio[0]
        assert abs(float(heard.duration * heard.time_base) - seconds) < 0.08


def test_sound_that_ends_early_or_is_not_there(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", sound=1.0)
    assert cut(source, 1.2, 2.0, tmp_path / "silent.mp4").sound == "none"
    with av.open(str(tmp_path / "silent.mp4")) as container:
        assert not container.streams.audio
    assert cut(source, 0.0, 2.0, tmp_path / "half.mp4").sound == "copied"
    with av.open(str(tmp_path / "half.mp4")) as container:
        assert container.duration / av.time_base == pytest.approx(2.0, abs=0.1)


def test_uneven_times_and_stills_are_kept(tmp_path: Path) -> None:
    ticks = [0, 1, 2, 10, 11, 40]
    source = make_clip(tmp_path / "a.mkv", frames=6, ticks=ticks, options={"g": "100", "bf": "0"})
    cut(source, 20 / 30, 42 / 30, tmp_path / "clip.mp4")
    found = read(tmp_path / "clip.mp4")
    assert found.numbers == [4, 5]
    assert found.times == pytest.approx([0, 20 / 30], abs=2e-3)
    cut(source, 0.07, 11 / 30, tmp_path / "clip.mp4")
    found = read(tmp_path / "clip.mp4")
    assert (found.numbers, found.times) == ([2, 3], pytest.approx([0, 8 / 30], abs=4e-3))


@pytest.mark.parametrize(("start", "end", "mode"), [(0.8, 5.0, "exact"), (0.05, 3.1, "exact"), (0.8, 5.0, "copy")])
def test_a_clip_of_uneven_pictures_out_of_order_states_its_whole_length(
    tmp_path: Path, start: float, end: float, mode: str
) -> None:
    ticks = [33 * n if n < 20 else 660 + 210 * (n - 20) for n in range(40)]
    source = make_clip(tmp_path / "a.mp4", frames=40, rate=1000, ticks=ticks)
    done = cut(source, start, end, tmp_path / "clip.mp4", mode=mode)
    assert done.copied == (mode == "copy")
    assert read(tmp_path / "clip.mp4").seconds == pytest.approx(done.end - done.start, abs=2e-3)


@pytest.mark.parametrize("mode", ["exact", "copy"])
@pytest.mark.parametrize("options", [{"g": "100", "bf": "0"}, {"g": "100", "bf": "2", "b_strategy": "0"}], ids=str)
@pytest.mark.parametrize("ending", ["mkv", "ts"])
def test_a_still_at_the_end_of_a_piece_stays_as_long_as_it_was(
    tmp_path: Path, ending: str, options: dict[str, str], mode: str
) -> None:
    """Ten pictures in a third of a second, the last of them for three; packets may say that it lasts a thirtieth."""
    ticks = [*range(10), 100, 101]
    source = make_clip(tmp_path / f"a.{ending}", frames=12, ticks=ticks, options=options, sound=3.3)
    key = plain_read(source)[0][0]
    for start, end in ((key, 1.0), (2.0, 3.0)):
        done = cut(source, start, end, tmp_path / "clip.mp4", mode=mode)
        assert done.copied == (mode == "copy" or start == key)
        assert done.start == pytest.approx(key if done.copied else start, abs=2e-3)
        assert done.end == pytest.approx(end, abs=2e-3)
        found = read(tmp_path / "clip.mp4")
        assert found.numbers == (list(range(10)) if done.copied else [9])
        assert found.seconds == pytest.approx(done.end - done.start, abs=2e-3)
        with av.open(str(tmp_path / "clip.mp4")) as container:
            heard = container.streams.audio[0]
            assert float(heard.duration * heard.time_base) == pytest.approx(found.seconds, abs=0.14)


@pytest.mark.parametrize("mode", ["exact", "copy"])
def test_wherever_a_run_of_pictures_out_of_order_is_cut_none_is_lost(tmp_path: Path, mode: str) -> None:
    options = {"g": "30", "bf": "5", "sc_threshold": "0", "b_strategy": "0"}
    source = make_clip(tmp_path / "a.mp4", frames=20, options=options)
    for after in range(1, 9):
        done = cut(source, 0.0, after / 30, tmp_path / "clip.mp4", mode=mode)
        numbers = read(tmp_path / "clip.mp4").numbers
        assert numbers[:after] == list(range(after))
        assert len(numbers) == after or (mode == "copy" and done.copied)


def test_a_piece_that_ends_where_a_picture_starts_goes_without_it(tmp_path: Path) -> None:
    """Times as they are read come out a hair above the tick that they stand for."""
    source = make_clip(tmp_path / "a.mp4", options=NO_REORDER)
    for number in (1, 7, 12, 23):
        cut(source, 0.0, number / 30 + 5e-6, tmp_path / "clip.mp4")
        assert read(tmp_path / "clip.mp4").numbers == list(range(number))


@pytest.mark.parametrize(("periods", "whole"), [(0.5, True), (1.5, False)])
def test_only_a_picture_that_stands_longer_than_most_is_cut_into(tmp_path: Path, periods: float, whole: bool) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=12, ticks=[*range(10), 100, 101], options={"g": "100", "bf": "0"})
    with av.open(str(source)) as container:
        start = 0.3 + periods / float(container.streams.video[0].average_rate)
    assert cut(source, start, 3.0, tmp_path / "clip.mp4").start == pytest.approx(0.3 if whole else start, abs=2e-3)
    assert read(tmp_path / "clip.mp4").numbers == [9]


@pytest.mark.parametrize(("ending", "codec"), [("webm", "libvpx-vp9"), ("mkv", "libsvtav1"), ("mp4", "mpeg4")])
def test_what_players_of_mp4_know_is_copied(tmp_path: Path, ending: str, codec: str) -> None:
    source = make_clip(tmp_path / f"a.{ending}", frames=24, codec=codec, options={"g": "12"})
    assert cut(source, 0.0, 0.4, tmp_path / "clip.mp4").copied
    assert read(tmp_path / "clip.mp4").numbers == list(range(12))


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("start", [0.4, 0.5])
def test_clips_stand_upright_as_their_source(tmp_path: Path, rotation: int, start: float) -> None:
    source = make_clip(tmp_path / "a.mp4", options=NO_REORDER, rotation=rotation)
    done = cut(source, start, 1.2, tmp_path / "clip.mp4")
    assert done.copied == (start == 0.4)
    was, now = probe(source), probe(tmp_path / "clip.mp4")
    assert (now.width, now.height, now.rotation) == (was.width, was.height, was.rotation)


def test_odd_sizes_and_shapes_of_pixels(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "100"})
        stream.width, stream.height, stream.pix_fmt = 63, 35, "yuv444p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((35, 63, 3), 90, np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    assert not cut(tmp_path / "a.mkv", 0.2, 1, tmp_path / "clip.mp4").copied
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.sample_aspect_ratio) == (62, 34, Fraction(16, 11))
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert abs(next(container.decode(stream)).to_ndarray(format="rgb24").astype(int) - 90).max() < 6


@pytest.mark.parametrize("whole_range", [True, False])
def test_encoded_pictures_keep_their_colours_and_say_how_they_are_meant(tmp_path: Path, whole_range: bool) -> None:
    """BT.709, in all 256 steps or in those of television: read the other way, red would be another red."""
    range_, red = (2 if whole_range else 1), np.full((HEIGHT, WIDTH, 3), (200, 60, 30), np.uint8)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "100"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.color_range, stream.codec_context.colorspace = range_, 1
        stream.codec_context.color_primaries, stream.codec_context.color_trc = 1, 1
        for _ in range(10):
            picture = av.VideoFrame.from_ndarray(red, format="rgb24")
            container.mux(stream.encode(picture.reformat(format="yuv420p", dst_colorspace=1, dst_color_range=range_)))
        container.mux(stream.encode(None))
    assert not cut(tmp_path / "a.mp4", 0.25, 0.8, tmp_path / "clip.mp4").copied
    with av.open(str(tmp_path / "clip.mp4")) as container:
        frame = next(container.decode(video=0))
    assert (frame.color_range, frame.colorspace, frame.color_primaries, frame.color_trc) == (range_, 1, 1, 1)
    assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - (200, 60, 30)).max() < 6


def test_copied_hevc_has_the_tag_that_apples_players_ask_for(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", frames=24, codec="libx265", options={"g": "12", "x265-params": "bframes=0"})
    assert cut(source, 0.0, 0.5, tmp_path / "clip.mp4", mode="copy").copied
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"


def test_avi_with_pictures_out_of_order_is_encoded(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.avi", codec="mpeg4", options={"g": "12", "bf": "2", "b": "2M"})
    done = cut(source, plain_read(source)[0][0], 1.0, tmp_path / "clip.mp4", mode="copy")
    assert done.why == "AVI states no times for pictures that are stored out of order"
    assert read(tmp_path / "clip.mp4").numbers == every_way(source, 0.0, 1.0)


def test_open_groups_are_cut_clean(tmp_path: Path) -> None:
    options = {"g": "12", "bf": "2", "sc_threshold": "0", "x264-params": "open-gop=1"}
    source = make_clip(tmp_path / "a.mkv", options=options)
    keys = [number for _, number, key in plain_read(source) if key]
    for number in keys[1:3]:
        cut(source, number / 30, 2.0, tmp_path / "clip.mp4", mode="copy")
        found = read(tmp_path / "clip.mp4")
        assert found.numbers == list(range(number, 60))


def test_what_is_no_video_is_refused(tmp_path: Path, still: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    for path, kind in (
        (tmp_path / "gone.mp4", UnreadableVideo),
        (tmp_path / "text.mp4", UnreadableVideo),
        (make_sound(tmp_path / "sound.mp4"), NoVideoStream),
    ):
        with pytest.raises(kind, match=path.name):
            cut(path, 0, 1, tmp_path / "clip.mp4")
    for start, end in ((-1, 1), (2, 1), (float("nan"), 1), (0, float("inf"))):
        with pytest.raises(ValueError, match="a cut goes from"):
            cut(still, start, end, tmp_path / "clip.mp4")
    with pytest.raises(ValueError, match="unknown mode 'fast'; known: exact, copy"):
        cut(still, 0, 1, tmp_path / "clip.mp4", mode="fast")
    with pytest.raises(ExportError, match="cannot be written there"):
        cut(still, 0, 1, tmp_path / "no folder" / "clip.mp4")


def test_a_damaged_source_gives_a_clip_or_an_error(still: Path, tmp_path: Path) -> None:
    content = still.read_bytes()
    for share in (0.3, 0.6, 0.9):
        broken = tmp_path / "broken.mp4"
        broken.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(VideoError, match=r"broken\.mp4"):
            cut(broken, 0.5, 1.5, tmp_path / "clip.mp4")
    stream = make_clip(tmp_path / "whole.ts", options=NO_REORDER)
    noise_B = bytearray(stream.read_bytes())
    noise_B[len(noise_B) // 3 : len(noise_B) // 3 + 400] = os.urandom(400)
    stream.write_bytes(bytes(noise_B))
    cut(stream, 0.1, 1.9, tmp_path / "clip.mp4")
    assert read(tmp_path / "clip.mp4").numbers[0] == every_way(stream, 0.1, 1.9)[0]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[list[str]]:
    """A process that may write files of a few kilobytes alone."""
    code = (
        "import resource, signal, sys; from pathlib import Path; from reelseek.video.cut import cut\n"
        "from reelseek.errors import ExportError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "try: cut(Path(sys.argv[1]), float(sys.argv[2]), 2, Path(sys.argv[3]))\n"
        "except ExportError as error: print(error)\n"
    )
    yield [sys.executable, "-c", code]
    shutil.rmtree(tmp_path / "small", ignore_errors=True)


@pytest.mark.parametrize("start", [0.0, 0.1])
def test_a_full_disk_is_told(still: Path, tmp_path: Path, small_disk: list[str], start: float) -> None:
    words = [*small_disk, str(still), str(start), str(tmp_path / "clip.mp4")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "the clip cannot be written there" in done.stdout, done
