from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reelseek.data.tgif import PUBLISHED, load_tgif
from reelseek.errors import DataError
from reelseek.video.decode import decode, probe

LISTS = {"train": range(0, 6), "val": range(6, 8), "test": range(8, 11)}
COLOURS = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]


def url(number: int) -> str:
    return f"https://38.media.tumblr.com/{number:032x}/tumblr_n{number}.qz_500.gif"


def gif(path: Path) -> Path:
    """Three colours, half a second each, as a real GIF."""
    pictures = [Image.fromarray(np.full((32, 48, 3), colour, np.uint8)) for colour in COLOURS]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=500, loop=0)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The original files in miniature; every test GIF has two sentences, one with quotes."""
    lines = [f"{url(number)}\ta person does {number}" for numbers in LISTS.values() for number in numbers]
    lines += [f'{url(number)}\tsomebody says "{number}", twice' for number in LISTS["test"]]
    (tmp_path / "data" / "splits").mkdir(parents=True)
    (tmp_path / "data" / "tgif-v1.0.tsv").write_text("\n".join(lines) + "\n")
    for part, numbers in LISTS.items():
        (tmp_path / "data" / "splits" / f"{part}.txt").write_text("".join(url(number) + "\n" for number in numbers))
    (tmp_path / "gifs").mkdir()
    for number in range(11):
        (tmp_path / "gifs" / url(number).rpartition("/")[2]).touch()
    return tmp_path


def test_splits_follow_the_lists(root):
    splits = load_tgif(root)
    assert [len(split.video_ids) for split in splits] == [6, 2, 3]
    assert len(splits.test.texts) == 6
    assert splits.test.captions_of("tumblr_n8.qz_500") == ("a person does 8", 'somebody says "8", twice')
    assert splits.test.paths[0] == root / "gifs" / "tumblr_n8.qz_500.gif"
    assert splits.test.standard is None
    assert splits.test.complete
    assert PUBLISHED == {"train": 79451, "val": 10651, "test": 11310}
    assert "3 of 11,310 videos listed" in splits.test.describe()


def test_converted_files_and_missing_ones(root):
    (root / "gifs" / "tumblr_n8.qz_500.gif").rename(root / "gifs" / "tumblr_n8.qz_500.mp4")
    (root / "gifs" / "tumblr_n9.qz_500.gif").unlink()
    test = load_tgif(root).test
    assert test.paths[0].suffix == ".mp4"
    assert test.missing_videos == ("tumblr_n9.qz_500",)
    assert test.missing_texts == 2


def test_a_gif_is_decoded_like_any_video(tmp_path):
    path = gif(tmp_path / "a.gif")
    info = probe(path)
    assert (info.codec, info.width, info.height, round(info.duration, 2)) == ("gif", 48, 32, 1.5)
    frames = decode(path, lambda duration: (np.arange(3) + 0.5) * duration / 3)
    assert frames.times_F.tolist() == [0.0, 0.5, 1.0]
    for pixels, colour in zip(frames.pixels_FHW3, COLOURS, strict=True):
        assert np.abs(pixels.astype(int) - colour).max() <= 12


def append(root: Path, name: str, line: str) -> None:
    path = next(root.rglob(name))
    path.write_text(path.read_text() + line)


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("tgif-v1.0.tsv", "https://a.com/b.gif a sentence\n", "line 15 has no tab"),
        ("train.txt", url(8) + "\n", "is in both the train and the test list"),
    ],
)
def test_damaged_files(root, name, line, words):
    append(root, name, line)
    with pytest.raises(DataError, match=words):
        load_tgif(root)


def test_one_gif_on_two_hosts_is_one_gif(root):
    append(root, "tgif-v1.0.tsv", url(8).replace("38.media", "33.media") + "\tanother host\n")
    append(root, "test.txt", url(9).replace("https://38.media", "http://31.media") + "\n")
    test = load_tgif(root).test
    assert test.captions_of("tumblr_n8.qz_500")[2] == "another host"
    assert len(test.video_ids) == 3
    assert "left out" not in test.describe()
    assert "1 ids are listed more than once" in test.describe()


def test_other_gifs_of_a_listed_name_are_dropped_and_counted(root):
    append(root, "tgif-v1.0.tsv", "https://38.media.tumblr.com/other/tumblr_n8.qz_500.gif\tno sentence of it\n")
    append(root, "tgif-v1.0.tsv", "https://a.com/x/unlisted.gif\tx\nhttps://b.com/y/unlisted.gif\ty\n")
    splits = load_tgif(root)
    assert splits.test.captions_of("tumblr_n8.qz_500") == ("a person does 8", 'somebody says "8", twice')
    assert "dropped 1 sentences of other GIFs under a listed name" in splits.test.describe()
    assert [(split.dropped, split.complete) for split in splits] == [(0, True), (0, True), (1, False)]
    append(root, "train.txt", "https://38.media.tumblr.com/other/tumblr_n8.qz_500.gif\n")
    splits = load_tgif(root)
    assert [len(split.video_ids) for split in splits] == [6, 2, 2]
    said = "2 of 11,310 videos listed; 1 names left out that are of several GIFs, and 2 sentences"
    assert said in splits.test.describe()
    assert "1 names left out that are of several GIFs, and 1 sentences" in splits.train.describe()
    assert [split.dropped for split in splits] == [1, 0, 2]


@pytest.mark.parametrize("name", ["tgif-v1.0.tsv", "val.txt"])
def test_absent_files_are_named(root, name):
    next(root.rglob(name)).unlink()
    with pytest.raises(DataError, match=f"no {name} below"):
        load_tgif(root)


def test_empty_sentences_and_gifs_without_one_are_counted(root):
    append(root, "tgif-v1.0.tsv", f"{url(8)}\t  \n")
    append(root, "test.txt", url(99) + "\n")
    (root / "gifs" / "tumblr_n99.qz_500.gif").touch()
    test = load_tgif(root).test
    assert "dropped 1 empty captions" in test.describe()
    assert "1 listed videos have no caption" in test.describe()
    assert not test.complete
