from __future__ import annotations

import io
import os

import numpy as np
import pytest
from PIL import Image

from reelseek.errors import DataError, UnreadableVideo
from reelseek.video.decode import decode
from reelseek.video.files import find_videos, thumbnail
from reelseek.video.suffixes import VIDEO_SUFFIXES
from video_clips import HEIGHT, WIDTH, make_clip, number_of

ODD_NAMES = [
    "two\nlines.mp4",
    "🎬 party 🎉.mkv",
    "Ünïcødé.m4v",
    " leading space.mp4",
    "-dash.mp4",
    "a'b\"c;$d.mov",
    "file:x.mp4",
]


def _touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_videos_of_a_folder_are_found_sorted(tmp_path):
    wanted = ["B.MP4", "a/deep/er/x.mkv", "a/z.webm", "b.mp4", "c.Mov", *ODD_NAMES]
    _touch(tmp_path, *wanted, "notes.txt", "cover.jpg", "mp4", ".hidden.mp4", ".cache/y.mp4", "a/.z/y.mp4", "song.mp3")
    (tmp_path / "folder.mp4").mkdir()
    assert find_videos(tmp_path) == sorted(tmp_path / name for name in wanted)


def test_an_empty_folder_holds_none(tmp_path):
    assert find_videos(tmp_path) == []


@pytest.mark.parametrize("name", ["gone", "clip.mp4"])
def test_what_is_no_folder_is_refused(tmp_path, name):
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(DataError, match=f"{name}: is not a folder"):
        find_videos(tmp_path / name)


def test_links_are_followed_once(tmp_path):
    _touch(tmp_path, "here/a.mp4", "elsewhere/b.mp4", "target.mp4")
    (tmp_path / "here/loop").symlink_to(tmp_path / "here")
    (tmp_path / "here/up").symlink_to(tmp_path)
    (tmp_path / "here/other").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "here/linked.mp4").symlink_to(tmp_path / "target.mp4")
    (tmp_path / "here/dangling.mp4").symlink_to(tmp_path / "gone.mp4")
    found = [str(path.relative_to(tmp_path / "here")) for path in find_videos(tmp_path / "here")]
    assert found == ["a.mp4", "linked.mp4", "other/b.mp4", "up/target.mp4"]


def test_endings_are_lower_case():
    assert {".mp4", ".mkv", ".webm", ".mov", ".avi", ".gif", ".ts"} <= VIDEO_SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in VIDEO_SUFFIXES)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_decode(tmp_path, name):
    made = make_clip(tmp_path / f"plain{os.path.splitext(name)[1]}", frames=3)
    path = made.rename(tmp_path / name)
    assert number_of(decode(path, lambda _: np.array([0.04])).pixels_FHW3[0]) == 1


def test_a_name_that_is_no_unicode_decodes(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    make_clip(tmp_path / "plain.mp4", frames=3).rename(path)
    assert find_videos(tmp_path) == [path]
    assert number_of(decode(path, lambda _: np.array([0.04])).pixels_FHW3[0]) == 1


def test_a_relative_path_decodes(tmp_path, monkeypatch):
    make_clip(tmp_path / "plain.mp4", frames=3)
    monkeypatch.chdir(tmp_path)
    assert number_of(decode("plain.mp4", lambda _: np.array([0.04])).pixels_FHW3[0]) == 1


@pytest.mark.parametrize(("time", "number"), [(0.5, 15), (-3.0, 0), (0.0, 0), (1e6, 29)])
def test_thumbnail(tmp_path, time, number):
    picture = Image.open(io.BytesIO(thumbnail(make_clip(tmp_path / "plain.mp4", frames=30), time, side=96)))
    assert picture.format == "JPEG"
    assert picture.size == (96, 96 * HEIGHT // WIDTH)
    assert number_of(np.asarray(picture)) == number


def test_a_thumbnail_of_nothing_is_an_error(tmp_path):
    with pytest.raises(UnreadableVideo):
        thumbnail(tmp_path / "gone.mp4", 0.0)
