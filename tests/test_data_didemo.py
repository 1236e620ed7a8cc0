from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark_miniatures import TEST, TRAIN, didemo, didemo_name, touch, write
from reelseek.config import DataConfig
from reelseek.data import didemo as reader
from reelseek.data import load
from reelseek.data.didemo import load_didemo
from reelseek.data.pairs import Standard
from reelseek.errors import DataError


@pytest.fixture
def root(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setattr(reader, "TEST", Standard("miniature DiDeMo", 6, 6))
    return didemo(tmp_path)


def video_id(number: int) -> str:
    return didemo_name(number).rpartition(".")[0]


def test_published_counts():
    assert reader.TEST[1:] == (1004, 1004)
    assert reader.PUBLISHED == {"train": 8395, "val": 1065, "test": 1004}


def test_descriptions_are_joined_in_file_order(root):
    splits = load(DataConfig("didemo", root=str(root)))
    assert [(len(split.video_ids), len(split.texts)) for split in splits] == [(20, 20), (4, 4), (6, 6)]
    assert splits.test.complete
    assert splits.test.texts[0] == "moment 0 of 24 moment 1 of 24 moment 2 of 24"
    assert splits.test.video_ids[0] == video_id(24)
    assert {split.corpus for split in splits} == {"didemo"}
    splits.test.refuse_seen(splits.train.corpus, splits.train.video_ids)


def test_the_name_says_paragraph_and_the_first_31_seconds_are_the_video(root):
    for part, split in zip(("train", "val", "test"), load_didemo(root), strict=True):
        assert split.name == f"didemo paragraph {part}"
        assert set(split.spans) == {(0.0, 31.0)}


def test_files_of_every_ending_are_found(root):
    """Names with no ending after the dot, and endings that no list of video endings has."""
    test = load_didemo(root).test
    assert {path.name for path in test.paths} == {didemo_name(number) for number in TEST}
    assert {path.suffix for path in test.paths} >= {".mov", ".3g2"}


def test_converted_files_are_found(root):
    renamed = {24: f"{video_id(24)}.mp4", 25: f"{didemo_name(25)}.mp4", 27: f"{didemo_name(27)}.webm"}
    for number, name in renamed.items():
        (root / "videos" / didemo_name(number)).unlink()
        touch(root / "converted" / name)
    test = load_didemo(root).test
    assert test.complete
    assert [test.paths[at].name for at in (0, 1, 3)] == list(renamed.values())


def test_without_a_list_every_name_counts_and_the_split_is_not_standard(root):
    (root / "test_list.txt").unlink()
    test = load_didemo(root).test
    assert test.texts[0] == "under another name moment 0 of 24 moment 1 of 24 moment 2 of 24"
    assert len(test.video_ids) == 6
    assert test.standard is None
    assert test.name == "didemo unlisted paragraph test"
    assert "no test_list.txt: every name of the annotation counts, not the published list" in test.describe()


def test_a_list_of_training_videos_is_not_needed(root):
    (root / "train_list.txt").unlink()
    splits = load_didemo(root)
    assert len(splits.train.video_ids) == len(TRAIN)
    assert splits.test.complete


def test_missing_videos_are_counted(root):
    (root / "videos" / didemo_name(25)).unlink()
    test = load_didemo(root).test
    assert (test.missing_videos, test.missing_texts, test.complete) == ((video_id(25),), 1, False)


def test_listed_videos_without_a_description_are_counted(root):
    with (root / "test_list.txt").open("a") as file:
        file.write("unknown.mp4\n")
    touch(root / "videos" / "unknown.mp4")
    test = load_didemo(root).test
    assert test.captions_of("unknown") == ()
    assert "1 listed videos have no caption" in test.describe()
    assert not test.complete


def test_a_list_whose_names_lack_their_endings(root):
    write(root / "test_list.txt", "".join(f"{video_id(number)}\n" for number in TEST))
    with pytest.raises(DataError, match="none of its 6 videos has a caption"):
        load_didemo(root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"video": "x"}, "is not a list of descriptions"),
        ([{"video": "x.mp4"}], "a row without video and description"),
        ([{"video": "x.mp4", "description": None}], "a row without video and description"),
        (["x"], "a row without video and description"),
    ],
)
def test_annotations_of_another_shape(root, content, message):
    write(root / "val_data.json", content)
    with pytest.raises(DataError, match=f"val_data.json: {message}"):
        load_didemo(root)


def test_absent_annotations_are_named(root):
    (root / "val_data.json").unlink()
    with pytest.raises(DataError, match=r"DiDeMo: no val_data.json below"):
        load_didemo(root)


def test_one_video_in_two_splits_is_refused_whatever_its_ending(root):
    rows = json.loads((root / "train_data.json").read_text())
    write(root / "train_data.json", [*rows, {"video": f"{video_id(24)}.wmv", "description": "x"}])
    (root / "train_list.txt").unlink()
    with pytest.raises(DataError, match="is in both the train and the test list"):
        load_didemo(root)
