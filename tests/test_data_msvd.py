from __future__ import annotations

import json
import os
import pickle
import struct
from pathlib import Path

import pytest

from benchmark_miniatures import PARTS, TEST, msvd, msvd_id, write
from reelseek.config import DataConfig
from reelseek.data import load
from reelseek.data import msvd as reader
from reelseek.data.msvd import load_msvd
from reelseek.data.pairs import Standard
from reelseek.data.plain_pickle import read_plain_pickle
from reelseek.errors import DataError


@pytest.fixture
def root(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setattr(reader, "TEST", Standard("miniature MSVD", 6, 13))
    return msvd(tmp_path)


def test_published_counts():
    assert reader.TEST[1:] == (670, 27763)
    assert reader.PUBLISHED == {"train": 1200, "val": 100, "test": 670}


def test_splits(root):
    splits = load(DataConfig("msvd", root=str(root)))
    assert [(len(split.video_ids), len(split.texts)) for split in splits] == [(20, 40), (4, 8), (6, 13)]
    assert splits.test.complete
    assert splits.test.captions_of(msvd_id(TEST[-1])) == tuple(f"a man 29 turn{turn}" for turn in range(3))
    assert splits.test.text_ids[:2] == (f"{msvd_id(24)}#0", f"{msvd_id(24)}#1")
    assert splits.train.paths[0] == root / "YouTubeClips" / f"{msvd_id(0)}.avi"
    assert "20 of 1,200 videos listed; captions of raw-captions.pkl" in splits.train.describe()
    assert {split.corpus for split in splits} == {"msvd"}


def test_every_form_of_the_captions_says_the_same(root):
    told = load_msvd(root)
    captions = {msvd_id(n): list(told[at].captions_of(msvd_id(n))) for at, ns in enumerate(PARTS.values()) for n in ns}
    (root / "raw-captions.pkl").unlink()
    write(root / "captions_msvd.json", captions)
    write(root / "own.json", [{"id": f"{video}.avi", "caption": texts} for video, texts in captions.items()])
    rows = [{"video": f"{video}.avi", "caption": text} for video, texts in captions.items() for text in texts]
    write(root / "rows.json", rows)
    write(root / "test_list.txt", "".join(f"{msvd_id(number)}.avi\n" for number in TEST))
    others = [load_msvd(root, name) for name in ("", "own.json", str(root / "own.json"), "rows.json")]
    for other in others:
        assert [split.texts for split in other] == [split.texts for split in told]
        assert other.test.video_ids == told.test.video_ids
    assert "captions of own.json" in others[1].test.describe()


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_every_protocol(tmp_path, protocol):
    content = {"id": [["naïve", "ex\nact"], ("a", "tuple")], "none": [], "again": [["naïve"]]}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    assert read_plain_pickle(tmp_path / "x.pkl") == content


def test_a_pickle_of_python_2(tmp_path):
    (tmp_path / "x.pkl").write_bytes(b"\x80\x02}q\x00U\x02idq\x01]q\x02]q\x03(U\x01aX\x03\x00\x00\x00manq\x04eas.")
    assert read_plain_pickle(tmp_path / "x.pkl") == {"id": [["a", "man"]]}


class _Command:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_that_a_pickle_says_is_run(root, protocol):
    mark = root / "mark"
    (root / "raw-captions.pkl").write_bytes(pickle.dumps({"id": [["a", _Command(mark)]]}, protocol=protocol))
    with pytest.raises(DataError, match=r"has the operation (STACK_)?GLOBAL, .* not loaded"):
        load_msvd(root)
    assert not mark.exists()
    # the same bytes, loaded with trust, do run: the test above would see it
    pickle.loads((root / "raw-captions.pkl").read_bytes())
    assert mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"(cos\nsystem\nX\x01\x00\x00\x00xo.",
        b"(X\x01\x00\x00\x00xios\nsystem\n.",
        b"\x82\x01.",
        b"Pname\n.",
        b"\x80\x02N.",
        b"\x80\x04C\x01a.",
        pickle.dumps({"id": [1, 2.5]}),
        pickle.dumps({"id": {"a set"}}),
    ],
)
def test_operations_beyond_containers_and_strings_are_refused(tmp_path, content):
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(DataError, match="has the operation"):
        read_plain_pickle(tmp_path / "x.pkl")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        pickle.dumps({"id": [["a"]]})[:-5],
        b"\x80\x02}q\x00(X\x01\x00\x00\x00au.",
        b"\x80\x02h\x07.",
        b"\x80\x02}]]s.",
        b"\x80\x02U\x01\xff.",
        b"\x80\x02]r" + struct.pack("<I", 2**31) + b".",
        b"]p999999999999\n.",
        b"\x80\x02X\xff\xff\xff\x7fa.",
    ],
)
def test_damaged_pickles(tmp_path, content):
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(DataError, match=r"x.pkl: is a damaged pickle"):
        read_plain_pickle(tmp_path / "x.pkl")


def test_a_pickle_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr("reelseek.data.plain_pickle.MOST_BYTES", 10)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"id": [["a"]]}))
    with pytest.raises(DataError, match="pickles of at most 10"):
        read_plain_pickle(tmp_path / "x.pkl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("3", "is neither an object of clip ids nor a list"),
        ('[{"caption": "x"}]', "a clip without `id`"),
        ('["x"]', "a clip without `id`"),
        ('[{"id": "x"}]', "a clip without `id` .* and `caption`"),
        ('{"x": 3}', "the captions of 'x' are not texts: 3"),
        ('{"x": [3]}', "the captions of 'x' are not texts"),
        ('{"x": [["a", 3]]}', "the captions of 'x' are not texts"),
        ('{"x": ["a caption"]}', "msvd train: none of its 20 videos has a caption"),
        ('{"x": [], "x": []}', "has the key 'x' more than once"),
    ],
)
def test_captions_of_another_shape(root, content, message):
    write(root / "own.json", content)
    with pytest.raises(DataError, match=message):
        load_msvd(root, "own.json")


def test_a_pickle_of_another_shape(root):
    for content in ([["a"]], {("a", "b"): [["a"]]}, {"a": [["a", ["b"]]]}):
        (root / "raw-captions.pkl").write_bytes(pickle.dumps(content))
        with pytest.raises(DataError, match=r"a clip without|are not texts"):
            load_msvd(root)


def test_absent_files_are_named(root):
    (root / "raw-captions.pkl").unlink()
    with pytest.raises(DataError, match=r"MSVD: no raw-captions.pkl and no captions_msvd.json below"):
        load_msvd(root)
    (root / "val_list.txt").unlink()
    with pytest.raises(DataError, match=r"MSVD: no val_list.txt below"):
        load_msvd(root)


def test_a_missing_clip_makes_the_test_incomplete(root):
    (root / "YouTubeClips" / f"{msvd_id(29)}.avi").unlink()
    test = load_msvd(root).test
    assert (test.missing_videos, test.missing_texts, test.complete) == ((msvd_id(29),), 3, False)
    assert "not the standard split miniature MSVD (6 videos, 13 texts)" in test.describe()


def test_one_caption_a_clip_is_not_the_standard_split(root):
    """All clips are there, but not all captions: another task."""
    write(root / "own.json", {msvd_id(n): ["one"] for numbers in PARTS.values() for n in numbers})
    test = load_msvd(root, "own.json").test
    assert not test.missing_videos
    assert not test.complete
    assert "not the standard split" in test.describe()


def test_lists_that_overlap_are_refused(root):
    write(root / "val_list.txt", f"{msvd_id(24)}.avi\n")
    with pytest.raises(DataError, match="is in both the val and the test list"):
        load_msvd(root)


def test_a_run_on_the_training_clips_is_refused(root):
    splits = load_msvd(root)
    splits.test.refuse_seen(splits.train.corpus, splits.train.video_ids)
    with pytest.raises(DataError, match="of its 20 videos were in the training set"):
        splits.train.refuse_seen(splits.train.corpus, splits.train.video_ids)


def test_empty_captions_are_counted(root):
    content = {msvd_id(n): ["one", " "] for numbers in PARTS.values() for n in numbers}
    write(root / "own.json", json.dumps(content))
    assert "dropped 6 empty captions" in load_msvd(root, "own.json").test.describe()
