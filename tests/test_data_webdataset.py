from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from reelseek.config import DataConfig
from reelseek.data import load, webdataset
from reelseek.data.webdataset import load_webdataset
from reelseek.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "reelseek" / "webdataset"


def shard(path: Path, members: dict[str, bytes | str | tarfile.TarInfo]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            content = content.encode() if isinstance(content, str) else content
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.fixture
def root(tmp_path) -> Path:
    """Two training shards, one for validation, one for test, with every form of captions."""
    folder = tmp_path / "shards"
    shard(
        folder / "train" / "00000.tar",
        {"a.mp4": b"film a", "a.txt": " a dog\n jumps ", "b.webm": b"film b", "b.json": json.dumps(["one", "two"])},
    )
    meta = json.dumps({"fps": 25, "captions": ["three", "four"]})
    shard(folder / "train" / "00001.tar", {"sub/c.d.mp4": b"x", "sub/c.mp4": b"film c", "sub/c.json": meta})
    shard(folder / "validation" / "00000.tar", {"a.json": '"said"', "a.MP4": b"film d", "a.jpg": b"no", "a.wav": b"no"})
    shard(folder / "TEST" / "x" / "00000.tar", {"a.json": '{"url": "x"}', "a.cap": "told", "a.mp4": b"film e"})
    return folder


def test_samples_are_read_with_their_splits(root):
    splits = load_webdataset(root)
    assert splits.train.video_ids == ("train/00000/a", "train/00000/b", "train/00001/sub/c")
    assert splits.train.texts == ("a dog jumps", "one", "two", "three", "four")
    assert splits.train.video_of_T.tolist() == [0, 1, 1, 2, 2]
    assert [path.read_bytes() for path in splits.train.paths[:2]] == [b"film a", b"film b"]
    assert [path.suffix for path in splits.train.paths[:2]] == [".mp4", ".webm"]
    assert (splits.val.texts, splits.test.texts) == (("said",), ("told",))
    assert splits.val.paths[0].read_bytes() == b"film d"
    assert all(split.complete for split in splits)
    assert len({split.corpus for split in splits}) == 1


def test_the_key_ends_at_the_first_dot(root):
    splits = load_webdataset(root)
    assert splits.train.paths[2].read_bytes() == b"film c"
    assert "2 members that are neither video nor captions left out" in splits.val.describe()


def test_keys_with_dots_end_at_the_last_one(tmp_path):
    """Clip ids of LSMDC; c.seg.json has the ending seg.json, which is no video's and no captions'."""
    clips = ["0001_A_Film_00.00.51.926-00.00.54.129", "0001_A_Film_00.01.51.926-00.01.54.129", "c"]
    members = {f"{clip}.{end}": f"{clip}.{end}" for clip in clips for end in ("mp4", "txt")}
    shard(tmp_path / "s" / "test" / "0.tar", {**members, "c.seg.json": '"x"', "c.d.jpg": "x", "README": "x"})
    test = load_webdataset(tmp_path / "s").test
    assert test.video_ids == tuple(f"test/0/{clip}" for clip in clips)
    assert test.texts == tuple(f"{clip}.txt" for clip in clips)
    assert [path.read_text() for path in test.paths] == [f"{clip}.mp4" for clip in clips]
    assert "2 members that are neither video nor captions left out" in test.describe()
    assert "dropped 1 samples without a video" in test.describe()


@pytest.mark.parametrize(
    ("names", "sizes"),
    [
        (["train-000000", "train-000001", "Test-000000"], [4, 0, 2]),
        (["training_0", "validation.0", "test0"], [2, 2, 2]),
        (["test/0000", "train/0000"], [2, 0, 2]),
        (["data/train-0", "data/dev-0"], [2, 2, 0]),
        (["test/train-0", "testing/train-1", "train/testing-0", "test/x"], [6, 0, 2]),
    ],
)
def test_the_first_word_of_a_shard_is_its_split(tmp_path, names, sizes):
    for name in names:
        shard(tmp_path / "s" / f"{name}.tar", {f"{at}.{end}": "x" for at in range(2) for end in ("mp4", "txt")})
    splits = load_webdataset(tmp_path / "s")
    assert [0 if split is None else len(split.video_ids) for split in splits] == sizes
    assert "80/10/10" not in splits.train.describe()


def test_what_an_older_reader_unpacked_is_unpacked_again(root, cache, monkeypatch):
    monkeypatch.setattr(webdataset, "READING", webdataset.READING - 1)
    load_webdataset(root)
    before = set(cache.glob("*/*"))
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent.parent))
    load_webdataset(root)
    now = set(cache.glob("*/*"))
    assert (len(now), now & before) == (4, set())


@pytest.mark.parametrize("order", [("txt", "json"), ("json", "txt")])
def test_a_text_file_goes_before_a_json_file(tmp_path, order):
    members = {"a.mp4": b"x", "b.mp4": b"y", "b.txt": "b"}
    shard(tmp_path / "s" / "test" / "0.tar", {**members, **{f"a.{one}": f'"{one}"' for one in order}})
    assert load_webdataset(tmp_path / "s").test.captions_of("test/0/a") == ('"txt"',)


def test_shards_are_unpacked_once_and_again_when_they_change(root, cache, monkeypatch):
    before = load_webdataset(root)
    monkeypatch.setattr(webdataset.tarfile, "open", lambda *_: pytest.fail("opened again"))
    assert load_webdataset(root).train.paths == before.train.paths
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent.parent))
    path = shard(root / "TEST" / "x" / "00000.tar", {"a.cap": "anew", "a.mp4": b"film e"})
    os.utime(path, ns=(1, 1))
    folders = set(cache.glob("*/*"))
    assert len(folders) == 4
    assert load_webdataset(root).test.texts == ("anew",)
    now = set(cache.glob("*/*"))
    assert len(now) == 4
    assert len(now - folders) == 1
    assert load_webdataset(root).train.paths == before.train.paths


def test_a_shard_that_was_not_unpacked_to_the_end_is_unpacked_again(root, monkeypatch):
    whole = webdataset._copy
    done = []

    def stopped(source, path, member):
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(path)
        whole(source, path, member)

    monkeypatch.setattr(webdataset, "_copy", stopped)
    with pytest.raises(KeyboardInterrupt):
        load_webdataset(root)
    monkeypatch.setattr(webdataset, "_copy", whole)
    shards = []
    assert load_webdataset(root, progress=lambda *counts: shards.append(counts)).train.complete
    assert shards == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_without_split_folders_videos_are_divided_by_a_hash(tmp_path):
    members = {f"{at}.{end}": f"{at}" for at in range(20) for end in ("mp4", "txt")}
    shard(tmp_path / "s" / "part-0.tar", members)
    splits = load_webdataset(tmp_path / "s")
    assert [len(split.video_ids) for split in splits] == [16, 2, 2]
    assert "split 80/10/10 by a hash of the videos' names, seed 0" in splits.test.describe()
    assert len({load_webdataset(tmp_path / "s", seed=seed).test.video_ids for seed in range(4)}) > 1
    assert len(load(DataConfig(name="webdataset", root=str(tmp_path / "s"), size=5)).train.video_ids) == 5


@pytest.mark.parametrize("names", [["train-0", "train-1"], ["train/0", "data/training/1"]])
def test_shards_that_are_train_alone_are_divided_by_a_hash(tmp_path, names):
    members = {f"{at}.{end}": f"{at}" for at in range(10) for end in ("mp4", "txt")}
    for name in names:
        shard(tmp_path / "s" / f"{name}.tar", members)
    splits = load_webdataset(tmp_path / "s")
    assert [len(split.video_ids) for split in splits] == [16, 2, 2]
    assert "split 80/10/10" in splits.test.describe()


@pytest.mark.parametrize("named", ["train-0", "test/0"])
def test_a_shard_in_no_split_beside_others_is_refused_before_any_is_unpacked(tmp_path, cache, named):
    for name in (named, "more/shard-1", "more/shard-2"):
        shard(tmp_path / "s" / f"{name}.tar", {"a.mp4": b"x", "a.txt": "x"})
    with pytest.raises(DataError, match=r"more/shard-1\.tar is in no split.*2 of 3 are in none.*Begin its name"):
        load_webdataset(tmp_path / "s")
    assert not cache.exists()


def test_no_name_in_a_shard_leads_out_of_the_cache(tmp_path, cache):
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(b"secret")
    outside = [str(tmp_path / "out.mp4"), "../../../../out.mp4", "a/../../out.mp4"]
    members = dict.fromkeys(outside, b"evil")
    members |= {name.replace(".mp4", ".txt"): "evil" for name in outside}
    members |= {
        "link.mp4": special("link.mp4", tarfile.SYMTYPE, str(secret)),
        "link.txt": "a link",
        "hard.mp4": special("hard.mp4", tarfile.LNKTYPE, "good.mp4"),
        "hard.txt": "a hard link",
        "pipe.mp4": special("pipe.mp4", tarfile.FIFOTYPE),
        "device.mp4": special("device.mp4", tarfile.CHRTYPE),
        "good.mp4": b"good",
        "good.txt": "fine",
    }
    shard(tmp_path / "s" / "test" / "0.tar", members)
    test = load_webdataset(tmp_path / "s").test
    assert not (tmp_path / "out.mp4").exists()
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {
        *("secret.mp4", "0.tar", "index.json"), *(path.name for path in test.paths),
    }  # fmt: skip
    assert all(path.resolve().is_relative_to(cache) and not path.is_symlink() for path in test.paths)
    assert sorted(path.read_bytes() for path in test.paths) == [b"evil", b"evil", b"evil", b"good"]
    assert "dropped 4 members that are no plain files" in test.describe()
    assert test.dropped == 2
    assert "dropped 2 samples without a video" in test.describe()


def test_what_cannot_be_used_is_counted(root):
    shard(
        root / "train" / "00002.tar",
        {
            **{"a.mp4": b"1", "b.mp4": b"2", "c.mp4": b"3", "d.mp4": b"4", "e.txt": "alone"},
            **{"a.txt": b"\xff\xfe", "b.json": "{", "c.json": '{"caption": [1]}', "d.txt": "x" * (1 << 20) + "x"},
            **{"g.mp4": b"5", "g.txt": "  ", "h.mp4": b"6", "h.avi": b"7", "h.txt": "two films"},
        },
    )
    train = load_webdataset(root).train
    assert train.video_ids[-1] == "train/00002/h"
    said = train.describe()
    for words in (
        *("3 caption files that cannot be read", "1 caption files that are too long", "1 samples without a video"),
        *("1 empty captions", "6 videos without a caption", "1 second videos of a sample"),
    ):
        assert f"dropped {words}" in said
    splits = load_webdataset(root)
    assert [split.dropped for split in splits] == [6, 0, 0]
    assert splits.test.complete


def test_a_cut_shard_is_damaged(root):
    path = root / "train" / "00000.tar"
    path.write_bytes(path.read_bytes()[:515])
    with pytest.raises(DataError, match=r"00000\.tar: is damaged"):
        load_webdataset(root)
    path.write_bytes(b"no archive at all" * 100)
    with pytest.raises(DataError, match=r"00000\.tar: is damaged, or no plain \.tar file"):
        load_webdataset(root)


@pytest.mark.parametrize("last", [False, True])
def test_a_damaged_later_header_is_no_end(root, last):
    """Python's tarfile takes it for the end of the archive."""
    path = root / "train" / "00000.tar"
    data = path.read_bytes()
    header = data.index(b"b.json" if last else b"a.txt")
    flipped = bytearray(data)
    flipped[header + 1] ^= 1
    for content in (flipped, data[: header + 300]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"00000\.tar: is damaged.* header at byte {header:,}"):
            load_webdataset(root)
    path.write_bytes(data)
    assert load_webdataset(root).train.complete


def test_a_shard_without_the_zeros_at_its_end_is_whole(root):
    path = root / "train" / "00000.tar"
    path.write_bytes(path.read_bytes().rstrip(b"\0").ljust(512 * 8, b"\0"))
    assert len(load_webdataset(root).train.video_ids) == 3


def test_a_full_disk_is_seen_before(root, monkeypatch):
    monkeypatch.setattr(webdataset.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(DataError, match="more than is free"):
        load_webdataset(root)


def test_videos_that_left_the_cache_are_missing(root):
    test, train = load_webdataset(root).test, load_webdataset(root).train
    train.paths[1].unlink()
    assert load_webdataset(root).train.missing_videos == ("train/00000/b",)
    assert load_webdataset(root).train.missing_texts == 2
    assert load_webdataset(root).test.video_ids == test.video_ids


@pytest.mark.parametrize("content", [None, b""])
def test_folders_without_shards(tmp_path, content):
    if content is not None:
        (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"no \.tar file below.*must be decompressed"):
        load_webdataset(tmp_path)


def test_shards_without_a_sample(tmp_path):
    shard(tmp_path / "0.tar", {"readme.md": "nothing"})
    with pytest.raises(DataError, match="0 videos with captions"):
        load_webdataset(tmp_path)
