from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark_miniatures import activitynet, write
from reelseek.config import DataConfig
from reelseek.data import activitynet as reader
from reelseek.data import load
from reelseek.data.activitynet import load_activitynet
from reelseek.data.pairs import Standard
from reelseek.errors import DataError


@pytest.fixture
def root(tmp_path: Path, monkeypatch) -> Path:
    tests = {"val1": Standard("miniature val1", 6, 6), "val2": Standard("miniature val2", 5, 5)}
    monkeypatch.setattr(reader, "TESTS", tests)
    return activitynet(tmp_path)


def test_published_counts():
    assert {name: test[1:] for name, test in reader.TESTS.items()} == {"val1": (4917, 4917), "val2": (4885, 4885)}
    assert reader.TRAIN_IDS == 10009


def test_sentences_are_joined_and_files_found_with_and_without_v(root):
    splits = load(DataConfig("activitynet", root=str(root)))
    assert [len(split.video_ids) for split in splits] == [22, 2, 6]
    assert [split.name for split in splits] == [f"activitynet-val1 paragraph {part}" for part in splits._fields]
    assert splits.test.complete
    assert splits.test.texts[0] == "First x_24-Q. Then the second."
    assert splits.test.video_ids[0] == "x_24-Q"
    assert {path.name for path in splits.test.paths[:2]} == {"v_x_24-Q.mp4", "x_25-Q.mkv"}
    assert splits.test.spans is None


def test_the_test_chooses_nothing(root):
    """Validation videos are training videos that are held out by seed; the line with the counts says so."""
    splits = load_activitynet(root)
    listed = {video.removeprefix("v_") for video in json.loads((root / "captions" / "train.json").read_text())}
    assert set(splits.train.video_ids) | set(splits.val.video_ids) == listed
    assert not set(splits.train.video_ids) & set(splits.val.video_ids)
    assert not set(splits.val.video_ids) & set(splits.test.video_ids)
    assert len({load_activitynet(root, seed=seed).val.video_ids for seed in range(4)}) > 1
    assert load(DataConfig("activitynet", root=str(root), seed=3)).val.video_ids == (
        load_activitynet(root, seed=3).val.video_ids
    )
    assert "2 of them held out by seed 0 for validation" in splits.val.describe()


def test_val2(root):
    splits = load(DataConfig("activitynet-val2", root=str(root)))
    assert splits.test.name == "activitynet-val2 paragraph test"
    assert splits.test.complete
    assert set(splits.test.texts) == {"Anew."}
    first = load_activitynet(root)
    assert splits.val.video_ids == first.val.video_ids
    splits.test.refuse_seen(first.train.corpus, first.train.video_ids)
    with pytest.raises(DataError, match="were in the training set"):
        splits.test.refuse_seen(first.test.corpus, first.test.video_ids)


def test_missing_videos_are_counted(root):
    (root / "videos" / "x_25-Q.mkv").unlink()
    test = load_activitynet(root).test
    assert (test.missing_videos, test.missing_texts, test.complete) == (("x_25-Q",), 1, False)


def test_videos_without_sentences_are_counted(root):
    content = json.loads((root / "captions" / "val_1.json").read_text())
    content["v_x_24-Q"]["sentences"] = []
    content["v_x_25-Q"]["sentences"] = [" "]
    write(root / "captions" / "val_1.json", content)
    test = load_activitynet(root).test
    assert "dropped 2 empty captions; 2 listed videos have no caption" in test.describe()
    assert not test.complete


def test_a_byte_order_mark_is_no_part_of_the_file(root):
    path = root / "captions" / "val_1.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_activitynet(root).test.complete


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "is not an object of videos"),
        ("{}", "is not an object of videos"),
        ('{"v_x": ["a"]}', "'v_x' has no list of sentences"),
        ('{"v_x": {"sentences": "a text"}}', "'v_x' has no list of sentences"),
        ('{"v_x": {"sentences": [3]}}', "'v_x' has no list of sentences"),
        ('{"v_x": {"sentences": ["a"]}, "x": {"sentences": ["b"]}}', "'x' is there twice"),
        ('{"v_x": {"sentences": ["a"]}, "v_x": {"sentences": ["b"]}}', "has the key 'v_x' more than once"),
    ],
)
def test_annotations_of_another_shape(root, content, message):
    write(root / "captions" / "val_1.json", content)
    with pytest.raises(DataError, match=f"val_1.json: .*{message}"):
        load_activitynet(root)
    load_activitynet(root, test="val2")


@pytest.mark.parametrize("name", ["train.json", "val_2.json"])
def test_absent_files_are_named(root, name):
    (root / "captions" / name).unlink()
    with pytest.raises(DataError, match=f"ActivityNet: no {name} below"):
        load_activitynet(root, test="val2")


def test_a_test_video_in_training_is_refused(root):
    train = json.loads((root / "captions" / "train.json").read_text())
    write(root / "captions" / "train.json", train | {"v_x_24-Q": {"sentences": ["a"]}})
    with pytest.raises(DataError, match=r"'x_24-Q' is in both the (train|val) and the test list"):
        load_activitynet(root)
