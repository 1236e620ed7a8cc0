from __future__ import annotations

import json
from pathlib import Path

import pytest

from reelseek.data import msrvtt
from reelseek.data.msrvtt import load_1ka, load_full
from reelseek.data.pairs import Standard
from reelseek.errors import DataError

TRAIN, VAL, TEST = range(0, 20), range(20, 24), range(24, 34)
ONE_K = range(24, 28)


def sentences() -> list[dict]:
    """Two sentences a video, the second ones in another place of the file, as in the original."""
    ids = [*TRAIN, *VAL, *TEST]
    return [
        {"caption": f"caption {turn} of {number}", "video_id": f"video{number}", "sen_id": 100 * turn + number}
        for turn in range(2)
        for number in ids
    ]


def ids_csv(path: Path, numbers) -> None:
    path.write_text("video_id\n" + "".join(f"video{number}\n" for number in numbers))


@pytest.fixture
def root(tmp_path: Path, monkeypatch) -> Path:
    """The original files in miniature: 20 train, 4 val and 10 test videos; the short test set is 4 of the 10."""
    splits = [(TRAIN, "train"), (VAL, "validate"), (TEST, "test")]
    videos = [
        {"video_id": f"video{number}", "split": split, "category": 9, "url": "", "start time": 0.0, "end time": 10.0}
        for numbers, split in splits
        for number in numbers
    ]
    (tmp_path / "MSRVTT_data.json").write_text(json.dumps({"info": {}, "videos": videos, "sentences": sentences()}))
    ids_csv(tmp_path / "MSRVTT_train.9k.csv", [*TRAIN, *VAL, *range(28, 34)])
    ids_csv(tmp_path / "MSRVTT_train.7k.csv", [*TRAIN, *VAL])
    rows = [f'ret{n},msr{number},video{number},"a person, {number}"\n' for n, number in enumerate(ONE_K)]
    (tmp_path / "MSRVTT_JSFUSION_test.csv").write_text("key,vid_key,video_id,sentence\n" + "".join(rows))
    clips = tmp_path / "videos" / "all"
    clips.mkdir(parents=True)
    for number in [*TRAIN, *VAL, *TEST]:
        (clips / f"video{number}.mp4").touch()
    monkeypatch.setattr(msrvtt, "TEST_1KA", Standard("miniature 1k-A", 4, 4))
    monkeypatch.setattr(msrvtt, "TEST_FULL", Standard("miniature full", 10, 20))
    return tmp_path


def test_published_counts():
    assert msrvtt.TEST_1KA[1:] == (1000, 1000)
    assert msrvtt.TEST_FULL[1:] == (2990, 20 * 2990)
    assert msrvtt.TRAIN_IDS == {"9k": 9000, "7k": 7010}
    assert msrvtt.FULL_IDS == {"train": 6513, "val": 497, "test": 2990}


@pytest.mark.parametrize(("train", "listed"), [("9k", 30), ("7k", 24)])
def test_1ka(root, train, listed):
    splits = load_1ka(root, train=train)
    assert splits.test.complete
    assert splits.test.texts[0] == "a person, 24"
    assert splits.test.text_ids == ("ret0", "ret1", "ret2", "ret3")
    assert splits.test.video_of_T.tolist() == [0, 1, 2, 3]
    held_out = listed // 10
    assert (len(splits.train.video_ids), len(splits.val.video_ids)) == (listed - held_out, held_out)
    assert len(splits.train.texts) == 2 * (listed - held_out)
    assert not set(splits.train.video_ids) & set(splits.val.video_ids)
    assert f"{held_out} of them held out by seed 0 for validation" in splits.val.describe()
    for text, video in zip(splits.train.texts, splits.train.video_of_T, strict=True):
        assert text.endswith(f" of {splits.train.video_ids[video].removeprefix('video')}")
    assert splits.train.paths[0] == root / "videos" / "all" / "video0.mp4"


def test_validation_is_drawn_by_seed(root):
    assert load_1ka(root, seed=0).val.video_ids == load_1ka(root, seed=0).val.video_ids
    assert len({load_1ka(root, seed=seed).val.video_ids for seed in range(4)}) > 1


@pytest.mark.parametrize("lists", [False, True])
def test_full_split_from_fields_and_from_lists(root, lists):
    if lists:
        content = json.loads((root / "MSRVTT_data.json").read_text())
        for video in content["videos"]:
            del video["split"]
        (root / "MSRVTT_data.json").write_text(json.dumps(content))
        for part, numbers in (("train", TRAIN), ("val", VAL), ("test", TEST)):
            ids_csv(root / f"MSRVTT_{part}.full.csv", numbers)
    splits = load_full(root)
    assert [len(split.video_ids) for split in splits] == [20, 4, 10]
    assert [len(split.texts) for split in splits] == [40, 8, 20]
    assert splits.test.complete
    assert splits.test.captions_of("video24") == ("caption 0 of 24", "caption 1 of 24")


def test_annotations_with_image_ids(root):
    """MSR_VTT.json of the archive that also holds the videos."""
    rows = [{"image_id": row["video_id"], "caption": row["caption"], "id": row["sen_id"]} for row in sentences()]
    (root / "MSRVTT_data.json").unlink()
    (root / "annotation").mkdir()
    (root / "annotation" / "MSR_VTT.json").write_text(json.dumps({"annotations": rows, "images": []}))
    assert load_1ka(root).train.captions_of("video0")[1] == "caption 1 of 0"
    with pytest.raises(DataError, match=r"no train video .* Add train_list_full.txt, .* video7010 to video9999"):
        load_full(root)


def official(root: Path) -> None:
    """The organisers' two files instead of the one that others made of them."""
    content = json.loads((root / "MSRVTT_data.json").read_text())
    (root / "MSRVTT_data.json").unlink()
    tested = {f"video{number}" for number in TEST}
    for name, of_test in (("train_val_videodatainfo.json", False), ("test_videodatainfo.json", True)):
        rows = {
            key: [row for row in content[key] if (row["video_id"] in tested) == of_test]
            for key in ("videos", "sentences")
        }
        (root / name).write_text(json.dumps({"info": {}, **rows}))


def same(one, other) -> None:
    for ours, theirs in zip(one, other, strict=True):
        assert ours.video_ids == theirs.video_ids
        assert list(map(ours.captions_of, ours.video_ids)) == list(map(theirs.captions_of, theirs.video_ids))


@pytest.mark.parametrize("read", [load_full, load_1ka])
def test_the_organisers_files(root, read):
    one_file = read(root)
    official(root)
    assert read(root).test.complete
    same(read(root), one_file)


def test_one_of_the_organisers_files_where_it_suffices(root):
    seven, full = load_1ka(root, train="7k"), load_full(root)
    official(root)
    (root / "test_videodatainfo.json").rename(root / "kept")
    same(load_1ka(root, train="7k"), seven)
    with pytest.raises(DataError, match=r"no test_videodatainfo\.json below .* 6 listed videos have no caption"):
        load_1ka(root)
    with pytest.raises(DataError, match=r"no test_videodatainfo\.json below .*: the test videos of the full split"):
        load_full(root)
    (root / "kept").rename(root / "test_videodatainfo.json")
    (root / "train_val_videodatainfo.json").unlink()
    tested = load_full(root)
    assert tested[:2] == (None, None)
    same(tested[2:], full[2:])
    assert tested.test.complete
    for part, numbers in (("train", TRAIN), ("val", VAL), ("test", TEST)):
        ids_csv(root / f"MSRVTT_{part}.full.csv", numbers)
    same(load_full(root)[2:], full[2:])
    with pytest.raises(DataError, match=r"no train_val_videodatainfo\.json below .* 24 listed videos"):
        load_1ka(root)


def test_the_one_file_goes_before_the_organisers(root):
    whole = load_full(root)
    (root / "test_videodatainfo.json").write_text("{")
    same(load_full(root), whole)


def test_lists_under_the_names_of_the_archive_of_the_videos(root):
    nine = load_1ka(root)
    full = load_full(root)
    content = json.loads((root / "MSRVTT_data.json").read_text())
    rows = [{"image_id": row["video_id"], "caption": row["caption"]} for row in content["sentences"]]
    (root / "MSRVTT_data.json").unlink()
    (root / "MSR_VTT.json").write_text(json.dumps({"annotations": rows}))
    lists = root / "high-quality" / "structured-symlinks"
    lists.mkdir(parents=True)
    (root / "MSRVTT_train.9k.csv").unlink()
    with pytest.raises(DataError, match=r"no MSRVTT_train\.9k\.csv and no train_list_jsfusion\.txt"):
        load_1ka(root)
    parts = {
        "train_list_full": TRAIN, "val_list_full": VAL, "test_list_full": TEST,
        "train_list_jsfusion": [*TRAIN, *VAL, *range(28, 34)],
    }  # fmt: skip
    for name, numbers in parts.items():
        (lists / f"{name}.txt").write_text("".join(f"video{number}\n" for number in numbers))
    same(load_1ka(root), nine)
    same(load_full(root), full)
    (lists / "train_list_jsfusion.txt").write_text("video0\nvideo25\n")
    with pytest.raises(DataError, match=r"train_list_jsfusion\.txt lists 1 test videos, such as 'video25'"):
        load_1ka(root)


def test_trained_on_9k_is_refused_on_the_full_test_split(root):
    train = load_1ka(root, train="9k").train
    with pytest.raises(DataError, match="of its 10 videos were in the training set"):
        load_full(root).test.refuse_seen(train.corpus, train.video_ids)
    load_1ka(root).test.refuse_seen(train.corpus, train.video_ids)
    short = load_1ka(root, train="7k").train
    load_full(root).test.refuse_seen(short.corpus, short.video_ids)


def test_missing_videos_make_the_split_incomplete(root):
    (root / "videos" / "all" / "video24.mp4").unlink()
    test = load_1ka(root).test
    assert (len(test.video_ids), test.missing_videos, test.missing_texts) == (3, ("video24",), 1)
    assert not test.complete
    assert "not the standard split miniature 1k-A" in test.describe()
    full = load_full(root).test
    assert (full.missing_videos, full.missing_texts) == (("video24",), 2)


def test_empty_and_absent_captions_are_counted(root):
    content = json.loads((root / "MSRVTT_data.json").read_text())
    for row in content["sentences"]:
        if row["video_id"] == "video25":
            row["caption"] = " "
    (root / "MSRVTT_data.json").write_text(json.dumps(content))
    test = load_full(root).test
    assert "dropped 2 empty captions; 1 listed videos have no caption" in test.describe()
    assert not test.complete
    assert test.captions_of("video25") == ()


def test_a_training_list_with_test_videos_is_refused(root):
    ids_csv(root / "MSRVTT_train.9k.csv", [*TRAIN, 25, 26])
    with pytest.raises(DataError, match=r"MSRVTT_train.9k.csv lists 2 test videos, such as 'video25'"):
        load_1ka(root)


def test_full_lists_that_overlap_are_refused(root):
    for part, numbers in (("train", TRAIN), ("val", [3]), ("test", TEST)):
        ids_csv(root / f"MSRVTT_{part}.full.csv", numbers)
    with pytest.raises(DataError, match="'video3' is in both the train and the val list"):
        load_full(root)


@pytest.mark.parametrize("name", ["MSRVTT_JSFUSION_test.csv", "MSRVTT_train.9k.csv", "MSRVTT_data.json"])
def test_absent_files_are_named(root, name):
    (root / name).unlink()
    with pytest.raises(DataError, match=name) as caught:
        load_1ka(root)
    assert ("CLIP4Clip/releases" in str(caught.value)) == name.endswith(".csv")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("MSRVTT_data.json", "{", "MSRVTT_data.json: is not JSON"),
        ("MSRVTT_data.json", "[]", "has neither `sentences` nor `annotations`"),
        ("MSRVTT_data.json", '{"sentences": [{"caption": "x"}]}', "a sentence without video_id and caption"),
        ("MSRVTT_data.json", '{"sentences": {"a": 1}}', "its 'sentences' is not a list"),
        ("MSRVTT_data.json", '{"sentences": [], "videos": 3}', "its 'videos' is not a list"),
        ("MSRVTT_data.json", '{"sentences": [], "sentences": []}', "has the key 'sentences' more than once"),
        ("MSRVTT_train.9k.csv", "id\nvideo0\n", "no column 'video_id'"),
        ("MSRVTT_JSFUSION_test.csv", "key,vid_key,video_id,sentence\nret0,m,video24,\n", "line 2 lacks one of"),
        ("MSRVTT_JSFUSION_test.csv", "key,vid_key,video_id,sentence\nret0,m,video99,x\n", "none of its 1 videos"),
    ],
)
def test_damaged_files_are_named(root, name, content, message):
    (root / name).write_text(content)
    with pytest.raises(DataError, match=message):
        load_1ka(root)


def test_no_folder(tmp_path):
    for root in ("", tmp_path / "nowhere"):
        with pytest.raises(DataError, match=r"is no folder; set data.root"):
            load_1ka(root)


def test_the_test_videos_alone_are_enough_for_a_test(root):
    for number in [*TRAIN, *VAL, *(set(TEST) - set(ONE_K))]:
        (root / "videos" / "all" / f"video{number}.mp4").unlink()
    short, full = load_1ka(root), load_full(root)
    assert short.train is short.val is full.train is full.val is None
    assert short.test.complete
    assert (len(full.test.video_ids), len(full.test.missing_videos)) == (4, 6)
    assert not full.test.complete


def test_no_test_video_is_refused(root):
    for number in TEST:
        (root / "videos" / "all" / f"video{number}.mp4").unlink()
    with pytest.raises(DataError, match="none of its 4 videos"):
        load_1ka(root)
    with pytest.raises(DataError, match="none of its 10 videos"):
        load_full(root)


@pytest.mark.parametrize("video", ["video0", {"video_id": "video0"}, {"video_id": "video0", "split": "tst"}])
def test_videos_without_a_known_split_are_named(root, video):
    content = json.loads((root / "MSRVTT_data.json").read_text()) | {"videos": [video]}
    (root / "MSRVTT_data.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"a video without a known split: .*video0"):
        load_full(root)
