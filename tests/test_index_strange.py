"""Files and clocks that do not behave: very long, oddly named, replaced while they are read, in the future."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

import av
import numpy as np
import pytest

import cli_world
import index_fakes
from index_fakes import COLOURS, CONFIG, FakeMethod, clip, everything, fill, update, whole
from reelseek.config import IndexConfig
from reelseek.index import cards, store
from reelseek.index.ask import ask
from reelseek.index.disk import locked
from reelseek.index.filters import Filters, parse_time
from reelseek.index.query import Query
from reelseek.index.search import Searcher
from reelseek.records import Preprocess

HOURS = 12
SIDE = 64
ODD = (
    *("two  words.mp4", "🎬 日本.mp4", "new\nline.mp4", "-k.mp4", "\x1b[31mred.mp4"),
    os.fsdecode(b"\xff\xfe latin \xe9.mp4"),
)


def long_film(path: Path, hours: int) -> Path:
    """A film with a picture a minute."""
    chance = np.random.default_rng(0)
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(1, 60))
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(60, 1)
        for number in range(hours * 60):
            colour = chance.integers(0, 256, (1, 1, 3)) * np.ones((SIDE, SIDE, 1))
            frame = av.VideoFrame.from_ndarray(colour.astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(60, 1)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


class LargeFrames(FakeMethod):
    preprocess = Preprocess(resize=SIDE, crop=SIDE, mean=(127.5,) * 3, std=(127.5,) * 3, interpolation="bilinear")


def index_film(index: Path, film: Path) -> None:
    """Index a film by frames that would take much memory at once, and print how much memory it took, in MB."""
    begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    update(index, film, method=LargeFrames(), config=IndexConfig(fps=0.25, segments="shots"))
    print(round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begun) / 1024))


def test_a_film_of_twelve_hours_is_indexed_in_little_memory(tmp_path: Path) -> None:
    film = long_film(tmp_path / "long.mkv", HOURS)
    command = [sys.executable, __file__, str(tmp_path / "index"), str(film)]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    (row,) = store.list_files(tmp_path / "index")
    assert (row.status, row.duration) == ("ok", pytest.approx(HOURS * 3600, abs=61))
    _, stored = store.load(cards.open_index(tmp_path / "index"))
    frames = HOURS * 3600 // 4
    assert len(stored.times_N) == pytest.approx(frames, abs=4)
    assert stored.end_S.max() == pytest.approx(HOURS * 3600, abs=61)
    # all pixels at once would be 4 bytes a value
    assert int(said.stdout) < 150 < frames * SIDE * SIDE * 3 * 4 / 2**20


def test_odd_names_pass_through_every_command(tmp_path: Path) -> None:
    films, index = tmp_path / "films", tmp_path / "i"
    for number, name in enumerate(ODD):
        cli_world.gradient(films / name, (40 * number + 20, 200 - 30 * number, 90))
    assert cli_world.run("index", films, "--index", index).code == 0
    expected = {os.fsencode(films / name) for name in ODD}

    def paths(text: str) -> set[bytes]:
        rows = [json.loads(line) for line in text.splitlines()]
        return {unquote_to_bytes(row["path_encoded"] if "path_encoded" in row else quote(row["path"])) for row in rows}

    assert paths(cli_world.run("index", "list", "--index", index, "--json").out) == expected
    assert paths(cli_world.run("search", "a wall", "--index", index, "--json").out) == expected
    for words in (("index", "list", "--index", index), ("search", "a wall", "--index", index)):
        said = cli_world.run(*words)
        assert said.code == 0
        assert "\x1b" not in said.out
        assert sum(".mp4" in line for line in said.out.splitlines()) == len(ODD)
    for out in ("hits.jsonl", "hits.csv", "hits.srt", "hits.edl", "hits.otio", "hits.png", "clips/"):
        said = cli_world.run("search", "a wall", "--index", index, "--out", f"{tmp_path}/out/{out}")
        assert said.code == 0, said
        assert "set aside" not in said.err, said
    assert len(list((tmp_path / "out" / "clips").iterdir())) == len(ODD)
    assert paths((tmp_path / "out" / "hits.jsonl").read_text()) == expected
    for name in ODD:
        assert cli_world.run("index", "remove", films / name, "--index", index).code == 0
    assert store.list_files(index) == []


@pytest.mark.parametrize("mtime", [4e9, 0.0, -1e9], ids=["2096", "1970", "1938"])
def test_times_of_change_far_off(tmp_path: Path, mtime: float) -> None:
    folder = fill(tmp_path / "videos", 3)
    os.utime(folder / "00.avi", (mtime, mtime))
    assert update(tmp_path / "index", folder).added == 3
    assert update(tmp_path / "index", folder).unchanged == 3
    searcher = Searcher(cards.open_index(tmp_path / "index"), FakeMethod())
    answers = {Path(answer.path).name: answer.plain()["changed"] for answer in ask(searcher, Query("red"), 3)}
    assert answers["00.avi"][:4] in ("2096", "1970", "1938")
    late = ask(searcher, Query("red"), 3, filters=Filters(since=parse_time("2090-01-01")))
    assert len(late) == (1 if mtime > 3e9 else 0)


def test_a_clock_that_jumps_between_updates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(tmp_path / "videos", 4)
    for step, now in enumerate((2e9, 0.0, -5.0, 4e9, 1e9)):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        clip(folder / f"new {step}.avi", ["green"], seed=500 + step)
        os.utime(folder / "00.avi", (now, now))
        report = update(tmp_path / "index", folder)
        assert report.added == (5 if step == 0 else 1)
        assert (report.unchanged, report.removed) == (0 if step == 0 else 4 + step, 0)
        assert update(tmp_path / "index", folder).added == 0
        everything(tmp_path / "index")
    whole(tmp_path / "index", folder)


@pytest.mark.parametrize("copy", [False, True])
def test_a_file_replaced_while_it_is_read_is_read_again(tmp_path: Path, copy: bool) -> None:
    """Its content must not be taken for that of a copy of what was there before."""
    folder = tmp_path / "videos"
    clip(folder / "a.avi", ["red"], seed=1)
    if copy:
        shutil.copy(folder / "a.avi", folder / "b.avi")
    clip(tmp_path / "other.avi", ["blue", "blue"], seed=2)

    class Replacing(FakeMethod):
        def encode_frames(self, pixels_N3HW):
            if (tmp_path / "other.avi").exists() and len(pixels_N3HW) > 1:
                os.replace(tmp_path / "other.avi", folder / "a.avi")
            return super().encode_frames(pixels_N3HW)

    report = update(tmp_path / "index", folder, method=Replacing())
    assert "was changed while it was read" in report.broken[0].reason
    assert store.contents(tmp_path / "index") == {}
    assert update(tmp_path / "index", folder).added == 1 + copy
    whole(tmp_path / "index", folder)


def test_a_file_replaced_under_its_name_and_of_its_size(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    first = clip(folder / "a.avi", ["red"], seed=1).read_bytes()
    update(tmp_path / "index", folder)
    changed = first[:-1] + bytes([first[-1] ^ 1])
    (folder / "a.avi").write_bytes(changed)
    assert update(tmp_path / "index", folder).added == 1
    whole(tmp_path / "index", folder)


def test_two_processes_write_and_one_is_told_to_wait(tmp_path: Path) -> None:
    folder = fill(tmp_path / "videos", 2)
    command = [sys.executable, index_fakes.__file__, "slow", str(tmp_path / "index"), str(folder)]
    with locked(tmp_path / "index"):
        second = subprocess.run(command, capture_output=True, text=True)
        assert second.returncode == 1
        assert f"process {os.getpid()} on " in second.stderr
        assert "is writing to this index. Try again when it is done." in second.stderr
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.endswith("done\n")
    whole(tmp_path / "index", folder)


if __name__ == "__main__":
    index_film(Path(sys.argv[1]), Path(sys.argv[2]))


@pytest.mark.parametrize("keyframes", [False, True])
def test_slides_that_stay_for_long_are_found_for_as_long_as_they_are_shown(tmp_path: Path, keyframes: bool) -> None:
    """Three pictures in a minute: what is on screen is one frame of the file, looked at over and over."""
    with av.open(str(tmp_path / "slides.mkv"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, options={"g": "1"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for colour, time in (("red", 0), ("green", 21), ("blue", 42), ("blue", 60)):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), COLOURS[colour], np.uint8), format="rgb24")
            frame.pts, frame.time_base = time * 25, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    update(tmp_path / "index", tmp_path / "slides.mkv", config=replace(CONFIG, keyframes=keyframes))
    searcher = Searcher(cards.open_index(tmp_path / "index"), FakeMethod())
    stored = searcher.loaded.segments
    assert (stored.end_S > stored.start_S).all()
    for colour, start, end in (("red", 0, 21), ("green", 21, 42), ("blue", 42, 60)):
        (hit,) = searcher.search(colour, 1)
        assert start <= hit.start < hit.end <= end + 0.1
        (moment,) = searcher.search(colour, 1, moments=True)
        assert (moment.start, moment.end) == pytest.approx((start, end), abs=0.1)
