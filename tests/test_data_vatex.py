from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark_miniatures import PARTS, TEST, TRAIN, touch, vatex, vatex_id, write
from reelseek.config import DataConfig
from reelseek.data import load
from reelseek.data import vatex as reader
from reelseek.data.pairs import Standard
from reelseek.data.vatex import load_vatex
from reelseek.errors import DataError


@pytest.fixture
def root(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setattr(reader, "TEST", Standard("miniature VATEX", 6, 60))
    return vatex(tmp_path)


def test_published_counts():
    assert reader.TEST[1:] == (1500, 15000)
    assert reader.PUBLISHED == {"train": 25991, "val": 1500, "test": 1500}


def test_splits(root):
    splits = load(DataConfig("vatex", root=str(root)))
    assert [(len(split.video_ids), len(split.texts)) for split in splits] == [(20, 200), (4, 40), (6, 60)]
    assert splits.test.complete
    assert splits.test.captions_of(vatex_id(24)) == tuple(f"turn {turn} of 24" for turn in range(10))
    assert splits.test.spans is None
    assert {split.corpus for split in splits} == {"vatex"}
    splits.test.refuse_seen(splits.train.corpus, splits.train.video_ids)


def test_the_collected_annotation_says_the_same(root):
    told = load_vatex(root)
    numbers = [number for mine in PARTS.values() for number in mine]
    collected = {vatex_id(n): {"enCap": [f"turn {turn} of {n}" for turn in range(10)]} for n in numbers}
    for path in root.glob("*.json"):
        path.unlink()
    write(root / "vatex_data.json", collected)
    for split, other in zip(told, load_vatex(root), strict=True):
        assert [split.captions_of(video) for video in split.video_ids] == [
            other.captions_of(video) for video in split.video_ids
        ]


def test_without_a_validation_list_training_clips_are_held_out(root):
    (root / "val_list.txt").unlink()
    splits = load_vatex(root)
    assert [len(split.video_ids) for split in splits] == [18, 2, 6]
    assert set(splits.train.video_ids) | set(splits.val.video_ids) == {vatex_id(number) for number in TRAIN}
    assert "no val_list.txt: 2 training videos held out by seed 0 for validation" in splits.val.describe()
    assert len({load_vatex(root, seed=seed).val.video_ids for seed in range(4)}) > 1


def test_whole_youtube_videos_stand_for_the_seconds_of_the_id(root):
    (root / "clips" / f"{vatex_id(25)}.mp4").unlink()
    touch(root / "whole" / "Pt_25VRj-V0.mkv")
    touch(root / "whole" / "Pt_26VRj-V0.mkv")
    test = load_vatex(root).test
    assert test.complete
    assert test.paths[1] == root / "whole" / "Pt_25VRj-V0.mkv"
    assert test.spans == (None, (25.0, 35.0), None, None, None, None)


def test_missing_clips_are_counted(root):
    (root / "clips" / f"{vatex_id(25)}.mp4").unlink()
    test = load_vatex(root).test
    assert (test.missing_videos, test.missing_texts, test.complete) == ((vatex_id(25),), 10, False)


def test_empty_captions_make_the_test_incomplete(root):
    content = json.loads((root / "vatex_validation_v1.0.json").read_text())
    content[0]["enCap"][3] = ""
    write(root / "vatex_validation_v1.0.json", content)
    test = load_vatex(root).test
    assert "dropped 1 empty captions" in test.describe()
    assert not test.complete


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("3", "is neither an object nor a list"),
        ('[{"enCap": ["x"]}]', "a clip without videoID"),
        ('["x"]', "a clip without videoID"),
        ('[{"videoID": "x", "chCap": []}]', "'x' has no list `enCap`"),
        ('{"x": {"enCap": "x"}}', "'x' has no list `enCap`"),
        ('{"x": ["a"]}', "'x' has no list `enCap`"),
        ('[{"videoID": "x", "enCap": []}, {"videoID": "x", "enCap": []}]', "'x' has captions already"),
    ],
)
def test_annotations_of_another_shape(root, content, message):
    write(root / "vatex_data.json", content)
    with pytest.raises(DataError, match=f"vatex_data.json: {message}"):
        load_vatex(root)


def test_a_clip_in_both_published_files_is_refused(root):
    rows = json.loads((root / "vatex_validation_v1.0.json").read_text())
    write(root / "vatex_training_v1.0.json", rows)
    with pytest.raises(DataError, match="has captions already"):
        load_vatex(root)


@pytest.mark.parametrize("name", ["train_list.txt", "test_list.txt", "vatex_validation_v1.0.json"])
def test_absent_files_are_named(root, name):
    (root / name).unlink()
    with pytest.raises(DataError, match=f"VATEX: no {name} below"):
        load_vatex(root)


def test_lists_that_overlap_are_refused(root):
    write(root / "train_list.txt", f"{vatex_id(TEST[0])}.mp4\n{vatex_id(0)}\n")
    with pytest.raises(DataError, match="is in both the train and the test list"):
        load_vatex(root)
    (root / "val_list.txt").unlink()
    with pytest.raises(DataError, match="is in both the train and the test list"):
        load_vatex(root)
