from __future__ import annotations

import json
from pathlib import Path

import pytest

from reelseek.data import youcook2
from reelseek.data.pairs import Standard
from reelseek.data.youcook2 import load_youcook2
from reelseek.errors import DataError

NAME = "youcookii_annotations_trainval.json"


def step(number: int, video: str) -> dict:
    return {"segment": [10 * number, 10 * number + 8], "id": number, "sentence": f"do step {number} of {video}"}


def entry(subset: str, video: str, steps: int) -> dict:
    return {
        "duration": 100.5,
        "subset": subset,
        "recipe_type": "113",
        "annotations": [step(number, video) for number in range(steps)],
        "video_url": f"https://www.youtube.com/watch?v={video}",
    }


@pytest.fixture
def root(tmp_path: Path, monkeypatch) -> Path:
    """The original layout in miniature: 20 training videos of three steps, 5 validation videos of two."""
    database = {f"train_{at:02}-x": entry("training", f"train_{at:02}-x", 3) for at in range(20)}
    database |= {f"-val.{at}": entry("validation", f"-val.{at}", 2) for at in range(5)}
    write(tmp_path, {"database": database})
    for video, values in database.items():
        folder = tmp_path / "raw_videos" / values["subset"] / values["recipe_type"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{video}.{'mkv' if video.endswith('3') else 'mp4'}").touch()
    monkeypatch.setattr(youcook2, "TEST", Standard("miniature", 10, 10))
    return tmp_path


def write(root: Path, content: object) -> None:
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / NAME).write_text(json.dumps(content))


def changed(root: Path, change) -> None:
    content = json.loads((root / "annotations" / NAME).read_text())
    change(content["database"])
    write(root, content)


def test_published_counts():
    assert youcook2.TEST[1:] == (3492, 3492)
    assert youcook2.TRAIN_CLIPS == 10337


def test_steps_are_spans_of_their_videos(root):
    splits = load_youcook2(root)
    assert [len(split.video_ids) for split in splits] == [54, 6, 10]
    assert splits.test.complete
    assert splits.test.video_ids[:3] == ("-val.0#0", "-val.0#1", "-val.1#0")
    assert splits.test.spans[:2] == ((0.0, 8.0), (10.0, 18.0))
    assert splits.test.texts[1] == "do step 1 of -val.0"
    assert splits.test.paths[0] == root / "raw_videos" / "validation" / "113" / "-val.0.mp4"
    assert splits.test.paths[7].name == "-val.3.mkv"
    for split in splits:
        assert split.video_of_T.tolist() == list(range(len(split.texts)))
    assert "60 of 10,337 training clips listed, those of 2 of 20 videos held out by seed 0" in splits.train.describe()


def test_validation_is_held_out_by_whole_videos(root):
    held_out = set()
    for seed in range(4):
        splits = load_youcook2(root, seed=seed)
        train, val = ({clip.partition("#")[0] for clip in split.video_ids} for split in splits[:2])
        assert not train & val
        assert len(val) == 2
        assert splits.test.texts == load_youcook2(root).test.texts
        held_out.add(tuple(sorted(val)))
    assert len(held_out) > 1
    assert load_youcook2(root, seed=3).val.video_ids == load_youcook2(root, seed=3).val.video_ids


def test_missing_videos_are_counted_by_clip(root):
    (root / "raw_videos" / "validation" / "113" / "-val.2.mp4").unlink()
    test = load_youcook2(root).test
    assert test.missing_videos == ("-val.2#0", "-val.2#1")
    assert (test.missing_texts, len(test.video_ids)) == (2, 8)
    assert "not the standard split" in test.describe()
    for path in (root / "raw_videos" / "training").rglob("*.m*"):
        path.unlink()
    assert load_youcook2(root)[:2] == (None, None)
    for path in (root / "raw_videos").rglob("*.m*"):
        path.unlink()
    with pytest.raises(DataError, match="none of its 10 videos is below"):
        load_youcook2(root)


def test_empty_sentences_and_repeated_numbers_are_counted(root):
    changed(root, lambda database: database["-val.0"]["annotations"][0].update(sentence="  "))
    changed(root, lambda database: database["-val.1"]["annotations"][1].update(id=0))
    said = load_youcook2(root).test.describe()
    assert "dropped 1 empty captions" in said
    assert "1 ids are listed more than once" in said


@pytest.mark.parametrize("segment", [[6, 6], [9, 3], [-1, 3], [float("nan"), 3]])
def test_steps_without_length_are_dropped_and_counted(root, segment):
    changed(root, lambda database: database["-val.0"]["annotations"][1].update(segment=segment))
    changed(root, lambda database: [d["annotations"][0].update(segment=segment) for d in database.values()])
    splits = load_youcook2(root)
    assert splits.test.video_ids == tuple(f"-val.{at}#1" for at in range(1, 5))
    assert "4 of 10 clips listed" in splits.test.describe()
    assert "dropped 6 steps whose segment is no part of a video" in splits.test.describe()
    assert not splits.test.complete
    assert "dropped 18 steps" in splits.train.describe()
    assert [split.dropped for split in splits] == [18, 2, 6]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["-val.0"]["annotations"][0].pop("sentence"), "a step without id, segment and sentence"),
        (lambda d: d["-val.0"]["annotations"][0].update(segment=[3]), "a step without id, segment and sentence"),
        (lambda d: d["-val.0"]["annotations"][0].update(segment=["3", "4"]), "a step without"),
        (lambda d: d["-val.0"].pop("annotations"), "a step without"),
        (lambda d: [d.pop(f"-val.{at}") for at in range(5)], "none of its 0 videos"),
    ],
)
def test_damaged_annotations(root, change, words):
    changed(root, change)
    with pytest.raises(DataError, match=words):
        load_youcook2(root)


@pytest.mark.parametrize("content", [[], {"videos": {}}, {"database": []}, {"database": {"a": 1}}])
def test_other_files_are_refused(root, content):
    write(root, content)
    with pytest.raises(DataError, match="no `database` of videos"):
        load_youcook2(root)


def test_an_absent_annotation_is_named(tmp_path):
    with pytest.raises(DataError, match=f"no {NAME} below"):
        load_youcook2(tmp_path)
